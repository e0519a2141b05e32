// A small sample file with a planted rule: a user's history holds items of two categories, a click
// is likely exactly for candidates of these categories.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "core/rng.hpp"
#include "core/tensor_file.hpp"

namespace ckvsim::test {

struct PlantedParams {
    std::uint32_t items = 60;
    std::uint32_t categories = 6;
    std::uint32_t users = 400;  ///< per split; four samples each
    std::uint32_t longest_history = 24;
    std::uint32_t recent_noise = 0;  ///< events of any category behind every history but empty ones
    double click_if_matched = 0.9;
    double click_if_not = 0.1;
};

class PlantedSamples {
  public:
    explicit PlantedSamples(PlantedParams const& params = {}) : params_(params) {
        auto& file = file_;
        store_catalogue();
        for (std::uint32_t split = 0; split < 3; ++split) add_split(split);
        file.tensors["timeline.offsets"] = Tensor::from<std::uint64_t>(offsets_, extent(offsets_));
        file.tensors["timeline.items"] = Tensor::from<std::uint32_t>(events_, extent(events_));
        file.set("format", std::string("ckvsim-samples-1"));
        file.set("catalogue_digest", std::string("0000000000000000"));
        file.set("samples_digest", std::string("1111111111111111"));
        file.set("weights_dir", std::string("weights"));
        for (auto const& [key, value] : {std::pair{"features", 2},
                                         {"context_vocabulary", 3},
                                         {"feature_dim", 8},
                                         {"attention_dim", 16},
                                         {"heads", 2},
                                         {"short_tokens", 6},
                                         {"search_dim", 4},
                                         {"top_k", 5},
                                         {"max_tokens", 16},
                                         {"context_dim", 2},
                                         {"epochs", 8},
                                         {"batch", 64},
                                         {"straight_through", 0}}) {
            file.set(key, std::int64_t{value});
        }
        file.set("items", std::int64_t{params.items});
        file.set("tower", std::string("16,8"));
        file.set("seeds", std::string("1"));
        file.set_real("learning_rate", 5e-3);
        file.set_real("embedding_l2", 1e-6);
        file.set_real("dropout", 0.1);
        file.set_real("peak_weight", 0.01);
        file.set_real("balance_weight", 1.0);
        set_variants({{"full", "released", 0, 0}});
    }

    struct Variant {
        std::string kind;
        std::string scope;
        std::int64_t d_u = 0;
        std::int64_t m = 0;
        std::string sides = {};    ///< "" = no attribute
        std::string start = {};    ///< likewise
        std::string teacher = {};  ///< likewise
    };
    void set_variants(std::vector<Variant> const& variants) {
        file_.set("variants", static_cast<std::int64_t>(variants.size()));
        for (std::size_t i = 0; i < variants.size(); ++i) {
            auto const prefix = "variant." + std::to_string(i) + ".";
            file_.set(prefix + "kind", variants[i].kind);
            file_.set(prefix + "scope", variants[i].scope);
            file_.set(prefix + "d_u", variants[i].d_u);
            file_.set(prefix + "m", variants[i].m);
            std::string stem = variants[i].kind + "_" + variants[i].scope;
            if (!variants[i].sides.empty()) {
                file_.set(prefix + "sides", variants[i].sides);
                stem += "_" + variants[i].sides;
            }
            if (!variants[i].start.empty()) {
                file_.set(prefix + "start", variants[i].start);
                stem += "_from_" + variants[i].start;
            }
            if (!variants[i].teacher.empty()) {
                file_.set(prefix + "teacher", variants[i].teacher);
                stem += "_distil_" + variants[i].teacher;
                file_.set_real("distil_weight", 0.5);
                file_.set_real("distil_temperature", 2.0);
            }
            file_.set(prefix + "stem", stem);
        }
    }
    /// Of the planted file SIM is the model.
    void set_twin() {
        file_.set("model", std::string("twin"));
        file_.attributes.erase("search_dim");
    }
    void set_eta() {
        file_.set("model", std::string("eta"));
        file_.attributes.erase("search_dim");
        file_.set("hash_bits", std::int64_t{16});
    }
    void set_sdim() {
        file_.set("model", std::string("sdim"));
        for (char const* const key : {"search_dim", "top_k"}) file_.attributes.erase(key);
        file_.set("hash_bits", std::int64_t{3});
        file_.set("hashes", std::int64_t{4});
    }
    void set_hstu() {
        file_.set("model", std::string("hstu"));
        for (char const* const key : {"search_dim", "short_tokens", "top_k"})
            file_.attributes.erase(key);
        file_.set("layers", std::int64_t{2});
    }
    void set_model(std::string const& name) {
        if (name == "twin") set_twin();
        if (name == "eta") set_eta();
        if (name == "sdim") set_sdim();
        if (name == "hstu") set_hstu();
    }
    [[nodiscard]] TensorFile& file() { return file_; }

