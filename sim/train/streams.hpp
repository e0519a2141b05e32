// Sub-streams of Purpose::training. Every random number of a training run comes from CounterRng
// keyed by (seed, stream, position), none from a library's generator: runs may share a process and
// arms of one seed share order, initial values and dropout masks.
#pragma once

#include <cstdint>

namespace ckvsim::train::streams {

inline constexpr std::uint32_t kOrder = 1;    ///< id = epoch
inline constexpr std::uint32_t kInitial = 2;  ///< id = hash of the tensor's name
inline constexpr std::uint32_t kDropout = 3;  ///< id = step; kDropout + l for hidden layer l
inline constexpr std::uint32_t kClusters = 1U << 16;  ///< id = hash of the router's name

}  // namespace ckvsim::train::streams
