#include "training_data.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/rng.hpp"

namespace ckvsim::bench {

namespace {

/// Ranks 1 .. n by inverting the sums of r^-exponent.
class Zipf {
  public:
    Zipf(std::uint32_t ranks, double exponent) : sums_(ranks) {
        double sum = 0;
        for (std::uint32_t r = 0; r < ranks; ++r) sums_[r] = sum += std::pow(r + 1.0, -exponent);
    }
    std::uint32_t draw(CounterRng& rng) const {
        auto const at = std::upper_bound(sums_.begin(), sums_.end(), rng.uniform() * sums_.back());
        return static_cast<std::uint32_t>(std::min(at, sums_.end() - 1) - sums_.begin()) + 1;
    }

  private:
    std::vector<double> sums_;
};

train::Shape shape_of(ZipfSamples const& parameters) {
    train::Shape shape;
    shape.model = parameters.model;
    shape.feature_dim = 16;
    shape.attention_dim = 64;
    shape.heads = 2;
    shape.short_tokens = std::min(49U, parameters.tokens);
    shape.search_dim = parameters.model == train::Model::sim ? 16 : 0;
    shape.top_k = std::min(20U, parameters.tokens);
    shape.max_tokens = parameters.tokens;
    shape.context_dim = 4;
    shape.tower = {64, 32};
    shape.features = parameters.features;
    return shape;
}

/// Feature 0 is the item; feature f puts every 20^f items (in hashed order) into one group.
void add_catalogue(ZipfSamples const& parameters, train::Samples& out) {
    out.items = parameters.items;
    double groups = parameters.items;
    for (std::uint32_t f = 0; f < parameters.features; ++f, groups /= 20.0) {
        auto const values = std::max(2U, static_cast<std::uint32_t>(groups));
        std::vector<std::uint32_t> column(std::size_t{parameters.items} + 1, 0);
        for (std::uint32_t item = 1; item <= parameters.items; ++item) {
            auto const group = static_cast<std::uint32_t>(mix64(item) % values);
            column[item] = f == 0 ? item : 1 + group;
        }
        out.item_features.push_back(std::move(column));
        out.feature_vocabularies.push_back(values + 1);
    }
}

}  // namespace

train::Samples make_samples(ZipfSamples const& parameters, std::uint32_t count) {
    train::Samples out;
    out.shape = shape_of(parameters);
    out.schedule = {1, 0, 1e-3, 1e-6, 0.1, 0.01, 1.0, false};
    out.context_vocabulary = 24;
    add_catalogue(parameters, out);
    Zipf const zipf(parameters.items, parameters.exponent);
    out.timeline_offsets.push_back(0);
    for (std::uint32_t sample = 0; sample < count; ++sample) {
        CounterRng rng(1, Purpose::test, sample, 31);
        for (std::uint32_t t = 0; t < parameters.tokens; ++t)
            out.timeline_items.push_back(zipf.draw(rng));
        out.timeline_offsets.push_back(out.timeline_items.size());
        out.train.user.push_back(sample);
        out.train.history_end.push_back(parameters.tokens);
        out.train.item.push_back(zipf.draw(rng));
        out.train.context.push_back(rng.below(out.context_vocabulary));
        out.train.label.push_back(rng.below(4) == 0 ? 1 : 0);
    }
    return out;
}

}  // namespace ckvsim::bench
