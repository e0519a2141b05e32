#include "report/text_table.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "core/error.hpp"

namespace ckvsim::report {

namespace {

struct CodePoint {
    std::uint32_t value = 0;
    std::size_t bytes = 0;  ///< 0 = not valid UTF-8
};

/// Decodes the first code point; overlong forms, surrogates and values above U+10FFFF are invalid.
CodePoint decode(std::string_view text) {
    auto const byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
    std::uint8_t const lead = byte(0);
    if (lead < 0x80) return {lead, 1};
    std::size_t const length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 0;
    if (length == 0 || lead > 0xF4 || text.size() < length) return {};
    std::uint32_t value = lead & (0x7FU >> length);
    for (std::size_t i = 1; i < length; ++i) {
        if ((byte(i) & 0xC0) != 0x80) return {};
        value = (value << 6) | (byte(i) & 0x3F);
    }
    constexpr std::array<std::uint32_t, 5> kSmallest = {0, 0, 0x80, 0x800, 0x10000};
    bool const valid =
        value >= kSmallest[length] && value <= 0x10FFFF && (value < 0xD800 || value > 0xDFFF);
    return valid ? CodePoint{value, length} : CodePoint{};
}

/// Control characters, and formatting characters that reorder or hide text (Unicode 14, General
/// Punctuation and U+FEFF).
bool is_hostile(std::uint32_t c) {
    return c < 0x20 || (c >= 0x7F && c <= 0x9F) || (c >= 0x200B && c <= 0x200F) ||
           (c >= 0x2028 && c <= 0x202E) || (c >= 0x2060 && c <= 0x206F) || c == 0xFEFF;
}

std::string format(char const* pattern, double value) {
    char text[64];
    std::snprintf(text, sizeof text, pattern, value);
    return text;
}

std::string format(char const* pattern, unsigned value) {
    char text[32];
    std::snprintf(text, sizeof text, pattern, value);
    return text;
}

/// Three significant digits and a unit; integers below the first step stay exact.
std::string scaled(double value, double step, std::vector<char const*> const& units) {
    std::size_t unit = 0;
    double const sign = value < 0 ? -1.0 : 1.0;
    double magnitude = std::abs(value);
    while (unit + 1 < units.size() && magnitude >= 999.5) {
        magnitude /= step;
        ++unit;
    }
    char const* pattern = magnitude >= 99.95 ? "%.0f" : magnitude >= 9.995 ? "%.1f" : "%.2f";
    if (unit == 0 && magnitude == std::floor(magnitude)) pattern = "%.0f";
    return format(pattern, sign * magnitude) + " " + units[unit];
}

}  // namespace

std::string printable(std::string_view text) {
    std::string out;
    while (!text.empty()) {
        CodePoint const c = decode(text);
        if (c.bytes == 0) {
            out += format("\\x%02x", unsigned{static_cast<std::uint8_t>(text[0])});
        } else if (c.value == '\n' || c.value == '\t') {
            out += c.value == '\n' ? "\\n" : "\\t";
        } else if (is_hostile(c.value)) {
            out += c.value < 0x100 ? format("\\x%02x", c.value) : format("\\u{%x}", c.value);
        } else {
            out += text.substr(0, c.bytes);
        }
        text.remove_prefix(std::max<std::size_t>(c.bytes, 1));
    }
    return out;
}

std::size_t display_width(std::string_view printable_text) {
    return static_cast<std::size_t>(
        std::count_if(printable_text.begin(), printable_text.end(),
                      [](char c) { return (static_cast<std::uint8_t>(c) & 0xC0) != 0x80; }));
}

std::string shorten(std::string const& printable_text, std::size_t width) {
    if (display_width(printable_text) <= width) return printable_text;
    std::vector<std::string> points;
    for (std::string_view rest = printable_text; !rest.empty();) {
        std::size_t const bytes = std::max<std::size_t>(decode(rest).bytes, 1);
        points.emplace_back(rest.substr(0, bytes));
        rest.remove_prefix(bytes);
    }
    std::size_t const kept = width > 2 ? width - 2 : 0;
    std::size_t const head = kept - kept / 2;
    std::string out;
    for (std::size_t i = 0; i < head; ++i) out += points[i];
    out += "..";
    for (std::size_t i = points.size() - kept / 2; i < points.size(); ++i) out += points[i];
    return out;
}

std::string format_bytes(double bytes) {
    if (std::isnan(bytes)) return "-";
    // Three digits at most: 1,000 B already reads 0.98 KiB.
    return scaled(bytes, 1024.0, {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"});
}

std::string format_ns(double ns) {
    if (std::isnan(ns)) return "-";
    return scaled(ns, 1000.0, {"ns", "us", "ms", "s"});
}

std::string format_real(double value) { return std::isnan(value) ? "-" : format("%.6g", value); }

std::string format_fixed(double value, int digits) {
    if (std::isnan(value)) return "-";
    char text[400];
    std::snprintf(text, sizeof text, "%.*f", digits, value);
    return text;
}

std::string format_percent(double share, int digits) {
    return std::isnan(share) ? "-" : format_fixed(100.0 * share, digits) + " %";
}

std::string format_integer(std::int64_t value) {
    std::string text = std::to_string(value);
    std::size_t const first = value < 0 ? 1 : 0;
    for (std::size_t at = text.size(); at > first + 3;) {
        at -= 3;
        text.insert(at, 1, ',');
    }
    return text;
}

void TextTable::add_column(std::vector<std::string> header, Align align) {
    validate(rows_.empty(), "text table: columns come before rows");
    validate(columns_.empty() || columns_.front().header.size() == header.size(),
             "text table: columns differ in header lines");
    columns_.push_back({std::move(header), align});
}

void TextTable::add_row(std::vector<std::string> cells) {
    validate(cells.size() == columns_.size(), "text table: a row has another number of cells");
    rows_.push_back(std::move(cells));
}

void TextTable::separate_before(std::size_t column) { columns_.at(column).separated = true; }

void TextTable::add_group(std::size_t first, std::size_t last, std::string title) {
    validate(first <= last && last < columns_.size(), "text table: a group leaves the columns");
    groups_.push_back({first, last, std::move(title)});
}

std::size_t TextTable::gap_before(std::size_t column) const {
    return columns_[column].separated ? 3 : 2;
}

std::size_t TextTable::span(std::vector<std::size_t> const& widths, std::size_t first,
                            std::size_t last) const {
    std::size_t total = 0;
    for (std::size_t c = first; c <= last; ++c)
        total += widths[c] + (c > first ? gap_before(c) : 0);
    return total;
}

std::vector<std::size_t> TextTable::column_widths() const {
    std::vector<std::size_t> widths(columns_.size(), 0);
    for (std::size_t c = 0; c < columns_.size(); ++c) {
        for (auto const& line : columns_[c].header)
            widths[c] = std::max(widths[c], display_width(line));
        for (auto const& row : rows_) widths[c] = std::max(widths[c], display_width(row[c]));
    }
    for (auto const& group : groups_) {
        std::size_t const have = span(widths, group.first, group.last);
        std::size_t const need = display_width(group.title);
        if (need > have) widths[group.last] += need - have;
    }
    return widths;
}

std::size_t TextTable::width() const {
    return columns_.empty() ? 0 : span(column_widths(), 0, columns_.size() - 1);
}

std::string TextTable::group_line(std::vector<std::size_t> const& chosen,
                                  std::vector<std::size_t> const& widths) const {
    std::string line;
    std::size_t start = 0;
    for (std::size_t i = 0; i < chosen.size();) {
        std::size_t const first = chosen[i];
        if (i > 0) start += gap_before(first);
        auto const group = std::find_if(groups_.begin(), groups_.end(), [&](auto const& g) {
            return g.first <= first && first <= g.last;
        });
        std::size_t end = start + widths[first];
        for (++i; group != groups_.end() && i < chosen.size() && chosen[i] <= group->last; ++i)
            end += gap_before(chosen[i]) + widths[chosen[i]];
        line.resize(start, ' ');
        if (start > 0 && columns_[first].separated) line[start - 2] = '|';
        if (group != groups_.end()) line += shorten(group->title, end - start);
        line.resize(end, ' ');
        start = end;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    return line + "\n";
}

void TextTable::append_line(std::string& out, std::vector<std::string> const& cells,
                            std::vector<std::size_t> const& chosen,
                            std::vector<std::size_t> const& widths) const {
    std::string line;
    for (std::size_t i = 0; i < chosen.size(); ++i) {
        std::size_t const c = chosen[i];
        if (i > 0) line += columns_[c].separated ? " | " : "  ";
        std::string const padding(widths[c] - display_width(cells[c]), ' ');
        line += columns_[c].align == Align::right ? padding + cells[c] : cells[c] + padding;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
}

void TextTable::append_block(std::string& out, std::vector<std::size_t> const& chosen) const {
    auto const widths = column_widths();
    if (!groups_.empty()) out += group_line(chosen, widths);
    for (std::size_t line = 0; line < columns_.front().header.size(); ++line) {
        std::vector<std::string> cells;
        for (auto const& column : columns_) cells.push_back(column.header[line]);
        append_line(out, cells, chosen, widths);
    }
    std::size_t total = 0;
    for (std::size_t i = 0; i < chosen.size(); ++i)
        total += widths[chosen[i]] + (i > 0 ? gap_before(chosen[i]) : 0);
    out += std::string(total, '-') + "\n";
    for (auto const& row : rows_) append_line(out, row, chosen, widths);
}

std::string TextTable::render(std::size_t max_width, std::size_t repeated) const {
    std::string out;
    if (columns_.empty()) return out;
    auto const widths = column_widths();
    std::vector<std::size_t> keys;
    std::size_t keys_width = 0;
    for (std::size_t c = 0; c < repeated; ++c) {
        keys.push_back(c);
        keys_width += widths[c] + (c > 0 ? gap_before(c) : 0);
    }
    for (std::size_t next = repeated; next < columns_.size() || out.empty();) {
        auto chosen = keys;
        std::size_t total = keys_width;
        while (next < columns_.size()) {
            std::size_t const wider =
                total + widths[next] + (chosen.empty() ? 0 : gap_before(next));
            if (chosen.size() > keys.size() && wider > max_width) break;
            total = wider;
            chosen.push_back(next++);
        }
        if (!out.empty()) out += "\n";
        append_block(out, chosen);
    }
    return out;
}

}  // namespace ckvsim::report
