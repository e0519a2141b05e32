#include "engine/fit_histories.hpp"

#include <algorithm>
#include <numeric>

#include "core/rng.hpp"

namespace ckvsim::engine {

namespace {

/// All users once each, neighbours far apart: steps of about the golden section of their number.
class Walk {
  public:
    Walk(std::uint64_t users, std::uint64_t seed) : users_(users) {
        CounterRng rng(seed, Purpose::sample_selection, 0, 4);
        at_ = rng.next_u64() % users;
        step_ = static_cast<std::uint64_t>(0.618034 * static_cast<double>(users));
        while (std::gcd(step_, users) != 1) ++step_;
    }
    UserId next() {
        at_ = (at_ + step_) % users_;
        return static_cast<UserId>(at_);
    }

  private:
    std::uint64_t users_;
    std::uint64_t at_ = 0;
    std::uint64_t step_ = 1;
};

/// What the user's last training impression sees; empty where there is none.
std::vector<ItemId> trained_history(workload::UserRecord const& record) {
    std::uint32_t seen = 0;
    for (auto const& impression : record.impressions) {
        if (impression.split == workload::Split::train)
            seen = std::max(seen, impression.history_end);
    }
    return {record.timeline.begin(), record.timeline.begin() + seen};
}

/// Calls `load(user)` for users of the walk until `most` histories are not empty.
template <class Load>
std::vector<std::vector<ItemId>> collect(std::uint64_t users, std::uint64_t seed, std::size_t most,
                                         std::uint32_t max_tokens, Load&& load) {
    std::vector<std::vector<ItemId>> histories;
    if (users == 0) return histories;
    Walk walk(users, seed);
    for (std::uint64_t i = 0; i < users && histories.size() < most; ++i) {
        std::vector<ItemId> history = load(walk.next());
        if (history.size() > max_tokens) history.erase(history.begin(), history.end() - max_tokens);
        if (!history.empty()) histories.push_back(std::move(history));
    }
    return histories;
}

}  // namespace

std::vector<std::vector<ItemId>> fit_histories(workload::Population const& population,
                                               std::uint32_t max_tokens, std::uint64_t seed,
                                               std::size_t most) {
    workload::UserRecord record;
    auto histories = collect(population.users(), seed, most, max_tokens, [&](UserId user) {
        population.load(user, record);
        return trained_history(record);
    });
    if (histories.empty()) {
        histories = collect(population.users(), seed, most, max_tokens, [&](UserId user) {
            std::vector<ItemId> history;
            population.load_history(user, history);
            return history;
        });
    }
    return histories;
}

}  // namespace ckvsim::engine
