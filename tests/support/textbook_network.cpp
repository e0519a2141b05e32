#include "textbook_network.hpp"

#include <ATen/core/Reduction.h>
#include <torch/types.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

#include "core/error.hpp"
#include "textbook_batch.hpp"
#include "train/parameters.hpp"
#include "train/tensor_values.hpp"

namespace ckvsim::test {

namespace {

using namespace train;
using Clock = std::chrono::steady_clock;

constexpr std::int64_t kSearchHeadWidth = 32;  // sim_network.cpp's

double seconds_since(Clock::time_point begin) {
    return std::chrono::duration<double>(Clock::now() - begin).count();
}

/// A step's rows of the tables, leaves of the graph.
struct Leaves {
    std::vector<at::Tensor> features;
    at::Tensor context;
};

struct Routed {
    at::Tensor index;   ///< [rows]
    at::Tensor winner;  ///< [rows] logit of the arg-max
};

/// Softmax attention of sample i over its own list; lists follow each other in `keys` and
/// `values`. `scores`, if given, gets [lists, length] of every run without a gradient (one head).
at::Tensor attention(at::Tensor const& queries, at::Tensor const& keys, at::Tensor const& values,
                     Runs const& runs, std::int64_t heads, double scale,
                     std::vector<at::Tensor>* scores = nullptr) {
    std::vector<std::int64_t> lists;
    std::vector<std::int64_t> tokens;
    for (auto const& run : runs) {
        lists.push_back(run.lists);
        tokens.push_back(run.lists * run.length);
    }
    auto const q = queries.split_with_sizes(lists, 0);
    auto const k = keys.split_with_sizes(tokens, 0);
    auto const v = values.split_with_sizes(tokens, 0);
    std::vector<at::Tensor> out;
    for (std::size_t r = 0; r < runs.size(); ++r) {
        auto const [n, length] = runs[r];
        if (length == 0) {
            out.push_back(at::zeros({n, values.size(1)}, values.options()));
            if (scores != nullptr) scores->emplace_back();
            continue;
        }
        auto const rows_k = k[r].view({n, length, heads, -1});
        auto const products = (rows_k * q[r].view({n, 1, heads, -1})).sum(-1);
        if (scores != nullptr) scores->push_back(products.detach().squeeze(-1));
        auto const weights = at::softmax(products * scale, 1).unsqueeze(-1);
        out.push_back((weights * v[r].view({n, length, heads, -1})).sum(1).view({n, -1}));
    }
    return out.size() == 1 ? out[0] : at::cat(out, 0);
}

}  // namespace

struct TextbookNetwork::Parts {
    Parts(Samples const& samples_, VariantSpec const& variant_)
        : samples(samples_),
          shape(samples_.shape),
          schedule(samples_.schedule),
          variant(variant_),
          batches(samples_) {
        bool const known = shape.model == Model::sim || shape.model == Model::twin;
        validate(known && variant.collective_long(),
                 "TextbookNetwork: SIM or TWIN with CollectiveKV in both branches");
        for (std::size_t f = 0; f < shape.features; ++f) {
            tables.push_back(make_table("embed." + std::to_string(f),
                                        samples.feature_vocabularies[f], shape.feature_dim, 0));
        }
        context_table =
            make_table("embed.context", samples.context_vocabulary, shape.context_dim, -1);
        add_parameters();
    }

    static Table make_table(std::string const& name, std::int64_t rows, std::int64_t width,
                            std::int64_t frozen) {
        auto value = at::zeros({rows, width}, at::kFloat);
        return {name, value, Moments(value), frozen};
    }

    void add(std::string const& name, std::vector<std::int64_t> const& sizes) {
        auto value = at::zeros(sizes, at::kFloat);
        value.requires_grad_(true);
        parameters.emplace(name, Parameter{value, Moments(value)});
    }

