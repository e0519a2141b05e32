#include "train/compute.hpp"

#include <algorithm>

#include "core/error.hpp"

namespace ckvsim::train {

namespace {

bool is_device(std::string const& name) {
    if (name == "cpu" || name == "cuda") return true;
    std::string const prefix = "cuda:";
    if (!name.starts_with(prefix) || name.size() == prefix.size()) return false;
    // As many digits as an index of libtorch has.
    return name.size() <= prefix.size() + 2 &&
           std::all_of(name.begin() + static_cast<std::ptrdiff_t>(prefix.size()), name.end(),
                       [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

std::string to_string(OperationKind kind) {
    if (kind == OperationKind::automatic) return "auto";
    return kind == OperationKind::kernels ? "kernels" : "portable";
}

std::string to_string(Precision precision) {
    return precision == Precision::fp32 ? "fp32" : "bf16";
}

OperationKind operation_kind_of(std::string const& word) {
    for (auto const kind :
         {OperationKind::automatic, OperationKind::kernels, OperationKind::portable}) {
        if (word == to_string(kind)) return kind;
    }
    throw Error(ExitCode::usage, "--ops " + word + ": not known. Use auto, kernels or portable");
}

Precision precision_of(std::string const& word) {
    for (auto const precision : {Precision::fp32, Precision::bf16}) {
        if (word == to_string(precision)) return precision;
    }
    throw Error(ExitCode::usage, "--precision " + word + ": not known. Use fp32 or bf16");
}

void require_consistent(Compute const& compute) {
    if (!is_device(compute.device)) {
        throw Error(ExitCode::usage, "--device " + compute.device +
                                         ": no device has this name. Use cpu, cuda or cuda:N, for "
                                         "example cuda:0");
    }
    if (compute.operations == OperationKind::kernels && !compute.on_cpu()) {
        throw Error(ExitCode::usage, "--ops kernels: these run on the CPU alone, not on " +
                                         compute.device + ". Use --ops portable or leave it out");
    }
    if (compute.precision == Precision::bf16 && !compute.portable()) {
        throw Error(ExitCode::usage,
                    "--precision bf16: the kernels compute in fp32 alone. Add --ops portable, or "
                    "--device cuda");
    }
}

std::string device_of_rank(std::string const& device, int rank, int ranks, int devices) {
    if (device != "cuda" || ranks <= 1 || devices <= 0) return device;
    return "cuda:" + std::to_string(rank % devices);
}

}  // namespace ckvsim::train
