// Training in parts must be training as a whole, whatever carries the messages: run by threads
// (tests/unit/train_torch) and by MPI (tests/mpi). Every rank calls these and compares with what it
// computes alone.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/archive.hpp"
#include "core/hash.hpp"
#include "planted_samples.hpp"
#include "temporary_folder.hpp"
#include "train/batch.hpp"
#include "train/sim_network.hpp"
#include "train/team.hpp"

namespace ckvsim::test {

struct DataParallelCase {
    train::Model model = train::Model::sim;
    train::VariantSpec variant;
};

inline std::vector<DataParallelCase> data_parallel_cases() {
    using train::Kind;
    using train::Model;
    using train::Scope;
    std::vector<DataParallelCase> cases;
    for (auto const model : {Model::sim, Model::twin, Model::eta, Model::sdim, Model::hstu}) {
        auto const widest = model == Model::sdim ? Scope::released : Scope::all;
        cases.push_back({model, {Kind::full, widest, 0, 0, "full"}});
        cases.push_back({model, {Kind::collective, widest, 1, 16, "collective_d1"}});
        cases.push_back({model, {Kind::collective, widest, 0, 7, "collective_d0"}});
    }
    cases.push_back({Model::sim, {Kind::collective, Scope::released, 2, 5, "collective_released"}});
    for (auto const model : {Model::sim, Model::hstu}) {
        cases.push_back({model, {Kind::collective, Scope::all, 1, 16, "collective_distil"}});
        cases.back().variant.teacher = train::Teacher::full;
    }
    cases.push_back({Model::sim, {Kind::mean_pool, Scope::released, 0, 0, "mean_pool"}});
    cases.push_back({Model::sim, {Kind::no_history, Scope::released, 0, 0, "no_history"}});
    return cases;
}

inline std::string name_of(DataParallelCase const& of) {
    return train::to_string(of.model) + "_" + of.variant.stem;
}

/// With a weight and a temperature for a variant with a teacher.
inline train::Samples samples_for(train::Model model, train::VariantSpec const& variant = {}) {
    TemporaryFolder const folder;
    PlantedSamples planted;
    planted.set_model(train::to_string(model));
    planted.file().write(folder.path("a.ckvt"));
    auto samples = train::read_samples(folder.path("a.ckvt"));
    if (variant.has_teacher()) {
        samples.schedule.distil_weight = 0.6;
        samples.schedule.distil_temperature = 2.0;
    }
    return samples;
}

inline double total_of(train::StepLosses const& losses, train::Schedule const& schedule) {
    double const taught = schedule.distil_weight;  // 0 in the planted samples, who have no teacher
    return (1 - taught) * losses.click + taught * losses.distil + losses.search +
           schedule.peak_weight * losses.peak + schedule.balance_weight * losses.balance;
}

/// What products of other shapes may round otherwise, of the objective; a gradient ten times that.
/// Norms of HSTU's small attention outputs bend sharply: seen 1.7e-6 with the BLAS of PyTorch's
/// wheels, below 1e-6 with OpenBLAS.
inline double tolerance_of(train::Model model) { return model == train::Model::hstu ? 5e-6 : 1e-6; }

/// Terms of the objective to `tolerance` of the objective.
inline void expect_same_losses(train::StepLosses const& part, train::StepLosses const& whole,
                               train::Schedule const& schedule, double tolerance,
                               std::string const& where) {
    double const scale = tolerance * std::max(1.0, std::abs(total_of(whole, schedule)));
    EXPECT_NEAR(total_of(part, schedule), total_of(whole, schedule), scale) << where;
    EXPECT_NEAR(part.click, whole.click, scale) << where;
    EXPECT_NEAR(part.distil, whole.distil, scale * std::max(1.0, whole.distil)) << where;
    EXPECT_NEAR(part.search, whole.search, scale) << where;
    EXPECT_NEAR(part.peak, whole.peak, scale * std::max(1.0, whole.peak)) << where;
    EXPECT_NEAR(part.balance, whole.balance, scale) << where;
}

/// Both networks take all steps of an epoch together: the second on this rank's parts.
class SideBySide {
  public:
    SideBySide(train::Team& team, DataParallelCase const& of, train::Compute const& compute = {})
        : team_(team),
          samples_(samples_for(of.model, of.variant)),
          builder_(samples_),
          alone_(samples_, of.variant, 1, compute),
          shared_(samples_, of.variant, 1, team, compute),
          has_teacher_(of.variant.has_teacher()),
          tolerance_(tolerance_of(of.model)),
          name_(name_of(of)) {}