    void add_parameters() {
        std::int64_t const d = shape.attention_dim;
        std::int64_t const d_e = shape.d_e();
        for (std::string const site : {"short.", "long."}) {
            add(site + "wq", {d, d_e});
            add(site + "wo", {d_e, d});
            for (std::string const side : {"k.", "v."}) {
                add(site + side + "wr", {variant.m, d_e});
                if (variant.d_u > 0) add(site + side + "wu", {variant.d_u, d_e});
                add(site + side + "pool", {variant.m, d - variant.d_u});
            }
        }
        if (shape.model == Model::sim) {
            add("search.wq", {shape.search_dim, d_e});
            add("search.wk", {shape.search_dim, d_e});
            add("search_head.0.w", {kSearchHeadWidth, 3 * d_e});
            add("search_head.0.b", {kSearchHeadWidth});
            add("search_head.1.w", {1, kSearchHeadWidth});
            add("search_head.1.b", {1});
        }
        std::int64_t in = 3 * d_e + shape.context_dim;
        for (std::size_t l = 0; l <= shape.tower.size(); ++l) {
            std::int64_t const out = l == shape.tower.size() ? 1 : std::int64_t{shape.tower[l]};
            add("tower." + std::to_string(l) + ".w", {out, in});
            add("tower." + std::to_string(l) + ".b", {out});
            in = out;
        }
    }

    /// A micro-batch's pass: what the step's losses are means over, and their sums.
    struct Pass {
        double samples = 0;
        double short_tokens = 0;
        double tokens = 0;
        at::Tensor total;
        StepLosses* losses = nullptr;
        void add(at::Tensor const& loss, double weight, double& sum, double share = 1.0) {
            sum += share * loss.item<double>();
            total = total + weight * share * loss;
        }
    };

    at::Tensor const& parameter(std::string const& name) const { return parameters.at(name).value; }
    at::Tensor linear(at::Tensor const& x, std::string const& name) const {
        return at::mm(x, parameter(name).t());
    }

    /// Logits of every row over the whole pool, and both losses of the router.
    Routed route(at::Tensor const& embeddings, std::string const& prefix, double whole_tokens,
                 Pass& pass) const {
        auto const& router = parameter(prefix + "wr");
        auto const logits = at::mm(embeddings, router.t());
        auto const index = std::get<1>(logits.detach().max(1));
        auto const winner = (embeddings * at::embedding(router, index)).sum(1);
        pass.add(at::softplus(-winner).sum() / whole_tokens, schedule.peak_weight,
                 pass.losses->peak);
        if (schedule.balance_weight > 0) {
            auto const tokens = static_cast<double>(embeddings.size(0));
            auto const mean = (at::softmax(logits, 1).sum(0) / tokens).clamp_min(1e-30);
            pass.add((mean * (mean * static_cast<double>(variant.m)).log()).sum(),
                     schedule.balance_weight, pass.losses->balance, tokens / whole_tokens);
        }
        return {index, winner};
    }

    /// K or V of rows whose routes are known; without `winner` as serving has it.
    at::Tensor side(at::Tensor const& embeddings, std::string const& prefix,
                    at::Tensor const& index, at::Tensor const& winner) const {
        auto shared = at::embedding(parameter(prefix + "pool"), index);
        if (winner.defined()) {
            auto const gate = at::sigmoid(winner).unsqueeze(1);
            shared = shared * (schedule.straight_through ? 1.0 + gate - gate.detach() : gate);
        }
        if (variant.d_u == 0) return at::silu(shared);
        return at::silu(at::cat({shared, linear(embeddings, prefix + "wu")}, 1));
    }

    at::Tensor attend(std::string const& site, at::Tensor const& queries, at::Tensor const& keys,
                      at::Tensor const& values, Runs const& runs) const {
        double const head = static_cast<double>(shape.attention_dim) / shape.heads;
        auto const mixed =
            attention(queries, keys, values, runs, shape.heads, 1.0 / std::sqrt(head));
        return linear(mixed, site + "wo");
    }

    at::Tensor short_branch(MicroBatch const& micro, at::Tensor const& candidates,
                            at::Tensor const& tokens, Pass& pass) const {
        if (micro.short_tokens == 0) return at::zeros_like(candidates);
        auto const k = route(tokens, "short.k.", pass.short_tokens, pass);
        auto const v = route(tokens, "short.v.", pass.short_tokens, pass);
        return attend("short.", at::silu(linear(candidates, "short.wq")),
                      side(tokens, "short.k.", k.index, k.winner),
                      side(tokens, "short.v.", v.index, v.winner),
                      runs_of(micro.lengths, shape.short_tokens));
    }

