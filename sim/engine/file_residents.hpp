// Users' entries kept on a storage device (core/block_file.hpp): a fetch is a read of it, measured
// and not assumed.
#pragma once

#include <atomic>
#include <barrier>
#include <thread>

#include "core/block_file.hpp"
#include "engine/parallel_failure.hpp"
#include "engine/residency.hpp"
#include "engine/tier_store.hpp"

namespace ckvsim::engine {

/// Threads that wait for reads: a drive shows its rate for small entries only with several in
/// flight. Apart from OpenMP's threads, whose number follows the cores.
class ReaderPool {
  public:
    explicit ReaderPool(int readers);
    ~ReaderPool();
    ReaderPool(ReaderPool const&) = delete;
    ReaderPool& operator=(ReaderPool const&) = delete;
    /// read(i) for every i below `count`, some at a time; rethrows the first failure.
    void for_each(std::size_t count, std::function<void(std::size_t)> const& read);

  private:
    void work();

    std::function<void(std::size_t)> const* read_ = nullptr;  ///< null: end
    std::size_t count_ = 0;
    std::atomic<std::size_t> next_{0};
    ParallelFailure* failure_ = nullptr;
    std::barrier<> start_;
    std::barrier<> end_;
    std::vector<std::jthread> threads_;
};

class FileResidents final : public EntrySource {
  public:
    /// What finds an entry, a user: an offset and a length.
    static constexpr std::uint64_t kIndexBytes = sizeof(std::uint64_t) + sizeof(std::uint32_t);
    /// What an entry of so many bytes takes on the device.
    static constexpr std::uint64_t slot_bytes(std::uint64_t entry_bytes) {
        return BlockFile::rounded(entry_bytes);
    }

    /// Plans and reserves the file. `max_batch` entries are fetched at a time. BackendError as
    /// BlockFile's.
    FileResidents(workload::Population const& population, std::vector<UserId> const& users,
                  std::shared_ptr<decode::Backend const> backend, std::string const& folder,
                  std::uint32_t max_batch);

    /// Encodes every user's stored history and writes it; OpenMP-parallel. `progress` gets (users
    /// done, users).
    void fill(std::function<void(std::uint64_t, std::uint64_t)> const& progress);
    /// Reads about `sample` users back, encodes them again by EncodeMode::compute and counts those
    /// that differ.
    [[nodiscard]] std::pair<std::uint64_t, std::uint64_t> verify(std::uint64_t sample,
                                                                 std::uint64_t seed);
    [[nodiscard]] std::uint64_t allocated_bytes() const { return file_.bytes(); }
    /// "direct", or "cached" where the file system may answer from memory.
    [[nodiscard]] char const* transfers() const { return file_.direct() ? "direct" : "cached"; }
    [[nodiscard]] std::uint64_t index_bytes() const { return users_.size() * kIndexBytes; }
    [[nodiscard]] std::uint32_t tokens(std::size_t user_index) const override {
        return tokens_[user_index];
    }
    void fetch(std::span<std::size_t const> user_indices,
               std::vector<decode::EntryRef>& entries) override;

  private:
    workload::Population const& population_;
    std::vector<UserId> const& users_;
    std::shared_ptr<decode::Backend const> backend_;
    std::vector<std::uint32_t> tokens_;   ///< [users]
    std::vector<std::uint64_t> offsets_;  ///< [users+1]
    std::uint64_t largest_slot_ = 0;
    BlockFile file_;
    TouchedBytes workspace_;  ///< a batch's entries
    ReaderPool readers_;
};

}  // namespace ckvsim::engine
