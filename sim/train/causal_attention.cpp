#include "train/causal_attention.hpp"

#include <algorithm>
#include <cmath>

#include "train/vector_clones.hpp"

namespace ckvsim::train {

namespace {

/// Scores of one query and head and their slopes, reused.
struct Row {
    std::vector<float> scores;
    std::vector<float> slopes;
};

/// The bucket of every distance of a sequence.
std::vector<std::uint32_t> buckets_up_to(std::size_t longest) {
    std::vector<std::uint32_t> buckets(longest);
    for (std::size_t distance = 0; distance < longest; ++distance)
        buckets[distance] = static_cast<std::uint32_t>(position_bucket(distance));
    return buckets;
}

std::size_t longest_of(Sequences const& sequences) {
    std::size_t longest = 0;
    for (std::size_t s = 0; s < sequences.size(); ++s)
        longest = std::max<std::size_t>(longest, sequences.tokens[s + 1] - sequences.tokens[s]);
    return longest;
}

/// out[j] = x . rows[j]
CKVSIM_VECTOR_CLONES
void products(std::size_t width, std::size_t head_width, std::size_t count, float const* x,
              float const* rows, float* out) {
    for (std::size_t j = 0; j < count; ++j) {
        float const* const row = rows + j * width;
        float dot = 0;
#pragma omp simd reduction(+ : dot)
        for (std::size_t i = 0; i < head_width; ++i) dot += x[i] * row[i];
        out[j] = dot;
    }
}

/// scores[j] = q . k_j + bias of the distance, for the `count` tokens that a query sees; k starts
/// at the sequence's first token.
void scores_of(std::size_t width, std::size_t head_width, std::size_t count, float const* q,
               float const* k, float const* bias, std::uint32_t const* buckets, float* scores) {
    products(width, head_width, count, q, k, scores);
    for (std::size_t j = 0; j < count; ++j) scores[j] += bias[buckets[count - 1 - j]];
}

/// out[i] += sum_j weights[j] * rows[j][i]
CKVSIM_VECTOR_CLONES
void add_rows(std::size_t width, std::size_t head_width, std::size_t count, float const* weights,
              float const* rows, float* out) {
    for (std::size_t j = 0; j < count; ++j) {
        float const* const row = rows + j * width;
        float const weight = weights[j];
#pragma omp simd
        for (std::size_t i = 0; i < head_width; ++i) out[i] += weight * row[i];
    }
}

/// rows[j][i] += weights[j] * source[i]
CKVSIM_VECTOR_CLONES
void scatter_row(std::size_t width, std::size_t head_width, std::size_t count, float const* weights,
                 float const* source, float* rows) {
    for (std::size_t j = 0; j < count; ++j) {
        float* const row = rows + j * width;
        float const weight = weights[j];
#pragma omp simd
        for (std::size_t i = 0; i < head_width; ++i) row[i] += weight * source[i];
    }
}

/// scores -> weights silu(s) / divisor.
void weigh(CausalShape const& shape, std::size_t count, float* scores) {
    for (std::size_t j = 0; j < count; ++j)
        scores[j] = scores[j] / (1.0F + std::exp(-scores[j])) / shape.divisor;
}

/// scores -> weights; slopes (of the weighted sum by the weight) -> slopes by the score.
void weigh_slopes(CausalShape const& shape, std::size_t count, float* scores, float* slopes) {
    for (std::size_t j = 0; j < count; ++j) {
        float const s = scores[j];
        float const sigmoid = 1.0F / (1.0F + std::exp(-s));
        slopes[j] *= sigmoid * (1.0F + s * (1.0F - sigmoid)) / shape.divisor;
        scores[j] = s * sigmoid / shape.divisor;
    }
}

/// Calls visit(query row, first token row, tokens seen) for the queries of a sequence.
template <class Visit>
void for_each_query(Sequences const& sequences, std::size_t s, Visit const& visit) {
    std::size_t const first = sequences.tokens[s];
    std::size_t const tokens = sequences.tokens[s + 1] - first;
    std::size_t const queries = sequences.queries[s + 1] - sequences.queries[s];
    for (std::size_t r = 0; r < queries; ++r)
        visit(sequences.queries[s] + r, first, tokens - queries + r + 1);
}

}  // namespace

std::size_t position_bucket(std::size_t distance) {
    constexpr std::size_t kExact = kPositionBuckets / 2;
    constexpr double kFarthest = 128.0;
    if (distance < kExact) return distance;
    double const share = std::log(static_cast<double>(distance) / static_cast<double>(kExact)) /
                         std::log(kFarthest / static_cast<double>(kExact));
    return std::min(kPositionBuckets - 1,
                    kExact + static_cast<std::size_t>(share * static_cast<double>(kExact)));
}

void causal_attention_forward(CausalShape const& shape, Sequences const& sequences, float const* q,
                              float const* k, float const* v, float const* bias, float* out) {
    std::size_t const head_width = shape.width / shape.heads;
    std::size_t const longest = longest_of(sequences);
    auto const buckets = buckets_up_to(longest);
    auto const count = static_cast<std::int64_t>(sequences.size());
#pragma omp parallel
    {
        std::vector<float> scores(longest);
#pragma omp for schedule(dynamic, 4)
        for (std::int64_t s = 0; s < count; ++s) {
            for_each_query(
                sequences, static_cast<std::size_t>(s),
                [&](std::size_t query, std::size_t first, std::size_t seen) {
                    std::fill_n(out + query * shape.width, shape.width, 0.0F);
                    for (std::size_t h = 0; h < shape.heads; ++h) {
                        std::size_t const at = h * head_width;
                        scores_of(shape.width, head_width, seen, q + query * shape.width + at,
                                  k + first * shape.width + at, bias + h * kPositionBuckets,
                                  buckets.data(), scores.data());
                        weigh(shape, seen, scores.data());
                        add_rows(shape.width, head_width, seen, scores.data(),
                                 v + first * shape.width + at, out + query * shape.width + at);
                    }
                });
        }
    }
}

void causal_attention_backward(CausalShape const& shape, Sequences const& sequences, float const* q,
                               float const* k, float const* v, float const* bias,
                               float const* grad_out, CausalGradients const& gradients) {
    std::size_t const width = shape.width;
    std::size_t const head_width = width / shape.heads;
    std::size_t const longest = longest_of(sequences);
    std::size_t const biases = shape.heads * kPositionBuckets;
    auto const buckets = buckets_up_to(longest);
    // Every sequence has biases of its own, summed in order afterwards: rows of q, k and v belong
    // to one sequence anyway.
    std::vector<float> bias_parts(sequences.size() * biases, 0.0F);
    auto const count = static_cast<std::int64_t>(sequences.size());
#pragma omp parallel
    {
        Row row{std::vector<float>(longest), std::vector<float>(longest)};
        float* const scores = row.scores.data();
        float* const slopes = row.slopes.data();
#pragma omp for schedule(dynamic, 4)
        for (std::int64_t s = 0; s < count; ++s) {
            float* const own_biases = bias_parts.data() + static_cast<std::size_t>(s) * biases;
            for_each_query(
                sequences, static_cast<std::size_t>(s),
                [&](std::size_t query, std::size_t first, std::size_t seen) {
                    for (std::size_t h = 0; h < shape.heads; ++h) {
                        std::size_t const at = h * head_width;
                        std::size_t const own = query * width + at;
                        std::size_t const rows = first * width + at;
                        scores_of(width, head_width, seen, q + own, k + rows,
                                  bias + h * kPositionBuckets, buckets.data(), scores);
                        // The slope of the loss by a weight is grad_out . v.
                        products(width, head_width, seen, grad_out + own, v + rows, slopes);
                        weigh_slopes(shape, seen, scores, slopes);
                        add_rows(width, head_width, seen, slopes, k + rows, gradients.q + own);
                        scatter_row(width, head_width, seen, slopes, q + own, gradients.k + rows);
                        scatter_row(width, head_width, seen, scores, grad_out + own,
                                    gradients.v + rows);
                        for (std::size_t j = 0; j < seen; ++j) {
                            own_biases[h * kPositionBuckets + buckets[seen - 1 - j]] += slopes[j];
                        }
                    }
                });
        }
    }
    for (std::size_t s = 0; s < sequences.size(); ++s) {
        for (std::size_t i = 0; i < biases; ++i) gradients.bias[i] += bias_parts[s * biases + i];
    }
}

}  // namespace ckvsim::train
