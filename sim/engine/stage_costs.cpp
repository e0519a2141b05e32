#include "engine/stage_costs.hpp"

#include <algorithm>
#include <cmath>

#include "core/error.hpp"

namespace ckvsim::engine {

namespace {

Nanoseconds rounded(double ns) { return static_cast<Nanoseconds>(std::llround(ns)); }

node::StrategyCosts const& costs_of(node::Platform const& platform, std::string const& cost_key) {
    auto const at = platform.costs.find(cost_key);
    if (at == platform.costs.end()) {
        throw DataError(platform.name, 0,
                        "the platform has no measured costs for '" + cost_key +
                            "'; measure them with: ckvsim calibrate <spec>");
    }
    return at->second;
}

node::CostGrid const& grid_of(node::StrategyCosts const& costs, std::string const& stage) {
    auto const at = costs.find(stage);
    if (at == costs.end()) {
        throw DataError("platform", 0,
                        "a set of measured costs has no stage '" + stage +
                            "'; measure again with: ckvsim calibrate <spec>");
    }
    return at->second;
}

decode::CostTable table_of(node::CostGrid const& grid) {
    return {grid.tokens, grid.candidates, grid.mean_ns};
}
decode::CostTable table_of(node::StrategyCosts const& costs, std::string const& stage) {
    return table_of(grid_of(costs, stage));
}
decode::NoiseTable noise_of(node::StrategyCosts const& costs, std::string const& stage) {
    return decode::NoiseTable(grid_of(costs, stage).noise_quantiles);
}

}  // namespace

MeasuredCosts::ParallelStage::ParallelStage(node::StrategyCosts const& costs,
                                            std::string const& stage, std::uint32_t workers)
    : busy_(table_of(costs, stage)),
      noise_(noise_of(costs, stage)),
      overhead_ns_(grid_of(costs, stage).batch_overhead_ns),
      ends_(std::max(workers, 1U), 0.0) {
    if (costs.contains(stage + "_alone")) alone_ = table_of(costs, stage + "_alone");
}

void MeasuredCosts::ParallelStage::add(std::uint32_t tokens, std::uint32_t candidates) {
    double const busy = busy_.ns(tokens, candidates);
    auto const first_free = std::min_element(ends_.begin(), ends_.end());
    *first_free += busy;
    ++requests_;
    if (*first_free < longest_) return;
    longest_ = *first_free;
    if (alone_ && busy > 0.0) alone_ratio_ = alone_->ns(tokens, candidates) / busy;
}

double MeasuredCosts::ParallelStage::take(double u) {
    if (requests_ == 0) return 0.0;
    double time = longest_;
    if (ends_.size() > 1) {
        // From the second-longest worker's end on, the last request has the machine to itself.
        *std::max_element(ends_.begin(), ends_.end()) = 0.0;
        double const shared = *std::max_element(ends_.begin(), ends_.end());
        time = shared + (longest_ - shared) * alone_ratio_;
    }
    if (requests_ > 1 || ends_.size() == 1) time += overhead_ns_;
    std::fill(ends_.begin(), ends_.end(), 0.0);
    longest_ = 0.0;
    alone_ratio_ = 1.0;
    requests_ = 0;
    return time * noise_.at(u);
}

MeasuredCosts::MeasuredCosts(node::Platform const& platform, std::string const& cost_key,
                             std::uint64_t seed, std::uint32_t lane)
    : fetch_table_(table_of(costs_of(platform, cost_key), "fetch")),
      host_table_(table_of(costs_of(platform, cost_key), "host")),
      fetch_noise_(noise_of(costs_of(platform, cost_key), "fetch")),
      host_noise_(noise_of(costs_of(platform, cost_key), "host")),
      prefill_(costs_of(platform, cost_key), "prefill", platform.workers),
      decode_(costs_of(platform, cost_key), "decode", platform.workers),
      score_(costs_of(platform, cost_key), "score", platform.workers),
      host_overhead_ns_(grid_of(costs_of(platform, cost_key), "host").batch_overhead_ns),
      seed_(seed),
      lane_(lane) {}

BatchPrice MeasuredCosts::take(std::size_t batch) {
    CounterRng rng(seed_, Purpose::service_noise, batch, lane_);
    auto const u = [&] { return static_cast<double>(rng.uniform_float()); };
    BatchPrice price;
    double const fetch_ratio = fetch_noise_.at(u());
    price.fetch_ns = rounded(fetch_ * fetch_ratio);
    price.prefill_ns = rounded(prefill_.take(u()) + store_ * fetch_ratio);
    price.decode_ns = rounded(decode_.take(u()));
    price.score_ns = rounded(score_.take(u()));
    price.host_ns = rounded((host_ + host_overhead_ns_) * host_noise_.at(u()));
    fetch_ = store_ = host_ = 0.0;
    return price;
}

NominalCosts::NominalCosts(node::Platform const& platform, decode::NominalWork const& work)
    : work_(work),
      ns_per_byte_(1e9 / (platform.hbm_bytes_per_s * platform.efficiency)),
      ns_per_flop_(1e9 / (platform.flops_per_s * platform.efficiency)),
      ns_per_link_byte_(1e9 / (std::min(platform.link_bytes_per_s,
                                        platform.dram_bytes_per_s / std::max(platform.gpus, 1U)) *
                               platform.efficiency)),
      link_latency_ns_(platform.link_latency_ns),
      batch_overhead_ns_(platform.batch_overhead_ns) {
    validate(platform.hbm_bytes_per_s > 0 && platform.flops_per_s > 0 && platform.efficiency > 0 &&
                 platform.link_bytes_per_s > 0 && platform.dram_bytes_per_s > 0,
             "engine::NominalCosts: bandwidths, flops and efficiency must be positive");
}

Nanoseconds NominalCosts::stage_ns(decode::Work const& work, double batch_bytes) const {
    return rounded(std::max((work.bytes + batch_bytes) * ns_per_byte_, work.flops * ns_per_flop_) +
                   batch_overhead_ns_);
}

BatchPrice NominalCosts::take(std::size_t /*batch*/) {
    BatchPrice price;
    if (fetched_) price.fetch_ns = rounded(link_latency_ns_ + fetch_bytes_ * ns_per_link_byte_);
    if (prefilled_) price.prefill_ns = stage_ns(prefill_, work_.prefill_batch_bytes);
    price.decode_ns = stage_ns(decode_, work_.decode_batch_bytes);
    price.score_ns = stage_ns(score_, work_.score_batch_bytes);
    fetched_ = prefilled_ = false;
    fetch_bytes_ = 0.0;
    prefill_ = decode_ = score_ = {};
    return price;
}

}  // namespace ckvsim::engine