    /// Rows of the tokens with the largest scores, sample by sample.
    at::Tensor choose(MicroBatch const& micro, std::vector<at::Tensor> const& scores) const {
        at::NoGradGuard const no_grad;
        auto const order = view_of(micro.order);
        auto const runs = runs_of(micro.lengths, shape.max_tokens);
        std::vector<at::Tensor> chosen;
        std::int64_t first = 0;
        for (std::size_t r = 0; r < runs.size(); ++r) {
            auto const [n, length] = runs[r];
            auto const rows = order.narrow(0, first, n * length);
            first += n * length;
            if (length <= shape.top_k) {
                chosen.push_back(rows);
                continue;
            }
            auto const best = std::get<1>(at::topk(scores[r], shape.top_k, 1, true, false));
            chosen.push_back(rows.view({n, length}).gather(1, best).view(-1));
        }
        return at::cat(chosen, 0);
    }

    /// SIM's search and the head that trains it.
    at::Tensor search(MicroBatch const& micro, at::Tensor const& candidates,
                      at::Tensor const& embeddings, at::Tensor const& labels, Pass& pass) const {
        auto const target = candidates.detach();
        auto const history = embeddings.detach().index_select(0, view_of(micro.order));
        std::vector<at::Tensor> scores;
        auto const mixed = attention(
            linear(target, "search.wq"), linear(history, "search.wk"), history,
            runs_of(micro.lengths, shape.max_tokens), 1,
            1.0 / std::sqrt(static_cast<double>(shape.search_dim)), &scores);
        auto const hidden =
            at::addmm(parameter("search_head.0.b"), at::cat({target, mixed, target * mixed}, 1),
                      parameter("search_head.0.w").t());
        auto const logits =
            at::addmm(parameter("search_head.1.b"), at::relu(hidden),
                      parameter("search_head.1.w").t());
        pass.add(cross_entropy(logits.squeeze(1), labels, pass), 1.0, pass.losses->search);
        return micro.tokens() == 0 ? at::Tensor() : choose(micro, scores);
    }

    /// TWIN: the search reads the keys of serving of every token.
    at::Tensor search_by_keys(MicroBatch const& micro, at::Tensor const& queries,
                              at::Tensor const& embeddings, at::Tensor const& index) const {
        at::NoGradGuard const no_grad;
        auto const order = view_of(micro.order);
        auto const keys = side(embeddings.index_select(0, order), "long.k.",
                               index.index_select(0, order), at::Tensor());
        std::vector<at::Tensor> scores;
        std::int64_t sample = 0;
        std::int64_t token = 0;
        for (auto const& [n, length] : runs_of(micro.lengths, shape.max_tokens)) {
            auto const rows = keys.narrow(0, token, n * length).view({n, length, keys.size(1)});
            scores.push_back((rows * queries.narrow(0, sample, n).unsqueeze(1)).sum(-1));
            sample += n;
            token += n * length;
        }
        return choose(micro, scores);
    }

    at::Tensor long_branch(MicroBatch const& micro, at::Tensor const& candidates,
                           at::Tensor const& embeddings, at::Tensor const& labels,
                           Pass& pass) const {
        at::Tensor chosen;
        if (shape.model == Model::sim)
            chosen = search(micro, candidates, embeddings, labels, pass);
        if (micro.tokens() == 0) return at::zeros_like(candidates);
        auto const k = route(embeddings, "long.k.", pass.tokens, pass);
        auto const v = route(embeddings, "long.v.", pass.tokens, pass);
        auto const queries = at::silu(linear(candidates, "long.wq"));
        if (shape.model == Model::twin)
            chosen = search_by_keys(micro, queries, embeddings, k.index);
        auto const read = at::embedding(embeddings, chosen);
        auto const rows = [&](Routed const& routed, std::string const& prefix) {
            return side(read, prefix, routed.index.index_select(0, chosen),
                        routed.winner.index_select(0, chosen));
        };
        return attend("long.", queries, rows(k, "long.k."), rows(v, "long.v."),
                      runs_of(micro.lengths, shape.top_k));
    }

