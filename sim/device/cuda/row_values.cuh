// Reading stored rows: values of either type, wide loads, rows by index, the token's own part.
#pragma once

#include "device/cuda/attention_args.hpp"
#include "device/cuda/kernel_language.cuh"

namespace ckvsim::device::cuda {

/// A stored IEEE half. The bits, so that host code needs no type of CUDA's.
struct HalfBits {
    std::uint16_t bits;
};
__device__ __forceinline__ float to_float(float value) { return value; }
__device__ __forceinline__ float to_float(HalfBits value) {
    return __half2float(__ushort_as_half(value.bits));
}

/// Values of one 16-byte load.
template <class Row>
inline constexpr int kVectorValues = static_cast<int>(16 / sizeof(Row));

__device__ __forceinline__ void unpack(unsigned word, float (&values)[1]) {
    values[0] = __uint_as_float(word);
}
__device__ __forceinline__ void unpack(unsigned word, float (&values)[2]) {
    values[0] = __half2float(__ushort_as_half(static_cast<unsigned short>(word & 0xFFFFU)));
    values[1] = __half2float(__ushort_as_half(static_cast<unsigned short>(word >> 16)));
}

/// kCount values from `from`, aligned to their bytes when these are 8 or 16.
template <class Row, int kCount>
__device__ __forceinline__ void load_values(Row const* from, float (&values)[kCount]) {
    constexpr int kBytes = kCount * static_cast<int>(sizeof(Row));
    constexpr int kPerWord = static_cast<int>(4 / sizeof(Row));
    if constexpr (kBytes == 16 || kBytes == 8) {
        unsigned words[kBytes / 4];
        if constexpr (kBytes == 16) {
            uint4 const raw = *reinterpret_cast<uint4 const*>(from);
            words[0] = raw.x, words[1] = raw.y, words[2] = raw.z, words[3] = raw.w;
        } else {
            uint2 const raw = *reinterpret_cast<uint2 const*>(from);
            words[0] = raw.x, words[1] = raw.y;
        }
#pragma unroll
        for (int w = 0; w < kBytes / 4; ++w) {
            float part[kPerWord];
            unpack(words[w], part);
#pragma unroll
            for (int i = 0; i < kPerWord; ++i) values[w * kPerWord + i] = part[i];
        }
    } else {
#pragma unroll
        for (int i = 0; i < kCount; ++i) values[i] = to_float(from[i]);
    }
}

/// Where one token's row and own part lie.
template <class Row>
struct TokenRow {
    Row const* row;
    Row const* user;

    __device__ __forceinline__ TokenRow(AttentionShape const& shape, TokenRows const& side,
                                        std::uint32_t token) {
        std::uint32_t number = token;
        if (shape.index_bytes == 2) number = static_cast<std::uint16_t const*>(side.index)[token];
        if (shape.index_bytes == 4) number = static_cast<std::uint32_t const*>(side.index)[token];
        if (shape.index_bytes == 1) number = static_cast<std::uint8_t const*>(side.index)[token];
        row = static_cast<Row const*>(side.rows) + std::size_t{number} * shape.row_step;
        user = static_cast<Row const*>(side.user) + std::size_t{token} * shape.user_dims;
    }
    /// Value `at` of the row, the token's own ones from `shared_dims` on.
    [[nodiscard]] __device__ __forceinline__ Row value(std::uint32_t at,
                                                       std::uint32_t shared_dims) const {
        return at < shared_dims ? row[at] : user[at - shared_dims];
    }
    /// kCount values from `at` on, which lie within the row.
    template <int kCount>
    __device__ __forceinline__ void load(std::uint32_t at, std::uint32_t shared_dims,
                                         float (&values)[kCount]) const {
        if (at + kCount <= shared_dims) {
            load_values(row + at, values);
        } else {
#pragma unroll
            for (int i = 0; i < kCount; ++i)
                values[i] = to_float(value(at + static_cast<std::uint32_t>(i), shared_dims));
        }
    }
};

/// The block's part of the work.
struct BlockPlace {
    std::uint32_t request;
    std::uint32_t tile;
    std::uint32_t split;
    std::uint32_t head;
    std::uint32_t first_token;
    std::uint32_t end_token;

    __device__ __forceinline__ explicit BlockPlace(AttentionArgs const& args) {
        head = blockIdx.x % args.shape.heads;
        std::uint32_t rest = blockIdx.x / args.shape.heads;
        split = rest % args.splits;
        rest /= args.splits;
        tile = rest % args.tiles;
        request = rest / args.tiles;
        std::uint32_t const tokens = args.requests[request].tokens;
        std::uint32_t const part = (tokens + args.splits - 1) / args.splits;
        first_token = split * part < tokens ? split * part : tokens;
        end_token = first_token + part < tokens ? first_token + part : tokens;
    }
    /// Place of a candidate's partial result.
    [[nodiscard]] __device__ __forceinline__ float* partial(AttentionArgs const& args,
                                                            std::uint32_t candidate) const {
        std::size_t const row = std::size_t{request} * args.max_candidates + candidate;
        std::size_t const slot = (row * args.shape.heads + head) * args.splits + split;
        return args.partials + slot * partial_step(args.shape.head_dim);
    }
};

/// silu(score) / divisor.
__device__ __forceinline__ float silu_weight(AttentionShape const& shape, float score) {
    return score / ((1.0F + expf(-score)) * shape.silu_divisor);
}

}  // namespace ckvsim::device::cuda
