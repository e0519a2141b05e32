// From a plan to the compiled kernel: the one list of the variants that exist. `launch` is called
// as launch(kernel, blocks, threads, shared_bytes, args), once or twice; the device's
// launcher and the emulation's pass their own.
#pragma once

#include <type_traits>

#include "core/error.hpp"
#include "device/cuda/attention_plan.hpp"
#include "device/cuda/attention_split.cuh"
#include "device/cuda/attention_tile.cuh"

namespace ckvsim::device::cuda {

inline constexpr unsigned kMergeThreads = 64;

template <int kValue>
using Constant = std::integral_constant<int, kValue>;

/// Calls `use` with the one of the constants that equals `value`.
template <int... kValues, class Use>
void with_constant(std::uint32_t value, Use const& use) {
    bool const found = ((value == kValues ? (use(Constant<kValues>{}), true) : false) || ...);
    validate(found, "device/cuda: a plan names a kernel that does not exist");
}

template <class Row, class Launch>
void launch_split(AttentionPlan const& plan, AttentionArgs const& args, Launch const& launch) {
    with_constant<1, 4>(plan.queries, [&](auto queries) {
        constexpr int kQueries = decltype(queries)::value;
        auto const start = [&](auto width, auto lanes, auto chunks) {
            launch(attend_split<Row, decltype(width)::value, decltype(lanes)::value,
                                decltype(chunks)::value, kQueries>,
                   plan.blocks, plan.threads, plan.shared_bytes, args);
        };
        if (!plan.wide) {
            with_constant<1, 8>(plan.chunks,
                                [&](auto chunks) { start(Constant<1>{}, Constant<32>{}, chunks); });
        } else if (plan.lanes < 32) {
            with_constant<8, 16>(plan.lanes, [&](auto lanes) {
                start(Constant<kVectorValues<Row>>{}, lanes, Constant<1>{});
            });
        } else {
            with_constant<1, 2>(plan.chunks, [&](auto chunks) {
                start(Constant<kVectorValues<Row>>{}, Constant<32>{}, chunks);
            });
        }
    });
}

template <class Row, class Launch>
void launch_tile(AttentionPlan const& plan, AttentionArgs const& args, Launch const& launch) {
    with_constant<64, 128, 256>(plan.dims, [&](auto dims) {
        launch(attend_tile<Row, decltype(dims)::value>, plan.blocks, plan.threads,
               plan.shared_bytes, args);
    });
}

/// Launches the planned kernels; nothing when the batch is empty.
template <class Launch>
void launch_attention(AttentionPlan const& plan, AttentionArgs const& args, Launch const& launch) {
    if (plan.blocks == 0 || args.max_candidates == 0) return;
    auto const with_rows = [&](auto row) {
        using Row = decltype(row);
        if (plan.kernel == AttentionKernel::tile) {
            launch_tile<Row>(plan, args, launch);
        } else {
            launch_split<Row>(plan, args, launch);
        }
    };
    if (plan.row_type == kv::ValueType::fp32) {
        with_rows(float{});
    } else {
        with_rows(HalfBits{});
    }
    if (plan.splits > 1)
        launch(merge_splits<kMergeThreads>, plan.merge_blocks, kMergeThreads, std::size_t{0}, args);
}

}  // namespace ckvsim::device::cuda
