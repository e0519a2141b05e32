// Progress on standard error: one line that rewrites itself on a terminal, a plain line every few
// seconds otherwise.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace ckvsim::app {

class Progress {
  public:
    /// `quiet`: ranks other than 0, or --quiet.
    explicit Progress(bool quiet);
    ~Progress();
    /// Ends the running phase and begins another; `unit` names what update() counts ("users",
    /// "requests").
    void begin(std::string const& phase, std::string const& unit = "");
    /// Rate-limited; cheap to call often. `details` makes more words for the line, only when it is
    /// printed; a terminal's line is cut to its width.
    void update(std::uint64_t done, std::uint64_t total,
                std::function<std::string()> const& details = {});
    void end();
    /// A line that stays.
    void note(std::string const& text);
    /// (phase, seconds) of all ended phases, in order.
    [[nodiscard]] std::vector<std::pair<std::string, double>> const& phases() const {
        return phases_;
    }

  private:
    using Clock = std::chrono::steady_clock;
    [[nodiscard]] double elapsed_s() const;
    /// What clears the open line (terminal) or ends it.
    [[nodiscard]] char const* line_start() const;
    bool quiet_;
    bool terminal_;
    bool running_ = false;
    bool line_open_ = false;
    std::string phase_;
    std::string unit_;
    Clock::time_point begin_;
    Clock::time_point last_print_;
    std::vector<std::pair<std::string, double>> phases_;
};

}  // namespace ckvsim::app
