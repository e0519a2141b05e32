#include "train/collisions.hpp"

#include <omp.h>

#include <algorithm>
#include <cmath>

#include "core/error.hpp"
#include "train/vector_clones.hpp"

namespace ckvsim::train {

namespace {

// Gradients of sums [samples of a block, hashes, width] that wait for being added to the table.
constexpr std::size_t kBlockElements = 1U << 20;

/// projected[p] = row . plane p, from the planes' columns [width, planes].
CKVSIM_VECTOR_CLONES
void project_row(std::size_t width, std::size_t planes, float const* row, float const* columns,
                 float* projected) {
    std::fill_n(projected, planes, 0.0F);
    for (std::size_t i = 0; i < width; ++i) {
        float const value = row[i];
        float const* const column = columns + i * planes;
#pragma omp simd
        for (std::size_t p = 0; p < planes; ++p) projected[p] += value * column[p];
    }
}

/// sums[h, :] = sum of the rows that collide under hash h, the oldest first.
CKVSIM_VECTOR_CLONES
void sum_list(std::size_t hashes, std::size_t width, std::uint32_t const* rows, std::size_t count,
              std::uint8_t const* buckets, std::uint8_t const* wanted, float const* table,
              float* sums) {
    std::fill_n(sums, hashes * width, 0.0F);
    for (std::size_t j = 0; j < count; ++j) {
        std::uint8_t const* const own = buckets + rows[j] * hashes;
        float const* const row = table + rows[j] * width;
        for (std::size_t h = 0; h < hashes; ++h) {
            if (own[h] != wanted[h]) continue;
            float* const sum = sums + h * width;
#pragma omp simd
            for (std::size_t i = 0; i < width; ++i) sum[i] += row[i];
        }
    }
}

/// In double, one after the other: the same for any vectors and alignment, and little work beside
/// the sums.
double dot(std::size_t width, float const* a, float const* b) {
    double sum = 0;
    for (std::size_t i = 0; i < width; ++i) sum += double{a[i]} * b[i];
    return sum;
}

/// d loss / d sums in the place of the sums.
void gradients_of_sums(std::size_t hashes, std::size_t width, float const* grad_out, float* sums) {
    for (std::size_t h = 0; h < hashes; ++h) {
        float* const sum = sums + h * width;
        double const length = std::sqrt(dot(width, sum, sum));
        if (length < kShortestSum) {
            std::fill_n(sum, width, 0.0F);
            continue;
        }
        double const along = dot(width, sum, grad_out) / (length * length);
        double const factor = 1.0 / (length * static_cast<double>(hashes));
        for (std::size_t i = 0; i < width; ++i)
            sum[i] = static_cast<float>((grad_out[i] - along * sum[i]) * factor);
    }
}

/// table[row, low .. high) += gradient of the sums that the row was added to.
CKVSIM_VECTOR_CLONES
void scatter_list(std::size_t hashes, std::size_t width, std::uint32_t const* rows,
                  std::size_t count, std::uint8_t const* buckets, std::uint8_t const* wanted,
                  float const* gradients, std::size_t low, std::size_t high, float* table) {
    for (std::size_t j = 0; j < count; ++j) {
        std::uint8_t const* const own = buckets + rows[j] * hashes;
        float* const target = table + rows[j] * width;
        for (std::size_t h = 0; h < hashes; ++h) {
            if (own[h] != wanted[h]) continue;
            float const* const gradient = gradients + h * width;
#pragma omp simd
            for (std::size_t i = low; i < high; ++i) target[i] += gradient[i];
        }
    }
}

void sum_sample(Collisions const& collisions, std::size_t width, std::size_t sample,
                float const* table, float* sums) {
    auto const list = collisions.tokens->list(sample);
    auto const* const buckets = collisions.buckets.data();
    auto const candidate = static_cast<std::size_t>(collisions.candidates[sample]);
    sum_list(collisions.hashes, width, list.data(), list.size(), buckets,
             buckets + candidate * collisions.hashes, table, sums);
}

/// Each thread owns a slice of the width, so that no two write one address and every element sums
/// its tokens in order, whatever the number of threads.
void scatter(Collisions const& collisions, std::size_t width, std::size_t first, std::size_t end,
             float const* gradients, float* grad_table) {
    std::size_t const hashes = collisions.hashes;
    auto const* const buckets = collisions.buckets.data();
    auto const slices = static_cast<std::int64_t>(
        std::min<std::size_t>(width, static_cast<std::size_t>(omp_get_max_threads())));
#pragma omp parallel for schedule(static)
    for (std::int64_t s = 0; s < slices; ++s) {
        std::size_t const low = width * static_cast<std::size_t>(s) / slices;
        std::size_t const high = width * static_cast<std::size_t>(s + 1) / slices;
        for (std::size_t b = first; b < end; ++b) {
            auto const list = collisions.tokens->list(b);
            auto const candidate = static_cast<std::size_t>(collisions.candidates[b]);
            scatter_list(hashes, width, list.data(), list.size(), buckets,
                         buckets + candidate * hashes, gradients + (b - first) * hashes * width,
                         low, high, grad_table);
        }
    }
}

void require_consistent(Collisions const& collisions) {
    validate(collisions.hashes > 0 && collisions.tokens != nullptr &&
                 collisions.candidates.size() == collisions.tokens->lists(),
             "collisions: one candidate per token list and at least one hash");
}

}  // namespace

std::vector<std::uint8_t> buckets_of(std::size_t hashes, std::size_t hash_bits, std::size_t width,
                                     std::size_t rows, float const* table, float const* planes) {
    validate(hash_bits >= 1 && hash_bits <= 8, "collisions: a bucket's number is one byte");
    std::size_t const count = hashes * hash_bits;
    std::vector<float> columns(width * count);
    for (std::size_t p = 0; p < count; ++p) {
        for (std::size_t i = 0; i < width; ++i) columns[i * count + p] = planes[p * width + i];
    }
    std::vector<std::uint8_t> buckets(rows * hashes, 0);
    auto const all = static_cast<std::int64_t>(rows);
#pragma omp parallel
    {
        std::vector<float> projected(count);
#pragma omp for schedule(static)
        for (std::int64_t r = 0; r < all; ++r) {
            auto const row = static_cast<std::size_t>(r);
            project_row(width, count, table + row * width, columns.data(), projected.data());
            for (std::size_t p = 0; p < count; ++p) {
                unsigned const above = projected[p] > 0.0F ? 1U : 0U;
                auto& bucket = buckets[row * hashes + p / hash_bits];
                bucket = static_cast<std::uint8_t>(bucket | (above << (p % hash_bits)));
            }
        }
    }
    return buckets;
}

void collision_means_forward(Collisions const& collisions, std::size_t width, float const* table,
                             float* out) {
    require_consistent(collisions);
    std::size_t const hashes = collisions.hashes;
    auto const samples = static_cast<std::int64_t>(collisions.tokens->lists());
#pragma omp parallel
    {
        std::vector<float> sums(hashes * width);
#pragma omp for schedule(static)
        for (std::int64_t b = 0; b < samples; ++b) {
            auto const sample = static_cast<std::size_t>(b);
            sum_sample(collisions, width, sample, table, sums.data());
            float* const mean = out + sample * width;
            std::fill_n(mean, width, 0.0F);
            for (std::size_t h = 0; h < hashes; ++h) {
                float const* const sum = &sums[h * width];
                double const length = std::max(std::sqrt(dot(width, sum, sum)), kShortestSum);
                auto const factor =
                    static_cast<float>(1.0 / (length * static_cast<double>(hashes)));
                for (std::size_t i = 0; i < width; ++i) mean[i] += factor * sum[i];
            }
        }
    }
}

void collision_means_backward(Collisions const& collisions, std::size_t width, float const* table,
                              float const* grad_out, float* grad_table) {
    require_consistent(collisions);
    std::size_t const per_sample = collisions.hashes * width;
    std::size_t const samples = collisions.tokens->lists();
    std::size_t const block = std::max<std::size_t>(1, kBlockElements / per_sample);
    std::vector<float> gradients(std::min(block, samples) * per_sample);
    for (std::size_t first = 0; first < samples; first += block) {
        std::size_t const end = std::min(samples, first + block);
        auto const count = static_cast<std::int64_t>(end - first);
#pragma omp parallel for schedule(static)
        for (std::int64_t b = 0; b < count; ++b) {
            std::size_t const sample = first + static_cast<std::size_t>(b);
            float* const sums = &gradients[static_cast<std::size_t>(b) * per_sample];
            sum_sample(collisions, width, sample, table, sums);
            gradients_of_sums(collisions.hashes, width, grad_out + sample * width, sums);
        }
        scatter(collisions, width, first, end, gradients.data(), grad_table);
    }
}

}  // namespace ckvsim::train
