// SDIM keeps sums of embeddings in an entry. However a history came about, and however many tokens
// fell out of it, the entry must hold the very bytes that encoding the whole history writes: sums
// that were corrected by subtraction would drift.
#include <gtest/gtest.h>

#include <array>
#include <cstring>

#include "backend_cases.hpp"

namespace ckvsim {
namespace {

constexpr int kHistories = 60;
constexpr int kSteps = 40;

using decode::EncodeMode;

/// A shape with random numbers of hashes and bits; few items, so that tokens share buckets and
/// return to them.
struct Draw {
    explicit Draw(std::uint64_t number) : rng(1, Purpose::test, number, 4) {
        items = 3 + rng.below(40);
        c.shape = test::sdim_of(test::tiny_shape(), 1 + rng.below(6), 1 + rng.below(4));
        c.shape.feature_dim = 1 + rng.below(20);
        capacity = 1 + rng.below(30);
        constexpr std::array kTypes = {kv::ValueType::fp32, kv::ValueType::fp16,
                                       kv::ValueType::int8, kv::ValueType::int4};
        c.strategy.value_type = kTypes[rng.below(4)];
    }
    std::vector<ItemId> some_items() {
        std::vector<ItemId> added(rng.below(4) == 0 ? rng.below(40) : rng.below(3));
        for (ItemId& item : added) item = 1 + rng.below(items);
        return added;
    }

    CounterRng rng;
    std::uint32_t items = 0;
    std::uint32_t capacity = 0;
    test::BackendCase c;
};

TEST(SumsAppend, AnyStepsLeaveTheBytesOfTheWholeHistory) {
    std::uint64_t fell_out = 0;
    for (int number = 0; number < kHistories; ++number) {
        Draw draw(static_cast<std::uint64_t>(number));
        SCOPED_TRACE(number);
        auto const catalogue = test::small_catalogue(draw.items);
        auto const backend = device::cpu::make_backend(test::case_weights(draw.c, catalogue),
                                                       draw.c.strategy, catalogue);
        auto const& layout = backend->layout();
        ASSERT_TRUE(layout.has(kv::Section::long_sums));
        auto const scratch = backend->make_scratch();
        std::vector<std::byte> grown(layout.entry_bytes(draw.capacity), std::byte{0xA5});
        std::vector<ItemId> history;
        std::uint32_t tokens = 0;
        for (int step = 0; step < kSteps; ++step) {
            auto const added = draw.some_items();
            auto const mode = draw.rng.below(2) == 0 ? EncodeMode::memo : EncodeMode::compute;
            std::uint32_t const before = tokens;
            tokens = backend->append(grown.data(), tokens, draw.capacity, added, mode, *scratch);
            fell_out += before + added.size() - tokens;
            history.insert(history.end(), added.begin(), added.end());
            std::vector<std::byte> whole(grown.size(), std::byte{0xA5});
            ASSERT_EQ(backend->encode(history, draw.capacity, EncodeMode::compute, whole.data(),
                                      *scratch),
                      tokens);
            for (std::size_t s = 0; s < kv::kSections; ++s) {
                auto const section = static_cast<kv::Section>(s);
                auto const at = layout.offset(section, draw.capacity);
                ASSERT_EQ(std::memcmp(grown.data() + at, whole.data() + at,
                                      layout.payload_bytes(tokens, section)),
                          0)
                    << kv::to_string(section) << ", step " << step << ", " << tokens << " tokens";
            }
        }
    }
    EXPECT_GT(fell_out, 1000U);
}

}  // namespace
}  // namespace ckvsim
