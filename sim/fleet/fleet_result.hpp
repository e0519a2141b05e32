// What a fleet run counts: integers and mergeable sketches, equal for any number of ranks.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "fleet/events.hpp"
#include "fleet/tiers.hpp"
#include "fleet/user_classes.hpp"
#include "metrics/coarse_histogram.hpp"
#include "metrics/latency_sketch.hpp"

namespace ckvsim::fleet {

/// fetch = intended start -> entry and table rows at the GPU; queue = from there to the start of
/// its batch; prefill, append, decode, score = the batch's time in the stage; total = intended
/// start -> answer. fetch + queue + ... + score = total.
enum class FleetStage : std::uint8_t {
    fetch,
    queue,
    prefill,
    append,
    decode,
    score,
    total,
    count_
};
inline constexpr std::size_t kFleetStages = static_cast<std::size_t>(FleetStage::count_);
std::string to_string(FleetStage stage);

/// Devices that requests wait for.
enum class Device : std::uint8_t { gpu, link_in, link_out, nvme, nic, count_ };
inline constexpr std::size_t kDevices = static_cast<std::size_t>(Device::count_);
std::string to_string(Device device);

inline constexpr std::size_t kSeriesBins = 60;  ///< equal parts of the run, warm-up included

/// Counts of one part of the requests: of a time bin, by intended start, or of a class of users.
struct PartCounts {
    std::uint64_t requests = 0;
    std::uint64_t hbm_hits = 0;
    std::uint64_t hits = 0;  ///< in any tier
    std::uint64_t shed = 0;
    std::uint64_t good = 0;
    std::uint64_t latency_ns = 0;  ///< sum
    std::uint64_t lost = 0;        ///< asked of a node that was gone, or waiting there when it went
    std::uint64_t made_bytes = 0;  ///< of entries made from ids
    metrics::CoarseHistogram latency;

    /// Members, see core/archive.hpp.
    template <class Archive>
    void archive(Archive& ar) {
        ar(requests, hbm_hits, hits, shed, good, latency_ns, lost, made_bytes, latency);
    }
};

/// What one event of the run did, summed over nodes.
struct EventCounts {
    std::uint64_t times = 0;       ///< it hit a node
    std::uint64_t lost = 0;        ///< measured requests
    std::uint64_t entries = 0;     ///< gone, or stale in part
    std::uint64_t swap_bytes = 0;  ///< delivered to nodes and GPUs
};

struct FleetResult {
    std::uint64_t offered = 0;  ///< measured requests: started after the warm-up
    std::uint64_t warmup_requests = 0;
    std::uint64_t shed = 0;  ///< refused because the GPU's queue was full
    std::uint64_t lost = 0;  ///< offered = served + shed + lost
    std::uint64_t served = 0;
    std::uint64_t good = 0;                          ///< answered within the SLO
    std::array<std::uint64_t, kResidences> found{};  ///< served requests by where the entry was
    std::uint64_t abandoned = 0;  ///< entries below GPU memory that were made from ids instead
    std::uint64_t guests = 0;     ///< served away from the user's home node
    std::uint64_t prefilled_interactions = 0;
    std::uint64_t appended_events = 0;
    std::uint64_t evictions = 0;
    std::uint64_t dropped = 0;
    std::uint64_t batches = 0;
    std::uint64_t link_entry_bytes = 0;  ///< entries up to the GPUs
    std::uint64_t link_table_bytes = 0;  ///< table rows up to the GPUs
    std::uint64_t write_back_bytes = 0;  ///< entries down from the GPUs
    std::uint64_t nvme_read_bytes = 0;
    std::uint64_t nvme_write_bytes = 0;
    std::uint64_t nic_bytes = 0;
    std::array<std::uint64_t, kDevices> busy_ns{};  ///< summed over the fleet's devices
    std::uint64_t decision_hash = 0;  ///< order-free, of (request, residence, answer's time)
    std::array<metrics::LatencySketch, kFleetStages> latency;
    std::array<PartCounts, kSeriesBins> series{};
    std::array<PartCounts, kUserClasses> classes{};  ///< measured requests that have their end
    std::array<EventCounts, kMostEvents> events{};
    // Gauges at the end, summed over nodes.
    std::array<std::uint64_t, kResidences> entries{};
    std::array<std::uint64_t, kResidences> used_bytes{};
    std::array<std::uint64_t, kResidences> capacity_bytes{};
    std::uint64_t state_bytes = 0;
    std::uint64_t simulated_users = 0;

    /// Members, see core/archive.hpp.
    template <class Archive>
    void archive(Archive& ar) {
        ar(offered, warmup_requests, shed, lost, served, good, found, abandoned, guests,
           prefilled_interactions, appended_events, evictions, dropped, batches, link_entry_bytes,
           link_table_bytes, write_back_bytes, nvme_read_bytes, nvme_write_bytes, nic_bytes,
           busy_ns, decision_hash, latency, series, classes, events, entries, used_bytes,
           capacity_bytes, state_bytes, simulated_users);
    }
};

void merge(FleetResult& a, FleetResult const& b);
/// Flat forms for reductions: element-wise sums, and element-wise maxima.
std::vector<std::int64_t> sum_part(FleetResult const& result);
std::vector<std::int64_t> max_part(FleetResult const& result);
FleetResult from_parts(std::vector<std::int64_t> const& sums,
                       std::vector<std::int64_t> const& maxima);

}  // namespace ckvsim::fleet
