// What this process runs on: for provenance and for the check that a run fits the machine.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace ckvsim::app {

std::int64_t resident_set_bytes();      ///< of this process, now
std::int64_t peak_resident_bytes();     ///< of this process, the most so far
std::uint64_t physical_memory_bytes();  ///< of this machine
std::uint64_t available_memory_bytes();
std::string cpu_model();
std::string host_name();
int online_cores();
int affinity_cores();  ///< cores this process may run on

/// commit, dirty, version, build_type, compiler, host, kernel, cpu, cores, affinity, threads,
/// memory, date_utc.
std::map<std::string, std::string> machine_provenance();

}  // namespace ckvsim::app
