// Cost of measuring: latency samples and exact AUC must stay cheap beside what they measure.
#include <benchmark/benchmark.h>

#include <vector>

#include "core/rng.hpp"
#include "metrics/accuracy.hpp"
#include "metrics/latency_sketch.hpp"

namespace {

using namespace ckvsim;

void sketch_add(benchmark::State& state) {
    CounterRng rng(1, Purpose::test, 0);
    std::vector<Nanoseconds> values(4096);
    for (auto& value : values) value = static_cast<Nanoseconds>(1e6 * (0.1 + rng.uniform()));
    metrics::LatencySketch sketch;
    std::size_t next = 0;
    for (auto _ : state) sketch.add(values[next++ % values.size()]);
    benchmark::DoNotOptimize(sketch.count());
}
BENCHMARK(sketch_add);

metrics::Predictions predictions(std::size_t count) {
    CounterRng rng(2, Purpose::test, 0);
    metrics::Predictions all;
    all.users = static_cast<std::uint32_t>((count + 9) / 10);
    for (std::size_t i = 0; i < count; ++i) {
        auto const label = static_cast<std::uint8_t>(rng.uniform() < 0.4);
        all.labels.push_back(label);
        all.logits.push_back(static_cast<float>(rng.uniform() + 0.3 * label));
        all.user.push_back(static_cast<std::uint32_t>(i / 10));
    }
    return all;
}

void exact_auc(benchmark::State& state) {
    auto const scored = predictions(static_cast<std::size_t>(state.range(0)));
    for (auto _ : state) benchmark::DoNotOptimize(metrics::evaluate(scored));
    state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(exact_auc)->Arg(10000)->Arg(1000000)->ArgName("impressions");

void bootstrap(benchmark::State& state) {
    auto const scored = predictions(100000);
    auto const replicates = static_cast<std::uint32_t>(state.range(0));
    for (auto _ : state) benchmark::DoNotOptimize(metrics::bootstrap_users(scored, 3, replicates));
    state.SetItemsProcessed(state.iterations() * state.range(0) * 100000);
}
BENCHMARK(bootstrap)->Arg(20)->ArgName("replicates")->Unit(benchmark::kMillisecond);

}  // namespace

BENCHMARK_MAIN();
