// Text readers: each parses one public layout into a Dataset, streaming, gzip or plain, and refuses
// a broken file with file, line and reason; nothing is returned in part.
#pragma once

#include <functional>
#include <string>

#include "workload/dataset.hpp"

namespace ckvsim::workload {

struct ImportProgress {
    std::string file;
    std::uint64_t rows = 0;
    std::uint64_t bytes = 0;        ///< compressed bytes read so far
    std::uint64_t total_bytes = 0;  ///< of this file
};
using ProgressCallback = std::function<void(ImportProgress const&)>;

struct KuaiRandOptions {
    /// First instants (UTC+8 calendar dates, KuaiRand's) of the tune and test splits, in ms since
    /// 1970.
    std::int64_t tune_from_ms = 1651161600000;  ///< 2022-04-29 00:00 +08:00
    std::int64_t test_from_ms = 1651334400000;  ///< 2022-05-01 00:00 +08:00
};

/// KuaiRand-Pure: `folder` holds history.tsv[.gz], impressions.tsv[.gz] and
/// video_features_basic_pure.csv[.gz]. History = watch_seq (last 50 exposures, clicked or not).
/// Context = tab. Category = first tag.
Dataset read_kuairand_pure(std::string const& folder, KuaiRandOptions const& options,
                           ProgressCallback const& progress);

}  // namespace ckvsim::workload
