#include "workload/synthetic.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <span>
#include <sstream>

#include "core/error.hpp"
#include "core/hash.hpp"
#include "core/rng.hpp"
#include "workload/item_world.hpp"

namespace ckvsim::workload {

namespace {

// Shape constants of the generating model; sim/docs/synthetic.md explains each.
constexpr double kPreferredStyleShare = 0.85;  ///< of the history events of an interest
constexpr double kCandidatePreferredShare =
    0.5;  ///< of the candidates of an interest: both outcomes are common
constexpr double kSeenCandidateShare =
    0.3;  ///< of matched candidates: an item of the user's own history
constexpr double kUnseenTasteShare = 0.25;  ///< taste counts this much before the user met the item
constexpr double kOtherStylePenalty = -0.5;  ///< times style_weight
constexpr std::uint32_t kTasteTries = 3;     ///< at most so many draws per event
constexpr std::uint32_t kMaxInterests = 64;

/// Splits one Philox block (four words) into the choices of one event.
struct EventWords {
    explicit EventWords(CounterRng& rng)
        : kind(rng.next_u32()),
          choice(rng.next_u32()),
          place_high(rng.next_u32()),
          rest(rng.next_u32()) {}
    /// 40 bits: the step at the end of a Zipf tail of 10^9 ranks stays below one rank.
    [[nodiscard]] double place() const {
        return static_cast<double>((static_cast<std::uint64_t>(place_high) << 8) | (rest >> 24)) *
               0x1.0p-40;
    }
    [[nodiscard]] std::uint32_t style_bits() const { return (rest >> 12) & 0xFFFU; }
    [[nodiscard]] std::uint32_t taste_bits() const { return rest & 0xFFFU; }

    std::uint32_t kind, choice, place_high, rest;
};

std::uint32_t word_threshold(double probability) {
    return static_cast<std::uint32_t>(std::min(probability * 0x1.0p32, 0x1.0p32 - 1.0));
}

double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

/// Normal quantile by Newton's method on erfc; five steps from the logistic approximation reach
/// 1e-12.
double normal_quantile(double q) {
    double x = std::log(q / (1.0 - q)) * 0.5513288954217921;  // sqrt(3) / pi: unit variance
    for (int step = 0; step < 8; ++step) {
        double const cdf = 0.5 * std::erfc(-x / std::numbers::sqrt2);
        double const density = std::exp(-0.5 * x * x) / std::sqrt(2.0 * std::numbers::pi);
        x -= std::clamp((cdf - q) / density, -0.5, 0.5);
    }
    return x;
}

void check_parameters(SyntheticParams const& p) {
    auto const share = [](double value) { return value >= 0.0 && value <= 1.0; };
    validate(
        p.users >= 1 && p.items >= 1 && p.clusters >= 1 && p.clusters <= p.items && p.styles >= 1,
        "synthetic: needs users >= 1, styles >= 1 and 1 <= clusters <= items");
    validate(p.items < 0xFFFFFFFFU, "synthetic: items must be below 2^32 - 1");
    validate(p.history_min <= p.history_cap && p.history_median > 0.0 && p.history_sigma >= 0.0,
             "synthetic: needs history_min <= history_cap, history_median > 0, history_sigma >= 0");
    validate(p.interests_min >= 1 && p.interests_min <= p.interests_max &&
                 p.interests_max <= p.clusters && p.interests_max <= kMaxInterests,
             "synthetic: needs 1 <= interests_min <= interests_max <= min(clusters, 64)");
    validate(share(p.repeat_probability) && share(p.noise_probability) &&
                 share(p.repeat_probability + p.noise_probability) &&
                 share(p.matched_candidate_share) && share(p.train_share) && share(p.tune_share) &&
                 share(p.train_share + p.tune_share) && share(p.short_gap_share),
             "synthetic: shares and probabilities (and their sums) must lie in [0, 1]");
    validate(p.popularity_exponent >= 0.0 && p.short_gap_s > 0.0 && p.long_gap_s > 0.0,
             "synthetic: needs popularity_exponent >= 0 and gaps > 0");
}

class SyntheticPopulation final : public Population {
  public:
    explicit SyntheticPopulation(SyntheticParams const& params)
        : params_((check_parameters(params), params)),
          world_(params.seed, params.items, params.clusters, params.styles,
                 params.popularity_exponent),
          catalogue_(world_.make_catalogue()),
          taste_key_(mix64(params.seed ^ (static_cast<std::uint64_t>(Purpose::user_taste) << 48))),
          noise_below_(word_threshold(params.noise_probability)),
          repeat_below_(word_threshold(params.noise_probability + params.repeat_probability)) {}

