// What serving one request costs on a fleet node: bytes and flops by formula, for any model shape
// and way of keeping histories. Coarser than decode/nominal_work.hpp (which follows one trained
// model section by section) and wider: it covers models whose K and V depend on items, on events or
// on the sequence, and shared tables of any catalogue size.
//
// Symbols: n interactions of the request's history (capped at max_interactions), t tokens a site
// attends over, C candidates, V catalogue items, d attention width, d_e embedding width, b bytes of
// a stored value, m pool rows, d_u values per user token. A multiply-add is two flops. Pool rows
// are charged at the memory rate row by row, as if no cache held them: the side that does not
// favour CollectiveKV.
//
// A model over the sequence (HSTU) is charged as it is served (ADR 11, decode/nominal_work.hpp; a
// property test holds the two together): candidates make their own K and V in every layer, through
// the routers where there are pools; tokens end at the last layer's K and V.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace ckvsim::fleet {

/// What a token's K and V depend on (DESIGN "Terms"); decides which strategies are exact.
enum class ModelClass : std::uint8_t { item, event, sequence };

/// How histories are kept between requests.
enum class Keeping : std::uint8_t {
    recompute,       ///< ids; K and V are made at every request
    full,            ///< K and V of every token, per user
    item_table,      ///< ids; K and V of every item in a shared table
    collective,      ///< pool index and d_u values per user token
    collective_item  ///< ids; pool index and d_u values of every item in a shared table
};

enum class StoredType : std::uint8_t { fp32, fp16, int8 };

std::string to_string(ModelClass value);
std::string to_string(Keeping value);
std::string to_string(StoredType value);

/// Attention over part of the history.
struct Site {
    std::uint32_t last = 0;    ///< newest interactions it sees; 0 = all
    std::uint32_t rows = 0;    ///< V rows that a candidate reads (top-k); 0 = all it sees
    std::uint32_t layers = 1;  ///< copies of the site, each with its own K and V

    bool operator==(Site const&) const = default;
};

/// Shape of a model that is served.
struct ServingModel {
    std::string name = "twin";
    ModelClass model_class = ModelClass::item;
    std::uint32_t attention_dim = 256;         ///< d
    std::uint32_t embedding_dim = 128;         ///< d_e
    std::uint32_t tokens_per_interaction = 1;  ///< HSTU with action tokens: 2
    std::uint32_t max_interactions = 1000;     ///< longest history served
    std::vector<Site> sites = {{49, 0, 1}, {0, 100, 1}};
    std::vector<std::uint32_t> tower = {1024, 512, 256};

    bool operator==(ServingModel const&) const = default;
};

/// The paper's shapes (FACTS section 1): TWIN with a short branch of 49 and top-100 of all, SIM
/// alike, HSTU with two layers over item and action tokens.
ServingModel twin_preset();
ServingModel hstu_preset();

struct KeepingParams {
    Keeping keeping = Keeping::full;
    StoredType type = StoredType::fp16;  ///< of K, V, pools and tables; int8 for full only
    std::uint32_t d_u = 1;               ///< collective
    std::uint32_t m = 1000;              ///< collective: pool rows a side and layer
    std::uint32_t index_bytes = 2;       ///< collective

    bool operator==(KeepingParams const&) const = default;
};

/// A table that all users share. Rows that do not fit the GPU's memory are read over the link or
/// the network.
struct SharedTable {
    std::string what;
    double bytes = 0.0;  ///< rows * row_bytes
    double row_bytes = 0.0;
    double rows = 0.0;
    // Rows read: per candidate, per interaction of the request, per interaction that is encoded.
    double reads_per_candidate = 0.0;
    double reads_per_interaction = 0.0;
    double reads_per_encoded = 0.0;
};

/// Bytes and flops of one stage.
struct StageWork {
    double bytes = 0.0;
    double flops = 0.0;
};

/// Why the strategy cannot serve the model; nullopt = it applies.
std::optional<std::string> refusal(ServingModel const& model, KeepingParams const& keeping);

/// Costs of one (model, strategy, V, C). Immutable after construction.
class ServingCosts {
  public:
    /// Throws InternalError when refusal() gives a reason.
    ServingCosts(ServingModel const& model, KeepingParams const& keeping, double catalogue_items,
                 std::uint32_t candidates);

    [[nodiscard]] std::uint32_t max_interactions() const { return max_; }
    [[nodiscard]] std::uint32_t candidates() const { return candidates_; }
    /// Bytes a user's entry of n interactions occupies in a tier, in whole cache lines.
    [[nodiscard]] std::uint64_t entry_bytes(std::uint32_t n) const { return entry_bytes_[n]; }
    /// Attention of all candidates over the kept history.
    [[nodiscard]] StageWork const& decode(std::uint32_t n) const { return decode_[n]; }
    /// Making an entry of n interactions from ids.
    [[nodiscard]] StageWork const& prefill(std::uint32_t n) const { return prefill_[n]; }
    /// Adding `events` interactions to an entry that then holds n.
    [[nodiscard]] StageWork append(std::uint32_t n, std::uint32_t events) const;
    /// The tower over the candidates.
    [[nodiscard]] StageWork const& score() const { return score_; }
    /// Weights and routers: read once a batch.
    [[nodiscard]] double batch_bytes() const { return batch_bytes_; }
    /// Weights, routers and pools: resident in every GPU's memory.
    [[nodiscard]] double resident_bytes() const { return resident_bytes_; }
    [[nodiscard]] std::vector<SharedTable> const& tables() const { return tables_; }
    /// Same scores as full fp32 of the same weights, up to rounding.
    [[nodiscard]] bool exact() const { return exact_; }
    /// Entries hold what the model made, so a new model makes them stale; false: ids alone.
    [[nodiscard]] bool entries_from_model() const { return entries_from_model_; }
    /// Entries are codes that each depend on an item alone, so one that stays stays good.
    [[nodiscard]] bool codes_by_item() const { return codes_by_item_; }

  private:
    void add_site(ServingModel const& model, KeepingParams const& keeping, Site const& site);
    void add_tables(ServingModel const& model, KeepingParams const& keeping, double items);

    std::uint32_t max_;
    std::uint32_t candidates_;
    std::vector<std::uint64_t> entry_bytes_;
    std::vector<StageWork> decode_;
    std::vector<StageWork> prefill_;
    StageWork append_event_;           ///< projections of one interaction
    StageWork append_event_per_held_;  ///< attention of one new interaction, per interaction held
    StageWork score_;
    double batch_bytes_ = 0.0;
    double resident_bytes_ = 0.0;
    std::vector<SharedTable> tables_;
    bool exact_ = true;
    bool entries_from_model_ = true;
    bool codes_by_item_ = false;
};

}  // namespace ckvsim::fleet
