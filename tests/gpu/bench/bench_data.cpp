#include "bench_data.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <thread>

#include "core/rng.hpp"

namespace ckvsim::gpubench {
namespace {

using device::cuda::AttentionRequest;

constexpr std::uint64_t kTemplates = 16;
/// Entries that are made on the host before they go to the device.
constexpr std::size_t kUploadBytes = std::size_t{256} << 20;

std::size_t align_up(std::size_t bytes) { return (bytes + 15) / 16 * 16; }

/// Random stored values between -1 and 1.
void fill_values(std::byte* to, std::size_t count, kv::ValueType type, std::uint64_t stream) {
    CounterRng rng(11, Purpose::test, stream);
    for (std::size_t i = 0; i < count; ++i) {
        if (type == kv::ValueType::fp32) {
            float const value = 2.0F * rng.uniform_float() - 1.0F;
            std::memcpy(to + 4 * i, &value, 4);
        } else {
            // Sign, an exponent from 2^-6 to 2^-1, ten random bits.
            std::uint32_t const bits = rng.next_u32();
            auto const half =
                static_cast<std::uint16_t>((bits & 0x83FFU) | ((9 + (bits >> 16) % 6) << 10));
            std::memcpy(to + 2 * i, &half, 2);
        }
    }
}

double read_value(std::byte const* from, std::size_t at, kv::ValueType type) {
    if (type == kv::ValueType::fp32) {
        float value = 0;
        std::memcpy(&value, from + 4 * at, 4);
        return value;
    }
    std::uint16_t bits = 0;
    std::memcpy(&bits, from + 2 * at, 2);
    double const magnitude = std::ldexp(1024.0 + (bits & 1023), ((bits >> 10) & 31) - 25);
    return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

}  // namespace

std::vector<Arm> all_arms(BenchOptions const& options) {
    std::vector<Arm> arms;
    for (kv::ValueType const type : {kv::ValueType::fp32, kv::ValueType::fp16}) {
        arms.push_back({"full", type, 0, 0, 0, false});
        arms.push_back({"item_table", type, options.items, 4, 0, true});
        arms.push_back({"collective m=" + std::to_string(options.small_pool_rows), type,
                        options.small_pool_rows, 2, 1, false});
        arms.push_back({"collective m=" + std::to_string(options.pool_rows), type,
                        options.pool_rows, 2, 1, false});
    }
    return arms;
}

EntryMap map_entry(Arm const& arm, BenchOptions const& options) {
    EntryMap map;
    auto const add = [&map](std::size_t bytes) {
        std::size_t const at = map.bytes;
        map.bytes += align_up(bytes);
        map.payload += bytes;
        return at;
    };
    std::size_t const value = kv::value_bytes(arm.type);
    std::size_t const tokens = options.tokens;
    if (arm.table_rows == 0) {
        map.k_rows = add(tokens * options.width() * value);
        map.v_rows = add(tokens * options.width() * value);
        return map;
    }
    map.k_index = add(tokens * arm.index_bytes);
    map.v_index = arm.one_index ? map.k_index : add(tokens * arm.index_bytes);
    map.k_user = add(tokens * arm.user_dims * value);
    map.v_user = add(tokens * arm.user_dims * value);
    return map;
}

ArmData::ArmData(Arm const& arm, BenchOptions const& options)
    : arm_(arm), options_(options), map_(map_entry(arm, options)) {
    shape_.heads = options.heads;
    shape_.head_dim = options.head_dim;
    shape_.user_dims = arm.user_dims;
    shape_.index_bytes = arm.index_bytes;
    shape_.row_step = shape_.q_step = shape_.out_step = options.width();
    shape_.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(options.head_dim)));
    if (arm.table_rows > 0) {
        std::size_t const rows = std::size_t{2} * arm.table_rows;
        host_tables_.resize(rows * row_bytes());
        fill_values(host_tables_.data(), rows * options.width(), arm.type, 1);
        tables_ = device::cuda::DeviceBuffer(host_tables_.size(), "pools or item tables");
        tables_.upload(host_tables_.data(), host_tables_.size());
    }
    templates_.resize(kTemplates * map_.bytes);
    bool const full = arm.table_rows == 0;
    std::size_t const values =
        std::size_t{options.tokens} * (full ? options.width() : arm.user_dims);
    for (std::uint64_t t = 0; t < kTemplates; ++t) {
        std::byte* entry = templates_.data() + t * map_.bytes;
        fill_values(entry + (full ? map_.k_rows : map_.k_user), values, arm.type, 10 + 2 * t);
        fill_values(entry + (full ? map_.v_rows : map_.v_user), values, arm.type, 11 + 2 * t);
    }
}

void ArmData::write_entry(std::uint64_t user, std::byte* to) const {
    std::memcpy(to, templates_.data() + user % kTemplates * map_.bytes, map_.bytes);
    if (arm_.table_rows == 0) return;
    draw_rows(user, 1, to + map_.k_index);
    if (!arm_.one_index) draw_rows(user, 2, to + map_.v_index);
}

