// One request's attention stage and one user's prefill on the CPU backend, per strategy, one
// thread. Histories of 1,000 tokens, d = 256; entries cycle through 64 MiB, so that caches are read
// from memory as in serving. The candidates' axis is C in {1, 128}. `bytes/s` is the payload of the
// entry over the time: compare it with the triad of `ckvsim calibrate`.
#include <benchmark/benchmark.h>

#include <memory>
#include <numeric>
#include <vector>

#include "core/rng.hpp"
#include "device/cpu/aligned.hpp"
#include "device/cpu/cpu_backend.hpp"
#include "workload/synthetic.hpp"

namespace {

using namespace ckvsim;

constexpr std::uint32_t kTokens = 1000;
constexpr std::size_t kWorkingSetBytes = std::size_t{64} << 20;

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
                   ValueType type, Keying keying = Keying::user_token) {
        kv::StrategyParams strategy;
        strategy.kind = kind;
        strategy.value_type = type;
        strategy.keying = keying;
        all.push_back({name, weights, strategy});
    };
    add("recompute", full, StrategyKind::recompute, ValueType::fp32);
    add("full_fp32", full, StrategyKind::full, ValueType::fp32);
    add("full_fp16", full, StrategyKind::full, ValueType::fp16);
    add("item_table_fp32", full, StrategyKind::item_table, ValueType::fp32);
    add("collective_m500_fp32", collective, StrategyKind::collective, ValueType::fp32);
    add("collective_m500_fp16", collective, StrategyKind::collective, ValueType::fp16);
    return all;
}

model::SimShape shape() {
    model::SimShape wide;
    wide.feature_dim = 64;
    wide.attention_dim = 256;
    wide.heads = 2;
    wide.search_dim = 32;
    wide.top_k = 100;
    wide.max_tokens = kTokens;
    return wide;
}

/// A backend and as many encoded entries as fill the working set.
struct Fixture {
    explicit Fixture(Case const& which) {
        workload::SyntheticParams params;
        params.items = 20000;
        params.history_min = kTokens;
        params.history_median = kTokens;
        params.history_cap = kTokens;
        population = workload::make_synthetic(params);
        auto const weights = std::make_shared<model::SimWeights const>(model::random_sim_weights(
            shape(), which.weights, population->catalogue(), population->context_vocabulary(), 1));
        backend = device::cpu::make_backend(weights, which.strategy, population->catalogue());
        scratch = backend->make_scratch();
        entry_bytes = backend->layout().entry_bytes(kTokens);
        entries = std::max<std::size_t>(1, kWorkingSetBytes / entry_bytes);
        entries = std::min<std::size_t>(entries, 2000);
        memory.resize(entries * entry_bytes);
        for (std::size_t i = 0; i < entries; ++i) {
            population->load_history(i, history);
            tokens =
                backend->encode(history, kTokens, decode::EncodeMode::memo, entry(i), *scratch);
        }
    }
    std::byte* entry(std::size_t i) { return memory.data() + (i % entries) * entry_bytes; }

    std::unique_ptr<workload::Population> population;
    std::unique_ptr<decode::Backend const> backend;
    std::unique_ptr<decode::Scratch> scratch;
    device::cpu::AlignedVector<std::byte> memory;
    std::vector<ItemId> history;
    std::size_t entry_bytes = 0;
    std::size_t entries = 0;
    std::uint32_t tokens = 0;
};

void decode_stage(benchmark::State& state, Case const& which) {
    Fixture fixture(which);
    auto const count = static_cast<std::uint32_t>(state.range(0));
    std::vector<ItemId> candidates(count);
    CounterRng rng(1, Purpose::test, 1);
    for (auto& item : candidates)
        item = 1 + static_cast<ItemId>(rng.uniform() * fixture.population->catalogue().items);
    std::vector<float> features(std::size_t{count} * fixture.backend->feature_width());
    std::size_t next = 0;
    for (auto _ : state) {
        decode::ScoreRequest request;
        request.entry = {fixture.entry(next++), fixture.tokens, kTokens};
        request.candidates = candidates.data();
        request.count = count;
        fixture.backend->decode(request, features.data(), *fixture.scratch);
        benchmark::DoNotOptimize(features.data());
    }
    state.SetItemsProcessed(state.iterations() * count);
    state.SetBytesProcessed(
        state.iterations() *
        static_cast<std::int64_t>(fixture.backend->layout().payload_bytes(fixture.tokens)));
}

void prefill_stage(benchmark::State& state, Case const& which) {
    Fixture fixture(which);
    fixture.population->load_history(0, fixture.history);
    std::size_t next = 0;
    for (auto _ : state) {
        fixture.backend->encode(fixture.history, kTokens, decode::EncodeMode::compute,
                                fixture.entry(next++), *fixture.scratch);
    }
    state.SetItemsProcessed(state.iterations() * kTokens);
}

}  // namespace

int main(int argc, char** argv) {
    for (auto const& which : cases()) {
        benchmark::RegisterBenchmark(
            (std::string("decode/") + which.name).c_str(),
            [which](benchmark::State& state) { decode_stage(state, which); })
            ->Arg(1)
            ->Arg(128)
            ->ArgName("C")
            ->Unit(benchmark::kMicrosecond)
            ->UseRealTime();
        benchmark::RegisterBenchmark(
            (std::string("prefill/") + which.name).c_str(),
            [which](benchmark::State& state) { prefill_stage(state, which); })
            ->Unit(benchmark::kMicrosecond)
            ->UseRealTime();
    }
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    return 0;
}
