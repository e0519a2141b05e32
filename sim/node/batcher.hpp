// Dynamic batching: a batch closes when it is full or when its first request has waited long
// enough, never before the server can take it. Pure arithmetic on intended starts, shared by both
// twins.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

#include "core/ids.hpp"

namespace ckvsim::node {

class Batcher {
  public:
    /// max_batch >= 1; max_wait_us >= 0.
    Batcher(std::uint32_t max_batch, double max_wait_us)
        : max_batch_(std::max(max_batch, 1U)),
          max_wait_ns_(static_cast<Nanoseconds>(std::llround(max_wait_us * 1e3))) {}

    /// Time at which the batch that starts with request `first` closes when the server is ready at
    /// `ready_ns`. `arrival(i)` is the intended start of request i, ascending; count = requests in
    /// all. The server does not know that the stream ends: the last batch waits like any other.
    template <class Arrival>
    [[nodiscard]] Nanoseconds close_ns(std::size_t first, std::size_t count, Nanoseconds ready_ns,
                                       Arrival&& arrival) const {
        Nanoseconds close = arrival(first) + max_wait_ns_;
        std::size_t const last = first + max_batch_ - 1;
        if (last < count) close = std::min(close, arrival(last));
        return std::max(close, ready_ns);
    }
    /// End (exclusive) of the batch that starts with `first` and closes at `close_ns`.
    template <class Arrival>
    [[nodiscard]] std::size_t end_of(std::size_t first, std::size_t count, Nanoseconds close_ns,
                                     Arrival&& arrival) const {
        std::size_t const limit = std::min(count, first + max_batch_);
        std::size_t end = first + 1;
        while (end < limit && arrival(end) <= close_ns) ++end;
        return end;
    }
    [[nodiscard]] std::uint32_t max_batch() const { return max_batch_; }

  private:
    std::uint32_t max_batch_;
    Nanoseconds max_wait_ns_;
};

}  // namespace ckvsim::node
