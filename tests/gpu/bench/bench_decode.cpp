// Decode: every arm at every number of candidates, batch after batch of users that are not in a
// cache; single requests with and without a graph.
#include <algorithm>
#include <set>

#include "bench_parts.hpp"
#include "device/cuda/attention_launch.hpp"

namespace ckvsim::gpubench {
namespace {

using device::cuda::AttentionKernel;
using device::cuda::AttentionLauncher;
using device::cuda::AttentionPlan;
using device::cuda::AttentionRequest;
using device::cuda::DeviceBuffer;
using device::cuda::Graph;
using device::cuda::PlanWishes;
using device::cuda::Stream;

/// Batches of different users, so that entries of one are not in the L2 cache when it comes again.
constexpr std::uint64_t kMostBatches = 64;
/// Where plans are compared: candidates on both sides of the border between the kernels, batches
/// of one request and of so few that the plan splits tokens, besides the usual one.
constexpr std::uint32_t kPlanCandidates[] = {8, 32};
constexpr std::uint32_t kPlanBatches[] = {1, 64};

/// Resident entries of one arm and the memory of one batch's queries and outputs.
class DecodeRun {
  public:
    DecodeRun(Bench const& bench, ArmData const& data, std::uint32_t batch, std::uint32_t most)
        : bench_(bench), data_(data), batch_(batch) {
        std::size_t const cold = 4 * bench.gpu.l2_bytes / data.map().bytes + 1;
        std::size_t const fits = static_cast<std::size_t>(
            0.5 * static_cast<double>(device::cuda::gpu_memory().free_bytes) /
            static_cast<double>(data.map().bytes));
        batches_ = std::clamp<std::uint64_t>((cold + batch - 1) / batch, 1, kMostBatches);
        batches_ = std::clamp<std::uint64_t>(fits / batch, 1, batches_);
        entries_ = DeviceBuffer(batches_ * batch * data.map().bytes, "entries of a decode");
        data.fill(entries_, batches_ * batch);
        std::size_t const floats = std::size_t{batch} * most * bench.options.width();
        host_q_ = random_queries(floats, 3);
        q_ = DeviceBuffer(floats * sizeof(float), "queries");
        q_.upload(host_q_.data(), q_.size());
        out_ = DeviceBuffer(floats * sizeof(float), "outputs");
    }

    Json measure(std::uint32_t candidates, bool keep_pools, PlanWishes const& wishes = {}) {
        Stream const stream;
        std::size_t kept = 0;
        if (keep_pools) kept = stream.keep_in_l2(data_.tables().data(), data_.tables().size());
        std::vector<AttentionLauncher> launchers;
        for (std::uint64_t b = 0; b < batches_; ++b) {
            launchers.emplace_back(bench_.gpu.limits);
            launchers.back().prepare(requests(b, candidates), data_.shape(), data_.arm().type,
                                     wishes);
        }
        out_.fill(0xFF);
        std::uint64_t last = 0;
        auto const ms = time_work(stream, bench_.options.repetitions, [&](std::uint32_t r) {
            last = r % batches_;
            launchers[last].launch(stream);
        });
        if (keep_pools) stream.release_l2();
        Json row = describe(candidates, ms, launchers.front().plan());
        row["l2_bytes_kept"] = kept;
        row["largest_error"] = check(last, candidates);
        return row;
    }

    /// Both kernels, each in one split and in as many as the plan would choose for it.
    void compare_plans(std::uint32_t candidates, Json& rows) {
        auto const size = device::cuda::batch_size(requests(0, candidates));
        auto const plan = [&](PlanWishes const& wishes) {
            return device::cuda::plan_attention(data_.shape(), data_.arm().type, size,
                                                bench_.gpu.limits, wishes);
        };
        AttentionPlan const usual = plan({});
        for (auto const kernel : {AttentionKernel::split, AttentionKernel::tile}) {
            for (std::uint32_t const splits : std::set{1U, plan({kernel, {}}).splits}) {
                rows.push_back(measure(candidates, false, {kernel, splits}));
                rows.back()["chosen"] = kernel == usual.kernel && splits == usual.splits;
            }
        }
    }

  private:
    [[nodiscard]] std::vector<AttentionRequest> requests(std::uint64_t batch,
                                                         std::uint32_t candidates) const {
        std::vector<AttentionRequest> list;
        std::size_t const step = std::size_t{candidates} * bench_.options.width();
        for (std::uint32_t r = 0; r < batch_; ++r)
            list.push_back(data_.request(entries_.data() + (batch * batch_ + r) * data_.map().bytes,
                                         q_.as<float>() + r * step, out_.as<float>() + r * step,
                                         candidates));
        return list;
    }

    [[nodiscard]] Json describe(std::uint32_t candidates, std::vector<double> const& ms,
                                AttentionPlan const& plan) const {
        double const seconds = median(ms) / 1e3;
        double const entry = static_cast<double>(data_.map().payload) * batch_;
        double const table = static_cast<double>(data_.table_bytes_read()) * batch_;
        double const flops = data_.flops(candidates) * batch_;
        Json row = {{"strategy", data_.arm().name},
                    {"type", kv::to_string(data_.arm().type)},
                    {"candidates", candidates},
                    {"heads", bench_.options.heads},
                    {"head_dim", bench_.options.head_dim},
                    {"tokens", bench_.options.tokens},
                    {"batch", batch_},
                    {"batches_of_different_users", batches_}};
        row.update(times(ms));
        row["requests_per_s"] = batch_ / seconds;
        row["entry_bytes"] = entry;
        row["table_bytes_gathered"] = table;
        row["flops"] = flops;
        row["tflops_per_s"] = flops / seconds / 1e12;
        // One candidate reads everything once; with more, rows are read again from caches.
        row["entry_share_of_device_copy"] = entry / seconds / bench_.limits.device_copy;
        if (table > 0)
            row["table_share_of_gather"] =
                table / seconds / bench_.limits.gather(data_.tables().size(), data_.row_bytes());
        row["plan"] = plan_row(plan);
        return row;
    }

