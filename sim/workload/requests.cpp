#include "workload/requests.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.hpp"
#include "core/rng.hpp"
#include "core/shards.hpp"

namespace ckvsim::workload {

namespace {

/// Mean step back of a returning user, as a share of the window: the geometric tail beyond the
/// window is e^-4 = 2 %.
constexpr double kMeanRevisitShare = 0.25;
constexpr std::uint32_t kActivityStream = 1;  ///< sub-stream beside the shard's own (sub-id 0)

/// Draws users of one shard in proportion to their log-normal activity.
class ActivityTable {
  public:
    ActivityTable(std::vector<UserId> const& users, double sigma, std::uint64_t seed)
        : users_(users), mean_activity_(std::exp(0.5 * sigma * sigma)) {
        if (sigma == 0.0) return;  // everybody alike: no table
        cumulative_.reserve(users.size());
        double sum = 0.0;
        for (UserId const user : users) {
            sum += std::exp(
                sigma * CounterRng(seed, Purpose::arrival_user, user, kActivityStream).normal());
            cumulative_.push_back(sum);
        }
    }
    UserId draw(double u) const {
        std::size_t index = 0;
        if (cumulative_.empty()) {
            index = static_cast<std::size_t>(u * static_cast<double>(users_.size()));
        } else {
            auto const at =
                std::upper_bound(cumulative_.begin(), cumulative_.end(), u * cumulative_.back());
            index = static_cast<std::size_t>(at - cumulative_.begin());
        }
        return users_[std::min(index, users_.size() - 1)];
    }

    /// The shard's activity, counted in users of mean activity.
    double weight() const {
        return cumulative_.empty() ? static_cast<double>(users_.size())
                                   : cumulative_.back() / mean_activity_;
    }

