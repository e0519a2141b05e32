// What the machine can do, measured in the same run as the benchmarks that are judged by it: memory
// streams, random rows of a table, matrix products, softmax. Registered as benchmarks, so that
// repetitions interleave with the others.
#pragma once

#include <benchmark/benchmark.h>
#include <omp.h>

#include <algorithm>
#include <compare>
#include <set>
#include <string>
#include <vector>

#include "core/rng.hpp"
#include "device/cpu/attention.hpp"
#include "train/vector_clones.hpp"

#ifdef CKVSIM_BENCH_CBLAS
#include <cblas.h>
#include <dlfcn.h>
#endif

namespace ckvsim::bench {

using device::cpu::AlignedVector;

/// Of each array of triad and copy: far beyond the last-level cache.
inline constexpr std::size_t kStreamFloats = std::size_t{32} << 20;

CKVSIM_VECTOR_CLONES inline void triad(float* a, float const* b, float const* c,
                                       std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) a[i] = b[i] + 3.0F * c[i];
}
CKVSIM_VECTOR_CLONES inline void copy(float* a, float const* b, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) a[i] = b[i];
}
/// Sums `rows` rows of `floats` (a multiple of 32) each, taken in the order of `order`, prefetching
/// the row kAhead further on. Null: one row after the other.
CKVSIM_VECTOR_CLONES inline float sum_rows(float const* table, std::size_t floats,
                                           std::uint32_t const* order, std::size_t rows) {
    constexpr std::size_t kAhead = 8;
    float lanes[32] = {};
    for (std::size_t r = 0; r < rows; ++r) {
        float const* row = table + (order == nullptr ? r : order[r]) * floats;
        if (order != nullptr && r + kAhead < rows) {
            float const* next = table + order[r + kAhead] * floats;
            for (std::size_t i = 0; i < floats; i += 16) __builtin_prefetch(next + i);
        }
        for (std::size_t i = 0; i < floats; i += 32) {
            for (std::size_t k = 0; k < 32; ++k) lanes[k] += row[i + k];
        }
    }
    float total = 0.0F;
    for (float const lane : lanes) total += lane;
    return total;
}

/// body(first, end) on equal parts of [0, count), one a thread.
template <class Body>
void on_threads(int threads, std::size_t count, Body&& body) {
    if (threads == 1) return body(std::size_t{0}, count);
#pragma omp parallel num_threads(threads)
    {
        auto const t = static_cast<std::size_t>(omp_get_thread_num());
        auto const all = static_cast<std::size_t>(omp_get_num_threads());
        body(count * t / all, count * (t + 1) / all);
    }
}

struct Streams {
    AlignedVector<float> a = AlignedVector<float>(kStreamFloats, 1.0F);
    AlignedVector<float> b = AlignedVector<float>(kStreamFloats, 2.0F);
    AlignedVector<float> c = AlignedVector<float>(kStreamFloats, 3.0F);
    static Streams& shared() {
        static Streams streams;
        return streams;
    }
};

/// STREAM's count: two reads and one write (the line that a write fetches first is not counted).
inline void triad_rate(benchmark::State& state, int threads) {
    Streams& s = Streams::shared();
    for (auto _ : state) {
        on_threads(threads, kStreamFloats, [&](std::size_t first, std::size_t end) {
            triad(s.a.data() + first, s.b.data() + first, s.c.data() + first, end - first);
        });
        benchmark::ClobberMemory();
    }
    state.counters["bytes"] = 3.0 * sizeof(float) * kStreamFloats;
}

inline void copy_rate(benchmark::State& state, int threads) {
    Streams& s = Streams::shared();
    for (auto _ : state) {
        on_threads(threads, kStreamFloats, [&](std::size_t first, std::size_t end) {
            copy(s.a.data() + first, s.b.data() + first, end - first);
        });
        benchmark::ClobberMemory();
    }
    state.counters["bytes"] = 2.0 * sizeof(float) * kStreamFloats;
}

