// The state a fleet is in when the run starts. A cold start would make 10^8 requests over 10^9
// users nothing but cold misses; the stationary start draws every user's last visit from his
// activity class and puts his entry where the policy would have it.
//
// LRU (exclusive tiers are one stack): the entry is in the first tiers that together hold every
// entry younger than it, by the characteristic time T of Che, Tung and Wang (2002):
//   sum over classes of users * (1 - exp(-rate T)) * mean entry bytes = capacity.
// FIFO: in GPU memory for a share rate T1 / (1 + rate T1) of the time; below by the exponential
// time since then. The other policies start from LRU's state (S3-FIFO in its
// main list, W-TinyLFU in its main lists); the warm-up brings them to their own.
#pragma once

#include <array>
#include <cstdint>

#include "fleet/arrivals.hpp"
#include "fleet/fleet_users.hpp"
#include "fleet/tiers.hpp"

namespace ckvsim::fleet {

enum class StartState : std::uint8_t { stationary, cold };
std::string to_string(StartState value);

/// Initialises every user of a node. `session_rates`: 1/s of one user, by activity class. Who signs
/// up later has neither history nor entry.
void start_node(NodeTiers& tiers, FleetUsers const& users, std::uint32_t node,
                std::vector<double> const& session_rates, TierParams const& params,
                StartState start, std::uint64_t seed, SignUps const& sign_ups = {});

/// Characteristic times in seconds of HBM, HBM + DRAM, HBM + DRAM + NVMe; infinite when everything
/// fits. `entries[k]` users of class k, all with entries of `mean_bytes`.
std::array<double, 3> characteristic_times(std::vector<double> const& entries,
                                           std::vector<double> const& rates, double mean_bytes,
                                           std::array<double, 3> const& cumulative_capacity);

}  // namespace ckvsim::fleet
