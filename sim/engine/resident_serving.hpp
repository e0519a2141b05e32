// As many users as a byte budget holds, their entries kept as real bytes in memory or on a storage
// device, and requests served from them by the wall clock: what a cache of a given size can do
// under each strategy.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/residency.hpp"
#include "engine/serving.hpp"

namespace ckvsim::engine {

/// Requests against resident users, open loop.
struct ResidentLoad {
    double requests_per_second = 500.0;
    std::uint32_t candidates = 8;        ///< C
    double user_share = 0.1;             ///< of the held users, every one of them asked for once
    std::uint64_t min_requests = 20000;  ///< more when the share is smaller: users come again
    double warmup_s = 1.0;               ///< requests that start earlier are not measured
    std::uint64_t seed = 1;
};

/// Where entries are kept.
enum class ResidentTier : std::uint8_t { memory, file };
std::string to_string(ResidentTier tier);

/// Users of the longest prefix of `users` whose entries and index stay within `budget_bytes`: in
/// memory as SlabResidents lays them out, in a file as FileResidents does. Local; nothing is
/// allocated.
std::uint64_t users_that_fit(workload::Population const& population,
                             std::vector<UserId> const& users, kv::EntryLayout const& layout,
                             std::uint32_t max_tokens, ResidentTier tier,
                             std::uint64_t budget_bytes);

/// Poisson arrivals over `held` users. Users are taken in an order that visits each of them once
/// before any comes again. Request::user is the position in the store, Request::tokens that
/// entry's.
std::vector<workload::Request> resident_requests(EntrySource const& source, std::uint64_t held,
                                                 ResidentLoad const& load);

/// Serves the requests in batches (node.max_batch, node.max_wait_us) from the source, on this
/// machine's threads; nothing is encoded or evicted, and fetched only from a file. Local, wall
/// clock; latency counts from the intended start. The result's cache counters mean nothing here.
ServingResult serve_residents(EntrySource& source, decode::Backend const& backend,
                              std::vector<workload::Request> const& requests,
                              ResidentLoad const& load, node::NodeParams const& node,
                              ServingProgress const& progress);

}  // namespace ckvsim::engine
