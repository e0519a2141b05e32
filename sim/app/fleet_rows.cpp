#include "app/fleet_rows.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "app/row.hpp"
#include "core/error.hpp"
#include "core/hash.hpp"

namespace ckvsim::app {

namespace {

using fleet::Device;
using fleet::FleetResult;
using fleet::FleetStage;
using fleet::Residence;

constexpr std::array kTables = {
    "fleet_cases",  "fleet",         "fleet_latency", "fleet_tiers", "fleet_shared_tables",
    "fleet_series", "fleet_classes", "fleet_events",  "fleet_speed"};

double ratio(double part, double whole) { return whole <= 0.0 ? std::nan("") : part / whole; }
double ratio(std::uint64_t part, std::uint64_t whole) {
    return ratio(static_cast<double>(part), static_cast<double>(whole));
}
std::uint64_t found(FleetResult const& r, Residence tier) {
    return r.found[static_cast<std::size_t>(tier)];
}
/// Served or on the way at the end, warm-up excluded.
std::uint64_t looked_up(FleetResult const& r) { return r.offered - r.shed - r.lost; }

void add_case(metrics::Report& report, config::FleetStudy const& study, FleetCase const& item,
              FleetOutcome const* outcome) {
    Row(report.table("fleet_cases"))
        .set("case", item.number)
        .set("model", item.model.name)
        .set("model_class", fleet::to_string(item.model.model_class))
        .set("strategy", item.arm.name)
        .set("keeping", fleet::to_string(item.arm.keeping.keeping))
        .set("exact", outcome != nullptr && outcome->exact ? 1 : 0)
        .set("refusal", item.refusal.value_or(""))
        .set("users", static_cast<double>(item.fleet.users))
        .set("nodes", outcome == nullptr ? item.fleet.nodes : outcome->nodes)
        .set("simulated_nodes", outcome == nullptr ? 0U : outcome->simulated_nodes)
        .set("requests_per_second", outcome == nullptr ? item.fleet.traffic.requests_per_second
                                                       : outcome->requests_per_second)
        .set("catalogue_items", item.catalogue_items)
        .set("candidates", item.candidates)
        .set("tiers", config::to_string(item.tiers))
        .set("policy", fleet::to_string(item.policy))
        .set("routing", fleet::to_string(item.fleet.routing.kind))
        .set("efficiency", item.efficiency)
        .set("search", study.search == config::FleetSearch::none || outcome == nullptr
                           ? config::to_string(study.search)
                           : config::to_string(study.search) + ": " + outcome->search)
        .add();
}

/// Hit ratio of a part of the measured series, with the number of requests it rests on.
struct Part {
    double ratio = std::nan("");
    double requests = 0.0;
};
Part hits_between(FleetResult const& r, std::size_t from, std::size_t to) {
    double hits = 0.0;
    double requests = 0.0;
    for (std::size_t b = from; b < to; ++b) {
        hits += static_cast<double>(r.series[b].hits);
        requests += static_cast<double>(r.series[b].requests - r.series[b].shed - r.series[b].lost);
    }
    return {ratio(hits, requests), requests};
}

/// The warm-up test: both halves of the measured time should hit alike.
void set_drift(Row& row, config::FleetStudy const& study, FleetResult const& r) {
    auto const first = static_cast<std::size_t>(std::ceil(study.warmup_share * fleet::kSeriesBins));
    std::size_t const middle = (first + fleet::kSeriesBins) / 2;
    auto const early = hits_between(r, first, middle);
    auto const late = hits_between(r, middle, fleet::kSeriesBins);
    double const p = 0.5 * (early.ratio + late.ratio);
    row.set("drift", late.ratio - early.ratio)
        .set("drift_error", 1.96 * std::sqrt(std::max(p * (1.0 - p), 0.0) *
                                             (1.0 / early.requests + 1.0 / late.requests)));
}

void set_busy(Row& row, FleetOutcome const& outcome) {
    auto const shares = outcome.busy();
    double most = -1.0;
    std::string busiest;
    for (std::size_t d = 0; d < fleet::kDevices; ++d) {
        auto const name = fleet::to_string(static_cast<Device>(d));
        double const busy = shares[d];
        row.set(name + "_busy", busy);
        if (busy > most) {
            most = busy;
            busiest = name;
        }
    }
    row.set("limited_by", busiest);
}

void add_main(metrics::Report& report, config::FleetStudy const& study, FleetCase const& item,
              FleetOutcome const& outcome) {
    auto const& r = outcome.result;
    auto const& total = r.latency[static_cast<std::size_t>(FleetStage::total)];
    std::uint64_t const looked = looked_up(r);
    double const good = ratio(r.good, r.offered);
    std::uint64_t resident = 0;
    for (auto const entries : r.entries) resident += entries;
    Row row(report.table("fleet"));
    row.set("case", item.number)
        .set("offered", r.offered)
        .set("shed", r.shed)
        .set("lost", r.lost)
        .set("abandoned", r.abandoned)
        .set("hit_ratio", 1.0 - ratio(found(r, Residence::none), looked))
        .set("hbm_ratio", ratio(found(r, Residence::hbm), looked))
        .set("dram_ratio", ratio(found(r, Residence::dram), looked))
        .set("nvme_ratio", ratio(found(r, Residence::nvme), looked))
        .set("mean_ns", total.mean_ns())
        .set("p50_ns", total.quantile_ns(0.5))
        .set("p90_ns", total.quantile_ns(0.9))
        .set("p99_ns", total.quantile_ns(0.99))
        .set("p999_ns", total.quantile_ns(0.999))
        .set("good_ratio", good)
        .set("goodput_per_s", good * outcome.requests_per_second)
        .set("meets_slo", meets_slo(study, outcome) ? 1.0 : 0.0)
        .set("mean_batch", ratio(r.served, r.batches))
        .set("entry_bytes", outcome.mean_entry_bytes)
        .set("resident_ratio", ratio(resident, r.simulated_users))
        .set("requests_per_user", ratio(r.offered + r.warmup_requests, r.simulated_users))
        .set("state_bytes", r.state_bytes)
        .set("decision_hash", to_hex(r.decision_hash));
    set_busy(row, outcome);
    set_drift(row, study, r);
    row.add();
}

void add_latency(metrics::Report& report, FleetCase const& item, FleetResult const& r) {
    for (std::size_t s = 0; s < fleet::kFleetStages; ++s) {
        auto const& sketch = r.latency[s];
        Row(report.table("fleet_latency"))
            .set("case", item.number)
            .set("stage", fleet::to_string(static_cast<FleetStage>(s)))
            .set("count", sketch.count())
            .set("mean_ns", sketch.mean_ns())
            .set("p50_ns", sketch.quantile_ns(0.5))
            .set("p99_ns", sketch.quantile_ns(0.99))
            .set("max_ns", sketch.max_ns())
            .add();
    }
}

void add_places(metrics::Report& report, FleetCase const& item, FleetOutcome const& outcome) {
    auto const& r = outcome.result;
    static constexpr std::array kNames = {"", "hbm", "dram", "nvme"};
    for (std::size_t t = 1; t < fleet::kResidences; ++t) {
        Row(report.table("fleet_tiers"))
            .set("case", item.number)
            .set("tier", std::string(kNames[t]))
            .set("capacity_bytes", r.capacity_bytes[t])
            .set("used_bytes", r.used_bytes[t])
            .set("entries", r.entries[t])
            .set("found", r.found[t])
            .add();
    }
    for (auto const& table : outcome.setup.tables) {
        Row(report.table("fleet_shared_tables"))
            .set("case", item.number)
            .set("table", table.what)
            .set("bytes", table.bytes)
            .set("hbm_bytes", table.hbm_bytes)
            .set("dram_bytes", table.dram_bytes)
            .set("hbm_hits", table.hbm_hits)
            .set("dram_hits", table.dram_hits)
            .set("remote_reads", table.remote_reads)
            .add();
    }
}

/// What fleet_series and fleet_classes have in common.
void set_counts(Row& row, fleet::PartCounts const& part) {
    std::uint64_t const served = part.requests - part.shed - part.lost;
    row.set("requests", part.requests)
        .set("shed", part.shed)
        .set("lost", part.lost)
        .set("hbm_ratio", ratio(part.hbm_hits, served))
        .set("hit_ratio", ratio(part.hits, served))
        .set("good_ratio", ratio(part.good, part.requests))
        .set("mean_ns", ratio(part.latency_ns, served))
        .set("p50_ns", part.latency.quantile_ns(0.5))
        .set("p99_ns", part.latency.quantile_ns(0.99))
        .set("made_bytes", part.made_bytes);
}

void add_series(metrics::Report& report, FleetCase const& item, FleetOutcome const& outcome) {
    for (std::size_t b = 0; b < fleet::kSeriesBins; ++b) {
        Row row(report.table("fleet_series"));
        row.set("case", item.number)
            .set("bin", b)
            .set("start_s", outcome.duration_s * static_cast<double>(b) / fleet::kSeriesBins);
        set_counts(row, outcome.result.series[b]);
        row.add();
    }
}

/// Classes that somebody asked from; activity says nothing where all users are equally active.
void add_classes(metrics::Report& report, FleetCase const& item, FleetResult const& r) {
    bool const alike = item.fleet.activity.sigma == 0.0 || item.fleet.activity.classes == 1;
    for (std::size_t c = 0; c < fleet::kUserClasses; ++c) {
        auto const of = fleet::user_class(c);
        if (r.classes[c].requests == 0 || (alike && of.grouping == fleet::Grouping::activity))
            continue;
        Row row(report.table("fleet_classes"));
        row.set("case", item.number)
            .set("by", fleet::to_string(of.grouping))
            .set("class", of.number)
            .set("from", of.from)
            .set("to", of.to);
        set_counts(row, r.classes[c]);
        row.add();
    }
}

template <class T>
void put(std::vector<std::byte>& out, T const& value) {
    auto const* raw = reinterpret_cast<std::byte const*>(&value);
    out.insert(out.end(), raw, raw + sizeof(T));
}
void put_text(std::vector<std::byte>& out, std::string const& text) {
    put(out, static_cast<std::uint64_t>(text.size()));
    auto const* raw = reinterpret_cast<std::byte const*>(text.data());
    out.insert(out.end(), raw, raw + text.size());
}

/// Reads what put() wrote on another rank of the same program.
class Unpacker {
  public:
    explicit Unpacker(std::vector<std::byte> const& bytes) : bytes_(bytes) {}
    [[nodiscard]] bool done() const { return at_ == bytes_.size(); }
    template <class T>
    T get() {
        T value;
        validate(at_ + sizeof(T) <= bytes_.size(), "fleet rows: truncated");
        std::memcpy(&value, bytes_.data() + at_, sizeof(T));
        at_ += sizeof(T);
        return value;
    }
    std::string text() {
        auto const size = get<std::uint64_t>();
        validate(size <= bytes_.size() - at_, "fleet rows: truncated");
        std::string value(reinterpret_cast<char const*>(bytes_.data() + at_), size);
        at_ += size;
        return value;
    }

