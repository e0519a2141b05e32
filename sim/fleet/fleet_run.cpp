#include "fleet/fleet_run.hpp"

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <exception>
#include <memory>

#include "core/error.hpp"

namespace ckvsim::fleet {

namespace {

constexpr std::size_t kBlock = 4096;  ///< requests made at once: 130 kB

Nanoseconds in_ns(double seconds) { return static_cast<Nanoseconds>(std::llround(seconds * 1e9)); }

NodeRun node_run(FleetParams const& params) {
    NodeRun run;
    run.seed = params.seed;
    run.warmup_ns = in_ns(params.warmup_s);
    run.duration_ns = in_ns(params.traffic.duration_s);
    run.slo_ns = in_ns(params.slo_ms * 1e-3);
    run.prefetch_lead_ns = in_ns(params.prefetch_lead_ms * 1e-3);
    run.fleet_users = params.users;
    return run;
}

/// One node with its requests.
struct Running {
    ArrivalStream stream;
    NodeSim sim;
    /// Not `starts`: its state will be loaded.
    Running(FleetParams const& params, FleetUsers const& users, NodeSetup const& setup,
            ServingCosts const& costs, EventPlan const& plan, std::uint32_t node,
            bool starts = true)
        : stream(users, params.traffic, params.seed, node, SignUps(plan, node, params.seed)),
          sim(setup, costs, node_run(params), node, users.places(node)) {
        sim.schedule(plan.events(), plan.actions(node));
        if (!starts) return;
        std::vector<double> rates;
        for (std::size_t k = 0; k < users.classes().size(); ++k)
            rates.push_back(stream.session_rate(k));
        start_node(sim.tiers(), users, node, rates, setup.tiers, params.start, params.seed,
                   SignUps(plan, node, params.seed));
    }
    template <class Archive>
    void archive(Archive& ar) {
        ar(stream, sim);
    }
    [[nodiscard]] std::uint64_t requests() const {
        return sim.so_far().offered + sim.so_far().warmup_requests;
    }
};

/// Of every node of a run.
std::uint64_t running_layout(FleetParams const& params, FleetUsers const& users,
                             NodeSetup const& setup, ServingCosts const& costs,
                             EventPlan const& plan, std::uint32_t node) {
    return layout_of(*std::make_unique<Running>(params, users, setup, costs, plan, node, false));
}

/// Counts requests over threads; reports from the calling thread only.
class Counter {
  public:
    Counter(FleetProgress const& report, std::uint64_t total) : report_(report), total_(total) {}
    void add(std::uint64_t requests, NodeSim const& sample) {
        auto const done = done_.fetch_add(requests, std::memory_order_relaxed) + requests;
        if (report_ && omp_get_thread_num() == 0) report_(done, total_, sample.so_far());
    }

  private:
    FleetProgress const& report_;
    std::uint64_t total_;
    std::atomic<std::uint64_t> done_{0};
};

FleetResult run_alone(FleetParams const& params, FleetUsers const& users, NodeSetup const& setup,
                      ServingCosts const& costs, EventPlan const& plan, std::uint32_t node,
                      Counter& counter, RunKeeper* keeper, std::uint64_t layout) {
    std::unique_ptr<Running> running;
    bool const restored =
        keeper != nullptr && keeper->restore(node, layout, [&](ByteSource& source) {
            running = std::make_unique<Running>(params, users, setup, costs, plan, node, false);
            load(source, *running);
        });
    if (!restored) running = std::make_unique<Running>(params, users, setup, costs, plan, node);
    if (restored) counter.add(running->requests(), running->sim);
    std::vector<Arrival> block;
    block.reserve(kBlock);
    Nanoseconds const end = in_ns(params.traffic.duration_s);
    do {
        running->stream.next(end, kBlock, block);
        running->sim.serve(block);
        counter.add(block.size(), running->sim);
        if (keeper != nullptr && keeper->is_due(node))
            keeper->keep(node, layout, [&](ByteSink& sink) { save(sink, *running); });
    } while (block.size() == kBlock);
    auto result = running->sim.finish();
    if (keeper != nullptr) keeper->done(node, result);
    return result;
}

/// A request on its way to another node.
struct Parcel {
    Arrival arrival;
    std::uint32_t home = 0;
    std::uint32_t node = 0;
    std::uint32_t events = 0;  ///< of the user's history before it
    std::uint32_t pad = 0;
};
static_assert(std::is_trivially_copyable_v<Parcel>);

/// All nodes of a rank in step, window by window.
class Windowed {
  public:
    Windowed(FleetParams const& params, FleetUsers const& users, NodeSetup const& setup,
             ServingCosts const& costs, EventPlan const& plan, FleetPeers const& peers,
             RunKeeper* keeper)
        : params_(params),
          users_(users),
          setup_(setup),
          costs_(costs),
          plan_(plan),
          peers_(peers),
          keeper_(keeper),
          ids_(nodes_of_rank(params, peers.rank, peers.ranks)),
          router_(params.routing, params.nodes, setup.gpus, params.seed),
          inbox_(ids_.size()),
          running_(ids_.size()) {}

