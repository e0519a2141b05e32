#include "report/text_table.hpp"

#include <gtest/gtest.h>

#include <limits>

#include "core/error.hpp"

namespace ckvsim::report {
namespace {

TEST(TextTable, FormatsNumbersForPeople) {
    double const nan = std::numeric_limits<double>::quiet_NaN();
    EXPECT_EQ(format_bytes(0), "0 B");
    EXPECT_EQ(format_bytes(812), "812 B");
    EXPECT_EQ(format_bytes(8.25), "8.25 B");
    EXPECT_EQ(format_bytes(1000), "0.98 KiB");
    EXPECT_EQ(format_bytes(1536), "1.50 KiB");
    EXPECT_EQ(format_bytes(20.0 * (1ULL << 30)), "20.0 GiB");
    EXPECT_EQ(format_bytes(-2048), "-2.00 KiB");
    EXPECT_EQ(format_bytes(1e30), "867361737988 EiB");
    EXPECT_EQ(format_bytes(nan), "-");
    EXPECT_EQ(format_ns(0), "0 ns");
    EXPECT_EQ(format_ns(999.4), "999 ns");
    EXPECT_EQ(format_ns(999.6), "1.00 us");
    EXPECT_EQ(format_ns(12345), "12.3 us");
    EXPECT_EQ(format_ns(4.56e6), "4.56 ms");
    EXPECT_EQ(format_ns(7.2e12), "7200 s");
    EXPECT_EQ(format_ns(nan), "-");
    EXPECT_EQ(format_percent(0.0157, 2), "1.57 %");
    EXPECT_EQ(format_percent(nan, 2), "-");
    EXPECT_EQ(format_real(0.1), "0.1");
    EXPECT_EQ(format_real(std::numeric_limits<double>::infinity()), "inf");
    EXPECT_EQ(format_fixed(1e300, 2).size(), 304U);
    EXPECT_EQ(format_integer(0), "0");
    EXPECT_EQ(format_integer(999), "999");
    EXPECT_EQ(format_integer(1234567), "1,234,567");
    EXPECT_EQ(format_integer(-1000), "-1,000");
    EXPECT_EQ(format_integer(std::numeric_limits<std::int64_t>::min()),
              "-9,223,372,036,854,775,808");
}

TEST(TextTable, MakesTextHarmless) {
    EXPECT_EQ(printable("plain Größe \xE2\x82\xAC \xF0\x9F\x90\x84"),
              "plain Größe \xE2\x82\xAC \xF0\x9F\x90\x84");
    EXPECT_EQ(printable("a\nb\tc"), "a\\nb\\tc");
    EXPECT_EQ(printable("\x1b[2J\r\x7f"), "\\x1b[2J\\x0d\\x7f");
    EXPECT_EQ(printable("\xC2\x9B"), "\\x9b");  // C1 control: starts a sequence too
    EXPECT_EQ(printable("\xE2\x80\xAE"
                        "abc"),
              "\\u{202e}abc");  // right-to-left override
    EXPECT_EQ(printable("\xFF\xC3("), "\\xff\\xc3(");
    EXPECT_EQ(printable("\xC0\xAF"), "\\xc0\\xaf");           // overlong "/"
    EXPECT_EQ(printable("\xED\xA0\x80"), "\\xed\\xa0\\x80");  // surrogate
    EXPECT_EQ(printable("\xF4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");
    EXPECT_EQ(printable("\xE2\x82"), "\\xe2\\x82");  // cut short
    EXPECT_EQ(printable(std::string_view("\0", 1)), "\\x00");
}

TEST(TextTable, ShortensInTheMiddleByCodePoints) {
    EXPECT_EQ(shorten("abcdef", 6), "abcdef");
    EXPECT_EQ(shorten("abcdefgh", 6), "ab..gh");
    EXPECT_EQ(shorten("abcdefgh", 7), "abc..gh");
    EXPECT_EQ(shorten("ÄÖÜäöüß", 6), "ÄÖ..üß");
    EXPECT_EQ(display_width(shorten(std::string(500, 'x'), 40)), 40U);
    EXPECT_EQ(shorten("abc", 2), "..");
}

TEST(TextTable, AlignsColumnsUnderHeadersAndGroups) {
    TextTable table;
    table.add_column({"arm", ""}, Align::left);
    table.add_column({"size", "bytes"}, Align::right);
    table.add_column({"note", ""}, Align::left);
    table.separate_before(1);
    table.add_group(1, 2, "memory [derived]");
    table.add_row({"full", "1,024", "x"});
    table.add_row({"ü", "8", ""});
    EXPECT_EQ(table.render(160, 1),
              "     | memory [derived]\n"
              "arm  |  size  note\n"
              "     | bytes\n"
              "-----------------------\n"
              "full | 1,024  x\n"
              "ü    |     8\n");
    EXPECT_EQ(table.width(), 23U);
    EXPECT_THROW(table.add_row({"too few"}), InternalError);
    EXPECT_THROW(table.add_column({"late", ""}, Align::left), InternalError);
}

TEST(TextTable, FoldsWideTablesAndRepeatsTheKeys) {
    TextTable table;
    for (char const* name : {"key", "aaaaaa", "bbbbbb", "cccccc"})
        table.add_column({name}, Align::right);
    table.add_row({"k", "1", "2", "3"});
    EXPECT_EQ(table.render(20, 1),
              "key  aaaaaa  bbbbbb\n"
              "-------------------\n"
              "  k       1       2\n"
              "\n"
              "key  cccccc\n"
              "-----------\n"
              "  k       3\n");
    table.add_group(1, 3, "group");
    EXPECT_EQ(table.render(20, 1),
              "     group\n"
              "key  aaaaaa  bbbbbb\n"
              "-------------------\n"
              "  k       1       2\n"
              "\n"
              "     group\n"
              "key  cccccc\n"
              "-----------\n"
              "  k       3\n");
    // Narrower than one column: still one column a block.
    EXPECT_NE(table.render(1, 1).find("key  bbbbbb\n"), std::string::npos);
    EXPECT_EQ(TextTable().render(10, 0), "");
}

}  // namespace
}  // namespace ckvsim::report
