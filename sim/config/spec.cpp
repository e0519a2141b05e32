#include "config/spec.hpp"

#include <algorithm>
#include <filesystem>
#include <set>

#include "config/input_file.hpp"
#include "config/key_reader.hpp"
#include "config/key_reference.hpp"
#include "config/key_writer.hpp"
#include "config/overrides.hpp"
#include "config/presets.hpp"
#include "config/spec_checks.hpp"
#include "config/spec_keys.hpp"
#include "core/error.hpp"

namespace ckvsim::config {

namespace {

constexpr JsonLimits kSpecLimits = {.bytes = std::size_t{1} << 20, .depth = 32};

std::string default_weights_dir(std::string const& name) { return "results/local/weights/" + name; }

void fill_paths(Spec& spec) {
    std::string const local = "results/local/";
    if (spec.weights_dir.empty()) spec.weights_dir = default_weights_dir(spec.name);
    if (spec.calibration_path.empty())
        spec.calibration_path = local + "calibration-" + spec.name + ".json";
    if (spec.output.empty()) spec.output = local + spec.name + ".h5";
}

/// A newer layout makes every other message meaningless: it is the only problem then.
void refuse_newer(JsonValue const& root, std::string const& origin) {
    auto const* version = root.find("schema_version");
    if (version == nullptr || !version->integer || *version->integer <= kSpecSchemaVersion) return;
    throw ConfigError(origin, {{"/schema_version",
                                show(*version) + " is newer than this ckvsim reads (allowed: " +
                                    std::to_string(kSpecSchemaVersion) + ")",
                                "update ckvsim"}});
}

/// Defaults, with one arm for its keys.
Spec described_spec() {
    Spec spec;
    spec.name.clear();  // required: there is no default to show
    spec.arms.emplace_back();
    return spec;
}

constexpr char const* kReferenceHead =
    "# Keys of a spec\n\n"
    "Generated from the descriptions in `sim/config/spec_keys*.cpp`; `ckvsim validate` prints a\n"
    "spec with every default filled in, `workloads/schema/spec.schema.json` is the same for\n"
    "editors. Specs are strict JSON: unknown keys, repeated keys and keys without effect are\n"
    "errors. Every value can be set on the command line: `--set /model/heads=4`.\n";

/// Order-keeping set of variants, distinct by weight file.
class VariantList {
  public:
    void add(model::VariantParams const& variant) {
        if (stems_.insert(model::weights_stem(variant)).second) variants_.push_back(variant);
    }
    void add(model::Variant variant) {
        model::VariantParams params;
        params.variant = variant;
        add(params);
    }
    std::vector<model::VariantParams> take() { return std::move(variants_); }

  private:
    std::set<std::string> stems_;
    std::vector<model::VariantParams> variants_;
};

}  // namespace

std::string to_string(Control control) {
    for (auto const& [value, name] : control_choices()) {
        if (value == control) return name;
    }
    throw InternalError("config::to_string: unknown control");
}

Spec parse_spec(std::string const& text, std::string const& origin,
                std::vector<std::string> const& overrides) {
    Problems problems;
    auto root = parse_json(text, kSpecLimits, problems);
    if (!root) problems.throw_if_any(origin);
    if (root->kind != JsonValue::Kind::object) {
        problems.add("", show(*root) + " is not an object", "a spec starts with {");
        problems.throw_if_any(origin);
    }
    apply_overrides(*root, overrides, problems);
    refuse_newer(*root, origin);
    apply_preset(*root, problems);
    Spec spec;
    KeyReader reader(*root, problems);
    describe(reader, spec);
    reader.finish();
    check_spec(spec, problems);
    problems.throw_if_any(origin);
    fill_paths(spec);
    return spec;
}

Spec load_spec(std::string const& path, std::vector<std::string> const& overrides) {
    return parse_spec(read_input(path, kSpecLimits), path, overrides);
}

std::string dump_spec(Spec const& spec) {
    Spec copy = spec;
    return write_json([&](KeyVisitor& visitor) { describe(visitor, copy); });
}

std::string spec_schema_json() {
    Spec spec = described_spec();
    return json_schema("ckvsim spec", [&](KeyVisitor& visitor) { describe(visitor, spec); });
}

std::string spec_markdown() {
    Spec spec = described_spec();
    return std::string(kReferenceHead) +
           markdown_tables([&](KeyVisitor& visitor) { describe(visitor, spec); });
}

model::VariantParams reduced(Control control, model::VariantParams weights) {
    if (control == Control::m1) weights.m = 1;
    if (control == Control::du0) weights.d_u = 0;
    return weights;
}

std::vector<model::VariantParams> variants_to_train(Spec const& spec) {
    VariantList list;
    list.add(model::Variant::full);
    for (auto const& arm : spec.arms) list.add(arm.weights);
    if (!spec.accuracy.enabled) return list.take();
    list.add(model::Variant::no_history);
    for (auto const control : spec.accuracy.controls) {
        if (control == Control::mean_pool) list.add(model::Variant::mean_pool);
        if (control != Control::m1 && control != Control::du0) continue;
        auto const collective = std::find_if(
            spec.arms.begin(), spec.arms.end(),
            [](ArmSpec const& arm) { return arm.strategy.kind == kv::StrategyKind::collective; });
        if (collective == spec.arms.end()) continue;
        list.add(reduced(control, collective->weights));
    }
    return list.take();
}

std::string weights_path(Spec const& spec, model::VariantParams const& variant,
                         std::uint64_t seed) {
    std::filesystem::path const folder =
        spec.weights_dir.empty() ? default_weights_dir(spec.name) : spec.weights_dir;
    auto const file = model::weights_stem(variant) + "_seed" + std::to_string(seed) + ".ckvt";
    return (folder / file).string();
}

}  // namespace ckvsim::config