    at::Tensor tower(at::Tensor x) const {
        for (std::size_t l = 0; l <= shape.tower.size(); ++l) {
            auto const prefix = "tower." + std::to_string(l) + ".";
            x = at::addmm(parameter(prefix + "b"), x, parameter(prefix + "w").t());
            if (l == shape.tower.size()) break;
            x = at::relu(x);
            if (schedule.dropout > 0) x = at::dropout(x, schedule.dropout, true);
        }
        return x.squeeze(1);
    }

    static at::Tensor cross_entropy(at::Tensor const& logits, at::Tensor const& labels,
                                    Pass const& pass) {
        return at::binary_cross_entropy_with_logits(logits, labels, {}, {}, at::Reduction::Sum) /
               pass.samples;
    }

    void run(MicroBatch const& micro, Leaves const& leaves, Pass& pass) const {
        std::vector<at::Tensor> columns;
        for (std::size_t f = 0; f < tables.size(); ++f)
            columns.push_back(at::embedding(leaves.features[f], view_of(micro.features[f])));
        auto const rows = at::cat(columns, 1);
        auto const tokens = rows.narrow(0, 0, micro.tokens());
        auto const candidates = rows.narrow(0, micro.tokens(), micro.size());
        auto const labels = view_of(micro.labels);
        pass.total = at::zeros({}, at::kFloat);
        auto const recent = short_branch(micro, candidates,
                                         rows.narrow(0, 0, micro.short_tokens), pass);
        auto const older = long_branch(micro, candidates, tokens, labels, pass);
        auto const context = at::embedding(leaves.context, view_of(micro.context));
        auto const logits = tower(at::cat({candidates, recent, older, context}, 1));
        pass.add(cross_entropy(logits, labels, pass), 1.0, pass.losses->click);
    }

    /// Forward and backward over all micro-batches; gradients stay in parameters and leaves.
    StepLosses passes(Split const& split, std::span<std::uint32_t const> rows,
                      std::size_t micro_batch, Leaves& leaves) {
        batches.build(split, rows, micro_batch);
        auto const leaf = [](Table const& table, Touched const& touched) {
            return table.value.index_select(0, view_of(touched.ids())).requires_grad_(true);
        };
        for (std::size_t f = 0; f < tables.size(); ++f)
            leaves.features.push_back(leaf(tables[f], batches.feature(f)));
        leaves.context = leaf(context_table, batches.context());
        StepLosses losses;
        Pass pass{static_cast<double>(rows.size()), batches.short_tokens(), batches.tokens(), {},
                  &losses};
        for (auto const& micro : batches.micro_batches()) {
            run(micro, leaves, pass);
            pass.total.backward();
        }
        return losses;
    }

    void update(Leaves const& leaves) {
        ++steps;
        AdamStep step{schedule.learning_rate, steps, 0.0};
        for (auto& [name, parameter] : parameters) {
            auto& gradient = parameter.value.mutable_grad();
            if (!gradient.defined()) continue;
            auto const dense = gradient.contiguous();
            adam_update(step, static_cast<std::size_t>(dense.numel()), dense.data_ptr<float>(),
                        arrays_of(parameter));
            gradient = at::Tensor();
        }
        step.l2 = schedule.embedding_l2;
        auto const update_rows = [&](Table& table, Touched const& touched, at::Tensor const& leaf) {
            auto const dense = leaf.grad().contiguous();
            adam_update_rows(step, touched.ids(), static_cast<std::size_t>(dense.size(1)),
                             dense.data_ptr<float>(), arrays_of(table), table.frozen_row);
        };
        for (std::size_t f = 0; f < tables.size(); ++f)
            update_rows(tables[f], batches.feature(f), leaves.features[f]);
        update_rows(context_table, batches.context(), leaves.context);
    }

