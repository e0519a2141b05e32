// Arms of the attention benchmarks: what one strategy keeps for its users, filled with random
// values, and the same attention computed in double precision.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "core/rng.hpp"
#include "device/cpu/attention_site.hpp"
#include "device/cpu/quantised_rows.hpp"
#include "device/cpu/shared_tables.hpp"
#include "random_users.hpp"

namespace ckvsim::bench {

inline constexpr std::uint32_t kDim = 256;
inline constexpr std::uint32_t kEmbedding = 128;

/// What a benchmark row is about, all but candidates and threads.
struct ArmKey {
    std::string name;  ///< of the strategy, for example "collective_fp16"
    kv::StrategyKind kind = kv::StrategyKind::full;
    kv::ValueType type = kv::ValueType::fp32;
    std::uint32_t m = 0;
    std::uint32_t d_u = 0;
    std::uint32_t heads = 2;
    auto operator<=>(ArmKey const&) const = default;
};

/// Shared tables of a strategy and the site that reads them.
class Arm {
  public:
    explicit Arm(ArmKey const& key)
        : key_(key),
          strategy_(strategy(key)),
          weights_(make_weights(key)),
          codes_(weights_, strategy_),
          maker_(weights_, strategy_, made_type(), nullptr, &codes_),
          tables_(*weights_, strategy_, maker_),
          site_(*weights_, weights_->long_site, tables_.long_site, maker_, codes_, strategy_),
          layout_(weights_->shape, weights_->variant, strategy_) {}

    [[nodiscard]] ArmKey const& key() const { return key_; }
    [[nodiscard]] device::cpu::AttentionSite const& site() const { return site_; }
    [[nodiscard]] kv::EntryLayout const& layout() const { return layout_; }
    [[nodiscard]] std::size_t q_stride() const { return device::cpu::padded(kDim); }
    /// K (0) or V (1) of one token as the strategy keeps it, in double precision.
    [[nodiscard]] std::vector<double> row(std::size_t side, device::cpu::EntryView const& view,
                                          std::uint32_t token) const;

  private:
    static kv::StrategyParams strategy(ArmKey const& key) {
        kv::StrategyParams params;
        params.kind = key.kind;
        params.value_type = key.type;
        return params;
    }
    static std::shared_ptr<model::SimWeights const> make_weights(ArmKey const& key) {
        model::SimShape shape;
        shape.feature_dim = kEmbedding;
        shape.attention_dim = kDim;
        shape.heads = key.heads;
        shape.max_tokens = 4000;
        model::VariantParams variant;
        if (key.kind == kv::StrategyKind::collective) {
            variant.variant = model::Variant::collective;
            variant.scope = model::Scope::all;
            variant.m = key.m;
            variant.d_u = key.d_u;
        }
        return std::make_shared<model::SimWeights const>(
            model::random_sim_weights(shape, variant, item_catalogue(), 1, 1));
    }
    [[nodiscard]] kv::ValueType made_type() const {
        return key_.kind == kv::StrategyKind::recompute ? kv::ValueType::fp32 : key_.type;
    }

    ArmKey key_;
    kv::StrategyParams strategy_;
    std::shared_ptr<model::SimWeights const> weights_;
    device::cpu::RowCodes codes_;
    device::cpu::CellMaker maker_;
    device::cpu::SharedTables tables_;
    device::cpu::AttentionSite site_;
    kv::EntryLayout layout_;
};

inline std::vector<double> values_of(std::byte const* from, kv::ValueType type, std::size_t count) {
    std::vector<float> floats(count);
    device::cpu::load_row(type, from, count, floats.data());
    return {floats.begin(), floats.end()};
}

inline std::vector<double> Arm::row(std::size_t side, device::cpu::EntryView const& view,
                                    std::uint32_t token) const {
    device::cpu::SideTables const& t = side == 0 ? tables_.long_site.k : tables_.long_site.v;
    if (t.codes) {
        std::uint16_t index = 0;
        std::memcpy(&index, view.section(t.index_section) + token * sizeof index, sizeof index);
        auto result = values_of(t.pool.data() + index * t.pool_step_bytes, key_.type, kDim);
        auto const user =
            values_of(view.section(t.user_section) + token * key_.d_u * kv::value_bytes(key_.type),
                      key_.type, key_.d_u);
        for (std::size_t u = 0; u < key_.d_u; ++u) result[kDim - key_.d_u + u] = user[u];
        return result;
    }
    std::size_t const bytes = kv::row_bytes(key_.type, kDim);
    if (t.by_item) return values_of(t.rows.data() + view.ids[token] * bytes, key_.type, kDim);
    if (key_.kind == kv::StrategyKind::full)
        return values_of(view.section(t.values) + token * bytes, key_.type, kDim);
    std::vector<std::byte> made(kDim * sizeof(float));
    device::cpu::CellScratch scratch;
    maker_.make(t.values, view.ids + token, 1, made.data(), scratch);
    return values_of(made.data(), kv::ValueType::fp32, kDim);
}

/// softmax(q . k / sqrt(head_dim)) v of one query in double precision.
inline std::vector<double> reference_attention(Arm const& arm, device::cpu::EntryView const& view,
                                               float const* q) {
    std::size_t const heads = arm.key().heads;
    std::size_t const head_dim = kDim / heads;
    std::vector<double> out(kDim, 0.0);
    std::vector<std::vector<double>> k;
    std::vector<std::vector<double>> v;
    for (std::uint32_t t = 0; t < view.tokens; ++t) {
        k.push_back(arm.row(0, view, t));
        v.push_back(arm.row(1, view, t));
    }
    for (std::size_t h = 0; h < heads; ++h) {
        std::vector<double> p(view.tokens);
        double top = -1e300;
        for (std::size_t t = 0; t < p.size(); ++t) {
            for (std::size_t i = h * head_dim; i < (h + 1) * head_dim; ++i) p[t] += q[i] * k[t][i];
            p[t] /= std::sqrt(static_cast<double>(head_dim));
            top = std::max(top, p[t]);
        }
        double sum = 0.0;
        for (double& x : p) sum += x = std::exp(x - top);
        for (std::size_t t = 0; t < p.size(); ++t) {
            for (std::size_t i = h * head_dim; i < (h + 1) * head_dim; ++i)
                out[i] += p[t] / sum * v[t][i];
        }
    }
    return out;
}

}  // namespace ckvsim::bench
