#include "app/accuracy_notes.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "spec_cases.hpp"

namespace ckvsim::app {
namespace {

/// A spec of so many seeds; its arm "coll" serves CollectiveKV.
config::Spec spec_of(std::size_t seeds) {
    auto spec = config::parse_spec(test::base_spec(), "base");
    spec.training.seeds.assign(seeds, 1);
    spec.accuracy.controls.clear();
    return spec;
}

/// Enough to place the ends of an interval.
constexpr std::size_t kReplicates = 400;

/// One seed, replicates all of the same scores.
metrics::ArmSamples samples_of(double auc, double gauc) {
    metrics::ArmSamples samples;
    metrics::AccuracyPoint point;
    point.auc = auc;
    point.gauc = gauc;
    samples.points.push_back(point);
    metrics::ReplicateMetrics replicates;
    replicates.auc.assign(kReplicates, auc);
    replicates.gauc.assign(kReplicates, gauc);
    replicates.logloss.assign(kReplicates, 0.5);
    samples.replicates.push_back(replicates);
    return samples;
}

/// Notes on rows of (name, AUC, gAUC); the reference and no history come first.
std::vector<std::string> notes_on(
    config::Spec const& spec, std::vector<std::tuple<std::string, double, double>> const& rows) {
    std::vector<metrics::ArmSamples> samples;
    for (auto const& [name, auc, gauc] : rows) samples.push_back(samples_of(auc, gauc));
    std::vector<Compared> compared;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        compared.push_back({std::get<0>(rows[i]),
                            metrics::compare(samples[i], samples[0], samples[1], 0.03, 1),
                            &samples[i]});
    }
    return accuracy_notes(spec, compared);
}

bool says(std::vector<std::string> const& notes, std::string const& words) {
    return std::any_of(notes.begin(), notes.end(), [&](std::string const& note) {
        return note.find(words) != std::string::npos;
    });
}

TEST(AccuracyNotes, NoneWhereDataAndSeedsCanTell) {
    auto const notes = notes_on(spec_of(5), {{"full", 0.8, 0.7},
                                             {"control.no_history", 0.6, 0.5},
                                             {"coll", 0.79, 0.69},
                                             {"control.mean_pool", 0.7, 0.6},
                                             {"control.mean_keys", 0.7, 0.6},
                                             {"control.other_history", 0.5, 0.5},
                                             {"control.m1", 0.6, 0.5},
                                             {"control.du0", 0.78, 0.6}});
    EXPECT_TRUE(notes.empty()) << notes.front();
}

TEST(AccuracyNotes, SayWhereHistoriesTellUsersApartAndNoMore) {
    auto const without =
        notes_on(spec_of(5), {{"full", 0.8, 0.6}, {"control.no_history", 0.6, 0.6}});
    ASSERT_EQ(without.size(), 1U);
    EXPECT_TRUE(says(without, "No gain within users"));
    // Histories help within users, but anybody's does.
    auto const others = notes_on(spec_of(5), {{"full", 0.8, 0.7},
                                              {"control.no_history", 0.6, 0.6},
                                              {"control.other_history", 0.5, 0.7}});
    ASSERT_EQ(others.size(), 1U);
    EXPECT_TRUE(says(others, "No gain of a user's own history within users"));
}

TEST(AccuracyNotes, SayWhatControlsDoAsWell) {
    auto const notes = notes_on(spec_of(5), {{"full", 0.8, 0.7},
                                             {"control.no_history", 0.6, 0.5},
                                             {"coll", 0.79, 0.7},
                                             {"control.mean_pool", 0.8, 0.7},
                                             {"control.mean_keys", 0.81, 0.7},
                                             {"control.m1", 0.79, 0.7},
                                             {"control.du0", 0.79, 0.7}});
    EXPECT_TRUE(says(notes, "No power to judge attention"));
    EXPECT_TRUE(says(notes, "No power to judge K"));
    EXPECT_TRUE(says(notes, "The pool index is not shown to carry anything"));
    EXPECT_TRUE(says(notes, "The user-specific values are not shown to carry anything"));
    EXPECT_EQ(notes.size(), 4U);
}

TEST(AccuracyNotes, SayThatAskedMeanKeysAreLeftOut) {
    auto spec = spec_of(5);
    spec.accuracy.controls = {config::Control::mean_keys};
    EXPECT_TRUE(says(notes_on(spec, {{"full", 0.8, 0.7}, {"control.no_history", 0.6, 0.5}}),
                     "Control mean_keys is left out"));
}

TEST(AccuracyNotes, SayThatFewSeedsDecideNothing) {
    std::vector<std::tuple<std::string, double, double>> const rows = {
        {"full", 0.8, 0.7}, {"control.no_history", 0.6, 0.5}};
    EXPECT_TRUE(says(notes_on(spec_of(1), rows), "1 training seed: "));
    EXPECT_TRUE(says(notes_on(spec_of(4), rows), "4 training seeds: "));
    EXPECT_TRUE(notes_on(spec_of(5), rows).empty());
}

TEST(AccuracyNotes, SayThatLongHistoriesAreSyntheticAlone) {
    std::vector<std::tuple<std::string, double, double>> const rows = {
        {"full", 0.8, 0.7}, {"control.no_history", 0.6, 0.5}};
    auto spec = spec_of(5);
    spec.workload.kind = config::WorkloadKind::synthetic;
    spec.workload.synthetic.history_median = kLongHistory;
    spec.workload.synthetic.history_cap = 1000;
    spec.model.max_tokens = 600;
    EXPECT_TRUE(says(notes_on(spec, rows), "Synthetic histories, 500 events in the median"));
    spec.workload.synthetic.history_median = kLongHistory - 1;
    EXPECT_TRUE(notes_on(spec, rows).empty());
    spec.workload.synthetic.history_median = 1000;
    spec.model.max_tokens = 499;
    EXPECT_TRUE(notes_on(spec, rows).empty()) << "the model sees no more than 499";
    spec.model.max_tokens = 600;
    spec.workload.synthetic.history_median = kLongHistory;
    spec.workload.kind = config::WorkloadKind::dataset;
    EXPECT_TRUE(notes_on(spec, rows).empty());
}

TEST(AccuracyNotes, NameVerdictsThatHangOnRandomNumbers) {
    // Replicates of the arm straddle what the margin allows: 0.97 of 0.8 - 0.6.
    metrics::ArmSamples const full = samples_of(0.8, 0.7), none = samples_of(0.6, 0.5);
    metrics::ArmSamples arm = samples_of(0.794, 0.69);
    for (std::size_t r = 0; r < kReplicates; ++r) {
        auto const share = static_cast<double>(r) / kReplicates;
        arm.replicates.front().auc[r] = 0.79395 + 0.002 * share;
    }
    auto const result = metrics::compare(arm, full, none, 0.03, 1);
    std::vector<Compared> const compared = {
        {"full", metrics::compare(full, full, none, 0.03, 1), &full},
        {"control.no_history", metrics::compare(none, full, none, 0.03, 1), &none},
        {"coll", result, &arm},
        {"control.mean_keys", result, &arm}};
    auto const notes = accuracy_notes(spec_of(5), compared);
    EXPECT_TRUE(says(notes, "random numbers of the bootstrap could change: coll. "))
        << notes.size();
}

}  // namespace
}  // namespace ckvsim::app
