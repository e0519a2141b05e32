#include "device/cpu/product_codes.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/error.hpp"
#include "core/rng.hpp"
#include "device/cpu/attention.hpp"

namespace ckvsim::device::cpu {
namespace {

/// Rows whose codewords are chosen together.
constexpr std::size_t kBlock = 64;
/// Different rows per codeword that a codebook is fitted to; more move the centres little.
constexpr std::size_t kRowsPerWord = 128;
constexpr int kRounds = 12;
/// Ids of the random streams of codebooks, beyond those of samples.
constexpr std::uint64_t kCodebookStreams = 1ULL << 48;

/// Nearest codeword of each of `count` points [part] (step in floats): the highest
/// x . c - |c|^2 / 2. `logits` has kBlock * words.stride floats.
void nearest(PackedMatrix const& words, float const* half_squares, float const* points,
             std::size_t step, std::size_t count, std::uint8_t* codes, std::size_t code_step,
             float* logits) {
    for (std::size_t first = 0; first < count; first += kBlock) {
        std::size_t const rows = std::min(kBlock, count - first);
        multiply(points + first * step, step, rows, words, logits, words.stride);
        for (std::size_t r = 0; r < rows; ++r) {
            float* own = logits + r * words.stride;
            for (std::size_t j = 0; j < words.out; ++j) own[j] -= half_squares[j];
            codes[(first + r) * code_step] = static_cast<std::uint8_t>(arg_max(own, words.out));
        }
    }
}

AlignedVector<float> half_squares_of(std::vector<float> const& centres, std::size_t part) {
    AlignedVector<float> result(padded(centres.size() / part), 0.0F);
    for (std::size_t i = 0; i < centres.size(); ++i)
        result[i / part] += 0.5F * centres[i] * centres[i];
    return result;
}

/// Rows that a codebook is fitted to: their numbers and how often each counts.
struct Sample {
    std::vector<std::size_t> rows;
    std::vector<std::uint32_t> weights;
    std::uint32_t total = 0;
};

/// One subspace: points [., part] of a sample and the centres [words, part] that k-means moves.
class Clusters {
  public:
    Clusters(std::vector<float> points, Sample const& sample, std::size_t part, std::size_t words)
        : points_(std::move(points)),
          weights_(sample.weights),
          total_(sample.total),
          part_(part),
          count_(points_.size() / part),
          words_(words),
          codes_(count_) {}

    std::vector<float> fit(CounterRng rng) {
        seed(rng);
        for (int round = 0; round < kRounds; ++round) move();
        return std::move(centres_);
    }

  private:
    /// k-means++: the first centre is a point drawn in proportion to its weight, each further one
    /// in proportion to weight and squared distance.
    void seed(CounterRng& rng) {
        std::vector<float> distances(count_, std::numeric_limits<float>::max());
        std::size_t next = 0;
        for (auto left = rng.below(total_); left >= weights_[next];) left -= weights_[next++];
        for (std::size_t j = 0; j < words_; ++j) {
            float const* centre = points_.data() + next * part_;
            centres_.insert(centres_.end(), centre, centre + part_);
            double total = 0.0;
            for (std::size_t i = 0; i < count_; ++i) {
                float sum = 0.0F;
                for (std::size_t k = 0; k < part_; ++k) {
                    float const difference = points_[i * part_ + k] - centre[k];
                    sum += difference * difference;
                }
                distances[i] = std::min(distances[i], sum);
                total += weights_[i] * double{distances[i]};
            }
            double wanted = rng.uniform() * total;
            next = 0;
            for (; next + 1 < count_; ++next) {
                double const own = weights_[next] * double{distances[next]};
                if (wanted < own) break;
                wanted -= own;
            }
        }
    }
    /// One round: points to their nearest centres, centres to the weighted means of their points. A
    /// centre without points stays.
    void move() {
        PackedMatrix const matrix(centres_, words_, part_);
        auto const squares = half_squares_of(centres_, part_);
        AlignedVector<float> logits(kBlock * matrix.stride);
        nearest(matrix, squares.data(), points_.data(), part_, count_, codes_.data(), 1,
                logits.data());
        std::vector<double> sums(centres_.size(), 0.0);
        std::vector<std::size_t> sizes(words_, 0);
        for (std::size_t i = 0; i < count_; ++i) {
            sizes[codes_[i]] += weights_[i];
            for (std::size_t k = 0; k < part_; ++k)
                sums[codes_[i] * part_ + k] += weights_[i] * double{points_[i * part_ + k]};
        }
        for (std::size_t j = 0; j < words_; ++j) {
            for (std::size_t k = 0; sizes[j] > 0 && k < part_; ++k)
                centres_[j * part_ + k] =
                    static_cast<float>(sums[j * part_ + k] / static_cast<double>(sizes[j]));
        }
    }

