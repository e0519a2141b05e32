// What the device can do at most: copies, the link both ways, random rows from L2 and from memory.
#include <algorithm>
#include <limits>

#include "bench_parts.hpp"
#include "core/rng.hpp"
#include "device/cuda/transfer.hpp"

namespace ckvsim::gpubench {
namespace {

using device::cuda::CopyTask;
using device::cuda::DeviceBuffer;
using device::cuda::Event;
using device::cuda::PinnedBuffer;
using device::cuda::Stream;

constexpr std::size_t kMiB = std::size_t{1} << 20;

Json rate_row(char const* what, double bytes, std::vector<double> const& ms) {
    Json row = {{"what", what}, {"bytes", bytes}};
    row.update(times(ms));
    row["gbytes_per_s"] = bytes / median(ms) / 1e6;
    return row;
}

double rate(Json const& row) { return row.at("gbytes_per_s").get<double>() * 1e9; }

Json gather_row(Bench const& bench, Stream const& stream, std::size_t table_bytes,
                std::uint32_t row_bytes) {
    std::size_t const rows = std::max<std::size_t>(table_bytes / row_bytes, 1);
    std::size_t const count =
        std::max<std::size_t>(bench.options.copy_bytes / row_bytes, std::size_t{1});
    DeviceBuffer const table(rows * row_bytes, "the table of a gather");
    table.fill(1);
    CounterRng rng(13, Purpose::test, table_bytes);
    std::vector<std::uint32_t> index(count);
    for (std::uint32_t& row : index) row = rng.below(static_cast<std::uint32_t>(rows));
    DeviceBuffer const list(count * sizeof(std::uint32_t), "the index of a gather");
    list.upload(index.data(), list.size());
    std::uint32_t const blocks = bench.gpu.limits.multiprocessors * 8;
    DeviceBuffer const folded(device::cuda::gather_words(blocks) * 4, "results of a gather");
    auto const ms = time_work(stream, bench.options.repetitions, [&](std::uint32_t) {
        device::cuda::gather_rows({table.data(), row_bytes, list.as<std::uint32_t const>(), count,
                                   folded.as<std::uint32_t>()},
                                  blocks, stream);
    });
    Json row = rate_row("gather of random rows", static_cast<double>(count) * row_bytes, ms);
    row["table_bytes"] = rows * row_bytes;
    row["row_bytes"] = row_bytes;
    return row;
}

/// Both directions at once, each on its stream; time of the slower.
std::vector<double> time_both(Bench const& bench, DeviceBuffer const& device,
                              PinnedBuffer const& host, std::size_t half) {
    Stream const in;
    Stream const out;
    Event in_end;
    return time_work(out, bench.options.repetitions, [&](std::uint32_t) {
        Event start;
        start.record(out);
        in.wait_for(start);
        in.copy(device.data(), host.data(), half);
        in_end.record(in);
        out.copy(host.data() + half, device.data() + half, half);
        out.wait_for(in_end);
    });
}

}  // namespace

double Limits::gather(std::size_t table_bytes, std::size_t row_bytes) const {
    Gather const* best = nullptr;
    for (Gather const& one : gathers) {
        if (one.row_bytes != row_bytes || one.table_bytes < table_bytes) continue;
        if (best == nullptr || one.table_bytes < best->table_bytes) best = &one;
    }
    return best == nullptr ? std::numeric_limits<double>::quiet_NaN() : best->rate;
}

Json measure_limits(Bench& bench) {
    Json rows = Json::array();
    Stream const stream;
    std::size_t const bytes = bench.options.copy_bytes;
    auto const repetitions = bench.options.repetitions;
    DeviceBuffer const device(2 * bytes, "copy measurements");
    device.fill(1);
    rows.push_back(rate_row("device copy, read and written", 2.0 * static_cast<double>(bytes),
                            time_work(stream, repetitions, [&](std::uint32_t) {
                                stream.copy(device.data() + bytes, device.data(), bytes);
                            })));
    bench.limits.device_copy = rate(rows.back());

    PinnedBuffer const host(bytes, "link measurements");
    std::fill_n(host.data(), bytes, std::byte{1});
    auto const link_bytes = static_cast<double>(bytes);
    rows.push_back(rate_row("pinned host to device, copy engine", link_bytes,
                            time_work(stream, repetitions, [&](std::uint32_t) {
                                stream.copy(device.data(), host.data(), bytes);
                            })));
    bench.limits.link_in = rate(rows.back());
    CopyTask const task{host.data(), device.data(), bytes};
    DeviceBuffer const tasks(sizeof task, "copy tasks");
    tasks.upload(&task, sizeof task);
    rows.push_back(rate_row("pinned host to device, read by a kernel", link_bytes,
                            time_work(stream, repetitions, [&](std::uint32_t) {
                                device::cuda::copy_entries(tasks.as<CopyTask const>(), 1,
                                                           bench.gpu.limits.multiprocessors * 4,
                                                           stream);
                            })));
    bench.limits.link_in = std::max(bench.limits.link_in, rate(rows.back()));
    rows.push_back(rate_row("device to pinned host, copy engine", link_bytes,
                            time_work(stream, repetitions, [&](std::uint32_t) {
                                stream.copy(host.data(), device.data(), bytes);
                            })));
    bench.limits.link_out = rate(rows.back());
    rows.push_back(rate_row("both directions at once, sum", link_bytes,
                            time_both(bench, device, host, bytes / 2)));
    std::vector<std::byte> const pageable(bytes, std::byte{1});
    rows.push_back(rate_row("PAGEABLE host to device, no limit of anything", link_bytes,
                            time_work(stream, repetitions, [&](std::uint32_t) {
                                stream.copy(device.data(), pageable.data(), bytes);
                            })));
    std::uint32_t const width = bench.options.width();
    for (std::uint32_t const row_bytes : {2 * width, 4 * width}) {
        for (std::size_t const table :
             {kMiB, 4 * kMiB, 16 * kMiB, 24 * kMiB, 48 * kMiB, 1024 * kMiB}) {
            if (table > bytes) continue;
            rows.push_back(gather_row(bench, stream, table, row_bytes));
            bench.limits.gathers.push_back({table, row_bytes, rate(rows.back())});
        }
    }
    return rows;
}

}  // namespace ckvsim::gpubench
