#include "engine/weight_analysis.hpp"

#define EIGEN_DONT_PARALLELIZE  // the same sums for any number of threads
#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <map>
#include <memory>
#include <numeric>

#include "core/error.hpp"
#include "core/rng.hpp"

namespace ckvsim::engine {

namespace {

using Matrix = Eigen::MatrixXd;
using Vector = Eigen::VectorXd;

constexpr Eigen::Index index(std::size_t i) { return static_cast<Eigen::Index>(i); }

void require_full(decode::Backend const& backend) {
    validate(backend.strategy().kind == kv::StrategyKind::full &&
                 backend.strategy().value_type == kv::ValueType::fp32,
             "engine::weight_analysis: rows need full fp32 entries");
}

void require_codes(decode::Backend const& backend) {
    validate(backend.strategy().kind == kv::StrategyKind::collective,
             "engine::weight_analysis: indices need CollectiveKV entries");
}

/// Entries of one history after the other, of a model that keeps all tokens in one section.
class HistoryCells {
  public:
    HistoryCells(decode::Backend const& backend, kv::Section section)
        : backend_(backend), section_(section), scratch_(backend.make_scratch()) {
        validate(backend.layout().has(section) && backend.weights().shape.stack_layers() > 0,
                 "engine::weight_analysis: entries lack this section of a layer");
    }
    /// The section's cells of the tokens, back to back; valid until the next call.
    std::byte const* read(std::span<ItemId const> history) {
        auto const& layout = backend_.layout();
        auto const room = static_cast<std::uint32_t>(history.size());
        // No vector of bytes is aligned enough by promise, every one from new is.
        entry_.resize(layout.entry_bytes(room) / sizeof(std::max_align_t) + 1);
        auto* bytes = reinterpret_cast<std::byte*>(entry_.data());
        backend_.encode(history, room, decode::EncodeMode::compute, bytes, *scratch_);
        return bytes + layout.offset(section_, room);
    }

  private:
    decode::Backend const& backend_;
    kv::Section section_;
    std::unique_ptr<decode::Scratch> scratch_;
    std::vector<std::max_align_t> entry_;
};

/// Calls `visit(item, cell)` with the bytes that the section keeps for every item.
template <class Visit>
void visit_cells(decode::Backend const& backend, kv::Section section, Visit&& visit) {
    auto const& layout = backend.layout();
    auto const& shape = backend.weights().shape;
    validate(layout.has(section), "engine::weight_analysis: entries lack this section");
    // Short sections keep the newest short_tokens alone.
    std::uint32_t const room = std::min(shape.short_tokens, shape.max_tokens);
    std::vector<std::byte> entry(layout.entry_bytes(room));
    auto const scratch = backend.make_scratch();
    std::vector<ItemId> block;
    std::uint32_t const items = backend.weights().items;
    std::uint32_t const bytes = layout.bytes_per_token(section);
    for (ItemId first = 1; first <= items; first += room) {
        block.resize(std::min(room, items - first + 1));
        std::iota(block.begin(), block.end(), first);
        backend.encode(block, room, decode::EncodeMode::compute, entry.data(), *scratch);
        std::byte const* const cells = entry.data() + layout.offset(section, room);
        for (std::size_t i = 0; i < block.size(); ++i) visit(block[i], cells + i * bytes);
    }
}

double cosine_of_pairs(Matrix const& vectors) {
    Vector sum = Vector::Zero(vectors.rows());
    double count = 0.0;
    for (Eigen::Index u = 0; u < vectors.cols(); ++u) {
        double const norm = vectors.col(u).norm();
        if (norm <= 0.0) continue;
        sum += vectors.col(u) / norm;
        count += 1.0;
    }
    if (count < 2.0) return std::nan("");
    return (sum.squaredNorm() - count) / (count * (count - 1.0));
}

/// Sums over users for the split of variance; a part's values are x - (mean of all tokens).
struct PartVariance {
    double tokens = 0.0;
    double squares = 0.0;       ///< sum over tokens |x|^2
    double mean_squares = 0.0;  ///< sum over users n |mean|^2
    Vector sum;                 ///< over tokens

