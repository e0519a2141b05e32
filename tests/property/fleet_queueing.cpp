// Closed forms of queueing theory, on the servers of a fleet node and through the whole node: the
// devices of a request are queues whose waits are known when service times are simple.
#include <gtest/gtest.h>

#include <functional>
#include <queue>

#include "config/spec.hpp"
#include "core/rng.hpp"
#include "fleet_fixtures.hpp"

namespace ckvsim::fleet {
namespace {

using testing_support::Estimate;
using testing_support::estimate;
using testing_support::mean_ns;
using testing_support::plain_costs;
using testing_support::plain_setup;
using testing_support::plain_users;
using testing_support::poisson_arrivals;
using testing_support::serve_all;

constexpr double kService_ns = 20000.0;
constexpr int kSeeds = 10;

/// The mean of the seeds agrees with `expected` within four of its standard errors, and these are
/// small enough for that to say something.
void expect_agrees(std::vector<double> const& runs, double expected, char const* what,
                   double most_error = 0.02) {
    Estimate const e = estimate(runs);
    std::printf("%s: %.4g, closed form %.4g, standard error %.2g (%.2f %%)\n", what, e.mean,
                expected, e.error, 100.0 * e.error / expected);
    EXPECT_NEAR(e.mean, expected, 4.0 * e.error) << what;
    EXPECT_LT(e.error, most_error * expected) << what << ": too noisy to say anything";
}

/// Pollaczek-Khinchine: mean wait of M/G/1 from the first two moments of service.
double wait_of_mg1(double gap_ns, double first, double second) {
    return second / gap_ns / (2.0 * (1.0 - first / gap_ns));
}

/// Jobs of exponential gaps through a server; `serve(ready, duration)` returns their slots.
std::vector<double> waits_of(
    std::uint64_t seed, double gap_ns, std::size_t jobs,
    std::function<double(CounterRng&)> const& duration,
    std::function<node::FifoServer::Slot(Nanoseconds, Nanoseconds)> serve) {
    CounterRng rng(seed, Purpose::test, 1);
    std::vector<double> waits;
    double now = 0.0;
    for (std::size_t i = 0; i < jobs; ++i) {
        now += rng.exponential(gap_ns);
        auto const ready = static_cast<Nanoseconds>(now);
        auto const slot = serve(ready, static_cast<Nanoseconds>(duration(rng) + 0.5));
        waits.push_back(static_cast<double>(slot.start_ns - ready));
    }
    return waits;
}
double mean_of(std::vector<double> const& values) { return estimate(values).mean; }

TEST(FleetServers, FifoServerWaitsAsMD1AndMM1) {
    for (double const load : {0.4, 0.7}) {
        std::vector<double> constant, exponential;
        double const gap = kService_ns / load;
        for (int seed = 1; seed <= kSeeds; ++seed) {
            node::FifoServer a, b;
            constant.push_back(mean_of(waits_of(
                static_cast<std::uint64_t>(seed), gap, 100'000,
                [](CounterRng&) { return kService_ns; },
                [&](auto r, auto d) { return a.serve(r, d); })));
            exponential.push_back(mean_of(waits_of(
                static_cast<std::uint64_t>(seed), gap, 100'000,
                [](CounterRng& rng) { return rng.exponential(kService_ns); },
                [&](auto r, auto d) { return b.serve(r, d); })));
        }
        double const square = kService_ns * kService_ns;
        expect_agrees(constant, wait_of_mg1(gap, kService_ns, square), "M/D/1 wait");
        expect_agrees(exponential, wait_of_mg1(gap, kService_ns, 2.0 * square), "M/M/1 wait");
    }
}

/// Probability that a job of M/M/c waits (Erlang 1917); `offered` = arrival rate times service.
double erlang_c(std::uint32_t servers, double offered) {
    double blocked = 1.0;  // Erlang B by its recursion
    for (std::uint32_t k = 1; k <= servers; ++k)
        blocked = offered * blocked / (k + offered * blocked);
    double const load = offered / servers;
    return blocked / (1.0 - load + load * blocked);
}

TEST(FleetServers, ServerPoolWaitsAsErlangC) {
    EXPECT_NEAR(erlang_c(1, 0.6), 0.6, 1e-12);
    EXPECT_NEAR(erlang_c(2, 1.0), 1.0 / 3.0, 1e-12);
    for (std::uint32_t const servers : {1U, 2U, 4U, 8U}) {
        for (double const load : {0.5, 0.8}) {
            double const gap = kService_ns / (load * servers);
            std::vector<double> shares, means;
            for (int seed = 1; seed <= kSeeds; ++seed) {
                node::ServerPool pool(servers);
                auto const waits = waits_of(
                    static_cast<std::uint64_t>(seed), gap, 200'000,
                    [](CounterRng& rng) { return rng.exponential(kService_ns); },
                    [&](auto r, auto d) { return pool.serve(r, d); });
                means.push_back(mean_of(waits));
                shares.push_back(static_cast<double>(std::count_if(
                                     waits.begin(), waits.end(), [](double w) { return w > 0; })) /
                                 static_cast<double>(waits.size()));
            }
            SCOPED_TRACE(std::to_string(servers) + " servers, load " + std::to_string(load));
            double const waiting = erlang_c(servers, load * servers);
            expect_agrees(shares, waiting, "M/M/c share of jobs that wait");
            expect_agrees(means, waiting * kService_ns / (servers * (1.0 - load)), "M/M/c wait");
        }
    }
}

TEST(FleetServers, NoServerIdlesWhileWorkWaits) {
    for (std::uint32_t const servers : {1U, 3U, 8U}) {
        node::ServerPool pool(servers);
        CounterRng rng(5, Purpose::test, servers);
        std::priority_queue<Nanoseconds, std::vector<Nanoseconds>, std::greater<>> running;
        double now = 0.0;
        int waited = 0;
        for (int i = 0; i < 50'000; ++i) {
            now += rng.exponential(kService_ns / (0.85 * servers));
            auto const ready = static_cast<Nanoseconds>(now);
            auto const duration = static_cast<Nanoseconds>(rng.exponential(kService_ns));
            ASSERT_EQ(pool.start_of(ready), [&] {
                auto copy = pool;
                return copy.serve(ready, duration).start_ns;
            }());
            auto const slot = pool.serve(ready, duration);
            // Jobs that have not ended by then: at most one a server, this one left out.
            while (!running.empty() && running.top() <= ready) running.pop();
            if (running.size() < servers) {
                ASSERT_EQ(slot.start_ns, ready) << "a server was free";
            } else {
                while (running.size() > servers) running.pop();
                ASSERT_EQ(slot.start_ns, running.top()) << "it starts when the first one ends";
                running.pop();
                ++waited;
            }
            ASSERT_EQ(slot.end_ns - slot.start_ns, duration) << "service is neither lost nor made";
            running.push(slot.end_ns);
        }
        EXPECT_GT(waited, 10'000) << "too little waiting to test anything";
    }
}

/// Mean of a stage over seeds, everything of 64 users, who have all been seen in the warm-up.
std::vector<double> means_through_node(NodeSetup const& setup, double gap_ns, FleetStage stage) {
    auto const costs = plain_costs();
    auto const users = plain_users(64);
    std::vector<double> means;
    for (int seed = 1; seed <= kSeeds; ++seed) {
        auto const arrivals =
            poisson_arrivals(users, gap_ns, 62'000, static_cast<std::uint64_t>(seed));
        auto const warmup = static_cast<Nanoseconds>(2000 * gap_ns);
        NodeRun run;
        run.seed = static_cast<std::uint64_t>(seed);
        means.push_back(mean_ns(serve_all(setup, costs, users, arrivals, warmup, run), stage));
    }
    return means;
}

TEST(FleetNodeQueueing, GpuWaitsAsMD1) {
    for (double const load : {0.3, 0.6, 0.8}) {
        double const gap = kService_ns / load;
        // Two stages run: decode and score.
        auto const waits = means_through_node(plain_setup(kService_ns / 2), gap, FleetStage::queue);
        expect_agrees(waits, wait_of_mg1(gap, kService_ns, kService_ns * kService_ns),
                      "GPU, M/D/1 wait");
    }
}

/// Ratios of measured decode times to their mean, from the calibration that CI specs use.
std::vector<double> measured_noise() {
    auto const platform =
        config::load_platform(std::string(CKVSIM_SOURCE_DIR) + "/workloads/calibration/ci.json");
    for (auto const& [key, stages] : platform.costs) {
        auto const decode = stages.find("decode");
        if (decode != stages.end() && decode->second.noise_quantiles.size() > 1)
            return decode->second.noise_quantiles;
    }
    ADD_FAILURE() << "the calibration has no measured variability";
    return {1.0};
}

TEST(FleetNodeQueueing, GpuWaitsAsMG1WithMeasuredVariability) {
    auto setup = plain_setup(0.0);
    auto const costs = plain_costs();
    setup.ns_per_flop = kService_ns / (costs.decode(8).flops + costs.score().flops);
    std::vector<double> exponential;
    for (int q = 0; q < 1000; ++q) exponential.push_back(-std::log1p(-(q + 0.5) / 1000.0));
    for (auto const& noise : {measured_noise(), exponential}) {
        setup.noise = noise;
        double first = 0.0;
        double second = 0.0;
        for (double const x : noise) {
            double const service = std::round(costs.decode(8).flops * setup.ns_per_flop * x) +
                                   std::round(costs.score().flops * setup.ns_per_flop * x);
            first += service / static_cast<double>(noise.size());
            second += service * service / static_cast<double>(noise.size());
        }
        EXPECT_GT(second, 1.000001 * first * first) << "no variability to test";
        for (double const load : {0.4, 0.7}) {
            double const gap = first / load;
            expect_agrees(means_through_node(setup, gap, FleetStage::queue),
                          wait_of_mg1(gap, first, second), "GPU, M/G/1 wait", 0.03);
        }
    }
}

TEST(FleetNodeQueueing, LinkFlashAndNetworkWaitAsMD1) {
    double const load = 0.6;
    double const gap = kService_ns / load;
    double const expected = kService_ns + wait_of_mg1(gap, kService_ns, kService_ns * kService_ns);
    auto const entry = static_cast<double>(plain_costs().entry_bytes(8));
    auto base = plain_setup(0.0);
    base.tiers.hbm_bytes = 0;
    auto link = base;
    link.tiers.dram_bytes = 1U << 30;
    link.ns_per_link_byte = kService_ns / entry;
    expect_agrees(means_through_node(link, gap, FleetStage::fetch), expected,
                  "link, M/D/1 sojourn");
    auto flash = base;
    flash.tiers.nvme_bytes = 1U << 30;
    flash.ns_per_nvme_read_byte = kService_ns / entry;
    expect_agrees(means_through_node(flash, gap, FleetStage::fetch), expected,
                  "flash, M/D/1 sojourn");
    auto network = base;  // nothing is ever kept: 8 ids of 4 bytes a request
    network.ns_per_nic_byte = kService_ns / 32.0;
    expect_agrees(means_through_node(network, gap, FleetStage::fetch), expected,
                  "network, M/D/1 sojourn");
}

}  // namespace
}  // namespace ckvsim::fleet
