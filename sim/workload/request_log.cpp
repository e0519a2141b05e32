#include "workload/request_log.hpp"

#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>
#include <string_view>

#include "core/error.hpp"
#include "core/hash.hpp"
#include "core/shards.hpp"
#include "workload/gz_line_reader.hpp"

namespace ckvsim::workload {

namespace {

constexpr std::uint32_t kNoGroup = std::numeric_limits<std::uint32_t>::max();
constexpr std::uint64_t kMostRequests = 1'000'000'000;  ///< the spec's limit for generated traffic
constexpr std::size_t kDecimals = 9;
constexpr std::size_t kShownBytes = 40;

std::string quoted(std::string_view text) {
    return "\"" + std::string(text.substr(0, kShownBytes)) +
           (text.size() > kShownBytes ? "...\"" : "\"");
}

/// Digits and nothing else.
std::optional<std::uint64_t> parse_digits(std::string_view text) {
    std::uint64_t value = 0;
    auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
    return value;
}

/// "12" or "12.5" s: exact nanoseconds.
std::optional<std::uint64_t> parse_time_ns(std::string_view text) {
    auto const point = text.find('.');
    auto const seconds = parse_digits(text.substr(0, point));
    if (!seconds || *seconds > std::numeric_limits<std::uint32_t>::max()) return std::nullopt;
    std::uint64_t nanoseconds = 0;
    if (point != std::string_view::npos) {
        std::string fraction(text.substr(point + 1));
        if (fraction.empty() || fraction.size() > kDecimals) return std::nullopt;
        fraction.resize(kDecimals, '0');
        auto const parsed = parse_digits(fraction);
        if (!parsed) return std::nullopt;
        nanoseconds = *parsed;
    }
    return *seconds * 1'000'000'000 + nanoseconds;
}

/// Group of every shard.
std::vector<std::uint32_t> group_of_shard(std::uint32_t shards,
                                          std::vector<std::vector<std::uint32_t>> const& groups) {
    std::vector<std::uint32_t> group_of(shards, kNoGroup);
    for (std::size_t group = 0; group < groups.size(); ++group) {
        for (std::uint32_t const shard : groups[group]) {
            validate(shard < shards, "load_requests: the shard does not exist");
            group_of[shard] = static_cast<std::uint32_t>(group);
        }
    }
    return group_of;
}

class LogParser {
  public:
    LogParser(ReplayParams const& params, Population const& population)
        : params_(params), population_(population), reader_(params.path) {
        std::string_view line;
        if (!reader_.next(line))
            reader_.fail("is empty. the first line is time_s,user[,candidates]");
        if (line != "time_s,user" && line != "time_s,user,candidates") {
            reader_.fail("the first line is " + quoted(line) +
                         ", expected time_s,user or time_s,user,candidates (or a recording of "
                         "`ckvsim run --record-requests`)");
        }
        has_candidates_ = line != "time_s,user";
        digest_ = hash_bytes(line.data(), line.size());
    }

    /// The next request without shard, sequence and tokens; false at the end.
    bool next(Request& request) {
        std::string_view line;
        if (!reader_.next(line)) {
            if (lines_ == 0) reader_.fail("holds no requests");
            return false;
        }
        digest_ = hash_bytes(line.data(), line.size(), digest_);
        if (++lines_ > kMostRequests) reader_.fail("more than 1e9 requests. split the file");
        auto const first = line.find(',');
        auto const second = first == std::string_view::npos ? first : line.find(',', first + 1);
        bool const third = second != std::string_view::npos;
        if (first == std::string_view::npos || third != has_candidates_ ||
            (third && line.find(',', second + 1) != std::string_view::npos)) {
            reader_.fail(quoted(line) + " does not have " + (has_candidates_ ? "three" : "two") +
                         " fields");
        }
        request.intended_start_ns = time(line.substr(0, first));
        request.user = user(line.substr(first + 1, third ? second - first - 1 : second));
        request.candidates = third ? candidates(line.substr(second + 1)) : params_.candidates;
        return true;
    }
    [[nodiscard]] std::uint64_t digest() const { return digest_; }

  private:
    Nanoseconds time(std::string_view text) {
        if (text.starts_with('-'))
            reader_.fail("time_s " + quoted(text) +
                         " is negative. times count from the run's start");
        auto const parsed = parse_time_ns(text);
        if (!parsed) {
            reader_.fail("time_s " + quoted(text) +
                         " is not a time. write seconds with at most 9 decimals, for example "
                         "12.345");
        }
        if (*parsed > std::uint64_t{kLatestRequestS} * 1'000'000'000) {
            reader_.fail("time_s " + quoted(text) +
                         " is later than 1e7 s. times count from the run's start: subtract the "
                         "first one");
        }
        auto const time_ns = static_cast<Nanoseconds>(*parsed);
        if (time_ns < last_ns_) {
            reader_.fail("time_s " + quoted(text) +
                         " is earlier than the line before. sort the file by time_s");
        }
        last_ns_ = time_ns;
        return time_ns;
    }
    UserId user(std::string_view text) {
        auto const parsed = parse_digits(text);
        if (!parsed)
            reader_.fail("user " + quoted(text) + " is not a user number of the population");
        if (*parsed >= population_.users()) {
            reader_.fail("user " + quoted(text) + " is not in the population, allowed: 0 .. " +
                         std::to_string(population_.users() - 1));
        }
        return *parsed;
    }
    std::uint32_t candidates(std::string_view text) {
        auto const parsed = parse_digits(text);
        if (!parsed || *parsed < 1 || *parsed > kMostRequestCandidates) {
            reader_.fail("candidates " + quoted(text) + " are not allowed, allowed: 1 .. " +
                         std::to_string(kMostRequestCandidates));
        }
        return static_cast<std::uint32_t>(*parsed);
    }

    ReplayParams const& params_;
    Population const& population_;
    GzLineReader reader_;
    bool has_candidates_ = false;
    std::uint64_t digest_ = 0;
    std::uint64_t lines_ = 0;
    Nanoseconds last_ns_ = 0;
};

}  // namespace

RecordedRequests load_request_log(ReplayParams const& params, Population const& population,
                                  std::vector<std::vector<std::uint32_t>> const& groups) {
    auto const group_of = group_of_shard(params.shards, groups);
    std::vector<std::uint32_t> next_sequence(params.shards, 0);
    RecordedRequests result;
    result.groups.resize(groups.size());
    LogParser parser(params, population);
    for (Request request; parser.next(request);) {
        request.shard = to_int(shard_of_user(request.user, params.shards));
        request.sequence = next_sequence[request.shard]++;
        std::uint32_t const group = group_of[request.shard];
        if (group == kNoGroup) continue;
        request.tokens = std::min(population.history_length(request.user), params.max_tokens);
        result.groups[group].push_back(request);
    }
    result.digest = to_hex(parser.digest());
    return result;
}

}  // namespace ckvsim::workload
