#include "device/cpu/bucket_sums.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "device/cpu/kernels.hpp"

// As in kernels.cpp: AVX3, AVX2 and the compiler's baseline.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "device/cpu/bucket_sums.cpp"
// foreach_target.h must come first.
// clang-format off
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace ckvsim::device::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void add_to_rows(float const* row, std::size_t width, std::uint32_t const* places,
                 std::size_t count, float* sums) {
    hn::ScalableTag<float> const d;
    std::size_t const lanes = hn::Lanes(d);
    for (std::size_t p = 0; p < count; ++p) {
        float* sum = sums + places[p] * width;
        std::size_t i = 0;
        for (; i + lanes <= width; i += lanes)
            hn::StoreU(hn::Add(hn::LoadU(d, sum + i), hn::LoadU(d, row + i)), d, sum + i);
        for (; i < width; ++i) sum[i] += row[i];
    }
}

void mean_of_rows(float const* rows, std::size_t width, std::uint32_t const* places,
                  std::size_t count, float* out) {
    hn::ScalableTag<float> const d;
    std::size_t const lanes = hn::Lanes(d);
    float const share = 1.0F / static_cast<float>(count);
    std::size_t i = 0;
    for (; i + lanes <= width; i += lanes) {
        auto sum = hn::Zero(d);
        for (std::size_t p = 0; p < count; ++p)
            sum = hn::Add(sum, hn::LoadU(d, rows + places[p] * width + i));
        hn::StoreU(hn::Mul(sum, hn::Set(d, share)), d, out + i);
    }
    for (; i < width; ++i) {
        float sum = 0.0F;
        for (std::size_t p = 0; p < count; ++p) sum += rows[places[p] * width + i];
        out[i] = sum * share;
    }
}

}  // namespace ckvsim::device::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ckvsim::device::cpu {

HWY_EXPORT(add_to_rows);
HWY_EXPORT(mean_of_rows);

namespace {

constexpr std::uint32_t kNowhere = std::numeric_limits<std::uint32_t>::max();
constexpr float kLeastLength = 1e-12F;

}  // namespace

void add_to_rows(float const* row, std::size_t width, std::uint32_t const* places,
                 std::size_t count, float* sums) {
    HWY_DYNAMIC_DISPATCH(add_to_rows)(row, width, places, count, sums);
}

void mean_of_rows(float const* rows, std::size_t width, std::uint32_t const* places,
                  std::size_t count, float* out) {
    HWY_DYNAMIC_DISPATCH(mean_of_rows)(rows, width, places, count, out);
}

void to_unit_length(float* row, std::size_t width) {
    float const length = std::sqrt(dot(row, row, width));
    float const scale = 1.0F / std::max(length, kLeastLength);
    for (std::size_t i = 0; i < width; ++i) row[i] *= scale;
}

void pack_buckets(float const* projected, std::size_t step, std::size_t count, std::size_t hashes,
                  std::size_t bits, std::byte* out) {
    for (std::size_t r = 0; r < count; ++r) {
        float const* value = projected + r * step;
        for (std::size_t h = 0; h < hashes; ++h) {
            std::uint32_t bucket = 0;
            for (std::size_t b = 0; b < bits; ++b, ++value)
                bucket |= static_cast<std::uint32_t>(*value > 0.0F) << b;
            out[r * hashes + h] = static_cast<std::byte>(bucket);
        }
    }
}

BucketShape::BucketShape(model::SimWeights const& weights)
    : hashes(weights.shape.bucket_hashes()), bits(weights.shape.hash_bits), width(weights.d_e) {}

void WantedRows::clear(BucketShape const& shape) {
    // Undoes the last request's: there may be many more rows than are asked for.
    for (std::uint32_t const row : rows_) places_[row] = kNowhere;
    rows_.clear();
    if (places_.size() < shape.rows()) places_.resize(shape.rows(), kNowhere);
}

void WantedRows::add_row(std::uint32_t row) {
    if (places_[row] != kNowhere) return;
    places_[row] = static_cast<std::uint32_t>(rows_.size());
    rows_.push_back(row);
}

void WantedRows::add_all(BucketShape const& shape) {
    for (std::uint32_t row = 0; row < shape.rows(); ++row) add_row(row);
}

void WantedRows::add(BucketShape const& shape, std::byte const* buckets) {
    for (std::size_t h = 0; h < shape.hashes; ++h) add_row(shape.row(h, buckets[h]));
}

std::size_t WantedRows::find(BucketShape const& shape, std::byte const* buckets,
                             std::uint32_t* places) const {
    std::size_t found = 0;
    for (std::size_t h = 0; h < shape.hashes; ++h) {
        std::uint32_t const place = places_[shape.row(h, buckets[h])];
        places[found] = place;
        found += place != kNowhere ? 1 : 0;  // no branch: which bucket it is, nobody can foresee
    }
    return found;
}

void sum_wanted(BucketShape const& shape, WantedRows const& wanted, std::span<ItemId const> tokens,
                TokenBuckets const& buckets, float const* item_embeddings,
                std::vector<std::uint32_t>& places, float* sums) {
    places.resize(shape.hashes);
    std::fill_n(sums, wanted.rows().size() * shape.width, 0.0F);
    for (std::size_t t = 0; t < tokens.size(); ++t) {
        std::size_t const found = wanted.find(shape, buckets.of(t, shape), places.data());
        if (found == 0) continue;
        add_to_rows(item_embeddings + tokens[t] * shape.width, shape.width, places.data(), found,
                    sums);
    }
}

}  // namespace ckvsim::device::cpu
#endif  // HWY_ONCE
