// Operations on memory of the CPU: the kernels of this folder.
#include <cstddef>

#include "train/operations.hpp"

namespace ckvsim::train {

namespace {

/// Signs of each row of projected [rows, bits], bit by bit.
std::vector<std::uint64_t> signatures_of(at::Tensor const& projected) {
    auto const rows = static_cast<std::size_t>(projected.size(0));
    auto const bits = static_cast<std::size_t>(projected.size(1));
    auto const* const values = projected.data_ptr<float>();
    std::vector<std::uint64_t> signatures(rows, 0);
    for (std::size_t row = 0; row < rows; ++row) {
        for (std::size_t bit = 0; bit < bits; ++bit) {
            bool const above = values[row * bits + bit] > 0.0F;
            signatures[row] |= static_cast<std::uint64_t>(above) << bit;
        }
    }
    return signatures;
}

class KernelOperations final : public Operations {
  public:
    [[nodiscard]] at::Device device() const override { return at::kCPU; }

    [[nodiscard]] at::Tensor linear(at::Tensor const& x, at::Tensor const& weight,
                                    at::Tensor const& bias) const override {
        return bias.defined() ? at::addmm(bias, x, weight.t()) : at::mm(x, weight.t());
    }

    [[nodiscard]] at::Tensor ragged_attention(at::Tensor const& queries, at::Tensor const& keys,
                                              at::Tensor const& values, Ragged const& tokens,
                                              std::int64_t heads, double scale) const override {
        return train::ragged_attention(queries, keys, values, tokens, heads, scale);
    }

    [[nodiscard]] at::Tensor collision_means(at::Tensor const& embeddings,
                                             Collisions const& collisions) const override {
        return train::collision_means(embeddings, collisions);
    }

    [[nodiscard]] at::Tensor causal_attention(at::Tensor const& q, at::Tensor const& k,
                                              at::Tensor const& v, at::Tensor const& bias,
                                              Sequences const& sequences, std::int64_t heads,
                                              double divisor) const override {
        return train::causal_attention(q, k, v, bias, sequences, heads, divisor);
    }

    [[nodiscard]] Routing route(at::Tensor const& embeddings, at::Tensor const& router,
                                at::Tensor const& counts, double tokens, bool want_balance,
                                Team& team) const override {
        return train::route(embeddings, router, counts, tokens, want_balance, team);
    }

    [[nodiscard]] at::Tensor route_index(at::Tensor const& embeddings,
                                         at::Tensor const& router) const override {
        return train::route_index(embeddings, router);
    }

    [[nodiscard]] Ragged select_top_k(Ragged const& tokens, at::Tensor const& queries,
                                      at::Tensor const& keys, std::size_t k,
                                      std::vector<std::uint32_t>& positions) const override {
        auto const q = queries.detach().contiguous();
        auto const own = keys.detach().contiguous();
        return train::select_top_k(static_cast<std::size_t>(q.size(1)), tokens, q.data_ptr<float>(),
                                   own.data_ptr<float>(), k, &positions);
    }

    [[nodiscard]] Ragged select_nearest(Ragged const& tokens,
                                        std::vector<std::int64_t> const& candidates,
                                        at::Tensor const& projected, std::size_t k,
                                        std::vector<std::uint32_t>& positions) const override {
        auto const signatures = signatures_of(projected.contiguous());
        std::vector<std::uint64_t> queries;
        for (auto const row : candidates)
            queries.push_back(signatures[static_cast<std::size_t>(row)]);
        return train::select_nearest(tokens, queries.data(), signatures.data(), k, &positions);
    }

    [[nodiscard]] std::vector<std::uint8_t> buckets(std::int64_t hashes, at::Tensor const& table,
                                                    at::Tensor const& planes) const override {
        auto const rows = table.detach().contiguous();
        return buckets_of(
            static_cast<std::size_t>(hashes), static_cast<std::size_t>(planes.size(0) / hashes),
            static_cast<std::size_t>(rows.size(1)), static_cast<std::size_t>(rows.size(0)),
            rows.data_ptr<float>(), planes.data_ptr<float>());
    }

    void update(AdamStep const& step, at::Tensor const& gradient,
                Parameter const& parameter) const override {
        auto const dense = gradient.contiguous();
        adam_update(step, static_cast<std::size_t>(dense.numel()), dense.data_ptr<float>(),
                    arrays_of(parameter));
    }

    void update_rows(AdamStep const& step, std::vector<std::int64_t> const& ids,
                     at::Tensor const& gradients, Table const& table) const override {
        auto const dense = gradients.contiguous();
        adam_update_rows(step, ids, static_cast<std::size_t>(dense.size(1)),
                         dense.data_ptr<float>(), arrays_of(table), table.frozen_row);
    }
};

}  // namespace

std::unique_ptr<Operations> kernel_operations() { return std::make_unique<KernelOperations>(); }

std::unique_ptr<Operations> make_operations(Compute const& compute) {
    require_consistent(compute);
    return compute.portable() ? portable_operations(compute) : kernel_operations();
}

}  // namespace ckvsim::train
