#include "train/team.hpp"

#include <algorithm>
#include <exception>
#include <limits>
#include <new>
#include <numeric>

namespace ckvsim::train {

namespace {

using Bytes = std::span<std::byte const>;

// A message is this and then `bytes` bytes: of a Failure's text if `code` is not 0.
struct Header {
    std::uint64_t code = 0;
    std::uint64_t bytes = 0;
};

// Long arrays travel in pieces: message libraries count bytes in int, and buffers stay small.
constexpr std::size_t kPieceBytes = std::size_t{16} << 20;
// Up to here one round of everything to everybody is cheaper than two rounds of slices.
constexpr std::size_t kShortBytes = 4096;

std::vector<std::byte> message_of(ExitCode code, Bytes payload) {
    Header const header{static_cast<std::uint64_t>(code), payload.size()};
    std::vector<std::byte> message(sizeof header + payload.size());
    std::memcpy(message.data(), &header, sizeof header);
    std::copy(payload.begin(), payload.end(), message.begin() + sizeof header);
    return message;
}

Slice slice(std::size_t count, std::size_t rank, std::size_t ranks) {
    std::size_t const begin = count * rank / ranks;
    return {begin, count * (rank + 1) / ranks - begin};
}

template <class T>
void append(std::vector<std::byte>& out, std::span<T const> values) {
    auto const bytes = std::as_bytes(values);
    out.insert(out.end(), bytes.begin(), bytes.end());
}

/// The next `count` values of `bytes`, which then begins behind them.
template <class T>
std::vector<T> take(Bytes& bytes, std::size_t count) {
    validate(count <= bytes.size() / sizeof(T), "team: a message is shorter than it says");
    std::vector<T> values(count);
    if (count > 0) std::memcpy(values.data(), bytes.data(), count * sizeof(T));
    bytes = bytes.subspan(count * sizeof(T));
    return values;
}

/// Adds up what ranks sent, in their order. Rounds once.
template <class T>
void add_up(std::vector<std::vector<std::byte>> const& parts, std::span<T> out) {
    std::vector<double> sums(out.size(), 0.0);
    for (auto const& part : parts) {
        Bytes bytes = part;
        auto const values = take<T>(bytes, out.size());
        for (std::size_t i = 0; i < values.size(); ++i) sums[i] += double{values[i]};
    }
    std::transform(sums.begin(), sums.end(), out.begin(),
                   [](double sum) { return static_cast<T>(sum); });
}

/// Why ranks failed, by rank; empty where none did.
struct Failures {
    ExitCode code = ExitCode::ok;  ///< of the lowest that failed
    std::vector<std::string> places;
    std::vector<std::string> texts;

