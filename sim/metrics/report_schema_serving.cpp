// Registry: serving runs. Wall-clock (executed) and virtual (simulated) quantities live in
// different tables.
#include "metrics/report_schema_parts.hpp"

namespace ckvsim::metrics::schema {

namespace {

void add_latency(std::vector<Column>& columns, Provenance provenance, double tolerance) {
    columns.push_back(
        key_text("stage", "queue, fetch, prefill, decode, score, host or total (their sum)"));
    columns.push_back({"count", integer, "requests", provenance,
                       "requests in the sketch, warm-up excluded",
                       tolerance < 0 ? kNoisy : kExact});
    columns.push_back(
        {"mean_ns", real, "ns", provenance, "exact mean; NaN without requests", tolerance});
    for (auto const& [name, quantile] :
         {std::pair{"p50_ns", "0.5"}, std::pair{"p90_ns", "0.9"}, std::pair{"p99_ns", "0.99"},
          std::pair{"p999_ns", "0.999"}}) {
        columns.push_back(
            {name, real, "ns", provenance,
             std::string("value at rank ceil(") + quantile +
                 " count), within 0.5 %; NaN when fewer than 10 samples lie beyond it",
             tolerance});
    }
    columns.push_back(
        {"max_ns", integer, "ns", provenance, "largest, exact", tolerance < 0 ? kNoisy : kExact});
}

TableSchema executed_latency() {
    std::vector<Column> columns = {arm_key(),
                                   key_column("pass", integer, "1", "1, then 2 for the repeat")};
    add_latency(columns, measured, kNoisy);
    return {"executed_latency",
            "wall-clock latency of real caches and kernels, open loop from the intended start, by "
            "stage",
            true, std::move(columns)};
}

TableSchema residency_latency() {
    std::vector<Column> columns = {arm_key(), key_text("tier", "memory or file")};
    add_latency(columns, measured, kNoisy);
    return {"residency_latency",
            "wall-clock latency of requests against resident users, open loop, by stage", true,
            std::move(columns)};
}

TableSchema simulated_latency() {
    std::vector<Column> columns = {arm_key(), key_text("platform", "nodes the model describes")};
    add_latency(columns, simulated, kExact);
    return {
        "simulated_latency",
        "virtual latency of the same decision code; attribute `calibration` names the cost table",
        false, std::move(columns)};
}

void add_cdf(std::vector<Column>& columns, Provenance provenance, double tolerance) {
    columns.push_back(key_column("quantile", real, "1", "share of requests at or below"));
    columns.push_back({"latency_ns", real, "ns", provenance,
                       "total latency, within 0.5 %; without the sample rule of the percentiles",
                       tolerance});
}

TableSchema executed_cdf() {
    std::vector<Column> columns = {arm_key()};
    add_cdf(columns, measured, kNoisy);
    return {"executed_cdf",
            "points of the executed total latency's distribution, first pass, for plots", true,
            std::move(columns)};
}

TableSchema simulated_cdf() {
    std::vector<Column> columns = {arm_key(), key_text("platform", "nodes the model describes")};
    add_cdf(columns, simulated, kExact);
    return {"simulated_cdf", "points of the simulated total latency's distribution, for plots",
            false, std::move(columns)};
}

void add_cache(std::vector<Column>& columns, Provenance counters, double tolerance) {
    double const exact = tolerance < 0 ? kNoisy : kExact;
    for (auto const& [name, unit, meaning] :
         {std::tuple{"requests", "requests", "measured requests, after warm-up"},
          std::tuple{"warmup_requests", "requests", "served before and excluded"},
          std::tuple{"hbm_hits", "requests", "entry found in HBM"},
          std::tuple{"dram_hits", "requests", "entry found in DRAM and fetched"},
          std::tuple{"misses", "requests", "entry computed from ids"},
          std::tuple{"rejected", "requests", "entry larger than the tier: computed and not kept"},
          std::tuple{"evictions", "entries", "entries dropped from a tier"},
          std::tuple{"batches", "batches", "batches served"},
          std::tuple{"fetched_bytes", "bytes", "moved from DRAM to HBM"},
          std::tuple{"prefilled_tokens", "tokens", "tokens encoded at misses"}}) {
        columns.push_back({name, integer, unit, counters, meaning, exact});
    }
    columns.push_back(
        {"hit_ratio", real, "1", derived, "(hbm_hits + dram_hits) / requests", exact});
    columns.push_back({"throughput_per_s", real, "1/s", counters,
                       "requests / (first intended start to last completion)", tolerance});
    columns.push_back({"utilisation", real, "1", counters,
                       "busy time of the servers / (span * servers)", tolerance});
}

TableSchema executed_cache() {
    std::vector<Column> columns = {arm_key(),
                                   key_column("pass", integer, "1", "1, then 2 for the repeat")};
    add_cache(columns, measured, kNoisy);
    columns.push_back({"comparable", integer, "0 or 1", derived,
                       "1 = one logical node per rank and no more threads than cores", kNoisy});
    columns.push_back(
        {"reason", text, "text", derived, "why it is not comparable; empty when it is", kNoisy});
    return {"executed_cache", "cache and throughput counters of the executed run", true,
            std::move(columns)};
}

TableSchema simulated_cache() {
    std::vector<Column> columns = {arm_key(), key_text("platform", "nodes the model describes")};
    add_cache(columns, simulated, kRounding);
    return {"simulated_cache", "cache and throughput counters of the simulated run", false,
            std::move(columns)};
}

TableSchema fidelity() {
    return {
        "fidelity",
        "the simulated twin of the executed run against it, on this machine's calibrated platform",
        true,
        {arm_key(),
         key_text("metric", "the quantity compared, with its unit"),
         {"executed", real, "see metric", measured, "first pass", kNoisy},
         {"repeat", real, "see metric", measured, "second pass; NaN without one", kNoisy},
         {"simulated", real, "see metric", simulated, "same requests in virtual time", kNoisy},
         {"error_relative", real, "1", derived, "simulated / executed - 1", kNoisy},
         {"repeat_error_relative", real, "1", derived, "repeat / executed - 1", kNoisy}}};
}

TableSchema fidelity_points() {
    return {
        "fidelity_points",
        "held-out points of `ckvsim validate-sim`, a row a metric: simulated against the mean "
        "of the executed passes. Errors are relative, for the hit ratio differences",
        true,
        {key_column("point", integer, "1", "number of the point"),
         key_text("metric", "mean_ns, p50_ns, p99_ns, throughput_per_s or hit_ratio"),
         {"arm", text, "text", derived, "name of the arm in the spec", kNoisy},
         {"load", real, "1", derived,
          "request rate over the highest that the arm can serve here, by the first calibration",
          kNoisy},
         {"candidates", integer, "1", derived, "candidates a request", kNoisy},
         {"max_tokens", integer, "tokens", derived, "histories are cut to it", kNoisy},
         {"oversubscription", real, "1", derived,
          "bytes of all asking users' entries over the capacity of the tiers", kNoisy},
         {"requests_per_s", real, "1/s", derived, "request rate", kNoisy},
         {"requests", integer, "requests", derived, "measured requests a pass", kNoisy},
         {"executed", real, "see metric", measured, "mean over the passes", kNoisy},
         {"repeat_error", real, "1", derived, "mean absolute difference of two passes", kNoisy},
         {"simulated", real, "see metric", simulated, "same requests in virtual time", kNoisy},
         {"error", real, "1", derived, "simulated / executed - 1; hit ratio: difference", kNoisy},
         {"target", real, "1", derived, "largest error asked for", kNoisy},
         {"bound", real, "1", derived, "max(target, 1.5 repeat_error)", kNoisy},
         {"verdict", text, "text", derived,
          "within, outside, or insufficient (too few samples for the percentile)", kNoisy}}};
}

TableSchema fidelity_stages() {
    return {"fidelity_stages",
            "mean time of every stage at the held-out points: where an error comes from",
            true,
            {key_column("point", integer, "1", "number of the point in fidelity_points"),
             key_text("stage", "queue, fetch, prefill, decode, score, host or total (their sum)"),
             {"arm", text, "text", derived, "name of the arm in the spec", kNoisy},
             {"load", real, "1", derived, "as in fidelity_points", kNoisy},
             {"executed_ns", real, "ns", measured, "mean over requests and passes", kNoisy},
             {"simulated_ns", real, "ns", simulated, "mean over requests", kNoisy}}};
}

TableSchema fidelity_regimes() {
    return {"fidelity_regimes",
            "where the simulation can be trusted: all held-out points that share one value of one "
            "axis. A point holds when none of its metrics is outside its bound",
            true,
            {key_text("axis", "arm, load, candidates, max_tokens or oversubscription"),
             key_text("value", "on that axis"),
             {"points", integer, "1", derived, "held-out points", kNoisy},
             {"held", integer, "1", derived, "points that hold", kNoisy},
             {"worst_mean_error", real, "1", derived, "largest error of the mean, signed", kNoisy},
             {"worst_p99_error", real, "1", derived,
              "largest error of p99, signed; NaN without enough samples", kNoisy},
             {"worst_hit_ratio_error", real, "1", derived,
              "largest difference of the hit ratio, signed", kNoisy}}};
}

}  // namespace

std::vector<TableSchema> serving_tables() {
    return {residency_latency(), executed_latency(), executed_cdf(),    executed_cache(),
            simulated_latency(), simulated_cdf(),    simulated_cache(), fidelity(),
            fidelity_points(),   fidelity_stages(),  fidelity_regimes()};
}

}  // namespace ckvsim::metrics::schema
