// One attention site at one request: finds the rows of the wanted tokens wherever the strategy
// keeps them (entry, item table, pool, or projected now) and runs the same attention kernel on all.
#pragma once

#include <array>
#include <vector>

#include "device/cpu/attention.hpp"
#include "device/cpu/row_codes.hpp"
#include "device/cpu/row_sharing.hpp"
#include "device/cpu/shared_tables.hpp"
#include "device/cpu/token_order.hpp"

namespace ckvsim::device::cpu {

/// Where the parts of one entry lie.
struct EntryView {
    EntryView(kv::EntryLayout const& layout, decode::EntryRef const& entry);
    [[nodiscard]] std::byte const* section(kv::Section s) const {
        return sections[static_cast<std::size_t>(s)];
    }
    std::array<std::byte const*, kv::kSections> sections{};
    ItemId const* ids = nullptr;  ///< [tokens], oldest first; null when the entry holds none
    std::uint32_t tokens = 0;
};

/// Tokens of a site by position in its sections; all of the first `count` when positions is null.
struct TokenList {
    std::uint32_t const* positions = nullptr;
    std::size_t count = 0;
    [[nodiscard]] std::uint32_t at(std::size_t i) const {
        return positions == nullptr ? static_cast<std::uint32_t>(i) : positions[i];
    }
};

/// Memory of a search over a site's K, reused from request to request.
struct KeySearchScratch {
    SearchCall call;  ///< keys, key_type, ids, tokens of the request; of codes: distinct pool rows
    std::size_t tokens = 0;
    bool by_codes = false;              ///< vq: codes are looked up, nothing is put together
    AlignedVector<float> turned;        ///< low_rank: B^T q, [candidates, padded(r)]
    AlignedVector<std::uint32_t> rows;  ///< call.ids, where the tables or the entry have none
    // Codes only.
    RowSharing sharing;          ///< pool rows of the tokens
    AlignedVector<float> users;  ///< [d_u, padded(tokens)]
    AlignedVector<float> row_scores;
};

/// Memory of one site, reused from request to request.
struct SiteScratch {
    EntryView const* view = nullptr;
    ItemId const* ids = nullptr;  ///< of the site's first token
    std::size_t together = 1;     ///< candidates of the request that attend to the same list
    bool made = false;  ///< rows are converted, projected or put together once, into made_rows
    RowSharing items;   ///< recompute: tokens of an item are projected once
    /// K and V: row of made_rows, by row_key(); or none.
    std::array<std::vector<std::uint32_t>, 2> slots;
    std::array<std::vector<std::uint32_t>, 2> filled;  ///< keys of the slots in use, as made
    std::vector<std::uint32_t> missing;
    std::vector<ItemId> missing_items;
    std::array<AlignedVector<float>, 2> made_rows;     ///< K and V, [used, d] fp32
    std::array<std::vector<void const*>, 2> rows;      ///< K and V, [row_slots]
    std::array<AlignedVector<float>, 2> users;         ///< K and V, [d_u, padded(tokens)]
    std::array<AlignedVector<std::uint32_t>, 2> keys;  ///< K and V: pool rows or items of a list
    std::array<RowSharing, 2> sharing;
    AttentionCall call;  ///< between read_keys() and read_values()
    std::vector<std::size_t> places;
    AlignedVector<std::uint16_t> halves;
    AlignedVector<float> scores;
    AlignedVector<float> q;
    AlignedVector<float> out;
    AlignedVector<float> turned_q;    ///< low_rank: B^T q, [candidates, heads, padded(r)]
    AlignedVector<float> turned_out;  ///< low_rank: sum of p c likewise
    AlignedVector<float> part;        ///< low_rank: outputs of one head
    AlignedVector<float> tables;      ///< vq: scratch of attend_codes()
    AlignedVector<float> output;
    CellScratch cells;
    KeySearchScratch searched;
};

/// Token lists of a request: one for all candidates, or one each.
enum class Lists : std::uint8_t { one, many };

/// Immutable after construction; thread-safe. Keeps references to tables, maker and codes.
class AttentionSite {
  public:
    AttentionSite(model::SimWeights const& weights, model::SiteWeights const& site,
                  SiteTables const& tables, CellMaker const& maker, RowCodes const& codes,
                  kv::StrategyParams const& strategy);