    /// Equal weights: objective and gradients of batches of which some ranks have no token, or no
    /// sample.
    void compare_gradients() {
        take_steps(25, [](auto const&, auto const&, auto const&) {});
        shared_.restore(alone_.snapshot());
        // Samples 0 to 3 are of a user without a history.
        for (auto const& [first, size] :
             {std::pair{0U, 3U}, {3U, 2U}, {0U, 8U}, {64U, 1U}, {100U, 64U}}) {
            std::vector<std::uint32_t> rows(size);
            std::iota(rows.begin(), rows.end(), first);
            auto const where =
                name_ + ", " + std::to_string(size) + " samples from " + std::to_string(first);
            std::map<std::string, std::vector<float>> whole;
            std::map<std::string, std::vector<float>> parts;
            build(rows, {0, size});
            auto const expected = alone_.gradients(batch_, whole);
            build(rows, team_.slice_of(size));
            auto const losses = shared_.gradients(batch_, parts);
            expect_same_losses(losses, expected, samples_.schedule, tolerance_, where);
            ASSERT_EQ(parts.size(), whole.size()) << where;
            for (auto const& [name, gradient] : whole)
                compare(gradient, parts.at(name), 10 * tolerance_, where + ", " + name);
        }
    }

    /// Losses of every step, both from equal weights and moments.
    void compare_steps(std::size_t steps, double tolerance) {
        for (std::size_t step = 0; step < steps; ++step) {
            ByteBuffer state;
            alone_.save_state(state);
            ByteView source(state.bytes);
            shared_.load_state(source);
            take_steps(1, [&](auto const& expected, auto const& losses, std::size_t) {
                double const whole = total_of(expected, samples_.schedule);
                EXPECT_NEAR(total_of(losses, samples_.schedule), whole, tolerance * whole)
                    << name_ << ", step " << step;
            });
        }
    }

    /// Each on its own way from the same start: losses of every step, and the same bits on all
    /// ranks at the end.
    void compare_curves(std::size_t steps, double tolerance) {
        double worst = 0;
        auto const at_start = digest_of(shared_);
        take_steps(steps, [&](auto const& expected, auto const& losses, std::size_t step) {
            double const whole = total_of(expected, samples_.schedule);
            double const off = std::abs(total_of(losses, samples_.schedule) - whole) / whole;
            worst = std::max(worst, off);
            EXPECT_LE(off, tolerance) << name_ << ", step " << step;
        });
        if (team_.is_root()) {
            std::printf("%s: losses of %zu steps differ by at most %.2g\n", name_.c_str(), steps,
                        worst);
        }
        auto const digest = digest_of(shared_);
        EXPECT_NE(digest, at_start) << name_;
        team_.require_equal(digest, ExitCode::internal, "weights of " + name_, "");
    }

  private:
    static std::uint64_t digest_of(train::SimNetwork const& network) {
        std::uint64_t digest = 0;
        for (auto const& values : network.snapshot())
            digest = hash_span(std::span<float const>(values), digest);
        return digest;
    }

    /// With a made-up teacher, where the variant has one.
    void build(std::span<std::uint32_t const> rows, train::Slice const& part) {
        builder_.build_part(samples_.train, rows, part, batch_);
        if (!has_teacher_) return;
        for (auto const sample : rows.subspan(part.begin, part.size))
            batch_.teacher.push_back(4.0F * std::sin(static_cast<float>(sample)));
    }

    template <class Action>
    void take_steps(std::size_t steps, Action const& action) {
        auto const order = train::epoch_order(samples_.train.size(), 1, 1);
        for (std::size_t step = 0; step < steps; ++step, ++taken_) {
            std::size_t const at = taken_ * 64 % (order.size() / 64 * 64);
            auto const rows = std::span(order).subspan(at, 64);
            build(rows, {0, rows.size()});
            auto const expected = alone_.train_step(batch_);
            build(rows, team_.slice_of(64));
            action(expected, shared_.train_step(batch_), step);
        }
    }

    static void compare(std::vector<float> const& whole, std::vector<float> const& parts,
                        double tolerance, std::string const& where) {
        ASSERT_EQ(parts.size(), whole.size()) << where;
        double scale = 0;
        for (auto const g : whole) scale = std::max(scale, std::abs(double{g}));
        for (std::size_t i = 0; i < whole.size(); ++i)
            ASSERT_NEAR(parts[i], whole[i], 1e-7 + tolerance * scale) << where << " " << i;
    }

    train::Team& team_;
    train::Samples samples_;
    train::BatchBuilder builder_;
    train::SimNetwork alone_;
    train::SimNetwork shared_;
    train::Batch batch_;
    bool has_teacher_;
    double tolerance_;
    std::string name_;
    std::size_t taken_ = 0;
};

}  // namespace ckvsim::test
