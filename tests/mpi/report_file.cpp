// Every rank runs every case: bulk arrays from uneven shares, and failures that all ranks must
// leave together with the same message and without a trace. A rank left behind would hang and fail
// by CTest's time limit.
#include "report/report_file.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <filesystem>
#include <memory>
#include <random>

#include "core/atomic_file.hpp"
#include "core/hash.hpp"
#include "core/rng.hpp"
#include "mpi_fixture.hpp"
#include "report/hdf5_wrap.hpp"
#include "report/report_content.hpp"
#include "report_samples.hpp"
#include "temporary_folder.hpp"

namespace ckvsim::report {
namespace {

namespace fs = std::filesystem;
using test::world;

/// One folder for all ranks, made and removed by rank 0.
class SharedFolder {
  public:
    SharedFolder() {
        std::vector<std::byte> name;
        if (world().is_root()) {
            folder_ = std::make_unique<test::TemporaryFolder>();
            for (char const c : folder_->path()) name.push_back(static_cast<std::byte>(c));
        }
        world().broadcast(name);
        for (auto const c : name) path_ += static_cast<char>(c);
    }
    ~SharedFolder() { world().barrier(); }
    [[nodiscard]] std::string path(std::string const& name) const { return path_ + "/" + name; }
    /// Names in the folder, asked by all ranks at the same moment.
    [[nodiscard]] std::vector<std::string> names() const {
        std::vector<std::string> found;
        for (auto const& entry : fs::directory_iterator(path_))
            found.push_back(entry.path().filename().string());
        std::sort(found.begin(), found.end());
        world().barrier();
        return found;
    }

