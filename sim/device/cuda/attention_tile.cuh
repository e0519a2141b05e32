// Attention of many candidates, where arithmetic is the work: a block holds a tile of queries in
// shared memory and lets tiles of K and V pass by, V arriving while K is used and the other way
// round. Scores live in registers, weights of one tile in shared memory.
#pragma once

#include "device/cuda/row_values.cuh"

namespace ckvsim::device::cuda {

inline constexpr unsigned kTileThreads = 256;
inline constexpr unsigned kTileQueries = 64;
inline constexpr unsigned kTileTokens = 32;
/// A half-warp of 16 threads shares kRowsPerThread queries.
inline constexpr unsigned kTileLanes = 16;
inline constexpr unsigned kRowsPerThread = 4;
static_assert(kTileThreads / kTileLanes * kRowsPerThread == kTileQueries);

/// Shared memory of a block: rows are padded by 16 bytes so that neighbouring rows start in
/// different banks.
template <class Row, int kDims>
struct TileMemory {
    static constexpr unsigned kQueryStep = kDims + 4;
    static constexpr unsigned kRowStep = kDims + 16 / sizeof(Row);
    static constexpr unsigned kWeightStep = kTileTokens + 4;
    static constexpr std::size_t kQueryBytes = std::size_t{kTileQueries} * kQueryStep * 4;
    static constexpr std::size_t kRowsBytes = std::size_t{kTileTokens} * kRowStep * sizeof(Row);
    static constexpr std::size_t kWeightBytes = std::size_t{kTileQueries} * kWeightStep * 4;
    static constexpr std::size_t kBytes = kQueryBytes + 2 * kRowsBytes + kWeightBytes;

    float* queries;
    Row* k;
    Row* v;
    float* weights;

    __device__ __forceinline__ explicit TileMemory(std::byte* memory)
        : queries(reinterpret_cast<float*>(memory)),
          k(reinterpret_cast<Row*>(memory + kQueryBytes)),
          v(reinterpret_cast<Row*>(memory + kQueryBytes + kRowsBytes)),
          weights(reinterpret_cast<float*>(memory + kQueryBytes + 2 * kRowsBytes)) {}
};

/// Starts copying a tile of `count` tokens from `first` on. Tokens and dimensions beyond the last
/// become zeros: their weight is zero, but zero times garbage need not be.
template <class Row, int kDims>
__device__ __forceinline__ void copy_tile(AttentionArgs const& args, TokenRows const& side,
                                          std::uint32_t head, std::uint32_t first,
                                          std::uint32_t count, Row* tile) {
    constexpr unsigned kValues = kVectorValues<Row>;
    constexpr unsigned kChunks = kDims / kValues;
    AttentionShape const& shape = args.shape;
    std::uint32_t const shared_dims = shape.width() - shape.user_dims;
    for (unsigned i = threadIdx.x; i < kTileTokens * kChunks; i += kTileThreads) {
        unsigned const token = i / kChunks;
        unsigned const at = i % kChunks * kValues;
        Row* to = tile + token * TileMemory<Row, kDims>::kRowStep + at;
        if (token >= count || at >= shape.head_dim) {
            *reinterpret_cast<uint4*>(to) = uint4{0, 0, 0, 0};
            continue;
        }
        TokenRow<Row> const row(shape, side, first + token);
        unsigned const place = head * shape.head_dim + at;
        if (args.vector_copies != 0 && place + kValues <= shared_dims) {
            copy_async(to, row.row + place);
            continue;
        }
        for (unsigned j = 0; j < kValues; ++j)
            to[j] = at + j < shape.head_dim ? row.value(place + j, shared_dims) : Row{};
    }
}

/// What a thread keeps of its kRowsPerThread queries.
template <class Row, int kDims>
struct TileThread {
    static constexpr int kBlocks = kDims / 64;  ///< of 4 values a thread, 64 a half-warp
    static constexpr int kTokensPerThread = kTileTokens / kTileLanes;
    using Memory = TileMemory<Row, kDims>;

