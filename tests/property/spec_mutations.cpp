// Whatever is done to the text of a spec or platform file: it is read or refused, nothing else.
#include <gtest/gtest.h>

#include <array>
#include <string>

#include "config/spec.hpp"
#include "core/atomic_file.hpp"
#include "core/error.hpp"
#include "core/rng.hpp"
#include "spec_cases.hpp"

namespace ckvsim::config {
namespace {

constexpr int kMutations = 2000;

/// Pieces that mean something to a JSON reader.
constexpr std::array<char const*, 20> kPieces = {
    "{",       "}",      "[",       "]",   ",",    ":",    "\"",   "\\",
    "\\u0000", "-",      "1e999",   "0.5", "null", "true", "\xFF", "\xEF\xBB\xBF",
    "//",      "[[[[[[", "{\"a\":", "9"};

std::string mutate(std::string text, std::uint64_t id) {
    CounterRng rng(20260101, Purpose::test, id);
    for (std::uint32_t edits = 1 + rng.below(4); edits > 0 && !text.empty(); --edits) {
        auto const size = static_cast<std::uint32_t>(text.size());
        std::uint32_t const at = rng.below(size);
        switch (rng.below(6)) {
            case 0:
                text[at] = static_cast<char>(rng.next_u32());
                break;
            case 1:
                text.erase(at, 1 + rng.below(8));
                break;
            case 2:
                text.insert(at, kPieces[rng.below(kPieces.size())]);
                break;
            case 3:  // a piece of itself: repeated keys, misplaced sections
                text.insert(at, text.substr(rng.below(size), 1 + rng.below(60)));
                break;
            case 4:
                text.resize(at);
                break;
            default:  // another digit: values out of range that are still JSON
                if (auto const digit = text.find_first_of("0123456789", at);
                    digit != std::string::npos) {
                    text[digit] = static_cast<char>('0' + rng.below(10));
                }
        }
    }
    return text;
}

struct Tally {
    int accepted = 0;
    int refused = 0;
};

template <class Read>
Tally read_mutations(std::string const& text, Read read) {
    Tally tally;
    for (int i = 0; i < kMutations; ++i) {
        auto const mutated = mutate(text, static_cast<std::uint64_t>(i));
        try {
            read(mutated);
            ++tally.accepted;
        } catch (ConfigError const& error) {
            EXPECT_FALSE(error.problems().empty());
            ++tally.refused;
        } catch (DataError const&) {
            ++tally.refused;
        }
    }
    return tally;
}

TEST(SpecMutations, AreReadOrRefused) {
    auto const tally = read_mutations(test::base_spec(), [](std::string const& text) {
        auto const spec = parse_spec(text, "mutated");
        ASSERT_EQ(parse_spec(dump_spec(spec), "dump"), spec);
        ASSERT_FALSE(variants_to_train(spec).empty());
    });
    EXPECT_EQ(tally.accepted + tally.refused, kMutations);
    EXPECT_GT(tally.accepted, 20);  // otherwise the mutations only ever break the syntax
    EXPECT_GT(tally.refused, 1000);
}

TEST(SpecMutations, PlatformsAreReadOrRefused) {
    auto const text =
        read_file(std::string(CKVSIM_SOURCE_DIR) + "/workloads/platforms/h100-node.json");
    auto const tally = read_mutations(
        text, [](std::string const& mutated) { parse_platform(mutated, "mutated"); });
    EXPECT_EQ(tally.accepted + tally.refused, kMutations);
    EXPECT_GT(tally.accepted, 20);
    EXPECT_GT(tally.refused, 500);
}

TEST(SpecMutations, OverridesAreAppliedOrRefused) {
    std::string const override = "/arms/1/weights/m=20";
    for (int i = 0; i < kMutations; ++i) {
        try {
            parse_spec(test::base_spec(), "base",
                       {mutate(override, static_cast<std::uint64_t>(i))});
        } catch (ConfigError const& error) {
            EXPECT_FALSE(error.problems().empty());
        }
    }
}

}  // namespace
}  // namespace ckvsim::config
