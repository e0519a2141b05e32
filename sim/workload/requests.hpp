// Open-loop request streams. A request is (intended start, user, C candidates); generated per
// logical shard, so that any rank can make its own part; merged by (time, shard, sequence).
#pragma once

#include <string>
#include <vector>

#include "core/ids.hpp"
#include "workload/arrival_rate.hpp"
#include "workload/population.hpp"

namespace ckvsim::workload {

enum class ArrivalKind : std::uint8_t { poisson, original, recorded };

struct TrafficParams {
    ArrivalKind kind = ArrivalKind::poisson;
    /// Expected total over all shards (poisson). A user's rate is his activity over the mean of its
    /// distribution, so the total of a population of U users strays from it by about
    /// sqrt((exp(sigma^2) - 1) / U): 1 % for 20,000 users and sigma = 1.
    double requests_per_second = 1000.0;
    double duration_s = 10.0;   ///< virtual seconds of traffic (poisson)
    ArrivalShape shape;         ///< time of day, bursts, flash crowds (poisson)
    double speed_factor = 1.0;  ///< times are divided by this (original, recorded)
    std::string path;           ///< recording or request log (recorded); workload/request_file.hpp
    /// C. For original timestamps 0 takes as many as the data show: the user's test impressions
    /// within the second.
    std::uint32_t candidates = 128;
    double activity_sigma = 1.0;  ///< log-normal spread of user activity (poisson)
    double revisit_probability =
        0.3;  ///< short-return share: the user of a recent request of the shard returns
    std::uint32_t revisit_window =
        64;  ///< ... chosen among the shard's last so many requests (geometric)

    bool operator==(TrafficParams const&) const = default;
};

/// One request. Candidates are derived on demand from (seed, id): see candidate_items().
struct Request {
    Nanoseconds intended_start_ns = 0;
    UserId user = 0;
    std::uint32_t shard = 0;
    std::uint32_t sequence =
        0;  ///< position within the shard; (shard, sequence) is the request's identity
    std::uint32_t candidates = 1;
    std::uint32_t tokens = 0;  ///< history tokens of the user at the request (capped at max_tokens)
};

/// Users of a shard, ascending. O(users) for the first call of a population; callers keep the
/// result.
std::vector<std::vector<UserId>> users_by_shard(std::uint64_t users, std::uint32_t shards);

/// Requests of the given shards, sorted by (intended_start_ns, shard, sequence). Pure function of
/// its arguments; the result for a set of shards does not depend on which other shards are asked
/// for. `max_tokens` caps Request::tokens. For ArrivalKind::original the population must be a
/// dataset: the test impressions become requests at their own times, one per user and second, the
/// first of all at 0. Recorded requests are read by RequestFile instead.
///
/// ArrivalKind::poisson with a shape: user u makes a_u * requests_per_second / users * r(t)
/// requests/s, r(t) as in workload/arrival_rate.hpp, an exact nonhomogeneous Poisson process; short
/// returns replace the user of a request, never its time, and return to everyday requests only.
std::vector<Request> make_requests(Population const& population, TrafficParams const& params,
                                   std::uint64_t seed, std::vector<std::uint32_t> const& shards,
                                   std::vector<std::vector<UserId>> const& shard_users,
                                   std::uint32_t max_tokens);

/// By (intended_start_ns, shard, sequence).
void sort_requests(std::vector<Request>& requests);

/// Candidate items of a request: uniform over the catalogue, keyed by (seed, shard, sequence).
void candidate_items(std::uint64_t seed, Request const& request, std::uint32_t catalogue_items,
                     std::vector<ItemId>& out);

}  // namespace ckvsim::workload
