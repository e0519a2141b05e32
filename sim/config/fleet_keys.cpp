#include "config/fleet_keys.hpp"

#include "config/spec_key_parts.hpp"
#include "config/spec_keys.hpp"

namespace ckvsim::config {

namespace {

using namespace fleet;

constexpr RealRange kPositive = {.low = 0, .above_low = true};
constexpr RealRange kShare = {.low = 0, .high = 1, .below_high = true};

enum class StudyKind : std::uint8_t { fleet };
constexpr std::pair<StudyKind, char const*> kStudyKinds[] = {{StudyKind::fleet, "fleet"}};
constexpr std::pair<ModelClass, char const*> kClasses[] = {
    {ModelClass::item, "item"}, {ModelClass::event, "event"}, {ModelClass::sequence, "sequence"}};
constexpr std::pair<Keeping, char const*> kKeepings[] = {
    {Keeping::recompute, "recompute"},
    {Keeping::full, "full"},
    {Keeping::item_table, "item_table"},
    {Keeping::collective, "collective"},
    {Keeping::collective_item, "collective_item"}};
constexpr std::pair<StoredType, char const*> kTypes[] = {
    {StoredType::fp32, "fp32"}, {StoredType::fp16, "fp16"}, {StoredType::int8, "int8"}};
constexpr std::pair<EvictionPolicy, char const*> kPolicies[] = {
    {EvictionPolicy::lru, "lru"},         {EvictionPolicy::fifo, "fifo"},
    {EvictionPolicy::clock, "clock"},     {EvictionPolicy::sieve, "sieve"},
    {EvictionPolicy::s3_fifo, "s3_fifo"}, {EvictionPolicy::w_tiny_lfu, "w_tiny_lfu"}};
constexpr std::pair<Admission, char const*> kAdmissions[] = {
    {Admission::all, "all"}, {Admission::second_visit, "second_visit"}};
constexpr std::pair<RoutingKind, char const*> kRoutings[] = {
    {RoutingKind::home, "home"},
    {RoutingKind::bounded_loads, "bounded_loads"},
    {RoutingKind::spill_over, "spill_over"},
    {RoutingKind::two_choices, "two_choices"},
    {RoutingKind::random, "random"}};
constexpr std::pair<StartState, char const*> kStarts[] = {{StartState::stationary, "stationary"},
                                                          {StartState::cold, "cold"}};
constexpr std::pair<FleetTiers, char const*> kTiers[] = {
    {FleetTiers::hbm, "hbm"},
    {FleetTiers::hbm_dram, "hbm_dram"},
    {FleetTiers::hbm_dram_nvme, "hbm_dram_nvme"}};
constexpr std::pair<FleetSearch, char const*> kSearches[] = {{FleetSearch::none, "none"},
                                                             {FleetSearch::max_load, "max_load"},
                                                             {FleetSearch::nodes, "nodes"}};

template <class E, std::size_t N>
std::string name_of(std::pair<E, char const*> const (&choices)[N], E value) {
    for (auto const& [candidate, name] : choices)
        if (candidate == value) return name;
    throw InternalError("config: a choice without a name");
}

void describe_model(KeyVisitor& v, ServingModel& model) {
    v.text({.name = "name", .meaning = "name in reports", .required = true}, model.name,
           {.shortest = 1, .longest = 40, .name = true});
    v.choice<ModelClass>({.name = "class",
                          .meaning = "what K and V of a token depend on: the item, the event (item "
                                     "and fields fixed when it happened) or the whole sequence"},
                         model.model_class, kClasses);
    v.integer({.name = "attention_dim", .meaning = "width d of K and V", .unit = "values"},
              model.attention_dim, {.low = 1, .high = 8192});
    v.integer(
        {.name = "embedding_dim", .meaning = "width d_e of an item's embedding", .unit = "values"},
        model.embedding_dim, {.low = 1, .high = 8192});
    v.integer({.name = "tokens_per_interaction",
               .meaning = "tokens of one history event; 2 for HSTU with action tokens"},
              model.tokens_per_interaction, {.low = 1, .high = 8});
    v.integer(
        {.name = "max_interactions", .meaning = "longest history that is served", .unit = "events"},
        model.max_interactions, {.low = 1, .high = 60000});
    v.list(
        {.name = "sites", .meaning = "attention over parts of the history"}, model.sites,
        {.fewest = 1, .most = 16}, [](KeyVisitor& inner, Key const& key, Site& site) {
            inner.object(key, [&](KeyVisitor& s) {
                s.integer(
                    {.name = "last", .meaning = "newest events it sees; 0 = all", .unit = "events"},
                    site.last, {.high = 60000});
                s.integer({.name = "rows",
                           .meaning = "V rows a candidate reads (top-k); 0 = all it sees"},
                          site.rows, {.high = 120000});
                s.integer({.name = "layers", .meaning = "copies, each with its own K and V"},
                          site.layers, {.low = 1, .high = 128});
            });
        });
    v.list({.name = "tower", .meaning = "widths of the scoring network"}, model.tower,
           {.fewest = 1, .most = 16}, [](KeyVisitor& inner, Key const& key, std::uint32_t& width) {
               inner.integer(key, width, {.low = 1, .high = 65536});
           });
}

void describe_arm(KeyVisitor& v, FleetArm& arm) {
    v.text({.name = "name", .meaning = "name in reports", .required = true}, arm.name,
           {.shortest = 1, .longest = 64, .name = true});
    auto& k = arm.keeping;
    bool const known = v.choice<Keeping>({.name = "keeping",
                                          .meaning = "what is kept of a history between requests",
                                          .required = true},
                                         k.keeping, kKeepings);
    bool const pools =
        !known || k.keeping == Keeping::collective || k.keeping == Keeping::collective_item;
    v.choice<StoredType>({.name = "type",
                          .meaning = "of stored K, V, pools and tables; int8 only "
                                     "for full (with an fp16 scale and zero a row)"},
                         k.type, kTypes);
    std::string const condition = "keeping = collective or collective_item";
    v.integer({.name = "d_u",
               .meaning = "user-specific values per token and side",
               .unit = "values",
               .applies = pools,
               .only_if = condition},
              k.d_u, {.high = 8191});
    v.integer({.name = "m",
               .meaning = "pool rows per side and layer",
               .unit = "rows",
               .applies = pools,
               .only_if = condition},
              k.m, {.low = 1, .high = 1U << 28});
    v.integer({.name = "index_bytes",
               .meaning = "stored width of a pool index",
               .unit = "bytes",
               .applies = pools,
               .only_if = condition},
              k.index_bytes, {.only = {1, 2, 4}});
}

void describe_users(KeyVisitor& v, FleetParams& p) {
    v.object({.name = "activity", .meaning = "how unequal users' request rates are"},
             [&](KeyVisitor& a) {
                 a.real({.name = "sigma",
                         .meaning = "of the log of a user's rate (log-normal); 0 = all alike"},
                        p.activity.sigma, {.low = 0, .high = 4});
                 a.integer({.name = "classes", .meaning = "classes of equally active users"},
                           p.activity.classes, {.low = 1, .high = 200});
             });
    v.object({.name = "history", .meaning = "events recorded before the run (log-normal)"},
             [&](KeyVisitor& h) {
                 h.real({.name = "median", .meaning = "median length", .unit = "events"},
                        p.history.median, {.low = 1, .high = 60000});
                 h.real({.name = "sigma", .meaning = "of the log of the length"}, p.history.sigma,
                        {.low = 0, .high = 4});
                 h.integer({.name = "shortest", .meaning = "cut below", .unit = "events"},
                           p.history.shortest, {.high = 60000});
                 h.integer({.name = "longest", .meaning = "cut above", .unit = "events"},
                           p.history.longest, {.low = 1, .high = 60000});
             });
}

void describe_traffic(KeyVisitor& v, FleetStudy& study) {
    auto& t = study.fleet.traffic;
    v.real({.name = "requests_per_second",
            .meaning = "mean rate of the whole fleet",
            .unit = "1/s",
            .required = true},
           t.requests_per_second, kPositive);
    v.real({.name = "requests",
            .meaning = "expected requests simulated at every point, warm-up included; the virtual "
                       "time follows",
            .unit = "requests"},
           study.requests, {.low = 100, .high = 1e11});
    v.real({.name = "warmup_share", .meaning = "first part of them, served and not measured"},
           study.warmup_share, kShare);
    v.real({.name = "least_slos",
            .meaning = "a point whose requests would be over sooner gets more of them, until it "
                       "lasts so many times slo_ms: an overload takes that long to show"},
           study.least_slos, {.low = 0, .high = 1e4});
    v.real({.name = "revisit_probability",
            .meaning = "share of requests whose user was here a moment ago (a session goes on)"},
           t.revisit_probability, kShare);
    v.integer({.name = "revisit_window", .meaning = "... among the node's last so many requests"},
              t.revisit_window, {.low = 1, .high = 1U << 20});
    v.real({.name = "events_per_request",
            .meaning = "mean of the events added to a history between two requests (geometric)",
            .unit = "events"},
           t.events_per_request, {.low = 0, .high = 1000});
    describe_shape(v, t.shape, true, "");
}

void describe_tiers(KeyVisitor& v, FleetStudy& study) {
    auto& t = study.tiers;
    auto& b = study.budget;
    v.choice<EvictionPolicy>({.name = "policy", .meaning = "who leaves a full tier"}, t.policy,
                             kPolicies);
    v.choice<Admission>(
        {.name = "admission",
         .meaning = "who gets into GPU memory: every served entry, or only one that "
                    "a tier below already held"},
        t.admission, kAdmissions);
    v.boolean({.name = "inclusive",
               .meaning = "host memory keeps a copy of what the GPUs hold: it is written as "
                          "entries are made and appended to, and leaving GPU memory costs no "
                          "transfer"},
              t.inclusive);
    v.real({.name = "ttl_s",
            .meaning = "entries not used for so long are gone; 0 = no limit",
            .unit = "s"},
           t.ttl_s, {.low = 0, .high = 2e6});
    v.boolean({.name = "dram", .meaning = "entries may live in host memory"}, b.dram_tier);
    v.boolean({.name = "nvme", .meaning = "entries may live on local flash"}, b.nvme_tier);
    v.integer({.name = "hbm_bytes",
               .meaning = "most of a GPU's memory for entries; 0 = what is left",
               .unit = "bytes"},
              t.hbm_bytes, {});
    v.integer({.name = "dram_bytes",
               .meaning = "most of a node's host memory for entries; 0 = what is left",
               .unit = "bytes"},
              t.dram_bytes, {});
    v.integer({.name = "nvme_bytes",
               .meaning = "most of a node's flash for entries; 0 = all",
               .unit = "bytes"},
              t.nvme_bytes, {});
    v.real(
        {.name = "hbm_reserve", .meaning = "share of GPU memory for activations and the runtime"},
        b.hbm_reserve, kShare);
    v.real({.name = "hbm_table_share",
            .meaning = "most of the remaining GPU memory that shared tables may take"},
           b.hbm_table_share, kShare);
    v.real({.name = "dram_reserve", .meaning = "share of host memory for the system"},
           b.dram_reserve, kShare);
    v.real({.name = "dram_table_share",
            .meaning = "most of the remaining host memory that shared tables may take"},
           b.dram_table_share, kShare);
    v.real({.name = "item_zipf", .meaning = "exponent of the popularity of table rows"},
           b.item_zipf, {.low = 0, .high = 3});
}

void describe_sweep(KeyVisitor& v, FleetSweep& sweep) {
    auto const reals = [&](char const* name, char const* meaning, char const* unit,
                           std::vector<double>& values, RealRange const& range) {
        v.list({.name = name, .meaning = meaning, .unit = unit}, values,
               {.most = 100, .unique = true},
               [range](KeyVisitor& inner, Key const& key, double& value) {
                   inner.real(key, value, range);
               });
    };
    auto const integers = [&](char const* name, char const* meaning,
                              std::vector<std::uint32_t>& values, IntegerRange const& range) {
        v.list({.name = name, .meaning = meaning}, values, {.most = 100, .unique = true},
               [range](KeyVisitor& inner, Key const& key, std::uint32_t& value) {
                   inner.integer(key, value, range);
               });
    };
    reals("requests_per_second", "loads", "1/s", sweep.requests_per_second, kPositive);
    reals("users", "populations", "users", sweep.users, {.low = 1, .high = 1e10});
    integers("nodes", "fleet sizes", sweep.nodes, {.low = 1, .high = 65536});
    reals("catalogue_items", "catalogue sizes V", "items", sweep.catalogue_items,
          {.low = 1, .high = 1e12});
    integers("candidates", "candidates C of a request", sweep.candidates,
             {.low = 1, .high = 65536});
    v.list({.name = "tiers", .meaning = "tiers that entries may use"}, sweep.tiers,
           {.most = 3, .unique = true}, [](KeyVisitor& inner, Key const& key, FleetTiers& value) {
               inner.choice<FleetTiers>(key, value, kTiers);
           });
    reals("efficiency", "share of nominal rates that devices reach", "", sweep.efficiency,
          {.low = 0, .high = 1, .above_low = true});
    v.list({.name = "policies", .meaning = "eviction policies"}, sweep.policies,
           {.most = 6, .unique = true},
           [](KeyVisitor& inner, Key const& key, EvictionPolicy& value) {
               inner.choice<EvictionPolicy>(key, value, kPolicies);
           });
    v.list({.name = "routing", .meaning = "kinds of routing"}, sweep.routing,
           {.most = 5, .unique = true}, [](KeyVisitor& inner, Key const& key, RoutingKind& value) {
               inner.choice<RoutingKind>(key, value, kRoutings);
           });
}

void describe_routing(KeyVisitor& v, RoutingParams& r) {
    bool const known = v.choice<RoutingKind>(
        {.name = "kind", .meaning = "which node serves a request"}, r.kind, kRoutings);
    v.real({.name = "window_ms",
            .meaning = "age of the load that routers see, and of the exchange "
                       "between nodes",
            .unit = "ms",
            .applies = !known || r.kind != RoutingKind::home,
            .only_if = "kind is not home"},
           r.window_ms, {.low = 0.1, .high = 60000});
    v.real({.name = "slack",
            .meaning = "load above the mean that a node may have",
            .applies = !known || r.kind == RoutingKind::bounded_loads,
            .only_if = "kind = bounded_loads"},
           r.slack, {.low = 0, .high = 100});
    v.real({.name = "spill_ms",
            .meaning = "backlog per GPU from which a user leaves home",
            .unit = "ms",
            .applies = !known || r.kind == RoutingKind::spill_over,
            .only_if = "kind = spill_over"},
           r.spill_ms, {.low = 0, .high = 60000});
}

void describe_fleet(KeyVisitor& v, FleetStudy& study) {
    auto& p = study.fleet;
    v.integer({.name = "users", .meaning = "users of the fleet", .unit = "users", .required = true},
              p.users, {.low = 1, .high = kMostUsers});
    v.integer({.name = "nodes", .meaning = "GPU servers", .unit = "nodes", .required = true},
              p.nodes, {.low = 1, .high = 65536});
    v.integer({.name = "sampled_nodes",
               .meaning = "simulate only so many of the nodes, with all their users and requests; "
                          "0 = all",
               .unit = "nodes"},
              p.sampled_nodes, {.high = 65536});
    v.object({.name = "routing", .meaning = "which node serves a request"},
             [&](KeyVisitor& r) { describe_routing(r, p.routing); });
    v.object({.name = "batching", .meaning = "dynamic batches of a GPU"}, [&](KeyVisitor& b) {
        b.integer({.name = "max_batch", .meaning = "requests of a full batch"},
                  study.batching.max_batch, {.low = 1, .high = 65536});
        b.real({.name = "max_wait_us",
                .meaning = "longest wait of a batch's first request",
                .unit = "us"},
               study.batching.max_wait_us, {.low = 0, .high = 1e7});
        b.integer({.name = "max_queue", .meaning = "requests waiting at a GPU; more are shed"},
                  study.batching.max_queue, {.low = 1, .high = 1U << 24});
        b.real(
            {.name = "fetch_patience_ms",
             .meaning = "an entry in host memory or on flash that would take longer to arrive is "
                        "made from ids instead; 0 = always waited for",
             .unit = "ms"},
            study.batching.fetch_patience_ms, {.low = 0, .high = 1e6});
    });
    v.object({.name = "tiers", .meaning = "where entries live"},
             [&](KeyVisitor& t) { describe_tiers(t, study); });
    v.choice<StartState>(
        {.name = "start", .meaning = "caches at the start: as after a long time, or empty"},
        p.start, kStarts);
    v.real({.name = "slo_ms",
            .meaning = "answers within it are good; the limit of p99 in a search",
            .unit = "ms"},
           p.slo_ms, kPositive);
    v.real({.name = "prefetch_lead_ms",
            .meaning = "a session's first request is announced so long before; its entry is "
                       "fetched then",
            .unit = "ms"},
           p.prefetch_lead_ms, {.low = 0, .high = 60000});
}

}  // namespace

std::string to_string(FleetTiers tiers) { return name_of(kTiers, tiers); }
std::string to_string(FleetSearch search) { return name_of(kSearches, search); }

void describe(KeyVisitor& v, FleetStudy& study) {
    v.ignored({.name = "$schema", .meaning = "for editors; ignored"});
    auto version = static_cast<std::uint32_t>(study.schema_version);
    v.integer({.name = "schema_version", .meaning = "version of this layout", .required = true},
              version, {.low = 1, .high = 1});
    study.schema_version = static_cast<int>(version);
    auto kind = StudyKind::fleet;
    v.choice<StudyKind>(
        {.name = "study", .meaning = "tells this layout from a spec", .required = true}, kind,
        kStudyKinds);
    v.text({.name = "name", .meaning = "names the report", .required = true}, study.name,
           {.shortest = 1, .longest = 64, .name = true});
    v.text({.name = "description", .meaning = "what the study is about, in words"},
           study.description, {.longest = 8192});
    v.integer({.name = "seed", .meaning = "of users, traffic and service times"}, study.fleet.seed,
              {});
    v.object({.name = "users", .meaning = "who they are"},
             [&](KeyVisitor& inner) { describe_users(inner, study.fleet); });
    v.object({.name = "traffic", .meaning = "their requests", .required = true},
             [&](KeyVisitor& inner) { describe_traffic(inner, study); });
    v.real({.name = "catalogue_items",
            .meaning = "items V: rows of embeddings and item tables",
            .unit = "items"},
           study.catalogue_items, {.low = 1, .high = 1e12});
    v.integer({.name = "candidates", .meaning = "candidates C of a request"}, study.candidates,
              {.low = 1, .high = 65536});
    v.list({.name = "models", .meaning = "shapes that are served", .required = true}, study.models,
           {.fewest = 1, .most = 16}, [](KeyVisitor& inner, Key const& key, ServingModel& model) {
               inner.object(key, [&](KeyVisitor& m) { describe_model(m, model); });
           });
    v.list({.name = "strategies", .meaning = "ways of keeping histories", .required = true},
           study.strategies, {.fewest = 1, .most = 100},
           [](KeyVisitor& inner, Key const& key, FleetArm& arm) {
               inner.object(key, [&](KeyVisitor& a) { describe_arm(a, arm); });
           });
    v.object({.name = "fleet", .meaning = "nodes, tiers, routing", .required = true},
             [&](KeyVisitor& inner) { describe_fleet(inner, study); });
    describe_events(v, study.fleet.events);
    v.object({.name = "sweep", .meaning = "axes; the points are their product"},
             [&](KeyVisitor& inner) { describe_sweep(inner, study.sweep); });
    v.choice<FleetSearch>({.name = "search", .meaning = "what to look for at every point"},
                          study.search, kSearches);
    v.real(
        {.name = "shed_limit", .meaning = "share of requests that a load within the SLO may shed"},
        study.shed_limit, kShare);
    v.object(
        {.name = "files", .meaning = "inputs and output", .required = true}, [&](KeyVisitor& f) {
            f.text({.name = "platform",
                    .meaning = "platform file of the nodes",
                    .unit = "path",
                    .required = true},
                   study.platform_path, {.shortest = 1});
            f.text({.name = "noise",
                    .meaning = "calibrated platform file: service times vary like its measured "
                               "decode times; empty: no variability",
                    .unit = "path"},
                   study.noise_path, {});
            f.text({.name = "output",
                    .meaning = "report file; empty: results/local/<name>.h5",
                    .unit = "path"},
                   study.output, {});
        });
}

}  // namespace ckvsim::config
