// Attention of few candidates, where reading K and V is the work: each group of lanes streams
// tokens through registers with a softmax of its own, groups are merged in shared memory, splits of
// long histories by a second kernel. Nothing of size candidates x tokens is stored.
#pragma once

#include "device/cuda/row_values.cuh"

namespace ckvsim::device::cuda {

inline constexpr unsigned kSplitThreads = 128;

/// Floats of shared memory of a block with groups of `group` lanes.
constexpr std::uint32_t split_shared_floats(std::uint32_t group, std::uint32_t head_dim) {
    return kSplitThreads / group * partial_step(head_dim);
}

/// Weighted sums of one query over the tokens of one group of lanes; a lane holds kValues of them.
template <int kValues>
struct RunningSum {
    float top = -INFINITY;  ///< largest score so far
    float total = 0.0F;     ///< sum of exp(score - top)
    float sums[kValues] = {};

    /// Turns the scores of kTokens more tokens into weights and scales what is there to match.
    /// Scores of tokens that do not exist are -infinity.
    template <int kTokens>
    __device__ __forceinline__ void weigh(AttentionShape const& shape, float (&scores)[kTokens]) {
        if (shape.weighting == Weighting::silu) {
#pragma unroll
            for (float& score : scores)
                score = score == -INFINITY ? 0.0F : silu_weight(shape, score);
            return;
        }
        float best = top;
#pragma unroll
        for (float const score : scores) best = fmaxf(best, score);
        // Without any token so far every weight below becomes zero.
        float const base = best == -INFINITY ? 0.0F : best;
        float const keep = exponential(top - base);
        total *= keep;
#pragma unroll
        for (float& sum : sums) sum *= keep;
#pragma unroll
        for (float& score : scores) total += score = exponential(score - base);
        top = best;
    }
};

/// Queries of a block and how a group's lanes share a row: lane l holds values
/// (c * kGroup + l) * kWidth ... of chunk c.
template <class Row, int kWidth, int kGroup, int kChunks, int kQueries>
struct SplitGroup {
    static constexpr int kValues = kWidth * kChunks;
    /// Tokens in flight: more hide latency, fewer save registers.
    static constexpr int kTokens = kValues * (kQueries + 2) <= 32 ? 4 : 2;

    float q[kQueries][kValues];
    RunningSum<kValues> running[kQueries];

    static __device__ __forceinline__ std::uint32_t chunk_start(int chunk) {
        auto const lane = threadIdx.x % kGroup;
        return (static_cast<std::uint32_t>(chunk) * kGroup + lane) * kWidth;
    }

    __device__ __forceinline__ void load_queries(AttentionArgs const& args,
                                                 AttentionRequest const& request,
                                                 BlockPlace const& place) {
#pragma unroll
        for (int c = 0; c < kQueries; ++c) {
            std::uint32_t const candidate = place.tile * kQueries + static_cast<std::uint32_t>(c);
            bool const exists = candidate < request.candidates;
            float const* row = request.q + std::size_t{candidate} * args.shape.q_step +
                               place.head * args.shape.head_dim;
#pragma unroll
            for (int i = 0; i < kValues; ++i) {
                std::uint32_t const at = chunk_start(i / kWidth) + i % kWidth;
                bool const inside = exists && at < args.shape.head_dim;
                q[c][i] = inside ? row[at] * args.shape.scale : 0.0F;
            }
        }
    }

    /// This lane's values of kTokens tokens: token, token + stride, ...; the last one again where
    /// there are no more.
    __device__ __forceinline__ void load_rows(AttentionShape const& shape, TokenRows const& side,
                                              std::uint32_t token, std::uint32_t stride,
                                              std::uint32_t end, std::uint32_t head,
                                              float (&rows)[kTokens][kValues]) const {
        std::uint32_t const shared_dims = shape.width() - shape.user_dims;
#pragma unroll
        for (int t = 0; t < kTokens; ++t) {
            std::uint32_t const wanted = token + static_cast<std::uint32_t>(t) * stride;
            TokenRow<Row> const row(shape, side, wanted < end ? wanted : end - 1);
#pragma unroll
            for (int chunk = 0; chunk < kChunks; ++chunk) {
                float part[kWidth] = {};
                std::uint32_t const at = chunk_start(chunk);
                if (at < shape.head_dim) row.load(head * shape.head_dim + at, shared_dims, part);
#pragma unroll
                for (int i = 0; i < kWidth; ++i) rows[t][chunk * kWidth + i] = part[i];
            }
        }
    }

