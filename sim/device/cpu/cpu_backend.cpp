#include "device/cpu/cpu_backend.hpp"

#include <algorithm>

#include "core/error.hpp"
#include "device/cpu/entry_writer.hpp"
#include "device/cpu/history_reader.hpp"
#include "device/cpu/stack_backend.hpp"
#include "device/cpu/tower.hpp"
#include "model/weight_shapes.hpp"

namespace ckvsim::device::cpu {
namespace {

struct CpuScratch final : decode::Scratch {
    EntryScratch entry;
    HistoryScratch history;
    BatchScratch batch;
    TowerScratch tower;
    AlignedVector<float> means;
};

/// Recompute projects at the request and stores no values, so the type of stored values means
/// nothing to it.
kv::ValueType made_type(kv::StrategyParams const& strategy) {
    return strategy.kind == kv::StrategyKind::recompute ? kv::ValueType::fp32 : strategy.value_type;
}

std::shared_ptr<model::SimWeights const> checked(std::shared_ptr<model::SimWeights const> weights,
                                                 kv::StrategyParams const& strategy,
                                                 workload::Catalogue const& catalogue) {
    validate(weights != nullptr, "device/cpu: no weights");
    validate(weights->items == catalogue.items,
             "device/cpu: weights and catalogue have different numbers of items");
    if (auto const reason = kv::refusal(strategy, weights->variant, weights->shape.kind))
        throw InternalError("device/cpu: " + *reason);
    if (auto const reason = kv::misfit(strategy, weights->shape))
        throw InternalError("device/cpu: " + *reason);
    return weights;
}

class CpuBackend final : public decode::Backend {
  public:
    CpuBackend(std::shared_ptr<model::SimWeights const> weights, kv::StrategyParams const& strategy,
               workload::Catalogue const& catalogue, BackendOptions const& options)
        : weights_(std::move(weights)),
          strategy_(strategy),
          layout_(weights_->shape, weights_->variant, strategy,
                  static_cast<std::uint32_t>(catalogue.features.size())),
          codes_(weights_, strategy, options.histories),
          maker_(weights_, strategy, made_type(strategy), options.forced, &codes_),
          tables_(*weights_, strategy, maker_),
          writer_(layout_, maker_, strategy.value_type, options.memo_tables),
          tower_(*weights_),
          predicted_(kv::shared_bytes(weights_->shape, weights_->variant, strategy, catalogue,
                                      weights_->context_vocabulary)) {
        if (model::has_attention(weights_->variant.variant))
            history_.emplace(*weights_, layout_, tables_, maker_, codes_, strategy);
    }

    [[nodiscard]] kv::EntryLayout const& layout() const override { return layout_; }
    [[nodiscard]] model::SimWeights const& weights() const override { return *weights_; }
    [[nodiscard]] kv::StrategyParams const& strategy() const override { return strategy_; }
    [[nodiscard]] std::unique_ptr<decode::Scratch> make_scratch() const override {
        return std::make_unique<CpuScratch>();
    }
    [[nodiscard]] std::vector<kv::SharedBytes> allocated_shared() const override;
    std::uint32_t encode(std::span<ItemId const> tokens, std::uint32_t capacity,
                         decode::EncodeMode mode, std::byte* entry,
                         decode::Scratch& scratch) const override {
        return writer_.encode(tokens, capacity, mode, entry, own(scratch).entry);
    }
    std::uint32_t append(std::byte* entry, std::uint32_t tokens, std::uint32_t capacity,
                         std::span<ItemId const> added, decode::EncodeMode mode,
                         decode::Scratch& scratch) const override {
        return writer_.append(entry, tokens, capacity, added, mode, own(scratch).entry);
    }
    [[nodiscard]] std::uint32_t feature_width() const override {
        return 3 * weights_->d_e + weights_->shape.context_dim;
    }
    void decode(decode::ScoreRequest const& request, float* features,
                decode::Scratch& scratch) const override;
    void decode_batch(std::span<decode::ScoreRequest const> requests, float* const* features,
                      decode::Scratch& scratch) const override;
    void tower(float const* features, std::uint32_t rows, float* logits,
               decode::Scratch& scratch) const override {
        tower_.run(features, rows, logits, own(scratch).tower);
    }

  private:
    static CpuScratch& own(decode::Scratch& scratch) { return dynamic_cast<CpuScratch&>(scratch); }
    void write_candidates(decode::ScoreRequest const& request, float* features) const;
    void write_means(decode::ScoreRequest const& request, float* features,
                     CpuScratch& scratch) const;

