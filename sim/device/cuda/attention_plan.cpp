#include "device/cuda/attention_plan.hpp"

#include <algorithm>
#include <bit>
#include <limits>
#include <string>

#include "core/error.hpp"

namespace ckvsim::device::cuda {
namespace {

// The numbers of this group were chosen by reasoning and not measured on a device yet; the part
// "plans" of ckvsim-gpu-bench measures what they decide.
/// From this many candidates on a tile should be filled well enough to beat reading rows again.
constexpr std::uint32_t kTileFrom = 17;
/// Fewer tokens than this in a split should not be worth a block and its merge.
constexpr std::uint32_t kMinSplitTokens = 64;
/// Blocks that should keep one multiprocessor's memory pipeline full.
constexpr std::uint32_t kBlocksPerMultiprocessor = 8;

constexpr std::uint32_t kTileQueryCount = 64;  ///< kTileQueries of attention_tile.cuh
constexpr std::uint32_t kTileThreadCount = 256;
constexpr std::uint32_t kTileMaxDims = 256;
constexpr std::uint32_t kSplitThreadCount = 128;

std::uint32_t divide_up(std::uint32_t a, std::uint32_t b) { return (a + b - 1) / b; }

std::string describe(AttentionShape const& shape, kv::ValueType row_type) {
    return std::to_string(shape.heads) + " heads of " + std::to_string(shape.head_dim) + " " +
           kv::to_string(row_type) + " values";
}

void check_shape(AttentionShape const& shape) {
    validate(shape.heads > 0 && shape.head_dim > 0, "device/cuda: attention without dimensions");
    validate(shape.user_dims <= shape.width(),
             "device/cuda: more user dimensions than attention dimensions");
    validate(shape.row_step >= shape.width() - shape.user_dims, "device/cuda: rows overlap");
    validate(shape.q_step >= shape.width() && shape.out_step >= shape.width(),
             "device/cuda: queries or outputs overlap");
    validate(shape.index_bytes == 0 || std::has_single_bit(shape.index_bytes),
             "device/cuda: an index has 1, 2 or 4 bytes");
    validate(shape.index_bytes <= 4, "device/cuda: an index has 1, 2 or 4 bytes");
}

/// Lanes and loads per lane of a row, or a refusal.
void share_row(AttentionPlan& plan, AttentionShape const& shape, kv::ValueType row_type) {
    std::uint32_t const values = plan.wide ? 16 / kv::value_bytes(row_type) : 1;
    std::uint32_t const loads = divide_up(shape.head_dim, values);
    std::uint32_t const most = plan.wide ? 2 : 8;
    plan.lanes = plan.wide ? std::clamp(std::bit_ceil(loads), 8U, 32U) : 32;
    plan.chunks = loads <= plan.lanes ? 1 : most;
    if (loads > most * plan.lanes)
        throw BackendError("device/cuda: " + describe(shape, row_type) +
                           " (a warp takes heads of " + std::to_string(most * 32 * values) +
                           " values" +
                           (plan.wide ? "" : ", more when rows are multiples of 16 bytes") +
                           "). Use more heads or the CPU backend.");
}

std::size_t tile_shared_bytes(std::uint32_t dims, std::uint32_t value_bytes) {
    // TileMemory of attention_tile.cuh; a test compares the two.
    return std::size_t{4} * kTileQueryCount * (dims + 4) +
           std::size_t{2} * 32 * (dims * value_bytes + 16) +
           std::size_t{4} * kTileQueryCount * (32 + 4);
}

std::uint32_t choose_splits(std::uint64_t blocks, std::uint32_t max_tokens,
                            DeviceLimits const& limits) {
    std::uint64_t const wanted = std::uint64_t{limits.multiprocessors} * kBlocksPerMultiprocessor /
                                 std::max<std::uint64_t>(blocks, 1);
    std::uint32_t const most = std::max(1U, max_tokens / kMinSplitTokens);
    return static_cast<std::uint32_t>(std::clamp<std::uint64_t>(wanted, 1, most));
}

}  // namespace

BatchSize batch_size(std::span<AttentionRequest const> requests) {
    BatchSize size;
    size.requests = static_cast<std::uint32_t>(requests.size());
    auto const aligned = [](void const* address) {
        return reinterpret_cast<std::uintptr_t>(address) % 16 == 0;
    };
    for (AttentionRequest const& request : requests) {
        size.max_tokens = std::max(size.max_tokens, request.tokens);
        size.max_candidates = std::max(size.max_candidates, request.candidates);
        size.aligned = size.aligned && aligned(request.k.rows) && aligned(request.v.rows);
    }
    return size;
}

AttentionPlan plan_attention(AttentionShape const& shape, kv::ValueType row_type,
                             BatchSize const& batch, DeviceLimits const& limits,
                             PlanWishes const& wishes) {
    check_shape(shape);
    if (row_type != kv::ValueType::fp32 && row_type != kv::ValueType::fp16)
        throw BackendError("device/cuda: rows of " + kv::to_string(row_type) +
                           " (kernels read fp32 and fp16). Use the CPU backend.");
    AttentionPlan plan;
    plan.row_type = row_type;
    std::uint32_t const vector_values = 16 / kv::value_bytes(row_type);
    plan.wide =
        batch.aligned && shape.head_dim % vector_values == 0 && shape.row_step % vector_values == 0;
    plan.dims = shape.head_dim <= 64 ? 64 : shape.head_dim <= 128 ? 128 : kTileMaxDims;
    std::size_t const tile_bytes = tile_shared_bytes(plan.dims, kv::value_bytes(row_type));
    bool const tile_fits =
        shape.head_dim <= kTileMaxDims && tile_bytes <= limits.shared_bytes_per_block;
    bool const many = tile_fits && batch.max_candidates >= kTileFrom;
    plan.kernel = wishes.kernel.value_or(many ? AttentionKernel::tile : AttentionKernel::split);
    if (plan.kernel == AttentionKernel::tile) {
        if (!tile_fits)
            throw BackendError("device/cuda: " + describe(shape, row_type) +
                               " (a tile takes heads of " + std::to_string(kTileMaxDims) +
                               " values and " + std::to_string(tile_bytes) + " of " +
                               std::to_string(limits.shared_bytes_per_block) +
                               " bytes of shared memory). Use the split kernel.");
        plan.queries = kTileQueryCount;
        plan.threads = kTileThreadCount;
        plan.shared_bytes = tile_bytes;
    } else {
        share_row(plan, shape, row_type);
        plan.queries = batch.max_candidates == 1 ? 1 : 4;
        plan.threads = kSplitThreadCount;
        plan.shared_bytes =
            std::size_t{4} * (kSplitThreadCount / plan.lanes) * partial_step(shape.head_dim);
    }
    plan.tiles = std::max(1U, divide_up(batch.max_candidates, plan.queries));
    std::uint64_t const blocks = std::uint64_t{batch.requests} * plan.tiles;
    plan.splits =
        wishes.splits.value_or(choose_splits(blocks * shape.heads, batch.max_tokens, limits));
    validate(plan.splits > 0, "device/cuda: attention over tokens in zero splits");
    std::uint64_t const all_blocks = blocks * shape.heads * plan.splits;
    std::uint64_t const rows = std::uint64_t{batch.requests} * batch.max_candidates * shape.heads;
    constexpr std::uint64_t kMostBlocks = std::numeric_limits<std::int32_t>::max();
    if (all_blocks > kMostBlocks || (plan.splits > 1 && rows > kMostBlocks))
        throw BackendError("device/cuda: a batch of " + std::to_string(batch.requests) +
                           " requests with up to " + std::to_string(batch.max_candidates) +
                           " candidates and " + describe(shape, row_type) +
                           " exceeds one launch. Use smaller batches.");
    plan.blocks = static_cast<std::uint32_t>(all_blocks);
    if (plan.splits > 1) {
        plan.merge_blocks = static_cast<std::uint32_t>(rows);
        plan.partial_floats = rows * plan.splits * partial_step(shape.head_dim);
    }
    return plan;
}

AttentionArgs make_args(AttentionPlan const& plan, AttentionShape const& shape,
                        BatchSize const& batch, AttentionRequest const* requests, float* partials) {
    AttentionArgs args;
    args.shape = shape;
    args.requests = requests;
    args.splits = plan.splits;
    args.tiles = plan.tiles;
    args.max_candidates = batch.max_candidates;
    args.vector_copies = plan.wide ? 1 : 0;
    args.partials = partials;
    return args;
}

}  // namespace ckvsim::device::cuda
