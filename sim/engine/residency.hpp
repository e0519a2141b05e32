// Residency: every user's entry of one strategy held as real bytes, and the ledger's prediction
// checked against what was allocated and what the operating system counts as resident.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "decode/backend.hpp"
#include "workload/population.hpp"

namespace ckvsim::engine {

/// Predicted payload of one section over all users of a rank; additive over ranks.
struct LedgerPrediction {
    std::uint64_t users = 0;
    std::uint64_t tokens = 0;
    std::uint64_t payload_bytes = 0;
    std::uint64_t entry_bytes = 0;             ///< payload and alignment inside the entries
    std::vector<std::uint64_t> section_bytes;  ///< [kv::kSections]
};

/// Local. From history lengths alone; nothing is allocated.
LedgerPrediction predict(workload::Population const& population, std::vector<UserId> const& users,
                         kv::EntryLayout const& layout, std::uint32_t max_tokens);

/// Result of holding a rank's users; additive over ranks.
struct Residency {
    std::uint64_t allocated_bytes = 0;  ///< mapped for entries, page rounding included
    std::int64_t resident_bytes =
        0;  ///< growth of the process's resident set, measured around the fill
    std::uint64_t index_bytes = 0;     ///< offsets and lengths that find an entry
    std::uint64_t verified_users = 0;  ///< sampled users encoded again and compared
    std::uint64_t verified_mismatches = 0;
    double fill_seconds = 0;  ///< set by the caller's clock
};

/// Tokens of each user's stored history that an entry keeps.
std::vector<std::uint32_t> capped_lengths(workload::Population const& population,
                                          std::vector<UserId> const& users,
                                          std::uint32_t max_tokens);

/// Encodes about `sample` of the users again by EncodeMode::compute and compares what the layout
/// stores with the entry that `stored` gives for a position in `users`. Returns (compared, of these
/// different).
std::pair<std::uint64_t, std::uint64_t> verify_entries(
    workload::Population const& population, std::vector<UserId> const& users,
    decode::Backend const& backend, std::uint64_t sample, std::uint64_t seed,
    std::function<decode::EntryRef(std::size_t)> const& stored);

/// Users' entries wherever they are kept, as requests see them.
class EntrySource {
  public:
    virtual ~EntrySource() = default;
    [[nodiscard]] virtual std::uint32_t tokens(std::size_t user_index) const = 0;
    /// Brings the entries of a batch to where kernels can read them; valid until the next call.
    virtual void fetch(std::span<std::size_t const> user_indices,
                       std::vector<decode::EntryRef>& entries) = 0;
};

/// A rank's resident entries; unmapped on destruction.
class ResidentStore {
  public:
    /// Plans the arena from history lengths and maps it. Throws BackendError naming the sizes when
    /// the mapping fails.
    ResidentStore(workload::Population const& population, std::vector<UserId> const& users,
                  std::shared_ptr<decode::Backend const> backend);
    ~ResidentStore();
    ResidentStore(ResidentStore const&) = delete;
    ResidentStore& operator=(ResidentStore const&) = delete;

    /// Encodes every user's stored history; OpenMP-parallel. `progress` gets (users done, users).
    void fill(std::function<void(std::uint64_t, std::uint64_t)> const& progress);
    /// Encodes about `sample` users again by EncodeMode::compute and counts entries that differ.
    [[nodiscard]] std::pair<std::uint64_t, std::uint64_t> verify(std::uint64_t sample,
                                                                 std::uint64_t seed) const;
    [[nodiscard]] std::uint64_t allocated_bytes() const { return mapped_bytes_; }
    [[nodiscard]] std::uint64_t index_bytes() const;
    [[nodiscard]] decode::EntryRef entry(std::size_t user_index) const;

  private:
    workload::Population const& population_;
    std::vector<UserId> const& users_;
    std::shared_ptr<decode::Backend const> backend_;
    std::vector<std::uint64_t> offsets_;  ///< [users+1]
    std::vector<std::uint32_t> tokens_;   ///< [users]
    std::byte* arena_ = nullptr;
    std::size_t mapped_bytes_ = 0;
};

/// Maps, fills, measures, verifies, unmaps. `resident_set_bytes` reads the process's resident set
/// (supplied by the app: this layer knows no operating-system files).
Residency hold_users(workload::Population const& population, std::vector<UserId> const& users,
                     std::shared_ptr<decode::Backend const> backend,
                     std::function<std::int64_t()> const& resident_set_bytes, std::uint64_t seed,
                     std::function<void(std::uint64_t, std::uint64_t)> const& progress);

}  // namespace ckvsim::engine
