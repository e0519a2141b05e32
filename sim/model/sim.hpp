// The served models, shapes and weights: SIM (Search-based Interest Model, soft search; Pi et al.,
// CIKM 2020, arXiv 2006.05639) and TWIN (Two-stage Interest Network; Chang et al., KDD 2023, arXiv
// 2302.02352). They differ in the long branch's search alone.
//
// Forward pass, the contract between ckvsim-train (libtorch) and the serving kernels (device/):
//   e(i)      = concat_f embed.<f>[feature_f(i)]                      [d_e], d_e = F * feature_dim
//   tokens    = the last min(n, max_tokens) history items, oldest first
//   short     = target attention over the last min(n, short_tokens) tokens (short_tokens = 49,
//               FACTS section 0.3)
//   long      = search over all tokens, target attention with the long.* projections over the top_k
//               highest scores (ties: the newer token first)
//   score_j   = SIM: (search.wq e_c) . (search.wk e_j), projections of the search's own
//               TWIN: q . k_j = sum over heads of q_h . k_jh with the q and k of the long site:
//               what is searched is what is attended to. One set of tokens for all heads, so that
//               both models attend to equally many rows
//   attention = per head h: softmax_j( q_h . k_jh / sqrt(d / H) ) v_jh, heads concatenated, then
//               wo: [d] -> [d_e]; no tokens -> zeros
//   logit     = tower(concat(e_c, short, long, embed.context[context]))     ReLU between layers
// Projections have no bias. Variants:
//   full        q = Wq e_c, k = Wk e_j, v = Wv e_j
//   full_silu   SiLU on q, k and v (the control for CollectiveKV's activations, FACTS section 0.4)
//   collective  in the sites of its scope: q = SiLU(Wq e_c);
//               k = SiLU(concat(pool[argmax(wr e_j)], wu e_j)),
//               likewise v: the first d - d_u dims come from the pool, the last d_u from the user
//               part. Training multiplies the pool row by sigmoid of the winning logit; serving
//               does not (FACTS 0b). Sites outside the scope are as in `full`.
//   mean_pool   short = mean of e over the short tokens, long = mean of e over all tokens, no
//               attention
//   no_history  short = long = 0
//
// Tensor names in the weight file (fp32, row-major, y = W x with W [out, in]):
//   embed.<f> [vocabulary_f, feature_dim] (row 0 zero), embed.context [context_vocabulary,
//   context_dim], short.{wq,wk,wv} [d, d_e], short.wo [d_e, d], long.{wq,wk,wv,wo} likewise,
//   search.{wq,wk} [search_dim, d_e] (SIM only), <site>.<k|v>.{wr [m, d_e], wu [d_u, d_e], pool [m,
//   d - d_u]} for collective sites (then no <site>.wk / wv; wu absent when d_u = 0), tower.<l>.w
//   [out, in], tower.<l>.b [out], the last with out = 1.
// Attributes: format = "ckvsim-sim-1", model ("sim" or "twin"; absent = sim), variant, scope, seed,
//   feature_dim, attention_dim, heads, short_tokens, search_dim (SIM only), top_k, max_tokens,
//   context_dim, d_u, m, tower (comma-separated hidden widths), catalogue_digest (hex), and free
//   training facts with the prefix "train." (epochs, tune_auc, wall_s, ...).
// Reference block (verifies serving against the libtorch forward pass in eval mode):
//   ref.offsets [R+1] u64 and ref.tokens u32 (CSR, already cut to max_tokens, oldest first),
//   ref.candidate [R] u32, ref.context [R] u32, ref.logit [R] f32, ref.topk [R, top_k] u32
//   (positions in the token list, ascending; 0xFFFFFFFF = none), ref.<site>.<k|v>.index [V+1] u32
//   (arg-max pool row per item) for collective sites.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/tensor_file.hpp"
#include "workload/population.hpp"

namespace ckvsim::model {

enum class ModelKind : std::uint8_t { sim, twin };
enum class Variant : std::uint8_t { full, full_silu, collective, mean_pool, no_history };
/// Attention sites with pools: released = the short branch alone, all = short and long K and V.
enum class Scope : std::uint8_t { released, all };

std::string to_string(ModelKind kind);
std::string to_string(Variant variant);
std::string to_string(Scope scope);
/// These throw InternalError on an unknown name.
ModelKind model_kind_from(std::string const& name);
Variant variant_from(std::string const& name);
Scope scope_from(std::string const& name);

/// Hyper-parameters that fix every shape.
struct SimShape {
    ModelKind kind = ModelKind::sim;
    std::uint32_t feature_dim = 16;    ///< width of one feature's embedding; d_e = F * feature_dim
    std::uint32_t attention_dim = 64;  ///< d
    std::uint32_t heads = 2;           ///< H, divides d
    std::uint32_t short_tokens = 49;
    std::uint32_t search_dim = 16;  ///< d_s; means nothing to TWIN
    std::uint32_t top_k = 20;
    std::uint32_t max_tokens = 200;  ///< longest history a request sees
    std::uint32_t context_dim = 4;
    std::vector<std::uint32_t> tower = {64, 32};

