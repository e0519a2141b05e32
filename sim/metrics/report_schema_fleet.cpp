// Registry: fleet studies (spec with "study": "fleet"). A case is one point of the sweep served by
// one strategy; every table names it by the same number.
#include "metrics/report_schema_parts.hpp"

namespace ckvsim::metrics::schema {

namespace {

Column case_key() {
    return key_column("case", integer, "1", "number of the case, see table fleet_cases");
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
Column formula(std::string name, std::string unit, std::string meaning) {
    return {std::move(name), real, std::move(unit), derived, std::move(meaning), kRounding};
}

TableSchema fleet_cases() {
    return {
        "fleet_cases",
        "points of the sweep: what was served, how, on which fleet",
        false,
        {case_key(), input_text("model", "shape that is served"),
         input_text("model_class", "K and V depend on: item, event or sequence"),
         input_text("strategy", "name of the strategy in the study"),
         input_text("keeping", "what is kept of a history between requests"),
         input_integer("exact", "0 or 1", "1 = same scores as full fp32 of the same weights"),
         input_text("refusal", "why the strategy cannot serve the model; empty = it can"),
         input_real("users", "users", "users of the fleet"),
         input_integer("nodes", "nodes", "GPU servers; found by the search when search = nodes"),
         input_integer("simulated_nodes", "nodes", "of them simulated with all their users"),
         input_real("requests_per_second", "1/s",
                    "mean load of the fleet; found by the search when search = max_load"),
         input_real("catalogue_items", "items", "V"),
         input_integer("candidates", "1", "C of a request"),
         input_text("tiers", "where entries may live"), input_text("policy", "eviction policy"),
         input_text("routing", "which node serves a request"),
         input_real("efficiency", "1", "share of nominal rates that devices reach"),
         input_text("search", "none, max_load or nodes, and what it found")}};
}

TableSchema fleet() {
    std::vector<Column> columns = {
        case_key(),
        counted("offered", "requests", "measured requests, warm-up excluded"),
        counted("shed", "requests", "refused because a GPU's queue was full"),
        counted("lost", "requests", "asked of a node that was gone, or waiting there when it went"),
        counted(
            "abandoned", "requests",
            "entry was below GPU memory but would have taken longer than fetch_patience_ms: made "
            "from ids"),
        modelled("hit_ratio", "1", "served requests whose entry was in any tier"),
        modelled("hbm_ratio", "1", "... in GPU memory"),
        modelled("dram_ratio", "1", "... in host memory"),
        modelled("nvme_ratio", "1", "... on flash"),
        modelled("mean_ns", "ns", "mean latency from the intended start; NaN without requests")};
    for (auto const& [name, quantile] :
         {std::pair{"p50_ns", "0.5"}, std::pair{"p90_ns", "0.9"}, std::pair{"p99_ns", "0.99"},
          std::pair{"p999_ns", "0.999"}}) {
        columns.push_back(modelled(name, "ns",
                                   std::string("latency at rank ceil(") + quantile +
                                       " count), within 0.5 %; NaN when fewer than 10 samples lie "
                                       "beyond it"));
    }
    for (auto& column : std::vector<Column>{
             modelled("good_ratio", "1", "offered requests answered within the SLO"),
             formula("goodput_per_s", "1/s",
                     "good_ratio * requests_per_second: of the whole fleet"),
             formula("meets_slo", "0 or 1",
                     "p99 within the SLO, no more shed or lost than the study's shed_limit and no "
                     "device "
                     "busier "
                     "than 1"),
             modelled("gpu_busy", "1", "busy share of the GPUs"),
             modelled("link_in_busy", "1", "of the links towards the GPUs"),
             modelled("link_out_busy", "1", "of the links back"),
             modelled("nvme_busy", "1", "of the flash devices"),
             modelled("nic_busy", "1", "of the nodes' networks"),
             Column{"limited_by", text, "text", derived, "the busiest device", kExact},
             modelled("mean_batch", "requests", "served / batches"),
             formula("entry_bytes", "bytes", "mean entry of a user at the start"),
             formula("resident_ratio", "1", "entries in any tier over simulated users, at the end"),
             formula("requests_per_user", "1",
                     "offered and warm-up requests over simulated users: far below 1 the caches' "
                     "state is the start's"),
             formula("drift", "1",
                     "warm-up test: hit ratio of the second half of the measured time minus that "
                     "of the first"),
             formula("drift_error", "1",
                     "95 % half-width of drift if requests hit independently: a larger drift means "
                     "that the warm-up was too short"),
             counted("state_bytes", "bytes", "simulator state of the simulated users"),
             Column{"decision_hash", text, "text", simulated,
                    "order-free hash of every request's residence and answer time", kExact}})
        columns.push_back(column);
    return {"fleet",
            "fleet in virtual time: memory, hits, latency and load; attribute `platform` names the "
            "platform and whether it was measured",
            false, std::move(columns)};
}

TableSchema fleet_latency() {
    return {"fleet_latency",
            "latency by stage; fetch + queue + prefill + append + decode + score = total",
            false,
            {case_key(), key_text("stage", "stage of a request"),
             counted("count", "requests", "requests in the sketch"),
             modelled("mean_ns", "ns", "mean; NaN without requests"),
             modelled("p50_ns", "ns", "median, within 0.5 %"),
             modelled("p99_ns", "ns", "NaN when fewer than 10 samples lie beyond it"),
             counted("max_ns", "ns", "largest")}};
}

TableSchema fleet_tiers() {
    return {"fleet_tiers",
            "tiers of the simulated nodes at the end of the run",
            false,
            {case_key(), key_text("tier", "hbm, dram or nvme"),
             counted("capacity_bytes", "bytes", "room for entries"),
             counted("used_bytes", "bytes", "taken by entries"),
             counted("entries", "users", "users whose entry is here"),
             counted("found", "requests", "measured requests that found their entry here")}};
}

TableSchema fleet_tables_placed() {
    return {"fleet_shared_tables",
            "tables that all users share: where their rows are and how often reads find them "
            "there, at the "
            "end of the run",
            false,
            {case_key(), key_text("table", "embeddings, item_table or collective_item"),
             formula("bytes", "bytes", "rows * row bytes"),
             formula("hbm_bytes", "bytes", "hottest rows, in every GPU's memory"),
             formula("dram_bytes", "bytes", "next rows, in every node's host memory"),
             formula("hbm_hits", "1", "reads served by GPU memory, popularity ~ rank^-item_zipf"),
             formula("dram_hits", "1", "... by host memory over the link"),
             formula("remote_reads", "1", "... over the network")}};
}

TableSchema fleet_series() {
    return {"fleet_series",
            "the run over virtual time, warm-up included",
            false,
            {case_key(), key_column("bin", integer, "1", "equal parts of the run"),
             modelled("start_s", "s", "virtual time"),
             counted("requests", "requests", "started in the bin"),
             counted("shed", "requests", "refused"),
             counted("lost", "requests", "asked of a node that was gone, or waiting there"),
             modelled("hbm_ratio", "1", "found in GPU memory, of those served"),
             modelled("hit_ratio", "1", "found in any tier, of those served"),
             modelled("good_ratio", "1", "answered within the SLO, of those started"),
             modelled("mean_ns", "ns", "mean latency; NaN without requests"),
             modelled("p50_ns", "ns", "median, within 3.2 %"),
             modelled("p99_ns", "ns", "within 3.2 %; NaN when fewer than 10 samples lie beyond it"),
             counted("made_bytes", "bytes", "entries made from ids")}};
}

TableSchema fleet_classes() {
    return {
        "fleet_classes",
        "measured requests by who asked; classes that nobody asked from have no row. By history: "
        "events recorded when he asks, in powers of two (a model sees at most max_interactions of "
        "them). By activity: the user's place in the order of activity, least active first; none "
        "where all are equally active. By sign_up, in studies with new_users: who was there from "
        "the start, and who signed up during the run",
        false,
        {case_key(), key_text("by", "history, activity or sign_up"),
         key_column("class", integer, "1",
                    "its number, short histories, little activity, there from the start first"),
         input_real("from", "see by",
                    "events, share of the users, or 1 = signed up: first of the class"),
         input_real("to", "see by", "first above the class; 65536 = without an end"),
         counted("requests", "requests", "offered"), counted("shed", "requests", "refused"),
         counted("lost", "requests", "asked of a node that was gone, or waiting there"),
         modelled("hbm_ratio", "1", "found in GPU memory, of those served"),
         modelled("hit_ratio", "1", "found in any tier, of those served"),
         modelled("good_ratio", "1", "answered within the SLO, of those offered"),
         modelled("mean_ns", "ns", "mean latency; NaN without requests"),
         modelled("p50_ns", "ns", "median, within 3.2 %"),
         modelled("p99_ns", "ns", "within 3.2 %; NaN when fewer than 10 samples lie beyond it"),
         counted("made_bytes", "bytes", "entries made from ids")}};
}

TableSchema fleet_events() {
    return {
        "fleet_events",
        "what the events of the study did to the simulated nodes, from the bins of fleet_series. "
        "Before: the last 10 measured bins ahead of the event. Recovered: the first of three "
        "bins in a row whose p99 is at most 10 % and whose refused share at most 0.001 higher "
        "than before. Refilled: whose hit ratio is at most 0.01 lower, too",
        false,
        {case_key(), key_column("event", integer, "1", "its place in the study's list"),
         input_text("kind", "what happened"),
         modelled("at_s", "s", "begins; drawn ones may from here on"),
         modelled("ends_s", "s", "its duration or the rolling refresh is over"),
         counted("times", "1", "it struck a node, counted over nodes"),
         counted("entries", "entries", "gone, or stale in part"),
         counted("lost", "requests", "measured, lost by it"),
         counted("shed", "requests", "refused from its begin until refilled or the end"),
         modelled("recover_s", "s",
                  "from its begin until recovered, not before its end, to a bin of fleet_series; "
                  "NaN: not before the end of the run, or nothing measured before the event"),
         modelled("refill_s", "s", "... until refilled"),
         modelled("hit_before", "1", "hit ratio before"),
         modelled("hit_lowest", "1", "lowest hit ratio of a bin until then"),
         modelled("p99_before_ns", "ns", "p99 before, within 3.2 %"),
         modelled("p99_during_ns", "ns", "p99 of all requests until then"),
         modelled("p99_worst_ns", "ns", "highest p99 of a bin until then"),
         modelled("refill_bytes", "bytes",
                  "entries made from ids until then, beyond the rate before"),
         counted(
             "swap_bytes", "bytes",
             "weights, pools and tables of a new model, or rows of new items, delivered to nodes "
             "and GPUs")}};
}

TableSchema fleet_regimes() {
    return {
        "fleet_regimes",
        "which strategy carries the most load within the SLO (search = max_load) or needs the "
        "fewest nodes (search = nodes), by regime",
        false,
        {key_text("model", "shape that is served"), key_text("model_class", "its class"),
         key_column("users", real, "users", "users of the fleet"),
         key_column("requests_per_second", real, "1/s",
                    "load (search = nodes); 0 when the load was searched"),
         key_column("catalogue_items", real, "items", "V"),
         key_column("candidates", integer, "1", "C"), key_text("tiers", "where entries may live"),
         key_column("efficiency", real, "1", "share of nominal rates"),
         key_text("among", "all strategies, or without_pools: those that are not CollectiveKV"),
         Column{"winner", text, "text", derived, "strategy with the best figure", kExact},
         formula("figure", "see among", "its requests/s per node (max_load) or nodes (nodes)"),
         Column{"second", text, "text", derived, "the next best; empty when alone", kExact},
         formula("margin", "1", "winner over second (max_load), second over winner (nodes)"),
         Column{"collective_best", text, "text", derived, "best CollectiveKV strategy", kExact},
         formula("collective_margin", "1",
                 "best CollectiveKV over the best of the others; above 1 = CollectiveKV wins")}};
}

TableSchema fleet_speed() {
    return {"fleet_speed",
            "wall-clock speed of the simulation itself",
            true,
            {case_key(),
             {"seconds", real, "s", measured, "slowest rank, start state included", kNoisy},
             {"requests", integer, "requests", measured, "simulated, searches included", kNoisy},
             {"requests_per_core_s", real, "1/s", derived, "requests / (seconds * cores)", kNoisy},
             {"resident_bytes", integer, "bytes", measured, "largest resident set of rank 0 so far",
              kNoisy}}};
}

}  // namespace

std::vector<TableSchema> fleet_tables() {
    return {fleet_cases(),         fleet(),        fleet_latency(), fleet_tiers(),
            fleet_tables_placed(), fleet_series(), fleet_classes(), fleet_events(),
            fleet_regimes(),       fleet_speed()};
}

}  // namespace ckvsim::metrics::schema
