#include "train/state_file.hpp"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <utility>
#include <vector>

#include "core/error.hpp"
#include "core/section_file.hpp"

namespace ckvsim::train {

namespace {

constexpr std::uint64_t kKind = 1;
constexpr double kShortestPause_s = 300.0;
constexpr double kWritesShare = 50.0;  // a write takes at most 2 % of the time

void warn(char const* what, char const* then) {
    std::fprintf(stderr, "ckvsim-train: warning: %s; %s\n", what, then);
}

}  // namespace

StateFile::StateFile(std::string weights_path, std::uint64_t key, double interval_s)
    : weights_path_(std::move(weights_path)), key_(key), interval_s_(interval_s) {
    wait(0.0);
}

std::string StateFile::path_of(std::uint64_t number) const {
    return weights_path_ + ".state-" + std::to_string(1 + number % 2);
}

void StateFile::wait(double last_write_s) {
    double const pause =
        interval_s_ > 0.0 ? interval_s_ : std::max(kShortestPause_s, kWritesShare * last_write_s);
    due_ = Clock::now() +
           std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(pause));
}

bool StateFile::restore(std::function<void(ByteSource&)> const& load) {
    std::vector<std::pair<std::uint64_t, std::unique_ptr<SectionFile>>> found;
    char const* const without = "training goes on without it";
    for (std::uint64_t slot : {0U, 1U}) {
        std::error_code ignored;
        if (!std::filesystem::exists(path_of(slot), ignored)) continue;
        try {
            auto file = std::make_unique<SectionFile>(path_of(slot), key_);
            if (file->entries().empty()) throw DataError(path_of(slot), 0, "holds no whole state");
            auto const number = file->entries().front().name.second;
            found.emplace_back(number, std::move(file));
        } catch (DataError const& error) {
            warn(error.what(), without);
        }
    }
    std::sort(found.begin(), found.end(),
              [](auto const& a, auto const& b) { return a.first > b.first; });
    for (auto const& [number, file] : found) {
        try {
            load(*file->open(file->entries().front()));
            number_ = number;
            return true;
        } catch (DataError const& error) {
            warn(error.what(), without);
        }
    }
    return false;
}

void StateFile::keep(std::function<void(ByteSink&)> const& save) {
    auto const begin = Clock::now();
    try {
        // The first weight file makes its folder when it is written, which is later.
        std::error_code seen_below;
        auto const folder = std::filesystem::path(weights_path_).parent_path();
        if (!folder.empty()) std::filesystem::create_directories(folder, seen_below);
        SectionWriter writer(path_of(number_ + 1), key_);
        save(writer.begin({kKind, 0, number_ + 1, 0}));
        writer.end();
        writer.commit();
        ++number_;
    } catch (BackendError const& error) {
        warn(error.what(), "training goes on; a kill would cost more than the last interval");
    }
    wait(std::chrono::duration<double>(Clock::now() - begin).count());
}

void StateFile::forget() {
    std::error_code ignored;
    for (std::uint64_t slot : {0U, 1U}) {
        std::filesystem::remove(path_of(slot), ignored);
        std::filesystem::remove(path_of(slot) + ".partial", ignored);  // of a write that was killed
    }
}

}  // namespace ckvsim::train
