// The served models, shapes and weights: SIM (Search-based Interest Model, soft search; Pi et al.,
// CIKM 2020, arXiv 2006.05639), TWIN (Two-stage Interest Network; Chang et al., KDD 2023, arXiv
// 2302.02352), ETA (End-to-end Target Attention; Chen et al., 2021, arXiv 2108.04468), SDIM
// (Sampling-based Deep Interest Modeling; Cao et al., CIKM 2022, arXiv 2205.10249) and HSTU
// (Hierarchical Sequential Transduction Units; Zhai et al., ICML 2024, arXiv 2402.17152). SIM, TWIN
// and ETA differ in the long branch's search alone, SDIM in its whole long branch; HSTU is below
// them.
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
//               the models attend to equally many rows
//               ETA: minus the number of bits in which the signatures of c and j differ; bit b of
//               an item's signature = [plane_b . e > 0], its side of the b-th of hash_bits
//               hyperplanes through the origin. They are drawn at random from the weights' seed,
//               never trained, and stored with the weights. A signature depends on the item alone.
//               Many distances are equal: the rule for ties, the newer token first, decides often
//   SDIM      has no attention in the long branch, no K, no V and no projections: `hashes` hash
//               functions of hash_bits bits each put an item into one of 2^hash_bits buckets. Bit b
//               of the bucket under hash h = [plane_{h * hash_bits + b} . e > 0], planes as ETA's
//               s_h  = sum of e_j over all tokens (oldest first) in the candidate's bucket of h
//               long = mean over h of s_h / max(|s_h|, 1e-12); a bucket without tokens counts as
//               zeros. Gradients go through e_j, none through the buckets
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
//               does not (FACTS 0b). Sites outside the scope are as in `full`. Sides `k`, `v`:
//               the other side of these sites has no pool and is v = SiLU(Wv e_j), k = SiLU(Wk e_j)
//               as in full_silu: nothing but its pool tells it from sides `both`.
//   mean_pool   short = mean of e over the short tokens, long = mean of e over all tokens, no
//               attention
//   no_history  short = long = 0
// SDIM has no scope `all`: its long branch keeps no K and V that pools could hold.
//
// HSTU: a stack of `layers` causal self-attention layers over all tokens; K and V of every layer
// are kept. From the second layer on they depend on the tokens before, not on the item alone.
//   x_0      = e(i) of a token or of the candidate                       [d_e]
//   n        = norm(x) = (x - mean x) / sqrt(var x + 1e-6), no scale, no shift
//   g, q     = SiLU(wg n), SiLU(wq n); k, v = SiLU(wk n), SiLU(wv n)     [d]
//   a_i      = per head: sum_{j <= i} SiLU(q_i . k_j + bias[h, bucket(i - j)]) / max_tokens * v_j
//   x_{l+1}  = x_l + wo (norm(a) * g), norm over all d values of a
//   bucket   = distance up to 15, then 16 buckets in equal steps of its logarithm up to 128, all
//              farther distances in the last (position_bucket())
//   A candidate is a token after the history's last; it attends to the history and to itself, never
//   to another candidate. One token per history item: action tokens (HSTU interleaves them) need
//   event fields, which no dataset reader provides.
//   logit    = tower(concat(e_c, x_layers of the candidate, embed.context[context]))
//   Variants: full; collective with scope all: k = SiLU(concat(pool[argmax(wr n)], wu n)), likewise
//   v, with pools and routers of every layer's own (a token attends to itself and to the tokens
//   before it as they are kept), or of one side alone: the other is as in full; mean_pool: the mean
//   of e over all tokens in place of x_layers; no_history: zeros. There is no full_silu: the layers
//   apply SiLU anyway.
//
// Tensor names in the weight file (fp32, row-major, y = W x with W [out, in]):
//   embed.<f> [vocabulary_f, feature_dim] (row 0 zero), embed.context [context_vocabulary,
//   context_dim], short.{wq,wk,wv} [d, d_e], short.wo [d_e, d], long.{wq,wk,wv,wo} likewise,
//   (not SDIM), search.{wq,wk} [search_dim, d_e] (SIM only), hash.planes [hash_bits, d_e] (ETA) or
//   [hashes * hash_bits, d_e] (SDIM),
//   <site>.<k|v>.{wr [m, d_e], wu [d_u, d_e], pool [m, d - d_u]} for sides with a pool (then no
//   <site>.wk or wv; wu absent when d_u = 0), tower.<l>.w [out, in], tower.<l>.b [out], the last
//   with out = 1. HSTU has the sites layer1, layer2, ... instead of short and long, each with
//   <site>.wg [d, d_e] and <site>.bias [heads, 32] besides.
// Attributes: format = "ckvsim-sim-1", model ("sim", "twin", "eta", "sdim" or "hstu"; absent =
// sim),
//   variant, scope, seed, feature_dim, attention_dim, heads, short_tokens (not HSTU), top_k (SIM,
//   TWIN and ETA), search_dim (SIM only), hash_bits (ETA: of a signature; SDIM: of one hash),
//   hashes (SDIM only), layers (HSTU only), max_tokens, context_dim, d_u, m, sides ("k" or "v";
//   absent = both), start ("full" or "full_silu"; absent = random), teacher ("full" or
//   "full_silu"; absent = none), tower (comma-separated hidden widths), catalogue_digest (hex), and
//   free training facts with the prefix "train.".
// Reference block (verifies serving against the libtorch forward pass in eval mode):
//   ref.offsets [R+1] u64 and ref.tokens u32 (CSR, already cut to max_tokens, oldest first),
//   ref.candidate [R] u32, ref.context [R] u32, ref.logit [R] f32; SIM, TWIN and ETA: ref.topk [R,
//   top_k] u32 (positions in the token list, ascending; 0xFFFFFFFF = none); SDIM with attention:
//   ref.signature [V+1, hashes] u8 (bucket per item and hash); not HSTU: ref.<site>.<k|v>.index
//   [V+1] u32 (arg-max pool row per item) for sides with a pool.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/tensor_file.hpp"
#include "workload/population.hpp"

