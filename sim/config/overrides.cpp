#include "config/overrides.hpp"

#include <charconv>

namespace ckvsim::config {

namespace {

using Kind = JsonValue::Kind;

/// "/a/b~1c" -> {"a", "b/c"} (RFC 6901); nullopt on an unknown escape.
std::optional<std::vector<std::string>> split_pointer(std::string const& pointer) {
    std::vector<std::string> tokens;
    for (std::size_t i = 0; i < pointer.size(); ++i) {
        if (pointer[i] == '/') {
            tokens.emplace_back();
        } else if (pointer[i] != '~') {
            tokens.back() += pointer[i];
        } else {
            char const escaped = i + 1 < pointer.size() ? pointer[i + 1] : '\0';
            if (escaped != '0' && escaped != '1') return std::nullopt;
            tokens.back() += escaped == '0' ? '~' : '/';
            ++i;
        }
    }
    return tokens;
}

JsonValue value_from(std::string const& text) {
    Problems syntax;
    auto parsed = parse_json(text, {}, syntax);
    if (parsed && syntax.empty()) return std::move(*parsed);
    JsonValue plain;
    plain.kind = Kind::text;
    plain.text = text;
    return plain;
}

std::optional<std::size_t> element_index(std::string const& token, std::size_t size) {
    std::size_t index = 0;
    auto const [end, error] = std::from_chars(token.data(), token.data() + token.size(), index);
    if (error != std::errc{} || end != token.data() + token.size() || index >= size)
        return std::nullopt;
    return index;
}

/// The value at the pointer, made on the way; nullptr after reporting why it cannot be.
JsonValue* locate(JsonValue& root, std::vector<std::string> const& tokens, std::string const& text,
                  Problems& problems) {
    JsonValue* at = &root;
    std::string pointer;
    for (auto const& token : tokens) {
        if (at->kind == Kind::null) at->kind = Kind::object;
        std::string const below = join_pointer(pointer, token);
        if (at->kind == Kind::object) {
            at = &at->member(token);
        } else if (at->kind == Kind::array) {
            auto const index = element_index(token, at->children.size());
            if (!index) {
                problems.add(below, "--set '" + text + "': no such element in " + show(*at),
                             at->children.empty() ? "the array is empty"
                                                  : "elements count from 0 to " +
                                                        std::to_string(at->children.size() - 1));
                return nullptr;
            }
            at = &at->children[*index];
        } else {
            problems.add(below, "--set '" + text + "': " + (pointer.empty() ? "/" : pointer) +
                                    " holds " + show(*at) + ", which has no keys");
            return nullptr;
        }
        pointer = below;
    }
    return at;
}

}  // namespace

void apply_overrides(JsonValue& root, std::vector<std::string> const& overrides,
                     Problems& problems) {
    std::vector<Problems::Override> applied;
    for (auto const& text : overrides) {
        auto const equals = text.find('=');
        auto const tokens = equals == std::string::npos || !text.starts_with('/')
                                ? std::nullopt
                                : split_pointer(text.substr(0, equals));
        if (!tokens || tokens->front().empty()) {
            problems.add("", "--set '" + text + "' is not /json/pointer=value",
                         "write for example --set /seed=7");
            continue;
        }
        JsonValue* const target = locate(root, *tokens, text, problems);
        if (target == nullptr) continue;
        *target = value_from(text.substr(equals + 1));
        std::string pointer;
        for (auto const& token : *tokens) pointer = join_pointer(pointer, token);
        applied.push_back({std::move(pointer), text});
    }
    problems.set_overrides(std::move(applied));
}

}  // namespace ckvsim::config
