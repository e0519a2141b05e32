// Worked example of sim/docs/howto/add_strategy.md: K and V rows as int8 with a scale a row.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>
#include <vector>

#include "core/rng.hpp"
#include "kv/strategy.hpp"

namespace ckvsim::kv {
namespace {

//! [bytes]
/// Bytes of a row of d values: d codes and one fp32 scale.
constexpr std::uint32_t int8_row_bytes(std::uint32_t d) { return d + sizeof(float); }

/// A user's payload when the rows of `full` are stored as int8: every other section as it is.
std::size_t int8_payload_bytes(EntryLayout const& full, std::uint32_t d, std::uint32_t tokens) {
    std::size_t bytes = 0;
    for (std::size_t s = 0; s < kSections; ++s) {
        auto const section = static_cast<Section>(s);
        bool const row = section == Section::short_k || section == Section::short_v ||
                         section == Section::long_k || section == Section::long_v;
        bytes += row ? std::size_t{full.tokens_in(section, tokens)} * int8_row_bytes(d)
                     : full.payload_bytes(tokens, section);
    }
    return bytes;
}
//! [bytes]

//! [kernels]
/// Writes int8_row_bytes(row.size()) bytes: the scale, then the codes.
void encode_row(std::span<float const> row, std::byte* out) {
    float largest = 0.0F;
    for (float const value : row) largest = std::max(largest, std::abs(value));
    float const scale = largest / 127.0F;
    std::memcpy(out, &scale, sizeof scale);
    for (std::size_t i = 0; i < row.size(); ++i) {
        long const code = scale > 0.0F ? std::lround(row[i] / scale) : 0;
        out[sizeof scale + i] = static_cast<std::byte>(static_cast<std::int8_t>(code));
    }
}

void decode_row(std::byte const* in, std::span<float> row) {
    float scale = 0.0F;
    std::memcpy(&scale, in, sizeof scale);
    for (std::size_t i = 0; i < row.size(); ++i)
        row[i] = scale * static_cast<float>(static_cast<std::int8_t>(in[sizeof scale + i]));
}
//! [kernels]

//! [test]
TEST(AddStrategy, BytesAreCountedFromTheLayout) {
    model::SimShape const shape;  // d = 64, 49 short tokens, search keys of 16
    EntryLayout const full(shape, {}, {});
    // 200 tokens: short K and V of 49, long K and V of 200, search keys in fp32.
    EXPECT_EQ(int8_payload_bytes(full, 64, 200), 2U * 49 * 68 + 2U * 200 * 68 + 200U * 16 * 4);
    EXPECT_LT(int8_payload_bytes(full, 64, 200), full.payload_bytes(200) / 3);
}

TEST(AddStrategy, ARowComesBackWithinHalfAStep) {
    CounterRng rng(1, Purpose::test, 1);
    std::vector<float> row(64);
    std::vector<float> back(64);
    std::vector<std::byte> bytes(int8_row_bytes(64));
    for (int trial = 0; trial < 100; ++trial) {
        for (float& value : row) value = static_cast<float>(4.0 * rng.uniform() - 2.0);
        float const largest = std::abs(*std::max_element(
            row.begin(), row.end(), [](float a, float b) { return std::abs(a) < std::abs(b); }));
        encode_row(row, bytes.data());
        decode_row(bytes.data(), back);
        for (std::size_t i = 0; i < row.size(); ++i)
            EXPECT_NEAR(back[i], row[i], 0.5001F * largest / 127.0F);
    }
}

TEST(AddStrategy, ZerosStayZeros) {
    std::vector<float> const row(8, 0.0F);
    std::vector<float> back(8, 1.0F);
    std::vector<std::byte> bytes(int8_row_bytes(8));
    encode_row(row, bytes.data());
    decode_row(bytes.data(), back);
    EXPECT_EQ(back, row);
}
//! [test]

}  // namespace
}  // namespace ckvsim::kv
