// Operations from libtorch's tensor operations alone: the same source on every device.
#include <ATen/ATen.h>

#include <algorithm>

#include "train/operations.hpp"
#include "train/portable_attention.hpp"
#include "train/portable_search.hpp"
#include "train/router_function.hpp"
#include "train/tensor_values.hpp"

namespace ckvsim::train {

namespace {

/// The router's rows.
class PortableRows {
  public:
    explicit PortableRows(portable::PieceLimits const& limits) : limits_(limits) {}

    [[nodiscard]] std::int64_t block_rows(std::int64_t pool) const {
        return std::max<std::int64_t>(1, limits_.elements / pool);
    }
    void product_into(at::Tensor& out, at::Tensor const& a, at::Tensor const& b) const {
        if (limits_.precision == Precision::fp32) {
            at::mm_out(out, a, b);
        } else {
            out.copy_(portable::product(a, b, limits_.precision));
        }
    }
    void add_product(at::Tensor& out, at::Tensor const& a, at::Tensor const& b) const {
        out.add_(portable::product(a, b, limits_.precision));
    }
    static void winners(at::Tensor const& logits, at::Tensor& winner, at::Tensor& index) {
        index.copy_(logits.argmax(1));
        winner.copy_(logits.gather(1, index.unsqueeze(1)).squeeze(1));
    }
    static void softmax(at::Tensor& logits, at::Tensor const& winner) {
        logits.sub_(winner.unsqueeze(1)).exp_();
        logits.div_(logits.sum(1, true));
    }
    static void gradient(RouterGradient const& of, at::Tensor const& softmax, at::Tensor& out) {
        auto const mean = at::mv(softmax, of.slope).unsqueeze(1);
        out.copy_(of.counts.unsqueeze(1) * softmax * (of.slope.unsqueeze(0) - mean));
        out.scatter_add_(1, of.index.unsqueeze(1), of.winner.unsqueeze(1));
    }

  private:
    portable::PieceLimits limits_;
};

/// One step for values, moments and gradients of one shape.
void step_of(AdamFactors const& factors, at::Tensor const& gradient, at::Tensor const& value,
             at::Tensor const& first, at::Tensor const& second) {
    auto const g = gradient + value * factors.l2;
    first.mul_(kBeta1).add_(g, 1.0F - kBeta1);
    second.mul_(kBeta2).addcmul_(g, g, 1.0F - kBeta2);
    value.addcdiv_(first, second.sqrt() * factors.second + kEpsilon, -factors.rate);
}

class PortableOperations final : public Operations {
  public:
    explicit PortableOperations(Compute const& compute)
        : device_(compute.device),
          limits_{compute.piece_elements, compute.precision},
          rows_(limits_) {}

    [[nodiscard]] at::Device device() const override { return device_; }

    [[nodiscard]] at::Tensor linear(at::Tensor const& x, at::Tensor const& weight,
                                    at::Tensor const& bias) const override {
        auto const out = portable::product(x, weight.t(), limits_.precision);
        return bias.defined() ? out + bias : out;
    }

    [[nodiscard]] at::Tensor ragged_attention(at::Tensor const& queries, at::Tensor const& keys,
                                              at::Tensor const& values, Ragged const& tokens,
                                              std::int64_t heads, double scale) const override {
        return portable::ragged_attention(queries, keys, values, tokens, heads, scale, limits_);
    }

    [[nodiscard]] at::Tensor collision_means(at::Tensor const& embeddings,
                                             Collisions const& collisions) const override {
        return portable::collision_means(embeddings, collisions, limits_);
    }

    [[nodiscard]] at::Tensor causal_attention(at::Tensor const& q, at::Tensor const& k,
                                              at::Tensor const& v, at::Tensor const& bias,
                                              Sequences const& sequences, std::int64_t heads,
                                              double divisor) const override {
        return portable::causal_attention(q, k, v, bias, sequences, heads, divisor, limits_);
    }

    [[nodiscard]] Routing route(at::Tensor const& embeddings, at::Tensor const& router,
                                at::Tensor const& counts, double tokens, bool want_balance,
                                Team& team) const override {
        return route_by(rows_, embeddings, router, counts, tokens, want_balance, team);
    }

    [[nodiscard]] at::Tensor route_index(at::Tensor const& embeddings,
                                         at::Tensor const& router) const override {
        return route_index_by(rows_, embeddings, router);
    }

    [[nodiscard]] Ragged select_top_k(Ragged const& tokens, at::Tensor const& queries,
                                      at::Tensor const& keys, std::size_t k,
                                      std::vector<std::uint32_t>& positions) const override {
        return portable::select_top_k(tokens, queries.detach(), keys.detach(), k, limits_,
                                      positions);
    }

    [[nodiscard]] Ragged select_nearest(Ragged const& tokens,
                                        std::vector<std::int64_t> const& candidates,
                                        at::Tensor const& projected, std::size_t k,
                                        std::vector<std::uint32_t>& positions) const override {
        return portable::select_nearest(tokens, candidates, projected, k, limits_, positions);
    }

    [[nodiscard]] std::vector<std::uint8_t> buckets(std::int64_t hashes, at::Tensor const& table,
                                                    at::Tensor const& planes) const override {
        return portable::buckets(hashes, table, planes);
    }

    void update(AdamStep const& step, at::Tensor const& gradient,
                Parameter const& parameter) const override {
        at::NoGradGuard const no_grad;
        step_of(factors_of(step), gradient, parameter.value, parameter.moments.first,
                parameter.moments.second);
    }

    void update_rows(AdamStep const& step, std::vector<std::int64_t> const& ids,
                     at::Tensor const& gradients, Table const& table) const override {
        at::NoGradGuard const no_grad;
        auto const all = here(view_of(ids));
        auto const moves = gradients.ne(0).any(1).logical_and(all.ne(table.frozen_row));
        auto const places = moves.nonzero().squeeze(1);
        auto const rows = all.index_select(0, places);
        auto const value = table.value.index_select(0, rows);
        auto const first = table.moments.first.index_select(0, rows);
        auto const second = table.moments.second.index_select(0, rows);
        step_of(factors_of(step), gradients.index_select(0, places), value, first, second);
        table.value.index_copy_(0, rows, value);
        table.moments.first.index_copy_(0, rows, first);
        table.moments.second.index_copy_(0, rows, second);
    }

  private:
    at::Device device_;
    portable::PieceLimits limits_;
    PortableRows rows_;
};

}  // namespace

std::unique_ptr<Operations> portable_operations(Compute const& compute) {
    return std::make_unique<PortableOperations>(compute);
}

}  // namespace ckvsim::train
