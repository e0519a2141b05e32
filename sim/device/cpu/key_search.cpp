// Search over the K of an attention site (TWIN): every token's q . k without joining a pool row and
// a token's own part.
#include <algorithm>
#include <limits>

#include "device/cpu/attention_site.hpp"
#include "device/cpu/code_scores.hpp"

namespace ckvsim::device::cpu {
namespace {

constexpr std::uint32_t kNoPlace = std::numeric_limits<std::uint32_t>::max();

}  // namespace

/// Pool rows in the order of the tokens that use them first. Tokens that share one are scored once:
/// with m rows a search costs at most m products, however long the history.
void AttentionSite::find_distinct_rows(std::uint32_t tokens, SiteScratch& scratch) const {
    KeySearchScratch& keys = scratch.searched;
    // Undoes the last request's marks; clearing all m places would cost more than a short search.
    for (std::size_t i = 0; i < keys.call.tokens && i < keys.rows.size(); ++i)
        keys.places[keys.rows[i]] = kNoPlace;
    std::size_t const pool_rows = tables_.k.pool.size() / tables_.k.pool_step_bytes;
    if (keys.places.size() < pool_rows) keys.places.resize(pool_rows, kNoPlace);
    std::uint32_t* rows = reserve_elements(keys.rows, tokens);
    std::uint32_t* places = reserve_elements(keys.token_places, padded(tokens));
    std::uint32_t distinct = 0;
    (void)find_keys(0, {nullptr, tokens}, scratch);  // of codes: always pool rows
    for (std::uint32_t t = 0; t < tokens; ++t) {
        std::uint32_t const row = scratch.keys[0][t];
        if (keys.places[row] == kNoPlace) {
            keys.places[row] = distinct;
            rows[distinct++] = row;
        }
        places[t] = keys.places[row];
    }
    std::fill(places + tokens, places + padded(tokens), 0U);
    keys.call.tokens = distinct;
}

void AttentionSite::begin_search(std::uint32_t tokens, SiteScratch& scratch) const {
    KeySearchScratch& keys = scratch.searched;
    TokenList const all{nullptr, tokens};
    make_rows(all, scratch, 1);
    SideTables const& side = tables_.k;
    SearchCall& call = keys.call;
    keys.tokens = tokens;
    call.width = d_;
    call.key_step = d_;
    call.key_type = scratch.made ? kv::ValueType::fp32 : value_type_;
    call.ids = nullptr;
    if (side.codes) {
        find_distinct_rows(tokens, scratch);
        find_users(0, all, keys.users, scratch);
    } else {
        call.tokens = tokens;
    }
    if (scratch.made) {
        // make_rows() numbers rows as find_distinct_rows() does: by first use.
        call.keys = scratch.made_rows[0].data();
    } else if (side.codes) {
        call.keys = side.pool.data();
        call.key_step = side.pool_step_bytes / kv::value_bytes(value_type_);
        call.ids = keys.rows.data();
    } else if (side.by_item) {
        call.keys = side.rows.data();
        call.ids = scratch.ids;
    } else {
        call.keys = scratch.view->section(side.values);
    }
}

void AttentionSite::score_keys(std::size_t first, std::size_t count, float* scores,
                               std::size_t step, SiteScratch& scratch) const {
    KeySearchScratch& keys = scratch.searched;
    SearchCall call = keys.call;
    call.q = scratch.q.data() + first * wq_.stride;
    call.q_step = wq_.stride;
    call.count = count;
    if (!tables_.k.codes) {
        call.scores = scores;
        call.scores_step = step;
        search_scores(call);
        return;
    }
    call.scores_step = padded(call.tokens);
    call.scores = reserve_elements(keys.row_scores, count * call.scores_step);
    search_scores(call);
    CodeScores codes;
    codes.places = keys.token_places.data();
    codes.tokens = keys.tokens;
    codes.user = keys.users.data();
    codes.user_dims = d_u_;
    for (std::size_t c = 0; c < count; ++c) {
        codes.row_scores = call.scores + c * call.scores_step;
        codes.q = call.q + c * call.q_step + (d_ - d_u_);
        codes.scores = scores + c * step;
        code_scores(codes);
    }
}

}  // namespace ckvsim::device::cpu
