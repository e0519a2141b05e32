// Rows as they are stored (kv::ValueType): written, read back, and, for int8 and int4, read by
// attention and search of one query at a time without a converted copy. A quantised row is
//   [scale, zero (fp16)] per group   int8: one group, the row; int4: kv::kInt4Group values, the
//   last may be short codes                            int8: a byte each; int4: two a byte, the
//   even position in the low half
// and value = zero + scale * code. zero is the group's least value rounded down to fp16 and scale
// the range over the highest code rounded up, so that every value lies within scale / 2 of its
// code's.
#pragma once

#include "device/cpu/attention.hpp"

namespace ckvsim::device::cpu {

constexpr bool is_quantised(kv::ValueType type) {
    return type == kv::ValueType::int8 || type == kv::ValueType::int4;
}

/// Writes the kv::row_bytes(type, width) bytes of a row. Magnitudes beyond the largest half are
/// stored as that half by every type but fp32.
void store_row(kv::ValueType type, float const* row, std::size_t width, std::byte* out);
/// The values of a stored row.
void load_row(kv::ValueType type, std::byte const* from, std::size_t width, float* row);

/// attend() on int8 or int4 rows, which hold the heads * head_dim - user_dims values before their
/// side's user dimensions (the rest counts as zero). Values are made in registers: the same bits as
/// attend() on rows from load_row(), which is cheaper for several queries over the same rows.
void attend_quantised(AttentionCall const& call, float* scratch);
/// Its halves, as attend_keys() and attend_values().
void attend_quantised_keys(AttentionCall const& call, float* weights);
void attend_quantised_values(AttentionCall const& call, float* weights);
/// search_scores() on int8 or int4 keys: the same bits as on keys from load_row().
void search_quantised(SearchCall const& call);
/// Either, as the type of the keys wants it.
inline void search_stored(SearchCall const& call) {
    if (is_quantised(call.key_type)) {
        search_quantised(call);
    } else {
        search_scores(call);
    }
}

}  // namespace ckvsim::device::cpu
