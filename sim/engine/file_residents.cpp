#include "engine/file_residents.hpp"

#include <omp.h>

#include <algorithm>
#include <utility>

#include "core/error.hpp"

namespace ckvsim::engine {

namespace {

/// Users are encoded into a buffer of about this size and written at once.
constexpr std::uint64_t kWriteBytes = std::uint64_t{4} << 20;
constexpr int kReaders = 8;  ///< reads in flight

std::vector<std::uint64_t> slot_offsets(std::vector<std::uint32_t> const& tokens,
                                        kv::EntryLayout const& layout) {
    std::vector<std::uint64_t> offsets = {0};
    offsets.reserve(tokens.size() + 1);
    for (std::uint32_t const n : tokens)
        offsets.push_back(offsets.back() + FileResidents::slot_bytes(layout.entry_bytes(n)));
    return offsets;
}

std::uint64_t widest(std::vector<std::uint64_t> const& offsets) {
    std::uint64_t most = 0;
    for (std::size_t i = 1; i < offsets.size(); ++i)
        most = std::max(most, offsets[i] - offsets[i - 1]);
    return most;
}

}  // namespace

ReaderPool::ReaderPool(int readers) : start_(readers + 1), end_(readers + 1) {
    try {
        for (int i = 0; i < readers; ++i) threads_.emplace_back([this] { work(); });
    } catch (...) {
        // Those that exist wait for all: the missing ones and this one arrive, and they end.
        (void)start_.arrive(readers + 1 - static_cast<std::ptrdiff_t>(threads_.size()));
        throw;
    }
}

ReaderPool::~ReaderPool() {
    read_ = nullptr;
    start_.arrive_and_wait();
}

void ReaderPool::work() {
    for (;;) {
        start_.arrive_and_wait();
        if (read_ == nullptr) return;
        for (std::size_t i = next_.fetch_add(1); i < count_; i = next_.fetch_add(1))
            failure_->guard([&] { (*read_)(i); });
        end_.arrive_and_wait();
    }
}

void ReaderPool::for_each(std::size_t count, std::function<void(std::size_t)> const& read) {
    if (count == 1) return read(0);
    ParallelFailure failure;
    read_ = &read;
    count_ = count;
    next_ = 0;
    failure_ = &failure;
    start_.arrive_and_wait();
    end_.arrive_and_wait();
    failure.rethrow();
}

FileResidents::FileResidents(workload::Population const& population,
                             std::vector<UserId> const& users,
                             std::shared_ptr<decode::Backend const> backend,
                             std::string const& folder, std::uint32_t max_batch)
    : population_(population),
      users_(users),
      backend_(std::move(backend)),
      tokens_(capped_lengths(population, users, backend_->weights().shape.max_tokens)),
      offsets_(slot_offsets(tokens_, backend_->layout())),
      largest_slot_(widest(offsets_)),
      file_(folder, offsets_.back()),
      workspace_(largest_slot_ * max_batch, "a batch's entries from storage"),
      readers_(kReaders) {}

void FileResidents::fill(std::function<void(std::uint64_t, std::uint64_t)> const& progress) {
    // Runs of users whose slots fill a buffer.
    std::vector<std::size_t> firsts = {0};
    for (std::size_t i = 1; i < users_.size(); ++i) {
        if (offsets_[i + 1] - offsets_[firsts.back()] > kWriteBytes) firsts.push_back(i);
    }
    if (users_.empty()) firsts.clear();
    ParallelFailure failure;
    std::atomic<std::uint64_t> done{0};
#pragma omp parallel
    {
        auto const scratch = backend_->make_scratch();
        std::vector<ItemId> history;
        std::unique_ptr<TouchedBytes> buffer;
        // One more than a run's: the slot that ends it.
        failure.guard([&] {
            buffer =
                std::make_unique<TouchedBytes>(kWriteBytes + largest_slot_, "entries to write");
        });
#pragma omp for schedule(dynamic)
        for (std::size_t run = 0; run < firsts.size(); ++run) {
            failure.guard([&] {
                std::size_t const first = firsts[run];
                std::size_t const end = run + 1 < firsts.size() ? firsts[run + 1] : users_.size();
                for (std::size_t i = first; i < end; ++i) {
                    population_.load_history(users_[i], history);
                    auto const stored = backend_->encode(
                        history, tokens_[i], decode::EncodeMode::memo,
                        buffer->data() + (offsets_[i] - offsets_[first]), *scratch);
                    validate(
                        stored == tokens_[i],
                        "engine::FileResidents: a history is shorter than its announced length");
                }
                file_.write(offsets_[first], buffer->data(), offsets_[end] - offsets_[first]);
                done += end - first;
            });
            if (progress && omp_get_thread_num() == 0) progress(done, users_.size());
        }
    }
    failure.rethrow();
}

void FileResidents::fetch(std::span<std::size_t const> user_indices,
                          std::vector<decode::EntryRef>& entries) {
    validate(user_indices.size() * largest_slot_ <= workspace_.size(),
             "engine::FileResidents: a batch larger than announced");
    entries.resize(user_indices.size());
    readers_.for_each(user_indices.size(), [&](std::size_t k) {
        std::size_t const i = user_indices[k];
        std::byte* const to = workspace_.data() + k * largest_slot_;
        file_.read(offsets_[i], to, offsets_[i + 1] - offsets_[i]);
        entries[k] = {to, tokens_[i], tokens_[i]};
    });
}

std::pair<std::uint64_t, std::uint64_t> FileResidents::verify(std::uint64_t sample,
                                                              std::uint64_t seed) {
    std::vector<decode::EntryRef> entries;
    return verify_entries(population_, users_, *backend_, sample, seed, [&](std::size_t i) {
        fetch({&i, 1}, entries);
        return entries.front();
    });
}

}  // namespace ckvsim::engine