    std::vector<float> points_;
    std::vector<std::uint32_t> const& weights_;
    std::uint32_t total_;
    std::size_t part_;
    std::size_t count_;
    std::size_t words_;
    std::vector<std::uint8_t> codes_;
    std::vector<float> centres_;
};

/// All of `count` rows, or `most` of the list that holds each as often as it counts, evenly spaced.
Sample sample_of(std::size_t count, std::span<std::uint32_t const> weights, std::size_t most) {
    validate(weights.empty() || weights.size() == count, "device/cpu: every row needs a weight");
    Sample sample;
    sample.weights.assign(weights.begin(), weights.end());
    if (weights.empty()) sample.weights.assign(count, 1);
    std::uint64_t total = 0;
    for (std::uint32_t const weight : sample.weights) total += weight;
    validate(total > 0 && total <= std::numeric_limits<std::uint32_t>::max(),
             "device/cpu: the weights of rows add up to none or to more than 32 bits hold");
    sample.total = static_cast<std::uint32_t>(total);
    sample.rows.resize(count);
    std::iota(sample.rows.begin(), sample.rows.end(), std::size_t{0});
    if (count <= most) return sample;
    Sample thinned;
    thinned.total = static_cast<std::uint32_t>(std::min<std::uint64_t>(total, most));
    std::uint64_t end = 0;
    std::size_t next = 0;
    for (std::uint64_t i = 0; i < thinned.total; ++i) {
        for (; end <= i * total / thinned.total; ++next) end += sample.weights[next];
        if (thinned.rows.empty() || thinned.rows.back() != next - 1) {
            thinned.rows.push_back(next - 1);
            thinned.weights.push_back(0);
        }
        ++thinned.weights.back();
    }
    return thinned;
}

/// One subspace of a sample of `rows`, back to back.
std::vector<float> points_of(std::span<float const> rows, std::size_t width, Sample const& sample,
                             std::size_t subspace, std::size_t part) {
    std::vector<float> points;
    points.reserve(sample.rows.size() * part);
    for (std::size_t const row : sample.rows) {
        float const* from = rows.data() + row * width + subspace * part;
        points.insert(points.end(), from, from + part);
    }
    return points;
}

/// Values that lie in one head and one subspace: heads and subspaces need not nest.
struct Piece {
    std::size_t head;
    std::size_t subspace;
    std::size_t start;   ///< of the row
    std::size_t offset;  ///< in the subspace
    std::size_t length;
};

/// Calls visit(piece) for all pieces of a row.
template <class Visit>
void for_pieces(Codebook const& book, std::size_t head_dim, Visit const& visit) {
    for (std::size_t start = 0; start < book.width();) {
        std::size_t const head = start / head_dim;
        std::size_t const subspace = start / book.part;
        std::size_t const end = std::min((head + 1) * head_dim, (subspace + 1) * book.part);
        visit(Piece{head, subspace, start, start - subspace * book.part, end - start});
        start = end;
    }
}

std::uint8_t code_at(void const* const* codes, std::size_t token, std::size_t subspace) {
    return static_cast<std::uint8_t const*>(codes[token])[subspace];
}

/// One query. scores [heads, padded(tokens)], words [padded(k.words) or padded(v.words)], sums
/// [padded(part)].
void attend_one(CodesCall const& call, std::size_t c, float* scores, float* words, float* sums) {
    std::size_t const step = padded(call.tokens);
    float const* q = call.q + c * call.q_step;
    float* out = call.out + c * call.out_step;
    std::fill_n(scores, call.heads * step, 0.0F);
    for_pieces(*call.k, call.head_dim, [&](Piece const& piece) {
        PackedMatrix const& matrix = call.k->scores[piece.subspace];
        multiply(q + piece.start, 0, 1, matrix.data.data() + piece.offset * matrix.stride,
                 piece.length, matrix.stride, words, 0);
        float* own = scores + piece.head * step;
        for (std::size_t t = 0; t < call.tokens; ++t)
            own[t] += words[code_at(call.k_codes, t, piece.subspace)];
    });
    float const scale = 1.0F / std::sqrt(static_cast<float>(call.head_dim));
    for (std::size_t h = 0; h < call.heads; ++h)
        softmax_in_place(scores + h * step, call.tokens, scale);
    for_pieces(*call.v, call.head_dim, [&](Piece const& piece) {
        std::fill_n(words, call.v->words, 0.0F);
        float const* own = scores + piece.head * step;
        for (std::size_t t = 0; t < call.tokens; ++t)
            words[code_at(call.v_codes, t, piece.subspace)] += own[t];
        multiply(words, 0, 1, call.v->rows[piece.subspace].data(), call.v->words,
                 padded(call.v->part), sums, 0);
        std::copy_n(sums + piece.offset, piece.length, out + piece.start);
    });
}

}  // namespace

void Codebook::encode(float const* values, std::size_t step, std::size_t count, std::uint8_t* codes,
                      AlignedVector<float>& scratch) const {
    float* logits = reserve_elements(scratch, kBlock * padded(words));
    for (std::size_t s = 0; s < subspaces(); ++s) {
        nearest(scores[s], half_squares[s].data(), values + s * part, step, count, codes + s,
                subspaces(), logits);
    }
}

void Codebook::decode(std::uint8_t const* codes, float* row) const {
    for (std::size_t s = 0; s < subspaces(); ++s)
        std::copy_n(rows[s].data() + codes[s] * padded(part), part, row + s * part);
}

std::size_t Codebook::bytes() const {
    std::size_t floats = 0;
    for (std::size_t s = 0; s < subspaces(); ++s)
        floats += scores[s].data.size() + half_squares[s].size() + rows[s].size();
    return floats * sizeof(float);
}

Codebook fit_codebook(std::span<float const> rows, std::size_t width, std::size_t subspaces,
                      std::size_t words, std::uint64_t seed, std::uint32_t number,
                      std::span<std::uint32_t const> weights) {
    validate(!rows.empty() && subspaces > 0 && width % subspaces == 0 && words >= 1 && words <= 256,
             "device/cpu: a codebook needs rows, subspaces that divide them and 1 to 256 words");
    Codebook book;
    book.words = words;
    book.part = width / subspaces;
    book.scores.resize(subspaces);
    book.half_squares.resize(subspaces);
    book.rows.resize(subspaces);
    std::size_t const wide = padded(book.part);
    Sample const sample = sample_of(rows.size() / width, weights, kRowsPerWord * words);
#pragma omp parallel for schedule(dynamic)
    for (std::int64_t at = 0; at < static_cast<std::int64_t>(subspaces); ++at) {
        auto const s = static_cast<std::size_t>(at);
        Clusters clusters(points_of(rows, width, sample, s, book.part), sample, book.part, words);
        auto const centres = clusters.fit(CounterRng(
            seed, Purpose::training, kCodebookStreams + number, static_cast<std::uint32_t>(s)));
        book.scores[s] = PackedMatrix(centres, words, book.part);
        book.half_squares[s] = half_squares_of(centres, book.part);
        book.rows[s].assign(words * wide, 0.0F);
        for (std::size_t i = 0; i < centres.size(); ++i)
            book.rows[s][i / book.part * wide + i % book.part] = centres[i];
    }
    return book;
}

void attend_codes(CodesCall const& call, AlignedVector<float>& scratch) {
    if (call.tokens == 0) {
        for (std::size_t c = 0; c < call.count; ++c)
            std::fill_n(call.out + c * call.out_step, call.heads * call.head_dim, 0.0F);
        return;
    }
    std::size_t const scores = call.heads * padded(call.tokens);
    std::size_t const words = padded(std::max(call.k->words, call.v->words));
    float* memory = reserve_elements(scratch, scores + words + padded(call.v->part));
    for (std::size_t c = 0; c < call.count; ++c)
        attend_one(call, c, memory, memory + scores, memory + scores + words);
}

void search_codes(Codebook const& book, float const* q, std::uint8_t const* codes,
                  std::size_t tokens, float* scores, AlignedVector<float>& scratch) {
    float* words = reserve_elements(scratch, padded(book.words));
    std::size_t const subspaces = book.subspaces();
    std::fill_n(scores, tokens, 0.0F);
    for (std::size_t s = 0; s < subspaces; ++s) {
        multiply(q + s * book.part, 0, 1, book.scores[s], words, 0);
        for (std::size_t t = 0; t < tokens; ++t) scores[t] += words[codes[t * subspaces + s]];
    }
}

bool codes_pay(Codebook const& book, std::size_t tokens) {
    // Tables cost words x width multiply-adds in vectors, rows tokens x width, and a look-up as
    // much as about one vector of them.
    constexpr std::size_t kLookUp = 8;
    return tokens * book.width() > book.words * book.width() + tokens * book.subspaces() * kLookUp;
}

}  // namespace ckvsim::device::cpu
