#include "metrics/accuracy.hpp"

#include <omp.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <span>

#include "core/error.hpp"
#include "metrics/resampling.hpp"

namespace ckvsim::metrics {

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// Impressions by ascending score: user << 2 | last of its tie group << 1 | label.
using Ranking = std::vector<std::uint32_t>;

/// What gAUC and logloss need of one user; replicates only re-weight these.
struct UserSums {
    double impressions = 0;
    double loss = 0;
    double ranked_impressions = 0;  ///< impressions when both labels occur, else 0
    double ranked_auc = 0;          ///< ranked_impressions * AUC of the user
};

void check(Predictions const& predictions) {
    std::size_t const count = predictions.logits.size();
    validate(predictions.labels.size() == count && predictions.user.size() == count,
             "accuracy: logits, labels and users differ in length");
    validate(count < (1ULL << 32) && predictions.users < (1U << 30),
             "accuracy: more than 2^32 impressions or 2^30 users");
    for (std::size_t i = 0; i < count; ++i) {
        validate(predictions.user[i] < predictions.users, "accuracy: user index out of range");
        validate(i == 0 || predictions.user[i - 1] <= predictions.user[i],
                 "accuracy: impressions are not grouped by user");
        validate(predictions.labels[i] <= 1, "accuracy: a label is neither 0 nor 1");
        validate(!std::isnan(predictions.logits[i]), "accuracy: a logit is not a number");
    }
}

/// Bits of a float in an order that sorts like the float; -0 and +0 coincide.
std::uint32_t sortable(float value) {
    auto const bits = std::bit_cast<std::uint32_t>(value + 0.0F);
    return (bits & 0x80000000U) != 0 ? ~bits : bits | 0x80000000U;
}

Ranking rank_impressions(Predictions const& predictions, std::size_t begin, std::size_t end) {
    std::vector<std::uint64_t> keys(end - begin);
    for (std::size_t i = begin; i < end; ++i) {
        keys[i - begin] = (static_cast<std::uint64_t>(sortable(predictions.logits[i])) << 32) | i;
    }
    std::sort(keys.begin(), keys.end());
    Ranking ranking(keys.size());
    for (std::size_t i = 0; i < keys.size(); ++i) {
        auto const index = static_cast<std::uint32_t>(keys[i]);
        bool const last = i + 1 == keys.size() || (keys[i] >> 32) != (keys[i + 1] >> 32);
        ranking[i] = (predictions.user[index] << 2) | (last ? 2U : 0U) | predictions.labels[index];
    }
    return ranking;
}

/// Mann-Whitney over weighted impressions, exact in integers: twice the number of ordered pairs.
template <class Weight>
double weighted_auc(Ranking const& ranking, Weight const& weight_of) {
    std::uint64_t pairs_twice = 0;
    std::uint64_t negatives = 0;
    std::uint64_t positives = 0;
    std::uint64_t group_negatives = 0;
    std::uint64_t group_positives = 0;
    for (std::uint32_t const packed : ranking) {
        std::uint64_t const weight = weight_of(packed >> 2);
        std::uint64_t const positive = weight & (0 - static_cast<std::uint64_t>(packed & 1U));
        group_positives += positive;
        group_negatives += weight - positive;
        if ((packed & 2U) == 0) continue;
        pairs_twice += group_positives * (2 * negatives + group_negatives);
        negatives += group_negatives;
        positives += group_positives;
        group_negatives = 0;
        group_positives = 0;
    }
    if (positives == 0 || negatives == 0) return kNaN;
    return 0.5 * static_cast<double>(pairs_twice) /
           (static_cast<double>(positives) * static_cast<double>(negatives));
}

/// -log p(label) with p = sigmoid(logit), stable for large |logit|.
double log_loss(float logit, std::uint8_t label) {
    double const x = logit;
    return std::max(x, 0.0) - (label != 0 ? x : 0.0) + std::log1p(std::exp(-std::fabs(x)));
}

std::vector<UserSums> sum_users(Predictions const& predictions) {
    std::vector<UserSums> sums(predictions.users);
    std::size_t const count = predictions.logits.size();
    for (std::size_t begin = 0; begin < count;) {
        std::uint32_t const user = predictions.user[begin];
        UserSums& sum = sums[user];
        std::size_t end = begin;
        for (; end < count && predictions.user[end] == user; ++end) {
            sum.loss += log_loss(predictions.logits[end], predictions.labels[end]);
        }
        sum.impressions = static_cast<double>(end - begin);
        double const auc = weighted_auc(rank_impressions(predictions, begin, end),
                                        [](std::uint32_t) { return std::uint64_t{1}; });
        if (!std::isnan(auc)) {
            sum.ranked_impressions = sum.impressions;
            sum.ranked_auc = auc * sum.impressions;
        }
        begin = end;
    }
    return sums;
}

struct Ratios {
    double gauc = kNaN;
    double logloss = kNaN;
};

/// Users in index order, so the sum does not depend on threads.
template <class Weight>
Ratios weigh_users(std::vector<UserSums> const& sums, Weight const& weight_of) {
    UserSums total;
    for (std::uint32_t user = 0; user < sums.size(); ++user) {
        auto const weight = static_cast<double>(weight_of(user));
        total.impressions += weight * sums[user].impressions;
        total.loss += weight * sums[user].loss;
        total.ranked_impressions += weight * sums[user].ranked_impressions;
        total.ranked_auc += weight * sums[user].ranked_auc;
    }
    Ratios ratios;
    if (total.ranked_impressions > 0) ratios.gauc = total.ranked_auc / total.ranked_impressions;
    if (total.impressions > 0) ratios.logloss = total.loss / total.impressions;
    return ratios;
}

}  // namespace

