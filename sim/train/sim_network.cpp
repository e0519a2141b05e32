#include "train/sim_network.hpp"

#include <torch/types.h>

#include <cmath>

#include "core/error.hpp"
#include "core/hash.hpp"
#include "core/rng.hpp"
#include "train/network_parts.hpp"
#include "train/streams.hpp"

namespace ckvsim::train {

namespace {

// Small against the projections' scale, so that an item without a training sample scores like an
// average one, yet large enough that attention leaves its uniform start within some hundred steps.
constexpr double kEmbeddingDeviation = 0.05;
constexpr double kPoolDeviation = 0.1;
// Standard deviation of the router's logits at the start. Much smaller, and the mean softmax is
// uniform whatever the arg-max does: the balance loss is blind and a quarter of the pool gets used;
// much larger, and items hardly change rows any more.
constexpr double kRouterLogitDeviation = 0.3;
// Width of the training-only head on the search branch.
constexpr std::int64_t kSearchHeadWidth = 32;

void fill_normal(at::Tensor const& tensor, double deviation, std::uint64_t seed,
                 std::string const& name) {
    CounterRng rng(seed, Purpose::training, hash_bytes(name.data(), name.size()),
                   streams::kInitial);
    auto* const data = tensor.data_ptr<float>();
    for (std::int64_t i = 0; i < tensor.numel(); ++i)
        data[i] = static_cast<float>(deviation * rng.normal());
}

/// Of networks that train without others.
Team& alone() {
    static Team team;
    return team;
}

/// Null where training computes in fp32 already.
std::unique_ptr<Operations> evaluation_of(Compute compute) {
    if (compute.precision == Precision::fp32) return nullptr;
    compute.precision = Precision::fp32;
    return make_operations(compute);
}

}  // namespace

SimNetwork::Parts::Parts(Samples const& samples, VariantSpec const& variant_, std::uint64_t seed_,
                         Team* team_, Compute const& compute)
    : shape(samples.shape),
      schedule(samples.schedule),
      variant(variant_),
      seed(seed_),
      team(team_),
      operations(make_operations(compute)),
      evaluation(evaluation_of(compute)),
      item_features(&samples.item_features) {
    for (std::size_t f = 0; f < shape.features; ++f)
        add_table("embed." + std::to_string(f), samples.feature_vocabularies[f], shape.feature_dim,
                  true);
    add_table("embed.context", samples.context_vocabulary, shape.context_dim, false);
    context_table = std::move(feature_tables.back());
    feature_tables.pop_back();
    std::int64_t const d_e = shape.d_e();
    if (attends(variant.kind)) {
        if (shape.model == Model::hstu) {
            add_stack();
        } else {
            add_site("short", variant.collective_short(), kEmbeddingDeviation);
            if (shape.model != Model::sdim)
                add_site("long", variant.collective_long(), kEmbeddingDeviation);
        }
        if (shape.model == Model::sim) add_search();
        if (shape.hash_planes() > 0) {
            hash_planes = at::empty({shape.hash_planes(), d_e}, at::kFloat);
            fill_normal(hash_planes, 1.0, seed, "hash.planes");
            hash_planes = operations->here(hash_planes);
        }
    }
    std::int64_t in = (shape.model == Model::hstu ? 2 : 3) * d_e + shape.context_dim;
    for (std::size_t l = 0; l <= shape.tower.size(); ++l) {
        bool const last = l == shape.tower.size();
        std::int64_t const out = last ? 1 : std::int64_t{shape.tower[l]};
        auto const prefix = "tower." + std::to_string(l) + ".";
        add(prefix + "w", out, in, std::sqrt((last ? 1.0 : 2.0) / static_cast<double>(in)));
        add_zeros(prefix + "b", out);
        in = out;
    }
}

void SimNetwork::Parts::add(std::string const& name, std::int64_t out, std::int64_t in,
                            double deviation) {
    auto value = at::empty({out, in}, at::kFloat);
    fill_normal(value, deviation, seed, name);
    value = operations->here(value);
    value.requires_grad_(true);
    parameters.emplace(name, Parameter{value, Moments(value)});
}

void SimNetwork::Parts::add_zeros(std::string const& name, std::int64_t size) {
    auto value = at::zeros({size}, operations->options());
    value.requires_grad_(true);
    parameters.emplace(name, Parameter{value, Moments(value)});
}

void SimNetwork::Parts::add_site(std::string const& site, bool collective, double input_deviation) {
    std::int64_t const d = shape.attention_dim;
    std::int64_t const d_e = shape.d_e();
    double const deviation = std::sqrt(2.0 / static_cast<double>(d + d_e));  // Xavier
    add(site + ".wq", d, d_e, deviation);
    add(site + ".wo", d_e, d, deviation);
    for (char const* const side : {"k", "v"}) {
        if (!collective || !variant.pools(side)) {
            add(site + ".w" + side, d, d_e, deviation);
            continue;
        }
        auto const prefix = site + "." + side + ".";
        add(prefix + "wr", variant.m, d_e,
            kRouterLogitDeviation / (input_deviation * std::sqrt(static_cast<double>(d_e))));
        if (variant.d_u > 0) add(prefix + "wu", variant.d_u, d_e, deviation);
        add(prefix + "pool", variant.m, d - variant.d_u, kPoolDeviation);
    }
}

void SimNetwork::Parts::add_search() {
    std::int64_t const d_e = shape.d_e();
    double const deviation = std::sqrt(2.0 / static_cast<double>(d_e + shape.search_dim));
    add("search.wq", shape.search_dim, d_e, deviation);
    add("search.wk", shape.search_dim, d_e, deviation);
    add("search_head.0.w", kSearchHeadWidth, 3 * d_e,
        std::sqrt(2.0 / static_cast<double>(3 * d_e)));
    add_zeros("search_head.0.b", kSearchHeadWidth);
    add("search_head.1.w", 1, kSearchHeadWidth, std::sqrt(1.0 / kSearchHeadWidth));
    add_zeros("search_head.1.b", 1);
}

void SimNetwork::Parts::add_table(std::string const& name, std::int64_t rows, std::int64_t width,
                                  bool padding) {
    Table table;
    table.name = name;
    table.value = at::empty({rows, width}, at::kFloat);
    fill_normal(table.value, kEmbeddingDeviation, seed, name);
    if (padding) {
        table.frozen_row = 0;
        table.value.select(0, 0).zero_();
    }
    table.value = operations->here(table.value);
    table.moments = Moments(table.value);
    feature_tables.push_back(std::move(table));
}

/// Embeddings [U, d_e] of the batch's unique items, through leaves that hold the touched rows only.
at::Tensor SimNetwork::Parts::gather(Batch const& batch, Pass& pass) const {
    std::vector<at::Tensor> columns;
    for (std::size_t f = 0; f < feature_tables.size(); ++f) {
        auto rows = feature_tables[f].value.index_select(0, here(batch.features[f].ids));
        rows.requires_grad_(pass.training);
        pass.feature_rows.push_back(rows);
        columns.push_back(at::embedding(rows, here(batch.features[f].index)));
    }
    pass.context_rows = context_table.value.index_select(0, here(batch.context.ids));
    pass.context_rows.requires_grad_(pass.training);
    return at::cat(columns, 1);
}

/// K or V table of a site, [rows, d], activation applied; adds the router's losses to the pass.
/// `served`, if given, gets the table that serving has of the same weights, without a gradient.
at::Tensor SimNetwork::Parts::side(std::string const& site, std::string const& name,
                                   bool collective, at::Tensor const& embeddings,
                                   Tokens const& tokens, Pass& pass, at::Tensor* served) const {
    if (!collective || !variant.pools(name)) {
        // Beside a side with a pool the other has its activation: nothing but the pool differs.
        bool const silu =
            collective || variant.kind == Kind::full_silu || shape.model == Model::hstu;
        auto const table = activate(linear(embeddings, site + ".w" + name), silu);
        if (served != nullptr) *served = table.detach();
        return table;
    }
    auto const prefix = site + "." + name + ".";
    auto const& router = parameter(prefix + "wr");
    auto const& pool = parameter(prefix + "pool");
    at::Tensor const own = variant.d_u == 0 ? at::Tensor() : linear(embeddings, prefix + "wu");
    auto const table_of = [&](at::Tensor const& shared) {
        return at::silu(own.defined() ? at::cat({shared, own}, 1) : shared);
    };
    if (!pass.training) {
        auto const table =
            table_of(at::embedding(pool, operations->route_index(embeddings, router)));
        if (served != nullptr) *served = table;
        return table;
    }
    auto const whole = static_cast<double>(tokens.whole);
    auto const routing = operations->route(embeddings, router, tokens.counts, whole,
                                           schedule.balance_weight > 0, *team);
    auto const shared = at::embedding(pool, routing.index);
    auto const gate = at::sigmoid(routing.winner).unsqueeze(1);
    // -log sigmoid(r), averaged over tokens.
    auto const peaks = at::softplus(-routing.winner);
    pass.peak = pass.peak + at::dot(peaks, tokens.counts) / whole;
    pass.balance = pass.balance + routing.balance;
    if (served != nullptr) {
        at::NoGradGuard const no_grad;
        *served = table_of(shared);
    }
    return table_of(shared * (schedule.straight_through ? 1.0 + gate - gate.detach() : gate));
}

/// Chooses pass.selected: of each list the top k by q . k. No gradient.
void SimNetwork::Parts::select(Ragged const& tokens, at::Tensor const& queries,
                               at::Tensor const& keys, Pass& pass) const {
    pass.selected = operations->select_top_k(tokens, queries, keys, shape.top_k, pass.positions);
}

/// `search_first`: `tokens` are searched with the site's own queries and keys (TWIN) and those
/// chosen attended to, so that the gradient reaches wq and wk through them. The search reads the
/// keys of serving: a choice has no gradient that the router's scaling would have to carry.
at::Tensor SimNetwork::Parts::attend(std::string const& site, bool collective,
                                     at::Tensor const& candidates, at::Tensor const& embeddings,
                                     Tokens const& counted, Ragged const& tokens, bool search_first,
                                     Pass& pass) const {
    // A part without a token still takes part in what the ranks do together.
    if (counted.whole == 0) return at::zeros_like(candidates);
    auto const tokens_embedded = embeddings.narrow(0, 0, counted.counts.size(0));
    bool const silu = collective || variant.kind == Kind::full_silu;
    auto const queries = activate(linear(candidates, site + ".wq"), silu);
    at::Tensor searched;
    auto const keys = side(site, "k", collective, tokens_embedded, counted, pass,
                           search_first ? &searched : nullptr);
    auto const values = side(site, "v", collective, tokens_embedded, counted, pass);
    if (search_first) select(tokens, queries, searched, pass);
    double const head = static_cast<double>(shape.attention_dim) / shape.heads;
    auto const mixed =
        operations->ragged_attention(queries, keys, values, search_first ? pass.selected : tokens,
                                     shape.heads, 1.0 / std::sqrt(head));
    return linear(mixed, site + ".wo");
}

/// SIM: chooses pass.selected by scores of the search's own. In training the scores are trained by
/// a head of their own (README.md, "The search"): it sees detached embeddings, so that nothing but
/// the search learns from it.
at::Tensor SimNetwork::Parts::search(Batch const& batch, at::Tensor const& candidates,
                                     at::Tensor const& embeddings, Pass& pass) const {
    auto const target = candidates.detach();
    auto const history =
        embeddings.detach().narrow(0, 0, static_cast<std::int64_t>(batch.long_items));
    auto const queries = linear(target, "search.wq");
    auto const keys = linear(history, "search.wk");
    select(batch.long_tokens, queries, keys, pass);
    if (!pass.training) return {};
    double const scale = 1.0 / std::sqrt(static_cast<double>(shape.search_dim));
    auto const mixed =
        operations->ragged_attention(queries, keys, history, batch.long_tokens, 1, scale);
    auto const hidden = affine(at::cat({target, mixed, target * mixed}, 1), "search_head.0.");
    return affine(at::relu(hidden), "search_head.1.").squeeze(1);
}

at::Tensor SimNetwork::Parts::tower(at::Tensor x, Batch const& batch, Pass const& pass) const {
    for (std::size_t l = 0; l <= shape.tower.size(); ++l) {
        x = affine(x, "tower." + std::to_string(l) + ".");
        if (l == shape.tower.size()) break;
        x = at::relu(x);
        if (!pass.training || schedule.dropout == 0) continue;
        auto mask = at::empty(x.sizes(), at::kFloat);
        auto* const data = mask.data_ptr<float>();
        CounterRng rng(seed, Purpose::training, steps,
                       streams::kDropout + static_cast<std::uint32_t>(l));
        // The mask is the whole batch's, from its first sample on.
        auto const before = static_cast<std::int64_t>(batch.whole.begin) * x.size(1);
        for (std::int64_t i = 0; i < before; ++i) rng.next_u32();
        auto const rate = static_cast<float>(schedule.dropout);
        for (std::int64_t i = 0; i < mask.numel(); ++i)
            data[i] = rng.uniform_float() < rate ? 0.0F : 1.0F / (1.0F - rate);
        x = x * operations->here(mask);
    }
    return x.squeeze(1);
}

/// ETA: chooses pass.selected by the signatures of the embeddings as they are now. No gradient.
void SimNetwork::Parts::search_signatures(Batch const& batch, at::Tensor const& embeddings,
                                          Pass& pass) const {
    auto const projected = at::mm(embeddings.detach(), hash_planes.t());
    pass.selected = operations->select_nearest(batch.long_tokens, batch.candidates, projected,
                                               shape.top_k, pass.positions);
}

/// SDIM: no K, no V, no projection; embeddings learn through the sums that they are added to.
at::Tensor SimNetwork::Parts::sum_buckets(Batch const& batch, at::Tensor const& embeddings,
                                          Pass& pass) const {
    pass.collisions = {shape.hashes, buckets(embeddings), batch.candidates, &batch.long_tokens};
    return operations->collision_means(embeddings, pass.collisions);
}

at::Tensor SimNetwork::Parts::long_branch(Batch const& batch, at::Tensor const& candidates,
                                          at::Tensor const& embeddings, Pass& pass) const {
    if (shape.model == Model::sdim) return sum_buckets(batch, embeddings, pass);
    bool const twin = shape.model == Model::twin;
    if (shape.model == Model::sim) pass.search_logits = search(batch, candidates, embeddings, pass);
    if (shape.model == Model::eta) search_signatures(batch, embeddings, pass);
    return attend("long", variant.collective_long(), candidates, embeddings,
                  {here(batch.long_counts), batch.whole.long_tokens},
                  twin ? batch.long_tokens : pass.selected, twin, pass);
}

/// Equal scores are equal weights: attention with a zero query is the mean.
at::Tensor SimNetwork::Parts::mean(at::Tensor const& embeddings, Ragged const& tokens) const {
    auto const nothing =
        at::zeros({static_cast<std::int64_t>(tokens.lists()), 1}, operations->options());
    auto const no_keys = at::zeros({embeddings.size(0), 1}, operations->options());
    return operations->ragged_attention(nothing, no_keys, embeddings, tokens, 1, 1.0);
}

void SimNetwork::Parts::run(Batch const& batch, Pass& pass) const {
    auto const embeddings = gather(batch, pass);
    auto const candidates = at::embedding(embeddings, here(batch.candidates));
    pass.peak = at::zeros({}, operations->options());
    pass.balance = at::zeros({}, operations->options());
    auto const context = at::embedding(pass.context_rows, here(batch.context.index));
    at::Tensor recent = at::zeros_like(candidates);
    at::Tensor older = recent;
    if (shape.model == Model::hstu) {
        if (attends(variant.kind)) {
            older = stack(batch, embeddings, pass);
        } else if (variant.kind == Kind::mean_pool) {
            older = mean(embeddings, batch.long_tokens);
        }
        pass.logits = tower(at::cat({candidates, older, context}, 1), batch, pass);
        return;
    }
    if (attends(variant.kind)) {
        recent = attend("short", variant.collective_short(), candidates, embeddings,
                        {here(batch.short_counts), batch.whole.short_tokens}, batch.short_tokens,
                        false, pass);
        older = long_branch(batch, candidates, embeddings, pass);
    } else if (variant.kind == Kind::mean_pool) {
        recent = mean(embeddings, batch.short_tokens);
        older = mean(embeddings, batch.long_tokens);
    }
    pass.logits = tower(at::cat({candidates, recent, older, context}, 1), batch, pass);
}

at::Tensor SimNetwork::Parts::item_embeddings() const {
    std::vector<at::Tensor> columns;
    for (std::size_t f = 0; f < feature_tables.size(); ++f) {
        auto const& column = (*item_features)[f];
        std::vector<std::int64_t> const index(column.begin(), column.end());
        columns.push_back(feature_tables[f].value.index_select(0, here(index)));
    }
    return at::cat(columns, 1);
}

SimNetwork::SimNetwork(Samples const& samples, VariantSpec const& variant, std::uint64_t seed,
                       Compute const& compute)
    : SimNetwork(samples, variant, seed, alone(), compute) {}
SimNetwork::SimNetwork(Samples const& samples, VariantSpec const& variant, std::uint64_t seed,
                       Team& team, Compute const& compute)
    : parts_(std::make_unique<Parts>(samples, variant, seed, &team, compute)) {}
SimNetwork::~SimNetwork() = default;

std::vector<float> SimNetwork::predict(Batch const& batch, Ragged* top_k) const {
    Parts::InEvaluation const in_evaluation(*parts_);
    Parts::Pass pass;
    parts_->run(batch, pass);
    if (top_k != nullptr) {
        top_k->rows = pass.positions;
        top_k->offsets = pass.selected.offsets;
        top_k->offsets.resize(batch.size() + 1, 0);
    }
    return values_of(pass.logits);
}

std::vector<std::vector<float>> SimNetwork::snapshot() const {
    std::vector<std::vector<float>> values;
    for (auto const& [name, parameter] : parts_->parameters)
        values.push_back(values_of(parameter.value));
    for (auto const& table : parts_->feature_tables) values.push_back(values_of(table.value));
    values.push_back(values_of(parts_->context_table.value));
    return values;
}

void SimNetwork::restore(std::vector<std::vector<float>> const& values) {
    std::size_t at = 0;
    auto const put = [&](at::Tensor const& target) { assign(target, values[at++]); };
    for (auto const& [name, parameter] : parts_->parameters) put(parameter.value);
    for (auto const& table : parts_->feature_tables) put(table.value);
    put(parts_->context_table.value);
}

std::map<std::string, std::vector<float>> SimNetwork::values() const {
    std::map<std::string, std::vector<float>> values;
    for (auto const& [name, parameter] : parts_->parameters)
        values[name] = values_of(parameter.value);
    for (auto const& table : parts_->feature_tables) values[table.name] = values_of(table.value);
    values[parts_->context_table.name] = values_of(parts_->context_table.value);
    return values;
}

void SimNetwork::set_values(std::map<std::string, std::vector<float>> const& values) {
    auto const put = [&](std::string const& name, at::Tensor const& target) {
        auto const found = values.find(name);
        if (found == values.end()) return;
        if (found->second.size() != static_cast<std::size_t>(target.numel()))
            throw InternalError("train: values of another shape for " + name);
        assign(target, found->second);
    };
    for (auto const& [name, parameter] : parts_->parameters) put(name, parameter.value);
    for (auto const& table : parts_->feature_tables) put(table.name, table.value);
    put(parts_->context_table.name, parts_->context_table.value);
}

std::vector<float> SimNetwork::item_embeddings() const {
    at::NoGradGuard const no_grad;
    return values_of(parts_->item_embeddings());
}

void SimNetwork::save_state(ByteSink& sink) const { save(sink, *parts_); }
void SimNetwork::load_state(ByteSource& source) { load(source, *parts_); }
std::uint64_t SimNetwork::state_layout() const { return layout_of(*parts_); }

void SimNetwork::store(TensorFile& out) const {
    Parts::InEvaluation const in_evaluation(*parts_);
    auto const put = [&](std::string const& name, at::Tensor const& tensor) {
        auto const flat = values_of(tensor);
        out.tensors[name] = Tensor::from<float>(flat, tensor.sizes().vec());
    };
    for (auto const& [name, parameter] : parts_->parameters) {
        if (!name.starts_with("search_head.")) put(name, parameter.value);
    }
    for (auto const& table : parts_->feature_tables) put(table.name, table.value);
    put(parts_->context_table.name, parts_->context_table.value);
    if (parts_->hash_planes.defined()) put("hash.planes", parts_->hash_planes);
    // Routers of HSTU see states of tokens, not items.
    if (parts_->shape.model == Model::hstu) return;
    auto const embeddings = parts_->item_embeddings();
    if (parts_->shape.model == Model::sdim && attends(parts_->variant.kind)) {
        std::int64_t const hashes = parts_->shape.hashes;
        out.tensors["ref.signature"] =
            Tensor::from<std::uint8_t>(parts_->buckets(embeddings), {embeddings.size(0), hashes});
    }
    for (auto const& [name, parameter] : parts_->parameters) {
        if (!name.ends_with(".wr")) continue;
        auto const index = parts_->operations->route_index(embeddings, parameter.value).cpu();
        auto const* const data = index.data_ptr<std::int64_t>();
        std::vector<std::uint32_t> const table(data, data + index.numel());
        out.tensors["ref." + name.substr(0, name.size() - 2) + "index"] =
            Tensor::from<std::uint32_t>(table, {index.numel()});
    }
}

}  // namespace ckvsim::train
