// int8 and int4 rows: what a value may lose, what is written, and kernels that read codes against
// the same kernels on values read back.
#include "device/cpu/quantised_rows.hpp"

#include <cmath>
#include <cstring>

#include "every_target.hpp"
#include "stored_rows.hpp"

namespace ckvsim::device::cpu {
namespace {

using kv::ValueType;
using QuantisedRows = EveryTarget;

constexpr std::byte kPoisonByte{0xA5};
constexpr ValueType kTypes[] = {ValueType::int8, ValueType::int4};

std::vector<float> random_row(std::size_t width, std::uint64_t stream, double scale = 1.0,
                              double shift = 0.0) {
    CounterRng rng(7, Purpose::test, stream);
    std::vector<float> row(width);
    for (float& value : row) value = static_cast<float>(shift + scale * rng.normal());
    return row;
}

std::uint32_t bytes_of(ValueType type, std::size_t width) {
    return kv::row_bytes(type, static_cast<std::uint32_t>(width));
}

/// Stores and reads a row between guards.
std::vector<float> there_and_back(ValueType type, std::vector<float> const& row,
                                  std::vector<std::byte>& stored) {
    std::size_t const bytes = bytes_of(type, row.size());
    stored.assign(bytes + 1, kPoisonByte);
    store_row(type, row.data(), row.size(), stored.data());
    EXPECT_EQ(stored.back(), kPoisonByte);
    std::vector<float> back(row.size() + 1, kPoison);
    load_row(type, stored.data(), row.size(), back.data());
    EXPECT_EQ(back.back(), kPoison);
    back.pop_back();
    return back;
}

/// Scale of value i.
double scale_at(ValueType type, std::vector<std::byte> const& stored, std::size_t i) {
    return test::half_at(stored.data() + (type == ValueType::int8 ? 0 : 4 * (i / kv::kInt4Group)));
}

TEST(RowBytes, CountScalesAndZeros) {
    EXPECT_EQ(bytes_of(ValueType::int8, 256), 260U);
    EXPECT_EQ(bytes_of(ValueType::int4, 256), 128U + 4 * 4);
    EXPECT_EQ(bytes_of(ValueType::int4, 65), 33U + 2 * 4);
    EXPECT_EQ(bytes_of(ValueType::int4, 1), 1U + 4);
    EXPECT_EQ(bytes_of(ValueType::int8, 0), 0U);
}

TEST_P(QuantisedRows, EveryValueComesBackWithinHalfAScale) {
    for (auto const type : kTypes) {
        for (std::size_t const width : {1U, 2U, 7U, 16U, 63U, 64U, 65U, 130U, 257U}) {
            for (auto const& [scale, shift] : {std::pair{1.0, 0.0},
                                               {1e-3, 10.0},
                                               {100.0, -3000.0},
                                               {1e-8, 0.0},
                                               {1e-5, -1e-4}}) {
                auto const row = random_row(width, width, scale, shift);
                std::vector<std::byte> stored;
                auto const back = there_and_back(type, row, stored);
                for (std::size_t i = 0; i < width; ++i) {
                    double const step = scale_at(type, stored, i);
                    // Half a scale, and the rounding of fp32 arithmetic on values of this size.
                    EXPECT_LE(std::abs(double{back[i]} - row[i]),
                              0.5 * step * 1.00001 + 2e-7 * std::abs(row[i]))
                        << kv::to_string(type) << " " << width << " " << i;
                    // fp16 rounding of zero and scale costs at most 1/16 of a code's range.
                    double const top = type == ValueType::int8 ? 255.0 : 15.0;
                    EXPECT_LE(step, 20.0 * scale / top + std::abs(shift) * 0x1p-10 / top + 0x1p-24);
                }
            }
        }
    }
}

TEST_P(QuantisedRows, ReadingBackFollowsTheFormat) {
    for (auto const type : kTypes) {
        for (std::size_t const width : {1U, 19U, 64U, 101U}) {
            std::vector<std::byte> stored;
            auto const row = random_row(width, 3);
            auto const back = there_and_back(type, row, stored);
            auto const expected = test::row_values(type, stored.data(), width);
            for (std::size_t i = 0; i < width; ++i) EXPECT_NEAR(back[i], expected[i], 1e-6);
        }
    }
}

TEST_P(QuantisedRows, ConstantsHugeAndTinyRowsAreFinite) {
    std::vector<std::byte> stored;
    for (auto const type : kTypes) {
        for (float const value : {0.0F, 1.0F, -2.5F, 1.0F / 3.0F, 65504.0F}) {
            auto const back = there_and_back(type, std::vector<float>(70, value), stored);
            for (float const x : back) EXPECT_NEAR(x, value, 1e-4F * std::abs(value));
        }
        auto const huge = there_and_back(type, {-1e30F, 0.0F, 1e30F}, stored);
        EXPECT_EQ(huge[0], -65504.0F) << "beyond the largest half: that half";
        for (float const x : huge) EXPECT_TRUE(std::isfinite(x));
        auto const ends = there_and_back(type, {-1.0F, 0.25F, 1.0F}, stored);
        EXPECT_EQ(ends[0], -1.0F) << "the least value is the zero where fp16 holds it";
    }
}

TEST_P(QuantisedRows, FloatTypesAreAsBefore) {
    auto const row = random_row(37, 5);
    std::vector<std::byte> stored;
    EXPECT_EQ(there_and_back(ValueType::fp32, row, stored), row);
    auto const halves = there_and_back(ValueType::fp16, row, stored);
    for (std::size_t i = 0; i < row.size(); ++i)
        EXPECT_EQ(halves[i], static_cast<float>(test::round_to_half(row[i])));
}

/// Quantised rows in a shuffled table and the same rows as floats with zeros in the user
/// dimensions.
struct RowsBothWays {
    RowsBothWays(ValueType type, std::size_t tokens, std::size_t d, std::size_t user_dims,
                 std::uint64_t stream)
        : stored(tokens * bytes_of(type, d - user_dims)),
          floats(tokens * d, 0.0F),
          users(random_row(user_dims * padded(tokens), stream + 1)) {
        std::size_t const width = d - user_dims;
        for (std::size_t t = 0; t < tokens; ++t) {
            auto const row = random_row(width, stream * 1000 + t, 1.0, 0.3);
            std::byte* out = stored.data() + t * bytes_of(type, width);
            store_row(type, row.data(), width, out);
            load_row(type, out, width, floats.data() + t * d);
        }
        for (std::size_t u = 0; u < user_dims; ++u)
            std::fill(users.begin() + static_cast<std::ptrdiff_t>(u * padded(tokens) + tokens),
                      users.begin() + static_cast<std::ptrdiff_t>((u + 1) * padded(tokens)), 0.0F);
        for (std::size_t slot = 0; slot < row_slots(tokens); ++slot) {
            std::size_t const row = (std::min(slot, tokens - 1) * 7) % tokens;
            codes.push_back(stored.data() + row * bytes_of(type, width));
            values.push_back(floats.data() + row * d);
        }
    }
    std::vector<std::byte> stored;
    std::vector<float> floats;
    std::vector<float> users;
    std::vector<void const*> codes;
    std::vector<void const*> values;
};

TEST_P(QuantisedRows, AttentionOnCodesIsAttentionOnTheirValuesBitForBit) {
    struct Shape {
        std::size_t heads, head_dim, key_dims, value_dims;
    };
    for (auto const type : kTypes) {
        for (auto const& [heads, head_dim, key_dims, value_dims] :
             {Shape{1, 1, 0, 0}, Shape{1, 4, 0, 0}, Shape{2, 7, 0, 0}, Shape{2, 12, 1, 1},
              Shape{2, 32, 0, 0}, Shape{2, 128, 0, 0}, Shape{2, 32, 1, 1}, Shape{3, 19, 3, 3},
              Shape{2, 50, 0, 0}, Shape{4, 8, 10, 10}, Shape{1, 40, 39, 39},
              Shape{2, 100, 150, 150}, Shape{3, 19, 3, 0}, Shape{3, 19, 0, 3}, Shape{4, 8, 0, 10},
              Shape{2, 100, 150, 0}}) {
            std::size_t const d = heads * head_dim;
            for (std::size_t const tokens : {1U, 2U, 5U, 49U}) {
                RowsBothWays const k(type, tokens, d, key_dims, 1);
                RowsBothWays const v(type, tokens, d, value_dims, 2);
                auto const q = random_row(3 * d, 3);
                std::vector<float> out(3 * (d + 1), kPoison);
                std::vector<float> expected(3 * (d + 1), kPoison);
                AttentionCall call;
                call.q = q.data();
                call.q_step = d;
                call.count = 3;
                call.heads = heads;
                call.head_dim = head_dim;
                call.row_type = type;
                call.k = {k.codes.data(), k.users.data()};
                call.v = {v.codes.data(), v.users.data()};
                call.tokens = tokens;
                call.k.user_dims = key_dims;
                call.v.user_dims = value_dims;
                call.user_step = padded(tokens);
                call.out = out.data();
                call.out_step = d + 1;
                std::vector<float> scratch(attention_weights(call) + 1, kPoison);
                attend_quantised(call, scratch.data());
                EXPECT_EQ(scratch.back(), kPoison);
                call.row_type = ValueType::fp32;
                call.k.rows = k.values.data();
                call.v.rows = v.values.data();
                call.out = expected.data();
                scratch.resize(attention_scratch(call));
                attend(call, scratch.data());
                EXPECT_EQ(out, expected) << kv::to_string(type) << " " << heads << "x" << head_dim
                                         << "+" << key_dims << "/" << value_dims << ", " << tokens
                                         << " tokens";
            }
        }
    }
}

TEST_P(QuantisedRows, AttendToNothingGivesZeros) {
    std::vector<float> const q(6, 1.0F);
    std::vector<float> out(7, kPoison);
    AttentionCall call;
    call.q = q.data();
    call.q_step = call.out_step = call.head_dim = 3;
    call.count = 2;
    call.row_type = ValueType::int8;
    call.out = out.data();
    attend_quantised(call, nullptr);
    EXPECT_EQ(out, (std::vector<float>{0, 0, 0, 0, 0, 0, kPoison}));
}

TEST_P(QuantisedRows, SearchOnCodesIsSearchOnTheirValuesBitForBit) {
    for (auto const type : kTypes) {
        for (std::size_t const width : {1U, 5U, 12U, 16U, 64U, 90U}) {
            for (std::size_t const tokens : {1U, 4U, 50U}) {
                RowsBothWays const keys(type, tokens, width, 0, 9);
                std::vector<std::uint32_t> ids(tokens);
                for (std::size_t t = 0; t < tokens; ++t)
                    ids[t] = static_cast<std::uint32_t>((t * 11) % tokens);
                auto const q = random_row(2 * width, 4);
                SearchCall call;
                call.q = q.data();
                call.q_step = width;
                call.count = 2;
                call.width = width;
                call.key_step = width;
                call.tokens = tokens;
                call.ids = tokens > 4 ? ids.data() : nullptr;
                call.scores_step = padded(tokens);
                std::vector<float> scores(2 * padded(tokens) + 1, kPoison);
                std::vector<float> expected(scores);
                call.key_type = type;
                call.keys = keys.stored.data();
                call.scores = scores.data();
                search_quantised(call);
                call.key_type = ValueType::fp32;
                call.keys = keys.floats.data();
                call.scores = expected.data();
                search_scores(call);
                EXPECT_EQ(scores.back(), kPoison);
                for (std::size_t c = 0; c < 2; ++c) {
                    for (std::size_t t = 0; t < tokens; ++t)
                        EXPECT_EQ(scores[c * padded(tokens) + t], expected[c * padded(tokens) + t]);
                }
            }
        }
    }
}

/// Pool rows: shorter than the query by the user dimensions, a step apart.
TEST_P(QuantisedRows, SearchOfShortAndSpacedKeysCountsWhatTheyLackAsZero) {
    constexpr std::size_t kTokens = 21;
    for (auto const type : kTypes) {
        for (std::size_t const width : {6U, 16U, 57U, 90U}) {
            for (std::size_t const lacking : {0U, 1U, 5U}) {
                RowsBothWays const keys(type, kTokens, width, lacking, 5);
                std::size_t const bytes = bytes_of(type, width - lacking);
                std::size_t const step = bytes + 13;
                std::vector<std::byte> spaced(kTokens * step, std::byte{0xFF});
                for (std::size_t t = 0; t < kTokens; ++t)
                    std::copy_n(keys.stored.data() + t * bytes, bytes, spaced.data() + t * step);
                auto const q = random_row(width, 4);
                std::vector<float> scores(padded(kTokens), kPoison);
                std::vector<float> expected(scores);
                SearchCall call;
                call.q = q.data();
                call.count = 1;
                call.width = width;
                call.key_bytes = step;
                call.held = width - lacking;
                call.key_type = type;
                call.keys = spaced.data();
                call.tokens = kTokens;
                call.scores = scores.data();
                call.scores_step = padded(kTokens);
                search_stored(call);
                call.key_step = width;
                call.key_type = ValueType::fp32;
                call.keys = keys.floats.data();
                call.scores = expected.data();
                search_stored(call);
                scores.resize(kTokens);
                expected.resize(kTokens);
                EXPECT_EQ(scores, expected) << kv::to_string(type) << ", " << width << " values, "
                                            << lacking << " of them lacking";
            }
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Targets, QuantisedRows, ::testing::ValuesIn(compiled_targets()),
                         target_name);

}  // namespace
}  // namespace ckvsim::device::cpu
