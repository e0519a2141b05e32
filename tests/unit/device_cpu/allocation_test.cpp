// Serving allocates nothing once its scratch has grown: every operator new of this program counts.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <new>

#include "backend_cases.hpp"

namespace {

std::atomic<std::size_t> allocations{0};

void* counted(std::size_t bytes, std::size_t alignment) {
    ++allocations;
    std::size_t const whole = (bytes + alignment - 1) / alignment * alignment;
    void* memory = std::aligned_alloc(alignment, whole == 0 ? alignment : whole);
    if (memory == nullptr) throw std::bad_alloc();
    return memory;
}

/// Not inlined: GCC warns of free() where it sees the memory come from the replaced operator new.
[[gnu::noinline]] void release(void* memory) noexcept { std::free(memory); }

}  // namespace

void* operator new(std::size_t bytes) { return counted(bytes, alignof(std::max_align_t)); }
void* operator new(std::size_t bytes, std::align_val_t alignment) {
    return counted(bytes, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t bytes, std::nothrow_t const&) noexcept {
    return counted(bytes, alignof(std::max_align_t));
}
void operator delete(void* memory) noexcept { release(memory); }
void operator delete(void* memory, std::nothrow_t const&) noexcept { release(memory); }
void operator delete(void* memory, std::size_t) noexcept { release(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { release(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { release(memory); }

namespace ckvsim::device::cpu {
namespace {

TEST(Allocation, RepeatedRequestsAllocateNothing) {
    auto const catalogue = test::small_catalogue(60);
    auto cases = test::backend_cases(test::even_shape());
    for (auto const& c : test::backend_cases(test::twin_of(test::even_shape()))) cases.push_back(c);
    for (auto const& c : test::backend_cases(test::eta_of(test::even_shape()))) cases.push_back(c);
    for (auto const& c : test::backend_cases(test::sdim_of(test::even_shape()))) cases.push_back(c);
    for (auto const& c : test::stack_cases(test::hstu_of(test::even_shape()))) cases.push_back(c);
    for (auto const& c : test::stack_code_cases(test::hstu_of(test::even_shape())))
        cases.push_back(c);
    auto const histories = test::fitted_histories(60);
    BackendOptions options;
    options.histories = histories;
    for (auto const& c : cases) {
        SCOPED_TRACE(c.name);
        auto const backend =
            make_backend(test::case_weights(c, catalogue), c.strategy, catalogue, options);
        auto const scratch = backend->make_scratch();
        auto const history = test::random_history(c.shape.max_tokens, 60, 1);
        auto const candidates = test::random_history(70, 60, 2);
        std::vector<std::byte> entry(backend->layout().entry_bytes(c.shape.max_tokens));
        std::vector<float> features(candidates.size() * backend->feature_width());
        std::vector<float> logits(candidates.size());
        auto const serve = [&](std::uint32_t count) {
            decode::ScoreRequest request;
            auto const tokens = backend->encode(
                history, c.shape.max_tokens, decode::EncodeMode::compute, entry.data(), *scratch);
            request.entry = {entry.data(), tokens, c.shape.max_tokens};
            request.candidates = candidates.data();
            request.count = count;
            backend->decode(request, features.data(), *scratch);
            backend->tower(features.data(), count, logits.data(), *scratch);
        };
        auto const serve_batch = [&] {
            decode::ScoreRequest request;
            request.entry = {entry.data(), c.shape.max_tokens, c.shape.max_tokens};
            request.candidates = candidates.data();
            request.count = 1;
            std::array<decode::ScoreRequest, 3> const requests = {request, request, request};
            std::array<float*, 3> rows{};
            for (std::size_t i = 0; i < rows.size(); ++i)
                rows[i] = features.data() + i * backend->feature_width();
            backend->decode_batch(requests, rows.data(), *scratch);
        };
        std::size_t const before = allocations;
        serve(70);
        EXPECT_GT(allocations, before);  // the counter sees the scratch grow
        serve(1);
        serve_batch();
        std::size_t const grown = allocations;
        for (std::uint32_t const count : {1U, 3U, 70U}) serve(count);
        serve_batch();
        EXPECT_EQ(allocations, grown);
    }
}

}  // namespace
}  // namespace ckvsim::device::cpu
