#include "report/dataset_file.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "core/hash.hpp"
#include "report/hdf5_wrap.hpp"
#include "report/sealed_file.hpp"

namespace ckvsim::report {

namespace {

using workload::Dataset;

constexpr std::int64_t kDatasetVersion = 1;
char const kKind[] = "dataset";
constexpr std::array kGrowths = {workload::HistoryGrowth::exposures,
                                 workload::HistoryGrowth::positives, workload::HistoryGrowth::none};

std::string feature_path(std::size_t index) { return "catalogue/feature_" + std::to_string(index); }

/// The arrays that have one element per user, item, event or impression: one list for the writer
/// and the reader.
template <class Data, class Visit>
void visit_arrays(Data& data, Visit&& visit) {
    visit("catalogue/feature_vocabularies", data.catalogue.feature_vocabularies);
    visit("users/original_ids", data.original_user_ids);
    visit("items/original_ids", data.original_item_ids);
    visit("history/offsets", data.history_offsets);
    visit("history/items", data.history_items);
    visit("impressions/offsets", data.impression_offsets);
    visit("impressions/items", data.impression_items);
    visit("impressions/times_ms", data.impression_times_ms);
    visit("impressions/contexts", data.impression_contexts);
    visit("impressions/labels", data.impression_labels);
    visit("impressions/splits", data.impression_splits);
}

void write_header(hid_t file, Dataset const& data) {
    h5::set_attribute(file, "creator", std::string("ckvsim"));
    h5::set_attribute(file, "kind", std::string(kKind));
    h5::set_attribute(file, "dataset_version", kDatasetVersion);
    h5::set_attribute(file, "digest", to_hex(workload::digest_dataset(data)));
    h5::set_attribute(file, "name", data.name);
    h5::set_attribute(file, "licence", data.licence);
    h5::set_attribute(file, "history_kind", data.history_kind);
    h5::set_attribute(file, "history_growth", static_cast<std::int64_t>(data.history_growth));
    h5::set_attribute(file, "items", std::int64_t{data.catalogue.items});
    h5::set_attribute(file, "context_vocabulary", std::int64_t{data.context_vocabulary});
}

void write_statistics(hid_t file, Dataset const& data) {
    std::vector<std::string> names;
    std::vector<double> values;
    for (auto const& [name, value] : data.statistics) {
        names.push_back(name);
        values.push_back(value);
    }
    h5::write_texts(file, "statistics/name", names);
    h5::write_array(file, "statistics/value", values);
    h5::write_texts(file, "notes", data.notes);
}

std::vector<char> file_of(std::string const& path, Dataset const& data) {
    auto const file = h5::create_memory_file(path);
    write_header(file.id(), data);
    h5::write_texts(file.id(), "catalogue/feature_names", data.catalogue.feature_names);
    for (std::size_t f = 0; f < data.catalogue.features.size(); ++f)
        h5::write_array(file.id(), feature_path(f), data.catalogue.features[f]);
    visit_arrays(data, [&](char const* name, auto const& values) {
        h5::write_array(file.id(), name, values);
    });
    write_statistics(file.id(), data);
    return h5::file_image(file, path);
}

void check_version(hid_t file, std::string const& path) {
    auto const version = h5::integer_attribute(file, "dataset_version", path);
    if (version == kDatasetVersion) return;
    throw DataError(
        path, 0,
        "has dataset version " + std::to_string(version) + ", this program reads " +
            std::to_string(kDatasetVersion) +
            (version > kDatasetVersion ? ". use a newer ckvsim" : ". import the dataset again"));
}

std::uint32_t small_attribute(hid_t file, std::string const& name, std::string const& path) {
    auto const value = h5::integer_attribute(file, name, path);
    if (value < 0 || value > std::int64_t{UINT32_MAX})
        throw DataError(path, 0, name + " = " + std::to_string(value) + " is out of range");
    return static_cast<std::uint32_t>(value);
}

workload::HistoryGrowth read_growth(hid_t file, std::string const& path) {
    auto const value = h5::integer_attribute(file, "history_growth", path);
    for (auto const known : kGrowths) {
        if (value == static_cast<std::int64_t>(known)) return known;
    }
    throw DataError(path, 0, "history_growth = " + std::to_string(value) + " is unknown");
}

template <class T>
void read_into(hid_t file, char const* name, std::string const& path, std::vector<T>& values) {
    values = h5::read_array<T>(file, name, path);
}

Dataset read_file(std::string const& path) {
    auto const file = h5::open_file(path, h5::Open::read);
    check_version(file.id(), path);
    Dataset data;
    data.name = h5::text_attribute(file.id(), "name", path);
    data.licence = h5::text_attribute(file.id(), "licence", path);
    data.history_kind = h5::text_attribute(file.id(), "history_kind", path);
    data.history_growth = read_growth(file.id(), path);
    data.catalogue.items = small_attribute(file.id(), "items", path);
    data.context_vocabulary = small_attribute(file.id(), "context_vocabulary", path);
    data.catalogue.feature_names = h5::read_texts(file.id(), "catalogue/feature_names", path);
    for (std::size_t f = 0; f < data.catalogue.feature_names.size(); ++f) {
        data.catalogue.features.push_back(
            h5::read_array<std::uint32_t>(file.id(), feature_path(f), path));
    }
    visit_arrays(data,
                 [&](char const* name, auto& values) { read_into(file.id(), name, path, values); });
    auto const names = h5::read_texts(file.id(), "statistics/name", path);
    auto const values = h5::read_array<double>(file.id(), "statistics/value", path);
    if (names.size() != values.size())
        throw DataError(path, 0, "statistics have other numbers of names and values");
    for (std::size_t i = 0; i < names.size(); ++i)
        data.statistics.emplace_back(names[i], values[i]);
    data.notes = h5::read_texts(file.id(), "notes", path);
    if (to_hex(workload::digest_dataset(data)) != h5::text_attribute(file.id(), "digest", path))
        throw DataError(path, 0, "content does not match its stored digest. import it again");
    workload::check_dataset(data, path);
    return data;
}

/// What the digest does not cover; statistics by their bits, so that NaN equals NaN.
bool same_words(Dataset const& a, Dataset const& b) {
    auto const same_statistic = [](auto const& x, auto const& y) {
        return x.first == y.first &&
               std::bit_cast<std::uint64_t>(x.second) == std::bit_cast<std::uint64_t>(y.second);
    };
    return a.name == b.name && a.licence == b.licence && a.history_kind == b.history_kind &&
           a.history_growth == b.history_growth && a.notes == b.notes &&
           std::equal(a.statistics.begin(), a.statistics.end(), b.statistics.begin(),
                      b.statistics.end(), same_statistic);
}

}  // namespace

void write_dataset(std::string const& path, Dataset const& dataset) {
    h5::QuietErrors const quiet;
    workload::check_dataset(dataset, path);
    prepare_partial(path);
    try {
        auto const partial = partial_name(path);
        write_partial(path, file_of(path, dataset));
        seal_file(partial, kKind);
        auto const back = read_dataset(partial);
        if (workload::digest_dataset(back) != workload::digest_dataset(dataset) ||
            !same_words(back, dataset)) {
            throw BackendError(partial + ": reads back differently from what was written");
        }
        publish(path);
    } catch (...) {
        discard_partial(path);
        throw;
    }
}

Dataset read_dataset(std::string const& path) {
    h5::QuietErrors const quiet;
    check_seal(path, kKind);
    try {
        return read_file(path);
    } catch (BackendError const& failure) {
        throw DataError(path, 0, std::string("cannot be read (") + failure.what() + ")");
    }
}

}  // namespace ckvsim::report
