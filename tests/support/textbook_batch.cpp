#include "textbook_batch.hpp"

#include <algorithm>

namespace ckvsim::test {

Runs runs_of(std::vector<std::int64_t> const& lengths, std::int64_t most) {
    Runs runs;
    for (auto const whole : lengths) {
        auto const length = std::min(whole, most);
        if (runs.empty() || runs.back().length != length) runs.push_back({0, length});
        ++runs.back().lists;
    }
    return runs;
}

void Touched::clear() {
    for (auto const id : ids_) number_[static_cast<std::size_t>(id)] = -1;
    ids_.clear();
}

std::int64_t Touched::number(std::uint32_t id) {
    auto& number = number_[id];
    if (number < 0) {
        number = static_cast<std::int64_t>(ids_.size());
        ids_.push_back(id);
    }
    return number;
}

TextbookBatches::TextbookBatches(train::Samples const& samples)
    : samples_(samples), context_(samples.context_vocabulary) {
    for (auto const vocabulary : samples.feature_vocabularies) features_.emplace_back(vocabulary);
}

std::span<std::uint32_t const> TextbookBatches::history(train::Split const& split,
                                                        std::uint32_t sample) const {
    std::size_t const end = split.history_end[sample];
    std::size_t const tokens = std::min<std::size_t>(end, samples_.shape.max_tokens);
    auto const begin = samples_.timeline_offsets[split.user[sample]] + end - tokens;
    return {samples_.timeline_items.data() + begin, tokens};
}

void TextbookBatches::add_row(std::uint32_t item, MicroBatch& out) {
    for (std::size_t f = 0; f < features_.size(); ++f)
        out.features[f].push_back(features_[f].number(samples_.item_features[f][item]));
}

MicroBatch TextbookBatches::assemble(train::Split const& split,
                                     std::span<std::uint32_t const> rows) {
    std::vector<std::uint32_t> sorted(rows.begin(), rows.end());
    std::stable_sort(sorted.begin(), sorted.end(), [&](auto a, auto b) {
        return history(split, a).size() < history(split, b).size();
    });
    MicroBatch out;
    out.features.resize(features_.size());
    std::size_t const window = samples_.shape.short_tokens;
    for (auto const sample : sorted) {
        auto const tokens = history(split, sample);
        for (auto const item : tokens.last(std::min(window, tokens.size()))) add_row(item, out);
        out.lengths.push_back(static_cast<std::int64_t>(tokens.size()));
    }
    out.short_tokens = static_cast<std::int64_t>(out.features[0].size());
    std::int64_t recent = 0;
    for (auto const sample : sorted) {
        auto const tokens = history(split, sample);
        auto const kept = std::min(window, tokens.size());
        for (auto const item : tokens.first(tokens.size() - kept)) {
            out.order.push_back(static_cast<std::int64_t>(out.features[0].size()));
            add_row(item, out);
        }
        for (std::size_t i = 0; i < kept; ++i) out.order.push_back(recent++);
    }
    for (auto const sample : sorted) {
        add_row(split.item[sample], out);
        out.context.push_back(context_.number(split.context[sample]));
        out.labels.push_back(split.label[sample]);
    }
    return out;
}

void TextbookBatches::build(train::Split const& split, std::span<std::uint32_t const> rows,
                            std::size_t micro_batch) {
    for (auto& one : features_) one.clear();
    context_.clear();
    micro_batches_.clear();
    tokens_ = short_tokens_ = 0;
    for (std::size_t at = 0; at < rows.size(); at += micro_batch) {
        micro_batches_.push_back(
            assemble(split, rows.subspan(at, std::min(micro_batch, rows.size() - at))));
        tokens_ += static_cast<double>(micro_batches_.back().tokens());
        short_tokens_ += static_cast<double>(micro_batches_.back().short_tokens);
    }
}

}  // namespace ckvsim::test
