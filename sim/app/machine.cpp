#include "app/machine.hpp"

#include <omp.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <fstream>
#include <thread>

#include "ckvsim_build_info.hpp"
#include "device/cpu/cpu_backend.hpp"

namespace ckvsim::app {

namespace {

/// A "Name:   123 kB" line of a /proc file, in bytes; 0 when absent.
std::uint64_t proc_kilobytes(char const* file, std::string const& name) {
    std::ifstream input(file);
    std::string key;
    std::uint64_t value = 0;
    std::string rest;
    while (input >> key) {
        if (key == name && input >> value) return value * 1024;
        std::getline(input, rest);
    }
    return 0;
}

constexpr char const* kGroups = "/proc/self/cgroup";
constexpr char const* kGroupRoot = "/sys/fs/cgroup";

/// A file of one number; "max", garbage or no file: the largest value.
std::uint64_t number_in(std::filesystem::path const& file) {
    std::ifstream input(file);
    std::uint64_t value = 0;
    return input >> value ? value : UINT64_MAX;
}

/// Names that the two versions of control groups have for the same things.
struct GroupFiles {
    char const* limit;
    char const* used;
    std::array<char const*, 3> reclaimable;  ///< keys in memory.stat: file cache and the like
};
constexpr GroupFiles kVersion1 = {"memory.limit_in_bytes",
                                  "memory.usage_in_bytes",
                                  {"total_inactive_file", "total_active_file", ""}};
constexpr GroupFiles kVersion2 = {
    "memory.max", "memory.current", {"inactive_file", "active_file", "slab_reclaimable"}};

std::uint64_t statistic(std::filesystem::path const& file, std::string const& name) {
    std::ifstream input(file);
    std::string key;
    std::uint64_t value = 0;
    while (input >> key >> value) {
        if (key == name) return value;
    }
    return 0;
}

void tighten(MemoryLimit& limit, std::filesystem::path const& group, GroupFiles const& files) {
    std::uint64_t const most = number_in(group / files.limit);
    // Version 1 says "no limit" by a number beyond any memory.
    if (most >= UINT64_MAX / 4) return;
    limit.bytes = std::min(limit.bytes, most);
    std::uint64_t used = number_in(group / files.used);
    if (used == UINT64_MAX) used = 0;
    for (auto const* key : files.reclaimable)
        used -= std::min(used, statistic(group / "memory.stat", key));
    limit.available = std::min(limit.available, most - std::min(most, used));
}

std::uint64_t free_address_space() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return UINT64_MAX;
    std::ifstream input("/proc/self/statm");
    std::uint64_t pages = 0;
    input >> pages;
    std::uint64_t const taken = pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    return limit.rlim_cur - std::min<std::uint64_t>(limit.rlim_cur, taken);
}

}  // namespace

MemoryLimit control_group_memory(std::filesystem::path const& membership,
                                 std::filesystem::path const& root) {
    MemoryLimit limit;
    std::ifstream input(membership);
    std::string line;  // hierarchy:controllers:path
    while (std::getline(input, line)) {
        auto const first = line.find(':');
        auto const second = line.find(':', first + 1);
        if (first == std::string::npos || second == std::string::npos) continue;
        auto const controllers = "," + line.substr(first + 1, second - first - 1) + ",";
        bool const version2 = controllers == ",,";
        if (!version2 && controllers.find(",memory,") == std::string::npos) continue;
        auto const base = version2 ? root : root / "memory";
        auto group = std::filesystem::path(line.substr(second + 1)).relative_path();
        for (;; group = group.parent_path()) {
            tighten(limit, base / group, version2 ? kVersion2 : kVersion1);
            if (group.empty()) break;
        }
    }
    return limit;
}

std::int64_t resident_set_bytes() {
    std::ifstream input("/proc/self/statm");
    std::int64_t total_pages = 0;
    std::int64_t resident_pages = 0;
    input >> total_pages >> resident_pages;
    return resident_pages * ::sysconf(_SC_PAGESIZE);
}

std::int64_t peak_resident_bytes() {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    return std::int64_t{usage.ru_maxrss} * 1024;  // kernel unit: KiB
}

std::uint64_t physical_memory_bytes() {
    static auto const limit = control_group_memory(kGroups, kGroupRoot).bytes;
    return std::min(proc_kilobytes("/proc/meminfo", "MemTotal:"), limit);
}
std::uint64_t available_memory_bytes() {
    return std::min({proc_kilobytes("/proc/meminfo", "MemAvailable:"),
                     control_group_memory(kGroups, kGroupRoot).available, free_address_space()});
}

std::string cpu_model() {
    std::ifstream input("/proc/cpuinfo");
    std::string line;
    while (std::getline(input, line)) {
        auto const colon = line.find(": ");
        if (line.starts_with("model name") && colon != std::string::npos)
            return line.substr(colon + 2);
    }
    return "unknown";
}

std::string host_name() {
    char name[256] = {};
    return ::gethostname(name, sizeof(name) - 1) == 0 ? name : "unknown";
}

int online_cores() { return static_cast<int>(std::thread::hardware_concurrency()); }

int affinity_cores() {
    cpu_set_t set;
    CPU_ZERO(&set);
    return ::sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : online_cores();
}

std::map<std::string, std::string> machine_provenance() {
    utsname system{};
    ::uname(&system);
    char date[32] = {};
    std::time_t const now = std::time(nullptr);
    std::tm utc{};
    ::gmtime_r(&now, &utc);
    std::strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", &utc);
    return {{"version", CKVSIM_VERSION},
            {"commit", CKVSIM_COMMIT},
            {"dirty", CKVSIM_DIRTY ? "yes" : "no"},
            {"build_type", CKVSIM_BUILD_TYPE},
            {"compiler", "g++ " __VERSION__},
            {"host", host_name()},
            {"kernel", std::string(system.sysname) + " " + system.release},
            {"cpu", cpu_model()},
            {"cores_online", std::to_string(online_cores())},
            {"cores_in_affinity_mask", std::to_string(affinity_cores())},
            {"threads_per_rank", std::to_string(omp_get_max_threads())},
            {"instruction_set", device::cpu::instruction_set()},
            {"memory_bytes", std::to_string(physical_memory_bytes())},
            {"date_utc", date}};
}

}  // namespace ckvsim::app
