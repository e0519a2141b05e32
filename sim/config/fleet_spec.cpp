#include "config/fleet_spec.hpp"

#include <algorithm>
#include <filesystem>

#include "config/fleet_keys.hpp"
#include "config/input_file.hpp"
#include "config/key_reader.hpp"
#include "config/key_reference.hpp"
#include "config/key_writer.hpp"
#include "config/overrides.hpp"
#include "core/error.hpp"

namespace ckvsim::config {

namespace {

constexpr JsonLimits kLimits = {.bytes = std::size_t{1} << 20, .depth = 32};

constexpr char const* kReferenceHead =
    "# Keys of a fleet study\n\n"
    "Generated from the descriptions in `sim/config/fleet_keys.cpp`;\n"
    "`workloads/schema/fleet.schema.json` is the same for editors. What the words mean and how "
    "the\n"
    "fleet is simulated: [fleet.md](fleet.md).\n";

FleetStudy described_study() {
    FleetStudy study;
    study.name.clear();
    study.models.emplace_back();
    study.strategies.emplace_back();
    study.fleet.events.emplace_back();
    return study;
}

/// "fleet/nodes" is refused, and so on, before a point runs for an hour.
void check_fleet(FleetStudy const& study, Problems& problems) {
    auto const& f = study.fleet;
    auto const users = study.sweep.users.empty()
                           ? static_cast<double>(f.users)
                           : *std::min_element(study.sweep.users.begin(), study.sweep.users.end());
    auto const nodes = study.sweep.nodes.empty()
                           ? f.nodes
                           : *std::max_element(study.sweep.nodes.begin(), study.sweep.nodes.end());
    if (users < nodes) {
        problems.add(std::vector<std::string>{"/fleet/users", "/fleet/nodes", "/sweep/users",
                                              "/sweep/nodes"},
                     "fewer users than nodes", "every node needs a user");
    }
    bool const routed = f.routing.kind != fleet::RoutingKind::home ||
                        std::any_of(study.sweep.routing.begin(), study.sweep.routing.end(),
                                    [](auto kind) { return kind != fleet::RoutingKind::home; });
    if (routed && f.sampled_nodes > 0) {
        problems.add(std::vector<std::string>{"/fleet/sampled_nodes", "/fleet/routing/kind",
                                              "/sweep/routing"},
                     "a sample of nodes stands for the fleet only where users stay at home",
                     "set sampled_nodes to 0 or routing to home");
    }
    auto const& shape = f.traffic.shape;
    double shares = 0.0;
    for (auto const& zone : shape.diurnal.zones) shares += zone.share;
    if (!shape.diurnal.zones.empty() && std::abs(shares - 1.0) >= 1e-6) {
        problems.add(std::vector<std::string>{"/traffic/diurnal/zones"},
                     "the shares add up to " + std::to_string(shares), "they must add up to 1");
    }
    if (study.search != FleetSearch::none &&
        (shape.bursts.multiplier > 1.0 || !shape.flash_crowds.empty())) {
        problems.add(std::vector<std::string>{"/search", "/traffic/bursts/multiplier",
                                              "/traffic/flash_crowds"},
                     "a search tries loads whose runs last differently long, so bursts and flash "
                     "crowds would not be the same ones",
                     "sweep requests_per_second instead, or search without them");
    }
    if (users / f.nodes > 4.0e9) {
        problems.add(std::vector<std::string>{"/fleet/users", "/fleet/nodes"},
                     "more than 4e9 users on a node", "more nodes");
    }
    bool const no_lower_tier =
        !study.budget.dram_tier && !study.budget.nvme_tier && study.sweep.tiers.empty();
    if (study.tiers.admission == fleet::Admission::second_visit && no_lower_tier) {
        problems.add(std::vector<std::string>{"/fleet/tiers/admission", "/fleet/tiers/dram"},
                     "\"second_visit\" needs a tier below GPU memory for the first visit: nothing "
                     "would ever be kept",
                     "use \"all\" or switch a tier on");
    }
    if (f.history.shortest > f.history.longest) {
        problems.add(std::vector<std::string>{"/users/history/shortest", "/users/history/longest"},
                     "shortest is above longest", "swap them");
    }
    if (study.search == FleetSearch::nodes && !study.sweep.nodes.empty()) {
        problems.add(std::vector<std::string>{"/sweep/nodes", "/search"},
                     "search = nodes looks for the number of nodes itself", "remove the axis");
    }
    if (study.search == FleetSearch::max_load && !study.sweep.requests_per_second.empty()) {
        problems.add(std::vector<std::string>{"/sweep/requests_per_second", "/search"},
                     "search = max_load looks for the load itself", "remove the axis");
    }
    if (study.search != FleetSearch::none && routed) {
        problems.add(std::vector<std::string>{"/search", "/fleet/routing/kind"},
                     "a search samples nodes, which needs users that stay at home",
                     "set routing to home");
    }
}

template <class T>
void check_names(std::vector<T> const& list, std::string const& at, Problems& problems) {
    for (std::size_t i = 0; i < list.size(); ++i) {
        for (std::size_t j = 0; j < i; ++j) {
            if (list[i].name != list[j].name) continue;
            problems.add(at + "/" + std::to_string(i) + "/name",
                         "\"" + list[i].name + "\" names entry " + std::to_string(j) + ", too",
                         "names must differ");
        }
    }
}

/// A strategy that fits no model of the study is a mistake; one that fits some is reported as not
/// applicable to the others.
void check_strategies(FleetStudy const& study, Problems& problems) {
    for (std::size_t i = 0; i < study.strategies.size(); ++i) {
        std::string reason;
        bool applies = false;
        for (auto const& model : study.models) {
            auto const refused = fleet::refusal(model, study.strategies[i].keeping);
            applies = applies || !refused;
            if (refused) reason = *refused;
        }
        if (!applies && !problems.touches("/strategies/" + std::to_string(i)))
            problems.add("/strategies/" + std::to_string(i), reason, "");
    }
}

}  // namespace

void check_fleet_study(FleetStudy const& study, Problems& problems) {
    check_names(study.models, "/models", problems);
    check_names(study.strategies, "/strategies", problems);
    check_strategies(study, problems);
    check_fleet(study, problems);
    check_events(study, problems);
}

bool is_fleet_study(std::string const& text) {
    Problems problems;
    auto const root = parse_json(text, kLimits, problems);
    if (!root || root->kind != JsonValue::Kind::object) return false;
    auto const* study = root->find("study");
    return study != nullptr && study->kind == JsonValue::Kind::text && study->text == "fleet";
}

bool is_fleet_study_file(std::string const& path) {
    // What cannot be read or parsed is reported by the reader of specs.
    std::error_code error;
    if (!std::filesystem::is_regular_file(path, error)) return false;
    try {
        return is_fleet_study(read_input(path, kLimits));
    } catch (Error const&) {
        return false;
    }
}

FleetStudy parse_fleet_study(std::string const& text, std::string const& origin,
                             std::vector<std::string> const& overrides) {
    Problems problems;
    auto root = parse_json(text, kLimits, problems);
    if (!root) problems.throw_if_any(origin);
    if (root->kind != JsonValue::Kind::object) {
        problems.add("", show(*root) + " is not an object", "a fleet study starts with {");
        problems.throw_if_any(origin);
    }
    apply_overrides(*root, overrides, problems);
    FleetStudy study;
    KeyReader reader(*root, problems);
    describe(reader, study);
    reader.finish();
    check_fleet_study(study, problems);
    problems.throw_if_any(origin);
    if (study.output.empty()) study.output = "results/local/" + study.name + ".h5";
    return study;
}

FleetStudy load_fleet_study(std::string const& path, std::vector<std::string> const& overrides) {
    return parse_fleet_study(read_input(path, kLimits), path, overrides);
}

std::string dump_fleet_study(FleetStudy const& study) {
    FleetStudy copy = study;
    return write_json([&](KeyVisitor& visitor) { describe(visitor, copy); });
}

std::string fleet_schema_json() {
    FleetStudy study = described_study();
    return json_schema("ckvsim fleet study",
                       [&](KeyVisitor& visitor) { describe(visitor, study); });
}

std::string fleet_markdown() {
    FleetStudy study = described_study();
    return std::string(kReferenceHead) +
           markdown_tables([&](KeyVisitor& visitor) { describe(visitor, study); });
}

}  // namespace ckvsim::config
