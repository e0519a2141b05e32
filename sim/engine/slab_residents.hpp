// Users' entries in a slab store (engine/slab_store.hpp), filled from a population.
#pragma once

#include "engine/residency.hpp"
#include "engine/slab_store.hpp"

namespace ckvsim::engine {

class SlabResidents final : public EntrySource {
  public:
    /// Maps `budget_bytes` less the users' records. BackendError as SlabStore's.
    SlabResidents(workload::Population const& population, std::vector<UserId> const& users,
                  std::shared_ptr<decode::Backend const> backend, std::uint64_t budget_bytes);

    /// Encodes every user's stored history; OpenMP-parallel. `progress` gets (users done, users).
    /// InternalError when they do not fit: ask users_that_fit() first.
    void fill(std::function<void(std::uint64_t, std::uint64_t)> const& progress);
    /// Encodes about `sample` users again by EncodeMode::compute and counts entries that differ.
    [[nodiscard]] std::pair<std::uint64_t, std::uint64_t> verify(std::uint64_t sample,
                                                                 std::uint64_t seed);
    /// Appends one event to each of the given users, in place where the slot has room. Returns how
    /// many were appended: an entry that outgrows its slot in a full store is left as it is.
    [[nodiscard]] std::size_t append(std::span<std::size_t const> user_indices, ItemId item,
                                     decode::Scratch& scratch);

    [[nodiscard]] std::uint64_t allocated_bytes() const { return store_.usage().chunk_bytes; }
    [[nodiscard]] std::uint64_t index_bytes() const { return store_.usage().record_bytes; }
    [[nodiscard]] static char const* transfers() { return "memory"; }
    [[nodiscard]] std::uint32_t tokens(std::size_t user_index) const override {
        return tokens_[user_index];
    }
    void fetch(std::span<std::size_t const> user_indices,
               std::vector<decode::EntryRef>& entries) override;

  private:
    workload::Population const& population_;
    std::vector<UserId> const& users_;
    std::shared_ptr<decode::Backend const> backend_;
    std::vector<std::uint32_t> tokens_;  ///< [users], of the stored histories
    SlabStore store_;
    SlabStore::Reader reader_;
};

}  // namespace ckvsim::engine
