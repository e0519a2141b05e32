// Target attention against double precision on every instruction set, with poison around every
// output; and what must change no bit: the number of queries among few and among many, halves of
// the work, shared rows of K.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "device/cpu/attention.hpp"
#include "every_target.hpp"
#include "reference_model.hpp"

namespace ckvsim::device::cpu {
namespace {

class TargetAttention : public EveryTarget {};

struct Shape {
    std::size_t heads, head_dim, user_dims;
};
/// Whole vectors, and what is left of them in steps of four and one.
constexpr Shape kShapes[] = {{1, 1, 0},  {1, 4, 0},  {2, 7, 0},  {1, 12, 0},  {2, 32, 0},
                             {2, 32, 1}, {3, 19, 3}, {4, 8, 10}, {1, 40, 39}, {1, 150, 1}};

/// Attention of query `c` in double precision. Rows [tokens, d] with the user part already joined.
std::vector<double> attention_oracle(AttentionCall const& call, std::size_t c,
                                     std::vector<std::vector<double>> const& k,
                                     std::vector<std::vector<double>> const& v) {
    std::vector<double> out(call.heads * call.head_dim, 0.0);
    float const* q = call.q + c * call.q_step;
    std::size_t const seen = call.seen == 0 ? k.size() : std::min(k.size(), call.seen + c);
    double const scale =
        call.scale != 0.0F ? call.scale : 1.0 / std::sqrt(static_cast<double>(call.head_dim));
    for (std::size_t h = 0; h < call.heads && !k.empty(); ++h) {
        std::size_t const first = h * call.head_dim;
        std::vector<double> p(seen, 0.0);
        for (std::size_t t = 0; t < seen; ++t) {
            for (std::size_t i = first; i < first + call.head_dim; ++i) p[t] += q[i] * k[t][i];
            p[t] *= scale;
            if (call.bias != nullptr)
                p[t] += call.bias[h * call.bias_step + t - c * call.bias_shift];
        }
        if (call.weighting == Weighting::softmax) {
            double const top = *std::max_element(p.begin(), p.end());
            double total = 0.0;
            for (double& x : p) total += x = std::exp(x - top);
            for (double& x : p) x /= total;
        } else {
            for (double& x : p) x = x / (1.0 + std::exp(-x)) / call.divisor;
        }
        for (std::size_t t = 0; t < seen; ++t) {
            for (std::size_t i = first; i < first + call.head_dim; ++i) out[i] += p[t] * v[t][i];
        }
    }
    return out;
}

/// One side's rows in a pool, of either type, with a user part in the last dimensions. Tokens share
/// and permute rows, as they do in pools.
struct SideData {
    SideData(Shape const& shape, std::size_t tokens, std::size_t pool, bool halves,
             std::uint64_t stream)
        : floats(random_floats(pool * shape.heads * shape.head_dim, stream)),
          bits(floats.size()),
          user_dims(shape.user_dims),
          users(random_floats(shape.user_dims * padded(tokens), stream + 1)) {
        std::size_t const d = shape.heads * shape.head_dim;
        for (std::size_t row = 0; row < pool; ++row)
            std::fill_n(
                floats.begin() + static_cast<std::ptrdiff_t>((row + 1) * d - shape.user_dims),
                shape.user_dims, 0.0F);
        to_half(floats.data(), floats.size(), bits.data());
        auto const address = [&](std::size_t row) {
            return halves ? static_cast<void const*>(bits.data() + row * d)
                          : static_cast<void const*>(floats.data() + row * d);
        };
        for (std::size_t t = 0; t < tokens; ++t) {
            places.push_back(static_cast<std::uint32_t>(t * 7 % pool));
            std::vector<double> row(d);
            for (std::size_t i = 0; i < d; ++i) {
                double const x = floats[places[t] * d + i];
                row[i] = halves ? test::round_to_half(x) : x;
            }
            for (std::size_t u = 0; u < shape.user_dims; ++u)
                row[d - shape.user_dims + u] += users[u * padded(tokens) + t];
            joined.push_back(row);
        }
        for (std::size_t slot = 0; slot < row_slots(tokens); ++slot)
            rows.push_back(address(places[std::min(slot, tokens - 1)]));
        for (std::size_t slot = 0; slot < row_slots(pool); ++slot)
            pool_rows.push_back(address(std::min(slot, pool - 1)));
        for (std::size_t u = 0; u < shape.user_dims; ++u) {
            for (std::size_t t = tokens; t < padded(tokens); ++t) users[u * padded(tokens) + t] = 0;
        }
        distinct = pool;
    }
    [[nodiscard]] TokenRows by_token() const {
        return {rows.data(), users.data(), nullptr, 0, false, user_dims};
    }
    [[nodiscard]] TokenRows shared() const {
        return {pool_rows.data(), users.data(), places.data(), distinct, false, user_dims};
    }

