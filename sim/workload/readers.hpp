// Text readers: each parses one public layout into a Dataset, streaming, gzip or plain, and refuses
// a broken file with file, line and reason; nothing is returned in part.
#pragma once

#include <cstdint>
#include <string>

#include "workload/dataset.hpp"
#include "workload/import.hpp"

namespace ckvsim::workload {

struct KuaiRandOptions {
    /// First instants (UTC+8 calendar dates, KuaiRand's) of the tune and test splits, in ms since
    /// 1970.
    std::int64_t tune_from_ms = 1651161600000;  ///< 2022-04-29 00:00 +08:00
    std::int64_t test_from_ms = 1651334400000;  ///< 2022-05-01 00:00 +08:00
};

/// KuaiRand-Pure: `folder` holds history.tsv[.gz], impressions.tsv[.gz] and
/// video_features_basic_pure.csv[.gz]. History = watch_seq (last 50 exposures, clicked or not),
/// then the user's impressions; label = is_click; context = tab; features: category (first tag),
/// author. Catalogue = videos of watch_seq and impressions. A user with impressions and no history
/// row is kept with an empty stored history. Throws DataError (file, line, reason).
Dataset read_kuairand_pure(std::string const& folder, KuaiRandOptions const& options,
                           ProgressCallback const& progress);

}  // namespace ckvsim::workload
