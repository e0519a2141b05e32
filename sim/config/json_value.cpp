#include "config/json_value.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace ckvsim::config {

namespace {

using Kind = JsonValue::Kind;

struct Position {
    std::size_t line = 1;
    std::size_t column = 1;
};

/// Line and column (in bytes, from 1) of a byte offset.
Position position_of(std::string_view text, std::size_t offset) {
    Position position;
    for (char const c : text.substr(0, std::min(offset, text.size()))) {
        ++position.column;
        if (c == '\n') position = {position.line + 1, 1};
    }
    return position;
}

std::string at(std::string_view text, std::size_t offset) {
    auto const [line, column] = position_of(text, offset);
    return "line " + std::to_string(line) + ", column " + std::to_string(column) + ": ";
}

/// Length of the well-formed UTF-8 sequence that starts the text, 0 when there is none (RFC 3629).
std::size_t utf8_length(std::string_view text) {
    auto const byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    unsigned char const lead = byte(0);
    if (lead < 0x80) return 1;
    std::size_t const length = lead >= 0xC2 && lead < 0xE0   ? 2
                               : lead >= 0xE0 && lead < 0xF0 ? 3
                               : lead >= 0xF0 && lead < 0xF5 ? 4
                                                             : 0;
    if (length == 0 || length > text.size()) return 0;
    for (std::size_t i = 1; i < length; ++i) {
        if ((byte(i) & 0xC0) != 0x80) return 0;
    }
    bool const overlong = (lead == 0xE0 && byte(1) < 0xA0) || (lead == 0xF0 && byte(1) < 0x90);
    bool const surrogate = lead == 0xED && byte(1) >= 0xA0;
    bool const beyond = lead == 0xF4 && byte(1) >= 0x90;
    return overlong || surrogate || beyond ? 0 : length;
}

std::optional<std::size_t> first_invalid_utf8(std::string_view text) {
    for (std::size_t i = 0; i < text.size();) {
        std::size_t const length = utf8_length(text.substr(i));
        if (length == 0) return i;
        i += length;
    }
    return std::nullopt;
}

/// "[json.exception.parse_error.101] parse error at line 1, column 2: syntax error while ..." ->
/// from "syntax error" on.
std::string library_reason(std::string const& what) {
    auto const bracket = what.find("] ");
    std::string reason = bracket == std::string::npos ? what : what.substr(bracket + 2);
    if (reason.starts_with("parse error at ")) {
        auto const colon = reason.find(": ");
        if (colon != std::string::npos) reason = reason.substr(colon + 2);
    }
    constexpr std::size_t kLongest = 200;
    if (reason.size() > kLongest) reason = reason.substr(0, kLongest) + " ...";
    return reason;
}

/// Builds the tree from the library's parse events.
class TreeBuilder final : public nlohmann::json_sax<nlohmann::json> {
  public:
    TreeBuilder(std::string_view text, JsonLimits const& limits, Problems& problems)
        : text_(text), limits_(limits), problems_(problems) {}

    JsonValue take() { return std::move(root_); }

    bool null() override { return place({}) != nullptr; }
    bool boolean(bool value) override {
        JsonValue node;
        node.kind = Kind::boolean;
        node.boolean = value;
        return place(std::move(node)) != nullptr;
    }
    bool number_integer(number_integer_t value) override {
        return number(static_cast<double>(value), std::nullopt, std::to_string(value));
    }
    bool number_unsigned(number_unsigned_t value) override {
        return number(static_cast<double>(value), value, std::to_string(value));
    }
    bool number_float(number_float_t value, string_t const& literal) override {
        return number(value, std::nullopt, literal);
    }
    bool string(string_t& value) override {
        JsonValue node;
        node.kind = Kind::text;
        node.text = std::move(value);
        return place(std::move(node)) != nullptr;
    }
    bool binary(binary_t&) override { return false; }  // not part of JSON text
    bool start_object(std::size_t) override { return open(Kind::object); }
    bool start_array(std::size_t) override { return open(Kind::array); }
    bool end_object() override { return close(); }
    bool end_array() override { return close(); }
    bool key(string_t& name) override {
        open_.back().key = std::move(name);
        return true;
    }
    bool parse_error(std::size_t byte, std::string const&,
                     nlohmann::json::exception const& error) override {
        problems_.add("", at(text_, byte == 0 ? 0 : byte - 1) + library_reason(error.what()),
                      "specs are strict JSON: no comments, no trailing commas, strings in double "
                      "quotes");
        return false;
    }

