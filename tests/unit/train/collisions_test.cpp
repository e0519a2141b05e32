#include "train/collisions.hpp"

#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <tuple>

#include "core/error.hpp"
#include "core/rng.hpp"

namespace ckvsim::train {
namespace {

std::vector<float> normal(std::size_t size, std::uint64_t stream) {
    CounterRng rng(5, Purpose::test, stream);
    std::vector<float> values(size);
    for (float& value : values) value = static_cast<float>(rng.normal());
    return values;
}

/// Seven rows, three hashes of two bits, lists with and without repeats and collisions.
struct Problem {
    static constexpr std::size_t kWidth = 5;
    static constexpr std::size_t kHashes = 3;
    Ragged tokens;
    Collisions collisions;
    std::vector<float> table = normal(7 * kWidth, 1);
    std::vector<float> grad_out;

    Problem() {
        for (auto const& list : std::vector<std::vector<std::uint32_t>>{
                 {0, 1, 1, 4}, {}, {3}, {2, 2, 2, 0, 1, 4, 3}, {5, 0, 2}}) {
            tokens.rows.insert(tokens.rows.end(), list.begin(), list.end());
            tokens.close_list();
        }
        collisions.hashes = kHashes;
        collisions.candidates = {1, 0, 3, 6, 6};
        // Row 6 is a candidate alone; row 5 meets nobody.
        collisions.buckets = {0,      1, 2, /**/ 0, 3, 2, /**/ 1, 1, 0, /**/ 3, 3, 3,
                              /**/ 0, 1, 0, /**/ 2, 2, 1, /**/ 1, 1, 3};
        collisions.tokens = &tokens;
        grad_out = normal(tokens.lists() * kWidth, 2);
    }
    Problem(Problem const&) = delete;
    Problem& operator=(Problem const&) = delete;

    /// The definition in double precision; returns sum(out * grad_out).
    double objective(std::vector<double>* out = nullptr) const {
        double total = 0;
        for (std::size_t b = 0; b < tokens.lists(); ++b) {
            std::vector<double> mean(kWidth, 0.0);
            for (std::size_t h = 0; h < kHashes; ++h) {
                auto const bucket = [&](std::size_t row) {
                    return collisions.buckets[row * kHashes + h];
                };
                auto const wanted = bucket(static_cast<std::size_t>(collisions.candidates[b]));
                std::vector<double> sum(kWidth, 0.0);
                for (auto const row : tokens.list(b)) {
                    if (bucket(row) != wanted) continue;
                    for (std::size_t i = 0; i < kWidth; ++i) sum[i] += table[row * kWidth + i];
                }
                double square = 0;
                for (auto const x : sum) square += x * x;
                double const length = std::max(std::sqrt(square), kShortestSum);
                for (std::size_t i = 0; i < kWidth; ++i) mean[i] += sum[i] / length / kHashes;
            }
            for (std::size_t i = 0; i < kWidth; ++i) {
                total += mean[i] * grad_out[b * kWidth + i];
                if (out != nullptr) out->push_back(mean[i]);
            }
        }
        return total;
    }
    [[nodiscard]] std::vector<float> forward() const {
        std::vector<float> out(grad_out.size(), 7.0F);
        collision_means_forward(collisions, kWidth, table.data(), out.data());
        return out;
    }
    [[nodiscard]] std::vector<float> backward(float start = 0) const {
        std::vector<float> gradient(table.size(), start);
        collision_means_backward(collisions, kWidth, table.data(), grad_out.data(),
                                 gradient.data());
        return gradient;
    }
};

TEST(Collisions, MeansAreTheDefinition) {
    Problem const problem;
    std::vector<double> expected;
    problem.objective(&expected);
    auto const got = problem.forward();
    for (std::size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 1e-6) << i;
    for (std::size_t i = 0; i < Problem::kWidth; ++i)
        EXPECT_EQ(got[Problem::kWidth + i], 0.0F) << "the empty list";
}

TEST(Collisions, GradientsAreDifferenceQuotients) {
    Problem problem;
    auto const gradient = problem.backward();
    for (std::size_t i = 0; i < problem.table.size(); ++i) {
        float const kept = problem.table[i];
        constexpr float kStep = 1.0F / 1024;
        problem.table[i] = kept + kStep;
        double const high = problem.objective();
        problem.table[i] = kept - kStep;
        double const low = problem.objective();
        problem.table[i] = kept;
        EXPECT_NEAR(gradient[i], (high - low) / (2 * kStep), 2e-5) << i;
    }
    for (std::size_t i = 5 * Problem::kWidth; i < problem.table.size(); ++i)
        EXPECT_EQ(gradient[i], 0.0F) << "row 5 meets nobody, row 6 is a candidate alone";
}

TEST(Collisions, GradientsAreAdded) {
    Problem const problem;
    auto const gradient = problem.backward();
    auto const added = problem.backward(1.0F);
    for (std::size_t i = 0; i < gradient.size(); ++i)
        EXPECT_NEAR(added[i], 1.0F + gradient[i], 1e-6) << i;
}

/// Several blocks of samples in the backward pass, and lists long enough that order matters.
struct ManySamples {
    static constexpr std::size_t kRows = 200, kWidth = 48, kHashes = 64, kSamples = 700;
    std::vector<float> table = normal(kRows * kWidth, 3);
    std::vector<float> planes = normal(kHashes * 2 * kWidth, 4);
    std::vector<float> grad_out = normal(kSamples * kWidth, 6);
    Ragged tokens;
    std::vector<std::int64_t> candidates;