    __device__ __forceinline__ void add_tokens(AttentionShape const& shape, std::uint32_t token,
                                               std::uint32_t stride, std::uint32_t end,
                                               float const (&k)[kTokens][kValues],
                                               float const (&v)[kTokens][kValues]) {
#pragma unroll
        for (int c = 0; c < kQueries; ++c) {
            float weights[kTokens];
#pragma unroll
            for (int t = 0; t < kTokens; ++t) {
                float dot = 0.0F;
#pragma unroll
                for (int i = 0; i < kValues; ++i) dot = fmaf(q[c][i], k[t][i], dot);
                dot = lane_sum<kGroup>(dot);
                bool const exists = token + static_cast<std::uint32_t>(t) * stride < end;
                weights[t] = exists ? dot : -INFINITY;
            }
            running[c].weigh(shape, weights);
#pragma unroll
            for (int t = 0; t < kTokens; ++t) {
#pragma unroll
                for (int i = 0; i < kValues; ++i)
                    running[c].sums[i] = fmaf(weights[t], v[t][i], running[c].sums[i]);
            }
        }
    }
};

/// Merges the groups' sums of one query, which all threads of the block call with.
template <int kGroup, int kWidth, int kValues>
__device__ __forceinline__ void merge_groups(AttentionArgs const& args,
                                             RunningSum<kValues> const& mine, float* shared,
                                             float* out, float* partial) {
    constexpr std::uint32_t kGroups = kSplitThreads / kGroup;
    std::uint32_t const head_dim = args.shape.head_dim;
    std::uint32_t const group = threadIdx.x / kGroup;
    std::uint32_t const lane = threadIdx.x % kGroup;
    float* tops = shared;
    float* totals = tops + kGroups;
    float* sums = totals + kGroups;
    __syncthreads();  // the query before has been read
    if (lane == 0) {
        tops[group] = mine.top;
        totals[group] = mine.total;
    }
#pragma unroll
    for (int i = 0; i < kValues; ++i) {
        std::uint32_t const at =
            (static_cast<std::uint32_t>(i / kWidth) * kGroup + lane) * kWidth + i % kWidth;
        if (at < head_dim) sums[group * head_dim + at] = mine.sums[i];
    }
    __syncthreads();
    bool const softmax = args.shape.weighting == Weighting::softmax;
    float top = -INFINITY;
    float total = 0.0F;
    for (std::uint32_t g = 0; g < kGroups; ++g) top = fmaxf(top, tops[g]);
    if (top == -INFINITY) top = 0.0F;
    for (std::uint32_t g = 0; g < kGroups; ++g) total += totals[g] * exponential(tops[g] - top);
    for (std::uint32_t at = threadIdx.x; at < head_dim; at += kSplitThreads) {
        float sum = 0.0F;
        for (std::uint32_t g = 0; g < kGroups; ++g)
            sum = fmaf(sums[g * head_dim + at], softmax ? exponential(tops[g] - top) : 1.0F, sum);
        if (partial != nullptr) {
            partial[2 + at] = sum;
        } else {
            out[at] = softmax ? (total > 0.0F ? sum / total : 0.0F) : sum;
        }
    }
    if (partial != nullptr && threadIdx.x == 0) {
        partial[0] = top;
        partial[1] = total;
    }
}

template <class Row, int kWidth, int kGroup, int kChunks, int kQueries>
__global__ void __launch_bounds__(kSplitThreads) attend_split(AttentionArgs const args) {
    using Group = SplitGroup<Row, kWidth, kGroup, kChunks, kQueries>;
    BlockPlace const place(args);
    AttentionRequest const request = args.requests[place.request];
    std::uint32_t const first = place.tile * kQueries;
    if (first >= request.candidates) return;
    Group group;
    group.load_queries(args, request, place);
    constexpr std::uint32_t kStride = kSplitThreads / kGroup;
    std::uint32_t const mine = threadIdx.x / kGroup;
    // The same number of steps in every thread: lanes exchange values inside.
    for (std::uint32_t base = place.first_token; base < place.end_token;
         base += kStride * Group::kTokens) {
        float k[Group::kTokens][Group::kValues];
        float v[Group::kTokens][Group::kValues];
        group.load_rows(args.shape, request.k, base + mine, kStride, place.end_token, place.head,
                        k);
        group.load_rows(args.shape, request.v, base + mine, kStride, place.end_token, place.head,
                        v);
        group.add_tokens(args.shape, base + mine, kStride, place.end_token, k, v);
    }
    auto* shared = reinterpret_cast<float*>(block_memory());
#pragma unroll
    for (int c = 0; c < kQueries; ++c) {
        std::uint32_t const candidate = first + static_cast<std::uint32_t>(c);
        if (candidate >= request.candidates) break;
        float* out = request.out + std::size_t{candidate} * args.shape.out_step +
                     place.head * args.shape.head_dim;
        float* partial = args.splits > 1 ? place.partial(args, candidate) : nullptr;
        merge_groups<kGroup, kWidth>(args, group.running[c], shared, out, partial);
    }
}

/// Joins the splits of one (request, candidate, head), the head fastest.
template <unsigned kThreads>
__global__ void __launch_bounds__(kThreads) merge_splits(AttentionArgs const args) {
    std::uint32_t const head = blockIdx.x % args.shape.heads;
    std::uint32_t const row = blockIdx.x / args.shape.heads;
    std::uint32_t const candidate = row % args.max_candidates;
    AttentionRequest const request = args.requests[row / args.max_candidates];
    if (candidate >= request.candidates) return;
    std::uint32_t const head_dim = args.shape.head_dim;
    std::uint32_t const step = partial_step(head_dim);
    float const* parts = args.partials + std::size_t{blockIdx.x} * args.splits * step;
    bool const softmax = args.shape.weighting == Weighting::softmax;
    // A split without tokens has the weight 0, whatever its largest score says.
    float top = -INFINITY;
    float total = 0.0F;
    for (std::uint32_t s = 0; s < args.splits; ++s)
        if (parts[s * step + 1] > 0.0F) top = fmaxf(top, parts[s * step]);
    auto const weight = [&](std::uint32_t s) {
        if (!softmax) return 1.0F;
        return parts[s * step + 1] > 0.0F ? exponential(parts[s * step] - top) : 0.0F;
    };
    for (std::uint32_t s = 0; s < args.splits; ++s) total += parts[s * step + 1] * weight(s);
    float* out = request.out + std::size_t{candidate} * args.shape.out_step + head * head_dim;
    for (std::uint32_t at = threadIdx.x; at < head_dim; at += kThreads) {
        float sum = 0.0F;
        for (std::uint32_t s = 0; s < args.splits; ++s)
            sum = fmaf(parts[s * step + 2 + at], weight(s), sum);
        out[at] = softmax ? (total > 0.0F ? sum / total : 0.0F) : sum;
    }
}

}  // namespace ckvsim::device::cuda
