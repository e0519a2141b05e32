// A population that differs from another in exactly one history token: the self-check of the
// logical hash.
#pragma once

#include <memory>

#include "workload/population.hpp"

namespace ckvsim::workload {

/// Replaces token `position` of `user`'s stored history by the next item of the catalogue (cyclic).
/// Throws InternalError when the user or the position does not exist or the catalogue has one
/// item. `base` is kept alive.
std::unique_ptr<Population> perturb_token(std::unique_ptr<Population> base, UserId user,
                                          std::uint32_t position);

}  // namespace ckvsim::workload
