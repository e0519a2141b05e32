// Target attention. Two forms with the same bits: one or two queries read every row whole, in the
// order of memory; more share tiles of rows that stay in the L1 and L2 caches. And a third with its
// own: so many that K and V are packed for them.
#include <algorithm>

#include "device/cpu/attention_sizes.hpp"

// As in kernels.cpp: AVX3, AVX2 and the compiler's baseline.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "device/cpu/target_attention.cpp"
// foreach_target.h must come first.
// clang-format off
#include <hwy/foreach_target.h>
#include "device/cpu/attention_tile_inl.hpp"
#include "device/cpu/attention_wide_inl.hpp"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace ckvsim::device::cpu::HWY_NAMESPACE {

/// Rows are asked for this many bytes ahead: memory latency times bandwidth, and some.
constexpr std::size_t kAheadBytes = 8192;

HWY_INLINE void prefetch_block(void const* const* rows, std::size_t bytes) {
    for (std::size_t t = 0; t < kTokenBlock; ++t) {
        auto const* row = static_cast<char const*>(rows[t]);
        for (std::size_t b = 0; b < bytes; b += kLineBytes) hwy::Prefetch(row + b);
    }
}

/// Asks for the rows of one side that are read next, and at its end for the first of `then`. Not
/// for rows that follow those of the block before in memory, as in TokenOrder: the hardware sees
/// these streams, and asking for them slows it down by a quarter.
class RowsAhead {
  public:
    RowsAhead(TokenRows const& side, std::size_t tokens, TokenRows const* then,
              std::size_t row_bytes)
        : rows_(side.rows),
          slots_(row_slots(side.count(tokens))),
          near_(side.near),
          then_(then == nullptr ? nullptr : then->rows),
          then_slots_(then == nullptr || then->near ? 0 : row_slots(then->count(tokens))),
          row_bytes_(row_bytes),
          ahead_(row_slots(std::max(kAheadBytes / row_bytes, kTokenBlock))) {}
    /// Before the block of rows at `first` is read.
    HWY_INLINE void at(std::size_t first) const {
        std::size_t const next = first + ahead_;
        if (next < slots_) {
            if (!near_) ask(rows_, next);
        } else if (next - slots_ < then_slots_) {
            ask(then_, next - slots_);
        }
    }

  private:
    HWY_INLINE void ask(void const* const* rows, std::size_t block) const {
        if (block >= kTokenBlock) {
            auto const* before = static_cast<char const*>(rows[block - kTokenBlock]);
            if (rows[block] == before + row_bytes_) return;
        }
        prefetch_block(rows + block, row_bytes_);
    }

    void const* const* rows_;
    std::size_t slots_;
    bool near_;
    void const* const* then_;
    std::size_t then_slots_;
    std::size_t row_bytes_;
    std::size_t ahead_;
};

template <class Row>
HWY_INLINE void block_rows(TokenRows const& side, std::size_t first,
                           Row const* (&rows)[kTokenBlock], std::size_t offset) {
    for (std::size_t t = 0; t < kTokenBlock; ++t)
        rows[t] = static_cast<Row const*>(side.rows[first + t]) + offset;
}

/// K of queries c .. c + kQueries: all heads of a row before the next row, so that memory sees one
/// stream. `base` holds the scores of [queries, heads].
template <std::size_t kQueries, class Row>
HWY_NOINLINE void stream_keys(AttentionCall const& call, std::size_t c, TokenRows const* then,
                              float* base) {
    float const* q[kQueries];
    for (std::size_t j = 0; j < kQueries; ++j) q[j] = call.q + (c + j) * call.q_step;
    std::size_t const slots = row_slots(call.k.count(call.tokens));
    RowsAhead const ahead(call.k, call.tokens, then, call.heads * call.head_dim * sizeof(Row));
    for (std::size_t t = 0; t < slots; t += kTokenBlock) {
        ahead.at(t);
        for (std::size_t h = 0; h < call.heads; ++h) {
            Row const* rows[kTokenBlock];
            block_rows(call.k, t, rows, h * call.head_dim);
            float const* head_q[kQueries];
            float* head_scores[kQueries];
            for (std::size_t j = 0; j < kQueries; ++j) {
                head_q[j] = q[j] + h * call.head_dim;
                head_scores[j] = scores_at(call, base, j * call.heads + h).products(call) + t;
            }
            dots(head_q, rows, call.head_dim, head_scores);
        }
    }
    for (std::size_t j = 0; j < kQueries; ++j) {
        for (std::size_t h = 0; h < call.heads; ++h) {
            weigh(call, c + j, q[j], h, scores_at(call, base, j * call.heads + h),
                  call.out + (c + j) * call.out_step);
        }
    }
}

