// Exceptions must not leave an OpenMP region: the first one is kept and thrown again after it.
#pragma once

#include <atomic>
#include <exception>
#include <mutex>

namespace ckvsim::engine {

class ParallelFailure {
  public:
    /// Runs `body` unless a failure is already known; keeps its exception.
    template <class Body>
    void guard(Body&& body) {
        if (failed_.load(std::memory_order_relaxed)) return;
        try {
            body();
        } catch (...) {
            std::lock_guard const lock(mutex_);
            if (!failed_.exchange(true)) failure_ = std::current_exception();
        }
    }
    /// Call after the parallel region.
    void rethrow() const {
        if (failure_) std::rethrow_exception(failure_);
    }

  private:
    std::atomic<bool> failed_{false};
    std::mutex mutex_;
    std::exception_ptr failure_;
};

}  // namespace ckvsim::engine
