// Making users: histories and labelled impressions per second, one thread. Axis: mean history
// length.
#include <benchmark/benchmark.h>

#include <vector>

#include "workload/synthetic.hpp"

namespace {

using namespace ckvsim;

workload::SyntheticParams params_with_median(double median) {
    workload::SyntheticParams params;
    params.users = 100000;
    params.items = 100000;
    params.clusters = 200;
    params.history_median = median;
    params.history_cap = 1000;
    return params;
}

/// Stored history only: what encoding a resident population needs.
void history(benchmark::State& state) {
    auto const population =
        workload::make_synthetic(params_with_median(static_cast<double>(state.range(0))));
    std::vector<ItemId> items;
    UserId user = 0;
    std::uint64_t tokens = 0;
    for (auto _ : state) {
        population->load_history(user, items);
        tokens += items.size();
        user = (user + 1) % population->users();
    }
    state.counters["tokens/s"] =
        benchmark::Counter(static_cast<double>(tokens), benchmark::Counter::kIsRate);
}
BENCHMARK(history)->Arg(50)->Arg(300)->ArgName("median");

/// History, impressions and labels: what accuracy runs need.
void user_record(benchmark::State& state) {
    auto const population =
        workload::make_synthetic(params_with_median(static_cast<double>(state.range(0))));
    workload::UserRecord record;
    UserId user = 0;
    std::uint64_t impressions = 0;
    for (auto _ : state) {
        population->load(user, record);
        impressions += record.impressions.size();
        user = (user + 1) % population->users();
    }
    state.counters["impressions/s"] =
        benchmark::Counter(static_cast<double>(impressions), benchmark::Counter::kIsRate);
}
BENCHMARK(user_record)->Arg(50)->Arg(300)->ArgName("median");

}  // namespace

BENCHMARK_MAIN();
