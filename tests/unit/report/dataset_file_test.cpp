#include "report/dataset_file.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <limits>
#include <random>

#include "core/atomic_file.hpp"
#include "core/error.hpp"
#include "report/hdf5_wrap.hpp"
#include "report/sealed_file.hpp"
#include "temporary_folder.hpp"

namespace ckvsim::report {
namespace {

using test::TemporaryFolder;
using workload::Dataset;

/// `users` users with u % 5 history events and 3 impressions each, over 50 items.
Dataset sample_dataset(std::uint32_t users) {
    Dataset data;
    data.name = "sample";
    data.licence = "CC-BY-4.0";
    data.history_kind = "Ereignisse, \xE2\x82\xAC";
    data.history_growth = workload::HistoryGrowth::positives;
    auto& catalogue = data.catalogue;
    catalogue.items = 50;
    catalogue.feature_names = {"item", "category"};
    catalogue.feature_vocabularies = {51, 8};
    catalogue.features.resize(2);
    for (std::uint32_t i = 0; i <= 50; ++i) {
        catalogue.features[0].push_back(i);
        catalogue.features[1].push_back(i % 8);
        data.original_item_ids.push_back(i == 0 ? -1 : std::int64_t{i} * 1000000007);
    }
    data.context_vocabulary = 4;
    data.history_offsets = {0};
    data.impression_offsets = {0};
    for (std::uint32_t u = 0; u < users; ++u) {
        data.original_user_ids.push_back(std::int64_t{u} * 3 - 5);
        for (std::uint32_t k = 0; k < u % 5; ++k) data.history_items.push_back(1 + (u + k) % 50);
        for (std::uint32_t k = 0; k < 3; ++k) {
            data.impression_items.push_back(1 + (u * 7 + k) % 50);
            data.impression_times_ms.push_back(std::int64_t{1650000000000} + u + 500 * k);
            data.impression_contexts.push_back(k);
            data.impression_labels.push_back(static_cast<std::uint8_t>(k % 2));
            data.impression_splits.push_back(static_cast<std::uint8_t>(k));
        }
        data.history_offsets.push_back(data.history_items.size());
        data.impression_offsets.push_back(data.impression_items.size());
    }
    data.statistics = {{"users", users}, {"mean", 1.0 / 3}, {"none", std::nan("")}};
    data.notes = {"a caution", ""};
    return data;
}

std::string refusal(std::string const& path) {
    try {
        read_dataset(path);
    } catch (DataError const& error) {
        return error.what();
    }
    return "accepted";
}

TEST(DatasetFile, KeepsEverything) {
    TemporaryFolder const folder;
    auto const data = sample_dataset(30000);  // 90,000 impressions: chunked and compressed
    write_dataset(folder.path("new/d.h5"), data);
    auto const back = read_dataset(folder.path("new/d.h5"));
    EXPECT_EQ(back.name, data.name);
    EXPECT_EQ(back.licence, data.licence);
    EXPECT_EQ(back.history_kind, data.history_kind);
    EXPECT_EQ(back.history_growth, data.history_growth);
    EXPECT_EQ(back.catalogue.items, data.catalogue.items);
    EXPECT_EQ(back.catalogue.feature_names, data.catalogue.feature_names);
    EXPECT_EQ(back.catalogue.feature_vocabularies, data.catalogue.feature_vocabularies);
    EXPECT_EQ(back.catalogue.features, data.catalogue.features);
    EXPECT_EQ(back.context_vocabulary, data.context_vocabulary);
    EXPECT_EQ(back.original_user_ids, data.original_user_ids);
    EXPECT_EQ(back.original_item_ids, data.original_item_ids);
    EXPECT_EQ(back.history_offsets, data.history_offsets);
    EXPECT_EQ(back.history_items, data.history_items);
    EXPECT_EQ(back.impression_offsets, data.impression_offsets);
    EXPECT_EQ(back.impression_items, data.impression_items);
    EXPECT_EQ(back.impression_times_ms, data.impression_times_ms);
    EXPECT_EQ(back.impression_contexts, data.impression_contexts);
    EXPECT_EQ(back.impression_labels, data.impression_labels);
    EXPECT_EQ(back.impression_splits, data.impression_splits);
    ASSERT_EQ(back.statistics.size(), 3U);
    EXPECT_EQ(back.statistics[1], data.statistics[1]);
    EXPECT_TRUE(std::isnan(back.statistics[2].second));
    EXPECT_EQ(back.notes, data.notes);
    EXPECT_EQ(workload::digest_dataset(back), workload::digest_dataset(data));
    EXPECT_FALSE(std::filesystem::exists(folder.path("new/d.h5.partial")));
}

TEST(DatasetFile, EqualDatasetsAreEqualFiles) {
    TemporaryFolder const folder;
    write_dataset(folder.path("a.h5"), sample_dataset(30000));
    write_dataset(folder.path("b.h5"), sample_dataset(30000));
    EXPECT_TRUE(ckvsim::read_file(folder.path("a.h5")) == ckvsim::read_file(folder.path("b.h5")));
}

TEST(DatasetFile, IsCompact) {
    TemporaryFolder const folder;
    auto const data = sample_dataset(200000);
    write_dataset(folder.path("d.h5"), data);
    // The impression times alone take 4.8 MB uncompressed.
    EXPECT_LT(std::filesystem::file_size(folder.path("d.h5")), 4000000U);
}

TEST(DatasetFile, AnInvalidDatasetIsNotWritten) {
    TemporaryFolder const folder;
    write_dataset(folder.path("d.h5"), sample_dataset(10));
    auto const before = ckvsim::read_file(folder.path("d.h5"));
    auto data = sample_dataset(10);
    data.history_items[3] = 51;
    EXPECT_THROW(write_dataset(folder.path("d.h5"), data), DataError);
    EXPECT_TRUE(ckvsim::read_file(folder.path("d.h5")) == before);
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

TEST(DatasetFile, TruncatedFilesAreRefused) {
    TemporaryFolder const folder;
    auto const path = folder.path("d.h5");
    write_dataset(path, sample_dataset(500));
    auto const whole = ckvsim::read_file(path);
    std::mt19937_64 random(3);
    for (int i = 0; i < 20; ++i) {
        std::size_t const cut = random() % whole.size();
        write_file_atomically(path, std::string_view(whole).substr(0, cut));
        EXPECT_NE(refusal(path), "accepted") << cut;
    }
}

TEST(DatasetFile, FlippedBitsAreRefused) {
    TemporaryFolder const folder;
    auto const path = folder.path("d.h5");
    write_dataset(path, sample_dataset(500));
    auto const whole = ckvsim::read_file(path);
    std::mt19937_64 random(5);
    for (int i = 0; i < 100; ++i) {
        auto damaged = whole;
        std::size_t const at = random() % (i % 2 == 0 ? 2048 : whole.size());
        damaged[at] = static_cast<char>(damaged[at] ^ (1 << (random() % 8)));
        write_file_atomically(path, damaged);
        EXPECT_NE(refusal(path), "accepted") << at;
    }
}

/// The sample with one attribute or array changed behind the digest's back, sealed again.
template <class Change>
std::string refusal_after(TemporaryFolder const& folder, Change&& change) {
    auto const path = folder.path("changed.h5");
    write_dataset(path, sample_dataset(20));
    {
        h5::QuietErrors const quiet;
        auto const file = h5::open_file(path, h5::Open::modify);
        change(file.id());
    }
    seal_file(path, "dataset");
    return refusal(path);
}

void set_integer(hid_t file, char const* name, std::int64_t value) {
    H5Adelete(file, name);
    h5::set_attribute(file, name, value);
}

TEST(DatasetFile, SaysWhatIsWrong) {
    TemporaryFolder const folder;
    auto const has = [](std::string const& text, char const* part) {
        EXPECT_NE(text.find(part), std::string::npos) << text;
    };
    has(refusal(folder.path("none")), "does not exist");
    has(refusal(folder.path()), "not a regular file");
    ASSERT_EQ(::mkfifo(folder.path("fifo").c_str(), 0600), 0);
    has(refusal(folder.path("fifo")), "not a regular file");
    {
        h5::Handle file(
            H5Fcreate(folder.path("foreign").c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT),
            H5Fclose, "foreign", "creating");
    }
    has(refusal(folder.path("foreign")), "is an HDF5 file but not a ckvsim dataset");
    EXPECT_EQ(refusal_after(folder, [](hid_t) {}), "accepted");
    has(refusal_after(folder, [](hid_t file) { set_integer(file, "dataset_version", 2); }),
        "use a newer ckvsim");
    has(refusal_after(folder, [](hid_t file) { set_integer(file, "dataset_version", 0); }),
        "import the dataset again");
    has(refusal_after(folder, [](hid_t file) { set_integer(file, "history_growth", 9); }),
        "history_growth = 9 is unknown");
    has(refusal_after(folder, [](hid_t file) { set_integer(file, "items", -1); }),
        "items = -1 is out of range");
    has(refusal_after(folder, [](hid_t file) { set_integer(file, "items", 49); }),
        "does not match its stored digest");
    has(refusal_after(folder,
                      [](hid_t file) { H5Ldelete(file, "impressions/labels", H5P_DEFAULT); }),
        "has no dataset impressions/labels");
    has(refusal_after(folder, [](hid_t file) { H5Ldelete(file, "users", H5P_DEFAULT); }),
        "has no dataset users/original_ids");
}

}  // namespace
}  // namespace ckvsim::report
