#include "decode/nominal_work.hpp"

#include "core/error.hpp"
#include "kv/latency.hpp"
#include "model/weight_shapes.hpp"

namespace ckvsim::decode {

namespace {

using kv::Section;
using kv::StrategyKind;

constexpr double kFloat = sizeof(float);
constexpr double kId = sizeof(ItemId);

/// Collects the coefficients; d, d_e, ... as in the header.
class Formulas {
  public:
    Formulas(model::SimShape const& shape, model::VariantParams const& variant,
             kv::StrategyParams const& strategy, workload::Catalogue const& catalogue)
        : shape_(shape),
          variant_(variant),
          strategy_(strategy),
          items_(catalogue.items),
          layout_(shape, variant, strategy, static_cast<std::uint32_t>(catalogue.features.size())),
          sites_(shape.has_long_attention() ? 2.0 : 1.0),
          d_(shape.attention_dim),
          d_e_(static_cast<double>(catalogue.features.size()) * shape.feature_dim),
          d_s_(shape.search_width() + shape.hash_planes()),
          recompute_(strategy.kind == StrategyKind::recompute) {
        work_.short_tokens = shape.short_tokens;
        work_.top_k = shape.has_long_attention() ? shape.top_k : 0;
    }

    NominalWork make() {
        add_score();
        // Beside sums, ids are read by appends alone.
        if (layout_.has(Section::ids) && !layout_.has(Section::long_sums))
            work_.decode_bytes_per_token += kId;
        if (variant_.variant == model::Variant::mean_pool) {
            // Embeddings of all tokens are summed.
            work_.decode_bytes_per_token += kFloat * d_e_;
            work_.flops_per_token += d_e_;
        }
        if (shape_.stack_layers() > 0) {
            if (model::has_attention(variant_.variant)) add_stack();
            add_written();
            return work_;
        }
        if (model::has_attention(variant_.variant)) {
            add_candidates();
            add_site(variant_.variant == model::Variant::collective,
                     work_.decode_bytes_per_short_token, work_.flops_per_short_token);
            add_long();
        }
        add_prefill();
        return work_;
    }

  private:
    /// Flops of making K and V of one token.
    [[nodiscard]] double make_flops(bool collective) const {
        double const routed = static_cast<double>(variant_.m) + variant_.d_u;
        double outputs = 0.0;
        for (std::size_t side = 0; side < 2; ++side)
            outputs += pooled(collective, side) ? routed : d_;
        return 2.0 * outputs * d_e_;
    }
    /// K (0) or V of a site in the scope or outside.
    [[nodiscard]] bool pooled(bool collective, std::size_t side) const {
        return collective && variant_.pools(side);
    }
    [[nodiscard]] double pool_row_bytes() const {
        return kv::row_bytes(strategy_.value_type, shape_.attention_dim - variant_.d_u);
    }
    /// What decode reads of one row of K or V.
    [[nodiscard]] double side_bytes(bool collective, std::size_t side) const {
        if (!pooled(collective, side)) return kv::stored_row_bytes(shape_, strategy_);
        auto const user = kv::row_bytes(kv::user_type(strategy_.value_type), variant_.d_u);
        return strategy_.index_bytes + user + pool_row_bytes();
    }
    [[nodiscard]] double make_weight_bytes(bool collective) const {
        return kFloat * make_flops(collective) / 2.0;
    }

    void add_score() {
        double in = model::tower_inputs(shape_, static_cast<std::uint32_t>(d_e_));
        work_.score_bytes_per_candidate = kFloat * (in + 1.0);
        auto const layer = [&](double out) {
            work_.score_flops_per_candidate += 2.0 * in * out;
            work_.score_batch_bytes += kFloat * (in + 1.0) * out;
            in = out;
        };
        for (std::uint32_t const width : shape_.tower) layer(width);
        layer(1.0);
    }

    void add_candidates() {
        // Per site q = wq e, out = wo a; one search query, signature or hash.
        double const products = sites_ * 2.0 * d_ * d_e_ + d_s_ * d_e_;
        work_.flops_per_candidate = 2.0 * products;
        work_.decode_batch_bytes = kFloat * products;
        double width = d_;
        if (strategy_.kind == StrategyKind::low_rank) {
            width = static_cast<double>(shape_.heads) * strategy_.rank;
            work_.flops_per_candidate += sites_ * 2.0 * fitted_values();
        }
        work_.flops_per_short_token_candidate = 4.0 * width;
        if (shape_.has_long_attention()) work_.flops_per_long_row_candidate = 4.0 * width;
    }

