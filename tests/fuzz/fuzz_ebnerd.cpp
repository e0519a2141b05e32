// Input: history, behaviors.
#include "folder_target.hpp"

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    ckvsim::fuzz::read_folder("ebnerd", {"history.tsv", "behaviors.tsv"},
                              ckvsim::fuzz::view(data, size));
    return 0;
}
