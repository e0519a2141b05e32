// Making requests per second, one thread. Axis: what shapes the rate.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "workload/request_file.hpp"
#include "workload/requests.hpp"
#include "workload/synthetic.hpp"

namespace {

using namespace ckvsim;

constexpr std::uint64_t kUsers = 1'000'000;
constexpr std::uint32_t kShards = 4096;

enum Shape : std::int64_t { constant, diurnal, bursts, flash_crowd, everything };

workload::ArrivalShape shape_of(std::int64_t shape) {
    workload::ArrivalShape result;
    if (shape == diurnal || shape == everything) {
        result.diurnal = {.amplitude = 0.8,
                          .start_hour = 0.0,
                          .day_s = 60.0,
                          .zones = {{8.0, 0.5}, {0.0, 0.3}, {-5.0, 0.2}}};
    }
    if (shape == bursts || shape == everything) result.bursts = {4.0, 0.5, 4.5};
    if (shape == flash_crowd || shape == everything) {
        result.flash_crowds = {
            {.start_s = 20.0, .duration_s = 10.0, .multiplier = 4.0, .user_share = 0.01}};
    }
    return result;
}

/// make_requests for one node of 64: activity tables, arrivals, users, sorting.
void requests(benchmark::State& state) {
    workload::SyntheticParams params;
    params.users = kUsers;
    auto const population = workload::make_synthetic(params);
    auto const users = workload::users_by_shard(kUsers, kShards);
    std::vector<std::uint32_t> shards(kShards / 64);
    std::iota(shards.begin(), shards.end(), 0U);
    workload::TrafficParams traffic;
    traffic.requests_per_second = 1e6;
    traffic.duration_s = 60.0;
    traffic.shape = shape_of(state.range(0));
    std::uint64_t made = 0;
    for (auto _ : state)
        made += workload::make_requests(*population, traffic, 1, shards, users, 300).size();
    state.counters["requests/s"] =
        benchmark::Counter(static_cast<double>(made), benchmark::Counter::kIsRate);
}
BENCHMARK(requests)
    ->DenseRange(constant, everything)
    ->ArgName("shape")
    ->Unit(benchmark::kMillisecond);

}  // namespace

BENCHMARK_MAIN();
