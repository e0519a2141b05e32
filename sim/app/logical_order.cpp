#include "app/logical_order.hpp"

#include <algorithm>
#include <map>

namespace ckvsim::app {

LogicalOrder::LogicalOrder(comm::Communicator& comm, engine::EvaluationSet const& set) {
    std::vector<std::uint64_t> mine;
    for (auto const& extent : set.shards)
        mine.insert(mine.end(), {extent.shard, extent.users, extent.impressions});
    auto const all = comm.gather_values(std::span<std::uint64_t const>(mine));
    std::uint64_t impressions = 0;
    std::uint64_t users = 0;
    for (std::size_t i = 0; i + 2 < all.size(); i += 3) {
        pieces_.push_back(
            {static_cast<std::uint32_t>(all[i]), all[i + 2], all[i + 1], impressions, users, 0});
        users += all[i + 1];
        impressions += all[i + 2];
    }
    std::sort(pieces_.begin(), pieces_.end(),
              [](Piece const& a, Piece const& b) { return a.shard < b.shard; });
    std::vector<std::uint64_t>
        starts;  // (shard, first impression in logical order), then the total
    for (auto& piece : pieces_) {
        piece.logical = total_;
        total_ += piece.impressions;
        starts.insert(starts.end(), {piece.shard, piece.logical});
    }
    starts.push_back(total_);
    auto const bytes = std::as_bytes(std::span(starts));
    std::vector<std::byte> message(bytes.begin(), bytes.end());
    comm.broadcast(message);
    starts.resize(message.size() / sizeof(std::uint64_t));
    std::memcpy(starts.data(), message.data(), message.size());
    total_ = starts.back();
    std::map<std::uint64_t, std::uint64_t> start_of_shard;
    for (std::size_t i = 0; i + 1 < starts.size(); i += 2)
        start_of_shard[starts[i]] = starts[i + 1];
    for (auto const& extent : set.shards) {
        segments_.push_back({start_of_shard.at(extent.shard), extent.impressions});
    }
}

metrics::Predictions LogicalOrder::gather_labels(comm::Communicator& comm,
                                                 engine::EvaluationSet const& set) const {
    std::vector<std::uint64_t> counts;
    for (std::size_t i = 0; i < set.users.size(); ++i)
        counts.push_back(set.user_offsets[i + 1] - set.user_offsets[i]);
    auto const all_counts = comm.gather_values(std::span<std::uint64_t const>(counts));
    metrics::Predictions predictions;
    predictions.labels = gather(comm, std::span<std::uint8_t const>(set.labels));
    predictions.user.reserve(predictions.labels.size());
    for (auto const& piece : pieces_) {
        for (std::uint64_t u = 0; u < piece.users; ++u) {
            predictions.user.insert(predictions.user.end(), all_counts[piece.gathered_users + u],
                                    predictions.users);
            ++predictions.users;
        }
    }
    return predictions;
}

}  // namespace ckvsim::app
