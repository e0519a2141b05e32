#include "fleet/serving_costs.hpp"

#include <algorithm>
#include <cmath>

#include "core/error.hpp"

namespace ckvsim::fleet {

namespace {

constexpr double kIdBytes = 4.0;
constexpr double kEmbeddingValueBytes = 2.0;  ///< embeddings are served in fp16
constexpr double kWeightBytes = 2.0;
constexpr double kCacheLine = 64.0;

double value_bytes(StoredType type) {
    switch (type) {
        case StoredType::fp32:
            return 4.0;
        case StoredType::fp16:
            return 2.0;
        case StoredType::int8:
            return 1.0;
    }
    throw InternalError("fleet::value_bytes: unknown type");
}

/// One side (K or V) of a token as stored by `full`: int8 adds an fp16 scale and zero point.
double row_bytes(double d, StoredType type) {
    return d * value_bytes(type) + (type == StoredType::int8 ? 4.0 : 0.0);
}

double seen(Site const& site, double n) {
    return site.last == 0 ? n : std::min<double>(site.last, n);
}

bool keeps_ids(Keeping keeping) {
    return keeping == Keeping::recompute || keeping == Keeping::item_table ||
           keeping == Keeping::collective_item;
}

bool has_pools(Keeping keeping) {
    return keeping == Keeping::collective || keeping == Keeping::collective_item;
}

std::uint32_t all_layers(ServingModel const& model) {
    std::uint32_t layers = 0;
    for (auto const& site : model.sites) layers += site.layers;
    return layers;
}

}  // namespace

std::string to_string(ModelClass value) {
    switch (value) {
        case ModelClass::item:
            return "item";
        case ModelClass::event:
            return "event";
        case ModelClass::sequence:
            return "sequence";
    }
    throw InternalError("fleet::to_string: unknown model class");
}

std::string to_string(Keeping value) {
    switch (value) {
        case Keeping::recompute:
            return "recompute";
        case Keeping::full:
            return "full";
        case Keeping::item_table:
            return "item_table";
        case Keeping::collective:
            return "collective";
        case Keeping::collective_item:
            return "collective_item";
    }
    throw InternalError("fleet::to_string: unknown strategy");
}

std::string to_string(StoredType value) {
    switch (value) {
        case StoredType::fp32:
            return "fp32";
        case StoredType::fp16:
            return "fp16";
        case StoredType::int8:
            return "int8";
    }
    throw InternalError("fleet::to_string: unknown stored type");
}

ServingModel twin_preset() { return {}; }

ServingModel hstu_preset() {
    ServingModel model;
    model.name = "hstu";
    model.model_class = ModelClass::sequence;
    model.embedding_dim = 256;
    model.tokens_per_interaction = 2;
    model.sites = {{0, 0, 2}};
    return model;
}

std::optional<std::string> refusal(ServingModel const& model, KeepingParams const& keeping) {
    if (model.model_class != ModelClass::item &&
        (keeping.keeping == Keeping::item_table || keeping.keeping == Keeping::collective_item)) {
        return to_string(keeping.keeping) + " does not apply to " + model.name +
               ": its K and V depend on the " +
               (model.model_class == ModelClass::event ? "event" : "sequence") +
               ", not on the item alone";
    }
    if (keeping.type == StoredType::int8 && keeping.keeping != Keeping::full)
        return "int8 is a way to store full K and V; " + to_string(keeping.keeping) + " has none";
    if (!has_pools(keeping.keeping)) return std::nullopt;
    if (keeping.d_u >= model.attention_dim)
        return "d_u leaves nothing to the pool: it must stay below attention_dim";
    if (keeping.index_bytes < 4 && keeping.m > (1ULL << (8 * keeping.index_bytes)))
        return "an index of " + std::to_string(keeping.index_bytes) + " bytes cannot name " +
               std::to_string(keeping.m) + " pool rows";
    return std::nullopt;
}

ServingCosts::ServingCosts(ServingModel const& model, KeepingParams const& keeping,
                           double catalogue_items, std::uint32_t candidates)
    : max_(model.max_interactions),
      candidates_(candidates),
      entry_bytes_(model.max_interactions + 1),
      decode_(model.max_interactions + 1),
      prefill_(model.max_interactions + 1) {
    if (auto const reason = refusal(model, keeping))
        throw InternalError("ServingCosts: " + *reason);
    exact_ = !has_pools(keeping.keeping) && keeping.type == StoredType::fp32;
    if (keeping.keeping == Keeping::recompute) exact_ = true;
    entries_from_model_ = !keeps_ids(keeping.keeping);
    codes_by_item_ =
        keeping.keeping == Keeping::collective && model.model_class == ModelClass::item;
    std::vector<double> payload(max_ + 1, 0.0);
    double const d = model.attention_dim;
    double const b = value_bytes(keeping.type);
    for (std::uint32_t n = 0; n <= max_; ++n) {
        if (keeps_ids(keeping.keeping)) payload[n] = kIdBytes * n;
        for (auto const& site : model.sites) {
            double const tokens = seen(site, n) * model.tokens_per_interaction * site.layers;
            if (keeping.keeping == Keeping::full)
                payload[n] += tokens * 2.0 * row_bytes(d, keeping.type);
            if (keeping.keeping == Keeping::collective)
                payload[n] += tokens * 2.0 * (keeping.index_bytes + keeping.d_u * b);
        }
        entry_bytes_[n] = static_cast<std::uint64_t>(
            std::ceil(std::max(payload[n], 1.0) / kCacheLine) * kCacheLine);
        prefill_[n].bytes += payload[n];  // written once
    }
    for (auto const& site : model.sites) add_site(model, keeping, site);
    double in = 3.0 * model.embedding_dim;
    double tower_bytes = 0.0;
    score_.bytes = candidates * kEmbeddingValueBytes * model.embedding_dim;
    for (std::uint32_t const width : model.tower) {
        score_.flops += 2.0 * candidates * in * width;
        tower_bytes += kWeightBytes * in * width;
        in = width;
    }
    score_.flops += 2.0 * candidates * in;
    tower_bytes += kWeightBytes * in;
    batch_bytes_ += tower_bytes;
    resident_bytes_ += tower_bytes;
    add_tables(model, keeping, catalogue_items);
}

void ServingCosts::add_site(ServingModel const& model, KeepingParams const& keeping,
                            Site const& site) {
    bool const sequence = model.model_class == ModelClass::sequence;
    bool const pools = has_pools(keeping.keeping);
    double const d = model.attention_dim;
    double const in = model.embedding_dim;
    double const c = candidates_;
    double const layers = site.layers;
    double const tpi = model.tokens_per_interaction;
    double const b = value_bytes(keeping.type);
    // Making K and V of a token; query and output projection, a sequence layer's gate beside them.
    double const make = pools ? 4.0 * (keeping.m + keeping.d_u) * in : 4.0 * d * in;
    double const rest = (sequence ? 6.0 : 4.0) * d * in;
    // A sequence model's candidate makes its own K and V and attends to itself, too.
    double const per_candidate = sequence ? rest + make + 4.0 * d : rest;
    // Of tokens, only what a later layer reads goes beyond K and V.
    double const inner = sequence ? layers - 1.0 : 0.0;
    double const per_token = layers * make + inner * rest;
    double const side = keeping.keeping == Keeping::full || keeping.keeping == Keeping::item_table
                            ? row_bytes(d, keeping.type)
                            : 0.0;
    double const code = pools ? keeping.index_bytes + keeping.d_u * b : 0.0;
    double const pool_row = pools ? (d - keeping.d_u) * b : 0.0;
    for (std::uint32_t n = 0; n <= max_; ++n) {
        double const tokens = seen(site, n) * tpi;
        double const rows = site.rows == 0 ? tokens : std::min<double>(site.rows, tokens);
        double const read_rows = std::min(tokens, c * rows);
        auto& decode = decode_[n];
        decode.flops += layers * c * (per_candidate + 2.0 * d * (tokens + rows));
        if (keeping.keeping == Keeping::recompute && !sequence) {
            // K of all tokens, V only of those that candidates read.
            decode.flops += layers * 0.5 * make * (tokens + read_rows);
            decode.bytes += tokens * kEmbeddingValueBytes * model.embedding_dim / tpi;
        } else if (keeping.keeping != Keeping::recompute) {
            decode.bytes += layers * (tokens + read_rows) * (side + code + pool_row);
        }
        if (keeps_ids(keeping.keeping) && !sequence) continue;
        // Where nothing is kept of a model over the sequence, its layers run at every request.
        auto& encode = keeping.keeping == Keeping::recompute ? decode : prefill_[n];
        encode.bytes +=
            tokens * (kEmbeddingValueBytes * model.embedding_dim / tpi + inner * 2.0 * pool_row);
        encode.flops += tokens * per_token + inner * 2.0 * d * tokens * (tokens + 1.0);  // causal
    }
    if (!keeps_ids(keeping.keeping)) {
        append_event_.bytes +=
            tpi * (layers * 2.0 * (side + code)) + kEmbeddingValueBytes * model.embedding_dim;
        append_event_.flops += tpi * per_token;
        append_event_per_held_.flops += inner * tpi * tpi * 4.0 * d;
        append_event_per_held_.bytes += inner * tpi * 2.0 * (side + code + pool_row);
    }
    double const weights = layers * kWeightBytes * (make + rest) / 2.0;
    double const pool_bytes = pools ? layers * 2.0 * keeping.m * pool_row : 0.0;
    batch_bytes_ += weights;
    resident_bytes_ += weights + pool_bytes;
}

void ServingCosts::add_tables(ServingModel const& model, KeepingParams const& keeping,
                              double items) {
    SharedTable embeddings;
    embeddings.what = "embeddings";
    embeddings.rows = items;
    embeddings.row_bytes = kEmbeddingValueBytes * model.embedding_dim;
    embeddings.bytes = embeddings.rows * embeddings.row_bytes;
    embeddings.reads_per_candidate = 1.0;
    if (keeping.keeping == Keeping::recompute) embeddings.reads_per_interaction = 1.0;
    if (!keeps_ids(keeping.keeping)) embeddings.reads_per_encoded = 1.0;
    tables_.push_back(embeddings);
    if (keeping.keeping != Keeping::item_table && keeping.keeping != Keeping::collective_item)
        return;
    double const b = value_bytes(keeping.type);
    double const side = keeping.keeping == Keeping::item_table
                            ? row_bytes(model.attention_dim, keeping.type)
                            : keeping.index_bytes + keeping.d_u * b;
    SharedTable table;
    table.what = to_string(keeping.keeping);
    table.rows = items;
    table.row_bytes = 2.0 * side * all_layers(model);
    table.bytes = table.rows * table.row_bytes;
    table.reads_per_interaction = 1.0;
    tables_.push_back(table);
}

StageWork ServingCosts::append(std::uint32_t n, std::uint32_t events) const {
    double const e = std::min(events, n);
    return {e * append_event_.bytes + (e > 0.0 ? n * append_event_per_held_.bytes : 0.0),
            e * append_event_.flops + e * n * append_event_per_held_.flops};
}

}  // namespace ckvsim::fleet
