// Strategies: how a user's history is kept between requests. A strategy is a keying (what a stored
// value belongs to) times an encoding (how a K or V is represented). Pure: parameters,
// applicability, byte layout, ledger. The kernels that read these bytes are in device/.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/sim.hpp"

namespace ckvsim::kv {

enum class StrategyKind : std::uint8_t {
    recompute,   ///< ids only; K and V are projected at every request
    full,        ///< K and V of every token, per user
    item_table,  ///< ids per user; K, V and search keys once per catalogue item (exact where they
                 ///< depend on the item)
    collective,  ///< CollectiveKV: pool index and d_u scalars, per user token or per item
    low_rank,  ///< per token, coefficients of K and V in principal axes (items' rows, HSTU tokens')
    vq         ///< per token, product codes of K and V: one codeword per subspace
};
enum class Keying : std::uint8_t { user_token, item };
/// Type of stored values. int8 and int4 rows are asymmetric: value = zero + scale * code, codes
/// rounded to nearest between the least and the largest value of the row (int8) or of each
/// kInt4Group of its values (int4); scale and zero are stored as fp16 with the row.
enum class ValueType : std::uint8_t { fp32, fp16, int8, int4 };
inline constexpr std::uint32_t kInt4Group = 64;
enum class SearchKeys : std::uint8_t { stored, item_table };

std::string to_string(StrategyKind kind);
std::string to_string(Keying keying);
std::string to_string(ValueType type);
std::string to_string(SearchKeys keys);
/// Bytes of one value of fp32 or fp16; rows of int8 and int4 hold steps, too: row_bytes().
constexpr std::uint32_t value_bytes(ValueType type) { return type == ValueType::fp32 ? 4 : 2; }
/// Bytes of a row of `width` values as stored: scale and zero of int8 and int4 included.
std::uint32_t row_bytes(ValueType type, std::uint32_t width);
/// Type of search keys beside K and V of a type. int4 keeps int8 keys: which tokens are attended to
/// is a hard choice, and a key is narrow, so that 4 bits would save little.
constexpr ValueType search_type(ValueType type) {
    return type == ValueType::int4 ? ValueType::int8 : type;
}
/// Bytes that a token, or an item of a table, has for the search alone: a key of SIM, a signature
/// of ETA (bits, whatever the type); 0 in other models.
std::uint32_t search_bytes(model::SimShape const& shape, ValueType type);
/// Type of CollectiveKV's d_u user values: fp16 where the pools are int8, because a scale and a
/// zero would be wider than the values.
constexpr ValueType user_type(ValueType type) {
    return type == ValueType::int8 ? ValueType::fp16 : type;
}

struct StrategyParams {
    StrategyKind kind = StrategyKind::full;
    Keying keying = Keying::user_token;  ///< collective only
    /// Stored K/V or coefficients, search keys, SDIM's sums and user part; pools too. vq: search
    /// keys and sums only.
    ValueType value_type = ValueType::fp32;
    std::uint32_t index_bytes = 2;  ///< collective: 1, 2 or 4; must hold m - 1
    /// collective: where the search keys live; SDIM: whether users keep sums, or ids alone from
    /// which requests make them with the items' buckets.
    SearchKeys search_keys = SearchKeys::stored;
    bool random_indices = false;  ///< control: pool rows by hash instead of the router's arg-max
    bool mean_keys = false;       ///< control, full: every K row is the mean of the catalogue's
    std::uint32_t rank = 8;       ///< low_rank: r coefficients per row; at most d
    std::uint32_t subspaces = 8;  ///< vq: equal parts of a row, one code byte each; divides d
    std::uint32_t code_bits = 8;  ///< vq: 2^code_bits codewords per subspace, 1 to 8

