// What a storage device gives the executed twin: rates and latency of a scratch file in a folder.
#pragma once

#include <string>

namespace ckvsim::engine {

struct StorageRates {
    double read_bytes_per_s = 0.0;   ///< large reads, several in flight
    double write_bytes_per_s = 0.0;  ///< large writes, one after the other
    double read_latency_ns = 0.0;    ///< a block of 4 KiB alone, median of random places
    bool direct = true;              ///< false: reads may have come from the page cache
};

/// Writes and reads a scratch file of 256 MiB; takes seconds. Rates are medians of passes. Throws
/// BackendError as core/block_file.hpp.
StorageRates measure_storage(std::string const& folder);

}  // namespace ckvsim::engine
