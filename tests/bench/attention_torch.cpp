// The decode of attention_roofline.cpp in PyTorch, in fp32: scores by a batched matrix product,
// softmax, sums by another; and the library's own attention call. Full KV; CollectiveKV and an item
// table as one writes them with the library: rows chosen by index_select, joined with the user's
// values, then the same attention. Every request belongs to another user, out of as much memory as
// there. Threads, BLAS and its speed are printed; a BLAS as slow as the reference one is refused,
// because it says nothing about PyTorch.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <benchmark/benchmark.h>
#include <dlfcn.h>
#include <torch/version.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <tuple>

namespace {

constexpr std::int64_t kDim = 256;
constexpr std::int64_t kHeads = 2;
constexpr std::int64_t kEntryBytes = std::int64_t{256} << 20;
constexpr std::int64_t kMostUsers = 1024;  ///< with small entries
constexpr std::int64_t kItems = 40000;     ///< of the item table
/// Reference BLAS reaches 3, any tuned one tens per core.
constexpr double kSlowBlasGflops = 10.0;

/// Keys and values of a user: [H, n, d / H] views of [n, d].
struct Entry {
    at::Tensor k;
    at::Tensor v;
};

at::Tensor heads_of(at::Tensor const& rows) {
    return rows.view({rows.size(0), kHeads, kDim / kHeads}).transpose(0, 1);
}

/// What users keep; entry() is part of what is timed.
class Users {
  public:
    virtual ~Users() = default;
    [[nodiscard]] virtual Entry entry(std::int64_t user) const = 0;
};

/// K and V of every token, entries back to back in one block of memory.
class FullUsers : public Users {
  public:
    explicit FullUsers(std::int64_t tokens)
        : count_(kEntryBytes / (2 * tokens * kDim * 4)),
          memory_(at::rand({count_, 2, tokens, kDim}, at::kFloat) * 2.0 - 1.0) {}
    [[nodiscard]] Entry entry(std::int64_t user) const override {
        auto const own = memory_.select(0, user % count_);
        return {heads_of(own.select(0, 0)), heads_of(own.select(0, 1))};
    }

  private:
    std::int64_t count_;
    at::Tensor memory_;
};

/// Indices of shared rows of K and V, uniformly random, and d_u values of the user's own.
class SharedRowUsers : public Users {
  public:
    SharedRowUsers(std::int64_t tokens, std::int64_t rows, std::int64_t d_u)
        : d_u_(d_u),
          shared_(at::rand({2, rows, kDim - d_u}, at::kFloat) * 2.0 - 1.0),
          indices_(at::randint(rows, {kMostUsers, 2, tokens}, at::kInt)),
          own_(at::rand({kMostUsers, 2, tokens, d_u}, at::kFloat) * 2.0 - 1.0) {}
    [[nodiscard]] Entry entry(std::int64_t user) const override {
        auto const side = [&](std::int64_t s) {
            auto const chosen = shared_.select(0, s).index_select(
                0, indices_.select(0, user % kMostUsers).select(0, s));
            if (d_u_ == 0) return heads_of(chosen);
            auto const values = own_.select(0, user % kMostUsers).select(0, s);
            return heads_of(at::cat({chosen, values}, 1));
        };
        return {side(0), side(1)};
    }

  private:
    std::int64_t d_u_;
    at::Tensor shared_;
    at::Tensor indices_;
    at::Tensor own_;
};

/// An arm of the comparison.
struct Arm {
    std::string suffix;       ///< of the row's name: none for full KV
    std::int64_t shared = 0;  ///< rows of the pools or of the item table; 0 = full KV
    std::int64_t d_u = 0;
    bool pools = false;

