// Answers of a plan as report rows, and which of them are re-run in full.
#pragma once

#include <cstddef>
#include <set>
#include <vector>

#include "app/plan_journal.hpp"
#include "metrics/report_model.hpp"

namespace ckvsim::app {

/// Jobs that are the best of their strategy: fewest nodes, then shortest p99; or the highest load.
std::set<std::size_t> best_jobs(Plan const& plan, PlanResults const& results);

/// Jobs to re-run: finalists (the best ones that find nodes) and `plan.check` further ones, evenly
/// spread.
std::vector<std::size_t> jobs_to_check(Plan const& plan, PlanResults const& results);

/// Tables plan, plan_front and plan_error. Every job must have its answer.
void report_plan(metrics::Report& report, Plan const& plan, PlanResults const& results);

/// Covers every figure of every answer and full re-run. Equal for any number of ranks and threads,
/// and whether or not the plan was interrupted.
std::uint64_t plan_hash(PlanResults const& results);

}  // namespace ckvsim::app