    void add_long() {
        if (shape_.bucket_hashes() > 0) {
            add_buckets();
            return;
        }
        add_search();
        add_site(model::long_site_is_collective(variant_), work_.decode_bytes_per_long_row,
                 work_.flops_per_long_row);
        if (!shape_.has_search_keys()) search_long_keys();
    }

    void add_buckets() {
        work_.bucket_hashes = shape_.bucket_hashes();
        work_.bucket_rows = shape_.bucket_rows();
        work_.flops_per_bucket_row = 3.0 * d_e_;
        work_.flops_per_candidate += shape_.bucket_hashes() * d_e_;
        if (layout_.has(Section::long_sums)) {
            work_.decode_bytes_per_bucket_row =
                static_cast<double>(layout_.fixed_bytes(Section::long_sums)) / work_.bucket_rows;
            return;
        }
        work_.decode_bytes_per_token += kFloat * d_e_;
        work_.flops_per_token_bucket_row =
            d_e_ * work_.bucket_hashes / static_cast<double>(work_.bucket_rows);
        // Candidates and tokens are hashed by the same planes, which are read already.
        if (recompute_) {
            work_.flops_per_token += 2.0 * d_s_ * d_e_;
        } else {
            work_.decode_bytes_per_token += work_.bucket_hashes;
        }
    }

    /// Values of K that TWIN's search multiplies.
    [[nodiscard]] double searched_values() const {
        return strategy_.kind == StrategyKind::low_rank ? strategy_.rank : d_;
    }
    void add_search() {
        constexpr std::uint32_t kWord = 32;
        work_.flops_per_token_candidate =
            2.0 * (shape_.signature_bits() > 0 ? (shape_.hash_bits + kWord - 1) / kWord
                   : shape_.search_width() > 0 ? d_s_
                                               : searched_values());
        if (!recompute_) {
            work_.decode_bytes_per_token += kv::search_bytes(shape_, strategy_.value_type);
            return;
        }
        work_.decode_bytes_per_token += kFloat * d_e_;
        work_.flops_per_token += 2.0 * d_s_ * d_e_;
        // ETA signs candidates and tokens by the same planes, which are read already.
        if (shape_.signature_bits() == 0) work_.decode_batch_bytes += kFloat * d_s_ * d_e_;
    }

    void add_site(bool collective, double& bytes_per_row, double& flops_per_row) {
        if (recompute_) {
            flops_per_row = make_flops(false);
            work_.decode_batch_bytes += make_weight_bytes(false);
        } else {
            bytes_per_row = side_bytes(collective, 0) + side_bytes(collective, 1);
            work_.decode_batch_bytes += kFloat * fitted_values();
        }
    }
    /// Values of one site that low_rank (bases of K and V) and vq (codebooks) keep for all items.
    [[nodiscard]] double fitted_values() const {
        if (strategy_.kind == StrategyKind::low_rank) return 2.0 * d_ * strategy_.rank;
        if (strategy_.kind == StrategyKind::vq) return 2.0 * d_ * kv::codewords(strategy_, items_);
        return 0.0;
    }

    /// TWIN: K, its part of what a row of the long branch costs, moves from the rows to the tokens.
    void search_long_keys() {
        auto const move = [](double part, double& rows, double& tokens) {
            rows -= part;
            tokens += part;
        };
        double const keys =
            recompute_ ? 0.0 : side_bytes(model::long_site_is_collective(variant_), 0);
        move(keys, work_.decode_bytes_per_long_row, work_.decode_bytes_per_token);
        move(work_.flops_per_long_row / 2.0, work_.flops_per_long_row, work_.flops_per_token);
    }

