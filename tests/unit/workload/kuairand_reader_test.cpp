#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <map>

#include "core/error.hpp"
#include "gzip.hpp"
#include "temporary_folder.hpp"
#include "workload/readers.hpp"

namespace ckvsim::workload {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

char const* const kFeaturesName = "video_features_basic_pure.csv";
char const* const kFeatures =
    "video_id,author_id,video_type,tag\n"
    "4,100,NORMAL,\"20,43\"\n"
    "9,50,AD,7\n"
    "1000,100,NORMAL,\n"
    "77,1,NORMAL,7\n";
/// Columns in another order than the published file, one more, and user 8 before user 2.
char const* const kHistory =
    "history_len\tuser_id\tlast_time_ms\twatch_seq\tlike_seq\n"
    "3\t8\t1650000000000\t9 4 9\t9\n"
    "0\t2\t1650000000000\t\t\n";
char const* const kImpressions =
    "user_id\tvideo_id\ttime_ms\tis_click\ttab\n"
    "8\t4\t1651334400000\t1\t1\n"     // first instant of the test split
    "8\t1000\t1651334399999\t0\t0\n"  // last of the tune split
    "8\t9\t1649999999999\t1\t4\n"     // before the user's last stored event
    "5\t9\t1651161600000\t0\t1\n";    // a user without history row; first instant of tune

class KuaiRand : public testing::Test {
  protected:
    KuaiRand() {
        folder_.write(kFeaturesName, kFeatures);
        folder_.write("history.tsv", kHistory);
        folder_.write("impressions.tsv", kImpressions);
    }
    Dataset read() const { return read_kuairand_pure(folder_.path(), {}, {}); }
    std::string refusal() const {
        try {
            read();
        } catch (DataError const& error) {
            return error.what();
        }
        return "";
    }
    test::TemporaryFolder folder_;
};

double statistic(Dataset const& data, std::string const& name) {
    for (auto const& [key, value] : data.statistics)
        if (key == name) return value;
    ADD_FAILURE() << "no statistic " << name;
    return -1.0;
}

TEST_F(KuaiRand, ReadsEveryPart) {
    Dataset const data = read();
    EXPECT_EQ(data.name, "kuairand-pure");
    EXPECT_EQ(data.licence, "CC-BY-SA-4.0");
    EXPECT_THAT(data.original_user_ids, ElementsAre(2, 5, 8));
    EXPECT_THAT(data.original_item_ids, ElementsAre(-1, 4, 9, 1000)) << "77 is in no event";
    EXPECT_THAT(data.history_offsets, ElementsAre(0, 0, 0, 3));
    EXPECT_THAT(data.history_items, ElementsAre(2, 1, 2));
    EXPECT_THAT(data.impression_offsets, ElementsAre(0, 0, 1, 4));
    EXPECT_THAT(data.impression_items, ElementsAre(2, 2, 3, 1));
    EXPECT_THAT(data.impression_times_ms,
                ElementsAre(1651161600000, 1649999999999, 1651334399999, 1651334400000));
    EXPECT_THAT(data.impression_contexts, ElementsAre(1, 4, 0, 1));
    EXPECT_THAT(data.impression_labels, ElementsAre(0, 1, 0, 1));
    EXPECT_THAT(data.impression_splits, ElementsAre(1, 0, 1, 2));
    EXPECT_EQ(data.context_vocabulary, 5U);
    EXPECT_THAT(data.catalogue.feature_names, ElementsAre("item", "category", "author"));
    EXPECT_THAT(data.catalogue.features[1], ElementsAre(0, 2, 1, 0)) << "first tag; none = 0";
    EXPECT_THAT(data.catalogue.features[2], ElementsAre(0, 2, 1, 2));
    EXPECT_THAT(data.catalogue.feature_vocabularies, ElementsAre(4, 3, 3));
    EXPECT_EQ(data.history_growth, HistoryGrowth::exposures);
}

TEST_F(KuaiRand, StatisticsAndNotesNameTheCautions) {
    Dataset const data = read();
    EXPECT_EQ(statistic(data, "users"), 3);
    EXPECT_EQ(statistic(data, "users with stored history"), 1);
    EXPECT_EQ(statistic(data, "exposures before the cut to 50"), 3);
    EXPECT_EQ(statistic(data, "users whose history was cut"), 0);
    EXPECT_EQ(statistic(data, "users without a history row"), 1);
    EXPECT_EQ(statistic(data, "impressions of users without a history row"), 1);
    EXPECT_EQ(statistic(data, "impressions at or before last_time_ms"), 1);
    std::string notes;
    for (auto const& note : data.notes) notes += note + "\n";
    EXPECT_THAT(notes, HasSubstr("last 50 exposures"));
    EXPECT_THAT(notes, HasSubstr("neither times nor actions nor labels"));
    EXPECT_THAT(notes, HasSubstr("1 users (1 impressions) have no history row"));
    EXPECT_THAT(notes, HasSubstr("1 impressions are stamped at or before"));
    EXPECT_THAT(notes, HasSubstr("mixes scenes"));
}

TEST_F(KuaiRand, TimelineIsHistoryThenImpressions) {
    auto const population = make_dataset_population(read());
    UserRecord record;
    population->load(2, record);
    EXPECT_THAT(record.timeline, ElementsAre(2, 1, 2, 2, 3, 1));
    EXPECT_EQ(record.base_length, 3U);
    EXPECT_EQ(record.impressions[2].history_end, 5U);
}

TEST_F(KuaiRand, FormDoesNotMatter) {
    auto const reference = digest_dataset(read());
    std::string crlf;
    for (char const c : std::string(kImpressions)) crlf += c == '\n' ? "\r\n" : std::string(1, c);
    folder_.write("impressions.tsv", crlf);
    EXPECT_EQ(digest_dataset(read()), reference) << "CRLF";
    std::filesystem::remove(folder_.path("impressions.tsv"));
    folder_.write("impressions.tsv.gz", test::gzip(kImpressions));
    EXPECT_EQ(digest_dataset(read()), reference) << "gzip";
    std::string text = kHistory;
    text.pop_back();
    folder_.write("history.tsv", text);
    EXPECT_EQ(digest_dataset(read()), reference) << "no newline at the end";
}

TEST_F(KuaiRand, SplitInstantsAreOptions) {
    KuaiRandOptions options;
    options.tune_from_ms = 0;
    options.test_from_ms = 1651161600001;
    EXPECT_THAT(read_kuairand_pure(folder_.path(), options, {}).impression_splits,
                ElementsAre(1, 1, 2, 2));
    options.test_from_ms = -1;
    EXPECT_THROW(read_kuairand_pure(folder_.path(), options, {}), InternalError);
}

TEST_F(KuaiRand, ProgressCoversEveryFile) {
    std::vector<std::string> files;
    read_kuairand_pure(folder_.path(), {}, [&](ImportProgress const& now) {
        EXPECT_EQ(now.bytes, now.total_bytes);
        files.push_back(std::filesystem::path(now.file).filename().string());
    });
    EXPECT_THAT(files, ElementsAre(kFeaturesName, "history.tsv", "impressions.tsv"));
}

/// One broken file each; `expected` must be in the message, which must name `file`.
struct Broken {
    char const* name;
    char const* file;
    std::string content;
    char const* expected;
};

std::string impressions(std::string const& row) {
    return "user_id\tvideo_id\ttime_ms\tis_click\ttab\n8\t4\t1651334400000\t1\t1\n" + row + "\n";
}
std::string history(std::string const& row) {
    return "user_id\thistory_len\tlast_time_ms\twatch_seq\n8\t1\t1650000000000\t9\n" + row + "\n";
}
std::string features(std::string const& row) {
    return "video_id,author_id,tag\n4,1,2\n9,1,2\n1000,1,2\n" + row + "\n";
}

std::vector<Broken> broken_files() {
    using namespace std::string_literals;
    char const* const imp = "impressions.tsv";
    char const* const his = "history.tsv";
    return {
        {"empty impressions", imp, "", "is empty"},
        {"empty history", his, "", "is empty"},
        {"empty features", kFeaturesName, "", "is empty"},
        {"header only", imp, "user_id\tvideo_id\ttime_ms\tis_click\ttab\n",
         "has a header but no rows"},
        {"history header only", his, "user_id\thistory_len\tlast_time_ms\twatch_seq\n", "no rows"},
        {"features header only", kFeaturesName, "video_id,author_id,tag\n", "no rows"},
        {"no header", imp, "8\t4\t1651334400000\t1\t1\n",
         ":1: the header has no column \"user_id\""},
        {"commas for tabs", imp, "user_id,video_id,time_ms,is_click,tab\n8,4,1651334400000,1,1\n",
         ":1: the header has no column \"user_id\""},
        {"tabs for commas", kFeaturesName, "video_id\tauthor_id\ttag\n4\t1\t2\n",
         ":1: the header has no"},
        {"missing column", imp, "user_id\tvideo_id\ttime_ms\ttab\n8\t4\t1651334400000\t1\n",
         "no column \"is_click\""},
        {"column twice", imp, "user_id\tuser_id\tvideo_id\ttime_ms\tis_click\ttab\n",
         "two columns \"user_id\""},
        {"column in capitals", his, "USER_ID\thistory_len\tlast_time_ms\twatch_seq\n",
         "no column \"user_id\""},
        {"a field too few", imp, impressions("8\t4\t1651334400000\t1"), ":3: has 4 fields"},
        {"a field too many", imp, impressions("8\t4\t1651334400000\t1\t1\t0"), ":3: has 6 fields"},
        {"row cut by the end of the file", his, history("9\t2\t16500"), ":3: has 3 fields"},
        {"empty line", imp, impressions("") + "8\t4\t1651334400000\t1\t1\n",
         ":3: the line is empty"},
        {"NUL byte", imp, impressions("8\t4\t16513344\0\t1\t1"s), ":3: contains a NUL byte"},
        {"not UTF-8", imp, impressions("8\t4\t1651334400000\t1\t\xE9"), ":3: is not UTF-8"},
        {"over-long line", imp, impressions(std::string(2U << 20, '7')),
         ":3: the line is longer than 1 MiB"},
        {"negative user", imp, impressions("-8\t4\t1651334400000\t1\t1"),
         ":3: column user_id holds \"-8\", outside"},
        {"huge user", imp, impressions("99999999999999999999\t4\t1651334400000\t1\t1"),
         "column user_id holds"},
        {"user is text", imp, impressions("u8\t4\t1651334400000\t1\t1"),
         "\"u8\", not a whole number"},
        {"user is a fraction", imp, impressions("8.0\t4\t1651334400000\t1\t1"),
         "\"8.0\", not a whole number"},
        {"user is empty", imp, impressions("\t4\t1651334400000\t1\t1"),
         "column user_id has an empty entry"},
        {"negative video", imp, impressions("8\t-4\t1651334400000\t1\t1"),
         "column video_id holds \"-4\""},
        {"unknown video", imp, impressions("8\t5\t1651334400000\t1\t1"), "does not list"},
        {"time is zero", imp, impressions("8\t4\t0\t1\t1"), "column time_ms holds \"0\", outside"},
        {"time in microseconds", imp, impressions("8\t4\t1651334400000000\t1\t1"),
         "column time_ms holds"},
        {"time is text", imp, impressions("8\t4\t2022-05-01\t1\t1"), "not a whole number"},
        {"label 2", imp, impressions("8\t4\t1651334400000\t2\t1"),
         ":3: column is_click holds \"2\", not 0 or 1"},
        {"label true", imp, impressions("8\t4\t1651334400000\ttrue\t1"), "not 0 or 1"},
        {"label missing", imp, impressions("8\t4\t1651334400000\t\t1"), "not 0 or 1"},
        {"tab too large", imp, impressions("8\t4\t1651334400000\t1\t256"),
         "column tab holds \"256\""},
        {"tab negative", imp, impressions("8\t4\t1651334400000\t1\t-1"), "column tab holds"},
        {"user twice in history", his, history("8\t1\t1650000000000\t4"),
         ":3: column user_id repeats user 8"},
        {"fewer events than history_len", his, history("9\t3\t1650000000000\t4 9"),
         ":3: column watch_seq holds 2 videos, but history_len = 3"},
        {"more events than history_len", his, history("9\t1\t1650000000000\t4 9"),
         "holds 2 videos"},
        {"unknown video in history", his, history("9\t2\t1650000000000\t4 5"), "does not list"},
        {"commas in the sequence", his, history("9\t2\t1650000000000\t4,9"),
         "\"4,9\", not a whole number"},
        {"double space in the sequence", his, history("9\t2\t1650000000000\t4  9"), "empty entry"},
        {"negative length", his, history("9\t-1\t1650000000000\t"), "column history_len holds"},
        {"time missing in history", his, history("9\t1\t\t9"),
         "column last_time_ms has an empty entry"},
        {"video twice in features", kFeaturesName, features("9,5,6"),
         ":5: column video_id repeats video 9"},
        {"tag is text", kFeaturesName, features("3,5,music"), ":5: column tag holds \"music\""},
        {"author is negative", kFeaturesName, features("3,-5,1"), "column author_id holds"},
        {"open quote", kFeaturesName, features("3,5,\"1,2"), ":5: a quoted field does not end"},
    };
}

TEST_F(KuaiRand, EveryBrokenFileIsRefusedWithFileLineAndReason) {
    auto const cases = broken_files();
    EXPECT_GE(cases.size(), 30U);
    std::map<std::string, std::string> const good = {
        {kFeaturesName, kFeatures}, {"history.tsv", kHistory}, {"impressions.tsv", kImpressions}};
    for (auto const& broken : cases) {
        folder_.write(broken.file, broken.content);
        auto const message = refusal();
        EXPECT_THAT(message, HasSubstr(broken.expected)) << broken.name;
        EXPECT_THAT(message, testing::StartsWith(folder_.path(broken.file) + ":")) << broken.name;
        folder_.write(broken.file, good.at(broken.file));
        ASSERT_EQ(refusal(), "") << "restored after " << broken.name;
    }
}

TEST_F(KuaiRand, BrokenContainersAreRefused) {
    namespace fs = std::filesystem;
    std::string const packed = test::gzip(kImpressions);
    auto const replace = [&](std::function<void(std::string const&)> const& make,
                             std::string const& name) {
        fs::remove_all(folder_.path("impressions.tsv"));
        fs::remove_all(folder_.path("impressions.tsv.gz"));
        make(folder_.path(name));
        return refusal();
    };
    auto const content = [&](std::string const& bytes) {
        return replace([&](std::string const&) { folder_.write("impressions.tsv.gz", bytes); },
                       "impressions.tsv.gz");
    };
    EXPECT_THAT(content(packed.substr(0, packed.size() / 2)), HasSubstr("truncated"));
    EXPECT_THAT(content(packed.substr(0, packed.size() - 1)), HasSubstr("truncated"));
    EXPECT_THAT(content(kImpressions), HasSubstr("is not a gzip file"));
    EXPECT_THAT(content(packed + kImpressions), HasSubstr("bytes that are not gzip"));
    std::string damaged = packed;
    damaged[damaged.size() - 6] = static_cast<char>(damaged[damaged.size() - 6] ^ 1);
    EXPECT_THAT(content(damaged), HasSubstr("incorrect data check"));
    EXPECT_THAT(replace([](std::string const&) {}, "impressions.tsv"), HasSubstr("no such file"));
    EXPECT_THAT(
        replace([](std::string const& path) { fs::create_directory(path); }, "impressions.tsv"),
        HasSubstr("is a folder"));
    EXPECT_THAT(
        replace([](std::string const& path) { ::mkfifo(path.c_str(), 0600); }, "impressions.tsv"),
        HasSubstr("is a pipe"));
    EXPECT_EQ(replace([&](std::string const&) { folder_.write("impressions.tsv", kImpressions); },
                      "impressions.tsv"),
              "");
    folder_.write("impressions.tsv.gz", packed);
    EXPECT_THAT(refusal(), HasSubstr("exists both plain and as .gz"));
    EXPECT_THROW(read_kuairand_pure(folder_.path("absent"), {}, {}), DataError);
    EXPECT_THROW(read_kuairand_pure(folder_.path("history.tsv"), {}, {}), DataError);
}

TEST_F(KuaiRand, AFileWithoutPermissionIsRefused) {
    if (::geteuid() == 0) GTEST_SKIP() << "root may read everything";
    ASSERT_EQ(::chmod(folder_.path("history.tsv").c_str(), 0), 0);
    EXPECT_THAT(refusal(), HasSubstr("Permission denied"));
}

}  // namespace
}  // namespace ckvsim::workload
