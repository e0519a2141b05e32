#include "fuzzing.hpp"
#include "workload/readers.hpp"

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    using namespace ckvsim;
    fuzz::MemoryFile const file(fuzz::view(data, size));
    fuzz::expect_handled({ExitCode::data},
                         [&] { workload::import_dataset("movielens", file.path(), {}, {}); });
    return 0;
}