inline void read_rate(benchmark::State& state, int threads) {
    Streams& s = Streams::shared();
    for (auto _ : state) {
        on_threads(threads, kStreamFloats, [&](std::size_t first, std::size_t end) {
            float const total = sum_rows(s.b.data() + first, 256, nullptr, (end - first) / 256);
            benchmark::DoNotOptimize(total);
        });
    }
    state.counters["bytes"] = 1.0 * sizeof(float) * kStreamFloats;
}

/// Random rows of `row_bytes` out of a table of `table_bytes`, read whole.
inline void gather_rate(benchmark::State& state, std::size_t table_bytes, std::size_t row_bytes,
                        int threads) {
    std::size_t const floats = row_bytes / sizeof(float);
    std::size_t const rows = table_bytes / row_bytes;
    AlignedVector<float> const table(rows * floats, 1.0F);
    constexpr std::size_t kReads = 32768;
    std::vector<std::uint32_t> order(kReads);
    CounterRng rng(1, Purpose::test, 77);
    for (auto& row : order) row = rng.below(static_cast<std::uint32_t>(rows));
    for (auto _ : state) {
        on_threads(threads, kReads, [&](std::size_t first, std::size_t end) {
            float const total = sum_rows(table.data(), floats, order.data() + first, end - first);
            benchmark::DoNotOptimize(total);
        });
    }
    state.counters["bytes"] = 1.0 * kReads * static_cast<double>(row_bytes);
    state.counters["table_bytes"] = static_cast<double>(table_bytes);
}

/// A table of `table_bytes` read again and again, row after row: weights that a cache may hold.
inline void stream_rate(benchmark::State& state, std::size_t table_bytes, int threads) {
    constexpr std::size_t kRow = 256;
    std::size_t const rows = table_bytes / (kRow * sizeof(float));
    AlignedVector<float> const table(rows * kRow, 1.0F);
    for (auto _ : state) {
        on_threads(threads, rows, [&](std::size_t first, std::size_t end) {
            float const total = sum_rows(table.data() + first * kRow, kRow, nullptr, end - first);
            benchmark::DoNotOptimize(total);
        });
    }
    state.counters["bytes"] = static_cast<double>(rows * kRow * sizeof(float));
    state.counters["table_bytes"] = static_cast<double>(table_bytes);
}

/// Softmax of rows in the L1 cache: the second bound of many candidates, beside products.
inline void softmax_rate(benchmark::State& state, int threads) {
    constexpr std::size_t kRows = 64;
    constexpr std::size_t kLength = 1024;
    AlignedVector<float> const fresh(kLength, 0.5F);
    AlignedVector<float> rows(static_cast<std::size_t>(threads) * kLength);
    for (auto _ : state) {
        on_threads(threads, kRows * static_cast<std::size_t>(threads),
                   [&](std::size_t first, std::size_t end) {
                       float* row = rows.data() + first / kRows * kLength;
                       for (std::size_t r = first; r < end; ++r) {
                           std::copy_n(fresh.data(), kLength, row);
                           device::cpu::softmax_in_place(row, kLength, 0.1F);
                           benchmark::DoNotOptimize(row);
                       }
                   });
    }
    state.counters["exps"] = static_cast<double>(kRows * kLength) * threads;
}

/// SiLU of values in the L1 cache: what HSTU has in place of the softmax, and between its products.
inline void silu_rate(benchmark::State& state, int threads) {
    constexpr std::size_t kCalls = 64;
    constexpr std::size_t kLength = 1024;
    AlignedVector<float> const fresh(kLength, 0.5F);
    AlignedVector<float> rows(static_cast<std::size_t>(threads) * kLength);
    for (auto _ : state) {
        on_threads(threads, kCalls * static_cast<std::size_t>(threads),
                   [&](std::size_t first, std::size_t end) {
                       float* row = rows.data() + first / kCalls * kLength;
                       for (std::size_t r = first; r < end; ++r) {
                           std::copy_n(fresh.data(), kLength, row);
                           device::cpu::silu(row, kLength);
                           benchmark::DoNotOptimize(row);
                       }
                   });
    }
    state.counters["exps"] = static_cast<double>(kCalls * kLength) * threads;
}

