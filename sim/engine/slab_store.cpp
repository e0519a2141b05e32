#include "engine/slab_store.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <string>

#include "core/error.hpp"
#include "engine/parallel_failure.hpp"

namespace ckvsim::engine {

namespace {

constexpr std::uint32_t kSmallestCapacity = 4;
constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kSmallestChunk = std::uint64_t{64} << 10;
/// A chunk holds so many of the largest slots: what is left over of it stays below a 16th.
constexpr std::uint64_t kLargestInChunk = 16;
constexpr std::uint64_t kGranule = 16;  ///< sections start on multiples of it

// A record: offset / kGranule above, then tokens, then the size class.
constexpr unsigned kClassBits = 6;
constexpr unsigned kTokenBits = 20;
constexpr std::uint64_t kMostTokens = (std::uint64_t{1} << kTokenBits) - 1;
constexpr std::uint64_t kMostBytes =
    (std::uint64_t{1} << (64 - kClassBits - kTokenBits)) * kGranule;

constexpr std::uint64_t make_record(std::uint64_t offset, std::uint32_t tokens,
                                    std::size_t size_class) {
    return (offset / kGranule << (kTokenBits + kClassBits)) |
           (std::uint64_t{tokens} << kClassBits) | size_class;
}
constexpr std::uint64_t offset_of(std::uint64_t record) {
    return (record >> (kTokenBits + kClassBits)) * kGranule;
}
constexpr std::uint32_t tokens_of(std::uint64_t record) {
    return static_cast<std::uint32_t>((record >> kClassBits) & kMostTokens);
}
constexpr std::size_t class_of_record(std::uint64_t record) {
    return record & ((1U << kClassBits) - 1);
}

constexpr std::uint64_t rounded(std::uint64_t bytes, std::uint64_t to) {
    return (bytes + to - 1) / to * to;
}

}  // namespace

SlabLadder::SlabLadder(kv::EntryLayout const& layout, std::uint32_t max_tokens) {
    validate(max_tokens > 0 && max_tokens <= kMostTokens,
             "engine::SlabLadder: entries hold 1 .. 2^20 - 1 tokens");
    for (std::uint32_t room = std::min(kSmallestCapacity, max_tokens);;
         room = std::min(max_tokens, room + std::max(room / 4, kSmallestCapacity))) {
        capacities_.push_back(room);
        slot_bytes_.push_back(
            rounded(std::max<std::uint64_t>(layout.entry_bytes(room), 1), kGranule));
        if (room == max_tokens) break;
    }
    validate(capacities_.size() <= (1U << kClassBits), "engine::SlabLadder: too many slot sizes");
    chunk_bytes_ = rounded(std::max(kSmallestChunk, kLargestInChunk * slot_bytes_.back()), kPage);
}

std::size_t SlabLadder::class_of(std::uint32_t tokens) const {
    auto const at = std::lower_bound(capacities_.begin(), capacities_.end(), tokens);
    validate(at != capacities_.end(), "engine::SlabLadder: more tokens than an entry may hold");
    return static_cast<std::size_t>(at - capacities_.begin());
}

SlabStore::SlabStore(std::shared_ptr<decode::Backend const> backend, std::uint64_t users,
                     std::uint64_t budget_bytes)
    : backend_(std::move(backend)),
      ladder_(backend_->layout(), backend_->weights().shape.max_tokens),
      users_(users),
      chunks_(budget_bytes / ladder_.chunk_bytes()),
      free_(ladder_.classes()) {
    if (chunks_ == 0) {
        throw BackendError("resident store: a budget of " + std::to_string(budget_bytes) +
                           " bytes does not hold one chunk of " +
                           std::to_string(ladder_.chunk_bytes()) + " (the largest entry takes " +
                           std::to_string(ladder_.slot_bytes(ladder_.classes() - 1)) +
                           "). raise the budget or lower max_tokens");
    }
    std::uint64_t const bytes = chunks_ * ladder_.chunk_bytes();
    validate(bytes <= kMostBytes, "engine::SlabStore: more bytes than a record can address");
    // Before the mapping, which a constructor that throws would leave behind.
    records_.reset(new (std::nothrow) std::atomic<std::uint64_t>[users]);
    if (records_ == nullptr) {
        throw BackendError("resident store: no memory for the records of " + std::to_string(users) +
                           " users (" + std::to_string(users * kRecordBytes) +
                           " bytes). use more ranks");
    }
    // Unlike a vector, nothing is touched before it is used; large pages where the system has them.
    void* const memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        throw BackendError("resident store: cannot map " + std::to_string(bytes) + " bytes for " +
                           std::to_string(users) + " users (" + std::strerror(errno) +
                           "). lower the budget or use more ranks");
    }
    ::madvise(memory, bytes, MADV_HUGEPAGE);
    memory_ = static_cast<std::byte*>(memory);
    for (std::uint64_t user = 0; user < users; ++user)
        records_[user].store(kNothing, std::memory_order_relaxed);
    usage_.record_bytes = users * kRecordBytes;
}

