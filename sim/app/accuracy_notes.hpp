// What an accuracy run says in words: what its data and its seeds have no power to tell.
#pragma once

#include <string>
#include <vector>

#include "config/spec.hpp"
#include "metrics/accuracy.hpp"

namespace ckvsim::app {

/// The first arm that serves CollectiveKV, nullptr without one.
config::ArmSpec const* first_collective(config::Spec const& spec);

/// One row of the accuracy table: an arm, or "control.<name>".
struct Compared {
    std::string name;
    metrics::LiftResult result;          ///< against the reference
    metrics::ArmSamples const* samples;  ///< never null
};

/// Seeds that arms with weights of their own need for a verdict (FACTS section 0: gains of the
/// method are of the size of the spread between trainings).
inline constexpr std::size_t kSeedsForVerdicts = 5;

/// Synthetic histories with so many events in the median say that no real ones are behind them. The
/// longest median of click data tried is 93 events (EB-NeRD's sample).
inline constexpr double kLongHistory = 500;

/// Notes of the report, in a fixed order. `compared` is in the order of the table: the reference,
/// no history, the rest. Local, pure.
std::vector<std::string> accuracy_notes(config::Spec const& spec,
                                        std::vector<Compared> const& compared);

}  // namespace ckvsim::app
