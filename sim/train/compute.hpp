// Where a network computes, by which operations, and how exactly.
#pragma once

#include <cstdint>
#include <string>

namespace ckvsim::train {

/// `kernels` are this folder's loops over memory of the CPU. `portable` are made of libtorch's own
/// tensor operations and run on every device that it knows: slower on a CPU, and sums in another
/// order.
enum class OperationKind : std::uint8_t { automatic, kernels, portable };

/// Of the operands of matrix products. Weights, moments, sums, softmaxes and losses are fp32
/// always.
enum class Precision : std::uint8_t { fp32, bf16 };

std::string to_string(OperationKind kind);
std::string to_string(Precision precision);
/// Throw Error (usage) for other words.
OperationKind operation_kind_of(std::string const& word);
Precision precision_of(std::string const& word);

struct Compute {
    std::string device = "cpu";  ///< cpu, cuda or cuda:N
    OperationKind operations = OperationKind::automatic;
    Precision precision = Precision::fp32;
    /// Portable operations work on pieces of a batch whose largest tensor has about this many
    /// elements (of 4 bytes), so that memory does not grow with tokens x width, tokens x m or
    /// tokens x tokens. One list, one sequence or one item is the smallest piece.
    std::int64_t piece_elements = std::int64_t{1} << 24;

    [[nodiscard]] bool on_cpu() const { return device == "cpu"; }
    /// What `automatic` means here.
    [[nodiscard]] bool portable() const {
        return operations == OperationKind::portable ||
               (operations == OperationKind::automatic && !on_cpu());
    }
};

/// Throws Error (usage) for a device that is not named as above, for kernels on another device than
/// the CPU, and for bf16 with kernels.
void require_consistent(Compute const& compute);

/// `cuda` without a number means, under several ranks, the device rank % `devices`: ranks of one
/// machine share its devices. Others stay as they are.
std::string device_of_rank(std::string const& device, int rank, int ranks, int devices);

}  // namespace ckvsim::train
