// Search over the K of an attention site (TWIN): every token's q . k from what is stored of it,
// without joining a pool row and a token's own part or making rows of coefficients and product
// codes.
#include <algorithm>

#include "core/error.hpp"
#include "device/cpu/attention_site.hpp"
#include "device/cpu/code_scores.hpp"
#include "device/cpu/quantised_rows.hpp"

namespace ckvsim::device::cpu {

/// Tokens that share a pool row are scored once: with m rows a search costs at most m products,
/// however long the history.
void AttentionSite::find_pool_rows(std::uint32_t tokens, SiteScratch& scratch) const {
    KeySearchScratch& search = scratch.searched;
    validate(find_keys(0, {nullptr, tokens}, scratch), "device/cpu: codes without pool rows");
    std::uint32_t const* keys = scratch.keys[0].data();
    search.sharing.number(keys, tokens, tables_.k.pool.size() / tables_.k.pool_step_bytes);
    search.call.tokens = search.sharing.distinct();
    std::uint32_t* rows = reserve_elements(search.rows, search.call.tokens);
    for (std::size_t i = 0; i < search.call.tokens; ++i) {
        std::uint32_t const row = keys[search.sharing.firsts()[i]];
        rows[i] = scratch.made ? scratch.slots[0][row] : row;
    }
    search.call.ids = rows;
}

/// Made rows of the tokens; rows in the tokens' own order need no ids.
void AttentionSite::find_made_rows(std::uint32_t tokens, SiteScratch& scratch) const {
    KeySearchScratch& search = scratch.searched;
    std::uint32_t* rows = reserve_elements(search.rows, tokens);
    bool in_order = true;
    for (std::uint32_t t = 0; t < tokens; ++t) {
        rows[t] = scratch.slots[0][row_key(tables_.k, scratch, t)];
        in_order = in_order && rows[t] == t;
    }
    search.call.ids = in_order ? nullptr : rows;
}

void AttentionSite::begin_search(std::uint32_t tokens, SiteScratch& scratch) const {
    KeySearchScratch& search = scratch.searched;
    TokenList const all{nullptr, tokens};
    SideTables const& side = tables_.k;
    SearchCall& call = search.call;
    call = {};
    search.tokens = tokens;
    auto const& codebook = codes_[0]->codebook;
    search.by_codes = codebook && codes_pay(*codebook, tokens);
    if (search.by_codes) return;
    if (codebook) {
        fill_rows(all, scratch, 1);
    } else {
        make_rows(all, scratch, 1);
    }
    call.width = width_;
    call.key_step = width_;
    call.key_type = scratch.made ? kv::ValueType::fp32 : value_type_;
    call.tokens = tokens;
    call.ids = !scratch.made && side.by_item ? scratch.ids : nullptr;
    if (side.codes) {
        find_pool_rows(tokens, scratch);
        find_users(0, all, search.users, scratch);
    } else if (scratch.made) {
        find_made_rows(tokens, scratch);
    }
    if (scratch.made) {
        call.keys = scratch.made_rows[0].data();
    } else if (side.codes) {
        call.keys = side.pool.data();
        call.key_step = side.pool_step_bytes / kv::value_bytes(value_type_);
        call.key_bytes = side.pool_step_bytes;
        call.held = d_ - d_u_[0];
    } else {
        call.keys = side.by_item ? side.rows.data() : scratch.view->section(side.values);
    }
}

/// Coefficients c are scored by B^T q, what the parts of q by head turn into, added up: q . k is
/// that times c and q . mean, which is the same for all tokens and moves no choice.
float const* AttentionSite::turned_queries(std::size_t first, std::size_t count,
                                           SiteScratch& scratch) const {
    std::size_t const step = codes_[0]->basis->axes.stride;
    float* sums = reserve_elements(scratch.searched.turned, count * step);
    for (std::size_t c = 0; c < count; ++c) {
        float const* parts = scratch.turned_q.data() + (first + c) * heads_ * step;
        std::copy_n(parts, step, sums + c * step);
        for (std::size_t h = 1; h < heads_; ++h) {
            for (std::size_t i = 0; i < width_; ++i) sums[c * step + i] += parts[h * step + i];
        }
    }
    return sums;
}

void AttentionSite::score_keys(std::size_t first, std::size_t count, float* scores,
                               std::size_t step, SiteScratch& scratch) const {
    KeySearchScratch& keys = scratch.searched;
    SearchCall call = keys.call;
    call.q = scratch.q.data() + first * wq_.stride;
    call.q_step = wq_.stride;
    call.count = count;
    if (keys.by_codes) {
        auto const* codes =
            reinterpret_cast<std::uint8_t const*>(scratch.view->section(tables_.k.values));
        for (std::size_t c = 0; c < count; ++c) {
            search_codes(*codes_[0]->codebook, call.q + c * call.q_step, codes, keys.tokens,
                         scores + c * step, scratch.tables);
        }
        return;
    }
    if (codes_[0]->basis) {
        call.q = turned_queries(first, count, scratch);
        call.q_step = codes_[0]->basis->axes.stride;
    }
    if (!tables_.k.codes) {
        call.scores = scores;
        call.scores_step = step;
        search_stored(call);
        return;
    }
    call.scores_step = padded(call.tokens);
    call.scores = reserve_elements(keys.row_scores, count * call.scores_step);
    search_stored(call);
    CodeScores codes;
    codes.places = keys.sharing.places();
    codes.tokens = keys.tokens;
    codes.user = keys.users.data();
    codes.user_dims = d_u_[0];
    for (std::size_t c = 0; c < count; ++c) {
        codes.row_scores = call.scores + c * call.scores_step;
        codes.q = call.q + c * call.q_step + (d_ - d_u_[0]);
        codes.scores = scores + c * step;
        code_scores(codes);
    }
}

}  // namespace ckvsim::device::cpu