  private:
    std::vector<std::byte> const& bytes_;
    std::size_t at_ = 0;
};

}  // namespace

void report_case(metrics::Report& report, config::FleetStudy const& study, FleetCase const& item,
                 FleetOutcome const& outcome) {
    add_case(report, study, item, &outcome);
    add_main(report, study, item, outcome);
    add_latency(report, item, outcome.result);
    add_places(report, item, outcome);
    add_series(report, item, outcome);
    add_classes(report, item, outcome.result);
    report_events(report, item, outcome);
}

void report_refused_case(metrics::Report& report, config::FleetStudy const& study,
                         FleetCase const& item) {
    add_case(report, study, item, nullptr);
}

std::vector<std::byte> pack_rows(metrics::Report const& report) {
    std::vector<std::byte> out;
    for (auto const* name : kTables) {
        auto const found = report.tables.find(name);
        if (found == report.tables.end()) continue;
        for (auto const& row : found->second.rows()) {
            put_text(out, name);
            for (auto const& cell : row) {
                put(out, static_cast<std::uint8_t>(cell.index()));
                if (auto const* integer = std::get_if<std::int64_t>(&cell)) put(out, *integer);
                if (auto const* real = std::get_if<double>(&cell)) put(out, *real);
                if (auto const* text = std::get_if<std::string>(&cell)) put_text(out, *text);
            }
        }
    }
    return out;
}

std::uint64_t packed_layout() {
    std::string text;
    for (auto const* name : kTables) {
        text += std::string(name) + "\n";
        for (auto const& column : metrics::Table(name).schema().columns)
            text += column.name + " " + std::to_string(static_cast<int>(column.type)) + "\n";
    }
    return hash_bytes(text.data(), text.size());
}

void unpack_rows(metrics::Report& report, std::vector<std::byte> const& bytes) {
    Unpacker in(bytes);
    while (!in.done()) {
        auto& table = report.table(in.text());
        std::vector<metrics::Cell> row;
        for (std::size_t c = 0; c < table.schema().columns.size(); ++c) {
            switch (in.get<std::uint8_t>()) {
                case 0:
                    row.emplace_back(in.get<std::int64_t>());
                    break;
                case 1:
                    row.emplace_back(in.get<double>());
                    break;
                default:
                    row.emplace_back(in.text());
            }
        }
        table.add_row(std::move(row));
    }
}

void sort_by_case(metrics::Report& report) {
    for (auto const* name : kTables) {
        auto const found = report.tables.find(name);
        if (found == report.tables.end()) continue;
        auto rows = found->second.rows();
        std::stable_sort(rows.begin(), rows.end(), [](auto const& a, auto const& b) {
            return std::get<std::int64_t>(a[0]) < std::get<std::int64_t>(b[0]);
        });
        metrics::Table sorted(name);
        sorted.attributes = found->second.attributes;
        for (auto& row : rows) sorted.add_row(std::move(row));
        found->second = std::move(sorted);
    }
}

}  // namespace ckvsim::app
