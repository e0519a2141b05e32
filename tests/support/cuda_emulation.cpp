#include "cuda_emulation.hpp"

#include <ucontext.h>

#include <algorithm>
#include <exception>
#include <memory>
#include <new>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/rng.hpp"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

EmulatedIndex threadIdx;
EmulatedIndex blockIdx;
EmulatedIndex blockDim;
EmulatedIndex gridDim;

namespace ckvsim::test {
namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr std::size_t kStackBytes = std::size_t{256} << 10;  // instrumented frames are larger
#else
constexpr std::size_t kStackBytes = std::size_t{64} << 10;
#endif
constexpr unsigned kAllLanes = 0xFFFFFFFFU;

enum class State : std::uint8_t { ready, at_block_barrier, at_warp_barrier, done };

struct PendingCopy {
    void* to;
    void const* from;
    std::size_t bytes;
};

/// One CUDA thread.
struct Fiber {
    ucontext_t context{};
    State state = State::ready;
    unsigned exchanges = 0;
    std::vector<PendingCopy> copies;
    void* fake_stack = nullptr;
};

/// Memory with an alignment and an exact end, so that the address sanitizer sees a step beyond it.
class SharedMemory {
  public:
    explicit SharedMemory(std::size_t bytes)
        : data_(static_cast<std::byte*>(::operator new (bytes, std::align_val_t{16}))) {
        std::memset(data_, 0xFF, bytes);  // NaN as float and as half
    }
    SharedMemory(SharedMemory const&) = delete;
    SharedMemory& operator=(SharedMemory const&) = delete;
    ~SharedMemory() { ::operator delete (data_, std::align_val_t{16}); }
    [[nodiscard]] std::byte* data() const { return data_; }

  private:
    std::byte* data_;
};

/// The threads of a grid, block after block.
class Machine {
  public:
    Machine(CudaGrid const& grid, CudaSchedule const& schedule, std::function<void()> const& kernel)
        : grid_(grid),
          schedule_(schedule),
          kernel_(kernel),
          rng_(schedule.seed, Purpose::test, 0),
          stacks_(new std::byte[grid.threads * kStackBytes]),
          fibers_(grid.threads),
          order_(grid.threads),
          slots_(std::size_t{2} * grid.threads) {
        std::iota(order_.begin(), order_.end(), 0U);
        if (schedule.order == CudaSchedule::Order::backward)
            std::reverse(order_.begin(), order_.end());
    }

    void run_block();

    void wait(State state) {
        fibers_[current_].state = state;
        leave();
    }
    std::uint64_t exchange(std::uint64_t bits, unsigned source) {
        // Two sets of slots in turn: a lane is at most one exchange ahead of its warp.
        std::size_t const set = (fibers_[current_].exchanges++ % 2) * grid_.threads;
        slots_[set + current_] = bits;
        unsigned const warp = current_ / kWarp * kWarp;
        wait(State::at_warp_barrier);
        return slots_[set + warp + source];
    }
    void copy_async(PendingCopy const& copy) {
        if (schedule_.copies == CudaSchedule::Copies::at_issue) {
            std::memcpy(copy.to, copy.from, copy.bytes);
        } else {
            fibers_[current_].copies.push_back(copy);
        }
    }
    void wait_copies() {
        for (PendingCopy const& copy : fibers_[current_].copies)
            std::memcpy(copy.to, copy.from, copy.bytes);
        fibers_[current_].copies.clear();
    }
    [[nodiscard]] unsigned lane() const { return current_ % kWarp; }
    [[nodiscard]] std::byte* shared() const { return shared_->data(); }

  private:
    static void enter();
    void resume(unsigned thread);
    void leave();
    void start(unsigned thread);
    bool release_waiting();
    bool release(unsigned first, unsigned count, State state);
    [[noreturn]] void report_deadlock() const;
    void forget_stacks() const;

    CudaGrid grid_;
    CudaSchedule schedule_;
    std::function<void()> const& kernel_;
    CounterRng rng_;
    std::unique_ptr<std::byte[]> stacks_;
    std::vector<Fiber> fibers_;
    std::vector<unsigned> order_;
    std::vector<std::uint64_t> slots_;
    std::unique_ptr<SharedMemory> shared_;
    ucontext_t scheduler_{};
    void* scheduler_fake_stack_ = nullptr;
    void const* scheduler_stack_ = nullptr;
    std::size_t scheduler_stack_bytes_ = 0;
    unsigned current_ = 0;
    std::exception_ptr failure_;
};

thread_local Machine* machine = nullptr;

Machine& running() {
    if (machine == nullptr) throw std::logic_error("CUDA emulation: kernel code outside run_grid");
    return *machine;
}

void Machine::start(unsigned thread) {
    Fiber& fiber = fibers_[thread];
    fiber.state = State::ready;
    fiber.exchanges = 0;
    fiber.copies.clear();
    fiber.fake_stack = nullptr;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = stacks_.get() + thread * kStackBytes;
    fiber.context.uc_stack.ss_size = kStackBytes;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, &Machine::enter, 0);
}

void Machine::enter() {
    Machine& self = running();
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &self.scheduler_stack_, &self.scheduler_stack_bytes_);
#endif
    try {
        self.kernel_();
    } catch (...) {
        self.failure_ = std::current_exception();
    }
    self.fibers_[self.current_].state = State::done;
    self.leave();
}

