// Keys of traffic.
#include "config/spec_key_parts.hpp"
#include "config/spec_keys.hpp"

namespace ckvsim::config {

namespace {

constexpr RealRange kShare = {.low = 0, .high = 1};
constexpr RealRange kSeconds = {.low = 0, .high = 1e7, .above_low = true};
constexpr double kMostMultiplied = 1e4;

constexpr std::pair<workload::ArrivalKind, char const*> kArrivals[] = {
    {workload::ArrivalKind::poisson, "poisson"},
    {workload::ArrivalKind::original, "original"},
    {workload::ArrivalKind::recorded, "recorded"}};

void describe_diurnal(KeyVisitor& v, workload::DiurnalParams& diurnal) {
    bool const known =
        v.real({.name = "amplitude",
                .meaning = "0 = off; the quietest hour has the rate 1 - amplitude, the busiest "
                           "1 + 0.604 amplitude; KuaiRand-Pure shows 0.82"},
               diurnal.amplitude, kShare);
    bool const on = !known || diurnal.amplitude > 0.0;
    std::string const if_on = "amplitude > 0";
    v.real({.name = "start_hour",
            .meaning = "UTC hour of the day at second 0: places a short run, for example at 20.7 "
                       "for the peak of a single zone",
            .unit = "h",
            .applies = on,
            .only_if = if_on},
           diurnal.start_hour, {.low = 0, .high = 24, .below_high = true});
    v.real({.name = "day_s",
            .meaning = "seconds of traffic that make a day; below 86400 the day is compressed",
            .unit = "s",
            .applies = on,
            .only_if = if_on},
           diurnal.day_s, kSeconds);
    v.list({.name = "zones",
            .meaning = "where the users live; empty: all at UTC",
            .applies = on,
            .only_if = if_on},
           diurnal.zones, {.most = 40},
           [](KeyVisitor& inner, Key const& key, workload::TimeZoneShare& zone) {
               inner.object(key, [&](KeyVisitor& members) {
                   members.real({.name = "utc_offset_h",
                                 .meaning = "local time minus UTC",
                                 .unit = "h",
                                 .required = true},
                                zone.utc_offset_h, {.low = -12, .high = 14});
                   members.real({.name = "share",
                                 .meaning = "share of the users; all shares add up to 1",
                                 .required = true},
                                zone.share, {.low = 0, .high = 1, .above_low = true});
               });
           });
}

void describe_bursts(KeyVisitor& v, workload::BurstParams& bursts) {
    bool const known = v.real(
        {.name = "multiplier",
         .meaning = "rate within a burst over the rate in a gap, the mean unchanged; 1 = off"},
        bursts.multiplier, {.low = 1, .high = kMostMultiplied});
    bool const on = !known || bursts.multiplier > 1.0;
    std::string const if_on = "multiplier > 1";
    v.real({.name = "mean_burst_s",
            .meaning = "mean length of a burst",
            .unit = "s",
            .applies = on,
            .only_if = if_on},
           bursts.mean_burst_s, kSeconds);
    v.real({.name = "mean_gap_s",
            .meaning = "mean length between bursts",
            .unit = "s",
            .applies = on,
            .only_if = if_on},
           bursts.mean_gap_s, kSeconds);
}

void describe_flash_crowd(KeyVisitor& v, workload::FlashCrowd& crowd) {
    v.real({.name = "start_s", .meaning = "first second", .unit = "s", .required = true},
           crowd.start_s, {.low = 0, .high = 1e7});
    v.real({.name = "duration_s", .meaning = "length", .unit = "s", .required = true},
           crowd.duration_s, kSeconds);
    v.real({.name = "multiplier",
            .meaning = "all requests over those without the crowd, while it lasts",
            .required = true},
           crowd.multiplier, {.low = 1, .high = kMostMultiplied, .above_low = true});
    v.real({.name = "user_share",
            .meaning = "share of the users that the extra requests come from; hashed",
            .required = true},
           crowd.user_share, {.low = 0, .high = 1, .above_low = true});
}

}  // namespace

void describe_shape(KeyVisitor& v, workload::ArrivalShape& shape, bool applies,
                    std::string const& only_if) {
    v.object({.name = "diurnal",
              .meaning = "time of day: the hourly rates of a short-video service",
              .applies = applies,
              .only_if = only_if},
             [&](KeyVisitor& inner) { describe_diurnal(inner, shape.diurnal); });
    v.object({.name = "bursts",
              .meaning = "bursts common to all users, of exponential lengths",
              .applies = applies,
              .only_if = only_if},
             [&](KeyVisitor& inner) { describe_bursts(inner, shape.bursts); });
    v.list({.name = "flash_crowds",
            .meaning = "extra requests that come from a hashed share of the users for a while",
            .applies = applies,
            .only_if = only_if},
           shape.flash_crowds, {.most = 100},
           [](KeyVisitor& inner, Key const& key, workload::FlashCrowd& crowd) {
               inner.object(key,
                            [&](KeyVisitor& members) { describe_flash_crowd(members, crowd); });
           });
}

void describe_traffic(KeyVisitor& v, workload::TrafficParams& traffic) {
    bool const known = v.choice<workload::ArrivalKind>(
        {.name = "kind",
         .meaning = "open-loop arrivals: Poisson (constant, or shaped by diurnal, bursts and "
                    "flash_crowds), a dataset's test impressions at their own times, or a "
                    "recorded file of requests (sim/docs/traffic.md)"},
        traffic.kind, kArrivals);
    bool const poisson = !known || traffic.kind == workload::ArrivalKind::poisson;
    bool const recorded = !known || traffic.kind == workload::ArrivalKind::recorded;
    bool const timed = !known || traffic.kind != workload::ArrivalKind::poisson;
    std::string const if_poisson = "kind = poisson";
    v.real({.name = "requests_per_second",
            .meaning = "mean rate over all nodes: over a day where diurnal, over bursts and gaps; "
                       "flash crowds come on top",
            .unit = "requests/s",
            .applies = poisson,
            .only_if = if_poisson},
           traffic.requests_per_second, {.low = 0, .high = 1e9, .above_low = true});
    v.real({.name = "duration_s",
            .meaning = "seconds of traffic",
            .unit = "s",
            .applies = poisson,
            .only_if = if_poisson},
           traffic.duration_s, {.low = 0, .high = 1e7, .above_low = true});
    v.text(
        {.name = "path",
         .meaning = "file of `ckvsim run --record-requests`, of which executed takes the executed "
                    "run's requests and simulated the fleet's, or CSV with the columns "
                    "time_s,user[,candidates]",
         .unit = "path",
         .required = known && recorded,
         .applies = recorded,
         .only_if = "kind = recorded"},
        traffic.path, {.shortest = 1});
    v.real({.name = "speed_factor",
            .meaning = "original or recorded times are divided by this",
            .applies = timed,
            .only_if = "kind = original or recorded"},
           traffic.speed_factor, {.low = 0, .high = 1e9, .above_low = true});
    v.integer({.name = "candidates",
               .meaning = "candidates C of a request",
               .applies = poisson,
               .only_if = if_poisson},
              traffic.candidates, {.low = 1, .high = 65536});
    v.real({.name = "activity_sigma",
            .meaning = "log-normal spread of user activity",
            .applies = poisson,
            .only_if = if_poisson},
           traffic.activity_sigma, {.low = 0, .high = 10});
    v.real({.name = "revisit_probability",
            .meaning = "a request is a short return of a recent user of its shard",
            .applies = poisson,
            .only_if = if_poisson},
           traffic.revisit_probability, kShare);
    v.integer({.name = "revisit_window",
               .meaning = "... chosen among the shard's last so many requests, geometrically",
               .unit = "requests",
               .applies = poisson,
               .only_if = if_poisson},
              traffic.revisit_window, {.low = 1, .high = 1'000'000});
    describe_shape(v, traffic.shape, poisson, if_poisson);
}

}  // namespace ckvsim::config
