// The JSON Schema of a description.
#include <cmath>
#include <nlohmann/json.hpp>

#include "config/key_reference.hpp"
#include "config/key_writer.hpp"

namespace ckvsim::config {

namespace {

using Json = nlohmann::ordered_json;

std::string description_of(Key const& key) {
    std::string text = key.meaning;
    if (!key.unit.empty()) text += " [" + key.unit + "]";
    if (!key.only_if.empty()) text += "; only if " + key.only_if;
    return text;
}

class SchemaWriter final : public KeyVisitor {
  public:
    /// `defaults`: the described struct as written; lists take their defaults from it.
    explicit SchemaWriter(Json defaults) {
        open_.push_back({object_schema(), {}, std::move(defaults)});
    }
    Json take() { return std::move(open_.back().schema); }

    void ignored(Key const& key) override { place(key, Json{{"type", "string"}}, {}); }

  protected:
    bool on_integer(Key const& key, std::uint64_t& value, IntegerRange const& range) override {
        if (!range.only.empty()) return place(key, Json{{"enum", range.only}}, value);
        Json schema{{"type", "integer"}, {"minimum", range.low}};
        if (range.high != std::numeric_limits<std::uint64_t>::max()) schema["maximum"] = range.high;
        return place(key, std::move(schema), value);
    }
    bool on_real(Key const& key, double& value, RealRange const& range) override {
        Json schema{{"type", "number"}};
        if (std::isfinite(range.low))
            schema[range.above_low ? "exclusiveMinimum" : "minimum"] = range.low;
        if (std::isfinite(range.high))
            schema[range.below_high ? "exclusiveMaximum" : "maximum"] = range.high;
        return place(key, std::move(schema), value);
    }
    bool on_boolean(Key const& key, bool& value) override {
        return place(key, Json{{"type", "boolean"}}, value);
    }
    bool on_text(Key const& key, std::string& value, TextRule const& rule) override {
        Json schema{{"type", "string"}, {"maxLength", rule.longest}};
        if (rule.shortest > 0) schema["minLength"] = rule.shortest;
        if (rule.name) schema["pattern"] = "^[A-Za-z0-9_.-]+$";
        return place(key, std::move(schema), value.size() < rule.shortest ? Json() : Json(value));
    }
    bool on_choice(Key const& key, std::size_t& index,
                   std::vector<std::string> const& names) override {
        return place(key, Json{{"enum", names}}, names[index]);
    }
    bool on_begin_object(Key const& key) override {
        open_.push_back({object_schema(), key, default_of(key)});
        return true;
    }
    void on_end_object() override {
        Open closed = std::move(open_.back());
        open_.pop_back();
        place(closed.key, std::move(closed.schema), {});
    }
    std::optional<std::size_t> on_begin_list(Key const& key, std::size_t,
                                             ListRule const& rule) override {
        Json schema{{"type", "array"}, {"minItems", rule.fewest}, {"maxItems", rule.most}};
        if (rule.unique) schema["uniqueItems"] = true;
        open_.push_back({std::move(schema), key, default_of(key)});
        return 1;
    }
    void on_begin_element(std::size_t) override {}
    void on_end_element() override {}
    void on_end_list() override {
        Open closed = std::move(open_.back());
        open_.pop_back();
        place(closed.key, std::move(closed.schema), closed.defaults);
    }
    bool on_begin_map(Key const& key, std::vector<std::string>& names) override {
        names.clear();
        return on_begin_object(key);
    }

  private:
    struct Open {
        Json schema;
        Key key;
        Json defaults;
    };

    static Json object_schema() {
        Json schema{{"type", "object"}, {"additionalProperties", false}};
        schema["properties"] = Json::object();
        return schema;
    }
    [[nodiscard]] Json default_of(Key const& key) const {
        Json const& defaults = open_.back().defaults;
        if (defaults.is_array()) return defaults.empty() ? Json() : defaults[0];
        return defaults.is_object() && defaults.contains(key.name) ? defaults[key.name] : Json();
    }
    bool place(Key const& key, Json schema, Json const& fallback) {
        Json& parent = open_.back().schema;
        if (parent["type"] == "array") {
            parent["items"] = std::move(schema);
            return true;
        }
        schema["description"] = description_of(key);
        if (!key.required && !fallback.is_null()) schema["default"] = fallback;
        parent["properties"][key.name] = std::move(schema);
        if (key.required && key.only_if.empty()) parent["required"].push_back(key.name);
        return true;
    }

    std::vector<Open> open_;
};

}  // namespace

std::string json_schema(std::string const& title, Description const& describe) {
    SchemaWriter writer(Json::parse(write_json(describe)));
    describe(writer);
    Json schema{{"$schema", "https://json-schema.org/draft/2020-12/schema"}, {"title", title}};
    schema.update(writer.take());
    return schema.dump(2) + "\n";
}

}  // namespace ckvsim::config
