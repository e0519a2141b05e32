// Attention of many queries over the same rows, compiled once per instruction set: queries share
// tiles of rows that stay in the L1 and L2 caches, and registers. The same bits as row by row.
// NOLINTBEGIN: Highway's include guard, toggled for every instruction set.
#if defined(CKVSIM_DEVICE_CPU_ATTENTION_TILE_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef CKVSIM_DEVICE_CPU_ATTENTION_TILE_INL
#undef CKVSIM_DEVICE_CPU_ATTENTION_TILE_INL
#else
#define CKVSIM_DEVICE_CPU_ATTENTION_TILE_INL
#endif
// NOLINTEND

#include <type_traits>

#include "device/cpu/attention_inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace ckvsim::device::cpu::HWY_NAMESPACE {

/// Vectors of a panel: with kSumQueries queries the sums, a row and a weight fill the registers.
constexpr std::size_t kPanelVectors = HWY_TARGET <= HWY_AVX3 ? 4 : 2;

/// One head of a tile of queries.
template <class Row>
class Tile {
  public:
    Tile(AttentionCall const& call, std::size_t first, std::size_t count, float* scratch)
        : call_(call), first_(first), count_(count), columns_(tile_columns(call)) {
        base_ = scratch;
        q_ = base_ + tile_queries(call) * score_floats(call);
        sums_ = q_ + tile_queries(call) * columns_;
        rows_ = sums_ + tile_queries(call) * columns_;
    }

    HWY_INLINE void attend(std::size_t head) {
        std::size_t const offset = head * call_.head_dim;
        for (std::size_t j = 0; j < count_; ++j)
            std::copy_n(query(j) + offset, call_.head_dim, q_ + j * columns_);
        score(offset);
        for (std::size_t j = 0; j < count_; ++j)
            weigh(call_, first_ + j, query(j), head, scores(j), out(j));
        sum(offset);
        std::size_t const pool_dims = call_.heads * call_.head_dim - call_.v.user_dims;
        std::size_t const written = std::min(call_.head_dim, std::max(pool_dims, offset) - offset);
        for (std::size_t j = 0; j < count_; ++j)
            std::copy_n(sums_ + j * columns_, written, out(j) + offset);
    }

  private:
    [[nodiscard]] HWY_INLINE float const* query(std::size_t j) const {
        return call_.q + (first_ + j) * call_.q_step;
    }
    [[nodiscard]] HWY_INLINE float* out(std::size_t j) const {
        return call_.out + (first_ + j) * call_.out_step;
    }
    [[nodiscard]] HWY_INLINE Scores scores(std::size_t j) const {
        return scores_at(call_, base_, j);
    }

    template <std::size_t kQueries>
    HWY_INLINE void score_queries(std::size_t j, float const* const (&rows)[kTokenBlock],
                                  std::size_t t) {
        float const* q[kQueries];
        float* to[kQueries];
        for (std::size_t i = 0; i < kQueries; ++i) {
            q[i] = q_ + (j + i) * columns_;
            to[i] = scores(j + i).products(call_) + t;
        }
        dots(q, rows, call_.head_dim, to);
    }

    /// Products of all queries with four rows of K at a time.
    HWY_NOINLINE void score(std::size_t offset) {
        constexpr std::size_t kAhead = 4 * kTokenBlock;
        std::size_t const groups = std::max<std::size_t>(count_ / 3, 1);
        std::size_t const share = (kTokenBlock + groups - 1) / groups;
        std::size_t const slots = row_slots(call_.k.count(call_.tokens));
        for (std::size_t t = 0; t < slots; t += kTokenBlock) {
            std::size_t next = std::min(t + kAhead, slots);
            std::size_t const last = std::min(next + kTokenBlock, slots);
            float const* rows[kTokenBlock];
            for (std::size_t i = 0; i < kTokenBlock; ++i)
                rows[i] = as_floats(call_.k.rows[t + i], offset, i);
            std::size_t j = 0;
            for (; j + 3 <= count_; j += 3) {
                // A share of the rows with every three queries: all at once would fill the queue.
                std::size_t const asked = std::min(share, last - next);
                prefetch(call_.k, next, asked, offset);
                next += asked;
                score_queries<3>(j, rows, t);
            }
            for (; j + 2 <= count_; j += 2) score_queries<2>(j, rows, t);
            if (j < count_) score_queries<1>(j, rows, t);
        }
    }

    /// The head's part of a row as floats: in place, or converted to place `i` of rows_.
    HWY_INLINE float const* as_floats(void const* row, std::size_t offset, std::size_t i) {
        if constexpr (std::is_same_v<Row, float>) {
            return static_cast<float const*>(row) + offset;
        } else {
            float* to = rows_ + i * columns_;
            convert(static_cast<Row const*>(row) + offset, to);
            return to;
        }
    }
    HWY_INLINE void convert(Row const* from, float* to) const {
        FloatTag const d;
        std::size_t i = 0;
        for (; i + hn::Lanes(d) <= call_.head_dim; i += hn::Lanes(d))
            hn::StoreU(load(from + i), d, to + i);
        for (; i < call_.head_dim; ++i) to[i] = load_one(from + i);
    }
    HWY_INLINE void prefetch(TokenRows const& side, std::size_t first, std::size_t count,
                             std::size_t offset) const {
        for (std::size_t t = first; t < first + count; ++t) {
            auto const* row = static_cast<Row const*>(side.rows[t]) + offset;
            for (std::size_t i = 0; i < call_.head_dim; i += kLineBytes / sizeof(Row))
                hwy::Prefetch(row + i);
        }
    }

