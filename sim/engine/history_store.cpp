#include "engine/history_store.hpp"

#include <algorithm>

#include "core/error.hpp"
#include "engine/parallel_failure.hpp"

namespace ckvsim::engine {

std::uint32_t HistoryStore::end_of(Range const& range, workload::Request const& request) {
    return std::max(request.tokens, range.base_length);
}

HistoryStore::HistoryStore(workload::Population const& population,
                           std::vector<workload::Request> const& requests) {
    for (auto const& request : requests) {
        std::uint32_t slot = index_.find(request.user, user_of());
        if (slot == node::kNoSlot) {
            slot = static_cast<std::uint32_t>(ranges_.size());
            Range range;
            range.user = request.user;
            range.base_length = population.history_length(request.user);
            range.first = UINT32_MAX;
            ranges_.push_back(range);
            index_.insert(request.user, slot, user_of());
        }
        Range& range = ranges_[slot];
        std::uint32_t const end = end_of(range, request);
        range.first = std::min(range.first, end - request.tokens);
        range.end = std::max(range.end, end);
        range.most_tokens = std::max(range.most_tokens, request.tokens);
    }
    std::uint64_t ids = 0;
    for (Range& range : ranges_) {
        range.offset = ids;
        ids += range.end - range.first;
    }
    ids_.resize(ids);
    load(population);
}

void HistoryStore::load(workload::Population const& population) {
    ParallelFailure failure;
#pragma omp parallel
    {
        std::vector<ItemId> history;
        workload::UserRecord record;
#pragma omp for schedule(dynamic, 64)
        for (std::size_t i = 0; i < ranges_.size(); ++i) {
            failure.guard([&] {
                Range const& range = ranges_[i];
                bool const later_events = range.end > range.base_length;
                if (later_events) {
                    population.load(range.user, record);
                } else {
                    population.load_history(range.user, history);
                }
                auto const& events = later_events ? record.timeline : history;
                validate(events.size() >= range.end,
                         "engine::HistoryStore: a request sees more tokens than its user has");
                std::copy(events.begin() + range.first, events.begin() + range.end,
                          ids_.begin() + static_cast<std::ptrdiff_t>(range.offset));
            });
        }
    }
    failure.rethrow();
}

std::span<ItemId const> HistoryStore::history(workload::Request const& request) const {
    Range const& range = ranges_[index_.find(request.user, user_of())];
    std::uint32_t const from = end_of(range, request) - request.tokens;
    return {ids_.data() + range.offset + (from - range.first), request.tokens};
}

}  // namespace ckvsim::engine
