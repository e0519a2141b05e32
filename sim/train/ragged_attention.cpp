#include "train/ragged_attention.hpp"

#include <omp.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <span>
#include <utility>

#include "core/error.hpp"
#include "train/vector_clones.hpp"

namespace ckvsim::train {

namespace {

CKVSIM_VECTOR_CLONES
void forward_list(AttentionShape const& shape, std::uint32_t const* rows, std::size_t count,
                  float const* query, float const* keys, float const* values, float* out,
                  float* weights) {
    std::size_t const key_head = shape.key_width / shape.heads;
    std::size_t const value_head = shape.value_width / shape.heads;
    std::fill_n(out, shape.value_width, 0.0F);
    for (std::size_t h = 0; h < shape.heads; ++h) {
        float* const w = weights + h * count;
        float const* const q = query + h * key_head;
        float largest = -INFINITY;
        for (std::size_t j = 0; j < count; ++j) {
            float const* const k = keys + rows[j] * shape.key_width + h * key_head;
            float dot = 0;
#pragma omp simd reduction(+ : dot)
            for (std::size_t i = 0; i < key_head; ++i) dot += q[i] * k[i];
            w[j] = dot * shape.scale;
            largest = std::max(largest, w[j]);
        }
        float sum = 0;
        for (std::size_t j = 0; j < count; ++j) {
            w[j] = std::exp(w[j] - largest);
            sum += w[j];
        }
        float* const o = out + h * value_head;
        for (std::size_t j = 0; j < count; ++j) {
            w[j] /= sum;
            float const* const v = values + rows[j] * shape.value_width + h * value_head;
            float const weight = w[j];
#pragma omp simd
            for (std::size_t i = 0; i < value_head; ++i) o[i] += weight * v[i];
        }
    }
}

/// d loss / d (q . k) per head and token, times the scale.
CKVSIM_VECTOR_CLONES
void score_gradients_list(AttentionShape const& shape, std::uint32_t const* rows, std::size_t count,
                          float const* values, float const* weights, float const* grad_out,
                          float* gradients) {
    std::size_t const value_head = shape.value_width / shape.heads;
    for (std::size_t h = 0; h < shape.heads; ++h) {
        float const* const w = weights + h * count;
        float const* const g = grad_out + h * value_head;
        float* const d = gradients + h * count;
        float mean = 0;
        for (std::size_t j = 0; j < count; ++j) {
            float const* const v = values + rows[j] * shape.value_width + h * value_head;
            float dot = 0;
#pragma omp simd reduction(+ : dot)
            for (std::size_t i = 0; i < value_head; ++i) dot += g[i] * v[i];
            d[j] = dot;
            mean += w[j] * dot;
        }
        for (std::size_t j = 0; j < count; ++j) d[j] = w[j] * (d[j] - mean) * shape.scale;
    }
}

CKVSIM_VECTOR_CLONES
void query_gradient_list(AttentionShape const& shape, std::uint32_t const* rows, std::size_t count,
                         float const* keys, float const* gradients, float* grad_query) {
    std::size_t const key_head = shape.key_width / shape.heads;
    for (std::size_t h = 0; h < shape.heads; ++h) {
        float* const q = grad_query + h * key_head;
        for (std::size_t j = 0; j < count; ++j) {
            float const* const k = keys + rows[j] * shape.key_width + h * key_head;
            float const d = gradients[h * count + j];
#pragma omp simd
            for (std::size_t i = 0; i < key_head; ++i) q[i] += d * k[i];
        }
    }
}

/// table[row, low .. high) += coefficient[head, j] * source[low .. high) for the tokens of one
/// list.
CKVSIM_VECTOR_CLONES
void scatter_list(std::size_t heads, std::size_t width, std::uint32_t const* rows,
                  std::size_t count, float const* coefficients, float const* source,
                  std::size_t low, std::size_t high, float* table) {
    std::size_t const head_width = width / heads;
    for (std::size_t h = low / head_width; h * head_width < high; ++h) {
        std::size_t const begin = std::max(low, h * head_width);
        std::size_t const end = std::min(high, (h + 1) * head_width);
        for (std::size_t j = 0; j < count; ++j) {
            float const c = coefficients[h * count + j];
            float* const target = table + rows[j] * width;
#pragma omp simd
            for (std::size_t i = begin; i < end; ++i) target[i] += c * source[i];
        }
    }
}

/// Adds outer products into table rows. Each thread owns a slice of the width, so that no two write
/// one address and every element sums its tokens in order, whatever the number of threads.
void scatter(std::size_t heads, std::size_t width, Ragged const& tokens, float const* coefficients,
             float const* sources, float* table) {
    auto const slices = static_cast<std::int64_t>(
        std::min<std::size_t>(width, static_cast<std::size_t>(omp_get_max_threads())));
#pragma omp parallel for schedule(static)
    for (std::int64_t s = 0; s < slices; ++s) {
        std::size_t const low = width * static_cast<std::size_t>(s) / slices;
        std::size_t const high = width * static_cast<std::size_t>(s + 1) / slices;
        for (std::size_t b = 0; b < tokens.lists(); ++b) {
            auto const list = tokens.list(b);
            scatter_list(heads, width, list.data(), list.size(),
                         coefficients + tokens.offsets[b] * heads, sources + b * width, low, high,
                         table);
        }
    }
}

CKVSIM_VECTOR_CLONES
void scores_of_list(std::size_t width, std::uint32_t const* rows, std::size_t count,
                    float const* query, float const* keys, float* scores) {
    for (std::size_t j = 0; j < count; ++j) {
        float const* const k = keys + rows[j] * width;
        float dot = 0;
#pragma omp simd reduction(+ : dot)
        for (std::size_t i = 0; i < width; ++i) dot += query[i] * k[i];
        scores[j] = dot;
    }
}

/// Of each list the k tokens with the highest score, of equal ones the newer. `score` writes one
/// score per token of a sample's list.
template <class Score>
Ragged choose(Ragged const& tokens, std::size_t k, Score const& score,
              std::vector<std::uint32_t>* positions) {
    Ragged chosen;
    std::vector<std::size_t> starts(tokens.lists() + 1, 0);
    for (std::size_t b = 0; b < tokens.lists(); ++b) {
        starts[b + 1] = starts[b] + std::min(k, tokens.list(b).size());
        chosen.offsets.push_back(static_cast<std::uint32_t>(starts[b + 1]));
    }
    chosen.rows.resize(starts.back());
    std::vector<std::uint32_t> places(starts.back());
    auto const samples = static_cast<std::int64_t>(tokens.lists());
#pragma omp parallel
    {
        std::vector<float> scores;
        std::vector<std::uint32_t> order;
#pragma omp for schedule(static)
        for (std::int64_t b = 0; b < samples; ++b) {
            auto const sample = static_cast<std::size_t>(b);
            auto const list = tokens.list(sample);
            std::size_t const kept = std::min(k, list.size());
            order.resize(list.size());
            std::iota(order.begin(), order.end(), 0U);
            if (kept < list.size()) {
                scores.resize(list.size());
                score(sample, list, scores.data());
                auto const better = [&](std::uint32_t a, std::uint32_t c) {
                    return scores[a] != scores[c] ? scores[a] > scores[c] : a > c;
                };
                std::nth_element(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(kept),
                                 order.end(), better);
                std::sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(kept));
            }
            for (std::size_t j = 0; j < kept; ++j) {
                places[starts[sample] + j] = order[j];
                chosen.rows[starts[sample] + j] = list[order[j]];
            }
        }
    }
    if (positions != nullptr) *positions = std::move(places);
    return chosen;
}

void require_divisible(AttentionShape const& shape) {
    validate(shape.heads > 0 && shape.key_width % shape.heads == 0 &&
                 shape.value_width % shape.heads == 0,
             "attention: heads must divide key and value width");
}

}  // namespace

