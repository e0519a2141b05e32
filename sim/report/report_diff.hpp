// Compares two reports within the tolerances of the column registry.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "metrics/report_model.hpp"

namespace ckvsim::report {

/// Relative tolerance of measured and simulated columns of wall-clock tables where they are
/// compared at all: repeated runs on a shared machine were seen to differ by 20-30 %.
inline constexpr double kWallClockTolerance = 0.30;

/// One value, row or table that differs beyond its tolerance. Texts are as stored.
struct Difference {
    std::string table;   ///< table name; "hash" for the two hashes
    std::string row;     ///< "arm = full, stage = total"; empty where a whole table is missing
    std::string column;  ///< empty where a row or table is missing
    std::string left;    ///< value, or "missing"
    std::string right;
    double relative = 0;  ///< |left - right| / max(|left|, |right|); NaN for texts and missing rows
    double tolerance = 0;  ///< largest relative difference that passes
};

struct ReportDiff {
    std::vector<Difference> differences;  ///< hashes first, then tables in print order
    /// What explains differences but is none: provenance entries and spec values that changed,
    /// notes, calibrations.
    std::vector<std::string> information;
    std::uint64_t compared = 0;      ///< values compared, hashes included
    std::uint64_t not_compared = 0;  ///< values of wall-clock columns that were left out
    [[nodiscard]] bool empty() const { return differences.empty(); }
};

/// Rows are matched by their key columns (repeated keys by order). Two numbers pass when
/// |left - right| <= tolerance * max(|left|, |right|); NaN equals NaN; texts and hashes must be
/// equal, the scores hash only between reports of one instruction set. Columns of negative
/// tolerance are left out; with `wall_clock` the measured and simulated ones of wall-clock tables
/// are compared at kWallClockTolerance (derived ones follow from them), and rows of wall-clock
/// tables must match too.
ReportDiff diff(metrics::Report const& left, metrics::Report const& right, bool wall_clock);

/// The information alone: what changed in spec, provenance and notes. Empty when nothing did.
std::string render_information(ReportDiff const& diff);

/// Plain text, one line per difference, then the information, then one line of summary.
std::string render(ReportDiff const& diff);

}  // namespace ckvsim::report