    FleetResult run(Counter& counter) {
        Nanoseconds const end = in_ns(params_.traffic.duration_s);
        Nanoseconds const window =
            std::max<Nanoseconds>(in_ns(params_.routing.window_ms * 1e-3), 1);
        for (Nanoseconds from = begin(counter); from < end; from += window) {
            if (!see_load(from)) break;  // a rank failed: the others stop with it
            if (due_) keep(from);
            route(std::min(from + window, end));
            auto const served = serve();
            if (!failure_ && !running_.empty()) counter.add(served, running_.front()->sim);
        }
        see_load(end);
        if (failure_) std::rethrow_exception(failure_);
        FleetResult result;
        for (auto& running : running_) merge(result, running->sim.finish());
        return result;
    }

  private:
    /// Collective. Makes the nodes, or loads them where a run before this one left them; returns
    /// the edge where they are.
    Nanoseconds begin(Counter& counter) {
        if (keeper_ != nullptr) {
            guard([&] { layout_ = running_layout(params_, users_, setup_, costs_, plan_, 0); });
            auto const edge = keeper_->restore_window(
                ids_, layout_,
                [&](std::uint32_t node, ByteSource& source) { load_node(node, source); });
            if (edge) {
                for (auto const& running : running_) counter.add(running->requests(), running->sim);
                return *edge;
            }
        }
#pragma omp parallel for schedule(dynamic, 1)
        for (std::size_t i = 0; i < ids_.size(); ++i) {
            guard([&] {
                running_[i] =
                    std::make_unique<Running>(params_, users_, setup_, costs_, plan_, ids_[i]);
            });
        }
        return 0;
    }
    void load_node(std::uint32_t node, ByteSource& source) {
        auto& running = running_[node / static_cast<std::uint32_t>(peers_.ranks)];
        try {
            running =
                std::make_unique<Running>(params_, users_, setup_, costs_, plan_, node, false);
            load(source, *running);
        } catch (DataError const&) {
            throw;
        } catch (...) {
            // Every rank tries on: the failure is told at the first edge, as everywhere.
            guard([] { throw; });
            source.refuse("cannot be loaded: the node cannot be made");
        }
    }
    void keep(Nanoseconds edge) {
        keeper_->keep_window(edge, ids_, layout_, [&](std::uint32_t node, ByteSink& sink) {
            save(sink, *running_[node / static_cast<std::uint32_t>(peers_.ranks)]);
        });
    }
    /// Collective. False when a rank has failed.
    bool see_load(Nanoseconds now) {
        std::vector<std::int64_t> load(params_.nodes + 2, 0);
        load.back() = failure_ ? 1 : 0;
        load[params_.nodes] = keeper_ != nullptr && keeper_->window_is_due() ? 1 : 0;
        for (std::size_t i = 0; i < ids_.size(); ++i) {
            if (!running_[i]) continue;
            auto& sim = running_[i]->sim;
            sim.pass_events(now);
            load[ids_[i]] = sim.down() || sim.away() ? kNodeDown : sim.backlog_ns(now);
        }
        if (peers_.ranks > 1) peers_.max(load);
        bool const good = load.back() == 0;
        due_ = load[params_.nodes] != 0;
        load.resize(params_.nodes);
        router_.see(load);
        return good;
    }
    void route(Nanoseconds until) {
        for (auto& box : inbox_) box.clear();
        std::vector<std::vector<std::byte>> to(static_cast<std::size_t>(peers_.ranks));
        std::vector<Arrival> block;
        for (std::size_t i = 0; i < ids_.size(); ++i) guard([&] { send(i, until, block, to); });
        if (peers_.ranks == 1) return;
        auto const came = peers_.exchange(to);
        for (std::size_t at = 0; at < came.size(); at += sizeof(Parcel)) {
            Parcel parcel;
            std::memcpy(&parcel, came.data() + at, sizeof parcel);
            keep(parcel);
        }
    }
    /// A node's next requests on their ways.
    void send(std::size_t i, Nanoseconds until, std::vector<Arrival>& block,
              std::vector<std::vector<std::byte>>& to) {
        auto& running = *running_[i];
        do {
            running.stream.next(until, kBlock, block);
            for (auto const& arrival : block) {
                Parcel parcel{arrival, ids_[i],
                              router_.route(arrival.user, ids_[i], arrival.time_ns), 0, 0};
                if (parcel.node != ids_[i]) parcel.events = running.sim.send_away(arrival);
                auto const rank = parcel.node % static_cast<std::uint32_t>(peers_.ranks);
                if (static_cast<int>(rank) == peers_.rank) {
                    keep(parcel);
                    continue;
                }
                auto const* bytes = reinterpret_cast<std::byte const*>(&parcel);
                to[rank].insert(to[rank].end(), bytes, bytes + sizeof parcel);
            }
        } while (block.size() == kBlock);
    }
    /// Keeps the first failure for the next window's edge, where all ranks learn of it.
    template <class Body>
    void guard(Body&& body) {
        try {
            body();
        } catch (...) {
#pragma omp critical(ckvsim_fleet_failure)
            if (!failure_) failure_ = std::current_exception();
        }
    }
    void keep(Parcel const& parcel) {
        inbox_[parcel.node / static_cast<std::uint32_t>(peers_.ranks)].push_back(parcel);
    }
    std::uint64_t serve() {
        std::uint64_t served = 0;
#pragma omp parallel for schedule(dynamic, 1) reduction(+ : served)
        for (std::size_t i = 0; i < ids_.size(); ++i) {
            served += inbox_[i].size();
            guard([&] { serve_node(i); });
        }
        return served;
    }
    void serve_node(std::size_t i) {
        auto& box = inbox_[i];
        // Stable: requests of one node come in their order, whoever brought them.
        std::stable_sort(box.begin(), box.end(), [](Parcel const& a, Parcel const& b) {
            if (a.arrival.time_ns != b.arrival.time_ns)
                return a.arrival.time_ns < b.arrival.time_ns;
            return a.home != b.home ? a.home < b.home : a.arrival.user < b.arrival.user;
        });
        for (auto const& parcel : box) {
            if (parcel.home == ids_[i]) {
                running_[i]->sim.serve({&parcel.arrival, 1});
            } else {
                running_[i]->sim.serve_guest(parcel.arrival, parcel.events);
            }
        }
    }

