// Weights as a tensor file: the inverse of weights_file.cpp.
#include "core/hash.hpp"
#include "model/sim.hpp"
#include "model/weight_shapes.hpp"

namespace ckvsim::model {
namespace {

/// One weight file being written.
class Writer {
  public:
    explicit Writer(TensorFile& file) : file_(file) {}

    void text(std::string const& key, std::string value) { file_.set(key, std::move(value)); }
    void count(std::string const& key, std::uint32_t value) { file_.set(key, std::int64_t{value}); }
    template <class T>
    void array(std::string const& name, std::vector<T> const& values,
               std::vector<std::int64_t> shape) {
        file_.tensors[name] = Tensor::from(std::span<T const>(values), std::move(shape));
    }
    template <class T>
    void column(std::string const& name, std::vector<T> const& values) {
        array(name, values, {static_cast<std::int64_t>(values.size())});
    }

  private:
    TensorFile& file_;
};

void write_attributes(Writer& writer, SimWeights const& weights) {
    SimShape const& shape = weights.shape;
    // SIM's files stay as they were before there was another model.
    if (shape.kind != ModelKind::sim) writer.text("model", to_string(shape.kind));
    writer.count("feature_dim", shape.feature_dim);
    writer.count("attention_dim", shape.attention_dim);
    writer.count("heads", shape.heads);
    if (shape.stack_layers() > 0) {
        writer.count("layers", shape.layers);
    } else {
        writer.count("short_tokens", shape.short_tokens);
    }
    if (shape.has_long_attention()) writer.count("top_k", shape.top_k);
    if (shape.search_width() > 0) writer.count("search_dim", shape.search_dim);
    if (shape.hash_planes() > 0) writer.count("hash_bits", shape.hash_bits);
    if (shape.bucket_hashes() > 0) writer.count("hashes", shape.hashes);
    writer.count("max_tokens", shape.max_tokens);
    writer.count("context_dim", shape.context_dim);
    std::string tower;
    for (std::uint32_t const width : shape.tower)
        tower += (tower.empty() ? "" : ",") + std::to_string(width);
    writer.text("tower", tower);
    writer.text("variant", to_string(weights.variant.variant));
    if (weights.variant.variant != Variant::collective) return;
    writer.text("scope", to_string(weights.variant.scope));
    writer.count("d_u", weights.variant.d_u);
    writer.count("m", weights.variant.m);
    // Files of both sides, of random starts and without a teacher stay as they were before there
    // was a choice.
    Sides const sides = weights.variant.sides;
    if (sides != Sides::both) writer.text("sides", to_string(sides));
    Start const start = weights.variant.start;
    if (start != Start::random) writer.text("start", to_string(start));
    Teacher const teacher = weights.variant.teacher;
    if (teacher != Teacher::none) writer.text("teacher", to_string(teacher));
}

void write_side(Writer& writer, std::string const& site, std::string const& side,
                SideWeights const& from, SimWeights const& weights) {
    std::int64_t const d = weights.shape.attention_dim;
    std::int64_t const d_e = weights.d_e;
    if (!from.pooled()) {
        writer.array(site + ".w" + side, from.w, {d, d_e});
        return;
    }
    std::int64_t const d_u = weights.variant.d_u;
    std::int64_t const m = weights.variant.m;
    std::string const prefix = site + "." + side + ".";
    writer.array(prefix + "wr", from.router, {m, d_e});
    if (d_u > 0) writer.array(prefix + "wu", from.user, {d_u, d_e});
    writer.array(prefix + "pool", from.pool, {m, d - d_u});
}

void write_site(Writer& writer, std::string const& name, SiteWeights const& site,
                SimWeights const& weights) {
    std::int64_t const d = weights.shape.attention_dim;
    std::int64_t const d_e = weights.d_e;
    writer.array(name + ".wq", site.wq, {d, d_e});
    writer.array(name + ".wo", site.wo, {d_e, d});
    write_side(writer, name, "k", site.k, weights);
    write_side(writer, name, "v", site.v, weights);
}

void write_stack(Writer& writer, SimWeights const& weights) {
    std::int64_t const d = weights.shape.attention_dim;
    for (std::uint32_t l = 0; l < weights.stack.size(); ++l) {
        StackLayer const& layer = weights.stack[l];
        std::string const name = layer_name(l);
        write_site(writer, name, layer.site, weights);
        writer.array(name + ".wg", layer.gate, {d, weights.d_e});
        writer.array(name + ".bias", layer.position_bias, {weights.shape.heads, kPositionBuckets});
    }
}

}  // namespace

TensorFile weights_file_from(SimWeights const& weights, workload::Catalogue const& catalogue) {
    TensorFile file;
    Writer writer(file);
    writer.text("format", kWeightsFormat);
    writer.text("catalogue_digest", to_hex(catalogue_digest(catalogue)));
    file.set("seed", static_cast<std::int64_t>(weights.training_seed));
    write_attributes(writer, weights);
    std::int64_t const feature_dim = weights.shape.feature_dim;
    for (std::size_t f = 0; f < weights.feature_tables.size(); ++f) {
        writer.array("embed." + std::to_string(f), weights.feature_tables[f],
                     {catalogue.feature_vocabularies.at(f), feature_dim});
    }
    writer.array("embed.context", weights.context_embeddings,
                 {weights.context_vocabulary, weights.shape.context_dim});
    if (has_attention(weights.variant.variant) && weights.shape.stack_layers() > 0) {
        write_stack(writer, weights);
    } else if (has_attention(weights.variant.variant)) {
        write_site(writer, "short", weights.short_site, weights);
        if (weights.shape.has_long_attention())
            write_site(writer, "long", weights.long_site, weights);
        if (std::uint32_t const d_s = weights.shape.search_width(); d_s > 0) {
            writer.array("search.wq", weights.search_wq, {d_s, weights.d_e});
            writer.array("search.wk", weights.search_wk, {d_s, weights.d_e});
        }
        if (std::uint32_t const planes = weights.shape.hash_planes(); planes > 0)
            writer.array("hash.planes", weights.hash_planes, {planes, weights.d_e});
    }
    for (std::size_t l = 0; l < weights.tower.size(); ++l) {
        SimWeights::Layer const& layer = weights.tower[l];
        std::string const prefix = "tower." + std::to_string(l) + ".";
        writer.array(prefix + "w", layer.w, {layer.out, layer.in});
        writer.array(prefix + "b", layer.b, {layer.out});
    }
    return file;
}

void add_reference_block(ReferenceBlock const& block, SimShape const& shape, TensorFile& file) {
    Writer writer(file);
    writer.column("ref.offsets", block.offsets);
    writer.column("ref.tokens", block.tokens);
    writer.column("ref.candidate", block.candidates);
    writer.column("ref.context", block.contexts);
    writer.column("ref.logit", block.logits);
    if (shape.has_long_attention()) {
        writer.array("ref.topk", block.top_k,
                     {static_cast<std::int64_t>(block.candidates.size()), shape.top_k});
    }
    if (!block.signatures.empty()) {
        auto const items = static_cast<std::int64_t>(block.signatures.size() / shape.hashes);
        writer.array("ref.signature", block.signatures, {items, shape.hashes});
    }
    for (auto const& [name, rows] : block.indices) writer.column("ref." + name + ".index", rows);
}

}  // namespace ckvsim::model
