#include "app/plan_journal.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "app/plan_rows.hpp"
#include "core/atomic_file.hpp"
#include "core/error.hpp"
#include "temporary_folder.hpp"

namespace ckvsim::app {
namespace {

PlanAnswer answer_of(std::size_t job) {
    PlanAnswer a;
    a.job = job;
    a.feasible = true;
    a.reason = "quote \" and\nnewline";
    a.nodes = 14;
    a.nodes_low = 13;
    a.nodes_high = 15;
    a.load = 200'000.0 / 3.0;
    a.load_low = a.load_high = a.load;
    a.without_memory_limit = 5.0;
    a.memory_bound = true;
    a.bound = "flash writes";
    a.figures = {1.0 / 7.0, 2.5e7, 0.875, 0.125, {0.1, 0.2, 0.3, 0.99, 0.0}, 0xFFFFFFFFFFFFFFFFULL};
    a.factor = 76.293;
    a.users_simulated = 65536;
    a.evaluations = 9;
    a.requests = 1'000'000;
    a.points = {{14, 2.5e7, 0.5}, {28, 1.25e7, 0.25}};
    return a;
}

PlanCheck check_of(std::size_t job) {
    PlanCheck c;
    c.job = job;
    c.finalist = true;
    c.nodes = 14;
    c.nodes_full = 15;
    c.nodes_full_is = "exact";
    c.sampled.p99_ns = 3.0;
    c.full.hit_ratio = 1.0 / 3.0;
    c.users_simulated = 7;
    return c;
}

struct Folder : testing::Test {
    test::TemporaryFolder folder;
    std::string report = folder.path("plan.h5");

