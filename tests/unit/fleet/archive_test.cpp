// Nodes saved in the middle of a run and loaded again go on as if nothing had happened, under every
// policy; what cannot be a node's state is refused.
#include "core/archive.hpp"

#include <gtest/gtest.h>

#include <memory>

#include "fleet_fixtures.hpp"

namespace ckvsim::fleet {
namespace {

using testing_support::busy_fleet;
using testing_support::busy_setup;
using testing_support::plain_costs;
using testing_support::same;

constexpr std::array kPolicies = {EvictionPolicy::lru,     EvictionPolicy::fifo,
                                  EvictionPolicy::clock,   EvictionPolicy::sieve,
                                  EvictionPolicy::s3_fifo, EvictionPolicy::w_tiny_lfu};
constexpr std::uint32_t kNode = 1;
constexpr Nanoseconds kEnd = 400'000'000;

struct Kind {
    EvictionPolicy policy;
    bool inclusive;
    bool shaped = false;
    bool events = false;
};

/// One node with its requests; a third of them are served elsewhere, as many guests come.
class Node {
  public:
    explicit Node(Kind kind, bool starts)
        : setup_(busy_setup()), users_(6000, 3, params_.activity, params_.history, 1) {
        setup_.tiers.policy = kind.policy;
        setup_.tiers.inclusive = kind.inclusive;
        auto traffic = params_.traffic;
        if (kind.shaped) traffic.shape.bursts = {.multiplier = 3.0};
        sim_ = std::make_unique<NodeSim>(setup_, costs_,
                                         NodeRun{.warmup_ns = kEnd / 4, .duration_ns = kEnd}, kNode,
                                         users_.places(kNode));
        std::vector<double> const rates(users_.classes().size(), 8.0);
        SignUps sign_ups;
        if (kind.events) {
            // All of them last, or are half done, when the test saves.
            auto const lasting = [](EventKind what, double at) {
                return FleetEvent{.kind = what, .at = at, .duration = 0.2};
            };
            std::vector<FleetEvent> events = {
                lasting(EventKind::slow, 0.2), lasting(EventKind::link, 0.25),
                lasting(EventKind::tier_loss, 0.22), lasting(EventKind::crash, 0.6)};
            events.push_back(
                {.at = 0.2, .rolling = 0.3, .rolling_by = RollingBy::users, .changed_share = 0.4});
            events.push_back({.kind = EventKind::catalogue, .at = 0.2, .growth = 0.2});
            setup_.growth = CatalogueGrowth{.hbm_bytes = 1e7, .dram_bytes = 1e6};
            setup_.growth->reads.link_bytes_per_candidate = 30.0;
            events.push_back(
                {.kind = EventKind::new_users, .at = 0.1, .rolling = 0.8, .users_share = 0.1});
            plan_.emplace(events, std::vector<std::uint32_t>{0, 1, 2}, 0.1, 0.4, 1);
            sim_->schedule(plan_->events(), plan_->actions(kNode));
            sign_ups = SignUps(*plan_, kNode, 1);
        }
        if (starts)
            start_node(sim_->tiers(), users_, kNode, rates, setup_.tiers, StartState::stationary, 1,
                       sign_ups);
        stream_ = std::make_unique<ArrivalStream>(users_, traffic, 1, kNode, sign_ups);
    }
    void run(std::size_t requests) {
        std::vector<Arrival> block;
        stream_->next(kEnd, requests, block);
        for (auto const& arrival : block) {
            if (arrival.user % 9 == 1) sim_->send_away(arrival);
            auto guest = arrival;
            guest.user = arrival.user - 1;  // another node's
            if (arrival.user % 9 == 4) sim_->serve_guest(guest, 20 + arrival.place % 7);
            if (arrival.user % 9 != 1) sim_->serve({&arrival, 1});
        }
    }
    FleetResult finish() {
        sim_->tiers().check();
        return sim_->finish();
    }
    template <class Archive>
    void archive(Archive& ar) {
        ar(*stream_, *sim_);
    }