    float top[kRowsPerThread];
    float total[kRowsPerThread];  ///< this thread's share; summed over the half-warp at the end
    float sums[kRowsPerThread][kBlocks * 4];

    __device__ __forceinline__ TileThread() {
#pragma unroll
        for (unsigned i = 0; i < kRowsPerThread; ++i) {
            top[i] = -INFINITY;
            total[i] = 0.0F;
#pragma unroll
            for (float& sum : sums[i]) sum = 0.0F;
        }
    }
    static __device__ __forceinline__ unsigned lane() { return threadIdx.x % kTileLanes; }
    static __device__ __forceinline__ unsigned first_row() {
        return threadIdx.x / kTileLanes * kRowsPerThread;
    }

    /// scores[i][j] = query first_row() + i times token lane() + kTileLanes * j.
    static __device__ __forceinline__ void score(
        Memory const& memory, float (&scores)[kRowsPerThread][kTokensPerThread]) {
        constexpr unsigned kValues = kVectorValues<Row>;
#pragma unroll 2
        for (unsigned at = 0; at < kDims; at += kValues) {
            float k[kTokensPerThread][kValues];
#pragma unroll
            for (int j = 0; j < kTokensPerThread; ++j)
                load_values(memory.k + (lane() + kTileLanes * j) * Memory::kRowStep + at, k[j]);
#pragma unroll
            for (unsigned i = 0; i < kRowsPerThread; ++i) {
#pragma unroll
                for (unsigned part = 0; part < kValues; part += 4) {
                    float q[4];
                    load_values(memory.queries + (first_row() + i) * Memory::kQueryStep + at + part,
                                q);
#pragma unroll
                    for (int j = 0; j < kTokensPerThread; ++j) {
#pragma unroll
                        for (unsigned x = 0; x < 4; ++x)
                            scores[i][j] = fmaf(q[x], k[j][part + x], scores[i][j]);
                    }
                }
            }
        }
    }

    /// Scores of one tile, of which `count` tokens exist, to weights in shared memory.
    __device__ __forceinline__ void weigh(AttentionShape const& shape, unsigned count,
                                          float (&scores)[kRowsPerThread][kTokensPerThread],
                                          Memory const& memory) {
#pragma unroll
        for (unsigned i = 0; i < kRowsPerThread; ++i) {
            float best = top[i];
#pragma unroll
            for (int j = 0; j < kTokensPerThread; ++j) {
                if (lane() + kTileLanes * j >= count) scores[i][j] = -INFINITY;
                best = fmaxf(best, scores[i][j]);
            }
            best = lane_max<kTileLanes>(best);
            bool const softmax = shape.weighting == Weighting::softmax;
            float const keep = softmax ? exponential(top[i] - best) : 1.0F;
            top[i] = best;
            total[i] *= keep;
#pragma unroll
            for (float& sum : sums[i]) sum *= keep;
#pragma unroll
            for (int j = 0; j < kTokensPerThread; ++j) {
                float weight = 0.0F;
                if (softmax) {
                    weight = exponential(scores[i][j] - best);
                } else if (scores[i][j] != -INFINITY) {
                    weight = silu_weight(shape, scores[i][j]);
                }
                total[i] += weight;
                memory.weights[(first_row() + i) * Memory::kWeightStep + lane() + kTileLanes * j] =
                    weight;
            }
        }
    }

    __device__ __forceinline__ void add_values(Memory const& memory) {
#pragma unroll 2
        for (unsigned t = 0; t < kTileTokens; t += 4) {
            float weights[kRowsPerThread][4];
#pragma unroll
            for (unsigned i = 0; i < kRowsPerThread; ++i)
                load_values(memory.weights + (first_row() + i) * Memory::kWeightStep + t,
                            weights[i]);
#pragma unroll
            for (unsigned u = 0; u < 4; ++u) {
#pragma unroll
                for (int block = 0; block < kBlocks; ++block) {
                    float v[4];
                    load_values(memory.v + (t + u) * Memory::kRowStep + 64 * block + 4 * lane(), v);
#pragma unroll
                    for (unsigned i = 0; i < kRowsPerThread; ++i) {
#pragma unroll
                        for (int x = 0; x < 4; ++x)
                            sums[i][4 * block + x] =
                                fmaf(weights[i][u], v[x], sums[i][4 * block + x]);
                    }
                }
            }
        }
    }

