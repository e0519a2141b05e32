#include "workload/expanded.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <sstream>

#include "core/error.hpp"
#include "core/hash.hpp"
#include "core/rng.hpp"

namespace ckvsim::workload {

namespace {

/// Sub-streams of Purpose::expansion: one per kind of draw of a user.
enum Stream : std::uint32_t { kSource = 0, kLength = 1, kExtra = 2, kTimes = 3 };

/// Draws of a replacement before the item is kept: an occurrence may have no usable neighbour.
constexpr int kNeighbourTries = 6;
constexpr std::uint64_t kVariantSalt = 0x7C0FFEE5ULL;
constexpr std::uint64_t kExtraSalt = 0x0E47A0ULL;

double unit(std::uint64_t word) { return static_cast<double>(word >> 11) * 0x1.0p-53; }

std::uint64_t below(std::uint64_t word, std::uint64_t bound) {
    return ((word >> 32) * bound) >> 32;
}

void check_parameters(Dataset const& source, ExpansionParams const& p) {
    auto const share = [](double value) { return value >= 0.0 && value <= 1.0; };
    validate(p.users >= 1 && p.neighbourhood >= 1 && p.length_jitter >= 0.0 && p.time_sigma >= 0.0,
             "expansion: needs users >= 1, neighbourhood >= 1 and jitters >= 0");
    validate(share(p.substitution_share) && share(p.foreign_share),
             "expansion: shares must lie in [0, 1]");
    validate(p.items == 0 || p.items >= source.catalogue.items,
             "expansion: a grown catalogue cannot be smaller than the source's");
    validate(source.history_items.size() < std::numeric_limits<std::uint32_t>::max(),
             "expansion: the source has 2^32 events or more");
    if (source.history_items.empty()) {
        throw DataError(source.name, 0,
                        "holds no history events, so nothing can be resampled from it");
    }
}

double share_of_repeats(Dataset const& source) {
    std::uint64_t repeats = 0;
    std::vector<ItemId> sorted;
    for (std::size_t user = 0; user + 1 < source.history_offsets.size(); ++user) {
        auto const first = source.history_items.begin();
        sorted.assign(first + static_cast<std::ptrdiff_t>(source.history_offsets[user]),
                      first + static_cast<std::ptrdiff_t>(source.history_offsets[user + 1]));
        std::sort(sorted.begin(), sorted.end());
        auto const distinct = std::unique(sorted.begin(), sorted.end()) - sorted.begin();
        repeats += sorted.size() - static_cast<std::size_t>(distinct);
    }
    return static_cast<double>(repeats) / static_cast<double>(source.history_items.size());
}

}  // namespace

ExpandedPopulation::ExpandedPopulation(Dataset source, ExpansionParams const& params)
    : source_(std::move(source)), params_(params) {
    check_dataset(source_, source_.name);
    check_parameters(source_, params_);
    if (params_.items == 0) params_.items = source_.catalogue.items;
    communities_ = (params_.items + source_items() - 1) / source_items();
    rank_lengths();
    repeat_share_ = share_of_repeats(source_);
    index_occurrences();
    grow_catalogue();
}

void ExpandedPopulation::rank_lengths() {
    std::vector<std::uint32_t> order;
    for (std::uint32_t row = 0; row < source_users(); ++row) {
        if (!source_history(row).empty()) order.push_back(row);
    }
    std::stable_sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
        return source_history(a).size() < source_history(b).size();
    });
    length_ranks_.assign(source_users(), 0);
    for (std::uint32_t place = 0; place < order.size(); ++place) {
        length_ranks_[order[place]] = place;
        lengths_.push_back(static_cast<std::uint32_t>(source_history(order[place]).size()));
    }
}

void ExpandedPopulation::index_occurrences() {
    auto const events = static_cast<std::uint32_t>(source_.history_items.size());
    events_.reserve(events);
    for (std::uint32_t row = 0; row < source_users(); ++row) {
        for (ItemId const item : source_history(row)) events_.push_back({row, item});
    }
    occurrence_offsets_.assign(source_items() + 2ULL, 0);
    for (ItemId const item : source_.history_items) ++occurrence_offsets_[item + 1ULL];
    for (std::size_t i = 1; i < occurrence_offsets_.size(); ++i) {
        occurrence_offsets_[i] += occurrence_offsets_[i - 1];
    }
    occurrences_.resize(events);
    auto next = occurrence_offsets_;
    for (std::uint32_t event = 0; event < events; ++event) {
        occurrences_[next[source_.history_items[event]]++] = event;
    }
}

