// One request's attention stage and one user's prefill on the CPU backend, per strategy, one
// thread, d = 256 in 2 heads. Entries cycle through 64 MiB, so that they are read from memory as in
// serving. Axes: candidates C; history n; tokens the long branch attends to (top_k; top_k = n
// leaves no search to do). `read_B` is what one request reads from its entry and from item tables
// (pools are shared and stay in the caches); with C = 1, `of_triad` is read_B over the time as a
// share of a triad measured in the same run.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <memory>
#include <vector>

#include "core/rng.hpp"
#include "device/cpu/aligned.hpp"
#include "device/cpu/cpu_backend.hpp"
#include "workload/synthetic.hpp"

namespace {

using namespace ckvsim;

constexpr std::size_t kWorkingSetBytes = std::size_t{64} << 20;
constexpr std::uint32_t kItems = 20000;

struct Case {
    char const* name;
    model::VariantParams weights;
    kv::StrategyParams strategy;
};

std::vector<Case> cases() {
    using kv::Keying;
    using kv::StrategyKind;
    using kv::ValueType;
    model::VariantParams full;
    model::VariantParams collective;
    collective.variant = model::Variant::collective;
    collective.scope = model::Scope::all;
    collective.m = 500;
    std::vector<Case> all;
    auto add = [&](char const* name, model::VariantParams const& weights, StrategyKind kind,
                   ValueType type, Keying keying = Keying::user_token,
                   kv::SearchKeys keys = kv::SearchKeys::stored) {
        kv::StrategyParams strategy;
        strategy.kind = kind;
        strategy.value_type = type;
        strategy.keying = keying;
        strategy.search_keys = keys;
        all.push_back({name, weights, strategy});
    };
    add("recompute", full, StrategyKind::recompute, ValueType::fp32);
    add("full_fp32", full, StrategyKind::full, ValueType::fp32);
    add("full_fp16", full, StrategyKind::full, ValueType::fp16);
    add("full_int8", full, StrategyKind::full, ValueType::int8);
    add("full_int4", full, StrategyKind::full, ValueType::int4);
    add("item_table_fp32", full, StrategyKind::item_table, ValueType::fp32);
    add("item_table_fp16", full, StrategyKind::item_table, ValueType::fp16);
    add("item_table_int8", full, StrategyKind::item_table, ValueType::int8);
    add("low_rank_r8_fp16", full, StrategyKind::low_rank, ValueType::fp16);
    add("vq_8x8bit", full, StrategyKind::vq, ValueType::int8);
    add("vq_8x4bit", full, StrategyKind::vq, ValueType::int8);
    all.back().strategy.code_bits = 4;
    add("collective_m500_fp32", collective, StrategyKind::collective, ValueType::fp32);
    add("collective_m500_fp16", collective, StrategyKind::collective, ValueType::fp16);
    add("collective_m500_int8", collective, StrategyKind::collective, ValueType::int8);
    add("collective_m500_item_fp32", collective, StrategyKind::collective, ValueType::fp32,
        Keying::item);
    return all;
}

model::SimShape shape(std::uint32_t tokens, std::uint32_t top_k) {
    model::SimShape wide;
    wide.feature_dim = 32;
    wide.attention_dim = 256;
    wide.heads = 2;
    wide.search_dim = 16;
    wide.top_k = top_k;
    wide.max_tokens = tokens;
    return wide;
}

/// Bytes per second of a[i] = b[i] + s * c[i], counting two reads and one write; best of several.
double triad_bytes_per_s() {
    std::size_t const count = kWorkingSetBytes / sizeof(float);
    device::cpu::AlignedVector<float> a(count);
    device::cpu::AlignedVector<float> b(count, 1.0F);
    device::cpu::AlignedVector<float> c(count, 2.0F);
    double best = 0.0;
    for (int repeat = 0; repeat < 10; ++repeat) {
        std::clock_t const start = std::clock();
        for (std::size_t i = 0; i < count; ++i) a[i] = b[i] + 3.0F * c[i];
        benchmark::DoNotOptimize(a.data());
        benchmark::ClobberMemory();
        double const seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
        best = std::max(best, 3.0 * static_cast<double>(count * sizeof(float)) / seconds);
    }
    return best;
}

/// A backend and as many encoded entries as fill the working set.
struct Fixture {
    Fixture(Case const& which, std::uint32_t length, std::uint32_t top_k) : capacity(length) {
        workload::SyntheticParams params;
        params.items = kItems;
        params.history_min = length;
        params.history_median = length;
        params.history_cap = length;
        population = workload::make_synthetic(params);
        auto const weights = std::make_shared<model::SimWeights const>(
            model::random_sim_weights(shape(length, top_k), which.weights, population->catalogue(),
                                      population->context_vocabulary(), 1));
        backend = device::cpu::make_backend(weights, which.strategy, population->catalogue());
        scratch = backend->make_scratch();
        entry_bytes = backend->layout().entry_bytes(length);
        entries = std::clamp<std::size_t>(kWorkingSetBytes / entry_bytes, 1, 2000);
        memory.resize(entries * entry_bytes);
        for (std::size_t i = 0; i < entries; ++i) {
            population->load_history(i, history);
            tokens = backend->encode(history, length, decode::EncodeMode::memo, entry(i), *scratch);
        }
    }
    std::byte* entry(std::size_t i) { return memory.data() + (i % entries) * entry_bytes; }

