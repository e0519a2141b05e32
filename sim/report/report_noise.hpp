// Which measured quantities of two reports differ by more than their own noise.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "metrics/report_model.hpp"

namespace ckvsim::report {

/// Percentiles come from sketches that resolve 0.5 %: two of them may differ by 1 % without a
/// cause.
inline constexpr double kSketchResolution = 0.01;

/// A quantity that changed beyond its noise, or a row that one report lacks.
struct NoiseChange {
    std::string table;
    std::string row;     ///< "arm = full, stage = total", without the pass
    std::string column;  ///< empty for a missing row
    std::string left;    ///< "0.7 [0.69, 0.71]" (interval or both passes), or "missing"
    std::string right;
    double relative = 0;    ///< right / left - 1 of the values (mean of the passes); NaN for rows
    std::string judged_by;  ///< "interval" or "repeat"; empty for rows
};

struct NoiseReport {
    std::vector<NoiseChange> changes;  ///< in print order of the tables
    std::uint64_t within = 0;          ///< quantities whose difference may be noise
    std::uint64_t not_judged = 0;      ///< measured quantities without an estimate of their noise
    [[nodiscard]] bool empty() const { return changes.empty(); }
};

/// Judges columns that carry an interval (X with X_low and X_high, both finite in both reports):
/// changed when the intervals do not overlap, which is stricter than a test of the difference, the
/// more so where arms are paired. Judges measured columns of wall-clock tables that hold two
/// passes: changed when the gap between the two runs' ranges exceeds the larger of the runs' own
/// differences between passes and kSketchResolution. Everything else is left to diff(). The largest
/// value of a sample has no noise estimate and is not judged. Rows are matched by their keys; a row
/// of a judged table that one report lacks is a change; a
/// table that one report lacks counts as not judged.
NoiseReport beyond_noise(metrics::Report const& left, metrics::Report const& right);

/// Plain text: one line per change, then one line of counts.
std::string render(NoiseReport const& noise);

}  // namespace ckvsim::report
