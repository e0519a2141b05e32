// Keys of the model, of training and of the arms.
#include <algorithm>

#include "config/spec_key_parts.hpp"

namespace ckvsim::config {

namespace {

using kv::Keying;
using kv::SearchKeys;
using kv::StrategyKind;
using kv::ValueType;
using model::ModelKind;
using model::Scope;
using model::Sides;
using model::Start;
using model::Teacher;
using model::Variant;

constexpr std::pair<ModelKind, char const*> kModels[] = {{ModelKind::sim, "sim"},
                                                         {ModelKind::twin, "twin"},
                                                         {ModelKind::eta, "eta"},
                                                         {ModelKind::sdim, "sdim"},
                                                         {ModelKind::hstu, "hstu"}};
constexpr std::pair<Variant, char const*> kVariants[] = {{Variant::full, "full"},
                                                         {Variant::full_silu, "full_silu"},
                                                         {Variant::collective, "collective"},
                                                         {Variant::mean_pool, "mean_pool"},
                                                         {Variant::no_history, "no_history"}};
constexpr std::pair<Scope, char const*> kScopes[] = {{Scope::released, "released"},
                                                     {Scope::all, "all"}};
constexpr std::pair<Sides, char const*> kSides[] = {
    {Sides::both, "both"}, {Sides::k, "k"}, {Sides::v, "v"}};
constexpr std::pair<Start, char const*> kStarts[] = {
    {Start::random, "random"}, {Start::full, "full"}, {Start::full_silu, "full_silu"}};
constexpr std::pair<Teacher, char const*> kTeachers[] = {
    {Teacher::none, "none"}, {Teacher::full, "full"}, {Teacher::full_silu, "full_silu"}};
constexpr std::pair<StrategyKind, char const*> kStrategies[] = {
    {StrategyKind::recompute, "recompute"},   {StrategyKind::full, "full"},
    {StrategyKind::item_table, "item_table"}, {StrategyKind::collective, "collective"},
    {StrategyKind::low_rank, "low_rank"},     {StrategyKind::vq, "vq"}};
constexpr std::pair<Keying, char const*> kKeyings[] = {{Keying::user_token, "user_token"},
                                                       {Keying::item, "item"}};
constexpr std::pair<ValueType, char const*> kValueTypes[] = {{ValueType::fp32, "fp32"},
                                                             {ValueType::fp16, "fp16"},
                                                             {ValueType::int8, "int8"},
                                                             {ValueType::int4, "int4"}};
constexpr std::pair<SearchKeys, char const*> kSearchKeys[] = {
    {SearchKeys::stored, "stored"}, {SearchKeys::item_table, "item_table"}};

enum class Measure : std::uint8_t { memory, accuracy, latency };
constexpr std::pair<kv::WindowPolicy, char const*> kWindows[] = {
    {kv::WindowPolicy::encoded, "encoded"},
    {kv::WindowPolicy::slide, "slide"},
    {kv::WindowPolicy::reencode, "reencode"},
    {kv::WindowPolicy::drop_block, "drop_block"}};
constexpr std::pair<Measure, char const*> kMeasures[] = {
    {Measure::memory, "memory"}, {Measure::accuracy, "accuracy"}, {Measure::latency, "latency"}};

void describe_weights(KeyVisitor& v, model::VariantParams& weights) {
    bool const known =
        v.choice<Variant>({.name = "variant",
                           .meaning = "how the weights were trained (sim/model/sim.hpp)",
                           .required = true},
                          weights.variant, kVariants);
    bool const collective = !known || weights.variant == Variant::collective;
    std::string const condition = "variant = collective";
    v.choice<Scope>({.name = "scope",
                     .meaning = "attention sites with pools: released = the short branch, all = "
                                "short and long; hstu: all, its layers; sdim: released",
                     .applies = collective,
                     .only_if = condition},
                    weights.scope, kScopes);
    v.choice<Sides>({.name = "sides",
                     .meaning = "what has a pool in the sites of the scope: K, V or both. The "
                                "other side keeps whole rows of the strategy's value type, with "
                                "SiLU as its pooled sibling has it",
                     .applies = collective,
                     .only_if = condition},
                    weights.sides, kSides);
    v.choice<Start>({.name = "start",
                     .meaning = "what training starts from: random values, or full or full_silu, "
                                "trained first in the same run, with pools fitted to their K and V "
                                "(not hstu). full_silu has the activations of scope all",
                     .applies = collective,
                     .only_if = condition},
                    weights.start, kStarts);
    v.choice<Teacher>(
        {.name = "teacher",
         .meaning = "whose scores training repeats besides the labels (distillation): nobody's, or "
                    "those of full or full_silu (hstu: full), trained first in the same run, once "
                    "where start names it too; training.distil_weight and "
                    "training.distil_temperature belong to it",
         .applies = collective,
         .only_if = condition},
        weights.teacher, kTeachers);
    v.integer({.name = "d_u",
               .meaning = "user-specific values per token and side; below model.attention_dim",
               .unit = "values",
               .applies = collective,
               .only_if = condition},
              weights.d_u, {.high = 8191});
    v.integer({.name = "m",
               .meaning = "pool rows; claims of compression need m <= V/8",
               .unit = "rows",
               .applies = collective,
               .only_if = condition},
              weights.m, {.low = 1, .high = 1U << 28});
}

void describe_strategy(KeyVisitor& v, kv::StrategyParams& strategy) {
    bool const known = v.choice<StrategyKind>(
        {.name = "kind", .meaning = "what is kept of a history between requests", .required = true},
        strategy.kind, kStrategies);
    bool const collective = !known || strategy.kind == StrategyKind::collective;
    std::string const condition = "kind = collective";
    v.choice<Keying>({.name = "keying",
                      .meaning = "what a stored code belongs to: a user's token, or a catalogue "
                                 "item (users then keep ids)",
                      .applies = collective,
                      .only_if = condition},
                     strategy.keying, kKeyings);
    v.choice<ValueType>({.name = "value_type",
                         .meaning = "type of stored keys, values (low_rank: their coefficients; "
                                    "vq keeps codes), search keys, user parts and pools; int8 "
                                    "and int4 rows keep an fp16 scale and zero per row (int4: per "
                                    "64 values). Beside int4, search keys are int8; beside int8, "
                                    "user parts are fp16. sdim: of its sums, too; low_rank and vq "
                                    "keep those as rows. Signatures of eta are bits in any type",
                         .applies = !known || strategy.kind != StrategyKind::recompute,
                         .only_if = "kind is not recompute"},
                        strategy.value_type, kValueTypes);
    v.integer({.name = "index_bytes",
               .meaning = "width of a pool index; must hold m - 1",
               .unit = "bytes",
               .applies = collective,
               .only_if = condition},
              strategy.index_bytes, {.only = {1, 2, 4}});
    v.choice<SearchKeys>({.name = "search_keys",
                          .meaning = "where the search keys of model sim and the signatures of eta "
                                     "live: with each user's tokens, or once per item; twin and "
                                     "hstu have none. sdim: stored keeps each user's sums, "
                                     "item_table makes them at every request from ids and the "
                                     "items' buckets",
                          .applies = collective,
                          .only_if = condition},
                         strategy.search_keys, kSearchKeys);
    bool const low_rank = !known || strategy.kind == StrategyKind::low_rank;
    v.integer({.name = "rank",
               .meaning = "principal axes kept of the catalogue's rows, each weighted by one and "
                          "how often training histories hold its item (hstu: of the rows of "
                          "training histories' tokens); at most model.attention_dim",
               .unit = "values",
               .applies = low_rank,
               .only_if = "kind = low_rank"},
              strategy.rank, {.low = 1, .high = 8192});
    bool const vq = !known || strategy.kind == StrategyKind::vq;
    v.integer({.name = "subspaces",
               .meaning = "equal parts of a row, one code each; divides model.attention_dim",
               .unit = "bytes",
               .applies = vq,
               .only_if = "kind = vq"},
              strategy.subspaces, {.low = 1, .high = 8192});
    v.integer({.name = "code_bits",
               .meaning = "2^code_bits codewords per subspace, at most one per item; a code is "
                          "stored as one byte",
               .unit = "bits",
               .applies = vq,
               .only_if = "kind = vq"},
              strategy.code_bits, {.low = 1, .high = 8});
}

void describe_hashes(KeyVisitor& v, model::SimShape& shape, bool known) {
    bool const signs = known && shape.kind == ModelKind::eta;
    bool const buckets = known && shape.kind == ModelKind::sdim;
    IntegerRange const signature{.only = {8, 16, 32, 64}};
    IntegerRange const range{.low = 1, .high = buckets ? model::kMaxBucketBits : 64U};
    v.integer(
        {.name = "hash_bits",
         .meaning = "fixed random hyperplanes that hash an item: its side of each is one bit. "
                    "eta: bits of its signature, 8, 16, 32 or 64; published grids go from 16 "
                    "to 64. sdim: bits of each hash, 1 .. 8 (absent: 3), 2^hash_bits buckets",
         .unit = "bits",
         .applies = !known || signs || buckets,
         .only_if = "kind is eta or sdim",
         .absent = buckets ? std::optional<std::uint64_t>(model::kBucketBits) : std::nullopt},
        shape.hash_bits, signs ? signature : range);
    v.integer({.name = "hashes",
               .meaning = "hash functions; each has a sum for every one of its buckets",
               .applies = !known || buckets,
               .only_if = "kind = sdim"},
              shape.hashes, {.low = 1, .high = model::kMaxHashes});
}

void describe_window(KeyVisitor& v, kv::WindowParams& window) {
    bool const known = v.choice<kv::WindowPolicy>(
        {.name = "policy",
         .meaning = "encoded: the entry is encoded from the history when a user's first scored "
                    "impression comes. The others live from the user's first event, appended to "
                    "one event at a time; once the history has outgrown max_tokens, slide lets the "
                    "oldest token fall out and keeps what other tokens remember of it, reencode "
                    "encodes anew after every block_tokens events, drop_block drops the oldest "
                    "block_tokens together"},
        window.policy, kWindows);
    bool const blocks = !known || window.policy == kv::WindowPolicy::reencode ||
                        window.policy == kv::WindowPolicy::drop_block;
    v.integer({.name = "block_tokens",
               .meaning = "events between two encodings, or tokens dropped together",
               .unit = "tokens",
               .applies = blocks,
               .only_if = "policy = reencode or drop_block"},
              window.block_tokens, {.low = 1, .high = 1'000'000});
}

void describe_measure(KeyVisitor& v, ArmSpec& arm) {
    std::vector<Measure> measures;
    if (arm.memory) measures.push_back(Measure::memory);
    if (arm.accuracy) measures.push_back(Measure::accuracy);
    if (arm.latency) measures.push_back(Measure::latency);
    v.list({.name = "measure",
            .meaning = "measurements that the arm takes part in; no latency for low_rank and vq of "
                       "hstu, nor for a window other than encoded"},
           measures, {.fewest = 1, .most = std::size(kMeasures), .unique = true},
           [](KeyVisitor& inner, Key const& key, Measure& measure) {
               inner.choice<Measure>(key, measure, kMeasures);
           });
    auto const has = [&](Measure measure) {
        return std::find(measures.begin(), measures.end(), measure) != measures.end();
    };
    arm.memory = has(Measure::memory);
    arm.accuracy = has(Measure::accuracy);
    arm.latency = has(Measure::latency);
}

}  // namespace

void describe_model(KeyVisitor& v, model::SimShape& shape) {
    bool const known = v.choice<ModelKind>(
        {.name = "kind",
         .meaning =
             "the model (sim/model/sim.hpp): sim searches keys of their own, twin those that "
             "its long branch attends to, eta signatures of items by Hamming distance; sdim sums "
             "the items in the candidate's hash buckets; hstu is a stack of self-attention layers "
             "over all tokens"},
        shape.kind, kModels);
    v.integer({.name = "feature_dim",
               .meaning = "width of one feature's embedding; d_e = features x feature_dim",
               .unit = "values"},
              shape.feature_dim, {.low = 1, .high = 4096});
    v.integer({.name = "attention_dim",
               .meaning = "attention width d; a multiple of heads",
               .unit = "values"},
              shape.attention_dim, {.low = 1, .high = 8192});
    v.integer({.name = "heads", .meaning = "attention heads H"}, shape.heads,
              {.low = 1, .high = 256});
    v.integer({.name = "short_tokens",
               .meaning = "newest tokens that the short branch attends over",
               .unit = "tokens",
               .applies = !known || shape.kind != ModelKind::hstu,
               .only_if = "kind is not hstu"},
              shape.short_tokens, {.low = 1, .high = 100'000});
    v.integer({.name = "search_dim",
               .meaning = "width d_s of the search keys",
               .unit = "values",
               .applies = !known || shape.kind == ModelKind::sim,
               .only_if = "kind = sim"},
              shape.search_dim, {.low = 1, .high = 4096});
    describe_hashes(v, shape, known);
    v.integer({.name = "top_k",
               .meaning = "tokens that the long branch selects; at most max_tokens",
               .unit = "tokens",
               .applies = !known || shape.has_long_attention(),
               .only_if = "kind is neither sdim nor hstu"},
              shape.top_k, {.low = 1, .high = 100'000});
    v.integer({.name = "layers",
               .meaning = "self-attention layers; K and V of each are kept",
               .applies = !known || shape.kind == ModelKind::hstu,
               .only_if = "kind = hstu"},
              shape.layers, {.low = 1, .high = model::kMaxLayers});
    v.integer(
        {.name = "max_tokens", .meaning = "longest history that a request sees", .unit = "tokens"},
        shape.max_tokens, {.low = 1, .high = 1'000'000});
    v.integer({.name = "context_dim",
               .meaning = "width of the request context's embedding",
               .unit = "values"},
              shape.context_dim, {.low = 1, .high = 4096});
    v.list({.name = "tower", .meaning = "hidden widths of the scoring tower", .unit = "values"},
           shape.tower, {.most = 16}, [](KeyVisitor& inner, Key const& key, std::uint32_t& width) {
               inner.integer(key, width, {.low = 1, .high = 65536});
           });
}

void describe_training(KeyVisitor& v, TrainingSpec& t) {
    v.list({.name = "seeds", .meaning = "one training run per variant and seed"}, t.seeds,
           {.fewest = 1, .most = 64, .unique = true},
           [](KeyVisitor& inner, Key const& key, std::uint64_t& seed) {
               inner.integer(key, seed, {});
           });
    v.integer({.name = "epochs", .meaning = "at most so many; stops early on the tune AUC"},
              t.epochs, {.low = 1, .high = 1000});
    v.integer({.name = "batch", .meaning = "samples of a step", .unit = "samples"}, t.batch,
              {.low = 1, .high = 1'000'000});
    v.real({.name = "learning_rate", .meaning = "of Adam"}, t.learning_rate,
           {.low = 0, .high = 1, .above_low = true});
    v.real({.name = "embedding_l2", .meaning = "weight of the embeddings' squared norm"},
           t.embedding_l2, {.low = 0, .high = 1});
    v.real({.name = "dropout", .meaning = "share of tower units dropped in training"}, t.dropout,
           {.low = 0, .high = 1, .below_high = true});
    v.real({.name = "peak_weight", .meaning = "CollectiveKV: weight of the peak loss"},
           t.peak_weight, {.low = 0, .high = 1000});
    v.real({.name = "balance_weight", .meaning = "CollectiveKV: weight of the balance loss"},
           t.balance_weight, {.low = 0, .high = 1000});
    v.real({.name = "distil_weight",
            .meaning = "arms with a teacher: weight w of its scores in the click loss, (1 - w) x "
                       "cross-entropy with the label + w x that with the teacher's probability"},
           t.distil_weight, {.low = 0, .high = 1});
    v.real({.name = "distil_temperature",
            .meaning = "arms with a teacher: what logits of both are divided by where they are "
                       "compared; the term is multiplied by its square"},
           t.distil_temperature, {.low = 0.01, .high = 100});
    v.integer({.name = "max_train_samples",
               .meaning = "hashed subsample of the training impressions; 0 = all",
               .unit = "samples"},
              t.max_train_samples, {.high = 1'000'000'000'000});
    v.integer({.name = "max_tune_samples",
               .meaning = "hashed subsample of the tuning impressions; 0 = all",
               .unit = "samples"},
              t.max_tune_samples, {.high = 1'000'000'000'000});
    v.integer({.name = "reference_samples",
               .meaning = "forward passes stored with the weights to check serving against",
               .unit = "samples"},
              t.reference_samples, {.low = 1, .high = 100'000});
    v.boolean({.name = "straight_through",
               .meaning = "CollectiveKV: train with the plain pool row and the sigmoid's gradient"},
              t.straight_through);
}

void describe_arm(KeyVisitor& v, ArmSpec& arm) {
    v.text({.name = "name", .meaning = "names the arm's rows in every table", .required = true},
           arm.name, {.shortest = 1, .longest = 64, .name = true});
    v.object({.name = "weights", .meaning = "what was trained", .required = true},
             [&](KeyVisitor& inner) { describe_weights(inner, arm.weights); });
    v.object({.name = "strategy", .meaning = "how histories are kept", .required = true},
             [&](KeyVisitor& inner) { describe_strategy(inner, arm.strategy); });
    v.object({.name = "window",
              .meaning = "accuracy of models whose K and V depend on earlier tokens (hstu): how an "
                         "entry lived before it is asked; bytes and latency are not concerned"},
             [&](KeyVisitor& inner) { describe_window(inner, arm.window); });
    describe_measure(v, arm);
}

}  // namespace ckvsim::config
