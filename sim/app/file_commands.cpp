// Subcommands that only read or convert files: validate, import, show, diff, schema, version.
#include <cstdio>

#include <nlohmann/json.hpp>

#include "app/commands.hpp"
#include "app/machine.hpp"
#include "app/progress.hpp"
#include "app/run_context.hpp"
#include "app/running_stage.hpp"
#include "config/fleet_spec.hpp"
#include "core/error.hpp"
#include "report/dataset_file.hpp"
#include "report/report_diff.hpp"
#include "report/report_file.hpp"
#include "report/report_noise.hpp"
#include "report/report_show.hpp"
#include "workload/readers.hpp"

namespace ckvsim::app {

namespace {

/// "files.output" -> /files/output of the resolved spec, as plain text.
std::string resolved_value(nlohmann::json const& spec, std::string const& dotted) {
    std::string pointer = "/";
    for (char const c : dotted) pointer += c == '.' ? '/' : c;
    auto const at = nlohmann::json::json_pointer(pointer);
    if (!spec.contains(at)) {
        throw Error(ExitCode::usage,
                    "--print " + dotted + ": the spec has no such key; try --print files.output");
    }
    auto const& value = spec.at(at);
    return value.is_string() ? value.get<std::string>() : value.dump();
}

}  // namespace

int validate_command(SpecOptions const& options, std::vector<std::string> const& print) {
    std::string text;
    std::string counts;
    if (config::is_fleet_study_file(options.spec)) {
        auto const study = config::load_fleet_study(options.spec, options.overrides);
        text = config::dump_fleet_study(study);
        counts = std::to_string(study.models.size()) + " models, " +
                 std::to_string(study.strategies.size()) + " strategies";
    } else {
        auto const spec = config::load_spec(options.spec, options.overrides);
        text = config::dump_spec(spec);
        counts = std::to_string(spec.arms.size()) + " arms, " +
                 std::to_string(config::variants_to_train(spec).size()) + " variants to train, " +
                 std::to_string(spec.training.seeds.size()) + " seeds";
    }
    if (print.empty()) {
        std::printf("%s\n", text.c_str());
        std::fprintf(stderr, "%s: valid; %s\n", options.spec.c_str(), counts.c_str());
        return 0;
    }
    auto const json = nlohmann::json::parse(text);
    for (auto const& key : print) std::printf("%s\n", resolved_value(json, key).c_str());
    return 0;
}

int import_command(ImportCommand const& command) {
    Progress progress(command.quiet);
    set_running_stage("import " + command.format);  // until the first file is open
    std::string file;
    auto const dataset =
        workload::import_dataset(command.format, command.path, command.reader_options,
                                 [&](workload::ImportProgress const& now) {
                                     if (now.file != file)
                                         progress.begin("read " + now.file, "bytes");
                                     file = now.file;
                                     progress.update(now.bytes, now.total_bytes);
                                 });
    progress.begin("write " + command.output);
    report::write_dataset(command.output, dataset);
    progress.end();
    for (auto const& [name, value] : dataset.statistics)
        std::printf("%-52s %.10g\n", name.c_str(), value);
    for (auto const& note : dataset.notes) std::printf("note: %s\n", note.c_str());
    std::printf("dataset %s\n", command.output.c_str());
    return 0;
}

int show_command(std::string const& path, std::vector<std::string> const& tables) {
    auto const report = report::read_report(path);
    std::printf("%s", report::show(report, tables).c_str());
    return 0;
}

int diff_command(std::vector<std::string> const& reports, bool wall_clock, bool noise) {
    auto const first = report::read_report(reports.front());
    bool differs = false;
    for (std::size_t i = 1; i < reports.size(); ++i) {
        auto const other = report::read_report(reports[i]);
        if (reports.size() > 2)
            std::printf("%s== %s -> %s\n", i > 1 ? "\n" : "", reports.front().c_str(),
                        reports[i].c_str());
        auto const found = report::diff(first, other, wall_clock);
        if (noise) {
            auto const changes = report::beyond_noise(first, other);
            std::printf("%s%s", report::render_information(found).c_str(),
                        report::render(changes).c_str());
            differs = differs || !changes.empty();
        } else {
            std::printf("%s", report::render(found).c_str());
            differs = differs || !found.empty();
        }
    }
    return differs ? static_cast<int>(ExitCode::difference) : 0;
}

int schema_command(std::string const& what) {
    auto const text = what == "spec"         ? config::spec_markdown()
                      : what == "spec-json"  ? config::spec_schema_json()
                      : what == "fleet"      ? config::fleet_markdown()
                      : what == "fleet-json" ? config::fleet_schema_json()
                                             : report::schema_markdown();
    std::printf("%s", text.c_str());
    return 0;
}

std::string version_line() {
    auto const facts = machine_provenance();
    bool const dirty = facts.at("dirty") == "yes";
    return "ckvsim " + facts.at("version") + " (commit " + facts.at("commit") +
           (dirty ? ", modified)" : ")");
}

int version_command() {
    for (auto const& [key, value] : machine_provenance()) {
        if (key == "date_utc" || key == "host") continue;
        std::printf("%-24s %s\n", key.c_str(), value.c_str());
    }
    std::printf("%-24s %s\n", "mpi", comm::Runtime::library_version().c_str());
    return 0;
}

}  // namespace ckvsim::app