    /// Bytes of the entry and of item tables that a request with one candidate reads.
    [[nodiscard]] double read_bytes() const {
        auto const& layout = backend->layout();
        auto const& model = backend->weights().shape;
        auto const& strategy = backend->strategy();
        bool const searches = tokens > model.top_k;
        std::uint32_t const found = std::min(tokens, model.top_k);
        std::uint32_t const recent = std::min(tokens, model.short_tokens);
        double bytes = 0.0;
        for (std::size_t s = 0; s < kv::kSections; ++s) {
            auto const section = static_cast<kv::Section>(s);
            std::string const site = kv::site_of(section);
            std::uint32_t read = site == "long" ? found : layout.tokens_in(section, tokens);
            if (section == kv::Section::search && !searches) read = 0;
            bytes += static_cast<double>(read) * layout.bytes_per_token(section);
        }
        bool const item_codes =
            strategy.kind == kv::StrategyKind::collective && strategy.keying == kv::Keying::item;
        auto const type = strategy.value_type;
        if (strategy.kind == kv::StrategyKind::item_table)
            bytes += 2.0 * (recent + found) * kv::stored_row_bytes(model, strategy);
        if (item_codes)
            bytes += 2.0 * (recent + found) *
                     (strategy.index_bytes +
                      kv::row_bytes(kv::user_type(type), backend->weights().variant.d_u));
        if (searches && (strategy.kind == kv::StrategyKind::item_table || item_codes))
            bytes += static_cast<double>(tokens) *
                     kv::row_bytes(kv::search_type(type), model.search_dim);
        return bytes;
    }

    std::uint32_t capacity;
    std::unique_ptr<workload::Population> population;
    std::unique_ptr<decode::Backend const> backend;
    std::unique_ptr<decode::Scratch> scratch;
    device::cpu::AlignedVector<std::byte> memory;
    std::vector<ItemId> history;
    std::size_t entry_bytes = 0;
    std::size_t entries = 0;
    std::uint32_t tokens = 0;
};

void decode_stage(benchmark::State& state, Case const& which, double triad) {
    Fixture fixture(which, static_cast<std::uint32_t>(state.range(1)),
                    static_cast<std::uint32_t>(state.range(2)));
    auto const count = static_cast<std::uint32_t>(state.range(0));
    std::vector<ItemId> candidates(count);
    CounterRng rng(1, Purpose::test, 1);
    for (auto& item : candidates) item = 1 + rng.below(kItems);
    std::vector<float> features(std::size_t{count} * fixture.backend->feature_width());
    std::size_t next = 0;
    for (auto _ : state) {
        decode::ScoreRequest request;
        request.entry = {fixture.entry(next++), fixture.tokens, fixture.capacity};
        request.candidates = candidates.data();
        request.count = count;
        fixture.backend->decode(request, features.data(), *fixture.scratch);
        benchmark::DoNotOptimize(features.data());
    }
    auto const requests = static_cast<double>(state.iterations());
    using benchmark::Counter;
    state.counters["requests/s"] = Counter(requests, Counter::kIsRate);
    state.counters["scores/s"] = Counter(requests * count, Counter::kIsRate);
    state.counters["read_B"] = fixture.read_bytes();
    if (count == 1) {
        state.counters["of_triad"] =
            Counter(requests * fixture.read_bytes() / triad, Counter::kIsRate);
    }
}

void prefill_stage(benchmark::State& state, Case const& which) {
    Fixture fixture(which, static_cast<std::uint32_t>(state.range(0)), 100);
    fixture.population->load_history(0, fixture.history);
    std::size_t next = 0;
    for (auto _ : state) {
        fixture.backend->encode(fixture.history, fixture.capacity, decode::EncodeMode::compute,
                                fixture.entry(next++), *fixture.scratch);
    }
    state.SetItemsProcessed(state.iterations() * state.range(0));
}

}  // namespace

int main(int argc, char** argv) {
#ifndef NDEBUG
    std::fprintf(stderr, "bench_decode: built with assertions; build the bench preset\n");
    return 1;
#endif
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
    double const triad = triad_bytes_per_s();
    benchmark::AddCustomContext("triad_bytes_per_s", std::to_string(triad));
    benchmark::AddCustomContext("instruction_set", device::cpu::instruction_set());
    for (auto const& which : cases()) {
        auto* decode = benchmark::RegisterBenchmark(
            (std::string("decode/") + which.name).c_str(),
            [which, triad](benchmark::State& state) { decode_stage(state, which, triad); });
        decode->ArgNames({"C", "n", "top_k"})->Unit(benchmark::kMicrosecond);
        for (auto const& [tokens, top_k] : {std::pair{1000, 100}, {1000, 1000}, {200, 100}}) {
            for (int const count : {1, 8, 32, 128, 512}) {
                // Many candidates over all tokens: one point is enough.
                if (tokens == top_k && count != 1 && count != 128) continue;
                decode->Args({count, tokens, top_k});
            }
        }
        // Both branches over one list, as histories within the short branch have it: around the
        // border of the wide form (sim/docs/adr/0012-wide-attention.md).
        for (int const count : {1, 63, 64, 100, 512}) decode->Args({count, 49, 100});
        benchmark::RegisterBenchmark(
            (std::string("prefill/") + which.name).c_str(),
            [which](benchmark::State& state) { prefill_stage(state, which); })
            ->ArgName("n")
            ->Arg(1000)
            ->Unit(benchmark::kMicrosecond);
    }
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    return 0;
}