    std::uint64_t users() const override { return params_.users; }
    Catalogue const& catalogue() const override { return catalogue_; }
    std::uint32_t context_vocabulary() const override { return 1; }
    bool has_true_logits() const override { return true; }

    std::uint32_t history_length(UserId user) const override {
        double const z = CounterRng(params_.seed, Purpose::history_length, user).normal();
        double const length =
            std::round(params_.history_median * std::exp(params_.history_sigma * z));
        return static_cast<std::uint32_t>(std::clamp(length,
                                                     static_cast<double>(params_.history_min),
                                                     static_cast<double>(params_.history_cap)));
    }
    void load_history(UserId user, std::vector<ItemId>& out) const override {
        make_history(user, interests_of(user), out);
    }
    void load(UserId user, UserRecord& out) const override {
        Interests const interests = interests_of(user);
        make_history(user, interests, out.timeline);
        out.base_length = static_cast<std::uint32_t>(out.timeline.size());
        make_impressions(user, interests, out);
    }
    std::string describe() const override;
    std::uint64_t digest() const override;

  private:
    struct Interest {
        std::uint32_t cluster;
        std::uint32_t style;
        std::uint32_t cumulative;  ///< words below this choose this interest or an earlier one
    };
    struct Interests {
        std::uint32_t count = 0;
        std::array<Interest, kMaxInterests> at;
        [[nodiscard]] Interest const& choose(std::uint32_t word) const {
            std::uint32_t i = 0;
            while (i + 1 < count && word >= at[i].cumulative) ++i;
            return at[i];
        }
        [[nodiscard]] Interest const* find(std::uint32_t cluster) const {
            for (std::uint32_t i = 0; i < count; ++i) {
                if (at[i].cluster == cluster) return &at[i];
            }
            return nullptr;
        }
    };

    Interests interests_of(UserId user) const;
    void make_history(UserId user, Interests const& interests, std::vector<ItemId>& out) const;
    ItemId draw_event(Interests const& interests, EventWords const& words,
                      std::span<ItemId const> earlier) const;
    void make_impressions(UserId user, Interests const& interests, UserRecord& out) const;
    ItemId draw_candidate(CounterRng& rng, Interests const& interests,
                          std::span<ItemId const> history) const;
    ItemId draw_styled(Interest const& interest, std::uint32_t style_bits, double preferred_share,
                       double place) const;
    double true_logit(UserId user, Interests const& interests, std::span<ItemId const> history,
                      ItemId item) const;
    Split split_of(UserId user) const;

    /// Key of a user's taste; with taste_quantile(): a uniform number that no other user shares.
    std::uint64_t taste_key(UserId user) const { return mix64(taste_key_ ^ user); }
    static std::uint64_t taste_hash(std::uint64_t user_key, ItemId item) {
        return mix64(user_key + item);
    }

