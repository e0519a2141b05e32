#include "app/machine.hpp"

#include <omp.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

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

}  // namespace

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

std::uint64_t physical_memory_bytes() { return proc_kilobytes("/proc/meminfo", "MemTotal:"); }
std::uint64_t available_memory_bytes() { return proc_kilobytes("/proc/meminfo", "MemAvailable:"); }

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
