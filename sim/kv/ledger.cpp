// Shared bytes and the two kinds of compression ratio.
#include "core/error.hpp"
#include "kv/strategy.hpp"
#include "model/weight_shapes.hpp"

namespace ckvsim::kv {
namespace {

using model::Variant;

/// Collects the shared allocations of one strategy from shapes alone.
class Ledger {
  public:
    Ledger(model::SimShape const& shape, model::VariantParams const& variant,
           StrategyParams const& strategy, workload::Catalogue const& catalogue)
        : shape_(shape),
          variant_(variant),
          strategy_(strategy),
          rows_(std::size_t{catalogue.items} + 1),
          d_e_(catalogue.features.size() * shape.feature_dim) {}

    void add(std::string what, std::size_t bytes) {
        if (bytes != 0) result_.push_back({std::move(what), bytes});
    }

    void add_embeddings(workload::Catalogue const& catalogue, std::uint32_t context_vocabulary) {
        std::size_t floats = std::size_t{context_vocabulary} * shape_.context_dim;
        for (std::uint32_t const rows : catalogue.feature_vocabularies)
            floats += std::size_t{rows} * shape_.feature_dim;
        add("embeddings", floats * sizeof(float));
    }

    void add_tower() {
        std::size_t floats = 0;
        std::size_t in = model::tower_inputs(shape_, static_cast<std::uint32_t>(d_e_));
        for (std::uint32_t const out : shape_.tower) {
            floats += (in + 1) * out;
            in = out;
        }
        add("tower", (floats + in + 1) * sizeof(float));
    }

    /// Per site wq and wo, and per K/V side either w [d, d_e] or the user part [d_u, d_e]; SIM's
    /// two search maps, the hyperplanes of ETA and SDIM.
    void add_projections() {
        if (!model::has_attention(variant_.variant)) return;
        if (shape_.stack_layers() > 0) {
            add_stack_projections();
            return;
        }
        std::size_t const d = shape_.attention_dim;
        std::size_t rows = 2 * std::size_t{shape_.search_width()} + shape_.hash_planes();
        auto const add_rows = [&](bool collective) { rows += 2 * d + side_rows(collective); };
        add_rows(short_collective());
        if (shape_.has_long_attention()) add_rows(model::long_site_is_collective(variant_));
        add("projections", rows * d_e_ * sizeof(float));
    }

    /// Per layer wg, wq and wo, and per side as above.
    void add_stack_projections() {
        std::size_t const rows = 3 * std::size_t{shape_.attention_dim} + side_rows(true);
        add("projections", shape_.layers * rows * d_e_ * sizeof(float));
    }

    /// Rows of what makes K and V of one site, without routers.
    [[nodiscard]] std::size_t side_rows(bool collective) const {
        std::size_t rows = 0;
        for (std::size_t side = 0; side < 2; ++side)
            rows += collective && variant_.pools(side) ? variant_.d_u : shape_.attention_dim;
        return rows;
    }

    /// Serving looks biases up by distance: one per head and position, the candidate's included.
    void add_position_bias() {
        add("position_bias", std::size_t{shape_.stack_layers()} * shape_.heads *
                                 (std::size_t{shape_.max_tokens} + 1) * sizeof(float));
    }

    void add_router() {
        std::size_t sites = model::long_site_is_collective(variant_) ? 2 : 1;
        if (shape_.stack_layers() > 0) sites = shape_.layers;
        std::size_t const sides = (variant_.pools(0) ? 1 : 0) + (variant_.pools(1) ? 1 : 0);
        add("router", sites * sides * variant_.m * d_e_ * sizeof(float));
    }

    void add_site(std::string const& site, bool collective) {
        bool const by_item =
            strategy_.kind == StrategyKind::item_table ||
            (strategy_.kind == StrategyKind::collective && strategy_.keying == Keying::item);
        for (char const* side : {".k", ".v"}) {
            if (collective && variant_.pools(side[1] == 'k' ? 0 : 1)) {
                add(site + side + ".pool",
                    std::size_t{variant_.m} *
                        row_bytes(strategy_.value_type, shape_.attention_dim - variant_.d_u));
                if (by_item)
                    add("item_table." + site + side + ".index", rows_ * strategy_.index_bytes);
                if (by_item)
                    add("item_table." + site + side + ".user",
                        rows_ * row_bytes(user_type(strategy_.value_type), variant_.d_u));
            } else if (by_item) {
                add("item_table." + site + side, rows_ * stored_row_bytes(shape_, strategy_));
            }
            add_fitted(site + side, side);
        }
    }

