#include "device/cuda/gpu_device.hpp"

#include <array>

#include "device/cuda/cuda_check.cuh"

namespace ckvsim::device::cuda {
namespace {

/// The oldest compute capability with asynchronous copies, for which kernels are built.
constexpr int kOldestMajor = 8;

std::string version_text(int version) {
    return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

GpuInfo describe(int device) {
    cudaDeviceProp properties{};
    check(cudaGetDeviceProperties(&properties, device), "properties of the GPU");
    std::array<char, 32> bus{};
    check(cudaDeviceGetPCIBusId(bus.data(), static_cast<int>(bus.size()), device),
          "bus of the GPU");
    int driver = 0;
    int runtime = 0;
    check(cudaDriverGetVersion(&driver), "version of the driver");
    check(cudaRuntimeGetVersion(&runtime), "version of the runtime");
    GpuInfo info;
    info.name = properties.name;
    info.bus_id = bus.data();
    info.driver = version_text(driver);
    info.runtime = version_text(runtime);
    info.major = static_cast<std::uint32_t>(properties.major);
    info.minor = static_cast<std::uint32_t>(properties.minor);
    info.memory_bytes = properties.totalGlobalMem;
    info.l2_bytes = static_cast<std::size_t>(properties.l2CacheSize);
    info.persisting_l2_bytes = static_cast<std::size_t>(properties.persistingL2CacheMaxSize);
    info.copy_engines = static_cast<std::uint32_t>(properties.asyncEngineCount);
    info.error_correction = properties.ECCEnabled != 0;
    info.limits.multiprocessors = static_cast<std::uint32_t>(properties.multiProcessorCount);
    info.limits.shared_bytes_per_block = properties.sharedMemPerBlockOptin;
    return info;
}

}  // namespace

GpuSearch find_gpu() {
    int count = 0;
    cudaError_t const status = cudaGetDeviceCount(&count);
    if (status != cudaSuccess) {
        static_cast<void>(cudaGetLastError());
        return {std::nullopt, cudaGetErrorString(status)};
    }
    if (count == 0) return {std::nullopt, "the driver lists no device"};
    check(cudaSetDevice(0), "choosing the GPU");
    GpuInfo const info = describe(0);
    if (info.major < kOldestMajor)
        return {std::nullopt, info.name + " has compute capability " + std::to_string(info.major) +
                                  "." + std::to_string(info.minor) +
                                  ", the kernels need 8.0 or newer"};
    return {info, ""};
}

GpuMemory gpu_memory() {
    GpuMemory memory;
    check(cudaMemGetInfo(&memory.free_bytes, &memory.total_bytes), "free memory of the GPU");
    return memory;
}

}  // namespace ckvsim::device::cuda
