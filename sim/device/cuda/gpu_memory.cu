#include "device/cuda/gpu_memory.hpp"

#include "device/cuda/cuda_check.cuh"
#include "device/cuda/gpu_device.hpp"

namespace ckvsim::device::cuda {
namespace {

std::string amount(std::size_t bytes) { return std::to_string(bytes) + " bytes"; }

void check_range(std::size_t bytes, std::size_t offset, std::size_t size) {
    validate(offset <= size && bytes <= size - offset,
             "device/cuda: a copy beyond the end of a device buffer");
}

}  // namespace

DeviceBuffer::DeviceBuffer(std::size_t bytes, char const* purpose) : bytes_(bytes) {
    if (bytes == 0) return;
    void* data = nullptr;
    cudaError_t const status = cudaMalloc(&data, bytes);
    if (status == cudaErrorMemoryAllocation) {
        static_cast<void>(cudaGetLastError());
        GpuMemory const memory = gpu_memory();
        throw BackendError("device/cuda: " + amount(bytes) + " of device memory for " + purpose +
                           " (" + std::to_string(memory.free_bytes) + " of " +
                           amount(memory.total_bytes) +
                           " are free). Use fewer users, smaller batches or a smaller encoding.");
    }
    check(status, amount(bytes) + " of device memory for " + purpose);
    data_ = static_cast<std::byte*>(data);
}

DeviceBuffer::~DeviceBuffer() {
    if (data_ != nullptr) static_cast<void>(cudaFree(data_));
}

void DeviceBuffer::upload(void const* from, std::size_t bytes, std::size_t offset) const {
    check_range(bytes, offset, bytes_);
    if (bytes == 0) return;
    check(cudaMemcpy(data_ + offset, from, bytes, cudaMemcpyHostToDevice),
          "copying " + amount(bytes) + " to the device");
    // From pageable memory the copy may still be on its way, and other streams do not wait for it.
    check(cudaStreamSynchronize(nullptr), "copying " + amount(bytes) + " to the device");
}

void DeviceBuffer::download(void* to, std::size_t bytes, std::size_t offset) const {
    check_range(bytes, offset, bytes_);
    if (bytes == 0) return;
    check(cudaMemcpy(to, data_ + offset, bytes, cudaMemcpyDeviceToHost),
          "copying " + amount(bytes) + " from the device");
}

void DeviceBuffer::fill(int byte) const {
    if (bytes_ == 0) return;
    check(cudaMemset(data_, byte, bytes_), "filling " + amount(bytes_) + " of device memory");
    check(cudaDeviceSynchronize(), "filling " + amount(bytes_) + " of device memory");
}

PinnedBuffer::PinnedBuffer(std::size_t bytes, char const* purpose) : bytes_(bytes) {
    if (bytes == 0) return;
    void* data = nullptr;
    check(cudaHostAlloc(&data, bytes, cudaHostAllocPortable | cudaHostAllocMapped),
          amount(bytes) + " of pinned host memory for " + purpose,
          "Free host memory or raise the limit of locked memory.");
    data_ = static_cast<std::byte*>(data);
}

PinnedBuffer::~PinnedBuffer() {
    if (data_ != nullptr) static_cast<void>(cudaFreeHost(data_));
}

}  // namespace ckvsim::device::cuda
