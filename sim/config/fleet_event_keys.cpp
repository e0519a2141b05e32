// Keys of a fleet study's events, and what may go wrong with them.
#include <algorithm>

#include "config/fleet_keys.hpp"

namespace ckvsim::config {

namespace {

using fleet::EventClock;
using fleet::EventKind;
using fleet::FleetEvent;
using fleet::Residence;
using fleet::RollingBy;

constexpr std::pair<EventKind, char const*> kKinds[] = {{EventKind::refresh, "refresh"},
                                                        {EventKind::crash, "crash"},
                                                        {EventKind::slow, "slow"},
                                                        {EventKind::link, "link"},
                                                        {EventKind::nic, "nic"},
                                                        {EventKind::nvme, "nvme"},
                                                        {EventKind::tier_loss, "tier_loss"},
                                                        {EventKind::scale_in, "scale_in"},
                                                        {EventKind::scale_out, "scale_out"},
                                                        {EventKind::catalogue, "catalogue"},
                                                        {EventKind::new_users, "new_users"}};
constexpr std::pair<EventClock, char const*> kClocks[] = {{EventClock::fraction, "fraction"},
                                                          {EventClock::seconds, "seconds"}};
constexpr std::pair<RollingBy, char const*> kRollings[] = {{RollingBy::nodes, "nodes"},
                                                           {RollingBy::users, "users"}};
constexpr std::pair<Residence, char const*> kLostTiers[] = {{Residence::dram, "dram"},
                                                            {Residence::nvme, "nvme"}};
constexpr char const* kUnit = "s, or 1 with clock = fraction";

bool is_scaling(EventKind kind) {
    return kind == EventKind::scale_in || kind == EventKind::scale_out;
}

void describe_times(KeyVisitor& v, FleetEvent& e, bool known) {
    bool const moment = e.kind == EventKind::refresh || e.kind == EventKind::new_users ||
                        e.kind == EventKind::catalogue;
    bool const lasts = !known || (!moment && !is_scaling(e.kind));
    std::string const condition =
        "kind is not refresh, scale_in, scale_out, catalogue or new_users";
    v.choice<EventClock>(
        {.name = "clock",
         .meaning = "what its times are: shares of the measured time, which keep their meaning "
                    "in a sweep, or virtual seconds, `at` from the start of the run"},
        e.clock, kClocks);
    v.real({.name = "mean_between",
            .meaning = "above 0 it strikes every node again and again, with exponential times of "
                       "this mean between the end of one and the next, drawn from the seed",
            .unit = kUnit,
            .applies = lasts,
            .only_if = condition},
           e.mean_between, {.low = 0, .high = 2e6});
    v.real({.name = "at",
            .meaning = "when it begins",
            .unit = kUnit,
            .required = true,
            .applies = e.mean_between <= 0.0,
            .only_if = "mean_between = 0"},
           e.at, {.low = 0, .high = 2e6});
    v.real({.name = "duration",
            .meaning = "how long it lasts; a node that crashed returns after it",
            .unit = kUnit,
            .required = known,
            .applies = lasts,
            .only_if = condition},
           e.duration, {.low = 0, .high = 2e6, .above_low = true});
}

void describe_spread(KeyVisitor& v, FleetEvent& e, bool known) {
    bool const signs_up = !known || e.kind == EventKind::new_users;
    v.real({.name = "rolling",
            .meaning = "the time that the refresh or the sign-ups are spread over; 0 = all at once",
            .unit = kUnit,
            .applies = signs_up || e.kind == EventKind::refresh,
            .only_if = "kind = refresh or new_users"},
           e.rolling, {.low = 0, .high = 2e6});
    v.real({.name = "users_share",
            .meaning = "share of the users at home on the nodes that it hits who sign up, drawn "
                       "from the seed; before, they ask for nothing, and they begin without a "
                       "history. Of those whom no earlier new_users event has drawn",
            .required = known && signs_up,
            .applies = signs_up,
            .only_if = "kind = new_users"},
           e.users_share, {.low = 0, .high = 1, .above_low = true, .below_high = true});
}

void describe_refresh(KeyVisitor& v, FleetEvent& e, bool applies) {
    std::string const condition = "kind = refresh";
    v.choice<RollingBy>({.name = "rolling_by",
                         .meaning = "node after node, or all nodes user group by user group",
                         .applies = applies,
                         .only_if = condition},
                        e.rolling_by, kRollings);
    v.real({.name = "changed_share",
            .meaning = "CollectiveKV over items only: share of a user's tokens whose code differs "
                       "under the new model. Below 1 his entry stays and that share is encoded at "
                       "his next visit; every other entry that a model made is made anew",
            .applies = applies,
            .only_if = condition},
           e.changed_share, {.low = 0, .high = 1});
}

void describe_delivery(KeyVisitor& v, FleetEvent& e, bool known) {
    bool const grows = !known || e.kind == EventKind::catalogue;
    v.real({.name = "growth",
            .meaning = "items that join the catalogue over those it has. Tables of items grow and "
                       "take room from entries; the new rows are delivered and then read",
            .required = known && grows,
            .applies = grows,
            .only_if = "kind = catalogue"},
           e.growth, {.low = 0, .high = 10, .above_low = true});
    v.real({.name = "swap_share",
            .meaning = "share of links and network that delivering the new weights, pools and "
                       "tables, or the rows of new items, takes until they are there; 0 = delivery "
                       "is not counted",
            .applies = grows || e.kind == EventKind::refresh,
            .only_if = "kind = refresh or catalogue"},
           e.swap_share, {.low = 0, .high = 1, .below_high = true});
}

std::string at_event(std::size_t i, char const* key = "") {
    return "/events/" + std::to_string(i) + key;
}

bool hits_all(FleetEvent const& e) { return e.nodes.empty() && e.share >= 1.0; }

bool share_a_node(FleetEvent const& a, FleetEvent const& b) {
    if (hits_all(a) || hits_all(b)) return true;
    return std::any_of(a.nodes.begin(), a.nodes.end(), [&](auto const node) {
        return std::find(b.nodes.begin(), b.nodes.end(), node) != b.nodes.end();
    });
}

void check_times(FleetStudy const& study, std::size_t i, Problems& problems) {
    auto const& e = study.fleet.events[i];
    if (e.clock == EventClock::fraction && e.mean_between <= 0.0 && e.at + e.rolling >= 1.0) {
        problems.add(std::vector<std::string>{at_event(i, "/at"), at_event(i, "/rolling")},
                     e.at >= 1.0 ? "the event begins after the end of the measured time"
                                 : "it is not over before the end of the measured time",
                     "with clock = fraction, at and rolling together must stay below 1");
    }
    if (e.clock == EventClock::seconds && study.search != FleetSearch::none) {
        problems.add(std::vector<std::string>{at_event(i, "/clock"), "/search"},
                     "a search tries loads whose runs last differently long, so an event at a "
                     "given second would not be the same one",
                     "use clock = fraction");
    }
    for (std::size_t j = 0; j < i; ++j) {
        auto const& other = study.fleet.events[j];
        bool const both = e.kind == EventKind::crash && other.kind == EventKind::crash &&
                          e.mean_between <= 0.0 && other.mean_between <= 0.0 &&
                          e.clock == other.clock;
        if (!both || !share_a_node(e, other)) continue;
        constexpr double kRounding = 1e-9;
        if (e.at >= other.at + other.duration - kRounding ||
            other.at >= e.at + e.duration - kRounding)
            continue;
        problems.add(
            std::vector<std::string>{at_event(i, "/at"), at_event(j, "/at")},
            "a node would crash again before it has returned from event " + std::to_string(j),
            "let them follow each other, or hit other nodes");
    }
}

void check_nodes(FleetStudy const& study, std::size_t i, Problems& problems) {
    auto const& e = study.fleet.events[i];
    if (e.nodes.empty()) return;
    auto const where = std::vector<std::string>{at_event(i, "/nodes"), "/fleet/nodes",
                                                "/fleet/sampled_nodes", "/search", "/sweep/nodes"};
    if (study.search != FleetSearch::none) {
        problems.add(where,
                     "a search simulates one node that stands for all, so an event cannot "
                     "name nodes",
                     "leave nodes out");
        return;
    }
    auto params = study.fleet;
    for (auto const nodes : study.sweep.nodes) params.nodes = std::min(params.nodes, nodes);
    auto const simulated = fleet::nodes_of_rank(params, 0, 1);
    for (auto const node : e.nodes) {
        if (std::find(simulated.begin(), simulated.end(), node) != simulated.end()) continue;
        std::string list;
        for (std::size_t n = 0; n < std::min<std::size_t>(simulated.size(), 8); ++n)
            list += (n == 0 ? "" : ", ") + std::to_string(simulated[n]);
        problems.add(where,
                     "node " + std::to_string(node) + " is not one of the " +
                         std::to_string(simulated.size()) + " nodes that are simulated: " + list +
                         (simulated.size() > 8 ? ", ..." : ""),
                     "name simulated nodes, or give a share");
    }
}

/// A catalogue is the whole fleet's, and nodes are set up for one growth of it.
void check_catalogue(FleetStudy const& study, std::size_t i, Problems& problems) {
    auto const& events = study.fleet.events;
    if (events[i].kind != EventKind::catalogue) return;
    if (!hits_all(events[i])) {
        problems.add(std::vector<std::string>{at_event(i, "/nodes"), at_event(i, "/share")},
                     "a catalogue that grows on some nodes only would show users different items",
                     "leave nodes and share out");
    }
    for (std::size_t j = 0; j < i; ++j) {
        if (events[j].kind != EventKind::catalogue) continue;
        problems.add(std::vector<std::string>{at_event(i, "/kind"), at_event(j, "/kind")},
                     "the catalogue grows in event " + std::to_string(j) + " already",
                     "give one of them the growth of both, or make two studies");
    }
}

/// An event that can do nothing is a mistake.
void check_effect(FleetStudy const& study, std::size_t i, Problems& problems) {
    auto const& e = study.fleet.events[i];
    bool const loses = e.kind == EventKind::tier_loss;
    if (loses && study.tiers.inclusive) {
        problems.add(std::vector<std::string>{at_event(i, "/kind"), "/fleet/tiers/inclusive"},
                     "host memory that keeps copies of GPU memory cannot be lost by itself",
                     "set inclusive to false, or let the node crash");
    }
    bool const dram = loses && e.tier == Residence::dram && !study.budget.dram_tier;
    bool const nvme = (e.kind == EventKind::nvme || (loses && e.tier == Residence::nvme)) &&
                      !study.budget.nvme_tier;
    if (study.sweep.tiers.empty() && (dram || nvme)) {
        problems.add(std::vector<std::string>{at_event(i, "/kind"), at_event(i, "/tier"),
                                              "/fleet/tiers/dram", "/fleet/tiers/nvme"},
                     std::string("no entry lives ") + (dram ? "in host memory" : "on flash"),
                     "switch the tier on, or remove the event");
    }
    auto const& routings = study.sweep.routing;
    bool const home = routings.empty() ? study.fleet.routing.kind == fleet::RoutingKind::home
                                       : std::find(routings.begin(), routings.end(),
                                                   fleet::RoutingKind::home) != routings.end();
    if (is_scaling(e.kind) && home) {
        problems.add(
            std::vector<std::string>{at_event(i, "/kind"), "/fleet/routing/kind", "/sweep/routing"},
            "users who stay at home have nowhere to go while their node is not there",
            "use another kind of routing");
    }
    if (is_scaling(e.kind) && hits_all(e)) {
        problems.add(std::vector<std::string>{at_event(i, "/kind"), at_event(i, "/share")},
                     "all nodes would be away at once", "name nodes, or give a share below 1");
    }
    bool const by_item =
        std::any_of(study.strategies.begin(), study.strategies.end(), [&](FleetArm const& arm) {
            return arm.keeping.keeping == fleet::Keeping::collective &&
                   std::any_of(study.models.begin(), study.models.end(), [](auto const& model) {
                       return model.model_class == fleet::ModelClass::item;
                   });
        });
    if (e.kind == EventKind::refresh && e.changed_share < 1.0 && !by_item) {
        problems.add(std::vector<std::string>{at_event(i, "/changed_share")},
                     "no strategy keeps codes that depend on items alone, so every entry is made "
                     "anew whatever changed",
                     "remove it, or add a collective strategy and a model of class item");
    }
}

}  // namespace

void describe_events(KeyVisitor& visitor, std::vector<FleetEvent>& events) {
    visitor.list(
        {.name = "events", .meaning = "what happens to the fleet: new models, crashes, slow parts"},
        events, {.most = fleet::kMostEvents}, [](KeyVisitor& inner, Key const& key, FleetEvent& e) {
            inner.object(key, [&](KeyVisitor& v) {
                bool const known = v.choice<EventKind>(
                    {.name = "kind", .meaning = "what happens", .required = true}, e.kind, kKinds);
                auto const is = [&](EventKind kind) { return !known || e.kind == kind; };
                describe_times(v, e, known);
                v.list({.name = "nodes", .meaning = "nodes that it hits; empty: see share"},
                       e.nodes, {.most = 65536, .unique = true},
                       [](KeyVisitor& n, Key const& k, std::uint32_t& node) {
                           n.integer(k, node, {.high = 65535});
                       });
                v.real({.name = "share",
                        .meaning = "share of the simulated nodes that it hits, drawn from the "
                                   "seed, at least one",
                        .applies = e.nodes.empty(),
                        .only_if = "nodes is empty"},
                       e.share, {.low = 0, .high = 1, .above_low = true});
                bool const slows = is(EventKind::slow) || is(EventKind::link) ||
                                   is(EventKind::nic) || is(EventKind::nvme);
                v.real({.name = "slowdown",
                        .meaning = "factor on the part's times while it lasts",
                        .applies = slows,
                        .only_if = "kind = slow, link, nic or nvme"},
                       e.slowdown, {.low = 1, .high = 1e4});
                describe_spread(v, e, known);
                describe_refresh(v, e, is(EventKind::refresh));
                describe_delivery(v, e, known);
                v.boolean({.name = "keeps_flash",
                           .meaning = "entries on flash are there after the return",
                           .applies = is(EventKind::crash),
                           .only_if = "kind = crash"},
                          e.keeps_flash);
                v.choice<Residence>({.name = "tier",
                                     .meaning = "host memory or flash",
                                     .applies = is(EventKind::tier_loss),
                                     .only_if = "kind = tier_loss"},
                                    e.tier, kLostTiers);
            });
        });
}

void check_events(FleetStudy const& study, Problems& problems) {
    for (std::size_t i = 0; i < study.fleet.events.size(); ++i) {
        if (problems.touches(at_event(i))) continue;
        check_times(study, i, problems);
        check_nodes(study, i, problems);
        check_catalogue(study, i, problems);
        check_effect(study, i, problems);
    }
}

}  // namespace ckvsim::config
