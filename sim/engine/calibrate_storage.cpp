#include "engine/calibrate_storage.hpp"

#include <algorithm>
#include <cstring>
#include <functional>
#include <vector>

#include "core/block_file.hpp"
#include "core/error.hpp"
#include "core/hash.hpp"
#include "core/rng.hpp"
#include "engine/file_residents.hpp"
#include "engine/median.hpp"
#include "engine/tier_store.hpp"
#include "engine/wall_clock.hpp"

namespace ckvsim::engine {

namespace {

constexpr std::uint64_t kFileBytes = std::uint64_t{256} << 20;
constexpr std::uint64_t kPieceBytes = std::uint64_t{1} << 20;
constexpr std::size_t kPieces = kFileBytes / kPieceBytes;
constexpr int kReaders = 8;
constexpr int kPasses = 3;
constexpr int kSingleReads = 501;

/// Median bytes per second of passes over the whole file.
double rate(std::function<void()> const& pass) {
    WallClock const clock;
    std::vector<double> rates;
    for (int i = 0; i < kPasses; ++i) {
        Nanoseconds const start = clock.now_ns();
        pass();
        rates.push_back(1e9 * static_cast<double>(kFileBytes) /
                        static_cast<double>(clock.now_ns() - start));
    }
    return median(rates);
}

}  // namespace

StorageRates measure_storage(std::string const& folder) {
    BlockFile const file(folder, kFileBytes);
    TouchedBytes const memory(kFileBytes, "the storage measurement");
    auto const piece = [&](std::size_t i) { return memory.data() + i * kPieceBytes; };
    // Not zeros: some devices store those without storing anything.
    CounterRng rng(1, Purpose::calibration, 0);
    for (std::size_t i = 0; i < kFileBytes; i += sizeof(std::uint64_t)) {
        std::uint64_t const word = rng.next_u64();
        std::memcpy(memory.data() + i, &word, sizeof word);
    }
    auto const hash = hash_bytes(memory.data(), kFileBytes);
    StorageRates rates;
    rates.direct = file.direct();
    rates.write_bytes_per_s = rate([&] {
        for (std::size_t i = 0; i < kPieces; ++i)
            file.write(i * kPieceBytes, piece(i), kPieceBytes);
    });
    ReaderPool pool(kReaders);
    rates.read_bytes_per_s = rate([&] {
        pool.for_each(kPieces,
                      [&](std::size_t i) { file.read(i * kPieceBytes, piece(i), kPieceBytes); });
    });
    if (hash_bytes(memory.data(), kFileBytes) != hash)
        throw BackendError(folder + ": the scratch file gave back other bytes than were written");
    WallClock const clock;
    std::vector<double> singles;
    for (int i = 0; i < kSingleReads; ++i) {
        auto const block = rng.next_u64() % (kFileBytes / BlockFile::kBlock);
        Nanoseconds const start = clock.now_ns();
        file.read(block * BlockFile::kBlock, memory.data(), BlockFile::kBlock);
        singles.push_back(static_cast<double>(clock.now_ns() - start));
    }
    rates.read_latency_ns = median(singles);
    return rates;
}

}  // namespace ckvsim::engine
