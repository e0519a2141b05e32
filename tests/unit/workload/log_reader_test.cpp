// The generic CSV/TSV format and MovieLens.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "core/rng.hpp"
#include "gzip.hpp"
#include "temporary_folder.hpp"
#include "workload/readers.hpp"

namespace ckvsim::workload {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

char const* const kRatings =
    "userId,movieId,rating,timestamp\n"
    "7,30,5.0,1000\n"
    "7,10,3.5,1004\n"
    "2,30,4.0,1001\n"
    "2,20,0.5,1003\n"
    "2,10,4.5,1002\n";

class LogTest : public testing::Test {
  protected:
    Dataset movielens(std::string const& text, ImportOptions options = {}) {
        folder_.write("ratings.csv", text);
        return import_dataset("movielens", folder_.path(), options, {});
    }
    Dataset log(std::string const& text, ImportOptions options) {
        return import_dataset("log", folder_.write("log.txt", text), options, {});
    }
    template <class Call>
    static std::string refusal(Call&& call) {
        try {
            call();
        } catch (DataError const& error) {
            return error.what();
        }
        return "";
    }
    test::TemporaryFolder folder_;
};

TEST_F(LogTest, MovieLensByHand) {
    auto const data = movielens(kRatings, {{"split", "0.4,0.6,0.8"}});
    EXPECT_THAT(data.original_user_ids, ElementsAre(2, 7));
    EXPECT_THAT(data.original_item_ids, ElementsAre(-1, 10, 20, 30));
    EXPECT_THAT(data.history_offsets, ElementsAre(0, 1, 2));
    EXPECT_THAT(data.history_items, ElementsAre(3, 3)) << "the two earliest rows";
    EXPECT_THAT(data.impression_offsets, ElementsAre(0, 2, 3));
    EXPECT_THAT(data.impression_items, ElementsAre(1, 2, 1));
    EXPECT_THAT(data.impression_times_ms, ElementsAre(1002000, 1003000, 1004000));
    EXPECT_THAT(data.impression_labels, ElementsAre(1, 0, 0));
    EXPECT_THAT(data.impression_splits, ElementsAre(0, 1, 2));
    EXPECT_EQ(data.context_vocabulary, 1U);
    EXPECT_EQ(data.history_growth, HistoryGrowth::exposures);
    EXPECT_EQ(data.name, "movielens");
    std::string notes;
    for (auto const& note : data.notes) notes += note + "\n";
    EXPECT_THAT(notes, HasSubstr("stated preferences (rating>=4), not clicks"));
    EXPECT_THAT(notes, HasSubstr("before 1980"));
    EXPECT_THAT(notes, HasSubstr("only 0 users have both labels in test"));
}

TEST_F(LogTest, MovieLensOptions) {
    ImportOptions options = {{"split", "1970-01-01,1970-01-02,1970-01-03"}, {"positive", ">4.5"}};
    EXPECT_THAT(movielens(kRatings, options).impression_labels, ElementsAre(0, 0, 0, 1, 0));
    options["positive"] = "==4";
    EXPECT_THAT(movielens(kRatings, options).impression_labels, ElementsAre(1, 0, 0, 0, 0));
    options["positive"] = "4";
    EXPECT_THROW(movielens(kRatings, options), Error);
    options = {{"split", "0.7,0.7,0.7"}, {"history", "positive"}};
    std::string const more = std::string(kRatings) + "7,20,5,1005\n2,30,1,1006\n";
    auto data = movielens(more, options);
    EXPECT_THAT(data.history_items, ElementsAre(3, 1, 3)) << "rating 0.5 is no history";
    options["history"] = "all";
    options["max-history"] = "2";
    data = movielens(more, options);
    EXPECT_THAT(data.history_items, ElementsAre(1, 2, 3, 1)) << "the last two of each user";
    EXPECT_THAT(data.notes, testing::Contains(HasSubstr("cut to their last 2 events")));
}

TEST_F(LogTest, MovieLensTakesFileFolderAndGzip) {
    ImportOptions const options = {{"split", "0,0.5,0.8"}};
    auto const reference = digest_dataset(movielens(kRatings, options));
    auto const of_file = [&](std::string const& path) {
        return digest_dataset(import_dataset("movielens", path, options, {}));
    };
    EXPECT_EQ(of_file(folder_.path("ratings.csv")), reference);
    EXPECT_EQ(of_file(folder_.write("other.csv.gz", test::gzip(kRatings))), reference);
}

ImportOptions const kColumns = {
    {"columns", "user=u,item=i,time=t,label=click,category=genre,context=place"},
    {"delimiter", "tab"},
    {"time-unit", "ms"},
    {"split", "0,0.5,0.75"}};

char const* const kLog =
    "place\tu\ti\tt\tclick\tgenre\n"
    "home\t1\t5\t10\t1\tdrama\n"
    "list\t1\t6\t20\t0\taction\n"
    "home\t2\t5\t30\t0\tcomedy\n"
    "home\t2\t7\t40\t1\t\n";

TEST_F(LogTest, MovieLensRefusesALinkToItself) {
    auto const path = folder_.path("loop.csv");
    std::filesystem::create_symlink(path, path);
    EXPECT_THAT(refusal([&] { import_dataset("movielens", path, {}, {}); }),
                HasSubstr("loop.csv: cannot be opened"));
}

TEST_F(LogTest, CategoriesAndContexts) {
    auto const data = log(kLog, kColumns);
    EXPECT_EQ(data.context_vocabulary, 2U);
    EXPECT_THAT(data.impression_contexts, ElementsAre(0, 1, 0, 0)) << "home before list";
    EXPECT_THAT(data.catalogue.feature_names, ElementsAre("item", "category"));
    EXPECT_THAT(data.catalogue.features[1], ElementsAre(0, 2, 1, 0)) << "drama, action, none";
    EXPECT_THAT(data.notes, testing::Contains(HasSubstr("1 rows give an item another category")));
    EXPECT_THAT(data.notes, testing::Contains(HasSubstr("(place list) to 0.67 (place home)")));
    EXPECT_THAT(data.impression_splits, ElementsAre(0, 0, 1, 2));
    EXPECT_EQ(data.name, "log");
    EXPECT_EQ(data.licence, "not stated");
}

TEST_F(LogTest, TimeUnits) {
    auto options = kColumns;
    EXPECT_THAT(log(kLog, options).impression_times_ms, ElementsAre(10, 20, 30, 40));
    options["time-unit"] = "s";
    EXPECT_THAT(log(kLog, options).impression_times_ms, ElementsAre(10000, 20000, 30000, 40000));
    options["time-unit"] = "us";
    EXPECT_THAT(log(kLog, options).impression_times_ms, ElementsAre(0, 0, 0, 0));
}

TEST_F(LogTest, RowOrderAndFormDoNotMatter) {
    std::vector<std::string> rows;
    CounterRng rng(4, Purpose::test, 0);
    for (int i = 0; i < 3000; ++i) {
        rows.push_back(std::to_string(rng.below(50)) + "," + std::to_string(rng.below(200)) + "," +
                       std::to_string(i) + "," + std::to_string(rng.below(2)) + ",g" +
                       std::to_string(i % 200 % 7) + ",p" + std::to_string(rng.below(4)));
    }
    ImportOptions options = kColumns;
    options["delimiter"] = "comma";
    std::string const header = "u,i,t,click,genre,place\n";
    auto const digest = [&](std::string const& end) {
        std::string text = header;
        for (auto const& row : rows) text += row + end;
        return digest_dataset(log(text, options));
    };
    // Categories may conflict between rows; without them, order must not matter at all.
    options["columns"] = "user=u,item=i,time=t,label=click,context=place";
    auto const reference = digest("\n");
    EXPECT_EQ(digest("\r\n"), reference);
    std::reverse(rows.begin(), rows.end());
    EXPECT_EQ(digest("\n"), reference);
}

TEST_F(LogTest, BrokenLogsAreRefusedWithFileLineAndReason) {
    struct Broken {
        char const* row;
        char const* expected;
    };
    std::string const header = "u,i,t,click,genre,place\n1,2,3,1,a,x\n1,2,4,0,a,x\n";
    auto options = kColumns;
    options["delimiter"] = "comma";
    for (auto const& [row, expected] : std::vector<Broken>{
             {"1,2,3,1,a", ":4: has 5 fields, the header has 6"},
             {"1;2;3;1;a;x", ":4: has 1 fields"},
             {"", ":4: the line is empty"},
             {"-1,2,3,1,a,x", ":4: column u holds \"-1\", outside"},
             {"1,abc,3,1,a,x", ":4: column i holds \"abc\", not a whole number"},
             {"1,99999999999999999999,3,1,a,x", ":4: column i holds"},
             {"9223372036854775807,2,3,1,a,x", ":4: column u holds"},
             {"1,2,-3,1,a,x", ":4: column t holds \"-3\", outside 0 .. 4102444800000"},
             {"1,2,4102444800001,1,a,x", ":4: column t holds"},
             {"1,2,3.5,1,a,x", ":4: column t holds \"3.5\", not a whole number"},
             {"1,2,3,2,a,x", ":4: column click holds \"2\", not 0 or 1"},
             {"1,2,3,,a,x", ":4: column click holds \"\", not 0 or 1"},
             {"1,2,3,1,\"a,x", ":4: a quoted field does not end"},
             {"1,2,3,1,caf\xE9,x", ":4: is not UTF-8"}}) {
        auto const message = refusal([&] { log(header + row + "\n", options); });
        EXPECT_THAT(message, HasSubstr(expected));
        EXPECT_THAT(message, testing::StartsWith(folder_.path("log.txt") + ":"));
    }
    EXPECT_EQ(refusal([&] { log(header, options); }), "");
    EXPECT_THAT(refusal([&] { log("", options); }), HasSubstr("is empty"));
    EXPECT_THAT(refusal([&] { log("u,i,t,click,genre,place\n", options); }), HasSubstr("no rows"));
    EXPECT_THAT(refusal([&] { log("u,i,t,click,place\n1,2,3,1,x\n", options); }),
                HasSubstr("no column \"genre\""));
    EXPECT_THAT(
        refusal([&] { log("u,i,t,click,genre,place\n1,2,3,1,a,x\n1,2,4,1,a,x\n", options); }),
        HasSubstr("all 2 labels are 1"));
    options["split"] = "1,1,1";
    EXPECT_THAT(refusal([&] { log(header, options); }), HasSubstr("no impressions are left"));
    options["columns"] = "user=u,item=i,time=t,label=click>=1";
    options["split"] = "0,0.5,0.8";
    for (char const* bad : {"nan", "inf", "", "yes"}) {
        EXPECT_THAT(refusal([&] { log(header + "1,2,3," + bad + ",a,x\n", options); }),
                    HasSubstr("not a finite number"));
    }
}

TEST_F(LogTest, TooManyContextsAreRefused) {
    std::string text = "u,i,t,click,genre,place\n";
    for (int i = 0; i <= 65536; ++i)
        text += "1,2,3," + std::to_string(i % 2) + ",a," + std::to_string(i) + "\n";
    auto options = kColumns;
    options["delimiter"] = "comma";
    EXPECT_THAT(refusal([&] { log(text, options); }),
                HasSubstr(":65538: column place has more than"));
}

TEST_F(LogTest, TheGenericFormatNeedsColumns) {
    EXPECT_THROW(log(kLog, {}), Error);
    EXPECT_THROW(import_dataset("log", folder_.path("absent"), kColumns, {}), DataError);
    EXPECT_THROW(import_dataset("log", folder_.path(), kColumns, {}), DataError) << "a folder";
}

}  // namespace
}  // namespace ckvsim::workload
