#include "engine/cost_measurement.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <numeric>

#include "core/error.hpp"
#include "decode/cost_table.hpp"
#include "engine/median.hpp"
#include "engine/parallel_failure.hpp"
#include "engine/serving_loop.hpp"

namespace ckvsim::engine {

namespace {

constexpr std::uint64_t kMostArenaBytes = 96ULL
                                          << 20U;  ///< several last-level cache shares (12-16 MB)
constexpr std::uint32_t kMostEntries = 4096;       ///< of one size
constexpr std::uint32_t kHistoryIds = 1U << 16U;   ///< windows of it are the entries' histories
constexpr std::size_t kLeastRounds = 5;
constexpr std::size_t kMostRounds = 1000;
constexpr std::size_t kQuantiles = 101;
constexpr double kNoisy = 1.5;  ///< 90th over 10th percentile of a stage's time at one point
/// No request stream has this shard: its candidates are never measured on.
constexpr std::uint32_t kNoShard = UINT32_MAX;

/// Where the kernels' cost changes slope (top_k, short_tokens), then doubling up to max_tokens. Of
/// SDIM, which chooses no tokens, the first token in place of top_k: it brings all sums. Of HSTU,
/// whose prefill grows with the square of the tokens, in steps of half as much again.
std::vector<std::uint32_t> token_axis(model::SimShape const& shape) {
    std::vector<std::uint32_t> points = {0, shape.max_tokens};
    if (shape.stack_layers() > 0) {
        for (std::uint32_t x = 8; x < shape.max_tokens; x += x / 2) points.push_back(x);
    } else {
        points.insert(points.end(),
                      {shape.has_long_attention() ? shape.top_k : 1, shape.short_tokens});
        for (std::uint32_t x = 2 * std::max(shape.short_tokens, 1U); x < shape.max_tokens; x *= 2)
            points.push_back(x);
    }
    std::sort(points.begin(), points.end());
    points.erase(std::unique(points.begin(), points.end()), points.end());
    std::erase_if(points, [&](std::uint32_t x) { return x > shape.max_tokens; });
    return points;
}

/// Ratios of samples to their point's median, over the points that matter: at least a tenth of the
/// slowest (a microsecond's jitter on a tiny batch says nothing about a large one). Sorted.
std::vector<double> noise_ratios(StageSamples const& stage) {
    double slowest = 0.0;
    for (auto const* points : {&stage.busy, &stage.alone})
        for (auto const& point : *points) slowest = std::max(slowest, point.median());
    std::vector<double> ratios;
    for (auto const* points : {&stage.busy, &stage.alone}) {
        for (auto const& point : *points) {
            double const median = point.median();
            if (median <= 0.0 || median < 0.1 * slowest) continue;
            for (double const ns : point.ns) ratios.push_back(ns / median);
        }
    }
    if (ratios.empty()) ratios.push_back(1.0);
    std::sort(ratios.begin(), ratios.end());
    return ratios;
}

/// Equally spaced quantiles of sorted ratios.
std::vector<double> quantiles_of(std::vector<double> const& ratios) {
    std::vector<double> quantiles;
    for (std::size_t q = 0; q < kQuantiles; ++q) {
        auto const at =
            static_cast<double>(q) / (kQuantiles - 1) * static_cast<double>(ratios.size() - 1);
        auto const low = static_cast<std::size_t>(at);
        auto const high = std::min(low + 1, ratios.size() - 1);
        quantiles.push_back(ratios[low] +
                            (at - static_cast<double>(low)) * (ratios[high] - ratios[low]));
    }
    return quantiles;
}

/// Mean of the distribution that interpolates these quantiles.
double mean_of(std::vector<double> const& quantiles) {
    double const ends = 0.5 * (quantiles.front() + quantiles.back());
    return (std::accumulate(quantiles.begin(), quantiles.end(), 0.0) - ends) /
           static_cast<double>(quantiles.size() - 1);
}

/// Medians become means with the stage's distribution of ratios, whose mean is then 1.
void set_costs(node::StrategyCosts& costs, std::string const& stage, StageSamples const& samples,
               std::vector<std::uint32_t> const& tokens,
               std::vector<std::uint32_t> const& candidates) {
    auto quantiles = quantiles_of(noise_ratios(samples));
    double const mean = mean_of(quantiles);
    for (double& q : quantiles) q /= mean;
    // The smallest batch that occupies all workers against one request alone: what starting and
    // joining the threads costs.
    bool const shared = !samples.busy.empty() && !samples.alone.empty();
    double const overhead =
        shared ? std::max(0.0, samples.busy.front().median() - samples.alone.front().median())
               : 0.0;
    auto const grid = [&](std::vector<CostSamples> const& points, double less) {
        node::CostGrid result;
        result.tokens = tokens;
        result.candidates = candidates;
        for (auto const& point : points)
            result.mean_ns.push_back(std::max(0.0, point.median() - less) * mean);
        result.noise_quantiles = quantiles;
        auto const errors = decode::left_out_errors(tokens, candidates, result.mean_ns);
        if (!errors.empty()) result.left_out_errors = {errors[errors.size() / 2], errors.back()};
        return result;
    };
    if (samples.busy.empty()) {
        costs[stage] = grid(samples.alone, 0.0);
        return;
    }
    costs[stage] = grid(samples.busy, overhead);
    costs[stage].batch_overhead_ns = overhead * mean;
    if (shared) costs[stage + "_alone"] = grid(samples.alone, 0.0);
}

}  // namespace

double CostSamples::median() const { return engine::median(ns); }

CostMeasurement::CostMeasurement(ServingArm const& arm, workload::Population const& population,
                                 CalibrationParams const& params)
    : arm_(arm),
      seed_(params.seed),
      tokens_(token_axis(arm.backend->weights().shape)),
      candidates_({1, 8, 32, 128, 512}),
      kernels_(*arm.backend, mix64(params.seed), population.catalogue().items,
               BatchKernels::available_workers(), candidates_.back()),
      memory_(0, "calibration") {
    plan_memory(params.arena_bytes);
    fill(population);
    plan_visits();
    requests_.resize(kernels_.workers());
}

void CostMeasurement::plan_memory(std::uint64_t arena_bytes) {
    std::uint64_t const share = std::min(arena_bytes, kMostArenaBytes) / tokens_.size();
    std::uint64_t bytes = 0;
    EntrySizes const sizes(arm_.layout, tokens_.back());
    for (std::uint32_t const tokens : tokens_) {
        Pool pool;
        pool.first = bytes;
        pool.stride = sizes.bytes(tokens);
        // Two batches at least, so that a copy has another entry to go to.
        pool.entries = std::clamp(static_cast<std::uint32_t>(share / pool.stride),
                                  2 * kernels_.workers(), kMostEntries);
        bytes += pool.stride * pool.entries;
        pools_.push_back(pool);
    }
    memory_ = TouchedBytes(bytes, "calibration");
}

void CostMeasurement::fill(workload::Population const& population) {
    validate(population.users() > 0, "engine::calibrate: the population has no users");
    // Histories of users drawn at random, one after the other: items as skewed as in real entries.
    CounterRng rng(seed_, Purpose::calibration, 0);
    std::vector<ItemId> one;
    for (std::uint32_t tries = 0; history_.size() < kHistoryIds && tries < kHistoryIds; ++tries) {
        population.load_history(rng.next_u64() % population.users(), one);
        history_.insert(history_.end(), one.begin(), one.end());
    }
    if (history_.size() <= tokens_.back()) {
        throw DataError(population.describe(), 0,
                        "too few users have a history to measure entries of " +
                            std::to_string(tokens_.back()) +
                            " tokens with; give users events (synthetic: "
                            "/workload/synthetic/history_min, history_median)");
    }
    ParallelFailure failure;
    for (std::size_t t = 0; t < tokens_.size(); ++t) {
        Pool const& pool = pools_[t];
#pragma omp parallel
        {
            auto const scratch = arm_.backend->make_scratch();
#pragma omp for schedule(dynamic, 16)
            for (std::uint32_t e = 0; e < pool.entries; ++e) {
                failure.guard([&] {
                    auto const room = history_.size() - tokens_[t];
                    auto const from = mix64(e) % room;
                    arm_.backend->encode({history_.data() + from, tokens_[t]},
                                         EntrySizes::capacity(tokens_[t]), decode::EncodeMode::memo,
                                         memory_.data() + pool.first + e * pool.stride, *scratch);
                });
            }
        }
    }
    failure.rethrow();
}

void CostMeasurement::plan_visits() {
    std::size_t const cells = tokens_.size() * candidates_.size();
    bool const shared = kernels_.workers() > 1;
    for (auto* stage : {&decode_, &score_, &prefill_}) {
        std::size_t const points = stage == &decode_  ? cells
                                   : stage == &score_ ? candidates_.size()
                                                      : tokens_.size();
        stage->busy.resize(points);
        if (shared) stage->alone.resize(points);
    }
    fetch_.alone.resize(tokens_.size());
    host_.alone.resize(candidates_.size());
    for (std::uint32_t t = 0; t < tokens_.size(); ++t) {
        visits_.push_back({Kind::fetch, t, 0, true});
        for (bool const alone : {false, true}) {
            if (alone && !shared) continue;
            visits_.push_back({Kind::prefill, t, 0, alone});
            for (std::uint32_t c = 0; c < candidates_.size(); ++c)
                visits_.push_back({Kind::serve, t, c, alone});
        }
    }
}

std::byte* CostMeasurement::next_entry(std::uint32_t token_point) {
    Pool& pool = pools_[token_point];
    std::byte* const entry = memory_.data() + pool.first + pool.next * pool.stride;
    pool.next = (pool.next + 1) % pool.entries;
    return entry;
}

void CostMeasurement::serve(Visit const& visit, WallClock const& clock, bool counts) {
    std::uint32_t const tokens = tokens_[visit.token_point];
    std::uint32_t const batch = batch_of(visit);
    kernels_.begin();
    for (std::uint32_t i = 0; i < batch; ++i) {
        workload::Request& request = requests_[i];
        request.shard = kNoShard;
        request.sequence = sequence_++;
        request.candidates = candidates_[visit.candidate_point];
        request.tokens = tokens;
        kernels_.add_request(request,
                             {next_entry(visit.token_point), tokens, EntrySizes::capacity(tokens)});
    }
    Nanoseconds const start = clock.now_ns();
    kernels_.assemble();
    Nanoseconds const assembled = clock.now_ns();
    kernels_.decode();
    Nanoseconds const decoded = clock.now_ns();
    kernels_.score();
    Nanoseconds const end = clock.now_ns();
    if (!counts) return;
    host_.alone[visit.candidate_point].add((assembled - start) / batch);
    (visit.alone ? decode_.alone : decode_.busy)[cell(visit)].add(decoded - assembled);
    (visit.alone ? score_.alone : score_.busy)[visit.candidate_point].add(end - decoded);
}

void CostMeasurement::prefill(Visit const& visit, WallClock const& clock, bool counts) {
    std::uint32_t const tokens = tokens_[visit.token_point];
    kernels_.begin();
    for (std::uint32_t i = 0; i < batch_of(visit); ++i) {
        std::size_t const from = mix64(sequence_++) % (history_.size() - tokens);
        kernels_.add_prefill({history_.data() + from, tokens}, EntrySizes::capacity(tokens),
                             next_entry(visit.token_point));
    }
    Nanoseconds const start = clock.now_ns();
    kernels_.prefill();
    Nanoseconds const end = clock.now_ns();
    if (counts) (visit.alone ? prefill_.alone : prefill_.busy)[visit.token_point].add(end - start);
}

void CostMeasurement::fetch(Visit const& visit, WallClock const& clock, bool counts) {
    Pool const& pool = pools_[visit.token_point];
    std::byte const* const from = next_entry(visit.token_point);
    auto const position =
        static_cast<std::uint64_t>(from - memory_.data() - pool.first) / pool.stride;
    std::byte* const to =
        memory_.data() + pool.first + (position + pool.entries / 2) % pool.entries * pool.stride;
    Nanoseconds const start = clock.now_ns();
    std::memcpy(to, from, pool.stride);
    Nanoseconds const end = clock.now_ns();
    if (counts) fetch_.alone[visit.token_point].add(end - start);
}

void CostMeasurement::visit(Visit const& visit, WallClock const& clock, bool counts) {
    switch (visit.kind) {
        case Kind::serve:
            return serve(visit, clock, counts);
        case Kind::prefill:
            return prefill(visit, clock, counts);
        case Kind::fetch:
            return fetch(visit, clock, counts);
    }
}

std::size_t CostMeasurement::run(WallClock const& clock, Nanoseconds until) {
    std::size_t rounds = 0;
    CounterRng rng(seed_, Purpose::calibration, 1);
    for (std::size_t round = 0; round <= kMostRounds; ++round) {
        if (round > kLeastRounds && clock.now_ns() >= until) break;
        for (std::size_t i = visits_.size(); i > 1; --i)
            std::swap(visits_[i - 1], visits_[rng.below(static_cast<std::uint32_t>(i))]);
        bool const counts = round > 0;
        for (Visit const& v : visits_) visit(v, clock, counts);
        rounds += counts ? 1 : 0;
    }
    return rounds;
}

node::StrategyCosts CostMeasurement::costs() const {
    node::StrategyCosts costs;
    set_costs(costs, "decode", decode_, tokens_, candidates_);
    set_costs(costs, "score", score_, {0}, candidates_);
    set_costs(costs, "host", host_, {0}, candidates_);
    set_costs(costs, "prefill", prefill_, tokens_, {1});
    set_costs(costs, "fetch", fetch_, tokens_, {1});
    return costs;
}

double CostMeasurement::tower_flops_per_s() const {
    double const ns = score_.busy.back().median();
    double const flops = arm_.work.score(candidates_.back()).flops * kernels_.workers();
    return ns > 0.0 ? flops * 1e9 / ns : 0.0;
}

std::string CostMeasurement::describe_largest() const {
    std::size_t const column = 3;
    double const ns = decode_.busy[(tokens_.size() - 1) * candidates_.size() + column].median();
    char text[128];
    std::snprintf(text, sizeof text, "%u tokens and %u candidates takes %.4g us", tokens_.back(),
                  candidates_[column], ns / 1e3);
    return text;
}

std::vector<std::string> CostMeasurement::warnings() const {
    std::vector<std::string> warnings;
    for (auto const& [name, stage] :
         {std::pair{"decode", &decode_}, std::pair{"score", &score_},
          std::pair{"prefill", &prefill_}, std::pair{"fetch", &fetch_}}) {
        auto const quantiles = quantiles_of(noise_ratios(*stage));
        double const spread = quantiles[kQuantiles - 11] / quantiles[10];
        if (spread < kNoisy) continue;
        char text[160];
        std::snprintf(text, sizeof text,
                      "noisy machine: the 90th percentile of a %s batch's time is %.2f "
                      "times the 10th; stop other work and calibrate again",
                      name, spread);
        warnings.emplace_back(text);
    }
    return warnings;
}

}  // namespace ckvsim::engine
