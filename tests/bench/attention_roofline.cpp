// Target attention of the CPU kernels over all n tokens of a user, d = 256, no search: every
// strategy, one axis swept at a time. Each request belongs to another user; pool rows and items are
// uniformly random, by popularity in the rows marked zipf:1. An iteration is a batch of requests,
// spread over the threads. Counters give what a request needs by formula: entry_B out of the user's
// entry (and embeddings), table_B out of pools or item tables, flops of products, exps; machine/*
// gives what the machine reaches. scripts/lib/attention_campaign turns both into shares.
#include <benchmark/benchmark.h>
#include <omp.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <set>
#include <span>
#include <tuple>

#include "attention_arms.hpp"
#include "device/cpu/cpu_backend.hpp"
#include "machine_rates.hpp"

namespace {

using namespace ckvsim;
using bench::AlignedVector;
using bench::Arm;
using bench::ArmKey;
using bench::Users;
using kv::StrategyKind;
using kv::ValueType;

/// A benchmark row.
struct Row {
    ArmKey arm;
    std::uint32_t candidates = 1;
    std::uint32_t tokens = 1000;
    int threads = 1;
    bool zipf = false;
    bool phases = false;      ///< K of the whole batch before V of any request
    std::uint32_t batch = 0;  ///< requests of an iteration; 0 = batch_of()'s choice

