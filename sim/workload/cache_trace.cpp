#include "workload/cache_trace.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cstring>
#include <limits>
#include <optional>
#include <string_view>

#include "core/error.hpp"
#include "workload/byte_source.hpp"
#include "workload/gz_line_reader.hpp"

namespace ckvsim::workload {

namespace {

constexpr std::uint64_t kMax32 = std::numeric_limits<std::uint32_t>::max();

/// Times relative to the first, never falling.
class TraceClock {
  public:
    /// What is wrong with this time, or nothing.
    std::optional<std::string> advance(std::uint64_t time) {
        if (!started_) first_ = last_ = time;
        started_ = true;
        if (time < last_)
            return "time " + std::to_string(time) + " is before the previous request's " +
                   std::to_string(last_) + "; sort the trace by time";
        last_ = time;
        if (time - first_ > kMax32)
            return "time " + std::to_string(time) +
                   " is more than 4,294,967,295 after the first (" + std::to_string(first_) +
                   "); use a coarser unit";
        return std::nullopt;
    }
    [[nodiscard]] std::uint32_t relative() const {
        return static_cast<std::uint32_t>(last_ - first_);
    }

  private:
    bool started_ = false;
    std::uint64_t first_ = 0;
    std::uint64_t last_ = 0;
};

constexpr char const* kZeroSize =
    "size 0: an object without bytes cannot be cached; drop such requests or give --ignore-size";

class CsvTrace : public CacheTrace {
  public:
    CsvTrace(std::string const& path, bool ignore_size) : lines_(path), ignore_size_(ignore_size) {}

    std::size_t read(std::span<CacheRequest> out) override {
        std::size_t count = 0;
        std::string_view line;
        while (count < out.size() && lines_.next(line)) {
            if (line.empty()) continue;
            bool const first = !begun_;
            begun_ = true;
            if (first && is_header(line)) continue;
            out[count++] = parse(line);
        }
        return count;
    }
    [[nodiscard]] std::uint64_t done() const override { return lines_.bytes_read(); }
    [[nodiscard]] std::uint64_t total() const override { return lines_.total_bytes(); }

  private:
    /// A first line whose first field does not begin like a number.
    static bool is_header(std::string_view line) {
        char const c = line.front();
        return !(c >= '0' && c <= '9') && c != '-' && c != '+' && c != '.' && c != ',';
    }
    CacheRequest parse(std::string_view line) {
        std::string_view rest = line;
        auto const time = take(rest, "time", true);
        auto const key = take(rest, "id", false);
        std::uint64_t bytes = 1;
        if (!ignore_size_) {
            bytes = take(rest, "size", false);
            if (bytes == 0) lines_.fail(kZeroSize);
            if (bytes > kMax32)
                lines_.fail("size " + std::to_string(bytes) +
                            " is above 4,294,967,295 bytes; divide all sizes by a common unit");
        }
        if (auto const wrong = clock_.advance(time)) lines_.fail(*wrong);
        return {key, static_cast<std::uint32_t>(bytes), clock_.relative()};
    }
    /// Next field as an unsigned integer; a time may have decimals, which are dropped.
    std::uint64_t take(std::string_view& rest, char const* name, bool decimals) {
        if (rest.data() == nullptr) missing(name);
        std::size_t const comma = rest.find(',');
        std::string_view field = rest.substr(0, comma);
        rest = comma == std::string_view::npos ? std::string_view{} : rest.substr(comma + 1);
        while (!field.empty() && field.front() == ' ') field.remove_prefix(1);
        while (!field.empty() && field.back() == ' ') field.remove_suffix(1);
        if (field.empty()) missing(name);
        std::uint64_t value = 0;
        char const* const end = field.data() + field.size();
        auto const [stop, error] = std::from_chars(field.data(), end, value);
        bool good = error == std::errc{} && stop == end;
        if (error == std::errc{} && !good && decimals && *stop == '.')
            good = std::all_of(stop + 1, end, [](char c) { return c >= '0' && c <= '9'; });
        if (good) return value;
        std::string const shown(field.substr(0, 40));
        if (field.front() == '-') lines_.fail(std::string(name) + " " + shown + " is negative");
        if (error == std::errc::result_out_of_range)
            lines_.fail(std::string(name) + " " + shown + " is above 2^64 - 1");
        lines_.fail(std::string(name) + " '" + shown +
                    "' is not an unsigned integer; columns are time,id,size");
    }
    [[noreturn]] void missing(char const* name) const {
        lines_.fail(std::string("no ") + name + "; columns are time,id,size" +
                    (std::string_view(name) == "size" ? " (or give --ignore-size)" : ""));
    }