#ifdef CKVSIM_BENCH_CBLAS
/// Single-precision product of two square matrices: what the BLAS of this machine reaches.
inline void gemm_rate(benchmark::State& state, int threads) {
    constexpr int kSize = 1024;
    AlignedVector<float> const a(std::size_t{kSize} * kSize, 1.0F);
    AlignedVector<float> const b(std::size_t{kSize} * kSize, 0.5F);
    AlignedVector<float> c(std::size_t{kSize} * kSize);
    using SetThreads = void (*)(int);
    auto* set_threads =
        reinterpret_cast<SetThreads>(dlsym(RTLD_DEFAULT, "openblas_set_num_threads"));
    if (set_threads != nullptr) set_threads(threads);
    for (auto _ : state) {
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, kSize, kSize, kSize, 1.0F, a.data(),
                    kSize, b.data(), kSize, 0.0F, c.data(), kSize);
        benchmark::DoNotOptimize(c.data());
    }
    state.counters["flops"] = 2.0 * kSize * kSize * kSize;
}

/// OpenBLAS says what it is; another BLAS is named by its file, because reference BLAS is 30 times
/// slower and no measure of the machine.
inline std::string blas_name() {
    using Config = char* (*)();
    auto* config = reinterpret_cast<Config>(dlsym(RTLD_DEFAULT, "openblas_get_config"));
    if (config != nullptr) return config();
    Dl_info info{};
    void* symbol = dlsym(RTLD_DEFAULT, "cblas_sgemm");
    bool const found = symbol != nullptr && dladdr(symbol, &info) != 0;
    return found && info.dli_fname != nullptr ? info.dli_fname : "unknown";
}
#else
inline std::string blas_name() { return "-"; }
#endif

/// Tables that requests read random rows of: all that one request reads in turn, because what lies
/// between two visits to a row decides which cache still holds it.
struct RandomTable {
    std::size_t bytes = 0;
    std::size_t row_bytes = 0;
    auto operator<=>(RandomTable const&) const = default;
};

/// Registers machine/* for one to `most` threads: random rows of `tables`, streams at the sizes of
/// `weights`; each set holds a size once.
inline void register_machine(std::set<RandomTable> const& tables,
                             std::set<std::size_t> const& weights, int most) {
    auto const add = [](std::string const& name, int threads, auto&& body) {
        std::string const full = "machine/" + name + "/threads:" + std::to_string(threads);
        benchmark::RegisterBenchmark(full.c_str(), body)->UseRealTime();
    };
    for (int threads = 1; threads <= std::min(most, omp_get_num_procs()); ++threads) {
        add("triad", threads, [threads](benchmark::State& s) { triad_rate(s, threads); });
        add("copy", threads, [threads](benchmark::State& s) { copy_rate(s, threads); });
        add("read", threads, [threads](benchmark::State& s) { read_rate(s, threads); });
        for (RandomTable const& table : tables) {
            add("gather/row:" + std::to_string(table.row_bytes) +
                    "/bytes:" + std::to_string(table.bytes),
                threads, [=](benchmark::State& s) {
                    gather_rate(s, table.bytes, table.row_bytes, threads);
                });
        }
        for (std::size_t const bytes : weights) {
            add("stream/bytes:" + std::to_string(bytes), threads,
                [=](benchmark::State& s) { stream_rate(s, bytes, threads); });
        }
        add("softmax", threads, [threads](benchmark::State& s) { softmax_rate(s, threads); });
        add("silu", threads, [threads](benchmark::State& s) { silu_rate(s, threads); });
#ifdef CKVSIM_BENCH_CBLAS
        add("gemm", threads, [threads](benchmark::State& s) { gemm_rate(s, threads); });
#endif
    }
}

}  // namespace ckvsim::bench
