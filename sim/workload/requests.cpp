#include "workload/requests.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.hpp"
#include "core/rng.hpp"
#include "core/shards.hpp"
#include "workload/audience.hpp"

namespace ckvsim::workload {

namespace {

/// Mean step back of a returning user, as a share of the window: the geometric tail beyond the
/// window is e^-4 = 2 %.
constexpr double kMeanRevisitShare = 0.25;
/// Sub-streams of Purpose::arrivals of a shard: the first four belong to everyday traffic, the next
/// four to the first flash crowd and so on.
constexpr std::uint32_t kSteps = 0;
constexpr std::uint32_t kThinning = 1;
constexpr std::uint32_t kZones = 2;
constexpr std::uint32_t kUsers = 3;
constexpr std::uint32_t kStreamsPerSource = 4;

/// Users of a shard's last everyday requests; as many as a return can reach.
class RecentUsers {
  public:
    explicit RecentUsers(std::size_t window) : window_(window) {}
    void push(UserId user) {
        if (users_.size() < window_) {
            users_.push_back(user);
        } else {
            users_[next_] = user;
        }
        next_ = next_ + 1 == window_ ? 0 : next_ + 1;
    }
    [[nodiscard]] std::size_t size() const { return users_.size(); }
    /// steps = 1: the last one; at most size().
    [[nodiscard]] UserId back(std::size_t steps) const {
        return users_[next_ >= steps ? next_ - steps : next_ + window_ - steps];
    }

  private:
    std::size_t window_;
    std::size_t next_ = 0;
    std::vector<UserId> users_;
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
        validate(params.kind == ArrivalKind::original,
                 "make_requests: recorded requests are read by RequestFile");
        validate(params.speed_factor > 0.0, "make_requests: speed_factor must be positive");
    }
}

/// Requests of one shard that come from one source: everyday traffic, or one flash crowd.
class Source {
  public:
    /// `user_rate`: requests/s of a user of mean activity at the relative rate 1, times `users`.
    Source(ArrivalRate const& rate, Audience audience, double user_rate, std::uint64_t users,
           std::uint64_t seed, std::uint32_t shard, std::uint32_t first_stream, double start_s,
           double end_s)
        : audience_(std::move(audience)),
          times_(rate,
                 {user_rate * audience_.weight() / static_cast<double>(users),
                  audience_.empty() ? DayCurve{} : audience_.curve(rate), start_s, end_s},
                 CounterRng(seed, Purpose::arrivals, shard, first_stream + kSteps),
                 CounterRng(seed, Purpose::arrivals, shard, first_stream + kThinning)),
          zones_(seed, Purpose::arrivals, shard, first_stream + kZones),
          next_s_(times_.next()) {}

    [[nodiscard]] double next_s() const { return next_s_; }
    void advance() { next_s_ = times_.next(); }
    /// User of the request at next_s().
    UserId draw_user(double u, ArrivalRate const& rate) {
        double const u_zone = audience_.zones() == 1 ? 0.0 : zones_.uniform();
        return audience_.draw(u, audience_.draw_zone(u_zone, next_s_, rate));
    }

  private:
    Audience audience_;
    ArrivalTimes times_;
    CounterRng zones_;
    double next_s_;
};

/// Draws the users of one shard's requests.
class UserChooser {
  public:
    UserChooser(TrafficParams const& params, std::uint64_t seed, std::uint32_t shard)
        : revisit_probability_(params.revisit_probability),
          mean_step_(kMeanRevisitShare * params.revisit_window),
          recent_(params.revisit_window),
          everyday_(seed, Purpose::arrival_user, shard) {
        for (std::uint32_t crowd = 1; crowd <= params.shape.flash_crowds.size(); ++crowd) {
            crowds_.emplace_back(seed, Purpose::arrivals, shard,
                                 crowd * kStreamsPerSource + kUsers);
        }
    }
    /// Source 0 is everyday traffic, where a user of a recent request may return; source i the
    /// flash crowd i - 1.
    UserId draw(std::size_t index, Source& source, ArrivalRate const& rate) {
        if (index > 0) return source.draw_user(crowds_[index - 1].uniform(), rate);
        bool const returns = everyday_.uniform() < revisit_probability_ && recent_.size() > 0;
        double const u = everyday_.uniform();
        UserId const user = returns ? recent_.back(steps_back(u, mean_step_, recent_.size()))
                                    : source.draw_user(u, rate);
        recent_.push(user);
        return user;
    }

