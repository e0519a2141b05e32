// A report survives writing and reading; everything else is refused with a message.
#include "report/report_file.hpp"

#include <gtest/gtest.h>
#include <hdf5.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <random>

#include "core/atomic_file.hpp"
#include "core/error.hpp"
#include "report/hdf5_wrap.hpp"
#include "report/report_content.hpp"
#include "report/report_diff.hpp"
#include "report/report_show.hpp"
#include "report/sealed_file.hpp"
#include "report_samples.hpp"
#include "temporary_folder.hpp"

namespace ckvsim::report {
namespace {

namespace fs = std::filesystem;
using test::TemporaryFolder;

void write(std::string const& path, metrics::Report const& report,
           std::vector<BulkArray> const& bulk = {}) {
    write_report(*comm::make_serial(), path, report, bulk);
}

std::string refusal(std::string const& path) {
    try {
        read_report(path);
    } catch (DataError const& error) {
        return error.what();
    }
    return "accepted";
}

BulkArray bulk_array(std::string const& path, std::uint64_t total) {
    BulkArray array;
    array.path = path;
    array.unit = "1";
    array.meaning = "test values";
    array.total = total;
    if (total > 0) array.segments = {{0, total}};
    for (std::uint64_t i = 0; i < total; ++i)
        array.values.push_back(static_cast<float>(i % 1000) * 0.25F);
    return array;
}

TEST(ReportFile, KeepsEveryBitOfTheContent) {
    TemporaryFolder const folder;
    auto const report = test::sample_report();
    write(folder.path("deep/er/report.h5"), report);
    auto const back = read_report(folder.path("deep/er/report.h5"));
    EXPECT_EQ(digest_report(back), digest_report(report));
    EXPECT_EQ(back.provenance, report.provenance);
    EXPECT_EQ(back.spec_json, report.spec_json);
    EXPECT_EQ(back.notes, report.notes);
    EXPECT_EQ(back.tables.size(), report.tables.size());
    EXPECT_EQ(back.tables.at("popularity").rows().size(), 0U);
    EXPECT_EQ(back.tables.at("simulated_latency").attributes.at("calibration"), "0123456789abcdef");
    auto const& rows = back.tables.at("oracle").rows();
    ASSERT_EQ(rows.size(), report.tables.at("oracle").rows().size());
    EXPECT_TRUE(std::isnan(std::get<double>(rows[2][1])));
    EXPECT_TRUE(std::isinf(std::get<double>(rows[3][1])));
    EXPECT_TRUE(std::signbit(std::get<double>(rows[4][1])));
    for (std::size_t i = 0; i < rows.size(); ++i)
        EXPECT_EQ(rows[i][0], report.tables.at("oracle").rows()[i][0]) << i;
    EXPECT_FALSE(fs::exists(folder.path("deep/er/report.h5.partial")));
}

TEST(ReportFile, AnEmptyReportIsAReport) {
    TemporaryFolder const folder;
    write(folder.path("r.h5"), {});
    EXPECT_EQ(digest_report(read_report(folder.path("r.h5"))), digest_report({}));
}

TEST(ReportFile, EqualReportsAreEqualFiles) {
    TemporaryFolder const folder;
    write(folder.path("a.h5"), test::sample_report(), {bulk_array("/predictions/a", 70000)});
    write(folder.path("b.h5"), test::sample_report(), {bulk_array("/predictions/a", 70000)});
    EXPECT_TRUE(read_file(folder.path("a.h5")) == read_file(folder.path("b.h5")));
}

TEST(ReportFile, TextsThatTheFileCannotHoldAreRefusedByName) {
    TemporaryFolder const folder;
    metrics::Report report;
    report.table("oracle").add_row({std::string("nul\0inside", 10), 1.0});
    try {
        write(folder.path("r.h5"), report);
        FAIL() << "a NUL inside a text was accepted";
    } catch (Error const& error) {
        EXPECT_NE(std::string(error.what()).find("NUL"), std::string::npos) << error.what();
    }
    EXPECT_TRUE(fs::is_empty(folder.path()));
}

TEST(ReportFile, AnOlderReportSurvivesAFailedWrite) {
    TemporaryFolder const folder;
    auto const path = folder.path("r.h5");
    write(path, test::sample_report());
    auto const before = read_file(path);
    auto wrong = bulk_array("/predictions/a", 10);
    wrong.values.pop_back();
    EXPECT_THROW(write(path, {}, {wrong}), Error);
    EXPECT_TRUE(read_file(path) == before);
    EXPECT_FALSE(fs::exists(path + ".partial"));
}

TEST(ReportFile, RefusesPlacesItCannotWriteTo) {
    TemporaryFolder const folder;
    write_file_atomically(folder.path("plain"), "text");
    EXPECT_THROW(write(folder.path("plain/r.h5"), {}), Error);  // a file where a folder is needed
    fs::create_directory(folder.path("taken.h5"));
    EXPECT_THROW(write(folder.path("taken.h5"), {}), Error);
    EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), {}), 2);
}

