// Input: history, impressions, features.
#include "folder_target.hpp"

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    ckvsim::fuzz::read_folder("kuairand-pure",
                              {"history.tsv", "impressions.tsv", "video_features_basic_pure.csv"},
                              ckvsim::fuzz::view(data, size));
    return 0;
}
