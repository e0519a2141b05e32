#include "engine/resident_serving.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <mutex>
#include <numeric>
#include <set>

#include "core/error.hpp"
#include "engine/file_residents.hpp"
#include "engine/slab_residents.hpp"
#include "serving_fixtures.hpp"
#include "temporary_folder.hpp"

namespace ckvsim::engine {
namespace {

using testing_support::NamingBackend;
using testing_support::PlainPopulation;
using testing_support::serving_arm;
using testing_support::serving_shape;

constexpr std::uint64_t kUsers = 200;
constexpr std::uint64_t kPlenty = std::uint64_t{16} << 20;

std::vector<UserId> all_users() {
    std::vector<UserId> users(kUsers);
    std::iota(users.begin(), users.end(), UserId{0});
    return users;
}

/// Remembers whose entries were decoded: (ids of the entry, candidates) of every call.
class WatchingBackend final : public NamingBackend {
  public:
    using NamingBackend::NamingBackend;
    void decode(decode::ScoreRequest const& request, float* features,
                decode::Scratch& scratch) const override {
        NamingBackend::decode(request, features, scratch);
        auto const* first = reinterpret_cast<ItemId const*>(request.entry.data);
        std::vector<ItemId> ids(first, first + request.entry.tokens);
        std::lock_guard const lock(mutex_);
        seen_.emplace(std::move(ids), request.count);
    }
    [[nodiscard]] std::multiset<std::pair<std::vector<ItemId>, std::uint32_t>> const& seen() const {
        return seen_;
    }

