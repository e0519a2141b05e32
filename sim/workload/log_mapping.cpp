#include "workload/log_mapping.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>

#include "core/error.hpp"

namespace ckvsim::workload {

namespace {

LabelRule parse_label(std::string const& option, std::string const& text,
                      std::string const& value) {
    LabelRule rule;
    std::size_t const at = value.find_first_of("<>=!");
    rule.column = value.substr(0, at);
    if (at == std::string::npos) return rule;
    std::string const rest = value.substr(at);
    std::size_t operator_size = 2;
    if (rest.starts_with(">=")) {
        rule.kind = LabelRule::Kind::at_least;
    } else if (rest.starts_with("==")) {
        rule.kind = LabelRule::Kind::equal;
    } else if (rest.starts_with(">")) {
        rule.kind = LabelRule::Kind::above;
        operator_size = 1;
    } else {
        refuse_option(option, text, "the label compares with >=, > or ==, for example rating>=4");
    }
    char const* const begin = rest.data() + operator_size;
    char const* const end = rest.data() + rest.size();
    auto const [stop, error] = std::from_chars(begin, end, rule.threshold);
    if (error != std::errc() || stop != end || !std::isfinite(rule.threshold)) {
        refuse_option(option, text, "\"" + std::string(begin, end) + "\" is not a number");
    }
    return rule;
}

}  // namespace

LogMapping parse_columns(std::string const& option, std::string const& text) {
    std::map<std::string, std::string> given;
    for (std::size_t begin = 0; begin <= text.size();) {
        std::size_t const comma = std::min(text.find(',', begin), text.size());
        std::string const part = text.substr(begin, comma - begin);
        std::size_t const equals = part.find('=');
        std::string const key = part.substr(0, equals);
        if (equals == std::string::npos || equals + 1 == part.size())
            refuse_option(option, text, "\"" + part + "\" is not key=column");
        if (!given.emplace(key, part.substr(equals + 1)).second)
            refuse_option(option, text, "\"" + key + "\" is given twice");
        begin = comma + 1;
    }
    LogMapping mapping;
    for (auto const& [key, value] : given) {
        if (key == "user") {
            mapping.user = value;
        } else if (key == "item") {
            mapping.item = value;
        } else if (key == "time") {
            mapping.time = value;
        } else if (key == "label") {
            mapping.label = parse_label(option, text, value);
        } else if (key == "category") {
            mapping.category = value;
        } else if (key == "context") {
            mapping.context = value;
        } else {
            refuse_option(option, text,
                          "\"" + key +
                              "\" is unknown; keys are user, item, time, label, category, "
                              "context");
        }
    }
    if (mapping.user.empty() || mapping.item.empty() || mapping.time.empty() ||
        mapping.label.column.empty())
        refuse_option(option, text, "user, item, time and label are needed");
    return mapping;
}

void set_delimiter(LogMapping& mapping, std::string const& option, std::string const& text) {
    std::map<std::string, char> const names = {
        {"comma", ','}, {"tab", '\t'}, {"semicolon", ';'}, {"pipe", '|'}};
    auto const named = names.find(text);
    char const delimiter = named != names.end() ? named->second : text.size() == 1 ? text[0] : '\0';
    bool const printable = delimiter == '\t' || (delimiter > ' ' && delimiter < 0x7F);
    if (!printable || delimiter == '"')
        refuse_option(option, text, "must be comma, tab, semicolon, pipe or one character");
    mapping.dialect = {delimiter, delimiter != '\t'};
}

void set_time_unit(LogMapping& mapping, std::string const& option, std::string const& text) {
    mapping.numerator_ms = text == "s" ? 1000 : 1;
    mapping.denominator = text == "us" ? 1000 : 1;
    if (text != "s" && text != "ms" && text != "us")
        refuse_option(option, text, "must be s, ms or us");
}

}  // namespace ckvsim::workload
