#include "core/rng.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <numeric>
#include <set>
#include <vector>

#include "core/ids.hpp"
#include "core/shards.hpp"

namespace ckvsim {
namespace {

using Block = std::array<std::uint32_t, 4>;

Block philox(Block counter, std::array<std::uint32_t, 2> key) {
    auto const out =
        r123::Philox4x32()({{counter[0], counter[1], counter[2], counter[3]}}, {{key[0], key[1]}});
    return {out[0], out[1], out[2], out[3]};
}

// Known answers of Random123's kat_vectors, "philox4x32 10".
TEST(Philox, KnownAnswers) {
    EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}),
              (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
    std::uint32_t const ones = 0xffffffff;
    EXPECT_EQ(philox({ones, ones, ones, ones}, {ones, ones}),
              (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
    EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
              (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

/// Ten rounds of Philox4x32 (Salmon et al., SC 2011, section 3.3), written again from the paper.
Block philox_oracle(Block x, std::array<std::uint32_t, 2> key) {
    for (int round = 0; round < 10; ++round) {
        std::uint64_t const a = std::uint64_t{0xD2511F53} * x[0];
        std::uint64_t const b = std::uint64_t{0xCD9E8D57} * x[2];
        x = {static_cast<std::uint32_t>(b >> 32) ^ x[1] ^ key[0], static_cast<std::uint32_t>(b),
             static_cast<std::uint32_t>(a >> 32) ^ x[3] ^ key[1], static_cast<std::uint32_t>(a)};
        key[0] += 0x9E3779B9;
        key[1] += 0xBB67AE85;
    }
    return x;
}

TEST(CounterRng, IsPhiloxOverDocumentedCounters) {
    std::uint64_t const id = 0x123456789abcdef0ULL;
    CounterRng rng(42, Purpose::history_items, id, 7);
    std::uint64_t const key = mix64(42 ^ (std::uint64_t{2} << 48));
    for (std::uint32_t block = 0; block < 3; ++block) {
        auto const expected =
            philox_oracle({block, 7, 0x9abcdef0, 0x12345678},
                          {static_cast<std::uint32_t>(key), static_cast<std::uint32_t>(key >> 32)});
        for (std::uint32_t const word : expected) EXPECT_EQ(rng.next_u32(), word);
    }
}

TEST(CounterRng, StreamsDoNotDependOnOrder) {
    std::vector<std::uint64_t> forward;
    for (std::uint64_t id = 0; id < 500; ++id)
        forward.push_back(CounterRng(1, Purpose::labels, id).next_u64());
    for (std::uint64_t id = 500; id-- > 0;)
        ASSERT_EQ(CounterRng(1, Purpose::labels, id).next_u64(), forward[id]);
    // Two streams drawn in turns give what each gives alone.
    CounterRng a(1, Purpose::labels, 3);
    CounterRng b(1, Purpose::labels, 4);
    CounterRng alone(1, Purpose::labels, 3);
    for (int i = 0; i < 100; ++i) {
        ASSERT_EQ(a.next_u32(), alone.next_u32());
        b.next_u32();
    }
}

TEST(CounterRng, EveryPartOfTheKeyMatters) {
    std::set<std::uint64_t> firsts;
    auto const add = [&](std::uint64_t seed, Purpose purpose, std::uint64_t id, std::uint32_t sub) {
        firsts.insert(CounterRng(seed, purpose, id, sub).next_u64());
    };
    add(1, Purpose::labels, 1, 0);
    add(2, Purpose::labels, 1, 0);
    add(1, Purpose::arrivals, 1, 0);
    add(1, Purpose::labels, 2, 0);
    add(1, Purpose::labels, 1ULL << 32, 0);
    add(1, Purpose::labels, 1, 1);
    EXPECT_EQ(firsts.size(), 6U);
}

TEST(CounterRng, DistributionsHaveTheirMoments) {
    CounterRng rng(3, Purpose::test, 0);
    constexpr int n = 200000;
    std::array<double, 4> sum{};
    std::array<double, 4> square{};
    std::array<int, 6> faces{};
    for (int i = 0; i < n; ++i) {
        std::array<double, 4> const x = {rng.uniform(), static_cast<double>(rng.uniform_float()),
                                         rng.normal(), rng.exponential(2.5)};
        ASSERT_TRUE(x[0] >= 0.0 && x[0] < 1.0 && x[1] >= 0.0 && x[1] < 1.0 && x[3] >= 0.0);
        for (std::size_t k = 0; k < 4; ++k) {
            sum[k] += x[k];
            square[k] += x[k] * x[k];
        }
        ++faces[rng.below(6)];
    }
    std::array<double, 4> const mean = {0.5, 0.5, 0.0, 2.5};
    std::array<double, 4> const deviation = {std::sqrt(1.0 / 12), std::sqrt(1.0 / 12), 1.0, 2.5};
    for (std::size_t k = 0; k < 4; ++k) {
        double const error = 5.0 * deviation[k] / std::sqrt(static_cast<double>(n));
        EXPECT_NEAR(sum[k] / n, mean[k], error) << k;
        double const variance = square[k] / n - sum[k] / n * (sum[k] / n);
        EXPECT_NEAR(std::sqrt(variance) / deviation[k], 1.0, 0.02) << k;
    }
    for (int const face : faces) EXPECT_NEAR(face, n / 6.0, 5.0 * std::sqrt(n / 6.0));
    EXPECT_EQ(rng.below(1), 0U);
}

TEST(Mix64, IsSplitmix64) {
    // First outputs of the splitmix64 generator seeded with 0 (its state advances by the
    // increment).
    EXPECT_EQ(mix64(0), 0xE220A8397B1DCDAFULL);
    EXPECT_EQ(mix64(0x9E3779B97F4A7C15ULL), 0x6E789E6AA1B965F4ULL);
}

TEST(Shards, UsersAndNodesAreBalanced) {
    constexpr std::uint32_t shards = 256;
    constexpr std::uint64_t users = 256 * 400;
    std::vector<int> per_shard(shards, 0);
    for (UserId user = 0; user < users; ++user) {
        auto const shard = to_int(shard_of_user(user, shards));
        ASSERT_LT(shard, shards);
        ++per_shard[shard];
    }
    double chi_square = 0.0;
    for (int const count : per_shard) chi_square += (count - 400.0) * (count - 400.0) / 400.0;
    // 255 degrees of freedom: mean 255, standard deviation 22.6.
    EXPECT_GT(chi_square, 255 - 5 * 22.6);
    EXPECT_LT(chi_square, 255 + 5 * 22.6);
    std::vector<int> per_node(8, 0);
    for (std::uint32_t shard = 0; shard < kDefaultShards; ++shard)
        ++per_node[to_int(node_of_shard(ShardId{shard}, 8))];
    for (int const count : per_node) EXPECT_NEAR(count, 512, 5 * std::sqrt(512.0 * 7 / 8));
}

TEST(Shards, RanksOwnEveryShardOnce) {
    for (int ranks = 1; ranks <= 5; ++ranks) {
        std::vector<int> owned(static_cast<std::size_t>(ranks), 0);
        for (std::uint32_t shard = 0; shard < 64; ++shard) {
            int const rank = rank_of_shard(ShardId{shard}, ranks);
            ASSERT_TRUE(rank >= 0 && rank < ranks);
            ++owned[static_cast<std::size_t>(rank)];
        }
        EXPECT_EQ(std::accumulate(owned.begin(), owned.end(), 0), 64);
        for (int const count : owned) EXPECT_NEAR(count, 64.0 / ranks, 1.0);
        EXPECT_EQ(rank_of_node(NodeId{7}, ranks), 7 % ranks);
    }
    static_assert(shard_of_user(5, 1) == ShardId{0});
}

}  // namespace
}  // namespace ckvsim
