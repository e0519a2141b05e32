#include "textbook_memory.hpp"

#include <algorithm>

namespace ckvsim::test {

std::vector<MicroBatchPeak> micro_batch_peaks(
    std::vector<std::uint32_t> const& asked, std::uint32_t batch,
    std::function<MicroBatchPeak(std::uint32_t)> const& peak_of) {
    std::vector<MicroBatchPeak> out;
    auto const find = [&](std::uint32_t size) {
        return std::find_if(out.begin(), out.end(),
                            [&](auto const& peak) { return peak.micro_batch == size; });
    };
    auto const peak_at = [&](std::uint32_t size) {
        auto const known = find(size);
        if (known != out.end()) return *known;
        auto const peak = peak_of(size);
        if (find(peak.micro_batch) == out.end()) out.push_back(peak);
        return peak;
    };
    for (auto const size : asked) {
        if (size != kLargest) {
            peak_at(std::min(size, batch));
            continue;
        }
        auto peak = peak_at(kLargest);
        while (!peak.fits && peak.micro_batch > 1) peak = peak_at((peak.micro_batch + 1) / 2);
    }
    return out;
}

}  // namespace ckvsim::test