    std::shared_ptr<model::SimWeights const> weights_;
    kv::StrategyParams strategy_;
    kv::EntryLayout layout_;
    RowCodes codes_;
    CellMaker maker_;
    SharedTables tables_;
    EntryWriter writer_;
    Tower tower_;
    std::optional<HistoryReader> history_;  ///< variants with attention
    std::vector<kv::SharedBytes> predicted_;
};

std::vector<kv::SharedBytes> CpuBackend::allocated_shared() const {
    auto const matrices = maker_.matrix_bytes();
    std::vector<kv::SharedBytes> result = predicted_;
    for (kv::SharedBytes& part : result) {
        if (part.what == "embeddings") {
            // The tables of the features and their concatenation per item, which the kernels read.
            part.bytes =
                weights_->embedding_bytes() + weights_->item_embeddings.size() * sizeof(float);
        } else if (part.what == "tower") {
            part.bytes = tower_.bytes();
        } else if (part.what == "projections") {
            part.bytes = matrices[0] + (history_ ? history_->bytes() : 0);
        } else if (part.what == "router") {
            part.bytes = matrices[1];
        } else {
            part.bytes = tables_.bytes(part.what) + codes_.bytes(part.what);
        }
    }
    return result;
}

void CpuBackend::write_candidates(decode::ScoreRequest const& request, float* features) const {
    validate(request.entry.tokens <= request.entry.capacity,
             "device/cpu: an entry holds more tokens than its capacity");
    device::cpu::write_candidates(*weights_, request, feature_width(), features);
}

/// short and long of the mean_pool control: means of embeddings, the same for all candidates.
void CpuBackend::write_means(decode::ScoreRequest const& request, float* features,
                             CpuScratch& scratch) const {
    std::size_t const d_e = weights_->d_e;
    float* means = reserve_elements(scratch.means, 2 * d_e);
    std::fill_n(means, 2 * d_e, 0.0F);
    EntryView const view(layout_, request.entry);
    std::uint32_t const recent = std::min(view.tokens, weights_->shape.short_tokens);
    for (std::uint32_t t = 0; t < view.tokens; ++t) {
        float const* embedding = weights_->item_embeddings.data() + view.ids[t] * d_e;
        bool const in_short = t >= view.tokens - recent;
        for (std::size_t i = 0; i < d_e; ++i) {
            if (in_short) means[i] += embedding[i];
            means[d_e + i] += embedding[i];
        }
    }
    for (std::size_t i = 0; view.tokens > 0 && i < d_e; ++i) {
        means[i] /= static_cast<float>(recent);
        means[d_e + i] /= static_cast<float>(view.tokens);
    }
    for (std::size_t c = 0; c < request.count; ++c)
        std::copy_n(means, 2 * d_e, features + c * feature_width() + d_e);
}

void CpuBackend::decode(decode::ScoreRequest const& request, float* features,
                        decode::Scratch& scratch) const {
    CpuScratch& mine = own(scratch);
    write_candidates(request, features);
    if (history_) {
        history_->read(request, features, feature_width(), mine.history);
        return;
    }
    if (request.chosen_top_k != nullptr) {
        std::fill_n(request.chosen_top_k, std::size_t{request.count} * weights_->shape.top_k,
                    0xFFFFFFFFU);
    }
    if (weights_->variant.variant == model::Variant::mean_pool) {
        write_means(request, features, mine);
        return;
    }
    for (std::size_t c = 0; c < request.count; ++c) {
        float* row = features + c * feature_width() + weights_->d_e;
        std::fill_n(row, 2 * std::size_t{weights_->d_e}, 0.0F);
    }
}

void CpuBackend::decode_batch(std::span<decode::ScoreRequest const> requests,
                              float* const* features, decode::Scratch& scratch) const {
    // Pools and item tables are shared between requests; many candidates of one reuse them by
    // themselves.
    bool const shares = history_ && (strategy_.kind == kv::StrategyKind::collective ||
                                     strategy_.kind == kv::StrategyKind::item_table);
    auto const alone = [](decode::ScoreRequest const& request) { return request.count == 1; };
    if (!shares || !std::all_of(requests.begin(), requests.end(), alone)) {
        decode::Backend::decode_batch(requests, features, scratch);
        return;
    }
    for (std::size_t i = 0; i < requests.size(); ++i) write_candidates(requests[i], features[i]);
    history_->read_batch(requests, features, feature_width(), own(scratch).batch);
}

}  // namespace

std::unique_ptr<decode::Backend> make_backend(std::shared_ptr<model::SimWeights const> weights,
                                              kv::StrategyParams const& strategy,
                                              workload::Catalogue const& catalogue,
                                              BackendOptions const& options) {
    auto own = checked(std::move(weights), strategy, catalogue);
    if (own->shape.stack_layers() > 0)
        return make_stack_backend(std::move(own), strategy, catalogue, options.histories);
    return std::make_unique<CpuBackend>(std::move(own), strategy, catalogue, options);
}

}  // namespace ckvsim::device::cpu