  private:
    mutable std::mutex mutex_;
    mutable std::multiset<std::pair<std::vector<ItemId>, std::uint32_t>> seen_;
};

struct Fixture {
    Fixture() : backend(std::make_shared<WatchingBackend>(arm.layout, population.catalogue())) {}
    PlainPopulation population{kUsers};
    ServingArm arm = serving_arm(population);
    std::vector<UserId> users = all_users();
    std::shared_ptr<WatchingBackend> backend;
};

/// Bytes that the first `count` users take in memory, counted anew.
std::uint64_t slab_bytes(Fixture const& f, std::uint64_t count) {
    SlabLadder const ladder(f.arm.layout, serving_shape().max_tokens);
    std::map<std::size_t, std::uint64_t> slots;
    for (std::uint64_t i = 0; i < count; ++i)
        ++slots[ladder.class_of(f.population.history_length(f.users[i]))];
    std::uint64_t bytes = count * SlabStore::kRecordBytes;
    for (auto const& [size_class, n] : slots) {
        auto const each = ladder.slots_in_chunk(size_class);
        bytes += (n + each - 1) / each * ladder.chunk_bytes();
    }
    return bytes;
}

TEST(ResidentServing, TheLongestPrefixThatFitsIsHeld) {
    Fixture const f;
    auto const max_tokens = serving_shape().max_tokens;
    for (std::uint64_t budget = 0; budget <= slab_bytes(f, kUsers) + 1000; budget += 777) {
        auto const held = users_that_fit(f.population, f.users, f.arm.layout, max_tokens,
                                         ResidentTier::memory, budget);
        EXPECT_LE(slab_bytes(f, held), budget);
        if (held < kUsers) {
            EXPECT_GT(slab_bytes(f, held + 1), budget);
        }
    }
}

TEST(ResidentServing, WhatFitsIsWhatTheStoreTakes) {
    Fixture const f;
    auto const budget = slab_bytes(f, kUsers) * 2 / 3;
    auto users = f.users;
    users.resize(users_that_fit(f.population, f.users, f.arm.layout, serving_shape().max_tokens,
                                ResidentTier::memory, budget));
    ASSERT_GT(users.size(), 10U);
    ASSERT_LT(users.size(), kUsers);
    SlabResidents residents(f.population, users, f.backend, budget);
    residents.fill({});
    EXPECT_EQ(residents.allocated_bytes() + residents.index_bytes(), slab_bytes(f, users.size()));
    SlabResidents too_many(f.population, f.users, f.backend, budget);
    EXPECT_THROW(too_many.fill({}), InternalError);
}

TEST(ResidentServing, EveryUserIsAskedForBeforeAnyComesAgain) {
    Fixture const f;
    SlabResidents const store(f.population, f.users, f.backend, kPlenty);
    for (std::uint64_t const held : {1ULL, 2ULL, 7ULL, 100ULL, 200ULL}) {
        ResidentLoad load;
        load.min_requests = 2 * held + 1;
        auto const requests = resident_requests(store, held, load);
        ASSERT_EQ(requests.size(), 2 * held + 1);
        for (std::size_t round = 0; round < 2; ++round) {
            std::set<UserId> asked;
            for (std::size_t i = 0; i < held; ++i) asked.insert(requests[round * held + i].user);
            EXPECT_EQ(asked.size(), held);
            EXPECT_LT(*asked.rbegin(), held);
        }
        for (std::size_t i = 1; i < requests.size(); ++i)
            EXPECT_GE(requests[i].intended_start_ns, requests[i - 1].intended_start_ns);
    }
    ResidentLoad share;
    share.user_share = 0.25;
    share.min_requests = 3;
    EXPECT_EQ(resident_requests(store, 101, share).size(), 26U);
    EXPECT_TRUE(resident_requests(store, 0, share).empty());
    share.requests_per_second = 0;
    EXPECT_THROW(resident_requests(store, 1, share), InternalError);
}

TEST(ResidentServing, AFileHoldsWholeBlocks) {
    Fixture const f;
    auto const fit = [&](std::uint64_t budget) {
        return users_that_fit(f.population, f.users, f.arm.layout, serving_shape().max_tokens,
                              ResidentTier::file, budget);
    };
    auto users = f.users;
    users.resize(fit(100 * BlockFile::kBlock));
    test::TemporaryFolder const folder;
    FileResidents const file(f.population, users, f.backend, folder.path(), 4);
    EXPECT_LE(file.allocated_bytes() + file.index_bytes(), 100 * BlockFile::kBlock);
    EXPECT_GT(users.size(), 50U);
    EXPECT_THROW(FileResidents(f.population, users, f.backend, "/proc/nowhere", 4), BackendError);
}

/// Serves all users from `source` and compares whose entries were read.
void expect_right_entries(Fixture const& f, EntrySource& source, bool fetches) {
    ResidentLoad load;
    load.requests_per_second = 1e6;
    load.candidates = 3;
    load.min_requests = 150;
    load.warmup_s = 50e-6;
    auto const requests = resident_requests(source, kUsers, load);
    node::NodeParams node;
    node.max_batch = 8;
    std::size_t told = 0;
    auto const result = serve_residents(source, *f.backend, requests, load, node,
                                        [&](std::uint64_t done, std::uint64_t) { told = done; });
    EXPECT_EQ(told, requests.size());
    EXPECT_GT(result.warmup_requests, 0U);
    EXPECT_EQ(result.requests + result.warmup_requests, requests.size());
    EXPECT_EQ(result.latency[static_cast<std::size_t>(Stage::total)].count(), result.requests);
    EXPECT_EQ(result.latency[static_cast<std::size_t>(Stage::prefill)].max_ns(), 0);
    if (fetches) {
        EXPECT_GT(result.latency[static_cast<std::size_t>(Stage::fetch)].mean_ns(), 0.0);
    }
    std::multiset<std::pair<std::vector<ItemId>, std::uint32_t>> expected;
    for (auto const& request : requests) {
        std::vector<ItemId> history;
        f.population.load_history(f.users[request.user], history);
        expected.emplace(std::move(history), 3U);
    }
    EXPECT_EQ(f.backend->seen(), expected);
}

TEST(ResidentServing, RequestsReadTheEntriesOfTheirUsers) {
    Fixture const f;
    SlabResidents store(f.population, f.users, f.backend, kPlenty);
    store.fill({});
    EXPECT_EQ(store.verify(100, 1), std::pair(std::uint64_t{100}, std::uint64_t{0}));
    expect_right_entries(f, store, false);
}

TEST(ResidentServing, RequestsReadTheEntriesOfTheirUsersFromAFile) {
    Fixture const f;
    test::TemporaryFolder const folder;
    FileResidents file(f.population, f.users, f.backend, folder.path(), 8);
    file.fill({});
    EXPECT_EQ(file.verify(100, 1), std::pair(std::uint64_t{100}, std::uint64_t{0}));
    expect_right_entries(f, file, true);
    std::vector<decode::EntryRef> entries;
    std::vector<std::size_t> const too_many(9, 0);
    EXPECT_THROW(file.fetch(too_many, entries), InternalError);
}

TEST(ResidentServing, AReadThatFailsIsToldAndTheNextOnesWork) {
    ReaderPool pool(4);
    auto const odd = [](std::size_t i) {
        if (i % 2 == 1) throw BackendError("cannot read " + std::to_string(i));
    };
    EXPECT_THROW(pool.for_each(9, odd), BackendError);
    EXPECT_NO_THROW(pool.for_each(0, odd));
    EXPECT_NO_THROW(pool.for_each(1, odd));
    std::atomic<std::size_t> sum{0};
    pool.for_each(100, [&](std::size_t i) { sum += i; });
    EXPECT_EQ(sum, 4950U);
}

}  // namespace
}  // namespace ckvsim::engine
