// The long branch's search at one request: scores of all tokens and the top k of each candidate.
#pragma once

#include <vector>

#include "device/cpu/attention_site.hpp"

namespace ckvsim::device::cpu {

/// Memory of the search, reused from request to request.
struct SearchScratch {
    SearchCall call;  ///< keys, key_type, ids, tokens of the request
    AlignedVector<float> keys;
    RowSharing items;  ///< recompute: tokens of an item are projected once
    std::vector<ItemId> distinct_items;
    AlignedVector<float> q;
    AlignedVector<float> scores;
    AlignedVector<std::int32_t> order;
    AlignedVector<std::uint32_t> places;
    // ETA: signatures of the tokens, where they do not lie in the entry, and of candidates.
    std::byte const* signatures = nullptr;
    AlignedVector<std::byte> gathered;
    AlignedVector<std::byte> candidates;
    AlignedVector<std::uint8_t> distances;
    CellScratch cells;
};

/// SIM searches keys of their own, TWIN the K of the long site with the site's queries, ETA
/// signatures by distance (signature_search.cpp). Immutable after construction; thread-safe. Keeps
/// references to tables, maker and site.
class TokenSearch {
  public:
    TokenSearch(model::SimWeights const& weights, SharedTables const& tables,
                CellMaker const& maker, kv::StrategyParams const& strategy,
                AttentionSite const& long_site);

    /// Starts a request, after the long site's begin(): makes the keys ready for `candidates`
    /// candidates.
    void begin(EntryView const& view, std::uint32_t candidates, SearchScratch& scratch,
               SiteScratch& long_site) const;
    /// Top k of `count` candidates given by their embeddings [d_e] (row step in floats), which the
    /// long site has projected: positions [count, top_k] ascending, sizes [count].
    void search(float const* embeddings, std::size_t step, std::size_t count,
                std::uint32_t* positions, std::uint32_t* sizes, SearchScratch& scratch,
                SiteScratch& long_site) const;
    /// Bytes of the candidates' search projection.
    [[nodiscard]] std::size_t bytes() const { return wq_.bytes(); }

  private:
    void begin_own_keys(EntryView const& view, std::uint32_t candidates,
                        SearchScratch& scratch) const;
    /// Recompute: keys or signatures of the request's distinct items, as call.keys and call.ids.
    void project_keys(EntryView const& view, SearchScratch& scratch) const;
    void begin_signatures(EntryView const& view, SearchScratch& scratch) const;
    void search_signatures(float const* embeddings, std::size_t step, std::size_t count,
                           std::uint32_t* positions, std::uint32_t* sizes,
                           SearchScratch& scratch) const;

    AttentionSite const* searched_ = nullptr;  ///< TWIN: the site whose K is searched
    AlignedVector<std::byte> const& table_;
    CellMaker const& maker_;
    kv::ValueType key_type_;
    bool projected_;
    std::size_t item_ids_;  ///< catalogue items and the padding
    std::uint32_t top_k_;
    std::size_t signature_bytes_;  ///< 0 unless ETA
    PackedMatrix wq_;
};

}  // namespace ckvsim::device::cpu
