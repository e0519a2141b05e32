// Belady's MIN with bypass (Belady, IBM Systems Journal 1966): evicts the entry, the newcomer
// included, whose next request is farthest away. For entries of one size no policy, with or
// without admission, has fewer misses. For different sizes the optimum is NP-hard and this is a
// heuristic: evict the largest product of bytes and distance.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <vector>

#include "node/policies/eviction_policy.hpp"

namespace ckvsim::node::policies {

/// Needs the future: set_future() before every hit() or insert(). One max-heap per power of two of
/// the sizes; the largest product is sought among their tops, so the heuristic's choice is exact
/// within a factor of two of the sizes and exact for equal sizes. A hit leaves its old heap node
/// behind, whose time has passed; such nodes never reach the top before living ones and are swept
/// out when they outnumber them. O(log n) amortised.
class Belady {
  public:
    static constexpr char const* kName = "belady";
    static constexpr bool kNeedsFuture = true;
    static constexpr bool kHitMovesNeighbours = false;
    static constexpr std::uint64_t kNever = std::numeric_limits<std::uint64_t>::max();

    explicit Belady(std::uint64_t capacity) : capacity_(capacity) {}

    /// `now`: position of this request; `next`: position of the next one for the same key, or
    /// kNever.
    void set_future(std::uint64_t now, std::uint64_t next) {
        now_ = now;
        next_ = next;
    }
    [[nodiscard]] static bool resident(Links links) { return links.region != 0; }
    template <SlotStore Store>
    void hit(Store& store, Slot slot) {
        push({next_, store.bytes(slot), slot});
    }
    template <SlotStore Store, EvictionSink Sink>
    bool insert(Store& store, Slot slot, std::uint64_t bytes, Sink& sink) {
        if (bytes > capacity_ || next_ == kNever || !make_room(store, bytes, sink)) {
            sink.release(slot);
            return false;
        }
        store.set_bytes(slot, bytes);
        store.links(slot).region = 1;
        Heap& heap = heap_of(bytes);
        ++heap.living;
        ++count_;
        used_ += bytes;
        push({next_, bytes, slot});
        return true;
    }
    [[nodiscard]] Slot likely_victim() const { return kNone; }
    [[nodiscard]] std::uint64_t capacity() const { return capacity_; }
    [[nodiscard]] std::uint64_t used() const { return used_; }
    [[nodiscard]] std::uint64_t count() const { return count_; }

  private:
    struct Node {
        std::uint64_t next;
        std::uint64_t bytes;
        Slot slot;
        bool operator<(Node const& other) const {
            return next != other.next ? next < other.next : bytes < other.bytes;
        }
    };
    struct Heap {
        std::vector<Node> nodes;
        std::uint64_t living = 0;
    };

    Heap& heap_of(std::uint64_t bytes) {
        return heaps_[static_cast<std::size_t>(std::bit_width(bytes))];
    }
    [[nodiscard]] double cost(std::uint64_t next, std::uint64_t bytes) const {
        if (next == kNever) return std::numeric_limits<double>::infinity();
        return static_cast<double>(next - now_) * static_cast<double>(bytes);
    }
    /// Whether the newcomer deserves its place more; free of rounding for equal sizes.
    [[nodiscard]] bool cheaper_than(Node const& out, std::uint64_t bytes) const {
        return bytes == out.bytes ? next_ < out.next
                                  : cost(next_, bytes) < cost(out.next, out.bytes);
    }
    void push(Node node) {
        Heap& heap = heap_of(node.bytes);
        if (heap.nodes.size() > 2 * heap.living + 64) {
            std::erase_if(heap.nodes, [this](Node const& n) { return n.next <= now_; });
            std::make_heap(heap.nodes.begin(), heap.nodes.end());
        }
        heap.nodes.push_back(node);
        std::push_heap(heap.nodes.begin(), heap.nodes.end());
    }
    /// Takes the costliest entry out of its heap; the largest class wins a tie.
    Node pop_costliest() {
        Heap* best = nullptr;
        double highest = -1.0;
        for (std::size_t at = heaps_.size(); at-- > 0;) {
            Heap& heap = heaps_[at];
            if (heap.living == 0) continue;
            double const top = cost(heap.nodes.front().next, heap.nodes.front().bytes);
            if (top > highest) {
                highest = top;
                best = &heap;
            }
        }
        Node const node = best->nodes.front();
        std::pop_heap(best->nodes.begin(), best->nodes.end());
        best->nodes.pop_back();
        --best->living;
        return node;
    }
    /// False, with nothing changed, when the newcomer costs as much as one that had to leave.
    template <SlotStore Store, EvictionSink Sink>
    bool make_room(Store& store, std::uint64_t bytes, Sink& sink) {
        leaving_.clear();
        std::uint64_t freed = 0;
        while (used_ - freed + bytes > capacity_) {
            leaving_.push_back(pop_costliest());
            Node const& out = leaving_.back();
            freed += out.bytes;
            if (cheaper_than(out, bytes)) continue;
            for (Node const& node : leaving_) {
                ++heap_of(node.bytes).living;
                push(node);
            }
            return false;
        }
        for (Node const& node : leaving_) {
            store.links(node.slot).region = 0;
            sink.evict(node.slot);
            sink.release(node.slot);
        }
        used_ -= freed;
        count_ -= leaving_.size();
        return true;
    }

    std::array<Heap, 65> heaps_;
    std::vector<Node> leaving_;
    std::uint64_t capacity_;
    std::uint64_t used_ = 0;
    std::uint64_t count_ = 0;
    std::uint64_t now_ = 0;
    std::uint64_t next_ = kNever;
};

}  // namespace ckvsim::node::policies
