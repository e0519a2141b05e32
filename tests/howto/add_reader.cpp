// Worked example of sim/docs/howto/add_reader.md: a reader for one CSV of plays.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.hpp"
#include "temporary_folder.hpp"
#include "workload/dataset_builder.hpp"
#include "workload/import_options.hpp"
#include "workload/readers.hpp"
#include "workload/table_reader.hpp"

namespace ckvsim::workload {
namespace {

//! [reader]
/// plays.csv: listener,song,played_at (s since 1970),seconds. A play of at least --min-seconds is a
/// positive label; every play extends the history.
Dataset read_plays(std::string const& folder, ImportOptions const& options,
                   ProgressCallback const& progress) {
    SplitRule const split("split", options.at("split"), 2);
    auto const least =
        static_cast<std::int64_t>(parse_count("min-seconds", options.at("min-seconds"), 0, 86400));
    enum : std::size_t { kListener, kSong, kTime, kSeconds };
    TableReader table(find_table(folder, "plays.csv"), kCsv,
                      {"listener", "song", "played_at", "seconds"}, progress);
    DatasetBuilder builder;
    while (table.next()) {  // a wrong line ends the import: file, line, column, reason
        LogRow row;
        row.user = table.id(kListener);
        row.item = table.id(kSong);
        row.time_ms = 1000 * table.integer(kTime, 0, 4102444800);
        row.label = table.integer(kSeconds, 0, 86400) >= least ? 1 : 0;
        builder.add_row(row);
    }
    table.require_rows();
    auto const at = split.instants_ms(builder);
    Dataset shell;
    shell.name = "plays";
    shell.licence = "yours";
    shell.history_kind = "plays";
    shell.history_growth = HistoryGrowth::exposures;
    Dataset dataset =
        builder.build(std::move(shell), {std::numeric_limits<std::int64_t>::min(), at[0], at[1]});
    finish_import(dataset, folder, "none");
    return dataset;
}

Reader plays_reader() {
    return {"plays",
            "plays.csv[.gz] (a folder); history = plays, label = played for --min-seconds",
            {{"split", "first of tune, first of test: shares of the plays or instants", "0.6,0.8"},
             {"min-seconds", "shortest play that counts as liked", "30"}},
            read_plays};
}
//! [reader]

//! [test]
class AddReader : public testing::Test {
  protected:
    Dataset read(std::string const& content) {
        folder_.write("plays.csv", content);
        return plays_reader().read(folder_.path(), {{"split", "0.5,0.75"}, {"min-seconds", "30"}},
                                   {});
    }
    test::TemporaryFolder folder_;
};

TEST_F(AddReader, PlaysBecomeHistoriesAndLabels) {
    auto const dataset = read(
        "listener,song,played_at,seconds\n"
        "7,100,10,200\n7,200,20,5\n7,100,30,30\n9,300,40,29\n");
    EXPECT_EQ(dataset.original_user_ids.size(), 2U);
    EXPECT_EQ(dataset.catalogue.items, 3U);
    EXPECT_THAT(dataset.impression_labels, testing::ElementsAre(1, 0, 1, 0));
}

TEST_F(AddReader, ABrokenLineIsNamed) {
    try {
        read("listener,song,played_at,seconds\n7,100,10,200\n7,200,20,long\n");
        FAIL() << "accepted";
    } catch (DataError const& error) {
        EXPECT_THAT(error.what(), testing::HasSubstr("plays.csv:3: column seconds holds \"long\""));
    }
}
//! [test]

}  // namespace
}  // namespace ckvsim::workload