  private:
    template <class T>
    static std::vector<std::int64_t> extent(std::vector<T> const& values) {
        return {static_cast<std::int64_t>(values.size())};
    }
    [[nodiscard]] std::uint32_t category(std::uint32_t item) const {
        return 1 + (item - 1) % params_.categories;
    }
    std::uint32_t item_of(std::uint32_t category, CounterRng& rng) const {
        auto const per_category = params_.items / params_.categories;
        return category + params_.categories * rng.below(per_category);
    }
    void store_catalogue() {
        std::vector<std::uint32_t> features(2 * (std::size_t{params_.items} + 1), 0);
        for (std::uint32_t item = 1; item <= params_.items; ++item) {
            features[item] = item;
            features[params_.items + 1 + item] = category(item);
        }
        std::array<std::uint32_t, 2> const vocabularies = {params_.items + 1,
                                                           params_.categories + 1};
        file_.tensors["item_features"] = Tensor::from<std::uint32_t>(
            features, {2, static_cast<std::int64_t>(params_.items) + 1});
        file_.tensors["feature_vocabularies"] =
            Tensor::from<std::uint32_t>(std::span<std::uint32_t const>(vocabularies), {2});
    }
    void add_split(std::uint32_t split) {
        std::vector<std::uint32_t> user, end, item, context;
        std::vector<std::uint8_t> label;
        std::uint32_t const users = split == 2 ? 8 : params_.users;
        for (std::uint32_t u = 0; u < users; ++u) {
            CounterRng rng(7, Purpose::test, u, split);
            std::uint32_t const first = 1 + rng.below(params_.categories);
            std::uint32_t const second =
                1 + (first + rng.below(params_.categories - 1)) % params_.categories;
            // User 0 of each split has an empty history.
            std::uint32_t const length = u == 0 ? 0 : 1 + rng.below(params_.longest_history);
            for (std::uint32_t t = 0; t < length; ++t)
                events_.push_back(item_of(rng.below(2) == 0 ? first : second, rng));
            std::uint32_t const noise = u == 0 ? 0 : params_.recent_noise;
            for (std::uint32_t t = 0; t < noise; ++t)
                events_.push_back(1 + rng.below(params_.items));
            for (std::uint32_t s = 0; s < 4; ++s) {
                bool const matched = rng.below(2) == 0;
                std::uint32_t wanted = first;
                while (!matched && (wanted == first || wanted == second))
                    wanted = 1 + rng.below(params_.categories);
                user.push_back(static_cast<std::uint32_t>(offsets_.size() - 1));
                end.push_back(length + noise);
                item.push_back(item_of(wanted, rng));
                context.push_back(rng.below(3));
                double const p = matched ? params_.click_if_matched : params_.click_if_not;
                label.push_back(rng.uniform() < p ? 1 : 0);
            }
            offsets_.push_back(events_.size());
        }
        std::string const name = split == 0 ? "train" : split == 1 ? "tune" : "reference";
        file_.tensors[name + ".user"] = Tensor::from<std::uint32_t>(user, extent(user));
        file_.tensors[name + ".history_end"] = Tensor::from<std::uint32_t>(end, extent(end));
        file_.tensors[name + ".item"] = Tensor::from<std::uint32_t>(item, extent(item));
        file_.tensors[name + ".context"] = Tensor::from<std::uint32_t>(context, extent(context));
        file_.tensors[name + ".label"] = Tensor::from<std::uint8_t>(label, extent(label));
    }

    PlantedParams params_;
    TensorFile file_;
    std::vector<std::uint64_t> offsets_ = {0};
    std::vector<std::uint32_t> events_;
};

}  // namespace ckvsim::test
