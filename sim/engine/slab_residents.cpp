#include "engine/slab_residents.hpp"

#include <algorithm>
#include <utility>

#include "core/error.hpp"

namespace ckvsim::engine {

namespace {

constexpr std::size_t kRange = 4096;  ///< users written between two reports of progress

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

std::size_t SlabResidents::append(std::span<std::size_t const> user_indices, ItemId item,
                                  decode::Scratch& scratch) {
    std::size_t appended = 0;
    for (std::size_t const i : user_indices) {
        reader_.refresh();  // nothing is read meanwhile: slots that were left can be used again
        appended +=
            store_.append_alone(i, {&item, 1}, decode::EncodeMode::compute, scratch) ? 1 : 0;
    }
    return appended;
}

std::pair<std::uint64_t, std::uint64_t> SlabResidents::verify(std::uint64_t sample,
                                                              std::uint64_t seed) {
    return verify_entries(population_, users_, *backend_, sample, seed,
                          [&](std::size_t i) { return reader_.read(i); });
}

}  // namespace ckvsim::engine