namespace ckvsim::model {

enum class ModelKind : std::uint8_t { sim, twin, hstu, eta, sdim };
enum class Variant : std::uint8_t { full, full_silu, collective, mean_pool, no_history };
/// Attention sites with pools: released = the short branch alone, all = short and long K and V.
enum class Scope : std::uint8_t { released, all };
/// Sides of the sites of the scope that have a pool; the other keeps whole rows.
enum class Sides : std::uint8_t { both, k, v };
/// What training of CollectiveKV starts from: random values, or the trained weights of `full` or
/// `full_silu` with pools fitted to their K and V (a warm start, sim/train/README.md). Serving is
/// the same.
enum class Start : std::uint8_t { random, full, full_silu };
/// Whose scores CollectiveKV is trained to repeat besides the labels (distillation,
/// sim/train/README.md): nobody's, or those of trained `full` or `full_silu`. Serving is the same.
enum class Teacher : std::uint8_t { none, full, full_silu };

std::string to_string(ModelKind kind);
std::string to_string(Variant variant);
std::string to_string(Scope scope);
std::string to_string(Sides sides);
std::string to_string(Start start);
std::string to_string(Teacher teacher);
/// These throw InternalError on an unknown name.
ModelKind model_kind_from(std::string const& name);
Variant variant_from(std::string const& name);
Scope scope_from(std::string const& name);
Sides sides_from(std::string const& name);
Start start_from(std::string const& name);
Teacher teacher_from(std::string const& name);

/// Most self-attention layers of a stack: an entry has sections for so many.
inline constexpr std::uint32_t kMaxLayers = 4;

/// Relative positions of HSTU: how many biases a head has, and from which distance on all share
/// one (FACTS section 1).
inline constexpr std::uint32_t kPositionBuckets = 32;
inline constexpr std::uint32_t kFarthestPosition = 128;
/// The bias that a token at this distance behind a query takes; 0 = the query itself.
std::uint32_t position_bucket(std::uint32_t distance);

/// Hashes and bits of a hash that SDIM may have: a bucket's number is stored as one byte.
inline constexpr std::uint32_t kMaxHashes = 64;
inline constexpr std::uint32_t kMaxBucketBits = 8;
/// Bits of one of SDIM's hashes where nothing else is asked for: the paper's 48 bits are 16 x 3.
inline constexpr std::uint32_t kBucketBits = 3;

/// Hyper-parameters that fix every shape.
struct SimShape {
    ModelKind kind = ModelKind::sim;
    std::uint32_t feature_dim = 16;    ///< width of one feature's embedding; d_e = F * feature_dim
    std::uint32_t attention_dim = 64;  ///< d
    std::uint32_t heads = 2;           ///< H, divides d
    std::uint32_t short_tokens = 49;   ///< means nothing to HSTU
    std::uint32_t search_dim = 16;     ///< d_s; SIM only
    /// ETA: bits of a signature, 8, 16, 32 or 64. SDIM: bits of one hash, 1 to kMaxBucketBits.
    std::uint32_t hash_bits = 32;
    std::uint32_t hashes = 16;       ///< SDIM only: hash functions, 1 to kMaxHashes
    std::uint32_t top_k = 20;        ///< SIM, TWIN and ETA
    std::uint32_t layers = 2;        ///< HSTU only; at most kMaxLayers
    std::uint32_t max_tokens = 200;  ///< longest history a request sees
    std::uint32_t context_dim = 4;
    std::vector<std::uint32_t> tower = {64, 32};

