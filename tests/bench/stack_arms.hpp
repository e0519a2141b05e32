// Arms of the HSTU benchmarks: a backend with random weights of one strategy, and its check against
// the layers in double precision.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "decode/nominal_work.hpp"
#include "device/cpu/cpu_backend.hpp"
#include "device/cpu/row_sharing.hpp"
#include "random_users.hpp"
#include "reference_stack.hpp"
#include "stored_rows.hpp"

namespace ckvsim::bench {

/// The model of every row: two layers of two heads, d = 256, d_e = 128, at most 1,000 tokens.
inline model::SimShape stack_shape() {
    model::SimShape shape;
    shape.kind = model::ModelKind::hstu;
    shape.layers = 2;
    shape.heads = 2;
    shape.attention_dim = 256;
    shape.feature_dim = 128;
    shape.max_tokens = 1000;
    return shape;
}

/// A strategy with its weights.
struct StackKey {
    std::string name;  ///< for example "collective_fp16"
    kv::StrategyKind kind = kv::StrategyKind::full;
    kv::ValueType type = kv::ValueType::fp32;
    std::uint32_t m = 0;
    std::uint32_t d_u = 0;
    auto operator<=>(StackKey const&) const = default;
};

/// Backend of a strategy with what its requests take by formula.
class StackArm {
  public:
    explicit StackArm(StackKey const& key)
        : key_(key),
          strategy_(strategy(key)),
          catalogue_(item_catalogue()),
          weights_(std::make_shared<model::SimWeights const>(
              model::random_sim_weights(stack_shape(), variant(key), catalogue_, 1, 1))),
          backend_(device::cpu::make_backend(weights_, strategy_, catalogue_)),
          work_(decode::nominal_work(stack_shape(), variant(key), strategy_, catalogue_)) {}

    [[nodiscard]] StackKey const& key() const { return key_; }
    [[nodiscard]] decode::Backend const& backend() const { return *backend_; }
    [[nodiscard]] decode::NominalWork const& work() const { return work_; }
    /// Bytes of all layers' pools, and of one pool row.
    [[nodiscard]] double pool_bytes() const {
        return 2.0 * stack_shape().layers * key_.m * pool_row_bytes();
    }
    [[nodiscard]] double pool_row_bytes() const {
        return key_.m == 0 ? 0.0 : kv::row_bytes(key_.type, stack_shape().attention_dim - key_.d_u);
    }
    /// Features of `count` candidates.
    void decode(decode::EntryRef const& entry, ItemId const* candidates, std::uint32_t count,
                float* features, decode::Scratch& scratch) const {
        decode::ScoreRequest request;
        request.entry = entry;
        request.candidates = candidates;
        request.count = count;
        backend_->decode(request, features, scratch);
    }
    /// Largest error of the last layer's output, relative to its largest value, of a history that
    /// the arm has encoded itself.
    [[nodiscard]] double worst_error() const;

  private:
    static kv::StrategyParams strategy(StackKey const& key) {
        kv::StrategyParams params;
        params.kind = key.kind;
        params.value_type = key.type;
        return params;
    }
    static model::VariantParams variant(StackKey const& key) {
        model::VariantParams params;
        if (key.m == 0) return params;
        params.variant = model::Variant::collective;
        params.scope = model::Scope::all;
        params.m = key.m;
        params.d_u = key.d_u;
        return params;
    }
    /// Pool rows that serving chooses for these tokens.
    [[nodiscard]] test::StackIndices chosen_rows(std::vector<ItemId> const& items) const;

    StackKey key_;
    kv::StrategyParams strategy_;
    workload::Catalogue catalogue_;
    std::shared_ptr<model::SimWeights const> weights_;
    std::unique_ptr<decode::Backend> backend_;
    decode::NominalWork work_;
};

inline std::vector<ItemId> random_items(std::size_t count, std::uint64_t stream) {
    CounterRng rng(6, Purpose::test, stream);
    std::vector<ItemId> items(count);
    for (ItemId& item : items) item = 1 + rng.below(kItems);
    return items;
}

inline test::StackIndices StackArm::chosen_rows(std::vector<ItemId> const& items) const {
    auto const& layout = backend_->layout();
    auto const capacity = static_cast<std::uint32_t>(items.size());
    AlignedVector<std::byte> entry(layout.entry_bytes(capacity));
    auto const scratch = backend_->make_scratch();
    backend_->encode(items, capacity, decode::EncodeMode::compute, entry.data(), *scratch);
    test::StackIndices result(stack_shape().layers);
    for (std::uint32_t layer = 0; layer < result.size(); ++layer) {
        for (std::size_t side = 0; side < 2; ++side) {
            auto const part = side == 0 ? kv::LayerPart::k_index : kv::LayerPart::v_index;
            auto const section = kv::layer_section(layer, part);
            std::byte const* from = entry.data() + layout.offset(section, capacity);
            for (std::size_t t = 0; t < items.size(); ++t) {
                std::uint16_t index = 0;
                std::memcpy(&index, from + t * sizeof index, sizeof index);
                result[layer][side].push_back(index);
            }
        }
    }
    return result;
}

inline double StackArm::worst_error() const {
    constexpr std::uint32_t kTokens = 90;
    constexpr std::uint32_t kCandidates = 3;
    auto const history = random_items(kTokens, 1);
    auto const candidates = random_items(kCandidates, 2);
    auto const scratch = backend_->make_scratch();
    AlignedVector<std::byte> entry(backend_->layout().entry_bytes(kTokens));
    backend_->encode(history, kTokens, decode::EncodeMode::compute, entry.data(), *scratch);
    std::size_t const width = backend_->feature_width();
    std::vector<float> features(kCandidates * width);
    decode({entry.data(), kTokens, kTokens}, candidates.data(), kCandidates, features.data(),
           *scratch);
    auto whole = history;
    whole.push_back(candidates.back());
    test::ReferenceOptions options;
    options.half_values = key_.type == kv::ValueType::fp16;
    if (key_.m != 0) options.stack = chosen_rows(whole);
    if (device::cpu::is_quantised(key_.type))
        options.stack_rows = test::stored_stack(*backend_, whole);
    test::ReferenceStack const reference(*weights_, options);
    auto const expected = reference.output(history, candidates.back());
    float const* got = features.data() + (kCandidates - 1) * width + weights_->d_e;
    double worst = 0.0;
    double largest = 0.0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
        worst = std::max(worst, std::abs(got[i] - expected[i]));
        largest = std::max(largest, std::abs(expected[i]));
    }
    // A row that no router would choose, or that is not near its values, is as wrong as a value.
    return std::max(
        {worst / largest, reference.largest_shortfall(), reference.largest_displacement()});
}

}  // namespace ckvsim::bench
