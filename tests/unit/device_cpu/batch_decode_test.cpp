// A batch answers as its requests one by one, bit for bit, for every strategy, variant and type.
#include <gtest/gtest.h>

#include "backend_cases.hpp"

namespace ckvsim::device::cpu {
namespace {

constexpr std::uint32_t kItems = 60;

/// Requests of users with histories of different lengths.
class Users {
  public:
    Users(decode::Backend const& backend, std::uint32_t capacity, decode::Scratch& scratch)
        : backend_(backend), capacity_(capacity) {
        for (std::size_t const n : {std::size_t{capacity}, std::size_t{0}, std::size_t{1},
                                    std::size_t{capacity} / 2, std::size_t{capacity} - 1}) {
            entries_.emplace_back(backend.layout().entry_bytes(capacity));
            tokens_.push_back(backend.encode(test::random_history(n, kItems, n), capacity,
                                             decode::EncodeMode::compute, entries_.back().data(),
                                             scratch));
        }
    }
    [[nodiscard]] std::size_t count() const { return entries_.size(); }
    [[nodiscard]] decode::ScoreRequest request(std::size_t user, std::vector<ItemId> const& items,
                                               std::uint32_t* chosen) const {
        decode::ScoreRequest request;
        request.entry = {entries_[user].data(), tokens_[user], capacity_};
        request.candidates = items.data();
        request.count = static_cast<std::uint32_t>(items.size());
        request.chosen_top_k = chosen;
        return request;
    }

  private:
    decode::Backend const& backend_;
    std::uint32_t capacity_;
    std::vector<std::vector<std::byte>> entries_;
    std::vector<std::uint32_t> tokens_;
};

void expect_same(decode::Backend const& backend, Users const& users, std::size_t candidates,
                 decode::Scratch& scratch) {
    std::size_t const width = backend.feature_width() * candidates;
    std::size_t const top_k = backend.weights().shape.top_k * candidates;
    std::vector<std::vector<ItemId>> items;
    std::vector<std::vector<float>> together(users.count(), std::vector<float>(width + 1, -7.0F));
    std::vector<std::vector<std::uint32_t>> chosen(users.count(),
                                                   std::vector<std::uint32_t>(top_k + 1, 77));
    std::vector<float*> features;
    std::vector<decode::ScoreRequest> requests;
    for (std::size_t user = 0; user < users.count(); ++user)
        items.push_back(test::random_history(candidates, kItems, 40 + user));
    for (std::size_t user = 0; user < users.count(); ++user) {
        features.push_back(together[user].data());
        requests.push_back(users.request(user, items[user], chosen[user].data()));
    }
    backend.decode_batch(requests, features.data(), scratch);
    for (std::size_t user = 0; user < users.count(); ++user) {
        std::vector<float> alone(width + 1, -7.0F);
        std::vector<std::uint32_t> own(top_k + 1, 77);
        backend.decode(users.request(user, items[user], own.data()), alone.data(), scratch);
        EXPECT_EQ(together[user], alone) << "user " << user << ", " << candidates << " candidates";
        EXPECT_EQ(chosen[user], own);
    }
}

TEST(BatchDecode, AnswersAsOneByOne) {
    auto const catalogue = test::small_catalogue(kItems);
    for (auto const& shape :
         {test::even_shape(), test::odd_shape(), test::twin_of(test::even_shape()),
          test::eta_of(test::even_shape()), test::sdim_of(test::even_shape())}) {
        for (auto const& c : test::backend_cases(shape)) {
            SCOPED_TRACE(c.name);
            auto const backend =
                make_backend(test::case_weights(c, catalogue), c.strategy, catalogue);
            auto const scratch = backend->make_scratch();
            Users const users(*backend, shape.max_tokens, *scratch);
            expect_same(*backend, users, 1, *scratch);
            expect_same(*backend, users, 3, *scratch);
            expect_same(*backend, users, 1, *scratch);  // what a batch leaves disturbs no other
        }
    }
}

/// All tokens attended and a small pool or catalogue: rows are shared. One candidate alone, in a
/// batch and among many must still give the same bits.
TEST(BatchDecode, SharedRowsDoNotDependOnTheRequestsAround) {
    auto const catalogue = test::small_catalogue(kItems);
    auto shape = test::even_shape();
    shape.attention_dim = 256;  // rows long enough that sharing pays
    shape.max_tokens = 300;
    shape.top_k = 300;
    std::size_t pools = 0;
    std::size_t tables = 0;
    for (auto const& c : test::backend_cases(shape)) {
        pools += c.strategy.kind == kv::StrategyKind::collective ? 1 : 0;
        tables += c.strategy.kind == kv::StrategyKind::item_table ? 1 : 0;
        if (c.strategy.kind != kv::StrategyKind::collective &&
            c.strategy.kind != kv::StrategyKind::item_table)
            continue;
        SCOPED_TRACE(c.name);
        auto const backend = make_backend(test::case_weights(c, catalogue), c.strategy, catalogue);
        auto const scratch = backend->make_scratch();
        Users const users(*backend, shape.max_tokens, *scratch);
        expect_same(*backend, users, 1, *scratch);
        auto const items = test::random_history(40, kItems, 9);
        std::size_t const width = backend->feature_width();
        std::vector<float> many(items.size() * width);
        backend->decode(users.request(0, items, nullptr), many.data(), *scratch);
        for (std::size_t i = 0; i < items.size(); i += 7) {
            std::vector<float> alone(width);
            backend->decode(users.request(0, {items[i]}, nullptr), alone.data(), *scratch);
            EXPECT_TRUE(std::equal(alone.begin(), alone.end(),
                                   many.begin() + static_cast<std::ptrdiff_t>(i * width)));
        }
    }
    EXPECT_GT(pools, 3U);
    EXPECT_GT(tables, 3U);
}

}  // namespace
}  // namespace ckvsim::device::cpu
