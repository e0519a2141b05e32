// The residency phase: one budget of bytes, as many users as each arm fits into it, held and
// served; in memory, and from a file on storage where a budget for one is given.
#include <chrono>
#include <cmath>
#include <filesystem>
#include <functional>
#include <memory>
#include <tuple>

#include "app/ledger_sum.hpp"
#include "app/machine.hpp"
#include "app/row.hpp"
#include "app/run_context.hpp"
#include "app/serving_rows.hpp"
#include "core/rng.hpp"
#include "engine/fidelity.hpp"
#include "engine/file_residents.hpp"
#include "engine/resident_serving.hpp"
#include "engine/slab_residents.hpp"

namespace ckvsim::app {

namespace {

using Clock = std::chrono::steady_clock;
using engine::ResidentTier;

/// What one rank did; summed over ranks.
struct Held {
    engine::LedgerPrediction prediction;
    engine::Residency residency;
    std::uint64_t table_bytes = 0;  ///< every rank keeps its own
    char const* transfers = "";
    std::uint64_t asked_users = 0;
    std::uint64_t made_requests = 0;  ///< warm-up included
    double fill_s = 0.0;              ///< slowest rank
    double append_s = 0.0;            ///< of one event, slowest rank; 0 = not measured everywhere
    bool ran_out_of_users = false;
    engine::ServingResult serving;
};

/// Shared tables that serving the arm needs beyond the model: pools, item tables, code tables.
/// Embeddings, projections, biases and tower are every arm's. Routers are read when entries are
/// made; when they are served, by the candidates of HSTU alone.
std::uint64_t own_tables(std::vector<kv::SharedBytes> const& shared, bool routes_candidates) {
    std::uint64_t bytes = 0;
    for (auto const& part : shared) {
        bool const model = part.what == "embeddings" || part.what == "projections" ||
                           part.what == "position_bias" || part.what == "tower" ||
                           (part.what == "router" && !routes_candidates);
        if (!model) bytes += part.bytes;
    }
    return bytes;
}

config::ResidentTierSpec const& tier_spec(RunContext const& context, ResidentTier tier) {
    auto const& spec = context.spec.residency;
    return tier == ResidentTier::memory ? spec.memory : spec.file;
}

engine::ResidentLoad load_of(RunContext const& context, ResidentTier tier) {
    auto const& spec = tier_spec(context, tier);
    engine::ResidentLoad load;
    load.requests_per_second = spec.requests_per_second;
    load.candidates = context.spec.residency.candidates;
    load.user_share = spec.user_share;
    load.min_requests = spec.min_requests;
    load.warmup_s = context.spec.residency.warmup_s;
    load.seed = mix64(context.spec.seed + static_cast<std::uint64_t>(context.comm.rank()));
    return load;
}

/// Local part of one arm in one tier.
class ArmResidency {
  public:
    ArmResidency(RunContext& context, config::ArmSpec const& arm, ResidentTier tier)
        : context_(context),
          arm_(arm),
          tier_(tier),
          backend_(
              context.backend(arm.weights, arm.strategy, context.spec.training.seeds.front())) {
        auto const max_tokens = context.spec.model.max_tokens;
        held_.table_bytes =
            own_tables(backend_->allocated_shared(), backend_->weights().shape.stack_layers() > 0);
        auto const budget =
            tier_spec(context, tier).budget_bytes / static_cast<std::uint64_t>(context.comm.size());
        // Shared tables are read at every request: they stay in memory when entries do not.
        auto const taken = tier == ResidentTier::memory ? held_.table_bytes : 0;
        if (taken >= budget) {
            throw BackendError(arm.name + ": its shared tables take " + std::to_string(taken) +
                               " of a budget of " + std::to_string(budget) +
                               " bytes a rank, no user fits beside them. raise "
                               "/measurements/residency/" +
                               engine::to_string(tier) + "/budget_bytes");
        }
        entry_budget_ = budget - taken;
        auto const count =
            engine::users_that_fit(*context.population, context.users, backend_->layout(),
                                   max_tokens, tier, entry_budget_);
        held_.ran_out_of_users = count == context.users.size();
        users_.assign(context.users.begin(),
                      context.users.begin() + static_cast<std::ptrdiff_t>(count));
        held_.prediction =
            engine::predict(*context.population, users_, backend_->layout(), max_tokens);
    }