    /// Starts a request: `tokens` of the view from `first` on belong to the site.
    void begin(EntryView const& view, std::uint32_t first, std::uint32_t tokens, Lists lists,
               std::uint32_t candidates, SiteScratch& scratch) const;
    /// Queries of `count` candidates from their embeddings [d_e] (row step in floats) to scratch.q.
    void project(float const* embeddings, std::size_t step, std::size_t count,
                 SiteScratch& scratch) const;
    /// Makes rows that the strategy does not keep as they are used (conversion to fp32,
    /// projection). Call for every token that attend() will see, best for many candidates at once.
    /// `sides` = 1 makes K alone.
    void make_rows(TokenList const& list, SiteScratch& scratch, std::size_t sides = 2) const;
    /// Queries [first, first + count) of scratch.q over the listed tokens, to scratch.out.
    void attend_to(TokenList const& list, std::size_t first, std::size_t count,
                   SiteScratch& scratch) const;
    /// attend_to() of the first `count` queries in halves, so that a batch reads K of all its
    /// requests before V of any: each pool then stays in a cache. The same bits, of fewer than
    /// kWideQueries.
    void read_keys(TokenList const& list, std::size_t count, SiteScratch& scratch) const;
    void read_values(SiteScratch& scratch) const;
    /// Makes K of the first `tokens` tokens ready to be searched; after begin().
    void begin_search(std::uint32_t tokens, SiteScratch& scratch) const;
    /// q . k summed over heads, queries [first, first + count) of scratch.q against all tokens of
    /// the search: scores [count, step], step >= padded(tokens).
    void score_keys(std::size_t first, std::size_t count, float* scores, std::size_t step,
                    SiteScratch& scratch) const;
    /// wo: scratch.out of `count` candidates -> features [d_e], row step in floats.
    void write(std::size_t count, float* features, std::size_t step, SiteScratch& scratch) const;
    /// Bytes of wq and wo.
    [[nodiscard]] std::size_t bytes() const { return wq_.bytes() + wo_.bytes(); }

  private:
    [[nodiscard]] std::uint32_t pool_row(SideTables const& side, SiteScratch const& scratch,
                                         std::uint32_t position) const;
    /// What made rows are told apart by: tokens with the same pool row, or the same item to
    /// project, share one.
    [[nodiscard]] std::uint32_t row_key(SideTables const& side, SiteScratch const& scratch,
                                        std::uint32_t position) const {
        if (side.codes) return pool_row(side, scratch, position);
        return projected_ ? scratch.items.places()[position] : position;
    }
    [[nodiscard]] std::byte const* row(SideTables const& side, SiteScratch const& scratch,
                                       std::uint32_t position) const;
    [[nodiscard]] bool find_keys(std::size_t which, TokenList const& list,
                                 SiteScratch& scratch) const;
    void fill_rows(TokenList const& list, SiteScratch& scratch, std::size_t sides) const;
    [[nodiscard]] TokenRows find_rows(std::size_t which, TokenList const& list, bool made,
                                      SiteScratch& scratch) const;
    /// Addresses of the rows that attention reads, to scratch.rows: of `shared` where it is given.
    void place_rows(std::size_t which, TokenList const& list, bool made, RowSharing const* shared,
                    SiteScratch& scratch) const;
    [[nodiscard]] AttentionCall make_call(TokenList const& list, std::size_t first,
                                          std::size_t count, bool made, SiteScratch& scratch) const;
    void attend_low_rank(AttentionCall call, std::size_t first, SiteScratch& scratch) const;
    void attend_vq(AttentionCall const& call, SiteScratch& scratch) const;
    void find_pool_rows(std::uint32_t tokens, SiteScratch& scratch) const;
    void find_made_rows(std::uint32_t tokens, SiteScratch& scratch) const;
    float const* turned_queries(std::size_t first, std::size_t count, SiteScratch& scratch) const;
    void find_users(std::size_t which, TokenList const& list, AlignedVector<float>& users,
                    SiteScratch& scratch) const;
    [[nodiscard]] SideTables const& side(std::size_t which) const {
        return which == 0 ? tables_.k : tables_.v;
    }
    /// Whole histories are read in turn from their quarters, whatever the strategy keeps of them:
    /// equal rows then give equal bits. Codes are the exception (pool rows lie anywhere), and rows
    /// beside them: K and V are read in one order.
    [[nodiscard]] TokenOrder order_of(TokenList const& list) const {
        bool const whole = list.positions == nullptr && list.count >= TokenOrder::kFewTokens;
        return {list.count, whole && !pools_};
    }

    SiteTables const& tables_;
    CellMaker const& maker_;
    kv::ValueType value_type_;
    std::array<SideCodes const*, 2> codes_;  ///< K and V
    std::uint32_t index_bytes_;
    bool projected_;  ///< recompute: rows come from ids and projections
    bool silu_;
    std::size_t heads_;
    std::size_t d_;
    bool pools_;                      ///< K, V or both are kept as codes
    std::array<std::size_t, 2> d_u_;  ///< of K and V; 0 unless the side is kept as codes
    std::size_t row_bytes_;
    std::size_t width_;     ///< values of a row as attention reads it: d, or low_rank's r
    std::size_t item_ids_;  ///< catalogue items and the padding
    PackedMatrix wq_;
    PackedMatrix wo_;
};

}  // namespace ckvsim::device::cpu
