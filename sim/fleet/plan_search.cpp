#include "fleet/plan_search.hpp"

#include <algorithm>
#include <cmath>

#include "core/error.hpp"

namespace ckvsim::fleet {

namespace {

constexpr double kStep = 1.02;
/// A bad point is left by at least this factor of ease, at most by the last; a good one alike.
constexpr double kLeastLeap = 1.05;
constexpr double kMostLeap = 8.0;
/// Aims a little on the easy side of where the pressure would be 1.
constexpr double kAim = 0.95;

/// One replicate's search.
class Walk {
  public:
    using Index = std::int64_t;
    Walk(PlanGrid const& grid, std::uint32_t replicate, PlanOracle const& oracle)
        : grid_(grid),
          replicate_(replicate),
          oracle_(oracle),
          good_(static_cast<Index>(grid.size())) {}

    /// From a guess, with leaps by pressure and bisection.
    void from_guess(std::size_t start) {
        auto at = static_cast<Index>(start);
        while (good_ - bad_ > 1) {
            auto const probe = ask(at);
            auto const now = grid_.ease(static_cast<std::size_t>(at));
            double leap = probe.good
                              ? std::clamp(probe.pressure / kAim, 1.0 / kMostLeap, 1.0 / kLeastLeap)
                              : std::clamp(probe.pressure / kAim, kLeastLeap, kMostLeap);
            if (!std::isfinite(leap)) leap = probe.good ? 1.0 / kMostLeap : kMostLeap;
            at = next(static_cast<Index>(grid_.index_of(now * leap)));
        }
    }
    /// From another replicate's bracket, outwards in doubling steps.
    void from_bracket(Index bad, bool bad_certain, Index good, bool good_certain) {
        Index const size = static_cast<Index>(grid_.size());
        if (good < size && good_certain) {
            good_ = good;
        } else if (good < size) {
            for (Index step = 1;; step *= 2) {
                if (ask(good).good || good == size - 1) break;
                good = std::min(good + step, size - 1);
            }
        }
        if (bad >= 0 && bad_certain) {
            bad_ = std::max(bad_, bad);
        } else {
            for (Index step = 1; bad > bad_; step *= 2) {
                if (!ask(bad).good) break;
                bad = std::max<Index>(bad - step, -1);
            }
        }
        while (good_ - bad_ > 1) ask(bad_ + (good_ - bad_) / 2);
    }
    [[nodiscard]] Index good() const { return good_; }
    [[nodiscard]] Index bad() const { return bad_; }
    [[nodiscard]] bool good_certain() const { return good_certain_; }
    [[nodiscard]] bool bad_certain() const { return bad_certain_; }

  private:
    PlanProbe ask(Index at) {
        auto const probe = oracle_(static_cast<std::size_t>(at), replicate_);
        if (probe.good && at < good_) {
            good_ = at;
            good_certain_ = probe.certain;
        } else if (!probe.good && at > bad_) {
            bad_ = at;
            bad_certain_ = probe.certain;
        }
        // Noise may contradict an earlier verdict: the harder good point stands.
        if (bad_ >= good_) bad_ = good_ - 1;
        return probe;
    }
    /// Inside the bracket: the middle once it is narrow, else not too near its ends.
    [[nodiscard]] Index next(Index wanted) const {
        Index const width = good_ - bad_;
        if (good_ == static_cast<Index>(grid_.size()) || bad_ < 0)
            return std::clamp(wanted, bad_ + 1, good_ - 1);
        if (width <= 8) return bad_ + width / 2;
        return std::clamp(wanted, bad_ + width / 8, good_ - width / 8);
    }

    PlanGrid const& grid_;
    std::uint32_t replicate_;
    PlanOracle const& oracle_;
    Index good_;
    Index bad_ = -1;
    bool good_certain_ = false;
    bool bad_certain_ = false;
};

}  // namespace

PlanGrid PlanGrid::of_nodes(std::uint32_t most) {
    validate(most >= 1, "PlanGrid: no nodes");
    PlanGrid grid;
    for (std::uint32_t nodes = 1; nodes < most;
         nodes = std::max(nodes + 1, static_cast<std::uint32_t>(std::floor(nodes * kStep))))
        grid.ease_.push_back(nodes);
    grid.ease_.push_back(most);
    return grid;
}

PlanGrid PlanGrid::of_loads(double highest, double lowest) {
    validate(lowest > 0.0 && highest > lowest, "PlanGrid: loads");
    PlanGrid grid;
    auto const steps = static_cast<int>(std::ceil(std::log(highest / lowest) / std::log(kStep)));
    for (int i = 0; i <= steps; ++i) grid.ease_.push_back(std::pow(kStep, i) / highest);
    return grid;
}

std::size_t PlanGrid::index_of(double ease) const {
    auto const at = std::lower_bound(ease_.begin(), ease_.end(), ease * (1.0 - 1e-12));
    return at == ease_.end() ? ease_.size() - 1 : static_cast<std::size_t>(at - ease_.begin());
}

PlanFound find_hardest_good(PlanGrid const& grid, std::size_t start, std::uint32_t replicates,
                            PlanOracle const& oracle) {
    validate(start < grid.size() && replicates >= 1, "find_hardest_good: start or replicates");
    Walk first(grid, 0, oracle);
    first.from_guess(start);
    auto const size = static_cast<std::int64_t>(grid.size());
    PlanFound found;
    if (first.good() == size) {
        found.index = found.lowest = found.highest = grid.size() - 1;
        found.bounded = true;
        return found;
    }
    std::vector<std::int64_t> answers = {first.good()};
    for (std::uint32_t r = 1; r < replicates; ++r) {
        Walk walk(grid, r, oracle);
        walk.from_bracket(first.bad(), first.bad_certain(), first.good(), first.good_certain());
        answers.push_back(std::min(walk.good(), size - 1));
    }
    std::sort(answers.begin(), answers.end());
    found.feasible = true;
    found.index = static_cast<std::size_t>(answers[answers.size() / 2]);
    found.lowest = static_cast<std::size_t>(answers.front());
    found.highest = static_cast<std::size_t>(answers.back());
    found.bounded = found.index > 0;
    return found;
}

}  // namespace ckvsim::fleet
