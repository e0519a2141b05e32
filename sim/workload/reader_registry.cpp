#include <algorithm>

#include "core/error.hpp"
#include "workload/readers.hpp"

namespace ckvsim::workload {

std::vector<Reader> const& readers() {
    static std::vector<Reader> const all = {
        kuairand_reader(),
        movielens_reader(),
        ebnerd_reader(),
        log_reader(),
    };
    return all;
}

Dataset import_dataset(std::string const& format, std::string const& path,
                       ImportOptions const& given, ProgressCallback const& progress) {
    auto const& all = readers();
    auto const reader = std::find_if(all.begin(), all.end(),
                                     [&](Reader const& known) { return known.name == format; });
    if (reader == all.end()) {
        std::string names;
        for (auto const& known : all) names += (names.empty() ? "" : ", ") + known.name;
        throw Error(ExitCode::usage, "unknown dataset format \"" + format + "\"; known: " + names);
    }
    ImportOptions options;
    for (auto const& option : reader->options) options[option.name] = option.default_value;
    for (auto const& [name, value] : given) {
        if (options.count(name) == 0) {
            std::string names;
            for (auto const& option : reader->options)
                names += (names.empty() ? "--" : ", --") + option.name;
            throw Error(ExitCode::usage, "--" + name + " does not apply to format " + format +
                                             "; it takes " + names);
        }
        options[name] = value;
    }
    return reader->read(path, options, progress);
}

}  // namespace ckvsim::workload
