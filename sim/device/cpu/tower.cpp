#include "device/cpu/tower.hpp"

#include <algorithm>

#include "core/error.hpp"

namespace ckvsim::device::cpu {
namespace {

/// Rows that go through all layers together: the activations stay in the L2 cache.
constexpr std::size_t kTowerBlock = 64;

}  // namespace

Tower::Tower(model::SimWeights const& weights) {
    for (model::SimWeights::Layer const& from : weights.tower) {
        Layer layer{PackedMatrix(from.w, from.out, from.in), {}};
        layer.bias.assign(layer.matrix.stride, 0.0F);
        std::copy(from.b.begin(), from.b.end(), layer.bias.begin());
        widest_ = std::max(widest_, layer.matrix.stride);
        layers_.push_back(std::move(layer));
    }
}

void Tower::run(float const* features, std::size_t rows, float* logits,
                TowerScratch& scratch) const {
    for (auto& buffer : scratch.rows) reserve_elements(buffer, kTowerBlock * widest_);
    std::size_t const width = layers_.front().matrix.in;
    for (std::size_t first = 0; first < rows; first += kTowerBlock) {
        std::size_t const count = std::min(kTowerBlock, rows - first);
        float const* x = features + first * width;
        std::size_t x_step = width;
        for (std::size_t l = 0; l < layers_.size(); ++l) {
            Layer const& layer = layers_[l];
            float* y = scratch.rows[l % 2].data();
            multiply(x, x_step, count, layer.matrix, y, layer.matrix.stride);
            if (l + 1 < layers_.size())
                add_bias_relu(y, count, layer.matrix.stride, layer.bias.data());
            x = y;
            x_step = layer.matrix.stride;
        }
        for (std::size_t r = 0; r < count; ++r)
            logits[first + r] = x[r * x_step] + layers_.back().bias[0];
    }
}

std::size_t Tower::bytes() const {
    std::size_t bytes = 0;
    for (Layer const& layer : layers_)
        bytes += layer.matrix.bytes() + layer.bias.size() * sizeof(float);
    return bytes;
}

void write_candidates(model::SimWeights const& weights, decode::ScoreRequest const& request,
                      std::size_t width, float* features) {
    std::size_t const d_e = weights.d_e;
    std::size_t const context_dim = weights.shape.context_dim;
    for (std::size_t c = 0; c < request.count; ++c) {
        float* row = features + c * width;
        std::uint32_t const context = request.contexts == nullptr ? 0 : request.contexts[c];
        validate(request.candidates[c] <= weights.items,
                 "device/cpu: a candidate lies beyond the catalogue");
        validate(context < weights.context_vocabulary,
                 "device/cpu: a request context lies beyond its vocabulary");
        std::copy_n(weights.item_embeddings.data() + request.candidates[c] * d_e, d_e, row);
        std::copy_n(weights.context_embeddings.data() + context * context_dim, context_dim,
                    row + width - context_dim);
    }
}

}  // namespace ckvsim::device::cpu