    /// Width of the keys that a search of its own needs: 0 where it reads the long branch's K.
    [[nodiscard]] std::uint32_t search_width() const {
        return kind == ModelKind::sim ? search_dim : 0;
    }
    bool operator==(SimShape const&) const = default;
};

/// How one set of weights is trained; several strategies may share it.
struct VariantParams {
    Variant variant = Variant::full;
    Scope scope = Scope::released;  ///< collective only
    std::uint32_t d_u = 1;          ///< collective only
    std::uint32_t m = 1000;         ///< collective only: pool rows

    bool operator==(VariantParams const&) const = default;
};

/// File stem that identifies a variant, for example "full" or "collective_all_du1_m512".
std::string weights_stem(VariantParams const& params);

/// One attention site's projections. Collective sides keep pool and router instead of wk / wv.
struct SideWeights {            ///< K or V
    std::vector<float> w;       ///< [d, d_e]; empty when collective
    std::vector<float> router;  ///< [m, d_e]
    std::vector<float> user;    ///< [d_u, d_e]
    std::vector<float> pool;    ///< [m, d - d_u], as trained: SiLU not yet applied
};
struct SiteWeights {
    bool collective = false;
    bool silu = false;      ///< activation on q, k, v
    std::vector<float> wq;  ///< [d, d_e]
    std::vector<float> wo;  ///< [d_e, d]
    SideWeights k;
    SideWeights v;
};

/// Immutable, shared between threads and strategies.
struct SimWeights {
    SimShape shape;
    VariantParams variant;
    std::uint64_t training_seed = 0;
    std::uint32_t d_e = 0;
    std::uint32_t items = 0;                         ///< V
    std::vector<std::vector<float>> feature_tables;  ///< [F][vocabulary_f * feature_dim]
    std::vector<float> item_embeddings;              ///< [V+1, d_e], gathered once
    std::vector<float> context_embeddings;           ///< [context_vocabulary, context_dim]
    std::uint32_t context_vocabulary = 1;
    SiteWeights short_site;
    SiteWeights long_site;
    std::vector<float> search_wq;  ///< [search_width, d_e]
    std::vector<float> search_wk;
    struct Layer {
        std::uint32_t out = 0;
        std::uint32_t in = 0;
        std::vector<float> w;
        std::vector<float> b;
    };
    std::vector<Layer> tower;
    std::uint64_t digest = 0;  ///< of the weight file

    [[nodiscard]] std::size_t bytes() const;  ///< fp32 bytes of everything but the embeddings
    [[nodiscard]] std::size_t embedding_bytes() const;  ///< fp32 bytes of the embedding tables
};

/// Loads and checks a weight file against the catalogue (shapes, digests, finite values).
/// Throws DataError naming the file, the tensor and what was expected.
SimWeights load_sim_weights(std::string const& path, workload::Catalogue const& catalogue);
SimWeights sim_weights_from(TensorFile const& file, workload::Catalogue const& catalogue,
                            std::string const& origin);

/// The weight file of these weights: every tensor and attribute that sim_weights_from() reads.
/// Facts about training ("train.") and the reference block are the caller's to add.
TensorFile weights_file_from(SimWeights const& weights, workload::Catalogue const& catalogue);

/// What the reference block holds: forward passes and discrete choices that serving is checked
/// against.
struct ReferenceBlock {
    std::vector<std::uint64_t> offsets = {0};  ///< [R+1] into tokens
    std::vector<ItemId> tokens;                ///< histories cut to max_tokens, oldest first
    std::vector<ItemId> candidates;            ///< [R]
    std::vector<std::uint32_t> contexts;       ///< [R]
    std::vector<float> logits;                 ///< [R]
    std::vector<std::uint32_t> top_k;          ///< [R, top_k] ascending, 0xFFFFFFFF = none
    /// Arg-max pool row per item [V+1] by name ("short.k", "long.v", ...), collective sites only.
    std::map<std::string, std::vector<std::uint32_t>> indices;
};
/// Adds the block's "ref." tensors to a weight file.
void add_reference_block(ReferenceBlock const& block, std::uint32_t top_k, TensorFile& file);

/// Digest of features and vocabularies, stored in weight files so that foreign weights are refused.
std::uint64_t catalogue_digest(workload::Catalogue const& catalogue);

/// Random but valid weights for tests and benchmarks (no training involved).
SimWeights random_sim_weights(SimShape const& shape, VariantParams const& variant,
                              workload::Catalogue const& catalogue,
                              std::uint32_t context_vocabulary, std::uint64_t seed);

}  // namespace ckvsim::model
