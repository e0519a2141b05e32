// Entries of very many users in memory: slots of a few sizes in large chunks, no allocation a user,
// 8 bytes a user to find his entry, readers that never wait for the writer.
//
// A user's record is one word: where his entry lies, how many tokens it holds and for how many it
// has room. The writer makes a new entry in a free slot and then replaces the word; the old slot is
// used again only when every reader that could still see it has moved on (epochs, Fraser 2004).
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "decode/backend.hpp"

namespace ckvsim::engine {

/// The sizes of slots: entries have room for 4, 8, ... tokens in steps of a quarter, up to
/// max_tokens exactly.
class SlabLadder {
  public:
    SlabLadder(kv::EntryLayout const& layout, std::uint32_t max_tokens);
    [[nodiscard]] std::size_t classes() const { return capacities_.size(); }
    [[nodiscard]] std::size_t class_of(
        std::uint32_t tokens) const;  ///< smallest with room for them
    [[nodiscard]] std::uint32_t capacity(std::size_t size_class) const {
        return capacities_[size_class];
    }
    [[nodiscard]] std::uint64_t slot_bytes(std::size_t size_class) const {
        return slot_bytes_[size_class];
    }
    [[nodiscard]] std::uint64_t chunk_bytes() const { return chunk_bytes_; }
    [[nodiscard]] std::uint64_t slots_in_chunk(std::size_t size_class) const {
        return chunk_bytes_ / slot_bytes_[size_class];
    }

  private:
    std::vector<std::uint32_t> capacities_;
    std::vector<std::uint64_t> slot_bytes_;
    std::uint64_t chunk_bytes_ = 0;
};

/// What the bytes of a store are used for.
struct SlabUsage {
    std::uint64_t chunk_bytes = 0;    ///< taken from the budget
    std::uint64_t slot_bytes = 0;     ///< of slots that hold an entry
    std::uint64_t payload_bytes = 0;  ///< of the tokens in them
    std::uint64_t retired_bytes = 0;  ///< replaced, perhaps still read
    std::uint64_t record_bytes = 0;   ///< what finds the entries
    /// 1 - payload / chunks: padding, room to grow, free and retired slots.
    [[nodiscard]] double fragmentation() const {
        return chunk_bytes == 0
                   ? 0.0
                   : 1.0 - static_cast<double>(payload_bytes) / static_cast<double>(chunk_bytes);
    }
};

/// One writer at a time; any number of readers beside it, each with a Reader of its own.
class SlabStore {
  public:
    static constexpr std::uint64_t kRecordBytes = sizeof(std::uint64_t);
    static constexpr std::size_t kMostReaders = 64;

    /// Room for users 0 .. users - 1 and for entries within `budget_bytes` (rounded down to
    /// chunks), mapped here and filled as it is used. Throws BackendError naming the sizes when the
    /// mapping fails, or when not a single entry fits.
    SlabStore(std::shared_ptr<decode::Backend const> backend, std::uint64_t users,
              std::uint64_t budget_bytes);
    ~SlabStore();
    SlabStore(SlabStore const&) = delete;
    SlabStore& operator=(SlabStore const&) = delete;

    /// Asked for a user to drop when there is no room, again until there is; UINT64_MAX gives up,
    /// and so does the store when readers still hold what was dropped. Must not name the user that
    /// is being written.
    using Evict = std::function<std::uint64_t(std::uint64_t writing)>;
    void set_evict(Evict evict) { evict_ = std::move(evict); }

    /// What the backend throws leaves the store as it was, here and below.
    /// Writes a user's entry, replacing an older one. False when there is no room (nothing
    /// changed).
    [[nodiscard]] bool put(std::uint64_t user, std::span<ItemId const> history,
                           decode::EncodeMode mode, decode::Scratch& scratch);
    /// Adds newer tokens; an entry of max_tokens forgets its oldest. Bit-equal to put() of the
    /// whole history, for HSTU as long as nothing is forgotten (kv::append_rule). False when there
    /// is no room (the old entry stays). InternalError without an entry.
    [[nodiscard]] bool append(std::uint64_t user, std::span<ItemId const> added,
                              decode::EncodeMode mode, decode::Scratch& scratch);
    /// As append(), in the entry's own slot where it has room: the caller makes sure that nobody
    /// reads the entry meanwhile.
    [[nodiscard]] bool append_alone(std::uint64_t user, std::span<ItemId const> added,
                                    decode::EncodeMode mode, decode::Scratch& scratch);
    void drop(std::uint64_t user);

    /// Writes entries of users first, first + 1, ... with the given numbers of tokens, in parallel
    /// (OpenMP): `write(user, entry, capacity, scratch)` encodes one. Users must have no entry.
    /// Returns how many were written, fewer than asked when there is no room. Rethrows what `write`
    /// throws.
    using Write = std::function<void(std::uint64_t user, std::byte* entry, std::uint32_t capacity,
                                     decode::Scratch& scratch)>;
    [[nodiscard]] std::uint64_t put_range(std::uint64_t first,
                                          std::span<std::uint32_t const> tokens,
                                          Write const& write);

    /// A reader's view; entries that read() returned stay as they are until refresh() or the end.
    class Reader {
      public:
        explicit Reader(SlabStore& store);
        ~Reader();
        Reader(Reader const&) = delete;
        Reader& operator=(Reader const&) = delete;
        /// tokens = 0 and data = null when the user has no entry.
        [[nodiscard]] decode::EntryRef read(std::uint64_t user) const;
        /// From here on entries are read anew.
        void refresh();

      private:
        SlabStore& store_;
        std::size_t place_;
    };

    [[nodiscard]] SlabUsage usage() const;
    [[nodiscard]] SlabLadder const& ladder() const { return ladder_; }

  private:
    static constexpr std::uint64_t kNothing = UINT64_MAX;
    struct Retired {
        std::uint64_t offset;
        std::size_t size_class;
        std::uint64_t epoch;
    };
    /// A free slot of the class, or kNothing.
    std::uint64_t take(std::size_t size_class, std::uint64_t writing);
    std::uint64_t take_free(std::size_t size_class);
    /// Runs `write` on a slot just taken; gives the slot back when it throws.
    template <class WriteSlot>
    std::uint32_t fill_slot(std::size_t size_class, std::uint64_t offset, WriteSlot&& write);
    void retire(std::uint64_t record);
    void reclaim();
    /// Chunks without a used slot become free for any class. True when there was one.
    bool recycle_chunks();
    void publish(std::uint64_t user, std::uint64_t offset, std::uint32_t tokens,
                 std::size_t size_class);
    [[nodiscard]] decode::EntryRef entry_of(std::uint64_t record) const;

    std::shared_ptr<decode::Backend const> backend_;
    SlabLadder ladder_;
    std::uint64_t users_;
    std::uint64_t chunks_;
    std::byte* memory_ = nullptr;
    std::unique_ptr<std::atomic<std::uint64_t>[]> records_;
    std::uint64_t used_chunks_ = 0;
    std::vector<std::uint64_t> spare_chunks_;       ///< used before, empty now
    std::vector<std::vector<std::uint64_t>> free_;  ///< offsets, by class
    std::vector<Retired> retired_;
    std::atomic<std::uint64_t> epoch_{1};
    std::array<std::atomic<std::uint64_t>, kMostReaders> readers_{};  ///< epoch seen, 0 = no reader
    Evict evict_;
    SlabUsage usage_;
};

}  // namespace ckvsim::engine
