// Equal servers behind one queue in order of arrival: the devices of a storage tier.
#pragma once

#include <algorithm>
#include <vector>

#include "core/error.hpp"
#include "core/ids.hpp"
#include "node/fifo_server.hpp"

namespace ckvsim::node {

class ServerPool {
  public:
    explicit ServerPool(std::uint32_t servers) : free_ns_(servers, 0) {
        validate(servers >= 1, "ServerPool: at least one server");
    }
    /// The first server to get free takes the job; calls come in order of arrival.
    FifoServer::Slot serve(Nanoseconds ready_ns, Nanoseconds duration_ns) {
        auto const first = std::min_element(free_ns_.begin(), free_ns_.end());
        Nanoseconds const start = std::max(ready_ns, *first);
        *first = start + duration_ns;
        return {start, *first};
    }

    /// When a job that is ready at `ready_ns` would start.
    [[nodiscard]] Nanoseconds start_of(Nanoseconds ready_ns) const {
        return std::max(ready_ns, *std::min_element(free_ns_.begin(), free_ns_.end()));
    }

    /// Members, see core/archive.hpp.
    template <class Archive>
    void archive(Archive& ar) {
        ar.fixed(free_ns_);
    }

  private:
    std::vector<Nanoseconds> free_ns_;
};

}  // namespace ckvsim::node