    void add(Vector const& user_mean, double n, double user_squares) {
        if (sum.size() == 0) sum = Vector::Zero(user_mean.size());
        tokens += n;
        squares += user_squares;
        mean_squares += n * user_mean.squaredNorm();
        sum += n * user_mean;
    }
    [[nodiscard]] double between() const {
        if (tokens <= 0.0) return std::nan("");
        double const overall = sum.squaredNorm() / tokens;
        double const total = squares - overall;
        return total > 0.0 ? (mean_squares - overall) / total : std::nan("");
    }
};

/// Splits rows into the leading directions and the rest.
class Splitter {
  public:
    Splitter(PrincipalDirections const& directions, std::size_t rank) : width_(directions.width) {
        Eigen::Map<Matrix const> const all(directions.directions.data(), index(width_),
                                           index(width_));
        basis_ = all.leftCols(index(rank));
    }
    /// Mean of some rows [., width], and the sums of squares of both parts.
    void add_user(std::span<float const> rows, Matrix& leading, Matrix& rest, Eigen::Index user,
                  PartVariance* leading_variance, PartVariance* rest_variance) const {
        Vector mean = Vector::Zero(index(width_));
        double leading_squares = 0.0;
        double squares = 0.0;
        for (std::size_t at = 0; at < rows.size(); at += width_) {
            Eigen::Map<Eigen::VectorXf const> const row(rows.data() + at, index(width_));
            Vector const x = row.cast<double>();
            mean += x;
            squares += x.squaredNorm();
            leading_squares += (basis_.transpose() * x).squaredNorm();
        }
        double const n = static_cast<double>(rows.size() / width_);
        mean /= n;
        Vector const part = basis_ * (basis_.transpose() * mean);
        leading.col(user) = part;
        rest.col(user) = mean - part;
        if (leading_variance != nullptr) leading_variance->add(part, n, leading_squares);
        if (rest_variance != nullptr) rest_variance->add(mean - part, n, squares - leading_squares);
    }

  private:
    std::size_t width_;
    Matrix basis_;
};

/// Users of the sample, ascending.
std::vector<UserId> sampled_users(workload::Population const& population,
                                  AgreementParams const& params) {
    std::vector<std::pair<std::uint64_t, UserId>> keyed;
    for (UserId user = 0; user < population.users(); ++user) {
        if (population.history_length(user) < params.min_tokens) continue;
        keyed.emplace_back(mix64(params.seed ^ mix64(user)), user);
    }
    std::sort(keyed.begin(), keyed.end());
    if (keyed.size() > params.sample) keyed.resize(params.sample);
    std::vector<UserId> users;
    for (auto const& [key, user] : keyed) users.push_back(user);
    std::sort(users.begin(), users.end());
    return users;
}

/// Draws items as often as they occur.
class PopularityDraw {
  public:
    explicit PopularityDraw(std::span<std::uint64_t const> weights) {
        std::uint64_t sum = 0;
        for (std::uint64_t const w : weights) cumulative_.push_back(sum += w);
    }
    ItemId operator()(CounterRng& rng) const {
        auto const at =
            static_cast<std::uint64_t>(rng.uniform() * static_cast<double>(cumulative_.back()));
        auto const found = std::upper_bound(cumulative_.begin(), cumulative_.end(), at);
        return static_cast<ItemId>(found - cumulative_.begin());
    }

