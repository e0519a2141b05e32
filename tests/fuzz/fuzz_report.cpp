// A sealed report file as it is: the seal must keep every damaged one away from HDF5.
#include "fuzzing.hpp"
#include "report/report_file.hpp"

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    using namespace ckvsim;
    fuzz::MemoryFile const file(fuzz::view(data, size));
    fuzz::expect_handled({ExitCode::data}, [&] { report::read_report(file.path()); });
    return 0;
}
