// Facts about a variant's weights that the file loader, the random weights and the byte accounting
// share.
#pragma once

#include <string>
#include <vector>

#include "model/sim.hpp"

namespace ckvsim::model {

/// Value of the attribute "format" of weight files.
inline constexpr char const* kWeightsFormat = "ckvsim-sim-1";

/// False for the controls that attend to nothing (mean_pool, no_history): their files hold no site
/// tensors.
bool has_attention(Variant variant);

/// True when the long branch keeps pool codes too.
bool long_site_is_collective(VariantParams const& params);

/// Width of one row of tower input: the candidate, what the attention made of it and the context.
std::uint32_t tower_inputs(SimShape const& shape, std::uint32_t d_e);

/// "layer1", "layer2", ...: the site of a stack's layer, counted from 0, in weight files and
/// ledgers.
std::string layer_name(std::uint32_t layer);

/// True for the widths of a signature: those of a machine's words.
constexpr bool is_signature_width(std::uint32_t bits) {
    return bits == 8 || bits == 16 || bits == 32 || bits == 64;
}

/// Throws InternalError when the widths contradict each other (heads not dividing d, d_u >= d, zero
/// widths).
void check_shape(SimShape const& shape, VariantParams const& variant);

/// [V+1, F * feature_dim]: concatenation of the feature rows of every item.
std::vector<float> gather_item_embeddings(std::vector<std::vector<float>> const& tables,
                                          workload::Catalogue const& catalogue,
                                          std::uint32_t feature_dim);

}  // namespace ckvsim::model
