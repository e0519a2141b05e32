// A small population, a backend whose scores name the entry they were made from, and platforms with
// simple costs, for tests of the serving twins.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <vector>

#include "core/rng.hpp"
#include "engine/serving.hpp"
#include "model/sim.hpp"

namespace ckvsim::testing_support {

inline model::SimShape serving_shape() {
    model::SimShape shape;
    shape.feature_dim = 4;
    shape.attention_dim = 8;
    shape.search_dim = 4;
    shape.short_tokens = 10;
    shape.top_k = 5;
    shape.max_tokens = 40;
    shape.tower = {8};
    return shape;
}

/// Users with histories of 0 .. 40 events; user u's event i is a hash of both.
class PlainPopulation : public workload::Population {
  public:
    explicit PlainPopulation(std::uint64_t users) : users_(users) {
        catalogue_.items = 500;
        catalogue_.feature_names = {"item"};
        catalogue_.feature_vocabularies = {501};
        catalogue_.features.resize(1);
        for (std::uint32_t i = 0; i <= 500; ++i) catalogue_.features[0].push_back(i);
    }
    [[nodiscard]] std::uint64_t users() const override { return users_; }
    [[nodiscard]] workload::Catalogue const& catalogue() const override { return catalogue_; }
    [[nodiscard]] std::uint32_t context_vocabulary() const override { return 1; }
    [[nodiscard]] std::uint32_t history_length(UserId user) const override {
        return static_cast<std::uint32_t>(mix64(user) % 41);
    }
    /// Ten more events follow the stored history, as a dataset's impressions do.
    void load(UserId user, workload::UserRecord& out) const override {
        out = {};
        out.base_length = history_length(user);
        for (std::uint32_t i = 0; i < out.base_length + 10; ++i)
            out.timeline.push_back(item(user, i));
    }
    void load_history(UserId user, std::vector<ItemId>& out) const override {
        out.clear();
        for (std::uint32_t i = 0; i < history_length(user); ++i) out.push_back(item(user, i));
    }
    [[nodiscard]] bool has_true_logits() const override { return false; }
    [[nodiscard]] std::string describe() const override { return "plain"; }
    [[nodiscard]] std::uint64_t digest() const override { return users_; }
    static ItemId item(UserId user, std::uint32_t position) {
        return 1 + static_cast<ItemId>(mix64(user * 1000 + position) % 500);
    }

  private:
    std::uint64_t users_;
    workload::Catalogue catalogue_;
};

/// Entries hold the ids; a score is a hash of the entry's ids and the candidate.
class NamingBackend : public decode::Backend {
  public:
    NamingBackend(kv::EntryLayout const& layout, workload::Catalogue const& catalogue)
        : layout_(layout),
          weights_(model::random_sim_weights(serving_shape(), {}, catalogue, 1, 1)) {}

    [[nodiscard]] kv::EntryLayout const& layout() const override { return layout_; }
    [[nodiscard]] model::SimWeights const& weights() const override { return weights_; }
    [[nodiscard]] kv::StrategyParams const& strategy() const override { return strategy_; }
    [[nodiscard]] std::unique_ptr<decode::Scratch> make_scratch() const override {
        return std::make_unique<decode::Scratch>();
    }
    [[nodiscard]] std::vector<kv::SharedBytes> allocated_shared() const override { return {}; }
    std::uint32_t encode(std::span<ItemId const> tokens, std::uint32_t capacity, decode::EncodeMode,
                         std::byte* entry, decode::Scratch&) const override {
        encoded.fetch_add(1);
        auto const kept = std::min<std::size_t>(tokens.size(), capacity);
        // The whole entry is written, so that a block of the wrong size is seen.
        std::memset(entry, 0xEE, layout_.entry_bytes(capacity));
        std::memcpy(entry, tokens.data() + (tokens.size() - kept), kept * sizeof(ItemId));
        return static_cast<std::uint32_t>(kept);
    }
    std::uint32_t append(std::byte*, std::uint32_t, std::uint32_t, std::span<ItemId const>,
                         decode::EncodeMode, decode::Scratch&) const override {
        return 0;
    }
    [[nodiscard]] std::uint32_t feature_width() const override { return 2; }
    void decode(decode::ScoreRequest const& request, float* features,
                decode::Scratch&) const override {
        std::uint64_t hash = request.entry.tokens;
        for (std::uint32_t i = 0; i < request.entry.tokens; ++i) {
            ItemId id = 0;
            std::memcpy(&id, request.entry.data + i * sizeof id, sizeof id);
            hash = mix64(hash ^ id);
        }
        for (std::uint32_t c = 0; c < request.count; ++c) {
            features[2 * c] = static_cast<float>(mix64(hash ^ request.candidates[c]) >> 44);
            features[2 * c + 1] = static_cast<float>(request.candidates[c]);
        }
    }
    void tower(float const* features, std::uint32_t rows, float* logits,
               decode::Scratch&) const override {
        for (std::uint32_t r = 0; r < rows; ++r)
            logits[r] = features[2 * r] + 0.5F * features[2 * r + 1];
    }
    mutable std::atomic<std::uint64_t> encoded{0};

  private:
    kv::EntryLayout layout_;
    model::SimWeights weights_;
    kv::StrategyParams strategy_;
};

inline engine::ServingArm serving_arm(workload::Population const& population,
                                      kv::StrategyKind kind = kv::StrategyKind::full) {
    kv::StrategyParams strategy;
    strategy.kind = kind;
    auto arm =
        engine::make_serving_arm("arm", serving_shape(), {}, strategy, population.catalogue(), 1);
    arm.shared_bytes = 0;
    arm.backend = std::make_shared<NamingBackend>(arm.layout, population.catalogue());
    return arm;
}

/// Costs that do not depend on tokens or candidates; noise on the decode stage.
inline node::Platform constant_platform(engine::ServingArm const& arm, double decode_ns,
                                        std::vector<double> const& noise = {1.0}) {
    auto const constant = [](double ns) {
        node::CostGrid grid;
        grid.tokens = {0};
        grid.candidates = {1};
        grid.mean_ns = {ns};
        return grid;
    };
    node::Platform platform;
    platform.name = "constant";
    platform.kind = node::PlatformKind::measured;
    platform.gpus = 1;
    platform.fetch_overlaps_decode = false;
    auto& costs = platform.costs[arm.cost_key];
    for (char const* stage : {"fetch", "prefill", "score", "host"}) costs[stage] = constant(0.0);
    costs["decode"] = constant(decode_ns);
    costs["decode"].noise_quantiles = noise;
    return platform;
}

/// Poisson arrivals of random users.
inline std::vector<workload::Request> poisson_requests(workload::Population const& population,
                                                       std::size_t count, double mean_gap_ns,
                                                       std::uint64_t seed,
                                                       std::uint32_t candidates = 4) {
    CounterRng rng(seed, Purpose::test, 77);
    std::vector<workload::Request> requests;
    double time_ns = 0.0;
    for (std::size_t i = 0; i < count; ++i) {
        time_ns += rng.exponential(mean_gap_ns);
        workload::Request request;
        request.intended_start_ns = static_cast<Nanoseconds>(time_ns);
        auto const users = static_cast<std::uint32_t>(population.users());
        request.user = std::min(rng.below(users), rng.below(users));
        request.sequence = static_cast<std::uint32_t>(i);
        request.candidates = candidates;
        request.tokens = population.history_length(request.user);
        requests.push_back(request);
    }
    return requests;
}

}  // namespace ckvsim::testing_support
