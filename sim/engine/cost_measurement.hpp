// Stage costs of one arm on this machine, over a grid of synthetic entries of fixed sizes.
#pragma once

#include <string>
#include <vector>

#include "core/rng.hpp"
#include "engine/batch_kernels.hpp"
#include "engine/calibration.hpp"
#include "engine/tier_store.hpp"
#include "engine/wall_clock.hpp"

namespace ckvsim::engine {

/// Times of one grid point, nanoseconds per batch.
struct CostSamples {
    std::vector<double> ns;
    void add(Nanoseconds value) { ns.push_back(static_cast<double>(value)); }
    [[nodiscard]] double median() const;
};

/// One stage over the grid: with every worker busy on one request, and with one worker alone.
struct StageSamples {
    std::vector<CostSamples> busy;
    std::vector<CostSamples> alone;  ///< unused with one worker
};

class CostMeasurement {
  public:
    /// Encodes the entries (by EncodeMode::memo: their content matters, not how it is made). They
    /// are visited in turn, so that a whole arena is touched before one comes up again.
    CostMeasurement(ServingArm const& arm, workload::Population const& population,
                    CalibrationParams const& params);

    /// Visits every point once a round, in a new order each time (so that drift of the machine
    /// touches all points alike), until `until` or enough rounds. At least five rounds after one
    /// for warming up. Returns the rounds that count.
    std::size_t run(WallClock const& clock, Nanoseconds until);

    [[nodiscard]] node::StrategyCosts costs() const;
    [[nodiscard]] std::size_t points() const { return visits_.size(); }
    [[nodiscard]] double tower_flops_per_s() const;
    [[nodiscard]] std::string describe_largest() const;
    /// About a noisy machine; empty when it is quiet.
    [[nodiscard]] std::vector<std::string> warnings() const;

  private:
    enum class Kind : std::uint8_t { serve, prefill, fetch };
    struct Visit {
        Kind kind;
        std::uint32_t token_point;
        std::uint32_t candidate_point;
        bool alone;
    };
    /// Entries of one size, used in turn.
    struct Pool {
        std::uint64_t first = 0;  ///< byte offset of the first
        std::uint64_t stride = 0;
        std::uint32_t entries = 0;
        std::uint32_t next = 0;
    };

    void plan_memory(std::uint64_t arena_bytes);
    void fill(workload::Population const& population);
    void plan_visits();
    void visit(Visit const& visit, WallClock const& clock, bool counts);
    void serve(Visit const& visit, WallClock const& clock, bool counts);
    void prefill(Visit const& visit, WallClock const& clock, bool counts);
    void fetch(Visit const& visit, WallClock const& clock, bool counts);
    std::byte* next_entry(std::uint32_t token_point);
    [[nodiscard]] std::uint32_t batch_of(Visit const& visit) const {
        return visit.alone ? 1 : kernels_.workers();
    }
    [[nodiscard]] std::size_t cell(Visit const& visit) const {
        return visit.token_point * candidates_.size() + visit.candidate_point;
    }

    ServingArm const& arm_;
    std::uint64_t seed_;
    std::vector<std::uint32_t> tokens_;
    std::vector<std::uint32_t> candidates_;
    BatchKernels kernels_;
    std::vector<ItemId> history_;  ///< ids to encode; a prefix or window per entry
    std::vector<Pool> pools_;      ///< by token point
    TouchedBytes memory_;
    std::vector<Visit> visits_;
    std::uint32_t sequence_ = 0;
    std::vector<workload::Request> requests_;  ///< of the batch being measured
    StageSamples decode_;                      ///< [tokens][candidates]
    StageSamples score_;                       ///< [candidates]
    StageSamples prefill_;                     ///< [tokens]
    StageSamples fetch_;                       ///< [tokens]; alone only
    StageSamples host_;                        ///< [candidates], per request; alone only
};

}  // namespace ckvsim::engine
