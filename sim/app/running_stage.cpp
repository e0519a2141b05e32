#include "app/running_stage.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstring>

namespace ckvsim::app {

namespace {

constexpr std::array kSignals = {SIGTERM, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
constexpr std::size_t kLineBytes = 256;

std::string& stage_name() {
    static std::string name;
    return name;
}

/// "rank 1 of 3: " and the stage as plain bytes, two copies: the handler reads one while the other
/// is written.
struct Lines {
    std::array<std::array<char, kLineBytes>, 2> stage{};
    std::array<char, kLineBytes> who{};
    std::atomic<int> current{0};
    std::array<struct sigaction, kSignals.size()> before{};
};
Lines lines;  // NOLINT(cppcoreguidelines-avoid-non-const-global-variables): a handler has no other

void copy(std::array<char, kLineBytes>& to, std::string const& from) {
    std::size_t const bytes = std::min(from.size(), kLineBytes - 1);
    std::memcpy(to.data(), from.data(), bytes);
    to[bytes] = '\0';
}

/// Only calls that are safe in a handler. One write, so that lines of several ranks stay whole.
void on_signal(int number) {
    std::array<char, 3 * kLineBytes> text{};
    std::size_t used = 0;
    auto const add = [&](char const* part) {
        std::size_t const bytes = std::min(std::strlen(part), text.size() - used);
        std::memcpy(text.data() + used, part, bytes);
        used += bytes;
    };
    auto const& stage = lines.stage[static_cast<std::size_t>(lines.current.load())];
    add("ckvsim: ");
    add(lines.who.data());
    add(number == SIGTERM ? "told to stop by the launcher or a user (SIGTERM)"
                          : "crashed, a defect of ckvsim or of a library");
    add(" in stage: ");
    add(stage[0] == '\0' ? "starting" : stage.data());
    add(number == SIGTERM ? ". if another rank was lost, the launcher names it below\n" : "\n");
    [[maybe_unused]] auto const ignored = ::write(STDERR_FILENO, text.data(), used);
    for (std::size_t i = 0; i < kSignals.size(); ++i) {
        if (kSignals[i] == number) ::sigaction(number, &lines.before[i], nullptr);
    }
    ::raise(number);  // delivered when this handler returns
}

}  // namespace

void set_running_stage(std::string const& stage) {
    stage_name() = stage;
    int const next = 1 - lines.current.load();
    copy(lines.stage[static_cast<std::size_t>(next)], stage);
    lines.current.store(next);
}

std::string running_stage() { return stage_name(); }

StageSignals::StageSignals(std::string const& who) {
    copy(lines.who, who.empty() ? "" : who + ": ");
    struct sigaction action {};
    action.sa_handler = on_signal;
    sigemptyset(&action.sa_mask);
    for (std::size_t i = 0; i < kSignals.size(); ++i)
        ::sigaction(kSignals[i], &action, &lines.before[i]);
}

StageSignals::~StageSignals() {
    for (std::size_t i = 0; i < kSignals.size(); ++i)
        ::sigaction(kSignals[i], &lines.before[i], nullptr);
}

}  // namespace ckvsim::app
