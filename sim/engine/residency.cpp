#include "engine/residency.hpp"

#include <omp.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <tuple>
#include <utility>

#include "core/error.hpp"
#include "core/rng.hpp"
#include "engine/parallel_failure.hpp"

namespace ckvsim::engine {

namespace {

constexpr std::uint64_t kVerifiedUsers = 1000;
constexpr std::uint64_t kLargePagesFrom = std::uint64_t{64} << 20;

/// Equal where the layout stores something: gaps between sections are never written.
bool same_payload(kv::EntryLayout const& layout, decode::EntryRef const& entry,
                  std::byte const* other) {
    auto const offsets = layout.offsets(entry.capacity);
    for (std::size_t s = 0; s < kv::kSections; ++s) {
        auto const bytes = layout.payload_bytes(entry.tokens, static_cast<kv::Section>(s));
        auto const* const part = entry.data + offsets[s];
        if (!std::equal(part, part + bytes, other + offsets[s])) return false;
    }
    return true;
}

std::uint32_t capped_length(workload::Population const& population, UserId user,
                            std::uint32_t max_tokens) {
    return std::min(population.history_length(user), max_tokens);
}

}  // namespace

LedgerPrediction predict(workload::Population const& population, std::vector<UserId> const& users,
                         kv::EntryLayout const& layout, std::uint32_t max_tokens) {
    LedgerPrediction sum;
    sum.section_bytes.assign(kv::kSections, 0);
    std::vector<std::uint64_t> users_by_tokens(max_tokens + 1ULL, 0);
    for (UserId const user : users) ++users_by_tokens[capped_length(population, user, max_tokens)];
    for (std::uint32_t tokens = 0; tokens <= max_tokens; ++tokens) {
        auto const count = users_by_tokens[tokens];
        if (count == 0) continue;
        sum.users += count;
        sum.tokens += count * tokens;
        sum.payload_bytes += count * layout.payload_bytes(tokens);
        sum.entry_bytes += count * layout.entry_bytes(tokens);
        for (std::size_t s = 0; s < kv::kSections; ++s) {
            sum.section_bytes[s] +=
                count * layout.payload_bytes(tokens, static_cast<kv::Section>(s));
        }
    }
    return sum;
}

std::vector<std::uint32_t> capped_lengths(workload::Population const& population,
                                          std::vector<UserId> const& users,
                                          std::uint32_t max_tokens) {
    std::vector<std::uint32_t> tokens;
    tokens.reserve(users.size());
    for (UserId const user : users) tokens.push_back(capped_length(population, user, max_tokens));
    return tokens;
}

std::pair<std::uint64_t, std::uint64_t> verify_entries(
    workload::Population const& population, std::vector<UserId> const& users,
    decode::Backend const& backend, std::uint64_t sample, std::uint64_t seed,
    std::function<decode::EntryRef(std::size_t)> const& stored) {
    if (users.empty()) return {0, 0};
    auto const& layout = backend.layout();
    auto const max_tokens = backend.weights().shape.max_tokens;
    std::uint64_t const count = std::min<std::uint64_t>(sample, users.size());
    std::uint64_t mismatches = 0;
    auto const scratch = backend.make_scratch();
    std::vector<ItemId> history;
    std::vector<std::byte> again;
    CounterRng rng(seed, Purpose::sample_selection, 0, 2);
    for (std::uint64_t k = 0; k < count; ++k) {
        auto const i = rng.next_u64() % users.size();
        auto const kept = stored(i);
        population.load_history(users[i], history);
        again.assign(layout.entry_bytes(kept.capacity), std::byte{0});
        auto const tokens = backend.encode(history, kept.capacity, decode::EncodeMode::compute,
                                           again.data(), *scratch);
        bool const same = tokens == kept.tokens &&
                          tokens == capped_length(population, users[i], max_tokens) &&
                          same_payload(layout, kept, again.data());
        mismatches += same ? 0 : 1;
    }
    return {count, mismatches};
}

ResidentStore::ResidentStore(workload::Population const& population,
                             std::vector<UserId> const& users,
                             std::shared_ptr<decode::Backend const> backend)
    : population_(population), users_(users), backend_(std::move(backend)) {
    auto const max_tokens = backend_->weights().shape.max_tokens;
    offsets_.reserve(users.size() + 1);
    tokens_.reserve(users.size());
    offsets_.push_back(0);
    for (UserId const user : users) {
        tokens_.push_back(capped_length(population, user, max_tokens));
        offsets_.push_back(offsets_.back() + backend_->layout().entry_bytes(tokens_.back()));
    }
    auto const page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    mapped_bytes_ = std::max<std::uint64_t>(page, (offsets_.back() + page - 1) / page * page);
    void* const memory =
        ::mmap(nullptr, mapped_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        throw BackendError("cannot map " + std::to_string(mapped_bytes_) + " bytes for " +
                           std::to_string(users.size()) + " resident users (" +
                           std::strerror(errno) +
                           "); lower /measurements/memory/max_resident_bytes or use more ranks");
    }
    arena_ = static_cast<std::byte*>(memory);
    // Fewer misses of the address translation, where the system has large pages to give. Not for
    // small stores: rounding to them would count as resident.
    if (mapped_bytes_ >= kLargePagesFrom) ::madvise(memory, mapped_bytes_, MADV_HUGEPAGE);
}

ResidentStore::~ResidentStore() { ::munmap(arena_, mapped_bytes_); }

std::uint64_t ResidentStore::index_bytes() const {
    return offsets_.size() * sizeof(std::uint64_t) + tokens_.size() * sizeof(std::uint32_t);
}

decode::EntryRef ResidentStore::entry(std::size_t user_index) const {
    return {arena_ + offsets_[user_index], tokens_[user_index], tokens_[user_index]};
}

void ResidentStore::fill(std::function<void(std::uint64_t, std::uint64_t)> const& progress) {
    ParallelFailure failure;
    std::atomic<std::uint64_t> done{0};
#pragma omp parallel
    {
        auto const scratch = backend_->make_scratch();
        std::vector<ItemId> history;
#pragma omp for schedule(dynamic, 256)
        for (std::size_t i = 0; i < users_.size(); ++i) {
            failure.guard([&] {
                population_.load_history(users_[i], history);
                auto const stored = backend_->encode(history, tokens_[i], decode::EncodeMode::memo,
                                                     arena_ + offsets_[i], *scratch);
                validate(stored == tokens_[i],
                         "residency: a history is shorter than its announced length");
            });
            auto const now = ++done;
            if (progress && omp_get_thread_num() == 0 && now % 1024 < 8)
                progress(now, users_.size());
        }
    }
    failure.rethrow();
}

std::pair<std::uint64_t, std::uint64_t> ResidentStore::verify(std::uint64_t sample,
                                                              std::uint64_t seed) const {
    return verify_entries(population_, users_, *backend_, sample, seed,
                          [&](std::size_t i) { return entry(i); });
}

Residency hold_users(workload::Population const& population, std::vector<UserId> const& users,
                     std::shared_ptr<decode::Backend const> backend,
                     std::function<std::int64_t()> const& resident_set_bytes, std::uint64_t seed,
                     std::function<void(std::uint64_t, std::uint64_t)> const& progress) {
    Residency result;
    auto const before = resident_set_bytes();
    ResidentStore store(population, users, std::move(backend));
    store.fill(progress);
    result.resident_bytes = resident_set_bytes() - before;
    result.allocated_bytes = store.allocated_bytes();
    result.index_bytes = store.index_bytes();
    std::tie(result.verified_users, result.verified_mismatches) =
        store.verify(kVerifiedUsers, seed);
    return result;
}

}  // namespace ckvsim::engine