    SyntheticParams params_;
    ItemWorld world_;
    Catalogue catalogue_;
    std::uint64_t taste_key_;
    std::uint32_t noise_below_;
    std::uint32_t repeat_below_;
};

SyntheticPopulation::Interests SyntheticPopulation::interests_of(UserId user) const {
    CounterRng rng(params_.seed, Purpose::user_interests, user);
    Interests result;
    std::uint32_t const wanted =
        params_.interests_min + rng.below(params_.interests_max - params_.interests_min + 1);
    std::array<double, kMaxInterests> weights;
    double total = 0.0;
    constexpr int kClusterTries = 8;  // then the next free cluster: popular ones may all be taken
    while (result.count < wanted) {
        std::uint32_t cluster = world_.draw_cluster(rng.uniform());
        for (int i = 1; i < kClusterTries && result.find(cluster) != nullptr; ++i) {
            cluster = world_.draw_cluster(rng.uniform());
        }
        while (result.find(cluster) != nullptr) cluster = (cluster + 1) % world_.clusters();
        result.at[result.count] = {cluster, rng.below(params_.styles), 0};
        // Exponential weights, normalised: uniform over all ways to divide one's attention.
        weights[result.count] = rng.exponential(1.0);
        total += weights[result.count++];
    }
    double sum = 0.0;
    for (std::uint32_t i = 0; i < wanted; ++i) {
        sum += weights[i];
        result.at[i].cumulative = word_threshold(sum / total);
    }
    return result;
}

ItemId SyntheticPopulation::draw_styled(Interest const& interest, std::uint32_t style_bits,
                                        double preferred_share, double place) const {
    auto const preferred = static_cast<std::uint32_t>(preferred_share * 0x1.0p12);
    std::uint32_t style = interest.style;
    if (style_bits >= preferred && params_.styles > 1) {
        // The bits above the threshold pick one of the other styles.
        std::uint32_t const other =
            (style_bits - preferred) * (params_.styles - 1) / (4096U - preferred);
        style = (style + 1 + other) % params_.styles;
    }
    return world_.draw_item(interest.cluster, style, place);
}

ItemId SyntheticPopulation::draw_event(Interests const& interests, EventWords const& words,
                                       std::span<ItemId const> earlier) const {
    if (words.kind < noise_below_) {
        return world_.draw_item(world_.draw_cluster(words.choice * 0x1.0p-32), words.place());
    }
    if (words.kind < repeat_below_ && !earlier.empty()) {
        return earlier[(static_cast<std::uint64_t>(words.choice) * earlier.size()) >> 32];
    }
    return draw_styled(interests.choose(words.choice), words.style_bits(), kPreferredStyleShare,
                       words.place());
}

void SyntheticPopulation::make_history(UserId user, Interests const& interests,
                                       std::vector<ItemId>& out) const {
    std::uint32_t const length = history_length(user);
    out.resize(length);
    CounterRng rng(params_.seed, Purpose::history_items, user);
    std::uint64_t const key = taste_key(user);
    for (std::uint32_t position = 0; position < length; ++position) {
        ItemId item = kPaddingItem;
        for (std::uint32_t attempt = 0; attempt < kTasteTries; ++attempt) {
            EventWords const words(rng);
            item = draw_event(interests, words, {out.data(), position});
            // An item is kept with the probability of its taste's quantile: loved ones always,
            // hated ones hardly.
            if (words.kind < noise_below_ || words.taste_bits() < taste_hash(key, item) >> 52)
                break;
        }
        out[position] = item;
    }
}

ItemId SyntheticPopulation::draw_candidate(CounterRng& rng, Interests const& interests,
                                           std::span<ItemId const> history) const {
    if (rng.uniform() >= params_.matched_candidate_share) {
        std::uint32_t const cluster = world_.draw_cluster(rng.uniform());
        return world_.draw_item(cluster, rng.uniform());
    }
    if (!history.empty() && rng.uniform() < kSeenCandidateShare) {
        return history[rng.below(static_cast<std::uint32_t>(history.size()))];
    }
    Interest const& interest = interests.choose(rng.next_u32());
    std::uint32_t const style_bits = rng.next_u32() >> 20;
    return draw_styled(interest, style_bits, kCandidatePreferredShare, rng.uniform());
}

double SyntheticPopulation::true_logit(UserId user, Interests const& interests,
                                       std::span<ItemId const> history, ItemId item) const {
    double match = 0.0;
    if (Interest const* interest = interests.find(world_.cluster_of(item))) {
        match = interest->style == world_.style_of(item) ? 1.0 : kOtherStylePenalty;
    }
    double const quantile =
        (static_cast<double>(taste_hash(taste_key(user), item) >> 11) + 0.5) * 0x1.0p-53;
    bool const seen = std::find(history.begin(), history.end(), item) != history.end();
    double const taste = normal_quantile(quantile) * (seen ? 1.0 : kUnseenTasteShare);
    return params_.bias + params_.style_weight * match + params_.personal_weight * taste +
           params_.popularity_weight * world_.quality(item);
}

Split SyntheticPopulation::split_of(UserId user) const {
    double const u = CounterRng(params_.seed, Purpose::sample_selection, user).uniform();
    if (u < params_.train_share) return Split::train;
    return u < params_.train_share + params_.tune_share ? Split::tune : Split::test;
}

void SyntheticPopulation::make_impressions(UserId user, Interests const& interests,
                                           UserRecord& out) const {
    CounterRng rng(params_.seed, Purpose::impressions, user);
    CounterRng coins(params_.seed, Purpose::labels, user);
    std::span<ItemId const> const history(out.timeline);
    Split const split = split_of(user);
    out.impressions.clear();
    out.true_logits.clear();
    double time_s = 0.0;  // since the user's last history event
    for (std::uint32_t i = 0; i < params_.impressions_per_user; ++i) {
        bool const session = rng.uniform() < params_.short_gap_share;
        time_s += rng.exponential(session ? params_.short_gap_s : params_.long_gap_s);
        Impression impression;
        impression.item = draw_candidate(rng, interests, history);
        impression.history_end = out.base_length;
        impression.split = split;
        impression.time_ms = static_cast<std::int64_t>(time_s * 1000.0) + 1;
        double const logit = true_logit(user, interests, history, impression.item);
        impression.label = coins.uniform() < sigmoid(logit) ? 1 : 0;
        out.impressions.push_back(impression);
        out.true_logits.push_back(logit);
    }
}

/// Every parameter in a fixed order; doubles as hexadecimal floats, so that the digest sees every
/// bit.
std::string parameter_text(SyntheticParams const& p) {
    std::ostringstream text;
    text << "synthetic-1 ";  // raised when the generating model changes
    text << p.seed << ' ' << p.users;
    for (std::uint32_t const value :
         {p.items, p.clusters, p.history_min, p.history_cap, p.interests_min, p.interests_max,
          p.styles, p.impressions_per_user}) {
        text << ' ' << value;
    }
    text << std::hexfloat;
    for (double const value :
         {p.history_median, p.history_sigma, p.popularity_exponent, p.style_weight,
          p.personal_weight, p.popularity_weight, p.repeat_probability, p.noise_probability, p.bias,
          p.matched_candidate_share, p.train_share, p.tune_share, p.short_gap_share, p.short_gap_s,
          p.long_gap_s}) {
        text << ' ' << value;
    }
    return text.str();
}

std::string SyntheticPopulation::describe() const {
    return "synthetic: " + std::to_string(params_.users) + " users, " +
           std::to_string(params_.items) + " items in " + std::to_string(params_.clusters) +
           " clusters, histories up to " + std::to_string(params_.history_cap) + ", seed " +
           std::to_string(params_.seed);
}

std::uint64_t SyntheticPopulation::digest() const {
    std::string const text = parameter_text(params_);
    return hash_bytes(text.data(), text.size());
}

}  // namespace

std::unique_ptr<Population> make_synthetic(SyntheticParams const& params) {
    return std::make_unique<SyntheticPopulation>(params);
}

}  // namespace ckvsim::workload
