#include "model/sim.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "core/error.hpp"
#include "core/hash.hpp"
#include "core/rng.hpp"
#include "model/weight_shapes.hpp"

namespace ckvsim::model {
namespace {

constexpr std::array<std::pair<ModelKind, char const*>, 5> kModelNames = {
    {{ModelKind::sim, "sim"},
     {ModelKind::twin, "twin"},
     {ModelKind::eta, "eta"},
     {ModelKind::sdim, "sdim"},
     {ModelKind::hstu, "hstu"}}};
constexpr std::array<std::pair<Variant, char const*>, 5> kVariantNames = {
    {{Variant::full, "full"},
     {Variant::full_silu, "full_silu"},
     {Variant::collective, "collective"},
     {Variant::mean_pool, "mean_pool"},
     {Variant::no_history, "no_history"}}};

/// Stream numbers of random_sim_weights: one per tensor, in the order of creation.
class RandomTensors {
  public:
    explicit RandomTensors(std::uint64_t seed) : seed_(seed) {}

    std::vector<float> normal(std::size_t count, double deviation) {
        CounterRng rng(seed_, Purpose::test, 0, next_stream_++);
        std::vector<float> values(count);
        for (float& value : values) value = static_cast<float>(deviation * rng.normal());
        return values;
    }
    /// [out, in] with variance 1 / in: keeps the scale of activations.
    std::vector<float> matrix(std::uint32_t out, std::uint32_t in) {
        return normal(std::size_t{out} * in,
                      1.0 / std::sqrt(static_cast<double>(std::max(in, 1U))));
    }

