#include "config/presets.hpp"

#include <algorithm>
#include <array>
#include <string_view>

#include "core/error.hpp"

namespace ckvsim::config {

namespace {

struct Preset {
    char const* name;
    char const* model;     ///< what differs from kModel
    char const* training;  ///< what differs from kTraining
};

// LongCTR's benchmark at histories of 1,000 (github.com/reczoo/LongCTR, commit 7e5bea3,
// Apache-2.0), on whose models and datasets CollectiveKV (arXiv 2601.19178) is tested: embeddings
// of 64 values a feature, one head, a tower of 1024-512-256, Adam at 1e-3, batches of 2,048,
// dropout 0.1. Its short window of 50 is 49 here, because the newest event is left out of it. Not
// built: batch norm, dropout inside the attention; embedding_l2 decays the rows that a batch
// touches, not whole tables. Ours: context_dim, the weights of the router's losses.
constexpr char const* kModel =
    R"({"feature_dim":64,"heads":1,"max_tokens":1000,"context_dim":4,"tower":[1024,512,256]})";
constexpr char const* kTraining =
    R"({"epochs":10,"batch":2048,"learning_rate":0.001,"dropout":0.1,"peak_weight":0.01,"balance_weight":1})";

// Widths, top k, hashes and regularisers are the benchmark's, the middle where they are a grid.
// Ours: a short window of 49 where the benchmark has 50, search_dim, hash_bits of SDIM (a grid from
// 1 to 32 there; more than 8 is not built) and all of HSTU, which the benchmark does not have.
constexpr std::array kPresets = {
    Preset{"eta-ebnerd",
           R"({"kind":"eta","attention_dim":128,"short_tokens":49,"top_k":50,"hash_bits":32})",
           R"({"embedding_l2":0.001})"},
    Preset{"eta-kuaivideo",
           R"({"kind":"eta","attention_dim":512,"short_tokens":49,"top_k":50,"hash_bits":32})",
           R"({"embedding_l2":0.0001})"},
    Preset{"eta-microvideo",
           R"({"kind":"eta","attention_dim":128,"short_tokens":49,"top_k":50,"hash_bits":32})",
           R"({"embedding_l2":0.00001})"},
    Preset{"hstu-ebnerd", R"({"kind":"hstu","attention_dim":256,"heads":2,"layers":2})",
           R"({"batch":1024,"embedding_l2":0.0001})"},
    Preset{"hstu-kuaivideo", R"({"kind":"hstu","attention_dim":256,"heads":2,"layers":2})",
           R"({"batch":1024,"embedding_l2":0.0001})"},
    Preset{"hstu-microvideo", R"({"kind":"hstu","attention_dim":256,"heads":2,"layers":2})",
           R"({"batch":1024,"embedding_l2":0.0001})"},
    Preset{"sdim-ebnerd",
           R"({"kind":"sdim","attention_dim":256,"short_tokens":49,"hash_bits":4,"hashes":16})",
           R"({"embedding_l2":0.001})"},
    Preset{"sdim-kuaivideo",
           R"({"kind":"sdim","attention_dim":512,"short_tokens":49,"hash_bits":4,"hashes":16})",
           R"({"embedding_l2":0.0001})"},
    Preset{"sdim-microvideo",
           R"({"kind":"sdim","attention_dim":256,"short_tokens":49,"hash_bits":4,"hashes":16})",
           R"({"embedding_l2":0.00001})"},
    Preset{"sim-ebnerd",
           R"({"kind":"sim","attention_dim":128,"short_tokens":49,"search_dim":64,"top_k":50})",
           R"({"embedding_l2":0.0001})"},
    Preset{"sim-kuaivideo",
           R"({"kind":"sim","attention_dim":512,"short_tokens":49,"search_dim":64,"top_k":50})",
           R"({"embedding_l2":0.0001})"},
    Preset{"sim-microvideo",
           R"({"kind":"sim","attention_dim":256,"short_tokens":49,"search_dim":64,"top_k":50})",
           R"({"embedding_l2":0.00001})"},
    Preset{"twin-ebnerd", R"({"kind":"twin","attention_dim":128,"short_tokens":49,"top_k":20})",
           R"({"embedding_l2":0.00001})"},
    Preset{"twin-kuaivideo", R"({"kind":"twin","attention_dim":512,"short_tokens":49,"top_k":50})",
           R"({"embedding_l2":0.0001})"},
    Preset{"twin-microvideo", R"({"kind":"twin","attention_dim":128,"short_tokens":49,"top_k":50})",
           R"({"embedding_l2":0.00001})"},
};

/// Members that `target`, an object or nothing yet, lacks. Anything else is the reader's to refuse.
void fill(JsonValue& target, std::string_view text) {
    if (target.kind == JsonValue::Kind::null) target.kind = JsonValue::Kind::object;
    if (target.kind != JsonValue::Kind::object) return;
    Problems none;
    auto const given = parse_json(text, {}, none);
    if (!given || !none.empty()) throw InternalError("config: a preset is not JSON");
    for (auto const& [name, position] : given->members)
        if (target.find(name) == nullptr) target.member(name) = given->children[position];
}

}  // namespace

std::string preset_names() {
    std::string names;
    for (auto const& preset : kPresets)
        names += (names.empty() ? "" : ", ") + std::string(preset.name);
    return names;
}

void apply_preset(JsonValue& root, Problems& problems) {
    JsonValue const* const named = root.find("preset");
    if (named == nullptr) return;
    auto const found = std::find_if(kPresets.begin(), kPresets.end(), [&](Preset const& preset) {
        return named->kind == JsonValue::Kind::text && named->text == preset.name;
    });
    if (found == kPresets.end()) {
        problems.add("/preset", show(*named) + " names no preset", "known: " + preset_names());
        return;
    }
    JsonValue& model = root.member("model");
    if (model.kind == JsonValue::Kind::object) {
        JsonValue const* const kind = model.find("kind");
        std::string const name = found->name;
        auto const own = name.substr(0, name.find('-'));
        if (kind != nullptr && (kind->kind != JsonValue::Kind::text || kind->text != own)) {
            problems.add("/model/kind", show(*kind) + " is not the model of preset " + name,
                         "remove it, or choose a preset of that model: " + preset_names());
            return;
        }
    }
    fill(model, found->model);
    fill(model, kModel);
    JsonValue& training = root.member("training");
    fill(training, found->training);
    fill(training, kTraining);
}

}  // namespace ckvsim::config