    FleetParams const& params_;
    FleetUsers const& users_;
    NodeSetup const& setup_;
    ServingCosts const& costs_;
    EventPlan const& plan_;
    FleetPeers const& peers_;
    RunKeeper* keeper_;
    std::uint64_t layout_ = 0;
    bool due_ = false;  ///< a rank wishes to keep the state
    std::vector<std::uint32_t> ids_;
    Router router_;
    std::vector<std::vector<Parcel>> inbox_;
    std::vector<std::unique_ptr<Running>> running_;
    std::exception_ptr failure_;
};

std::uint64_t expected_requests(FleetParams const& params, FleetUsers const& users,
                                EventPlan const& plan, std::vector<std::uint32_t> const& nodes) {
    double share = 0.0;
    for (auto const node : nodes)
        share += users.share_of(node) *
                 SignUps(plan, node, params.seed).mean_present(in_ns(params.traffic.duration_s));
    return static_cast<std::uint64_t>(params.traffic.requests_per_second *
                                      params.traffic.duration_s * share);
}

}  // namespace

std::vector<std::uint32_t> nodes_of_rank(FleetParams const& params, int rank, int ranks) {
    std::vector<std::uint32_t> mine;
    std::uint32_t const count =
        params.sampled_nodes == 0 ? params.nodes : std::min(params.sampled_nodes, params.nodes);
    for (std::uint32_t i = 0; i < count; ++i) {
        if (static_cast<int>(i % static_cast<std::uint32_t>(ranks)) != rank) continue;
        mine.push_back(static_cast<std::uint32_t>(std::uint64_t{i} * params.nodes / count));
    }
    return mine;
}

EventPlan plan_of_events(FleetParams const& params) {
    return {params.events, nodes_of_rank(params, 0, 1), params.warmup_s, params.traffic.duration_s,
            params.seed};
}

std::uint64_t state_bytes_needed(FleetParams const& params, EvictionPolicy policy, int ranks,
                                 int threads) {
    bool const repairs = std::any_of(params.events.begin(), params.events.end(), [](auto const& e) {
        return e.kind == EventKind::refresh && e.changed_share < 1.0;
    });
    std::uint64_t const each = most_bytes_per_user(policy) + (repairs ? 2 : 0);
    std::uint64_t const users = params.users / params.nodes + 1;
    std::uint64_t const mine = nodes_of_rank(params, 0, ranks).size();
    // Alone, a node's state lives while it is simulated; in windows all live at once, with what
    // other nodes served and with guests: at most one a request, a state and twice 16 of index.
    if (params.routing.kind == RoutingKind::home)
        return users * each * std::min<std::uint64_t>(mine, static_cast<std::uint64_t>(threads));
    double const requests = params.traffic.requests_per_second * params.traffic.duration_s;
    double const guests = std::min(requests / params.nodes,
                                   static_cast<double>(params.users - params.users / params.nodes));
    return mine * (users * (each + 2) +
                   static_cast<std::uint64_t>(guests * static_cast<double>(each + 32)));
}

FleetResult run_fleet(FleetParams const& params, NodeSetup const& setup, ServingCosts const& costs,
                      FleetPeers const& peers, FleetProgress const& progress, RunKeeper* keeper) {
    validate(params.sampled_nodes == 0 || params.routing.kind == RoutingKind::home,
             "run_fleet: nodes are independent only where users stay at home");
    FleetUsers const users(params.users, params.nodes, params.activity, params.history,
                           params.seed);
    auto const ids = nodes_of_rank(params, peers.rank, peers.ranks);
    auto const plan = plan_of_events(params);
    Counter counter(progress, expected_requests(params, users, plan, ids));
    if (params.routing.kind != RoutingKind::home)
        return Windowed(params, users, setup, costs, plan, peers, keeper).run(counter);
    std::uint64_t const layout =
        keeper == nullptr ? 0 : running_layout(params, users, setup, costs, plan, 0);
    // Sums of integers: the order in which nodes end does not matter.
    FleetResult merged;
    if (keeper != nullptr) merge(merged, keeper->done_before());
    std::vector<std::exception_ptr> failures(ids.size());
#pragma omp parallel for schedule(dynamic, 1)
    for (std::size_t i = 0; i < ids.size(); ++i) {
        try {
            if (keeper != nullptr && keeper->is_done(ids[i])) continue;
            auto const result =
                run_alone(params, users, setup, costs, plan, ids[i], counter, keeper, layout);
#pragma omp critical(ckvsim_fleet_merge)
            merge(merged, result);
        } catch (...) {
            failures[i] = std::current_exception();
        }
    }
    for (auto const& failure : failures)
        if (failure) std::rethrow_exception(failure);
    return merged;
}

}  // namespace ckvsim::fleet
