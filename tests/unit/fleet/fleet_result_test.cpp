#include "fleet/fleet_result.hpp"

#include <gtest/gtest.h>

#include "core/error.hpp"
#include "core/rng.hpp"

namespace ckvsim::fleet {
namespace {

/// Every counter of a result, by name here and not by the visitor under test.
std::vector<std::uint64_t*> counters(FleetResult& r) {
    std::vector<std::uint64_t*> all = {&r.offered,
                                       &r.warmup_requests,
                                       &r.shed,
                                       &r.served,
                                       &r.good,
                                       &r.abandoned,
                                       &r.guests,
                                       &r.prefilled_interactions,
                                       &r.appended_events,
                                       &r.evictions,
                                       &r.dropped,
                                       &r.batches,
                                       &r.link_entry_bytes,
                                       &r.link_table_bytes,
                                       &r.write_back_bytes,
                                       &r.nvme_read_bytes,
                                       &r.nvme_write_bytes,
                                       &r.nic_bytes,
                                       &r.state_bytes,
                                       &r.simulated_users,
                                       &r.lost,
                                       &r.decision_hash};
    for (auto& value : r.found) all.push_back(&value);
    for (auto& value : r.busy_ns) all.push_back(&value);
    for (auto& value : r.entries) all.push_back(&value);
    for (auto& value : r.used_bytes) all.push_back(&value);
    for (auto& value : r.capacity_bytes) all.push_back(&value);
    auto const add_part = [&](PartCounts& part) {
        for (auto* value : {&part.requests, &part.hbm_hits, &part.hits, &part.shed, &part.good,
                            &part.latency_ns, &part.lost, &part.made_bytes})
            all.push_back(value);
    };
    for (auto& bin : r.series) add_part(bin);
    for (auto& part : r.classes) add_part(part);
    for (auto& event : r.events)
        for (auto* value : {&event.times, &event.lost, &event.entries, &event.swap_bytes})
            all.push_back(value);
    return all;
}

/// A layout that grows must grow here, too: everything but the sketches is a counter.
static_assert(sizeof(FleetResult) ==
              sizeof(std::uint64_t) * (22 + 4 * kResidences + kDevices +
                                       8 * (kSeriesBins + kUserClasses) + 4 * kMostEvents) +
                  sizeof(metrics::CoarseHistogram) * (kSeriesBins + kUserClasses) +
                  sizeof(metrics::LatencySketch) * kFleetStages);

FleetResult random_result(std::uint64_t seed) {
    CounterRng rng(seed, Purpose::arrivals, 0, 0);
    FleetResult r;
    for (auto* value : counters(r)) *value = rng.next_u32() + (std::uint64_t{1} << 40);
    r.decision_hash = (static_cast<std::uint64_t>(rng.next_u32()) << 32) | 0xFFFFFF00U;
    r.decision_hash |= std::uint64_t{1} << 63;  // two of them overflow
    for (std::size_t s = 0; s < kFleetStages; ++s)
        for (std::size_t i = 0; i < 50 + s; ++i)
            r.latency[s].add(static_cast<Nanoseconds>(rng.next_u32() >> (s * 3)));
    for (std::size_t b = 0; b < kSeriesBins; ++b)
        for (std::size_t i = 0; i < b; ++i) r.series[b].latency.add(rng.next_u32());
    for (std::size_t c = 0; c < kUserClasses; ++c)
        for (std::size_t i = 0; i <= c; ++i) r.classes[c].latency.add(rng.next_u32());
    return r;
}

void expect_same(FleetResult a, FleetResult b) {
    auto const left = counters(a);
    auto const right = counters(b);
    for (std::size_t i = 0; i < left.size(); ++i) EXPECT_EQ(*left[i], *right[i]) << "counter " << i;
    for (std::size_t at = 0; at < kSeriesBins; ++at)
        EXPECT_EQ(a.series[at].latency, b.series[at].latency) << "bin " << at;
    for (std::size_t at = 0; at < kUserClasses; ++at)
        EXPECT_EQ(a.classes[at].latency, b.classes[at].latency) << "class " << at;
    for (std::size_t s = 0; s < kFleetStages; ++s) {
        EXPECT_EQ(a.latency[s].serialise(), b.latency[s].serialise()) << "stage " << s;
        EXPECT_EQ(a.latency[s].max_ns(), b.latency[s].max_ns()) << "stage " << s;
        EXPECT_EQ(a.latency[s].count(), b.latency[s].count()) << "stage " << s;
    }
}

TEST(FleetResult, FlatPartsGiveTheResultBack) {
    auto const result = random_result(1);
    expect_same(from_parts(sum_part(result), max_part(result)), result);
    expect_same(from_parts(sum_part({}), max_part({})), {});
    EXPECT_NE(sum_part(result), sum_part(random_result(2)));
}

TEST(FleetResult, MergingIsAddingPartsElementByElement) {
    auto const a = random_result(1);
    auto const b = random_result(2);
    auto merged = a;
    merge(merged, b);
    auto left = a;
    auto right = b;
    auto const sum = counters(merged);
    auto const of_a = counters(left);
    auto const of_b = counters(right);
    for (std::size_t i = 0; i < sum.size(); ++i) EXPECT_EQ(*sum[i], *of_a[i] + *of_b[i]) << i;
    for (std::size_t s = 0; s < kFleetStages; ++s)
        EXPECT_EQ(merged.latency[s].count(), 2 * (50 + s));
    auto sums = sum_part(a);
    auto const more = sum_part(b);
    for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += more[i];
    auto maxima = max_part(a);
    auto const other = max_part(b);
    for (std::size_t i = 0; i < maxima.size(); ++i) maxima[i] = std::max(maxima[i], other[i]);
    expect_same(from_parts(sums, maxima), merged);
    auto swapped = b;
    merge(swapped, a);
    expect_same(swapped, merged);
}

TEST(FleetResult, PartsOfAnotherLengthAreRefused) {
    auto const result = random_result(1);
    auto const sums = sum_part(result);
    auto maxima = max_part(result);
    EXPECT_THROW(from_parts({sums.begin(), sums.end() - 1}, maxima), InternalError);
    maxima.pop_back();
    EXPECT_THROW(from_parts(sums, maxima), InternalError);
}

TEST(FleetResult, StagesAndDevicesHaveNames) {
    EXPECT_EQ(to_string(FleetStage::fetch), "fetch");
    EXPECT_EQ(to_string(FleetStage::total), "total");
    EXPECT_EQ(to_string(Device::gpu), "gpu");
    EXPECT_EQ(to_string(Device::nic), "nic");
}

}  // namespace
}  // namespace ckvsim::fleet
