// Attention of so many queries over the same rows that packing pays, compiled once per instruction
// set: K lies by columns (a lane is a token), so that scores need no sum over lanes, V in panels,
// and one kernel multiplies with both. A softmax grows from block to block of tokens.
// NOLINTBEGIN: Highway's include guard, toggled for every instruction set.
#if defined(CKVSIM_DEVICE_CPU_ATTENTION_WIDE_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef CKVSIM_DEVICE_CPU_ATTENTION_WIDE_INL
#undef CKVSIM_DEVICE_CPU_ATTENTION_WIDE_INL
#else
#define CKVSIM_DEVICE_CPU_ATTENTION_WIDE_INL
#endif
// NOLINTEND

#include <limits>
#include <type_traits>

#include "device/cpu/attention_tile_inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace ckvsim::device::cpu::HWY_NAMESPACE {

/// 2^x of x <= 0, to about an ulp; zero where it would be no normal number. NaN stays NaN.
HWY_INLINE FloatVec exp2_of_negative(FloatVec x) {
    FloatTag const d;
    hn::RebindToSigned<FloatTag> const di;
    // Adding 1.5 * 2^23 rounds x to an integer in the low bits of the sum.
    auto const magic = hn::Set(d, 12582912.0F);
    auto const shifted = hn::Add(x, magic);
    auto const r = hn::Sub(x, hn::Sub(shifted, magic));
    // Least largest relative error, 9e-8, of all 1 + r * (degree 4) on |r| <= 1/2.
    auto p = hn::MulAdd(r, hn::Set(d, 1.32647273e-3F), hn::Set(d, 9.67151299e-3F));
    p = hn::MulAdd(p, r, hn::Set(d, 5.55073358e-2F));
    p = hn::MulAdd(p, r, hn::Set(d, 0.240222424F));
    p = hn::MulAdd(p, r, hn::Set(d, 0.693147004F));
    p = hn::MulAdd(p, r, hn::Set(d, 1.0F));
    auto const exponent = hn::ShiftLeft<23>(hn::BitCast(di, shifted));
    auto const result = hn::BitCast(d, hn::Add(hn::BitCast(di, p), exponent));
    return hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, -126.0F)), result);
}

/// to[j] = factors[j] * to[j] (or zero, without factors) + sum_i a[j][i] * panel[i] of kQueries
/// rows of `a` and a panel [depth, kPanelVectors * lanes], i ascending.
template <std::size_t kQueries>
HWY_NOINLINE void multiply_panel(float const* a, std::size_t a_step, float const* panel,
                                 std::size_t depth, float const* factors, float* to,
                                 std::size_t to_step) {
    FloatTag const d;
    std::size_t const lanes = hn::Lanes(d);
    FloatVec sums[kQueries][kPanelVectors];
    for (std::size_t j = 0; j < kQueries; ++j) {
        for (std::size_t v = 0; v < kPanelVectors; ++v) {
            sums[j][v] = factors == nullptr ? hn::Zero(d)
                                            : hn::Mul(hn::Set(d, factors[j]),
                                                      hn::LoadU(d, to + j * to_step + v * lanes));
        }
    }
    for (std::size_t i = 0; i < depth; ++i) {
        FloatVec values[kPanelVectors];
        for (std::size_t v = 0; v < kPanelVectors; ++v)
            values[v] = hn::LoadU(d, panel + (i * kPanelVectors + v) * lanes);
        for (std::size_t j = 0; j < kQueries; ++j) {
            auto const x = hn::Set(d, a[j * a_step + i]);
            for (std::size_t v = 0; v < kPanelVectors; ++v)
                sums[j][v] = hn::MulAdd(x, values[v], sums[j][v]);
        }
    }
    for (std::size_t j = 0; j < kQueries; ++j) {
        for (std::size_t v = 0; v < kPanelVectors; ++v)
            hn::StoreU(sums[j][v], d, to + j * to_step + v * lanes);
    }
}

/// body(number of queries as a constant, first query) for groups of up to six. Seven and eight are
/// halved: one or two queries alone would wait for their own sums.
template <class Body>
HWY_INLINE void for_query_groups(std::size_t count, Body&& body) {
    std::size_t j = 0;
    while (j < count) {
        std::size_t const left = count - j;
        std::size_t const group = left == 7 || left == 8 ? 4 : std::min(left, kSumQueries);
        switch (group) {
            case 6:
                body(std::integral_constant<std::size_t, 6>(), j);
                break;
            case 5:
                body(std::integral_constant<std::size_t, 5>(), j);
                break;
            case 4:
                body(std::integral_constant<std::size_t, 4>(), j);
                break;
            case 3:
                body(std::integral_constant<std::size_t, 3>(), j);
                break;
            case 2:
                body(std::integral_constant<std::size_t, 2>(), j);
                break;
            default:
                body(std::integral_constant<std::size_t, 1>(), j);
        }
        j += group;
    }
}

