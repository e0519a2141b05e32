#include "train/ranking.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <vector>

#include "core/error.hpp"

namespace ckvsim::train {

double auc(std::span<float const> scores, std::span<std::uint8_t const> labels) {
    validate(scores.size() == labels.size(), "auc: scores and labels differ in length");
    std::vector<std::uint32_t> order(scores.size());
    std::iota(order.begin(), order.end(), 0U);
    std::sort(order.begin(), order.end(),
              [&](std::uint32_t a, std::uint32_t b) { return scores[a] < scores[b]; });
    // Twice the number of (positive, negative) pairs in the right order, ties once: exact integers.
    std::uint64_t twice_won = 0;
    std::uint64_t positives = 0;
    std::uint64_t negatives = 0;
    for (std::size_t begin = 0; begin < order.size();) {
        std::uint64_t tied_positives = 0;
        std::uint64_t tied_negatives = 0;
        std::size_t end = begin;
        for (; end < order.size() && scores[order[end]] == scores[order[begin]]; ++end)
            ++(labels[order[end]] != 0 ? tied_positives : tied_negatives);
        twice_won += tied_positives * (2 * negatives + tied_negatives);
        positives += tied_positives;
        negatives += tied_negatives;
        begin = end;
    }
    if (positives == 0 || negatives == 0) return std::numeric_limits<double>::quiet_NaN();
    return static_cast<double>(twice_won) /
           (2.0 * static_cast<double>(positives) * static_cast<double>(negatives));
}

double logloss(std::span<float const> logits, std::span<std::uint8_t const> labels) {
    validate(logits.size() == labels.size(), "logloss: logits and labels differ in length");
    double sum = 0;
    for (std::size_t i = 0; i < logits.size(); ++i) {
        double const signed_logit = labels[i] != 0 ? logits[i] : -double{logits[i]};
        sum += std::max(-signed_logit, 0.0) + std::log1p(std::exp(-std::abs(signed_logit)));
    }
    return sum / static_cast<double>(logits.size());
}

}  // namespace ckvsim::train
