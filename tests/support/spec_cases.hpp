// A small valid spec as text, for tests that break it.
#pragma once

#include <stdexcept>
#include <string>

namespace ckvsim::test {

inline std::string base_spec() {
    return R"({
  "schema_version": 1,
  "name": "base",
  "seed": 7,
  "workload": {"kind": "synthetic", "synthetic": {"users": 100, "items": 200, "clusters": 10}},
  "model": {"attention_dim": 16, "heads": 2, "top_k": 8, "max_tokens": 64, "tower": [8]},
  "training": {"seeds": [1, 2], "dropout": 0.1},
  "arms": [
    {"name": "full", "weights": {"variant": "full"}, "strategy": {"kind": "full"}},
    {"name": "coll", "weights": {"variant": "collective", "scope": "all", "d_u": 1, "m": 20},
     "strategy": {"kind": "collective", "index_bytes": 1}, "measure": ["memory", "accuracy"]}
  ],
  "fleet": {"nodes": 2, "node": {"max_batch": 4}},
  "measurements": {
    "accuracy": {"controls": ["no_history", "m1"]},
    "memory": {"user_counts": [1e4, 1e9]},
    "executed": {"traffic": {"kind": "poisson", "duration_s": 2}, "warmup_s": 0.5}
  },
  "files": {"platform": "p.json"}
})";
}

/// `text` with its first `from` replaced; throws when there is none, so that a case cannot rot.
inline std::string with(std::string text, std::string const& from, std::string const& to) {
    auto const at = text.find(from);
    if (at == std::string::npos) throw std::logic_error("no '" + from + "' in the base text");
    return text.replace(at, from.size(), to);
}

}  // namespace ckvsim::test
