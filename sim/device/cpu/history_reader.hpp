// The attention stage: from an entry and candidates to the short and the long branch's outputs.
#pragma once

#include <deque>
#include <optional>
#include <span>

#include "device/cpu/bucket_reader.hpp"
#include "device/cpu/token_search.hpp"

namespace ckvsim::device::cpu {

/// Memory of the attention stage, reused from request to request.
struct HistoryScratch {
    SiteScratch short_site;
    SiteScratch long_site;
    SearchScratch search;
    BucketScratch buckets;
    std::vector<std::uint32_t> chosen;  ///< [candidates of a block, top_k]
    std::vector<std::uint32_t> sizes;
    std::vector<std::uint32_t> listed;  ///< all choices of a block, one after the other
};

/// Memory of a batch: requests wait in it between the phases.
struct BatchScratch {
    std::vector<EntryView> views;
    std::deque<HistoryScratch> requests;
};

/// Immutable after construction and in place (its parts refer to each other); thread-safe. For
/// variants with attention. Keeps references to tables, maker and codes.
class HistoryReader {
  public:
    HistoryReader(HistoryReader const&) = delete;
    HistoryReader& operator=(HistoryReader const&) = delete;
    HistoryReader(model::SimWeights const& weights, kv::EntryLayout const& layout,
                  SharedTables const& tables, CellMaker const& maker, RowCodes const& codes,
                  kv::StrategyParams const& strategy);

    /// Fills the middle 2 * d_e columns of features [C, step], whose first d_e columns hold the
    /// candidates' embeddings already.
    void read(decode::ScoreRequest const& request, float* features, std::size_t step,
              HistoryScratch& scratch) const;
    /// read() of requests with one candidate each, features[i] for requests[i], the same bits. K of
    /// all requests is read before V of any, so that each pool is read out of a cache.
    void read_batch(std::span<decode::ScoreRequest const> requests, float* const* features,
                    std::size_t step, BatchScratch& scratch) const;
    /// Bytes of the candidates' projections.
    [[nodiscard]] std::size_t bytes() const {
        return short_site_.bytes() + (long_ ? long_->site.bytes() + long_->search.bytes() : 0);
    }

  private:
    /// A long branch that chooses tokens and attends to them. The search refers to the site.
    struct LongAttention {
        LongAttention(model::SimWeights const& weights, SharedTables const& tables,
                      CellMaker const& maker, RowCodes const& codes,
                      kv::StrategyParams const& strategy);
        AttentionSite site;
        TokenSearch search;
    };

    /// Without a search to do, all candidates attend to the same tokens.
    [[nodiscard]] bool chooses_all(decode::ScoreRequest const& request) const {
        return request.forced_top_k == nullptr && request.entry.tokens <= shape_.top_k;
    }
    [[nodiscard]] TokenList choose_one(decode::ScoreRequest const& request, float* features,
                                       std::size_t step, HistoryScratch& scratch) const;
    void choose(decode::ScoreRequest const& request, std::size_t first, std::size_t count,
                float const* embeddings, std::size_t step, HistoryScratch& scratch) const;
    void begin_long(decode::ScoreRequest const& request, EntryView const& view,
                    HistoryScratch& scratch) const;
    void read_long(decode::ScoreRequest const& request, std::size_t first, std::size_t count,
                   float* features, std::size_t step, HistoryScratch& scratch) const;
    void read_buckets(decode::ScoreRequest const& request, EntryView const& view, float* features,
                      std::size_t step, HistoryScratch& scratch) const;
    void batch_long(std::span<decode::ScoreRequest const> requests, float* const* features,
                    std::size_t step, BatchScratch& scratch) const;

    model::SimShape shape_;
    std::size_t d_e_;
    kv::EntryLayout layout_;
    AttentionSite short_site_;
    std::optional<LongAttention> long_;    ///< SIM, TWIN and ETA
    std::optional<BucketReader> buckets_;  ///< SDIM
};

}  // namespace ckvsim::device::cpu
