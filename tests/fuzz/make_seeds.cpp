// Writes the binary seeds of the fuzz targets. usage: ckvsim_fuzz_seeds FOLDER
#include <string>

#include "comm/communicator.hpp"
#include "core/tensor_file.hpp"
#include "model/sim.hpp"
#include "report/dataset_file.hpp"
#include "report/report_file.hpp"
#include "report_samples.hpp"
#include "sample_catalogue.hpp"
#include "workload/readers.hpp"

namespace {

using namespace ckvsim;

void weights(std::string const& folder) {
    model::SimShape shape;
    shape.feature_dim = 2;
    shape.attention_dim = 6;
    shape.heads = 2;
    shape.short_tokens = 4;
    shape.search_dim = 3;
    shape.top_k = 2;
    shape.max_tokens = 10;
    shape.context_dim = 2;
    shape.tower = {5, 4};
    auto const catalogue = fuzz::sample_catalogue();
    model::VariantParams variant;
    model::weights_file_from(model::random_sim_weights(shape, variant, catalogue, 3, 1), catalogue)
        .write(folder + "/weights/full");
    variant.variant = model::Variant::collective;
    variant.scope = model::Scope::all;
    variant.d_u = 1;
    variant.m = 8;
    model::weights_file_from(model::random_sim_weights(shape, variant, catalogue, 3, 1), catalogue)
        .write(folder + "/weights/collective");
}

void hdf5_files(std::string const& folder, std::string const& ratings) {
    auto report = test::sample_report();
    auto const whole = report.tables;
    report.tables.clear();
    for (auto const& [name, table] : whole) {
        if (name == "oracle" || name == "arms") report.tables.emplace(name, table);
    }
    auto comm = comm::make_serial();
    report::write_report(*comm, folder + "/report/sample", report, {});
    report::write_dataset(folder + "/dataset/sample",
                          workload::import_dataset("movielens", ratings, {}, {}));
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) return 2;
    std::string const folder = argv[1];
    weights(folder);
    hdf5_files(folder, folder + "/movielens/ratings");
}
