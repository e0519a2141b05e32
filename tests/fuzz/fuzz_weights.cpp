// A weight file whose checksum is made right, so that what lies behind the check is reached; every
// other input is also tried as it is.
#include <cstring>

#include "core/hash.hpp"
#include "fuzzing.hpp"
#include "model/sim.hpp"
#include "sample_catalogue.hpp"

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    using namespace ckvsim;
    static auto const catalogue = fuzz::sample_catalogue();
    std::string image(fuzz::view(data, size));
    auto const load = [&] {
        fuzz::MemoryFile const file(image);
        fuzz::expect_handled({ExitCode::data},
                             [&] { model::load_sim_weights(file.path(), catalogue); });
    };
    if (size % 2 == 0) load();
    if (size < 8) return 0;
    auto const sum = hash_bytes(image.data(), image.size() - 8);
    std::memcpy(image.data() + image.size() - 8, &sum, 8);
    load();
    return 0;
}
