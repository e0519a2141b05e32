// A dataset-derived population: from tens of thousands of recorded users to any number, none of
// them stored. Every expanded user resamples one recorded user's whole history, replaces part of
// its items by items that other recorded users consumed next to them, and jitters length and times.
// How close the result stays is measured by engine/expansion_distance.hpp; the method is described
// in sim/docs/expansion.md.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "workload/dataset.hpp"

namespace ckvsim::workload {

/// How recorded users are multiplied (sim/docs/expansion.md).
struct ExpansionParams {
    std::uint64_t seed = 1;
    std::uint64_t users = 1000000;
    std::uint32_t items = 0;  ///< V of the grown catalogue, at least the source's; 0 = the source's
    double substitution_share = 0.3;  ///< of a user's distinct items, replaced by co-consumed ones
    std::uint32_t neighbourhood = 5;  ///< co-consumed = at most so many events apart
    double length_jitter = 0.05;      ///< s.d. of the shift of a user's rank among history lengths
    double time_sigma = 0.2;          ///< log-normal stretch of the gaps between impressions
    double foreign_share = 0.1;       ///< grown catalogue: events on items of another community
    bool shuffle_items = false;       ///< control: every item of a user replaced by a random one

    bool operator==(ExpansionParams const&) const = default;
};

/// Thread-safe and read-only after construction; a pure function of (source, parameters, user).
/// Users are clones: they add load, never statistical weight (has_independent_users() is false).
///
/// Substitution walks on the recorded histories: an item i is replaced by an event drawn within
/// `neighbourhood` of a uniformly drawn occurrence of i in another user's history. Such a step has
/// the recorded popularity as its stationary distribution (up to the ends of histories), so
/// popularity is kept while histories differ. The replacement of an item is fixed per user, so
/// repeats stay repeats. Length jitter moves a user along the recorded ranking of lengths
/// (reflected at its ends), which keeps the distribution of lengths.
///
/// A grown catalogue holds g = ceil(V' / V) variants of each source item: id = variant * V + source
/// id. Each user belongs to one of g communities and meets its variants, except for
/// `foreign_share` of his items; variants share the source item's features but the id.
class ExpandedPopulation final : public Population {
  public:
    /// Throws InternalError on parameters that config should have refused: users >= 1, items 0 or
    /// >= V, shares in [0, 1], neighbourhood >= 1, jitters >= 0; DataError when the source has no
    /// history events.
    ExpandedPopulation(Dataset source, ExpansionParams const& params);

    [[nodiscard]] std::uint64_t users() const override { return params_.users; }
    [[nodiscard]] Catalogue const& catalogue() const override { return catalogue_; }
    [[nodiscard]] std::uint32_t context_vocabulary() const override {
        return source_.context_vocabulary;
    }
    [[nodiscard]] std::uint32_t history_length(UserId user) const override;
    void load(UserId user, UserRecord& out) const override;
    void load_history(UserId user, std::vector<ItemId>& out) const override;
    [[nodiscard]] bool has_true_logits() const override { return false; }
    [[nodiscard]] bool has_independent_users() const override { return false; }
    [[nodiscard]] std::string describe() const override;
    [[nodiscard]] std::uint64_t digest() const override;

    /// Row of the recorded user that `user` was made from.
    [[nodiscard]] std::uint32_t source_user(UserId user) const;
    [[nodiscard]] std::uint32_t source_users() const {
        return static_cast<std::uint32_t>(source_.original_user_ids.size());
    }
    [[nodiscard]] std::uint32_t source_items() const { return source_.catalogue.items; }
    [[nodiscard]] std::span<ItemId const> source_history(std::uint32_t row) const;
    /// Source item of an item of the grown catalogue.
    [[nodiscard]] ItemId source_item(ItemId item) const { return (item - 1) % source_items() + 1; }

  private:
    /// What every event of one user shares.
    struct UserContext {
        std::uint64_t key = 0;
        std::uint32_t row = 0;
        std::uint32_t community = 0;
        std::vector<ItemId> own;                   ///< the source history, sorted
        std::array<std::uint64_t, 8> maybe_own{};  ///< bit set of item hashes, asked first
        [[nodiscard]] bool owns(ItemId item) const;
    };
    struct Event {
        std::uint32_t row;  ///< recorded user
        ItemId item;
    };
    [[nodiscard]] UserContext context_of(UserId user) const;
    void make_history(UserId user, UserContext const& context, std::vector<ItemId>& out) const;
    [[nodiscard]] ItemId replace(UserContext const& context, ItemId item) const;
    [[nodiscard]] ItemId neighbour(UserContext const& context, ItemId item,
                                   std::uint64_t word) const;
    [[nodiscard]] ItemId variant(UserContext const& context, ItemId item, std::uint64_t word) const;
    void rank_lengths();
    void index_occurrences();
    void grow_catalogue();

    Dataset source_;
    ExpansionParams params_;
    Catalogue catalogue_;
    std::uint32_t communities_ = 1;
    std::vector<std::uint32_t> lengths_;       ///< of users with a history, ascending
    std::vector<std::uint32_t> length_ranks_;  ///< [recorded users] place in lengths_
    double repeat_share_ = 0.0;  ///< of the source's events that repeat an earlier item of the user
    std::vector<std::uint64_t> occurrence_offsets_;  ///< [V+2] into occurrences_
    std::vector<std::uint32_t> occurrences_;         ///< event positions by item
    std::vector<Event> events_;                      ///< all recorded histories, one after another
};

}  // namespace ckvsim::workload
