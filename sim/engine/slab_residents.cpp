#include "engine/slab_residents.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/error.hpp"
#include "core/rng.hpp"

namespace ckvsim::engine {

namespace {

constexpr std::size_t kRange = 4096;  ///< users written between two reports of progress

/// Equal where the layout stores something.
bool same_payload(kv::EntryLayout const& layout, std::byte const* a, std::byte const* b,
                  std::uint32_t tokens, std::uint32_t capacity) {
    auto const offsets = layout.offsets(capacity);
    for (std::size_t s = 0; s < kv::kSections; ++s) {
        auto const bytes = layout.payload_bytes(tokens, static_cast<kv::Section>(s));
        if (bytes > 0 && std::memcmp(a + offsets[s], b + offsets[s], bytes) != 0) return false;
    }
    return true;
}

std::uint64_t less_records(std::uint64_t budget_bytes, std::size_t users) {
    std::uint64_t const records = users * SlabStore::kRecordBytes;
    return budget_bytes - std::min(budget_bytes, records);
}

}  // namespace

SlabResidents::SlabResidents(workload::Population const& population,
                             std::vector<UserId> const& users,
                             std::shared_ptr<decode::Backend const> backend,
                             std::uint64_t budget_bytes)
    : population_(population),
      users_(users),
      backend_(std::move(backend)),
      tokens_(capped_lengths(population, users, backend_->weights().shape.max_tokens)),
      store_(backend_, users.size(), less_records(budget_bytes, users.size())),
      reader_(store_) {}

void SlabResidents::fill(std::function<void(std::uint64_t, std::uint64_t)> const& progress) {
    for (std::size_t first = 0; first < users_.size(); first += kRange) {
        auto const range =
            std::span(tokens_).subspan(first, std::min(kRange, users_.size() - first));
        auto const written =
            store_.put_range(first, range,
                             [&](std::uint64_t user, std::byte* entry, std::uint32_t capacity,
                                 decode::Scratch& scratch) {
                                 thread_local std::vector<ItemId> history;
                                 population_.load_history(users_[user], history);
                                 backend_->encode(std::span(history).last(tokens_[user]), capacity,
                                                  decode::EncodeMode::memo, entry, scratch);
                             });
        validate(written == range.size(), "engine::SlabResidents: more users than fit");
        if (progress) progress(first + written, users_.size());
    }
}

void SlabResidents::fetch(std::span<std::size_t const> user_indices,
                          std::vector<decode::EntryRef>& entries) {
    reader_.refresh();
    entries.clear();
    for (std::size_t const i : user_indices) entries.push_back(reader_.read(i));
}

void SlabResidents::append(std::span<std::size_t const> user_indices, ItemId item,
                           decode::Scratch& scratch) {
    for (std::size_t const i : user_indices)
        store_.append_alone(i, {&item, 1}, decode::EncodeMode::compute, scratch);
}

std::pair<std::uint64_t, std::uint64_t> SlabResidents::verify(std::uint64_t sample,
                                                              std::uint64_t seed) {
    if (users_.empty()) return {0, 0};
    std::uint64_t const count = std::min<std::uint64_t>(sample, users_.size());
    std::uint64_t mismatches = 0;
    auto const scratch = backend_->make_scratch();
    std::vector<ItemId> history;
    std::vector<std::byte> again;
    CounterRng rng(seed, Purpose::sample_selection, 0, 2);
    for (std::uint64_t k = 0; k < count; ++k) {
        std::size_t const i = rng.next_u64() % users_.size();
        auto const stored = reader_.read(i);
        population_.load_history(users_[i], history);
        again.assign(backend_->layout().entry_bytes(stored.capacity), std::byte{0});
        backend_->encode(std::span(history).last(tokens_[i]), stored.capacity,
                         decode::EncodeMode::compute, again.data(), *scratch);
        bool const same = stored.tokens == tokens_[i] &&
                          same_payload(backend_->layout(), stored.data, again.data(), stored.tokens,
                                       stored.capacity);
        mismatches += same ? 0 : 1;
    }
    return {count, mismatches};
}

}  // namespace ckvsim::engine
