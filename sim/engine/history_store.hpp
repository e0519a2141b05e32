// The ids that a node's requests need, loaded before the clock starts: the executed twin's feature
// store.
#pragma once

#include <span>
#include <vector>

#include "node/user_index.hpp"
#include "workload/population.hpp"
#include "workload/requests.hpp"

namespace ckvsim::engine {

/// Memory: 4 bytes per id between the oldest and the newest that any request of a user sees.
class HistoryStore {
  public:
    HistoryStore(workload::Population const& population,
                 std::vector<workload::Request> const& requests);
    /// Ids [tokens] of a request, oldest first: the newest of the stored history, or, where a
    /// request sees later events too, the first `tokens` events of the user's timeline.
    [[nodiscard]] std::span<ItemId const> history(workload::Request const& request) const;
    /// Users with requests, and for each the most tokens that a request of his sees.
    [[nodiscard]] std::size_t users() const { return ranges_.size(); }
    [[nodiscard]] std::uint32_t most_tokens(std::size_t user_index) const {
        return ranges_[user_index].most_tokens;
    }

  private:
    struct Range {
        UserId user = 0;
        std::uint32_t base_length = 0;
        std::uint32_t first = 0;  ///< timeline events [first, end) are kept
        std::uint32_t end = 0;
        std::uint32_t most_tokens = 0;
        std::uint64_t offset = 0;  ///< of event `first` in ids_
    };
    [[nodiscard]] static std::uint32_t end_of(Range const& range, workload::Request const& request);
    [[nodiscard]] auto user_of() const {
        return [this](std::uint32_t slot) { return ranges_[slot].user; };
    }
    void load(workload::Population const& population);

    node::UserIndex index_;
    std::vector<Range> ranges_;
    std::vector<ItemId> ids_;
};

}  // namespace ckvsim::engine
