// Wall-clock time of the executed twin and of calibration: nanoseconds since construction.
#pragma once

#include <chrono>
#include <thread>

#include "core/ids.hpp"

namespace ckvsim::engine {

class WallClock {
  public:
    [[nodiscard]] Nanoseconds now_ns() const {
        return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start_).count();
    }
    /// Sleeps while the time is far and spins at the end: a sleeping thread wakes up late.
    Nanoseconds wait_until(Nanoseconds at) const {
        Nanoseconds now = now_ns();
        if (at - now > 2 * kSpin) {
            std::this_thread::sleep_until(start_ + std::chrono::nanoseconds(at - kSpin));
            now = now_ns();
        }
        while (now < at) {
            relax();
            now = now_ns();
        }
        return now;
    }

  private:
    /// Leaves the core's resources to its sibling thread while spinning.
    static void relax() {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
    }
    using Clock = std::chrono::steady_clock;
    static constexpr Nanoseconds kSpin = 1'000'000;
    Clock::time_point start_ = Clock::now();
};

}  // namespace ckvsim::engine