#if HWY_TARGET == HWY_SCALAR
template <class Row>
HWY_INLINE void load_columns(Row const* const* rows, std::size_t i, FloatVec (&columns)[4]) {
    for (std::size_t k = 0; k < 4; ++k) columns[k] = hn::Set(FloatTag(), load_one(rows[0] + i + k));
}
#else
/// Four values from place i on of every fourth row, one 128-bit block each.
template <class Tag, class Row>
HWY_INLINE hn::Vec<Tag> load_blocks(Tag d, Row const* const* rows, std::size_t i) {
    if constexpr (hn::MaxLanes(Tag()) > 4) {
        hn::Half<Tag> const half;
        return hn::Combine(d, load_blocks(half, rows + hn::MaxLanes(half), i),
                           load_blocks(half, rows, i));
    } else {
        return load(d, rows[0] + i);
    }
}
/// columns[k], lane t = rows[t][i + k].
template <class Row>
HWY_INLINE void load_columns(Row const* const* rows, std::size_t i, FloatVec (&columns)[4]) {
    FloatTag const d;
    FloatVec blocks[4];
    for (std::size_t t = 0; t < 4; ++t) blocks[t] = load_blocks(d, rows + t, i);
    transpose(d, blocks, columns);
}
#endif

/// Rows that are needed next, asked for a few lines at a time: a core waits for only so many.
template <class Row>
class Ahead {
  public:
    Ahead() = default;
    /// `width` values from `offset` on of `count` rows.
    Ahead(TokenRows const& side, std::size_t first, std::size_t count, std::size_t offset,
          std::size_t width)
        : rows_(side.rows + first), left_(side.near ? 0 : count), offset_(offset), width_(width) {}
    HWY_INLINE void ask(std::size_t lines) {
        for (; lines > 0 && left_ > 0; --lines) {
            hwy::Prefetch(static_cast<Row const*>(*rows_) + offset_ + at_);
            at_ += kLineBytes / sizeof(Row);
            if (at_ < width_) continue;
            at_ = 0;
            ++rows_;
            --left_;
        }
    }
    [[nodiscard]] std::size_t row_lines() const {
        constexpr std::size_t kValues = kLineBytes / sizeof(Row);
        return (width_ + kValues - 1) / kValues;
    }
    [[nodiscard]] std::size_t lines() const { return left_ * row_lines(); }

  private:
    void const* const* rows_ = nullptr;
    std::size_t left_ = 0;
    std::size_t offset_ = 0;
    std::size_t width_ = 0;
    std::size_t at_ = 0;  ///< in the row
};

/// A call of kWideQueries or more: block of tokens by block, head by head, tile of queries by tile.
template <class Row>
class Wide {
  public:
    Wide(AttentionCall const& call, float* scratch)
        : call_(call),
          sizes_(call),
          width_(kPanelVectors * hn::Lanes(FloatTag())),
          own_keys_(call.heads * call.head_dim - call.k.user_dims),
          own_values_(call.heads * call.head_dim - call.v.user_dims),
          panel_columns_((call.head_dim + width_ - 1) / width_ * width_) {
        keys_ = scratch;
        values_ = keys_ + sizes_.key_floats(call);
        scores_ = values_ + sizes_.value_floats();
        factors_ = scores_ + sizes_.queries * sizes_.score_step;
        sums_ = factors_ + sizes_.queries;
        best_ = sums_ + call.count * call.heads * sizes_.columns;
        totals_ = best_ + call.count * call.heads;
        float const scale =
            call.scale != 0.0F ? call.scale : 1.0F / std::sqrt(static_cast<float>(call.head_dim));
        scale_ = scale * 1.44269504F;  // of powers of two
    }

