// Rows of a delimited text file with a header row. Columns are found by name, every value is
// checked when it is taken, and every refusal names file, line, column and value.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.hpp"
#include "workload/gz_line_reader.hpp"
#include "workload/import.hpp"

namespace ckvsim::workload {

/// How fields may be written.
struct TableDialect {
    char delimiter = '\t';
    bool quotes = false;  ///< RFC 4180 quotes; a line break inside quotes is refused
};
inline constexpr TableDialect kTsv{'\t', false};
inline constexpr TableDialect kCsv{',', true};

/// Largest id accepted: leaves room for "-1 = none" and for counting past it.
inline constexpr std::int64_t kMaxId = 9223372036854775805;

class TableReader {
  public:
    /// Reads the header row. `columns` are the wanted names; the position in it is the column
    /// number of the accessors. Throws DataError when the file is empty, a name is missing or a
    /// header name occurs twice.
    TableReader(std::string path, TableDialect dialect, std::vector<std::string> columns,
                ProgressCallback progress);

    /// Next row; false at the end. Throws DataError for a row whose number of fields differs from
    /// the header's, an empty line and everything GzLineReader refuses.
    bool next();

    /// Field as written, quotes removed; valid until the next call of next().
    [[nodiscard]] std::string_view text(std::size_t column) const {
        return fields_[positions_[column]];
    }
    /// Whole number within [low, high].
    [[nodiscard]] std::int64_t integer(std::size_t column, std::int64_t low,
                                       std::int64_t high) const {
        return parse_integer(column, text(column), low, high);
    }
    [[nodiscard]] std::int64_t id(std::size_t column) const { return integer(column, 0, kMaxId); }
    /// `value`, a part of the column's text, as an id.
    [[nodiscard]] std::int64_t parse_id(std::size_t column, std::string_view value) const {
        return parse_integer(column, value, 0, kMaxId);
    }
    /// Finite decimal number.
    [[nodiscard]] double real(std::size_t column) const;
    /// "0" or "1".
    [[nodiscard]] std::uint8_t flag(std::size_t column) const;
    /// Calls take(value) for every entry of a list of whole numbers separated by single spaces; an
    /// empty field is an empty list.
    template <class Take>
    void each_integer(std::size_t column, std::int64_t low, std::int64_t high, Take&& take) const {
        std::string_view rest = text(column);
        while (!rest.empty()) {
            std::size_t const space = rest.find(' ');
            take(parse_integer(column, rest.substr(0, space), low, high));
            if (space == std::string_view::npos) return;
            rest.remove_prefix(space + 1);
            if (rest.empty()) fail(column, "ends with a space");
        }
    }

    [[nodiscard]] std::uint64_t rows() const { return rows_; }
    [[nodiscard]] std::uint64_t line_number() const { return lines_.line_number(); }
    [[nodiscard]] std::string const& path() const { return lines_.path(); }
    /// Throws DataError at the current line; `reason` follows the column's name.
    [[noreturn]] void fail(std::size_t column, std::string const& reason) const;
    [[noreturn]] void fail_row(std::string const& reason) const { lines_.fail(reason); }
    /// Throws DataError unless the file had a row.
    void require_rows() const;

  private:
    void split(std::string_view line);
    void split_quoted(std::string_view line);
    std::size_t take_quoted(std::string_view line, std::size_t at);
    void find_columns();
    void report(bool force) const;
    [[nodiscard]] std::int64_t parse_integer(std::size_t column, std::string_view value,
                                             std::int64_t low, std::int64_t high) const;

    GzLineReader lines_;
    TableDialect dialect_;
    std::vector<std::string> columns_;
    std::vector<std::size_t> positions_;  ///< wanted column -> field
    std::vector<std::string_view> fields_;
    std::string unquoted_;  ///< holds the fields of a line with quotes
    std::size_t width_ = 0;
    std::uint64_t rows_ = 0;
    ProgressCallback progress_;
};

/// Path of `folder/name` or `folder/name.gz`, whichever exists. Throws DataError when `folder` is
/// not a folder, neither file exists, or both do.
std::string find_table(std::string const& folder, std::string const& name);

/// A value for an error message: at most 40 characters, in quotes.
std::string show_value(std::string_view value);

}  // namespace ckvsim::workload
