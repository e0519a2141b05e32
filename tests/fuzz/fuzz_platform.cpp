#include "config/spec.hpp"
#include "fuzzing.hpp"

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    using namespace ckvsim;
    fuzz::expect_handled({ExitCode::config}, [&] {
        config::parse_platform(std::string(fuzz::view(data, size)), "fuzz");
    });
    return 0;
}
