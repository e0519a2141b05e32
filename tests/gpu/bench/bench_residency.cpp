// As many users as fit, really in device memory, and requests of random ones of them.
#include <algorithm>
#include <chrono>

#include "bench_parts.hpp"
#include "core/rng.hpp"
#include "device/cuda/attention_launch.hpp"

namespace ckvsim::gpubench {
namespace {

using device::cuda::AttentionLauncher;
using device::cuda::AttentionRequest;
using device::cuda::DeviceBuffer;
using device::cuda::Stream;

constexpr std::uint64_t kMostBatches = 5000;
/// Fewer batches than this say nothing about the 99th percentile.
constexpr std::size_t kSamplesForP99 = 1000;

Json percentiles(std::vector<double> ms) {
    std::sort(ms.begin(), ms.end());
    Json result = {{"samples", ms.size()}, {"p50_ms", ms[ms.size() / 2]}};
    result["p99_ms"] =
        ms.size() < kSamplesForP99 ? Json("insufficient") : Json(ms[ms.size() * 99 / 100]);
    return result;
}

Json serve(Bench const& bench, ArmData const& data, DeviceBuffer const& entries,
           std::uint64_t users) {
    std::uint32_t const batch = bench.options.batch;
    std::uint32_t const width = bench.options.width();
    std::uint64_t const tenth = users / 10 / batch + 1;
    std::uint64_t const batches = std::min(tenth, kMostBatches);
    auto const q = random_queries(std::size_t{batch} * width, 5);
    DeviceBuffer const device_q(q.size() * sizeof(float), "queries");
    device_q.upload(q.data(), device_q.size());
    DeviceBuffer const out(device_q.size(), "outputs");
    AttentionLauncher launcher(bench.gpu.limits);
    Stream const stream;
    CounterRng rng(14, Purpose::test, users);
    std::vector<double> wall_ms;
    double worst = 0.0;
    for (std::uint64_t b = 0; b < batches; ++b) {
        std::vector<std::uint64_t> asked;
        std::vector<AttentionRequest> requests;
        for (std::uint32_t r = 0; r < batch; ++r) {
            asked.push_back(rng.next_u64() % users);
            requests.push_back(data.request(entries.data() + asked.back() * data.map().bytes,
                                            device_q.as<float>() + std::size_t{r} * width,
                                            out.as<float>() + std::size_t{r} * width, 1));
        }
        auto const start = std::chrono::steady_clock::now();
        launcher.prepare(requests, data.shape(), data.arm().type);
        launcher.launch(stream);
        stream.synchronize();
        wall_ms.push_back(
            std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
                .count());
        if (b % 64 != 0) continue;
        std::vector<float> got(width);
        out.download(got.data(), width * sizeof(float));
        worst = std::max(worst, data.error(asked.front(), q.data(), got.data()));
    }
    expect_right(worst, "a resident user's result");
    Json result = {{"candidates", 1},
                   {"batch", batch},
                   {"requests", batches * batch},
                   {"largest_error", worst}};
    result["share_of_users_asked_at_most"] =
        static_cast<double>(batches * batch) / static_cast<double>(users);
    result["batch_wall_clock_with_preparation"] = percentiles(wall_ms);
    return result;
}

}  // namespace

Json measure_residency(Bench const& bench) {
    Json rows = Json::array();
    for (Arm const& arm : all_arms(bench.options)) {
        ArmData const data(arm, bench.options);
        auto const free = static_cast<double>(device::cuda::gpu_memory().free_bytes);
        auto const users = static_cast<std::uint64_t>(bench.options.memory_share * free /
                                                      static_cast<double>(data.map().bytes));
        DeviceBuffer const entries(users * data.map().bytes, "resident users");
        data.fill(entries, users);
        Json row = {{"strategy", arm.name},
                    {"type", kv::to_string(arm.type)},
                    {"tokens", bench.options.tokens},
                    {"resident_users", users},
                    {"entry_bytes", data.map().bytes},
                    {"bytes_per_token", static_cast<double>(data.map().payload) /
                                            static_cast<double>(bench.options.tokens)},
                    {"shared_table_bytes", data.tables().size()}};
        if (users >= bench.options.batch) row.update(serve(bench, data, entries, users));
        rows.push_back(row);
    }
    return rows;
}

}  // namespace ckvsim::gpubench
