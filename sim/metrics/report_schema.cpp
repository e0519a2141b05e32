// Registry: the workload, training and the run itself; and the list of all tables.
#include <iterator>

#include "metrics/report_schema_parts.hpp"

namespace ckvsim::metrics {

namespace schema {

namespace {

TableSchema workload() {
    return {"workload",
            "what the users and requests look like",
            false,
            {key_text("statistic", "name of the statistic"),
             {"value", real, "see unit", derived,
              "counted over the whole population or request stream", kRounding},
             {"unit", text, "text", input, "unit of the value"}}};
}

TableSchema history_lengths() {
    return {"history_lengths",
            "histogram of stored history lengths",
            false,
            {key_column("tokens_low", integer, "tokens", "shortest length of the bin"),
             key_column("tokens_high", integer, "tokens", "longest length of the bin, included"),
             {"users", integer, "users", derived, "users whose history has such a length"}}};
}

TableSchema popularity() {
    return {
        "popularity",
        "items by how often they occur in histories",
        false,
        {key_column("rank", integer, "1", "1 = most frequent item"),
         {"share", real, "1", derived, "occurrences of the item / all history tokens", kRounding},
         {"cumulative", real, "1", derived, "share of all history tokens on items up to this rank",
          kRounding}}};
}

TableSchema expansion() {
    auto const distance = [](std::string name, std::string meaning) {
        return Column{std::move(name), real, "1", derived, std::move(meaning), kRounding};
    };
    return {"expansion",
            "how far expanded users are from the recorded ones, as Kolmogorov-Smirnov statistics "
            "over up to 200,000 users (workload kind expanded)",
            false,
            {key_text("distribution", "length, popularity, repeat or co_occurrence"),
             distance("expanded", "expanded users against a third of the recorded ones"),
             distance("noise_floor", "another third of the recorded users against the same third"),
             distance("shuffled", "control: the same expansion with shuffled items")}};
}

TableSchema training() {
    return {"training",
            "what the weight files say about their training",
            false,
            {key_text("weights", "variant of the model"),
             key_column("seed", integer, "1", "training seed"),
             key_text("fact", "name of the fact, with its unit"),
             {"value", real, "see fact", input, "read from the weight file", kRounding}}};
}

TableSchema phases() {
    return {"phases",
            "wall-clock time of the run's phases",
            true,
            {key_text("phase", "name of the phase"),
             {"seconds", real, "s", measured, "slowest rank", kNoisy}}};
}

}  // namespace

std::vector<TableSchema> context_tables() {
    return {workload(), history_lengths(), popularity(), expansion(), training(), phases()};
}

}  // namespace schema

std::vector<TableSchema> const& table_schemas() {
    static std::vector<TableSchema> const kTables = [] {
        std::vector<TableSchema> all;
        for (auto* part : {&schema::memory_tables, &schema::accuracy_tables,
                           &schema::serving_tables, &schema::fleet_tables, &schema::plan_tables,
                           &schema::analysis_tables, &schema::context_tables}) {
            auto tables = part();
            all.insert(all.end(), std::make_move_iterator(tables.begin()),
                       std::make_move_iterator(tables.end()));
        }
        return all;
    }();
    return kTables;
}

}  // namespace ckvsim::metrics