    /// Width of the keys that are searched by products: SIM's; 0 where there are none.
    [[nodiscard]] std::uint32_t search_width() const {
        return kind == ModelKind::sim ? search_dim : 0;
    }
    /// Bits of the signatures that are searched by distance: ETA's; 0 where there are none.
    [[nodiscard]] std::uint32_t signature_bits() const {
        return kind == ModelKind::eta ? hash_bits : 0;
    }
    /// True where tokens have keys or signatures that only the search reads.
    [[nodiscard]] bool has_search_keys() const { return search_width() + signature_bits() > 0; }
    /// Hash functions whose buckets are summed: SDIM's; 0 where there are none.
    [[nodiscard]] std::uint32_t bucket_hashes() const {
        return kind == ModelKind::sdim ? hashes : 0;
    }
    /// Buckets of all hash functions together, one sum of embeddings each; 0 unless SDIM.
    [[nodiscard]] std::uint32_t bucket_rows() const {
        return kind == ModelKind::sdim ? hashes << hash_bits : 0;
    }
    /// Hyperplanes that the weights bring: of signatures or of buckets.
    [[nodiscard]] std::uint32_t hash_planes() const {
        return signature_bits() + bucket_hashes() * hash_bits;
    }
    /// True where the long branch chooses top_k tokens and attends to them.
    [[nodiscard]] bool has_long_attention() const {
        return kind != ModelKind::hstu && kind != ModelKind::sdim;
    }
    /// Self-attention layers whose K and V are kept; 0 where candidates attend to items.
    [[nodiscard]] std::uint32_t stack_layers() const {
        return kind == ModelKind::hstu ? layers : 0;
    }
    bool operator==(SimShape const&) const = default;
};

/// How one set of weights is trained; several strategies may share it.
struct VariantParams {
    Variant variant = Variant::full;
    Scope scope = Scope::released;    ///< collective only
    std::uint32_t d_u = 1;            ///< collective only
    std::uint32_t m = 1000;           ///< collective only: pool rows
    Sides sides = Sides::both;        ///< collective only
    Start start = Start::random;      ///< collective only
    Teacher teacher = Teacher::none;  ///< collective only

    /// True where K (0) or V (1) has a pool in the sites of the scope.
    [[nodiscard]] bool pools(std::size_t side) const {
        return variant == Variant::collective && sides != (side == 0 ? Sides::v : Sides::k);
    }
    bool operator==(VariantParams const&) const = default;
};

/// Why a model has no such variant; nullopt = it has. Example: HSTU with scope `released`, a warm
/// start or the teacher `full_silu`, SDIM with scope `all`.
std::optional<std::string> variant_refusal(VariantParams const& params, ModelKind model);

/// File stem that identifies a variant, for example "full", "collective_all_du1_m512" or, of one
/// side, "collective_all_k_du1_m512", with a warm start "collective_all_from_full_du1_m512", with a
/// teacher "collective_all_distil_full_du1_m512".
std::string weights_stem(VariantParams const& params);

/// One attention site's projections. Sides with a pool keep it and a router instead of wk / wv.
struct SideWeights {            ///< K or V
    std::vector<float> w;       ///< [d, d_e]; empty with a pool
    std::vector<float> router;  ///< [m, d_e]; empty without a pool, as those below
    std::vector<float> user;    ///< [d_u, d_e]
    std::vector<float> pool;    ///< [m, d - d_u], as trained: SiLU not yet applied
    [[nodiscard]] bool pooled() const { return !router.empty(); }
};
struct SiteWeights {
    bool collective = false;  ///< in the scope: K, V or both have a pool
    bool silu = false;        ///< activation on q, k, v
    std::vector<float> wq;    ///< [d, d_e]
    std::vector<float> wo;    ///< [d_e, d]
    SideWeights k;
    SideWeights v;
};

/// One self-attention layer of HSTU.
struct StackLayer {
    SiteWeights site;
    std::vector<float> gate;           ///< wg [d, d_e]
    std::vector<float> position_bias;  ///< [heads, kPositionBuckets]
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
    SiteWeights long_site;         ///< empty in SDIM
    std::vector<float> search_wq;  ///< [search_width, d_e]
    std::vector<float> search_wk;
    std::vector<float> hash_planes;  ///< [shape.hash_planes(), d_e]; normals of the hyperplanes
    std::vector<StackLayer> stack;   ///< HSTU, instead of the sites and the search
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
    std::vector<std::uint8_t> signatures;      ///< [V+1, hashes], SDIM with attention only
    /// Arg-max pool row per item [V+1] by name ("short.k", "long.v", ...), sides with pools only.
    std::map<std::string, std::vector<std::uint32_t>> indices;
};
/// Adds the block's "ref." tensors to a weight file of the model.
void add_reference_block(ReferenceBlock const& block, SimShape const& shape, TensorFile& file);

/// Digest of features and vocabularies, stored in weight files so that foreign weights are refused.
std::uint64_t catalogue_digest(workload::Catalogue const& catalogue);

/// Random but valid weights for tests and benchmarks (no training involved).
SimWeights random_sim_weights(SimShape const& shape, VariantParams const& variant,
                              workload::Catalogue const& catalogue,
                              std::uint32_t context_vocabulary, std::uint64_t seed);

}  // namespace ckvsim::model
