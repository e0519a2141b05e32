#include "app/progress.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <exception>

#include "app/running_stage.hpp"

namespace ckvsim::app {

namespace {

// Often enough to look alive on a terminal, rare enough to keep logs short elsewhere.
constexpr double kTerminalPeriod_s = 0.2;
constexpr double kPlainPeriod_s = 5.0;

std::string duration_text(double seconds) {
    char text[32];
    if (seconds < 100) {
        std::snprintf(text, sizeof text, "%.1f s", seconds);
    } else {
        std::snprintf(text, sizeof text, "%d:%02d min", static_cast<int>(seconds) / 60,
                      static_cast<int>(seconds) % 60);
    }
    return text;
}

/// So many characters fit on one line of the terminal; a longer line could not be rewritten.
std::size_t terminal_width() {
    struct winsize size {};
    if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 2) return 79;
    return size.ws_col - 1U;
}

}  // namespace

Progress::Progress(bool quiet) : quiet_(quiet), terminal_(::isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() {
    if (std::uncaught_exceptions() == 0) {
        end();
    } else if (line_open_) {
        std::fprintf(stderr, "\n");  // the phase did not end; its name stays for the message
    }
}

double Progress::elapsed_s() const {
    return std::chrono::duration<double>(Clock::now() - begin_).count();
}

char const* Progress::line_start() const {
    if (terminal_) return "\r\033[K";
    return line_open_ ? "\n" : "";
}

void Progress::begin(std::string const& phase, std::string const& unit) {
    end();
    phase_ = phase;
    unit_ = unit;
    begin_ = Clock::now();
    last_print_ = begin_;
    running_ = true;
    set_running_stage(phase_);
    if (quiet_) return;
    // Elsewhere too: whatever ends the program without a word, its log names the phase.
    std::fprintf(stderr, "%s%s ...", terminal_ ? "\r\033[K" : "", phase_.c_str());
    line_open_ = true;
}

void Progress::update(std::uint64_t done, std::uint64_t total,
                      std::function<std::string()> const& details) {
    if (quiet_ || !running_ || done == 0) return;
    auto const now = Clock::now();
    double const since = std::chrono::duration<double>(now - last_print_).count();
    if (since < (terminal_ ? kTerminalPeriod_s : kPlainPeriod_s)) return;
    last_print_ = now;
    double const rate = static_cast<double>(done) / elapsed_s();
    double const left = total > done ? static_cast<double>(total - done) / rate : 0.0;
    char numbers[160];
    std::snprintf(numbers, sizeof numbers, ": %llu of %llu %s (%.0f %%), %.3g/s, %s left",
                  static_cast<unsigned long long>(done), static_cast<unsigned long long>(total),
                  unit_.c_str(),
                  total > 0 ? 100.0 * static_cast<double>(done) / static_cast<double>(total) : 0.0,
                  rate, duration_text(left).c_str());
    std::string text = phase_ + numbers;
    if (details) {
        auto const more = details();
        if (!more.empty()) text += ", " + more;
    }
    if (terminal_) text.resize(std::min(text.size(), terminal_width()));
    std::fprintf(stderr, "%s%s%s", line_start(), text.c_str(), terminal_ ? "" : "\n");
    line_open_ = terminal_;
}

void Progress::end() {
    if (!running_) return;
    running_ = false;
    set_running_stage("after " + phase_);
    phases_.emplace_back(phase_, elapsed_s());
    if (quiet_) return;
    auto const duration = duration_text(phases_.back().second);
    if (line_open_ && !terminal_) {
        std::fprintf(stderr, " %s\n", duration.c_str());
    } else {
        std::fprintf(stderr, "%s%s: %s\n", line_start(), phase_.c_str(), duration.c_str());
    }
    line_open_ = false;
}

void Progress::note(std::string const& text) {
    if (quiet_) return;
    std::fprintf(stderr, "%s%s\n", line_start(), text.c_str());
    line_open_ = false;
}

}  // namespace ckvsim::app
