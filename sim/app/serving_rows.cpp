#include "app/serving_rows.hpp"

#include "engine/serving.hpp"

namespace ckvsim::app {

engine::ServingResult sum_over_ranks(comm::Communicator& comm, engine::ServingResult const& mine) {
    auto sums = engine::sum_part(mine);
    auto maxima = engine::max_part(mine);
    comm.sum(std::span<std::int64_t>(sums));
    comm.max(std::span<std::int64_t>(maxima));
    return engine::from_parts(sums, maxima);
}

Row& set_latency(Row& row, engine::Stage stage, metrics::LatencySketch const& sketch) {
    return row.set("stage", engine::to_string(stage))
        .set("count", sketch.count())
        .set("mean_ns", sketch.mean_ns())
        .set("p50_ns", sketch.quantile_ns(0.5))
        .set("p90_ns", sketch.quantile_ns(0.9))
        .set("p99_ns", sketch.quantile_ns(0.99))
        .set("p999_ns", sketch.quantile_ns(0.999))
        .set("max_ns", sketch.max_ns());
}

}  // namespace ckvsim::app
