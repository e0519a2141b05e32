#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.hpp"
#include "temporary_folder.hpp"
#include "workload/readers.hpp"

namespace ckvsim::workload {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

char const* const kHistory =
    "user_id\tarticle_ids\ttimes_s\tread_time_s\tscroll_pct\n"
    "4\t100 300 100\t10 20 20\t1.0 nan 3\t50 nan 10\n"
    "9\t\t\t\t\n";
char const* const kBehaviors =
    "impression_id\tuser_id\ttime_s\tsession_id\tarticle_id\tdevice_type\tinview\tclicked\n"
    "1\t4\t30\t7\t\t2\t200 300\t300\n"
    "2\t4\t31\t7\t\t2\t100\t\n"
    "3\t9\t15\t8\t\t1\t300 200\t300 200\n"
    "5\t4\t20\t7\t\t2\t100 200\t200\n";

class Ebnerd : public testing::Test {
  protected:
    Ebnerd() { reset(); }
    void reset() {
        folder_.write("history.tsv", kHistory);
        folder_.write("behaviors.tsv", kBehaviors);
    }
    Dataset read(ImportOptions const& options = {{"split", "0.5,0.8"}}) {
        return import_dataset("ebnerd", folder_.path(), options, {});
    }
    std::string refusal() {
        try {
            read();
        } catch (DataError const& error) {
            return error.what();
        }
        return "";
    }
    test::TemporaryFolder folder_;
};

TEST_F(Ebnerd, ByHand) {
    auto const data = read();
    EXPECT_THAT(data.original_user_ids, ElementsAre(4, 9));
    EXPECT_THAT(data.original_item_ids, ElementsAre(-1, 100, 200, 300));
    EXPECT_THAT(data.history_offsets, ElementsAre(0, 3, 3));
    EXPECT_THAT(data.history_items, ElementsAre(1, 3, 1));
    EXPECT_THAT(data.impression_offsets, ElementsAre(0, 5, 7));
    EXPECT_THAT(data.impression_items, ElementsAre(1, 2, 2, 3, 1, 3, 2));
    EXPECT_THAT(data.impression_labels, ElementsAre(0, 1, 0, 1, 0, 1, 1));
    EXPECT_THAT(data.impression_contexts, ElementsAre(2, 2, 2, 2, 2, 1, 1));
    EXPECT_THAT(data.impression_splits, ElementsAre(0, 0, 1, 1, 2, 0, 0))
        << "an impression is never divided";
    EXPECT_EQ(data.context_vocabulary, 3U);
    EXPECT_EQ(data.history_growth, HistoryGrowth::positives);
    EXPECT_THAT(data.notes, testing::Contains(HasSubstr("1 impressions are not later than")));
}

TEST_F(Ebnerd, OnlyClickedArticlesExtendTheHistory) {
    auto const population = make_dataset_population(read());
    UserRecord record;
    population->load(0, record);
    EXPECT_THAT(record.timeline, ElementsAre(1, 3, 1, 2, 3));
    std::vector<std::uint32_t> ends;
    for (auto const& impression : record.impressions) ends.push_back(impression.history_end);
    EXPECT_THAT(ends, ElementsAre(3, 3, 4, 4, 5)) << "candidates of one impression see the same";
}

TEST_F(Ebnerd, SplitByInstants) {
    EXPECT_THAT(read({{"split", "1970-01-01T00:00:21Z,1970-01-01T00:00:31Z"}}).impression_splits,
                ElementsAre(0, 0, 1, 1, 2, 0, 0));
}

TEST_F(Ebnerd, BrokenFilesAreRefused) {
    struct Broken {
        char const* file;
        char const* row;
        char const* expected;
    };
    for (auto const& [file, row, expected] : std::vector<Broken>{
             {"history.tsv", "4\t1\t1\t\t", ":4: column user_id repeats user 4"},
             {"history.tsv", "5\t1 2\t5 4\t\t",
              ":4: column times_s is not in ascending order at entry 2"},
             {"history.tsv", "5\t1 2\t5\t\t", ":4: column times_s holds 1 entries, article_ids 2"},
             {"history.tsv", "5\t1 x\t5 6\t\t", ":4: column article_ids holds \"x\""},
             {"history.tsv", "5\t1 -2\t5 6\t\t", ":4: column article_ids holds \"-2\""},
             {"history.tsv", "5\t1\t5.5\t\t", ":4: column times_s holds \"5.5\""},
             {"history.tsv", "5\t1\t1677138340000\t\t", ":4: column times_s holds"},
             {"history.tsv", "5\t1\t1\t", ":4: has 4 fields"},
             {"behaviors.tsv", "1\t4\t30\t7\t\t2\t200\t",
              ":6: column impression_id repeats impression 1"},
             {"behaviors.tsv", "6\t4\t30\t7\t\t2\t\t", ":6: column inview is empty"},
             {"behaviors.tsv", "6\t4\t30\t7\t\t2\t200\t300",
              ":6: column clicked holds article 300"},
             {"behaviors.tsv", "6\t4\t30\t7\t\t\t200\t",
              ":6: column device_type has an empty entry"},
             {"behaviors.tsv", "6\t4\t30\t7\t\t900\t200\t", ":6: column device_type holds \"900\""},
             {"behaviors.tsv", "6\t\t30\t7\t\t2\t200\t", ":6: column user_id has an empty entry"},
             {"behaviors.tsv", "6\t4\tnow\t7\t\t2\t200\t", ":6: column time_s holds \"now\""},
             {"behaviors.tsv", "6\t4\t30\t7\t\t2\t200,300\t",
              ":6: column inview holds \"200,300\""}}) {
        reset();
        bool const history = std::string(file) == "history.tsv";
        folder_.write(file, std::string(history ? kHistory : kBehaviors) + row + "\n");
        EXPECT_THAT(refusal(), HasSubstr(std::string(file) + expected));
    }
    reset();
    EXPECT_EQ(refusal(), "");
    folder_.write("behaviors.tsv",
                  "impression_id\tuser_id\ttime_s\tdevice_type\tinview\tclicked\n");
    EXPECT_THAT(refusal(), HasSubstr("no rows"));
    folder_.write("behaviors.tsv.gz", "x");
    EXPECT_THAT(refusal(), HasSubstr("exists both"));
}

}  // namespace
}  // namespace ckvsim::workload