  private:
    FleetParams params_ = busy_fleet();
    NodeSetup setup_;
    ServingCosts costs_ = plain_costs();
    FleetUsers users_;
    std::unique_ptr<ArrivalStream> stream_;
    std::optional<EventPlan> plan_;
    std::unique_ptr<NodeSim> sim_;
};

std::vector<Kind> kinds() {
    std::vector<Kind> all;
    for (auto const policy : kPolicies)
        for (bool const inclusive : {false, true})
            all.push_back({policy, inclusive, inclusive && policy == EvictionPolicy::lru});
    for (auto const policy : kPolicies) all.push_back({policy, false, false, true});
    return all;
}

std::vector<std::byte> saved(Node& node) {
    ByteBuffer buffer;
    save(buffer, node);
    return std::move(buffer.bytes);
}

TEST(NodeArchive, GoingOnFromSavedStateIsNotStopping) {
    for (auto const kind : kinds()) {
        Node whole(kind, true);
        whole.run(9000);
        whole.run(1U << 20);
        auto const expected = whole.finish();
        Node first(kind, true);
        first.run(9000);
        auto const bytes = saved(first);
        Node second(kind, false);
        ByteView view(bytes);
        load(view, second);
        EXPECT_EQ(view.remaining(), 0U);
        EXPECT_EQ(saved(second).size(), bytes.size());
        second.run(1U << 20);
        EXPECT_TRUE(same(second.finish(), expected)) << to_string(kind.policy);
        EXPECT_GT(expected.guests, 500U);
        EXPECT_GT(expected.shed, 0U);
        EXPECT_GT(expected.nvme_read_bytes, 0U);
        EXPECT_EQ(expected.lost > 0, kind.events);
    }
}

TEST(NodeArchive, ALayoutBelongsToAPolicyNotToValues) {
    std::uint64_t last = 0;
    for (auto const policy : {EvictionPolicy::lru, EvictionPolicy::sieve, EvictionPolicy::s3_fifo,
                              EvictionPolicy::w_tiny_lfu}) {
        Node empty({policy, false}, false);
        Node used({policy, false}, true);
        used.run(3000);
        EXPECT_EQ(layout_of(empty), layout_of(used));
        EXPECT_NE(layout_of(empty), last);
        last = layout_of(empty);
    }
}

TEST(NodeArchive, TruncatedStateIsRefused) {
    Kind const kind{EvictionPolicy::w_tiny_lfu, false};
    Node node(kind, true);
    node.run(5000);
    auto const bytes = saved(node);
    for (std::size_t cut = 0; cut < bytes.size(); cut += 1 + bytes.size() / 61) {
        Node other(kind, false);
        ByteView view(std::span<std::byte const>(bytes.data(), cut));
        EXPECT_THROW(load(view, other), DataError) << cut;
    }
}

TEST(NodeArchive, ChangedBytesAreRefusedOrAreValues) {
    for (auto const policy : {EvictionPolicy::lru, EvictionPolicy::s3_fifo}) {
        Node node({policy, false}, true);
        node.run(5000);
        auto const bytes = saved(node);
        int refused = 0;
        for (std::uint64_t round = 0; round < 200; ++round) {
            auto changed = bytes;
            changed[mix64(round) % changed.size()] ^= static_cast<std::byte>(1 + round % 255);
            Node other({policy, false}, false);
            ByteView view(changed);
            try {
                load(view, other);
            } catch (DataError const&) {
                ++refused;
            }
        }
        // Most of so small a node's state are counters; in files their checksum is looked at first.
        EXPECT_GT(refused, 35) << to_string(policy);
        EXPECT_LT(refused, 200) << "counters may have any value";
    }
}

TEST(NodeArchive, StateOfAnotherSizeIsRefused) {
    Node node({EvictionPolicy::lru, false}, true);
    auto const bytes = saved(node);
    Node ghosts({EvictionPolicy::s3_fifo, false}, false);
    ByteView view(bytes);
    EXPECT_THROW(load(view, ghosts), DataError);
}

}  // namespace
}  // namespace ckvsim::fleet
