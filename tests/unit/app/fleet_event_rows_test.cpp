// Recovery of a case whose series is made up: 60 s in 60 bins, 6 s of warm-up.
#include <gtest/gtest.h>

#include <cmath>

#include "app/fleet_rows.hpp"

namespace ckvsim::app {
namespace {

using fleet::EventClock;
using fleet::EventKind;
using fleet::FleetEvent;

void fill(fleet::PartCounts& bin, double hit_ratio, Nanoseconds latency_ns,
          std::uint64_t lost = 0) {
    bin = {};
    bin.requests = 2000;
    bin.lost = lost;
    bin.hits = static_cast<std::uint64_t>(hit_ratio * static_cast<double>(2000 - lost));
    bin.made_bytes = 100;
    for (std::uint64_t i = lost; i < 2000; ++i) bin.latency.add(latency_ns);
}

class FleetEventRows : public testing::Test {
  protected:
    FleetEventRows() {
        outcome_.duration_s = 60.0;
        outcome_.measured_s = 54.0;
        for (auto& bin : outcome_.result.series) fill(bin, 0.9, 1'000'000);
    }
    fleet::PartCounts& bin(std::size_t index) { return outcome_.result.series[index]; }
    void happens(EventKind kind, double at, double lasts) {
        FleetEvent event;
        event.kind = kind;
        event.clock = EventClock::seconds;
        event.at = at;
        event.duration = lasts;
        item_.fleet.events.push_back(event);
    }
    double real(char const* column) {
        metrics::Report report;
        report_events(report, item_, outcome_);
        auto const& table = report.table("fleet_events");
        auto const& columns = table.schema().columns;
        for (std::size_t c = 0; c < columns.size(); ++c)
            if (columns[c].name == column) return std::get<double>(table.rows().at(0)[c]);
        ADD_FAILURE() << "no column " << column;
        return 0.0;
    }

    FleetCase item_;
    FleetOutcome outcome_;
};

TEST_F(FleetEventRows, AnswersRecoverBeforeTheCachesAreFull) {
    happens(EventKind::refresh, 20.5, 0.0);
    for (std::size_t b = 20; b < 24; ++b) fill(bin(b), 0.5, 3'000'000);
    for (std::size_t b = 24; b < 30; ++b) fill(bin(b), 0.8, 1'000'000);
    bin(21).made_bytes = 1100;
    EXPECT_DOUBLE_EQ(real("recover_s"), 3.5);
    EXPECT_DOUBLE_EQ(real("refill_s"), 9.5);
    EXPECT_DOUBLE_EQ(real("hit_before"), 0.9);
    EXPECT_DOUBLE_EQ(real("hit_lowest"), 0.5);
    EXPECT_NEAR(real("p99_before_ns"), 1e6, 32000.0);
    EXPECT_NEAR(real("p99_worst_ns"), 3e6, 96000.0);
    EXPECT_NEAR(real("refill_bytes"), 1000.0, 1e-9);
}

TEST_F(FleetEventRows, ARelapseIsNoRecovery) {
    happens(EventKind::refresh, 20.0, 0.0);
    for (std::size_t const b : {20U, 23U, 26U}) fill(bin(b), 0.9, 3'000'000);
    EXPECT_DOUBLE_EQ(real("recover_s"), 7.0) << "two good bins in a row are not three";
}

TEST_F(FleetEventRows, NothingThatShowsIsRecoveredAtOnce) {
    happens(EventKind::slow, 20.0, 10.0);
    EXPECT_EQ(real("recover_s"), 0.0);
    EXPECT_EQ(real("refill_s"), 0.0);
    EXPECT_EQ(real("refill_bytes"), 0.0);
}

TEST_F(FleetEventRows, WhatIsLostCountsAsLongAsItIs) {
    happens(EventKind::crash, 20.0, 10.0);
    for (std::size_t b = 20; b < 30; ++b) fill(bin(b), 0.9, 1'000'000, 200);
    EXPECT_DOUBLE_EQ(real("recover_s"), 10.0);
}

TEST_F(FleetEventRows, WithoutARecoveryOrALevelBeforeItIsNotANumber) {
    happens(EventKind::refresh, 50.0, 0.0);
    for (std::size_t b = 50; b < 60; ++b) fill(bin(b), 0.2, 1'000'000);
    EXPECT_EQ(real("recover_s"), 0.0) << "answers are as fast as ever";
    EXPECT_TRUE(std::isnan(real("refill_s")));
    item_.fleet.events[0].at = 6.0;
    EXPECT_TRUE(std::isnan(real("recover_s"))) << "the warm-up is no level";
    EXPECT_TRUE(std::isnan(real("hit_before")));
}

}  // namespace
}  // namespace ckvsim::app