    GzLineReader lines_;
    TraceClock clock_;
    bool ignore_size_;
    bool begun_ = false;
};

class BinaryTrace : public CacheTrace {
  public:
    static constexpr std::size_t kRecord = 24;
    static_assert(std::endian::native == std::endian::little, "records are copied as they are");

    BinaryTrace(std::string const& path, bool ignore_size)
        : source_(path), ignore_size_(ignore_size), buffer_(kRecord * 8192) {}

    std::size_t read(std::span<CacheRequest> out) override {
        std::size_t count = 0;
        while (count < out.size()) {
            if (begin_ == end_ && !fill()) break;
            for (; begin_ < end_ && count < out.size(); begin_ += kRecord)
                out[count++] = parse(buffer_.data() + begin_);
        }
        return count;
    }
    [[nodiscard]] std::uint64_t done() const override { return source_.bytes_read(); }
    [[nodiscard]] std::uint64_t total() const override { return source_.total_bytes(); }

  private:
    bool fill() {
        begin_ = end_ = 0;
        while (end_ < buffer_.size()) {
            std::size_t const got = source_.read(buffer_.data() + end_, buffer_.size() - end_, 0);
            if (got == 0) break;
            end_ += got;
        }
        std::size_t const odd = end_ % kRecord;
        if (odd != 0)
            fail(record_ + end_ / kRecord + 1,
                 "is truncated: " + std::to_string(odd) +
                     " of 24 bytes; the file is damaged or not of this layout");
        return end_ > 0;
    }
    CacheRequest parse(char const* at) {
        std::uint32_t time = 0;
        CacheRequest request;
        std::memcpy(&time, at, 4);
        std::memcpy(&request.key, at + 4, 8);
        std::memcpy(&request.bytes, at + 12, 4);
        ++record_;
        if (ignore_size_) request.bytes = 1;
        if (request.bytes == 0) fail(record_, std::string("has ") + kZeroSize);
        if (auto const wrong = clock_.advance(time)) fail(record_, "has " + *wrong);
        request.time = clock_.relative();
        return request;
    }
    [[noreturn]] void fail(std::uint64_t record, std::string const& reason) const {
        throw DataError(source_.path(), 0, "record " + std::to_string(record) + " " + reason);
    }

    ByteSource source_;
    TraceClock clock_;
    bool ignore_size_;
    std::vector<char> buffer_;
    std::size_t begin_ = 0;
    std::size_t end_ = 0;
    std::uint64_t record_ = 0;  ///< parsed so far
};

bool ends_with_any(std::string_view name, std::span<std::string_view const> endings) {
    return std::any_of(endings.begin(), endings.end(),
                       [&](std::string_view ending) { return name.ends_with(ending); });
}

}  // namespace

TraceFormat trace_format_of(std::string const& path) {
    std::string_view name = path;
    if (name.ends_with(".gz")) name.remove_suffix(3);
    static constexpr std::array<std::string_view, 2> kCsv{".csv", ".txt"};
    static constexpr std::array<std::string_view, 2> kBinary{".bin", ".oracleGeneral"};
    if (ends_with_any(name, kCsv)) return TraceFormat::csv;
    if (ends_with_any(name, kBinary)) return TraceFormat::binary;
    throw Error(ExitCode::usage, path +
                                     ": the name does not tell the format (.csv, .txt, .bin, "
                                     ".oracleGeneral, each also .gz); give --format csv or "
                                     "--format bin");
}

std::unique_ptr<CacheTrace> open_trace(std::string const& path, TraceFormat format,
                                       bool ignore_size) {
    if (format == TraceFormat::csv) return std::make_unique<CsvTrace>(path, ignore_size);
    return std::make_unique<BinaryTrace>(path, ignore_size);
}

}  // namespace ckvsim::workload
