// A sealed dataset file as it is: the seal must keep every damaged one away from HDF5.
#include "fuzzing.hpp"
#include "report/dataset_file.hpp"

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    using namespace ckvsim;
    fuzz::MemoryFile const file(fuzz::view(data, size));
    fuzz::expect_handled({ExitCode::data}, [&] { report::read_dataset(file.path()); });
    return 0;
}
