// The memory phase: the ledger of every arm, predicted, allocated and resident.
#include <chrono>
#include <cmath>
#include <numeric>

#include "app/ledger_sum.hpp"
#include "app/machine.hpp"
#include "app/row.hpp"
#include "app/run_context.hpp"
#include "engine/residency.hpp"

namespace ckvsim::app {

namespace {

struct ArmMemory {
    engine::LedgerPrediction prediction;
    bool resident = false;
    engine::Residency residency;
    std::vector<kv::SharedBytes> predicted_shared;
    std::vector<kv::SharedBytes> allocated_shared;
};

std::uint64_t total(std::vector<kv::SharedBytes> const& shared) {
    return std::accumulate(shared.begin(), shared.end(), std::uint64_t{0},
                           [](std::uint64_t sum, auto const& part) { return sum + part.bytes; });
}

ArmMemory measure(RunContext& context, config::ArmSpec const& arm, std::uint64_t limit_bytes) {
    auto const& catalogue = context.population->catalogue();
    auto const contexts = context.population->context_vocabulary();
    auto const layout = context.layout(arm);
    ArmMemory memory;
    memory.predicted_shared =
        kv::shared_bytes(context.spec.model, arm.weights, arm.strategy, catalogue, contexts);
    memory.prediction =
        engine::predict(*context.population, context.users, layout, context.spec.model.max_tokens);
    std::vector<std::uint64_t> need = {memory.prediction.entry_bytes};
    context.comm.sum(std::span<std::uint64_t>(need));
    memory.resident = context.spec.memory.resident && need[0] <= limit_bytes;
    if (memory.resident) {
        context.progress.begin("resident users of " + arm.name, "users");
        context.comm.run_phase("memory of " + arm.name, [&] {
            auto const backend =
                context.backend(arm.weights, arm.strategy, context.spec.training.seeds.front());
            memory.allocated_shared = backend->allocated_shared();
            memory.residency = engine::hold_users(
                *context.population, context.users, backend, resident_set_bytes, context.spec.seed,
                [&](std::uint64_t done, std::uint64_t all) { context.progress.update(done, all); });
            if (memory.residency.verified_mismatches > 0) {
                throw InternalError(std::to_string(memory.residency.verified_mismatches) + " of " +
                                    std::to_string(memory.residency.verified_users) +
                                    " sampled users of " + arm.name +
                                    " encode to other bytes than are resident");
            }
        });
        context.progress.end();
    } else if (context.spec.memory.resident) {
        context.progress.note(arm.name + ": " + std::to_string(need[0]) +
                              " bytes of user entries exceed the limit of " +
                              std::to_string(limit_bytes) + "; predicted only");
    }
    sum_over_ranks(context.comm, memory.prediction, memory.residency);
    return memory;
}

void report_sections(RunContext& context, config::ArmSpec const& arm, ArmMemory const& memory) {
    auto const layout = context.layout(arm);
    auto const users = static_cast<double>(std::max<std::uint64_t>(memory.prediction.users, 1));
    for (std::size_t s = 0; s < kv::kSections; ++s) {
        auto const section = static_cast<kv::Section>(s);
        if (!layout.has(section)) continue;
        Row(context.report.table("memory_sections"))
            .set("arm", arm.name)
            .set("site", kv::site_of(section))
            .set("section", kv::to_string(section))
            .set("bytes_per_token", layout.bytes_per_token(section))
            .set("user_bytes_mean", static_cast<double>(memory.prediction.section_bytes[s]) / users)
            .add();
    }
    for (auto const& part : memory.predicted_shared) {
        double allocated = std::nan("");
        for (auto const& real : memory.allocated_shared) {
            if (real.what == part.what) allocated = static_cast<double>(real.bytes);
        }
        Row(context.report.table("memory_shared"))
            .set("arm", arm.name)
            .set("what", part.what)
            .set("predicted_bytes", part.bytes)
            .set("allocated_bytes", allocated)
            .add();
    }
}

void report_arm(RunContext& context, config::ArmSpec const& arm, ArmMemory const& memory) {
    auto const& p = memory.prediction;
    auto const& r = memory.residency;
    double const nan = std::nan("");
    double const tokens_mean =
        static_cast<double>(p.tokens) / static_cast<double>(std::max<std::uint64_t>(p.users, 1));
    auto const ratios = kv::ratios(
        context.spec.model, arm.weights, arm.strategy, context.population->catalogue(),
        context.population->context_vocabulary(),
        static_cast<std::uint32_t>(std::lround(tokens_mean)), static_cast<double>(p.users));
    double const predicted_total = static_cast<double>(p.entry_bytes + r.index_bytes);
    Row(context.report.table("memory"))
        .set("arm", arm.name)
        .set("users", p.users)
        .set("tokens_mean", tokens_mean)
        .set("predicted_user_bytes", p.entry_bytes)
        .set("padding_bytes", p.entry_bytes - p.payload_bytes)
        .set("allocated_user_bytes",
             memory.resident ? static_cast<double>(r.allocated_bytes + r.index_bytes) : nan)
        .set("resident_user_bytes", memory.resident ? static_cast<double>(r.resident_bytes) : nan)
        .set("ledger_error",
             memory.resident ? static_cast<double>(r.resident_bytes) / predicted_total - 1.0 : nan)
        .set("predicted_shared_bytes", total(memory.predicted_shared))
        .set("allocated_shared_bytes",
             memory.resident ? static_cast<double>(total(memory.allocated_shared)) : nan)
        .set("paper_ratio", ratios.paper)
        .set("real_ratio", ratios.real)
        .set("real_ratio_with_shared", ratios.real_with_shared)
        .set("tier", std::string("host memory"))
        .add();
    context.bytes_per_interaction[arm.name] =
        static_cast<double>(p.payload_bytes) /
        static_cast<double>(std::max<std::uint64_t>(p.tokens, 1));
    double const per_user = static_cast<double>(p.entry_bytes) /
                            static_cast<double>(std::max<std::uint64_t>(p.users, 1));
    for (double const users : context.spec.memory.user_counts) {
        Row(context.report.table("memory_curve"))
            .set("arm", arm.name)
            .set("users", users)
            .set("bytes", users * per_user + static_cast<double>(total(memory.predicted_shared)))
            .add();
    }
}

}  // namespace

void run_memory_phase(RunContext& context) {
    if (!context.spec.memory.enabled) return;
    // 60 %: the rest is for tables, histories in flight and the operating system.
    std::uint64_t limit = context.spec.memory.max_resident_bytes;
    if (limit == 0) limit = physical_memory_bytes() / 10 * 6;
    for (auto const& arm : context.spec.arms) {
        if (!arm.memory) continue;
        ArmMemory const memory = measure(context, arm, limit);
        report_sections(context, arm, memory);
        report_arm(context, arm, memory);
    }
}

}  // namespace ckvsim::app
