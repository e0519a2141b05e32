// State of a running simulation as bytes and back. A class lists its members once, in
//   template <class Archive> void archive(Archive& ar) { ar(first_, second_); }
// and the three archives below use that list for saving, for loading and for a digest of the
// layout, so that they cannot disagree. Trivially copyable values travel as they lie in memory (so
// a struct of numbers needs no archive(), and must hold no pointer); vectors, large arrays,
// optionals, pairs and priority queues are known. Bytes are for the program that wrote them, on the
// same kind of machine: whoever stores them keeps the layout's digest beside them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <queue>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/error.hpp"
#include "core/large_array.hpp"
#include "core/rng.hpp"

namespace ckvsim {

/// Where saved bytes go.
class ByteSink {
  public:
    virtual ~ByteSink() = default;
    virtual void write(std::span<std::byte const> bytes) = 0;
};

/// Where they come from. read() fills the span or throws DataError.
class ByteSource {
  public:
    virtual ~ByteSource() = default;
    virtual void read(std::span<std::byte> bytes) = 0;
    [[nodiscard]] virtual std::uint64_t remaining() const = 0;
    /// What messages call it.
    [[nodiscard]] virtual std::string name() const = 0;
    /// Throws DataError with the reason.
    [[noreturn]] void refuse(char const* reason) const { throw DataError(name(), 0, reason); }
};

/// In memory.
class ByteBuffer final : public ByteSink {
  public:
    void write(std::span<std::byte const> more) override {
        bytes.insert(bytes.end(), more.begin(), more.end());
    }
    std::vector<std::byte> bytes;
};
class ByteView final : public ByteSource {
  public:
    /// `name` is what messages call it.
    explicit ByteView(std::span<std::byte const> bytes, std::string name = "saved state")
        : bytes_(bytes), name_(std::move(name)) {}
    void read(std::span<std::byte> out) override {
        if (out.size() > bytes_.size()) refuse("ends in the middle of a value");
        if (!out.empty()) std::memcpy(out.data(), bytes_.data(), out.size());
        bytes_ = bytes_.subspan(out.size());
    }
    [[nodiscard]] std::uint64_t remaining() const override { return bytes_.size(); }
    [[nodiscard]] std::string name() const override { return name_; }

  private:
    std::span<std::byte const> bytes_;
    std::string name_;
};

/// What the archives share: dispatch by kind of value. `Self` has bytes(pointer, size), size(n) and
/// kLoads; see below.
template <class Self>
class ArchiveBase {
  public:
    /// In order.
    template <class... Values>
    void operator()(Values&... values) {
        (one(values), ...);
    }
    /// Elements of a container that has its size already and keeps it; they need no default.
    template <class Container>
    void fixed(Container& elements) {
        self().fixed_size(elements.size());
        if constexpr (!Self::kLayout) {
            for (auto& element : elements) one(element);
        } else if (!elements.empty()) {
            one(*elements.begin());
        }
    }

  private:
    Self& self() { return static_cast<Self&>(*this); }
    template <class T>
    static constexpr bool kPlain = std::is_trivially_copyable_v<T> && !std::is_pointer_v<T>;

