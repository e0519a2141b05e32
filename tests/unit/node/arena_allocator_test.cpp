#include "node/arena_allocator.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <map>

#include "core/rng.hpp"

namespace ckvsim::node {
namespace {

using Block = ArenaAllocator::Block;

TEST(ArenaAllocator, BlocksNeverOverlapAndKeepTheirBytes) {
    constexpr std::uint64_t kBytes = 64 * 1024;
    ArenaAllocator arena(kBytes);
    std::vector<std::uint8_t> memory(kBytes);
    struct Live {
        std::uint64_t bytes;
        std::uint8_t mark;
    };
    std::map<Block, Live> live;
    CounterRng rng(1, Purpose::test, 0);
    std::uint64_t compactions = 0;
    auto const check = [&](Block block, Live const& l) {
        for (std::uint64_t i = 0; i < l.bytes; ++i)
            ASSERT_EQ(memory[arena.offset(block) + i], l.mark);
    };
    for (int step = 0; step < 20000; ++step) {
        if (!live.empty() && rng.below(5) < 2) {
            auto const at =
                std::next(live.begin(), rng.below(static_cast<std::uint32_t>(live.size())));
            check(at->first, at->second);
            arena.release(at->first);
            live.erase(at);
            continue;
        }
        std::uint64_t const bytes = 1 + rng.below(rng.below(8) == 0 ? 9000 : 700);
        std::uint64_t const free_before = arena.free_bytes();
        Block block = arena.allocate(bytes);
        if (block == ArenaAllocator::kNoBlock && free_before >= ArenaAllocator::rounded(bytes)) {
            ++compactions;
            arena.compact([&](std::uint64_t from, std::uint64_t to, std::uint64_t size) {
                ASSERT_LT(to, from);
                std::memmove(memory.data() + to, memory.data() + from, size);
            });
            block = arena.allocate(bytes);
            ASSERT_NE(block, ArenaAllocator::kNoBlock) << "compaction makes all free bytes usable";
        }
        if (block == ArenaAllocator::kNoBlock) continue;
        ASSERT_EQ(arena.offset(block) % ArenaAllocator::kGranule, 0U);
        ASSERT_LE(arena.offset(block) + arena.size(block), kBytes);
        ASSERT_EQ(arena.free_bytes(), free_before - ArenaAllocator::rounded(bytes));
        auto const mark = static_cast<std::uint8_t>(step);
        std::memset(memory.data() + arena.offset(block), mark, bytes);
        ASSERT_TRUE(live.emplace(block, Live{bytes, mark}).second);
    }
    EXPECT_GT(compactions, 0U) << "the trace must exercise compaction";
    for (auto const& [block, l] : live) {
        check(block, l);
        arena.release(block);
    }
    EXPECT_EQ(arena.free_bytes(), kBytes);
    EXPECT_NE(arena.allocate(kBytes), ArenaAllocator::kNoBlock) << "everything grew together again";
}

TEST(ArenaAllocator, AnEmptyArenaGivesNothing) {
    ArenaAllocator arena(63);
    EXPECT_EQ(arena.capacity(), 0U);
    EXPECT_EQ(arena.allocate(1), ArenaAllocator::kNoBlock);
}

}  // namespace
}  // namespace ckvsim::node
