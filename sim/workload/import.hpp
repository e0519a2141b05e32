// What every import shares: progress.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace ckvsim::workload {

/// State of reading one file.
struct ImportProgress {
    std::string file;
    std::uint64_t rows = 0;
    std::uint64_t bytes = 0;        ///< compressed bytes read so far
    std::uint64_t total_bytes = 0;  ///< of this file
};
/// Called every 65,536 rows and at the end of each file; may be empty.
using ProgressCallback = std::function<void(ImportProgress const&)>;

}  // namespace ckvsim::workload
