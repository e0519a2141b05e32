#include "workload/perturbed.hpp"

#include <utility>

#include "core/error.hpp"

namespace ckvsim::workload {

namespace {

class PerturbedPopulation final : public Population {
  public:
    PerturbedPopulation(std::unique_ptr<Population> base, UserId user, std::uint32_t position)
        : base_(std::move(base)), user_(user), position_(position) {
        validate(user < base_->users(), "perturb_token: the user does not exist");
        validate(position < base_->history_length(user), "perturb_token: the history is shorter");
        validate(base_->catalogue().items > 1, "perturb_token: there is no other item");
    }
    std::uint64_t users() const override { return base_->users(); }
    Catalogue const& catalogue() const override { return base_->catalogue(); }
    std::uint32_t context_vocabulary() const override { return base_->context_vocabulary(); }
    std::uint32_t history_length(UserId user) const override { return base_->history_length(user); }
    void load(UserId user, UserRecord& out) const override {
        base_->load(user, out);
        if (user == user_) out.timeline[position_] = replacement(out.timeline[position_]);
    }
    void load_history(UserId user, std::vector<ItemId>& out) const override {
        base_->load_history(user, out);
        if (user == user_) out[position_] = replacement(out[position_]);
    }
    bool has_true_logits() const override { return base_->has_true_logits(); }
    bool has_independent_users() const override { return base_->has_independent_users(); }
    std::string describe() const override {
        return base_->describe() + "; token " + std::to_string(position_) + " of user " +
               std::to_string(user_) + " replaced";
    }
    std::uint64_t digest() const override { return base_->digest(); }

  private:
    ItemId replacement(ItemId item) const { return item % base_->catalogue().items + 1; }
    std::unique_ptr<Population> base_;
    UserId user_;
    std::uint32_t position_;
};

}  // namespace

std::unique_ptr<Population> perturb_token(std::unique_ptr<Population> base, UserId user,
                                          std::uint32_t position) {
    return std::make_unique<PerturbedPopulation>(std::move(base), user, position);
}

}  // namespace ckvsim::workload