/// A sealed file without content.
void make_empty(std::string const& path, std::string const& kind) {
    auto const image = h5::file_image(h5::create_memory_file(path), path);
    write_file_atomically(path, {image.data(), image.size()});
    seal_file(path, kind);
}

TEST(ReportFile, SaysWhatIsWrongWithAForeignFile) {
    TemporaryFolder const folder;
    auto const has = [](std::string const& text, char const* part) {
        EXPECT_NE(text.find(part), std::string::npos) << text;
    };
    has(refusal(folder.path("none.h5")), "does not exist");
    has(refusal(folder.path()), "not a regular file");
    ASSERT_EQ(::mkfifo(folder.path("fifo").c_str(), 0600), 0);
    has(refusal(folder.path("fifo")), "not a regular file");
    write_file_atomically(folder.path("empty"), "");
    has(refusal(folder.path("empty")), "not a ckvsim report");
    write_file_atomically(folder.path("text"), std::string(10000, 'a'));
    has(refusal(folder.path("text")), "not a ckvsim report");
    {
        h5::Handle file(
            H5Fcreate(folder.path("foreign.h5").c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT),
            H5Fclose, "foreign", "creating");
    }
    has(refusal(folder.path("foreign.h5")), "is an HDF5 file but not a ckvsim report");
    make_empty(folder.path("nothing.h5"), "report");
    has(refusal(folder.path("nothing.h5")), "no creator and schema_version");
    make_empty(folder.path("data.h5"), "dataset");
    has(refusal(folder.path("data.h5")), "is a ckvsim dataset, not a report");
}

/// A whole report whose schema_version says `version`, sealed.
std::string refusal_of_version(TemporaryFolder const& folder, std::int64_t version) {
    auto const path = folder.path("version.h5");
    write(path, test::sample_report());
    {
        h5::QuietErrors const quiet;
        auto const file = h5::open_file(path, h5::Open::modify);
        H5Adelete(file.id(), "schema_version");
        h5::set_attribute(file.id(), "schema_version", version);
    }
    seal_file(path, "report");
    return refusal(path);
}

TEST(ReportFile, RefusesOtherSchemaVersions) {
    TemporaryFolder const folder;
    EXPECT_EQ(refusal_of_version(folder, metrics::kReportSchemaVersion), "accepted");
    auto const newer = refusal_of_version(folder, metrics::kReportSchemaVersion + 1);
    EXPECT_NE(newer.find("use a newer ckvsim"), std::string::npos) << newer;
    auto const older = refusal_of_version(folder, 0);
    EXPECT_NE(older.find("unknown"), std::string::npos) << older;
}

TEST(ReportFile, EditedContentIsRefusedEvenUnderANewSeal) {
    TemporaryFolder const folder;
    auto const path = folder.path("r.h5");
    write(path, test::sample_report());
    {
        auto const file = h5::open_file(path, h5::Open::modify);
        std::uint64_t rows = 0;
        auto const column = h5::open_array(file.id(), "tables/accuracy/auc", path, rows);
        std::vector<double> const better(rows, 0.99);
        ASSERT_GE(
            H5Dwrite(column.id(), H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, better.data()),
            0);
    }
    EXPECT_NE(refusal(path).find("was damaged or changed"), std::string::npos) << refusal(path);
    seal_file(path, "report");
    EXPECT_NE(refusal(path).find("does not match its stored hash"), std::string::npos)
        << refusal(path);
}

TEST(ReportFile, AReportOfAnOlderVersionLacksColumnsAndOpens) {
    TemporaryFolder const folder;
    auto const path = folder.path("older.h5");
    auto report = test::sample_report();
    // As an older version would have written it: without the columns, hashed without them.
    auto& memory = report.tables.at("memory");
    memory.absent = {"padding_bytes", "ledger_error", "tier"};
    write(path, report);
    auto const back = read_report(path);
    auto const& table = back.tables.at("memory");
    EXPECT_EQ(table.absent, memory.absent);
    EXPECT_EQ(digest_report(back), digest_report(report));
    EXPECT_EQ(table.rows().size(), memory.rows().size());
    EXPECT_EQ(table.rows()[1][0], memory.rows()[1][0]);
    // Shown as missing, never as a value; compared without them.
    auto const shown = show(back, {"memory"});
    EXPECT_NE(shown.find("column tier: not in this report"), std::string::npos) << shown;
    auto const found = diff(test::sample_report(), back, false);
    EXPECT_TRUE(found.empty()) << render(found);
    EXPECT_NE(render(found).find("column memory.padding_bytes is missing right"),
              std::string::npos);
    // A key cannot be missing.
    {
        auto const file = h5::open_file(path, h5::Open::modify);
        ASSERT_GE(H5Ldelete(file.id(), "tables/memory/arm", H5P_DEFAULT), 0);
    }
    seal_file(path, "report");
    EXPECT_NE(refusal(path).find("memory"), std::string::npos) << refusal(path);
}

