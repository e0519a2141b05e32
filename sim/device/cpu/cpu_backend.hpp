// CPU implementation of decode::Backend: Highway kernels with run-time dispatch, a fixed summation
// order (the `reproducible` mode: results do not depend on batch, threads or ranks on one
// instruction set).
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "decode/backend.hpp"
#include "workload/population.hpp"

namespace ckvsim::device::cpu {

/// Choices per item to use instead of the kernels' own (verification only): arg-max pool rows [V+1]
/// and SDIM's buckets [V+1, hashes]. Empty = the kernels' own.
struct ForcedIndices {
    std::vector<std::uint32_t> short_k, short_v, long_k, long_v;
    std::vector<std::uint8_t> buckets;
};

struct BackendOptions {
    bool memo_tables = true;  ///< allow EncodeMode::memo (per-item tables are made on construction,
                              ///< OpenMP-parallel)
    ForcedIndices const* forced = nullptr;
    /// low_rank, vq and the control of mean keys: histories that they are fitted to, oldest item
    /// first, read on construction alone. HSTU takes the rows of their tokens (fit_stack_codes());
    /// other models the catalogue's rows, weighted by them (row_weights()), all alike where none
    /// are given. Others read none.
    std::span<std::vector<ItemId> const> histories = {};
};

/// Refuses a strategy that does not apply (InternalError with kv::refusal's text).
std::unique_ptr<decode::Backend> make_backend(std::shared_ptr<model::SimWeights const> weights,
                                              kv::StrategyParams const& strategy,
                                              workload::Catalogue const& catalogue,
                                              BackendOptions const& options = {});

/// The router's arg-max per item of a collective side, as the kernels compute it: [V+1]; empty when
/// not collective.
std::vector<std::uint32_t> arg_max_indices(model::SimWeights const& weights,
                                           model::SideWeights const& side);

/// SDIM's buckets of every item, as the kernels compute them: [V+1, hashes].
std::vector<std::uint8_t> item_buckets(std::shared_ptr<model::SimWeights const> const& weights);

/// Name of the instruction set the kernels dispatch to, for provenance ("AVX3", "AVX2", ...).
std::string instruction_set();

}  // namespace ckvsim::device::cpu
