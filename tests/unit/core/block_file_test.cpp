#include "core/block_file.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>

#include "core/error.hpp"
#include "core/rng.hpp"
#include "temporary_folder.hpp"

namespace ckvsim {
namespace {

struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
};
using Buffer = std::unique_ptr<std::byte, Free>;

Buffer block_buffer(std::size_t bytes) {
    return Buffer(static_cast<std::byte*>(std::aligned_alloc(BlockFile::kBlock, bytes)));
}

std::string message_of(auto&& action) {
    try {
        action();
    } catch (BackendError const& error) {
        return error.what();
    }
    return "no error";
}

TEST(BlockFile, GivesBackWhatWasWrittenInAnyOrder) {
    test::TemporaryFolder const folder;
    constexpr std::size_t kBlocks = 9;
    BlockFile const file(folder.path(), kBlocks * BlockFile::kBlock - 1);
    EXPECT_EQ(file.bytes(), kBlocks * BlockFile::kBlock);
    auto const buffer = block_buffer(2 * BlockFile::kBlock);
    auto const fill = [&](std::size_t block) {
        CounterRng rng(1, Purpose::test, block);
        for (std::size_t i = 0; i < BlockFile::kBlock; ++i)
            buffer.get()[i] = static_cast<std::byte>(rng.below(256));
    };
    for (std::size_t i = 0; i < kBlocks; ++i) {
        std::size_t const block = i * 4 % kBlocks;
        fill(block);
        file.write(block * BlockFile::kBlock, buffer.get(), BlockFile::kBlock);
    }
    auto const again = block_buffer(BlockFile::kBlock);
    for (std::size_t block = 0; block < kBlocks; ++block) {
        fill(block);
        file.read(block * BlockFile::kBlock, again.get(), BlockFile::kBlock);
        EXPECT_EQ(std::memcmp(again.get(), buffer.get(), BlockFile::kBlock), 0) << block;
    }
}

TEST(BlockFile, LeavesNothingInTheFolderEvenWhileItLives) {
    test::TemporaryFolder const folder;
    std::string const deeper = folder.path() + "/not/yet/there";
    BlockFile const file(deeper, 10000);
    EXPECT_TRUE(std::filesystem::is_empty(deeper));
}

TEST(BlockFile, SaysWhereAndHowMuchWhenSomethingFails) {
    test::TemporaryFolder const folder;
    BlockFile const file(folder.path(), BlockFile::kBlock);
    auto const buffer = block_buffer(BlockFile::kBlock);
    auto const beyond =
        message_of([&] { file.read(BlockFile::kBlock, buffer.get(), BlockFile::kBlock); });
    EXPECT_NE(beyond.find("reading of 4096 bytes at offset 4096 of 4096"), std::string::npos)
        << beyond;
    EXPECT_NE(beyond.find("the file is shorter"), std::string::npos) << beyond;
    auto const full = message_of([&] { BlockFile const huge(folder.path(), 1ULL << 60); });
    EXPECT_NE(full.find("cannot reserve 1152921504606846976 bytes"), std::string::npos) << full;
    EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
    EXPECT_NE(
        message_of([] { BlockFile const none("/proc/nothing/here", 1); }).find("/proc/nothing"),
        std::string::npos);
}

TEST(BlockFile, AFileSystemInMemoryIsNotCalledDirect) {
    if (!std::filesystem::exists("/dev/shm")) GTEST_SKIP() << "no file system in memory here";
    BlockFile const file("/dev/shm", BlockFile::kBlock);
    EXPECT_FALSE(file.direct());
}

}  // namespace
}  // namespace ckvsim