SlabStore::~SlabStore() { ::munmap(memory_, chunks_ * ladder_.chunk_bytes()); }

std::uint64_t SlabStore::take_free(std::size_t size_class) {
    auto& free = free_[size_class];
    if (free.empty() && (!spare_chunks_.empty() || used_chunks_ < chunks_)) {
        std::uint64_t chunk = 0;
        if (spare_chunks_.empty()) {
            chunk = used_chunks_++;
            usage_.chunk_bytes += ladder_.chunk_bytes();
        } else {
            chunk = spare_chunks_.back();
            spare_chunks_.pop_back();
        }
        std::uint64_t const first = chunk * ladder_.chunk_bytes();
        for (std::uint64_t i = ladder_.slots_in_chunk(size_class); i-- > 0;)
            free.push_back(first + i * ladder_.slot_bytes(size_class));
    }
    if (free.empty()) return kNothing;
    std::uint64_t const offset = free.back();
    free.pop_back();
    return offset;
}

std::uint64_t SlabStore::take(std::size_t size_class, std::uint64_t writing) {
    for (;;) {
        std::uint64_t const offset = take_free(size_class);
        if (offset != kNothing) return offset;
        std::size_t const retired = retired_.size();
        reclaim();
        if (retired_.size() < retired || recycle_chunks()) continue;
        if (!retired_.empty()) return kNothing;  // readers hold what could be used
        std::uint64_t const victim = evict_ ? evict_(writing) : kNothing;
        if (victim == kNothing) return kNothing;
        validate(victim != writing && victim < users_,
                 "engine::SlabStore: the user to evict is the one being written, or nobody");
        if (records_[victim].load(std::memory_order_relaxed) == kNothing) return kNothing;
        drop(victim);
    }
}

void SlabStore::retire(std::uint64_t record) {
    std::size_t const size_class = class_of_record(record);
    std::uint64_t const bytes = ladder_.slot_bytes(size_class);
    usage_.slot_bytes -= bytes;
    usage_.payload_bytes -= backend_->layout().payload_bytes(tokens_of(record));
    usage_.retired_bytes += bytes;
    // Readers that come after this see the new record.
    retired_.push_back({offset_of(record), size_class, epoch_.fetch_add(1)});
}

void SlabStore::reclaim() {
    std::uint64_t oldest = UINT64_MAX;
    for (auto const& reader : readers_) {
        std::uint64_t const seen = reader.load();
        if (seen != 0) oldest = std::min(oldest, seen);
    }
    std::erase_if(retired_, [&](Retired const& slot) {
        if (slot.epoch >= oldest) return false;
        usage_.retired_bytes -= ladder_.slot_bytes(slot.size_class);
        free_[slot.size_class].push_back(slot.offset);
        return true;
    });
}