    bool operator==(StrategyParams const&) const = default;
};

/// Why a strategy cannot serve a set of weights; nullopt = it applies. Example: `collective` on
/// `full` weights.
std::optional<std::string> refusal(StrategyParams const& params,
                                   model::VariantParams const& weights, model::ModelKind model);

/// Why a strategy does not fit a model's shape; nullopt = it does. Example: a rank above d.
std::optional<std::string> misfit(StrategyParams const& params, model::SimShape const& shape);

/// Codewords per subspace of `vq` over a catalogue: 2^code_bits, at most one per item.
constexpr std::uint32_t codewords(StrategyParams const& params, std::uint32_t items) {
    std::uint32_t const wanted = 1U << params.code_bits;
    return wanted < items ? wanted : (items == 0 ? 1 : items);
}

/// True when the strategy's scores equal full KV fp32 of the same weights (up to rounding), for
/// HSTU as long as no token has left the window: then full is stale and recompute is not
/// (append_rule).
bool is_exact(StrategyParams const& params);

/// What an entry is after newer tokens were appended. `exact`: the bytes that encode() of the whole
/// history would write. `stale_after_window`: the same as long as no token falls out; from then on
/// the kept K and V of HSTU's layers beyond the first still carry what tokens outside the window
/// told them, until the entry is encoded anew.
enum class AppendRule : std::uint8_t { exact, stale_after_window };
AppendRule append_rule(StrategyParams const& params, model::SimShape const& shape);
std::string to_string(AppendRule rule);

/// What becomes of an entry that was appended to since the user's first event, one event at a time,
/// once his history has outgrown the window. Where appends are exact (AppendRule) all are the same.
enum class WindowPolicy : std::uint8_t {
    encoded,  ///< has not lived: encoded when the first of the scored requests comes, then appended
              ///< to between requests, all new events at once
    slide,    ///< the oldest token falls out with every new one; K and V that remember it stay
    reencode,   ///< as slide, but encoded anew from the ids after every `block_tokens` such events
    drop_block  ///< the oldest `block_tokens` fall out together, then there is room for as many
};
struct WindowParams {
    WindowPolicy policy = WindowPolicy::encoded;
    std::uint32_t block_tokens = 16;  ///< reencode, drop_block

    bool operator==(WindowParams const&) const = default;
};
std::string to_string(WindowPolicy policy);
/// Why a window does not fit entries of these parameters; nullopt = it does. Example: a block of
/// the whole window.
std::optional<std::string> window_misfit(WindowParams const& window, StrategyParams const& params,
                                         model::SimShape const& shape);

/// The storage sections of one user's entry. Every section but long_sums is an array over tokens.
enum class Section : std::uint8_t {
    ids,  ///< u32 item ids, all tokens; beside long_sums they tell what a leaving token takes along
    short_k,
    short_v,
    search,  ///< SIM's keys, ETA's signatures; TWIN searches long_k
    long_k,
    long_v,  ///< value type; [d] or [search_dim] per token; low_rank [r], vq [subspaces] codes
    short_k_index,
    short_k_user,
    short_v_index,
    short_v_user,  ///< collective codes, short branch
    long_k_index,
    long_k_user,
    long_v_index,
    long_v_user,   ///< collective codes, long branch
    long_sums,     ///< SDIM: a row [d_e] of value type per bucket, as many for any history
    first_layer_,  ///< from here on layer_section()
    count_ = first_layer_ + 6 * model::kMaxLayers
};
inline constexpr std::size_t kSections = static_cast<std::size_t>(Section::count_);

/// What an entry keeps of one layer of HSTU: rows, or codes of collective.
enum class LayerPart : std::uint8_t { k, v, k_index, k_user, v_index, v_user };
inline constexpr std::size_t kLayerParts = 6;
constexpr Section layer_section(std::uint32_t layer, LayerPart part) {
    return static_cast<Section>(static_cast<std::size_t>(Section::first_layer_) +
                                layer * kLayerParts + static_cast<std::size_t>(part));
}
std::string to_string(Section section);
/// "short", "long", "search" or "layer1", ...: the attention site a section belongs to; ids belong
/// to "all".
std::string site_of(Section section);

/// Bytes of one K or V row outside pools, as the strategy stores it.
std::uint32_t stored_row_bytes(model::SimShape const& shape, StrategyParams const& strategy);

/// True when users keep ids alone and rows lie in tables, or are made at the request.
bool keeps_ids_alone(StrategyParams const& strategy);

/// True when entries of the strategy hold SDIM's sums; else requests make them from ids.
bool keeps_sums(model::SimShape const& shape, StrategyParams const& strategy);

/// Byte layout of one user's entry for a given capacity in tokens. Sections start 16-byte aligned,
/// in enum order; short-branch sections hold at most short_tokens tokens (the newest), the others
/// up to `capacity`; long_sums is as long for one token as for any number, and empty for none.
class EntryLayout {
  public:
    /// `features`: item features of the catalogue. SDIM's sums alone depend on them; a layout that
    /// holds sums is refused without (InternalError).
    EntryLayout(model::SimShape const& shape, model::VariantParams const& variant,
                StrategyParams const& strategy, std::uint32_t features = 0);

