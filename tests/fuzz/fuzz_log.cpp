// Input: options, one name=value a line; then the log.
#include "fuzzing.hpp"
#include "workload/readers.hpp"

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    using namespace ckvsim;
    auto const input = fuzz::view(data, size);
    auto const cut = std::min(input.find('\x1E'), input.size());
    workload::ImportOptions options;
    for (auto text = input.substr(0, cut); !text.empty();) {
        auto const line = text.substr(0, text.find('\n'));
        text.remove_prefix(std::min(line.size() + 1, text.size()));
        auto const sign = std::min(line.find('='), line.size());
        options[std::string(line.substr(0, sign))] =
            std::string(line.substr(std::min(sign + 1, line.size())));
    }
    fuzz::MemoryFile const file(input.substr(std::min(cut + 1, input.size())));
    fuzz::expect_handled({ExitCode::data, ExitCode::usage},
                         [&] { workload::import_dataset("log", file.path(), options, {}); });
    return 0;
}