    [[nodiscard]] std::string text() const {
        // What every rank found alike needs no place.
        if (std::count(texts.begin(), texts.end(), texts.front()) ==
            static_cast<std::ptrdiff_t>(texts.size())) {
            return texts.front();
        }
        std::string first;
        std::size_t failing = 0;
        for (std::size_t r = 0; r < texts.size(); ++r) {
            if (texts[r].empty()) continue;
            if (failing == 0) first = places[r] + texts[r];
            ++failing;
        }
        if (failing > 1) first += " [" + std::to_string(failing) + " ranks failed]";
        return first;
    }
};

/// What came, by rank. Throws TeamError when any rank sent a failure.
std::vector<std::vector<std::byte>> open(Bytes came, std::size_t ranks) {
    std::vector<std::vector<std::byte>> parts(ranks);
    Failures failures{ExitCode::ok, std::vector<std::string>(ranks),
                      std::vector<std::string>(ranks)};
    for (std::size_t r = 0; r < ranks; ++r) {
        auto const header = take<Header>(came, 1).front();
        parts[r] = take<std::byte>(came, header.bytes);
        if (header.code == 0) continue;
        if (failures.code == ExitCode::ok) failures.code = static_cast<ExitCode>(header.code);
        std::string const text(reinterpret_cast<char const*>(parts[r].data()), parts[r].size());
        auto const end = text.find('\0');
        failures.places[r] = text.substr(0, end);
        failures.texts[r] = text.substr(end + 1);
    }
    if (failures.code != ExitCode::ok) throw TeamError(failures.code, failures.text());
    return parts;
}

/// One rank's rows while those of all ranks are merged.
struct TouchedRows {
    std::vector<std::int64_t> ids;  ///< ascending
    std::vector<float> rows;
    std::size_t next = 0;
};

std::vector<std::byte> packed_rows(std::vector<std::int64_t> const& ids,
                                   std::vector<float> const& rows, std::size_t width) {
    std::vector<std::size_t> order(ids.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::sort(order.begin(), order.end(),
              [&](std::size_t a, std::size_t b) { return ids[a] < ids[b]; });
    std::vector<std::byte> packed;
    std::uint64_t const count = ids.size();
    append(packed, std::span(&count, 1));
    for (auto const i : order) append(packed, std::span(&ids[i], 1));
    for (auto const i : order) append(packed, std::span(rows).subspan(i * width, width));
    return packed;
}

TouchedRows unpacked_rows(Bytes bytes, std::size_t width) {
    TouchedRows touched;
    std::size_t const count = take<std::uint64_t>(bytes, 1).front();
    touched.ids = take<std::int64_t>(bytes, count);
    touched.rows = take<float>(bytes, count * width);
    return touched;
}

}  // namespace

Slice Team::slice_of(std::size_t count) const {
    return slice(count, static_cast<std::size_t>(rank()), static_cast<std::size_t>(size()));
}

Team::Parts Team::transfer(Parts const& to) {
    Parts messages;
    messages.reserve(to.size());
    for (auto const& payload : to) messages.push_back(message_of(ExitCode::ok, payload));
    return open(exchange_->exchange(messages), to.size());
}

void Team::fail(ExitCode code, std::string const& phase, std::string const& message) {
    std::string text =
        phase + ", rank " + std::to_string(rank()) + " of " + std::to_string(size()) + ": ";
    text += '\0';
    text += message.empty() ? "an exception without a message" : message;
    auto const ranks = static_cast<std::size_t>(size());
    Parts const messages(ranks, message_of(code, std::as_bytes(std::span(text))));
    open(exchange_->exchange(messages), ranks);
    throw InternalError("team: a failure got lost");
}

void Team::guard(std::string const& phase, std::function<void()> const& body) {
    if (size() == 1) return body();
    try {
        body();
    } catch (TeamError const&) {
        throw;  // the others throw it, too
    } catch (Error const& error) {
        fail(error.exit_code(), phase, error.what());
    } catch (std::bad_alloc const&) {
        fail(ExitCode::backend, phase,
             "out of memory. Lower training.batch or put fewer ranks on a machine");
    } catch (std::exception const& error) {
        fail(ExitCode::backend, phase, error.what());
    } catch (...) {
        fail(ExitCode::internal, phase, "an exception of an unknown kind");
    }
    all_gather({});  // where a rank that is done hears of those that failed
}

Team::Parts Team::all_gather(Bytes part) {
    if (size() == 1) return {std::vector<std::byte>(part.begin(), part.end())};
    auto const ranks = static_cast<std::size_t>(size());
    Parts all(ranks);
    bool more = true;
    while (more) {
        // All ranks' pieces are held at a time.
        auto const piece =
            part.first(std::min(part.size(), std::max<std::size_t>(1, kPieceBytes / ranks)));
        part = part.subspan(piece.size());
        std::vector<std::byte> payload = {
            std::byte{part.empty() ? std::uint8_t{0} : std::uint8_t{1}}};
        payload.insert(payload.end(), piece.begin(), piece.end());
        auto const pieces = transfer(Parts(ranks, payload));
        more = false;
        for (std::size_t r = 0; r < ranks; ++r) {
            more = more || pieces[r].front() != std::byte{0};
            all[r].insert(all[r].end(), pieces[r].begin() + 1, pieces[r].end());
        }
    }
    return all;
}

void Team::broadcast(std::vector<std::byte>& data) {
    if (size() == 1) return;
    auto all = all_gather(is_root() ? Bytes(data) : Bytes());
    data = std::move(all.front());
}

template <class T>
void Team::sum_values(std::span<T> values) {
    if (size() == 1) return;
    if (values.size_bytes() <= kShortBytes)
        return add_up(all_gather(std::as_bytes(values)), values);
    // Every rank adds up a slice, then all get all slices.
    auto const ranks = static_cast<std::size_t>(size());
    std::size_t const most = kPieceBytes / sizeof(T);
    for (std::size_t done = 0; done < values.size(); done += most) {
        auto const piece = values.subspan(done, std::min(most, values.size() - done));
        Parts to(ranks);
        for (std::size_t r = 0; r < ranks; ++r) {
            auto const [begin, count] = slice(piece.size(), r, ranks);
            append<T>(to[r], piece.subspan(begin, count));
        }
        auto const own = slice_of(piece.size());
        add_up(transfer(to), piece.subspan(own.begin, own.size));
        auto const slices = all_gather(std::as_bytes(piece.subspan(own.begin, own.size)));
        auto* place = reinterpret_cast<std::byte*>(piece.data());
        for (auto const& part : slices) place = std::copy(part.begin(), part.end(), place);
    }
}

void Team::sum(std::span<float> values) { sum_values(values); }
void Team::sum(std::span<double> values) { sum_values(values); }

void Team::sum_rows(std::vector<std::int64_t>& ids, std::vector<float>& rows, std::size_t width) {
    if (size() == 1) return;
    std::vector<TouchedRows> lists;
    for (auto const& part : all_gather(packed_rows(ids, rows, width)))
        lists.push_back(unpacked_rows(part, width));
    ids.clear();
    rows.clear();
    std::vector<double> sums(width);
    for (;;) {
        std::int64_t least = std::numeric_limits<std::int64_t>::max();
        for (auto const& list : lists) {
            if (list.next < list.ids.size()) least = std::min(least, list.ids[list.next]);
        }
        if (least == std::numeric_limits<std::int64_t>::max()) return;
        std::fill(sums.begin(), sums.end(), 0.0);
        for (auto& list : lists) {
            if (list.next == list.ids.size() || list.ids[list.next] != least) continue;
            auto const* const row = list.rows.data() + list.next * width;
            for (std::size_t i = 0; i < width; ++i) sums[i] += double{row[i]};
            ++list.next;
        }
        ids.push_back(least);
        for (auto const sum : sums) rows.push_back(static_cast<float>(sum));
    }
}

void Team::require_equal(std::uint64_t value, ExitCode code, std::string const& what,
                         std::string const& advice) {
    auto const parts = all_gather(std::as_bytes(std::span(&value, 1)));
    std::string others;
    for (std::size_t r = 1; r < parts.size(); ++r) {
        if (parts[r] != parts[0]) others += (others.empty() ? "" : ", ") + std::to_string(r);
    }
    if (others.empty()) return;
    throw Error(code, what + ": ranks disagree (rank 0 against rank " + others + "). " + advice);
}

}  // namespace ckvsim::train
