// What a population of users is: catalogue, histories and labelled impressions. Implemented by
// SyntheticPopulation (pure function of seed and user) and DatasetPopulation (imported logs).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/ids.hpp"

namespace ckvsim::workload {

enum class Split : std::uint8_t { train = 0, tune = 1, test = 2 };

/// Second of a time in ms; floors also before 1970. Impressions of one user within one second are
/// one request.
constexpr std::int64_t second_of(std::int64_t time_ms) {
    return (time_ms >= 0 ? time_ms : time_ms - 999) / 1000;
}

/// One labelled impression of a user. Its history is timeline[0 .. history_end): strictly earlier
/// events.
struct Impression {
    ItemId item = kPaddingItem;
    std::uint32_t context =
        0;  ///< categorical request context (KuaiRand: tab), < context_vocabulary()
    std::uint32_t history_end = 0;  ///< number of timeline events strictly before this impression
    std::uint8_t label = 0;         ///< 1 = click
    Split split = Split::test;
    std::int64_t time_ms = 0;  ///< event time; impressions of a user are sorted by it
};

/// Everything known about one user. `timeline` = base history, then the impressions' items in time
/// order where the source says that exposures extend the history (KuaiRand), else the base history
/// alone.
struct UserRecord {
    std::vector<ItemId> timeline;
    std::uint32_t base_length =
        0;  ///< timeline[0 .. base_length) is the stored history, oldest first
    std::vector<Impression> impressions;
    std::vector<double>
        true_logits;  ///< synthetic only: logit of the generating model per impression
};

/// Item features: feature 0 is the item id itself, feature 1 a category, further ones optional.
struct Catalogue {
    std::uint32_t items = 0;                           ///< V; ids 1 .. V, 0 = padding
    std::vector<std::string> feature_names;            ///< size F >= 1
    std::vector<std::uint32_t> feature_vocabularies;   ///< size F, including padding 0
    std::vector<std::vector<std::uint32_t>> features;  ///< [F][V+1]; features[0][i] == i
};

/// Thread-safe, read-only after construction.
class Population {
  public:
    virtual ~Population() = default;
    [[nodiscard]] virtual std::uint64_t users() const = 0;
    [[nodiscard]] virtual Catalogue const& catalogue() const = 0;
    [[nodiscard]] virtual std::uint32_t context_vocabulary() const = 0;  ///< >= 1
    /// Number of stored history events of a user before any cap; cheap.
    [[nodiscard]] virtual std::uint32_t history_length(UserId user) const = 0;
    /// Fills `out` (reusing its memory) with history, impressions and true logits.
    virtual void load(UserId user, UserRecord& out) const = 0;
    /// Fills only the stored history, oldest first; cheaper than load().
    virtual void load_history(UserId user, std::vector<ItemId>& out) const = 0;
    [[nodiscard]] virtual bool has_true_logits() const = 0;
    /// False when users are clones of fewer recorded ones: they add load, never statistical weight.
    [[nodiscard]] virtual bool has_independent_users() const { return true; }
    /// One line for reports: where the data come from.
    [[nodiscard]] virtual std::string describe() const = 0;
    /// Digest of everything the population depends on (parameters or dataset content).
    [[nodiscard]] virtual std::uint64_t digest() const = 0;
};

}  // namespace ckvsim::workload