    void hold() {
        auto const before = resident_set_bytes();
        auto const begin = Clock::now();
        if (tier_ == ResidentTier::memory) {
            auto store = std::make_unique<engine::SlabResidents>(*context_.population, users_,
                                                                 backend_, entry_budget_);
            slabs_ = store.get();
            keep(std::move(store));
        } else {
            keep(std::make_unique<engine::FileResidents>(*context_.population, users_, backend_,
                                                         context_.spec.residency.file_folder,
                                                         context_.spec.fleet.node.max_batch));
        }
        held_.fill_s = std::chrono::duration<double>(Clock::now() - begin).count();
        held_.residency.resident_bytes = resident_set_bytes() - before;
        verify_();
        auto const& residency = held_.residency;
        if (residency.verified_mismatches > 0) {
            throw InternalError(std::to_string(residency.verified_mismatches) + " of " +
                                std::to_string(residency.verified_users) + " sampled users of " +
                                arm_.name + " encode to other bytes than are kept");
        }
    }

    void serve() {
        auto const load = load_of(context_, tier_);
        auto const requests = engine::resident_requests(*source_, users_.size(), load);
        held_.asked_users = std::min<std::uint64_t>(requests.size(), users_.size());
        held_.made_requests = requests.size();
        held_.serving = engine::serve_residents(
            *source_, *backend_, requests, load, context_.spec.fleet.node,
            [&](std::uint64_t done, std::uint64_t all) { context_.progress.update(done, all); });
    }

    /// One event more for some users, one by one: what keeping an entry current costs.
    void append() {
        if (slabs_ == nullptr || users_.empty()) return;
        std::vector<std::size_t> chosen(std::min<std::size_t>(kAppends, users_.size()));
        CounterRng rng(context_.spec.seed, Purpose::sample_selection, 1);
        for (auto& i : chosen) i = rng.next_u64() % users_.size();
        auto const scratch = backend_->make_scratch();
        auto const begin = Clock::now();
        auto const appended = slabs_->append(chosen, 1, *scratch);
        auto const seconds = std::chrono::duration<double>(Clock::now() - begin).count();
        if (appended == chosen.size()) {
            held_.append_s = seconds / static_cast<double>(appended);
        } else {
            context_.progress.note(arm_.name + ": " + std::to_string(chosen.size() - appended) +
                                   " of " + std::to_string(chosen.size()) +
                                   " appends found no larger slot in the full store; their time is "
                                   "not given");
        }
    }

    Held& held() { return held_; }

  private:
    static constexpr std::uint64_t kVerifiedUsers = 1000;
    static constexpr std::size_t kAppends = 2000;

    template <class Store>
    void keep(std::unique_ptr<Store> store) {
        store->fill(
            [&](std::uint64_t done, std::uint64_t all) { context_.progress.update(done, all); });
        held_.residency.allocated_bytes = store->allocated_bytes();
        held_.residency.index_bytes = store->index_bytes();
        held_.transfers = store->transfers();
        verify_ = [this, kept = store.get()] {
            std::tie(held_.residency.verified_users, held_.residency.verified_mismatches) =
                kept->verify(kVerifiedUsers, context_.spec.seed);
        };
        source_ = std::move(store);
    }

