#include "config/problems.hpp"

#include <gtest/gtest.h>

#include <limits>

#include "config/key_text.hpp"

namespace ckvsim::config {
namespace {

TEST(Nearest, FindsMisspeltNamesAndNothingFarAway) {
    std::vector<std::string> const known = {"heads", "top_k", "d_u", "max_tokens"};
    EXPECT_EQ(nearest("head", known), "heads");
    EXPECT_EQ(nearest("haeds", known), "heads");
    EXPECT_EQ(nearest("topk", known), "top_k");
    EXPECT_EQ(nearest("du", known), "d_u");
    EXPECT_EQ(nearest("max_token", known), "max_tokens");
    EXPECT_EQ(nearest("zzzzzzzz", known), "");
    EXPECT_EQ(nearest("", known), "");
    EXPECT_EQ(nearest(std::string(100000, 'h'), known), "");
    EXPECT_EQ(nearest("heads", {}), "");
}

TEST(JoinPointer, EscapesAndStaysPrintable) {
    EXPECT_EQ(join_pointer("", "a"), "/a");
    EXPECT_EQ(join_pointer("/a", "b/c~d"), "/a/b~1c~0d");
    EXPECT_EQ(join_pointer("", "a\nb\x7F"), "/a?b?");
}

TEST(Problems, TouchesWhatIsAboveAndBelow) {
    Problems problems;
    EXPECT_FALSE(problems.touches("/a"));
    problems.add("", "of the whole file");
    EXPECT_FALSE(problems.touches("/a"));
    problems.add("/a/b", "broken");
    EXPECT_TRUE(problems.touches("/a"));
    EXPECT_TRUE(problems.touches("/a/b"));
    EXPECT_TRUE(problems.touches("/a/b/c"));
    EXPECT_FALSE(problems.touches("/a/bc"));
    EXPECT_FALSE(problems.touches("/b"));
}

TEST(Problems, ThrowOnlyWhenThereAreAny) {
    Problems problems;
    EXPECT_NO_THROW(problems.throw_if_any("file"));
    problems.add("/a", "broken", "repair it");
    try {
        problems.throw_if_any("file");
        FAIL();
    } catch (ConfigError const& error) {
        EXPECT_STREQ(error.what(), "file: 1 problem, nothing was run\n  /a: broken; repair it");
    }
}

TEST(NumberText, IsShortAndExact) {
    EXPECT_EQ(number_text(0.0), "0");
    EXPECT_EQ(number_text(-3.0), "-3");
    EXPECT_EQ(number_text(80e9), "80000000000");
    EXPECT_EQ(number_text(0.1), "0.1");
    EXPECT_EQ(number_text(1e-6), "1e-06");
    EXPECT_EQ(std::stod(number_text(1.0 / 3.0)), 1.0 / 3.0);
    EXPECT_EQ(std::stod(number_text(std::numeric_limits<double>::max())),
              std::numeric_limits<double>::max());
}

TEST(Allowed, SaysRangesInWords) {
    EXPECT_EQ(allowed(IntegerRange{.low = 1, .high = 64}), "1 .. 64");
    EXPECT_EQ(allowed(IntegerRange{.low = 3}), ">= 3");
    EXPECT_EQ(allowed(IntegerRange{.only = {1, 2, 4}}), "1, 2, 4");
    EXPECT_EQ(allowed(RealRange{.low = 0, .high = 1, .above_low = true}), "> 0 and <= 1");
    EXPECT_EQ(allowed(RealRange{.high = 5, .below_high = true}), "< 5");
    EXPECT_EQ(allowed(RealRange{}), "any finite number");
    EXPECT_EQ(allowed(ListRule{.fewest = 1, .most = 3, .unique = true}),
              "1 .. 3 distinct elements");
}

}  // namespace
}  // namespace ckvsim::config
