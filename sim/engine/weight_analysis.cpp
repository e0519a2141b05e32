#include "engine/weight_analysis.hpp"

#define EIGEN_DONT_PARALLELIZE  // the same sums for any number of threads
#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <numeric>

#include "core/error.hpp"
#include "core/rng.hpp"

namespace ckvsim::engine {

namespace {

using Matrix = Eigen::MatrixXd;
using Vector = Eigen::VectorXd;

constexpr Eigen::Index index(std::size_t i) { return static_cast<Eigen::Index>(i); }

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
    Splitter(PrincipalDirections const& directions, std::size_t rank, std::span<float const> rows)
        : width_(directions.width), rows_(rows) {
        Eigen::Map<Matrix const> const all(directions.directions.data(), index(width_),
                                           index(width_));
        basis_ = all.leftCols(index(rank));
    }
    /// Mean row of some items, and the sums of squares of both parts.
    void add_user(std::span<ItemId const> items, Matrix& leading, Matrix& rest, Eigen::Index user,
                  PartVariance* leading_variance, PartVariance* rest_variance) const {
        Vector mean = Vector::Zero(index(width_));
        double leading_squares = 0.0;
        double squares = 0.0;
        for (ItemId const item : items) {
            Eigen::Map<Eigen::VectorXf const> const row(rows_.data() + item * width_,
                                                        index(width_));
            Vector const x = row.cast<double>();
            mean += x;
            squares += x.squaredNorm();
            leading_squares += (basis_.transpose() * x).squaredNorm();
        }
        double const n = static_cast<double>(items.size());
        mean /= n;
        Vector const part = basis_ * (basis_.transpose() * mean);
        leading.col(user) = part;
        rest.col(user) = mean - part;
        if (leading_variance != nullptr) leading_variance->add(part, n, leading_squares);
        if (rest_variance != nullptr) rest_variance->add(mean - part, n, squares - leading_squares);
    }

