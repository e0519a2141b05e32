// The forward pass of sim/model/sim.hpp in plain double precision, straight from the weights: the
// oracle that serving kernels are tested against. Shares no code with device/.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/ids.hpp"
#include "model/sim.hpp"

namespace ckvsim::test {

/// Nearest IEEE half (ties to even), magnitudes beyond 65504 become 65504.
double round_to_half(double value);

struct ReferenceResult {
    double logit = 0.0;
    std::vector<std::uint32_t> top_k;  ///< positions in the token list, ascending
    double top_k_gap = 0.0;  ///< lowest chosen minus highest other search score; infinite when all
                             ///< are chosen
    double largest_score = 0.0;  ///< magnitude of the search scores, to judge the gap by
};

/// Pool rows chosen instead of the router's, per item [V+1]; empty = the router's arg-max. Buckets
/// of SDIM likewise, [V+1, hashes].
struct ReferenceIndices {
    std::vector<std::uint32_t> short_k, short_v, long_k, long_v;
    std::vector<std::uint8_t> buckets = {};
};

/// What is stored of every item [V+1][width], when it is not what the weights say (lossy
/// strategies): rows of K and V as they come back, search keys.
struct ReferenceRows {
    using Table = std::vector<std::vector<double>>;
    Table short_k, short_v, long_k, long_v, search;
};

/// Pool rows of HSTU's layers that replace the routers' choices: [layer][K, V][token], the
/// candidate's last. Empty = the routers'.
using StackIndices = std::vector<std::array<std::vector<std::uint32_t>, 2>>;

/// A row of K or V as it is kept in fewer bits, and how far rounding may have moved each value.
struct KeptRow {
    std::vector<double> values;
    std::vector<double> half_steps;
};
/// Rows of HSTU's layers that replace those of the weights, placed as StackIndices are. Empty = the
/// weights'.
using StackRows = std::vector<std::array<std::vector<KeptRow>, 2>>;

struct ReferenceOptions {
    bool half_values = false;  ///< K, V, search keys, pools and user parts are rounded to fp16
    ReferenceIndices indices;
    ReferenceRows rows;  ///< empty tables = from the weights
    StackIndices stack;  ///< HSTU
    StackRows stack_rows;
    /// HSTU: how much worse the kept row of a layer and side (K, V) stands for its row than the
    /// best that could be kept, in place of the half steps of `stack_rows`. Empty = half steps.
    std::function<double(std::size_t, std::size_t, std::vector<double> const&,
                         std::vector<double> const&)>
        stack_loss;
    /// SDIM: how a sum that was made in fp32 comes back from an entry. Empty = sums are in double
    /// precision and come back as they are.
    std::function<std::vector<double>(std::vector<float> const&)> stored_sum;
};

class ReferenceModel {
  public:
    /// Keeps a reference to the weights.
    explicit ReferenceModel(model::SimWeights const& weights, ReferenceOptions options = {});

    /// Logit of one candidate. `history`: oldest first, cut to max_tokens here. `forced_top_k`
    /// replaces the search unless null.
    [[nodiscard]] ReferenceResult score(
        std::span<ItemId const> history, ItemId candidate, std::uint32_t context,
        std::vector<std::uint32_t> const* forced_top_k = nullptr) const;

    /// First pool row with the highest router logit.
    [[nodiscard]] std::uint32_t arg_max(model::SideWeights const& side, ItemId item) const;
    /// Arg-max of every item [V+1]; empty when the side is not collective.
    [[nodiscard]] std::vector<std::uint32_t> arg_max_table(model::SideWeights const& side) const;
    /// SDIM: bucket of every item under every hash [V+1, hashes]; empty for other models.
    [[nodiscard]] std::vector<std::uint8_t> const& bucket_table() const {
        return options_.indices.buckets;
    }

  private:
    using Row = std::vector<double>;
    [[nodiscard]] Row embedding(ItemId item) const;
    [[nodiscard]] Row stored(Row row) const;
    [[nodiscard]] Row side_row(model::SiteWeights const& site, model::SideWeights const& side,
                               std::vector<std::uint32_t> const& indices,
                               ReferenceRows::Table const& rows, ItemId item) const;
    [[nodiscard]] Row attention(model::SiteWeights const& site,
                                std::vector<std::uint32_t> const& k_indices,
                                std::vector<std::uint32_t> const& v_indices,
                                ReferenceRows::Table const& k_rows,
                                ReferenceRows::Table const& v_rows, Row const& candidate,
                                std::vector<ItemId> const& tokens) const;
    /// ETA: minus the number of hyperplanes that part two embeddings.
    [[nodiscard]] double agreement(Row const& a, Row const& b) const;
    void search(std::span<ItemId const> tokens, Row const& candidate,
                ReferenceResult& result) const;
    [[nodiscard]] Row long_attention(std::span<ItemId const> tokens, Row const& candidate,
                                     std::vector<std::uint32_t> const* forced_top_k,
                                     ReferenceResult& result) const;
    [[nodiscard]] std::vector<std::uint8_t> make_bucket_table() const;
    /// SDIM: sum of the tokens that share the candidate's bucket of one hash.
    [[nodiscard]] Row bucket_sum(std::span<ItemId const> tokens, ItemId candidate,
                                 std::size_t hash) const;
    [[nodiscard]] Row bucket_mean(std::span<ItemId const> tokens, ItemId candidate) const;
    [[nodiscard]] Row query(model::SiteWeights const& site, Row const& candidate) const;
    [[nodiscard]] Row mean(std::span<ItemId const> tokens) const;
    [[nodiscard]] Row with_context(Row input, std::uint32_t context) const;
    [[nodiscard]] Row stack_output(std::span<ItemId const> tokens, ItemId candidate) const;
    [[nodiscard]] double tower(Row row) const;

    model::SimWeights const& weights_;
    ReferenceOptions options_;
};

}  // namespace ckvsim::test