void ExpandedPopulation::grow_catalogue() {
    catalogue_ = source_.catalogue;
    catalogue_.items = params_.items;
    catalogue_.feature_vocabularies[0] = params_.items + 1;
    for (std::size_t f = 0; f < catalogue_.features.size(); ++f) {
        auto& column = catalogue_.features[f];
        column.resize(params_.items + std::size_t{1});
        for (ItemId item = source_items() + 1; item <= params_.items; ++item) {
            column[item] = f == 0 ? item : column[source_item(item)];
        }
    }
}

std::span<ItemId const> ExpandedPopulation::source_history(std::uint32_t row) const {
    auto const begin = source_.history_offsets[row];
    return std::span(source_.history_items)
        .subspan(begin, source_.history_offsets[row + 1ULL] - begin);
}

std::uint32_t ExpandedPopulation::source_user(UserId user) const {
    return CounterRng(params_.seed, Purpose::expansion, user, kSource).below(source_users());
}

std::uint32_t ExpandedPopulation::history_length(UserId user) const {
    auto const row = source_user(user);
    if (source_history(row).empty()) return 0;
    auto const count = static_cast<double>(lengths_.size());
    CounterRng rng(params_.seed, Purpose::expansion, user, kLength);
    double place = (length_ranks_[row] + rng.uniform()) / count;
    place = std::fabs(std::fmod(place + params_.length_jitter * rng.normal(), 2.0));
    if (place > 1.0) place = 2.0 - place;
    auto const index = static_cast<std::size_t>(place * count);
    return lengths_[std::min(index, lengths_.size() - 1)];
}

bool ExpandedPopulation::UserContext::owns(ItemId item) const {
    std::uint64_t const hash = mix64(item);
    if ((maybe_own[(hash >> 6) % maybe_own.size()] >> (hash & 63) & 1U) == 0) return false;
    return std::binary_search(own.begin(), own.end(), item);
}

ExpandedPopulation::UserContext ExpandedPopulation::context_of(UserId user) const {
    CounterRng rng(params_.seed, Purpose::expansion, user, kSource);
    UserContext context;
    context.row = rng.below(source_users());
    context.community = rng.below(communities_);
    context.key = rng.next_u64();
    auto const history = source_history(context.row);
    context.own.assign(history.begin(), history.end());
    std::sort(context.own.begin(), context.own.end());
    for (ItemId const item : history) {
        std::uint64_t const hash = mix64(item);
        context.maybe_own[(hash >> 6) % context.maybe_own.size()] |= 1ULL << (hash & 63);
    }
    return context;
}

ItemId ExpandedPopulation::neighbour(UserContext const& context, ItemId item,
                                     std::uint64_t word) const {
    auto const begin = occurrence_offsets_[item];
    auto const count = occurrence_offsets_[item + 1ULL] - begin;
    if (count == 0) return item;  // known from impressions alone
    std::int64_t const window = params_.neighbourhood;
    for (int attempt = 0; attempt < kNeighbourTries; ++attempt) {
        word = mix64(word);
        std::uint32_t const event = occurrences_[begin + below(word, count)];
        std::uint32_t const row = events_[event].row;
        if (row == context.row) continue;
        auto const step =
            static_cast<std::int64_t>(below(word << 32, static_cast<std::uint64_t>(2 * window)));
        auto const other = event + (step < window ? step - static_cast<std::int64_t>(window)
                                                  : step - static_cast<std::int64_t>(window) + 1);
        if (other < 0 || other >= static_cast<std::int64_t>(events_.size())) continue;
        Event const found = events_[static_cast<std::size_t>(other)];
        // An item that the user already has would turn into a repeat that nobody recorded.
        if (found.row == row && !context.owns(found.item)) return found.item;
    }
    return item;
}

