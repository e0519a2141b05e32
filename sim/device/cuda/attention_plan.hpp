// How a batch of attention requests is cut into blocks: which kernel, how wide its loads, how many
// splits of long histories. Pure arithmetic; the launch itself is in attention_dispatch.cuh.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "device/cuda/attention_args.hpp"
#include "kv/strategy.hpp"

namespace ckvsim::device::cuda {

/// `split`: few candidates, memory-bound. `tile`: many candidates, a tile of them in every block.
enum class AttentionKernel : std::uint8_t { split, tile };

/// What of a device bounds a plan. Defaults: an A100, the smaller of the two that are built for.
struct DeviceLimits {
    std::uint32_t multiprocessors = 108;
    std::size_t shared_bytes_per_block = 163 * 1024;  ///< with opt-in
};

/// Sizes of a batch, taken from its requests.
struct BatchSize {
    std::uint32_t requests = 0;
    std::uint32_t max_tokens = 0;
    std::uint32_t max_candidates = 0;
    bool aligned = true;  ///< all rows start at multiples of 16 bytes
};
BatchSize batch_size(std::span<AttentionRequest const> requests);

/// Left free, the plan chooses; tests and benchmarks may fix a part.
struct PlanWishes {
    std::optional<AttentionKernel> kernel;
    std::optional<std::uint32_t> splits;  ///< at least 1
};

/// One launch, or two when tokens are split.
struct AttentionPlan {
    AttentionKernel kernel = AttentionKernel::split;
    kv::ValueType row_type = kv::ValueType::fp32;
    // split: lanes * chunks * (values of a load) >= head_dim
    bool wide = true;           ///< 16-byte loads, else value by value
    std::uint32_t lanes = 32;   ///< that share a token: 8, 16 or 32
    std::uint32_t chunks = 1;   ///< loads of a lane per row: 1 or 2 wide ones, 1 or 8 others
    std::uint32_t queries = 1;  ///< of a block: 1 or 4
    std::uint32_t dims = 0;     ///< tile: head_dim rounded up to 64, 128 or 256
    std::uint32_t splits = 1;
    std::uint32_t tiles = 1;
    std::uint32_t blocks = 0;
    std::uint32_t threads = 0;
    std::size_t shared_bytes = 0;
    std::uint32_t merge_blocks = 0;
    std::size_t partial_floats = 0;  ///< memory for AttentionArgs::partials
};

/// Throws InternalError on a shape that contradicts itself or a wish for zero splits and
/// BackendError on one that no kernel takes (heads that are too wide) or that exceeds the grid;
/// both name the sizes.
AttentionPlan plan_attention(AttentionShape const& shape, kv::ValueType row_type,
                             BatchSize const& batch, DeviceLimits const& limits = {},
                             PlanWishes const& wishes = {});

/// Arguments of the planned launch. `requests` and `partials` are device addresses.
AttentionArgs make_args(AttentionPlan const& plan, AttentionShape const& shape,
                        BatchSize const& batch, AttentionRequest const* requests, float* partials);

}  // namespace ckvsim::device::cuda
