// Prices of a batch in the simulated twin: from measured cost tables, or from formulas and data
// sheets. A batch is described request by request, then priced.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "core/rng.hpp"
#include "decode/cost_table.hpp"
#include "decode/nominal_work.hpp"
#include "node/platform.hpp"

namespace ckvsim::engine {

/// Durations of a batch's stages.
struct BatchPrice {
    Nanoseconds fetch_ns = 0;
    Nanoseconds prefill_ns = 0;
    Nanoseconds decode_ns = 0;
    Nanoseconds score_ns = 0;
    Nanoseconds host_ns = 0;
};

/// Measured costs. Requests of a batch are handed to the first free worker in order, as the
/// executed twin's threads take them; what runs alone at the end runs at the `_alone` cost. Fetches
/// and host work are done by one thread. Every stage's time is multiplied by a ratio drawn from its
/// measured distribution.
class MeasuredCosts {
  public:
    /// `lane` names the noise stream. Throws DataError when a stage is missing.
    MeasuredCosts(node::Platform const& platform, std::string const& cost_key, std::uint64_t seed,
                  std::uint32_t lane);

    void add_fetch(std::uint32_t tokens, std::uint64_t /*bytes*/) {
        fetch_ += fetch_table_.ns(tokens, 0);
    }
    /// Moving an entry out costs the server what moving it in does.
    void add_demotion(std::uint32_t tokens) { fetch_ += fetch_table_.ns(tokens, 0); }
    void add_store(std::uint32_t tokens) { store_ += fetch_table_.ns(tokens, 0); }
    void add_prefill(std::uint32_t tokens) { prefill_.add(tokens, 0); }
    void add_request(std::uint32_t tokens, std::uint32_t candidates) {
        decode_.add(tokens, candidates);
        score_.add(tokens, candidates);
        host_ += host_table_.ns(tokens, candidates);
    }
    BatchPrice take(std::size_t batch);

  private:
    /// A stage that the workers share.
    class ParallelStage {
      public:
        ParallelStage(node::StrategyCosts const& costs, std::string const& stage,
                      std::uint32_t workers);
        void add(std::uint32_t tokens, std::uint32_t candidates);
        double take(double u);

      private:
        decode::CostTable busy_;
        std::optional<decode::CostTable> alone_;
        decode::NoiseTable noise_;
        double overhead_ns_;
        std::vector<double> ends_;  ///< [workers] when each gets free
        double longest_ = 0.0;
        double alone_ratio_ = 1.0;  ///< of the request that ends last
        std::uint32_t requests_ = 0;
    };

    decode::CostTable fetch_table_;
    decode::CostTable host_table_;
    decode::NoiseTable fetch_noise_;
    decode::NoiseTable host_noise_;
    ParallelStage prefill_;
    ParallelStage decode_;
    ParallelStage score_;
    double fetch_ = 0.0;
    double store_ = 0.0;
    double host_ = 0.0;
    double host_overhead_ns_;
    std::uint64_t seed_;
    std::uint32_t lane_;
};

/// Data-sheet costs: a stage takes max(bytes / bandwidth, flops / rate), both at the platform's
/// efficiency, plus the launch overhead; a fetch takes bytes over the link, which is at most the
/// GPU's share of the host's memory bandwidth. Demotions use the link's other direction and are not
/// charged. No noise.
class NominalCosts {
  public:
    NominalCosts(node::Platform const& platform, decode::NominalWork const& work);

    void add_fetch(std::uint32_t /*tokens*/, std::uint64_t bytes) {
        fetched_ = true;
        fetch_bytes_ += static_cast<double>(bytes);
    }
    void add_demotion(std::uint32_t /*tokens*/) {}
    void add_store(std::uint32_t /*tokens*/) {}
    void add_prefill(std::uint32_t tokens) {
        prefilled_ = true;
        prefill_ += work_.prefill(tokens);
    }
    void add_request(std::uint32_t tokens, std::uint32_t candidates) {
        decode_ += work_.decode(tokens, candidates);
        score_ += work_.score(candidates);
    }
    BatchPrice take(std::size_t batch);

  private:
    [[nodiscard]] Nanoseconds stage_ns(decode::Work const& work, double batch_bytes) const;

    decode::NominalWork work_;
    double ns_per_byte_;
    double ns_per_flop_;
    double ns_per_link_byte_;
    double link_latency_ns_;
    double batch_overhead_ns_;
    bool fetched_ = false;
    bool prefilled_ = false;
    double fetch_bytes_ = 0.0;
    decode::Work prefill_;
    decode::Work decode_;
    decode::Work score_;
};

}  // namespace ckvsim::engine
