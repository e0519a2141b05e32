#include "config/key_writer.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "config/key_text.hpp"

namespace ckvsim::config {

namespace {

using Json = nlohmann::ordered_json;

class KeyWriter final : public KeyVisitor {
  public:
    KeyWriter() { open_.push_back(&root_); }
    [[nodiscard]] Json const& root() const { return root_; }

    void ignored(Key const&) override {}

  protected:
    bool on_integer(Key const& key, std::uint64_t& value, IntegerRange const&) override {
        return put(key, value);
    }
    bool on_real(Key const& key, double& value, RealRange const&) override {
        return put(key, value);
    }
    bool on_boolean(Key const& key, bool& value) override { return put(key, value); }
    bool on_text(Key const& key, std::string& value, TextRule const&) override {
        return put(key, value);
    }
    bool on_choice(Key const& key, std::size_t& index,
                   std::vector<std::string> const& names) override {
        return put(key, names[index]);
    }
    bool on_begin_object(Key const& key) override {
        if (!key.applies) return false;
        open_.push_back(&place(key, Json::object()));
        return true;
    }
    void on_end_object() override { open_.pop_back(); }
    std::optional<std::size_t> on_begin_list(Key const& key, std::size_t size,
                                             ListRule const&) override {
        if (!key.applies) return std::nullopt;
        open_.push_back(&place(key, Json::array()));
        return size;
    }
    void on_begin_element(std::size_t) override {}
    void on_end_element() override {}
    void on_end_list() override { open_.pop_back(); }
    bool on_begin_map(Key const& key, std::vector<std::string>&) override {
        return on_begin_object(key);
    }

  private:
    /// Ordered objects keep their members in one growing array: only the innermost open container
    /// grows, so pointers to its ancestors stay valid.
    Json& place(Key const& key, Json value) {
        Json& parent = *open_.back();
        if (parent.is_array()) {
            parent.push_back(std::move(value));
            return parent.back();
        }
        return parent[key.name] = std::move(value);
    }
    template <class T>
    bool put(Key const& key, T const& value) {
        if (key.applies) place(key, Json(value));
        return true;
    }

    Json root_ = Json::object();
    std::vector<Json*> open_;
};

bool is_scalar_list(Json const& value) {
    return value.is_array() && std::none_of(value.begin(), value.end(),
                                            [](Json const& item) { return item.is_structured(); });
}

/// Two spaces a level; lists of scalars stay on one line.
void print(Json const& value, std::size_t indent, std::string& out) {
    if (!value.is_structured() || value.empty()) {
        out += value.is_number_float() ? number_text(value.get<double>()) : value.dump();
        return;
    }
    bool const flat = is_scalar_list(value);
    std::string const gap = flat ? "" : "\n" + std::string(indent + 2, ' ');
    out += value.is_object() ? '{' : '[';
    bool first = true;
    for (auto const& item : value.items()) {
        out += first ? gap : flat ? ", " : "," + gap;
        first = false;
        if (value.is_object()) out += Json(item.key()).dump() + ": ";
        print(item.value(), indent + 2, out);
    }
    if (!flat) out += "\n" + std::string(indent, ' ');
    out += value.is_object() ? '}' : ']';
}

}  // namespace

std::string write_json(std::function<void(KeyVisitor&)> const& describe) {
    KeyWriter writer;
    describe(writer);
    std::string text;
    print(writer.root(), 0, text);
    return text + "\n";
}

}  // namespace ckvsim::config
