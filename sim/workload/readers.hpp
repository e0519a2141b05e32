// Text readers: each parses one public layout into a Dataset, streaming, gzip or plain, and refuses
// a broken file with file, line and reason; nothing is returned in part. A reader is one file and
// one line in reader_registry.cpp. Formats and mappings: sim/docs/datasets.md.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "workload/dataset.hpp"
#include "workload/import.hpp"

namespace ckvsim::workload {

/// Options of one import as given on the command line: name -> text. A reader takes the options
/// that it declares; what is not given has the declared default.
using ImportOptions = std::map<std::string, std::string>;

struct ReaderOption {
    std::string name;           ///< "--name" of `ckvsim import`
    std::string meaning;        ///< for --help, with the allowed values
    std::string default_value;  ///< empty = none
};

struct Reader {
    std::string name;     ///< the format's name on the command line
    std::string summary;  ///< one line for --help: which files, what becomes history and label
    std::vector<ReaderOption> options;
    /// Reads a folder or file. Every declared option is present. Throws DataError (file, line,
    /// reason) for broken data, Error(ExitCode::usage) for an option that cannot be understood.
    std::function<Dataset(std::string const& path, ImportOptions const& options,
                          ProgressCallback const& progress)>
        read;
};

/// All readers, in the order of --help.
std::vector<Reader> const& readers();

/// Finds the reader, fills in defaults and reads. Throws Error(ExitCode::usage) for an unknown
/// format and for an option that the format does not take.
Dataset import_dataset(std::string const& format, std::string const& path,
                       ImportOptions const& given, ProgressCallback const& progress);

Reader kuairand_reader();
Reader movielens_reader();
Reader ebnerd_reader();
Reader log_reader();

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
