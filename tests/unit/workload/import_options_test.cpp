#include "workload/import_options.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.hpp"
#include "workload/log_mapping.hpp"
#include "workload/readers.hpp"
#include "workload/text_values.hpp"

namespace ckvsim::workload {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

template <class Call>
std::string usage_error(Call&& call) {
    try {
        call();
    } catch (Error const& error) {
        EXPECT_EQ(error.exit_code(), ExitCode::usage);
        return error.what();
    }
    return "";
}

TEST(ParseInstant, KnownInstants) {
    struct Case {
        char const* text;
        std::int64_t ms;
    };
    for (auto const& [text, ms] : std::vector<Case>{{"1970-01-01", 0},
                                                    {"2022-05-01", 1651363200000},
                                                    {"2022-05-01T00:00:00+08:00", 1651334400000},
                                                    {"2022-04-29T00:00:00+08:00", 1651161600000},
                                                    {"2016-02-29T23:59:59Z", 1456790399000},
                                                    {"1969-12-31T19:00:00-05:30", 1800000},
                                                    {"1969-12-31", -86400000},
                                                    {"2000-03-01", 951868800000},
                                                    {"2100-03-01", 4107542400000},
                                                    {"0001-01-01", -62135596800000}}) {
        std::int64_t out = 1;
        EXPECT_TRUE(parse_instant(text, out)) << text;
        EXPECT_EQ(out, ms) << text;
    }
}

TEST(ParseInstant, RefusesTheRest) {
    std::int64_t out = 0;
    for (char const* text : {"",
                             "2022",
                             "2022-5-1",
                             "2022-02-29",
                             "1900-02-29",
                             "0000-01-01",
                             "2022-00-01",
                             "2022-01-00",
                             "2022-13-01",
                             "2022-05-32",
                             "2022-05-01T24:00:00",
                             "2022-05-01T12:60:00",
                             "2022-05-01 12:00:00",
                             "2022-05-01T12:00",
                             "2022-05-01T12:00:00+8",
                             "2022-05-01x",
                             "-022-05-01",
                             "2022-05-01T12:00:00+15:00",
                             "2022-05-01ZZ",
                             "+022-05-01"})
        EXPECT_FALSE(parse_instant(text, out)) << text;
}

TEST(SplitRule, SharesAndInstants) {
    DatasetBuilder builder;
    for (std::int64_t time = 1; time <= 10; ++time) builder.add_row({1, 1, time, 0, 0});
    EXPECT_THAT(SplitRule("split", "0,0.5,0.9", 3).instants_ms(builder), ElementsAre(1, 6, 10));
    EXPECT_THAT(SplitRule("split", "1970-01-01,1970-01-02", 2).instants_ms(builder),
                ElementsAre(0, 86400000));
    auto const refused = [](std::string const& text, char const* expected) {
        EXPECT_THAT(usage_error([&] { SplitRule("split", text, 3); }), HasSubstr(expected));
    };
    refused("0.5,0.8", "needs 3 boundaries separated by commas, has 2");
    refused("0.5,0.8,0.9,1", "has 4");
    refused("0.8,0.5,0.9", "must not descend");
    refused("2022-05-02,2022-05-01,2022-05-03", "must not descend");
    refused("0.5,2022-05-01,0.9", "mixed");
    refused("2022-05-01,0.5,0.9", "mixed");
    refused("0.5,0.8,1.1", "neither a share");
    refused("-0.1,0.8,1", "neither a share");
    refused("a,b,c", "neither a share");
    refused(",,", "neither a share");
    refused("nan,0.5,0.6", "neither a share");
}

TEST(ParseColumns, EveryKey) {
    auto const mapping =
        parse_columns("columns", "item=i,user=u,time=t,label=r>=3.5,category=c,context=x");
    EXPECT_EQ(mapping.user, "u");
    EXPECT_EQ(mapping.item, "i");
    EXPECT_EQ(mapping.time, "t");
    EXPECT_EQ(mapping.label.column, "r");
    EXPECT_EQ(mapping.label.kind, LabelRule::Kind::at_least);
    EXPECT_EQ(mapping.label.threshold, 3.5);
    EXPECT_EQ(mapping.category, "c");
    EXPECT_EQ(mapping.context, "x");
    auto const kind = [](std::string const& label) {
        return parse_columns("columns", "user=u,item=i,time=t,label=" + label).label.kind;
    };
    EXPECT_EQ(kind("click"), LabelRule::Kind::flag);
    EXPECT_EQ(kind("r>3"), LabelRule::Kind::above);
    EXPECT_EQ(kind("r==1"), LabelRule::Kind::equal);
}

TEST(ParseColumns, RefusesTheRest) {
    auto const refused = [](std::string const& text, char const* expected) {
        EXPECT_THAT(usage_error([&] { parse_columns("columns", text); }), HasSubstr(expected))
            << text;
    };
    refused("user=u,item=i,time=t", "user, item, time and label are needed");
    refused("user=u,item=i,time=t,label", "\"label\" is not key=column");
    refused("user=u,item=,time=t,label=l", "\"item=\" is not key=column");
    refused("user=u,user=v,item=i,time=t,label=l", "\"user\" is given twice");
    refused("user=u,item=i,time=t,label=l,price=p", "\"price\" is unknown");
    refused("user=u,item=i,time=t,label=l<=3", "compares with >=, > or ==");
    refused("user=u,item=i,time=t,label=l=3", "compares with >=, > or ==");
    refused("user=u,item=i,time=t,label=l>=x", "\"x\" is not a number");
    refused("user=u,item=i,time=t,label=l>=", "is not a number");
    refused("user=u,item=i,time=t,label=>=3", "user, item, time and label are needed");
    refused("", "is not key=column");
    refused("user=u,,item=i", "is not key=column");
}

TEST(Mapping, DelimitersUnitsAndCounts) {
    LogMapping mapping;
    set_delimiter(mapping, "delimiter", "tab");
    EXPECT_EQ(mapping.dialect.delimiter, '\t');
    EXPECT_FALSE(mapping.dialect.quotes);
    set_delimiter(mapping, "delimiter", ";");
    EXPECT_EQ(mapping.dialect.delimiter, ';');
    EXPECT_TRUE(mapping.dialect.quotes);
    for (char const* bad : {"", "\"", " ", "::", "\n", "\xE9"})
        EXPECT_NE(usage_error([&] { set_delimiter(mapping, "delimiter", bad); }), "") << bad;
    EXPECT_NE(usage_error([&] { set_time_unit(mapping, "time-unit", "ns"); }), "");
    EXPECT_EQ(parse_count("max-history", "12", 0, 100), 12U);
    for (char const* bad : {"", "-1", "101", "1.5", "x", "99999999999999999999"})
        EXPECT_NE(usage_error([&] { parse_count("max-history", bad, 0, 100); }), "") << bad;
    EXPECT_EQ(parse_history("history", "positive"), HistoryGrowth::positives);
    EXPECT_NE(usage_error([&] { parse_history("history", "some"); }), "");
}

TEST(TextValues, RanksDoNotDependOnTheOrderOfSight) {
    TextValues a;
    for (char const* text : {"10", "b", "9", "", "a", "b", "9"}) a.intern(text);
    TextValues b;
    for (char const* text : {"a", "", "b", "9", "10"}) b.intern(text);
    EXPECT_THAT(a.ranked(), ElementsAre("9", "10", "", "a", "b")) << "numbers first, by value";
    EXPECT_EQ(b.ranked(), a.ranked());
    EXPECT_EQ(a.size(), 5U);
    EXPECT_EQ(a.ranks()[a.intern("b")], 4U);
}

TEST(Readers, TheRegistryIsSound) {
    std::vector<std::string> names;
    for (auto const& reader : readers()) {
        names.push_back(reader.name);
        EXPECT_FALSE(reader.summary.empty());
        for (auto const& option : reader.options) EXPECT_FALSE(option.meaning.empty());
    }
    EXPECT_THAT(names, ElementsAre("kuairand-pure", "movielens", "ebnerd", "log"));
    EXPECT_THAT(usage_error([] { import_dataset("csv", "x", {}, {}); }),
                HasSubstr("unknown dataset format \"csv\"; known: kuairand-pure, movielens"));
    EXPECT_THAT(usage_error([] {
                    import_dataset("ebnerd", "x", {{"columns", "a"}}, {});
                }),
                HasSubstr("--columns does not apply to format ebnerd; it takes --split"));
    EXPECT_THAT(usage_error([] {
                    import_dataset("kuairand-pure", "x", {{"split", "2022-05-01"}}, {});
                }),
                HasSubstr("needs two instants"));
}

}  // namespace
}  // namespace ckvsim::workload
