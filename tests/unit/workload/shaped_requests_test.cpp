// make_requests with time of day, bursts and flash crowds.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <tuple>

#include "core/shards.hpp"
#include "workload/requests.hpp"
#include "workload/synthetic.hpp"

namespace ckvsim::workload {
namespace {

constexpr std::uint32_t kShards = 32;
constexpr std::uint64_t kUsers = 20000;

auto key(Request const& r) {
    return std::tuple(r.intended_start_ns, r.shard, r.sequence, r.user, r.candidates, r.tokens);
}

class ShapedRequests : public testing::Test {
  protected:
    ShapedRequests() : users_(users_by_shard(kUsers, kShards)), all_(kShards) {
        SyntheticParams params;
        params.users = kUsers;
        population_ = make_synthetic(params);
        std::iota(all_.begin(), all_.end(), 0U);
        traffic_.requests_per_second = 2000.0;
        traffic_.duration_s = 60.0;
        traffic_.activity_sigma = 0.0;
    }
    std::vector<Request> make(std::vector<std::uint32_t> const& shards,
                              std::uint64_t seed = 1) const {
        return make_requests(*population_, traffic_, seed, shards, users_, 100);
    }
    std::vector<Request> make() const { return make(all_); }
    ArrivalRate rate() const { return {traffic_.shape, 1, traffic_.duration_s}; }

    /// Requests that `wanted` accepts, per tenth of the run.
    template <class Wanted>
    std::vector<double> histogram(std::vector<Request> const& requests, Wanted wanted) const {
        std::vector<double> counts(10, 0.0);
        for (auto const& request : requests) {
            double const share =
                static_cast<double>(request.intended_start_ns) / (traffic_.duration_s * 1e9);
            if (wanted(request)) counts.at(static_cast<std::size_t>(share * 10.0)) += 1.0;
        }
        return counts;
    }