    [[nodiscard]] std::string size() const {
        return pools ? "/m:" + std::to_string(shared) : std::string();
    }
    /// Made when first needed, kept for the repetitions.
    [[nodiscard]] Users const& users(std::int64_t tokens) const {
        static std::map<std::pair<std::string, std::int64_t>, std::unique_ptr<Users>> all;
        auto& made = all[{suffix + size(), tokens}];
        if (!made && shared == 0) made = std::make_unique<FullUsers>(tokens);
        if (!made) made = std::make_unique<SharedRowUsers>(tokens, shared, d_u);
        return *made;
    }
};

at::Tensor by_products(at::Tensor const& q, Entry const& entry) {
    double const scale = 1.0 / std::sqrt(static_cast<double>(kDim / kHeads));
    auto const scores = at::bmm(q * scale, entry.k.transpose(1, 2));
    return at::bmm(at::softmax(scores, -1), entry.v);
}

at::Tensor by_own_call(at::Tensor const& q, Entry const& entry) {
    return std::get<0>(at::_scaled_dot_product_attention(q, entry.k, entry.v));
}

using Attention = at::Tensor (*)(at::Tensor const&, Entry const&);

void attend(benchmark::State& state, Arm const& arm, Attention attention, std::int64_t candidates,
            std::int64_t tokens, int threads) {
    at::NoGradGuard const no_gradients;
    at::set_num_threads(threads);
    Users const& users = arm.users(tokens);
    auto const q = heads_of(at::randn({candidates, kDim}, at::kFloat));
    auto const entry = users.entry(0);
    auto const exact =
        by_products(q.to(at::kDouble), {entry.k.to(at::kDouble), entry.v.to(at::kDouble)});
    double const error = (attention(q, entry).to(at::kDouble) - exact).abs().max().item<double>();
    if (!(error < 2e-5)) {
        state.SkipWithError(("wrong by " + std::to_string(error)).c_str());
        return;
    }
    std::int64_t const batch = std::max<std::int64_t>(1, 32 / candidates);
    std::int64_t next = 0;
    for (auto _ : state) {
        for (std::int64_t i = 0; i < batch; ++i) {
            auto const out = attention(q, users.entry(next++));
            benchmark::DoNotOptimize(out.data_ptr());
        }
    }
    state.counters["requests"] = static_cast<double>(batch);
}

double gemm_gflops() {
    constexpr std::int64_t kSize = 512;
    auto const a = at::ones({kSize, kSize}, at::kFloat);
    double best_s = 1e9;
    for (int i = 0; i < 5; ++i) {
        auto const begin = std::chrono::steady_clock::now();
        auto const product = at::mm(a, a);
        std::chrono::duration<double> const took = std::chrono::steady_clock::now() - begin;
        best_s = std::min(best_s, took.count());
    }
    return 2.0 * kSize * kSize * kSize / best_s / 1e9;
}

std::string blas_name() {
    using Config = char* (*)();
    auto* config = reinterpret_cast<Config>(dlsym(RTLD_DEFAULT, "openblas_get_config"));
    return config == nullptr ? "not OpenBLAS" : config();
}

void register_arm(Arm const& arm) {
    for (auto const& [how, attention] :
         {std::pair<char const*, Attention>{"products", by_products}, {"own_call", by_own_call}}) {
        for (int const threads : {1, 2}) {
            for (std::int64_t const c : {1, 8, 32, 128, 512}) {
                bool const both = c == 1 || c == 128;
                if (threads == 2 ? !both || arm.shared != 0 : !both && arm.shared != 0) continue;
                std::string const name = std::string("torch/") + how + arm.suffix +
                                         "/C:" + std::to_string(c) + "/n:1000/H:2" + arm.size() +
                                         "/threads:" + std::to_string(threads);
                auto* const body = attention;
                benchmark::RegisterBenchmark(
                    name.c_str(),
                    [=](benchmark::State& state) { attend(state, arm, body, c, 1000, threads); })
                    ->UseRealTime()
                    ->Unit(benchmark::kMicrosecond);
            }
        }
    }
}

}  // namespace

int main(int argc, char** argv) {
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
    at::set_num_threads(1);
    double const gflops = gemm_gflops();
    if (gflops < kSlowBlasGflops) {
        std::fprintf(stderr,
                     "bench_attention_torch: PyTorch's BLAS reaches %.1f GFLOP/s (%s), which would "
                     "compare with no PyTorch in use; install libopenblas0-openmp\n",
                     gflops, blas_name().c_str());
        return 1;
    }
    benchmark::AddCustomContext("torch", TORCH_VERSION);
    benchmark::AddCustomContext("blas", blas_name());
    benchmark::AddCustomContext("blas_gflops_one_thread", std::to_string(gflops));
    for (Arm const& arm :
         {Arm{"", 0, 0, false}, Arm{"_collective_fp32", 500, 1, true},
          Arm{"_collective_fp32", 10000, 1, true}, Arm{"_item_table_fp32", kItems, 0, false}}) {
        register_arm(arm);
    }
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    return 0;
}
