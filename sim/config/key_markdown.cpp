// The key reference of a description.
#include <nlohmann/json.hpp>

#include "config/key_reference.hpp"
#include "config/key_text.hpp"
#include "config/key_writer.hpp"

namespace ckvsim::config {

namespace {

using Json = nlohmann::json;

std::string code(std::string const& text) { return "`" + text + "`"; }

class MarkdownWriter final : public KeyVisitor {
  public:
    /// `defaults`: the described struct as written; lists take their defaults from it.
    explicit MarkdownWriter(Json defaults) : defaults_(std::move(defaults)) {
        open_.push_back(0);
        sections_.push_back({"", "", {}});
    }

    [[nodiscard]] std::string text() const {
        std::string out;
        for (auto const& section : sections_) {
            out += "\n## " + code(section.pointer.empty() ? "/" : section.pointer) + "\n\n";
            if (!section.meaning.empty()) out += section.meaning + "\n\n";
            if (section.rows.empty()) continue;
            out +=
                "| key | type | default | allowed | unit | meaning |\n|---|---|---|---|---|---|\n";
            for (auto const& row : section.rows) out += row + "\n";
        }
        return out;
    }

    void ignored(Key const& key) override { row(key, "string", "", ""); }

  protected:
    bool on_integer(Key const& key, std::uint64_t& value, IntegerRange const& range) override {
        return value_row(key, "integer", std::to_string(value), allowed(range));
    }
    bool on_real(Key const& key, double& value, RealRange const& range) override {
        return value_row(key, "number", number_text(value), allowed(range));
    }
    bool on_boolean(Key const& key, bool& value) override {
        return value_row(key, "boolean", value ? "true" : "false", "");
    }
    bool on_text(Key const& key, std::string& value, TextRule const& rule) override {
        return value_row(key, "string", Json(value).dump(), allowed(rule));
    }
    bool on_choice(Key const& key, std::size_t& index,
                   std::vector<std::string> const& names) override {
        std::string choices;
        for (auto const& name : names) choices += (choices.empty() ? "" : ", ") + code(name);
        return value_row(key, "choice", names[index], choices);
    }
    bool on_begin_object(Key const& key) override {
        std::string const pointer =
            list_ ? list_->pointer + "/*" : sections_[open_.back()].pointer + "/" + key.name;
        std::string const meaning = list_ ? list_->key.meaning : with_condition(key);
        list_.reset();
        open_.push_back(sections_.size());
        sections_.push_back({pointer, meaning, {}});
        return true;
    }
    void on_end_object() override { open_.pop_back(); }
    std::optional<std::size_t> on_begin_list(Key const& key, std::size_t,
                                             ListRule const& rule) override {
        list_ = List{key, sections_[open_.back()].pointer + "/" + key.name, allowed(rule)};
        return 1;
    }
    void on_begin_element(std::size_t) override {}
    void on_end_element() override {}
    void on_end_list() override { list_.reset(); }
    bool on_begin_map(Key const& key, std::vector<std::string>& names) override {
        names.clear();
        return on_begin_object(key);
    }

  private:
    struct Section {
        std::string pointer;
        std::string meaning;
        std::vector<std::string> rows;
    };
    struct List {
        Key key;
        std::string pointer;
        std::string size;
    };

    static std::string with_condition(Key const& key) {
        return key.meaning + (key.only_if.empty() ? "" : " (only if " + key.only_if + ")");
    }
    [[nodiscard]] std::string list_default() const {
        std::string pointer = list_->pointer;
        if (auto const star = pointer.find('*'); star != std::string::npos) pointer[star] = '0';
        auto const at = Json::json_pointer(pointer);
        return defaults_.contains(at) ? code(defaults_.at(at).dump()) : "";
    }
    bool value_row(Key const& key, std::string const& type, std::string const& fallback,
                   std::string const& range) {
        if (!list_) {
            row(key, type, key.required ? "required" : code(fallback), range);
        } else {
            row(list_->key, "list of " + type, list_default(),
                list_->size + (range.empty() ? "" : ", each " + range));
        }
        return true;
    }
    void row(Key const& key, std::string const& type, std::string const& fallback,
             std::string const& range) {
        sections_[open_.back()].rows.push_back("| " + code(key.name) + " | " + type + " | " +
                                               fallback + " | " + range + " | " + key.unit + " | " +
                                               with_condition(key) + " |");
    }

    Json defaults_;
    std::vector<Section> sections_;
    std::vector<std::size_t> open_;  ///< sections that hold the current object, outermost first
    std::optional<List> list_;       ///< the list whose element comes next
};

}  // namespace

std::string markdown_tables(Description const& describe) {
    MarkdownWriter writer(Json::parse(write_json(describe)));
    describe(writer);
    return writer.text();
}

}  // namespace ckvsim::config
