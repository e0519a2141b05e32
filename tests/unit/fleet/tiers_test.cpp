#include "fleet/tiers.hpp"

#include <gtest/gtest.h>

#include <tuple>

#include "core/error.hpp"
#include "core/rng.hpp"
#include "tiers_oracle.hpp"

namespace ckvsim::fleet {
namespace {

constexpr std::uint32_t kUsers = 26;

/// Entries of n interactions: 32 n bytes in whole cache lines, 64 .. 640.
ServingCosts small_costs() {
    ServingModel model;
    model.attention_dim = 8;
    model.embedding_dim = 4;
    model.max_interactions = 20;
    model.sites = {{0, 0, 1}};
    return {model, {}, 100.0, 4};
}

struct Sizes {
    char const* name;
    std::uint64_t hbm, dram, nvme;
};
constexpr Sizes kSizes[] = {{"all", 512, 1200, 2000},
                            {"no_nvme", 700, 1536, 0},
                            {"no_dram", 700, 0, 1500},
                            {"large_entries_skip_hbm", 256, 1100, 640},
                            {"large_entries_skip_dram", 512, 320, 1700},
                            {"entries_outgrow_every_tier", 320, 384, 256}};

/// Newest first, by the links of a tier; empty when nobody of the queue is its newest.
std::vector<std::uint32_t> order(NodeTiers const& tiers, std::uint32_t users, Residence tier,
                                 std::uint32_t gpu, std::uint32_t queue = 1) {
    std::vector<std::uint32_t> found;
    for (std::uint32_t u = 0; u < users; ++u) {
        auto const& s = tiers.state(u);
        bool const here = s.residence == static_cast<std::uint8_t>(tier);
        bool const ghost = (s.remembered >> static_cast<unsigned>(tier) & 1U) != 0;
        if (!here && !ghost) continue;
        auto const links = tiers.links(u, tier);
        if (links.newer != kNoPlace || links.region != queue) continue;
        if (tier == Residence::hbm && tiers.gpu_of(u) != gpu) continue;
        for (auto p = u; p != kNoPlace; p = tiers.links(p, tier).older) found.push_back(p);
    }
    return found;
}

void expect_equal(NodeTiers const& tiers, TiersOracle const& oracle, std::uint32_t users,
                  std::uint32_t gpus, EvictionPolicy policy) {
    for (std::uint32_t u = 0; u < users; ++u) {
        auto const& expected = oracle.entry(u);
        ASSERT_EQ(tiers.state(u).residence, static_cast<std::uint8_t>(expected.where))
            << "user " << u;
        ASSERT_EQ(tiers.state(u).events, expected.events) << "user " << u;
    }
    for (auto const tier : {Residence::hbm, Residence::dram, Residence::nvme}) {
        ASSERT_EQ(tiers.used_bytes(tier), oracle.used(tier)) << static_cast<int>(tier);
        std::uint64_t entries = 0;
        for (std::uint32_t g = 0; g < (tier == Residence::hbm ? gpus : 1); ++g) {
            for (std::uint32_t queue = 1; queue < 4; ++queue) {
                auto const expected = oracle.order(tier, g, queue);
                ASSERT_EQ(order(tiers, users, tier, g, queue), expected)
                    << static_cast<int>(tier) << " queue " << queue;
                bool const ghosts = policy == EvictionPolicy::s3_fifo && queue == 3;
                entries += ghosts ? 0 : expected.size();
            }
        }
        ASSERT_EQ(tiers.entries(tier), entries) << static_cast<int>(tier);
    }
}

using Case = std::tuple<EvictionPolicy, Admission, std::uint32_t /*gpus*/, std::uint32_t /*ttl*/,
                        Sizes, bool /*inclusive*/>;

class TiersAgainstOracle : public testing::TestWithParam<Case> {};

TEST_P(TiersAgainstOracle, RandomOperations) {
    auto const [policy, admission, gpus, ttl_ticks, sizes, inclusive] = GetParam();
    auto const costs = small_costs();
    TierParams params{.hbm_bytes = sizes.hbm,
                      .dram_bytes = sizes.dram + (inclusive ? sizes.hbm * gpus : 0),
                      .nvme_bytes = sizes.nvme,
                      .policy = policy,
                      .admission = admission,
                      .inclusive = inclusive};
    // Time goes on in steps of three ticks: how the limit is rounded to a tick does not matter.
    params.ttl_s = ttl_ticks == 0 ? 0.0 : (ttl_ticks + 0.5) * (1 << 20) / 1e9;
    NodeTiers tiers(kUsers, gpus, params, costs);
    TiersOracle oracle(kUsers, gpus, params, ttl_ticks, costs);
    CounterRng rng(17, Purpose::arrivals, gpus, sizes.hbm);
    std::uint32_t users = kUsers;
    std::uint32_t now = kStartTick;
    Moves moves;
    Moves expected;
    for (int step = 0; step < 1500; ++step) {
        std::uint32_t const dice = rng.next_u32() % 100;
        // Half of the visits go to a quarter of the users.
        std::uint32_t const user = rng.next_u32() % (rng.next_u32() % 2 == 0 ? users / 4 : users);
        std::uint32_t const appended = rng.next_u32() % 3 * (rng.next_u32() % 2);
        now += 3 * (rng.next_u32() % 3);
        SCOPED_TRACE("step " + std::to_string(step));
        if (dice < 80) {
            auto const found = tiers.look_up(user, now);
            ASSERT_EQ(found, oracle.look_up(user, now));
            bool const recomputed = found != Residence::hbm && rng.next_u32() % 4 == 0;
            ASSERT_EQ(tiers.serve(user, appended, now, moves, recomputed),
                      oracle.serve(user, appended, now, expected, recomputed));
        } else if (dice < 90) {
            tiers.grow(user, appended, moves);
            oracle.grow(user, appended, expected);
        } else if (dice < 98) {
            ASSERT_EQ(tiers.look_up(user, now), oracle.look_up(user, now));
        } else if (users < kUsers + 8) {
            ASSERT_EQ(tiers.add_place(), oracle.add_user());
            ++users;
        }
        ASSERT_EQ(moves.hbm_to_dram, expected.hbm_to_dram);
        ASSERT_EQ(moves.dram_to_nvme, expected.dram_to_nvme);
        ASSERT_EQ(moves.evictions, expected.evictions);
        ASSERT_EQ(moves.dropped, expected.dropped);
        expect_equal(tiers, oracle, users, gpus, policy);
        if (HasFatalFailure()) return;
        ASSERT_NO_THROW(tiers.check());
    }
    EXPECT_GT(moves.evictions, 50U) << "the capacities are not tight: nothing was tested";
}

std::string name_of(testing::TestParamInfo<Case> const& info) {
    auto const& [policy, admission, gpus, ttl, sizes, inclusive] = info.param;
    return to_string(policy) + "_" + to_string(admission) + "_gpus" + std::to_string(gpus) +
           "_ttl" + std::to_string(ttl) + "_" + sizes.name + (inclusive ? "_inclusive" : "");
}

INSTANTIATE_TEST_SUITE_P(
    Exclusive, TiersAgainstOracle,
    testing::Combine(testing::Values(EvictionPolicy::lru, EvictionPolicy::fifo,
                                     EvictionPolicy::clock, EvictionPolicy::sieve,
                                     EvictionPolicy::s3_fifo, EvictionPolicy::w_tiny_lfu),
                     testing::Values(Admission::all, Admission::second_visit),
                     testing::Values(1U, 3U), testing::Values(0U, 61U), testing::ValuesIn(kSizes),
                     testing::Values(false)),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    Inclusive, TiersAgainstOracle,
    testing::Combine(testing::Values(EvictionPolicy::lru, EvictionPolicy::fifo,
                                     EvictionPolicy::clock, EvictionPolicy::sieve,
                                     EvictionPolicy::s3_fifo, EvictionPolicy::w_tiny_lfu),
                     testing::Values(Admission::all, Admission::second_visit),
                     testing::Values(1U, 3U), testing::Values(0U, 61U), testing::ValuesIn(kSizes),
                     testing::Values(true)),
    name_of);

TEST(Tiers, TheFirstVisitIsKeptInHostMemoryWhenTheSecondIsAdmitted) {
    auto const costs = small_costs();
    NodeTiers tiers(
        4, 1, {.hbm_bytes = 1024, .dram_bytes = 1024, .admission = Admission::second_visit}, costs);
    Moves moves;
    EXPECT_EQ(tiers.serve(0, 2, kStartTick, moves), Residence::dram);
    EXPECT_EQ(moves.hbm_to_dram, 64U);
    EXPECT_EQ(tiers.serve(0, 1, kStartTick, moves), Residence::hbm);
    EXPECT_EQ(tiers.used_bytes(Residence::hbm), 128U);
    EXPECT_EQ(tiers.used_bytes(Residence::dram), 0U);
    EXPECT_EQ(tiers.entries(Residence::hbm), 1U);
}

TEST(Tiers, EntriesExpireAfterTheirTimeToLiveAndNotBefore) {
    auto const costs = small_costs();
    NodeTiers tiers(2, 1, {.hbm_bytes = 1024, .dram_bytes = 0, .ttl_s = 10.0}, costs);
    Moves moves;
    tiers.serve(0, 1, tick_of(0), moves);
    EXPECT_EQ(tiers.look_up(0, tick_of(9'990'000'000)), Residence::hbm);
    EXPECT_EQ(tiers.look_up(0, tick_of(10'010'000'000)), Residence::none);
    EXPECT_EQ(tiers.used_bytes(Residence::hbm), 0U);
    EXPECT_EQ(tiers.entries(Residence::hbm), 0U);
    EXPECT_EQ(moves.dropped, 0U);
    NodeTiers brief(2, 1, {.hbm_bytes = 1024, .ttl_s = 1e-6}, costs);  // below a tick
    brief.serve(0, 1, tick_of(0), moves);
    EXPECT_EQ(brief.look_up(0, tick_of(1'000'000'000)), Residence::none) << "not for ever";
}

TEST(Tiers, GuestsStartWithNothingAndNobodyElseChanges) {
    auto const costs = small_costs();
    for (auto const policy : {EvictionPolicy::lru, EvictionPolicy::s3_fifo}) {
        SCOPED_TRACE(to_string(policy));
        NodeTiers tiers(3, 1, {.hbm_bytes = 1024, .dram_bytes = 512, .policy = policy}, costs);
        Moves moves;
        for (std::uint32_t p = 0; p < 3; ++p) tiers.serve(p, 4, kStartTick + p, moves);
        for (std::uint32_t p = 3; p < 5000; ++p) ASSERT_EQ(tiers.add_place(), p);
        for (std::uint32_t p = 3; p < 5000; ++p) {
            ASSERT_EQ(tiers.state(p).events, 0U);
            ASSERT_EQ(tiers.state(p).residence, 0U);
        }
        EXPECT_EQ(order(tiers, 5000, Residence::hbm, 0), (std::vector<std::uint32_t>{2, 1, 0}));
        EXPECT_EQ(tiers.state(2).last_tick, kStartTick + 2);
        tiers.serve(4999, 1, kStartTick, moves);
        tiers.check();
        // No flash: one array of links besides the states.
        EXPECT_EQ(tiers.state_bytes(), 5000U * (policy == EvictionPolicy::lru ? 16 : 24));
    }
}

TEST(Tiers, StatesTakeWhatTheDocumentationSays) {
    auto const costs = small_costs();
    for (auto const policy :
         {EvictionPolicy::lru, EvictionPolicy::fifo, EvictionPolicy::clock, EvictionPolicy::sieve,
          EvictionPolicy::s3_fifo, EvictionPolicy::w_tiny_lfu}) {
        SCOPED_TRACE(to_string(policy));
        constexpr std::uint64_t kMany = 20000;
        NodeTiers tiers(
            kMany, 2,
            {.hbm_bytes = 300000, .dram_bytes = 200000, .nvme_bytes = 700000, .policy = policy},
            costs);
        Moves moves;
        for (std::uint32_t p = 0; p < kMany; ++p) tiers.serve(p, 1, kStartTick, moves);
        // A list's sketch is never below 128 bytes.
        EXPECT_LE(tiers.state_bytes(), kMany * most_bytes_per_user(policy) + 4 * 128);
        EXPECT_GE(tiers.state_bytes(), kMany * 16);
        if (policy == EvictionPolicy::s3_fifo) {
            EXPECT_EQ(tiers.state_bytes(), kMany * 32);
        }
    }
}

TEST(Tiers, InclusiveEntriesAreWrittenToTheHostWhenTheyAreMadeNotWhenTheyLeave) {
    auto const costs = small_costs();
    NodeTiers tiers(
        4, 1, {.hbm_bytes = 128, .dram_bytes = 512, .nvme_bytes = 512, .inclusive = true}, costs);
    Moves moves;
    tiers.serve(0, 2, kStartTick, moves);  // from ids: 64 bytes
    EXPECT_EQ(moves.hbm_to_dram, 64U);
    tiers.serve(0, 2, kStartTick, moves);  // an append: 64 more
    EXPECT_EQ(moves.hbm_to_dram, 128U);
    tiers.serve(1, 4, kStartTick, moves);  // pushes 0 out
    EXPECT_EQ(moves.evictions, 1U);
    EXPECT_EQ(moves.hbm_to_dram, 256U);
    tiers.serve(0, 0, kStartTick, moves);  // its copy is there
    EXPECT_EQ(moves.evictions, 2U);
    EXPECT_EQ(moves.hbm_to_dram, 256U);
    EXPECT_EQ(moves.dram_to_nvme, 0U);
}

TEST(Tiers, WTinyLfuKeepsARareEntryOutOfGpuMemory) {
    auto const costs = small_costs();
    NodeTiers tiers(
        40, 1, {.hbm_bytes = 700, .dram_bytes = 1280, .policy = EvictionPolicy::w_tiny_lfu}, costs);
    Moves moves;
    for (int round = 0; round < 4; ++round)
        for (std::uint32_t p = 0; p < 10; ++p)
            tiers.serve(p, round == 0 ? 1 : 0, kStartTick, moves);
    EXPECT_EQ(tiers.entries(Residence::hbm), 10U);
    for (std::uint32_t p = 10; p < 40; ++p)
        EXPECT_EQ(tiers.serve(p, 1, kStartTick, moves), Residence::dram) << p;
    for (std::uint32_t p = 0; p < 10; ++p)
        EXPECT_EQ(tiers.look_up(p, kStartTick), Residence::hbm) << p;
    tiers.check();
}

TEST(Tiers, HistoriesStopGrowingAtTheLargestCountOfAState) {
    auto const costs = small_costs();
    NodeTiers tiers(1, 1, {.hbm_bytes = 1024}, costs);
    Moves moves;
    tiers.state(0).events = 65530;
    tiers.serve(0, 9, kStartTick, moves);
    EXPECT_EQ(tiers.state(0).events, 65535U);
    tiers.grow(0, 60000, moves);
    EXPECT_EQ(tiers.state(0).events, 65535U);
    EXPECT_EQ(tiers.interactions(tiers.state(0)), 20U);
    EXPECT_EQ(tiers.used_bytes(Residence::hbm), 640U);
}

TEST(Tiers, PlacingTheOldestStopsWhenTheTierIsFull) {
    auto const costs = small_costs();
    NodeTiers tiers(6, 2, {.hbm_bytes = 128, .dram_bytes = 384, .inclusive = true}, costs);
    for (std::uint32_t p : {0U, 2U}) EXPECT_TRUE(tiers.place_oldest(p, Residence::hbm));
    EXPECT_FALSE(tiers.place_oldest(4, Residence::hbm)) << "GPU 0 is full";
    EXPECT_TRUE(tiers.place_oldest(1, Residence::hbm));
    EXPECT_EQ(tiers.used_bytes(Residence::dram), 192U) << "copies of what the GPUs hold";
    for (std::uint32_t p : {3U, 4U, 5U}) EXPECT_TRUE(tiers.place_oldest(p, Residence::dram));
    EXPECT_FALSE(tiers.place_oldest(5, Residence::dram));
    EXPECT_FALSE(tiers.place_oldest(3, Residence::nvme)) << "there is no NVMe";
    tiers.check();
    EXPECT_EQ(order(tiers, 6, Residence::hbm, 0), (std::vector<std::uint32_t>{0, 2}));
    EXPECT_EQ(order(tiers, 6, Residence::dram, 0), (std::vector<std::uint32_t>{3, 4, 5}));
}

TEST(Tiers, CheckSeesABrokenStateAndTheConstructorRefusesNonsense) {
    auto const costs = small_costs();
    NodeTiers tiers(6, 1, {.hbm_bytes = 512, .dram_bytes = 512}, costs);
    Moves moves;
    tiers.serve(0, 1, kStartTick, moves);
    tiers.serve(1, 1, kStartTick, moves);
    ASSERT_NO_THROW(tiers.check());
    tiers.state(0).events = 20;  // larger than what the tier charged
    EXPECT_THROW(tiers.check(), InternalError);
    tiers.state(0).events = 1;
    tiers.state(0).residence = static_cast<std::uint8_t>(Residence::nvme);
    EXPECT_THROW(tiers.check(), InternalError);
    EXPECT_THROW(NodeTiers(6, 0, {}, costs), InternalError);
    EXPECT_THROW(NodeTiers(6, 3, {.hbm_bytes = 100, .dram_bytes = 299, .inclusive = true}, costs),
                 InternalError);
    EXPECT_NO_THROW(
        NodeTiers(6, 3, {.hbm_bytes = 100, .dram_bytes = 300, .inclusive = true}, costs));
}

}  // namespace
}  // namespace ckvsim::fleet