    /// HSTU; bytes of entries are add_written()'s.
    void add_stack() {
        bool const collective = variant_.variant == model::Variant::collective;
        double const layers = shape_.layers;
        double const pool_rows = (pooled(collective, 0) ? pool_row_bytes() : 0.0) +
                                 (pooled(collective, 1) ? pool_row_bytes() : 0.0);
        double const products = 3.0 * d_ * d_e_;  // wg, wq, wo
        double const side_flops = make_flops(collective);
        double const weights = layers * (kFloat * products + make_weight_bytes(collective));
        work_.flops_per_candidate = layers * (2.0 * products + side_flops + 4.0 * d_);
        work_.flops_per_token_candidate = layers * 4.0 * d_;
        work_.decode_batch_bytes = weights;
        double const token_flops = layers * side_flops + (layers - 1.0) * 2.0 * products;
        double const pair_flops = (layers - 1.0) * 4.0 * d_;
        if (recompute_) {
            work_.decode_bytes_per_token += kFloat * d_e_;
            work_.flops_per_token = token_flops;
            work_.flops_per_token_pair = pair_flops;
            return;
        }
        for (std::size_t s = 0; s < kv::kSections; ++s)
            work_.decode_bytes_per_token += layout_.bytes_per_token(static_cast<Section>(s));
        work_.decode_bytes_per_token += layers * pool_rows;
        work_.prefill_bytes_per_token = kFloat * d_e_ + (layers - 1.0) * pool_rows;
        work_.prefill_flops_per_token = token_flops;
        work_.prefill_flops_per_token_pair = pair_flops;
        work_.prefill_batch_bytes = weights;
    }

    /// HSTU's entries, or the ids that are copied.
    void add_written() {
        for (std::size_t s = 0; s < kv::kSections; ++s)
            work_.prefill_bytes_per_token += layout_.bytes_per_token(static_cast<Section>(s));
        if (layout_.has(Section::ids)) work_.prefill_bytes_per_token += kId;
    }

    void add_prefill() {
        double written_short = 0.0;
        for (Section const s :
             {Section::short_k, Section::short_v, Section::short_k_index, Section::short_k_user,
              Section::short_v_index, Section::short_v_user}) {
            written_short += layout_.bytes_per_token(s);
        }
        double written = 0.0;
        for (std::size_t s = 0; s < kv::kSections; ++s)
            written += layout_.bytes_per_token(static_cast<Section>(s));
        work_.prefill_bytes_per_short_token = written_short;
        work_.prefill_bytes_per_token = written - written_short;
        work_.prefill_bytes_per_entry =
            static_cast<double>(layout_.fixed_bytes(Section::long_sums));
        bool const per_user_values =
            layout_.has(Section::short_k) || layout_.has(Section::short_k_index);
        if (!per_user_values) {  // ids are copied
            work_.prefill_bytes_per_token += kId;
            return;
        }
        bool const short_collective = variant_.variant == model::Variant::collective;
        double const fitted = fitted_values();
        work_.prefill_flops_per_short_token = make_flops(short_collective) + 2.0 * fitted;
        work_.prefill_batch_bytes = make_weight_bytes(short_collective) + sites_ * kFloat * fitted;
        if (shape_.bucket_hashes() > 0) {
            add_prefill_of_sums();
            return;
        }
        work_.prefill_bytes_per_token += kFloat * d_e_;
        bool const long_collective = model::long_site_is_collective(variant_);
        work_.prefill_flops_per_token = make_flops(long_collective) + 2.0 * fitted;
        work_.prefill_batch_bytes += make_weight_bytes(long_collective);
        if (layout_.has(Section::search)) {
            work_.prefill_flops_per_token += 2.0 * d_s_ * d_e_;
            work_.prefill_batch_bytes += kFloat * d_s_ * d_e_;
        }
    }

    /// SDIM: every token is hashed and added to a row per hash, or its id is kept and the short
    /// branch alone reads embeddings.
    void add_prefill_of_sums() {
        if (!layout_.has(Section::long_sums)) {
            work_.prefill_bytes_per_short_token += kFloat * d_e_;
            return;
        }
        work_.prefill_bytes_per_token += kFloat * d_e_;
        work_.prefill_flops_per_token = 2.0 * d_s_ * d_e_ + shape_.bucket_hashes() * d_e_;
        work_.prefill_batch_bytes += kFloat * d_s_ * d_e_;
    }

    model::SimShape const& shape_;
    model::VariantParams const& variant_;
    kv::StrategyParams const& strategy_;
    std::uint32_t items_;
    kv::EntryLayout layout_;
    double sites_;  ///< attention sites of a model with branches
    double d_;
    double d_e_;
    double d_s_;  ///< outputs of what makes search keys, signatures or buckets
    bool recompute_;
    NominalWork work_;
};

}  // namespace

NominalWork nominal_work(model::SimShape const& shape, model::VariantParams const& variant,
                         kv::StrategyParams const& strategy, workload::Catalogue const& catalogue) {
    if (auto const reason = kv::latency_refusal(strategy, shape.kind))
        throw InternalError("decode::nominal_work: " + *reason);
    return Formulas(shape, variant, strategy, catalogue).make();
}

}  // namespace ckvsim::decode