void ArmData::draw_rows(std::uint64_t user, std::uint32_t side, std::byte* to) const {
    CounterRng rng(11, Purpose::test, user, side);
    for (std::uint32_t t = 0; t < options_.tokens; ++t) {
        std::uint32_t const row = rng.below(arm_.table_rows);
        std::memcpy(to + std::size_t{t} * arm_.index_bytes, &row, arm_.index_bytes);
    }
}

void ArmData::write_entries(std::uint64_t first, std::uint64_t count, std::byte* to) const {
    std::uint64_t const wanted = std::max(1U, std::thread::hardware_concurrency());
    std::uint64_t const part = (count + wanted - 1) / wanted;
    std::vector<std::jthread> threads;
    for (std::uint64_t begin = 0; begin < count; begin += part) {
        threads.emplace_back([this, first, count, to, begin, part] {
            for (std::uint64_t i = begin; i < std::min(count, begin + part); ++i)
                write_entry(first + i, to + i * map_.bytes);
        });
    }
}

void ArmData::fill(device::cuda::DeviceBuffer const& entries, std::uint64_t users) const {
    std::uint64_t const most = std::max<std::uint64_t>(kUploadBytes / map_.bytes, 1);
    std::vector<std::byte> some(std::min(most, users) * map_.bytes);
    for (std::uint64_t user = 0; user < users; user += most) {
        std::uint64_t const count = std::min(most, users - user);
        write_entries(user, count, some.data());
        entries.upload(some.data(), count * map_.bytes, user * map_.bytes);
    }
}

AttentionRequest ArmData::request(std::byte const* entry, float const* q, float* out,
                                  std::uint32_t candidates) const {
    AttentionRequest request;
    request.q = q;
    request.out = out;
    request.tokens = options_.tokens;
    request.candidates = candidates;
    if (arm_.table_rows == 0) {
        request.k.rows = entry + map_.k_rows;
        request.v.rows = entry + map_.v_rows;
        return request;
    }
    request.k = {tables_.data(), entry + map_.k_index, entry + map_.k_user};
    request.v = {tables_.data() + arm_.table_rows * row_bytes(), entry + map_.v_index,
                 entry + map_.v_user};
    return request;
}

double ArmData::value(std::byte const* entry, bool value_side, std::uint32_t token,
                      std::uint32_t at) const {
    std::uint32_t const width = options_.width();
    if (arm_.table_rows == 0)
        return read_value(entry + (value_side ? map_.v_rows : map_.k_rows),
                          std::size_t{token} * width + at, arm_.type);
    std::uint32_t const shared = width - arm_.user_dims;
    if (at >= shared)
        return read_value(entry + (value_side ? map_.v_user : map_.k_user),
                          std::size_t{token} * arm_.user_dims + at - shared, arm_.type);
    std::uint32_t row = 0;
    std::memcpy(&row, entry + (value_side ? map_.v_index : map_.k_index) + token * arm_.index_bytes,
                arm_.index_bytes);
    std::size_t const first = value_side ? arm_.table_rows : 0;
    return read_value(host_tables_.data(), (first + row) * width + at, arm_.type);
}

double ArmData::error(std::uint64_t user, float const* q, float const* out) const {
    std::vector<std::byte> stored(map_.bytes);
    write_entry(user, stored.data());
    std::byte const* entry = stored.data();
    double worst = 0.0;
    for (std::uint32_t head = 0; head < options_.heads; ++head) {
        std::uint32_t const first = head * options_.head_dim;
        std::vector<double> weights(options_.tokens, 0.0);
        for (std::uint32_t t = 0; t < options_.tokens; ++t) {
            for (std::uint32_t i = first; i < first + options_.head_dim; ++i)
                weights[t] += q[i] * value(entry, false, t, i) * shape_.scale;
        }
        double const top = *std::max_element(weights.begin(), weights.end());
        double total = 0.0;
        for (double& weight : weights) total += weight = std::exp(weight - top);
        for (std::uint32_t i = first; i < first + options_.head_dim; ++i) {
            double expected = 0.0;
            for (std::uint32_t t = 0; t < options_.tokens; ++t)
                expected += weights[t] / total * value(entry, true, t, i);
            double const difference = std::abs(out[i] - expected);
            worst = std::isnan(difference) ? INFINITY : std::max(worst, difference);
        }
    }
    return worst;
}

std::size_t ArmData::row_bytes() const {
    return std::size_t{options_.width()} * kv::value_bytes(arm_.type);
}

std::size_t ArmData::table_bytes_read() const {
    return arm_.table_rows == 0 ? 0 : std::size_t{2} * options_.tokens * row_bytes();
}

double ArmData::flops(std::uint32_t candidates) const {
    return 4.0 * candidates * options_.tokens * options_.width();
}

std::vector<float> random_queries(std::size_t count, std::uint64_t stream) {
    CounterRng rng(12, Purpose::test, stream);
    std::vector<float> values(count);
    for (float& value : values) value = 2.0F * rng.uniform_float() - 1.0F;
    return values;
}

}  // namespace ckvsim::gpubench
