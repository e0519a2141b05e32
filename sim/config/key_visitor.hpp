// One description of every key, many uses: a function that takes a KeyVisitor and a struct names
// each key with its type, unit, range and meaning once; visitors read the struct from JSON, write
// it as JSON, and generate the JSON Schema and the key reference. Defaults are the values of a
// default-constructed struct. Keys are visited in a fixed order, those that others depend on first.
#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace ckvsim::config {

/// What a key of a file is: its name and its description.
struct Key {
    std::string name = {};
    std::string meaning = {};
    std::string unit = {};
    bool required = false;
    bool applies = true;  ///< false: the key has no effect here and must be absent
    std::string only_if =
        {};  ///< the condition of `applies` in words, for example "kind = dataset"
    /// Integers: what an absent key means, where that is not the struct's own default.
    std::optional<std::uint64_t> absent = {};
};

/// Allowed real values; both ends are included unless said otherwise.
struct RealRange {
    double low = -std::numeric_limits<double>::infinity();
    double high = std::numeric_limits<double>::infinity();
    bool above_low = false;   ///< low itself is not allowed
    bool below_high = false;  ///< high itself is not allowed
};

/// Allowed integers, both ends included.
struct IntegerRange {
    std::uint64_t low = 0;
    std::uint64_t high = std::numeric_limits<std::uint64_t>::max();
    std::vector<std::uint64_t> only = {};  ///< when not empty: exactly these
};

/// Allowed texts, lengths in bytes.
struct TextRule {
    std::size_t shortest = 0;
    std::size_t longest = 4096;
    bool name = false;  ///< letters, digits, '_', '.', '-'; used in file names and tables
};

/// Allowed lists.
struct ListRule {
    std::size_t fewest = 0;
    std::size_t most = 1000;
    bool unique = false;
};

/// Names of an enum's values.
template <class E>
using Choices = std::span<std::pair<E, char const*> const>;

/// Reads, writes or documents the keys that a description names.
class KeyVisitor {
  public:
    virtual ~KeyVisitor() = default;

    // Each returns false when the input held an unusable value; the target then keeps its default.

    template <std::unsigned_integral I>
    bool integer(Key const& key, I& value, IntegerRange range) {
        range.high = std::min<std::uint64_t>(range.high, std::numeric_limits<I>::max());
        std::uint64_t wide = value;
        bool const good = on_integer(key, wide, range);
        value = static_cast<I>(wide);
        return good;
    }
    bool real(Key const& key, double& value, RealRange const& range) {
        return on_real(key, value, range);
    }
    bool boolean(Key const& key, bool& value) { return on_boolean(key, value); }
    bool text(Key const& key, std::string& value, TextRule const& rule) {
        return on_text(key, value, rule);
    }
    template <class E>
    bool choice(Key const& key, E& value, Choices<E> choices) {
        std::vector<std::string> names;
        std::size_t index = 0;
        for (auto const& [candidate, name] : choices) {
            if (candidate == value) index = names.size();
            names.emplace_back(name);
        }
        bool const good = on_choice(key, index, names);
        value = choices[index].first;
        return good;
    }
    /// `members(visitor)` visits the object's keys.
    template <class Members>
    void object(Key const& key, Members members) {
        if (!on_begin_object(key)) return;
        members(*this);
        on_end_object();
    }
    /// `element(visitor, key, item)` visits one element under the given (nameless) key.
    template <class T, class Element>
    bool list(Key const& key, std::vector<T>& values, ListRule const& rule, Element element) {
        auto const size = on_begin_list(key, values.size(), rule);
        if (!size) return false;
        values.resize(*size);
        for (std::size_t i = 0; i < *size; ++i) {
            on_begin_element(i);
            element(*this, Key{}, values[i]);
            on_end_element();
        }
        on_end_list();
        return true;
    }
    /// An object whose keys are data. `element(visitor, key, value)` visits one of them.
    template <class T, class Element>
    void map(Key const& key, std::map<std::string, T>& values, Element element) {
        std::vector<std::string> names;
        for (auto const& [name, value] : values) names.push_back(name);
        if (!on_begin_map(key, names)) return;
        for (auto const& name : names) {
            Key item;
            item.name = name;
            element(*this, item, values[name]);
        }
        on_end_object();
    }
    /// A key that may be there and is ignored.
    virtual void ignored(Key const& key) = 0;

  protected:
    virtual bool on_integer(Key const& key, std::uint64_t& value, IntegerRange const& range) = 0;
    virtual bool on_real(Key const& key, double& value, RealRange const& range) = 0;
    virtual bool on_boolean(Key const& key, bool& value) = 0;
    virtual bool on_text(Key const& key, std::string& value, TextRule const& rule) = 0;
    virtual bool on_choice(Key const& key, std::size_t& index,
                           std::vector<std::string> const& names) = 0;
    virtual bool on_begin_object(Key const& key) = 0;
    virtual void on_end_object() = 0;
    /// Size of the list to visit; nullopt: leave the values as they are.
    virtual std::optional<std::size_t> on_begin_list(Key const& key, std::size_t size,
                                                     ListRule const& rule) = 0;
    virtual void on_begin_element(std::size_t index) = 0;
    virtual void on_end_element() = 0;
    virtual void on_end_list() = 0;
    /// `names`: the present keys; a reader replaces them by those of the input.
    virtual bool on_begin_map(Key const& key, std::vector<std::string>& names) = 0;
};

}  // namespace ckvsim::config