void Machine::resume(unsigned thread) {
    current_ = thread;
    threadIdx = {thread, 0, 0};
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&scheduler_fake_stack_, stacks_.get() + thread * kStackBytes,
                                   kStackBytes);
#endif
    swapcontext(&scheduler_, &fibers_[thread].context);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(scheduler_fake_stack_, nullptr, nullptr);
#endif
}

void Machine::leave() {
    Fiber& fiber = fibers_[current_];
#if defined(__SANITIZE_ADDRESS__)
    bool const last = fiber.state == State::done;
    __sanitizer_start_switch_fiber(last ? nullptr : &fiber.fake_stack, scheduler_stack_,
                                   scheduler_stack_bytes_);
#endif
    swapcontext(&fiber.context, &scheduler_);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fiber.fake_stack, nullptr, nullptr);
#endif
}

/// Frees `count` threads from `first` on when all of them wait at the same kind of barrier.
bool Machine::release(unsigned first, unsigned count, State state) {
    auto const begin = fibers_.begin() + first;
    auto const end = begin + count;
    if (!std::all_of(begin, end, [state](Fiber const& f) { return f.state == state; }))
        return false;
    std::for_each(begin, end, [](Fiber& f) { f.state = State::ready; });
    return true;
}

bool Machine::release_waiting() {
    bool released = release(0, grid_.threads, State::at_block_barrier);
    for (unsigned warp = 0; warp < grid_.threads; warp += kWarp)
        released = release(warp, kWarp, State::at_warp_barrier) || released;
    return released;
}

void Machine::report_deadlock() const {
    auto const count = [this](State state) {
        return std::to_string(std::count_if(fibers_.begin(), fibers_.end(),
                                            [state](Fiber const& f) { return f.state == state; }));
    };
    throw std::logic_error(
        "CUDA emulation: block (" + std::to_string(blockIdx.x) + ", " + std::to_string(blockIdx.y) +
        ") waits for ever: " + count(State::at_block_barrier) + " threads at __syncthreads, " +
        count(State::at_warp_barrier) + " at a warp barrier, " + count(State::done) + " ended");
}

/// Frames of a finished or abandoned block must not be taken for live ones of the next.
void Machine::forget_stacks() const {
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(stacks_.get(), grid_.threads * kStackBytes);
#endif
}

void Machine::run_block() {
    shared_ = std::make_unique<SharedMemory>(grid_.shared_bytes);
    for (unsigned thread = 0; thread < grid_.threads; ++thread) start(thread);
    do {
        if (schedule_.order == CudaSchedule::Order::shuffled) {
            for (unsigned i = grid_.threads; i > 1; --i)
                std::swap(order_[i - 1], order_[rng_.below(i)]);
        }
        for (unsigned const thread : order_) {
            if (fibers_[thread].state == State::ready) resume(thread);
            if (failure_) {
                forget_stacks();
                std::rethrow_exception(failure_);
            }
        }
    } while (release_waiting());
    forget_stacks();
    if (!std::all_of(fibers_.begin(), fibers_.end(),
                     [](Fiber const& f) { return f.state == State::done; }))
        report_deadlock();
    for (Fiber const& fiber : fibers_) {
        if (!fiber.copies.empty())
            throw std::logic_error(
                "CUDA emulation: a thread ended before its copies were waited for");
    }
}

/// Makes a machine the running one for its lifetime.
struct Running {
    explicit Running(Machine& one) { machine = &one; }
    Running(Running const&) = delete;
    Running& operator=(Running const&) = delete;
    ~Running() { machine = nullptr; }
};

}  // namespace

void run_grid(CudaGrid const& grid, CudaSchedule const& schedule,
              std::function<void()> const& kernel) {
    if (grid.threads == 0 || grid.threads % kWarp != 0 || grid.threads > 1024)
        throw std::logic_error("CUDA emulation: a block has " + std::to_string(grid.threads) +
                               " threads; give a multiple of 32 up to 1024");
    Machine one(grid, schedule, kernel);
    Running const guard(one);
    blockDim = {grid.threads, 1, 1};
    gridDim = {grid.grid_x, grid.grid_y, 1};
    for (unsigned y = 0; y < grid.grid_y; ++y) {
        for (unsigned x = 0; x < grid.grid_x; ++x) {
            blockIdx = {x, y, 0};
            one.run_block();
        }
    }
}

namespace emulated {

void block_barrier() { running().wait(State::at_block_barrier); }
void warp_barrier(unsigned mask) {
    if (mask != kAllLanes) throw std::logic_error("CUDA emulation: a warp barrier of some lanes");
    running().wait(State::at_warp_barrier);
}
std::uint64_t exchange(unsigned mask, std::uint64_t bits, unsigned source) {
    if (mask != kAllLanes) throw std::logic_error("CUDA emulation: an exchange of some lanes");
    return running().exchange(bits, source);
}
unsigned lane() { return running().lane(); }
std::byte* shared_memory() { return running().shared(); }
void copy_async(void* to, void const* from, std::size_t bytes) {
    running().copy_async({to, from, bytes});
}
void wait_copies() { running().wait_copies(); }

}  // namespace emulated
}  // namespace ckvsim::test
