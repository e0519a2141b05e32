// Weight files: every tensor is checked for shape and finite values before it is used.
#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>

#include "core/error.hpp"
#include "core/hash.hpp"
#include "model/sim.hpp"
#include "model/weight_shapes.hpp"

namespace ckvsim::model {
namespace {

std::string shape_text(std::vector<std::int64_t> const& shape) {
    std::string text = "[";
    for (std::size_t i = 0; i < shape.size(); ++i)
        text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
    return text + "]";
}

/// One weight file being read; knows its name for messages.
class Reader {
  public:
    Reader(TensorFile const& file, std::string const& origin) : file_(file), origin_(origin) {}

    [[noreturn]] void fail(std::string const& reason) const { throw DataError(origin_, 0, reason); }

    std::vector<float> floats(std::string const& name,
                              std::vector<std::int64_t> const& shape) const {
        if (!file_.has(name))
            fail("tensor '" + name + "' is missing (expected " + shape_text(shape) + ")");
        Tensor const& tensor = file_.tensor(name);
        if (tensor.dtype != DType::f32) fail("tensor '" + name + "' is not float32");
        if (tensor.shape != shape) {
            fail("tensor '" + name + "' has shape " + shape_text(tensor.shape) + " (expected " +
                 shape_text(shape) + ")");
        }
        auto const values = tensor.as<float>();
        auto const bad = std::find_if_not(values.begin(), values.end(),
                                          [](float x) { return std::isfinite(x); });
        if (bad != values.end()) {
            fail("tensor '" + name + "' holds a value that is not finite (element " +
                 std::to_string(bad - values.begin()) +
                 "). train again with a lower learning rate");
        }
        return {values.begin(), values.end()};
    }

    std::uint32_t count(std::string const& key, std::uint32_t low) const {
        std::int64_t const value = file_.integer(key);
        if (value < low || value > std::numeric_limits<std::uint32_t>::max()) {
            fail("attribute '" + key + "' is " + std::to_string(value) + " (expected at least " +
                 std::to_string(low) + ")");
        }
        return static_cast<std::uint32_t>(value);
    }

    std::string const& text(std::string const& key) const { return file_.text(key); }
    bool has(std::string const& key) const { return file_.attributes.contains(key); }

