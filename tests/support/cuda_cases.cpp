#include "cuda_cases.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>
#include <sstream>

#include "core/rng.hpp"
#include "reference_model.hpp"

namespace ckvsim::test {
namespace {

using device::cuda::Weighting;

constexpr float kPoison = -12345.0F;

/// Bits of the nearest half.
std::uint16_t half_bits(double value) {
    double const rounded = round_to_half(value);
    double const magnitude = std::abs(rounded);
    int exponent = 0;
    std::frexp(magnitude, &exponent);
    int const biased = std::max(exponent + 14, 0);
    double const mantissa =
        biased == 0 ? std::ldexp(magnitude, 24) : std::ldexp(magnitude, 11 - exponent) - 1024.0;
    auto const sign = std::signbit(rounded) ? 0x8000U : 0U;
    return static_cast<std::uint16_t>(sign + static_cast<unsigned>(biased) * 1024U +
                                      static_cast<unsigned>(mantissa));
}

double half_value(std::uint16_t bits) {
    int const exponent = (bits >> 10) & 31;
    double const mantissa = (bits & 1023) + (exponent == 0 ? 0 : 1024);
    double const magnitude = std::ldexp(mantissa, std::max(exponent, 1) - 25);
    return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

std::string list(std::vector<std::uint32_t> const& values) {
    std::string text;
    for (std::uint32_t const value : values) text += " " + std::to_string(value);
    return text;
}

}  // namespace

std::string CudaCase::describe() const {
    std::ostringstream text;
    text << heads << " heads of " << head_dim << ", d_u " << user_dims << ", " << index_bytes
         << " index bytes, " << kv::to_string(row_type) << ", tokens" << list(tokens)
         << ", candidates" << list(candidates) << ", q scale " << q_scale
         << (weighting == Weighting::silu ? ", silu" : "") << (misaligned ? ", misaligned" : "")
         << (equal_indices ? ", equal indices" : "");
    return text.str();
}

void CudaBlock::Free::operator()(std::byte* data) const {
    ::operator delete (data, std::align_val_t{16});
}
CudaBlock::CudaBlock(std::size_t bytes)
    : data_(static_cast<std::byte*>(::operator new (bytes, std::align_val_t{16}))), bytes_(bytes) {
    std::memset(data_.get(), 0xFF, bytes);
}

CudaBatch::CudaBatch(CudaCase const& made_from) : case_(made_from) {
    shape_.heads = case_.heads;
    shape_.head_dim = case_.head_dim;
    shape_.user_dims = case_.user_dims;
    shape_.index_bytes = case_.index_bytes;
    std::uint32_t const width = shape_.width();
    // Full entries have no gaps; table rows are padded to 16 bytes.
    std::uint32_t const vector_values = 16 / kv::value_bytes(case_.row_type);
    shape_.row_step = case_.index_bytes == 0
                          ? width
                          : (width + vector_values - 1) / vector_values * vector_values;
    shape_.q_step = width + 3;
    shape_.out_step = width + 2;
    shape_.weighting = case_.weighting;
    shape_.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(case_.head_dim)));
    shape_.silu_divisor = 70.0F;
    std::size_t outputs = 0;
    for (std::size_t r = 0; r < case_.tokens.size(); ++r) {
        add_request(r);
        output_start_.push_back(outputs);
        outputs += std::size_t{case_.candidates[r]} * shape_.out_step;
    }
    output_ = add_block((outputs + 1) * sizeof(float));
    poison_outputs();
}

std::size_t CudaBatch::add_block(std::size_t bytes) {
    blocks_.emplace_back(bytes);
    return blocks_.size() - 1;
}

/// Random values of the row type behind `offset` values of poison.
std::size_t CudaBatch::add_values(std::size_t count, std::size_t offset, std::uint64_t stream) {
    std::size_t const bytes = kv::value_bytes(case_.row_type);
    std::size_t const block = add_block((count + offset) * bytes);
    CounterRng rng(case_.seed, Purpose::test, stream);
    for (std::size_t i = 0; i < count; ++i) {
        auto const value = static_cast<float>(rng.normal());
        std::byte* to = blocks_[block].data() + (i + offset) * bytes;
        std::uint16_t const half = half_bits(value);
        if (case_.row_type == kv::ValueType::fp32) {
            std::memcpy(to, &value, sizeof value);
        } else {
            std::memcpy(to, &half, sizeof half);
        }
    }
    return block;
}

