#include "app/accuracy_splits.hpp"

#include <algorithm>
#include <array>

#include "app/row.hpp"

namespace ckvsim::app {

namespace {

constexpr std::array<char const*, 3> kThirds = {"low", "middle", "high"};

/// One attribute a test impression, of this rank.
struct Attributes {
    std::vector<float> history;     ///< tokens of the user's stored history, capped
    std::vector<float> activity;    ///< test impressions of the user
    std::vector<float> popularity;  ///< history events of the candidate, all users
};

Attributes attributes_of(RunContext const& context, engine::EvaluationSet const& set) {
    Attributes found;
    auto const max_tokens = context.spec.model.max_tokens;
    for (std::size_t u = 0; u < set.users.size(); ++u) {
        auto const tokens = std::min(context.population->history_length(set.users[u]), max_tokens);
        auto const count = set.user_offsets[u + 1] - set.user_offsets[u];
        found.history.insert(found.history.end(), count, static_cast<float>(tokens));
        found.activity.insert(found.activity.end(), count, static_cast<float>(count));
    }
    for (ItemId const item : set.items)
        found.popularity.push_back(static_cast<float>(context.scan.item_events[item]));
    return found;
}

}  // namespace

AccuracySplits::AccuracySplits(RunContext& context, engine::EvaluationSet const& set,
                               LogicalOrder const& order, metrics::Predictions const& labels)
    : context_(context) {
    auto const local = attributes_of(context, set);
    for (auto const& [name, values] :
         {std::pair{"history_length", &local.history}, std::pair{"activity", &local.activity},
          std::pair{"item_popularity", &local.popularity}}) {
        auto const all = order.gather(context.comm, std::span<float const>(*values));
        if (context.comm.is_root()) split(name, all, labels);
    }
}

void AccuracySplits::split(char const* name, std::vector<float> const& attribute,
                           metrics::Predictions const& labels) {
    if (attribute.empty()) return;
    auto sorted = attribute;
    std::sort(sorted.begin(), sorted.end());
    // Equal values stay together: a third may be empty, or all.
    std::array<float, 2> const bounds = {sorted[(sorted.size() - 1) / 3],
                                         sorted[(sorted.size() - 1) * 2 / 3]};
    std::array<Group, 3> thirds;
    for (std::size_t i = 0; i < attribute.size(); ++i) {
        std::size_t const third = attribute[i] <= bounds[0] ? 0 : attribute[i] <= bounds[1] ? 1 : 2;
        auto& group = thirds[third];
        double const value = attribute[i];
        group.low = group.positions.empty() ? value : std::min(group.low, value);
        group.high = group.positions.empty() ? value : std::max(group.high, value);
        group.positions.push_back(static_cast<std::uint32_t>(i));
        group.part.labels.push_back(labels.labels[i]);
        group.part.user.push_back(labels.user[i]);
    }
    for (std::size_t third = 0; third < thirds.size(); ++third) {
        if (thirds[third].positions.empty()) continue;
        thirds[third].split = name;
        thirds[third].name = kThirds[third];
        // Users keep their numbers, and so their weights in a replicate.
        thirds[third].part.users = labels.users;
        groups_.push_back(std::move(thirds[third]));
    }
}

void AccuracySplits::add(std::string const& contestant, std::vector<float> const& logits) {
    for (auto& group : groups_) {
        group.part.logits.clear();
        for (auto const position : group.positions) group.part.logits.push_back(logits[position]);
        auto& samples = group.samples[contestant];
        samples.points.push_back(metrics::evaluate(group.part));
        samples.replicates.push_back(metrics::bootstrap_users(
            group.part, context_.spec.seed, context_.spec.accuracy.bootstrap_replicates));
    }
}

void AccuracySplits::report(std::vector<std::string> const& contestants,
                            std::string const& reference, std::string const& none) {
    for (auto const& group : groups_) {
        for (auto const& name : contestants) {
            auto const& samples = group.samples.at(name);
            auto const result =
                metrics::compare(samples, group.samples.at(reference), group.samples.at(none),
                                 context_.spec.accuracy.margin, context_.spec.seed);
            Row(context_.report.table("accuracy_splits"))
                .set("arm", name)
                .set("split", group.split)
                .set("group", group.name)
                .set("attribute_low", group.low)
                .set("attribute_high", group.high)
                .set("impressions", samples.points.front().impressions)
                .set_interval("auc", result.auc)
                .set_interval("lift_kept", "lift", result.lift_kept)
                .set_interval("auc_difference", result.auc_difference)
                .set("verdict", metrics::to_string(result.verdict))
                .add();
        }
    }
}

}  // namespace ckvsim::app