    Samples const& samples;
    Shape shape;
    Schedule schedule;
    VariantSpec variant;
    std::map<std::string, Parameter> parameters;
    std::vector<Table> tables;
    Table context_table;
    TextbookBatches batches;
    std::uint64_t steps = 0;
};

TextbookNetwork::TextbookNetwork(Samples const& samples, VariantSpec const& variant)
    : parts_(std::make_unique<Parts>(samples, variant)) {}
TextbookNetwork::~TextbookNetwork() = default;

void TextbookNetwork::restore(std::vector<std::vector<float>> const& values) {
    std::vector<at::Tensor> targets;
    for (auto const& [name, parameter] : parts_->parameters) targets.push_back(parameter.value);
    for (auto const& table : parts_->tables) targets.push_back(table.value);
    targets.push_back(parts_->context_table.value);
    validate(values.size() == targets.size(), "TextbookNetwork: values of another network");
    for (std::size_t i = 0; i < values.size(); ++i) {
        validate(values[i].size() == static_cast<std::size_t>(targets[i].numel()),
                 "TextbookNetwork: values of another network");
        std::copy(values[i].begin(), values[i].end(), targets[i].data_ptr<float>());
    }
}

TextbookNetwork::Step TextbookNetwork::train_step(Split const& split,
                                                  std::span<std::uint32_t const> rows,
                                                  std::size_t micro_batch) {
    Step step;
    Leaves leaves;
    auto begin = Clock::now();
    step.losses = parts_->passes(split, rows, micro_batch, leaves);
    step.passes_s = seconds_since(begin);
    begin = Clock::now();
    parts_->update(leaves);
    step.update_s = seconds_since(begin);
    step.micro_batches = (rows.size() + micro_batch - 1) / micro_batch;
    return step;
}

StepLosses TextbookNetwork::gradients(Split const& split, std::span<std::uint32_t const> rows,
                                      std::size_t micro_batch,
                                      std::map<std::string, std::vector<float>>& out) {
    Leaves leaves;
    auto const losses = parts_->passes(split, rows, micro_batch, leaves);
    out.clear();
    for (auto& [name, parameter] : parts_->parameters) {
        auto& gradient = parameter.value.mutable_grad();
        if (gradient.defined()) out[name] = values_of(gradient);
        gradient = at::Tensor();
    }
    auto const scatter = [&](Table const& table, Touched const& touched, at::Tensor const& leaf) {
        auto dense = at::zeros_like(table.value);
        dense.index_add_(0, view_of(touched.ids()), leaf.grad());
        if (table.frozen_row >= 0) dense.select(0, table.frozen_row).zero_();
        out[table.name] = values_of(dense);
    };
    for (std::size_t f = 0; f < parts_->tables.size(); ++f)
        scatter(parts_->tables[f], parts_->batches.feature(f), leaves.features[f]);
    scatter(parts_->context_table, parts_->batches.context(), leaves.context);
    return losses;
}

double TextbookNetwork::peak_bytes(VariantSpec const& variant, double tokens, double short_tokens) {
    return sizeof(float) * static_cast<double>(variant.m) *
           (2.0 * tokens + 2.0 * short_tokens + 2.0 * tokens);
}

GradientDifference difference(std::map<std::string, std::vector<float>> const& expected,
                              std::map<std::string, std::vector<float>> const& got, double floor) {
    constexpr double kInfinite = std::numeric_limits<double>::infinity();
    auto const largest_of = [](std::vector<float> const& values) {
        double largest = 0;
        for (auto const x : values) largest = std::max(largest, std::abs(double{x}));
        return largest;
    };
    if (expected.size() != got.size()) return {kInfinite, "number of tensors"};
    double largest = 0;
    for (auto const& [name, values] : expected) largest = std::max(largest, largest_of(values));
    GradientDifference worst;
    for (auto const& [name, values] : expected) {
        auto const found = got.find(name);
        if (found == got.end() || found->second.size() != values.size()) return {kInfinite, name};
        double apart = 0;
        for (std::size_t i = 0; i < values.size(); ++i) {
            double const one = std::abs(double{values[i]} - found->second[i]);
            if (std::isnan(one)) return {kInfinite, name};
            apart = std::max(apart, one);
        }
        double const least = values.size() == 1 ? kSumFloor : floor * largest;
        double const relative = apart == 0 ? 0 : apart / std::max(least, largest_of(values));
        if (relative > worst.relative) worst = {relative, name};
    }
    return worst;
}

}  // namespace ckvsim::test
