// A fuzz target over a reader of a folder: the parts of the input are its files.
#pragma once

#include <filesystem>
#include <fstream>

#include "fuzzing.hpp"
#include "workload/readers.hpp"

namespace ckvsim::fuzz {

/// A folder in memory, one per process.
inline std::string scratch_folder() {
    static std::string const path = [] {
        std::string name = "/dev/shm/ckvsim-fuzz-XXXXXX";
        if (::mkdtemp(name.data()) == nullptr) std::abort();
        static std::string const kept = name;
        std::atexit([] { std::filesystem::remove_all(kept); });
        return name;
    }();
    return path;
}

/// Files whose part is missing are absent.
inline void read_folder(std::string const& format, std::vector<std::string> const& names,
                        std::string_view input) {
    auto const files = parts(input);
    for (std::size_t i = 0; i < names.size(); ++i) {
        auto const path = scratch_folder() + "/" + names[i];
        std::filesystem::remove(path);
        if (i >= files.size()) continue;
        std::ofstream out(path, std::ios::binary);
        out.write(files[i].data(), static_cast<std::streamsize>(files[i].size()));
        if (!out.flush()) std::abort();
    }
    expect_handled({ExitCode::data},
                   [&] { workload::import_dataset(format, scratch_folder(), {}, {}); });
}

}  // namespace ckvsim::fuzz