    [[nodiscard]] bool has(Section section) const {
        return bytes_per_token_[index(section)] != 0 || fixed_bytes(section) != 0;
    }
    /// 0 for a section that does not grow with the tokens.
    [[nodiscard]] std::uint32_t bytes_per_token(Section section) const {
        return bytes_per_token_[index(section)];
    }
    /// Bytes that the section has for any number of tokens from one on.
    [[nodiscard]] std::size_t fixed_bytes(Section section) const {
        return section == Section::long_sums ? sums_bytes_ : 0;
    }
    /// Tokens the section holds when the entry has room for `capacity` tokens; 0 for one that does
    /// not grow with them.
    [[nodiscard]] std::uint32_t tokens_in(Section section, std::uint32_t capacity) const;
    /// Offset of a section in an entry of the given capacity.
    [[nodiscard]] std::size_t offset(Section section, std::uint32_t capacity) const;
    /// Offsets of all sections at once; the last element is entry_bytes(capacity).
    [[nodiscard]] std::array<std::size_t, kSections + 1> offsets(std::uint32_t capacity) const;
    /// Whole entry with alignment padding.
    [[nodiscard]] std::size_t entry_bytes(std::uint32_t capacity) const;
    /// Payload only (no padding).
    [[nodiscard]] std::size_t payload_bytes(std::uint32_t tokens) const;
    [[nodiscard]] std::size_t payload_bytes(std::uint32_t tokens, Section section) const;
    /// Moves the newest `kept` of `tokens` tokens to the front of every section. For layouts whose
    /// sections hold all tokens: not those with a short branch.
    void keep_newest(std::byte* entry, std::uint32_t tokens, std::uint32_t kept,
                     std::uint32_t capacity) const;

  private:
    static std::size_t index(Section section) { return static_cast<std::size_t>(section); }
    static bool is_short(Section section);
    std::uint32_t short_tokens_;
    std::array<std::uint32_t, kSections> bytes_per_token_{};
    std::size_t sums_bytes_ = 0;  ///< SDIM's rows of sums
};

/// One shared (not per-user) allocation of a strategy on a GPU or host.
struct SharedBytes {
    std::string what;  ///< for example "short.k.pool", "item_table.long.v", "embeddings", "tower"
    std::size_t bytes = 0;
};
/// Everything shared that serving this strategy needs, predicted from shapes. `items` = V,
/// `context_vocabulary`.
std::vector<SharedBytes> shared_bytes(model::SimShape const& shape,
                                      model::VariantParams const& variant,
                                      StrategyParams const& strategy,
                                      workload::Catalogue const& catalogue,
                                      std::uint32_t context_vocabulary);

/// Ratios of DESIGN honesty rule 3. The paper's counts values, one index as one, in the sites of
/// the scope: (d_u + 1) / d; with a pool on one side alone the other's d values stay: (d_u + 1 + d)
/// / (2 d). The real one divides payload bytes per user by those of `full` fp32 over the whole
/// model.
struct Ratios {
    double paper = 1.0;  ///< 1 when not collective
    double real = 1.0;   ///< per-user payload at `tokens` tokens
    double real_with_shared =
        1.0;  ///< per-user payload + shared bytes over `users` users, against full + its shared
};
Ratios ratios(model::SimShape const& shape, model::VariantParams const& variant,
              StrategyParams const& strategy, workload::Catalogue const& catalogue,
              std::uint32_t context_vocabulary, std::uint32_t tokens, double users);

}  // namespace ckvsim::kv