void CudaBatch::add_request(std::size_t number) {
    std::uint32_t const tokens = case_.tokens[number];
    std::uint32_t const candidates = case_.candidates[number];
    std::uint64_t const stream = 10 * (number + 1);
    queries_.push_back(add_block(std::size_t{candidates} * shape_.q_step * sizeof(float)));
    auto* q = reinterpret_cast<float*>(blocks_.back().data());
    CounterRng rng(case_.seed, Purpose::test, stream);
    for (std::size_t i = 0; i < std::size_t{candidates} * shape_.q_step; ++i)
        q[i] = static_cast<float>(case_.q_scale * rng.normal());
    sides_.emplace_back();
    for (std::uint64_t side = 0; side < 2; ++side) {
        Side places;
        if (case_.index_bytes == 0) {
            places.rows =
                add_values(std::size_t{tokens} * shape_.row_step, row_offset(), stream + 1 + side);
        } else if (number == 0) {
            places.rows = add_values(std::size_t{case_.table_rows} * shape_.row_step, row_offset(),
                                     stream + 1 + side);
        } else {
            places.rows = sides_[0][side].rows;  // one table for all requests
        }
        places.user = add_values(std::size_t{tokens} * case_.user_dims, 0, stream + 3 + side);
        places.index = add_block(std::size_t{tokens} * case_.index_bytes);
        std::uint32_t const one = rng.below(case_.table_rows);
        for (std::uint32_t t = 0; case_.index_bytes > 0 && t < tokens; ++t) {
            std::uint32_t const index = case_.equal_indices ? one : rng.below(case_.table_rows);
            std::memcpy(blocks_[places.index].data() + std::size_t{t} * case_.index_bytes, &index,
                        case_.index_bytes);  // little endian
        }
        sides_.back().push_back(places);
    }
}

void CudaBatch::poison_outputs() const {
    auto* out = reinterpret_cast<float*>(blocks_[output_].data());
    std::fill_n(out, blocks_[output_].size() / sizeof(float), kPoison);
}

std::vector<device::cuda::AttentionRequest> CudaBatch::requests(
    std::function<std::byte*(std::size_t)> const& address_of) const {
    std::vector<device::cuda::AttentionRequest> result;
    std::size_t const offset = row_offset() * kv::value_bytes(case_.row_type);
    for (std::size_t r = 0; r < queries_.size(); ++r) {
        device::cuda::AttentionRequest request;
        request.q = reinterpret_cast<float const*>(address_of(queries_[r]));
        request.out = reinterpret_cast<float*>(address_of(output_)) + output_start_[r];
        auto const side = [&](Side const& from) {
            device::cuda::TokenRows rows;
            rows.rows = address_of(from.rows) + offset;
            rows.index = case_.index_bytes == 0 ? nullptr : address_of(from.index);
            rows.user = case_.user_dims == 0 ? nullptr : address_of(from.user);
            return rows;
        };
        request.k = side(sides_[r][0]);
        request.v = side(sides_[r][1]);
        request.tokens = case_.tokens[r];
        request.candidates = case_.candidates[r];
        result.push_back(request);
    }
    return result;
}

double CudaBatch::value(std::size_t block, std::size_t at, std::size_t offset) const {
    std::size_t const bytes = kv::value_bytes(case_.row_type);
    std::byte const* from = blocks_[block].data() + (at + offset) * bytes;
    float single = 0;
    std::uint16_t half = 0;
    if (case_.row_type == kv::ValueType::fp32) {
        std::memcpy(&single, from, sizeof single);
        return single;
    }
    std::memcpy(&half, from, sizeof half);
    return half_value(half);
}

std::vector<double> CudaBatch::joined_row(std::size_t request, bool value_side,
                                          std::uint32_t token) const {
    Side const& side = sides_[request][value_side ? 1 : 0];
    std::uint32_t row = token;
    if (case_.index_bytes > 0) {
        row = 0;
        std::memcpy(&row, blocks_[side.index].data() + std::size_t{token} * case_.index_bytes,
                    case_.index_bytes);
    }
    std::uint32_t const width = shape_.width();
    std::uint32_t const shared = width - case_.user_dims;
    std::vector<double> result;
    for (std::uint32_t i = 0; i < width; ++i)
        result.push_back(
            i < shared ? value(side.rows, std::size_t{row} * shape_.row_step + i, row_offset())
                       : value(side.user, std::size_t{token} * case_.user_dims + i - shared, 0));
    return result;
}

