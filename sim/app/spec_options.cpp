#include "app/spec_options.hpp"

namespace ckvsim::app {

void add_spec_options(CLI::App& command, SpecOptions& options) {
    command
        .add_option("spec", options.spec,
                    "Spec file (JSON), for example workloads/specs/quickstart.json")
        ->required();
    command.add_option("--set", options.overrides,
                       "Override one value of the spec: /json/pointer=value, for example --set "
                       "/seed=7; repeatable");
    command.add_flag("-q,--quiet", options.quiet, "No progress on standard error");
    command
        .add_option(
            "-t,--threads", options.threads,
            "OpenMP threads per rank (default: OMP_NUM_THREADS, else the cores this rank may use)")
        ->check(CLI::Range(1, 4096));
}

}  // namespace ckvsim::app
