#include "fleet/fleet_result.hpp"

#include <algorithm>

#include "core/error.hpp"

namespace ckvsim::fleet {

namespace {

constexpr std::uint64_t kLow = 0xFFFFFFFFULL;

/// Time bins, then classes of users.
template <class Result, class Visit>
void for_each_part(Result& r, Visit&& visit) {
    for (auto& part : r.series) visit(part);
    for (auto& part : r.classes) visit(part);
}

/// Visits every plain counter in one order.
template <class Result, class Visit>
void for_each_counter(Result& r, Visit&& visit) {
    for (auto* value : {&r.offered,
                        &r.warmup_requests,
                        &r.shed,
                        &r.lost,
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
                        &r.simulated_users})
        visit(*value);
    for (auto* list : {&r.found, &r.entries, &r.used_bytes, &r.capacity_bytes})
        for (auto& value : *list) visit(value);
    for (auto& value : r.busy_ns) visit(value);
    for_each_part(r, [&](auto& part) {
        for (auto* value : {&part.requests, &part.hbm_hits, &part.hits, &part.shed, &part.good,
                            &part.latency_ns, &part.lost, &part.made_bytes})
            visit(*value);
    });
    for (auto& event : r.events)
        for (auto* value : {&event.times, &event.lost, &event.entries, &event.swap_bytes})
            visit(*value);
}

}  // namespace

std::string to_string(FleetStage stage) {
    static constexpr std::array kNames = {"fetch",  "queue", "prefill", "append",
                                          "decode", "score", "total"};
    return kNames.at(static_cast<std::size_t>(stage));
}

std::string to_string(Device device) {
    static constexpr std::array kNames = {"gpu", "link_in", "link_out", "nvme", "nic"};
    return kNames.at(static_cast<std::size_t>(device));
}

void merge(FleetResult& a, FleetResult const& b) {
    std::vector<std::uint64_t> values;
    for_each_counter(b, [&](std::uint64_t const& value) { values.push_back(value); });
    std::size_t i = 0;
    for_each_counter(a, [&](std::uint64_t& value) { value += values[i++]; });
    a.decision_hash += b.decision_hash;
    for (std::size_t s = 0; s < kFleetStages; ++s) a.latency[s].merge(b.latency[s]);
    for (std::size_t at = 0; at < kSeriesBins; ++at)
        a.series[at].latency.merge(b.series[at].latency);
    for (std::size_t at = 0; at < kUserClasses; ++at)
        a.classes[at].latency.merge(b.classes[at].latency);
}

std::vector<std::int64_t> sum_part(FleetResult const& result) {
    std::vector<std::int64_t> flat;
    for_each_counter(result, [&](std::uint64_t const& value) {
        flat.push_back(static_cast<std::int64_t>(value));
    });
    // The hash adds modulo 2^64; its halves travel apart so that no signed sum overflows.
    flat.push_back(static_cast<std::int64_t>(result.decision_hash & kLow));
    flat.push_back(static_cast<std::int64_t>(result.decision_hash >> 32));
    for_each_part(result, [&](PartCounts const& part) {
        for (std::size_t b = 0; b < metrics::CoarseHistogram::kBuckets; ++b)
            flat.push_back(static_cast<std::int64_t>(part.latency.bucket(b)));
    });
    for (auto const& sketch : result.latency) {
        auto const part = sketch.serialise();
        flat.insert(flat.end(), part.begin(), part.end());
    }
    return flat;
}

std::vector<std::int64_t> max_part(FleetResult const& result) {
    std::vector<std::int64_t> flat;
    for (auto const& sketch : result.latency) flat.push_back(sketch.max_ns());
    return flat;
}

FleetResult from_parts(std::vector<std::int64_t> const& sums,
                       std::vector<std::int64_t> const& maxima) {
    FleetResult result;
    std::size_t at = 0;
    for_each_counter(
        result, [&](std::uint64_t& value) { value = static_cast<std::uint64_t>(sums.at(at++)); });
    result.decision_hash = static_cast<std::uint64_t>(sums.at(at)) +
                           (static_cast<std::uint64_t>(sums.at(at + 1)) << 32);
    at += 2;
    for_each_part(result, [&](PartCounts& part) {
        for (std::size_t b = 0; b < metrics::CoarseHistogram::kBuckets; ++b)
            part.latency.add_to_bucket(b, static_cast<std::uint64_t>(sums.at(at++)));
    });
    validate(maxima.size() == kFleetStages && (sums.size() - at) % kFleetStages == 0,
             "fleet::from_parts: flat results of another length");
    std::size_t const length = (sums.size() - at) / kFleetStages;
    for (std::size_t s = 0; s < kFleetStages; ++s) {
        auto const from = sums.begin() + static_cast<std::ptrdiff_t>(at + s * length);
        result.latency[s] = metrics::LatencySketch::deserialise(
            {from, from + static_cast<std::ptrdiff_t>(length)}, maxima[s]);
    }
    return result;
}

}  // namespace ckvsim::fleet
