// Every compiled variant of every kernel on this device, before anything is measured: attention
// against double precision, the kernels that move bytes against the bytes.
#include <cstring>
#include <string>
#include <vector>

#include "bench_parts.hpp"
#include "core/rng.hpp"
#include "cuda_device_attention.hpp"
#include "device/cuda/transfer.hpp"

namespace ckvsim::gpubench {
namespace {

using device::cuda::AttentionKernel;
using device::cuda::AttentionPlan;
using device::cuda::CopyTask;
using device::cuda::DeviceBuffer;
using device::cuda::PinnedBuffer;
using device::cuda::PlanWishes;
using device::cuda::Stream;
using device::cuda::Weighting;

/// What entries look like, and how scores become weights.
struct Kind {
    std::uint32_t index_bytes;
    std::uint32_t table_rows;  ///< beyond 255 where an index has more than one byte
    std::uint32_t user_dims;
    Weighting weighting;
};
constexpr Kind kKinds[] = {{0, 1, 0, Weighting::softmax},
                           {0, 1, 0, Weighting::silu},
                           {1, 256, 0, Weighting::softmax},
                           {2, 300, 3, Weighting::softmax},
                           {4, 300, 0, Weighting::softmax}};
/// The widest head of the tile kernel, and of the split kernel with fp32 rows.
constexpr std::uint32_t kUsualDims = 256;

/// Runs the batch with each number of splits and adds the results.
void check_batch(Bench const& bench, test::CudaBatch const& batch, AttentionKernel kernel,
                 Json& rows) {
    test::DeviceRunner const runner;
    kv::ValueType const type = batch.made_from().row_type;
    for (std::uint32_t const splits : {1U, 3U}) {
        PlanWishes const wishes{kernel, splits};
        AttentionPlan const plan = device::cuda::plan_attention(
            batch.shape(), type, device::cuda::batch_size(batch.requests()), bench.gpu.limits,
            wishes);
        runner.attend(batch, wishes);
        std::string const problem = batch.check();
        rows.push_back({{"case", batch.made_from().describe()},
                        {"type", kv::to_string(type)},
                        {"plan", plan_row(plan)},
                        {"result", problem.empty() ? "right" : problem}});
    }
}

/// Heads whose rows are read by 8, 16 and 32 lanes with one load or more each, wide or value by
/// value; by blocks of one query, of several and of a tile.
void check_attention(Bench const& bench, kv::ValueType type, Json& rows) {
    for (std::uint32_t const head_dim : {19U, 32U, 50U, 64U, 128U, kUsualDims, 512U}) {
        if (head_dim > kUsualDims && type == kv::ValueType::fp32) continue;
        for (Kind const& kind : kKinds) {
            test::CudaCase made;
            made.heads = 2;
            made.head_dim = head_dim;
            made.row_type = type;
            made.index_bytes = kind.index_bytes;
            made.table_rows = kind.table_rows;
            made.user_dims = kind.user_dims;
            made.weighting = kind.weighting;
            made.tokens = {bench.options.tokens, 0, 1, bench.options.tokens / 3};
            made.candidates = {1, 1, 1, 1};
            check_batch(bench, test::CudaBatch(made), AttentionKernel::split, rows);
            made.candidates = {3, 2, 1, 20};
            test::CudaBatch const batch(made);
            check_batch(bench, batch, AttentionKernel::split, rows);
            if (head_dim <= kUsualDims) check_batch(bench, batch, AttentionKernel::tile, rows);
        }
    }
}

Json bytes_row(char const* what, char const* kernel, bool right) {
    return {{"case", what},
            {"plan", {{"kernel", kernel}}},
            {"result", right ? "right" : "other bytes than asked for"}};
}

void fill_words(std::uint32_t* words, std::size_t count) {
    CounterRng rng(15, Purpose::test, count);
    for (std::size_t i = 0; i < count; ++i) words[i] = rng.next_u32();
}

/// Entries of different sizes, in another order than they lie in.
Json check_copy() {
    std::vector<std::size_t> const sizes = {(std::size_t{1} << 20) + 48, 16, 4000};
    std::size_t total = 0;
    for (std::size_t const bytes : sizes) total += bytes;
    PinnedBuffer const from(total, "a check");
    fill_words(from.as<std::uint32_t>(), total / 4);
    DeviceBuffer const to(total, "a check");
    to.fill(0);
    std::vector<std::byte> expected(total);
    std::vector<CopyTask> tasks;
    std::size_t at = 0;
    for (std::size_t const bytes : sizes) {
        std::size_t const place = total - at - bytes;
        tasks.push_back({from.data() + at, to.data() + place, bytes});
        std::memcpy(expected.data() + place, from.data() + at, bytes);
        at += bytes;
    }
    DeviceBuffer const list(tasks.size() * sizeof(CopyTask), "a check");
    list.upload(tasks.data(), list.size());
    Stream const stream;
    device::cuda::copy_entries(list.as<CopyTask const>(), static_cast<std::uint32_t>(tasks.size()),
                               3, stream);
    stream.synchronize();
    std::vector<std::byte> got(total);
    to.download(got.data(), total);
    return bytes_row("entries read from pinned memory", "copy", got == expected);
}

/// The folded words of every warp.
Json check_gather() {
    constexpr std::uint32_t kRows = 300;
    constexpr std::uint32_t kRowWords = 260;
    constexpr std::uint32_t kBlocks = 4;
    std::vector<std::uint32_t> words(kRows * kRowWords);
    fill_words(words.data(), words.size());
    DeviceBuffer const table(words.size() * 4, "a check");
    table.upload(words.data(), table.size());
    std::vector<std::uint32_t> index(1000);
    CounterRng rng(15, Purpose::test, 0);
    for (std::uint32_t& row : index) row = rng.below(kRows);
    DeviceBuffer const list(index.size() * 4, "a check");
    list.upload(index.data(), list.size());
    std::vector<std::uint32_t> expected(device::cuda::gather_words(kBlocks), 0);
    for (std::size_t i = 0; i < index.size(); ++i) {
        for (std::uint32_t w = 0; w < kRowWords; ++w)
            expected[i % expected.size()] ^= words[std::size_t{index[i]} * kRowWords + w];
    }
    DeviceBuffer const folded(expected.size() * 4, "a check");
    folded.fill(0xFF);
    Stream const stream;
    device::cuda::gather_rows({table.data(), kRowWords * 4, list.as<std::uint32_t const>(),
                               index.size(), folded.as<std::uint32_t>()},
                              kBlocks, stream);
    stream.synchronize();
    std::vector<std::uint32_t> got(expected.size());
    folded.download(got.data(), folded.size());
    return bytes_row("random rows of a table", "gather", got == expected);
}

}  // namespace

Json check_correctness(Bench const& bench) {
    Json rows = Json::array();
    for (kv::ValueType const type : {kv::ValueType::fp32, kv::ValueType::fp16})
        check_attention(bench, type, rows);
    rows.push_back(check_copy());
    rows.push_back(check_gather());
    return rows;
}

}  // namespace ckvsim::gpubench
