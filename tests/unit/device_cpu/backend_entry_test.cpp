// What the CPU backend writes into entries: exactly the layout's bytes, the same by either mode and
// by any sequence of appends; and the shared bytes it reports.
#include <gtest/gtest.h>

#include <algorithm>

#include "backend_cases.hpp"
#include "device/cpu/kernels.hpp"

namespace ckvsim::device::cpu {
namespace {

using test::BackendCase;

constexpr std::uint32_t kItems = 60;
constexpr std::byte kPoison{0xA5};
constexpr std::size_t kGuard = 64;

/// An entry between two guards, filled with poison.
class GuardedEntry {
  public:
    explicit GuardedEntry(std::size_t bytes) : memory_(bytes + 2 * kGuard, kPoison) {}
    std::byte* data() { return memory_.data() + kGuard; }
    [[nodiscard]] std::vector<std::byte> bytes() const {
        return {memory_.begin() + kGuard, memory_.end() - kGuard};
    }
    [[nodiscard]] bool guards_intact() const {
        auto const poison = [](std::byte b) { return b == kPoison; };
        return std::all_of(memory_.begin(), memory_.begin() + kGuard, poison) &&
               std::all_of(memory_.end() - kGuard, memory_.end(), poison);
    }

  private:
    std::vector<std::byte> memory_;
};

std::vector<BackendCase> all_cases() {
    std::vector<BackendCase> all;
    for (auto const& shape :
         {test::tiny_shape(), test::odd_shape(), test::twin_of(test::tiny_shape()),
          test::eta_of(test::tiny_shape()), test::eta_of(test::odd_shape()),
          test::sdim_of(test::tiny_shape(), 3, 2), test::sdim_of(test::odd_shape())}) {
        auto const cases = test::backend_cases(shape);
        all.insert(all.end(), cases.begin(), cases.end());
    }
    return all;
}

/// Bytes of `entry` that lie in the payload of `tokens` tokens; the rest must be poison.
void expect_only_payload_written(kv::EntryLayout const& layout, std::uint32_t capacity,
                                 std::uint32_t tokens, std::vector<std::byte> entry) {
    std::size_t payload = 0;
    for (std::size_t s = 0; s < kv::kSections; ++s) {
        auto const section = static_cast<kv::Section>(s);
        std::size_t const bytes =
            std::size_t{layout.tokens_in(section, tokens)} * layout.bytes_per_token(section) +
            (tokens == 0 ? 0 : layout.fixed_bytes(section));
        auto const start =
            entry.begin() + static_cast<std::ptrdiff_t>(layout.offset(section, capacity));
        std::fill_n(start, bytes, kPoison);
        payload += bytes;
    }
    EXPECT_EQ(payload, layout.payload_bytes(tokens));
    EXPECT_EQ(std::count(entry.begin(), entry.end(), kPoison),
              static_cast<std::ptrdiff_t>(entry.size()));
}

TEST(Entry, ExactlyThePayloadIsWrittenAndBothModesWriteTheSame) {
    auto const catalogue = test::small_catalogue(kItems);
    for (BackendCase const& c : all_cases()) {
        SCOPED_TRACE(c.name);
        auto const backend = make_backend(test::case_weights(c, catalogue), c.strategy, catalogue);
        auto const scratch = backend->make_scratch();
        for (std::uint32_t const capacity : {1U, 6U, c.shape.max_tokens}) {
            for (std::size_t const n : {0U, 1U, 5U, 6U, 39U, 200U}) {
                auto const history = test::random_history(n, kItems, n);
                GuardedEntry computed(backend->layout().entry_bytes(capacity));
                GuardedEntry copied(backend->layout().entry_bytes(capacity));
                auto const stored = backend->encode(history, capacity, decode::EncodeMode::compute,
                                                    computed.data(), *scratch);
                EXPECT_EQ(stored, std::min<std::size_t>(n, capacity));
                EXPECT_EQ(backend->encode(history, capacity, decode::EncodeMode::memo,
                                          copied.data(), *scratch),
                          stored);
                EXPECT_EQ(computed.bytes(), copied.bytes());
                EXPECT_TRUE(computed.guards_intact());
                EXPECT_TRUE(copied.guards_intact());
                expect_only_payload_written(backend->layout(), capacity, stored, computed.bytes());
            }
        }
    }
}

TEST(Entry, AppendingInAnyStepsEqualsEncodingTheWhole) {
    auto const catalogue = test::small_catalogue(kItems);
    for (BackendCase const& c : all_cases()) {
        SCOPED_TRACE(c.name);
        auto const backend = make_backend(test::case_weights(c, catalogue), c.strategy, catalogue);
        auto const scratch = backend->make_scratch();
        auto const history = test::random_history(75, kItems, 21);
        for (std::uint32_t const capacity : {1U, 5U, 20U, 40U}) {
            GuardedEntry grown(backend->layout().entry_bytes(capacity));
            std::uint32_t tokens = 0;
            std::size_t done = 0;
            for (std::size_t const step : {0U, 1U, 4U, 1U, 9U, 0U, 30U, 1U, 29U}) {
                auto const mode =
                    step % 2 == 0 ? decode::EncodeMode::memo : decode::EncodeMode::compute;
                std::span<ItemId const> const added(history.data() + done, step);
                tokens = backend->append(grown.data(), tokens, capacity, added, mode, *scratch);
                done += step;
                GuardedEntry whole(backend->layout().entry_bytes(capacity));
                std::span<ItemId const> const all(history.data(), done);
                EXPECT_EQ(backend->encode(all, capacity, decode::EncodeMode::compute, whole.data(),
                                          *scratch),
                          tokens);
                EXPECT_EQ(grown.bytes(), whole.bytes()) << done << " tokens, room for " << capacity;
                EXPECT_TRUE(grown.guards_intact());
            }
        }
    }
}

/// Bytes of one section of an entry of these weights.
std::vector<std::byte> section_bytes(std::shared_ptr<model::SimWeights const> weights,
                                     kv::StrategyParams const& strategy,
                                     workload::Catalogue const& catalogue, kv::Section section) {
    constexpr std::uint32_t kTokens = 39;
    auto const backend = make_backend(std::move(weights), strategy, catalogue);
    auto const scratch = backend->make_scratch();
    std::vector<std::byte> entry(backend->layout().entry_bytes(kTokens));
    backend->encode(test::random_history(kTokens, kItems, 4), kTokens, decode::EncodeMode::compute,
                    entry.data(), *scratch);
    auto const start =
        entry.begin() + static_cast<std::ptrdiff_t>(backend->layout().offset(section, kTokens));
    auto const bytes = backend->layout().payload_bytes(kTokens, section);
    EXPECT_GT(bytes, 0U) << kv::to_string(section);
    return {start, start + static_cast<std::ptrdiff_t>(bytes)};
}

// One side of both pools, the other of full_silu: the same maps give the same bytes.
TEST(Entry, OneSidedPoolsKeepTheBytesOfTheirSiblings) {
    using kv::Section;
    auto const catalogue = test::small_catalogue(kItems);
    for (auto const& shape : {test::even_shape(), test::twin_of(test::odd_shape()),
                             test::sdim_of(test::tiny_shape())}) {
        bool const sdim = shape.kind == model::ModelKind::sdim;
        auto const scope = sdim ? model::Scope::released : model::Scope::all;
        model::VariantParams variant{model::Variant::collective, scope, 2, 17};
        auto const both = std::make_shared<model::SimWeights const>(
            model::random_sim_weights(shape, variant, catalogue, 3, 5));
        model::VariantParams silu;
        silu.variant = model::Variant::full_silu;
        auto const full = std::make_shared<model::SimWeights const>(
            model::random_sim_weights(shape, silu, catalogue, 3, 5));
        ASSERT_EQ(both->item_embeddings, full->item_embeddings);
        for (auto const sides : {model::Sides::k, model::Sides::v}) {
            auto mixed = *both;
            mixed.variant.sides = sides;
            bool const keys = sides == model::Sides::k;
            auto const other = keys ? &model::SiteWeights::v : &model::SiteWeights::k;
            for (auto const site : {&model::SimWeights::short_site, &model::SimWeights::long_site})
                (mixed.*site).*other = ((*full).*site).*other;
            auto const made = std::make_shared<model::SimWeights const>(std::move(mixed));
            for (auto const type :
                 {kv::ValueType::fp32, kv::ValueType::fp16, kv::ValueType::int8}) {
                kv::StrategyParams codes;
                codes.kind = kv::StrategyKind::collective;
                codes.value_type = type;
                kv::StrategyParams rows;
                rows.value_type = type;
                auto const expect_same = [&](auto const& sibling,
                                             kv::StrategyParams const& strategy, Section section) {
                    EXPECT_EQ(section_bytes(made, codes, catalogue, section),
                              section_bytes(sibling, strategy, catalogue, section))
                        << kv::to_string(section) << " " << kv::to_string(type);
                };
                expect_same(both, codes, keys ? Section::short_k_index : Section::short_v_index);
                expect_same(both, codes, keys ? Section::short_k_user : Section::short_v_user);
                expect_same(full, rows, keys ? Section::short_v : Section::short_k);
                if (sdim) continue;
                expect_same(both, codes, keys ? Section::long_k_index : Section::long_v_index);
                expect_same(full, rows, keys ? Section::long_v : Section::long_k);
            }
        }
    }
}

TEST(Entry, EveryStrategySeesThePresentTokenOrder) {
    // Swapping two tokens inside the short window or changing one must change the bytes.
    auto const catalogue = test::small_catalogue(kItems);
    BackendCase const c{"", test::even_shape(), {}, {}};
    auto const backend = make_backend(test::case_weights(c, catalogue), c.strategy, catalogue);
    auto const scratch = backend->make_scratch();
    std::vector<ItemId> history = {1, 2, 3, 4};
    GuardedEntry before(backend->layout().entry_bytes(4));
    backend->encode(history, 4, decode::EncodeMode::compute, before.data(), *scratch);
    std::swap(history[1], history[2]);
    GuardedEntry after(backend->layout().entry_bytes(4));
    backend->encode(history, 4, decode::EncodeMode::compute, after.data(), *scratch);
    EXPECT_NE(before.bytes(), after.bytes());
}

TEST(SharedBytes, NamesAreThePredictedOnesAndSizesArePredictionPlusPadding) {
    auto const catalogue = test::small_catalogue(kItems);
    for (auto const& shape : {test::even_shape(), test::odd_shape(),
                              test::twin_of(test::odd_shape()), test::sdim_of(test::odd_shape())}) {
        for (BackendCase const& c : test::backend_cases(shape)) {
            SCOPED_TRACE(c.name);
            auto const weights = test::case_weights(c, catalogue);
            auto const backend = make_backend(weights, c.strategy, catalogue);
            auto const predicted = kv::shared_bytes(c.shape, c.variant, c.strategy, catalogue,
                                                    weights->context_vocabulary);
            auto const allocated = backend->allocated_shared();
            ASSERT_EQ(allocated.size(), predicted.size());
            for (std::size_t i = 0; i < predicted.size(); ++i) {
                SCOPED_TRACE(predicted[i].what);
                EXPECT_EQ(allocated[i].what, predicted[i].what);
                EXPECT_GE(allocated[i].bytes, predicted[i].bytes);
                bool const table = predicted[i].what.starts_with("item_table.");
                if (table) {
                    EXPECT_EQ(allocated[i].bytes, predicted[i].bytes);
                }
                if (predicted[i].what.ends_with(".pool")) {
                    // A row is padded with the user dimensions and to the next cache line.
                    std::size_t const extra =
                        c.variant.m * (c.variant.d_u * sizeof(float) + kCacheLine);
                    EXPECT_LT(allocated[i].bytes, predicted[i].bytes + extra);
                }
                if (predicted[i].what.ends_with(".basis") ||
                    predicted[i].what.ends_with(".codebook")) {
                    // Rows of matrices are padded to whole vectors.
                    std::size_t const longest = c.shape.attention_dim + 256 * c.strategy.subspaces;
                    EXPECT_LT(allocated[i].bytes,
                              predicted[i].bytes + 2 * longest * kLanePad * sizeof(float));
                }
            }
        }
    }
}

}  // namespace
}  // namespace ckvsim::device::cpu
