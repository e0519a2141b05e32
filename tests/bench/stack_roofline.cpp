// HSTU on the CPU: prefill of whole histories, append to held ones, decode of candidates, every
// strategy, one axis swept at a time. Model: stack_shape(). Every request belongs to another user
// and brings other candidates; pool rows of held entries are uniformly random, by popularity in the
// rows marked zipf:1; prefill keeps the rows that its routers choose. Counters give what a request
// needs by formula (decode/nominal_work.hpp): entry_B out of or into the user's entry, item
// embeddings included, table_B out of pools, weight_B of projections and routers, flops of
// products, exps of SiLU; machine/* gives what the machine reaches. scripts/lib/attention_campaign
// turns both into shares.
#include <benchmark/benchmark.h>
#include <omp.h>

#include <cstdio>
#include <map>
#include <set>

#include "machine_rates.hpp"
#include "stack_arms.hpp"

namespace {

using namespace ckvsim;
using bench::AlignedVector;
using bench::StackArm;
using bench::StackKey;
using bench::Users;
using kv::StrategyKind;
using kv::ValueType;

enum class Stage : std::uint8_t { prefill, append, decode };

/// A benchmark row. Of append, `tokens` are held before.
struct Row {
    Stage stage = Stage::decode;
    StackKey arm;
    std::uint32_t tokens = 1000;
    std::uint32_t amount = 0;  ///< tokens added, or candidates
    bool zipf = false;

    [[nodiscard]] std::string name() const {
        static constexpr std::array<char const*, 3> kStages = {"prefill", "append", "decode"};
        auto const number = [](char const* what, auto value) {
            return std::string("/") + what + ":" + std::to_string(value);
        };
        std::string text = std::string("stack/") + kStages[static_cast<std::size_t>(stage)] + "/" +
                           arm.name + number("n", tokens);
        if (stage == Stage::append) text += number("added", amount);
        if (stage == Stage::decode) text += number("C", amount);
        return text + number("m", arm.m) + number("du", arm.d_u) + number("zipf", zipf ? 1 : 0) +
               number("threads", 1);
    }
};

/// Arms and users are made when first needed and kept for the repetitions.
StackArm const& arm_of(StackKey const& key) {
    static std::map<StackKey, std::unique_ptr<StackArm>> arms;
    auto& arm = arms[key];
    if (!arm) arm = std::make_unique<StackArm>(key);
    return *arm;
}
Users& users_of(Row const& row) {
    static std::map<std::pair<StackKey, bench::EntryKey>, std::unique_ptr<Users>> all;
    std::uint32_t const most = bench::stack_shape().max_tokens;
    // Prefill writes its entries, whatever the length.
    std::uint32_t const held = row.stage == Stage::prefill ? 0 : row.tokens;
    bench::EntryKey const key{row.arm.type, row.arm.m, held, most, row.zipf};
    auto& users = all[{row.arm, key}];
    if (!users) users = std::make_unique<Users>(arm_of(row.arm).backend().layout(), key);
    return *users;
}

/// Items for requests, each of which takes the next few.
ItemId const* next_items(std::size_t request, std::size_t count) {
    static auto const items = bench::random_items(std::size_t{1} << 16, 3);
    return items.data() + request * count % (items.size() - 1024);
}

/// One request of a row.
class Request {
  public:
    explicit Request(Row const& row)
        : row_(row),
          arm_(arm_of(row.arm)),
          users_(users_of(row)),
          scratch_(arm_.backend().make_scratch()),
          features_(std::size_t{row.amount} * arm_.backend().feature_width()) {}

    void run(std::size_t number) {
        std::uint32_t const most = bench::stack_shape().max_tokens;
        switch (row_.stage) {
            case Stage::prefill:
                arm_.backend().encode({next_items(number, row_.tokens), row_.tokens}, most,
                                      decode::EncodeMode::compute, users_.data(number), *scratch_);
                break;
            case Stage::append:
                arm_.backend().append(users_.data(number), row_.tokens, most,
                                      {next_items(number, row_.amount), row_.amount},
                                      decode::EncodeMode::compute, *scratch_);
                break;
            case Stage::decode:
                arm_.decode(users_.entry(number), next_items(number, row_.amount), row_.amount,
                            features_.data(), *scratch_);
                benchmark::DoNotOptimize(features_.data());
        }
        benchmark::ClobberMemory();
    }
    /// Whether the row's work gives the bits of the same work cut otherwise: a history in two
    /// parts, a candidate alone.
    [[nodiscard]] bool repeats() {
        return row_.stage == Stage::decode ? candidates_stand_alone() : parts_make_the_whole();
    }