  private:
    std::size_t width_;
    std::span<float const> rows_;
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

double pairs(double n) { return n * (n - 1.0) / 2.0; }

}  // namespace

std::vector<float> item_rows(decode::Backend const& backend, kv::Section section) {
    validate(backend.strategy().kind == kv::StrategyKind::full &&
                 backend.strategy().value_type == kv::ValueType::fp32,
             "engine::item_rows: needs full fp32 entries");
    std::size_t const width = backend.weights().shape.attention_dim;
    std::vector<float> rows((backend.weights().items + std::size_t{1}) * width);
    visit_cells(backend, section, [&](ItemId item, std::byte const* cell) {
        std::memcpy(rows.data() + item * width, cell, width * sizeof(float));
    });
    return rows;
}

std::vector<std::uint32_t> item_indices(decode::Backend const& backend, kv::Section section) {
    validate(backend.strategy().kind == kv::StrategyKind::collective,
             "engine::item_indices: needs CollectiveKV entries");
    std::vector<std::uint32_t> indices(backend.weights().items + std::size_t{1});
    std::uint32_t const bytes = backend.strategy().index_bytes;
    visit_cells(backend, section, [&](ItemId item, std::byte const* cell) {
        // Little-endian, as the entries: the low bytes come first.
        std::memcpy(&indices[item], cell, bytes);
    });
    return indices;
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
    Eigen::SelfAdjointEigenSolver<Matrix> const solver(scatter);
    PrincipalDirections result;
    result.width = width;
    double total = 0.0;
    for (std::size_t k = width; k-- > 0;) {
        double const energy = std::max(0.0, solver.eigenvalues()[index(k)]);
        result.energy.push_back(energy);
        total += energy;
        auto const column = solver.eigenvectors().col(index(k));
        result.directions.insert(result.directions.end(), column.data(), column.data() + width);
    }
    if (total > 0.0) {
        for (double& energy : result.energy) energy /= total;
    }
    return result;
}

UserAgreement user_agreement(workload::Population const& population,
                             PrincipalDirections const& directions, std::span<float const> rows,
                             std::span<std::uint64_t const> weights,
                             AgreementParams const& params) {
    UserAgreement result;
    result.rank = directions.rank_of(params.energy_share);
    auto const users = sampled_users(population, params);
    result.users = users.size();
    Splitter const splitter(directions, result.rank, rows);
    PopularityDraw const draw(weights);
    Matrix leading(index(directions.width), index(users.size()));
    Matrix rest = leading;
    Matrix leading_chance = leading;
    Matrix rest_chance = leading;
    PartVariance leading_variance;
    PartVariance rest_variance;
    std::vector<ItemId> items;
    for (std::size_t u = 0; u < users.size(); ++u) {
        population.load_history(users[u], items);
        if (items.size() > params.max_tokens)
            items.erase(items.begin(), items.end() - params.max_tokens);
        splitter.add_user(items, leading, rest, index(u), &leading_variance, &rest_variance);
        CounterRng rng(params.seed, Purpose::sample_selection, users[u], 3);
        for (ItemId& item : items) item = draw(rng);
        splitter.add_user(items, leading_chance, rest_chance, index(u), nullptr, nullptr);
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
    std::uint64_t total = 0;
    for (std::size_t item = 1; item < indices.size(); ++item) {
        validate(indices[item] < rows, "engine::pool_use: an index beyond the pool");
        has_item[indices[item]] = true;
        tokens[indices[item]] += weights[item];
        total += weights[item];
    }
    PoolUse use;
    use.rows = rows;
    use.rows_of_items =
        static_cast<std::uint32_t>(std::count(has_item.begin(), has_item.end(), true));
    double entropy = 0.0;
    for (std::uint64_t const n : tokens) {
        if (n == 0) continue;
        ++use.rows_of_tokens;
        double const p = static_cast<double>(n) / static_cast<double>(total);
        entropy -= p * std::log(p);
    }
    use.effective_rows = total > 0 ? std::exp(entropy) : 0.0;
    std::sort(tokens.begin(), tokens.end(), std::greater<>());
    auto const top = tokens.begin() + std::max<std::ptrdiff_t>(1, rows / 100);
    auto const in_top = std::accumulate(tokens.begin(), top, std::uint64_t{0});
    use.top_share =
        total > 0 ? static_cast<double>(in_top) / static_cast<double>(total) : std::nan("");
    return use;
}

RouterChange router_change(std::span<std::uint32_t const> before,
                           std::span<std::uint32_t const> after,
                           std::span<std::uint64_t const> weights) {
    validate(before.size() == after.size() && before.size() == weights.size(),
             "engine::router_change: needs two indices and one weight an item");
    std::map<std::pair<std::uint32_t, std::uint32_t>, double> both;
    std::map<std::uint32_t, double> first;
    std::map<std::uint32_t, double> second;
    double items = 0.0;
    double tokens = 0.0;
    RouterChange change;
    for (std::size_t item = 1; item < before.size(); ++item) {
        items += 1.0;
        tokens += static_cast<double>(weights[item]);
        if (before[item] != after[item]) {
            change.items_changed += 1.0;
            change.tokens_changed += static_cast<double>(weights[item]);
        }
        ++both[{before[item], after[item]}];
        ++first[before[item]];
        ++second[after[item]];
    }
    change.items_changed = items > 0.0 ? change.items_changed / items : std::nan("");
    change.tokens_changed = tokens > 0.0 ? change.tokens_changed / tokens : std::nan("");
    auto const sum_pairs = [](auto const& groups) {
        double sum = 0.0;
        for (auto const& [key, n] : groups) sum += pairs(n);
        return sum;
    };
    double const expected =
        pairs(items) > 0.0 ? sum_pairs(first) * sum_pairs(second) / pairs(items) : 0.0;
    double const most = (sum_pairs(first) + sum_pairs(second)) / 2.0;
    // Groups that leave nothing to chance (all items alone, or all together) are the same groups.
    change.same_groups = most > expected ? (sum_pairs(both) - expected) / (most - expected) : 1.0;
    return change;
}

}  // namespace ckvsim::engine
