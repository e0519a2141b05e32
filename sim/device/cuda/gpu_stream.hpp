// Order on the device: streams, events between them, work recorded once and replayed, fetches that
// run beside kernels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>

// CUDA's handles, so that users of this header need none of its headers.
struct CUstream_st;
struct CUevent_st;
struct CUgraphExec_st;

namespace ckvsim::device::cuda {

class Stream;

/// A point in a stream.
class Event {
  public:
    Event();
    Event(Event&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
    Event& operator=(Event&& other) noexcept {
        std::swap(handle_, other.handle_);
        return *this;
    }
    Event(Event const&) = delete;
    Event& operator=(Event const&) = delete;
    ~Event();

    void record(Stream const& stream);
    /// Milliseconds on the device from `start` to this event; waits for it.
    [[nodiscard]] double ms_since(Event const& start) const;
    [[nodiscard]] CUevent_st* handle() const { return handle_; }

  private:
    CUevent_st* handle_ = nullptr;
};

/// Work in order; different streams run beside each other.
class Stream {
  public:
    Stream();
    Stream(Stream const&) = delete;
    Stream& operator=(Stream const&) = delete;
    ~Stream();

    /// Copies between any two memories. Returns at once when both are device or pinned memory.
    void copy(void* to, void const* from, std::size_t bytes) const;
    /// Later work starts after the event.
    void wait_for(Event const& event) const;
    /// Waits for all work; throws BackendError when some of it failed.
    void synchronize() const;
    /// Asks the L2 cache to keep this range (pools) while this stream's kernels run. Returns the
    /// bytes that the device reserved, 0 when it cannot.
    std::size_t keep_in_l2(void const* address, std::size_t bytes) const;
    /// Ends keep_in_l2().
    void release_l2() const;
    [[nodiscard]] CUstream_st* handle() const { return handle_; }

  private:
    CUstream_st* handle_ = nullptr;
};

/// A recorded sequence of launches and copies that starts with one call: for small batches, whose
/// launches would take longer than their work.
class Graph {
  public:
    /// Records what `work` puts into `stream`; nothing runs. Its kernels must have been launched
    /// once before: CUDA loads a kernel at its first launch, which a recording may not wait for.
    Graph(Stream const& stream, std::function<void()> const& work);
    Graph(Graph const&) = delete;
    Graph& operator=(Graph const&) = delete;
    ~Graph();
    void launch(Stream const& stream) const;

  private:
    CUgraphExec_st* handle_ = nullptr;
};

/// Runs `parts` parts, each a fetch and then its work, so that the fetch of one part runs beside
/// the work of the one before. Fetch and work of part p use slot p % slots; a slot is fetched into
/// only after its last work. Both are called as f(part, slot) and put their work into their stream.
/// Returns when everything is queued.
void run_overlapped(Stream const& fetches, Stream const& kernels, std::uint32_t parts,
                    std::uint32_t slots,
                    std::function<void(std::uint32_t, std::uint32_t)> const& fetch,
                    std::function<void(std::uint32_t, std::uint32_t)> const& work);

}  // namespace ckvsim::device::cuda
