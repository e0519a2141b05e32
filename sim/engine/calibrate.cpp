// Measures this machine: memory bandwidths, and per arm the stages of batches of synthetic entries,
// through the code that the executed twin runs (engine/batch_kernels.hpp).
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/error.hpp"
#include "engine/calibration.hpp"
#include "engine/cost_measurement.hpp"
#include "engine/median.hpp"
#include "engine/tier_store.hpp"
#include "engine/wall_clock.hpp"

namespace ckvsim::engine {

namespace {

constexpr std::uint64_t kStreamBytes = 64ULL
                                       << 20U;  ///< per array, beyond any last-level cache share
constexpr int kStreamPasses = 9;

/// STREAM triad (McCalpin) a = b + s c with all threads, bytes counted as STREAM does (24 per
/// element of doubles: the write-allocate read is not counted). Median of passes, the first
/// dropped.
double triad_bytes_per_s() {
    std::size_t const count = kStreamBytes / sizeof(double);
    TouchedBytes const memory(3 * kStreamBytes, "the bandwidth measurement");
    auto* const a = reinterpret_cast<double*>(memory.data());
    double* const b = a + count;
    double* const c = b + count;
#pragma omp parallel for schedule(static)
    for (std::size_t i = 0; i < count; ++i) {
        a[i] = 0.0;
        b[i] = 1.0;
        c[i] = 2.0;
    }
    std::vector<double> rates;
    WallClock const clock;
    for (int pass = 0; pass < kStreamPasses; ++pass) {
        Nanoseconds const start = clock.now_ns();
#pragma omp parallel for schedule(static)
        for (std::size_t i = 0; i < count; ++i) a[i] = b[i] + 3.0 * c[i];
        Nanoseconds const ns = clock.now_ns() - start;
        if (pass > 0) rates.push_back(3e9 * kStreamBytes / static_cast<double>(ns));
    }
    validate(a[0] == 7.0 && a[count - 1] == 7.0, "engine::calibrate: the triad went wrong");
    return median(rates);
}

/// memcpy of large blocks on one thread, source bytes per second: the executed twin's link.
double copy_bytes_per_s() {
    TouchedBytes const memory(2 * kStreamBytes, "the bandwidth measurement");
    std::vector<double> rates;
    WallClock const clock;
    for (int pass = 0; pass < kStreamPasses; ++pass) {
        Nanoseconds const start = clock.now_ns();
        std::memcpy(memory.data() + kStreamBytes, memory.data(), kStreamBytes);
        Nanoseconds const ns = clock.now_ns() - start;
        if (pass > 0) rates.push_back(1e9 * kStreamBytes / static_cast<double>(ns));
    }
    return median(rates);
}

std::string with_unit(double value, double unit, char const* name) {
    char text[64];
    std::snprintf(text, sizeof text, "%.3g %s", value / unit, name);
    return text;
}

}  // namespace

struct Calibration::State {
    std::vector<ServingArm> arms;
    CalibrationLog log;
    WallClock clock;
    node::Platform platform;
    std::vector<std::unique_ptr<CostMeasurement>> measurements;
    std::vector<std::size_t> rounds;