float const* CudaBatch::query(std::size_t request, std::uint32_t candidate) const {
    return reinterpret_cast<float const*>(blocks_[queries_[request]].data()) +
           std::size_t{candidate} * shape_.q_step;
}

float const* CudaBatch::output(std::size_t request, std::uint32_t candidate) const {
    return reinterpret_cast<float const*>(blocks_[output_].data()) + output_start_[request] +
           std::size_t{candidate} * shape_.out_step;
}

std::string CudaBatch::check_candidate(std::size_t request, std::uint32_t candidate, Rows const& k,
                                       Rows const& v) const {
    std::uint32_t const tokens = case_.tokens[request];
    float const* q = query(request, candidate);
    float const* out = output(request, candidate);
    std::uint32_t const dim = case_.head_dim;
    // Rounding of a sum of head_dim products and its scaling, 2^-24 each, in the worst order.
    double const rounding = (dim + 8) * 6e-8;
    for (std::uint32_t head = 0; head < case_.heads; ++head) {
        std::vector<double> weights(tokens, 0.0);
        double score_error = 0.0;
        for (std::uint32_t t = 0; t < tokens; ++t) {
            double size = 0.0;
            for (std::uint32_t i = head * dim; i < (head + 1) * dim; ++i) {
                weights[t] += q[i] * k[t][i] * shape_.scale;
                size += std::abs(q[i] * k[t][i] * shape_.scale);
            }
            score_error = std::max(score_error, rounding * size);
        }
        double total = 1.0;
        if (case_.weighting == Weighting::softmax && tokens > 0) {
            double const top = *std::max_element(weights.begin(), weights.end());
            total = 0.0;
            for (double& w : weights) total += w = std::exp(w - top);
        } else {
            for (double& w : weights) w /= (1.0 + std::exp(-w)) * shape_.silu_divisor;
        }
        for (std::uint32_t i = head * dim; i < (head + 1) * dim; ++i) {
            double expected = 0.0;
            double largest = 0.0;
            double sum = 0.0;
            double weighted = 0.0;
            for (std::uint32_t t = 0; t < tokens; ++t) {
                expected += weights[t] / total * v[t][i];
                weighted += std::abs(weights[t] / total * v[t][i]);
                largest = std::max(largest, std::abs(v[t][i]));
                sum += std::abs(v[t][i]);
            }
            // Softmax weights move by at most twice the error of a score, silu by 1.1 times it.
            double const moved = case_.weighting == Weighting::softmax
                                     ? std::min(2.0 * score_error, 2.0) * largest
                                     : 1.1 * score_error / shape_.silu_divisor * sum;
            double const bound = moved + 4e-6 * weighted + 1e-12;
            if (!(std::abs(out[i] - expected) <= bound)) {
                std::ostringstream text;
                text << "request " << request << ", candidate " << candidate << ", value " << i
                     << ": " << out[i] << " instead of " << expected << " +- " << bound;
                return text.str();
            }
        }
    }
    for (std::uint32_t i = shape_.width(); i < shape_.out_step; ++i)
        if (out[i] != kPoison) return "a value between two outputs was overwritten";
    return {};
}

std::string CudaBatch::check() const {
    for (std::size_t r = 0; r < case_.tokens.size(); ++r) {
        Rows k;
        Rows v;
        for (std::uint32_t t = 0; t < case_.tokens[r]; ++t) {
            k.push_back(joined_row(r, false, t));
            v.push_back(joined_row(r, true, t));
        }
        for (std::uint32_t c = 0; c < case_.candidates[r]; ++c) {
            std::string const problem = check_candidate(r, c, k, v);
            if (!problem.empty()) return problem;
        }
    }
    std::size_t const floats = blocks_[output_].size() / sizeof(float);
    if (reinterpret_cast<float const*>(blocks_[output_].data())[floats - 1] != kPoison)
        return "the value behind all outputs was overwritten";
    return {};
}

}  // namespace ckvsim::test
