// Brings per-impression values of all ranks into logical order (ascending shard, user, time) on
// rank 0.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "comm/communicator.hpp"
#include "engine/evaluation.hpp"
#include "metrics/accuracy.hpp"
#include "report/report_file.hpp"

namespace ckvsim::app {

class LogicalOrder {
  public:
    /// Collective: gathers the extents of every rank's evaluation set.
    LogicalOrder(comm::Communicator& comm, engine::EvaluationSet const& set);

    /// Collective. One value per impression of the local set -> all of them in logical order on
    /// rank 0, empty elsewhere.
    template <class T>
    std::vector<T> gather(comm::Communicator& comm, std::span<T const> local) const {
        auto const all = comm.gather_values(local);
        std::vector<T> ordered(all.size());
        for (auto const& piece : pieces_) {
            std::copy_n(all.begin() + static_cast<std::ptrdiff_t>(piece.gathered),
                        piece.impressions,
                        ordered.begin() + static_cast<std::ptrdiff_t>(piece.logical));
        }
        return ordered;
    }
    /// Collective. Labels and dense user indices on rank 0; logits left empty.
    metrics::Predictions gather_labels(comm::Communicator& comm,
                                       engine::EvaluationSet const& set) const;
    /// Where this rank's impressions lie in logical order, for collective bulk writing.
    [[nodiscard]] std::vector<report::BulkSegment> const& segments() const { return segments_; }
    [[nodiscard]] std::uint64_t total() const { return total_; }

  private:
    struct Piece {
        std::uint32_t shard = 0;
        std::uint64_t impressions = 0;
        std::uint64_t users = 0;
        std::uint64_t gathered = 0;  ///< first impression in rank order
        std::uint64_t gathered_users = 0;
        std::uint64_t logical = 0;  ///< first impression in logical order
    };
    std::vector<Piece> pieces_;  ///< ascending shard; rank 0 only
    std::vector<report::BulkSegment> segments_;
    std::uint64_t total_ = 0;
};

}  // namespace ckvsim::app
