// An imported dataset in memory, and the population over it. File formats live elsewhere: text
// readers in this folder, the compact HDF5 file in report/dataset_file.hpp.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "workload/population.hpp"

namespace ckvsim::workload {

/// Which of a user's impressions become history for his later ones.
enum class HistoryGrowth : std::uint8_t {
    exposures = 0,  ///< every impression, whatever its label (KuaiRand: an exposure was watched)
    positives = 1,  ///< those with label 1 (EB-NeRD: an article in view was not read)
    none = 2        ///< the stored history never grows
};

/// Compressed-row arrays over users; users keep the order of their original ids.
struct Dataset {
    std::string name;          ///< for example "kuairand-pure"
    std::string licence;       ///< SPDX id or short name, shown in reports
    std::string history_kind;  ///< what a history event is, in words
    HistoryGrowth history_growth = HistoryGrowth::exposures;
    Catalogue catalogue;
    std::uint32_t context_vocabulary = 1;
    std::vector<std::int64_t> original_user_ids;  ///< [U]
    std::vector<std::int64_t> original_item_ids;  ///< [V+1], [0] = -1
    std::vector<std::uint64_t> history_offsets;   ///< [U+1] into history_items
    std::vector<ItemId> history_items;
    std::vector<std::uint64_t> impression_offsets;  ///< [U+1] into the impression columns
    std::vector<ItemId> impression_items;           ///< sorted by (user, time, original order)
    std::vector<std::int64_t> impression_times_ms;
    std::vector<std::uint32_t> impression_contexts;
    std::vector<std::uint8_t> impression_labels;
    std::vector<std::uint8_t> impression_splits;  ///< Split
    /// Import statistics in print order: (name, value), for example ("users", 26469).
    std::vector<std::pair<std::string, double>> statistics;
    std::vector<std::string> notes;  ///< cautions for the report (truncated histories, ...)
};

/// Checks every invariant above (offsets monotone, ids in range, times sorted); throws
/// DataError(origin, ...).
void check_dataset(Dataset const& dataset, std::string const& origin);

/// Digest over all arrays.
std::uint64_t digest_dataset(Dataset const& dataset);

/// Appends the impressions (in time order) to timeline[0 .. base_length) as far as `growth` takes
/// them and sets their history_end: the events of earlier seconds. Impressions of one user within
/// one second are one request and do not see each other.
void place_in_history(HistoryGrowth growth, UserRecord& record);

/// The recorded users and their timelines (place_in_history).
std::unique_ptr<Population> make_dataset_population(Dataset dataset);

}  // namespace ckvsim::workload
