// What this process runs on: for provenance and for the check that a run fits the machine.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

namespace ckvsim::app {

std::int64_t resident_set_bytes();   ///< of this process, now
std::int64_t peak_resident_bytes();  ///< of this process, the most so far
/// What this process may use at most and what of it is free now: of the machine, or less where a
/// control group (batch systems, containers) says so; free, too, within the address-space limit.
std::uint64_t physical_memory_bytes();
std::uint64_t available_memory_bytes();

/// Memory of the control groups (version 1 or 2) that hold a process; without a limit the largest
/// values there are.
struct MemoryLimit {
    std::uint64_t bytes = UINT64_MAX;
    std::uint64_t available = UINT64_MAX;  ///< file cache that can be dropped counts as free
};
/// `membership` as /proc/self/cgroup, `root` as /sys/fs/cgroup. The tightest group on the way up
/// decides. What cannot be read limits nothing.
MemoryLimit control_group_memory(std::filesystem::path const& membership,
                                 std::filesystem::path const& root);
std::string cpu_model();
std::string host_name();
int online_cores();
int affinity_cores();  ///< cores this process may run on

/// commit, dirty, version, build_type, compiler, host, kernel, cpu, cores, affinity, threads,
/// memory, date_utc.
std::map<std::string, std::string> machine_provenance();

}  // namespace ckvsim::app