  private:
    std::unique_ptr<test::TemporaryFolder> folder_;
    std::string path_;
};

float value_at(std::uint64_t array, std::uint64_t index) {
    // Noise, so that gzip cannot shrink it to nothing; a NaN now and then.
    auto const bits = hash_bytes(&index, sizeof index, array);
    return bits % 1000 == 0 ? std::nanf("") : static_cast<float>(bits % 100003) / 100003.0F;
}

/// The array cut into pieces at random places, the same on all ranks; piece i belongs to owner(i).
template <class Owner>
BulkArray share(std::string const& path, std::uint64_t id, std::uint64_t total, unsigned pieces,
                Owner&& owner) {
    BulkArray array;
    array.path = path;
    array.unit = "1";
    array.meaning = "test values";
    array.provenance = "measured";
    array.total = total;
    std::mt19937_64 random(id);
    std::vector<std::uint64_t> cuts = {0, total};
    for (unsigned i = 1; i < pieces; ++i) cuts.push_back(random() % (total + 1));
    std::sort(cuts.begin(), cuts.end());
    for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
        if (owner(static_cast<int>(i)) != world().rank()) continue;
        array.segments.push_back({cuts[i], cuts[i + 1] - cuts[i]});
        for (auto at = cuts[i]; at < cuts[i + 1]; ++at) array.values.push_back(value_at(id, at));
    }
    return array;
}

void expect_stored(std::string const& path, std::string const& name, std::uint64_t id,
                   std::uint64_t total) {
    auto const file = h5::open_file(path, h5::Open::read);
    auto const stored = h5::read_array<float>(file.id(), name, path);
    ASSERT_EQ(stored.size(), total) << name;
    std::uint64_t different = 0;
    for (std::uint64_t i = 0; i < total; ++i) {
        float const expected = value_at(id, i);
        bool const same = stored[i] == expected || (std::isnan(stored[i]) && std::isnan(expected));
        different += same ? 0 : 1;
    }
    EXPECT_EQ(different, 0U) << name;
}

metrics::Report report_of_this_rank() {
    // Only rank 0's report counts; the others bring nonsense.
    metrics::Report other;
    other.notes = {"rank " + std::to_string(world().rank())};
    return world().is_root() ? test::sample_report() : other;
}

TEST(ReportFileMpi, BulkArraysHoldTheSameValuesForAnyNumberOfRanks) {
    SharedFolder const folder;
    int const size = world().size();
    std::vector<std::uint64_t> const totals = {0, 1, 3, 65535, 65536, 65537, 150001};
    std::vector<BulkArray> bulk;
    for (std::uint64_t i = 0; i < totals.size(); ++i) {
        auto const name = "/predictions/array" + std::to_string(i) + "/logit";
        // Rank 1 never owns anything of odd arrays; neighbouring pieces may share an owner.
        bulk.push_back(share(name, i, totals[i], 97, [&](int piece) {
            int const rank = static_cast<int>(mix64(static_cast<std::uint64_t>(piece)) %
                                              static_cast<std::uint64_t>(size));
            return i % 2 == 1 && rank == 1 ? 0 : rank;
        }));
    }
    auto const path = folder.path("new/r.h5");
    write_report(world(), path, report_of_this_rank(), bulk);
    EXPECT_EQ(folder.names(), std::vector<std::string>{"new"});
    EXPECT_FALSE(fs::exists(path + ".partial"));
    EXPECT_EQ(digest_report(read_report(path)), digest_report(test::sample_report()));
    for (std::uint64_t i = 0; i < totals.size(); ++i)
        expect_stored(path, bulk[i].path, i, totals[i]);
    world().barrier();
}

TEST(ReportFileMpi, ManySmallSegments) {
    SharedFolder const folder;
    int const size = world().size();
    // One segment per shard of the default 4,096, dealt round: the worst selection a run makes.
    auto const array = share("/predictions/a", 5, 70000, 4096, [&](int i) { return i % size; });
    write_report(world(), folder.path("r.h5"), report_of_this_rank(), {array});
    expect_stored(folder.path("r.h5"), array.path, 5, 70000);
    world().barrier();
}

TEST(ReportFileMpi, WithoutBulkArrays) {
    SharedFolder const folder;
    write_report(world(), folder.path("r.h5"), report_of_this_rank(), {});
    EXPECT_EQ(digest_report(read_report(folder.path("r.h5"))),
              digest_report(test::sample_report()));
    world().barrier();
}

/// What write_report says on this rank; empty when it succeeded. All ranks must say the same.
std::string failure_of(std::string const& path, std::vector<BulkArray> const& bulk,
                       metrics::Report const& report = {}) {
    std::string message;
    try {
        write_report(world(), path, report, bulk);
    } catch (Error const& error) {
        message = error.what();
    }
    auto const all = world().all_gather(hash_bytes(message.data(), message.size()));
    EXPECT_EQ(std::count(all.begin(), all.end(), all[0]), world().size()) << message;
    return message;
}

void expect_part(std::string const& message, std::string const& part) {
    EXPECT_NE(message.find(part), std::string::npos) << message;
}

int last_rank() { return world().size() - 1; }

TEST(ReportFileMpi, WrongSharesAreRefusedOnAllRanks) {
    SharedFolder const folder;
    auto const path = folder.path("r.h5");
    bool const last = world().rank() == last_rank();
    auto const dealt = [&] {
        return share("/predictions/a", 1, 1000, 8, [&](int i) { return i % world().size(); });
    };
    auto wrong = dealt();
    if (last) wrong.values.push_back(1.0F);
    expect_part(failure_of(path, {wrong}), "rank " + std::to_string(last_rank()));
    wrong = dealt();
    if (last) wrong.segments.push_back({0, 1}), wrong.values.push_back(1.0F);
    expect_part(failure_of(path, {wrong}), "out of order");
    wrong = dealt();
    if (last) wrong.segments.push_back({~std::uint64_t{0}, 1}), wrong.values.push_back(1.0F);
    expect_part(failure_of(path, {wrong}), "leaves the array");
    // Every rank claims everything: right for one rank only.
    wrong = share("/predictions/a", 1, 1000, 1, [&](int) { return world().rank(); });
    if (world().size() > 1) expect_part(failure_of(path, {wrong}), "overlap");
    // As many values as the array has, but one place twice and one never.
    wrong = dealt();
    if (last) {
        wrong.segments = {{0, 500}, {501, 499}};
        wrong.values.assign(999, 0.0F);
    } else {
        wrong.segments.clear();
        wrong.values.clear();
    }
    if (world().is_root() && !last) {
        wrong.segments = {{7, 1}};
        wrong.values = {0.0F};
    }
    expect_part(failure_of(path, {wrong}), world().size() > 1 ? "overlap" : "leave a gap");
    wrong = dealt();
    if (last) wrong.total = 1001;
    if (world().size() > 1) expect_part(failure_of(path, {wrong}), "ranks disagree");
    EXPECT_TRUE(folder.names().empty());
}

TEST(ReportFileMpi, AnOlderReportSurvivesAFailure) {
    SharedFolder const folder;
    auto const path = folder.path("r.h5");
    write_report(world(), path, report_of_this_rank(), {});
    auto const before = read_file(path);
    auto wrong = share("/predictions/a", 1, 1000, 8, [&](int i) { return i % world().size(); });
    wrong.values.push_back(0.0F);
    EXPECT_NE(failure_of(path, {wrong}), "");
    EXPECT_TRUE(read_file(path) == before);
    EXPECT_EQ(folder.names(), std::vector<std::string>{"r.h5"});
}

TEST(ReportFileMpi, AFolderThatCannotBeMadeOrWritten) {
    SharedFolder const folder;
    if (world().is_root()) write_file_atomically(folder.path("plain"), "text");
    world().barrier();
    auto const array =
        share("/predictions/a", 1, 1000, 8, [&](int i) { return i % world().size(); });
    expect_part(failure_of(folder.path("plain/r.h5"), {array}), "cannot create folder");
    expect_part(failure_of("/proc/r.h5", {array}), "/proc/r.h5.partial: cannot create");
    expect_part(failure_of("/proc/r.h5", {}), "/proc/r.h5.partial: cannot create");
    EXPECT_EQ(folder.names(), std::vector<std::string>{"plain"});
}

/// Writing beyond `bytes` fails in this process as on a full disk (EFBIG instead of ENOSPC).
class FileSizeLimit {
  public:
    explicit FileSizeLimit(rlim_t bytes) {
        previous_handler_ = std::signal(SIGXFSZ, SIG_IGN);
        ::getrlimit(RLIMIT_FSIZE, &previous_);
        rlimit limited = previous_;
        limited.rlim_cur = bytes;
        ::setrlimit(RLIMIT_FSIZE, &limited);
    }
    ~FileSizeLimit() {
        ::setrlimit(RLIMIT_FSIZE, &previous_);
        std::signal(SIGXFSZ, previous_handler_);
    }
    FileSizeLimit(FileSizeLimit const&) = delete;
    FileSizeLimit& operator=(FileSizeLimit const&) = delete;

