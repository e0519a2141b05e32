#include "device/cpu/stack_backend.hpp"

#include <algorithm>
#include <cstring>
#include <optional>

#include "core/error.hpp"
#include "device/cpu/self_attention.hpp"
#include "device/cpu/tower.hpp"
#include "model/weight_shapes.hpp"

namespace ckvsim::device::cpu {
namespace {

/// Candidates that go through the layers together: their states and queries stay in the L2 cache.
constexpr std::size_t kCandidateBlock = 128;

struct StackBackendScratch final : decode::Scratch {
    StackScratch stack;
    TowerScratch tower;
    AlignedVector<std::byte> entry;  ///< recompute: K and V of the request's tokens
    std::vector<double> means;
};

/// What the layers read: recompute makes an entry of full fp32 at the request and forgets it.
kv::StrategyParams kept_at_request(kv::StrategyParams strategy) {
    if (strategy.kind != kv::StrategyKind::recompute) return strategy;
    strategy.kind = kv::StrategyKind::full;
    strategy.value_type = kv::ValueType::fp32;
    return strategy;
}

class StackBackend final : public decode::Backend {
  public:
    StackBackend(std::shared_ptr<model::SimWeights const> weights,
                 kv::StrategyParams const& strategy, workload::Catalogue const& catalogue,
                 std::span<std::vector<ItemId> const> histories)
        : weights_(std::move(weights)),
          strategy_(strategy),
          layout_(weights_->shape, weights_->variant, strategy),
          tower_(*weights_),
          predicted_(kv::shared_bytes(weights_->shape, weights_->variant, strategy, catalogue,
                                      weights_->context_vocabulary)) {
        if (!model::has_attention(weights_->variant.variant)) return;
        request_layout_.emplace(weights_->shape, weights_->variant, kept_at_request(strategy));
        stack_.emplace(*weights_, kept_at_request(strategy), *request_layout_,
                       fit_stack_codes(*weights_, strategy, histories));
    }

    [[nodiscard]] kv::EntryLayout const& layout() const override { return layout_; }
    [[nodiscard]] model::SimWeights const& weights() const override { return *weights_; }
    [[nodiscard]] kv::StrategyParams const& strategy() const override { return strategy_; }
    [[nodiscard]] std::unique_ptr<decode::Scratch> make_scratch() const override {
        return std::make_unique<StackBackendScratch>();
    }
    [[nodiscard]] std::vector<kv::SharedBytes> allocated_shared() const override;
    /// There are no per-item tables to copy from: both modes compute.
    std::uint32_t encode(std::span<ItemId const> tokens, std::uint32_t capacity,
                         decode::EncodeMode mode, std::byte* entry,
                         decode::Scratch& scratch) const override {
        return append(entry, 0, capacity, tokens, mode, scratch);
    }
    std::uint32_t append(std::byte* entry, std::uint32_t tokens, std::uint32_t capacity,
                         std::span<ItemId const> added, decode::EncodeMode mode,
                         decode::Scratch& scratch) const override;
    [[nodiscard]] std::uint32_t feature_width() const override {
        return model::tower_inputs(weights_->shape, weights_->d_e);
    }
    void decode(decode::ScoreRequest const& request, float* features,
                decode::Scratch& scratch) const override;
    void tower(float const* features, std::uint32_t rows, float* logits,
               decode::Scratch& scratch) const override {
        tower_.run(features, rows, logits, own(scratch).tower);
    }

  private:
    static StackBackendScratch& own(decode::Scratch& scratch) {
        return dynamic_cast<StackBackendScratch&>(scratch);
    }
    [[nodiscard]] ItemId const* ids_of(decode::EntryRef const& entry) const;
    void write_without_attention(decode::ScoreRequest const& request, float* features,
                                 StackBackendScratch& scratch) const;
    [[nodiscard]] decode::EntryRef entry_to_read(decode::EntryRef const& entry,
                                                 StackBackendScratch& scratch) const;

