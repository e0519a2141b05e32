#include "core/section_file.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "core/atomic_file.hpp"
#include "core/error.hpp"
#include "temporary_folder.hpp"

namespace ckvsim {
namespace {

constexpr std::uint64_t kKey = 17;
using test::TemporaryFolder;

std::vector<std::byte> content(std::size_t size) {
    std::vector<std::byte> bytes(size);
    for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * 7 + i / 251);
    return bytes;
}
std::vector<std::byte> read_all(SectionFile const& file, SectionName const& name) {
    auto const source = file.open(name);
    std::vector<std::byte> bytes(source->remaining());
    source->read(bytes);
    return bytes;
}

class Sections : public ::testing::Test {
  protected:
    void write() {
        SectionWriter file(path_, kKey);
        file.begin({1, 2, 3, 4}).write(content(3'000'000));  // more than two chunks
        file.end();
        file.begin({1, 2, 5, 4}).write(content(10));
        file.end();
        digest_ = file.digest();
        file.commit();
    }
    TemporaryFolder folder_;
    std::string path_ = folder_.path() + "/state";
    std::uint64_t digest_ = 0;
};

TEST_F(Sections, ReadWhatWasWritten) {
    write();
    SectionFile const file(path_, kKey);
    EXPECT_EQ(file.entries().size(), 2U);
    EXPECT_EQ(file.digest(), digest_);
    EXPECT_EQ(file.torn(), "");
    EXPECT_EQ(read_all(file, {1, 2, 3, 4}), content(3'000'000));
    EXPECT_EQ(read_all(file, {1, 2, 5, 4}), content(10));
    EXPECT_THROW(file.open(SectionName{1, 2, 6, 4}), DataError) << "no such section";
    EXPECT_THROW(file.open(SectionName{1, 2, 5, 9}), DataError) << "another layout";
    EXPECT_THROW(SectionFile(path_, kKey + 1), DataError) << "another study";
}

TEST_F(Sections, WithoutCommitNothingIsLeft) {
    { SectionWriter const file(path_, kKey); }
    EXPECT_TRUE(std::filesystem::is_empty(folder_.path()));
    EXPECT_THROW(SectionWriter("/nowhere/state", kKey), BackendError);
}

TEST_F(Sections, AnyChangedByteIsFound) {
    write();
    auto const whole = read_file(path_);
    for (std::size_t at = 0; at < whole.size(); at += 1 + whole.size() / 23) {
        auto changed = whole;
        changed[at] = static_cast<char>(changed[at] ^ 0x10);
        write_file_atomically(path_, changed);
        bool found = false;
        try {
            SectionFile const file(path_, kKey);
            found = !file.torn().empty() || file.digest() != digest_;
            for (auto const& entry : file.entries()) (void)file.open(entry);
        } catch (DataError const&) {
            found = true;
        }
        EXPECT_TRUE(found) << at;
    }
}

TEST_F(Sections, ATruncatedFileKeepsItsWholeSections) {
    write();
    auto const whole = read_file(path_);
    write_file_atomically(path_, whole.substr(0, whole.size() - 5));
    SectionFile const file(path_, kKey);
    EXPECT_NE(file.torn(), "");
    EXPECT_EQ(file.entries().size(), 1U);
    EXPECT_EQ(read_all(file, {1, 2, 3, 4}).size(), 3'000'000U);
    write_file_atomically(path_, whole.substr(0, 10));
    EXPECT_THROW(SectionFile(path_, kKey), DataError);
    write_file_atomically(path_, std::string(5000, 'x'));
    EXPECT_THROW(SectionFile(path_, kKey), DataError);
}

TEST_F(Sections, AJournalGrowsByWholeSections) {
    {
        SectionJournal journal(path_, kKey);
        journal.append({1, 0, 0, 0}, content(100));
        journal.append({1, 1, 0, 0}, content(1'500'000));
        journal.flush();
    }
    {
        SectionFile const file(path_, kKey);
        EXPECT_EQ(read_all(file, {1, 0, 0, 0}), content(100));
        EXPECT_EQ(read_all(file, {1, 1, 0, 0}), content(1'500'000));
    }
    std::ofstream(path_, std::ios::app) << "half a section";
    EXPECT_EQ(SectionFile(path_, kKey).entries().size(), 2U);
}

}  // namespace
}  // namespace ckvsim
