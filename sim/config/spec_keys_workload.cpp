// Keys of the generator and of nodes.
#include "config/spec_key_parts.hpp"
#include "config/spec_keys.hpp"

namespace ckvsim::config {

namespace {

constexpr RealRange kShare = {.low = 0, .high = 1};
constexpr RealRange kLabelWeight = {.low = -100, .high = 100};
constexpr std::uint32_t kMostInterests = 64;  ///< workload/synthetic.cpp keeps them in an array

void describe_population(KeyVisitor& v, workload::SyntheticParams& p) {
    v.integer({.name = "seed", .meaning = "seed of the population"}, p.seed, {});
    v.integer({.name = "users", .meaning = "users U", .unit = "users"}, p.users,
              {.low = 1, .high = kMostUsers});
    v.integer({.name = "items", .meaning = "catalogue size V", .unit = "items"}, p.items,
              {.low = 1, .high = 0xFFFFFFFEU});
    v.integer(
        {.name = "clusters", .meaning = "interest clusters, the items' category; at most items"},
        p.clusters, {.low = 1, .high = 10'000'000});
    v.real({.name = "history_median",
            .meaning = "median of the log-normal history length before clipping",
            .unit = "events"},
           p.history_median, {.low = 0, .high = 1e9, .above_low = true});
    v.real({.name = "history_sigma", .meaning = "sigma of the logarithm of the history length"},
           p.history_sigma, {.low = 0, .high = 10});
    v.integer({.name = "history_min",
               .meaning = "lengths are clipped to [history_min, history_cap]",
               .unit = "events"},
              p.history_min, {.high = 1'000'000});
    v.integer({.name = "history_cap",
               .meaning = "lengths are clipped to [history_min, history_cap]",
               .unit = "events"},
              p.history_cap, {.low = 1, .high = 1'000'000});
    v.real({.name = "popularity_exponent",
            .meaning = "Zipf exponent of clusters and of items inside a cluster"},
           p.popularity_exponent, {.low = 0, .high = 5});
}

void describe_preferences(KeyVisitor& v, workload::SyntheticParams& p) {
    v.integer({.name = "interests_min", .meaning = "fewest interests of a user"}, p.interests_min,
              {.low = 1, .high = kMostInterests});
    v.integer({.name = "interests_max", .meaning = "most interests of a user; at most clusters"},
              p.interests_max, {.low = 1, .high = kMostInterests});
    v.integer({.name = "styles",
               .meaning = "styles per cluster: an item has one, a user prefers one per interest"},
              p.styles, {.low = 1, .high = 4096});
    v.real({.name = "style_weight",
            .meaning = "label weight of the style match inside the candidate's cluster",
            .unit = "logit"},
           p.style_weight, kLabelWeight);
    v.real({.name = "personal_weight",
            .meaning = "label weight of taste for the exact item that no other user shares",
            .unit = "logit"},
           p.personal_weight, kLabelWeight);
    v.real({.name = "popularity_weight",
            .meaning = "label weight of the item's quality, the same for everybody",
            .unit = "logit"},
           p.popularity_weight, kLabelWeight);
    v.real({.name = "repeat_probability",
            .meaning = "an event repeats one of the user's earlier items; with noise_probability "
                       "at most 1"},
           p.repeat_probability, kShare);
    v.real({.name = "noise_probability", .meaning = "an event is drawn by global popularity alone"},
           p.noise_probability, kShare);
    v.real({.name = "bias", .meaning = "label intercept", .unit = "logit"}, p.bias, kLabelWeight);
}

}  // namespace

void describe_synthetic(KeyVisitor& v, workload::SyntheticParams& p) {
    describe_population(v, p);
    describe_preferences(v, p);
    v.integer({.name = "impressions_per_user",
               .meaning = "labelled candidates of a user",
               .unit = "impressions"},
              p.impressions_per_user, {.low = 1, .high = 100'000});
    v.real({.name = "matched_candidate_share",
            .meaning = "candidates drawn from the user's own interests"},
           p.matched_candidate_share, kShare);
    v.real(
        {.name = "train_share", .meaning = "users that train, by hash; with tune_share at most 1"},
        p.train_share, kShare);
    v.real({.name = "tune_share", .meaning = "users that tune; the rest is tested"}, p.tune_share,
           kShare);
    v.real({.name = "short_gap_share", .meaning = "gaps between events inside a session"},
           p.short_gap_share, kShare);
    v.real({.name = "short_gap_s", .meaning = "mean gap inside a session", .unit = "s"},
           p.short_gap_s, {.low = 0, .high = 1e9, .above_low = true});
    v.real({.name = "long_gap_s", .meaning = "mean gap between sessions", .unit = "s"},
           p.long_gap_s, {.low = 0, .high = 1e9, .above_low = true});
}

void describe_expansion(KeyVisitor& v, workload::ExpansionParams& p) {
    v.integer({.name = "seed", .meaning = "seed of the expansion"}, p.seed,
              {.low = 0, .high = 1'000'000'000'000'000'000});
    v.integer({.name = "users", .meaning = "users to make", .unit = "users"}, p.users,
              {.low = 1, .high = 10'000'000'000});
    v.integer({.name = "items",
               .meaning = "items of the grown catalogue, at least the dataset's; 0 = the dataset's",
               .unit = "items"},
              p.items, {.low = 0, .high = 4'000'000'000});
    v.real({.name = "substitution_share",
            .meaning = "share of a user's distinct items replaced by items that other users "
                       "consumed next to them"},
           p.substitution_share, kShare);
    v.integer({.name = "neighbourhood",
               .meaning = "consumed next to = at most so many events apart",
               .unit = "events"},
              p.neighbourhood, {.low = 1, .high = 1000});
    v.real({.name = "length_jitter",
            .meaning = "standard deviation of the shift of a user's rank among history lengths"},
           p.length_jitter, kShare);
    v.real({.name = "time_sigma", .meaning = "log-normal stretch of gaps between impressions"},
           p.time_sigma, {.low = 0, .high = 10});
    v.real({.name = "foreign_share",
            .meaning = "grown catalogue: items met in another community's variant"},
           p.foreign_share, kShare);
}

void describe_node(KeyVisitor& v, node::NodeParams& node) {
    v.integer({.name = "hbm_cache_bytes",
               .meaning = "accelerator memory of the node for user entries and shared tables; "
                          "shared tables are taken off first",
               .unit = "bytes"},
              node.hbm_cache_bytes, {.high = std::uint64_t{1} << 50});
    v.integer({.name = "dram_cache_bytes",
               .meaning = "host memory of the node for user entries",
               .unit = "bytes"},
              node.dram_cache_bytes, {.high = std::uint64_t{1} << 50});
    v.integer({.name = "max_batch", .meaning = "most requests of a batch", .unit = "requests"},
              node.max_batch, {.low = 1, .high = 65536});
    v.real({.name = "max_wait_us",
            .meaning = "a batch closes when it is full or its first request waited so long",
            .unit = "us"},
           node.max_wait_us, {.low = 0, .high = 1e7});
}

}  // namespace ckvsim::config