    template <class T>
    void one(T& value) {
        if constexpr (kPlain<T>) {
            self().raw(&value, sizeof(T));
        } else {
            value.archive(self());
        }
    }
    template <class A, class B>
    void one(std::pair<A, B>& value) {
        one(value.first);
        one(value.second);
    }
    template <class T, std::size_t kSize>
    void one(std::array<T, kSize>& values) {
        if constexpr (kPlain<T>) {
            self().raw(values.data(), sizeof values);
        } else {
            for (auto& value : values) one(value);
        }
    }
    template <class T>
    void one(std::vector<T>& values) {
        std::uint64_t const size = self().size(values.size(), kPlain<T> ? sizeof(T) : 1);
        if constexpr (Self::kLoads) {
            values.clear();
            values.resize(size);
        }
        elements(values);
    }
    template <class T>
    void one(LargeArray<T>& values) {
        std::uint64_t const size = self().size(values.size(), sizeof(T));
        if constexpr (Self::kLoads) values = LargeArray<T>(size);
        if constexpr (Self::kLayout) {
            self().raw(nullptr, sizeof(T));
        } else if (size > 0) {
            self().raw(values.data(), size * sizeof(T));
        }
    }
    template <class T>
    void one(std::optional<T>& value) {
        std::uint64_t const size = self().size(value.has_value() ? 1 : 0, 1);
        if constexpr (Self::kLoads) {
            if (size > 1) self().refuse("an optional value that is there more than once");
            value.reset();
            if (size == 1) value.emplace();
        }
        if constexpr (Self::kLayout) {
            T sample{};
            one(sample);
        } else if (value) {
            one(*value);
        }
    }
    template <class T, class Container, class Compare>
    void one(std::priority_queue<T, Container, Compare>& queue) {
        struct Open : std::priority_queue<T, Container, Compare> {
            static Container& elements_of(std::priority_queue<T, Container, Compare>& q) {
                return q.*&Open::c;
            }
        };
        one(Open::elements_of(queue));
    }
    template <class T>
    void elements(std::vector<T>& values) {
        if constexpr (Self::kLayout) {
            T sample{};
            one(sample);
        } else if constexpr (kPlain<T>) {
            if (!values.empty()) self().raw(values.data(), values.size() * sizeof(T));
        } else {
            for (auto& value : values) one(value);
        }
    }
};

/// Writes to a sink.
class SaveArchive : public ArchiveBase<SaveArchive> {
  public:
    static constexpr bool kLoads = false;
    static constexpr bool kLayout = false;
    explicit SaveArchive(ByteSink& sink) : sink_(sink) {}
    void raw(void const* value, std::uint64_t bytes) {
        sink_.write({static_cast<std::byte const*>(value), bytes});
    }
    std::uint64_t size(std::uint64_t count, std::uint64_t /*least*/) {
        raw(&count, sizeof count);
        return count;
    }
    void fixed_size(std::uint64_t count) { size(count, 0); }

  private:
    ByteSink& sink_;
};

/// Reads from a source; a value that cannot be is refused with DataError before it costs memory.
/// An object that failed to load is half loaded: throw it away.
class LoadArchive : public ArchiveBase<LoadArchive> {
  public:
    static constexpr bool kLoads = true;
    static constexpr bool kLayout = false;
    explicit LoadArchive(ByteSource& source) : source_(source) {}
    void raw(void* value, std::uint64_t bytes) {
        source_.read({static_cast<std::byte*>(value), bytes});
    }
    /// An array's size; each element takes at least `least` bytes.
    std::uint64_t size(std::uint64_t /*count*/, std::uint64_t least) {
        std::uint64_t count = 0;
        raw(&count, sizeof count);
        if (count > source_.remaining() / least) refuse("an array is longer than the file");
        return count;
    }
    void fixed_size(std::uint64_t count) {
        std::uint64_t stored = 0;
        raw(&stored, sizeof stored);
        require(stored == count, "an array has another size than the study gives it");
    }
    /// For archive() functions that check what they loaded.
    void require(bool condition, char const* reason) const {
        if (!condition) refuse(reason);
    }
    [[noreturn]] void refuse(char const* reason) const { source_.refuse(reason); }

  private:
    ByteSource& source_;
};

/// Digest of kinds, sizes and order of the members of an object, whatever their values.
class LayoutArchive : public ArchiveBase<LayoutArchive> {
  public:
    static constexpr bool kLoads = false;
    static constexpr bool kLayout = true;
    void raw(void const* /*value*/, std::uint64_t bytes) { mix(bytes); }
    std::uint64_t size(std::uint64_t /*count*/, std::uint64_t least) {
        mix(0xA11A0000U + least);
        return 0;
    }
    void fixed_size(std::uint64_t /*count*/) { mix(0xF1DE0000U); }
    [[nodiscard]] std::uint64_t digest() const { return digest_; }

  private:
    void mix(std::uint64_t value) { digest_ = mix64(digest_ ^ value); }
    std::uint64_t digest_ = 0;
};

template <class T>
void save(ByteSink& sink, T& value) {
    SaveArchive ar(sink);
    ar(value);
}
template <class T>
void load(ByteSource& source, T& value) {
    LoadArchive ar(source);
    ar(value);
}
template <class T>
std::uint64_t layout_of(T& value) {
    LayoutArchive ar;
    ar(value);
    return ar.digest();
}

}  // namespace ckvsim
