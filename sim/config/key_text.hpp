// Ranges in words, the same in messages and in the key reference.
#pragma once

#include <string>

#include "config/key_visitor.hpp"

namespace ckvsim::config {

std::string allowed(IntegerRange const& range);  ///< "1 .. 64", "1, 2, 4"
std::string allowed(RealRange const& range);     ///< "> 0 and <= 1"
std::string allowed(TextRule const& rule);
std::string allowed(ListRule const& rule);
/// Short decimal text that reads back as the same double; whole numbers without exponent.
std::string number_text(double value);

}  // namespace ckvsim::config
