// Fills a struct from JSON, collecting every problem.
#pragma once

#include <string>
#include <vector>

#include "config/json_value.hpp"
#include "config/key_visitor.hpp"

namespace ckvsim::config {

class KeyReader final : public KeyVisitor {
  public:
    /// `root` must be an object and outlive the reader.
    KeyReader(JsonValue const& root, Problems& problems);
    /// Reports the root's unknown keys; call after the description was visited.
    void finish();

    void ignored(Key const& key) override;

  protected:
    bool on_integer(Key const& key, std::uint64_t& value, IntegerRange const& range) override;
    bool on_real(Key const& key, double& value, RealRange const& range) override;
    bool on_boolean(Key const& key, bool& value) override;
    bool on_text(Key const& key, std::string& value, TextRule const& rule) override;
    bool on_choice(Key const& key, std::size_t& index,
                   std::vector<std::string> const& names) override;
    bool on_begin_object(Key const& key) override;
    void on_end_object() override;
    std::optional<std::size_t> on_begin_list(Key const& key, std::size_t size,
                                             ListRule const& rule) override;
    void on_begin_element(std::size_t index) override;
    void on_end_element() override;
    void on_end_list() override;
    bool on_begin_map(Key const& key, std::vector<std::string>& names) override;

  private:
    struct Frame {
        JsonValue const* node;
        std::string pointer;
        bool element;  ///< node is the value itself, not the object that holds it
        std::vector<std::string> known;
    };
    struct Found {
        JsonValue const* node = nullptr;
        std::string pointer;
        bool refused = false;  ///< missing though required, or present without effect
    };

    Found find(Key const& key);
    bool wrong_type(Found const& found, char const* expected);
    void refuse_repeats(JsonValue const& list, std::string const& pointer);

    Problems& problems_;
    std::vector<Frame> frames_;
};

}  // namespace ckvsim::config
