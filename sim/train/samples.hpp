// The trainer's input: one tensor file written by `ckvsim prepare` (format: README.md in this
// folder), read and checked whole before anything is trained.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ckvsim::train {

enum class Model : std::uint8_t { sim, twin, hstu, eta, sdim };
enum class Kind : std::uint8_t { full, full_silu, collective, mean_pool, no_history };
enum class Scope : std::uint8_t { released, all };
enum class Sides : std::uint8_t { both, k, v };
enum class Start : std::uint8_t { random, full, full_silu };
enum class Teacher : std::uint8_t { none, full, full_silu };

std::string to_string(Model model);
std::string to_string(Kind kind);
std::string to_string(Scope scope);
std::string to_string(Sides sides);
std::string to_string(Start start);
std::string to_string(Teacher teacher);

/// True for the variants that attend to histories (and search or hash them).
constexpr bool attends(Kind kind) { return kind != Kind::mean_pool && kind != Kind::no_history; }

/// Hyper-parameters that fix every shape; meaning and names as in model/sim.hpp.
struct Shape {
    Model model = Model::sim;
    std::uint32_t feature_dim = 0;
    std::uint32_t attention_dim = 0;
    std::uint32_t heads = 0;
    std::uint32_t short_tokens = 0;  ///< 0 in HSTU, which has no short branch
    std::uint32_t search_dim = 0;    ///< SIM only
    std::uint32_t hash_bits = 0;     ///< ETA: of a signature; SDIM: of one hash
    std::uint32_t hashes = 0;        ///< SDIM only
    std::uint32_t top_k = 0;         ///< 0 in SDIM and HSTU, which choose nothing
    std::uint32_t layers = 0;        ///< HSTU only
    std::uint32_t max_tokens = 0;
    std::uint32_t context_dim = 0;
    std::vector<std::uint32_t> tower;
    std::uint32_t features = 0;  ///< F
    [[nodiscard]] std::uint32_t d_e() const { return features * feature_dim; }
    /// Hyperplanes that hash items; 0 where nothing does.
    [[nodiscard]] std::uint32_t hash_planes() const {
        return model == Model::sdim ? hashes * hash_bits : hash_bits;
    }
};

/// The same for every variant: arms differ in nothing but their K and V, and in who teaches them.
struct Schedule {
    std::uint32_t epochs = 0;  ///< at most; early stop on the tune AUC
    std::uint32_t batch = 0;
    double learning_rate = 0;
    double embedding_l2 = 0;
    double dropout = 0;
    double peak_weight = 0;
    double balance_weight = 0;
    double distil_weight = 0;       ///< of StepLosses::distil; variants with a teacher only
    double distil_temperature = 1;  ///< likewise
    bool straight_through = false;
};

struct VariantSpec {
    Kind kind = Kind::full;
    Scope scope = Scope::released;
    std::uint32_t d_u = 0;        ///< collective only
    std::uint32_t m = 0;          ///< collective only
    std::string stem;             ///< weight file name without seed and suffix
    Sides sides = Sides::both;    ///< collective only: what has a pool in the sites of the scope
    Start start = Start::random;  ///< collective only; see warm_start.hpp
    Teacher teacher = Teacher::none;  ///< collective only; see phases.hpp

    /// True where K ("k") or V ("v") of the sites of the scope has a pool.
    [[nodiscard]] bool pools(std::string_view side) const {
        return kind == Kind::collective && sides != (side == "k" ? Sides::v : Sides::k);
    }
    /// True where another variant is trained first (warm_start.hpp).
    [[nodiscard]] bool starts_warm() const { return start != Start::random; }
    /// True where another variant's scores are learnt, too (phases.hpp).
    [[nodiscard]] bool has_teacher() const { return teacher != Teacher::none; }
    /// True where the variant that is started from is the one that teaches: it is trained once.
    [[nodiscard]] bool starts_from_teacher() const {
        return (start == Start::full && teacher == Teacher::full) ||
               (start == Start::full_silu && teacher == Teacher::full_silu);
    }
    /// Trainings of a run, its own the last.
    [[nodiscard]] std::uint32_t trainings() const {
        return 1U + (starts_warm() ? 1U : 0U) + (has_teacher() && !starts_from_teacher() ? 1U : 0U);
    }
    [[nodiscard]] bool collective_short() const { return kind == Kind::collective; }
    [[nodiscard]] bool collective_long() const {
        return kind == Kind::collective && scope == Scope::all;
    }
};

/// Columns of one split, all of one length.
struct Split {
    std::vector<std::uint32_t> user;  ///< row of the timeline
    std::vector<std::uint32_t> history_end;
    std::vector<std::uint32_t> item;
    std::vector<std::uint32_t> context;
    std::vector<std::uint8_t> label;
    [[nodiscard]] std::size_t size() const { return label.size(); }
};

struct Samples {
    Shape shape;
    Schedule schedule;
    std::vector<std::uint64_t> seeds;
    std::vector<VariantSpec> variants;
    std::string weights_dir;
    std::string catalogue_digest;   ///< hex, copied into the weight files
    std::string samples_digest;     ///< hex, identifies data and shapes
    std::uint64_t file_digest = 0;  ///< of the file's contents: ranks must read the same
    std::uint32_t items = 0;        ///< V
    std::uint32_t context_vocabulary = 0;
    std::vector<std::vector<std::uint32_t>> item_features;  ///< [F][V+1], item 0 = padding
    std::vector<std::uint32_t> feature_vocabularies;        ///< [F]
    std::vector<std::uint64_t> timeline_offsets;            ///< [U+1]
    std::vector<std::uint32_t> timeline_items;
    Split train;
    Split tune;
    Split reference;
};

/// Reads and checks a sample file. Throws DataError naming the file and the attribute or tensor:
/// missing, of another type or shape, ids out of range, labels all equal, impossible widths.
Samples read_samples(std::string const& path);

/// <weights_dir>/<stem>_seed<seed>.ckvt
std::string weights_path(Samples const& samples, VariantSpec const& variant, std::uint64_t seed);

}  // namespace ckvsim::train