    void write(int rank, std::string const& text) const {
        std::ofstream(journal_path(report, rank)) << text;
    }
    std::vector<std::string> warnings;
    PlanResults read(std::string const& digest) { return read_journals(report, digest, warnings); }
    [[nodiscard]] std::string journal(int rank) const {
        return read_file(journal_path(report, rank));
    }
};

using PlanJournalTest = Folder;

TEST_F(PlanJournalTest, ResultsReadBackExactly) {
    {
        PlanJournal journal(report, 0, "abc", {});
        journal.append(to_line(answer_of(3)));
        journal.append(to_line(check_of(3)));
    }
    auto const results = read("abc");
    ASSERT_EQ(results.answers.size(), 1U);
    EXPECT_EQ(results.answers.at(3), answer_of(3));
    ASSERT_EQ(results.checks.size(), 1U);
    EXPECT_EQ(results.checks.at(3), check_of(3));
}

TEST_F(PlanJournalTest, FiguresThatAreMissingStayMissing) {
    auto a = answer_of(0);
    a.figures.p99_ns = std::nan("");
    PlanResults results;
    ASSERT_TRUE(results.take(to_line(a)));
    EXPECT_TRUE(std::isnan(results.answers.at(0).figures.p99_ns));
}

TEST_F(PlanJournalTest, AnswersOfAllRanksAreFound) {
    {
        PlanJournal one(report, 0, "abc", {});
        PlanJournal two(report, 11, "abc", {});
        one.append(to_line(answer_of(1)));
        two.append(to_line(answer_of(2)));
    }
    EXPECT_EQ(read("abc").answers.size(), 2U);
    remove_journals_of_others(report);
    EXPECT_EQ(read("abc").answers.size(), 1U);
    remove_journals(report);
    EXPECT_TRUE(read("abc").answers.empty());
}

TEST_F(PlanJournalTest, ALineThatWasCutShortIsIgnored) {
    std::string whole;
    {
        PlanJournal journal(report, 0, "abc", {});
        journal.append(to_line(answer_of(1)));
        journal.append(to_line(answer_of(2)));
        whole = this->journal(0);
    }
    auto const second = whole.rfind('\n', whole.size() - 2) + 1;
    for (std::size_t end = 0; end < whole.size(); ++end) {
        write(0, whole.substr(0, end));
        auto const results = read("abc");
        EXPECT_EQ(results.answers.contains(2), false) << end;
        EXPECT_EQ(results.answers.contains(1), end >= second) << end;
    }
    write(0, whole);
    EXPECT_EQ(read("abc").answers.size(), 2U);
}

TEST_F(PlanJournalTest, ForeignJournalsAreRefusedWithTheReason) {
    auto const refused = [&](std::string const& text, std::string const& why) {
        write(0, text);
        try {
            read("abc");
            ADD_FAILURE() << "not refused: " << text;
        } catch (DataError const& error) {
            EXPECT_NE(std::string(error.what()).find(why), std::string::npos) << error.what();
            EXPECT_NE(std::string(error.what()).find(journal_path(report, 0)), std::string::npos);
        }
    };
    { PlanJournal const other(report, 0, "def", {}); }
    refused(journal(0), "of another plan");
    {
        PlanJournal lines(report, 1, "abc", {});
        lines.append("{\"ckvsim_plan\":99,\"digest\":\"abc\"}");
    }
    auto const sealed = read_file(journal_path(report, 1));
    remove_journals_of_others(report);
    refused(sealed.substr(sealed.find('\n') + 1), "another version");
}

TEST_F(PlanJournalTest, AnyFlippedBitOfALineLosesThatLineAloneAndSaysSo) {
    {
        PlanJournal journal(report, 0, "abc", {});
        journal.append(to_line(answer_of(1)));
        journal.append(to_line(answer_of(2)));
        journal.append(to_line(check_of(2)));
    }
    auto const whole = journal(0);
    auto const first = whole.find('\n') + 1;
    auto const second = whole.find('\n', first) + 1;
    for (std::size_t at = first; at + 1 < second; ++at) {
        auto damaged = whole;
        damaged[at] ^= 1;
        if (damaged[at] == '\n') continue;
        write(0, damaged);
        warnings.clear();
        auto const results = read("abc");
        EXPECT_FALSE(results.answers.contains(1)) << at;
        EXPECT_EQ(results.answers.at(2), answer_of(2));
        EXPECT_EQ(results.checks.at(2), check_of(2));
        ASSERT_EQ(warnings.size(), 1U) << at;
        EXPECT_EQ(warnings[0], journal_path(report, 0) + ":2: damaged; that answer is found again");
    }
}

TEST_F(PlanJournalTest, ADamagedHeaderIsNoJournal) {
    {
        PlanJournal journal(report, 0, "abc", {});
        journal.append(to_line(answer_of(1)));
    }
    auto const whole = journal(0);
    auto const rest = whole.substr(whole.find('\n') + 1);
    auto flipped = whole;
    flipped[whole.find("abc")] = 'b';
    for (auto const& text :
         {flipped, rest, "not json\n" + rest, "{\"ckvsim_plan\":1,\"digest\":\"abc\"}\n" + rest}) {
        write(0, text);
        warnings.clear();
        EXPECT_TRUE(read("abc").answers.empty()) << text;
        ASSERT_EQ(warnings.size(), 1U) << text;
        EXPECT_NE(warnings[0].find(":1: damaged"), std::string::npos) << warnings[0];
    }
}

TEST_F(PlanJournalTest, ANewJournalKeepsWhatIsKnown) {
    PlanResults known;
    known.take(to_line(answer_of(5)));
    known.take(to_line(check_of(5)));
    { PlanJournal const journal(report, 0, "abc", known); }
    EXPECT_EQ(read("abc").answers.at(5), answer_of(5));
    EXPECT_EQ(read("abc").checks.at(5), check_of(5));
}

TEST(PlanHash, CoversWhatAnswersAndReRunsSay) {
    auto const hash_of = [](PlanAnswer const& answer, PlanCheck const& check) {
        PlanResults results;
        results.answers[answer.job] = answer;
        results.checks[check.job] = check;
        return plan_hash(results);
    };
    auto const base = hash_of(answer_of(1), check_of(1));
    EXPECT_EQ(base, hash_of(answer_of(1), check_of(1)));
    auto answer = answer_of(1);
    answer.figures.p99_ns = std::nextafter(answer.figures.p99_ns, 0.0);
    EXPECT_NE(base, hash_of(answer, check_of(1)));
    answer = answer_of(1);
    answer.points[1].gpu_busy = 0.125;
    EXPECT_NE(base, hash_of(answer, check_of(1)));
    auto check = check_of(1);
    check.full.hit_ratio = 0.5;
    EXPECT_NE(base, hash_of(answer_of(1), check));
    check = check_of(1);
    check.nodes_full_is = "at most";
    EXPECT_NE(base, hash_of(answer_of(1), check));
}

TEST_F(PlanJournalTest, LinesThatAreNoResultsAreNotTaken) {
    PlanResults results;
    for (char const* line :
         {"", "{}", "[]", "{\"kind\":\"answer\"}", "{\"kind\":\"check\",\"job\":\"x\"}",
          "{\"kind\":\"other\",\"job\":1}"})
        EXPECT_FALSE(results.take(line)) << line;
}

TEST_F(PlanJournalTest, AFolderThatCannotBeWrittenIsAnError) {
    write(0, "a file");
    EXPECT_THROW(PlanJournal(journal_path(report, 0) + "/plan.h5", 0, "abc", {}), BackendError);
}

}  // namespace
}  // namespace ckvsim::app
