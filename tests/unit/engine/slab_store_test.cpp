#include "engine/slab_store.hpp"

#include <gtest/gtest.h>

#include <map>
#include <thread>

#include "core/error.hpp"
#include "device/cpu/cpu_backend.hpp"
#include "serving_fixtures.hpp"

namespace ckvsim::engine {
namespace {

using testing_support::PlainPopulation;
using testing_support::serving_shape;

constexpr std::uint32_t kMostTokens = 40;  // of serving_shape()
constexpr std::uint64_t kUsers = 300;

/// Real kernels: append() moves tokens inside an entry.
std::shared_ptr<decode::Backend const> backend_of(PlainPopulation const& population,
                                                  std::uint32_t attention_dim = 8,
                                                  model::ModelKind kind = model::ModelKind::sim) {
    auto shape = serving_shape();
    shape.attention_dim = attention_dim;
    shape.kind = kind;
    if (kind == model::ModelKind::sdim) shape.hash_bits = 3;
    model::VariantParams const full;
    kv::StrategyParams strategy;
    auto const weights = std::make_shared<model::SimWeights const>(
        model::random_sim_weights(shape, full, population.catalogue(), 1, 1));
    return device::cpu::make_backend(weights, strategy, population.catalogue());
}

struct Fixture {
    explicit Fixture(std::uint64_t budget = std::uint64_t{64} << 20,
                     std::uint32_t attention_dim = 8, model::ModelKind kind = model::ModelKind::sim)
        : backend(backend_of(population, attention_dim, kind)), store(backend, kUsers, budget) {}
    /// Bytes that a history encodes to in an entry with such room.
    std::vector<std::byte> encoded(std::vector<ItemId> const& history, std::uint32_t capacity) {
        std::vector<std::byte> entry(backend->layout().entry_bytes(capacity) + 16);
        backend->encode(history, capacity, decode::EncodeMode::compute, entry.data(), *scratch);
        return entry;
    }
    /// Whether an entry holds what `history` encodes to, section by section.
    bool holds(decode::EntryRef const& entry, std::vector<ItemId> const& history) {
        auto const& layout = backend->layout();
        auto const kept = std::min<std::size_t>(history.size(), kMostTokens);
        if (entry.tokens != kept) return false;
        auto const wanted = encoded(history, entry.capacity);
        auto const offsets = layout.offsets(entry.capacity);
        for (std::size_t s = 0; s < kv::kSections; ++s) {
            auto const bytes = layout.payload_bytes(entry.tokens, static_cast<kv::Section>(s));
            if (bytes > 0 &&
                std::memcmp(entry.data + offsets[s], wanted.data() + offsets[s], bytes) != 0)
                return false;
        }
        return true;
    }
    PlainPopulation population{kUsers};
    std::shared_ptr<decode::Backend const> backend;
    std::unique_ptr<decode::Scratch> scratch = backend->make_scratch();
    SlabStore store;
};

std::vector<ItemId> some_items(CounterRng& rng, std::uint32_t count) {
    std::vector<ItemId> items(count);
    for (auto& item : items) item = 1 + rng.below(500);
    return items;
}

TEST(SlabLadder, HasRoomForEveryLengthWithinAQuarterMore) {
    PlainPopulation const population(1);
    SlabLadder const ladder(backend_of(population)->layout(), 1000);
    EXPECT_EQ(ladder.capacity(ladder.classes() - 1), 1000U);
    for (std::uint32_t tokens = 0; tokens <= 1000; ++tokens) {
        auto const at = ladder.class_of(tokens);
        EXPECT_GE(ladder.capacity(at), tokens);
        if (tokens >= 16) {
            EXPECT_LE(ladder.capacity(at), tokens + tokens / 4 + 1);
        }
        if (at > 0) {
            EXPECT_LT(ladder.capacity(at - 1), tokens);
        }
        EXPECT_GE(ladder.slots_in_chunk(at), 8U);
    }
    EXPECT_THROW((void)ladder.class_of(1001), InternalError);
}

/// SDIM's entries hold a section that does not grow with the tokens.
class SlabStoreOf : public ::testing::TestWithParam<model::ModelKind> {};
INSTANTIATE_TEST_SUITE_P(Models, SlabStoreOf,
                         ::testing::Values(model::ModelKind::sim, model::ModelKind::sdim),
                         [](auto const& of) { return model::to_string(of.param); });

TEST_P(SlabStoreOf, EqualsAMapOfHistoriesUnderRandomWrites) {
    Fixture f(std::uint64_t{64} << 20, 8, GetParam());
    std::map<std::uint64_t, std::vector<ItemId>> oracle;
    CounterRng rng(5, Purpose::test, 1);
    for (int step = 0; step < 3000; ++step) {
        std::uint64_t const user = rng.below(kUsers);
        auto const action = rng.below(10);
        if (action == 0) {
            f.store.drop(user);
            oracle.erase(user);
        } else if (action < 4 || !oracle.contains(user)) {
            oracle[user] = some_items(rng, rng.below(60));
            ASSERT_TRUE(f.store.put(user, oracle[user], decode::EncodeMode::compute, *f.scratch));
        } else {
            auto const added = some_items(rng, 1 + rng.below(5));
            auto& history = oracle[user];
            // What has fallen out of an entry does not come back.
            if (history.size() > kMostTokens)
                history.erase(history.begin(), history.end() - kMostTokens);
            history.insert(history.end(), added.begin(), added.end());
            ASSERT_TRUE(f.store.append(user, added, decode::EncodeMode::compute, *f.scratch));
        }
    }
    SlabStore::Reader const reader(f.store);
    std::uint64_t payload = 0;
    for (std::uint64_t user = 0; user < kUsers; ++user) {
        auto const entry = reader.read(user);
        auto const at = oracle.find(user);
        if (at == oracle.end()) {
            EXPECT_EQ(entry.data, nullptr);
            continue;
        }
        EXPECT_TRUE(f.holds(entry, at->second)) << user;
        payload += f.backend->layout().payload_bytes(entry.tokens);
    }
    auto const usage = f.store.usage();
    EXPECT_EQ(usage.payload_bytes, payload);
    EXPECT_GE(usage.slot_bytes, payload);
    EXPECT_LE(usage.slot_bytes + usage.retired_bytes, usage.chunk_bytes);
    EXPECT_EQ(usage.record_bytes, 8 * kUsers);
    EXPECT_GT(usage.fragmentation(), 0.0);
    EXPECT_LT(usage.fragmentation(), 1.0);
    EXPECT_THROW((void)f.store.append(kUsers, {}, decode::EncodeMode::compute, *f.scratch),
                 InternalError);
}

TEST(SlabStore, AReaderKeepsWhatItSawUntilItRefreshes) {
    Fixture f;
    CounterRng rng(5, Purpose::test, 2);
    auto const first = some_items(rng, 20);
    ASSERT_TRUE(f.store.put(1, first, decode::EncodeMode::compute, *f.scratch));
    SlabStore::Reader reader(f.store);
    auto const seen = reader.read(1);
    auto history = first;
    for (int i = 0; i < 500; ++i) {
        auto const added = some_items(rng, 1);
        history.push_back(added[0]);
        ASSERT_TRUE(f.store.append(1, added, decode::EncodeMode::compute, *f.scratch));
    }
    EXPECT_TRUE(f.holds(seen, first));
    EXPECT_GT(f.store.usage().retired_bytes, 0U);
    reader.refresh();
    EXPECT_TRUE(f.holds(reader.read(1), history));
}

TEST(SlabStore, ReadersSeeWholeEntriesWhileAWriterAppends) {
    Fixture f;
    // User u only ever holds items that are u + 1 modulo kUsers: an entry that mixes users shows.
    constexpr std::uint64_t kOwners = 16;
    std::vector<std::vector<std::byte>> pattern(kOwners);
    for (std::uint64_t user = 0; user < kOwners; ++user) {
        std::vector<ItemId> const history(10, static_cast<ItemId>(user + 1));
        ASSERT_TRUE(f.store.put(user, history, decode::EncodeMode::compute, *f.scratch));
        pattern[user] = f.encoded({static_cast<ItemId>(user + 1)}, 1);
    }
    std::uint32_t const row = f.backend->layout().bytes_per_token(kv::Section::long_k);
    auto const first = f.backend->layout().offset(kv::Section::long_k, 1);
    std::atomic<bool> stop{false};
    std::atomic<std::uint64_t> wrong{0};
    std::atomic<std::uint64_t> reads{0};
    std::uint64_t refused = 0;
    auto const read_on = [&](std::uint64_t seed) {
        SlabStore::Reader reader(f.store);
        CounterRng rng(seed, Purpose::test, 3);
        while (!stop) {
            std::uint64_t const user = rng.below(kOwners);
            auto const entry = reader.read(user);
            auto const at = f.backend->layout().offset(kv::Section::long_k, entry.capacity);
            for (std::uint32_t t = 0; t < entry.tokens; ++t) {
                if (std::memcmp(entry.data + at + t * row, pattern[user].data() + first, row) != 0)
                    ++wrong;
            }
            if (++reads % 8 == 0) reader.refresh();
        }
    };
    {
        std::jthread const one(read_on, 1);
        std::jthread const two(read_on, 2);
        CounterRng rng(9, Purpose::test, 4);
        for (int i = 0; i < 4000 || reads < 2000; ++i) {
            std::uint64_t const user = rng.below(kOwners);
            std::vector<ItemId> const added(1 + rng.below(3), static_cast<ItemId>(user + 1));
            if (!f.store.append(user, added, decode::EncodeMode::memo, *f.scratch)) ++refused;
            if (i % 64 == 0) {
                std::vector<ItemId> const history(3, static_cast<ItemId>(user + 1));
                refused += f.store.put(user, history, decode::EncodeMode::memo, *f.scratch) ? 0 : 1;
            }
        }
        stop = true;
    }
    EXPECT_EQ(wrong, 0U);
    EXPECT_GE(reads, 2000U);
    EXPECT_EQ(refused, 0U);  // left slots are used again while readers move on
}

TEST(SlabStore, AFullStoreAsksWhomToDrop) {
    Fixture f(std::uint64_t{2} << 20, 64);  // one chunk, fewer slots than users
    std::vector<ItemId> const longest(kMostTokens, 3);
    std::uint64_t stored = 0;
    while (stored < kUsers && f.store.put(stored, longest, decode::EncodeMode::memo, *f.scratch))
        ++stored;
    ASSERT_LT(stored, kUsers);
    std::uint64_t next = 0;
    f.store.set_evict([&](std::uint64_t writing) {
        EXPECT_EQ(writing, stored);
        return next++;
    });
    EXPECT_TRUE(f.store.put(stored, longest, decode::EncodeMode::memo, *f.scratch));
    EXPECT_EQ(next, 1U);
    // Entries of another size need a chunk of their own: users go until one is empty.
    std::vector<ItemId> const shorter(5, 3);
    f.store.set_evict([&](std::uint64_t) { return next < stored ? next++ : UINT64_MAX; });
    EXPECT_TRUE(f.store.put(stored + 1, shorter, decode::EncodeMode::memo, *f.scratch));
    SlabStore::Reader const reader(f.store);
    EXPECT_TRUE(f.holds(reader.read(stored + 1), shorter));
    EXPECT_EQ(reader.read(0).data, nullptr);
}

TEST(SlabStore, WithoutRoomNothingChanges) {
    Fixture f(std::uint64_t{2} << 20, 64);  // one chunk, fewer slots than users
    std::vector<ItemId> const longest(kMostTokens, 3);
    std::uint64_t stored = 0;
    while (f.store.put(stored, longest, decode::EncodeMode::memo, *f.scratch)) ++stored;
    SlabStore::Reader const reader(f.store);
    std::vector<ItemId> const added = {4};
    EXPECT_FALSE(f.store.append(0, added, decode::EncodeMode::memo, *f.scratch));
    EXPECT_TRUE(f.holds(reader.read(0), longest));
    // What a reader may still see is not given away.
    f.store.drop(1);
    EXPECT_FALSE(f.store.append(0, added, decode::EncodeMode::memo, *f.scratch));
    EXPECT_THROW(SlabStore(f.backend, 1, 1000), BackendError);
}

TEST(SlabStore, WhatCannotBeEncodedTakesNoSlot) {
    Fixture f(std::uint64_t{2} << 20, 64);
    std::vector<std::uint32_t> const tokens(5, kMostTokens);
    auto const fail = [](std::uint64_t user, std::byte*, std::uint32_t, decode::Scratch&) {
        if (user == 3) throw BackendError("cannot encode user 3");
    };
    std::vector<ItemId> const longest(kMostTokens, 3);
    auto const room = [&] {
        std::uint64_t stored = 0;
        while (stored < kUsers &&
               f.store.put(stored, longest, decode::EncodeMode::memo, *f.scratch))
            ++stored;
        for (std::uint64_t user = 0; user < stored; ++user) f.store.drop(user);
        return stored;
    };
    auto const before = room();
    for (int i = 0; i < 20; ++i)
        EXPECT_THROW((void)f.store.put_range(0, tokens, fail), BackendError);
    EXPECT_EQ(room(), before);
    EXPECT_EQ(f.store.usage().slot_bytes, 0U);
}

}  // namespace
}  // namespace ckvsim::engine