bool SlabStore::recycle_chunks() {
    std::size_t const before = spare_chunks_.size();
    for (std::size_t size_class = 0; size_class < free_.size(); ++size_class) {
        auto& free = free_[size_class];
        std::uint64_t const slots = ladder_.slots_in_chunk(size_class);
        if (free.size() < slots) continue;
        std::sort(free.begin(), free.end());
        auto const chunk_of = [&](std::size_t i) { return free[i] / ladder_.chunk_bytes(); };
        std::vector<std::uint64_t> kept;
        for (std::size_t first = 0; first < free.size();) {
            std::size_t end = first + 1;
            while (end < free.size() && chunk_of(end) == chunk_of(first)) ++end;
            if (end - first == slots) {
                spare_chunks_.push_back(chunk_of(first));
            } else {
                kept.insert(kept.end(), free.begin() + static_cast<std::ptrdiff_t>(first),
                            free.begin() + static_cast<std::ptrdiff_t>(end));
            }
            first = end;
        }
        free = std::move(kept);
    }
    return spare_chunks_.size() > before;
}

void SlabStore::publish(std::uint64_t user, std::uint64_t offset, std::uint32_t tokens,
                        std::size_t size_class) {
    std::uint64_t const before = records_[user].exchange(make_record(offset, tokens, size_class));
    usage_.slot_bytes += ladder_.slot_bytes(size_class);
    usage_.payload_bytes += backend_->layout().payload_bytes(tokens);
    if (before != kNothing) retire(before);
}

decode::EntryRef SlabStore::entry_of(std::uint64_t record) const {
    if (record == kNothing) return {};
    return {memory_ + offset_of(record), tokens_of(record),
            ladder_.capacity(class_of_record(record))};
}

template <class WriteSlot>
std::uint32_t SlabStore::fill_slot(std::size_t size_class, std::uint64_t offset,
                                   WriteSlot&& write) {
    try {
        return write(memory_ + offset);
    } catch (...) {
        free_[size_class].push_back(offset);
        throw;
    }
}

bool SlabStore::put(std::uint64_t user, std::span<ItemId const> history, decode::EncodeMode mode,
                    decode::Scratch& scratch) {
    validate(user < users_, "engine::SlabStore::put: no such user");
    auto const kept = static_cast<std::uint32_t>(
        std::min<std::size_t>(history.size(), ladder_.capacity(ladder_.classes() - 1)));
    std::size_t const size_class = ladder_.class_of(kept);
    std::uint64_t const offset = take(size_class, user);
    if (offset == kNothing) return false;
    auto const stored = fill_slot(size_class, offset, [&](std::byte* entry) {
        return backend_->encode(history.last(kept), ladder_.capacity(size_class), mode, entry,
                                scratch);
    });
    publish(user, offset, stored, size_class);
    return true;
}

bool SlabStore::append(std::uint64_t user, std::span<ItemId const> added, decode::EncodeMode mode,
                       decode::Scratch& scratch) {
    validate(user < users_, "engine::SlabStore::append: no such user");
    std::uint64_t const record = records_[user].load(std::memory_order_relaxed);
    validate(record != kNothing, "engine::SlabStore::append: the user has no entry");
    auto const old = entry_of(record);
    std::uint32_t const most = ladder_.capacity(ladder_.classes() - 1);
    auto const tokens =
        static_cast<std::uint32_t>(std::min<std::size_t>(old.tokens + added.size(), most));
    std::size_t const size_class = std::max(ladder_.class_of(tokens), class_of_record(record));
    std::uint64_t const offset = take(size_class, user);
    if (offset == kNothing) return false;
    std::uint32_t const capacity = ladder_.capacity(size_class);
    auto const& layout = backend_->layout();
    auto const from = layout.offsets(old.capacity);
    auto const to = layout.offsets(capacity);
    auto const stored = fill_slot(size_class, offset, [&](std::byte* entry) {
        for (std::size_t s = 0; s < kv::kSections; ++s) {
            std::copy_n(old.data + from[s],
                        layout.payload_bytes(old.tokens, static_cast<kv::Section>(s)),
                        entry + to[s]);
        }
        return backend_->append(entry, old.tokens, capacity, added, mode, scratch);
    });
    publish(user, offset, stored, size_class);
    return true;
}