    std::unique_ptr<Population> population_;
    std::vector<std::vector<UserId>> users_;
    std::vector<std::uint32_t> all_;
    TrafficParams traffic_;
};

void use_everything(ArrivalShape& shape) {
    shape.diurnal = {.amplitude = 0.9,
                     .start_hour = 3.0,
                     .day_s = 60.0,
                     .zones = {{0.0, 0.4}, {8.0, 0.4}, {-8.0, 0.2}}};
    shape.bursts = {4.0, 2.0, 6.0};
    shape.flash_crowds = {{.start_s = 20, .duration_s = 10, .multiplier = 3, .user_share = 0.02},
                          {.start_s = 50, .duration_s = 100, .multiplier = 2, .user_share = 0.1}};
}

TEST_F(ShapedRequests, ShardSetsAreIndependent) {
    use_everything(traffic_.shape);
    traffic_.activity_sigma = 1.0;
    auto const whole = make();
    std::vector<decltype(key(Request{}))> keys;
    for (std::uint32_t const part : {1U, 0U, 2U}) {
        std::vector<std::uint32_t> shards;
        for (std::uint32_t shard = 0; shard < kShards; ++shard)
            if (shard % 3 == part) shards.push_back(shard);
        for (auto const& request : make(shards)) keys.push_back(key(request));
    }
    std::sort(keys.begin(), keys.end());
    ASSERT_EQ(keys.size(), whole.size());
    std::vector<std::uint32_t> next(kShards, 0);
    for (std::size_t i = 0; i < whole.size(); ++i) {
        ASSERT_EQ(keys[i], key(whole[i]));
        ASSERT_EQ(whole[i].sequence, next[whole[i].shard]++) << "sequence follows time in a shard";
        ASSERT_EQ(to_int(shard_of_user(whole[i].user, kShards)), whole[i].shard);
        ASSERT_LT(whole[i].intended_start_ns, 60'000'000'000);
    }
    EXPECT_NE(key(make(all_, 2)[100]), key(whole[100]));
}

TEST_F(ShapedRequests, CountsFollowTheRate) {
    use_everything(traffic_.shape);
    auto const requests = make();
    auto const counts = histogram(requests, [](auto const&) { return true; });
    auto const rate = this->rate();
    for (std::size_t i = 0; i < counts.size(); ++i) {
        double expected = 0.0;
        for (int step = 0; step < 6000; ++step)
            expected +=
                2000.0 * 0.001 * rate.at(6.0 * static_cast<double>(i) + 0.001 * (step + 0.5));
        // Beside Poisson noise, zones and crowds hold a little more or less than their shares.
        double const sigma = std::sqrt(expected) + 0.03 * expected;
        EXPECT_NEAR(counts[i], expected, 4.0 * sigma) << i;
    }
}

TEST_F(ShapedRequests, UsersOfAZoneAreAwakeTogether) {
    traffic_.shape.diurnal = {
        .amplitude = 1.0, .start_hour = 0.0, .day_s = 60.0, .zones = {{0.0, 0.5}, {12.0, 0.5}}};
    traffic_.revisit_probability = 0.0;
    auto const rate = this->rate();
    auto const requests = make();
    for (std::size_t const zone : {0U, 1U}) {
        auto const counts = histogram(
            requests, [&](Request const& request) { return rate.zone_of(request.user) == zone; });
        for (std::size_t i = 0; i < counts.size(); ++i) {
            double expected = 0.0;
            for (int step = 0; step < 600; ++step)
                expected +=
                    1000.0 * 0.01 * rate.at(6.0 * static_cast<double>(i) + 0.01 * step, zone);
            EXPECT_NEAR(counts[i], expected, 5.0 * std::sqrt(expected) + 0.04 * expected)
                << zone << " " << i;
        }
    }
}

TEST_F(ShapedRequests, AFlashCrowdReturnsFromItsShareOfTheUsers) {
    traffic_.shape.flash_crowds = {
        {.start_s = 20, .duration_s = 20, .multiplier = 5, .user_share = 0.01}};
    auto const rate = this->rate();
    std::map<bool, double> during;
    std::map<bool, double> outside;
    std::map<UserId, int> members;
    for (auto const& request : make()) {
        double const t = static_cast<double>(request.intended_start_ns) * 1e-9;
        bool const member = rate.in_crowd(request.user, 0);
        (t >= 20.0 && t < 40.0 ? during : outside)[member] += 1.0;
        if (member && t >= 20.0 && t < 40.0) ++members[request.user];
    }
    EXPECT_NEAR(outside[true] + outside[false], 80000.0, 1500.0);
    EXPECT_NEAR(during[false], 40000.0 * 0.99, 1500.0) << "the others do what they always do";
    // 1 % of the users make 4 of 5 requests; how many they are is hashed: 200 +- 14.
    EXPECT_NEAR(during[true], 160000.0, 5.0 * 11000.0);
    EXPECT_NEAR(static_cast<double>(members.size()), 200.0, 60.0);
    EXPECT_NEAR(during[true] / static_cast<double>(members.size()), 802.0, 25.0);
}

TEST_F(ShapedRequests, BurstsHitAllShardsAtOnce) {
    traffic_.shape.bursts = {20.0, 3.0, 12.0};
    auto const rate = this->rate();
    std::vector<double> burst(kShards, 0.0);
    double total = 0.0;
    for (auto const& request : make()) {
        if (rate.at(static_cast<double>(request.intended_start_ns) * 1e-9) > 1.0) {
            burst[request.shard] += 1.0;
            total += 1.0;
        }
    }
    double const mean = total / kShards;
    ASSERT_GT(mean, 1000.0) << "the seed's run must hold a burst";
    for (double const count : burst) EXPECT_NEAR(count, mean, 0.25 * mean);
}

TEST_F(ShapedRequests, ReturnsDoNotBringCrowdsIntoEverydayTraffic) {
    traffic_.shape.flash_crowds = {
        {.start_s = 0, .duration_s = 60, .multiplier = 4, .user_share = 0.01}};
    auto const members = [&](double probability) {
        traffic_.revisit_probability = probability;
        auto const rate = this->rate();
        auto const requests = make();
        return static_cast<double>(
            std::count_if(requests.begin(), requests.end(),
                          [&](auto const& request) { return rate.in_crowd(request.user, 0); }));
    };
    double const none = members(0.0);
    EXPECT_NEAR(members(0.9), none, 0.02 * none);
}

}  // namespace
}  // namespace ckvsim::workload
