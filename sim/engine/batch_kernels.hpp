// The stages of a batch on real kernels: what the executed twin runs and what calibration measures,
// so that the simulated twin is priced by the same code. Requests of a batch are spread over the
// OpenMP threads; a single one runs on the calling thread without a parallel region. Knows no
// clock.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "decode/backend.hpp"
#include "workload/requests.hpp"

namespace ckvsim::engine {

class BatchKernels {
  public:
    /// `seed` is the run's (candidates are derived from it). `max_batch` requests of at most
    /// `max_candidates` candidates; `items` = catalogue size.
    BatchKernels(decode::Backend const& backend, std::uint64_t seed, std::uint32_t items,
                 std::uint32_t max_batch, std::uint32_t max_candidates);

    /// Workers that a new object will have: omp_get_max_threads().
    static std::uint32_t available_workers();
    /// OpenMP threads that share a batch.
    [[nodiscard]] std::uint32_t workers() const {
        return static_cast<std::uint32_t>(scratch_.size());
    }

    void begin();
    /// An entry to encode before decoding. `entry` has room for `capacity` tokens.
    void add_prefill(std::span<ItemId const> history, std::uint32_t capacity, std::byte* entry) {
        prefills_.push_back({history, capacity, entry});
    }
    /// The next request and the entry that it is scored against.
    void add_request(workload::Request const& request, decode::EntryRef const& entry);

    void prefill();   ///< encodes by EncodeMode::compute
    void assemble();  ///< host work: the candidates of every request
    void decode();    ///< attention, of several requests together where each has one candidate
    void score();     ///< tower
    /// Scores of the batch's i-th request, [C].
    [[nodiscard]] std::span<float const> logits(std::size_t i) const {
        return {logits_.data() + jobs_[i].row, jobs_[i].request->candidates};
    }

  private:
    struct PrefillJob {
        std::span<ItemId const> history;
        std::uint32_t capacity;
        std::byte* entry;
    };
    struct Job {
        workload::Request const* request;
        decode::EntryRef entry;
        std::size_t row;  ///< first row of the batch's features
    };
    template <class Body>
    void for_each(std::size_t count, Body&& body);

    decode::Backend const& backend_;
    std::uint64_t seed_;
    std::uint32_t items_;
    std::vector<std::unique_ptr<decode::Scratch>> scratch_;  ///< [threads]
    std::vector<PrefillJob> prefills_;
    std::vector<Job> jobs_;
    std::vector<std::vector<ItemId>> candidates_;  ///< [max_batch]
    std::vector<decode::ScoreRequest> requests_;   ///< [max_batch]
    std::vector<float*> feature_rows_;             ///< [max_batch]
    std::vector<float> features_;                  ///< [rows of the batch, feature_width]
    std::vector<float> logits_;                    ///< [rows of the batch]
    std::size_t rows_ = 0;
};

}  // namespace ckvsim::engine
