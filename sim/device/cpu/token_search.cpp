#include "device/cpu/token_search.hpp"

#include <algorithm>

#include "device/cpu/quantised_rows.hpp"

namespace ckvsim::device::cpu {
namespace {

/// Candidates whose scores are held at the same time: few enough to stay in the L1 cache at 1,000
/// tokens.
constexpr std::size_t kSearchBlock = 4;

}  // namespace

TokenSearch::TokenSearch(model::SimWeights const& weights, SharedTables const& tables,
                         CellMaker const& maker, kv::StrategyParams const& strategy,
                         AttentionSite const& long_site)
    : searched_(weights.shape.has_search_keys() ? nullptr : &long_site),
      table_(tables.search),
      maker_(maker),
      key_type_(kv::search_type(strategy.value_type)),
      projected_(strategy.kind == kv::StrategyKind::recompute),
      item_ids_(std::size_t{weights.items} + 1),
      top_k_(weights.shape.top_k),
      signature_bytes_(weights.shape.signature_bits() / 8),
      wq_(weights.search_wq, weights.shape.search_width(), weights.d_e) {}

void TokenSearch::begin(EntryView const& view, std::uint32_t candidates, SearchScratch& scratch,
                        SiteScratch& long_site) const {
    scratch.call = {};
    scratch.call.tokens = view.tokens;
    if (view.tokens <= top_k_) return;  // every token is chosen
    if (searched_ != nullptr) {
        searched_->begin_search(view.tokens, long_site);
    } else if (signature_bytes_ > 0) {
        begin_signatures(view, scratch);
    } else {
        begin_own_keys(view, candidates, scratch);
    }
}

void TokenSearch::begin_own_keys(EntryView const& view, std::uint32_t candidates,
                                 SearchScratch& scratch) const {
    SearchCall& call = scratch.call;
    call.width = wq_.out;
    call.key_step = wq_.out;
    call.key_type = key_type_;
    if (projected_) {
        project_keys(view, scratch);
        return;
    }
    bool const by_item = !table_.empty();
    call.keys = by_item ? table_.data() : view.section(kv::Section::search);
    call.ids = by_item ? view.ids : nullptr;
    // One candidate reads the keys where they are; several share one contiguous fp32 copy.
    bool const copied = by_item || key_type_ != kv::ValueType::fp32;
    if (candidates == 1 || !copied) return;
    float* keys = reserve_elements(scratch.keys, std::size_t{view.tokens} * call.width);
    if (!by_item && key_type_ == kv::ValueType::fp16) {
        from_half(static_cast<std::uint16_t const*>(call.keys), view.tokens * call.width, keys);
    } else {
        auto const* stored = static_cast<std::byte const*>(call.keys);
        std::size_t const bytes = kv::row_bytes(key_type_, static_cast<std::uint32_t>(call.width));
        for (std::size_t t = 0; t < view.tokens; ++t) {
            std::size_t const row = by_item ? view.ids[t] : t;
            load_row(key_type_, stored + row * bytes, call.width, keys + t * call.width);
        }
    }
    call.keys = keys;
    call.key_type = kv::ValueType::fp32;
    call.ids = nullptr;
}

void TokenSearch::project_keys(EntryView const& view, SearchScratch& scratch) const {
    scratch.items.number(view.ids, view.tokens, item_ids_);
    scratch.distinct_items.clear();
    for (std::size_t i = 0; i < scratch.items.distinct(); ++i)
        scratch.distinct_items.push_back(view.ids[scratch.items.firsts()[i]]);
    std::size_t const distinct = scratch.distinct_items.size();
    // Whole floats also where signatures are narrower.
    std::size_t const bytes = distinct * maker_.cell_bytes(kv::Section::search);
    float* keys = reserve_elements(scratch.keys, (bytes + sizeof(float) - 1) / sizeof(float));
    maker_.make(kv::Section::search, scratch.distinct_items.data(), distinct,
                reinterpret_cast<std::byte*>(keys), scratch.cells);
    scratch.call.keys = keys;
    scratch.call.key_type = kv::ValueType::fp32;
    scratch.call.ids = distinct < view.tokens ? scratch.items.places() : nullptr;
}

void TokenSearch::search(float const* embeddings, std::size_t step, std::size_t count,
                         std::uint32_t* positions, std::uint32_t* sizes, SearchScratch& scratch,
                         SiteScratch& long_site) const {
    if (signature_bytes_ > 0) {
        search_signatures(embeddings, step, count, positions, sizes, scratch);
        return;
    }
    SearchCall call = scratch.call;
    float* q = nullptr;
    if (searched_ == nullptr) {
        q = reserve_elements(scratch.q, count * wq_.stride);
        multiply(embeddings, step, count, wq_, q, wq_.stride);
        call.q_step = wq_.stride;
    }
    call.scores_step = padded(call.tokens);
    call.scores = reserve_elements(scratch.scores, kSearchBlock * call.scores_step);
    auto* order = reserve_elements(scratch.order, selection_scratch(call.tokens));
    auto* places = reserve_elements(scratch.places, selection_scratch(call.tokens));
    for (std::size_t first = 0; first < count; first += kSearchBlock) {
        call.count = std::min(kSearchBlock, count - first);
        if (searched_ != nullptr) {
            searched_->score_keys(first, call.count, call.scores, call.scores_step, long_site);
        } else {
            call.q = q + first * wq_.stride;
            search_stored(call);
        }
        for (std::size_t c = 0; c < call.count; ++c) {
            sizes[first + c] = select_top(call.scores + c * call.scores_step, call.tokens, top_k_,
                                          order, places, positions + (first + c) * top_k_);
        }
    }
}

}  // namespace ckvsim::device::cpu
