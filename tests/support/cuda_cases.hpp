// Batches of attention requests with random content, their results in double precision with error
// bounds, and poison around every output: for the kernels of sim/device/cuda, emulated or on a GPU.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "device/cuda/attention_args.hpp"
#include "device/cuda/attention_plan.hpp"
#include "kv/strategy.hpp"

namespace ckvsim::test {

/// What a batch is made from.
struct CudaCase {
    std::uint32_t heads = 1;
    std::uint32_t head_dim = 64;
    std::uint32_t user_dims = 0;
    std::uint32_t index_bytes = 0;
    kv::ValueType row_type = kv::ValueType::fp32;
    std::vector<std::uint32_t> tokens = {5};      ///< of each request
    std::vector<std::uint32_t> candidates = {1};  ///< of each request
    std::uint32_t table_rows = 20;                ///< index_bytes > 0
    bool equal_indices = false;
    double q_scale = 1.0;
    device::cuda::Weighting weighting = device::cuda::Weighting::softmax;
    bool misaligned = false;  ///< rows start one value beyond a multiple of 16 bytes
    std::uint64_t seed = 1;

    [[nodiscard]] std::string describe() const;
};

/// Memory with an exact end, so that the address sanitizer sees a step beyond it.
class CudaBlock {
  public:
    explicit CudaBlock(std::size_t bytes);
    [[nodiscard]] std::byte* data() const { return data_.get(); }
    [[nodiscard]] std::size_t size() const { return bytes_; }

  private:
    struct Free {
        void operator()(std::byte* data) const;
    };
    std::unique_ptr<std::byte, Free> data_;
    std::size_t bytes_;
};

/// A batch in host memory. Blocks may be copied elsewhere: requests() takes their new addresses.
class CudaBatch {
  public:
    explicit CudaBatch(CudaCase const& made_from);

    [[nodiscard]] CudaCase const& made_from() const { return case_; }
    [[nodiscard]] device::cuda::AttentionShape const& shape() const { return shape_; }
    [[nodiscard]] std::vector<CudaBlock> const& blocks() const { return blocks_; }
    /// The block that outputs go to; poisoned by poison_outputs().
    [[nodiscard]] std::size_t output_block() const { return output_; }
    void poison_outputs() const;
    [[nodiscard]] std::vector<device::cuda::AttentionRequest> requests(
        std::function<std::byte*(std::size_t)> const& address_of) const;
    [[nodiscard]] std::vector<device::cuda::AttentionRequest> requests() const {
        return requests([this](std::size_t block) { return blocks_[block].data(); });
    }
    /// First difference beyond the bounds between the output block and the reference, or broken
    /// poison; empty when there is none.
    [[nodiscard]] std::string check() const;

    /// Values of one token as the kernels must see them, the own part joined: [width].
    [[nodiscard]] std::vector<double> joined_row(std::size_t request, bool value_side,
                                                 std::uint32_t token) const;
    [[nodiscard]] float const* query(std::size_t request, std::uint32_t candidate) const;
    [[nodiscard]] float const* output(std::size_t request, std::uint32_t candidate) const;

  private:
    struct Side {
        std::size_t rows = 0;
        std::size_t index = 0;
        std::size_t user = 0;
    };
    std::size_t add_block(std::size_t bytes);
    std::size_t add_values(std::size_t count, std::size_t offset, std::uint64_t stream);
    [[nodiscard]] double value(std::size_t block, std::size_t at, std::size_t offset) const;
    void add_request(std::size_t number);
    [[nodiscard]] std::size_t row_offset() const { return case_.misaligned ? 1 : 0; }
    using Rows = std::vector<std::vector<double>>;
    [[nodiscard]] std::string check_candidate(std::size_t request, std::uint32_t candidate,
                                              Rows const& k, Rows const& v) const;

    CudaCase case_;
    device::cuda::AttentionShape shape_;
    std::vector<CudaBlock> blocks_;
    std::vector<std::size_t> queries_;       ///< block of each request
    std::vector<std::vector<Side>> sides_;   ///< K and V of each request
    std::vector<std::size_t> output_start_;  ///< floats
    std::size_t output_ = 0;
};

}  // namespace ckvsim::test
