#include "app/machine.hpp"

#include <gtest/gtest.h>

#include "temporary_folder.hpp"

namespace ckvsim::app {
namespace {

namespace fs = std::filesystem;

/// Made-up files of control groups.
class ControlGroups : public testing::Test {
  protected:
    void write(fs::path const& file, std::string const& text) {
        fs::create_directories(folder_.path(file.parent_path()));
        (void)folder_.write(file, text);
    }
    MemoryLimit limit() { return control_group_memory(folder_.path("membership"), folder_.path()); }

  private:
    test::TemporaryFolder folder_;
};

TEST_F(ControlGroups, OfVersion2LimitAndDropFileCache) {
    write("membership", "0::/job/step\n");
    write("job/step/memory.max", "1000\n");
    write("job/step/memory.current", "700\n");
    write("job/step/memory.stat", "anon 400\ninactive_file 250\nactive_file 50\n");
    EXPECT_EQ(limit().bytes, 1000U);
    EXPECT_EQ(limit().available, 600U) << "anonymous memory alone cannot be dropped";
}

TEST_F(ControlGroups, TheTightestOnTheWayUpDecides) {
    write("membership", "0::/job/step\n");
    write("job/step/memory.max", "max\n");
    write("job/memory.max", "500\n");
    write("job/memory.current", "800\n");
    write("memory.max", "9000\n");
    write("memory.current", "0\n");
    EXPECT_EQ(limit().bytes, 500U);
    EXPECT_EQ(limit().available, 0U) << "more used than allowed";
}

TEST_F(ControlGroups, OfVersion1HaveAFolderOfTheirOwn) {
    write("membership", "11:cpu,cpuacct:/other\n9:devices,memory:/job\n");
    write("memory/job/memory.limit_in_bytes", "4096\n");
    write("memory/job/memory.usage_in_bytes", "96\n");
    write("memory/memory.limit_in_bytes", "9223372036854771712\n");  // its way to say "none"
    write("memory/memory.usage_in_bytes", "5000\n");
    write("other/memory.max", "1\n");
    EXPECT_EQ(limit().bytes, 4096U);
    EXPECT_EQ(limit().available, 4000U);
}

TEST_F(ControlGroups, WhatCannotBeReadLimitsNothing) {
    EXPECT_EQ(limit().bytes, UINT64_MAX);
    write("membership", "no colons here\n0::/gone\n");
    write("gone/memory.max", "not a number\n");
    EXPECT_EQ(limit().bytes, UINT64_MAX);
    EXPECT_EQ(limit().available, UINT64_MAX);
}

TEST(Machine, AvailableMemoryIsPartOfTheMachines) {
    EXPECT_GT(physical_memory_bytes(), 0U);
    EXPECT_LE(available_memory_bytes(), physical_memory_bytes());
}

}  // namespace
}  // namespace ckvsim::app