bool SlabStore::append_alone(std::uint64_t user, std::span<ItemId const> added,
                             decode::EncodeMode mode, decode::Scratch& scratch) {
    validate(user < users_, "engine::SlabStore::append_alone: no such user");
    std::uint64_t const record = records_[user].load(std::memory_order_relaxed);
    validate(record != kNothing, "engine::SlabStore::append_alone: the user has no entry");
    std::size_t const size_class = class_of_record(record);
    std::uint32_t const capacity = ladder_.capacity(size_class);
    bool const largest = size_class + 1 == ladder_.classes();
    if (!largest && tokens_of(record) + added.size() > capacity)
        return append(user, added, mode, scratch);
    auto const& layout = backend_->layout();
    auto const stored = backend_->append(memory_ + offset_of(record), tokens_of(record), capacity,
                                         added, mode, scratch);
    usage_.payload_bytes += layout.payload_bytes(stored) - layout.payload_bytes(tokens_of(record));
    records_[user].store(make_record(offset_of(record), stored, size_class));
    return true;
}

std::uint64_t SlabStore::put_range(std::uint64_t first, std::span<std::uint32_t const> tokens,
                                   Write const& write) {
    validate(first + tokens.size() <= users_, "engine::SlabStore::put_range: no such users");
    std::vector<std::uint64_t> offsets;
    for (std::uint32_t const n : tokens) {
        std::uint64_t const offset = take(ladder_.class_of(n), kNothing);
        if (offset == kNothing) break;
        offsets.push_back(offset);
    }
    ParallelFailure failure;
#pragma omp parallel
    {
        auto const scratch = backend_->make_scratch();
#pragma omp for schedule(dynamic, 16)
        for (std::size_t i = 0; i < offsets.size(); ++i) {
            failure.guard([&] {
                write(first + i, memory_ + offsets[i],
                      ladder_.capacity(ladder_.class_of(tokens[i])), *scratch);
            });
        }
    }
    try {
        failure.rethrow();
    } catch (...) {
        for (std::size_t i = 0; i < offsets.size(); ++i)
            free_[ladder_.class_of(tokens[i])].push_back(offsets[i]);
        throw;
    }
    for (std::size_t i = 0; i < offsets.size(); ++i)
        publish(first + i, offsets[i], tokens[i], ladder_.class_of(tokens[i]));
    return offsets.size();
}

void SlabStore::drop(std::uint64_t user) {
    validate(user < users_, "engine::SlabStore::drop: no such user");
    std::uint64_t const record = records_[user].exchange(kNothing);
    if (record != kNothing) retire(record);
}

SlabUsage SlabStore::usage() const { return usage_; }

SlabStore::Reader::Reader(SlabStore& store) : store_(store), place_(0) {
    for (; place_ < kMostReaders; ++place_) {
        std::uint64_t nobody = 0;
        if (store.readers_[place_].compare_exchange_strong(nobody, store.epoch_.load())) return;
    }
    throw InternalError("engine::SlabStore: more readers than " + std::to_string(kMostReaders));
}

SlabStore::Reader::~Reader() { store_.readers_[place_].store(0); }

void SlabStore::Reader::refresh() { store_.readers_[place_].store(store_.epoch_.load()); }

decode::EntryRef SlabStore::Reader::read(std::uint64_t user) const {
    validate(user < store_.users_, "engine::SlabStore::Reader: no such user");
    return store_.entry_of(store_.records_[user].load());
}

}  // namespace ckvsim::engine