    void say(std::string const& line) const {
        if (log) log(line);
    }
    void measure_rates() {
        platform.hbm_bytes_per_s = triad_bytes_per_s();
        platform.dram_bytes_per_s = platform.hbm_bytes_per_s;
        platform.link_bytes_per_s = copy_bytes_per_s();
        say(std::to_string(platform.workers) + " threads, triad " +
            with_unit(platform.hbm_bytes_per_s, 1e9, "GB/s") + ", one-thread copy " +
            with_unit(platform.link_bytes_per_s, 1e9, "GB/s"));
    }
};

Calibration::Calibration(std::vector<ServingArm> const& arms,
                         workload::Population const& population, CalibrationParams const& params,
                         CalibrationLog const& log)
    : state_(std::make_unique<State>()) {
    state_->arms = arms;
    state_->log = log;
    auto& platform = state_->platform;
    platform.kind = node::PlatformKind::measured;
    platform.gpus = 1;
    platform.workers = static_cast<std::uint32_t>(omp_get_max_threads());
    platform.fetch_overlaps_decode = false;
    platform.efficiency = 1.0;
    platform.link_latency_ns = 0.0;
    platform.batch_overhead_ns = 0.0;
    platform.constant_sources = {
        {"hbm_bytes_per_s", "measured: STREAM triad, all threads, median"},
        {"dram_bytes_per_s", "measured: STREAM triad, all threads, median (the same memory)"},
        {"link_bytes_per_s", "measured: memcpy on one thread, median"},
        {"link_latency_ns", "none: the server copies itself"},
        {"flops_per_s", "measured: the fastest tower stage, all threads, median"},
        {"efficiency", "1: the rates above are reached ones"},
        {"batch_overhead_ns", "part of the measured costs"}};
    state_->measure_rates();
    auto const& by_arm = params.arena_bytes_by_arm;
    validate(by_arm.empty() || by_arm.size() == arms.size(),
             "engine::calibrate: arena sizes are not one an arm");
    for (std::size_t i = 0; i < arms.size(); ++i) {
        validate(arms[i].backend != nullptr, "engine::calibrate: an arm has no backend");
        auto own = params;
        if (!by_arm.empty()) own.arena_bytes = by_arm[i];
        state_->measurements.push_back(
            std::make_unique<CostMeasurement>(state_->arms[i], population, own));
    }
    state_->rounds.resize(arms.size());
}

Calibration::~Calibration() = default;

void Calibration::run(double seconds) {
    auto& s = *state_;
    auto const begin = s.clock.now_ns();
    for (std::size_t i = 0; i < s.measurements.size(); ++i) {
        double const used_s = static_cast<double>(s.clock.now_ns() - begin) / 1e9;
        double const share_s =
            std::max(0.0, seconds - used_s) / static_cast<double>(s.measurements.size() - i);
        Nanoseconds const until =
            s.clock.now_ns() + static_cast<Nanoseconds>(std::llround(share_s * 1e9));
        s.rounds[i] += s.measurements[i]->run(s.clock, until);
    }
}

node::Platform Calibration::platform() const {
    auto platform = state_->platform;
    double flops_per_s = 0.0;
    for (std::size_t i = 0; i < state_->arms.size(); ++i) {
        auto const& measurement = *state_->measurements[i];
        platform.costs[state_->arms[i].cost_key] = measurement.costs();
        flops_per_s = std::max(flops_per_s, measurement.tower_flops_per_s());
    }
    if (flops_per_s > 0.0) platform.flops_per_s = flops_per_s;
    for (std::size_t i = 0; i < state_->arms.size(); ++i) {
        for (auto const& warning : state_->measurements[i]->warnings())
            platform.warnings.push_back(state_->arms[i].name + ": " + warning);
    }
    return platform;
}

void Calibration::say_what_was_measured() const {
    for (std::size_t i = 0; i < state_->arms.size(); ++i) {
        auto const& measurement = *state_->measurements[i];
        auto const& name = state_->arms[i].name;
        state_->say(name + ": " + std::to_string(state_->rounds[i]) + " rounds over " +
                    std::to_string(measurement.points()) + " points, decode at " +
                    measurement.describe_largest());
        for (std::string const& warning : measurement.warnings())
            state_->say("warning: " + name + ": " + warning);
    }
}

node::Platform calibrate(std::vector<ServingArm> const& arms,
                         workload::Population const& population, CalibrationParams const& params,
                         CalibrationLog const& log) {
    Calibration calibration(arms, population, params, log);
    calibration.run(params.seconds);
    calibration.say_what_was_measured();
    return calibration.platform();
}

}  // namespace ckvsim::engine
