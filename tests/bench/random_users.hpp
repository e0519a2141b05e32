// What benchmarks serve: a catalogue of items and users with random entries, more of them than the
// last-level cache holds.
#pragma once

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "core/rng.hpp"
#include "decode/backend.hpp"
#include "device/cpu/kernels.hpp"
#include "workload/zipf_sampler.hpp"

namespace ckvsim::bench {

using device::cpu::AlignedVector;

inline constexpr std::uint32_t kItems = 40000;
/// Entries of different users: far beyond the last-level cache. Small entries stop at kMostUsers.
inline constexpr std::size_t kEntryBytes = std::size_t{256} << 20;
inline constexpr std::size_t kMostUsers = 1024;
inline constexpr double kZipfExponent = 1.0;

/// Items whose only feature is their id.
inline workload::Catalogue item_catalogue() {
    workload::Catalogue c;
    c.items = kItems;
    c.feature_names = {"item"};
    c.feature_vocabularies = {kItems + 1};
    c.features.resize(1);
    for (std::uint32_t i = 0; i <= kItems; ++i) c.features[0].push_back(i);
    return c;
}

/// What the entries of a benchmark row's users hold.
struct EntryKey {
    /// Of rows and user parts. int8 and int4: halves stand for scales, zeros and codes alike.
    kv::ValueType type = kv::ValueType::fp32;
    std::uint32_t m = 0;  ///< pool rows, 0 = none; indices of two bytes
    std::uint32_t tokens = 0;
    std::uint32_t capacity = 0;
    bool zipf = false;  ///< items and pool rows by popularity instead of uniformly at random
    auto operator<=>(EntryKey const&) const = default;
};

/// Entries of as many users as kEntryBytes and kMostUsers allow.
class Users {
  public:
    Users(kv::EntryLayout const& layout, EntryKey const& key)
        : key_(key), entry_bytes_(layout.entry_bytes(key.capacity)) {
        count_ = std::min(kMostUsers, kEntryBytes / entry_bytes_);
        memory_.resize(count_ * entry_bytes_);
        auto const offsets = layout.offsets(key.capacity);
        CounterRng rng(3, Purpose::test, key.tokens);
        std::uint32_t const m = std::max(key.m, 1U);
        workload::ZipfSampler const popular_items(kItems, kZipfExponent);
        workload::ZipfSampler const popular_rows(m, kZipfExponent);
        // The popular ones lie anywhere in the table.
        auto const draw = [&](std::uint32_t among, workload::ZipfSampler const& popular) {
            if (!key.zipf) return rng.below(among);
            auto const rank = popular.draw([&] { return rng.uniform(); });
            return static_cast<std::uint32_t>(rank * 7919 % among);  // a prime beyond all factors
        };
        for (std::size_t user = 0; user < count_; ++user) {
            for (std::size_t s = 0; s < kv::kSections; ++s) {
                auto const section = static_cast<kv::Section>(s);
                std::uint32_t const bytes = layout.bytes_per_token(section);
                if (bytes == 0) continue;
                std::size_t const held = layout.tokens_in(section, key.tokens);
                std::byte* out = data(user) + offsets[s];
                if (section == kv::Section::ids) {
                    for (std::size_t t = 0; t < held; ++t) {
                        ItemId const id = 1 + draw(kItems, popular_items);
                        std::memcpy(out + t * bytes, &id, bytes);
                    }
                } else if (kv::to_string(section).ends_with("_index")) {
                    for (std::size_t t = 0; t < held; ++t) {
                        auto const index = static_cast<std::uint16_t>(draw(m, popular_rows));
                        std::memcpy(out + t * bytes, &index, bytes);
                    }
                } else {
                    fill_values(key.type, held * bytes, user + s, out);
                }
            }
        }
    }
    [[nodiscard]] std::size_t count() const { return count_; }
    [[nodiscard]] std::uint32_t tokens() const { return key_.tokens; }
    [[nodiscard]] std::byte* data(std::size_t user) {
        return memory_.data() + user % count_ * entry_bytes_;
    }
    [[nodiscard]] decode::EntryRef entry(std::size_t user) const {
        return {memory_.data() + user % count_ * entry_bytes_, key_.tokens, key_.capacity};
    }

  private:
    /// Values between -1 and 1 out of one block of random numbers.
    static void fill_values(kv::ValueType type, std::size_t bytes, std::size_t offset,
                            std::byte* out) {
        constexpr std::size_t kBlock = 8192;
        static auto const floats = [] {
            std::vector<float> values(2 * kBlock);
            CounterRng rng(4, Purpose::test, 0);
            for (float& x : values) x = static_cast<float>(2.0 * rng.uniform() - 1.0);
            return values;
        }();
        static auto const halves = [] {
            std::vector<std::uint16_t> values(2 * kBlock);
            device::cpu::to_half(floats.data(), floats.size(), values.data());
            return values;
        }();
        bool const whole = type == kv::ValueType::fp32;
        std::size_t const width = kv::value_bytes(type);
        auto const* from = whole ? reinterpret_cast<std::byte const*>(floats.data())
                                 : reinterpret_cast<std::byte const*>(halves.data());
        from += offset * 61 % kBlock * width;
        for (std::size_t at = 0; at < bytes; at += kBlock * width)
            std::memcpy(out + at, from, std::min(kBlock * width, bytes - at));
    }

    EntryKey key_;
    std::size_t entry_bytes_;
    std::size_t count_ = 0;
    AlignedVector<std::byte> memory_;
};

}  // namespace ckvsim::bench
