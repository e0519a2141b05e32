// The suite of attention_test.cpp on a GPU, and what only a GPU has: graphs, streams, the L2
// window, errors. Skips itself where there is none.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <vector>

#include "core/error.hpp"
#include "cuda_device_attention.hpp"
#include "device/cuda/transfer.hpp"

namespace ckvsim::device::cuda {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

test::DeviceRunner const kDevice;

class Gpu : public ::testing::Test {
  protected:
    void SetUp() override {
        if (!kDevice.missing().empty()) GTEST_SKIP() << "skipped: " << kDevice.missing();
    }
};

TEST_F(Gpu, AGraphRepeatsTheLaunch) {
    test::CudaCase made;
    made.tokens = {500};
    made.candidates = {1};
    test::CudaBatch const batch(made);
    test::DeviceBatch const on_device(batch);
    AttentionLauncher launcher(test::DeviceRunner::search().gpu->limits);
    launcher.prepare(on_device.requests(), batch.shape(), made.row_type);
    EXPECT_GT(launcher.plan().splits, 1U);  // two launches in the graph
    Stream const stream;
    launcher.launch(stream);
    stream.synchronize();
    Graph const graph(stream, [&] { launcher.launch(stream); });
    for (int round = 0; round < 3; ++round) {
        batch.poison_outputs();
        graph.launch(stream);
        stream.synchronize();
        on_device.fetch_outputs();
        EXPECT_EQ(batch.check(), "");
    }
}

TEST_F(Gpu, AnL2WindowChangesNoResult) {
    test::CudaCase made;
    made.index_bytes = 2;
    made.user_dims = 2;
    made.tokens = {300};
    made.candidates = {2};
    test::CudaBatch const batch(made);
    test::DeviceBatch const on_device(batch);
    AttentionLauncher launcher(test::DeviceRunner::search().gpu->limits);
    auto const requests = on_device.requests();
    launcher.prepare(requests, batch.shape(), made.row_type);
    Stream const stream;
    std::size_t const bytes =
        std::size_t{made.table_rows} * batch.shape().row_step * kv::value_bytes(made.row_type);
    EXPECT_LE(stream.keep_in_l2(requests[0].k.rows, bytes),
              test::DeviceRunner::search().gpu->persisting_l2_bytes);
    launcher.launch(stream);
    stream.synchronize();
    stream.release_l2();
    on_device.fetch_outputs();
    EXPECT_EQ(batch.check(), "");
}

TEST_F(Gpu, OverlappedFetchesArriveInOrder) {
    constexpr std::size_t kBytes = std::size_t{1} << 20;
    constexpr std::uint32_t kParts = 9;
    PinnedBuffer const source(kParts * kBytes, "a test");
    PinnedBuffer const result(kParts * kBytes, "a test");
    std::iota(source.as<std::uint32_t>(), source.as<std::uint32_t>() + kParts * kBytes / 4, 7U);
    std::memset(result.data(), 0, result.size());
    DeviceBuffer const slots(2 * kBytes, "a test");
    Stream const fetches;
    Stream const kernels;
    run_overlapped(
        fetches, kernels, kParts, 2,
        [&](std::uint32_t part, std::uint32_t slot) {
            fetches.copy(slots.data() + slot * kBytes, source.data() + part * kBytes, kBytes);
        },
        [&](std::uint32_t part, std::uint32_t slot) {
            kernels.copy(result.data() + part * kBytes, slots.data() + slot * kBytes, kBytes);
        });
    kernels.synchronize();
    EXPECT_EQ(std::memcmp(source.data(), result.data(), source.size()), 0);
}

TEST_F(Gpu, EntriesAreCopiedFromPinnedMemory) {
    PinnedBuffer const source(4096, "a test");
    std::iota(source.as<std::uint32_t>(), source.as<std::uint32_t>() + 1024, 3U);
    DeviceBuffer const to(4096, "a test");
    to.fill(0);
    std::vector<CopyTask> const tasks = {{source.data(), to.data() + 2048, 2000},
                                         {source.data() + 2048, to.data(), 16}};
    DeviceBuffer const list(tasks.size() * sizeof(CopyTask), "a test");
    list.upload(tasks.data(), list.size());
    Stream const stream;
    copy_entries(list.as<CopyTask const>(), 2, 3, stream);
    stream.synchronize();
    std::vector<std::byte> got(4096);
    to.download(got.data(), got.size());
    EXPECT_EQ(std::memcmp(got.data() + 2048, source.data(), 2000), 0);
    EXPECT_EQ(std::memcmp(got.data(), source.data() + 2048, 16), 0);
    EXPECT_EQ(got[16], std::byte{0});
    EXPECT_EQ(got[4048], std::byte{0});
}

TEST_F(Gpu, TooMuchMemoryIsRefusedWithItsSizes) {
    std::size_t const bytes = std::size_t{1} << 46;
    EXPECT_THAT([&] { DeviceBuffer(bytes, "users"); },
                ThrowsMessage<BackendError>(
                    HasSubstr("70368744177664 bytes of device memory for users (")));
    // The device serves on.
    DeviceBuffer const small(1024, "users");
    small.fill(1);
    EXPECT_THAT([&] { small.upload(&bytes, 2000); },
                ThrowsMessage<InternalError>(HasSubstr("beyond")));
}

}  // namespace
}  // namespace ckvsim::device::cuda