  private:
    struct Open {
        JsonValue* node;
        std::string key;
        std::string pointer;
    };

    bool number(double value, std::optional<std::uint64_t> integer, std::string literal) {
        JsonValue node;
        node.kind = Kind::number;
        node.real = value;
        node.integer = integer;
        node.text = std::move(literal);
        return place(std::move(node)) != nullptr;
    }

    [[nodiscard]] std::string child_pointer() const {
        if (open_.empty()) return "";
        auto const& top = open_.back();
        return join_pointer(top.pointer, top.node->kind == Kind::object
                                             ? top.key
                                             : std::to_string(top.node->children.size()));
    }

    /// Puts a value where the parser stands; a repeated key's value goes to `discarded_`.
    JsonValue* place(JsonValue value) {
        if (open_.empty()) {
            root_ = std::move(value);
            return &root_;
        }
        JsonValue& parent = *open_.back().node;
        if (parent.kind == Kind::object) {
            auto const [slot, is_new] =
                parent.members.emplace(open_.back().key, parent.children.size());
            if (!is_new) {
                problems_.add(child_pointer(), "the key appears more than once in its object",
                              "keep one of them");
                discarded_.push_back(std::make_unique<JsonValue>(std::move(value)));
                return discarded_.back().get();
            }
        }
        parent.children.push_back(std::move(value));
        return &parent.children.back();
    }

    bool open(Kind kind) {
        if (open_.size() == limits_.depth) {
            problems_.add("",
                          "nested deeper than " + std::to_string(limits_.depth) + " levels at " +
                              child_pointer().substr(0, 120),
                          "no file of ckvsim needs so many");
            return false;
        }
        std::string pointer = child_pointer();
        JsonValue node;
        node.kind = kind;
        JsonValue* const placed = place(std::move(node));
        open_.push_back({placed, "", std::move(pointer)});
        return true;
    }

    bool close() {
        open_.pop_back();
        return true;
    }

    std::string_view text_;
    JsonLimits const& limits_;
    Problems& problems_;
    JsonValue root_;
    // A node's children only grow while it is the innermost open one, so pointers to open nodes
    // stay valid.
    std::vector<Open> open_;
    std::vector<std::unique_ptr<JsonValue>> discarded_;
};

bool refuse_encoding(std::string_view text, JsonLimits const& limits, Problems& problems) {
    if (text.size() > limits.bytes) {
        problems.add("",
                     std::to_string(text.size()) + " bytes; the largest file accepted has " +
                         std::to_string(limits.bytes),
                     "is this the right file?");
    } else if (text.starts_with("\xEF\xBB\xBF")) {
        problems.add("", "line 1, column 1: starts with a byte order mark",
                     "save the file as UTF-8 without BOM");
    } else if (auto const offset = first_invalid_utf8(text)) {
        problems.add("", at(text, *offset) + "invalid UTF-8", "save the file as UTF-8");
    }
    return !problems.empty();
}

}  // namespace

JsonValue const* JsonValue::find(std::string const& name) const {
    auto const found = members.find(name);
    return found == members.end() ? nullptr : &children[found->second];
}

JsonValue& JsonValue::member(std::string const& name) {
    auto const [slot, is_new] = members.emplace(name, children.size());
    if (is_new) children.emplace_back();
    return children[slot->second];
}

std::string show(JsonValue const& value) {
    constexpr std::size_t kLongest = 60;
    switch (value.kind) {
        case Kind::null:
            return "null";
        case Kind::boolean:
            return value.boolean ? "true" : "false";
        case Kind::array:
            return "an array of " + std::to_string(value.children.size());
        case Kind::object:
            return "an object of " + std::to_string(value.children.size()) + " keys";
        case Kind::number:
        case Kind::text:
            break;
    }
    std::string text = value.kind == Kind::text
                           ? nlohmann::json(value.text)
                                 .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)
                           : value.text;
    if (text.size() <= kLongest) return text;
    std::size_t end = kLongest;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
    return text.substr(0, end) + "...";
}

std::optional<JsonValue> parse_json(std::string_view text, JsonLimits const& limits,
                                    Problems& problems) {
    if (refuse_encoding(text, limits, problems)) return std::nullopt;
    TreeBuilder builder(text, limits, problems);
    if (!nlohmann::json::sax_parse(text.begin(), text.end(), &builder)) return std::nullopt;
    return builder.take();
}

}  // namespace ckvsim::config