    [[nodiscard]] std::string name() const {
        auto const number = [](char const* what, auto value) {
            return std::string("/") + what + ":" + std::to_string(value);
        };
        return "attend/" + arm.name + number("C", candidates) + number("n", tokens) +
               number("H", arm.heads) + number("m", arm.m) + number("du", arm.d_u) +
               number("zipf", zipf ? 1 : 0) + number("phases", phases ? 1 : 0) +
               (batch == 0 ? std::string() : number("batch", batch)) + number("threads", threads);
    }
};

/// Arms and users are made when first needed and kept for the repetitions.
Arm const& arm_of(ArmKey const& key) {
    static std::map<ArmKey, std::unique_ptr<Arm>> arms;
    auto& arm = arms[key];
    if (!arm) arm = std::make_unique<Arm>(key);
    return *arm;
}
Users const& users_of(Row const& row) {
    static std::map<std::tuple<ArmKey, std::uint32_t, bool>, std::unique_ptr<Users>> all;
    auto& users = all[{row.arm, row.tokens, row.zipf}];
    bench::EntryKey const key{row.arm.type, row.arm.m, row.tokens, row.tokens, row.zipf};
    if (!users) users = std::make_unique<Users>(arm_of(row.arm).layout(), key);
    return *users;
}

AlignedVector<float> const& queries() {
    static auto const values = [] {
        AlignedVector<float> q(std::size_t{512} * bench::kDim);
        CounterRng rng(5, Purpose::test, 0);
        for (float& x : q) x = static_cast<float>(rng.normal());
        return q;
    }();
    return values;
}

void attend_one(Arm const& arm, decode::EntryRef const& entry, std::uint32_t candidates,
                device::cpu::SiteScratch& scratch) {
    device::cpu::EntryView const view(arm.layout(), entry);
    device::cpu::TokenList const all{nullptr, entry.tokens};
    arm.site().begin(view, 0, entry.tokens, device::cpu::Lists::one, candidates, scratch);
    arm.site().make_rows(all, scratch);
    arm.site().attend_to(all, 0, candidates, scratch);
}

/// Requests [first, first + scratch.size()) by phases.
void attend_phases(Arm const& arm, Users const& users, std::size_t first, std::uint32_t candidates,
                   std::span<device::cpu::SiteScratch> scratch) {
    device::cpu::TokenList const all{nullptr, users.tokens()};
    for (std::size_t i = 0; i < scratch.size(); ++i) {
        device::cpu::EntryView const view(arm.layout(), users.entry(first + i));
        arm.site().begin(view, 0, users.tokens(), device::cpu::Lists::one, 1, scratch[i]);
        arm.site().make_rows(all, scratch[i]);
        arm.site().read_keys(all, candidates, scratch[i]);
    }
    for (auto& one : scratch) arm.site().read_values(one);
}

void set_queries(std::uint32_t candidates, device::cpu::SiteScratch& scratch) {
    scratch.q.assign(queries().begin(), queries().begin() + candidates * bench::kDim);
}

/// Largest error of a few queries against double precision, relative to the largest value.
double worst_error(Arm const& arm, Users const& users, std::uint32_t candidates) {
    device::cpu::SiteScratch scratch;
    set_queries(candidates, scratch);
    auto const entry = users.entry(users.count() / 2);
    attend_one(arm, entry, candidates, scratch);
    device::cpu::EntryView const view(arm.layout(), entry);
    double worst = 0.0;
    double largest = 0.0;
    for (std::uint32_t c = 0; c < candidates; c += std::max(1U, candidates / 2)) {
        auto const expected =
            bench::reference_attention(arm, view, queries().data() + c * bench::kDim);
        for (std::size_t i = 0; i < bench::kDim; ++i) {
            double const got = scratch.out[c * arm.q_stride() + i];
            worst = std::max(worst, std::abs(got - expected[i]));
            largest = std::max(largest, std::abs(expected[i]));
        }
    }
    return worst / largest;
}

/// Requests of an iteration: many short ones, few long ones.
std::size_t batch_of(Row const& row) {
    if (row.batch != 0) return row.batch;
    std::size_t const threads = static_cast<std::size_t>(row.threads);
    return std::max(threads, std::size_t{32} / row.candidates / threads * threads);
}

/// Work of one request by formula. rows_k and rows_v are what the kernels really read: fewer than
/// tokens where these share rows.
void count_work(Row const& row, Users const& users, benchmark::State& state) {
    Arm const& arm = arm_of(row.arm);
    device::cpu::SiteScratch scratch;
    set_queries(1, scratch);
    constexpr std::size_t kSample = 8;
    double rows_k = 0.0;
    double rows_v = 0.0;
    for (std::size_t user = 0; user < kSample; ++user) {
        attend_phases(arm, users, user, 1, {&scratch, 1});
        rows_k += static_cast<double>(scratch.call.k.count(row.tokens)) / kSample;
        rows_v += static_cast<double>(scratch.call.v.count(row.tokens)) / kSample;
    }
    double const n = row.tokens;
    double const d = bench::kDim;
    double const value = kv::value_bytes(row.arm.type);
    double const rows = (rows_k + rows_v) * d * value;
    double entry = n * sizeof(ItemId);
    double flops = 2.0 * row.candidates * (rows_k + rows_v) * d;
    double table = 0.0;  // of K or V
    switch (row.arm.kind) {
        case StrategyKind::full:
            entry = rows;
            break;
        case StrategyKind::item_table:
            table = bench::kItems * d * value;
            break;
        case StrategyKind::collective:
            entry = 2.0 * n * (2.0 + row.arm.d_u * value);
            table = row.arm.m * d * value;
            break;
        case StrategyKind::recompute:
            entry += n * bench::kEmbedding * sizeof(float);
            flops += 4.0 * n * d * bench::kEmbedding;
            break;
        case StrategyKind::low_rank:
        case StrategyKind::vq:
            break;  // no arms here: bench_decode has them
    }
    state.counters["entry_B"] = entry;
    state.counters["table_B"] = table > 0.0 ? rows : 0.0;
    // K and V of a request come out of two tables, one after the other; by phases a thread's part
    // of the batch reads the one before the other.
    bool const in_turn = !row.phases || batch_of(row) <= static_cast<std::size_t>(row.threads);
    state.counters["table_size"] = (in_turn ? 2.0 : 1.0) * table;
    state.counters["row_B"] = d * value;
    state.counters["flops"] = flops;
    state.counters["exps"] = 1.0 * row.candidates * n * row.arm.heads;
    state.counters["rows_k"] = rows_k;
    state.counters["rows_v"] = rows_v;
}

void attend_rows(benchmark::State& state, Row const& row) {
    Arm const& arm = arm_of(row.arm);
    Users const& users = users_of(row);
    static std::map<std::string, double> errors;  // checked once, not at every repetition
    auto const [checked, fresh] = errors.emplace(row.name(), 0.0);
    if (fresh) checked->second = worst_error(arm, users, row.candidates);
    // Rounding of fp32 sums; a wrong row would be wrong by as much as a value.
    if (double const error = checked->second; !(error < 2e-5)) {
        state.SkipWithError(("wrong by " + std::to_string(error)).c_str());
        return;
    }
    std::size_t const batch = batch_of(row);
    std::size_t const threads = static_cast<std::size_t>(row.threads);
    std::vector<device::cpu::SiteScratch> scratch(row.phases ? batch : threads);
    for (auto& one : scratch) set_queries(row.candidates, one);
    std::size_t first = 0;
    for (auto _ : state) {
        if (row.phases) {
            std::size_t const share = batch / threads;
#pragma omp parallel for schedule(static) num_threads(row.threads) if (row.threads > 1)
            for (std::size_t t = 0; t < threads; ++t) {
                attend_phases(arm, users, first + t * share, row.candidates,
                              {scratch.data() + t * share, share});
            }
            first += batch;
            continue;
        }
#pragma omp parallel for schedule(static) num_threads(row.threads) if (row.threads > 1)
        for (std::size_t i = 0; i < batch; ++i) {
            auto& mine = scratch[static_cast<std::size_t>(omp_get_thread_num())];
            attend_one(arm, users.entry(first + i), row.candidates, mine);
            benchmark::DoNotOptimize(mine.out.data());
        }
        first += batch;
    }
    state.counters["requests"] = static_cast<double>(batch);
    count_work(row, users, state);
}

ArmKey arm(char const* name, StrategyKind kind, ValueType type, std::uint32_t m = 0) {
    return {name, kind, type, m, m == 0 ? 0U : 1U, 2};
}

std::vector<ArmKey> arms() {
    std::vector<ArmKey> all = {
        arm("full_fp32", StrategyKind::full, ValueType::fp32),
        arm("full_fp16", StrategyKind::full, ValueType::fp16),
        arm("item_table_fp32", StrategyKind::item_table, ValueType::fp32),
        arm("item_table_fp16", StrategyKind::item_table, ValueType::fp16),
        arm("recompute_fp32", StrategyKind::recompute, ValueType::fp32),
    };
    for (std::uint32_t const m : {500U, 2000U, 10000U}) {
        all.push_back(arm("collective_fp32", StrategyKind::collective, ValueType::fp32, m));
        all.push_back(arm("collective_fp16", StrategyKind::collective, ValueType::fp16, m));
    }
    return all;
}

/// One axis at a time from the point n = 1,000, H = 2, one thread, for one and for 128 candidates.
std::vector<Row> rows() {
    std::vector<Row> all;
    for (ArmKey const& key : arms()) {
        for (std::uint32_t const c : {1U, 8U, 32U, 128U, 512U}) all.push_back({key, c});
        for (std::uint32_t const c : {1U, 128U}) {
            if (key.kind == StrategyKind::recompute) break;
            all.push_back({key, c, 1000, 2});
            bool const random = key.kind != StrategyKind::full;
            if (random) all.push_back({key, c, 1000, 1, true});
            if (key.m != 0 && c == 1) {
                for (int const threads : {1, 2})
                    all.push_back({key, c, 1000, threads, false, true});
            }
            if (key.type != ValueType::fp32 || key.m == 2000) continue;
            for (std::uint32_t const n : {100U, 4000U}) all.push_back({key, c, n});
            for (std::uint32_t const heads : {1U, 8U}) {
                if (key.kind == StrategyKind::item_table) break;
                Row other{key, c};
                other.arm.heads = heads;
                all.push_back(other);
            }
            for (std::uint32_t const d_u : {0U, 4U}) {
                if (key.m == 0) break;
                Row other{key, c};
                other.arm.d_u = d_u;
                all.push_back(other);
            }
        }
    }
    // What reading K of a batch before V gains as the batch grows.
    for (std::uint32_t const m : {500U, 10000U}) {
        for (std::uint32_t const batch : {1U, 8U, 128U}) {
            all.push_back({arm("collective_fp32", StrategyKind::collective, ValueType::fp32, m), 1,
                           1000, 1, false, true, batch});
        }
    }
    return all;
}

/// What random rows are measured at: pools and item tables of every arm, K alone and K with V.
std::set<bench::RandomTable> random_tables() {
    std::set<bench::RandomTable> tables;
    for (ArmKey const& key : arms()) {
        std::size_t const rows = key.kind == StrategyKind::item_table ? bench::kItems : key.m;
        std::size_t const row_bytes = bench::kDim * kv::value_bytes(key.type);
        if (rows == 0) continue;
        tables.insert({rows * row_bytes, row_bytes});
        tables.insert({2 * rows * row_bytes, row_bytes});
    }
    return tables;
}

}  // namespace

int main(int argc, char** argv) {
#ifndef NDEBUG
    std::fprintf(stderr,
                 "bench_attention_roofline: built with assertions; build the bench preset\n");
    return 1;
#endif
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
    benchmark::AddCustomContext("instruction_set", device::cpu::instruction_set());
    benchmark::AddCustomContext("blas", bench::blas_name());
    bench::register_machine(random_tables(), {}, 2);
    for (Row const& row : rows()) {
        if (row.threads > omp_get_num_procs()) continue;
        benchmark::RegisterBenchmark(row.name().c_str(),
                                     [row](benchmark::State& state) { attend_rows(state, row); })
            ->UseRealTime()
            ->Unit(benchmark::kMicrosecond);
    }
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    return 0;
}