  private:
    [[nodiscard]] bool candidates_stand_alone() {
        run(0);
        std::size_t const width = arm_.backend().feature_width();
        std::vector<float> alone(width);
        for (std::uint32_t const c : {0U, row_.amount - 1}) {
            arm_.decode(users_.entry(0), next_items(0, row_.amount) + c, 1, alone.data(),
                        *scratch_);
            if (std::memcmp(alone.data(), features_.data() + c * width, width * sizeof(float)) != 0)
                return false;
        }
        return true;
    }
    [[nodiscard]] bool parts_make_the_whole() {
        bool const adds = row_.stage == Stage::append;
        std::uint32_t const held = adds ? 100 : row_.tokens / 3;
        std::uint32_t const all = adds ? held + row_.amount : row_.tokens;
        decode::Backend const& backend = arm_.backend();
        AlignedVector<std::byte> whole(backend.layout().entry_bytes(all));
        AlignedVector<std::byte> parts(whole.size());
        std::span<ItemId const> const items{next_items(0, all), all};
        auto const mode = decode::EncodeMode::compute;
        backend.encode(items, all, mode, whole.data(), *scratch_);
        backend.encode(items.first(held), all, mode, parts.data(), *scratch_);
        backend.append(parts.data(), held, all, items.subspan(held), mode, *scratch_);
        return whole == parts;
    }

