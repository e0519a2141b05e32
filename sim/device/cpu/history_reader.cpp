#include "device/cpu/history_reader.hpp"

#include <algorithm>

#include "core/error.hpp"

namespace ckvsim::device::cpu {
namespace {

/// Candidates handled together: their queries and outputs stay in the L2 cache, and rows are packed
/// once for them.
constexpr std::size_t kCandidateBlock = 128;
constexpr std::uint32_t kNone = 0xFFFFFFFF;  ///< "no position" in lists of top k

/// Writes the positions of a list and kNone up to top_k.
void report_choice(TokenList const& list, std::uint32_t top_k, std::uint32_t* out) {
    for (std::size_t k = 0; k < list.count; ++k) out[k] = list.at(k);
    std::fill(out + list.count, out + top_k, kNone);
}

}  // namespace

HistoryReader::HistoryReader(model::SimWeights const& weights, kv::EntryLayout const& layout,
                             SharedTables const& tables, CellMaker const& maker,
                             RowCodes const& codes, kv::StrategyParams const& strategy)
    : shape_(weights.shape),
      d_e_(weights.d_e),
      layout_(layout),
      short_site_(weights, weights.short_site, tables.short_site, maker, codes, strategy) {
    if (shape_.has_long_attention()) {
        long_.emplace(weights, tables, maker, codes, strategy);
    } else {
        buckets_.emplace(tables, maker, strategy);
    }
}

HistoryReader::LongAttention::LongAttention(model::SimWeights const& weights,
                                            SharedTables const& tables, CellMaker const& maker,
                                            RowCodes const& codes,
                                            kv::StrategyParams const& strategy)
    : site(weights, weights.long_site, tables.long_site, maker, codes, strategy),
      search(weights, tables, maker, strategy, site) {}

void HistoryReader::begin_long(decode::ScoreRequest const& request, EntryView const& view,
                               HistoryScratch& scratch) const {
    bool const one_list = request.count <= 1 || chooses_all(request);
    long_->site.begin(view, 0, view.tokens, one_list ? Lists::one : Lists::many, request.count,
                      scratch.long_site);
    if (request.forced_top_k == nullptr)
        long_->search.begin(view, request.count, scratch.search, scratch.long_site);
}

/// SDIM chooses no tokens.
void HistoryReader::read_buckets(decode::ScoreRequest const& request, EntryView const& view,
                                 float* features, std::size_t step, HistoryScratch& scratch) const {
    buckets_->read(view, request.candidates, request.count, features + 2 * d_e_, step,
                   scratch.buckets);
    if (request.chosen_top_k != nullptr)
        std::fill_n(request.chosen_top_k, std::size_t{request.count} * shape_.top_k, kNone);
}

void HistoryReader::read(decode::ScoreRequest const& request, float* features, std::size_t step,
                         HistoryScratch& scratch) const {
    EntryView const view(layout_, request.entry);
    std::uint32_t const recent = std::min(view.tokens, shape_.short_tokens);
    TokenList const recent_tokens{nullptr, recent};
    short_site_.begin(view, view.tokens - recent, recent, Lists::one, request.count,
                      scratch.short_site);
    short_site_.make_rows(recent_tokens, scratch.short_site);
    if (long_) begin_long(request, view, scratch);
    if (buckets_) read_buckets(request, view, features, step, scratch);
    for (std::size_t first = 0; first < request.count; first += kCandidateBlock) {
        std::size_t const count = std::min<std::size_t>(kCandidateBlock, request.count - first);
        float* rows = features + first * step;
        short_site_.project(rows, step, count, scratch.short_site);
        short_site_.attend_to(recent_tokens, 0, count, scratch.short_site);
        short_site_.write(count, rows + d_e_, step, scratch.short_site);
        if (long_) read_long(request, first, count, rows, step, scratch);
    }
}

void HistoryReader::choose(decode::ScoreRequest const& request, std::size_t first,
                           std::size_t count, float const* embeddings, std::size_t step,
                           HistoryScratch& scratch) const {
    std::uint32_t const top_k = shape_.top_k;
    scratch.chosen.resize(kCandidateBlock * top_k);
    scratch.sizes.resize(kCandidateBlock);
    if (request.forced_top_k == nullptr) {
        long_->search.search(embeddings, step, count, scratch.chosen.data(), scratch.sizes.data(),
                             scratch.search, scratch.long_site);
        return;
    }
    for (std::size_t c = 0; c < count; ++c) {
        std::uint32_t const* forced = request.forced_top_k + (first + c) * top_k;
        std::uint32_t* list = scratch.chosen.data() + c * top_k;
        std::uint32_t size = 0;
        for (std::uint32_t k = 0; k < top_k; ++k) {
            if (forced[k] == kNone) continue;
            validate(forced[k] < request.entry.tokens,
                     "device/cpu: a forced position lies beyond the entry's tokens");
            list[size++] = forced[k];
        }
        scratch.sizes[c] = size;
    }
}

void HistoryReader::read_long(decode::ScoreRequest const& request, std::size_t first,
                              std::size_t count, float* features, std::size_t step,
                              HistoryScratch& scratch) const {
    std::uint32_t const top_k = shape_.top_k;
    SiteScratch& site = scratch.long_site;
    long_->site.project(features, step, count, site);
    bool const shared = chooses_all(request);
    if (shared) {
        TokenList const all{nullptr, request.entry.tokens};
        long_->site.make_rows(all, site);
        long_->site.attend_to(all, 0, count, site);
    } else {
        choose(request, first, count, features, step, scratch);
        scratch.listed.clear();
        for (std::size_t c = 0; site.made && c < count; ++c) {
            auto const list = scratch.chosen.begin() + static_cast<std::ptrdiff_t>(c * top_k);
            scratch.listed.insert(scratch.listed.end(), list, list + scratch.sizes[c]);
        }
        long_->site.make_rows({scratch.listed.data(), scratch.listed.size()}, site);
        for (std::size_t c = 0; c < count; ++c) {
            TokenList const list{scratch.chosen.data() + c * top_k, scratch.sizes[c]};
            long_->site.attend_to(list, c, 1, site);
        }
    }
    long_->site.write(count, features + 2 * d_e_, step, site);
    if (request.chosen_top_k == nullptr) return;
    for (std::size_t c = 0; c < count; ++c) {
        TokenList const list = shared
                                   ? TokenList{nullptr, request.entry.tokens}
                                   : TokenList{scratch.chosen.data() + c * top_k, scratch.sizes[c]};
        report_choice(list, top_k, request.chosen_top_k + (first + c) * top_k);
    }
}

TokenList HistoryReader::choose_one(decode::ScoreRequest const& request, float* features,
                                    std::size_t step, HistoryScratch& scratch) const {
    if (chooses_all(request)) return {nullptr, request.entry.tokens};
    choose(request, 0, 1, features, step, scratch);
    return {scratch.chosen.data(), scratch.sizes[0]};
}

void HistoryReader::read_batch(std::span<decode::ScoreRequest const> requests,
                               float* const* features, std::size_t step,
                               BatchScratch& scratch) const {
    scratch.views.clear();
    for (decode::ScoreRequest const& request : requests)
        scratch.views.emplace_back(layout_, request.entry);
    while (scratch.requests.size() < requests.size()) scratch.requests.emplace_back();
    for (std::size_t i = 0; i < requests.size(); ++i) {
        EntryView const& view = scratch.views[i];
        SiteScratch& site = scratch.requests[i].short_site;
        std::uint32_t const recent = std::min(view.tokens, shape_.short_tokens);
        TokenList const recent_tokens{nullptr, recent};
        short_site_.begin(view, view.tokens - recent, recent, Lists::one, 1, site);
        short_site_.make_rows(recent_tokens, site);
        short_site_.project(features[i], step, 1, site);
        short_site_.read_keys(recent_tokens, 1, site);
    }
    for (std::size_t i = 0; i < requests.size(); ++i) {
        SiteScratch& site = scratch.requests[i].short_site;
        short_site_.read_values(site);
        short_site_.write(1, features[i] + d_e_, step, site);
    }
    if (long_) {
        batch_long(requests, features, step, scratch);
        return;
    }
    for (std::size_t i = 0; i < requests.size(); ++i)
        read_buckets(requests[i], scratch.views[i], features[i], step, scratch.requests[i]);
}

void HistoryReader::batch_long(std::span<decode::ScoreRequest const> requests,
                               float* const* features, std::size_t step,
                               BatchScratch& scratch) const {
    for (std::size_t i = 0; i < requests.size(); ++i) {
        decode::ScoreRequest const& request = requests[i];
        HistoryScratch& own = scratch.requests[i];
        long_->site.begin(scratch.views[i], 0, request.entry.tokens, Lists::one, 1, own.long_site);
        if (request.forced_top_k == nullptr)
            long_->search.begin(scratch.views[i], 1, own.search, own.long_site);
        long_->site.project(features[i], step, 1, own.long_site);
        TokenList const list = choose_one(request, features[i], step, own);
        long_->site.make_rows(list, own.long_site);
        long_->site.read_keys(list, 1, own.long_site);
        if (request.chosen_top_k != nullptr)
            report_choice(list, shape_.top_k, request.chosen_top_k);
    }
    for (std::size_t i = 0; i < requests.size(); ++i) {
        SiteScratch& site = scratch.requests[i].long_site;
        long_->site.read_values(site);
        long_->site.write(1, features[i] + 2 * d_e_, step, site);
    }
}

}  // namespace ckvsim::device::cpu
