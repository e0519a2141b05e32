// Input: a spec, then overrides. An accepted spec must survive writing and reading.
#include "config/spec.hpp"
#include "fuzzing.hpp"

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    using namespace ckvsim;
    auto const input = fuzz::parts(fuzz::view(data, size));
    std::vector<std::string> const overrides(input.begin() + 1, input.end());
    fuzz::expect_handled({ExitCode::config, ExitCode::usage}, [&] {
        auto const spec = config::parse_spec(std::string(input[0]), "fuzz", overrides);
        auto const text = config::dump_spec(spec);
        if (!(config::parse_spec(text, "dump") == spec)) {
            std::fprintf(stderr, "the dumped spec reads back differently:\n%s\n", text.c_str());
            std::abort();
        }
    });
    return 0;
}
