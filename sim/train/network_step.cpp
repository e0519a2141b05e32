// A training step: objective and gradients of this rank's part of a batch, those of the whole
// batch, Adam.
#include <ATen/core/Reduction.h>

#include <array>
#include <cmath>
#include <span>

#include "core/error.hpp"
#include "train/network_parts.hpp"

namespace ckvsim::train {

namespace {

/// Sum over these samples of the cross-entropy with targets in 0 .. 1, over the number of samples
/// of the whole batch.
at::Tensor cross_entropy(at::Tensor const& logits, at::Tensor const& targets, std::size_t whole) {
    if (static_cast<std::size_t>(logits.numel()) == whole)
        return at::binary_cross_entropy_with_logits(logits, targets);
    return at::binary_cross_entropy_with_logits(logits, targets, {}, {}, at::Reduction::Sum) /
           static_cast<double>(whole);
}

}  // namespace

at::Tensor SimNetwork::Parts::taught(Batch const& batch, at::Tensor const& logits,
                                     at::Tensor const& click, StepLosses& losses) const {
    validate(batch.teacher.size() == batch.size(),
             "train: a batch without its teacher's logits, or with those of another");
    double const temperature = schedule.distil_temperature;
    auto const targets = at::sigmoid(here(batch.teacher) / temperature);
    auto const distil = temperature * temperature *
                        cross_entropy(logits / temperature, targets, batch.whole.samples);
    losses.distil = distil.item<double>();
    // Not 0 times a gradient: with a weight of 0 the weights are those without a teacher, bit for
    // bit.
    double const weight = schedule.distil_weight;
    return weight == 0.0 ? click : (1.0 - weight) * click + weight * distil;
}

at::Tensor SimNetwork::Parts::objective(Batch const& batch, Pass& pass, StepLosses& losses,
                                        bool& finite) const {
    auto const labels = here(batch.labels);
    run(batch, pass);
    auto total = cross_entropy(pass.logits, labels, batch.whole.samples);
    losses.click = total.item<double>();
    if (variant.has_teacher()) total = taught(batch, pass.logits, total, losses);
    if (pass.search_logits.defined()) {
        auto const search_loss = cross_entropy(pass.search_logits, labels, batch.whole.samples);
        losses.search = search_loss.item<double>();
        total = total + search_loss;
    }
    losses.peak = pass.peak.item<double>();
    losses.balance = pass.balance.item<double>();
    if (variant.kind == Kind::collective) {
        total = total + schedule.peak_weight * pass.peak + schedule.balance_weight * pass.balance;
    }
    // The balance is the whole batch's already.
    std::array<double, 5> sums = {losses.click, losses.search, losses.peak, total.item<double>(),
                                  losses.distil};
    team->sum(sums);
    losses.click = sums[0];
    losses.search = sums[1];
    losses.peak = sums[2];
    losses.distil = sums[4];
    finite = std::isfinite(sums[3]);
    return total;
}

/// Of the dense parameters, over the ranks. A parameter has a gradient on all ranks or on none:
/// what the whole batch holds decides it.
void SimNetwork::Parts::sum_gradients() {
    if (team->size() == 1) return;
    std::vector<float> all;
    for (auto const& [name, parameter] : parameters) {
        auto const& gradient = parameter.value.grad();
        if (!gradient.defined()) continue;
        auto const values = values_of(gradient);
        all.insert(all.end(), values.begin(), values.end());
    }
    team->sum(all);
    std::span<float const> left = all;
    for (auto& [name, parameter] : parameters) {
        auto& gradient = parameter.value.mutable_grad();
        if (!gradient.defined()) continue;
        gradient = gradient.contiguous();
        auto const size = static_cast<std::size_t>(gradient.numel());
        assign(gradient, left.first(size));
        left = left.subspan(size);
    }
}

SimNetwork::Parts::RowGradients SimNetwork::Parts::row_gradients(at::Tensor const& rows,
                                                                 TableRows const& touched) const {
    auto const gradient = rows.grad();
    RowGradients out{touched.ids, gradient.defined() ? gradient : at::zeros_like(rows.detach())};
    if (team->size() == 1) return out;
    auto values = values_of(out.values);
    team->sum_rows(out.ids, values, static_cast<std::size_t>(rows.size(1)));
    out.values =
        here(values).clone().view({static_cast<std::int64_t>(out.ids.size()), rows.size(1)});
    return out;
}

StepLosses SimNetwork::train_step(Batch const& batch) {
    StepLosses losses;
    Parts::Pass pass;
    pass.training = true;
    bool finite = true;
    auto const total = parts_->objective(batch, pass, losses, finite);
    if (!finite) return losses;
    total.backward();
    parts_->sum_gradients();
    ++parts_->steps;
    AdamStep step{parts_->schedule.learning_rate, parts_->steps, 0.0};
    for (auto& [name, parameter] : parts_->parameters) {
        auto& gradient = parameter.value.mutable_grad();
        if (!gradient.defined()) continue;  // untouched in this batch (no history at all)
        parts_->operations->update(step, gradient, parameter);
        gradient = at::Tensor();
    }
    step.l2 = parts_->schedule.embedding_l2;
    auto const update_table = [&](Table& table, at::Tensor const& rows, TableRows const& touched) {
        auto const gradients = parts_->row_gradients(rows, touched);
        parts_->operations->update_rows(step, gradients.ids, gradients.values, table);
    };
    for (std::size_t f = 0; f < parts_->feature_tables.size(); ++f)
        update_table(parts_->feature_tables[f], pass.feature_rows[f], batch.features[f]);
    update_table(parts_->context_table, pass.context_rows, batch.context);
    return losses;
}

StepLosses SimNetwork::gradients(Batch const& batch,
                                 std::map<std::string, std::vector<float>>& out) const {
    StepLosses losses;
    Parts::Pass pass;
    pass.training = true;
    bool finite = true;
    parts_->objective(batch, pass, losses, finite).backward();
    parts_->sum_gradients();
    out.clear();
    for (auto& [name, parameter] : parts_->parameters) {
        auto& gradient = parameter.value.mutable_grad();
        if (gradient.defined()) out[name] = values_of(gradient);
        gradient = at::Tensor();
    }
    auto const scatter = [&](Table const& table, at::Tensor const& rows, TableRows const& touched) {
        auto dense = at::zeros_like(table.value);
        auto const gradients = parts_->row_gradients(rows, touched);
        dense.index_add_(0, parts_->here(gradients.ids), gradients.values);
        if (table.frozen_row >= 0) dense.select(0, table.frozen_row).zero_();
        out[table.name] = values_of(dense);
    };
    for (std::size_t f = 0; f < parts_->feature_tables.size(); ++f)
        scatter(parts_->feature_tables[f], pass.feature_rows[f], batch.features[f]);
    scatter(parts_->context_table, pass.context_rows, batch.context);
    return losses;
}

}  // namespace ckvsim::train
