#include "app/amounts.hpp"

#include <gtest/gtest.h>

#include "core/error.hpp"

namespace ckvsim::app {
namespace {

using Amounts = std::vector<std::uint64_t>;

void expect_refused(std::string const& text, std::string const& why) {
    try {
        parse_amounts("--capacity", text);
        ADD_FAILURE() << "'" << text << "': accepted";
    } catch (Error const& error) {
        EXPECT_EQ(error.exit_code(), ExitCode::usage);
        std::string const said = error.what();
        EXPECT_NE(said.find("--capacity " + text.substr(0, text.find(','))), std::string::npos)
            << said;
        EXPECT_NE(said.find(why), std::string::npos) << said;
    }
}

TEST(Amounts, NumbersMayHaveExponentsAndUnits) {
    EXPECT_EQ(parse_amount("-c", "0"), 0U);
    EXPECT_EQ(parse_amount("-c", "1000"), 1000U);
    EXPECT_EQ(parse_amount("-c", "1e6"), 1'000'000U);
    EXPECT_EQ(parse_amount("-c", "2.5e1"), 25U);
    EXPECT_EQ(parse_amount("-c", "12B"), 12U);
    EXPECT_EQ(parse_amount("-c", "3k"), 3000U);
    EXPECT_EQ(parse_amount("-c", "3KB"), 3000U);
    EXPECT_EQ(parse_amount("-c", "64KiB"), 65'536U);
    EXPECT_EQ(parse_amount("-c", "64Ki"), 65'536U);
    EXPECT_EQ(parse_amount("-c", "2M"), 2'000'000U);
    EXPECT_EQ(parse_amount("-c", "2MiB"), 2U << 20);
    EXPECT_EQ(parse_amount("-c", "1.5G"), 1'500'000'000U);
    EXPECT_EQ(parse_amount("-c", "1.5GiB"), 3ULL << 29);
    EXPECT_EQ(parse_amount("-c", "4TB"), 4'000'000'000'000U);
    EXPECT_EQ(parse_amount("-c", "4TiB"), 4ULL << 40);
    EXPECT_EQ(parse_amount("-c", "0.3KiB"), 307U);  // 307.2
    EXPECT_EQ(parse_amount("-c", "9007199254740992"), 1ULL << 53);
}

TEST(Amounts, RefusalsNameOptionTextAndReason) {
    expect_refused("", "is not a number");
    expect_refused("many", "is not a number");
    expect_refused("1X", "unit 'X' is unknown");
    expect_refused("1KIB", "unit 'KIB' is unknown");
    expect_refused("1 k", "unit ' k' is unknown");
    expect_refused("-1", "must be from 0");
    expect_refused("-0.2", "must be from 0");
    expect_refused("nan", "must be from 0");
    expect_refused("inf", "must be from 0");
    expect_refused("9007199254740994", "must be from 0");
    expect_refused("1e300T", "must be from 0");
    expect_refused("2.5", "is not a whole number");
}

TEST(Amounts, ListsKeepTheirOrder) {
    EXPECT_EQ(parse_amounts("-c", "5,1k,3,5"), (Amounts{5, 1000, 3, 5}));
    expect_refused("7x,5", "unit 'x'");
    EXPECT_THROW(parse_amounts("-c", "5,,7"), Error);
    EXPECT_THROW(parse_amounts("-c", "5,"), Error);
}

TEST(Amounts, GeometricSequencesHoldBothEnds) {
    EXPECT_EQ(parse_amounts("-c", "1:1000:4"), (Amounts{1, 10, 100, 1000}));
    EXPECT_EQ(parse_amounts("-c", "1k:4k:3"), (Amounts{1000, 2000, 4000}));
    EXPECT_EQ(parse_amounts("-c", "7,10:1e3:2,9"), (Amounts{7, 10, 1000, 9}));
    EXPECT_EQ(parse_amounts("-c", "1:3:50"), (Amounts{1, 2, 3}));  // equal neighbours once
    expect_refused("10:10:3", "needs 1 <= FROM < TO");
    expect_refused("0:10:3", "needs 1 <= FROM < TO");
    expect_refused("1:10:1", "2 <= COUNT <= 10,000");
    expect_refused("1:10:10001", "2 <= COUNT <= 10,000");
    expect_refused("1:10", "give one number, or FROM:TO:COUNT");
    expect_refused("1:2:3:4", "give one number, or FROM:TO:COUNT");
    EXPECT_THROW(parse_amounts("-c", "1:x:3"), Error);
}

}  // namespace
}  // namespace ckvsim::app
