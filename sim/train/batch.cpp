#include "train/batch.hpp"

#include <algorithm>
#include <limits>
#include <numeric>

#include "core/error.hpp"
#include "core/rng.hpp"
#include "train/streams.hpp"

namespace ckvsim::train {

void BatchBuilder::Numbering::clear() {
    if (round_ == std::numeric_limits<std::uint32_t>::max()) {
        std::fill(stamp_.begin(), stamp_.end(), 0U);
        round_ = 0;
    }
    ++round_;
}

std::uint32_t BatchBuilder::Numbering::number(std::uint32_t id, std::uint32_t next, bool& is_new) {
    is_new = stamp_[id] != round_;
    if (is_new) {
        stamp_[id] = round_;
        number_[id] = next;
    }
    return number_[id];
}

BatchBuilder::BatchBuilder(Samples const& samples, Mode mode)
    : samples_(samples),
      mode_(mode),
      items_(std::size_t{samples.items} + 1),
      contexts_(samples.context_vocabulary) {
    for (auto const vocabulary : samples.feature_vocabularies)
        feature_values_.emplace_back(vocabulary);
}

std::span<std::uint32_t const> BatchBuilder::history(Split const& split, std::uint32_t row) const {
    std::size_t const end = split.history_end[row];
    std::size_t const tokens = std::min<std::size_t>(end, samples_.shape.max_tokens);
    auto const* const timeline =
        samples_.timeline_items.data() + samples_.timeline_offsets[split.user[row]];
    return {timeline + (end - tokens), tokens};
}

std::uint32_t BatchBuilder::row_of(std::uint32_t item, Batch& out) {
    auto const next = static_cast<std::uint32_t>(out.items.size());
    bool is_new = true;
    std::uint32_t const row =
        mode_ == Mode::unique_items ? items_.number(item, next, is_new) : next;
    if (is_new) out.items.push_back(item);
    return row;
}

void BatchBuilder::add_tokens(Split const& split, std::span<std::uint32_t const> rows, Batch& out) {
    out.short_tokens.clear();
    out.long_tokens.clear();
    std::size_t const window = samples_.shape.short_tokens;
    for (auto const sample : rows) {
        auto const tokens = history(split, sample);
        for (auto const item : tokens.last(std::min(window, tokens.size())))
            out.short_tokens.rows.push_back(row_of(item, out));
        out.short_tokens.close_list();
    }
    out.short_items = out.items.size();
    for (std::size_t b = 0; b < rows.size(); ++b) {
        auto const tokens = history(split, rows[b]);
        auto const recent = out.short_tokens.list(b);
        for (auto const item : tokens.first(tokens.size() - recent.size()))
            out.long_tokens.rows.push_back(row_of(item, out));
        out.long_tokens.rows.insert(out.long_tokens.rows.end(), recent.begin(), recent.end());
        out.long_tokens.close_list();
    }
    out.long_items = out.items.size();
    out.short_counts.assign(out.short_items, 0.0F);
    for (auto const row : out.short_tokens.rows) out.short_counts[row] += 1.0F;
    out.long_counts.assign(out.long_items, 0.0F);
    for (auto const row : out.long_tokens.rows) out.long_counts[row] += 1.0F;
}

void BatchBuilder::add_tables(Split const& split, std::span<std::uint32_t const> rows, Batch& out) {
    auto const collect = [](Numbering& numbering, TableRows& table, std::uint32_t id) {
        bool is_new = false;
        auto const next = static_cast<std::uint32_t>(table.ids.size());
        table.index.push_back(numbering.number(id, next, is_new));
        if (is_new) table.ids.push_back(id);
    };
    out.features.resize(feature_values_.size());
    for (std::size_t f = 0; f < feature_values_.size(); ++f) {
        feature_values_[f].clear();
        out.features[f].ids.clear();
        out.features[f].index.clear();
        for (auto const item : out.items)
            collect(feature_values_[f], out.features[f], samples_.item_features[f][item]);
    }
    contexts_.clear();
    out.context.ids.clear();
    out.context.index.clear();
    for (auto const sample : rows) collect(contexts_, out.context, split.context[sample]);
}

void BatchBuilder::build_part(Split const& split, std::span<std::uint32_t const> whole,
                              Slice const& part, Batch& out) {
    validate(!whole.empty(), "BatchBuilder: a batch needs at least one sample");
    auto const rows = whole.subspan(part.begin, part.size);
    out.whole = {part.begin, whole.size()};
    for (auto const sample : whole) {
        auto const tokens = history(split, sample).size();
        out.whole.short_tokens += std::min<std::size_t>(tokens, samples_.shape.short_tokens);
        out.whole.long_tokens += tokens;
    }
    items_.clear();
    out.items.clear();
    add_tokens(split, rows, out);
    out.candidates.clear();
    out.labels.clear();
    out.teacher.clear();
    for (auto const sample : rows) {
        out.candidates.push_back(row_of(split.item[sample], out));
        out.labels.push_back(split.label[sample]);
    }
    add_tables(split, rows, out);
}

std::vector<std::uint32_t> epoch_order(std::size_t samples, std::uint64_t seed,
                                       std::uint32_t epoch) {
    std::vector<std::uint32_t> order(samples);
    std::iota(order.begin(), order.end(), 0U);
    CounterRng rng(seed, Purpose::training, epoch, streams::kOrder);
    for (std::size_t i = samples; i > 1; --i)
        std::swap(order[i - 1], order[rng.below(static_cast<std::uint32_t>(i))]);
    return order;
}

}  // namespace ckvsim::train
