#include "core/atomic_file.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "core/error.hpp"
#include "temporary_folder.hpp"

namespace ckvsim {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

template <class Call>
std::string message_of(Call&& call) {
    try {
        call();
    } catch (Error const& error) {
        return error.what();
    }
    return "";
}

TEST(AtomicFile, WritesReadsAndReplaces) {
    test::TemporaryFolder const folder;
    auto const path = folder.path("new/deep/file");
    std::string content(3U << 20, 'x');
    content[5] = '\0';
    write_file_atomically(path, content);
    EXPECT_EQ(read_file(path), content);
    write_file_atomically(path, "");
    EXPECT_EQ(read_file(path), "");
    EXPECT_FALSE(fs::exists(path + ".partial"));
}

TEST(AtomicFile, AFailedWriteKeepsTheOldFileAndLeavesNothing) {
    test::TemporaryFolder const folder;
    // The final name is a folder that is not empty: the rename must fail.
    fs::create_directories(folder.path("target/inside"));
    EXPECT_THAT(message_of([&] { write_file_atomically(folder.path("target"), "new"); }),
                HasSubstr("cannot rename"));
    EXPECT_TRUE(fs::exists(folder.path("target/inside")));
    EXPECT_FALSE(fs::exists(folder.path("target.partial")));
    auto const file = folder.write("file", "old");
    EXPECT_THAT(message_of([&] { write_file_atomically(file + "/below", "new"); }),
                HasSubstr("cannot create"));
    EXPECT_EQ(read_file(file), "old");
}

TEST(AtomicFile, AFullDeviceIsReported) {
    if (!fs::exists("/dev/full")) GTEST_SKIP() << "no /dev/full";
    test::TemporaryFolder const folder;
    // The temporary name already exists as a link to a device that is always full.
    fs::create_symlink("/dev/full", folder.path("file.partial"));
    EXPECT_THAT(message_of([&] { write_file_atomically(folder.path("file"), "content"); }),
                HasSubstr("No space left on device"));
    EXPECT_FALSE(fs::exists(folder.path("file")));
    EXPECT_FALSE(fs::is_symlink(folder.path("file.partial"))) << "the temporary is removed";
}

TEST(AtomicFile, NoPermission) {
    if (::geteuid() == 0) GTEST_SKIP() << "root may write everywhere";
    test::TemporaryFolder const folder;
    fs::create_directory(folder.path("closed"));
    ASSERT_EQ(::chmod(folder.path("closed").c_str(), 0500), 0);
    EXPECT_THAT(message_of([&] { write_file_atomically(folder.path("closed/file"), "x"); }),
                HasSubstr("Permission denied"));
}

TEST(ReadFile, RefusesWhatIsNotARegularFile) {
    test::TemporaryFolder const folder;
    EXPECT_THAT(message_of([&] { read_file(folder.path("absent")); }), HasSubstr("cannot open"));
    EXPECT_THAT(message_of([&] { read_file(folder.path()); }), HasSubstr("is not a regular file"));
    ASSERT_EQ(::mkfifo(folder.path("fifo").c_str(), 0600), 0);
    EXPECT_THAT(message_of([&] { read_file(folder.path("fifo")); }),
                HasSubstr("is not a regular file"));
    EXPECT_THROW(read_file("/dev/zero"), DataError);
}

}  // namespace
}  // namespace ckvsim
