// What one user's entry holds, and where.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "core/error.hpp"
#include "kv/strategy.hpp"

namespace ckvsim::kv {
namespace {

using model::Scope;
using model::Variant;
using model::VariantParams;

constexpr std::size_t kLong = 1000;  ///< n
constexpr std::size_t kShort = 49;

model::SimShape shape() {
    model::SimShape s;
    s.attention_dim = 256;  // d
    s.search_dim = 64;      // d_s
    s.max_tokens = kLong;
    return s;
}

VariantParams collective(std::uint32_t d_u, std::uint32_t m, Scope scope) {
    VariantParams v;
    v.variant = Variant::collective;
    v.scope = scope;
    v.d_u = d_u;
    v.m = m;
    return v;
}

StrategyParams strategy(StrategyKind kind, ValueType type = ValueType::fp32) {
    StrategyParams s;
    s.kind = kind;
    s.value_type = type;
    return s;
}

std::size_t payload(VariantParams const& v, StrategyParams const& s, std::uint32_t tokens) {
    return EntryLayout(shape(), v, s).payload_bytes(tokens);
}

TEST(EntryLayout, FullIsTheFormulaOfTheDesign) {
    // 49 * 2 d b + n d_s b + n 2 d b
    for (auto const type : {ValueType::fp32, ValueType::fp16}) {
        std::size_t const b = value_bytes(type);
        for (std::uint32_t const n : {1U, 48U, 49U, 50U, 1000U}) {
            std::size_t const recent = std::min<std::size_t>(n, kShort);
            EXPECT_EQ(payload({}, strategy(StrategyKind::full, type), n),
                      recent * 2 * 256 * b + n * 64 * b + n * 2 * 256 * b);
        }
    }
    EXPECT_EQ(payload({}, strategy(StrategyKind::full), kLong), 100352U + 256000U + 2048000U);
}

TEST(EntryLayout, QuantisedRowsCarryTheirScalesAndZeros) {
    // int8: d + 4 a row; int4: d / 2 and 4 bytes for each 64 values, search keys as int8.
    EXPECT_EQ(payload({}, strategy(StrategyKind::full, ValueType::int8), kLong),
              kShort * 2 * 260 + kLong * (64 + 4) + kLong * 2 * 260);
    EXPECT_EQ(payload({}, strategy(StrategyKind::full, ValueType::int4), kLong),
              kShort * 2 * 144 + kLong * (64 + 4) + kLong * 2 * 144);
    // int8 pools: the d_u user values stay fp16.
    EXPECT_EQ(payload(collective(2, 1000, Scope::released),
                      strategy(StrategyKind::collective, ValueType::int8), kLong),
              kShort * 2 * (2 + 2 * 2) + kLong * (64 + 4) + kLong * 2 * 260);
    EXPECT_EQ(payload({}, strategy(StrategyKind::item_table, ValueType::int4), kLong), 4 * kLong);
}

TEST(EntryLayout, LowRankKeepsCoefficientsAndVqCodes) {
    auto low = strategy(StrategyKind::low_rank, ValueType::fp16);
    low.rank = 5;
    EXPECT_EQ(payload({}, low, kLong), kShort * 2 * 10 + kLong * 64 * 2 + kLong * 2 * 10);
    auto vq = strategy(StrategyKind::vq, ValueType::int8);
    vq.subspaces = 32;
    vq.code_bits = 4;  // a byte a code all the same
    EXPECT_EQ(payload({}, vq, kLong), kShort * 2 * 32 + kLong * (64 + 4) + kLong * 2 * 32);
}

TEST(Misfit, Table) {
    auto low = strategy(StrategyKind::low_rank);
    low.rank = 256;
    EXPECT_FALSE(misfit(low, shape()));
    low.rank = 257;
    EXPECT_THAT(misfit(low, shape()).value(), testing::HasSubstr("allowed: 1 .. 256"));
    EXPECT_THROW(EntryLayout(shape(), {}, low), InternalError);
    low.rank = 0;
    EXPECT_TRUE(misfit(low, shape()));
    low.kind = StrategyKind::full;
    EXPECT_FALSE(misfit(low, shape())) << "no concern of others";
    auto vq = strategy(StrategyKind::vq);
    for (std::uint32_t const subspaces : {1U, 8U, 256U}) {
        vq.subspaces = subspaces;
        EXPECT_FALSE(misfit(vq, shape()));
    }
    for (std::uint32_t const subspaces : {0U, 3U, 512U}) {
        vq.subspaces = subspaces;
        EXPECT_THAT(misfit(vq, shape()).value(), testing::HasSubstr("do not divide"));
    }
    vq.subspaces = 8;
    for (std::uint32_t const bits : {0U, 9U}) {
        vq.code_bits = bits;
        EXPECT_THAT(misfit(vq, shape()).value(), testing::HasSubstr("allowed: 1 .. 8"));
    }
}

TEST(EntryLayout, IdsOnlyStrategies) {
    EXPECT_EQ(payload({}, strategy(StrategyKind::recompute), kLong), 4 * kLong);
    EXPECT_EQ(payload({}, strategy(StrategyKind::item_table), kLong), 4 * kLong);
    auto by_item = strategy(StrategyKind::collective);
    by_item.keying = Keying::item;
    EXPECT_EQ(payload(collective(1, 100, Scope::all), by_item, kLong), 4 * kLong);
}

TEST(EntryLayout, CollectivePerUserToken) {
    auto s = strategy(StrategyKind::collective);
    // Both branches: per token and branch 2 (index + d_u values); search keys as in full.
    EXPECT_EQ(payload(collective(1, 1000, Scope::all), s, kLong),
              kShort * 2 * (2 + 4) + kLong * 64 * 4 + kLong * 2 * (2 + 4));
    EXPECT_EQ(payload(collective(3, 1000, Scope::all), s, kLong),
              kShort * 2 * (2 + 12) + kLong * 64 * 4 + kLong * 2 * (2 + 12));
    // Released scope: the long branch keeps full rows.
    EXPECT_EQ(payload(collective(1, 1000, Scope::released), s, kLong),
              kShort * 2 * (2 + 4) + kLong * 64 * 4 + kLong * 2 * 256 * 4);
    s.index_bytes = 4;
    s.value_type = ValueType::fp16;
    s.search_keys = SearchKeys::item_table;
    EXPECT_EQ(payload(collective(2, 1000, Scope::all), s, kLong),
              kShort * 2 * (4 + 4) + kLong * 4 + kLong * 2 * (4 + 4));
    s.index_bytes = 1;
    EXPECT_EQ(payload(collective(0, 256, Scope::all), s, kLong),
              kShort * 2 * 1 + kLong * 4 + kLong * 2 * 1)
        << "no user part at d_u = 0";
}

TEST(EntryLayout, TwinKeepsNoSearchKeys) {
    model::SimShape twin = shape();
    twin.kind = model::ModelKind::twin;
    auto const bytes = [&](VariantParams const& v, StrategyParams const& s) {
        EntryLayout const layout(twin, v, s);
        EXPECT_FALSE(layout.has(Section::search));
        return layout.payload_bytes(kLong);
    };
    EXPECT_EQ(bytes({}, strategy(StrategyKind::full)), (kShort + kLong) * 2 * 256 * 4);
    EXPECT_EQ(bytes({}, strategy(StrategyKind::item_table)), 4 * kLong);
    auto const pooled = strategy(StrategyKind::collective);
    EXPECT_EQ(bytes(collective(1, 1000, Scope::all), pooled), (kShort + kLong) * 2 * (2 + 4));
    EXPECT_EQ(bytes(collective(1, 1000, Scope::released), pooled),
              kShort * 2 * (2 + 4) + kLong * 2 * 256 * 4);
    auto table = pooled;
    table.search_keys = SearchKeys::item_table;
    EXPECT_THROW(EntryLayout(twin, collective(1, 1000, Scope::all), table), InternalError);
}

TEST(EntryLayout, EtaKeepsASignatureOfATokenInAnyType) {
    model::SimShape eta = shape();
    eta.kind = model::ModelKind::eta;
    auto const search = [&](VariantParams const& v, StrategyParams const& s) {
        return EntryLayout(eta, v, s).bytes_per_token(Section::search);
    };
    for (std::uint32_t const bits : {8U, 16U, 32U, 64U}) {
        eta.hash_bits = bits;
        for (auto const type : {ValueType::fp32, ValueType::fp16, ValueType::int8, ValueType::int4})
            EXPECT_EQ(search({}, strategy(StrategyKind::full, type)), bits / 8);
        EXPECT_EQ(search({}, strategy(StrategyKind::low_rank)), bits / 8);
        EXPECT_EQ(search({}, strategy(StrategyKind::vq)), bits / 8);
        // The formula of the design: 49 * 2 d b + n bits / 8 + n 2 d b.
        EXPECT_EQ(EntryLayout(eta, {}, strategy(StrategyKind::full)).payload_bytes(kLong),
                  (kShort + kLong) * 2 * 256 * 4 + kLong * bits / 8);
        auto pooled = strategy(StrategyKind::collective);
        EXPECT_EQ(EntryLayout(eta, collective(1, 1000, Scope::all), pooled).payload_bytes(kLong),
                  (kShort + kLong) * 2 * (2 + 4) + kLong * bits / 8);
        pooled.search_keys = SearchKeys::item_table;
        EXPECT_EQ(search(collective(1, 1000, Scope::all), pooled), 0U);
        EXPECT_EQ(EntryLayout(eta, collective(1, 1000, Scope::all), pooled).payload_bytes(kLong),
                  (kShort + kLong) * 2 * (2 + 4) + kLong * 4)
            << "an id finds the item's signature";
    }
    for (auto const kind : {StrategyKind::recompute, StrategyKind::item_table})
        EXPECT_EQ(EntryLayout(eta, {}, strategy(kind)).payload_bytes(kLong), 4 * kLong);
}

/// Every layout the strategies can make.
std::vector<std::pair<VariantParams, StrategyParams>> all_layouts() {
    std::vector<std::pair<VariantParams, StrategyParams>> layouts;
    for (auto const type : {ValueType::int8, ValueType::int4}) {
        for (auto const kind : {StrategyKind::full, StrategyKind::item_table})
            layouts.push_back({{}, strategy(kind, type)});
    }
    for (auto const type : {ValueType::fp32, ValueType::fp16}) {
        for (auto const kind : {StrategyKind::recompute, StrategyKind::full,
                                StrategyKind::item_table, StrategyKind::low_rank, StrategyKind::vq})
            layouts.push_back({{}, strategy(kind, type)});
        for (auto const scope : {Scope::released, Scope::all}) {
            for (auto const keying : {Keying::user_token, Keying::item}) {
                for (auto const search : {SearchKeys::stored, SearchKeys::item_table}) {
                    for (std::uint32_t const width : {1U, 2U, 4U}) {
                        auto s = strategy(StrategyKind::collective, type);
                        s.keying = keying;
                        s.search_keys = search;
                        s.index_bytes = width;
                        layouts.push_back({collective(width % 3, 200, scope), s});
                    }
                }
            }
        }
    }
    return layouts;
}

TEST(EntryLayout, SectionsAreAlignedDisjointAndFillTheEntry) {
    for (auto const& [v, s] : all_layouts()) {
        EntryLayout const layout(shape(), v, s);
        for (std::uint32_t const capacity : {0U, 1U, 3U, 49U, 50U, 1000U}) {
            std::size_t end = 0;
            std::size_t sum = 0;
            for (std::size_t i = 0; i < kSections; ++i) {
                auto const section = static_cast<Section>(i);
                ASSERT_EQ(layout.offset(section, capacity) % 16, 0U);
                ASSERT_GE(layout.offset(section, capacity), end) << to_string(section);
                ASSERT_LT(layout.offset(section, capacity), end + 16) << "padding below one line";
                ASSERT_EQ(layout.payload_bytes(capacity, section),
                          std::size_t{layout.tokens_in(section, capacity)} *
                              layout.bytes_per_token(section));
                end = layout.offset(section, capacity) + layout.payload_bytes(capacity, section);
                sum += layout.payload_bytes(capacity, section);
            }
            EXPECT_EQ(layout.payload_bytes(capacity), sum);
            EXPECT_GE(layout.entry_bytes(capacity), end);
            EXPECT_LT(layout.entry_bytes(capacity), end + 16);
            EXPECT_EQ(layout.entry_bytes(capacity) % 16, 0U) << "entries can be stacked";
        }
    }
}

model::SimShape sdim_shape() {
    auto s = shape();
    s.kind = model::ModelKind::sdim;
    s.hashes = 16;
    s.hash_bits = 3;
    s.feature_dim = 24;  // of 2 features: d_e = 48
    return s;
}
constexpr std::uint32_t kFeatures = 2;
constexpr std::size_t kRows = 16 * 8;

TEST(EntryLayout, SdimKeepsAFixedNumberOfSumsAndTheIdsThatUndoThem) {
    struct Case {
        StrategyKind kind;
        ValueType type;
        std::size_t row;    ///< bytes of a row of sums
        std::size_t token;  ///< bytes of K and V of a token of the short branch
    };
    for (auto const& [kind, type, row, token] :
         {Case{StrategyKind::full, ValueType::fp32, 48 * 4, 2 * 256 * 4},
          Case{StrategyKind::full, ValueType::fp16, 48 * 2, 2 * 256 * 2},
          Case{StrategyKind::full, ValueType::int8, 48 + 4, 2 * (256 + 4)},
          Case{StrategyKind::full, ValueType::int4, 24 + 4, 2 * (128 + 16)},
          Case{StrategyKind::low_rank, ValueType::fp16, 48 * 2, 2 * 8 * 2},
          Case{StrategyKind::vq, ValueType::int8, 48 + 4, 2 * 8}}) {
        EntryLayout const layout(sdim_shape(), {}, strategy(kind, type), kFeatures);
        EXPECT_EQ(layout.payload_bytes(0), 0U);
        for (std::uint32_t const n : {1U, 20U, 1000U}) {
            EXPECT_EQ(layout.payload_bytes(n, Section::long_sums), kRows * row);
            EXPECT_EQ(layout.payload_bytes(n),
                      kRows * row + 4 * n + std::min<std::size_t>(n, kShort) * token);
            EXPECT_EQ(layout.tokens_in(Section::long_sums, n), 0U);
        }
        EXPECT_EQ(layout.bytes_per_token(Section::long_sums), 0U) << "it does not grow";
        EXPECT_TRUE(layout.has(Section::long_sums));
        EXPECT_TRUE(layout.has(Section::ids));
        EXPECT_FALSE(layout.has(Section::long_k));
        EXPECT_FALSE(layout.has(Section::search));
    }
}

TEST(EntryLayout, SdimKeepsIdsAloneWhereRequestsMakeTheSums) {
    for (auto const kind : {StrategyKind::recompute, StrategyKind::item_table}) {
        EXPECT_EQ(EntryLayout(sdim_shape(), {}, strategy(kind), kFeatures).payload_bytes(kLong),
                  4 * kLong);
    }
    auto const pools = collective(1, 1000, Scope::released);
    auto pooled = strategy(StrategyKind::collective);
    std::size_t const codes = kShort * 2 * (2 + 4);
    EXPECT_EQ(EntryLayout(sdim_shape(), pools, pooled, kFeatures).payload_bytes(kLong),
              codes + kRows * 48 * 4 + 4 * kLong);
    pooled.search_keys = SearchKeys::item_table;
    EXPECT_EQ(EntryLayout(sdim_shape(), pools, pooled, kFeatures).payload_bytes(kLong),
              codes + 4 * kLong);
    pooled.search_keys = SearchKeys::stored;
    pooled.keying = Keying::item;
    EXPECT_EQ(EntryLayout(sdim_shape(), pools, pooled, kFeatures).payload_bytes(kLong), 4 * kLong);
    EXPECT_FALSE(keeps_sums(sdim_shape(), pooled));
    EXPECT_FALSE(keeps_sums(shape(), strategy(StrategyKind::full))) << "SIM has none";
}

TEST(EntryLayout, SumsNeedTheNumberOfFeatures) {
    EXPECT_THROW(EntryLayout(sdim_shape(), {}, strategy(StrategyKind::full)), InternalError);
    EXPECT_NO_THROW(EntryLayout(sdim_shape(), {}, strategy(StrategyKind::item_table)));
}

TEST(EntryLayout, SectionsOfSdimAreAlignedDisjointAndFillTheEntry) {
    EntryLayout const layout(sdim_shape(), {}, strategy(StrategyKind::full, ValueType::int8),
                             kFeatures);
    for (std::uint32_t const capacity : {0U, 1U, 3U, 49U, 50U, 1000U}) {
        std::size_t end = 0;
        for (std::size_t i = 0; i < kSections; ++i) {
            auto const section = static_cast<Section>(i);
            EXPECT_EQ(layout.offset(section, capacity) % 16, 0U);
            EXPECT_GE(layout.offset(section, capacity), end) << to_string(section);
            EXPECT_LT(layout.offset(section, capacity), end + 16) << "padding below one line";
            end = layout.offset(section, capacity) + layout.payload_bytes(capacity, section);
        }
        EXPECT_LT(layout.entry_bytes(capacity), end + 16);
    }
}

TEST(EntryLayout, ShortSectionsStopAtTheShortBranch) {
    EntryLayout const layout(shape(), {}, strategy(StrategyKind::full));
    EXPECT_EQ(layout.tokens_in(Section::short_k, 1000), kShort);
    EXPECT_EQ(layout.tokens_in(Section::short_v, 10), 10U);
    EXPECT_EQ(layout.tokens_in(Section::search, 1000), kLong);
    EXPECT_EQ(layout.tokens_in(Section::long_k, 1000), kLong);
    EXPECT_FALSE(layout.has(Section::ids));
    EXPECT_EQ(layout.tokens_in(Section::ids, 1000), 0U) << "an absent section holds nothing";
}

TEST(EntryLayout, RefusesWhatTheStrategyRefuses) {
    EXPECT_THROW(EntryLayout(shape(), {}, strategy(StrategyKind::collective)), InternalError);
}

TEST(Sections, NamesAndSites) {
    EXPECT_EQ(site_of(Section::ids), "all");
    EXPECT_EQ(site_of(Section::short_k), "short");
    EXPECT_EQ(site_of(Section::search), "search");
    EXPECT_EQ(site_of(Section::long_v_user), "long");
    EXPECT_EQ(site_of(Section::long_sums), "long");
    EXPECT_THROW(to_string(Section::count_), InternalError);
    std::vector<std::string> names;
    for (std::size_t i = 0; i < kSections; ++i) names.push_back(to_string(static_cast<Section>(i)));
    std::sort(names.begin(), names.end());
    EXPECT_EQ(std::unique(names.begin(), names.end()), names.end()) << "names are unique";
}

model::SimShape stack_shape(std::uint32_t layers) {
    model::SimShape s = shape();
    s.kind = model::ModelKind::hstu;
    s.layers = layers;
    return s;
}

TEST(EntryLayout, HstuKeepsKeysAndValuesOfEveryLayer) {
    for (std::uint32_t const layers : {1U, 2U, model::kMaxLayers}) {
        // n * layers * 2 d b, or codes of each layer and side
        EntryLayout const full(stack_shape(layers), {},
                               strategy(StrategyKind::full, ValueType::fp16));
        EXPECT_EQ(full.payload_bytes(kLong), kLong * layers * 2 * 256 * 2);
        EXPECT_FALSE(full.has(Section::short_k) || full.has(Section::search) ||
                     full.has(Section::ids));
        EntryLayout const pooled(stack_shape(layers), collective(3, 1000, Scope::all),
                                 strategy(StrategyKind::collective));
        EXPECT_EQ(pooled.payload_bytes(kLong), kLong * layers * 2 * (2 + 3 * 4));
        EXPECT_EQ(pooled.tokens_in(layer_section(0, LayerPart::v_user), 1000), kLong);
        EXPECT_EQ(EntryLayout(stack_shape(layers), {}, strategy(StrategyKind::recompute))
                      .payload_bytes(kLong),
                  kLong * 4);
        auto codes = strategy(StrategyKind::low_rank, ValueType::fp16);
        codes.rank = 6;
        EXPECT_EQ(EntryLayout(stack_shape(layers), {}, codes).payload_bytes(kLong),
                  kLong * layers * 2 * 6 * 2);
        codes = strategy(StrategyKind::vq);
        codes.subspaces = 16;
        EXPECT_EQ(EntryLayout(stack_shape(layers), {}, codes).payload_bytes(kLong),
                  kLong * layers * 2 * 16);
        EXPECT_EQ(full.has(layer_section(1, LayerPart::k)), layers > 1);
    }
    EXPECT_EQ(to_string(layer_section(1, LayerPart::v_index)), "layer2_v_index");
    EXPECT_EQ(site_of(layer_section(3, LayerPart::k)), "layer4");
}

TEST(EntryLayout, AppendsToHstuAreExactWhereNoLayerLooksBack) {
    auto const full = strategy(StrategyKind::full);
    EXPECT_EQ(append_rule(full, shape()), AppendRule::exact);
    EXPECT_EQ(append_rule(full, stack_shape(1)), AppendRule::exact);
    EXPECT_EQ(append_rule(full, stack_shape(2)), AppendRule::stale_after_window);
    EXPECT_EQ(append_rule(strategy(StrategyKind::collective), stack_shape(2)),
              AppendRule::stale_after_window);
    EXPECT_EQ(append_rule(strategy(StrategyKind::recompute), stack_shape(2)), AppendRule::exact);
    EXPECT_EQ(to_string(AppendRule::stale_after_window), "stale_after_window");
}

TEST(EntryLayout, WindowsFitEntriesThatCanBeStaleAndBlocksThatLeaveSomething) {
    auto const full = strategy(StrategyKind::full);
    model::SimShape two = stack_shape(2);
    two.max_tokens = 10;
    EXPECT_FALSE(window_misfit({}, full, shape())) << "no policy fits everything";
    EXPECT_FALSE(window_misfit({WindowPolicy::slide, 1}, full, two));
    EXPECT_FALSE(window_misfit({WindowPolicy::drop_block, 9}, full, two));
    EXPECT_FALSE(window_misfit({WindowPolicy::reencode, 100}, full, two));
    EXPECT_THAT(window_misfit({WindowPolicy::drop_block, 10}, full, two).value(),
                testing::HasSubstr("leaves nothing of max_tokens 10"));
    for (auto const policy :
         {WindowPolicy::slide, WindowPolicy::reencode, WindowPolicy::drop_block}) {
        EXPECT_TRUE(window_misfit({policy, 1}, full, shape())) << to_string(policy);
        EXPECT_TRUE(window_misfit({policy, 1}, full, stack_shape(1))) << to_string(policy);
        EXPECT_TRUE(window_misfit({policy, 1}, strategy(StrategyKind::recompute), two))
            << to_string(policy);
    }
}

TEST(EntryLayout, TheNewestTokensMoveToTheFrontOfEverySection) {
    EntryLayout const layout(stack_shape(2), {}, strategy(StrategyKind::full));
    constexpr std::uint32_t kCapacity = 6;
    std::vector<std::byte> entry(layout.entry_bytes(kCapacity));
    std::vector<Section> sections;
    for (std::size_t s = 0; s < kSections; ++s) {
        if (layout.has(static_cast<Section>(s))) sections.push_back(static_cast<Section>(s));
    }
    ASSERT_EQ(sections.size(), 4U);
    auto const cell = [&](Section section, std::uint32_t token) {
        return entry.begin() + static_cast<std::ptrdiff_t>(layout.offset(section, kCapacity) +
                                                           token * layout.bytes_per_token(section));
    };
    for (std::size_t s = 0; s < sections.size(); ++s) {
        for (std::uint32_t t = 0; t < kCapacity; ++t)
            std::fill_n(cell(sections[s], t), layout.bytes_per_token(sections[s]),
                        static_cast<std::byte>(16 * s + t));
    }
    layout.keep_newest(entry.data(), 5, 2, kCapacity);
    for (std::size_t s = 0; s < sections.size(); ++s) {
        for (std::uint32_t t = 0; t < 2; ++t) {
            auto const first = cell(sections[s], t);
            auto const last = first + layout.bytes_per_token(sections[s]);
            EXPECT_EQ(std::count(first, last, static_cast<std::byte>(16 * s + 3 + t)), last - first)
                << s << " " << t;
        }
    }
}

}  // namespace
}  // namespace ckvsim::kv