  private:
    TensorFile const& file_;
    std::string const& origin_;
};

std::vector<std::uint32_t> parse_widths(Reader const& reader, std::string const& list) {
    std::vector<std::uint32_t> widths;
    std::istringstream stream(list);
    for (std::string part; std::getline(stream, part, ',');) {
        bool const digits =
            !part.empty() && part.size() < 8 && part.find_first_not_of("0123456789") == part.npos;
        if (!digits || std::stoul(part) == 0) {
            reader.fail("attribute 'tower' is '" + list +
                        "' (expected comma-separated positive widths)");
        }
        widths.push_back(static_cast<std::uint32_t>(std::stoul(part)));
    }
    return widths;
}

/// Files from before there were two models name none.
ModelKind read_kind(Reader const& reader) {
    if (!reader.has("model")) return ModelKind::sim;
    try {
        return model_kind_from(reader.text("model"));
    } catch (InternalError const&) {
        reader.fail(
            "attribute 'model' is '" + reader.text("model") +
            "' (known: sim, twin, eta, sdim, hstu). read it with the version of ckvsim that wrote "
            "it");
    }
}

SimShape read_shape(Reader const& reader) {
    SimShape shape;
    shape.kind = read_kind(reader);
    shape.feature_dim = reader.count("feature_dim", 1);
    shape.attention_dim = reader.count("attention_dim", 1);
    shape.heads = reader.count("heads", 1);
    if (shape.kind == ModelKind::hstu) {
        shape.layers = reader.count("layers", 1);
    } else {
        shape.short_tokens = reader.count("short_tokens", 1);
    }
    if (shape.has_long_attention()) shape.top_k = reader.count("top_k", 1);
    if (shape.kind == ModelKind::sim) shape.search_dim = reader.count("search_dim", 1);
    if (shape.kind == ModelKind::eta) shape.hash_bits = reader.count("hash_bits", 8);
    if (shape.kind == ModelKind::sdim) {
        shape.hashes = reader.count("hashes", 1);
        shape.hash_bits = reader.count("hash_bits", 1);
    }
    shape.max_tokens = reader.count("max_tokens", 1);
    shape.context_dim = reader.count("context_dim", 1);
    shape.tower = parse_widths(reader, reader.text("tower"));
    return shape;
}

VariantParams read_variant(Reader const& reader, SimShape const& shape) {
    VariantParams params;
    try {
        params.variant = variant_from(reader.text("variant"));
        if (params.variant == Variant::collective) {
            params.scope = scope_from(reader.text("scope"));
            params.d_u = reader.count("d_u", 0);
            params.m = reader.count("m", 1);
            if (reader.has("sides")) params.sides = sides_from(reader.text("sides"));
            if (reader.has("start")) params.start = start_from(reader.text("start"));
            if (reader.has("teacher")) params.teacher = teacher_from(reader.text("teacher"));
        }
        check_shape(shape, params);
    } catch (InternalError const& error) {
        reader.fail(error.what());
    }
    return params;
}

SideWeights read_side(Reader const& reader, std::string const& site, std::string const& side,
                      SimWeights const& weights, bool pooled) {
    std::int64_t const d = weights.shape.attention_dim;
    std::int64_t const d_e = weights.d_e;
    SideWeights result;
    if (!pooled) {
        result.w = reader.floats(site + ".w" + side, {d, d_e});
        return result;
    }
    std::int64_t const d_u = weights.variant.d_u;
    std::int64_t const m = weights.variant.m;
    std::string const prefix = site + "." + side + ".";
    result.router = reader.floats(prefix + "wr", {m, d_e});
    if (d_u > 0) result.user = reader.floats(prefix + "wu", {d_u, d_e});
    result.pool = reader.floats(prefix + "pool", {m, d - d_u});
    return result;
}

SiteWeights read_site(Reader const& reader, std::string const& name, SimWeights const& weights,
                      bool collective) {
    std::int64_t const d = weights.shape.attention_dim;
    std::int64_t const d_e = weights.d_e;
    SiteWeights site;
    site.collective = collective;
    site.silu = collective || weights.variant.variant == Variant::full_silu;
    site.wq = reader.floats(name + ".wq", {d, d_e});
    site.wo = reader.floats(name + ".wo", {d_e, d});
    site.k = read_side(reader, name, "k", weights, collective && weights.variant.pools(0));
    site.v = read_side(reader, name, "v", weights, collective && weights.variant.pools(1));
    return site;
}

std::vector<StackLayer> read_stack(Reader const& reader, SimWeights const& weights) {
    bool const collective = weights.variant.variant == Variant::collective;
    std::vector<StackLayer> stack(weights.shape.layers);
    for (std::uint32_t l = 0; l < weights.shape.layers; ++l) {
        std::string const name = layer_name(l);
        stack[l].site = read_site(reader, name, weights, collective);
        stack[l].site.silu = true;
        stack[l].gate = reader.floats(name + ".wg", {weights.shape.attention_dim, weights.d_e});
        stack[l].position_bias =
            reader.floats(name + ".bias", {weights.shape.heads, kPositionBuckets});
    }
    return stack;
}

void read_embeddings(Reader const& reader, TensorFile const& file,
                     workload::Catalogue const& catalogue, SimWeights& weights) {
    std::int64_t const feature_dim = weights.shape.feature_dim;
    for (std::size_t f = 0; f < catalogue.features.size(); ++f) {
        std::string const name = "embed." + std::to_string(f);
        auto table = reader.floats(name, {catalogue.feature_vocabularies[f], feature_dim});
        if (std::any_of(table.begin(), table.begin() + feature_dim,
                        [](float x) { return x != 0.0F; })) {
            reader.fail("tensor '" + name + "' has a padding row 0 that is not zero");
        }
        weights.feature_tables.push_back(std::move(table));
    }
    if (!file.has("embed.context")) reader.fail("tensor 'embed.context' is missing");
    auto const& context_shape = file.tensor("embed.context").shape;
    std::int64_t const vocabulary = context_shape.empty() ? 0 : context_shape[0];
    if (vocabulary < 1) reader.fail("tensor 'embed.context' has no rows");
    weights.context_embeddings =
        reader.floats("embed.context", {vocabulary, weights.shape.context_dim});
    weights.context_vocabulary = static_cast<std::uint32_t>(vocabulary);
    weights.item_embeddings =
        gather_item_embeddings(weights.feature_tables, catalogue, weights.shape.feature_dim);
}

void read_tower(Reader const& reader, SimWeights& weights) {
    std::vector<std::uint32_t> widths = weights.shape.tower;
    widths.push_back(1);
    std::uint32_t in = tower_inputs(weights.shape, weights.d_e);
    for (std::size_t l = 0; l < widths.size(); ++l) {
        std::string const prefix = "tower." + std::to_string(l) + ".";
        SimWeights::Layer layer;
        layer.out = widths[l];
        layer.in = in;
        layer.w = reader.floats(prefix + "w", {layer.out, layer.in});
        layer.b = reader.floats(prefix + "b", {layer.out});
        weights.tower.push_back(std::move(layer));
        in = widths[l];
    }
}

}  // namespace

SimWeights load_sim_weights(std::string const& path, workload::Catalogue const& catalogue) {
    return sim_weights_from(TensorFile::read(path), catalogue, path);
}

SimWeights sim_weights_from(TensorFile const& file, workload::Catalogue const& catalogue,
                            std::string const& origin) {
    Reader const reader(file, origin);
    if (reader.text("format") != kWeightsFormat) {
        reader.fail("format is '" + reader.text("format") + "' (expected '" + kWeightsFormat +
                    "')");
    }
    std::string const expected = to_hex(catalogue_digest(catalogue));
    if (reader.text("catalogue_digest") != expected) {
        reader.fail("weights belong to another catalogue (digest " +
                    reader.text("catalogue_digest") + ", this catalogue has " + expected +
                    "). train on this dataset or point at its weights");
    }
    SimWeights weights;
    weights.shape = read_shape(reader);
    weights.variant = read_variant(reader, weights.shape);
    weights.training_seed = static_cast<std::uint64_t>(file.integer("seed"));
    weights.items = catalogue.items;
    weights.d_e = static_cast<std::uint32_t>(catalogue.features.size()) * weights.shape.feature_dim;
    weights.digest = file.digest();
    read_embeddings(reader, file, catalogue, weights);
    if (has_attention(weights.variant.variant) && weights.shape.stack_layers() > 0) {
        weights.stack = read_stack(reader, weights);
    } else if (has_attention(weights.variant.variant)) {
        bool const collective = weights.variant.variant == Variant::collective;
        weights.short_site = read_site(reader, "short", weights, collective);
        if (weights.shape.has_long_attention()) {
            weights.long_site =
                read_site(reader, "long", weights, long_site_is_collective(weights.variant));
        }
        if (std::int64_t const d_s = weights.shape.search_width(); d_s > 0) {
            weights.search_wq = reader.floats("search.wq", {d_s, weights.d_e});
            weights.search_wk = reader.floats("search.wk", {d_s, weights.d_e});
        }
        if (std::int64_t const planes = weights.shape.hash_planes(); planes > 0)
            weights.hash_planes = reader.floats("hash.planes", {planes, weights.d_e});
    }
    read_tower(reader, weights);
    return weights;
}

}  // namespace ckvsim::model
