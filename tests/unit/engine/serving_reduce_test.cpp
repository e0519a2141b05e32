#include <gtest/gtest.h>

#include "core/error.hpp"
#include "engine/serving.hpp"

namespace ckvsim::engine {
namespace {

ServingResult sample(std::uint64_t salt) {
    ServingResult r;
    r.requests = 10 + salt;
    r.warmup_requests = 1 + salt;
    r.hbm_hits = 2 + salt;
    r.dram_hits = 3 + salt;
    r.misses = 5 + salt;
    r.rejected = 6 + salt;
    r.evictions = 7 + salt;
    r.batches = 8 + salt;
    r.fetched_bytes = 9 + salt;
    r.prefilled_tokens = 11 + salt;
    r.span_ns = static_cast<std::int64_t>(1000 * salt);
    r.busy_ns = static_cast<std::int64_t>(20 + salt);
    r.decision_hash = 0xFFFFFFFF00000000ULL + salt * 0x1234567890ULL;
    for (std::size_t s = 0; s < kStages; ++s) {
        for (std::uint64_t i = 0; i < 5; ++i)
            r.latency[s].add(static_cast<Nanoseconds>((s + 1) * 1000 + i * salt));
    }
    return r;
}

void expect_equal(ServingResult const& a, ServingResult const& b) {
    EXPECT_EQ(sum_part(a), sum_part(b));
    EXPECT_EQ(max_part(a), max_part(b));
    EXPECT_EQ(a.decision_hash, b.decision_hash);
    EXPECT_EQ(a.busy_ns, b.busy_ns);
    for (std::size_t s = 0; s < kStages; ++s) {
        EXPECT_EQ(a.latency[s].serialise(), b.latency[s].serialise());
        EXPECT_EQ(a.latency[s].max_ns(), b.latency[s].max_ns());
    }
}

TEST(ServingReduce, FlatFormsRoundTrip) {
    auto const r = sample(3);
    auto const back = from_parts(sum_part(r), max_part(r));
    expect_equal(back, r);
    EXPECT_EQ(back.requests, r.requests);
    EXPECT_EQ(back.prefilled_tokens, r.prefilled_tokens);
    EXPECT_EQ(back.span_ns, r.span_ns);
    expect_equal(from_parts(sum_part({}), max_part({})), {});
}

TEST(ServingReduce, SummingFlatFormsIsMerging) {
    auto merged = sample(1);
    auto sums = sum_part(merged);
    auto maxima = max_part(merged);
    for (std::uint64_t const salt : {4U, 2U}) {
        auto const other = sample(salt);
        auto const s = sum_part(other);
        auto const m = max_part(other);
        for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += s[i];
        for (std::size_t i = 0; i < maxima.size(); ++i) maxima[i] = std::max(maxima[i], m[i]);
        merge(merged, other);
    }
    expect_equal(from_parts(sums, maxima), merged);
    EXPECT_EQ(merged.span_ns, 4000);
    EXPECT_EQ(merged.requests, 37U);
}

TEST(ServingReduce, RefusesForeignLengths) {
    auto sums = sum_part({});
    sums.pop_back();
    EXPECT_THROW(from_parts(sums, max_part({})), InternalError);
    EXPECT_THROW(from_parts(sum_part({}), {1}), InternalError);
}

TEST(ServingReduce, EveryStageHasItsName) {
    EXPECT_EQ(to_string(Stage::queue), "queue");
    EXPECT_EQ(to_string(Stage::total), "total");
    EXPECT_THROW(to_string(Stage::count_), InternalError);
}

}  // namespace
}  // namespace ckvsim::engine