/// What accumulate() adds to values that no whole vector covers. Out of line, as dots_tail().
template <std::size_t kQueries, class Row>
HWY_NOINLINE void accumulate_tail(float const* const* p, Row const* const* rows, std::size_t first,
                                  std::size_t count, float* const* out) {
    FewTag const few;
    for (; first + hn::Lanes(few) <= count; first += hn::Lanes(few)) {
        for (std::size_t j = 0; j < kQueries; ++j) {
            auto sum = hn::LoadU(few, out[j] + first);
            for (std::size_t t = 0; t < kTokenBlock; ++t)
                sum = hn::MulAdd(hn::Set(few, p[j][t]), load(few, rows[t] + first), sum);
            hn::StoreU(sum, few, out[j] + first);
        }
    }
    for (std::size_t i = first; i < count; ++i) {
        for (std::size_t t = 0; t < kTokenBlock; ++t) {
            float const value = load_one(rows[t] + i);
            for (std::size_t j = 0; j < kQueries; ++j)
                out[j][i] = multiply_add(p[j][t], value, out[j][i]);
        }
    }
}

/// out[q] += sum_t p[q][t] * rows[t], tokens in ascending order.
template <std::size_t kQueries, class Row>
HWY_INLINE void accumulate(float const* const (&p)[kQueries], Row const* const (&rows)[kTokenBlock],
                           std::size_t count, float* const (&out)[kQueries]) {
    FloatTag const d;
    std::size_t const lanes = hn::Lanes(d);
    FloatVec weights[kQueries][kTokenBlock];
    for (std::size_t j = 0; j < kQueries; ++j) {
        for (std::size_t t = 0; t < kTokenBlock; ++t) weights[j][t] = hn::Set(d, p[j][t]);
    }
    std::size_t i = 0;
    for (; i + lanes <= count; i += lanes) {
        FloatVec sums[kQueries];
        for (std::size_t j = 0; j < kQueries; ++j) sums[j] = hn::LoadU(d, out[j] + i);
        for (std::size_t t = 0; t < kTokenBlock; ++t) {
            auto const value = load(rows[t] + i);
            for (std::size_t j = 0; j < kQueries; ++j)
                sums[j] = hn::MulAdd(weights[j][t], value, sums[j]);
        }
        for (std::size_t j = 0; j < kQueries; ++j) hn::StoreU(sums[j], d, out[j] + i);
    }
    if (i < count) accumulate_tail<kQueries>(p, rows, i, count, out);
}

/// V of queries c .. c + kQueries, added to what weigh() left in the user dimensions.
template <std::size_t kQueries, class Row>
HWY_NOINLINE void stream_values(AttentionCall const& call, std::size_t c, float* base) {
    std::size_t const d = call.heads * call.head_dim;
    float* out[kQueries];
    for (std::size_t j = 0; j < kQueries; ++j) {
        out[j] = call.out + (c + j) * call.out_step;
        std::fill_n(out[j], d - call.v.user_dims, 0.0F);
    }
    std::size_t const slots = row_slots(call.v.count(call.tokens));
    RowsAhead const ahead(call.v, call.tokens, nullptr, d * sizeof(Row));
    for (std::size_t t = 0; t < slots; t += kTokenBlock) {
        ahead.at(t);
        for (std::size_t h = 0; h < call.heads; ++h) {
            Row const* rows[kTokenBlock];
            block_rows(call.v, t, rows, h * call.head_dim);
            float const* head_p[kQueries];
            float* head_out[kQueries];
            for (std::size_t j = 0; j < kQueries; ++j) {
                head_p[j] = scores_at(call, base, j * call.heads + h).weights(call) + t;
                head_out[j] = out[j] + h * call.head_dim;
            }
            accumulate(head_p, rows, call.head_dim, head_out);
        }
    }
}

