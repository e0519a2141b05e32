#include "workload/gz_line_reader.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/error.hpp"

namespace ckvsim::workload {

namespace {

constexpr std::size_t kReadBytes = 1U << 20;

bool is_ascii(std::string_view text) {
    std::size_t i = 0;
    for (; i + 8 <= text.size(); i += 8) {
        std::uint64_t word = 0;
        std::memcpy(&word, text.data() + i, 8);
        if ((word & 0x8080808080808080ULL) != 0) return false;
    }
    for (; i < text.size(); ++i) {
        if ((static_cast<unsigned char>(text[i]) & 0x80U) != 0) return false;
    }
    return true;
}

/// Length of the sequence that `lead` starts and the range of its second byte; length 0 for an
/// invalid lead.
struct Utf8Lead {
    std::size_t length;
    unsigned char low;
    unsigned char high;
};
Utf8Lead utf8_lead(unsigned char lead) {
    if (lead < 0x80) return {1, 0, 0};
    if (lead < 0xC2) return {0, 0, 0};
    if (lead < 0xE0) return {2, 0x80, 0xBF};
    if (lead == 0xE0) return {3, 0xA0, 0xBF};
    if (lead == 0xED) return {3, 0x80, 0x9F};
    if (lead < 0xF0) return {3, 0x80, 0xBF};
    if (lead == 0xF0) return {4, 0x90, 0xBF};
    if (lead < 0xF4) return {4, 0x80, 0xBF};
    if (lead == 0xF4) return {4, 0x80, 0x8F};
    return {0, 0, 0};
}

}  // namespace

bool is_utf8(std::string_view text) {
    for (std::size_t i = 0; i < text.size();) {
        Utf8Lead const lead = utf8_lead(static_cast<unsigned char>(text[i]));
        if (lead.length == 0 || i + lead.length > text.size()) return false;
        for (std::size_t k = 1; k < lead.length; ++k) {
            auto const byte = static_cast<unsigned char>(text[i + k]);
            unsigned char const low = k == 1 ? lead.low : 0x80;
            unsigned char const high = k == 1 ? lead.high : 0xBF;
            if (byte < low || byte > high) return false;
        }
        i += lead.length;
    }
    return true;
}

GzLineReader::GzLineReader(std::string path)
    : source_(std::move(path)), buffer_(kMaxLineBytes + kReadBytes) {}

void GzLineReader::fail(std::string const& reason) const {
    throw DataError(path(), line_number_, reason);
}

void GzLineReader::fill() {
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
    std::size_t const room = std::min(buffer_.size() - end_, kReadBytes);
    std::size_t const count = source_.read(buffer_.data() + end_, room, line_number_ + 1);
    if (count == 0) at_end_ = true;
    end_ += count;
}

bool GzLineReader::next(std::string_view& line) {
    std::size_t searched = 0;
    for (;;) {
        char const* start = buffer_.data() + begin_;
        std::size_t const available = end_ - begin_;
        auto const* stop =
            static_cast<char const*>(std::memchr(start + searched, '\n', available - searched));
        if (stop == nullptr && !at_end_ && available <= kMaxLineBytes) {
            searched = available;
            fill();
            continue;
        }
        if (stop == nullptr && available == 0) return false;
        line = {start, stop != nullptr ? static_cast<std::size_t>(stop - start) : available};
        begin_ += line.size() + (stop != nullptr ? 1 : 0);
        ++line_number_;
        if (line.size() > kMaxLineBytes) fail("the line is longer than 1 MiB");
        if (line.ends_with('\r')) line.remove_suffix(1);
        check_text(line);
        return true;
    }
}

void GzLineReader::check_text(std::string_view line) const {
    if (std::memchr(line.data(), '\0', line.size()) != nullptr)
        fail("contains a NUL byte; not a text file");
    if (!is_ascii(line) && !is_utf8(line)) fail("is not UTF-8 text");
}

}  // namespace ckvsim::workload
