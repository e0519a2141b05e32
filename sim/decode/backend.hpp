// What serves requests: encodes histories into entries and turns entries plus candidates into
// logits. Implemented by device/cpu (and device/cuda). One object per (weights, strategy);
// thread-safe after construction: every method is const and takes its scratch from the caller.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/ids.hpp"
#include "kv/strategy.hpp"

namespace ckvsim::decode {

/// How encode() finds K, V and codes. compute = project every token, as a server that sees it first
/// would; memo = copy from per-item tables made once (bulk residency, accuracy runs). Same bytes
/// either way.
enum class EncodeMode : std::uint8_t { compute, memo };

/// A user's entry in memory, 16-byte aligned as its sections are.
struct EntryRef {
    std::byte const* data = nullptr;
    std::uint32_t tokens = 0;
    std::uint32_t capacity = 0;  ///< tokens the layout was made for
};

/// C candidates against one entry.
struct ScoreRequest {
    EntryRef entry;
    ItemId const* candidates = nullptr;       ///< [C]
    std::uint32_t const* contexts = nullptr;  ///< [C]; nullptr = all 0
    std::uint32_t count = 0;                  ///< C
    std::uint32_t const* forced_top_k =
        nullptr;  ///< [C, top_k] positions, 0xFFFFFFFF = none; nullptr = own search
    std::uint32_t* chosen_top_k = nullptr;  ///< [C, top_k] output, ascending; nullptr = not wanted
};

/// Reusable per-thread memory.
class Scratch {
  public:
    virtual ~Scratch() = default;
};

/// Kernels of one device for one arm: encode, serve, score. Thread-safe, read-only after
/// construction.
class Backend {
  public:
    virtual ~Backend() = default;
    [[nodiscard]] virtual kv::EntryLayout const& layout() const = 0;
    [[nodiscard]] virtual model::SimWeights const& weights() const = 0;
    [[nodiscard]] virtual kv::StrategyParams const& strategy() const = 0;
    [[nodiscard]] virtual std::unique_ptr<Scratch> make_scratch() const = 0;
    /// Bytes of shared tables really allocated (pools, item tables, code tables, embeddings,
    /// tower), by name.
    [[nodiscard]] virtual std::vector<kv::SharedBytes> allocated_shared() const = 0;

    /// Writes an entry for the newest `capacity` of `tokens` (oldest first). `entry` has
    /// layout().entry_bytes(capacity) bytes and is 16-byte aligned; alignment gaps and room beyond
    /// the tokens are not written. Returns the number of tokens stored.
    virtual std::uint32_t encode(std::span<ItemId const> tokens, std::uint32_t capacity,
                                 EncodeMode mode, std::byte* entry, Scratch& scratch) const = 0;
    /// Appends newer tokens in place; the oldest fall out when capacity is reached. Bit-equal to
    /// encode() of the concatenation, as far as kv::append_rule() says so. Returns the new number
    /// of tokens.
    virtual std::uint32_t append(std::byte* entry, std::uint32_t tokens, std::uint32_t capacity,
                                 std::span<ItemId const> added, EncodeMode mode,
                                 Scratch& scratch) const = 0;
    /// Width of one row of tower input.
    [[nodiscard]] virtual std::uint32_t feature_width() const = 0;
    /// Attention stage: fills features [C, feature_width()] = concat(e_c, short, long, context), of
    /// HSTU concat(e_c, last layer's output, context).
    virtual void decode(ScoreRequest const& request, float* features, Scratch& scratch) const = 0;
    /// decode() of several requests: features[i] for requests[i], the same bits. Backends whose
    /// requests share memory read it for the whole batch.
    virtual void decode_batch(std::span<ScoreRequest const> requests, float* const* features,
                              Scratch& scratch) const {
        for (std::size_t i = 0; i < requests.size(); ++i) decode(requests[i], features[i], scratch);
    }
    /// Tower stage, the same for every strategy: features [rows, feature_width()] -> logits [rows].
    virtual void tower(float const* features, std::uint32_t rows, float* logits,
                       Scratch& scratch) const = 0;
};

}  // namespace ckvsim::decode
