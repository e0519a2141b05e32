// `ckvsim calibrate`: this machine's platform file.
#include <cstdio>
#include <filesystem>
#include <optional>
#include <sstream>

#include "app/commands.hpp"
#include "app/run_context.hpp"
#include "app/timed_arms.hpp"
#include "engine/calibrate_storage.hpp"
#include "engine/calibration.hpp"

namespace ckvsim::app {

namespace {

/// The platform's flash: the device under a folder.
void add_storage(node::Platform& platform, std::string const& folder,
                 engine::StorageRates const& rates) {
    platform.nvme_devices = 1;
    platform.nvme_bytes = static_cast<double>(std::filesystem::space(folder).available);
    platform.nvme_read_bytes_per_s = rates.read_bytes_per_s;
    platform.nvme_write_bytes_per_s = rates.write_bytes_per_s;
    platform.nvme_latency_ns = rates.read_latency_ns;
    auto& sources = platform.constant_sources;
    sources["nvme_bytes"] = "free space of the measured folder's file system";
    sources["nvme_devices"] = "taken as one";
    sources["nvme_read_bytes_per_s"] = "measured: 1 MiB reads, eight in flight, median of passes";
    sources["nvme_write_bytes_per_s"] = "measured: 1 MiB writes one by one, median of passes";
    sources["nvme_latency_ns"] = "measured: 4 KiB reads one by one at random places, median";
    if (!rates.direct)
        platform.warnings.emplace_back(
            "the file system has no direct reads: the storage rates may be those of memory");
}

/// The command as it was given, --set and all, so that the file can be measured again.
std::string command_line(SpecOptions const& options, double seconds, std::string const& storage) {
    std::ostringstream line;
    line << "ckvsim calibrate " << options.spec << " --seconds " << seconds;
    if (!storage.empty()) line << " --storage " << storage;
    for (auto const& setting : options.overrides) line << " --set '" << setting << "'";
    return line.str();
}

}  // namespace

int calibrate_command(SpecOptions const& options, std::string const& output, double seconds,
                      std::string const& storage) {
    auto const spec = config::load_spec(options.spec, options.overrides);
    Progress progress(options.quiet);
    auto const population = make_population(spec);
    std::optional<engine::StorageRates> rates;
    if (!storage.empty()) {  // first: a folder that cannot be used is known before the long part
        progress.begin("storage of " + storage);
        rates = engine::measure_storage(storage);
    }
    progress.begin("backends to calibrate");
    auto const arms = timed_arms(spec, *population);
    progress.begin("calibrate " + std::to_string(arms.size()) + " sets of kernels");
    auto const& node = spec.fleet.node;
    auto platform = engine::calibrate(
        arms, *population, {seconds, spec.seed, node.hbm_cache_bytes + node.dram_cache_bytes, {}},
        [&](std::string const& line) { progress.note(line); });
    if (rates) add_storage(platform, storage, *rates);
    progress.end();
    name_measured_platform(platform, command_line(options, seconds, storage));
    auto const path = output.empty() ? calibration_path(spec) : output;
    config::write_platform(platform, path);
    std::printf("%s: %zu cost tables, %.1f GB/s triad\n", path.c_str(), platform.costs.size(),
                platform.hbm_bytes_per_s / 1e9);
    return 0;
}

}  // namespace ckvsim::app