    std::shared_ptr<model::SimWeights const> weights_;
    kv::StrategyParams strategy_;
    kv::EntryLayout layout_;
    Tower tower_;
    std::vector<kv::SharedBytes> predicted_;
    std::optional<kv::EntryLayout> request_layout_;  ///< of what the stack reads
    std::optional<SelfAttention> stack_;             ///< variants with attention
};

std::vector<kv::SharedBytes> StackBackend::allocated_shared() const {
    std::vector<kv::SharedBytes> result = predicted_;
    for (kv::SharedBytes& part : result) {
        if (part.what == "embeddings") {
            // The tables of the features and their concatenation per item, which the kernels read.
            part.bytes =
                weights_->embedding_bytes() + weights_->item_embeddings.size() * sizeof(float);
        } else if (part.what == "tower") {
            part.bytes = tower_.bytes();
        } else {
            part.bytes = stack_ ? stack_->bytes(part.what) : 0;
        }
    }
    return result;
}

std::uint32_t StackBackend::append(std::byte* entry, std::uint32_t tokens, std::uint32_t capacity,
                                   std::span<ItemId const> added, decode::EncodeMode,
                                   decode::Scratch& scratch) const {
    validate(tokens <= capacity, "device/cpu: an entry holds more tokens than its capacity");
    if (added.size() > capacity) added = added.last(capacity);
    if (added.empty()) return tokens;
    for (ItemId const item : added)
        validate(item <= weights_->items,
                 "device/cpu: a history holds an item beyond the catalogue");
    auto const fresh = static_cast<std::uint32_t>(added.size());
    std::uint32_t const kept = std::min(tokens, capacity - fresh);
    layout_.keep_newest(entry, tokens, kept, capacity);
    if (layout_.has(kv::Section::ids)) {
        std::memcpy(entry + layout_.offset(kv::Section::ids, capacity) + kept * sizeof(ItemId),
                    added.data(), added.size_bytes());
    } else {
        stack_->extend(entry, kept, capacity, added, own(scratch).stack);
    }
    return kept + fresh;
}

ItemId const* StackBackend::ids_of(decode::EntryRef const& entry) const {
    return reinterpret_cast<ItemId const*>(entry.data +
                                           layout_.offset(kv::Section::ids, entry.capacity));
}

/// The controls: the mean of the tokens' embeddings, or nothing of the history at all.
void StackBackend::write_without_attention(decode::ScoreRequest const& request, float* features,
                                           StackBackendScratch& scratch) const {
    std::size_t const d_e = weights_->d_e;
    scratch.means.assign(d_e, 0.0);
    bool const pooled = weights_->variant.variant == model::Variant::mean_pool;
    std::uint32_t const tokens = pooled ? request.entry.tokens : 0;
    double const share = 1.0 / std::max(tokens, 1U);
    ItemId const* ids = ids_of(request.entry);
    for (std::uint32_t t = 0; t < tokens; ++t) {
        float const* embedding = weights_->item_embeddings.data() + ids[t] * d_e;
        for (std::size_t i = 0; i < d_e; ++i) scratch.means[i] += share * embedding[i];
    }
    for (std::size_t c = 0; c < request.count; ++c) {
        for (std::size_t i = 0; i < d_e; ++i)
            features[c * feature_width() + d_e + i] = static_cast<float>(scratch.means[i]);
    }
}

decode::EntryRef StackBackend::entry_to_read(decode::EntryRef const& entry,
                                             StackBackendScratch& scratch) const {
    if (!layout_.has(kv::Section::ids)) return entry;
    std::byte* made =
        reserve_elements(scratch.entry, request_layout_->entry_bytes(entry.tokens) + 1);
    stack_->extend(made, 0, entry.tokens, {ids_of(entry), entry.tokens}, scratch.stack);
    return {made, entry.tokens, entry.tokens};
}

void StackBackend::decode(decode::ScoreRequest const& request, float* features,
                          decode::Scratch& scratch) const {
    validate(request.entry.tokens <= request.entry.capacity,
             "device/cpu: an entry holds more tokens than its capacity");
    StackBackendScratch& mine = own(scratch);
    write_candidates(*weights_, request, feature_width(), features);
    if (request.chosen_top_k != nullptr) {
        // Nothing is searched, so nothing is chosen.
        std::fill_n(request.chosen_top_k, std::size_t{request.count} * weights_->shape.top_k,
                    0xFFFFFFFFU);
    }
    if (!stack_) {
        write_without_attention(request, features, mine);
        return;
    }
    decode::EntryRef const entry = entry_to_read(request.entry, mine);
    std::size_t const step = feature_width();
    for (std::size_t first = 0; first < request.count; first += kCandidateBlock) {
        std::size_t const count = std::min<std::size_t>(kCandidateBlock, request.count - first);
        stack_->read(entry, request.candidates + first, count,
                     features + first * step + weights_->d_e, step, mine.stack);
    }
}

}  // namespace

std::unique_ptr<decode::Backend> make_stack_backend(
    std::shared_ptr<model::SimWeights const> weights, kv::StrategyParams const& strategy,
    workload::Catalogue const& catalogue, std::span<std::vector<ItemId> const> histories) {
    return std::make_unique<StackBackend>(std::move(weights), strategy, catalogue, histories);
}

}  // namespace ckvsim::device::cpu
