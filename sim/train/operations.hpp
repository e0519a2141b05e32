// The operations of a network that libtorch does not have or that depend on where it computes, with
// their gradients: attention over ragged lists of table rows, sums of a history's hash buckets,
// self-attention of HSTU over sequences, the CollectiveKV router without a tokens x pool matrix,
// searches, and Adam. Two implementations: the kernels of this folder (CPU, fp32), and portable
// ones made of tensor operations. Both do the same to the order of sums.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "train/adam.hpp"
#include "train/autograd_ops.hpp"
#include "train/compute.hpp"
#include "train/parameters.hpp"
#include "train/ragged.hpp"

namespace ckvsim::train {

/// Tensors are fp32 and on device(), row-major; lists and indices are in memory of the CPU. One
/// thread at a time.
class Operations {
  public:
    Operations() = default;
    virtual ~Operations() = default;
    Operations(Operations const&) = delete;
    Operations& operator=(Operations const&) = delete;

    [[nodiscard]] virtual at::Device device() const = 0;
    /// The tensor there; itself when it is.
    [[nodiscard]] at::Tensor here(at::Tensor const& tensor) const { return tensor.to(device()); }
    [[nodiscard]] at::TensorOptions options() const {
        return at::TensorOptions(device()).dtype(at::kFloat);
    }

    /// x [n, in], weight [out, in] -> x weight^T [n, out], plus bias [out] if it is defined.
    [[nodiscard]] virtual at::Tensor linear(at::Tensor const& x, at::Tensor const& weight,
                                            at::Tensor const& bias) const = 0;

    // The next four as in autograd_ops.hpp. References must live until backward has run.
    [[nodiscard]] virtual at::Tensor ragged_attention(at::Tensor const& queries,
                                                      at::Tensor const& keys,
                                                      at::Tensor const& values,
                                                      Ragged const& tokens, std::int64_t heads,
                                                      double scale) const = 0;
    [[nodiscard]] virtual at::Tensor collision_means(at::Tensor const& embeddings,
                                                     Collisions const& collisions) const = 0;
    [[nodiscard]] virtual at::Tensor causal_attention(at::Tensor const& q, at::Tensor const& k,
                                                      at::Tensor const& v, at::Tensor const& bias,
                                                      Sequences const& sequences,
                                                      std::int64_t heads, double divisor) const = 0;
    [[nodiscard]] virtual Routing route(at::Tensor const& embeddings, at::Tensor const& router,
                                        at::Tensor const& counts, double tokens, bool want_balance,
                                        Team& team) const = 0;
    /// Arg-max rows [rows] int64, of equal logits the first; no gradient.
    [[nodiscard]] virtual at::Tensor route_index(at::Tensor const& embeddings,
                                                 at::Tensor const& router) const = 0;

    /// Of each list the k tokens with the largest q_b . k_j, of equal ones the newer; see
    /// select_top_k in ragged_attention.hpp. No gradient.
    [[nodiscard]] virtual Ragged select_top_k(Ragged const& tokens, at::Tensor const& queries,
                                              at::Tensor const& keys, std::size_t k,
                                              std::vector<std::uint32_t>& positions) const = 0;
    /// The same by signatures: the k tokens whose signs of `projected` [rows, bits] differ from
    /// those of the list's row of `candidates` in the fewest bits; at most 64 bits.
    [[nodiscard]] virtual Ragged select_nearest(Ragged const& tokens,
                                                std::vector<std::int64_t> const& candidates,
                                                at::Tensor const& projected, std::size_t k,
                                                std::vector<std::uint32_t>& positions) const = 0;
    /// Buckets [rows, hashes] of table [rows, width] by planes [hashes * bits, width]
    /// (collisions.hpp): those of a row depend on the row and the planes alone.
    [[nodiscard]] virtual std::vector<std::uint8_t> buckets(std::int64_t hashes,
                                                            at::Tensor const& table,
                                                            at::Tensor const& planes) const = 0;

    /// Adam for a whole parameter.
    virtual void update(AdamStep const& step, at::Tensor const& gradient,
                        Parameter const& parameter) const = 0;
    /// For rows `ids` of a table, gradients [ids, width]; see adam_update_rows.
    virtual void update_rows(AdamStep const& step, std::vector<std::int64_t> const& ids,
                             at::Tensor const& gradients, Table const& table) const = 0;
};

std::unique_ptr<Operations> kernel_operations();
std::unique_ptr<Operations> portable_operations(Compute const& compute);
/// Those that `compute` names. Throws Error (usage) where it contradicts itself; libtorch throws
/// where it has no such device (require_device in torch_runtime.hpp says so in words).
std::unique_ptr<Operations> make_operations(Compute const& compute);

}  // namespace ckvsim::train
