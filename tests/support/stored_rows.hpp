// What lossy strategies really keep of every item, or of every token of HSTU, read back from
// entries in double precision: the rows that the reference model attends over.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "backend_cases.hpp"
#include "device/cpu/quantised_rows.hpp"
#include "device/cpu/row_codes.hpp"
#include "device/cpu/stack_codes.hpp"
#include "reference_model.hpp"

namespace ckvsim::test {

/// Value of IEEE half bits.
inline double half_value(std::uint16_t bits) {
    int const exponent = (bits >> 10) & 31;
    double const mantissa = (bits & 1023) + (exponent == 0 ? 0 : 1024);
    double const value = std::ldexp(mantissa, std::max(exponent, 1) - 25);
    return (bits & 0x8000) != 0 ? -value : value;
}

inline double half_at(std::byte const* from) {
    std::uint16_t bits = 0;
    std::memcpy(&bits, from, sizeof bits);
    return half_value(bits);
}

/// A stored row by the format's description, value by value.
inline std::vector<double> row_values(kv::ValueType type, std::byte const* from,
                                      std::size_t width) {
    std::vector<double> row(width);
    std::size_t const groups =
        type == kv::ValueType::int8 ? 1 : (width + kv::kInt4Group - 1) / kv::kInt4Group;
    for (std::size_t i = 0; i < width; ++i) {
        if (type == kv::ValueType::fp32) {
            float value = 0.0F;
            std::memcpy(&value, from + 4 * i, sizeof value);
            row[i] = value;
            continue;
        }
        if (type == kv::ValueType::fp16) {
            row[i] = half_at(from + 2 * i);
            continue;
        }
        bool const bytes = type == kv::ValueType::int8;
        std::byte const* steps = from + (bytes ? 0 : 4 * (i / kv::kInt4Group));
        int const code = static_cast<int>(from[4 * groups + (bytes ? i : i / 2)]);
        int const own = bytes ? code : (i % 2 == 0 ? code & 15 : code >> 4);
        row[i] = half_at(steps + 2) + half_at(steps) * own;
    }
    return row;
}

/// Half the distance of the values that a stored row can hold, value by value: how far rounding may
/// have moved each.
inline std::vector<double> half_steps(kv::ValueType type, std::byte const* from,
                                      std::size_t width) {
    std::vector<double> steps = row_values(type, from, width);
    bool const groups = type == kv::ValueType::int4;
    for (std::size_t i = 0; i < width; ++i) {
        if (type == kv::ValueType::fp32) {
            steps[i] = 0.0;
        } else if (type == kv::ValueType::fp16) {
            steps[i] = std::ldexp(std::abs(steps[i]), -11) + std::ldexp(1.0, -25);
        } else {
            steps[i] = half_at(from + (groups ? 4 * (i / kv::kInt4Group) : 0)) / 2.0;
        }
    }
    return steps;
}

/// The row behind a cell of `values` (K or V of a site).
inline std::vector<double> cell_values(BackendCase const& c, device::cpu::SideCodes const& codes,
                                       std::byte const* cell) {
    std::size_t const d = c.shape.attention_dim;
    std::vector<double> row(d);
    if (codes.codebook) {
        auto const& book = *codes.codebook;
        for (std::size_t i = 0; i < d; ++i) {
            auto const word = static_cast<std::size_t>(cell[i / book.part]);
            auto const& matrix = book.scores[i / book.part];
            row[i] = matrix.data[(i % book.part) * matrix.stride + word];
        }
    } else if (codes.basis) {
        auto const& basis = *codes.basis;
        auto const coefficients = row_values(c.strategy.value_type, cell, basis.rank);
        for (std::size_t i = 0; i < d; ++i) {
            row[i] = basis.mean[i];
            for (std::size_t r = 0; r < basis.rank; ++r)
                row[i] += double{basis.axes.data[i * basis.axes.stride + r]} * coefficients[r];
        }
    } else {
        row = row_values(c.strategy.value_type, cell, d);
    }
    return row;
}

/// The row of a pool index and user values: SiLU of the pool's row as the value type stores it,
/// then the user part of the entry.
inline KeptRow pooled_row(BackendCase const& c, model::SideWeights const& side, std::uint32_t index,
                          std::byte const* user) {
    std::size_t const shared = c.shape.attention_dim - c.variant.d_u;
    std::vector<float> pool(shared);
    for (std::size_t i = 0; i < shared; ++i) {
        double const x = side.pool[index * shared + i];
        pool[i] = static_cast<float>(x / (1.0 + std::exp(-x)));
    }
    auto const width = static_cast<std::uint32_t>(shared);
    std::vector<std::byte> bytes(kv::row_bytes(c.strategy.value_type, width));
    device::cpu::store_row(c.strategy.value_type, pool.data(), shared, bytes.data());
    auto const joined = [&](auto const& of) {
        std::vector<double> row = of(c.strategy.value_type, bytes.data(), shared);
        auto const own = of(kv::user_type(c.strategy.value_type), user, c.variant.d_u);
        row.insert(row.end(), own.begin(), own.end());
        return row;
    };
    return {joined(row_values), joined(half_steps)};
}

/// K (side 0) or V of one layer and token in an entry of HSTU, `cell` by the part it is. Rows of
/// codes (low_rank, vq) have no half steps: see stack_loss_of().
template <class Cell>
KeptRow stack_row(BackendCase const& c, model::SiteWeights const& site, std::size_t side,
                  device::cpu::SideCodes const& codes, Cell const& cell) {
    using kv::LayerPart;
    if (!c.variant.pools(side)) {
        std::byte const* row = cell(side == 0 ? LayerPart::k : LayerPart::v);
        std::size_t const d = c.shape.attention_dim;
        if (codes.basis || codes.codebook) return {cell_values(c, codes, row), {}};
        return {row_values(c.strategy.value_type, row, d),
                half_steps(c.strategy.value_type, row, d)};
    }
    std::uint32_t index = 0;
    std::memcpy(&index, cell(side == 0 ? LayerPart::k_index : LayerPart::v_index),
                c.strategy.index_bytes);
    return pooled_row(c, side == 0 ? site.k : site.v, index,
                      cell(side == 0 ? LayerPart::k_user : LayerPart::v_user));
}

/// Rows of every layer and side of the tokens of a history as an entry of HSTU keeps them. `codes`:
/// of low_rank and vq, what the backend was fitted with.
inline StackRows stored_stack(decode::Backend const& backend, std::vector<ItemId> const& history,
                              device::cpu::StackCodes const& codes = {}) {
    auto const capacity = static_cast<std::uint32_t>(history.size());
    kv::EntryLayout const& layout = backend.layout();
    model::SimWeights const& weights = backend.weights();
    BackendCase const c{"", weights.shape, weights.variant, backend.strategy()};
    std::vector<std::byte> entry(layout.entry_bytes(capacity));
    auto const scratch = backend.make_scratch();
    backend.encode(history, capacity, decode::EncodeMode::compute, entry.data(), *scratch);
    StackRows result(weights.shape.layers);
    for (std::uint32_t layer = 0; layer < result.size(); ++layer) {
        for (std::size_t token = 0; token < history.size(); ++token) {
            auto const cell = [&](kv::LayerPart part) {
                auto const section = kv::layer_section(layer, part);
                return entry.data() + layout.offset(section, capacity) +
                       token * layout.bytes_per_token(section);
            };
            for (std::size_t side = 0; side < 2; ++side) {
                auto const fitted = codes.empty() ? device::cpu::SideCodes{} : codes[layer][side];
                result[layer][side].push_back(
                    stack_row(c, weights.stack[layer].site, side, fitted, cell));
            }
        }
    }
    return result;
}

/// How much farther a kept row lies from the projection of its row on the axes than the rounding of
/// coefficients explains, at most over the values.
inline double projection_loss(device::cpu::RowBasis const& basis, kv::ValueType type,
                              std::vector<double> const& row, std::vector<double> const& kept) {
    std::vector<double> best(basis.mean.begin(), basis.mean.end());
    std::vector<double> rounding(basis.width, 0.0);
    for (std::size_t r = 0; r < basis.rank; ++r) {
        auto const axis = [&](std::size_t i) {
            return double{basis.axes.data[i * basis.axes.stride + r]};
        };
        double coefficient = 0.0;
        for (std::size_t i = 0; i < basis.width; ++i)
            coefficient += axis(i) * (row[i] - basis.mean[i]);
        double const half_step =
            type == kv::ValueType::fp32
                ? 0.0
                : std::ldexp(std::abs(coefficient), -11) + std::ldexp(1.0, -25);
        for (std::size_t i = 0; i < basis.width; ++i) {
            best[i] += axis(i) * coefficient;
            rounding[i] += std::abs(axis(i)) * half_step;
        }
    }
    double most = 0.0;
    for (std::size_t i = 0; i < basis.width; ++i)
        most = std::max(most, std::abs(kept[i] - best[i]) - rounding[i]);
    return most;
}

/// How much farther (squared) the kept codeword of a subspace lies from the row's part than the
/// nearest, at most over the subspaces.
inline double codeword_loss(device::cpu::Codebook const& book, std::vector<double> const& row,
                            std::vector<double> const& kept) {
    double most = 0.0;
    for (std::size_t s = 0; s < book.subspaces(); ++s) {
        auto const distance = [&](auto const& value_at) {
            double sum = 0.0;
            for (std::size_t i = 0; i < book.part; ++i)
                sum += std::pow(value_at(i) - row[s * book.part + i], 2);
            return sum;
        };
        double nearest = 1e300;
        auto const& matrix = book.scores[s];
        for (std::size_t word = 0; word < book.words; ++word) {
            nearest = std::min(nearest, distance([&](std::size_t i) {
                                   return double{matrix.data[i * matrix.stride + word]};
                               }));
        }
        most = std::max(most,
                        distance([&](std::size_t i) { return kept[s * book.part + i]; }) - nearest);
    }
    return most;
}

/// ReferenceOptions::stack_loss of a case that keeps codes; keeps a reference to them.
inline auto stack_loss_of(BackendCase const& c, device::cpu::StackCodes const& codes) {
    return [&codes, type = c.strategy.value_type](std::size_t layer, std::size_t side,
                                                  std::vector<double> const& row,
                                                  std::vector<double> const& kept) {
        auto const& fitted = codes[layer][side];
        return fitted.basis ? projection_loss(*fitted.basis, type, row, kept)
                            : codeword_loss(*fitted.codebook, row, kept);
    };
}

/// Rows of a case as one-token entries hold them; item tables hold the same cells.
inline ReferenceRows stored_rows(BackendCase c, std::shared_ptr<model::SimWeights const> weights,
                                 workload::Catalogue const& catalogue) {
    if (c.strategy.kind == kv::StrategyKind::item_table) c.strategy.kind = kv::StrategyKind::full;
    c.strategy.keying = kv::Keying::user_token;
    c.strategy.search_keys = kv::SearchKeys::stored;
    device::cpu::BackendOptions options;
    options.memo_tables = false;
    auto const backend = device::cpu::make_backend(weights, c.strategy, catalogue, options);
    device::cpu::RowCodes const codes(weights, c.strategy);
    auto const scratch = backend->make_scratch();
    std::vector<std::byte> entry(backend->layout().entry_bytes(1));
    ReferenceRows rows;
    std::map<model::SideWeights const*, std::vector<std::uint32_t>> indices;
    for (auto const* site : {&weights->short_site, &weights->long_site}) {
        for (auto const* side : {&site->k, &site->v})
            indices[side] = device::cpu::arg_max_indices(*weights, *side);
    }
    for (ItemId item = 0; item <= catalogue.items; ++item) {
        backend->encode({&item, 1}, 1, decode::EncodeMode::compute, entry.data(), *scratch);
        auto const cell = [&](kv::Section section) {
            return entry.data() + backend->layout().offset(section, 1);
        };
        auto const add = [&](ReferenceRows::Table& table, model::SideWeights const& side,
                             kv::Section values, kv::Section user) {
            table.push_back(backend->layout().has(values)
                                ? cell_values(c, codes.side(values), cell(values))
                                : pooled_row(c, side, indices.at(&side)[item], cell(user)).values);
        };
        using kv::Section;
        add(rows.short_k, weights->short_site.k, Section::short_k, Section::short_k_user);
        add(rows.short_v, weights->short_site.v, Section::short_v, Section::short_v_user);
        if (!c.shape.has_long_attention()) continue;  // SDIM: sums, see stored_sum()
        add(rows.long_k, weights->long_site.k, Section::long_k, Section::long_k_user);
        add(rows.long_v, weights->long_site.v, Section::long_v, Section::long_v_user);
        if (c.shape.search_width() == 0) continue;  // TWIN and ETA: no keys with values
        rows.search.push_back(row_values(kv::search_type(c.strategy.value_type),
                                         cell(kv::Section::search), c.shape.search_dim));
    }
    return rows;
}

/// How SDIM's sums come back from entries of a case; empty where they are kept as they are made, or
/// are not kept.
inline std::function<std::vector<double>(std::vector<float> const&)> stored_sum(
    BackendCase const& c) {
    auto const type = c.strategy.value_type;
    if (!kv::keeps_sums(c.shape, c.strategy) || type == kv::ValueType::fp32) return {};
    return [type](std::vector<float> const& sum) {
        std::vector<std::byte> row(kv::row_bytes(type, static_cast<std::uint32_t>(sum.size())));
        device::cpu::store_row(type, sum.data(), sum.size(), row.data());
        return row_values(type, row.data(), sum.size());
    };
}

}  // namespace ckvsim::test
