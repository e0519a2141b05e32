// Registry: what `ckvsim plan` answers. A question is one configuration asked for the fewest nodes
// or for the highest load; every table names it by the same number.
#include "metrics/report_schema_parts.hpp"

namespace ckvsim::metrics::schema {

namespace {

Column question_key() {
    return key_column("question", integer, "1", "number of the question, see table plan");
}
Column input_real(std::string name, std::string unit, std::string meaning) {
    return {std::move(name), real, std::move(unit), input, std::move(meaning), kExact};
}
Column input_integer(std::string name, std::string unit, std::string meaning) {
    return {std::move(name), integer, std::move(unit), input, std::move(meaning), kExact};
}
Column input_text(std::string name, std::string meaning) {
    return {std::move(name), text, "text", input, std::move(meaning), kExact};
}
Column counted(std::string name, std::string unit, std::string meaning) {
    return {std::move(name), integer, std::move(unit), simulated, std::move(meaning), kExact};
}
Column modelled(std::string name, std::string unit, std::string meaning) {
    return {std::move(name), real, std::move(unit), simulated, std::move(meaning), kRounding};
}
Column found_text(std::string name, std::string meaning) {
    return {std::move(name), text, "text", simulated, std::move(meaning), kExact};
}
Column formula(std::string name, std::string unit, std::string meaning) {
    return {std::move(name), real, std::move(unit), derived, std::move(meaning), kRounding};
}
Column money() {
    return formula("cost_per_million", "currency",
                   "nodes * cost_per_node_hour / 3600 / requests_per_second * 1e6; attribute "
                   "currency; NaN = the platform does not give it");
}
Column energy() {
    return formula("energy_per_million", "kWh",
                   "nodes * watts / requests_per_second * 1e6 / 3.6e6, watts = idle_watts + "
                   "(busy_watts - idle_watts) * gpu_busy; busy_watts throughout (an upper bound) "
                   "without idle_watts; NaN = the platform does not give them");
}

TableSchema plan() {
    std::vector<Column> columns = {
        question_key(),
        input_text("find", "nodes: fewest for the load; load: highest of the nodes"),
        input_text("model", "shape that is served"),
        input_text("model_class", "K and V depend on: item, event or sequence"),
        input_text("strategy", "name of the strategy in the study"),
        input_text("keeping", "what is kept of a history between requests"),
        input_text("type", "of stored K, V, pools and tables"),
        input_integer("d_u", "values", "user-specific values of CollectiveKV; 0 without pools"),
        input_integer("m", "rows", "pool rows of CollectiveKV; 0 without pools"),
        input_real("users", "users", "users of the fleet"),
        input_real("catalogue_items", "items", "V"),
        input_integer("candidates", "1", "C of a request"),
        input_text("tiers", "where entries may live"),
        input_text("policy", "eviction policy"),
        input_real("efficiency", "1", "share of nominal rates that devices reach"),
        counted("applies", "0 or 1", "1 = the strategy can serve the model"),
        counted("feasible", "0 or 1", "1 = within the SLO by some fleet, or under some load"),
        found_text("reason", "why not; empty when feasible"),
        counted("nodes", "nodes", "found or given"),
        counted("nodes_low", "nodes", "fewest that could be right, over replicates and resolution"),
        counted("nodes_high", "nodes", "most that could be right"),
        modelled("requests_per_second", "1/s", "load of the fleet, given or found"),
        modelled("load_low", "1/s", "least load that could be right; the given one"),
        modelled("load_high", "1/s", "highest load that could be right; the given one"),
        modelled("without_memory_limit", "nodes or 1/s",
                 "the answer if every entry fitted GPU memory: what the load alone asks for"),
        counted("memory_bound", "0 or 1", "1 = memory, not load, decides the answer"),
        found_text("bound", "what gives out one step harder"),
        modelled("hit_ratio", "1", "of the answer: entry in any tier"),
        modelled("hbm_ratio", "1", "... in GPU memory"),
        modelled("p50_ns", "ns", "median latency"),
        modelled("p99_ns", "ns", "99th percentile"),
        modelled("gpu_busy", "1", "share of the time that GPUs work"),
        modelled("link_in_busy", "1", "... links to the GPUs"),
        modelled("link_out_busy", "1", "... links from the GPUs"),
        modelled("nvme_busy", "1", "... flash devices"),
        modelled("nic_busy", "1", "... the network"),
        money(),
        energy(),
        counted("best", "0 or 1",
                "1 = fewest nodes (then shortest p99), or highest load, of its strategy here"),
        found_text(
            "checked",
            "estimated; re-run: full runs give nodes within [nodes_low, nodes_high]; re-run, "
            "differs: they do not (table plan_error)"),
        counted("users_simulated", "users", "of the one node that is evaluated"),
        modelled("sampling_factor", "1", "users of a node over those simulated"),
        counted("evaluations", "1", "runs that the answer took"),
        counted("requests", "requests", "simulated in them"),
        found_text("decision_hash", "of the answer's first replicate")};
    return {"plan", "how many nodes the load needs within the SLO, and what given nodes carry",
            false, std::move(columns)};
}

TableSchema plan_front() {
    return {"plan_front",
            "fleets within the SLO that no other one beats in nodes, cost, energy and p99 at once, "
            "by model, users, load, catalogue, candidates and efficiency",
            false,
            {question_key(), key_column("nodes", integer, "nodes", "of this fleet"),
             input_text("model", "shape that is served"),
             input_text("strategy", "name of the strategy in the study"),
             input_text("tiers", "where entries may live"), input_text("policy", "eviction policy"),
             input_real("users", "users", "users of the fleet"),
             modelled("requests_per_second", "1/s", "load"),
             modelled("p99_ns", "ns", "99th percentile"),
             modelled("gpu_busy", "1", "share of the time that GPUs work"), money(), energy()}};
}

TableSchema plan_error() {
    return {"plan_error",
            "sampled evaluations against full runs: all users of one node, real tiers, the spec's "
            "requests",
            false,
            {question_key(),
             input_text("model", "shape that is served"),
             input_text("strategy", "name of the strategy in the study"),
             input_text("tiers", "where entries may live"),
             input_text("policy", "eviction policy"),
             input_real("users", "users", "users of the fleet"),
             counted("finalist", "0 or 1", "1 = best of its strategy; 0 = drawn by --check"),
             found_text("skipped", "why there is no full run; empty = there is"),
             counted("nodes", "nodes", "by the plan"),
             counted("nodes_full", "nodes",
                     "fewest by full runs; 0 = not within check_steps (attribute), or not run"),
             found_text("nodes_full_is",
                        "exact; at most: a full run takes no fewer; below: every fleet tried "
                        "meets the SLO, fewer nodes do; above: none does; empty: not run"),
             counted("nodes_agree", "0 or 1", "1 = equal"),
             counted("nodes_within", "0 or 1", "1 = nodes_full lies in the plan's interval"),
             modelled("hit_ratio", "1", "sampled"),
             modelled("hit_ratio_full", "1", "full"),
             formula("hit_ratio_error", "1", "hit_ratio - hit_ratio_full"),
             modelled("p50_ns", "ns", "sampled"),
             modelled("p50_full_ns", "ns", "full"),
             formula("p50_error", "1", "p50_ns / p50_full_ns - 1"),
             modelled("p99_ns", "ns", "sampled"),
             modelled("p99_full_ns", "ns", "full"),
             formula("p99_error", "1", "p99_ns / p99_full_ns - 1"),
             modelled("busy_error", "1",
                      "busiest device: sampled over full share of the time, minus 1"),
             counted("users_simulated", "users", "by the full run")}};
}

TableSchema plan_speed() {
    return {"plan_speed",
            "wall-clock speed of the plan",
            true,
            {key_text("part", "answers or checks"),
             {"seconds", real, "s", measured, "of this run, without what a journal held", kNoisy},
             {"questions", integer, "1", measured, "answered in this run", kNoisy},
             {"evaluations", integer, "1", measured, "runs of sampled nodes", kNoisy},
             {"requests", integer, "requests", measured, "simulated", kNoisy},
             {"requests_per_core_s", real, "1/s", derived, "requests / (seconds * ranks * threads)",
              kNoisy}}};
}

}  // namespace

std::vector<TableSchema> plan_tables() {
    return {plan(), plan_front(), plan_error(), plan_speed()};
}

}  // namespace ckvsim::metrics::schema
