// What the fuzz targets share: files from bytes, and what counts as a finding.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.hpp"

namespace ckvsim::fuzz {

inline std::string_view view(std::uint8_t const* data, std::size_t size) {
    return {reinterpret_cast<char const*>(data), size};
}

/// Parts of an input that stands for several files, separated by the byte 0x1E.
inline std::vector<std::string_view> parts(std::string_view input) {
    std::vector<std::string_view> out;
    for (;;) {
        auto const at = input.find('\x1E');
        out.push_back(input.substr(0, at));
        if (at == std::string_view::npos) return out;
        input.remove_prefix(at + 1);
    }
}

/// A file in memory with a path that any reader can open.
class MemoryFile {
  public:
    explicit MemoryFile(std::string_view content) : id_(::memfd_create("fuzz", 0)) {
        if (id_ < 0) std::abort();
        while (!content.empty()) {
            auto const wrote = ::write(id_, content.data(), content.size());
            if (wrote <= 0) std::abort();
            content.remove_prefix(static_cast<std::size_t>(wrote));
        }
    }
    ~MemoryFile() { ::close(id_); }
    MemoryFile(MemoryFile const&) = delete;
    MemoryFile& operator=(MemoryFile const&) = delete;
    [[nodiscard]] std::string path() const { return "/proc/self/fd/" + std::to_string(id_); }

  private:
    int id_;
};

/// Runs `use`: it may succeed or refuse with one of the wanted exit codes. Any other typed error,
/// an internal one above all, ends the program; what is not of type Error stays uncaught.
template <class Use>
void expect_handled(std::vector<ExitCode> const& wanted, Use&& use) {
    try {
        use();
    } catch (Error const& error) {
        for (auto const code : wanted) {
            if (error.exit_code() == code && error.what()[0] != '\0') return;
        }
        std::fprintf(stderr, "refused with exit code %d: %s\n", static_cast<int>(error.exit_code()),
                     error.what());
        std::abort();
    }
}

}  // namespace ckvsim::fuzz