template <class Row>
HWY_INLINE void attend_rows(AttentionCall const& call, float* scratch) {
    if (streams(call)) {
        if (call.count == 2) {
            stream_keys<2, Row>(call, 0, &call.v, scratch);
            stream_values<2, Row>(call, 0, scratch);
        } else {
            stream_keys<1, Row>(call, 0, &call.v, scratch);
            stream_values<1, Row>(call, 0, scratch);
        }
        return;
    }
    if (is_wide(call)) {
        Wide<Row>(call, scratch).attend();
        return;
    }
    std::size_t const most = tile_queries(call);
    for (std::size_t first = 0; first < call.count; first += most) {
        Tile<Row> tile(call, first, std::min(most, call.count - first), scratch);
        for (std::size_t h = 0; h < call.heads; ++h) tile.attend(h);
    }
}

template <class Row>
HWY_INLINE void attend_rows_keys(AttentionCall const& call, float* weights) {
    for (std::size_t c = 0; c < call.count; ++c)
        stream_keys<1, Row>(call, c, nullptr, weights + c * call.heads * score_floats(call));
}
template <class Row>
HWY_INLINE void attend_rows_values(AttentionCall const& call, float* weights) {
    for (std::size_t c = 0; c < call.count; ++c)
        stream_values<1, Row>(call, c, weights + c * call.heads * score_floats(call));
}

void attend(AttentionCall const& call, float* scratch) {
    if (call.row_type == kv::ValueType::fp32) {
        attend_rows<float>(call, scratch);
    } else {
        attend_rows<std::uint16_t>(call, scratch);
    }
}
void attend_keys(AttentionCall const& call, float* weights) {
    if (call.row_type == kv::ValueType::fp32) {
        attend_rows_keys<float>(call, weights);
    } else {
        attend_rows_keys<std::uint16_t>(call, weights);
    }
}
void attend_values(AttentionCall const& call, float* weights) {
    if (call.row_type == kv::ValueType::fp32) {
        attend_rows_values<float>(call, weights);
    } else {
        attend_rows_values<std::uint16_t>(call, weights);
    }
}
void softmax_in_place(float* scores, std::size_t tokens, float scale) {
    softmax(scores, tokens, scale);
}

}  // namespace ckvsim::device::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ckvsim::device::cpu {

HWY_EXPORT(attend);
HWY_EXPORT(attend_keys);
HWY_EXPORT(attend_values);
HWY_EXPORT(softmax_in_place);

namespace {

/// No tokens: `out` is zero.
bool attends_to_nothing(AttentionCall const& call) {
    if (call.tokens != 0) return false;
    for (std::size_t c = 0; c < call.count; ++c)
        std::fill_n(call.out + c * call.out_step, call.heads * call.head_dim, 0.0F);
    return true;
}

}  // namespace

std::size_t attention_scratch(AttentionCall const& call) {
    if (call.tokens == 0) return 0;
    if (streams(call)) return attention_weights(call);
    if (is_wide(call)) return WideSizes(call).scratch(call);
    return tile_queries(call) * (score_floats(call) + 2 * tile_columns(call)) +
           kTileTokens * tile_columns(call);
}
std::size_t attention_weights(AttentionCall const& call) {
    return call.count * call.heads * score_floats(call);
}
void attend(AttentionCall const& call, float* scratch) {
    if (attends_to_nothing(call)) return;
    HWY_DYNAMIC_DISPATCH(attend)(call, scratch);
}
void attend_keys(AttentionCall const& call, float* weights) {
    if (attends_to_nothing(call)) return;
    HWY_DYNAMIC_DISPATCH(attend_keys)(call, weights);
}
void attend_values(AttentionCall const& call, float* weights) {
    if (call.tokens != 0) HWY_DYNAMIC_DISPATCH(attend_values)(call, weights);
}
void softmax_in_place(float* scores, std::size_t tokens, float scale) {
    if (tokens != 0) HWY_DYNAMIC_DISPATCH(softmax_in_place)(scores, tokens, scale);
}

}  // namespace ckvsim::device::cpu
#endif  // HWY_ONCE