    HWY_INLINE void attend() {
        std::size_t const states = call_.count * call_.heads;
        std::fill_n(sums_, states * sizes_.columns, 0.0F);
        std::fill_n(best_, states, -std::numeric_limits<float>::infinity());
        std::fill_n(totals_, states, 0.0F);
        for (first_ = 0; first_ < call_.tokens; first_ += sizes_.block) {
            tokens_ = std::min(sizes_.block, call_.tokens - first_);
            for (head_ = 0; head_ < call_.heads; ++head_) {
                offset_ = head_ * call_.head_dim;
                pack_keys();
                pack_values();
                for (std::size_t c = 0; c < call_.count; c += sizes_.queries) attend_tile(c);
            }
        }
        for (std::size_t h = 0; h < call_.heads; ++h) {
            for (std::size_t c = 0; c < call_.count; ++c) write(h, c);
        }
    }

  private:
    [[nodiscard]] HWY_INLINE std::size_t state(std::size_t head, std::size_t c) const {
        return head * call_.count + c;
    }
    /// A dimension of a row.
    [[nodiscard]] HWY_INLINE bool in_head(std::size_t i) const {
        return i / call_.head_dim == head_;
    }

    /// The block's K of the head as panels [head_dim, width] of tokens (or of rows that tokens
    /// share), the last row repeated up to the end of the last vector;
    /// lanes behind it are computed with and never read.
    HWY_NOINLINE void pack_keys() {
        FloatTag const d;
        std::size_t const lanes = hn::Lanes(d);
        std::size_t const count = call_.k.count(tokens_);
        std::size_t const first = call_.k.places == nullptr ? first_ : 0;
        Ahead<Row> ahead(call_.k, first, first_ == 0 ? count : 0, offset_, call_.head_dim);
        std::size_t const row_lines = ahead.row_lines();
        ahead.ask(kRowsAhead * row_lines);
        for (std::size_t t = 0; t < count; t += lanes) {
            ahead.ask(lanes * row_lines);
            Row const* rows[kLanePad];
            for (std::size_t i = 0; i < lanes; ++i) {
                std::size_t const slot = first + std::min(t + i, count - 1);
                rows[i] = static_cast<Row const*>(call_.k.rows[slot]) + offset_;
            }
            float* to = keys_ + t / width_ * (width_ * call_.head_dim) + t % width_;
            std::size_t i = 0;
            for (; i + 4 <= call_.head_dim; i += 4) {
                FloatVec columns[4];
                load_columns(rows, i, columns);
                for (std::size_t k = 0; k < 4; ++k)
                    hn::StoreU(columns[k], d, to + (i + k) * width_);
            }
            for (; i < call_.head_dim; ++i) {
                for (std::size_t k = 0; k < lanes; ++k) to[i * width_ + k] = load_one(rows[k] + i);
            }
        }
        if (call_.k.places != nullptr) return;
        for (std::size_t u = 0; u < call_.k.user_dims; ++u) {
            if (!in_head(own_keys_ + u)) continue;
            float const* user = call_.k.user + u * call_.user_step + first_;
            float* to = keys_ + (own_keys_ + u - offset_) * width_;
            for (std::size_t t = 0; t < count; ++t)
                to[t / width_ * (width_ * call_.head_dim) + t % width_] = user[t];
        }
    }

    /// The block's V of the head: of every kBlock rows panels [rows + 1, width] of columns. Without
    /// the row between, a row's values would lie in the same few places of a cache.
    HWY_NOINLINE void pack_values() {
        std::size_t const count = call_.v.count(tokens_);
        std::size_t const first = call_.v.places == nullptr ? first_ : 0;
        Ahead<Row> ahead(call_.v, first, first_ == 0 ? count : 0, offset_, call_.head_dim);
        std::size_t const row_lines = ahead.row_lines();
        ahead.ask(kRowsAhead * row_lines);
        for (std::size_t chunk = 0; chunk < count; chunk += WideSizes::kBlock) {
            std::size_t const rows = std::min(WideSizes::kBlock, count - chunk);
            float* to = value_chunk(chunk);
            for (std::size_t t = 0; t < rows; ++t) {
                ahead.ask(row_lines);
                pack_row(static_cast<Row const*>(call_.v.rows[first + chunk + t]) + offset_,
                         to + t * width_, panel_floats(rows));
            }
            if (call_.v.places == nullptr) pack_users(first_ + chunk, rows, to);
        }
    }
    [[nodiscard]] HWY_INLINE std::size_t panel_floats(std::size_t rows) const {
        return (rows + 1) * width_;
    }
    [[nodiscard]] HWY_INLINE float* value_chunk(std::size_t first) const {
        return values_ + first / WideSizes::kBlock * ((WideSizes::kBlock + 1) * panel_columns_);
    }
    HWY_INLINE void pack_users(std::size_t first, std::size_t rows, float* chunk) const {
        for (std::size_t u = 0; u < call_.v.user_dims; ++u) {
            if (!in_head(own_values_ + u)) continue;
            float const* user = call_.v.user + u * call_.user_step + first;
            std::size_t const column = own_values_ + u - offset_;
            float* to = chunk + column / width_ * panel_floats(rows) + column % width_;
            for (std::size_t t = 0; t < rows; ++t) to[t * width_] = user[t];
        }
    }
    HWY_INLINE void pack_row(Row const* row, float* to, std::size_t panel) const {
        FloatTag const d;
        std::size_t const lanes = hn::Lanes(d);
        for (std::size_t i = 0; i < panel_columns_; to += panel) {
            for (std::size_t k = 0; k < width_; k += lanes, i += lanes) {
                if (i + lanes <= call_.head_dim) {
                    hn::StoreU(load(row + i), d, to + k);
                    continue;
                }
                for (std::size_t l = 0; l < lanes; ++l)
                    to[k + l] = i + l < call_.head_dim ? load_one(row + i + l) : 0.0F;
            }
        }
    }