    __device__ __forceinline__ void write(AttentionArgs const& args,
                                          AttentionRequest const& request,
                                          BlockPlace const& place) const {
        bool const softmax = args.shape.weighting == Weighting::softmax;
#pragma unroll
        for (unsigned i = 0; i < kRowsPerThread; ++i) {
            float const whole = lane_sum<kTileLanes>(total[i]);
            std::uint32_t const candidate = place.tile * kTileQueries + first_row() + i;
            if (candidate >= request.candidates) continue;
            float* to = request.out + std::size_t{candidate} * args.shape.out_step +
                        place.head * args.shape.head_dim;
            float scale = 1.0F;
            if (softmax) scale = whole > 0.0F ? 1.0F / whole : 0.0F;
            if (args.splits > 1) {
                float* partial = place.partial(args, candidate);
                if (lane() == 0) {
                    partial[0] = top[i];
                    partial[1] = softmax ? whole : 0.0F;
                }
                to = partial + 2;
                scale = 1.0F;
            }
#pragma unroll
            for (int j = 0; j < kBlocks * 4; ++j) {
                unsigned const at = 64 * (j / 4) + 4 * lane() + j % 4;
                if (at < args.shape.head_dim) to[at] = sums[i][j] * scale;
            }
        }
    }
};

template <class Row, int kDims>
__global__ void __launch_bounds__(kTileThreads) attend_tile(AttentionArgs const args) {
    using Thread = TileThread<Row, kDims>;
    BlockPlace const place(args);
    AttentionRequest const request = args.requests[place.request];
    std::uint32_t const first_query = place.tile * kTileQueries;
    if (first_query >= request.candidates) return;
    std::uint32_t const queries = request.candidates - first_query;
    AttentionShape const& shape = args.shape;
    TileMemory<Row, kDims> const memory(block_memory());
    for (unsigned i = threadIdx.x; i < kTileQueries * kDims; i += kTileThreads) {
        unsigned const row = i / kDims;
        unsigned const at = i % kDims;
        float value = 0.0F;
        if (row < queries && at < shape.head_dim)
            value = shape.scale * request.q[std::size_t{first_query + row} * shape.q_step +
                                            place.head * shape.head_dim + at];
        memory.queries[row * TileMemory<Row, kDims>::kQueryStep + at] = value;
    }
    // Whole warps without queries only copy. Exchanges and barriers inside a warp stay uniform.
    bool const works = threadIdx.x / kWarpSize * (2 * kRowsPerThread) < queries;
    Thread thread;
    auto const copy = [&](TokenRows const& side, std::uint32_t first, Row* tile) {
        std::uint32_t const left = place.end_token - first;
        copy_tile<Row, kDims>(args, side, place.head, first,
                              left < kTileTokens ? left : kTileTokens, tile);
    };
    if (place.first_token < place.end_token) copy(request.k, place.first_token, memory.k);
    for (std::uint32_t first = place.first_token; first < place.end_token; first += kTileTokens) {
        wait_copies();
        __syncthreads();  // K is there, V of the tile before has been used
        copy(request.v, first, memory.v);
        float scores[kRowsPerThread][Thread::kTokensPerThread] = {};
        if (works) {
            Thread::score(memory, scores);
            thread.weigh(shape, place.end_token - first, scores, memory);
        }
        wait_copies();
        __syncthreads();  // V is there, K has been used
        if (first + kTileTokens < place.end_token) copy(request.k, first + kTileTokens, memory.k);
        if (works) thread.add_values(memory);
    }
    if (works) thread.write(args, request, place);
}

}  // namespace ckvsim::device::cuda
