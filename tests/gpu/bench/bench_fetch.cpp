// Fetching entries of a batch from host memory, full KV and the others by the same methods; with
// decode beside it.
#include <algorithm>
#include <cstring>
#include <string>

#include "bench_parts.hpp"
#include "core/error.hpp"
#include "device/cuda/attention_launch.hpp"
#include "device/cuda/transfer.hpp"

namespace ckvsim::gpubench {
namespace {

using device::cuda::AttentionLauncher;
using device::cuda::AttentionRequest;
using device::cuda::CopyTask;
using device::cuda::DeviceBuffer;
using device::cuda::PinnedBuffer;
using device::cuda::Stream;

/// Host memory that different batches come from, so that small entries are not in a CPU cache.
constexpr std::size_t kHostBytes = std::size_t{512} << 20;
constexpr std::uint32_t kParts = 8;
constexpr std::uint32_t kSlots = 2;
constexpr std::uint32_t kCandidates = 128;

/// Entries of several batches of one arm in host memory, and room for one batch on the device.
class FetchRun {
  public:
    FetchRun(Bench const& bench, ArmData const& data)
        : bench_(bench),
          data_(data),
          batch_bytes_(bench.options.batch * data.map().bytes),
          sets_(static_cast<std::uint32_t>(
              std::clamp<std::size_t>(kHostBytes / batch_bytes_, 1, 64))),
          host_(sets_ * batch_bytes_, "entries on the host"),
          device_(batch_bytes_, "fetched entries") {
        data.write_entries(0, std::uint64_t{sets_} * bench.options.batch, host_.data());
        std::vector<CopyTask> tasks;
        for (std::uint32_t set = 0; set < sets_; ++set) {
            for (std::uint32_t r = 0; r < bench.options.batch; ++r)
                tasks.push_back(
                    {entry(set, r), device_.data() + r * data.map().bytes, data.map().bytes});
        }
        tasks_ = DeviceBuffer(tasks.size() * sizeof(CopyTask), "copy tasks");
        tasks_.upload(tasks.data(), tasks_.size());
    }

    void add_rows(Json& rows) const {
        Stream const stream;
        rows.push_back(measure(stream, "copy engine, one copy an entry", false,
                               [&](std::uint32_t set) { copy_each(stream, entry(set, 0)); }));
        rows.push_back(measure(stream, "kernel that reads pinned memory", false,
                               [&](std::uint32_t set) { copy_by_kernel(stream, set); }));
        rows.push_back(measure(
            stream, "copy engine, the batch in one piece", false,
            [&](std::uint32_t set) { stream.copy(device_.data(), entry(set, 0), batch_bytes_); }));
        std::vector<std::byte> const pageable(host_.data(), host_.data() + host_.size());
        rows.push_back(measure(
            stream, "PAGEABLE memory, one copy an entry", true,
            [&](std::uint32_t set) { copy_each(stream, pageable.data() + set * batch_bytes_); }));
        rows.push_back(overlapped());
    }

  private:
    [[nodiscard]] std::byte* entry(std::uint32_t set, std::uint32_t request) const {
        return host_.data() + set * batch_bytes_ + request * data_.map().bytes;
    }
    /// Times fetches of set after set and compares every byte of the last.
    [[nodiscard]] Json measure(Stream const& stream, std::string const& method, bool pageable,
                               std::function<void(std::uint32_t)> const& fetch) const {
        device_.fill(0xFF);
        std::uint32_t last = 0;
        auto const ms = time_work(stream, bench_.options.repetitions, [&](std::uint32_t r) {
            last = r % sets_;
            fetch(last);
        });
        std::vector<std::byte> got(batch_bytes_);
        device_.download(got.data(), batch_bytes_);
        if (std::memcmp(got.data(), entry(last, 0), batch_bytes_) != 0)
            throw InternalError("ckvsim-gpu-bench: entries of " + data_.arm().name +
                                " fetched by \"" + method +
                                "\" differ from those sent; the time means nothing");
        Json result = row(method, pageable, ms, bench_.options.batch);
        result["bytes_compared"] = batch_bytes_;
        return result;
    }
    void copy_each(Stream const& stream, std::byte const* from) const {
        std::size_t const bytes = data_.map().bytes;
        for (std::uint32_t r = 0; r < bench_.options.batch; ++r)
            stream.copy(device_.data() + r * bytes, from + r * bytes, bytes);
    }
    void copy_by_kernel(Stream const& stream, std::uint32_t set) const {
        // Large entries are cut among blocks, so that all arms keep the device equally busy.
        std::size_t const slices = std::clamp<std::size_t>(data_.map().bytes >> 17, 1, 64);
        device::cuda::copy_entries(
            tasks_.as<CopyTask const>() + std::size_t{set} * bench_.options.batch,
            bench_.options.batch, static_cast<std::uint32_t>(slices), stream);
    }
    [[nodiscard]] Json row(std::string const& method, bool pageable, std::vector<double> const& ms,
                           std::uint32_t requests) const {
        auto const bytes = static_cast<double>(requests * data_.map().bytes);
        Json result = {{"strategy", data_.arm().name},
                       {"type", kv::to_string(data_.arm().type)},
                       {"method", method},
                       {"pageable", pageable},
                       {"batch", requests},
                       {"bytes", bytes}};
        result.update(times(ms));
        result["gbytes_per_s"] = bytes / median(ms) / 1e6;
        result["share_of_link"] = bytes / median(ms) * 1e3 / bench_.limits.link_in;
        return result;
    }
    [[nodiscard]] Json overlapped() const;