  private:
    std::vector<UserId> const& users_;
    double mean_activity_;  ///< of a log-normal with median 1
    std::vector<double> cumulative_;
};

/// Steps back, 1 .. reach, geometric with the given mean before truncation.
std::size_t steps_back(double u, double mean, std::size_t reach) {
    if (mean <= 1.0) return 1;
    double const log_stay = std::log1p(-1.0 / mean);
    double const inside = -std::expm1(static_cast<double>(reach) * log_stay);
    auto const step = static_cast<std::size_t>(std::log1p(-u * inside) / log_stay) + 1;
    return std::min(step, reach);
}

void check_traffic(TrafficParams const& params) {
    validate(
        params.revisit_probability >= 0.0 && params.revisit_probability <= 1.0 &&
            params.revisit_window >= 1 && params.activity_sigma >= 0.0,
        "make_requests: revisit_probability in [0, 1], revisit_window >= 1, activity_sigma >= 0");
    if (params.kind == ArrivalKind::poisson) {
        validate(
            params.requests_per_second > 0.0 && params.duration_s > 0.0 && params.candidates >= 1,
            "make_requests: requests_per_second, duration_s and candidates must be positive");
    } else {
        validate(params.speed_factor > 0.0, "make_requests: speed_factor must be positive");
    }
}

void add_poisson_requests(Population const& population, TrafficParams const& params,
                          std::uint64_t seed, std::uint32_t shard, std::vector<UserId> const& users,
                          std::uint32_t max_tokens, std::vector<Request>& out) {
    if (users.empty()) return;
    ActivityTable const activity(users, params.activity_sigma, seed);
    double const rate =
        params.requests_per_second * activity.weight() / static_cast<double>(population.users());
    CounterRng arrivals(seed, Purpose::arrivals, shard);
    CounterRng choices(seed, Purpose::arrival_user, shard);
    double const mean_step = kMeanRevisitShare * params.revisit_window;
    std::size_t const first = out.size();
    for (double time_s = arrivals.exponential(1.0 / rate); time_s < params.duration_s;
         time_s += arrivals.exponential(1.0 / rate)) {
        std::size_t const sequence = out.size() - first;
        validate(sequence < std::numeric_limits<std::uint32_t>::max(),
                 "make_requests: more than 2^32 per shard");
        bool const returns = choices.uniform() < params.revisit_probability && sequence > 0;
        double const u = choices.uniform();
        std::size_t const reach = std::min<std::size_t>(sequence, params.revisit_window);
        Request request;
        request.intended_start_ns = static_cast<Nanoseconds>(time_s * 1e9);
        request.user =
            returns ? out[out.size() - steps_back(u, mean_step, reach)].user : activity.draw(u);
        request.shard = shard;
        request.sequence = static_cast<std::uint32_t>(sequence);
        request.candidates = params.candidates;
        request.tokens = std::min(population.history_length(request.user), max_tokens);
        out.push_back(request);
    }
}

bool is_test(Impression const& impression) { return impression.split == Split::test; }

std::int64_t first_test_time_ms(Population const& population) {
    std::int64_t first = std::numeric_limits<std::int64_t>::max();
    UserRecord record;
    for (UserId user = 0; user < population.users(); ++user) {
        population.load(user, record);
        auto const at = std::find_if(record.impressions.begin(), record.impressions.end(), is_test);
        if (at != record.impressions.end()) first = std::min(first, at->time_ms);
    }
    return first;
}

/// One request per second in which the user has test impressions.
void add_user_requests(UserRecord const& record, Request request, std::int64_t origin_ms,
                       TrafficParams const& params, std::uint32_t max_tokens,
                       std::vector<Request>& out) {
    std::int64_t current_second = std::numeric_limits<std::int64_t>::min();
    for (Impression const& impression : record.impressions) {
        if (!is_test(impression)) continue;
        if (second_of(impression.time_ms) == current_second) {
            if (params.candidates == 0) ++out.back().candidates;
            continue;
        }
        current_second = second_of(impression.time_ms);
        double const after_ms =
            static_cast<double>(impression.time_ms - origin_ms) / params.speed_factor;
        request.intended_start_ns = static_cast<Nanoseconds>(after_ms * 1e6);
        request.candidates = std::max(params.candidates, 1U);
        request.tokens = std::min(impression.history_end, max_tokens);
        out.push_back(request);
    }
}

void add_original_requests(Population const& population, TrafficParams const& params,
                           std::int64_t origin_ms, std::uint32_t shard,
                           std::vector<UserId> const& users, std::uint32_t max_tokens,
                           std::vector<Request>& out) {
    auto const first = static_cast<std::ptrdiff_t>(out.size());
    UserRecord record;
    for (UserId const user : users) {
        population.load(user, record);
        Request request;
        request.user = user;
        request.shard = shard;
        add_user_requests(record, request, origin_ms, params, max_tokens, out);
    }
    // Users are ascending, so a stable sort breaks ties by user.
    std::stable_sort(out.begin() + first, out.end(), [](Request const& a, Request const& b) {
        return a.intended_start_ns < b.intended_start_ns;
    });
    std::uint32_t sequence = 0;
    for (auto at = out.begin() + first; at != out.end(); ++at) at->sequence = sequence++;
}

}  // namespace

std::vector<std::vector<UserId>> users_by_shard(std::uint64_t users, std::uint32_t shards) {
    validate(shards >= 1, "users_by_shard: needs at least one shard");
    std::vector<std::uint64_t> counts(shards, 0);
    for (UserId user = 0; user < users; ++user) ++counts[to_int(shard_of_user(user, shards))];
    std::vector<std::vector<UserId>> result(shards);
    for (std::uint32_t shard = 0; shard < shards; ++shard) result[shard].reserve(counts[shard]);
    for (UserId user = 0; user < users; ++user)
        result[to_int(shard_of_user(user, shards))].push_back(user);
    return result;
}

std::vector<Request> make_requests(Population const& population, TrafficParams const& params,
                                   std::uint64_t seed, std::vector<std::uint32_t> const& shards,
                                   std::vector<std::vector<UserId>> const& shard_users,
                                   std::uint32_t max_tokens) {
    check_traffic(params);
    bool const original = params.kind == ArrivalKind::original;
    validate(!original || !population.has_true_logits(),
             "make_requests: original arrivals need the timestamps of a dataset");
    std::int64_t const origin_ms = original ? first_test_time_ms(population) : 0;
    std::vector<Request> requests;
    for (std::uint32_t const shard : shards) {
        validate(shard < shard_users.size(), "make_requests: the shard does not exist");
        if (original) {
            add_original_requests(population, params, origin_ms, shard, shard_users[shard],
                                  max_tokens, requests);
        } else {
            add_poisson_requests(population, params, seed, shard, shard_users[shard], max_tokens,
                                 requests);
        }
    }
    std::sort(requests.begin(), requests.end(), [](Request const& a, Request const& b) {
        if (a.intended_start_ns != b.intended_start_ns)
            return a.intended_start_ns < b.intended_start_ns;
        return a.shard != b.shard ? a.shard < b.shard : a.sequence < b.sequence;
    });
    return requests;
}

void candidate_items(std::uint64_t seed, Request const& request, std::uint32_t catalogue_items,
                     std::vector<ItemId>& out) {
    validate(catalogue_items >= 1, "candidate_items: the catalogue is empty");
    std::uint64_t const identity =
        (static_cast<std::uint64_t>(request.shard) << 32) | request.sequence;
    CounterRng rng(seed, Purpose::candidates, identity);
    out.resize(request.candidates);
    for (ItemId& item : out) item = 1 + rng.below(catalogue_items);
}

}  // namespace ckvsim::workload