    ManySamples() {
        CounterRng rng(5, Purpose::test, 7);
        for (std::size_t b = 0; b < kSamples; ++b) {
            for (std::uint32_t j = rng.below(40); j > 0; --j)
                tokens.rows.push_back(rng.below(kRows));
            tokens.close_list();
            candidates.push_back(rng.below(kRows));
        }
    }
    [[nodiscard]] Collisions collisions() const {
        return {kHashes, buckets_of(kHashes, 2, kWidth, kRows, table.data(), planes.data()),
                candidates, &tokens};
    }
    [[nodiscard]] std::vector<float> gradient() const {
        std::vector<float> gradient(table.size(), 0.0F);
        collision_means_backward(collisions(), kWidth, table.data(), grad_out.data(),
                                 gradient.data());
        return gradient;
    }
};

TEST(Collisions, ResultsDoNotDependOnThreads) {
    ManySamples const many;
    auto const run = [&] {
        std::vector<float> out(many.grad_out.size());
        auto const collisions = many.collisions();
        collision_means_forward(collisions, ManySamples::kWidth, many.table.data(), out.data());
        return std::tuple{collisions.buckets, out, many.gradient()};
    };
    int const threads = omp_get_max_threads();
    omp_set_num_threads(1);
    auto const one = run();
    omp_set_num_threads(3);
    auto const three = run();
    omp_set_num_threads(threads);
    EXPECT_EQ(one, three);
}

TEST(Collisions, BatchesAreTheirSamplesOneByOne) {
    ManySamples const many;
    std::vector<float> added(many.table.size(), 0.0F);
    auto alone = many.collisions();
    for (std::size_t b = 0; b < ManySamples::kSamples; ++b) {
        Ragged tokens;
        auto const list = many.tokens.list(b);
        tokens.rows.assign(list.begin(), list.end());
        tokens.close_list();
        alone.candidates = {many.candidates[b]};
        alone.tokens = &tokens;
        collision_means_backward(alone, ManySamples::kWidth, many.table.data(),
                                 &many.grad_out[b * ManySamples::kWidth], added.data());
    }
    EXPECT_EQ(many.gradient(), added) << "sums in the same order";
}

// Sums that cancel, and rows that are zero: no direction, no gradient, nothing infinite.
TEST(Collisions, SumsWithoutADirectionAreZero) {
    Ragged tokens;
    tokens.rows = {0, 1, /**/ 2};
    tokens.offsets = {0, 2, 3};
    Collisions collisions;
    collisions.hashes = 1;
    collisions.buckets = {0, 0, 0};
    collisions.candidates = {0, 0};
    collisions.tokens = &tokens;
    std::vector<float> const table = {1.0F, -2.0F, -1.0F, 2.0F, 0.0F, 0.0F};
    std::vector<float> const grad_out(4, 1.0F);
    std::vector<float> out(4, 7.0F);
    std::vector<float> gradient(6, 0.0F);
    collision_means_forward(collisions, 2, table.data(), out.data());
    collision_means_backward(collisions, 2, table.data(), grad_out.data(), gradient.data());
    EXPECT_EQ(out, std::vector<float>(4, 0.0F));
    EXPECT_EQ(gradient, std::vector<float>(6, 0.0F));
}

TEST(Collisions, NeedACandidatePerList) {
    Problem problem;
    problem.collisions.candidates.pop_back();
    EXPECT_THROW(static_cast<void>(problem.forward()), InternalError);
    EXPECT_THROW(static_cast<void>(problem.backward()), InternalError);
}

TEST(Buckets, AreTheSidesOfTheirPlanes) {
    constexpr std::size_t kRows = 100, kWidth = 13, kHashes = 3, kBits = 5;
    auto table = normal(kRows * kWidth, 8);
    std::fill_n(table.begin(), kWidth, 0.0F);
    auto const planes = normal(kHashes * kBits * kWidth, 9);
    auto const buckets = buckets_of(kHashes, kBits, kWidth, kRows, table.data(), planes.data());
    ASSERT_EQ(buckets.size(), kRows * kHashes);
    std::set<std::uint8_t> seen;
    for (std::size_t row = 0; row < kRows; ++row) {
        for (std::size_t h = 0; h < kHashes; ++h) {
            unsigned expected = 0;
            for (std::size_t bit = 0; bit < kBits; ++bit) {
                double sum = 0;
                for (std::size_t i = 0; i < kWidth; ++i)
                    sum += double{planes[(h * kBits + bit) * kWidth + i]} * table[row * kWidth + i];
                expected |= (sum > 0 ? 1U : 0U) << bit;
            }
            EXPECT_EQ(buckets[row * kHashes + h], expected) << row << " " << h;
            seen.insert(buckets[row * kHashes + h]);
        }
    }
    EXPECT_EQ(buckets[0], 0U) << "zero is above no plane";
    EXPECT_GT(seen.size(), 20U);
}

// Rows in another order, and one of them alone: nothing of the batch is in an item's buckets.
TEST(Buckets, DependOnTheRowAlone) {
    constexpr std::size_t kRows = 37, kWidth = 24, kHashes = 16, kBits = 8;
    auto const table = normal(kRows * kWidth, 10);
    auto const planes = normal(kHashes * kBits * kWidth, 11);
    auto const all = buckets_of(kHashes, kBits, kWidth, kRows, table.data(), planes.data());
    for (std::size_t row = 0; row < kRows; ++row) {
        auto const own = buckets_of(kHashes, kBits, kWidth, 1, &table[row * kWidth], planes.data());
        EXPECT_TRUE(std::equal(own.begin(), own.end(), &all[row * kHashes])) << row;
    }
    EXPECT_THROW(buckets_of(1, 9, kWidth, 1, table.data(), planes.data()), InternalError);
}

}  // namespace
}  // namespace ckvsim::train
