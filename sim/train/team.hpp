// The processes that train one network together. How they reach each other is an interface (MPI in
// ckvsim-train, threads in tests); what they say to each other is here, so that training needs no
// message-passing library.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "core/error.hpp"

namespace ckvsim::train {

/// The way from rank to rank.
class Exchange {
  public:
    virtual ~Exchange() = default;
    [[nodiscard]] virtual int rank() const = 0;
    [[nodiscard]] virtual int size() const = 0;
    /// Collective. Sends `to[r]` to rank r; returns what came, in rank order, one after the other.
    virtual std::vector<std::byte> exchange(std::vector<std::vector<std::byte>> const& to) = 0;
};

/// What all ranks throw together when at least one failed.
class TeamError : public Error {
  public:
    using Error::Error;
};

/// `size` consecutive elements.
struct Slice {
    std::size_t begin = 0;
    std::size_t size = 0;
};

/// This process among those that train together, or alone: then nothing is sent. Every message says
/// whether its sender has failed, so that a failure on one rank reaches the others in whatever
/// collective call they wait, and all leave guard() with one TeamError. Sums are taken in rank
/// order and in double, whatever the library of messages does: all ranks hold the same bits.
class Team {
  public:
    Team() = default;
    /// `exchange` must outlive the team.
    explicit Team(Exchange& exchange) : exchange_(&exchange) {}

    [[nodiscard]] int rank() const { return exchange_ == nullptr ? 0 : exchange_->rank(); }
    [[nodiscard]] int size() const { return exchange_ == nullptr ? 1 : exchange_->size(); }
    [[nodiscard]] bool is_root() const { return rank() == 0; }
    /// This rank's part of `count` elements; empty when there are fewer elements than ranks.
    [[nodiscard]] Slice slice_of(std::size_t count) const;

    /// Collective, and so is what `body` does: runs it on every rank. When any rank throws, all
    /// throw the lowest failing rank's message; it names `phase` and rank unless all say the same.
    void guard(std::string const& phase, std::function<void()> const& body);

    // All below are collective.
    void sum(std::span<float> values);  ///< element-wise, in place, on every rank
    void sum(std::span<double> values);
    /// Everybody's bytes in rank order, on every rank.
    std::vector<std::vector<std::byte>> all_gather(std::span<std::byte const> part);
    /// Rank 0's bytes reach every rank.
    void broadcast(std::vector<std::byte>& data);
    template <class T>
    void broadcast_value(T& value) {
        static_assert(std::is_trivially_copyable_v<T>);
        std::vector<std::byte> data(sizeof(T));
        std::memcpy(data.data(), &value, sizeof(T));
        broadcast(data);
        std::memcpy(&value, data.data(), sizeof(T));
    }
    /// Distinct row ids with their rows of `width` values become those of all ranks: ids ascending,
    /// rows of one id added up. Alone: unchanged.
    void sum_rows(std::vector<std::int64_t>& ids, std::vector<float>& rows, std::size_t width);
    /// Throws on all ranks, with `code` and the ranks that differ, unless all hold the same value.
    void require_equal(std::uint64_t value, ExitCode code, std::string const& what,
                       std::string const& advice);

  private:
    using Parts = std::vector<std::vector<std::byte>>;

    Parts transfer(Parts const& to);
    [[noreturn]] void fail(ExitCode code, std::string const& phase, std::string const& message);
    template <class T>
    void sum_values(std::span<T> values);

    Exchange* exchange_ = nullptr;
};

}  // namespace ckvsim::train
