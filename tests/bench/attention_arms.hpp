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
#include "workload/zipf_sampler.hpp"

namespace ckvsim::bench {

using device::cpu::AlignedVector;

inline constexpr std::uint32_t kItems = 40000;
inline constexpr std::uint32_t kDim = 256;
inline constexpr std::uint32_t kEmbedding = 128;
/// Entries of different users: far beyond the last-level cache. Small entries stop at kMostUsers.
inline constexpr std::size_t kEntryBytes = std::size_t{256} << 20;
inline constexpr std::size_t kMostUsers = 1024;
inline constexpr double kZipfExponent = 1.0;

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
    static workload::Catalogue catalogue() {
        workload::Catalogue c;
        c.items = kItems;
        c.feature_names = {"item"};
        c.feature_vocabularies = {kItems + 1};
        c.features.resize(1);
        for (std::uint32_t i = 0; i <= kItems; ++i) c.features[0].push_back(i);
        return c;
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
            model::random_sim_weights(shape, variant, catalogue(), 1, 1));
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

/// Entries of as many users as kEntryBytes and kMostUsers allow, `tokens` each.
class Users {
  public:
    Users(Arm const& arm, std::uint32_t tokens, bool zipf)
        : tokens_(tokens), entry_bytes_(arm.layout().entry_bytes(tokens)), layout_(arm.layout()) {
        count_ = std::min(kMostUsers, kEntryBytes / entry_bytes_);
        memory_.resize(count_ * entry_bytes_);
        // Pools and items are drawn at random or by popularity; the rows of the popular ones lie
        // anywhere in the table.
        CounterRng rng(3, Purpose::test, tokens);
        std::uint32_t const m = std::max(arm.key().m, 1U);
        workload::ZipfSampler const popular_items(kItems, kZipfExponent);
        workload::ZipfSampler const popular_rows(m, kZipfExponent);
        auto const draw = [&](std::uint32_t among, workload::ZipfSampler const& popular) {
            if (!zipf) return rng.below(among);
            auto const rank = popular.draw([&] { return rng.uniform(); });
            return static_cast<std::uint32_t>(rank * 7919 % among);  // a prime beyond all factors
        };
        for (std::size_t user = 0; user < count_; ++user) {
            device::cpu::EntryView const view(layout_, entry(user));
            auto* begin = memory_.data() + user * entry_bytes_;
            for (std::size_t s = 0; s < kv::kSections; ++s) {
                auto const section = static_cast<kv::Section>(s);
                std::uint32_t const bytes = layout_.bytes_per_token(section);
                std::size_t const held = layout_.tokens_in(section, tokens);
                auto* out = begin + (view.section(section) - begin);
                if (section == kv::Section::ids && bytes != 0) {
                    for (std::size_t t = 0; t < held; ++t) {
                        ItemId const id = 1 + draw(kItems, popular_items);
                        std::memcpy(out + t * bytes, &id, bytes);
                    }
                } else if (section == kv::Section::long_k_index ||
                           section == kv::Section::long_v_index) {
                    for (std::size_t t = 0; t < held && bytes != 0; ++t) {
                        auto const index = static_cast<std::uint16_t>(draw(m, popular_rows));
                        std::memcpy(out + t * bytes, &index, bytes);
                    }
                } else {
                    fill_values(arm.key().type, held * bytes, user + s, out);
                }
            }
        }
    }
    [[nodiscard]] std::size_t count() const { return count_; }
    [[nodiscard]] std::uint32_t tokens() const { return tokens_; }
    [[nodiscard]] decode::EntryRef entry(std::size_t user) const {
        return {memory_.data() + user % count_ * entry_bytes_, tokens_, tokens_};
    }

  private:
    /// Values between -1 and 1 out of one block of random numbers.
    static void fill_values(kv::ValueType type, std::size_t bytes, std::size_t offset,
                            std::byte* out) {
        constexpr std::size_t kBlock = 8192;
        static auto const floats = [] {
            std::vector<float> values(2 * kBlock);
            CounterRng rng(4, Purpose::test, 0);
            for (float& x : values) x = static_cast<float>(2.0 * rng.uniform() - 1.0);
            return values;
        }();
        static auto const halves = [] {
            std::vector<std::uint16_t> values(2 * kBlock);
            device::cpu::to_half(floats.data(), floats.size(), values.data());
            return values;
        }();
        bool const whole = type == kv::ValueType::fp32;
        std::size_t const width = kv::value_bytes(type);
        auto const* from = whole ? reinterpret_cast<std::byte const*>(floats.data())
                                 : reinterpret_cast<std::byte const*>(halves.data());
        from += offset * 61 % kBlock * width;
        for (std::size_t at = 0; at < bytes; at += kBlock * width)
            std::memcpy(out + at, from, std::min(kBlock * width, bytes - at));
    }

    std::uint32_t tokens_;
    std::size_t entry_bytes_;
    kv::EntryLayout const& layout_;
    std::size_t count_ = 0;
    AlignedVector<std::byte> memory_;
};

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