  private:
    std::uint64_t seed_;
    std::uint32_t next_stream_ = 0;
};

SideWeights random_side(RandomTensors& random, SimShape const& shape, VariantParams const& variant,
                        std::uint32_t d_e, bool pooled) {
    SideWeights side;
    std::uint32_t const d = shape.attention_dim;
    if (!pooled) {
        side.w = random.matrix(d, d_e);
        return side;
    }
    side.router = random.matrix(variant.m, d_e);
    side.user = random.matrix(variant.d_u, d_e);
    side.pool = random.normal(std::size_t{variant.m} * (d - variant.d_u), 1.0);
    return side;
}

SiteWeights random_site(RandomTensors& random, SimShape const& shape, VariantParams const& variant,
                        std::uint32_t d_e, bool collective) {
    SiteWeights site;
    site.collective = collective;
    site.silu = collective || variant.variant == Variant::full_silu;
    site.wq = random.matrix(shape.attention_dim, d_e);
    site.wo = random.matrix(d_e, shape.attention_dim);
    site.k = random_side(random, shape, variant, d_e, collective && variant.pools(0));
    site.v = random_side(random, shape, variant, d_e, collective && variant.pools(1));
    return site;
}

std::vector<StackLayer> random_stack(RandomTensors& random, SimShape const& shape,
                                     VariantParams const& variant, std::uint32_t d_e) {
    bool const collective = variant.variant == Variant::collective;
    std::vector<StackLayer> stack(shape.layers);
    for (StackLayer& layer : stack) {
        layer.site = random_site(random, shape, variant, d_e, collective);
        layer.site.silu = true;
        layer.gate = random.matrix(shape.attention_dim, d_e);
        layer.position_bias = random.normal(std::size_t{shape.heads} * kPositionBuckets, 1.0);
    }
    return stack;
}

std::size_t floats_of(SideWeights const& side) {
    return side.w.size() + side.router.size() + side.user.size() + side.pool.size();
}

std::size_t floats_of(SiteWeights const& site) {
    return site.wq.size() + site.wo.size() + floats_of(site.k) + floats_of(site.v);
}

}  // namespace

std::string to_string(ModelKind kind) {
    for (auto const& [value, name] : kModelNames) {
        if (value == kind) return name;
    }
    throw InternalError("model::to_string: unknown model");
}

std::string to_string(Variant variant) {
    for (auto const& [value, name] : kVariantNames) {
        if (value == variant) return name;
    }
    throw InternalError("model::to_string: unknown variant");
}

std::string to_string(Scope scope) { return scope == Scope::released ? "released" : "all"; }

std::string to_string(Sides sides) {
    if (sides == Sides::both) return "both";
    return sides == Sides::k ? "k" : "v";
}

std::string to_string(Start start) {
    if (start == Start::random) return "random";
    return start == Start::full ? "full" : "full_silu";
}

std::string to_string(Teacher teacher) {
    if (teacher == Teacher::none) return "none";
    return teacher == Teacher::full ? "full" : "full_silu";
}

ModelKind model_kind_from(std::string const& name) {
    for (auto const& [value, text] : kModelNames) {
        if (name == text) return value;
    }
    throw InternalError("model::model_kind_from: unknown model '" + name +
                        "' (known: sim, twin, eta, sdim, hstu)");
}

Variant variant_from(std::string const& name) {
    for (auto const& [value, text] : kVariantNames) {
        if (name == text) return value;
    }
    throw InternalError("model::variant_from: unknown variant '" + name +
                        "' (known: full, full_silu, collective, mean_pool, no_history)");
}

Scope scope_from(std::string const& name) {
    if (name == "released") return Scope::released;
    if (name == "all") return Scope::all;
    throw InternalError("model::scope_from: unknown scope '" + name + "' (known: released, all)");
}

Sides sides_from(std::string const& name) {
    for (Sides const sides : {Sides::both, Sides::k, Sides::v}) {
        if (name == to_string(sides)) return sides;
    }
    throw InternalError("model::sides_from: unknown sides '" + name + "' (known: both, k, v)");
}

Start start_from(std::string const& name) {
    for (Start const start : {Start::random, Start::full, Start::full_silu}) {
        if (name == to_string(start)) return start;
    }
    throw InternalError("model::start_from: unknown start '" + name +
                        "' (known: random, full, full_silu)");
}

Teacher teacher_from(std::string const& name) {
    for (Teacher const teacher : {Teacher::none, Teacher::full, Teacher::full_silu}) {
        if (name == to_string(teacher)) return teacher;
    }
    throw InternalError("model::teacher_from: unknown teacher '" + name +
                        "' (known: none, full, full_silu)");
}

std::string weights_stem(VariantParams const& params) {
    if (params.variant != Variant::collective) return to_string(params.variant);
    // Files of both sides, of random starts and without a teacher keep the name that they had
    // before there was a choice.
    std::string const side = params.sides == Sides::both ? "" : "_" + to_string(params.sides);
    std::string const start =
        params.start == Start::random ? "" : "_from_" + to_string(params.start);
    std::string const teacher =
        params.teacher == Teacher::none ? "" : "_distil_" + to_string(params.teacher);
    return "collective_" + to_string(params.scope) + side + start + teacher + "_du" +
           std::to_string(params.d_u) + "_m" + std::to_string(params.m);
}

std::uint64_t catalogue_digest(workload::Catalogue const& catalogue) {
    std::uint64_t digest = hash_bytes(&catalogue.items, sizeof catalogue.items);
    digest = hash_span<std::uint32_t>(catalogue.feature_vocabularies, digest);
    for (auto const& feature : catalogue.features)
        digest = hash_span<std::uint32_t>(feature, digest);
    return digest;
}

std::size_t SimWeights::bytes() const {
    std::size_t floats = floats_of(short_site) + floats_of(long_site) + search_wq.size() +
                         search_wk.size() + hash_planes.size();
    for (StackLayer const& layer : stack)
        floats += floats_of(layer.site) + layer.gate.size() + layer.position_bias.size();
    for (Layer const& layer : tower) floats += layer.w.size() + layer.b.size();
    return floats * sizeof(float);
}

std::size_t SimWeights::embedding_bytes() const {
    std::size_t floats = context_embeddings.size();
    for (auto const& table : feature_tables) floats += table.size();
    return floats * sizeof(float);
}

std::vector<float> gather_item_embeddings(std::vector<std::vector<float>> const& tables,
                                          workload::Catalogue const& catalogue,
                                          std::uint32_t feature_dim) {
    std::size_t const features = tables.size();
    std::size_t const d_e = features * feature_dim;
    std::vector<float> embeddings((std::size_t{catalogue.items} + 1) * d_e);
    for (std::size_t item = 0; item <= catalogue.items; ++item) {
        for (std::size_t f = 0; f < features; ++f) {
            float const* row =
                tables[f].data() + std::size_t{catalogue.features[f][item]} * feature_dim;
            std::copy_n(row, feature_dim, embeddings.data() + item * d_e + f * feature_dim);
        }
    }
    return embeddings;
}

bool has_attention(Variant variant) {
    return variant != Variant::mean_pool && variant != Variant::no_history;
}

bool long_site_is_collective(VariantParams const& params) {
    return params.variant == Variant::collective && params.scope == Scope::all;
}

std::uint32_t tower_inputs(SimShape const& shape, std::uint32_t d_e) {
    std::uint32_t const branches = shape.stack_layers() > 0 ? 1 : 2;
    return (1 + branches) * d_e + shape.context_dim;
}

std::string layer_name(std::uint32_t layer) { return "layer" + std::to_string(layer + 1); }

std::uint32_t position_bucket(std::uint32_t distance) {
    constexpr std::uint32_t kExact = kPositionBuckets / 2;
    if (distance < kExact) return distance;
    double const steps = kPositionBuckets - kExact;
    double const share = std::log(static_cast<double>(distance) / kExact) /
                         std::log(static_cast<double>(kFarthestPosition) / kExact);
    return std::min(kPositionBuckets - 1, kExact + static_cast<std::uint32_t>(share * steps));
}

std::optional<std::string> variant_refusal(VariantParams const& params, ModelKind model) {
    bool const collective = params.variant == Variant::collective;
    if (model == ModelKind::sdim && collective && params.scope == Scope::all) {
        return "scope 'all' means nothing to model 'sdim' (its long branch keeps no K and V that a "
               "pool could hold: it sums embeddings). use 'released'";
    }
    if (model != ModelKind::hstu) return std::nullopt;
    if (params.variant == Variant::full_silu) {
        return "variant 'full_silu' is 'full' for model 'hstu' (its layers apply SiLU to q, k and "
               "v "
               "anyway). use 'full'";
    }
    if (collective && params.scope == Scope::released) {
        return "scope 'released' means nothing to model 'hstu' (it has no short branch: every "
               "layer "
               "attends to all tokens). use 'all'";
    }
    if (collective && params.start != Start::random) {
        return "start '" + to_string(params.start) +
               "' means nothing to model 'hstu' (its routers see states of layers, not items that "
               "a "
               "pool could be fitted to). use 'random'";
    }
    if (collective && params.teacher == Teacher::full_silu) {
        return "teacher 'full_silu' is 'full' for model 'hstu' (its layers apply SiLU to q, k and "
               "v "
               "anyway). use 'full'";
    }
    return std::nullopt;
}

void check_shape(SimShape const& shape, VariantParams const& variant) {
    if (auto const reason = variant_refusal(variant, shape.kind))
        throw InternalError("model: " + *reason);
    static_assert(kMaxLayers == 4, "the message below names it");
    validate(shape.layers > 0 && shape.layers <= kMaxLayers, "model: layers must be 1 to 4");
    bool const searches_keys = shape.kind == ModelKind::sim;
    validate(shape.feature_dim > 0 && shape.attention_dim > 0 && shape.context_dim > 0 &&
                 (!searches_keys || shape.search_dim > 0),
             "model: every width of SimShape must be positive");
    validate(shape.heads > 0 && shape.attention_dim % shape.heads == 0,
             "model: heads must divide attention_dim");
    validate(shape.short_tokens > 0 && shape.top_k > 0 && shape.max_tokens > 0,
             "model: short_tokens, top_k and max_tokens must be positive");
    validate(shape.kind != ModelKind::eta || is_signature_width(shape.hash_bits),
             "model: hash_bits must be 8, 16, 32 or 64");
    static_assert(kMaxHashes == 64 && kMaxBucketBits == 8, "the messages below name them");
    bool const buckets = shape.kind == ModelKind::sdim;
    validate(!buckets || (shape.hash_bits > 0 && shape.hash_bits <= kMaxBucketBits),
             "model: hash_bits of 'sdim' must be 1 to 8");
    validate(!buckets || (shape.hashes > 0 && shape.hashes <= kMaxHashes),
             "model: hashes must be 1 to 64");
    for (std::uint32_t const width : shape.tower)
        validate(width > 0, "model: tower widths must be positive");
    if (variant.variant != Variant::collective) return;
    validate(variant.m > 0, "model: a collective pool needs at least one row");
    validate(variant.d_u < shape.attention_dim, "model: d_u must be below attention_dim");
}

SimWeights random_sim_weights(SimShape const& shape, VariantParams const& variant,
                              workload::Catalogue const& catalogue,
                              std::uint32_t context_vocabulary, std::uint64_t seed) {
    check_shape(shape, variant);
    RandomTensors random(seed);
    SimWeights weights;
    weights.shape = shape;
    weights.variant = variant;
    weights.training_seed = seed;
    weights.items = catalogue.items;
    weights.context_vocabulary = context_vocabulary;
    weights.d_e = static_cast<std::uint32_t>(catalogue.features.size()) * shape.feature_dim;
    for (std::uint32_t const vocabulary : catalogue.feature_vocabularies) {
        auto table = random.normal(std::size_t{vocabulary} * shape.feature_dim, 1.0);
        std::fill_n(table.begin(), shape.feature_dim, 0.0F);
        weights.feature_tables.push_back(std::move(table));
    }
    weights.context_embeddings =
        random.normal(std::size_t{context_vocabulary} * shape.context_dim, 1.0);
    weights.item_embeddings =
        gather_item_embeddings(weights.feature_tables, catalogue, shape.feature_dim);
    if (has_attention(variant.variant) && shape.stack_layers() > 0) {
        weights.stack = random_stack(random, shape, variant, weights.d_e);
    } else if (has_attention(variant.variant)) {
        bool const collective = variant.variant == Variant::collective;
        weights.short_site = random_site(random, shape, variant, weights.d_e, collective);
        if (shape.has_long_attention()) {
            weights.long_site =
                random_site(random, shape, variant, weights.d_e, long_site_is_collective(variant));
        }
        weights.search_wq = random.matrix(shape.search_width(), weights.d_e);
        weights.search_wk = random.matrix(shape.search_width(), weights.d_e);
        // A draw of nothing would number the other models' later tensors anew.
        if (std::size_t const planes = shape.hash_planes(); planes > 0)
            weights.hash_planes = random.normal(planes * weights.d_e, 1.0);
    }
    std::uint32_t in = tower_inputs(shape, weights.d_e);
    std::vector<std::uint32_t> widths = shape.tower;
    widths.push_back(1);
    for (std::uint32_t const out : widths) {
        SimWeights::Layer layer{out, in, random.matrix(out, in), random.normal(out, 0.1)};
        weights.tower.push_back(std::move(layer));
        in = out;
    }
    weights.digest = mix64(seed ^ hash_bytes(weights.item_embeddings.data(),
                                             weights.item_embeddings.size() * sizeof(float)));
    return weights;
}

}  // namespace ckvsim::model
