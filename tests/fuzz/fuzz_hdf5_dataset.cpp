// A dataset file that is sealed anew after it was damaged: what HDF5 itself does with it, and
// whether the reader bounds what it takes from it. Not among the default targets, see
// tests/fuzz/README.md.
#include "fuzzing.hpp"
#include "report/dataset_file.hpp"
#include "report/sealed_file.hpp"

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    using namespace ckvsim;
    if (size < report::kSealBytes) return -1;
    fuzz::MemoryFile const file(fuzz::view(data, size));
    report::seal_file(file.path(), "dataset");
    fuzz::expect_handled({ExitCode::data}, [&] { report::read_dataset(file.path()); });
    return 0;
}