ItemId ExpandedPopulation::variant(UserContext const& context, ItemId item,
                                   std::uint64_t word) const {
    if (communities_ == 1) return item;
    std::uint32_t community = context.community;
    word = mix64(word ^ kVariantSalt);
    if (unit(word) < params_.foreign_share) {
        community = static_cast<std::uint32_t>(below(mix64(word), communities_));
    }
    std::uint64_t const grown = std::uint64_t{community} * source_items() + item;
    return grown <= params_.items ? static_cast<ItemId>(grown) : item;
}

ItemId ExpandedPopulation::replace(UserContext const& context, ItemId item) const {
    std::uint64_t const word = mix64(context.key + item);
    ItemId chosen = item;
    if (params_.shuffle_items) {
        chosen = 1 + static_cast<ItemId>(below(mix64(word), source_items()));
    } else if (unit(word) < params_.substitution_share) {
        chosen = neighbour(context, item, word);
    }
    return variant(context, chosen, word);
}

void ExpandedPopulation::make_history(UserId user, UserContext const& context,
                                      std::vector<ItemId>& out) const {
    auto const history = source_history(context.row);
    auto const length = history_length(user);
    out.resize(length);
    std::size_t const kept = std::min<std::size_t>(length, history.size());
    std::size_t const extra = length - kept;
    CounterRng rng(params_.seed, Purpose::expansion, user, kExtra);
    for (std::size_t i = 0; i < extra; ++i) {
        // Older events than were recorded: an item of the user's own again, as often as the source
        // repeats items, else one that others consumed next to one of his.
        ItemId const seed_item = history[rng.below(static_cast<std::uint32_t>(history.size()))];
        bool const again = rng.uniform() < repeat_share_;
        std::uint64_t const word = mix64(rng.next_u64() ^ kExtraSalt);
        out[i] = again || params_.shuffle_items
                     ? replace(context, seed_item)
                     : variant(context, neighbour(context, seed_item, word), word);
    }
    for (std::size_t i = 0; i < kept; ++i) {
        out[extra + i] = replace(context, history[history.size() - kept + i]);
    }
}

void ExpandedPopulation::load_history(UserId user, std::vector<ItemId>& out) const {
    make_history(user, context_of(user), out);
}

void ExpandedPopulation::load(UserId user, UserRecord& out) const {
    auto const context = context_of(user);
    make_history(user, context, out.timeline);
    out.base_length = static_cast<std::uint32_t>(out.timeline.size());
    out.impressions.clear();
    out.true_logits.clear();
    double const stretch = std::exp(
        params_.time_sigma * CounterRng(params_.seed, Purpose::expansion, user, kTimes).normal());
    auto const begin = source_.impression_offsets[context.row];
    auto const end = source_.impression_offsets[context.row + 1ULL];
    for (auto row = begin; row < end; ++row) {
        auto const first_ms = source_.impression_times_ms[begin];
        auto const after_ms = source_.impression_times_ms[row] - first_ms;
        Impression impression;
        impression.item = replace(context, source_.impression_items[row]);
        impression.context = source_.impression_contexts[row];
        impression.label = source_.impression_labels[row];
        impression.split = static_cast<Split>(source_.impression_splits[row]);
        impression.time_ms =
            first_ms + static_cast<std::int64_t>(static_cast<double>(after_ms) * stretch);
        out.impressions.push_back(impression);
    }
    place_in_history(source_.history_growth, out);
}

std::string ExpandedPopulation::describe() const {
    return "expanded from " + source_.name + ": " + std::to_string(params_.users) + " users of " +
           std::to_string(source_users()) + " recorded ones, " + std::to_string(params_.items) +
           " items of " + std::to_string(source_items()) + ", seed " + std::to_string(params_.seed);
}

std::uint64_t ExpandedPopulation::digest() const {
    std::ostringstream text;
    text << "expanded-1 ";  // raised when the generating method changes
    text << digest_dataset(source_) << ' ' << params_.seed << ' ' << params_.users << ' '
         << params_.items << ' ' << params_.neighbourhood << ' ' << params_.shuffle_items
         << std::hexfloat;
    for (double const value : {params_.substitution_share, params_.length_jitter,
                               params_.time_sigma, params_.foreign_share}) {
        text << ' ' << value;
    }
    auto const all = text.str();
    return hash_bytes(all.data(), all.size());
}

}  // namespace ckvsim::workload
