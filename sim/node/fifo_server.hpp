// A resource that serves one job at a time in order of arrival: a GPU, a link.
#pragma once

#include <algorithm>

#include "core/ids.hpp"

namespace ckvsim::node {

class FifoServer {
  public:
    struct Slot {
        Nanoseconds start_ns = 0;
        Nanoseconds end_ns = 0;
    };
    /// Serves a job that is ready at `ready_ns`; calls come in order of service.
    Slot serve(Nanoseconds ready_ns, Nanoseconds duration_ns) {
        Slot const slot{std::max(ready_ns, free_ns_), std::max(ready_ns, free_ns_) + duration_ns};
        free_ns_ = slot.end_ns;
        return slot;
    }
    [[nodiscard]] Nanoseconds free_ns() const { return free_ns_; }

  private:
    Nanoseconds free_ns_ = 0;
};

}  // namespace ckvsim::node
