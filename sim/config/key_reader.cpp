#include "config/key_reader.hpp"

#include <cmath>

#include "config/key_text.hpp"

namespace ckvsim::config {

namespace {

using Kind = JsonValue::Kind;

std::string kind_name(Kind kind) {
    switch (kind) {
        case Kind::null:
            return "null";
        case Kind::boolean:
            return "a boolean";
        case Kind::number:
            return "a number";
        case Kind::text:
            return "a string";
        case Kind::array:
            return "an array";
        case Kind::object:
            return "an object";
    }
    return "unknown";
}

bool is_digits(std::string const& literal) {
    return !literal.empty() && literal.find_first_not_of("0123456789") == std::string::npos;
}

bool is_name(std::string const& text) {
    return std::all_of(text.begin(), text.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '_' || c == '.' || c == '-';
    });
}

std::string quoted_list(std::vector<std::string> const& names) {
    std::string text;
    for (auto const& name : names) text += (text.empty() ? "" : ", ") + name;
    return text;
}

}  // namespace

KeyReader::KeyReader(JsonValue const& root, Problems& problems) : problems_(problems) {
    frames_.push_back({&root, "", false, {}});
}

void KeyReader::finish() { on_end_object(); }

KeyReader::Found KeyReader::find(Key const& key) {
    Frame& frame = frames_.back();
    if (frame.element) return {frame.node, frame.pointer, false};
    frame.known.push_back(key.name);
    Found found{frame.node->find(key.name), join_pointer(frame.pointer, key.name), false};
    if (found.node == nullptr) {
        if (key.required && key.applies) {
            found.refused = true;
            problems_.add(found.pointer, "missing",
                          "add it: " + key.meaning +
                              (key.only_if.empty() ? "" : " (needed when " + key.only_if + ")"));
        }
    } else if (!key.applies) {
        auto const decider = key.only_if.substr(0, key.only_if.find(' '));
        problems_.add(
            {found.pointer, join_pointer(frame.pointer, decider)},
            show(*found.node) + " has no effect here (it applies when " + key.only_if + ")",
            "remove it");
        found.node = nullptr;
        found.refused = true;
    }
    return found;
}

bool KeyReader::wrong_type(Found const& found, char const* expected) {
    std::string suggestion;
    if (found.node->kind == Kind::text && std::string(expected).find("string") == std::string::npos)
        suggestion = "write it without quotes";
    problems_.add(
        found.pointer,
        show(*found.node) + " is " + kind_name(found.node->kind) + ", expected " + expected,
        suggestion);
    return false;
}

void KeyReader::ignored(Key const& key) { frames_.back().known.push_back(key.name); }

bool KeyReader::on_integer(Key const& key, std::uint64_t& value, IntegerRange const& range) {
    Found const found = find(key);
    if (found.node == nullptr) {
        if (!found.refused) value = key.absent.value_or(value);
        return !found.refused;
    }
    JsonValue const& node = *found.node;
    if (node.kind != Kind::number) return wrong_type(found, "an integer");
    if (!node.integer && !is_digits(node.text) && node.real >= 0.0) {
        problems_.add(found.pointer, node.text + " is not written as an integer",
                      "write whole digits, for example " +
                          std::to_string(std::clamp<std::uint64_t>(
                              node.real < 1e15 ? static_cast<std::uint64_t>(node.real) : range.high,
                              range.low, range.high)));
        return false;
    }
    bool const inside = node.integer && *node.integer >= range.low && *node.integer <= range.high &&
                        (range.only.empty() || std::find(range.only.begin(), range.only.end(),
                                                         *node.integer) != range.only.end());
    if (!inside) {
        problems_.add(found.pointer, node.text + " is not allowed; allowed: " + allowed(range));
        return false;
    }
    value = *node.integer;
    return true;
}

bool KeyReader::on_real(Key const& key, double& value, RealRange const& range) {
    Found const found = find(key);
    if (found.node == nullptr) return !found.refused;
    JsonValue const& node = *found.node;
    if (node.kind != Kind::number) return wrong_type(found, "a number");
    bool const above = range.above_low ? node.real > range.low : node.real >= range.low;
    bool const below = range.below_high ? node.real < range.high : node.real <= range.high;
    if (!std::isfinite(node.real) || !above || !below) {
        problems_.add(found.pointer, node.text + " is not allowed; allowed: " + allowed(range));
        return false;
    }
    value = node.real;
    return true;
}

