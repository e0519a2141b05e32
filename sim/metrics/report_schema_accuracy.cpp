// Registry: accuracy through the cache as served, and the checks behind it.
// Provenance: a statistic of labels and of scores computed through the served cache counts as
// measured, although a formula (given in `meaning`) leads from the scores to the number.
#include "metrics/leakage.hpp"
#include "metrics/report_schema_parts.hpp"

namespace ckvsim::metrics::schema {

namespace {

/// A statistic with its 95 % interval: <name>, <name>_low, <name>_high.
void add_interval(std::vector<Column>& columns, std::string const& name, std::string const& unit,
                  std::string const& meaning) {
    columns.push_back({name, real, unit, measured, meaning, kScores});
    columns.push_back({name + "_low", real, unit, measured,
                       "lower end of its 95 % bootstrap interval", 10 * kScores});
    columns.push_back({name + "_high", real, unit, measured,
                       "upper end of its 95 % bootstrap interval", 10 * kScores});
}

TableSchema accuracy() {
    std::vector<Column> columns = {
        arm_key(),
        key_text("kind", "arm = a way of serving; control = what the data can tell apart"),
        {"seeds", integer, "seeds", input, "training seeds behind the row"},
        {"impressions", integer, "impressions", input, "test impressions scored per seed"},
        {"users_with_both", integer, "users", input,
         "users with both labels among them; only these enter gAUC"}};
    add_interval(columns, "auc", "1",
                 "Mann-Whitney over all impressions, ties one half; mean over seeds");
    add_interval(columns, "gauc", "1", "per-user AUC weighted by impressions; mean over seeds");
    add_interval(columns, "logloss", "nat", "mean of -log sigmoid(+-logit); mean over seeds");
    columns.push_back(
        {"calibration", real, "1", measured, "mean predicted probability / mean label", kScores});
    add_interval(columns, "lift_kept", "1",
                 "(auc - auc of no history) / (auc of full KV - auc of no history)");
    columns[columns.size() - 2].name = "lift_low";
    columns[columns.size() - 1].name = "lift_high";
    add_interval(columns, "auc_difference", "1",
                 "auc - auc of full KV, paired by seed and user weights");
    for (std::size_t i = columns.size() - 3; i < columns.size(); ++i) {
        columns[i].diff_tolerance = kNoisy;  // near zero: a relative tolerance means nothing
    }
    columns.push_back({"verdict", text, "text", derived,
                       "reference | better | equivalent | worse | undecided | no_power, by "
                       "the lift interval and the spec's margin (better: above 1 + margin); "
                       "reference also when scores are bit-equal to the reference's"});
    columns.push_back(
        {"detectable_margin", real, "1", derived,
         "half-width of the lift interval: the smallest loss of lift these data could decide",
         0.05});
    columns.push_back({"bytes_per_interaction", real, "bytes", derived,
                       "payload over all users / their history tokens", kRounding});
    return {"accuracy",
            "scores through the cache as served, on test impressions, with two-level bootstrap "
            "(seeds, then users)",
            false, std::move(columns)};
}

TableSchema splits() {
    std::vector<Column> columns = {
        arm_key(),
        key_text("split",
                 "history_length: tokens of the user's stored history as the model sees it; "
                 "activity: test impressions of the user; item_popularity: history events "
                 "of the candidate"),
        key_text("group", "low, middle or high: thirds of the impressions, equal values together"),
        {"attribute_low", real, "1", derived, "smallest value of the attribute in the group",
         kRounding},
        {"attribute_high", real, "1", derived, "largest value of the attribute in the group",
         kRounding},
        {"impressions", integer, "impressions", input, "test impressions of the group"}};
    add_interval(columns, "auc", "1", "Mann-Whitney over the group's impressions");
    add_interval(columns, "lift_kept", "1",
                 "(auc - auc of no history) / (auc of full KV - auc of no history), in the group");
    columns[columns.size() - 2].name = "lift_low";
    columns[columns.size() - 1].name = "lift_high";
    add_interval(columns, "auc_difference", "1", "auc - auc of full KV, paired, in the group");
    for (std::size_t i = columns.size() - 6; i < columns.size(); ++i)
        columns[i].diff_tolerance = kNoisy;  // small denominators, or near zero
    columns.push_back(
        {"verdict", text, "text", derived,
         "as in table accuracy; many rows are many chances to be wrong: read the pattern", kNoisy});
    return {"accuracy_splits", "where sharing hurts: the same scores in thirds of users and items",
            false, std::move(columns)};
}

TableSchema leakage() {
    std::vector<Column> columns = {
        key_text("score",
                 "candidate_in_history: 1 where the candidate is among the tokens that the model "
                 "reads, else 0; candidate_newest: its last occurrence is among the newest " +
                     std::to_string(kNewestTokens) +
                     "; candidate_earlier: it is older; or the name of an arm"),
        key_text("kind",
                 "probe = no model; arm = a row of table accuracy, where the oracle is known")};
    add_interval(columns, "auc", "1", "Mann-Whitney over all impressions, ties one half");
    columns.push_back({"fires_positive", real, "1", measured,
                       "share of the impressions with label 1 for which the probe is 1",
                       kRounding});
    columns.push_back({"fires_negative", real, "1", measured, "the same with label 0", kRounding});
    columns.push_back({"limit", real, "1", derived,
                       "the oracle's AUC where it is known; else 0.5 + half of (the highest AUC of "
                       "table accuracy - 0.5)",
                       kScores});
    add_interval(columns, "above_limit", "1", "auc - limit, paired by seed and user weights");
    add_interval(columns, "above_ratio", "1",
                 "fires_positive - " + std::to_string(static_cast<int>(kSuspiciousRatio)) +
                     " * fires_negative");
    for (std::size_t i = columns.size() - 6; i < columns.size(); ++i)
        columns[i].diff_tolerance = kNoisy;  // near zero: a relative tolerance means nothing
    columns.push_back(
        {"verdict", text, "text", derived,
         "suspicious: the interval of above_limit lies above 0; or, without an oracle, that of "
         "above_ratio does and the probe fires for more than 1 % of label 1 beyond its interval. "
         "Else of a probe chance (the interval of auc holds 0.5) or informative, of an arm "
         "plausible. undecided: only one label. A probe may be informative or suspicious because "
         "users return to items"});
    return {"leakage",
            "did the label leak into the histories? scores that clean data leave near 0.5", false,
            std::move(columns)};
}

TableSchema seeds() {
    return {
        "accuracy_seeds",
        "the same, one row per training seed",
        false,
        {arm_key(),
         key_column("seed", integer, "1", "training seed"),
         {"auc", real, "1", measured, "Mann-Whitney over all impressions, ties one half", kScores},
         {"gauc", real, "1", measured, "per-user AUC weighted by impressions", kScores},
         {"logloss", real, "nat", measured, "mean of -log sigmoid(+-logit)", kScores}}};
}

TableSchema oracle() {
    return {
        "oracle",
        "what the workload's own preference model reaches on the same impressions (synthetic data "
        "only): an upper "
        "bound",
        false,
        {key_text("metric", "oracle_auc, oracle_gauc or oracle_logloss"),
         {"value", real, "1", measured, "statistic of the true logits; logloss in nat", kScores}}};
}

TableSchema serving_check() {
    return {
        "serving_check",
        "served scores against the training framework's forward pass on stored samples",
        false,
        {arm_key(),
         key_text("weights", "variant of the model"),
         key_column("seed", integer, "1", "training seed"),
         {"samples", integer, "samples", input, "impressions compared"},
         {"max_abs_difference", real, "logit", measured,
          "largest |served - reference|, discrete choices forced", kNoisy},
         {"index_disagreements", integer, "choices", measured,
          "router arg-max, of sdim buckets, too, that differ, running free; hstu: samples beyond "
          "1e-5",
          kNoisy},
         {"index_total", integer, "choices", measured,
          "router choices (sdim: and buckets) compared; hstu: samples"},
         {"top_k_disagreements", integer, "choices", measured,
          "long-branch selections that differ, running free", kNoisy},
         {"top_k_total", integer, "choices", measured, "long-branch selections compared"}}};
}

}  // namespace

std::vector<TableSchema> accuracy_tables() {
    return {accuracy(), splits(), leakage(), seeds(), oracle(), serving_check()};
}

}  // namespace ckvsim::metrics::schema
