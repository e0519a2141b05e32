#include "fleet/plan_front.hpp"

#include <cmath>

namespace ckvsim::fleet {

namespace {

bool beats(PlanGoals const& a, PlanGoals const& b, bool when_equal) {
    bool better = when_equal;
    for (std::size_t g = 0; g < a.size(); ++g) {
        if (std::isnan(a[g]) || std::isnan(b[g])) continue;
        if (a[g] > b[g]) return false;
        better = better || a[g] < b[g];
    }
    return better;
}

}  // namespace

std::vector<std::size_t> pareto_front(std::vector<PlanGoals> const& points) {
    std::vector<std::size_t> front;
    for (std::size_t i = 0; i < points.size(); ++i) {
        bool beaten = false;
        for (std::size_t j = 0; j < points.size() && !beaten; ++j)
            beaten = j != i && beats(points[j], points[i], j < i);
        if (!beaten) front.push_back(i);
    }
    return front;
}

}  // namespace ckvsim::fleet
