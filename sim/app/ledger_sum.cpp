#include "app/ledger_sum.hpp"

#include <algorithm>

namespace ckvsim::app {

void sum_over_ranks(comm::Communicator& comm, engine::LedgerPrediction& prediction,
                    engine::Residency& residency) {
    auto& p = prediction;
    auto& r = residency;
    std::vector<std::uint64_t> flat = {
        p.users,       p.tokens,          p.payload_bytes,
        p.entry_bytes, r.allocated_bytes, static_cast<std::uint64_t>(r.resident_bytes),
        r.index_bytes, r.verified_users,  r.verified_mismatches};
    auto const fixed = static_cast<std::ptrdiff_t>(flat.size());
    flat.insert(flat.end(), p.section_bytes.begin(), p.section_bytes.end());
    comm.sum(std::span<std::uint64_t>(flat));
    p.users = flat[0];
    p.tokens = flat[1];
    p.payload_bytes = flat[2];
    p.entry_bytes = flat[3];
    r.allocated_bytes = flat[4];
    r.resident_bytes = static_cast<std::int64_t>(flat[5]);
    r.index_bytes = flat[6];
    r.verified_users = flat[7];
    r.verified_mismatches = flat[8];
    std::copy(flat.begin() + fixed, flat.end(), p.section_bytes.begin());
}

}  // namespace ckvsim::app
