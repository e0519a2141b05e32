// Registry: what the arms are and what they cost in memory.
#include "metrics/report_schema_parts.hpp"

namespace ckvsim::metrics::schema {

namespace {

TableSchema arms() {
    return {
        "arms",
        "one row per arm of the spec: how histories are kept, and whether that applies to the "
        "model",
        false,
        {arm_key(),
         {"model", text, "text", input, "model whose attention sites the bytes are summed over"},
         {"weights", text, "text", input, "variant of the model whose weights are served"},
         {"strategy", text, "text", input,
          "recompute, full, item_table, collective, low_rank or vq"},
         {"keying", text, "text", input, "what a stored value belongs to: user_token or item"},
         {"value_type", text, "text", input,
          "stored type of K and V (low_rank: coefficients), search keys and pools; vq: of search "
          "keys"},
         {"index_bytes", integer, "bytes", input, "width of a pool index; 0 without a pool"},
         {"search_keys", text, "text", input,
          "where the long branch's search keys (ETA: signatures) live: stored or item_table; SDIM: "
          "stored where entries keep sums, item_table where requests make them with the items' "
          "buckets, - where they hash the items; - for TWIN, whose search reads the long branch's "
          "K, and HSTU, which searches nothing"},
         {"rank", integer, "values", input, "coefficients of a K or V row; 0 unless low_rank"},
         {"subspaces", integer, "bytes", input, "codes of a K or V row, a byte each; 0 unless vq"},
         {"code_bits", integer, "bits", input, "2^code_bits codewords per subspace; 0 unless vq"},
         {"scope", text, "text", input, "released = short branch only, all = every branch"},
         {"sides", text, "text", input,
          "what has a pool in the sites of the scope: both, k or v, the other keeping whole rows; "
          "- when not collective"},
         {"start", text, "text", input,
          "what training of the pools started from: random values, or the trained weights of full "
          "or "
          "full_silu; - when not collective"},
         {"teacher", text, "text", input,
          "whose scores the pools were trained to repeat besides the labels (distillation): none, "
          "full or full_silu; - when not collective"},
         {"d_u", integer, "values", input,
          "user-specific values per K or V; 0 when not collective"},
         {"m", integer, "rows", input, "rows of each pool; 0 when not collective"},
         {"pool_share_of_catalogue", real, "1", derived,
          "m / V; at 1 or more the pool is larger than the catalogue, claims hold for at most "
          "1/8; 0 without a "
          "pool",
          kRounding},
         {"window", text, "text", input,
          "accuracy: how an entry lived before it was asked (spec key window/policy)"},
         {"window_block", integer, "tokens", input,
          "events between two encodings or tokens dropped together; 0 where neither happens"},
         {"exact", integer, "0 or 1", derived,
          "1 = scores equal full fp32 KV of the same weights up to rounding; hstu: as long as no "
          "token has left the window"},
         {"applies", integer, "0 or 1", derived, "1 = the strategy can serve these weights"},
         {"refusal", text, "text", derived, "why it does not apply; empty when it does"}}};
}

TableSchema sections() {
    return {
        "memory_sections",
        "bytes of one user's entry by storage section",
        false,
        {arm_key(),
         key_text("site", "attention site: short, long or search; all for ids"),
         key_text("section", "storage section of the entry"),
         {"bytes_per_token", real, "bytes", derived,
          "stored bytes per token the section holds; 0 for SDIM's sums, as many for any history",
          kRounding},
         {"user_bytes_mean", real, "bytes", derived,
          "payload of the section over all users / users", kRounding}}};
}

TableSchema memory() {
    return {
        "memory",
        "the ledger: predicted against allocated and resident bytes of every user's entry",
        false,
        {arm_key(),
         {"users", integer, "users", input, "users whose entries are counted"},
         {"tokens_mean", real, "tokens", derived, "history tokens kept / users", kRounding},
         {"predicted_user_bytes", integer, "bytes", derived,
          "sum over users of the entry's size by the layout, alignment included"},
         {"allocated_user_bytes", real, "bytes", measured,
          "mapped for entries and their index on all ranks, page rounding included; NaN when "
          "nothing was held",
          kNoisy},
         {"resident_user_bytes", real, "bytes", measured,
          "growth of the processes' resident sets around the fill, all ranks; NaN when nothing "
          "was held",
          kNoisy},
         {"predicted_shared_bytes", integer, "bytes", derived,
          "pools, tables, embeddings and weights by shape; once per GPU that holds them"},
         {"allocated_shared_bytes", real, "bytes", measured,
          "allocated for them by one backend; NaN when none was made", kNoisy},
         {"padding_bytes", integer, "bytes", derived,
          "alignment inside the entries, part of predicted_user_bytes"},
         {"paper_ratio", real, "1", derived,
          "(d_u + 1) / d, an index counted as one value; (d_u + 1 + d) / (2 d) where K or V alone "
          "has a pool; 1 when not collective",
          kRounding},
         {"real_ratio", real, "1", derived,
          "payload per user / payload per user of full fp32, whole model", kRounding},
         {"real_ratio_with_shared", real, "1", derived,
          "(payload of all users + shared bytes) / the same of full fp32", kRounding},
         {"ledger_error", real, "1", measured,
          "resident_user_bytes / (predicted_user_bytes + index of offsets and lengths, 12 bytes a "
          "user) - 1; NaN when not held",
          kNoisy},
         {"tier", text, "text", input, "where the entries were held"}}};
}

TableSchema shared() {
    return {"memory_shared",
            "bytes that users share, once per GPU that holds them",
            false,
            {arm_key(),
             key_text("what", "pool, item table, embeddings, tower, ..."),
             {"predicted_bytes", integer, "bytes", derived, "by shape"},
             {"allocated_bytes", real, "bytes", measured, "by the backend; NaN when none was made",
              kNoisy}}};
}

TableSchema curve() {
    return {"memory_curve",
            "bytes against the number of users, at this workload's mean entry",
            false,
            {arm_key(),
             key_column("users", real, "users", "assumed number of users"),
             {"bytes", real, "bytes", derived,
              "users * predicted_user_bytes / counted users + predicted_shared_bytes", kRounding}}};
}

TableSchema residency() {
    TableSchema table{
        "residency",
        "users that one byte budget holds, their entries really resident",
        true,
        {arm_key(),
         key_text("tier", "memory, or file: in a scratch file on storage, fetched by reads"),
         {"budget_bytes", integer, "bytes", input,
          "for entries and their index, in memory also the arm's own shared tables"},
         {"users", integer, "users", derived, "the first so many users of the workload that fit"},
         {"limited_by", text, "text", derived, "budget, or users: the workload has no more"},
         {"tokens", integer, "tokens", derived, "history tokens held"},
         {"entry_bytes", integer, "bytes", derived, "of all entries, by the layout"},
         {"index_bytes", integer, "bytes", measured, "what finds the entries"},
         {"table_bytes", integer, "bytes", measured,
          "pools and item tables of the arm, of all ranks; in memory part of the budget"},
         {"allocated_bytes", integer, "bytes", measured, "mapped or reserved for entries"},
         {"transfers", text, "text", measured,
          "memory; direct: reads go to the device; cached: the file system has no direct reads"},
         {"resident_bytes", integer, "bytes", measured,
          "growth of the processes' resident sets around the fill"},
         {"slack", real, "1", derived,
          "1 - payload / allocated: alignment, room to grow, free slots, block rounding"},
         {"fill_s", real, "s", measured, "slowest rank: histories made and encoded"},
         {"fill_tokens_per_s", real, "1/s", derived, "tokens / fill_s"},
         {"append_ns", real, "ns", measured,
          "one event more for one user, made and written, one thread, mean; NaN for files, and "
          "where an entry found no larger slot in the full store"},
         {"verified_users", integer, "users", derived, "sampled, encoded again by projection"},
         {"mismatches", integer, "users", measured, "of them, other bytes than are resident"},
         {"requests", integer, "requests", measured, "served, warm-up excluded"},
         {"user_share", real, "1", derived, "held users that were asked for / users"},
         {"requests_per_user", real, "1", derived,
          "requests / users asked for: above 1 some come again, and caches of the processor may "
          "help "
          "them"},
         {"candidates", integer, "1", input, "candidates a request (C)"},
         {"offered_per_s", real, "1/s", input, "Poisson arrivals, all ranks"},
         {"throughput_per_s", real, "1/s", measured, "requests / span, all ranks"},
         {"utilisation", real, "1", measured, "busy / span, mean over ranks"}}};
    for (auto& column : table.columns) {
        if (column.provenance != Provenance::key) column.diff_tolerance = kNoisy;
    }
    return table;
}

}  // namespace

std::vector<TableSchema> memory_tables() {
    return {arms(), sections(), memory(), shared(), curve(), residency()};
}

}  // namespace ckvsim::metrics::schema
