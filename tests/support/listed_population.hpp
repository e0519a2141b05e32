// A population written out by hand.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "workload/population.hpp"

namespace ckvsim::test {

/// Users as given; load() and load_history() throw for `broken_user`.
class ListedPopulation final : public workload::Population {
  public:
    explicit ListedPopulation(std::uint32_t items, std::vector<workload::UserRecord> users)
        : users_(std::move(users)) {
        catalogue_.items = items;
        catalogue_.feature_names = {"item"};
        catalogue_.feature_vocabularies = {items + 1};
        catalogue_.features.assign(1, {});
        for (std::uint32_t item = 0; item <= items; ++item) catalogue_.features[0].push_back(item);
    }
    UserId broken_user = ~UserId{0};

    std::uint64_t users() const override { return users_.size(); }
    workload::Catalogue const& catalogue() const override { return catalogue_; }
    std::uint32_t context_vocabulary() const override { return 1; }
    std::uint32_t history_length(UserId user) const override { return users_[user].base_length; }
    void load(UserId user, workload::UserRecord& out) const override {
        if (user == broken_user) throw std::runtime_error("user cannot be loaded");
        out = users_[user];
    }
    void load_history(UserId user, std::vector<ItemId>& out) const override {
        if (user == broken_user) throw std::runtime_error("user cannot be loaded");
        auto const& timeline = users_[user].timeline;
        out.assign(timeline.begin(), timeline.begin() + users_[user].base_length);
    }
    bool has_true_logits() const override { return false; }
    std::string describe() const override { return "listed"; }
    std::uint64_t digest() const override { return users_.size(); }

  private:
    workload::Catalogue catalogue_;
    std::vector<workload::UserRecord> users_;
};

}  // namespace ckvsim::test
