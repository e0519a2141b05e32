#include "device/cpu/self_attention.hpp"

#include <algorithm>

#include "core/error.hpp"
#include "device/cpu/quantised_rows.hpp"
#include "model/weight_shapes.hpp"

namespace ckvsim::device::cpu {
namespace {

using kv::LayerPart;

/// Tokens whose queries share tiles of rows. A query computes what it does not see of its block,
/// too, and throws it away.
constexpr std::size_t kQueryBlock = 32;
constexpr float kNormEpsilon = 1e-6F;
/// Queries that read rows of a type as they are: more of them share one conversion, which pays
/// sooner where codes have to be taken apart. Neither changes a bit.
constexpr std::size_t few_queries(kv::ValueType type) {
    constexpr std::size_t kOfInt8 = 4;
    constexpr std::size_t kOfInt4 = 2;
    return type == kv::ValueType::int8 ? kOfInt8 : kOfInt4;
}

/// attend() on rows as the call has them.
void attend_stored(AttentionCall const& call, AlignedVector<float>& scratch) {
    if (is_quantised(call.row_type)) {
        attend_quantised(call, reserve_elements(scratch, attention_weights(call)));
    } else {
        attend(call, reserve_elements(scratch, attention_scratch(call)));
    }
}

/// Columns of a layer's biases: one per distance, and what the kernel may read beyond.
std::size_t bias_columns(std::size_t max_tokens) {
    return padded(max_tokens + 1 + kQueryBlock) + kLanePad;
}

}  // namespace

SelfAttention::Layer::Layer(model::SimWeights const& weights, kv::StrategyParams const& strategy,
                            std::uint32_t number, std::array<SideCodes, 2> const* codes)
    : sides{StackSide(weights, weights.stack[number].site.k, strategy, 2 * number,
                      codes == nullptr ? nullptr : &(*codes)[0]),
            StackSide(weights, weights.stack[number].site.v, strategy, 2 * number + 1,
                      codes == nullptr ? nullptr : &(*codes)[1])},
      gate(weights.stack[number].gate, weights.shape.attention_dim, weights.d_e),
      wq(weights.stack[number].site.wq, weights.shape.attention_dim, weights.d_e),
      wo(weights.stack[number].site.wo, weights.d_e, weights.shape.attention_dim) {
    std::size_t const farthest = weights.shape.max_tokens;
    std::size_t const step = bias_columns(farthest);
    bias.assign(weights.shape.heads * step, 0.0F);
    for (std::size_t h = 0; h < weights.shape.heads; ++h) {
        float const* learnt =
            weights.stack[number].position_bias.data() + h * model::kPositionBuckets;
        for (std::size_t distance = 0; distance <= farthest; ++distance) {
            bias[h * step + farthest - distance] =
                learnt[model::position_bucket(static_cast<std::uint32_t>(distance))];
        }
    }
}

SelfAttention::SelfAttention(model::SimWeights const& weights, kv::StrategyParams const& strategy,
                             kv::EntryLayout const& layout, StackCodes codes)
    : weights_(weights),
      layout_(layout),
      codes_(std::move(codes)),
      row_type_(codes_.empty() ? strategy.value_type : kv::ValueType::fp32),
      d_(weights.shape.attention_dim),
      d_e_(weights.d_e),
      heads_(weights.shape.heads),
      max_tokens_(weights.shape.max_tokens),
      state_step_(padded(d_e_)),
      row_step_(padded(d_)),
      bias_step_(bias_columns(max_tokens_)) {
    for (std::uint32_t l = 0; l < weights.shape.layers; ++l)
        layers_.emplace_back(weights, strategy, l, codes_.empty() ? nullptr : &codes_[l]);
}

template <class Byte>
std::array<SidePlaces<Byte>, 2> SelfAttention::cells_of(Byte* entry, std::uint32_t capacity,
                                                        std::uint32_t layer) const {
    auto const offsets = layout_.offsets(capacity);
    auto const at = [&](LayerPart part) {
        return entry + offsets[static_cast<std::size_t>(kv::layer_section(layer, part))];
    };
    return {SidePlaces<Byte>{at(LayerPart::k), at(LayerPart::k_index), at(LayerPart::k_user)},
            SidePlaces<Byte>{at(LayerPart::v), at(LayerPart::v_index), at(LayerPart::v_user)}};
}

SelfAttention::OpenCells SelfAttention::candidate_cells(Layer const& layer, std::size_t count,
                                                        StackScratch& scratch) const {
    OpenCells cells;
    for (std::size_t which = 0; which < 2; ++which) {
        StackSide const& side = layer.sides[which];
        auto* parts = scratch.cells.data() + 3 * which;
        cells[which].rows = reserve_elements(parts[0], count * side.row_bytes());
        cells[which].indices = reserve_elements(parts[1], count * side.index_bytes());
        cells[which].users = reserve_elements(parts[2], count * side.user_bytes());
    }
    return cells;
}

void SelfAttention::begin(ItemId const* items, std::size_t count, StackScratch& scratch) const {
    float* state = reserve_elements(scratch.state, count * state_step_);
    reserve_elements(scratch.normed, count * state_step_);
    reserve_elements(scratch.change, count * state_step_);
    reserve_elements(scratch.gate, count * row_step_);
    reserve_elements(scratch.q, count * row_step_);
    reserve_elements(scratch.out, count * row_step_);
    for (std::size_t i = 0; i < count; ++i) {
        validate(items[i] <= weights_.items, "device/cpu: an item lies beyond the catalogue");
        std::copy_n(weights_.item_embeddings.data() + std::size_t{items[i]} * d_e_, d_e_,
                    state + i * state_step_);
    }
}

void SelfAttention::store(Layer const& layer, ItemId const* items, std::size_t count,
                          OpenCells const& cells, std::size_t first, StackScratch& scratch) const {
    normalise(scratch.state.data(), state_step_, count, d_e_, scratch.normed.data(), kNormEpsilon);
    for (std::size_t which = 0; which < 2; ++which) {
        layer.sides[which].store(scratch.normed.data(), state_step_, items, count, cells[which],
                                 first, scratch.sides[which]);
    }
}

void SelfAttention::project(Layer const& layer, std::size_t count, StackScratch& scratch) const {
    for (auto const& [matrix, out] :
         {std::pair{&layer.gate, &scratch.gate}, std::pair{&layer.wq, &scratch.q}}) {
        multiply(scratch.normed.data(), state_step_, count, *matrix, out->data(), row_step_);
        silu(out->data(), count * row_step_);
    }
}

AttentionCall SelfAttention::make_call(Layer const& layer, Cells const& cells, std::size_t tokens,
                                       std::size_t queries, bool fast,
                                       StackScratch& scratch) const {
    AttentionCall call;
    call.q = scratch.q.data();
    call.q_step = call.out_step = row_step_;
    call.out = scratch.out.data();
    call.heads = heads_;
    call.head_dim = d_ / heads_;
    call.row_type = row_type_;
    call.weighting = Weighting::silu;
    call.scale = 1.0F;
    call.divisor = static_cast<float>(max_tokens_);
    call.bias = layer.bias.data();
    call.bias_step = bias_step_;
    call.k = layer.sides[0].find(cells[0], tokens, fast, scratch.sides[0]);
    call.v = layer.sides[1].find(cells[1], tokens, fast, scratch.sides[1]);
    call.tokens = tokens;
    call.user_step = padded(tokens);
    if (!is_quantised(row_type_) || queries <= few_queries(row_type_)) return call;
    layer.sides[0].make_floats(call.k.count(tokens), scratch.sides[0]);
    layer.sides[1].make_floats(call.v.count(tokens), scratch.sides[1]);
    call.row_type = kv::ValueType::fp32;
    return call;
}

/// Queries of candidates, which see all tokens. Biases follow the order in which these are read.
void SelfAttention::attend_to_all(AttentionCall call, TokenOrder const& order, std::size_t count,
                                  StackScratch& scratch) const {
    std::size_t const step = padded(call.tokens);
    float* bias = reserve_elements(scratch.bias, heads_ * step);
    for (std::size_t h = 0; h < heads_; ++h) {
        float const* by_token = call.bias + h * bias_step_ + (max_tokens_ - call.tokens);
        for (std::size_t i = 0; i < call.tokens; ++i) bias[h * step + i] = by_token[order.at(i)];
        std::fill(bias + h * step + call.tokens, bias + (h + 1) * step, 0.0F);
    }
    call.bias = bias;
    call.bias_step = step;
    call.count = count;
    attend_stored(call, scratch.scores);
}

/// Queries of the tokens `first` on, in blocks that see the same rows but for their own tokens.
void SelfAttention::attend_causally(AttentionCall call, std::size_t first, std::size_t count,
                                    StackScratch& scratch) const {
    call.bias_shift = 1;
    float const* bias = call.bias;
    for (std::size_t block = 0; block < count; block += kQueryBlock) {
        std::size_t const position = first + block;
        call.count = std::min(kQueryBlock, count - block);
        call.tokens = position + call.count;
        call.seen = position + 1;
        call.bias = bias + (max_tokens_ - position);
        call.q = scratch.q.data() + block * row_step_;
        call.out = scratch.out.data() + block * row_step_;
        attend_stored(call, scratch.scores);
    }
}

/// What a candidate adds to its own output: its K and V are its own, so no rows are shared.
void SelfAttention::attend_to_itself(Layer const& layer, Cells const& own, std::size_t count,
                                     StackScratch& scratch) const {
    std::size_t const head_dim = d_ / heads_;
    float* k = reserve_elements(scratch.own_row[0], row_step_);
    float* v = reserve_elements(scratch.own_row[1], row_step_);
    // One score per candidate and head, padded as silu() wants them.
    std::size_t const scores = padded(heads_);
    float* weights = reserve_elements(scratch.scores, scores);
    for (std::size_t c = 0; c < count; ++c) {
        layer.sides[0].load(own[0], c, k, scratch.sides[0]);
        layer.sides[1].load(own[1], c, v, scratch.sides[1]);
        float const* q = scratch.q.data() + c * row_step_;
        std::fill_n(weights, scores, 0.0F);
        for (std::size_t h = 0; h < heads_; ++h) {
            weights[h] = layer.bias[h * bias_step_ + max_tokens_] +
                         dot(q + h * head_dim, k + h * head_dim, head_dim);
        }
        silu(weights, scores);
        float* out = scratch.out.data() + c * row_step_;
        for (std::size_t h = 0; h < heads_; ++h) {
            add_scaled(weights[h] / static_cast<float>(max_tokens_), v + h * head_dim, head_dim,
                       out + h * head_dim);
        }
    }
}

/// state += wo (norm(out) * gate)
void SelfAttention::update(Layer const& layer, std::size_t count, StackScratch& scratch) const {
    float* out = scratch.out.data();
    normalise(out, row_step_, count, d_, out, kNormEpsilon);
    for (std::size_t i = 0; i < count * row_step_; ++i) out[i] *= scratch.gate[i];
    multiply(out, row_step_, count, layer.wo, scratch.change.data(), state_step_);
    for (std::size_t i = 0; i < count * state_step_; ++i) scratch.state[i] += scratch.change[i];
}

void SelfAttention::extend(std::byte* entry, std::uint32_t tokens, std::uint32_t capacity,
                           std::span<ItemId const> items, StackScratch& scratch) const {
    if (items.empty()) return;
    validate(tokens + items.size() <= max_tokens_,
             "device/cpu: an entry of HSTU holds at most max_tokens tokens");
    begin(items.data(), items.size(), scratch);
    for (std::uint32_t l = 0; l < layers_.size(); ++l) {
        Layer const& layer = layers_[l];
        store(layer, items.data(), items.size(), cells_of(entry, capacity, l), tokens, scratch);
        if (l + 1 == layers_.size()) return;  // nobody reads a token's output of the last layer
        project(layer, items.size(), scratch);
        Cells const cells = cells_of<std::byte const>(entry, capacity, l);
        // Shared or reordered rows would make the bits depend on how many tokens a call adds.
        attend_causally(
            make_call(layer, cells, tokens + items.size(), items.size(), false, scratch), tokens,
            items.size(), scratch);
        update(layer, items.size(), scratch);
    }
}

void SelfAttention::read(decode::EntryRef const& entry, ItemId const* candidates, std::size_t count,
                         float* outputs, std::size_t step, StackScratch& scratch) const {
    validate(entry.tokens <= max_tokens_,
             "device/cpu: an entry of HSTU holds at most max_tokens tokens");
    begin(candidates, count, scratch);
    for (std::uint32_t l = 0; l < layers_.size(); ++l) {
        Layer const& layer = layers_[l];
        OpenCells const own = candidate_cells(layer, count, scratch);
        store(layer, candidates, count, own, 0, scratch);
        project(layer, count, scratch);
        Cells const cells = cells_of(entry.data, entry.capacity, l);
        attend_to_all(make_call(layer, cells, entry.tokens, count, true, scratch),
                      layer.sides[0].fast_order(entry.tokens), count, scratch);
        attend_to_itself(layer,
                         {SideCells{own[0].rows, own[0].indices, own[0].users},
                          SideCells{own[1].rows, own[1].indices, own[1].users}},
                         count, scratch);
        update(layer, count, scratch);
    }
    for (std::size_t c = 0; c < count; ++c)
        std::copy_n(scratch.state.data() + c * state_step_, d_e_, outputs + c * step);
}

std::size_t SelfAttention::bytes(std::string const& what) const {
    std::size_t projections = 0;
    std::size_t routers = 0;
    std::size_t biases = 0;
    for (std::uint32_t l = 0; l < layers_.size(); ++l) {
        Layer const& layer = layers_[l];
        std::string const name = model::layer_name(l);
        if (what == name + ".k.pool") return layer.sides[0].pool_bytes();
        if (what == name + ".v.pool") return layer.sides[1].pool_bytes();
        for (std::size_t side = 0; side < 2 && !codes_.empty(); ++side) {
            std::string const of = name + (side == 0 ? ".k" : ".v");
            SideCodes const& fitted = codes_[l][side];
            if (fitted.basis && what == of + ".basis") return fitted.basis->bytes();
            if (fitted.codebook && what == of + ".codebook") return fitted.codebook->bytes();
        }
        projections += layer.gate.bytes() + layer.wq.bytes() + layer.wo.bytes();
        for (StackSide const& side : layer.sides) {
            projections += side.projection_bytes();
            routers += side.router_bytes();
        }
        biases += layer.bias.size() * sizeof(float);
    }
    if (what == "projections") return projections;
    if (what == "router") return routers;
    return what == "position_bias" ? biases : 0;
}

}  // namespace ckvsim::device::cpu