    RunContext& context_;
    config::ArmSpec const& arm_;
    ResidentTier tier_;
    std::shared_ptr<decode::Backend const> backend_;
    std::uint64_t entry_budget_ = 0;
    std::vector<UserId> users_;
    std::unique_ptr<engine::EntrySource> source_;
    engine::SlabResidents* slabs_ = nullptr;  ///< source_, when in memory
    std::function<void()> verify_;
    Held held_;
};

void reduce(comm::Communicator& comm, Held& held) {
    sum_over_ranks(comm, held.prediction, held.residency);
    std::vector<std::uint64_t> counts = {held.asked_users, held.made_requests, held.table_bytes,
                                         held.ran_out_of_users ? 1ULL : 0ULL};
    comm.sum(std::span<std::uint64_t>(counts));
    held.asked_users = counts[0];
    held.made_requests = counts[1];
    held.table_bytes = counts[2];
    held.ran_out_of_users = counts[3] == static_cast<std::uint64_t>(comm.size());
    comm.max(std::span<double>(&held.fill_s, 1));
    // Every rank's appends, or no figure.
    std::uint64_t measured = held.append_s > 0.0 ? 1 : 0;
    comm.sum(std::span<std::uint64_t>(&measured, 1));
    comm.max(std::span<double>(&held.append_s, 1));
    if (measured < static_cast<std::uint64_t>(comm.size())) held.append_s = 0.0;
    held.serving = sum_over_ranks(comm, held.serving);
}

void report_arm(RunContext& context, config::ArmSpec const& arm, ResidentTier tier,
                Held const& held) {
    auto const& spec = tier_spec(context, tier);
    auto const& p = held.prediction;
    auto const& r = held.residency;
    auto const& serving = held.serving;
    auto const ranks = static_cast<double>(context.comm.size());
    double const span = static_cast<double>(serving.span_ns) * ranks;
    Row(context.report.table("residency"))
        .set("arm", arm.name)
        .set("tier", engine::to_string(tier))
        .set("budget_bytes", spec.budget_bytes)
        .set("users", p.users)
        .set("limited_by", std::string(held.ran_out_of_users ? "users" : "budget"))
        .set("tokens", p.tokens)
        .set("entry_bytes", p.entry_bytes)
        .set("index_bytes", r.index_bytes)
        .set("table_bytes", held.table_bytes)
        .set("allocated_bytes", r.allocated_bytes)
        .set("transfers", std::string(held.transfers))
        .set("resident_bytes", r.resident_bytes)
        .set("slack",
             1.0 - static_cast<double>(p.payload_bytes) / static_cast<double>(r.allocated_bytes))
        .set("fill_s", held.fill_s)
        .set("fill_tokens_per_s", static_cast<double>(p.tokens) / held.fill_s)
        .set("append_ns", held.append_s > 0.0 ? 1e9 * held.append_s : std::nan(""))
        .set("verified_users", r.verified_users)
        .set("mismatches", r.verified_mismatches)
        .set("requests", serving.requests)
        .set("user_share", static_cast<double>(held.asked_users) /
                               static_cast<double>(std::max<std::uint64_t>(p.users, 1)))
        .set("requests_per_user",
             static_cast<double>(held.made_requests) /
                 static_cast<double>(std::max<std::uint64_t>(held.asked_users, 1)))
        .set("candidates", context.spec.residency.candidates)
        .set("offered_per_s", spec.requests_per_second * ranks)
        .set("throughput_per_s", engine::throughput_per_s(serving))
        .set("utilisation", span > 0 ? static_cast<double>(serving.busy_ns) / span : std::nan(""))
        .add();
    for (std::size_t s = 0; s < engine::kStages; ++s) {
        Row row(context.report.table("residency_latency"));
        row.set("arm", arm.name).set("tier", engine::to_string(tier));
        set_latency(row, static_cast<engine::Stage>(s), serving.latency[s]).add();
    }
}

void run_arm(RunContext& context, config::ArmSpec const& arm, ResidentTier tier) {
    std::string const what = arm.name + " in " + engine::to_string(tier);
    std::unique_ptr<ArmResidency> residency;
    context.progress.begin("hold residents of " + what, "users");
    context.comm.run_phase("residents of " + what, [&] {
        residency = std::make_unique<ArmResidency>(context, arm, tier);
        residency->hold();
    });
    context.progress.begin("serve residents of " + what, "requests");
    context.comm.barrier();
    context.comm.run_phase("residents of " + what, [&] {
        residency->serve();
        residency->append();
    });
    context.progress.end();
    Held held = std::move(residency->held());
    residency.reset();
    reduce(context.comm, held);
    report_arm(context, arm, tier, held);
}

/// A budget that holds no user is an error of the spec, known before hours of other phases. Tables
/// that memory must hold beside entries are known later, when weights are read.
void require_room_for_a_user(RunContext const& context, config::ArmSpec const& arm,
                             ResidentTier tier) {
    auto const all = tier_spec(context, tier).budget_bytes;
    auto const budget = all / static_cast<std::uint64_t>(context.comm.size());
    if (all == 0 || context.users.empty()) return;
    auto const layout = context.layout(arm);
    std::vector<UserId> const first(context.users.begin(), context.users.begin() + 1);
    auto const max_tokens = context.spec.model.max_tokens;
    if (engine::users_that_fit(*context.population, first, layout, max_tokens, tier, budget) > 0)
        return;
    throw ConfigError(
        context.spec.name,
        {{"/measurements/residency/" + engine::to_string(tier) + "/budget_bytes",
          std::to_string(budget) + " bytes a rank do not hold one user of " + arm.name +
              " (the largest entry takes " + std::to_string(layout.entry_bytes(max_tokens)) +
              "; room is given in whole blocks of a file, in memory in chunks of several entries)",
          "raise it or lower /model/max_tokens"}});
}

/// What the file tier takes on this rank at most: the budget, or less where users are few.
std::uint64_t file_bytes(RunContext const& context) {
    auto const budget =
        context.spec.residency.file.budget_bytes / static_cast<std::uint64_t>(context.comm.size());
    auto const max_tokens = context.spec.model.max_tokens;
    std::uint64_t most = 0;
    for (auto const& arm : context.spec.arms) {
        if (!arm.latency) continue;
        auto const layout = context.layout(arm);
        std::uint64_t bytes = 0;
        for (auto const user : context.users) {
            auto const tokens = std::min(context.population->history_length(user), max_tokens);
            bytes += engine::FileResidents::slot_bytes(layout.entry_bytes(tokens));
            if (bytes >= budget) break;
        }
        most = std::max(most, std::min(bytes, budget));
    }
    return most;
}

/// Room on the device of the file tier, where that can be told: its folder may not exist yet. Ranks
/// that share a device find out together that it is full, when they reserve their files.
void require_storage(RunContext const& context) {
    auto const& spec = context.spec;
    auto folder = std::filesystem::absolute(spec.residency.file_folder);
    std::error_code error;
    while (!std::filesystem::exists(folder, error) && folder.has_relative_path())
        folder = folder.parent_path();
    auto const space = std::filesystem::space(folder, error);
    // Some file systems tell nothing.
    if (error || space.capacity == 0) return;
    auto const need = file_bytes(context);
    if (need <= space.available) return;
    throw ConfigError(
        spec.name, {{"/measurements/residency/file/budget_bytes",
                     std::to_string(need) + " bytes of resident users a rank, but " +
                         folder.string() + " has " + std::to_string(space.available) + " available",
                     "lower it or choose another /measurements/residency/file/folder"}});
}

}  // namespace

void plan_residency_phase(RunContext& context) {
    auto const& spec = context.spec.residency;
    if (!spec.enabled) return;
    context.comm.run_phase("planning resident users", [&] {
        if (spec.file.budget_bytes > 0) require_storage(context);
        for (auto const& arm : context.spec.arms) {
            if (!arm.latency) continue;
            for (auto const tier : {ResidentTier::memory, ResidentTier::file})
                require_room_for_a_user(context, arm, tier);
        }
    });
}

void run_residency_phase(RunContext& context) {
    auto const& spec = context.spec.residency;
    if (!spec.enabled) return;
    for (auto const& arm : context.spec.arms) {
        if (!arm.latency) continue;
        if (spec.memory.budget_bytes > 0) run_arm(context, arm, ResidentTier::memory);
        if (spec.file.budget_bytes > 0) run_arm(context, arm, ResidentTier::file);
    }
}

}  // namespace ckvsim::app