    /// Rows that are packed next are asked for beside the last tile's products.
    HWY_INLINE void look_ahead(std::size_t c, std::size_t count) {
        next_keys_ = next_values_ = Ahead<Row>();
        bool const last_head = head_ + 1 == call_.heads;
        std::size_t const first = last_head ? first_ + sizes_.block : first_;
        if (c + count < call_.count || first >= call_.tokens || first == 0) return;
        std::size_t const rows = std::min(sizes_.block, call_.tokens - first);
        std::size_t const offset = last_head ? 0 : offset_ + call_.head_dim;
        next_keys_ = Ahead<Row>(call_.k, first, rows, offset, call_.head_dim);
        next_values_ = Ahead<Row>(call_.v, first, rows, offset, call_.head_dim);
        std::size_t const panels =
            (call_.k.count(tokens_) + width_ - 1) / width_ + panel_columns_ / width_;
        std::size_t const calls = panels * std::max<std::size_t>(count / kSumQueries, 1);
        share_ = (next_keys_.lines() + next_values_.lines() + calls - 1) / calls;
    }
    HWY_INLINE void ask() { (next_keys_.lines() > 0 ? next_keys_ : next_values_).ask(share_); }

    /// Queries c .. of one head over one block.
    HWY_INLINE void attend_tile(std::size_t c) {
        std::size_t const count = std::min(sizes_.queries, call_.count - c);
        look_ahead(c, count);
        score(c, count);
        for (std::size_t j = 0; j < count; ++j) weigh(c + j, j);
        sum(c, count);
    }

    HWY_INLINE float* products(std::size_t j) const {
        return scores_ + j * sizes_.score_step +
               (call_.k.places != nullptr ? panelled(sizes_.block) : 0);
    }
    HWY_INLINE float* weights(std::size_t j) const {
        return scores_ + j * sizes_.score_step +
               (call_.v.places != nullptr ? panelled(sizes_.block) : 0);
    }

    HWY_INLINE void score(std::size_t c, std::size_t count) {
        std::size_t const rows = call_.k.count(tokens_);
        for (std::size_t t = 0; t < rows; t += width_) {
            float const* panel = keys_ + t * call_.head_dim;
            for_query_groups(count, [&](auto queries, std::size_t j) {
                ask();
                multiply_panel<queries()>(call_.q + (c + j) * call_.q_step + offset_, call_.q_step,
                                          panel, call_.head_dim, nullptr, products(j) + t,
                                          sizes_.score_step);
            });
        }
    }