TEST(ReportFile, TruncatedAtAnyPositionIsRefused) {
    TemporaryFolder const folder;
    auto const path = folder.path("r.h5");
    write(path, test::sample_report(), {bulk_array("/predictions/a", 1000)});
    auto const whole = read_file(path);
    std::mt19937_64 random(7);
    std::vector<std::size_t> cuts = {0, 1, 7, 8, 511, 512, 513, 600, whole.size() - 1};
    while (cuts.size() < 40) cuts.push_back(random() % whole.size());
    for (auto const cut : cuts) {
        write_file_atomically(path, std::string_view(whole).substr(0, cut));
        auto const message = refusal(path);
        EXPECT_NE(message, "accepted") << cut;
        EXPECT_NE(message.find(cut < 31 ? "not a ckvsim report" : "truncated"), std::string::npos)
            << cut << ": " << message;
    }
    write_file_atomically(path, whole + "x");
    EXPECT_NE(refusal(path), "accepted");
    write_file_atomically(path, whole);
    EXPECT_EQ(refusal(path), "accepted");
}

TEST(ReportFile, AnyFlippedBitIsRefused) {
    TemporaryFolder const folder;
    auto const path = folder.path("r.h5");
    write(path, test::sample_report(), {bulk_array("/predictions/a", 1000)});
    auto const whole = read_file(path);
    std::mt19937_64 random(11);
    for (int i = 0; i < 200; ++i) {
        auto damaged = whole;
        // Half of them early, where the seal and HDF5's own metadata are.
        std::size_t const at = random() % (i % 2 == 0 ? 4096 : whole.size());
        damaged[at] = static_cast<char>(damaged[at] ^ (1 << (random() % 8)));
        write_file_atomically(path, damaged);
        EXPECT_NE(refusal(path), "accepted") << at;
    }
}

TEST(ReportFile, EveryDatasetSaysUnitMeaningAndProvenance) {
    TemporaryFolder const folder;
    auto const path = folder.path("r.h5");
    auto bulk = bulk_array("/predictions/full/seed1/logit", 100);
    bulk.provenance = "measured";
    write(path, test::sample_report(), {bulk});
    auto const file = h5::open_file(path, h5::Open::read);
    auto const expect_words = [&](std::string const& name, std::string const& unit,
                                  std::string const& provenance) {
        std::uint64_t rows = 0;
        auto const dataset = h5::open_array(file.id(), name, path, rows);
        EXPECT_EQ(h5::text_attribute(dataset.id(), "unit", name), unit) << name;
        EXPECT_EQ(h5::text_attribute(dataset.id(), "provenance", name), provenance) << name;
        EXPECT_FALSE(h5::text_attribute(dataset.id(), "meaning", name).empty()) << name;
    };
    for (auto const& schema : metrics::table_schemas()) {
        auto const group = h5::open_group(file.id(), "tables/" + schema.name, path);
        EXPECT_EQ(h5::integer_attribute(group.id(), "wall_clock", path), schema.wall_clock ? 1 : 0);
        EXPECT_EQ(h5::text_attribute(group.id(), "meaning", path), schema.meaning);
        bool measured = false;
        bool simulated = false;
        for (auto const& column : schema.columns) {
            expect_words("tables/" + schema.name + "/" + column.name, column.unit,
                         metrics::to_string(column.provenance));
            measured |= column.provenance == metrics::Provenance::measured;
            simulated |= column.provenance == metrics::Provenance::simulated;
        }
        // Wall-clock and virtual time meet only where their difference is the subject.
        EXPECT_TRUE(!(measured && simulated) || schema.name.starts_with("fidelity")) << schema.name;
    }
    expect_words("predictions/full/seed1/logit", "1", "measured");
    expect_words("spec", "text", "input");
    expect_words("notes", "text", "derived");
}

}  // namespace
}  // namespace ckvsim::report