    Bench const& bench_;
    ArmData const& data_;
    std::size_t batch_bytes_;
    std::uint32_t sets_;
    PinnedBuffer host_;
    DeviceBuffer device_;
    DeviceBuffer tasks_;
};

/// A batch in kParts parts: the copy of one beside the decode of the one before.
Json FetchRun::overlapped() const {
    std::uint32_t const part_requests = (bench_.options.batch + kParts - 1) / kParts;
    std::uint32_t const parts = bench_.options.batch / part_requests;
    std::size_t const entry_bytes = data_.map().bytes;
    std::size_t const step = std::size_t{kCandidates} * bench_.options.width();
    auto const q = random_queries(step, 4);
    DeviceBuffer const device_q(step * sizeof(float), "queries");
    device_q.upload(q.data(), device_q.size());
    DeviceBuffer const out(kSlots * part_requests * step * sizeof(float), "outputs");
    std::vector<AttentionLauncher> launchers;
    for (std::uint32_t slot = 0; slot < kSlots; ++slot) {
        std::vector<AttentionRequest> requests;
        for (std::uint32_t r = 0; r < part_requests; ++r) {
            std::size_t const place = std::size_t{slot} * part_requests + r;
            requests.push_back(data_.request(device_.data() + place * entry_bytes,
                                             device_q.as<float>(), out.as<float>() + place * step,
                                             kCandidates));
        }
        launchers.emplace_back(bench_.gpu.limits);
        launchers.back().prepare(requests, data_.shape(), data_.arm().type);
    }
    Stream const fetches;
    Stream const kernels;
    out.fill(0xFF);
    std::uint32_t last = 0;
    auto const ms = time_work(kernels, bench_.options.repetitions, [&](std::uint32_t r) {
        last = r % sets_;
        device::cuda::Event start;
        start.record(kernels);
        fetches.wait_for(start);
        device::cuda::run_overlapped(
            fetches, kernels, parts, kSlots,
            [&](std::uint32_t part, std::uint32_t slot) {
                fetches.copy(device_.data() + std::size_t{slot} * part_requests * entry_bytes,
                             entry(last, part * part_requests), part_requests * entry_bytes);
            },
            [&](std::uint32_t, std::uint32_t slot) { launchers[slot].launch(kernels); });
    });
    double worst = 0.0;
    for (std::uint32_t part = parts - std::min(parts, kSlots); part < parts; ++part) {
        for (std::uint32_t const candidate : {0U, kCandidates - 1}) {
            std::size_t const at = std::size_t{candidate} * bench_.options.width();
            std::size_t const place = std::size_t{part % kSlots} * part_requests * step + at;
            std::vector<float> got(bench_.options.width());
            out.download(got.data(), got.size() * sizeof(float), place * sizeof(float));
            worst = std::max(worst, data_.error(std::uint64_t{last} * bench_.options.batch +
                                                    part * part_requests,
                                                q.data() + at, got.data()));
        }
    }
    expect_right(worst, "decode of " + data_.arm().name + " beside fetches");
    Json result = row("fetch beside decode", false, ms, parts * part_requests);
    result["largest_error"] = worst;
    result["parts"] = parts;
    result["candidates"] = kCandidates;
    return result;
}

/// Time of `full` in the same type and method divided by this row's.
void add_ratios(Json& rows) {
    for (Json& row : rows) {
        for (Json const& other : rows) {
            if (other.at("strategy") == "full" && other.at("type") == row.at("type") &&
                other.at("method") == row.at("method"))
                row["speed_ratio_to_full"] =
                    other.at("median_ms").get<double>() / row.at("median_ms").get<double>();
        }
    }
}

}  // namespace

Json measure_fetch(Bench const& bench) {
    Json rows = Json::array();
    for (Arm const& arm : all_arms(bench.options)) {
        ArmData const data(arm, bench.options);
        FetchRun(bench, data).add_rows(rows);
    }
    add_ratios(rows);
    return rows;
}

}  // namespace ckvsim::gpubench