  private:
    std::vector<std::uint64_t> cumulative_;
};

/// The newest tokens of a stored history.
void load_newest(workload::Population const& population, UserId user, std::uint32_t max_tokens,
                 std::vector<ItemId>& items) {
    population.load_history(user, items);
    if (items.size() > max_tokens) items.erase(items.begin(), items.end() - max_tokens);
}

/// Of a matrix whose lower triangle holds sum w x x^T.
PrincipalDirections directions_of(Matrix const& scatter) {
    Eigen::SelfAdjointEigenSolver<Matrix> const solver(scatter);
    PrincipalDirections result;
    result.width = static_cast<std::size_t>(scatter.rows());
    double total = 0.0;
    for (std::size_t k = result.width; k-- > 0;) {
        double const energy = std::max(0.0, solver.eigenvalues()[index(k)]);
        result.energy.push_back(energy);
        total += energy;
        auto const column = solver.eigenvectors().col(index(k));
        result.directions.insert(result.directions.end(), column.data(),
                                 column.data() + result.width);
    }
    if (total > 0.0) {
        for (double& energy : result.energy) energy /= total;
    }
    return result;
}

/// All but rows_of_items, from the number of tokens that each row has.
PoolUse use_of(std::vector<std::uint64_t> tokens) {
    PoolUse use;
    use.rows = static_cast<std::uint32_t>(tokens.size());
    auto const total = std::accumulate(tokens.begin(), tokens.end(), std::uint64_t{0});
    double entropy = 0.0;
    for (std::uint64_t const n : tokens) {
        if (n == 0) continue;
        ++use.rows_of_tokens;
        double const p = static_cast<double>(n) / static_cast<double>(total);
        entropy -= p * std::log(p);
    }
    use.effective_rows = total > 0 ? std::exp(entropy) : 0.0;
    std::sort(tokens.begin(), tokens.end(), std::greater<>());
    auto const top = tokens.begin() + std::max<std::ptrdiff_t>(1, use.rows / 100);
    auto const in_top = std::accumulate(tokens.begin(), top, std::uint64_t{0});
    use.top_share =
        total > 0 ? static_cast<double>(in_top) / static_cast<double>(total) : std::nan("");
    return use;
}

double pairs(double n) { return n * (n - 1.0) / 2.0; }

/// Adjusted Rand index of two numberings of the same things.
double same_groups(std::span<std::uint32_t const> before, std::span<std::uint32_t const> after) {
    std::map<std::pair<std::uint32_t, std::uint32_t>, double> both;
    std::map<std::uint32_t, double> first;
    std::map<std::uint32_t, double> second;
    for (std::size_t i = 0; i < before.size(); ++i) {
        ++both[{before[i], after[i]}];
        ++first[before[i]];
        ++second[after[i]];
    }
    auto const sum_pairs = [](auto const& groups) {
        double sum = 0.0;
        for (auto const& [key, n] : groups) sum += pairs(n);
        return sum;
    };
    double const all = pairs(static_cast<double>(before.size()));
    double const expected = all > 0.0 ? sum_pairs(first) * sum_pairs(second) / all : 0.0;
    double const most = (sum_pairs(first) + sum_pairs(second)) / 2.0;
    // Groups that leave nothing to chance (all alone, or all together) are the same groups.
    return most > expected ? (sum_pairs(both) - expected) / (most - expected) : 1.0;
}

}  // namespace

std::vector<float> item_rows(decode::Backend const& backend, kv::Section section) {
    require_full(backend);
    std::size_t const width = backend.weights().shape.attention_dim;
    std::vector<float> rows((backend.weights().items + std::size_t{1}) * width);
    visit_cells(backend, section, [&](ItemId item, std::byte const* cell) {
        std::memcpy(rows.data() + item * width, cell, width * sizeof(float));
    });
    return rows;
}

std::vector<std::uint32_t> item_indices(decode::Backend const& backend, kv::Section section) {
    require_codes(backend);
    std::vector<std::uint32_t> indices(backend.weights().items + std::size_t{1});
    std::uint32_t const bytes = backend.strategy().index_bytes;
    visit_cells(backend, section, [&](ItemId item, std::byte const* cell) {
        // Little-endian, as the entries: the low bytes come first.
        std::memcpy(&indices[item], cell, bytes);
    });
    return indices;
}

HistoryRows table_rows(std::span<float const> rows, std::size_t width) {
    return [rows, width](std::span<ItemId const> history, std::vector<float>& out) {
        out.resize(history.size() * width);
        for (std::size_t t = 0; t < history.size(); ++t)
            std::copy_n(rows.data() + history[t] * width, width, out.data() + t * width);
    };
}

HistoryRows layer_rows(decode::Backend const& backend, kv::Section section) {
    require_full(backend);
    std::size_t const width = backend.weights().shape.attention_dim;
    auto const cells = std::make_shared<HistoryCells>(backend, section);
    return [cells, width](std::span<ItemId const> history, std::vector<float>& out) {
        out.resize(history.size() * width);
        std::memcpy(out.data(), cells->read(history), out.size() * sizeof(float));
    };
}

std::vector<std::uint32_t> layer_indices(decode::Backend const& backend, kv::Section section,
                                         std::span<std::vector<ItemId> const> histories) {
    require_codes(backend);
    HistoryCells cells(backend, section);
    std::uint32_t const bytes = backend.strategy().index_bytes;
    std::vector<std::uint32_t> indices;
    for (auto const& history : histories) {
        std::byte const* cell = cells.read(history);
        for (std::size_t t = 0; t < history.size(); ++t, cell += bytes)
            std::memcpy(&indices.emplace_back(0), cell, bytes);
    }
    return indices;
}

std::vector<std::vector<ItemId>> sampled_histories(workload::Population const& population,
                                                   AgreementParams const& params) {
    std::vector<std::vector<ItemId>> histories;
    for (UserId const user : sampled_users(population, params))
        load_newest(population, user, params.max_tokens, histories.emplace_back());
    return histories;
}

std::size_t PrincipalDirections::rank_of(double share) const {
    double sum = 0.0;
    for (std::size_t k = 0; k < energy.size(); ++k) {
        sum += energy[k];
        if (sum >= share * (1.0 - 1e-12)) return k + 1;
    }
    return energy.size();
}

PrincipalDirections principal_directions(std::span<float const> rows, std::size_t width,
                                         std::span<std::uint64_t const> weights) {
    validate(width > 0 && rows.size() == weights.size() * width,
             "engine::principal_directions: needs one weight a row");
    Matrix scatter = Matrix::Zero(index(width), index(width));
    for (std::size_t i = 0; i < weights.size(); ++i) {
        if (weights[i] == 0) continue;
        Eigen::Map<Eigen::VectorXf const> const row(rows.data() + i * width, index(width));
        scatter.selfadjointView<Eigen::Lower>().rankUpdate(row.cast<double>(),
                                                           static_cast<double>(weights[i]));
    }
    return directions_of(scatter);
}

PrincipalDirections principal_directions(std::span<std::vector<ItemId> const> histories,
                                         HistoryRows const& rows_of, std::size_t width) {
    Matrix scatter = Matrix::Zero(index(width), index(width));
    std::vector<float> rows;
    for (auto const& history : histories) {
        rows_of(history, rows);
        Eigen::Map<Eigen::MatrixXf const> const tokens(rows.data(), index(width),
                                                       index(history.size()));
        Matrix const wide = tokens.cast<double>();
        scatter.selfadjointView<Eigen::Lower>().rankUpdate(wide);
    }
    return directions_of(scatter);
}

UserAgreement user_agreement(workload::Population const& population,
                             PrincipalDirections const& directions, HistoryRows const& rows_of,
                             std::span<std::uint64_t const> weights,
                             AgreementParams const& params) {
    UserAgreement result;
    result.rank = directions.rank_of(params.energy_share);
    auto const users = sampled_users(population, params);
    result.users = users.size();
    Splitter const splitter(directions, result.rank);
    PopularityDraw const draw(weights);
    Matrix leading(index(directions.width), index(users.size()));
    Matrix rest = leading;
    Matrix leading_chance = leading;
    Matrix rest_chance = leading;
    PartVariance leading_variance;
    PartVariance rest_variance;
    std::vector<ItemId> items;
    std::vector<float> rows;
    for (std::size_t u = 0; u < users.size(); ++u) {
        load_newest(population, users[u], params.max_tokens, items);
        rows_of(items, rows);
        splitter.add_user(rows, leading, rest, index(u), &leading_variance, &rest_variance);
        CounterRng rng(params.seed, Purpose::sample_selection, users[u], 3);
        for (ItemId& item : items) item = draw(rng);
        rows_of(items, rows);
        splitter.add_user(rows, leading_chance, rest_chance, index(u), nullptr, nullptr);
    }
    result.leading_cosine = cosine_of_pairs(leading);
    result.rest_cosine = cosine_of_pairs(rest);
    result.leading_cosine_chance = cosine_of_pairs(leading_chance);
    result.rest_cosine_chance = cosine_of_pairs(rest_chance);
    result.leading_between = leading_variance.between();
    result.rest_between = rest_variance.between();
    return result;
}

PoolUse pool_use(std::span<std::uint32_t const> indices, std::span<std::uint64_t const> weights,
                 std::uint32_t rows) {
    validate(indices.size() == weights.size() && rows > 0,
             "engine::pool_use: needs one weight an item and a pool");
    std::vector<std::uint64_t> tokens(rows);
    std::vector<bool> has_item(rows);
    for (std::size_t item = 1; item < indices.size(); ++item) {
        validate(indices[item] < rows, "engine::pool_use: an index beyond the pool");
        has_item[indices[item]] = true;
        tokens[indices[item]] += weights[item];
    }
    PoolUse use = use_of(std::move(tokens));
    use.rows_of_items =
        static_cast<std::uint32_t>(std::count(has_item.begin(), has_item.end(), true));
    return use;
}

PoolUse token_pool_use(std::span<std::uint32_t const> indices, std::uint32_t rows) {
    validate(rows > 0, "engine::token_pool_use: needs a pool");
    std::vector<std::uint64_t> tokens(rows);
    for (std::uint32_t const row : indices) {
        validate(row < rows, "engine::token_pool_use: an index beyond the pool");
        ++tokens[row];
    }
    PoolUse use = use_of(std::move(tokens));
    use.rows_of_items = use.rows_of_tokens;
    return use;
}

RouterChange router_change(std::span<std::uint32_t const> before,
                           std::span<std::uint32_t const> after,
                           std::span<std::uint64_t const> weights) {
    validate(before.size() == after.size() && before.size() == weights.size(),
             "engine::router_change: needs two indices and one weight an item");
    double items = 0.0;
    double tokens = 0.0;
    RouterChange change;
    for (std::size_t item = 1; item < before.size(); ++item) {
        items += 1.0;
        tokens += static_cast<double>(weights[item]);
        if (before[item] == after[item]) continue;
        change.items_changed += 1.0;
        change.tokens_changed += static_cast<double>(weights[item]);
    }
    change.items_changed = items > 0.0 ? change.items_changed / items : std::nan("");
    change.tokens_changed = tokens > 0.0 ? change.tokens_changed / tokens : std::nan("");
    // The first row belongs to no item.
    std::size_t const none = std::min<std::size_t>(before.size(), 1);
    change.same_groups = same_groups(before.subspan(none), after.subspan(none));
    return change;
}

RouterChange token_router_change(std::span<std::uint32_t const> before,
                                 std::span<std::uint32_t const> after,
                                 std::span<ItemId const> items) {
    validate(before.size() == after.size() && before.size() == items.size(),
             "engine::token_router_change: needs two indices and an item a token");
    std::map<ItemId, std::pair<double, double>> of_item;  // tokens, those that changed
    RouterChange change;
    for (std::size_t t = 0; t < items.size(); ++t) {
        double const changed = before[t] == after[t] ? 0.0 : 1.0;
        auto& [tokens, moved] = of_item[items[t]];
        tokens += 1.0;
        moved += changed;
        change.tokens_changed += changed;
    }
    for (auto const& [item, count] : of_item) change.items_changed += count.second / count.first;
    // Of nothing, nothing is known: 0 / 0.
    change.tokens_changed /= static_cast<double>(items.size());
    change.items_changed /= static_cast<double>(of_item.size());
    change.same_groups = same_groups(before, after);
    return change;
}

}  // namespace ckvsim::engine
