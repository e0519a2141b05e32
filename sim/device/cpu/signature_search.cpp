// ETA's search: tokens whose signatures differ from the candidate's in the fewest bits.
#include <cstring>

#include "device/cpu/hamming.hpp"
#include "device/cpu/token_search.hpp"

namespace ckvsim::device::cpu {
namespace {

template <class Word>
void gather_words(std::byte const* table, std::uint32_t const* rows, std::size_t count,
                  std::byte* out) {
    for (std::size_t i = 0; i < count; ++i)
        std::memcpy(out + i * sizeof(Word), table + rows[i] * sizeof(Word), sizeof(Word));
}

/// Signatures of `count` tokens from the rows of a table, one after the other.
void gather_signatures(std::byte const* table, std::size_t bytes, std::uint32_t const* rows,
                       std::size_t count, std::byte* out) {
    switch (bytes) {
        case 1:
            return gather_words<std::uint8_t>(table, rows, count, out);
        case 2:
            return gather_words<std::uint16_t>(table, rows, count, out);
        case 4:
            return gather_words<std::uint32_t>(table, rows, count, out);
        default:
            return gather_words<std::uint64_t>(table, rows, count, out);
    }
}

}  // namespace

void TokenSearch::begin_signatures(EntryView const& view, SearchScratch& scratch) const {
    std::byte const* table = table_.data();
    std::uint32_t const* rows = view.ids;
    if (projected_) {
        project_keys(view, scratch);
        table = static_cast<std::byte const*>(scratch.call.keys);
        rows = scratch.call.ids;
    } else if (table_.empty()) {
        table = view.section(kv::Section::search);
        rows = nullptr;
    }
    scratch.signatures = table;
    if (rows == nullptr) return;  // a token each, in the tokens' order
    std::byte* gathered = reserve_elements(scratch.gathered, view.tokens * signature_bytes_);
    gather_signatures(table, signature_bytes_, rows, view.tokens, gathered);
    scratch.signatures = gathered;
}

void TokenSearch::search_signatures(float const* embeddings, std::size_t step, std::size_t count,
                                    std::uint32_t* positions, std::uint32_t* sizes,
                                    SearchScratch& scratch) const {
    std::size_t const tokens = scratch.call.tokens;
    std::byte* candidates = reserve_elements(scratch.candidates, count * signature_bytes_);
    maker_.sign(embeddings, step, count, candidates, scratch.cells);
    std::uint8_t* distances = reserve_elements(scratch.distances, padded_distances(tokens));
    for (std::size_t c = 0; c < count; ++c) {
        std::uint64_t const query =
            load_signature(candidates + c * signature_bytes_, signature_bytes_);
        hamming_distances(query, scratch.signatures, signature_bytes_, tokens, distances);
        sizes[c] = select_nearest(distances, tokens, top_k_, positions + c * top_k_);
    }
}

}  // namespace ckvsim::device::cpu