    std::vector<float> floats;
    std::vector<std::uint16_t> bits;
    std::size_t user_dims;
    std::vector<float> users;
    std::vector<std::uint32_t> places;
    std::vector<void const*> rows;
    std::vector<void const*> pool_rows;
    std::size_t distinct = 0;
    std::vector<std::vector<double>> joined;
};

/// Runs a call with poison behind scratch and output; returns [count, d].
std::vector<float> run(AttentionCall call) {
    std::size_t const d = call.heads * call.head_dim;
    std::vector<float> out(call.count * (d + 2), kPoison);
    call.out = out.data();
    call.out_step = d + 2;
    std::vector<float> scratch(attention_scratch(call) + 1, kPoison);
    attend(call, scratch.data());
    EXPECT_EQ(scratch.back(), kPoison);
    std::vector<float> result;
    for (std::size_t c = 0; c < call.count; ++c) {
        float const* row = out.data() + c * (d + 2);
        result.insert(result.end(), row, row + d);
        EXPECT_EQ(row[d], kPoison);
        EXPECT_EQ(row[d + 1], kPoison);
    }
    return result;
}

std::vector<float> run_in_halves(AttentionCall call) {
    std::size_t const d = call.heads * call.head_dim;
    std::vector<float> out(call.count * d + 1, kPoison);
    call.out = out.data();
    call.out_step = d;
    std::vector<float> weights(attention_weights(call) + 1, kPoison);
    attend_keys(call, weights.data());
    attend_values(call, weights.data());
    EXPECT_EQ(weights.back(), kPoison);
    EXPECT_EQ(out.back(), kPoison);
    out.pop_back();
    return out;
}

bool same_bits(std::vector<float> const& a, std::vector<float> const& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

AttentionCall make_call(Shape const& shape, std::size_t tokens, bool halves,
                        std::vector<float> const& q) {
    AttentionCall call;
    call.q = q.data();
    call.q_step = shape.heads * shape.head_dim + 1;
    call.count = q.size() / call.q_step;
    call.heads = shape.heads;
    call.head_dim = shape.head_dim;
    call.row_type = halves ? kv::ValueType::fp16 : kv::ValueType::fp32;
    call.tokens = tokens;
    call.user_step = padded(tokens);
    return call;
}

void expect_near_oracle(AttentionCall const& call, std::vector<float> const& out, SideData const& k,
                        SideData const& v, double bound) {
    std::size_t const d = call.heads * call.head_dim;
    for (std::size_t c = 0; c < call.count; ++c) {
        auto const expected = attention_oracle(call, c, k.joined, v.joined);
        for (std::size_t i = 0; i < d; ++i) EXPECT_NEAR(out[c * d + i], expected[i], bound);
    }
}

/// K and V of one shape, each with its user dimensions.
template <class Body>
void for_calls_of(Shape const& key, Shape const& value, std::size_t queries, double scale,
                  Body&& body) {
    std::size_t const d = key.heads * key.head_dim;
    for (std::size_t const tokens : {1U, 2U, 4U, 5U, 49U, 130U}) {
        for (bool const halves : {false, true}) {
            std::size_t const pool = (tokens + 2) / 3;
            SideData const k(key, tokens, pool, halves, tokens);
            SideData const v(value, tokens, pool, halves, tokens + 50);
            auto const q = random_floats(queries * (d + 1), 3, scale);
            SCOPED_TRACE(::testing::Message()
                         << key.heads << " x " << key.head_dim << ", user dimensions "
                         << key.user_dims << " and " << value.user_dims << ", " << tokens
                         << " tokens, halves " << halves);
            body(make_call(key, tokens, halves, q), k, v);
        }
    }
}

template <class Body>
void for_every_call(std::size_t queries, double scale, Body&& body) {
    for (Shape const& shape : kShapes) {
        for_calls_of(shape, shape, queries, scale, body);
        if (shape.user_dims == 0) continue;
        Shape const whole{shape.heads, shape.head_dim, 0};
        for_calls_of(shape, whole, queries, scale, body);
        for_calls_of(whole, shape, queries, scale, body);
    }
}

TEST_P(TargetAttention, MatchesDoublePrecision) {
    for (double const scale : {1.0, 1e4}) {
        for_every_call(5, scale, [&](AttentionCall call, SideData const& k, SideData const& v) {
            call.k = k.by_token();
            call.v = v.by_token();
            // An attention logit of size L has a rounding error of about 6e-8 sqrt(d) L, which
            // moves the weights by as much.
            double const d = static_cast<double>(call.heads * call.head_dim);
            expect_near_oracle(call, run(call), k, v,
                               std::min(2e-6 * (1.0 + scale * 1e-1 * d), 2e-2));
        });
    }
}

/// Queries 3 .. of `call` alone, in each of the numbers, have the bits that they have among all.
void expect_bits_among_all(AttentionCall const& call, std::vector<std::size_t> const& counts) {
    std::size_t const d = call.heads * call.head_dim;
    auto const all = run(call);
    for (std::size_t const count : counts) {
        AttentionCall few = call;
        few.q = call.q + 3 * call.q_step;
        few.count = count;
        auto const from = all.begin() + static_cast<std::ptrdiff_t>(3 * d);
        std::vector<float> const expected(from, from + static_cast<std::ptrdiff_t>(count * d));
        EXPECT_TRUE(same_bits(run(few), expected)) << count << " queries";
    }
}

TEST_P(TargetAttention, FewQueriesDoNotDependOnTheirNumber) {
    for_every_call(kWideQueries - 1, 1.0,
                   [](AttentionCall call, SideData const& k, SideData const& v) {
                       for (bool const shared : {false, true}) {
                           call.k = shared ? k.shared() : k.by_token();
                           call.v = shared ? v.shared() : v.by_token();
                           expect_bits_among_all(call, {1, 2, 3, 7, 32, 33});
                       }
                   });
}

/// Both forms of both sides' rows.
template <class Body>
void for_shared_or_not(AttentionCall call, SideData const& k, SideData const& v, Body&& body) {
    for (bool const shared_k : {false, true}) {
        for (bool const shared_v : {false, true}) {
            SCOPED_TRACE(::testing::Message() << "shared " << shared_k << ", " << shared_v);
            call.k = shared_k ? k.shared() : k.by_token();
            call.v = shared_v ? v.shared() : v.by_token();
            body(call);
        }
    }
}

TEST_P(TargetAttention, ManyQueriesDoNotDependOnTheirNumber) {
    for_every_call(
        kWideQueries + 20, 1.0, [](AttentionCall const& any, SideData const& k, SideData const& v) {
            for_shared_or_not(any, k, v, [](AttentionCall const& call) {
                expect_bits_among_all(call, {kWideQueries, kWideQueries + 1, kWideQueries + 14});
                AttentionCall part = call;  // of as many
                part.together = call.count;
                expect_bits_among_all(part, {1, 2, 5, 36});
            });
        });
}

TEST_P(TargetAttention, ManyQueriesMatchDoublePrecisionAndFewQueries) {
    for (double const scale : {1.0, 1e4}) {
        for_every_call(kWideQueries + 1, scale,
                       [&](AttentionCall const& any, SideData const& k, SideData const& v) {
                           for_shared_or_not(any, k, v, [&](AttentionCall call) {
                               double const d = static_cast<double>(call.heads * call.head_dim);
                               double const bound = std::min(2e-6 * (1.0 + scale * 1e-1 * d), 2e-2);
                               auto const many = run(call);
                               expect_near_oracle(call, many, k, v, bound);
                               call.count = kWideQueries - 1;
                               auto const few = run(call);
                               for (std::size_t i = 0; i < few.size(); ++i)
                                   EXPECT_NEAR(many[i], few[i], 2 * bound);
                           });
                       });
    }
}

/// Scores that grow from block to block, so that what was summed before is worth less every time.
TEST_P(TargetAttention, LaterTokensOutweighEarlierOnes) {
    Shape const shape{2, 20, 1};
    for (std::size_t const tokens : {129U, 1000U}) {
        for (float const growth : {0.01F, 0.5F, -0.5F}) {
            SideData k(shape, tokens, tokens, false, 1);
            SideData const v(shape, tokens, tokens, false, 2);
            for (std::size_t t = 0; t < tokens; ++t) {
                k.users[t] = growth * static_cast<float>(t);
                k.joined[t].back() = k.users[t];
            }
            auto q = random_floats(kWideQueries * 41, 3);
            for (std::size_t c = 0; c < kWideQueries; ++c)
                q[c * 41 + 39] = c % 2 == 0 ? 2.0F : -2.0F;
            AttentionCall const any = make_call(shape, tokens, false, q);
            for_shared_or_not(any, k, v, [&](AttentionCall const& call) {
                // Logits of up to 230, rounded to 24 bits; values of up to 4.
                expect_near_oracle(call, run(call), k, v, 2e-4);
            });
        }
    }
}

TEST_P(TargetAttention, HalvesGiveTheBitsOfTheWhole) {
    for_every_call(3, 1.0, [](AttentionCall call, SideData const& k, SideData const& v) {
        call.k = k.by_token();
        call.v = v.by_token();
        EXPECT_TRUE(same_bits(run_in_halves(call), run(call)));
        call.k = k.shared();
        call.v = v.shared();
        EXPECT_TRUE(same_bits(run_in_halves(call), run(call)));
    });
}

TEST_P(TargetAttention, SharedRowsAreReadOnceAndMeanTheSame) {
    for_every_call(8, 1.0, [](AttentionCall call, SideData const& k, SideData const& v) {
        call.k = k.by_token();
        call.v = v.by_token();
        auto const by_token = run(call);
        call.k = k.shared();
        EXPECT_TRUE(same_bits(run(call), by_token)) << "shared keys change nothing";
        call.v = v.shared();
        auto const shared = run(call);
        double const d = static_cast<double>(call.heads * call.head_dim);
        expect_near_oracle(call, shared, k, v, 2e-6 * (1.0 + 1e-1 * d));
        for (std::size_t i = 0; i < shared.size(); ++i) EXPECT_NEAR(shared[i], by_token[i], 5e-6);
    });
}

TEST_P(TargetAttention, SiluWeightsMatchDoublePrecision) {
    for (double const scale : {1.0, 1e3}) {
        for_every_call(7, scale, [&](AttentionCall call, SideData const& k, SideData const& v) {
            call.weighting = Weighting::silu;
            call.scale = 0.5F;
            call.divisor = 200.0F;  // longest history, not this one
            double const d = static_cast<double>(call.heads * call.head_dim);
            // Weights are as large as scores: sums of 130 tokens times scores of sqrt(d) * scale.
            double const bound = 1e-7 * scale * (1.0 + d);
            call.k = k.by_token();
            call.v = v.by_token();
            expect_near_oracle(call, run(call), k, v, bound);
            call.k = k.shared();
            call.v = v.shared();
            expect_near_oracle(call, run(call), k, v, bound);
        });
    }
}

TEST_P(TargetAttention, BiasesFollowTheDistanceAndCausalQueriesSeeTheirPast) {
    for_every_call(40, 1.0, [](AttentionCall call, SideData const& k, SideData const& v) {
        // A query every position: the last sees all tokens, the first all but 39 of them.
        std::size_t const before = call.tokens > call.count ? call.tokens - call.count : 0;
        std::size_t const farthest = before + call.count;
        call.weighting = Weighting::silu;
        call.scale = 0.5F;
        call.divisor = 20.0F;
        call.bias_step = farthest + padded(call.tokens);
        auto const biases = random_floats(call.heads * call.bias_step, 17);
        call.bias = biases.data() + call.count;
        call.bias_shift = 1;
        call.seen = before + 1;
        double const bound = 1e-6 * (1.0 + static_cast<double>(call.heads * call.head_dim));
        for (bool const shared : {false, true}) {
            call.k = shared ? k.shared() : k.by_token();
            call.v = shared ? v.shared() : v.by_token();
            auto const all = run(call);
            expect_near_oracle(call, all, k, v, bound);
            EXPECT_TRUE(same_bits(run_in_halves(call), all));
            // One query of its own, with as many tokens as it sees: the bits of the whole.
            std::size_t const d = call.heads * call.head_dim;
            for (std::size_t const c : {std::size_t{0}, std::size_t{7}, call.count - 1}) {
                AttentionCall one = call;
                one.q = call.q + c * call.q_step;
                one.count = 1;
                one.bias = call.bias - c;
                one.seen = call.seen + c;
                if (!shared) one.tokens = std::min(call.tokens, one.seen);
                one.seen = shared ? one.seen : 0;
                auto const from = all.begin() + static_cast<std::ptrdiff_t>(c * d);
                EXPECT_TRUE(same_bits(
                    run(one), std::vector<float>(from, from + static_cast<std::ptrdiff_t>(d))))
                    << "query " << c;
            }
        }
    });
}

TEST_P(TargetAttention, AllTokensInOneRow) {
    Shape const shape{2, 32, 1};
    std::size_t const tokens = 1000;
    SideData const k(shape, tokens, 1, false, 1);
    SideData const v(shape, tokens, 1, false, 2);
    for (std::size_t const count : {4U, 128U, 512U}) {
        auto const q = random_floats(count * 65, 3);
        AttentionCall call = make_call(shape, tokens, false, q);
        call.k = k.shared();
        call.v = v.shared();
        // A thousand equal weights added one by one: 1,000 roundings of 6e-8, on values of up to 4.
        expect_near_oracle(call, run(call), k, v, 2.4e-4);
    }
}

TEST_P(TargetAttention, AttendToNothingGivesZeros) {
    std::vector<float> const q(6, 1.0F);
    std::vector<float> out(7, kPoison);
    AttentionCall call;
    call.q = q.data();
    call.q_step = 3;
    call.count = 2;
    call.head_dim = 3;
    call.out = out.data();
    call.out_step = 3;
    EXPECT_EQ(attention_scratch(call), 0U);
    attend(call, nullptr);
    std::vector<float> const zeros = {0, 0, 0, 0, 0, 0, kPoison};
    EXPECT_EQ(out, zeros);
    out.assign(7, kPoison);
    attend_keys(call, nullptr);
    attend_values(call, nullptr);
    out[6] = kPoison;
    EXPECT_EQ(out, zeros);
    std::vector<float> many(3 * kWideQueries + 1, kPoison);
    call.count = kWideQueries;
    call.out = many.data();
    EXPECT_EQ(attention_scratch(call), 0U);
    attend(call, nullptr);
    EXPECT_EQ(many.back(), kPoison);
    many.pop_back();
    EXPECT_EQ(many, std::vector<float>(3 * kWideQueries, 0.0F));
}

INSTANTIATE_TEST_SUITE_P(Targets, TargetAttention, ::testing::ValuesIn(compiled_targets()),
                         target_name);

}  // namespace
}  // namespace ckvsim::device::cpu
