#include "engine/batch_kernels.hpp"

#include <omp.h>

#include <algorithm>

#include "core/error.hpp"
#include "engine/parallel_failure.hpp"

namespace ckvsim::engine {
namespace {

/// Requests decoded together: what they leave waiting between the phases stays small beside a pool.
constexpr std::size_t kGroup = 32;

}  // namespace

std::uint32_t BatchKernels::available_workers() {
    return static_cast<std::uint32_t>(omp_get_max_threads());
}

BatchKernels::BatchKernels(decode::Backend const& backend, std::uint64_t seed, std::uint32_t items,
                           std::uint32_t max_batch, std::uint32_t max_candidates)
    : backend_(backend), seed_(seed), items_(items), candidates_(max_batch) {
    for (std::uint32_t thread = 0; thread < available_workers(); ++thread)
        scratch_.push_back(backend.make_scratch());
    prefills_.reserve(max_batch);
    jobs_.reserve(max_batch);
    requests_.reserve(max_batch);
    feature_rows_.reserve(max_batch);
    for (auto& list : candidates_) list.reserve(max_candidates);
    std::size_t const rows = std::size_t{max_batch} * max_candidates;
    features_.resize(rows * backend.feature_width());
    logits_.resize(rows);
}

void BatchKernels::begin() {
    prefills_.clear();
    jobs_.clear();
    rows_ = 0;
}

void BatchKernels::add_request(workload::Request const& request, decode::EntryRef const& entry) {
    jobs_.push_back({&request, entry, rows_});
    rows_ += request.candidates;
    validate(jobs_.size() <= candidates_.size() && rows_ <= logits_.size(),
             "engine::BatchKernels: the batch is larger than announced");
}

template <class Body>
void BatchKernels::for_each(std::size_t count, Body&& body) {
    // if(...) instead of a smaller team: OpenMP ends the threads that a smaller team leaves out.
    ParallelFailure failure;
#pragma omp parallel for schedule(dynamic, 1) if (count > 1)
    for (std::size_t i = 0; i < count; ++i) {
        failure.guard([&] { body(i, *scratch_[static_cast<std::size_t>(omp_get_thread_num())]); });
    }
    failure.rethrow();
}

void BatchKernels::prefill() {
    for_each(prefills_.size(), [&](std::size_t i, decode::Scratch& scratch) {
        PrefillJob const& job = prefills_[i];
        backend_.encode(job.history, job.capacity, decode::EncodeMode::compute, job.entry, scratch);
    });
}

void BatchKernels::assemble() {
    for (std::size_t i = 0; i < jobs_.size(); ++i)
        workload::candidate_items(seed_, *jobs_[i].request, items_, candidates_[i]);
}

void BatchKernels::decode() {
    requests_.clear();
    feature_rows_.clear();
    bool one_candidate_each = true;
    for (std::size_t i = 0; i < jobs_.size(); ++i) {
        decode::ScoreRequest request;
        request.entry = jobs_[i].entry;
        request.candidates = candidates_[i].data();
        request.count = jobs_[i].request->candidates;
        one_candidate_each = one_candidate_each && request.count == 1;
        requests_.push_back(request);
        feature_rows_.push_back(features_.data() + jobs_[i].row * backend_.feature_width());
    }
    // Short requests share what the backend reads for all of them; long ones are better balanced
    // over the threads one by one.
    std::size_t const share = (jobs_.size() + workers() - 1) / workers();
    std::size_t const group = one_candidate_each ? std::clamp<std::size_t>(share, 1, kGroup) : 1;
    for_each((jobs_.size() + group - 1) / group, [&](std::size_t g, decode::Scratch& scratch) {
        std::size_t const first = g * group;
        std::size_t const count = std::min(group, jobs_.size() - first);
        backend_.decode_batch({requests_.data() + first, count}, feature_rows_.data() + first,
                              scratch);
    });
}

void BatchKernels::score() {
    for_each(jobs_.size(), [&](std::size_t i, decode::Scratch& scratch) {
        backend_.tower(features_.data() + jobs_[i].row * backend_.feature_width(),
                       jobs_[i].request->candidates, logits_.data() + jobs_[i].row, scratch);
    });
}

}  // namespace ckvsim::engine