    /// Scores of query c, number j of the tile -> weights relative to the best score so far.
    HWY_NOINLINE void weigh(std::size_t c, std::size_t j) {
        FloatTag const d;
        std::size_t const lanes = hn::Lanes(d);
        float* scores = scores_ + j * sizes_.score_step;
        float const* q = call_.q + c * call_.q_step;
        std::size_t const end = padded(tokens_);
        if (call_.k.places != nullptr) {
            spread(products(j), call_.k.places, tokens_, scores);
            for (std::size_t u = 0; u < call_.k.user_dims; ++u) {
                if (!in_head(own_keys_ + u)) continue;
                add_user_scores(q[own_keys_ + u], call_.k.user + u * call_.user_step, end, scores);
            }
        }
        std::fill(scores + tokens_, scores + end, scores[0]);
        float& best = best_[state(head_, c)];
        float& total = totals_[state(head_, c)];
        auto most = hn::Set(d, best);
        for (std::size_t t = 0; t < end; t += lanes) most = hn::Max(most, hn::LoadU(d, scores + t));
        float const before = best;
        best = hn::GetLane(hn::MaxOfLanes(d, most));
        auto const factor = hn::Set(d, scale_);
        auto const top = hn::Mul(hn::Set(d, best), factor);
        auto sum = hn::Zero(d);
        for (std::size_t t = 0; t < end; t += lanes) {
            auto const x = hn::MulSub(hn::LoadU(d, scores + t), factor, top);
            auto const e = keep_tokens(exp2_of_negative(x), t, tokens_);
            hn::StoreU(e, d, scores + t);
            sum = hn::Add(sum, e);
        }
        // What was summed so far, relative to the new best score.
        float const shrink =
            first_ == 0
                ? 1.0F
                : hn::GetLane(exp2_of_negative(hn::MulSub(hn::Set(d, before), factor, top)));
        factors_[j] = shrink;
        total = total * shrink + hn::GetLane(hn::SumOfLanes(d, sum));
        if (call_.v.places != nullptr) share_weights(c, scores, weights(j));
    }

    /// Weights of tokens -> weights of rows, and the sums of the user dimensions.
    HWY_INLINE void share_weights(std::size_t c, float const* weights, float* rows) {
        for (std::size_t u = 0; u < call_.v.user_dims; ++u) {
            if (!in_head(own_values_ + u)) continue;
            sums_[state(head_, c) * sizes_.columns + own_values_ + u - offset_] =
                user_value(weights, call_.v.user + u * call_.user_step, padded(tokens_));
        }
        std::fill_n(rows, call_.v.distinct, 0.0F);
        for (std::size_t t = 0; t < tokens_; ++t) rows[call_.v.places[t]] += weights[t];
    }

    HWY_INLINE void sum(std::size_t c, std::size_t count) {
        std::size_t const rows = call_.v.count(tokens_);
        for (std::size_t chunk = 0; chunk < rows; chunk += WideSizes::kBlock) {
            std::size_t const depth = std::min(WideSizes::kBlock, rows - chunk);
            if (chunk > 0) std::fill_n(factors_, count, 1.0F);
            for (std::size_t column = 0; column < panel_columns_; column += width_) {
                float const* panel = value_chunk(chunk) + column / width_ * panel_floats(depth);
                for_query_groups(count, [&](auto queries, std::size_t j) {
                    ask();
                    multiply_panel<queries()>(
                        weights(j) + chunk, sizes_.score_step, panel, depth, factors_ + j,
                        sums_ + state(head_, c + j) * sizes_.columns + column, sizes_.columns);
                });
            }
        }
    }

    HWY_INLINE void write(std::size_t head, std::size_t c) const {
        FloatTag const d;
        std::size_t const lanes = hn::Lanes(d);
        float const inverse = 1.0F / totals_[state(head, c)];
        float const* from = sums_ + state(head, c) * sizes_.columns;
        float* to = call_.out + c * call_.out_step + head * call_.head_dim;
        std::size_t i = 0;
        for (; i + lanes <= call_.head_dim; i += lanes)
            hn::StoreU(hn::Mul(hn::LoadU(d, from + i), hn::Set(d, inverse)), d, to + i);
        for (; i < call_.head_dim; ++i) to[i] = from[i] * inverse;
    }

    static constexpr std::size_t kRowsAhead = 16;

    AttentionCall const& call_;
    WideSizes sizes_;
    std::size_t width_;          ///< of a panel
    std::size_t own_keys_;       ///< dimensions of K before those of the user
    std::size_t own_values_;     ///< of V
    std::size_t panel_columns_;  ///< of a head's V, up to the end of a panel
    float scale_;
    float* keys_;
    float* values_;
    float* scores_;           ///< [tile, score_step]: of tokens and, where shared, of rows
    float* factors_;          ///< [tile]: what earlier sums are worth
    float* sums_;             ///< [heads, count, columns]
    float* best_;             ///< [heads, count]: highest score so far
    float* totals_;           ///< [heads, count]: of the weights
    std::size_t first_ = 0;   ///< token of the block
    std::size_t tokens_ = 0;  ///< of the block
    std::size_t head_ = 0;
    std::size_t offset_ = 0;  ///< of the head in a row
    Ahead<Row> next_keys_;
    Ahead<Row> next_values_;
    std::size_t share_ = 0;
};

}  // namespace ckvsim::device::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