  private:
    rlimit previous_{};
    void (*previous_handler_)(int) = nullptr;
};

TEST(ReportFileMpi, NoRoomForBulkArraysOnOneRank) {
    SharedFolder const folder;
    auto const array =
        share("/predictions/a", 1, 500000, 8, [&](int i) { return i % world().size(); });
    {
        std::unique_ptr<FileSizeLimit> limit;
        if (world().rank() == last_rank()) limit = std::make_unique<FileSizeLimit>(100000);
        expect_part(failure_of(folder.path("r.h5"), {array}), "may write files of 100000 bytes");
    }
    EXPECT_TRUE(folder.names().empty());
    write_report(world(), folder.path("r.h5"), report_of_this_rank(), {array});
    EXPECT_EQ(folder.names(), std::vector<std::string>{"r.h5"});
}

TEST(ReportFileMpi, NoRoomForTables) {
    SharedFolder const folder;
    auto const array =
        share("/predictions/a", 1, 1000, 8, [&](int i) { return i % world().size(); });
    {
        FileSizeLimit const limit(100000);  // the sample report alone takes more
        EXPECT_NE(failure_of(folder.path("r.h5"), {array}, test::sample_report()), "");
        EXPECT_NE(failure_of(folder.path("r.h5"), {}, test::sample_report()), "");
    }
    EXPECT_TRUE(folder.names().empty());
}

}  // namespace
}  // namespace ckvsim::report
