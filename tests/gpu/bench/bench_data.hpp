// Entries, tables and requests that the GPU benchmark measures with: every strategy is an Arm, all
// arms get the same tokens, candidates, types and care.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "device/cuda/attention_args.hpp"
#include "device/cuda/gpu_memory.hpp"
#include "kv/strategy.hpp"

namespace ckvsim::gpubench {

/// Sizes of the measurements. The defaults are those of the questions in sim/docs/gpu.md.
struct BenchOptions {
    std::uint32_t batch = 512;
    std::uint32_t tokens = 1000;
    std::uint32_t heads = 4;
    std::uint32_t head_dim = 64;
    std::uint32_t items = 200000;  ///< catalogue of the item tables
    std::uint32_t pool_rows = 10000;
    std::uint32_t small_pool_rows = 500;
    std::uint32_t repetitions = 25;
    std::vector<std::uint32_t> candidates = {1, 8, 32, 128, 512};
    std::uint64_t copy_bytes = std::uint64_t{1} << 30;
    double memory_share = 0.8;  ///< of the free device memory, for resident users

    [[nodiscard]] std::uint32_t width() const { return heads * head_dim; }
};

/// One strategy in one type of stored values.
struct Arm {
    std::string name;
    kv::ValueType type = kv::ValueType::fp32;
    std::uint32_t table_rows = 0;   ///< shared rows of K and of V; 0: rows lie in the entry
    std::uint32_t index_bytes = 0;  ///< with a table
    std::uint32_t user_dims = 0;
    bool one_index = false;  ///< item ids serve K and V
};
std::vector<Arm> all_arms(BenchOptions const& options);

/// Byte offsets in one user's entry; every section starts at a multiple of 16.
struct EntryMap {
    std::size_t k_rows = 0, v_rows = 0, k_index = 0, v_index = 0, k_user = 0, v_user = 0;
    std::size_t bytes = 0;    ///< of the entry
    std::size_t payload = 0;  ///< without padding
};
EntryMap map_entry(Arm const& arm, BenchOptions const& options);

/// The arm's tables on the device, and the entries of users. Timing depends on addresses: every
/// user has table rows of its own (uniform, drawn from the user's number), so that users read all
/// over a table. It does not depend on values: those of entries are of a few templates.
class ArmData {
  public:
    ArmData(Arm const& arm, BenchOptions const& options);

    [[nodiscard]] Arm const& arm() const { return arm_; }
    [[nodiscard]] EntryMap const& map() const { return map_; }
    [[nodiscard]] device::cuda::AttentionShape const& shape() const { return shape_; }
    /// Both pools or tables in one piece, for the L2 window.
    [[nodiscard]] device::cuda::DeviceBuffer const& tables() const { return tables_; }
    /// Writes the entries of users first, first + 1, ... back to back to host memory.
    void write_entries(std::uint64_t first, std::uint64_t count, std::byte* to) const;
    /// Fills device memory with the entries of users 0, 1, ... back to back.
    void fill(device::cuda::DeviceBuffer const& entries, std::uint64_t users) const;
    /// A request of the entry at a device address.
    [[nodiscard]] device::cuda::AttentionRequest request(std::byte const* entry, float const* q,
                                                         float* out,
                                                         std::uint32_t candidates) const;
    /// Largest error of one candidate's output against double precision.
    [[nodiscard]] double error(std::uint64_t user, float const* q, float const* out) const;

    /// Bytes that one request of one candidate reads: its entry, and rows of the tables.
    [[nodiscard]] std::size_t row_bytes() const;
    [[nodiscard]] std::size_t table_bytes_read() const;
    [[nodiscard]] double flops(std::uint32_t candidates) const;

  private:
    void write_entry(std::uint64_t user, std::byte* to) const;
    void draw_rows(std::uint64_t user, std::uint32_t side, std::byte* to) const;
    [[nodiscard]] double value(std::byte const* entry, bool value_side, std::uint32_t token,
                               std::uint32_t at) const;

    Arm arm_;
    BenchOptions options_;
    EntryMap map_;
    device::cuda::AttentionShape shape_;
    std::vector<std::byte> host_tables_;
    std::vector<std::byte> templates_;
    device::cuda::DeviceBuffer tables_;
};

/// Uniform values in [-1, 1).
std::vector<float> random_queries(std::size_t count, std::uint64_t stream);

}  // namespace ckvsim::gpubench