bool KeyReader::on_boolean(Key const& key, bool& value) {
    Found const found = find(key);
    if (found.node == nullptr) return !found.refused;
    if (found.node->kind != Kind::boolean) return wrong_type(found, "true or false");
    value = found.node->boolean;
    return true;
}

bool KeyReader::on_text(Key const& key, std::string& value, TextRule const& rule) {
    Found const found = find(key);
    if (found.node == nullptr) return !found.refused;
    if (found.node->kind != Kind::text) return wrong_type(found, "a string");
    auto const& text = found.node->text;
    if (text.size() < rule.shortest || text.size() > rule.longest ||
        text.find('\0') != std::string::npos || (rule.name && !is_name(text))) {
        problems_.add(found.pointer,
                      show(*found.node) + " is not allowed; allowed: " + allowed(rule));
        return false;
    }
    value = text;
    return true;
}

bool KeyReader::on_choice(Key const& key, std::size_t& index,
                          std::vector<std::string> const& names) {
    Found const found = find(key);
    if (found.node == nullptr) return !found.refused;
    if (found.node->kind != Kind::text) return wrong_type(found, "a string");
    auto const match = std::find(names.begin(), names.end(), found.node->text);
    if (match == names.end()) {
        auto const close = nearest(found.node->text, names);
        problems_.add(found.pointer,
                      show(*found.node) + " is not known; allowed: " + quoted_list(names),
                      close.empty() ? "" : "did you mean \"" + close + "\"?");
        return false;
    }
    index = static_cast<std::size_t>(match - names.begin());
    return true;
}

bool KeyReader::on_begin_object(Key const& key) {
    Found found = find(key);
    if (found.node == nullptr) return false;
    if (found.node->kind != Kind::object) return wrong_type(found, "an object");
    frames_.push_back({found.node, std::move(found.pointer), false, {}});
    return true;
}

void KeyReader::on_end_object() {
    Frame const frame = std::move(frames_.back());
    frames_.pop_back();
    for (auto const& [name, position] : frame.node->members) {
        if (std::find(frame.known.begin(), frame.known.end(), name) != frame.known.end()) continue;
        auto const close = nearest(name, frame.known);
        problems_.add(join_pointer(frame.pointer, name),
                      "unknown key with value " + show(frame.node->children[position]),
                      close.empty() ? "known here: " + quoted_list(frame.known)
                                    : "did you mean \"" + close + "\"?");
    }
}

void KeyReader::refuse_repeats(JsonValue const& list, std::string const& pointer) {
    std::map<std::string, std::size_t> seen;
    for (std::size_t i = 0; i < list.children.size(); ++i) {
        auto const& item = list.children[i];
        if (item.kind != Kind::number && item.kind != Kind::text) continue;
        auto const [first, is_new] = seen.emplace(item.text, i);
        if (is_new) continue;
        problems_.add(join_pointer(pointer, std::to_string(i)),
                      show(item) + " repeats element " + std::to_string(first->second),
                      "keep one of them");
    }
}

std::optional<std::size_t> KeyReader::on_begin_list(Key const& key, std::size_t,
                                                    ListRule const& rule) {
    Found found = find(key);
    if (found.node == nullptr) return std::nullopt;
    if (found.node->kind != Kind::array) {
        wrong_type(found, "an array");
        return std::nullopt;
    }
    std::size_t const size = found.node->children.size();
    if (size < rule.fewest || size > rule.most) {
        problems_.add(found.pointer,
                      show(*found.node) + " is not allowed; allowed: " + allowed(rule));
        return std::nullopt;
    }
    if (rule.unique) refuse_repeats(*found.node, found.pointer);
    frames_.push_back({found.node, std::move(found.pointer), false, {}});
    return size;
}

void KeyReader::on_begin_element(std::size_t index) {
    Frame const& list = frames_.back();
    frames_.push_back(
        {&list.node->children[index], join_pointer(list.pointer, std::to_string(index)), true, {}});
}

void KeyReader::on_end_element() { frames_.pop_back(); }
void KeyReader::on_end_list() { frames_.pop_back(); }

bool KeyReader::on_begin_map(Key const& key, std::vector<std::string>& names) {
    if (!on_begin_object(key)) return false;
    names.clear();
    for (auto const& [name, position] : frames_.back().node->members) names.push_back(name);
    return true;
}

}  // namespace ckvsim::config