    Row row_;
    StackArm const& arm_;
    Users& users_;
    std::unique_ptr<decode::Scratch> scratch_;
    std::vector<float> features_;
};

/// Rows of pools that a candidate's attention reads per layer and side: fewer than tokens where
/// these share rows.
double rows_read(Row const& row) {
    double const n = row.tokens;
    if (row.arm.m == 0 || row.stage != Stage::decode) return n;
    constexpr std::size_t kSample = 8;
    model::SimShape const shape = bench::stack_shape();
    kv::EntryLayout const& layout = arm_of(row.arm).backend().layout();
    device::cpu::RowSharing sharing;
    std::vector<std::uint32_t> keys(row.tokens);
    double rows = 0.0;
    for (std::size_t user = 0; user < kSample; ++user) {
        auto const entry = users_of(row).entry(user);
        for (auto const part : {kv::LayerPart::k_index, kv::LayerPart::v_index}) {
            std::byte const* cells =
                entry.data + layout.offset(kv::layer_section(0, part), entry.capacity);
            for (std::size_t t = 0; t < keys.size(); ++t) {
                std::uint16_t index = 0;
                std::memcpy(&index, cells + t * sizeof index, sizeof index);
                keys[t] = index;
            }
            bool const shared = sharing.find(keys.data(), keys.size(), row.arm.m,
                                             {shape.attention_dim, shape.heads});
            rows += (shared ? static_cast<double>(sharing.distinct()) : n) / (2.0 * kSample);
        }
    }
    return rows;
}

/// Work of one request by formula.
void count_work(Row const& row, benchmark::State& state) {
    StackArm const& arm = arm_of(row.arm);
    model::SimShape const shape = bench::stack_shape();
    auto const& layout = arm.backend().layout();
    double const layers = shape.layers;
    double const d = shape.attention_dim;
    double const embedding = sizeof(float) * shape.feature_dim;
    double const n = row.tokens;
    double const rows = rows_read(row);
    // SiLU of q and gate, and of what K and V are made with.
    double const made = 2.0 * (d + (row.arm.m == 0 ? d : row.arm.d_u));
    double const pairs = shape.heads * layers;
    double flops = 0.0;
    double entry = 0.0;
    double table = 2.0 * arm.pool_row_bytes();
    double exps = 0.0;
    if (row.stage == Stage::decode) {
        bool const recompute = row.arm.kind == StrategyKind::recompute;
        flops = arm.work().decode(row.tokens, row.amount).flops -
                row.amount * layers * 4.0 * d * (n - rows);
        entry = static_cast<double>(layout.payload_bytes(row.tokens)) +
                (row.amount + (recompute ? n : 0.0)) * embedding;
        table *= layers * rows;
        exps = row.amount * (layers * made + pairs * (n + 1.0));
        if (recompute) exps += layers * n * made + pairs / 2.0 * decode::NominalWork::pairs(n);
    } else {
        double const added = row.stage == Stage::append ? row.amount : n;
        double const held = row.stage == Stage::append ? n : 0.0;
        auto const work = [&](double tokens) {
            return arm.work().prefill(static_cast<std::uint32_t>(tokens));
        };
        double const seen =
            decode::NominalWork::pairs(held + added) - decode::NominalWork::pairs(held);
        flops = work(held + added).flops - work(held).flops;
        // The last layer's K and V are written and read by nobody.
        double const cells = static_cast<double>(layout.payload_bytes(1));
        entry = cells * (added + held * (layers - 1.0) / layers) + added * embedding;
        table *= (layers - 1.0) * (held + added);
        exps = layers * added * made + (layers - 1.0) * shape.heads * seen;
    }
    state.counters["entry_B"] = entry;
    state.counters["table_B"] = table;
    state.counters["table_size"] = arm.pool_bytes();
    state.counters["row_B"] = arm.pool_row_bytes();
    state.counters["weight_B"] =
        row.arm.kind == StrategyKind::recompute || row.stage == Stage::decode
            ? arm.work().decode_batch_bytes
            : arm.work().prefill_batch_bytes;
    state.counters["flops"] = flops;
    state.counters["exps"] = exps;
    state.counters["rows_k"] = rows;
    state.counters["rows_v"] = rows;
}

/// Why a row must not be timed; empty = it may. Arms and rows are checked once, not at every
/// repetition.
std::string const& refusal(Row const& row, Request& request) {
    static std::map<StackKey, double> errors;
    static std::map<std::string, std::string> refusals;
    auto const [found, fresh] = refusals.emplace(row.name(), "");
    if (!fresh) return found->second;
    auto const [error, first] = errors.emplace(row.arm, 0.0);
    if (first) error->second = arm_of(row.arm).worst_error();
    // Rounding of sums and of stored halves, carried through norms and layers; a wrong row would be
    // wrong by as much as a value.
    double const tolerance = row.arm.type == ValueType::fp16 ? 1e-2 : 1e-4;
    if (!(error->second < tolerance)) {
        found->second = "wrong by " + std::to_string(error->second);
    } else if (!request.repeats()) {
        found->second = "other bits when cut otherwise";
    }
    return found->second;
}

void time_row(benchmark::State& state, Row const& row) {
    Request request(row);
    if (std::string const& why = refusal(row, request); !why.empty()) {
        state.SkipWithError(why.c_str());
        return;
    }
    std::size_t number = 0;
    for (auto _ : state) request.run(number++);
    state.counters["requests"] = 1.0;
    count_work(row, state);
}

std::vector<StackKey> arms() {
    std::vector<StackKey> all = {
        {"full_fp32", StrategyKind::full, ValueType::fp32},
        {"full_fp16", StrategyKind::full, ValueType::fp16},
        {"full_int8", StrategyKind::full, ValueType::int8},
        {"full_int4", StrategyKind::full, ValueType::int4},
        {"recompute_fp32", StrategyKind::recompute, ValueType::fp32},
    };
    for (std::uint32_t const m : {500U, 10000U}) {
        all.push_back({"collective_fp32", StrategyKind::collective, ValueType::fp32, m, 1});
        all.push_back({"collective_fp16", StrategyKind::collective, ValueType::fp16, m, 1});
        all.push_back({"collective_int8", StrategyKind::collective, ValueType::int8, m, 1});
    }
    return all;
}

/// recompute keeps ids: nothing to prefill or append.
std::vector<Row> rows() {
    std::vector<Row> all;
    for (StackKey const& key : arms()) {
        for (std::uint32_t const c : {1U, 8U, 32U, 128U, 512U}) {
            all.push_back({Stage::decode, key, 1000, c});
            if (key.m != 0) all.push_back({Stage::decode, key, 1000, c, true});
        }
        if (key.kind == StrategyKind::recompute) continue;
        for (std::uint32_t const n : {50U, 200U, 500U, 1000U})
            all.push_back({Stage::prefill, key, n});
        for (std::uint32_t const added : {1U, 10U, 100U})
            all.push_back({Stage::append, key, 900, added});
    }
    return all;
}

/// What the machine is measured at: pools of every arm, weights of every arm.
std::set<bench::RandomTable> random_tables() {
    std::set<bench::RandomTable> tables;
    for (StackKey const& key : arms()) {
        if (key.m == 0) continue;
        StackArm const& arm = arm_of(key);
        tables.insert({static_cast<std::size_t>(arm.pool_bytes()),
                       static_cast<std::size_t>(arm.pool_row_bytes())});
    }
    return tables;
}
std::set<std::size_t> weight_sizes() {
    std::set<std::size_t> sizes;
    for (StackKey const& key : arms())
        sizes.insert(static_cast<std::size_t>(arm_of(key).work().decode_batch_bytes));
    sizes.erase(0);
    return sizes;
}

}  // namespace

int main(int argc, char** argv) {
#ifndef NDEBUG
    std::fprintf(stderr, "bench_stack_roofline: built with assertions; build the bench preset\n");
    return 1;
#endif
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
    model::SimShape const shape = bench::stack_shape();
    benchmark::AddCustomContext("model", "HSTU, layers " + std::to_string(shape.layers) +
                                             ", heads " + std::to_string(shape.heads) + ", d " +
                                             std::to_string(shape.attention_dim) + ", d_e " +
                                             std::to_string(shape.feature_dim));
    benchmark::AddCustomContext("instruction_set", device::cpu::instruction_set());
    benchmark::AddCustomContext("blas", bench::blas_name());
    bench::register_machine(random_tables(), weight_sizes(), 1);
    for (Row const& row : rows()) {
        benchmark::RegisterBenchmark(row.name().c_str(),
                                     [row](benchmark::State& state) { time_row(state, row); })
            ->UseRealTime()
            ->Unit(benchmark::kMicrosecond);
    }
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    return 0;
}
