#include "config/spec.hpp"
#include "config/fleet_spec.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "core/atomic_file.hpp"
#include "core/error.hpp"
#include "core/rng.hpp"
#include "spec_cases.hpp"
#include "workload/synthetic.hpp"

namespace ckvsim::config {
namespace {

std::filesystem::path const kSource = CKVSIM_SOURCE_DIR;

/// Specs, or fleet studies, in workloads/specs.
std::vector<std::filesystem::path> committed(bool fleet_studies) {
    std::vector<std::filesystem::path> paths;
    for (auto const& entry : std::filesystem::directory_iterator(kSource / "workloads/specs")) {
        if (is_fleet_study_file(entry.path().string()) == fleet_studies)
            paths.push_back(entry.path());
    }
    return paths;
}
std::vector<std::filesystem::path> committed_specs() { return committed(false); }

Spec reread(Spec const& spec) { return parse_spec(dump_spec(spec), "dump"); }

Spec base(std::vector<std::string> const& overrides = {}) {
    return parse_spec(test::base_spec(), "base", overrides);
}

std::vector<std::string> stems(Spec const& spec) {
    std::vector<std::string> names;
    for (auto const& variant : variants_to_train(spec))
        names.push_back(model::weights_stem(variant));
    return names;
}

TEST(Spec, CommittedSpecsAreReadAndWrittenWithoutLoss) {
    auto const paths = committed_specs();
    EXPECT_GE(paths.size(), 4U);
    for (auto const& path : paths) {
        auto const spec = load_spec(path.string());
        EXPECT_EQ(reread(spec), spec) << path;
        EXPECT_EQ(path.stem().string(), spec.name);
        EXPECT_GT(spec.description.size(), 100U) << path;
        EXPECT_TRUE(spec.output.starts_with("results/local/")) << path;
        EXPECT_TRUE(std::filesystem::exists(kSource / spec.platform_path)) << path;
    }
}

TEST(Spec, CommittedPoolsAreSmallEnoughForClaims) {
    for (auto const& path : committed_specs()) {
        auto const spec = load_spec(path.string());
        if (spec.workload.kind != WorkloadKind::synthetic) continue;
        for (auto const& arm : spec.arms) {
            if (arm.weights.variant != model::Variant::collective) continue;
            EXPECT_LE(arm.weights.m, spec.workload.synthetic.items / 8) << path << arm.name;
        }
    }
}

TEST(FleetStudy, CommittedStudiesAreReadAndWrittenWithoutLoss) {
    auto const paths = committed(true);
    EXPECT_GE(paths.size(), 1U);
    for (auto const& path : paths) {
        auto const study = load_fleet_study(path.string());
        EXPECT_EQ(study.name, path.stem().string());
        EXPECT_EQ(parse_fleet_study(dump_fleet_study(study), "dump"), study) << path;
    }
}

TEST(FleetStudy, GeneratedDocumentsAreCurrent) {
    EXPECT_EQ(read_file((kSource / "workloads/schema/fleet.schema.json").string()),
              fleet_schema_json());
    EXPECT_EQ(read_file((kSource / "sim/docs/fleet_spec.md").string()), fleet_markdown());
}

TEST(Spec, MillionUsersHaveThreeHundredEventsOnAverage) {
    auto const& p =
        load_spec((kSource / "workloads/specs/million.json").string()).workload.synthetic;
    // Midpoints of the length's distribution function, the clipping of the generator applied.
    int const cells = 4000;
    double sum = 0.0;
    for (int i = 0; i < cells; ++i) {
        double const target = (i + 0.5) / cells;
        double low = -8.0;
        double high = 8.0;
        for (int step = 0; step < 60; ++step) {
            double const z = 0.5 * (low + high);
            (0.5 * std::erfc(-z / std::sqrt(2.0)) < target ? low : high) = z;
        }
        double const length = std::round(p.history_median * std::exp(p.history_sigma * low));
        sum += std::clamp<double>(length, p.history_min, p.history_cap);
    }
    EXPECT_NEAR(sum / cells, 300.0, 9.0);
    EXPECT_EQ(p.users, 1'000'000U);
    auto small = p;
    small.users = 20000;
    auto const population = workload::make_synthetic(small);
    double events = 0.0;
    for (UserId user = 0; user < small.users; ++user)
        events += static_cast<double>(population->history_length(user));
    EXPECT_NEAR(events / static_cast<double>(small.users), sum / cells, 9.0);
}

TEST(Spec, OmittedKeysHaveTheDefaultsOfTheStructs) {
    auto const spec = base();
    EXPECT_EQ(spec.seed, 7U);
    EXPECT_EQ(spec.model.attention_dim, 16U);
    EXPECT_EQ(spec.model.feature_dim, model::SimShape{}.feature_dim);
    EXPECT_EQ(spec.training.batch, TrainingSpec{}.batch);
    EXPECT_EQ(spec.simulated, SimulatedSpec{});
    EXPECT_EQ(spec.memory.user_counts, (std::vector<double>{1e4, 1e9}));
    EXPECT_EQ(spec.accuracy.controls, (std::vector<Control>{Control::no_history, Control::m1}));
    EXPECT_TRUE(spec.arms[0].memory && spec.arms[0].accuracy && spec.arms[0].latency);
    EXPECT_FALSE(spec.arms[1].latency);
}

TEST(Spec, HashBitsHaveADefaultOfEachModel) {
    auto const of_model = [](std::string const& model) {
        auto const text =
            test::with(test::base_spec(), "\"scope\": \"all\"", "\"scope\": \"released\"");
        return parse_spec(test::with(text, "\"heads\": 2, \"top_k\": 8", "\"heads\": 2, " + model),
                          "test.json");
    };
    EXPECT_EQ(of_model("\"kind\": \"eta\"").model.hash_bits, 32U);
    auto const sdim = of_model("\"kind\": \"sdim\"");
    EXPECT_EQ(sdim.model.hash_bits, 3U);
    EXPECT_EQ(sdim.model.hashes, 16U);
    EXPECT_EQ(sdim.model.bucket_rows(), 128U);
    EXPECT_EQ(of_model("\"kind\": \"sdim\", \"hash_bits\": 5").model.hash_bits, 5U);
    EXPECT_EQ(parse_spec(dump_spec(sdim), "dump").model, sdim.model);
}

TEST(Spec, PoolsOfOneSideAreWeightsOfTheirOwn) {
    EXPECT_EQ(base().arms[1].weights.sides, model::Sides::both);
    auto const keys = base({"/arms/1/weights/sides=k"});
    EXPECT_EQ(keys.arms[1].weights.sides, model::Sides::k);
    EXPECT_EQ(weights_path(keys, keys.arms[1].weights, 3),
              "results/local/weights/base/collective_all_k_du1_m20_seed3.ckvt");
    auto const trained = stems(keys);
    for (char const* const stem : {"collective_all_k_du1_m20", "collective_all_k_du1_m1"})
        EXPECT_EQ(std::count(trained.begin(), trained.end(), stem), 1)
            << stem << ": controls of the arm have its sides";
    for (char const* const model : {"twin", "eta", "hstu"}) {
        auto const text = test::with(test::base_spec(), "\"heads\": 2, \"top_k\": 8",
                                     std::string("\"heads\": 2, \"kind\": \"") + model + "\"");
        EXPECT_EQ(parse_spec(text, "test.json", {"/arms/1/weights/sides=v"}).arms[1].weights.sides,
                  model::Sides::v);
    }
}

TEST(Spec, WarmStartsAreWeightsOfTheirOwn) {
    EXPECT_EQ(base().arms[1].weights.start, model::Start::random);
    auto const warm = base({"/arms/1/weights/start=full_silu"});
    EXPECT_EQ(warm.arms[1].weights.start, model::Start::full_silu);
    EXPECT_EQ(weights_path(warm, warm.arms[1].weights, 3),
              "results/local/weights/base/collective_all_from_full_silu_du1_m20_seed3.ckvt");
    auto const trained = stems(warm);
    for (char const* const stem :
         {"collective_all_from_full_silu_du1_m20", "collective_all_from_full_silu_du1_m1"})
        EXPECT_EQ(std::count(trained.begin(), trained.end(), stem), 1)
            << stem << ": controls of the arm have its start";
    EXPECT_EQ(parse_spec(dump_spec(warm), "dump").arms[1].weights, warm.arms[1].weights);
    auto const both = base({"/arms/1/weights/start=full", "/arms/1/weights/sides=k"});
    EXPECT_EQ(model::weights_stem(both.arms[1].weights), "collective_all_k_from_full_du1_m20");
    for (char const* const model : {"twin", "eta"}) {
        auto const text = test::with(test::base_spec(), "\"heads\": 2, \"top_k\": 8",
                                     std::string("\"heads\": 2, \"kind\": \"") + model + "\"");
        EXPECT_EQ(
            parse_spec(text, "test.json", {"/arms/1/weights/start=full"}).arms[1].weights.start,
            model::Start::full);
    }
}

// Of two reasons the one that another start does not remove is told.
TEST(Spec, HstuRefusesAWarmStartAndNamesTheModel) {
    auto const text = test::with(test::base_spec(), "\"heads\": 2, \"top_k\": 8",
                                 "\"heads\": 2, \"kind\": \"hstu\"");
    auto const refused = [&](std::vector<std::string> const& overrides) {
        try {
            parse_spec(text, "test.json", overrides);
        } catch (ConfigError const& error) {
            return std::string(error.what());
        }
        return std::string();
    };
    EXPECT_EQ(refused({}), "");
    auto const warm = refused({"/arms/1/weights/start=full"});
    EXPECT_NE(warm.find("/arms/1/weights/start: "), std::string::npos) << warm;
    EXPECT_NE(warm.find("start 'full' means nothing to model 'hstu'"), std::string::npos) << warm;
    auto const released = refused({"/arms/1/weights/start=full", "/arms/1/weights/scope=released"});
    EXPECT_NE(released.find("/arms/1/weights/scope: "), std::string::npos) << released;
}

TEST(Spec, TaughtPoolsAreWeightsOfTheirOwn) {
    auto const plain = base();
    EXPECT_EQ(plain.arms[1].weights.teacher, model::Teacher::none);
    EXPECT_EQ(plain.training.distil_weight, 0.5);
    EXPECT_EQ(plain.training.distil_temperature, 1.0);
    auto const taught = base({"/arms/1/weights/teacher=full", "/training/distil_weight=0.25",
                              "/training/distil_temperature=3"});
    EXPECT_EQ(taught.arms[1].weights.teacher, model::Teacher::full);
    EXPECT_EQ(taught.training.distil_weight, 0.25);
    EXPECT_EQ(taught.training.distil_temperature, 3.0);
    auto const trained = stems(taught);
    for (char const* const stem :
         {"collective_all_distil_full_du1_m20", "collective_all_distil_full_du1_m1"})
        EXPECT_EQ(std::count(trained.begin(), trained.end(), stem), 1)
            << stem << ": controls of the arm have its teacher";
    auto const again = parse_spec(dump_spec(taught), "dump");
    EXPECT_EQ(again.arms[1].weights, taught.arms[1].weights);
    EXPECT_EQ(again.training, taught.training);
    auto const both = base({"/arms/1/weights/start=full", "/arms/1/weights/teacher=full_silu"});
    EXPECT_EQ(weights_path(both, both.arms[1].weights, 3),
              "results/local/weights/base/"
              "collective_all_from_full_distil_full_silu_du1_m20_seed3.ckvt");
}

TEST(Spec, HstuHasOneTeacherAlone) {
    auto const text = test::with(test::base_spec(), "\"heads\": 2, \"top_k\": 8",
                                 "\"heads\": 2, \"kind\": \"hstu\"");
    auto const refused = [&](std::vector<std::string> const& overrides) {
        try {
            parse_spec(text, "test.json", overrides);
        } catch (ConfigError const& error) {
            return std::string(error.what());
        }
        return std::string();
    };
    EXPECT_EQ(refused({"/arms/1/weights/teacher=full"}), "");
    auto const silu = refused({"/arms/1/weights/teacher=full_silu"});
    EXPECT_NE(silu.find("/arms/1/weights/teacher: "), std::string::npos) << silu;
    EXPECT_NE(silu.find("teacher 'full_silu' is 'full' for model 'hstu'"), std::string::npos)
        << silu;
    auto const warm = refused({"/arms/1/weights/teacher=full_silu", "/arms/1/weights/start=full"});
    EXPECT_NE(warm.find("/arms/1/weights/start: "), std::string::npos) << warm;
    auto const released =
        refused({"/arms/1/weights/teacher=full_silu", "/arms/1/weights/scope=released"});
    EXPECT_NE(released.find("/arms/1/weights/scope: "), std::string::npos) << released;
}

TEST(Spec, EmptyPathsAreFilledFromTheName) {
    auto const spec = base();
    EXPECT_EQ(spec.weights_dir, "results/local/weights/base");
    EXPECT_EQ(spec.calibration_path, "results/local/calibration-base.json");
    EXPECT_EQ(spec.output, "results/local/base.h5");
    EXPECT_EQ(base({"/files/output=x.h5"}).output, "x.h5");
}

TEST(Spec, EveryEnumValueSurvives) {
    std::vector<std::string> const choices = {
        "/arms/1/weights/scope=released",
        "/arms/1/weights/scope=all",
        "/arms/1/weights/sides=both",
        "/arms/1/weights/sides=k",
        "/arms/1/weights/sides=v",
        "/arms/1/weights/start=random",
        "/arms/1/weights/start=full",
        "/arms/1/weights/start=full_silu",
        "/arms/1/weights/teacher=none",
        "/arms/1/weights/teacher=full",
        "/arms/1/weights/teacher=full_silu",
        "/arms/1/strategy/keying=item",
        "/arms/1/strategy/keying=user_token",
        "/arms/1/strategy/value_type=fp16",
        "/arms/1/strategy/value_type=fp32",
        "/arms/1/strategy/search_keys=item_table",
        "/arms/1/strategy/search_keys=stored",
        "/arms/1/strategy/index_bytes=2",
        "/arms/1/strategy/index_bytes=4",
        "/arms/0/weights/variant=full_silu",
        "/arms/0/strategy/kind=item_table",
        "/arms/0/strategy/kind=recompute",
        "/arms/0/measure=[\"latency\"]",
        "/measurements/accuracy/controls=[\"popularity\",\"no_history\",\"mean_pool\","
        "\"mean_keys\",\"other_history\",\"random_indices\",\"m1\",\"du0\"]",
        "/measurements/accuracy/controls=[]",
    };
    for (auto const& choice : choices) {
        auto const spec = base({choice});
        EXPECT_EQ(reread(spec), spec) << choice;
    }
    for (char const* variant : {"mean_pool", "no_history"}) {
        auto const spec = base(
            {std::string("/arms/0/weights/variant=") + variant, "/arms/0/strategy/kind=recompute"});
        EXPECT_EQ(model::to_string(spec.arms[0].weights.variant), variant);
        EXPECT_EQ(reread(spec), spec);
    }
    auto const dataset =
        base({"/workload={\"kind\":\"dataset\",\"dataset_path\":\"d.h5\"}",
              "/measurements/executed/traffic={\"kind\":\"original\",\"speed_factor\":60}"});
    EXPECT_EQ(dataset.executed.traffic.kind, workload::ArrivalKind::original);
    EXPECT_EQ(reread(dataset), dataset);
    EXPECT_NE(reread(dataset), base());
}

TEST(Spec, EveryShapeOfTrafficSurvives) {
    auto const shaped =
        base({"/measurements/executed/traffic/diurnal={\"amplitude\":0.7,\"start_hour\":20.5,"
              "\"day_s\":60,\"zones\":[{\"utc_offset_h\":-5.5,\"share\":0.25},"
              "{\"utc_offset_h\":8,\"share\":0.75}]}",
              "/measurements/executed/traffic/bursts={\"multiplier\":4,\"mean_burst_s\":0.5,"
              "\"mean_gap_s\":3}",
              "/measurements/executed/traffic/flash_crowds=[{\"start_s\":1,\"duration_s\":0.5,"
              "\"multiplier\":6,\"user_share\":0.02}]"});
    auto const& shape = shaped.executed.traffic.shape;
    EXPECT_EQ(shape.diurnal, (workload::DiurnalParams{0.7, 20.5, 60, {{-5.5, 0.25}, {8, 0.75}}}));
    EXPECT_EQ(shape.bursts, (workload::BurstParams{4, 0.5, 3}));
    EXPECT_EQ(shape.flash_crowds, (std::vector<workload::FlashCrowd>{{1, 0.5, 6, 0.02}}));
    EXPECT_EQ(shaped.simulated.traffic.shape, workload::ArrivalShape{});
    EXPECT_EQ(reread(shaped), shaped);
    auto const recorded =
        base({"/measurements/simulated/traffic={\"kind\":\"recorded\",\"path\":\"r.bin\","
              "\"speed_factor\":2}"});
    EXPECT_EQ(recorded.simulated.traffic.kind, workload::ArrivalKind::recorded);
    EXPECT_EQ(recorded.simulated.traffic.path, "r.bin");
    EXPECT_EQ(recorded.simulated.traffic.speed_factor, 2.0);
    EXPECT_EQ(reread(recorded), recorded);
}

TEST(Spec, NumbersSurviveExactly) {
    CounterRng rng(1, Purpose::test, 0);
    for (int i = 0; i < 300; ++i) {
        auto spec = base();
        spec.training.learning_rate = std::pow(10.0, -12.0 * rng.uniform());
        spec.workload.synthetic.bias = 200.0 * rng.uniform() - 100.0;
        spec.memory.user_counts = {1.0 + 1e12 * rng.uniform() / 2.0};
        spec.seed = rng.next_u64();
        EXPECT_EQ(reread(spec), spec);
    }
    auto spec = base();
    spec.seed = UINT64_MAX;
    spec.description = "quote \" slash / backslash \\ line\nfeed \xC3\xA9 \xF0\x9F\x98\x80";
    EXPECT_EQ(reread(spec), spec);
}

TEST(Spec, OverridesAreAppliedInOrder) {
    auto const spec = base({"/seed=1", "/seed=2", "/model/heads=4", "/name=other",
                            "/training/seeds=[5]", "/training/seeds/0=6",
                            "/measurements/simulated/enabled=false", "/arms/0/name=a-b.c_1"});
    EXPECT_EQ(spec.seed, 2U);
    EXPECT_EQ(spec.model.heads, 4U);
    EXPECT_EQ(spec.name, "other");
    EXPECT_EQ(spec.training.seeds, std::vector<std::uint64_t>{6});
    EXPECT_FALSE(spec.simulated.enabled);
    EXPECT_EQ(spec.arms[0].name, "a-b.c_1");
    EXPECT_EQ(base({"/description=a=b"}).description, "a=b");
}

TEST(Spec, AnOverrideMayRepairTheFile) {
    auto const broken = test::with(test::base_spec(), "\"heads\": 2", "\"heads\": 3");
    EXPECT_THROW(parse_spec(broken, "broken"), ConfigError);
    EXPECT_EQ(parse_spec(broken, "broken", {"/model/heads=8"}).model.heads, 8U);
}

TEST(Spec, FilesThatCannotBeReadAreDataErrors) {
    EXPECT_THROW(load_spec("/nowhere/spec.json"), DataError);
    EXPECT_THROW(load_spec("/"), DataError);
    EXPECT_THROW(load_spec("/dev/zero"), DataError);
}

TEST(Spec, AHugeFileIsRefused) {
    auto const path = std::filesystem::path(testing::TempDir()) / "huge_spec.json";
    write_file_atomically(path.string(), std::string((1 << 20) + 1, ' '));
    EXPECT_THROW(load_spec(path.string()), ConfigError);
    std::filesystem::remove(path);
}

TEST(Variants, FullComesFirstAndEachOnce) {
    auto const spec = base({"/arms/0/weights/variant=full_silu"});
    EXPECT_EQ(stems(spec), (std::vector<std::string>{"full", "full_silu", "collective_all_du1_m20",
                                                     "no_history", "collective_all_du1_m1"}));
}

TEST(Variants, SharedWeightsAreTrainedOnce) {
    auto spec = base();
    spec.arms.push_back(spec.arms[1]);
    spec.arms.push_back(spec.arms[0]);
    spec.arms[3].weights.m = 77;  // without meaning for full weights
    EXPECT_EQ(stems(spec), stems(base()));
}

TEST(Variants, ControlsAddWhatTheyNeed) {
    auto const with_controls = [](std::string const& list) {
        return stems(base({"/measurements/accuracy/controls=" + list}));
    };
    std::vector<std::string> const least = {"full", "collective_all_du1_m20", "no_history"};
    EXPECT_EQ(with_controls("[]"), least);  // no_history anchors the history lift
    EXPECT_EQ(with_controls("[\"popularity\",\"mean_keys\",\"other_history\",\"random_indices\"]"),
              least);
    auto pooled = least;
    pooled.emplace_back("mean_pool");
    EXPECT_EQ(with_controls("[\"mean_pool\"]"), pooled);
    auto one_row = least;
    one_row.emplace_back("collective_all_du1_m1");
    EXPECT_EQ(with_controls("[\"m1\"]"), one_row);
    auto no_user_part = least;
    no_user_part.emplace_back("collective_all_du0_m20");
    EXPECT_EQ(with_controls("[\"du0\"]"), no_user_part);
}

TEST(Variants, M1FollowsTheFirstCollectiveArm) {
    auto spec = base();
    auto second = spec.arms[1];
    second.name = "second";
    second.weights.scope = model::Scope::released;
    second.weights.d_u = 3;
    spec.arms.insert(spec.arms.begin(), second);
    EXPECT_EQ(stems(spec).back(), "collective_released_du3_m1");
    spec.arms = {base().arms[0]};
    EXPECT_EQ(stems(spec), (std::vector<std::string>{"full", "no_history"}));
}

TEST(Variants, WithoutAccuracyOnlyTheArmsAreTrained) {
    EXPECT_EQ(stems(base({"/measurements/accuracy/enabled=false"})),
              (std::vector<std::string>{"full", "collective_all_du1_m20"}));
}

TEST(Variants, WeightsHaveAPathPerVariantAndSeed) {
    auto spec = base();
    EXPECT_EQ(weights_path(spec, spec.arms[1].weights, 3),
              "results/local/weights/base/collective_all_du1_m20_seed3.ckvt");
    spec.weights_dir = "/data/w/";
    EXPECT_EQ(weights_path(spec, {}, 12), "/data/w/full_seed12.ckvt");
}

TEST(Control, HasANameForEveryValue) {
    EXPECT_EQ(to_string(Control::popularity), "popularity");
    EXPECT_EQ(to_string(Control::other_history), "other_history");
    EXPECT_EQ(to_string(Control::m1), "m1");
}

// The committed documents are generated; to renew one, write what the failing comparison shows.
TEST(SpecDocuments, TheCommittedSchemaIsCurrent) {
    EXPECT_EQ(read_file((kSource / "workloads/schema/spec.schema.json").string()),
              spec_schema_json());
}

TEST(SpecDocuments, TheCommittedKeyReferenceIsCurrent) {
    EXPECT_EQ(read_file((kSource / "sim/docs/spec.md").string()), spec_markdown());
}

TEST(SpecDocuments, DescribeRangesDefaultsAndConditions) {
    auto const schema = spec_schema_json();
    EXPECT_NE(schema.find("https://json-schema.org/draft/2020-12/schema"), std::string::npos);
    EXPECT_NE(schema.find("\"exclusiveMaximum\": 1"), std::string::npos);  // dropout
    auto const markdown = spec_markdown();
    EXPECT_NE(markdown.find("## `/arms/*/weights`"), std::string::npos);
    EXPECT_NE(markdown.find("| `m` | integer | `1000` | 1 .. 268435456 | rows |"),
              std::string::npos);
    EXPECT_NE(markdown.find("(only if variant = collective)"), std::string::npos);
    EXPECT_NE(markdown.find("| `seeds` | list of integer | `[1,2,3]` | 1 .. 64 distinct"),
              std::string::npos);
}

}  // namespace
}  // namespace ckvsim::config
