// The long branch's choice of tokens for one candidate: products and their top k (SIM) against
// Hamming distances of signatures and the nearest k (ETA), and the latter as a plain loop.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <bit>
#include <vector>

#include "core/rng.hpp"
#include "device/cpu/attention.hpp"
#include "device/cpu/hamming.hpp"

namespace {

using namespace ckvsim;
using namespace ckvsim::device::cpu;

constexpr std::uint32_t kTopK = 50;
constexpr std::size_t kSearchDim = 16;

/// What select_top() works in.
struct Selection {
    explicit Selection(std::size_t tokens)
        : scores(padded(tokens)),
          keys(selection_scratch(tokens)),
          places(selection_scratch(tokens)),
          positions(kTopK) {}
    AlignedVector<float> scores;
    AlignedVector<std::int32_t> keys;
    AlignedVector<std::uint32_t> places;
    std::vector<std::uint32_t> positions;
};

void products(benchmark::State& state) {
    auto const tokens = static_cast<std::size_t>(state.range(0));
    CounterRng rng(1, Purpose::test, 0);
    AlignedVector<float> keys(tokens * kSearchDim);
    for (float& key : keys) key = static_cast<float>(rng.normal());
    Selection chosen(tokens);
    SearchCall call;
    call.q = keys.data();
    call.q_step = call.width = call.key_step = kSearchDim;
    call.count = 1;
    call.keys = keys.data();
    call.tokens = tokens;
    call.scores = chosen.scores.data();
    call.scores_step = padded(tokens);
    for (auto _ : state) {
        search_scores(call);
        benchmark::DoNotOptimize(select_top(chosen.scores.data(), tokens, kTopK, chosen.keys.data(),
                                            chosen.places.data(), chosen.positions.data()));
    }
    state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(products)->ArgName("tokens")->Arg(200)->Arg(1000);

/// Signatures of `bits` bits back to back.
template <class Word>
std::vector<Word> signatures(std::size_t tokens) {
    CounterRng rng(1, Purpose::test, 1);
    std::vector<Word> words(tokens);
    for (Word& word : words) word = static_cast<Word>(rng.next_u64());
    return words;
}

template <class Word>
void distances(benchmark::State& state) {
    auto const tokens = static_cast<std::size_t>(state.range(0));
    auto const words = signatures<Word>(tokens);
    std::vector<std::uint8_t> distances(padded_distances(tokens));
    std::vector<std::uint32_t> positions(kTopK);
    for (auto _ : state) {
        hamming_distances(words[0], reinterpret_cast<std::byte const*>(words.data()), sizeof(Word),
                          tokens, distances.data());
        benchmark::DoNotOptimize(select_nearest(distances.data(), tokens, kTopK, positions.data()));
    }
    state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(distances<std::uint16_t>)->ArgName("tokens")->Arg(200)->Arg(1000);
BENCHMARK(distances<std::uint32_t>)->ArgName("tokens")->Arg(200)->Arg(1000);
BENCHMARK(distances<std::uint64_t>)->ArgName("tokens")->Arg(200)->Arg(1000);

/// One token after the other, and the choice as of any other scores.
void plain_distances(benchmark::State& state) {
    auto const tokens = static_cast<std::size_t>(state.range(0));
    auto const words = signatures<std::uint32_t>(tokens);
    Selection chosen(tokens);
    for (auto _ : state) {
        for (std::size_t t = 0; t < tokens; ++t)
            chosen.scores[t] = -static_cast<float>(std::popcount(words[0] ^ words[t]));
        benchmark::DoNotOptimize(select_top(chosen.scores.data(), tokens, kTopK, chosen.keys.data(),
                                            chosen.places.data(), chosen.positions.data()));
    }
    state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(plain_distances)->ArgName("tokens")->Arg(200)->Arg(1000);

}  // namespace

BENCHMARK_MAIN();