  private:
    double revisit_probability_;
    double mean_step_;
    RecentUsers recent_;
    CounterRng everyday_;
    std::vector<CounterRng> crowds_;
};

/// Everyday traffic and flash crowds of a shard. `users`: of the population.
std::vector<Source> make_sources(TrafficParams const& params, ArrivalRate const& rate,
                                 std::uint64_t users, std::uint64_t seed, std::uint32_t shard,
                                 std::vector<UserId> const& shard_users) {
    std::vector<Source> sources;
    sources.reserve(1 + rate.crowds().size());
    sources.emplace_back(rate, Audience(shard_users, rate, params.activity_sigma, seed),
                         params.requests_per_second, users, seed, shard, 0U, 0.0,
                         params.duration_s);
    for (std::uint32_t crowd = 0; crowd < rate.crowds().size(); ++crowd) {
        auto const& flash = rate.crowds()[crowd];
        sources.emplace_back(rate, Audience(shard_users, rate, params.activity_sigma, seed, crowd),
                             params.requests_per_second * rate.crowd_boost(crowd), users, seed,
                             shard, (crowd + 1) * kStreamsPerSource, flash.start_s,
                             std::min(flash.start_s + flash.duration_s, params.duration_s));
    }
    return sources;
}

void add_generated_requests(Population const& population, TrafficParams const& params,
                            ArrivalRate const& rate, std::uint64_t seed, std::uint32_t shard,
                            std::vector<UserId> const& shard_users, std::uint32_t max_tokens,
                            std::vector<Request>& out) {
    if (shard_users.empty()) return;
    auto sources = make_sources(params, rate, population.users(), seed, shard, shard_users);
    UserChooser chooser(params, seed, shard);
    Request request;
    request.shard = shard;
    request.candidates = params.candidates;
    for (std::uint32_t sequence = 0;; ++sequence) {
        std::size_t earliest = 0;
        for (std::size_t i = 1; i < sources.size(); ++i) {
            if (sources[i].next_s() < sources[earliest].next_s()) earliest = i;
        }
        Source& source = sources[earliest];
        if (std::isinf(source.next_s())) return;
        validate(sequence < std::numeric_limits<std::uint32_t>::max(),
                 "make_requests: more than 2^32 per shard");
        request.intended_start_ns = static_cast<Nanoseconds>(source.next_s() * 1e9);
        request.user = chooser.draw(earliest, source, rate);
        request.sequence = sequence;
        request.tokens = std::min(population.history_length(request.user), max_tokens);
        out.push_back(request);
        source.advance();
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

void sort_requests(std::vector<Request>& requests) {
    std::sort(requests.begin(), requests.end(), [](Request const& a, Request const& b) {
        if (a.intended_start_ns != b.intended_start_ns)
            return a.intended_start_ns < b.intended_start_ns;
        return a.shard != b.shard ? a.shard < b.shard : a.sequence < b.sequence;
    });
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
    ArrivalRate const rate(original ? ArrivalShape{} : params.shape, seed, params.duration_s);
    std::vector<Request> requests;
    for (std::uint32_t const shard : shards) {
        validate(shard < shard_users.size(), "make_requests: the shard does not exist");
        if (original) {
            add_original_requests(population, params, origin_ms, shard, shard_users[shard],
                                  max_tokens, requests);
        } else {
            add_generated_requests(population, params, rate, seed, shard, shard_users[shard],
                                   max_tokens, requests);
        }
    }
    sort_requests(requests);
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