    /// What low_rank and vq learn of the catalogue's rows (HSTU: of rows of tokens), fp32.
    /// low_rank: mean and basis, of V a second time in the order that outputs are made in, of
    /// HSTU's K too, whose rows are put together. vq: codewords in two orders (to score and choose,
    /// to read) and half their squared lengths.
    void add_fitted(std::string const& name, std::string const& side) {
        std::size_t const d = shape_.attention_dim;
        if (strategy_.kind == StrategyKind::low_rank) {
            std::size_t const copies = side == ".v" || shape_.stack_layers() > 0 ? 2 : 1;
            add(name + ".basis", (copies * d * strategy_.rank + d) * sizeof(float));
        } else if (strategy_.kind == StrategyKind::vq) {
            std::size_t const words = codewords(strategy_, static_cast<std::uint32_t>(rows_ - 1));
            add(name + ".codebook", words * (2 * d + strategy_.subspaces) * sizeof(float));
        }
    }

    /// Search keys or signatures of items; of SDIM one byte per hash.
    void add_search_table() {
        bool const by_item =
            strategy_.kind == StrategyKind::item_table ||
            (strategy_.kind == StrategyKind::collective &&
             (strategy_.keying == Keying::item || strategy_.search_keys == SearchKeys::item_table));
        if (!by_item) return;
        add("item_table.search", rows_ * search_bytes(shape_, strategy_.value_type));
        add("item_table.signatures", rows_ * shape_.bucket_hashes());
    }

    [[nodiscard]] bool short_collective() const { return variant_.variant == Variant::collective; }
    std::vector<SharedBytes> take() { return std::move(result_); }

  private:
    model::SimShape const& shape_;
    model::VariantParams const& variant_;
    StrategyParams const& strategy_;
    std::size_t rows_;
    std::size_t d_e_;
    std::vector<SharedBytes> result_;
};

double sum_of(std::vector<SharedBytes> const& shared) {
    double bytes = 0.0;
    for (SharedBytes const& part : shared) bytes += static_cast<double>(part.bytes);
    return bytes;
}

}  // namespace

std::vector<SharedBytes> shared_bytes(model::SimShape const& shape,
                                      model::VariantParams const& variant,
                                      StrategyParams const& strategy,
                                      workload::Catalogue const& catalogue,
                                      std::uint32_t context_vocabulary) {
    if (auto const reason = refusal(strategy, variant, shape.kind))
        throw InternalError("kv::shared_bytes: " + *reason);
    if (auto const reason = misfit(strategy, shape))
        throw InternalError("kv::shared_bytes: " + *reason);
    Ledger ledger(shape, variant, strategy, catalogue);
    ledger.add_embeddings(catalogue, context_vocabulary);
    ledger.add_tower();
    ledger.add_projections();
    ledger.add_router();
    if (model::has_attention(variant.variant) && shape.stack_layers() > 0) {
        for (std::uint32_t layer = 0; layer < shape.layers; ++layer)
            ledger.add_site(model::layer_name(layer), ledger.short_collective());
        ledger.add_position_bias();
    } else if (model::has_attention(variant.variant)) {
        ledger.add_site("short", ledger.short_collective());
        if (shape.has_long_attention())
            ledger.add_site("long", model::long_site_is_collective(variant));
        ledger.add_search_table();
    }
    return ledger.take();
}

Ratios ratios(model::SimShape const& shape, model::VariantParams const& variant,
              StrategyParams const& strategy, workload::Catalogue const& catalogue,
              std::uint32_t context_vocabulary, std::uint32_t tokens, double users) {
    validate(tokens > 0 && users > 0.0, "kv::ratios: tokens and users must be positive");
    model::VariantParams full_variant;
    full_variant.variant = Variant::full;
    StrategyParams full_strategy;
    full_strategy.kind = StrategyKind::full;
    full_strategy.value_type = ValueType::fp32;
    auto const features = static_cast<std::uint32_t>(catalogue.features.size());
    auto const payload = [&](model::VariantParams const& v, StrategyParams const& s) {
        return static_cast<double>(EntryLayout(shape, v, s, features).payload_bytes(tokens));
    };
    auto const shared = [&](model::VariantParams const& v, StrategyParams const& s) {
        return sum_of(shared_bytes(shape, v, s, catalogue, context_vocabulary));
    };
    Ratios result;
    if (strategy.kind == StrategyKind::collective) {
        double const code = variant.d_u + 1.0;
        double const row = shape.attention_dim;
        double const kept = (variant.pools(0) ? code : row) + (variant.pools(1) ? code : row);
        result.paper = kept / (2.0 * row);
    }
    double const mine = payload(variant, strategy);
    double const full = payload(full_variant, full_strategy);
    result.real = mine / full;
    result.real_with_shared = (mine + shared(variant, strategy) / users) /
                              (full + shared(full_variant, full_strategy) / users);
    return result;
}

}  // namespace ckvsim::kv
