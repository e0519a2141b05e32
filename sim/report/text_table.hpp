// Aligned plain-text tables and the number formats of `ckvsim show`, `ckvsim diff` and the summary
// after a run. Text from files is made harmless for terminals.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ckvsim::report {

/// Valid UTF-8 without control, bidirectional or zero-width characters: those, and invalid bytes,
/// become \n, \t, \xNN or \u{N}. What it returns cannot move a terminal's cursor or hide text.
std::string printable(std::string_view text);
/// Terminal columns of a printable text: one per code point.
std::size_t display_width(std::string_view printable_text);
/// At most `width` columns; the middle of a longer text becomes "..".
std::string shorten(std::string const& printable_text, std::size_t width);

/// "-" for NaN in all of the following.
std::string format_bytes(double bytes);  ///< "812 B", "1.50 KiB", "20.0 GiB"
std::string format_ns(double ns);        ///< "850 ns", "12.3 us", "4.56 ms", "1.20 s"
std::string format_real(double value);   ///< six significant digits
std::string format_fixed(double value, int digits);
std::string format_percent(double share, int digits);  ///< 0.0157 -> "1.57 %"
std::string format_integer(std::int64_t value);        ///< "1,234,567"

enum class Align : std::uint8_t { left, right };

/// Rows of cells under a header of one or more lines. Cells must be printable.
class TextTable {
  public:
    /// One entry per header line; all columns have the same number of lines.
    void add_column(std::vector<std::string> header, Align align);
    void add_row(std::vector<std::string> cells);
    /// A rule "|" is drawn before this column.
    void separate_before(std::size_t column);
    /// A title over columns first .. last (included), drawn when all columns fit into one block;
    /// the last column widens when the title needs it.
    void add_group(std::size_t first, std::size_t last, std::string title);
    /// Lines with a trailing newline each; columns that do not fit into `max_width` continue in
    /// further blocks, which repeat the first `repeated` columns.
    [[nodiscard]] std::string render(std::size_t max_width, std::size_t repeated) const;
    /// Width of the whole table in one block.
    [[nodiscard]] std::size_t width() const;

  private:
    struct Group {
        std::size_t first = 0;
        std::size_t last = 0;
        std::string title;
    };
    struct ColumnText {
        std::vector<std::string> header;
        Align align;
        bool separated = false;
    };
    [[nodiscard]] std::size_t gap_before(std::size_t column) const;
    [[nodiscard]] std::vector<std::size_t> column_widths() const;
    /// Terminal columns from the start of column `first` to the end of column `last`, in one block.
    [[nodiscard]] std::size_t span(std::vector<std::size_t> const& widths, std::size_t first,
                                   std::size_t last) const;
    [[nodiscard]] std::string group_line(std::vector<std::size_t> const& chosen,
                                         std::vector<std::size_t> const& widths) const;
    void append_line(std::string& out, std::vector<std::string> const& cells,
                     std::vector<std::size_t> const& chosen,
                     std::vector<std::size_t> const& widths) const;
    void append_block(std::string& out, std::vector<std::size_t> const& chosen) const;

    std::vector<ColumnText> columns_;
    std::vector<Group> groups_;
    std::vector<std::vector<std::string>> rows_;
};

}  // namespace ckvsim::report