    /// rows_ as panels [columns / width, tokens, width]: neighbours in memory, because rows of a
    /// power of two bytes would push each other out of the cache.
    HWY_INLINE void pack(std::size_t first, std::size_t tokens, std::size_t offset) {
        FloatTag const d;
        std::size_t const lanes = hn::Lanes(d);
        std::size_t const width = kPanelVectors * lanes;
        for (std::size_t t = 0; t < tokens; ++t) {
            auto const* row = static_cast<Row const*>(call_.v.rows[first + t]) + offset;
            float* to = rows_ + t * width;
            std::size_t i = 0;
            for (; i + lanes <= call_.head_dim; i += lanes)
                hn::StoreU(load(row + i), d, to + i / width * (kTileTokens * width) + i % width);
            for (; i < call_.head_dim || i % width != 0; ++i) {
                float const value = i < call_.head_dim ? load_one(row + i) : 0.0F;
                to[i / width * (kTileTokens * width) + i % width] = value;
            }
        }
    }

    template <std::size_t kQueries>
    HWY_INLINE void add_panel(std::size_t j, std::size_t first, std::size_t tokens,
                              float const* panel, std::size_t column) {
        FloatTag const d;
        std::size_t const lanes = hn::Lanes(d);
        FloatVec sums[kQueries][kPanelVectors];
        float const* p[kQueries];
        for (std::size_t i = 0; i < kQueries; ++i) {
            p[i] = scores(j + i).weights(call_) + first;
            for (std::size_t v = 0; v < kPanelVectors; ++v)
                sums[i][v] = hn::LoadU(d, sums_ + (j + i) * columns_ + column + v * lanes);
        }
        for (std::size_t t = 0; t < tokens; ++t) {
            FloatVec values[kPanelVectors];
            for (std::size_t v = 0; v < kPanelVectors; ++v)
                values[v] = hn::LoadU(d, panel + (t * kPanelVectors + v) * lanes);
            for (std::size_t i = 0; i < kQueries; ++i) {
                auto const weight = hn::Set(d, p[i][t]);
                for (std::size_t v = 0; v < kPanelVectors; ++v)
                    sums[i][v] = hn::MulAdd(weight, values[v], sums[i][v]);
            }
        }
        for (std::size_t i = 0; i < kQueries; ++i) {
            for (std::size_t v = 0; v < kPanelVectors; ++v)
                hn::StoreU(sums[i][v], d, sums_ + (j + i) * columns_ + column + v * lanes);
        }
    }

    /// sums_ = weights times V, tokens in ascending order.
    HWY_NOINLINE void sum(std::size_t offset) {
        std::size_t const width = kPanelVectors * hn::Lanes(FloatTag());
        std::size_t const rows = call_.v.count(call_.tokens);
        std::fill_n(sums_, count_ * columns_, 0.0F);
        for (std::size_t first = 0; first < rows; first += kTileTokens) {
            std::size_t const tokens = std::min(kTileTokens, rows - first);
            pack(first, tokens, offset);
            // The next tile is asked for a few rows at a time, beside the sums.
            std::size_t next = first + tokens;
            std::size_t const last = std::min(next + kTileTokens, rows);
            std::size_t const columns = (call_.head_dim + width - 1) / width;
            std::size_t const groups = std::max<std::size_t>(count_ / kSumQueries, 1) * columns;
            std::size_t const share = (kTileTokens + groups - 1) / groups;
            for (std::size_t column = 0; column < call_.head_dim; column += width) {
                float const* panel = rows_ + column * kTileTokens;
                std::size_t j = 0;
                auto const ask = [&] {
                    std::size_t const asked = std::min(share, last - next);
                    prefetch(call_.v, next, asked, offset);
                    next += asked;
                };
                if (count_ < kSumQueries) ask();
                // Rather twice four queries than six and two, which would wait for their additions.
                for (; count_ - j > 8 || count_ - j == kSumQueries; j += kSumQueries) {
                    ask();
                    add_panel<kSumQueries>(j, first, tokens, panel, column);
                }
                for (; count_ - j >= 7 || count_ - j == 4; j += 4) {
                    ask();
                    add_panel<4>(j, first, tokens, panel, column);
                }
                for (; count_ - j >= 3; j += 3) add_panel<3>(j, first, tokens, panel, column);
                if (count_ - j == 2) add_panel<2>(j, first, tokens, panel, column);
                if (count_ - j == 1) add_panel<1>(j, first, tokens, panel, column);
            }
        }
    }

    AttentionCall const& call_;
    std::size_t first_;
    std::size_t count_;
    std::size_t columns_;
    float* base_;  ///< scores of the queries
    float* q_;     ///< [queries, columns], the head's part
    float* sums_;  ///< [queries, columns]
    float* rows_;  ///< [kTileTokens, columns], of V (panels) or four of K
};

}  // namespace ckvsim::device::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
