#include "workload/table_reader.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <utility>

namespace ckvsim::workload {

namespace {

constexpr std::uint64_t kProgressRows = 65536;
constexpr std::size_t kShownCharacters = 40;

/// End of the UTF-8 character that position `at` lies in, so that a cut message stays UTF-8.
std::size_t character_boundary(std::string_view text, std::size_t at) {
    while (at > 0 && at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0U) == 0x80)
        --at;
    return at;
}

std::string list_names(std::vector<std::string_view> const& names) {
    constexpr std::size_t kMost = 12;
    std::string text;
    for (std::size_t i = 0; i < std::min(names.size(), kMost); ++i)
        text += (i == 0 ? "" : ", ") + show_value(names[i]);
    return names.size() > kMost ? text + ", ..." : text;
}

}  // namespace

std::string show_value(std::string_view value) {
    bool const cut = value.size() > kShownCharacters;
    std::string text = "\"";
    text += value.substr(0, cut ? character_boundary(value, kShownCharacters) : value.size());
    return text + (cut ? "...\"" : "\"");
}

std::string find_table(std::string const& folder, std::string const& name) {
    namespace fs = std::filesystem;
    std::error_code error;
    if (!fs::exists(folder, error)) throw DataError(folder, 0, "no such folder");
    if (!fs::is_directory(folder, error)) throw DataError(folder, 0, "is not a folder");
    std::string const plain = (fs::path(folder) / name).string();
    std::string const packed = plain + ".gz";
    bool const has_plain = fs::exists(plain, error);
    bool const has_packed = fs::exists(packed, error);
    if (has_plain && has_packed) {
        throw DataError(plain, 0,
                        "exists both plain and as .gz, and they may differ; remove one of them");
    }
    if (!has_plain && !has_packed) {
        throw DataError(plain, 0, "no such file, neither plain nor .gz; is this the right folder?");
    }
    return has_plain ? plain : packed;
}

TableReader::TableReader(std::string path, TableDialect dialect, std::vector<std::string> columns,
                         ProgressCallback progress)
    : lines_(std::move(path)),
      dialect_(dialect),
      columns_(std::move(columns)),
      progress_(std::move(progress)) {
    std::string_view line;
    if (!lines_.next(line)) throw DataError(lines_.path(), 0, "is empty; a header row is needed");
    constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
    if (line.starts_with(kByteOrderMark)) line.remove_prefix(kByteOrderMark.size());
    split(line);
    find_columns();
    width_ = fields_.size();
}

void TableReader::find_columns() {
    for (auto const& name : columns_) {
        auto const at = std::find(fields_.begin(), fields_.end(), name);
        if (at == fields_.end()) {
            std::string reason =
                "the header has no column " + show_value(name) + "; it has " + list_names(fields_);
            if (fields_.size() == 1) {
                reason +=
                    dialect_.delimiter == '\t'
                        ? "; fields must be separated by tabs"
                        : std::string("; fields must be separated by '") + dialect_.delimiter + "'";
            }
            lines_.fail(reason);
        }
        if (std::find(at + 1, fields_.end(), name) != fields_.end())
            lines_.fail("the header has two columns " + show_value(name));
        positions_.push_back(static_cast<std::size_t>(at - fields_.begin()));
    }
}

bool TableReader::next() {
    std::string_view line;
    if (!lines_.next(line)) {
        report(true);
        return false;
    }
    if (line.empty()) lines_.fail("the line is empty");
    split(line);
    if (fields_.size() != width_) {
        lines_.fail("has " + std::to_string(fields_.size()) + " fields, the header has " +
                    std::to_string(width_));
    }
    ++rows_;
    report(false);
    return true;
}

void TableReader::split(std::string_view line) {
    fields_.clear();
    if (dialect_.quotes && std::memchr(line.data(), '"', line.size()) != nullptr) {
        split_quoted(line);
        return;
    }
    char const* begin = line.data();
    char const* const end = begin + line.size();
    for (;;) {
        char const* const stop = std::find(begin, end, dialect_.delimiter);
        fields_.emplace_back(begin, static_cast<std::size_t>(stop - begin));
        if (stop == end) return;
        begin = stop + 1;
    }
}

/// Copies a quoted field that begins at `at`, behind its opening quote; returns the position behind
/// the closing one.
std::size_t TableReader::take_quoted(std::string_view line, std::size_t at) {
    for (;;) {
        std::size_t const close = line.find('"', at);
        if (close == std::string_view::npos)
            lines_.fail(
                "a quoted field does not end on its line (line breaks inside quotes are not "
                "supported)");
        unquoted_ += line.substr(at, close - at);
        if (close + 1 == line.size() || line[close + 1] != '"') return close + 1;
        unquoted_ += '"';
        at = close + 2;
    }
}

void TableReader::split_quoted(std::string_view line) {
    unquoted_.clear();
    unquoted_.reserve(line.size());  // the views into it must stay valid
    for (std::size_t at = 0;; ++at) {
        std::size_t const begin = unquoted_.size();
        if (at < line.size() && line[at] == '"') {
            at = take_quoted(line, at + 1);
            if (at < line.size() && line[at] != dialect_.delimiter)
                lines_.fail("text follows the closing quote of a field");
        } else {
            std::size_t const stop = std::min(line.find(dialect_.delimiter, at), line.size());
            unquoted_ += line.substr(at, stop - at);
            at = stop;
        }
        fields_.emplace_back(unquoted_.data() + begin, unquoted_.size() - begin);
        if (at == line.size()) return;
    }
}

std::int64_t TableReader::parse_integer(std::size_t column, std::string_view value,
                                        std::int64_t low, std::int64_t high) const {
    std::int64_t number = 0;
    char const* const end = value.data() + value.size();
    auto const [stop, error] = std::from_chars(value.data(), end, number);
    if (error == std::errc() && stop == end && number >= low && number <= high) return number;
    if (value.empty()) fail(column, "has an empty entry");
    if (stop != end || error == std::errc::invalid_argument)
        fail(column, "holds " + show_value(value) + ", not a whole number");
    fail(column, "holds " + show_value(value) + ", outside " + std::to_string(low) + " .. " +
                     std::to_string(high));
}

double TableReader::real(std::size_t column) const {
    std::string_view const value = text(column);
    double number = 0.0;
    char const* const end = value.data() + value.size();
    auto const [stop, error] = std::from_chars(value.data(), end, number);
    if (error != std::errc() || stop != end || !std::isfinite(number))
        fail(column, "holds " + show_value(value) + ", not a finite number");
    return number;
}

std::uint8_t TableReader::flag(std::size_t column) const {
    std::string_view const value = text(column);
    if (value != "0" && value != "1") fail(column, "holds " + show_value(value) + ", not 0 or 1");
    return value == "1" ? 1 : 0;
}

void TableReader::fail(std::size_t column, std::string const& reason) const {
    lines_.fail("column " + columns_[column] + " " + reason);
}

void TableReader::require_rows() const {
    if (rows_ == 0) throw DataError(path(), 0, "has a header but no rows");
}

void TableReader::report(bool force) const {
    if (!progress_ || (!force && rows_ % kProgressRows != 0)) return;
    progress_({lines_.path(), rows_, lines_.bytes_read(), lines_.total_bytes()});
}

}  // namespace ckvsim::workload
