#include "workload/table_reader.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "temporary_folder.hpp"

namespace ckvsim::workload {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class TableReaderTest : public testing::Test {
  protected:
    TableReader open(std::string const& content, TableDialect dialect,
                     std::vector<std::string> columns) {
        return {folder_.write("table", content), dialect, std::move(columns), {}};
    }
    /// Message of the DataError thrown by `use` on the first row.
    template <class Use>
    std::string refusal(std::string const& content, Use&& use, TableDialect dialect = kTsv,
                        std::vector<std::string> columns = {"a", "b"}) {
        try {
            auto table = open(content, dialect, std::move(columns));
            while (table.next()) use(table);
        } catch (DataError const& error) {
            return error.what();
        }
        return "";
    }
    test::TemporaryFolder folder_;
};

void ignore(TableReader const&) {}

TEST_F(TableReaderTest, FindsColumnsByNameInAnyOrder) {
    auto table = open("c\ta\tb\n1\t2\t3\n", kTsv, {"a", "c"});
    ASSERT_TRUE(table.next());
    EXPECT_EQ(table.integer(0, 0, 9), 2);
    EXPECT_EQ(table.integer(1, 0, 9), 1);
    EXPECT_FALSE(table.next());
    EXPECT_EQ(table.rows(), 1U);
}

TEST_F(TableReaderTest, AcceptsByteOrderMarkAndCarriageReturns) {
    auto table = open(
        "\xEF\xBB\xBF"
        "a,b\r\n1,2\r\n",
        kCsv, {"a", "b"});
    ASSERT_TRUE(table.next());
    EXPECT_EQ(table.text(0), "1");
    EXPECT_EQ(table.text(1), "2");
}

TEST_F(TableReaderTest, UnquotesCsvFields) {
    auto table = open("a,b,c\n\"x, y\",\"say \"\"hi\"\"\",\n\"\",z,\"\"\n", kCsv, {"a", "b", "c"});
    ASSERT_TRUE(table.next());
    EXPECT_EQ(table.text(0), "x, y");
    EXPECT_EQ(table.text(1), "say \"hi\"");
    EXPECT_EQ(table.text(2), "");
    ASSERT_TRUE(table.next());
    EXPECT_EQ(table.text(0), "");
    EXPECT_EQ(table.text(1), "z");
    EXPECT_EQ(table.text(2), "");
}

TEST_F(TableReaderTest, TsvQuotesAreText) {
    auto table = open("a\tb\n\"x\t\"y\"\n", kTsv, {"a", "b"});
    ASSERT_TRUE(table.next());
    EXPECT_EQ(table.text(0), "\"x");
    EXPECT_EQ(table.text(1), "\"y\"");
}

TEST_F(TableReaderTest, RefusesBrokenQuotes) {
    EXPECT_THAT(refusal("a,b\n1,\"2\n", ignore, kCsv),
                HasSubstr(":2: a quoted field does not end"));
    EXPECT_THAT(refusal("a,b\n\"1\"x,2\n", ignore, kCsv),
                HasSubstr(":2: text follows the closing"));
}

TEST_F(TableReaderTest, RefusesBrokenHeaders) {
    EXPECT_THAT(refusal("", ignore), HasSubstr("is empty; a header row is needed"));
    EXPECT_THAT(refusal("a\tc\n", ignore),
                HasSubstr(":1: the header has no column \"b\"; it has \"a\", \"c\""));
    EXPECT_THAT(refusal("a,b\n1,2\n", ignore), HasSubstr("fields must be separated by tabs"));
    EXPECT_THAT(refusal("a\tb\n1\t2\n", ignore, kCsv),
                HasSubstr("fields must be separated by ','"));
    EXPECT_THAT(refusal("a\tb\tb\n", ignore), HasSubstr("two columns \"b\""));
}

TEST_F(TableReaderTest, RefusesRowsOfAnotherWidth) {
    EXPECT_THAT(refusal("a\tb\n1\t2\n1\n", ignore),
                HasSubstr(":3: has 1 fields, the header has 2"));
    EXPECT_THAT(refusal("a\tb\n1\t2\t\n", ignore), HasSubstr(":2: has 3 fields, the header has 2"));
    EXPECT_THAT(refusal("a\tb\n1\t2\n\n3\t4\n", ignore), HasSubstr(":3: the line is empty"));
}

TEST_F(TableReaderTest, IntegersAreWhollyChecked) {
    auto const take = [](TableReader const& table) { return table.integer(1, -5, 100); };
    for (auto const good : {"-5", "0", "100", "007"})
        EXPECT_EQ(refusal("a\tb\n1\t" + std::string(good) + "\n", take), "") << good;
    for (auto const bad : {"x", "1x", "1.0", " 1", "1 ", "+1", "0x10", "1e2", "--1", "nan"}) {
        EXPECT_THAT(
            refusal("a\tb\n1\t" + std::string(bad) + "\n", take),
            HasSubstr(":2: column b holds \"" + std::string(bad) + "\", not a whole number"));
    }
    for (auto const bad : {"-6", "101", "9223372036854775808", "99999999999999999999999999"}) {
        EXPECT_THAT(refusal("a\tb\n1\t" + std::string(bad) + "\n", take),
                    HasSubstr("column b holds \"" + std::string(bad) + "\", outside -5 .. 100"));
    }
    EXPECT_THAT(refusal("a\tb\n1\t\n", take), HasSubstr("column b has an empty entry"));
}

TEST_F(TableReaderTest, FlagsAndReals) {
    auto const flag = [](TableReader const& table) { return table.flag(0); };
    EXPECT_EQ(refusal("a\tb\n0\t\n1\t\n", flag), "");
    for (auto const bad : {"2", "", "true", "01", "-1"})
        EXPECT_THAT(refusal("a\tb\n" + std::string(bad) + "\tx\n", flag), HasSubstr("not 0 or 1"))
            << bad;
    auto table = open("a\tb\n3.5\t-1e3\n", kTsv, {"a", "b"});
    ASSERT_TRUE(table.next());
    EXPECT_EQ(table.real(0), 3.5);
    EXPECT_EQ(table.real(1), -1000.0);
    auto const real = [](TableReader const& row) { return row.real(0); };
    for (auto const bad : {"nan", "inf", "1e999", "", "1,5", "x"})
        EXPECT_THAT(refusal("a\tb\n" + std::string(bad) + "\tx\n", real),
                    HasSubstr("not a finite number"))
            << bad;
}

TEST_F(TableReaderTest, ListsOfIntegers) {
    std::vector<std::int64_t> values;
    auto const take = [&](TableReader const& table) {
        table.each_integer(0, 0, 9, [&](std::int64_t value) { values.push_back(value); });
    };
    EXPECT_EQ(refusal("a\tb\n1 2 3\t\n\t\n9\t\n", take), "");
    EXPECT_THAT(values, ElementsAre(1, 2, 3, 9));
    EXPECT_THAT(refusal("a\tb\n1  2\t\n", take), HasSubstr("empty entry"));
    EXPECT_THAT(refusal("a\tb\n 1\t\n", take), HasSubstr("empty entry"));
    EXPECT_THAT(refusal("a\tb\n1 \t\n", take), HasSubstr("ends with a space"));
    EXPECT_THAT(refusal("a\tb\n1 10\t\n", take), HasSubstr("outside 0 .. 9"));
}

TEST_F(TableReaderTest, LongValuesAreCutInMessagesAtACharacter) {
    std::string value(39, 'x');
    value += "\xE2\x82\xAC tail";  // three bytes, of which the cut at 40 would keep one
    EXPECT_EQ(show_value(value), "\"" + std::string(39, 'x') + "...\"");
    EXPECT_EQ(show_value("short"), "\"short\"");
}

TEST_F(TableReaderTest, ProgressReachesTheEnd) {
    std::string content = "a\n";
    for (int i = 0; i < 70000; ++i) content += "1\n";
    std::vector<ImportProgress> calls;
    TableReader table(folder_.write("table", content), kTsv, {"a"},
                      [&](ImportProgress const& now) { calls.push_back(now); });
    while (table.next()) {
    }
    ASSERT_EQ(calls.size(), 2U);
    EXPECT_EQ(calls[0].rows, 65536U);
    EXPECT_EQ(calls[1].rows, 70000U);
    EXPECT_EQ(calls[1].bytes, content.size());
    EXPECT_EQ(calls[1].total_bytes, content.size());
    EXPECT_EQ(calls[1].file, folder_.path("table"));
}

TEST_F(TableReaderTest, FindTablePrefersNeitherOfTwo) {
    EXPECT_THROW(find_table(folder_.path("absent"), "x"), DataError);
    EXPECT_THROW(find_table(folder_.path(), "x"), DataError);
    folder_.write("x.gz", "");
    EXPECT_EQ(find_table(folder_.path(), "x"), folder_.path("x.gz"));
    folder_.write("x", "");
    EXPECT_THROW(find_table(folder_.path(), "x"), DataError);
    EXPECT_THROW(find_table(folder_.path("x"), "y"), DataError) << "a file is no folder";
}

}  // namespace
}  // namespace ckvsim::workload
