// Platform files: node::Platform as JSON. Written by `ckvsim calibrate` and by hand from data
// sheets.
#include <algorithm>
#include <set>

#include "config/input_file.hpp"
#include "config/key_reader.hpp"
#include "config/key_text.hpp"
#include "config/key_writer.hpp"
#include "config/spec.hpp"
#include "core/atomic_file.hpp"
#include "core/error.hpp"
#include "core/hash.hpp"

namespace ckvsim::config {

namespace {

constexpr char const* kFormat = "ckvsim-platform-1";
constexpr JsonLimits kPlatformLimits = {.bytes = std::size_t{64} << 20, .depth = 8};

constexpr std::pair<node::PlatformKind, char const*> kKinds[] = {
    {node::PlatformKind::measured, "measured"}, {node::PlatformKind::nominal, "nominal"}};

/// Stages that a cost table may describe (node/platform.hpp).
std::vector<std::string> const kStages = {"fetch",         "prefill",      "decode",
                                          "score",         "host",         "append",
                                          "prefill_alone", "decode_alone", "score_alone"};

/// Constants that need a source on a nominal platform.
std::vector<std::string> const kConstants = {"gpus",
                                             "hbm_bytes",
                                             "hbm_bytes_per_s",
                                             "dram_bytes",
                                             "dram_bytes_per_s",
                                             "link_bytes_per_s",
                                             "link_latency_ns",
                                             "flops_per_s",
                                             "efficiency",
                                             "batch_overhead_ns",
                                             "fetch_overlaps_decode"};
/// ... and those that a platform may leave out.
std::vector<std::string> const kOptionalConstants = {
    "nvme_bytes",      "nvme_devices",    "nvme_read_bytes_per_s", "nvme_write_bytes_per_s",
    "nvme_latency_ns", "nic_bytes_per_s", "nic_latency_ns",        "cost_per_node_hour",
    "idle_watts",      "busy_watts"};

constexpr RealRange kPositive = {.low = 0, .above_low = true};
constexpr RealRange kNotNegative = {.low = 0};

void describe_grid(KeyVisitor& v, node::CostGrid& grid) {
    auto const axis = [](KeyVisitor& inner, Key const& key, std::uint32_t& value) {
        inner.integer(key, value, {});
    };
    ListRule const points = {.fewest = 1, .most = 1000};
    v.list({.name = "tokens",
            .meaning = "history tokens, ascending",
            .unit = "tokens",
            .required = true},
           grid.tokens, points, axis);
    v.list({.name = "candidates", .meaning = "candidates C, ascending", .required = true},
           grid.candidates, points, axis);
    v.list({.name = "mean_ns",
            .meaning = "mean cost of a request, row-major [tokens][candidates]",
            .unit = "ns",
            .required = true},
           grid.mean_ns, {.fewest = 1, .most = 1'000'000},
           [](KeyVisitor& inner, Key const& key, double& value) {
               inner.real(key, value, kNotNegative);
           });
    v.real(
        {.name = "batch_overhead_ns", .meaning = "once per batch", .unit = "ns", .required = true},
        grid.batch_overhead_ns, kNotNegative);
    v.list({.name = "noise_quantiles",
            .meaning = "equally spaced quantiles of cost over mean, ascending",
            .required = true},
           grid.noise_quantiles, {.fewest = 1, .most = 10000},
           [](KeyVisitor& inner, Key const& key, double& value) {
               inner.real(key, value, kNotNegative);
           });
    v.list({.name = "left_out_errors",
            .meaning =
                "residuals of the table, relative: median and largest error when an inner point "
                "is interpolated from its neighbours"},
           grid.left_out_errors, {.most = 2}, [](KeyVisitor& inner, Key const& key, double& value) {
               inner.real(key, value, kNotNegative);
           });
}

void describe_constants(KeyVisitor& v, node::Platform& p) {
    auto const real = [&](char const* name, char const* meaning, char const* unit, double& value,
                          RealRange const& range) {
        v.real({.name = name, .meaning = meaning, .unit = unit, .required = true}, value, range);
    };
    v.integer({.name = "gpus", .meaning = "accelerators of a node", .required = true}, p.gpus,
              {.low = 1, .high = 1024});
    real("hbm_bytes", "memory of one accelerator", "bytes", p.hbm_bytes, kPositive);
    real("hbm_bytes_per_s", "bandwidth of that memory", "bytes/s", p.hbm_bytes_per_s, kPositive);
    real("dram_bytes", "host memory of a node", "bytes", p.dram_bytes, kPositive);
    real("dram_bytes_per_s", "bandwidth of the host memory", "bytes/s", p.dram_bytes_per_s,
         kPositive);
    real("link_bytes_per_s", "host to accelerator, one direction", "bytes/s", p.link_bytes_per_s,
         kPositive);
    real("link_latency_ns", "of one transfer", "ns", p.link_latency_ns, kNotNegative);
    real("flops_per_s", "dense, in the type the kernels use", "1/s", p.flops_per_s, kPositive);
    real("efficiency", "share of nominal bandwidth and flops assumed reached", "", p.efficiency,
         {.low = 0, .high = 1, .above_low = true});
    real("batch_overhead_ns", "launches per batch and stage", "ns", p.batch_overhead_ns,
         kNotNegative);
    auto const optional = [&](char const* name, char const* meaning, char const* unit,
                              double& value, RealRange const& range) {
        v.real({.name = name, .meaning = meaning, .unit = unit}, value, range);
    };
    optional("nvme_bytes", "flash of a node, all devices; 0 = none", "bytes", p.nvme_bytes,
             kNotNegative);
    v.integer({.name = "nvme_devices", .meaning = "flash devices that share it"}, p.nvme_devices,
              {.low = 1, .high = 1024});
    optional("nvme_read_bytes_per_s", "reading, all devices together", "bytes/s",
             p.nvme_read_bytes_per_s, kNotNegative);
    optional("nvme_write_bytes_per_s", "writing, all devices together", "bytes/s",
             p.nvme_write_bytes_per_s, kNotNegative);
    optional("nvme_latency_ns", "of one read", "ns", p.nvme_latency_ns, kNotNegative);
    optional("nic_bytes_per_s", "network of a node, one direction", "bytes/s", p.nic_bytes_per_s,
             kPositive);
    optional("nic_latency_ns", "of one request over the network", "ns", p.nic_latency_ns,
             kNotNegative);
    optional("cost_per_node_hour", "price of a node for an hour; absent or 0 = not given",
             "currency", p.cost_per_node_hour, kNotNegative);
    v.text({.name = "currency", .meaning = "of the price, for example USD"}, p.currency,
           {.shortest = 0, .longest = 8});
    optional("idle_watts", "power of a whole node without work; absent or 0 = not given", "W",
             p.idle_watts, kNotNegative);
    optional("busy_watts", "power of a whole node whose GPUs always work; absent or 0 = not given",
             "W", p.busy_watts, kNotNegative);
    v.integer({.name = "workers",
               .meaning = "requests of a batch that a server works on side by side: threads of a "
                          "calibrated machine, 1 for a GPU"},
              p.workers, {.low = 1, .high = 4096});
    v.boolean({.name = "fetch_overlaps_decode",
               .meaning = "transfers run on a copy engine beside the kernels",
               .required = true},
              p.fetch_overlaps_decode);
}

void describe_platform(KeyVisitor& v, std::string& format, node::Platform& p) {
    v.text({.name = "format", .meaning = "\"ckvsim-platform-1\"", .required = true}, format, {});
    v.text({.name = "name", .meaning = "name in reports", .required = true}, p.name,
           {.shortest = 1, .longest = 200});
    v.choice<node::PlatformKind>(
        {.name = "kind", .meaning = "calibrated or from data sheets", .required = true}, p.kind,
        kKinds);
    v.text({.name = "source", .meaning = "where the constants come from", .required = true},
           p.source, {.shortest = 1});
    describe_constants(v, p);
    v.map({.name = "constant_sources", .meaning = "the source of each constant", .required = true},
          p.constant_sources, [](KeyVisitor& inner, Key const& key, std::string& source) {
              inner.text(key, source, {.shortest = 1});
          });
    v.list({.name = "warnings", .meaning = "what was wrong while it was measured"}, p.warnings,
           {.most = 10000}, [](KeyVisitor& inner, Key const& key, std::string& warning) {
               inner.text(key, warning, {.shortest = 1});
           });
    v.map(
        {.name = "costs", .meaning = "measured costs by cost key and stage", .required = true},
        p.costs, [](KeyVisitor& inner, Key const& key, node::StrategyCosts& stages) {
            inner.map(key, stages, [](KeyVisitor& deeper, Key const& stage, node::CostGrid& grid) {
                deeper.object(stage, [&](KeyVisitor& members) { describe_grid(members, grid); });
            });
        });
}

bool strictly_ascending(std::vector<std::uint32_t> const& values) {
    return std::adjacent_find(values.begin(), values.end(), std::greater_equal<>()) == values.end();
}

void check_grid(std::string const& at, node::CostGrid const& grid, Problems& problems) {
    if (problems.touches(at)) return;
    if (!strictly_ascending(grid.tokens))
        problems.add(at + "/tokens", "not strictly ascending", "sort it and drop repeats");
    if (!strictly_ascending(grid.candidates))
        problems.add(at + "/candidates", "not strictly ascending", "sort it and drop repeats");
    std::size_t const cells = grid.tokens.size() * grid.candidates.size();
    if (grid.mean_ns.size() != cells) {
        problems.add(at + "/mean_ns",
                     std::to_string(grid.mean_ns.size()) + " values, but " +
                         std::to_string(grid.tokens.size()) + " tokens x " +
                         std::to_string(grid.candidates.size()) + " candidates need " +
                         std::to_string(cells),
                     "calibrate again");
    }
    if (!std::is_sorted(grid.noise_quantiles.begin(), grid.noise_quantiles.end()))
        problems.add(at + "/noise_quantiles", "not ascending", "sort it");
}

void check_sources(node::Platform const& platform, Problems& problems) {
    if (problems.touches("/constant_sources")) return;
    auto const& sources = platform.constant_sources;
    for (auto const& [name, source] : sources) {
        if (std::find(kConstants.begin(), kConstants.end(), name) != kConstants.end()) continue;
        if (std::find(kOptionalConstants.begin(), kOptionalConstants.end(), name) !=
            kOptionalConstants.end())
            continue;
        auto const close = nearest(name, kConstants);
        problems.add(join_pointer("/constant_sources", name), "names no constant of a platform",
                     close.empty() ? "remove it" : "did you mean \"" + close + "\"?");
    }
    if (platform.kind != node::PlatformKind::nominal) return;
    for (auto const& [name, value] : {std::pair{"cost_per_node_hour", platform.cost_per_node_hour},
                                      std::pair{"idle_watts", platform.idle_watts},
                                      std::pair{"busy_watts", platform.busy_watts}}) {
        if (value <= 0.0 || sources.count(name) > 0) continue;
        problems.add(join_pointer("/constant_sources", name),
                     "missing: a price or a power that nobody vouches for ends up in plans",
                     "say which price list, data sheet or measurement it comes from");
    }
    for (auto const& name : kConstants) {
        if (sources.count(name) == 0) {
            problems.add(join_pointer("/constant_sources", name),
                         "missing: every constant of a nominal platform names its source",
                         "say which data sheet or assumption it comes from");
        }
    }
}

void check_costs_of_nodes(node::Platform const& platform, Problems& problems) {
    if (platform.cost_per_node_hour > 0.0 && platform.currency.empty())
        problems.add("/currency", "missing although cost_per_node_hour is given",
                     "say which currency it is in, for example USD");
    if (platform.idle_watts > 0.0 && platform.busy_watts < platform.idle_watts)
        problems.add("/busy_watts", "less than idle_watts, or missing",
                     "give the power of a node whose GPUs always work");
}

void check_nvme(node::Platform const& platform, Problems& problems) {
    if (platform.nvme_bytes <= 0.0) return;
    for (auto const& [name, value] :
         {std::pair{"/nvme_read_bytes_per_s", platform.nvme_read_bytes_per_s},
          std::pair{"/nvme_write_bytes_per_s", platform.nvme_write_bytes_per_s}}) {
        if (value <= 0.0 && !problems.touches(name))
            problems.add(name, "0 although nvme_bytes is not", "give the data sheet's rate");
    }
}

void check_costs(node::Platform const& platform, Problems& problems) {
    for (auto const& [key, stages] : platform.costs) {
        for (auto const& [stage, grid] : stages) {
            auto const at = join_pointer(join_pointer("/costs", key), stage);
            if (std::find(kStages.begin(), kStages.end(), stage) == kStages.end()) {
                auto const close = nearest(stage, kStages);
                problems.add(
                    at,
                    "unknown stage; known: fetch, prefill, decode, score, host, append, and "
                    "prefill_alone, decode_alone, score_alone",
                    close.empty() ? "" : "did you mean \"" + close + "\"?");
                continue;
            }
            check_grid(at, grid, problems);
        }
    }
}

/// Another JSON file makes every other message meaningless.
void refuse_foreign(JsonValue const& root, std::string const& origin) {
    auto const* format = root.find("format");
    if (format != nullptr && format->kind == JsonValue::Kind::text && format->text == kFormat)
        return;
    throw ConfigError(
        origin, {{"/format",
                  (format == nullptr ? std::string("missing") : show(*format)) + ", expected \"" +
                      kFormat + "\": this is no platform file of this version",
                  "write one with `ckvsim calibrate` or start from "
                  "workloads/platforms/h100-node.json"}});
}

}  // namespace

node::Platform parse_platform(std::string const& text, std::string const& origin) {
    Problems problems;
    auto const root = parse_json(text, kPlatformLimits, problems);
    if (!root) problems.throw_if_any(origin);
    if (root->kind != JsonValue::Kind::object) {
        problems.add("", show(*root) + " is not an object", "a platform file starts with {");
        problems.throw_if_any(origin);
    }
    refuse_foreign(*root, origin);
    node::Platform platform;
    std::string format;
    KeyReader reader(*root, problems);
    describe_platform(reader, format, platform);
    reader.finish();
    check_sources(platform, problems);
    check_nvme(platform, problems);
    check_costs_of_nodes(platform, problems);
    check_costs(platform, problems);
    problems.throw_if_any(origin);
    platform.digest = to_hex(hash_bytes(text.data(), text.size()));
    return platform;
}

node::Platform load_platform(std::string const& path) {
    return parse_platform(read_input(path, kPlatformLimits), path);
}

void write_platform(node::Platform const& platform, std::string const& path) {
    node::Platform copy = platform;
    std::string format = kFormat;
    auto const text =
        write_json([&](KeyVisitor& visitor) { describe_platform(visitor, format, copy); });
    try {
        parse_platform(text, path);
    } catch (ConfigError const& error) {
        throw InternalError(std::string("write_platform: the platform is not valid: ") +
                            error.what());
    }
    write_file_atomically(path, text);
}

}  // namespace ckvsim::config