void attention_forward(AttentionShape const& shape, Ragged const& tokens, float const* queries,
                       float const* keys, float const* values, float* out, float* weights) {
    require_divisible(shape);
    auto const samples = static_cast<std::int64_t>(tokens.lists());
#pragma omp parallel for schedule(static)
    for (std::int64_t b = 0; b < samples; ++b) {
        auto const sample = static_cast<std::size_t>(b);
        auto const list = tokens.list(sample);
        forward_list(shape, list.data(), list.size(), queries + sample * shape.key_width, keys,
                     values, out + sample * shape.value_width,
                     weights + tokens.offsets[sample] * shape.heads);
    }
}

void attention_backward(AttentionShape const& shape, Ragged const& tokens, float const* queries,
                        float const* keys, float const* values, float const* weights,
                        float const* grad_out, float* grad_queries, float* grad_keys,
                        float* grad_values) {
    require_divisible(shape);
    auto const samples = static_cast<std::int64_t>(tokens.lists());
    std::vector<float> score_gradients;
    if (grad_queries != nullptr || grad_keys != nullptr) {
        score_gradients.resize(tokens.rows.size() * shape.heads);
#pragma omp parallel for schedule(static)
        for (std::int64_t b = 0; b < samples; ++b) {
            auto const sample = static_cast<std::size_t>(b);
            auto const list = tokens.list(sample);
            std::size_t const at = tokens.offsets[sample] * shape.heads;
            score_gradients_list(shape, list.data(), list.size(), values, weights + at,
                                 grad_out + sample * shape.value_width, &score_gradients[at]);
            if (grad_queries != nullptr) {
                query_gradient_list(shape, list.data(), list.size(), keys, &score_gradients[at],
                                    grad_queries + sample * shape.key_width);
            }
        }
    }
    if (grad_keys != nullptr) {
        scatter(shape.heads, shape.key_width, tokens, score_gradients.data(), queries, grad_keys);
    }
    if (grad_values != nullptr)
        scatter(shape.heads, shape.value_width, tokens, weights, grad_out, grad_values);
}

Ragged select_top_k(std::size_t key_width, Ragged const& tokens, float const* queries,
                    float const* keys, std::size_t k, std::vector<std::uint32_t>* positions) {
    return choose(
        tokens, k,
        [&](std::size_t sample, std::span<std::uint32_t const> list, float* scores) {
            scores_of_list(key_width, list.data(), list.size(), queries + sample * key_width, keys,
                           scores);
        },
        positions);
}

Ragged select_nearest(Ragged const& tokens, std::uint64_t const* queries,
                      std::uint64_t const* signatures, std::size_t k,
                      std::vector<std::uint32_t>* positions) {
    return choose(
        tokens, k,
        [&](std::size_t sample, std::span<std::uint32_t const> list, float* scores) {
            for (std::size_t j = 0; j < list.size(); ++j)
                scores[j] =
                    -static_cast<float>(std::popcount(queries[sample] ^ signatures[list[j]]));
        },
        positions);
}

}  // namespace ckvsim::train
