#include "train/samples.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <limits>
#include <utility>

#include "core/error.hpp"
#include "core/tensor_file.hpp"

namespace ckvsim::train {

namespace {

constexpr char const* kFormat = "ckvsim-samples-1";
// Above these a request or a batch no longer fits any machine the trainer is meant for; the limits
// keep a damaged attribute from turning into an allocation of terabytes.
constexpr std::uint32_t kMaxWidth = 1U << 16;
constexpr std::uint32_t kMaxCount = 1U << 24;

constexpr std::array<std::pair<Model, char const*>, 5> kModels = {{{Model::sim, "sim"},
                                                                   {Model::twin, "twin"},
                                                                   {Model::eta, "eta"},
                                                                   {Model::sdim, "sdim"},
                                                                   {Model::hstu, "hstu"}}};
// As entries have sections for so many, and a byte for a bucket's number (model/sim.hpp).
constexpr std::uint32_t kMaxLayers = 4;
constexpr std::uint32_t kMaxHashes = 64;
constexpr std::uint32_t kMaxBucketBits = 8;
constexpr std::array<std::pair<Kind, char const*>, 5> kKinds = {{{Kind::full, "full"},
                                                                 {Kind::full_silu, "full_silu"},
                                                                 {Kind::collective, "collective"},
                                                                 {Kind::mean_pool, "mean_pool"},
                                                                 {Kind::no_history, "no_history"}}};

/// A sample file being read; knows its name for messages.
class Reader {
  public:
    Reader(TensorFile const& file, std::string const& origin) : file_(file), origin_(origin) {}

    [[noreturn]] void fail(std::string const& reason) const { throw DataError(origin_, 0, reason); }

    std::uint32_t count(std::string const& key, std::uint32_t low, std::uint32_t high) const {
        std::int64_t const value = file_.integer(key);
        if (value < low || value > high) {
            fail("attribute " + key + " is " + std::to_string(value) +
                 " (allowed: " + std::to_string(low) + " .. " + std::to_string(high) + ")");
        }
        return static_cast<std::uint32_t>(value);
    }
    double real(std::string const& key, double low, double high) const {
        double const value = file_.real(key);
        if (!(value >= low && value <= high)) {
            fail("attribute " + key + " is " + file_.text(key) +
                 " (allowed: " + std::to_string(low) + " .. " + std::to_string(high) + ")");
        }
        return value;
    }
    std::string const& text(std::string const& key) const { return file_.text(key); }
    bool has(std::string const& key) const { return file_.attributes.contains(key); }

    template <class T>
    std::vector<T> values(std::string const& name, std::size_t expected, char const* extent) const {
        Tensor const& tensor = file_.tensor(name);
        if (tensor.dtype != dtype_of<T>()) fail("tensor " + name + " has an unexpected value type");
        if (tensor.elements() != expected) {
            fail("tensor " + name + " has " + std::to_string(tensor.elements()) +
                 " values (expected " + std::to_string(expected) + " = " + extent + ")");
        }
        auto const view = tensor.as<T>();
        return {view.begin(), view.end()};
    }
    std::size_t elements(std::string const& name) const { return file_.tensor(name).elements(); }

    /// Comma-separated unsigned integers, at least one.
    std::vector<std::uint64_t> list(std::string const& key) const {
        std::string const& value = text(key);
        std::vector<std::uint64_t> numbers;
        char const* at = value.data();
        char const* const end = at + value.size();
        while (at < end) {
            std::uint64_t number = 0;
            auto const [next, error] = std::from_chars(at, end, number);
            if (error != std::errc() || (next != end && *next != ',')) break;
            numbers.push_back(number);
            if (next == end) return numbers;
            at = next + 1;
        }
        fail("attribute " + key + " = \"" + value +
             "\" is not a comma-separated list of whole numbers");
    }

