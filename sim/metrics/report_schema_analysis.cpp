// Registry: what trained weights look like (`ckvsim analyze`).
#include "metrics/report_schema_parts.hpp"

namespace ckvsim::metrics::schema {

namespace {

std::vector<Column> weights_keys() {
    return {key_text("weights", "variant that was trained"),
            key_column("seed", integer, "1", "training seed"),
            key_text("site", "attention site: short or long, of hstu layer1, layer2, ..."),
            key_text("side", "k or v")};
}

TableSchema energy() {
    auto columns = weights_keys();
    columns.push_back(key_column("rank", integer, "1", "leading directions"));
    columns.push_back({"energy_share", real, "1", measured,
                       "squared singular values of the first `rank` directions over all, of the "
                       "matrix with one row a history token (hstu: of the sampled users), not "
                       "centred",
                       kScores});
    return {"analysis_energy", "energy of keys and values in their leading directions", false,
            std::move(columns)};
}

TableSchema agreement() {
    auto columns = weights_keys();
    columns.push_back({"energy_share", real, "1", input, "that the leading part has to hold"});
    columns.push_back(
        {"rank", integer, "1", measured,
         "fewest directions with that share of the energy: the leading part; the rest "
         "is what is left",
         0.1});
    columns.push_back({"users", integer, "users", derived,
                       "compared: the sample asked for, or all with at least 10 tokens"});
    auto const add = [&](char const* name, char const* meaning) {
        columns.push_back({name, real, "1", measured, meaning, 10 * kScores});
    };
    add("leading_cosine", "mean cosine over pairs of users of their mean leading parts");
    add("leading_cosine_chance", "the same of users who draw as many tokens by popularity alone");
    add("rest_cosine", "mean cosine over pairs of users of their mean rests");
    add("rest_cosine_chance", "the same of users who draw as many tokens by popularity alone");
    add("leading_between", "share of the leading part's variance that lies between users");
    add("rest_between", "share of the rest's variance that lies between users");
    return {"analysis_users",
            "do users resemble each other in the leading directions, and in the rest?", false,
            std::move(columns)};
}

TableSchema pools() {
    auto columns = weights_keys();
    columns.push_back({"rows", integer, "1", input, "pool rows (m)"});
    columns.push_back(
        {"rows_of_items", integer, "1", measured,
         "that some item of the catalogue has; hstu: as rows_of_tokens, a row is a token's"});
    columns.push_back({"rows_of_tokens", integer, "1", measured,
                       "that some history token has (hstu: of the sampled users, here and below)"});
    columns.push_back({"dead_share", real, "1", derived,
                       "1 - rows_of_tokens / rows: rows that nobody reads", 0.01});
    columns.push_back({"effective_rows", real, "1", measured,
                       "exp(entropy) of the history tokens' distribution over rows", 0.01});
    columns.push_back({"top_share", real, "1", measured,
                       "of history tokens, in the busiest hundredth of the rows", 0.01});
    return {"analysis_pools", "how history tokens spread over a pool's rows", false,
            std::move(columns)};
}

TableSchema routers() {
    auto columns = weights_keys();
    columns.push_back(key_column("other_seed", integer, "1", "the retraining"));
    columns.push_back({"items_changed", real, "1", measured,
                       "share of items whose pool row differs between the two; hstu: mean over "
                       "items of the share of an item's tokens",
                       0.01});
    columns.push_back({"tokens_changed", real, "1", measured,
                       "share of history tokens whose index of this side differs", 0.01});
    columns.push_back({"same_groups", real, "1", measured,
                       "adjusted Rand index over items (hstu: tokens): 1 = the same ones share "
                       "rows, 0 = chance",
                       0.01});
    return {"analysis_routers", "what a retraining from another seed changes of the indices", false,
            std::move(columns)};
}

}  // namespace

std::vector<TableSchema> analysis_tables() { return {energy(), agreement(), pools(), routers()}; }

}  // namespace ckvsim::metrics::schema
