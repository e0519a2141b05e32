// The description of every key of a spec (key_visitor.hpp says how it is used).
#pragma once

#include "config/key_visitor.hpp"
#include "config/spec.hpp"

namespace ckvsim::config {

void describe(KeyVisitor& visitor, Spec& spec);

/// Largest numbers of things a spec may name; beyond them the input is a mistake.
inline constexpr std::uint64_t kMostUsers = 10'000'000'000ULL;
inline constexpr double kMostRequests = 1e9;

/// Names of the controls in the order of the enum.
Choices<Control> control_choices();

}  // namespace ckvsim::config