AccuracyPoint evaluate(Predictions const& predictions) {
    check(predictions);
    auto const one = [](std::uint32_t) { return std::uint64_t{1}; };
    auto const sums = sum_users(predictions);
    auto const ratios = weigh_users(sums, one);
    AccuracyPoint point;
    point.auc = weighted_auc(rank_impressions(predictions, 0, predictions.logits.size()), one);
    point.gauc = ratios.gauc;
    point.logloss = ratios.logloss;
    point.impressions = predictions.logits.size();
    for (std::uint8_t const label : predictions.labels) point.positives += label;
    for (auto const& sum : sums) point.users_with_both += sum.ranked_impressions > 0 ? 1 : 0;
    return point;
}

ReplicateMetrics bootstrap_users(Predictions const& predictions, std::uint64_t seed,
                                 std::uint32_t replicates) {
    check(predictions);
    auto const sums = sum_users(predictions);
    auto const ranking = rank_impressions(predictions, 0, predictions.logits.size());
    ReplicateMetrics metrics;
    metrics.auc.resize(replicates);
    metrics.gauc.resize(replicates);
    metrics.logloss.resize(replicates);
    // Allocated before the parallel region: an exception must not leave it.
    std::vector<std::vector<std::uint8_t>> weights_of_thread(
        static_cast<std::size_t>(omp_get_max_threads()),
        std::vector<std::uint8_t>(predictions.users));
#pragma omp parallel
    {
        auto& weights = weights_of_thread[static_cast<std::size_t>(omp_get_thread_num())];
        auto const weight_of = [&](std::uint32_t user) { return std::uint64_t{weights[user]}; };
#pragma omp for schedule(dynamic)
        for (std::uint32_t replicate = 0; replicate < replicates; ++replicate) {
            draw_user_weights(seed, replicate, weights);
            auto const ratios = weigh_users(sums, weight_of);
            metrics.auc[replicate] = weighted_auc(ranking, weight_of);
            metrics.gauc[replicate] = ratios.gauc;
            metrics.logloss[replicate] = ratios.logloss;
        }
    }
    return metrics;
}

}  // namespace ckvsim::metrics