    [[nodiscard]] double check(std::uint64_t batch, std::uint32_t candidates) const {
        std::uint32_t const width = bench_.options.width();
        double worst = 0.0;
        for (std::uint32_t const request : {0U, batch_ - 1}) {
            for (std::uint32_t const candidate : {0U, candidates - 1}) {
                std::size_t const at = (std::size_t{request} * candidates + candidate) * width;
                std::vector<float> got(width);
                out_.download(got.data(), width * sizeof(float), at * sizeof(float));
                worst = std::max(
                    worst, data_.error(batch * batch_ + request, host_q_.data() + at, got.data()));
            }
        }
        expect_right(worst, "decode of " + data_.arm().name + " with " +
                                std::to_string(candidates) + " candidates");
        return worst;
    }

    Bench const& bench_;
    ArmData const& data_;
    std::uint32_t batch_;
    std::uint64_t batches_ = 1;
    DeviceBuffer entries_;
    std::vector<float> host_q_;
    DeviceBuffer q_;
    DeviceBuffer out_;
};

/// Time of `full` in the same type divided by this row's, in a second pass over the rows.
void add_ratios(Json& rows) {
    for (Json& row : rows) {
        for (Json const& other : rows) {
            if (other.at("strategy") == "full" && other.at("type") == row.at("type") &&
                other.at("candidates") == row.at("candidates"))
                row["speed_ratio_to_full"] =
                    other.at("median_ms").get<double>() / row.at("median_ms").get<double>();
        }
    }
}

}  // namespace

Json measure_decode(Bench const& bench) {
    Json rows = Json::array();
    for (Arm const& arm : all_arms(bench.options)) {
        ArmData const data(arm, bench.options);
        auto const most =
            *std::max_element(bench.options.candidates.begin(), bench.options.candidates.end());
        DecodeRun run(bench, data, bench.options.batch, most);
        for (std::uint32_t const candidates : bench.options.candidates) {
            // Pools that fit are kept in L2; without the request as well, to see what it is worth.
            bool const fits =
                arm.table_rows > 0 && data.tables().size() <= bench.gpu.persisting_l2_bytes;
            rows.push_back(run.measure(candidates, fits));
            if (fits) {
                Json plain = run.measure(candidates, false);
                rows.back()["median_ms_without_l2_window"] = plain.at("median_ms");
            }
        }
    }
    add_ratios(rows);
    return rows;
}

Json measure_plans(Bench const& bench) {
    Json rows = Json::array();
    std::set<std::uint32_t> batches = {bench.options.batch};
    for (std::uint32_t const batch : kPlanBatches)
        batches.insert(std::min(batch, bench.options.batch));
    for (Arm const& arm : all_arms(bench.options)) {
        ArmData const data(arm, bench.options);
        for (std::uint32_t const batch : batches) {
            DecodeRun run(
                bench, data, batch,
                *std::max_element(std::begin(kPlanCandidates), std::end(kPlanCandidates)));
            for (std::uint32_t const candidates : kPlanCandidates)
                run.compare_plans(candidates, rows);
        }
    }
    return rows;
}

Json measure_small_batches(Bench const& bench) {
    Json rows = Json::array();
    for (Arm const& arm : all_arms(bench.options)) {
        ArmData const data(arm, bench.options);
        DeviceBuffer const entry(data.map().bytes, "one entry");
        data.fill(entry, 1);
        auto const q = random_queries(bench.options.width(), 3);
        DeviceBuffer const device_q(q.size() * sizeof(float), "a query");
        device_q.upload(q.data(), device_q.size());
        DeviceBuffer const out(device_q.size(), "an output");
        AttentionLauncher launcher(bench.gpu.limits);
        std::vector<AttentionRequest> const one = {
            data.request(entry.data(), device_q.as<float>(), out.as<float>(), 1)};
        launcher.prepare(one, data.shape(), arm.type);
        Stream const stream;
        Json row = {{"strategy", arm.name}, {"type", kv::to_string(arm.type)}};
        auto const measure = [&](std::string const& how, std::function<void()> const& start) {
            out.fill(0xFF);
            auto const ms =
                time_work(stream, bench.options.repetitions, [&](std::uint32_t) { start(); });
            std::vector<float> got(q.size());
            out.download(got.data(), out.size());
            double const error = data.error(0, q.data(), got.data());
            expect_right(error, "one request of " + arm.name + " " + how);
            row[how] = times(ms);
            row[how]["largest_error"] = error;
        };
        measure("launched", [&] { launcher.launch(stream); });
        // After the launches: what is recorded must have been loaded.
        Graph const graph(stream, [&] { launcher.launch(stream); });
        measure("as_graph", [&] { graph.launch(stream); });
        row["plan"] = plan_row(launcher.plan());
        rows.push_back(row);
    }
    return rows;
}

}  // namespace ckvsim::gpubench