  private:
    TensorFile const& file_;
    std::string const& origin_;
};

/// Files from before there were two models name none.
Model read_model(Reader const& reader) {
    if (!reader.has("model")) return Model::sim;
    std::string const& name = reader.text("model");
    for (auto const& [value, known] : kModels) {
        if (name == known) return value;
    }
    reader.fail("attribute model = \"" + name +
                "\" is not a model (known: sim, twin, eta, sdim, hstu). Use the trainer of the "
                "ckvsim that prepared the file");
}

void read_hashes(Reader const& reader, Shape& shape) {
    if (shape.model == Model::eta) {
        shape.hash_bits = reader.count("hash_bits", 8, 64);
        if (!std::has_single_bit(shape.hash_bits)) {
            reader.fail("attribute hash_bits is " + std::to_string(shape.hash_bits) +
                        " (allowed: 8, 16, 32, 64)");
        }
    } else if (shape.model == Model::sdim) {
        shape.hash_bits = reader.count("hash_bits", 1, kMaxBucketBits);
        shape.hashes = reader.count("hashes", 1, kMaxHashes);
    }
}

Shape read_shape(Reader const& reader) {
    Shape shape;
    shape.model = read_model(reader);
    shape.features = reader.count("features", 1, 64);
    shape.feature_dim = reader.count("feature_dim", 1, kMaxWidth);
    shape.attention_dim = reader.count("attention_dim", 1, kMaxWidth);
    shape.heads = reader.count("heads", 1, shape.attention_dim);
    if (shape.model == Model::hstu) {
        shape.layers = reader.count("layers", 1, kMaxLayers);
    } else {
        shape.short_tokens = reader.count("short_tokens", 1, kMaxCount);
        if (shape.model != Model::sdim) shape.top_k = reader.count("top_k", 1, kMaxCount);
    }
    if (shape.model == Model::sim) shape.search_dim = reader.count("search_dim", 1, kMaxWidth);
    read_hashes(reader, shape);
    shape.max_tokens = reader.count("max_tokens", 1, kMaxCount);
    shape.context_dim = reader.count("context_dim", 1, kMaxWidth);
    if (shape.attention_dim % shape.heads != 0) {
        reader.fail("heads = " + std::to_string(shape.heads) +
                    " does not divide attention_dim = " + std::to_string(shape.attention_dim));
    }
    for (auto const width : reader.list("tower")) {
        if (width < 1 || width > kMaxWidth) {
            reader.fail("attribute tower has a width of " + std::to_string(width) +
                        " (allowed: 1 .. " + std::to_string(kMaxWidth) + ")");
        }
        shape.tower.push_back(static_cast<std::uint32_t>(width));
    }
    return shape;
}

Schedule read_schedule(Reader const& reader) {
    Schedule schedule;
    schedule.epochs = reader.count("epochs", 1, 100000);
    schedule.batch = reader.count("batch", 1, kMaxCount);
    schedule.learning_rate = reader.real("learning_rate", 1e-12, 1e3);
    schedule.embedding_l2 = reader.real("embedding_l2", 0, 1e3);
    schedule.dropout = reader.real("dropout", 0, 0.99);
    schedule.peak_weight = reader.real("peak_weight", 0, 1e6);
    schedule.balance_weight = reader.real("balance_weight", 0, 1e6);
    schedule.straight_through = reader.count("straight_through", 0, 1) == 1;
    return schedule;
}

/// Files from before there was a choice name none.
Sides read_sides(Reader const& reader, std::string const& prefix) {
    if (!reader.has(prefix + "sides")) return Sides::both;
    std::string const& name = reader.text(prefix + "sides");
    for (Sides const sides : {Sides::both, Sides::k, Sides::v}) {
        if (name == to_string(sides)) return sides;
    }
    reader.fail("attribute " + prefix + "sides = \"" + name +
                "\" names no sides (known: both, k, v). Use the trainer of the ckvsim that "
                "prepared the file");
}

/// Likewise.
Start read_start(Reader const& reader, std::string const& prefix) {
    if (!reader.has(prefix + "start")) return Start::random;
    std::string const& name = reader.text(prefix + "start");
    for (Start const start : {Start::random, Start::full, Start::full_silu}) {
        if (name == to_string(start)) return start;
    }
    reader.fail("attribute " + prefix + "start = \"" + name +
                "\" is not a start (known: random, full, full_silu). Use the trainer of the ckvsim "
                "that prepared the file");
}

void check_start(Reader const& reader, std::string const& prefix, VariantSpec const& variant,
                 Shape const& shape) {
    if (!variant.starts_warm()) return;
    std::string const what =
        "attribute " + prefix + "start = \"" + to_string(variant.start) + "\" means nothing to ";
    if (variant.kind != Kind::collective) {
        reader.fail(what + "variant " + to_string(variant.kind) +
                    ", which has no pools. Prepare with start random");
    }
    if (shape.model == Model::hstu) {
        reader.fail(what +
                    "model hstu, whose routers see states of layers. Prepare with start "
                    "random");
    }
}

/// Likewise.
Teacher read_teacher(Reader const& reader, std::string const& prefix) {
    if (!reader.has(prefix + "teacher")) return Teacher::none;
    std::string const& name = reader.text(prefix + "teacher");
    for (Teacher const teacher : {Teacher::none, Teacher::full, Teacher::full_silu}) {
        if (name == to_string(teacher)) return teacher;
    }
    reader.fail("attribute " + prefix + "teacher = \"" + name +
                "\" is not a teacher (known: none, full, full_silu). Use the trainer of the ckvsim "
                "that prepared the file");
}

void check_teacher(Reader const& reader, std::string const& prefix, VariantSpec const& variant,
                   Shape const& shape) {
    if (!variant.has_teacher()) return;
    std::string const what = "attribute " + prefix + "teacher = \"" + to_string(variant.teacher) +
                             "\" means nothing to ";
    if (variant.kind != Kind::collective) {
        reader.fail(what + "variant " + to_string(variant.kind) +
                    ", which has no pools. Prepare with teacher none");
    }
    if (shape.model == Model::hstu && variant.teacher == Teacher::full_silu)
        reader.fail(what + "model hstu, which applies SiLU anyway. Prepare with teacher full");
}

/// Weight and temperature of the teachers' scores; files without a teacher have neither.
void read_distillation(Reader const& reader, Samples& samples) {
    auto const taught = [](VariantSpec const& variant) { return variant.has_teacher(); };
    if (std::none_of(samples.variants.begin(), samples.variants.end(), taught)) return;
    samples.schedule.distil_weight = reader.real("distil_weight", 0, 1);
    samples.schedule.distil_temperature = reader.real("distil_temperature", 0.01, 100);
}

VariantSpec read_variant(Reader const& reader, std::string const& prefix, Shape const& shape) {
    VariantSpec variant;
    std::string const& kind = reader.text(prefix + "kind");
    auto const known = std::find_if(kKinds.begin(), kKinds.end(),
                                    [&](auto const& entry) { return kind == entry.second; });
    if (known == kKinds.end()) {
        reader.fail("attribute " + prefix + "kind = \"" + kind +
                    "\" is not a variant (known: full, full_silu, collective, mean_pool, "
                    "no_history)");
    }
    variant.kind = known->first;
    std::string const& scope = reader.text(prefix + "scope");
    if (scope != "released" && scope != "all") {
        reader.fail("attribute " + prefix + "scope = \"" + scope +
                    "\" is not a scope (known: released, all)");
    }
    variant.scope = scope == "all" ? Scope::all : Scope::released;
    variant.sides = read_sides(reader, prefix);
    variant.start = read_start(reader, prefix);
    check_start(reader, prefix, variant, shape);
    variant.teacher = read_teacher(reader, prefix);
    check_teacher(reader, prefix, variant, shape);
    bool const collective = variant.kind == Kind::collective;
    if (collective && shape.model == Model::sdim && variant.scope == Scope::all) {
        reader.fail(
            "attribute " + prefix +
            "scope = \"all\" means nothing to model sdim, whose long branch has no K and V. "
            "Prepare with scope released");
    }
    variant.d_u = reader.count(prefix + "d_u", 0, collective ? shape.attention_dim - 1 : kMaxWidth);
    variant.m = reader.count(prefix + "m", collective ? 1 : 0, kMaxCount);
    variant.stem = reader.text(prefix + "stem");
    if (variant.stem.empty() || variant.stem.find('/') != std::string::npos)
        reader.fail("attribute " + prefix + "stem = \"" + variant.stem + "\" is not a file name");
    return variant;
}

void read_catalogue(Reader const& reader, Samples& out) {
    out.items = reader.count("items", 1, std::numeric_limits<std::uint32_t>::max() - 1);
    out.context_vocabulary = reader.count("context_vocabulary", 1, 1U << 30);
    std::size_t const features = out.shape.features;
    std::size_t const rows = std::size_t{out.items} + 1;
    out.feature_vocabularies =
        reader.values<std::uint32_t>("feature_vocabularies", features, "features");
    auto const flat =
        reader.values<std::uint32_t>("item_features", features * rows, "features x (items + 1)");
    for (std::size_t f = 0; f < features; ++f) {
        auto const begin = flat.begin() + static_cast<std::ptrdiff_t>(f * rows);
        out.item_features.emplace_back(begin, begin + static_cast<std::ptrdiff_t>(rows));
        auto const& column = out.item_features.back();
        if (column[0] != 0)
            reader.fail("tensor item_features: the padding item 0 must have feature value 0");
        auto const largest = *std::max_element(column.begin(), column.end());
        if (largest >= out.feature_vocabularies[f]) {
            reader.fail("tensor item_features: feature " + std::to_string(f) + " has the value " +
                        std::to_string(largest) + ", its vocabulary ends at " +
                        std::to_string(out.feature_vocabularies[f]));
        }
    }
}

void read_timelines(Reader const& reader, Samples& out) {
    std::size_t const users = reader.elements("timeline.offsets");
    out.timeline_offsets = reader.values<std::uint64_t>("timeline.offsets", users, "users + 1");
    out.timeline_items =
        reader.values<std::uint32_t>("timeline.items", reader.elements("timeline.items"), "events");
    if (users < 2 || out.timeline_offsets.front() != 0 ||
        out.timeline_offsets.back() != out.timeline_items.size() ||
        !std::is_sorted(out.timeline_offsets.begin(), out.timeline_offsets.end())) {
        reader.fail("tensor timeline.offsets does not describe timeline.items");
    }
    for (auto const item : out.timeline_items) {
        if (item < 1 || item > out.items) {
            reader.fail("tensor timeline.items holds item " + std::to_string(item) +
                        " (allowed: 1 .. " + std::to_string(out.items) + ")");
        }
    }
}

Split read_split(Reader const& reader, std::string const& name, Samples const& samples) {
    Split split;
    std::size_t const size = reader.elements(name + ".label");
    if (size == 0) reader.fail("split " + name + " has no samples");
    split.user = reader.values<std::uint32_t>(name + ".user", size, "samples of the split");
    split.history_end =
        reader.values<std::uint32_t>(name + ".history_end", size, "samples of the split");
    split.item = reader.values<std::uint32_t>(name + ".item", size, "samples of the split");
    split.context = reader.values<std::uint32_t>(name + ".context", size, "samples of the split");
    split.label = reader.values<std::uint8_t>(name + ".label", size, "samples of the split");
    auto const refuse = [&](std::size_t i, std::string const& what) {
        reader.fail("split " + name + ", sample " + std::to_string(i) + ": " + what);
    };
    for (std::size_t i = 0; i < size; ++i) {
        if (split.user[i] + std::size_t{1} >= samples.timeline_offsets.size())
            refuse(i, "user row " + std::to_string(split.user[i]) + " does not exist");
        auto const* const offset = &samples.timeline_offsets[split.user[i]];
        if (split.history_end[i] > offset[1] - offset[0])
            refuse(i, "history ends behind the user's timeline");
        if (split.item[i] < 1 || split.item[i] > samples.items)
            refuse(i, "item " + std::to_string(split.item[i]) + " is not in the catalogue");
        if (split.context[i] >= samples.context_vocabulary)
            refuse(i, "context " + std::to_string(split.context[i]) + " is not in the vocabulary");
        if (split.label[i] > 1) refuse(i, "label is neither 0 nor 1");
    }
    return split;
}

void require_both_labels(Reader const& reader, Split const& split, std::string const& name) {
    auto const clicks = std::count(split.label.begin(), split.label.end(), 1);
    if (clicks == 0 || static_cast<std::size_t>(clicks) == split.size()) {
        reader.fail("all " + std::to_string(split.size()) + " labels of split " + name +
                    " are equal: nothing can be " + (name == "tune" ? "chosen" : "learnt") +
                    ". Prepare more or other samples");
    }
}

}  // namespace

std::string to_string(Model model) {
    for (auto const& [value, name] : kModels) {
        if (value == model) return name;
    }
    throw InternalError("train::to_string: unknown model");
}

std::string to_string(Kind kind) {
    for (auto const& [value, name] : kKinds) {
        if (value == kind) return name;
    }
    throw InternalError("train::to_string: unknown variant");
}

std::string to_string(Scope scope) { return scope == Scope::released ? "released" : "all"; }

std::string to_string(Sides sides) {
    if (sides == Sides::both) return "both";
    return sides == Sides::k ? "k" : "v";
}

std::string to_string(Start start) {
    if (start == Start::random) return "random";
    return start == Start::full ? "full" : "full_silu";
}

std::string to_string(Teacher teacher) {
    if (teacher == Teacher::none) return "none";
    return teacher == Teacher::full ? "full" : "full_silu";
}

Samples read_samples(std::string const& path) {
    TensorFile const file = TensorFile::read(path);
    Reader const reader(file, path);
    if (!file.attributes.contains("format") || file.text("format") != kFormat) {
        reader.fail(std::string("is not a sample file (expected format \"") + kFormat +
                    "\"). Make one with: ckvsim prepare SPEC.json");
    }
    Samples samples;
    samples.file_digest = file.digest();
    try {
        samples.shape = read_shape(reader);
        samples.schedule = read_schedule(reader);
        samples.seeds = reader.list("seeds");
        samples.weights_dir = reader.text("weights_dir");
        samples.catalogue_digest = reader.text("catalogue_digest");
        samples.samples_digest = reader.text("samples_digest");
        auto const variants = reader.count("variants", 1, 1000);
        for (std::uint32_t i = 0; i < variants; ++i) {
            samples.variants.push_back(
                read_variant(reader, "variant." + std::to_string(i) + ".", samples.shape));
        }
        read_distillation(reader, samples);
        read_catalogue(reader, samples);
        read_timelines(reader, samples);
        samples.train = read_split(reader, "train", samples);
        samples.tune = read_split(reader, "tune", samples);
        samples.reference = read_split(reader, "reference", samples);
    } catch (InternalError const& error) {
        reader.fail(error.what());
    }
    require_both_labels(reader, samples.train, "train");
    require_both_labels(reader, samples.tune, "tune");
    return samples;
}

std::string weights_path(Samples const& samples, VariantSpec const& variant, std::uint64_t seed) {
    return samples.weights_dir + "/" + variant.stem + "_seed" + std::to_string(seed) + ".ckvt";
}

}  // namespace ckvsim::train
