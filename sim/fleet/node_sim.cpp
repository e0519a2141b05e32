#include "fleet/node_sim.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "core/error.hpp"
#include "core/rng.hpp"

namespace ckvsim::fleet {

namespace {

constexpr std::uint64_t kIdBytes = 4;
constexpr std::uint64_t kNoUser = std::numeric_limits<std::uint64_t>::max();
constexpr std::size_t kFirstRing = 256;
constexpr std::uint64_t kNoiseSalt = 0x5E1EC7ED0D15EA5EULL;

Nanoseconds rounded(double ns) { return static_cast<Nanoseconds>(ns + 0.5); }

}  // namespace

NodeSim::NodeSim(NodeSetup const& setup, ServingCosts const& costs, NodeRun const& run,
                 std::uint32_t node, std::uint64_t users)
    : setup_(setup),
      costs_(costs),
      run_(run),
      node_(node),
      users_(users),
      tiers_(users, setup.gpus, setup.tiers, costs),
      gpus_(setup.gpus),
      nvme_(setup.nvme_devices),
      max_wait_ns_(rounded(setup.batching.max_wait_us * 1e3)),
      patience_ns_(rounded(setup.batching.fetch_patience_ms * 1e6)),
      activity_(run.fleet_users),
      guests_(1024, {kNoUser, kNoPlace}) {
    for (auto& gpu : gpus_) gpu.ready.resize(kFirstRing);
    set_rates();
}

void NodeSim::serve(std::span<Arrival const> arrivals) {
    // First the state, then its neighbours in the list: two steps, each far enough ahead for main
    // memory to answer.
    constexpr std::size_t kFar = 24;
    constexpr std::size_t kNear = 12;
    for (std::size_t i = 0; i < arrivals.size(); ++i) {
        if (i + kFar < arrivals.size()) tiers_.prefetch(arrivals[i + kFar].place);
        if (i + kNear < arrivals.size()) tiers_.prefetch_neighbours(arrivals[i + kNear].place);
        Arrival const& arrival = arrivals[i];
        if (arrival.time_ns >= faults_.next_ns) pass_events(arrival.time_ns);
        std::uint32_t const due = owed(arrival.place);
        bool const taken = arrive(arrival, arrival.place, arrival.appended + due);
        if (taken && due > 0) owed_[arrival.place] = 0;
    }
}

bool NodeSim::arrive(Arrival const& arrival, std::uint32_t place, std::uint32_t lacking) {
    Nanoseconds const now = arrival.time_ns;
    if (down()) {
        refuse_while_down(arrival, place);
        return false;
    }
    while (!hops_.empty() && hops_.top().at_ns <= now) {
        Hop const hop = hops_.top();
        hops_.pop();
        land(hop);
    }
    std::uint32_t const index = tiers_.gpu_of(place);
    advance(index, now);
    Gpu& gpu = gpus_[index];
    bool const counts = measured(now);
    auto& slot = bin(now);
    ++slot.requests;
    ++(counts ? result_.offered : result_.warmup_requests);
    if (gpu.count + gpu.coming.size() + gpu.hopping >= setup_.batching.max_queue) {
        ++slot.shed;
        if (counts) {
            ++result_.shed;
            count_refused(classes_of(arrival, place), &PartCounts::shed);
        }
        return false;
    }
    Classes const classes = classes_of(arrival, place);
    Residence found = tiers_.look_up(place, tick_of(now));
    std::uint64_t const held_bytes = costs_.entry_bytes(tiers_.interactions(tiers_.state(place)));
    bool const abandoned = too_slow(index, found, held_bytes, now);
    if (abandoned) {
        found = Residence::none;
        if (counts) ++result_.abandoned;
    }
    Moves moves;
    tiers_.serve(place, arrival.appended, tick_of(now), moves, abandoned);
    std::uint32_t const n = tiers_.interactions(tiers_.state(place));
    Transfer const transfer = move(arrival, index, n, found, held_bytes, moves);
    Pending request;
    request.ready_ns = transfer.ready_ns;
    request.start_ns = now;
    request.user = arrival.user;
    request.order = order_++;
    request.interactions = static_cast<std::uint16_t>(n);
    request.appended = found == Residence::none
                           ? std::uint16_t{0}
                           : static_cast<std::uint16_t>(std::min<std::uint32_t>(lacking, 65535));
    request.found = found;
    request.classes = classes;
    slot.hbm_hits += found == Residence::hbm ? 1 : 0;
    slot.hits += found == Residence::none ? 0 : 1;
    slot.made_bytes += found == Residence::none ? costs_.entry_bytes(n) : 0;
    if (counts) {
        ++result_.found[static_cast<std::size_t>(found)];
        result_.appended_events += request.appended;
        if (found == Residence::none) result_.prefilled_interactions += n;
    }
    if (transfer.hop) {
        ++gpu.hopping;
        hops_.push({transfer.hop_ns, index, transfer.link_bytes, request});
    } else if (request.ready_ns <= now) {
        push_ready(gpu, request);
    } else {
        gpu.coming.push(request);
    }
    return true;
}

/// Whether the entry would arrive later than anybody waits for it.
bool NodeSim::too_slow(std::uint32_t gpu, Residence found, std::uint64_t entry_bytes,
                       Nanoseconds now) const {
    if (patience_ns_ == 0 || (found != Residence::dram && found != Residence::nvme)) return false;
    double const bytes = static_cast<double>(entry_bytes);
    Nanoseconds at = now;
    if (found == Residence::nvme) {
        at = nvme_.start_of(now) +
             rounded(bytes * rates_.ns_per_nvme_read_byte + setup_.nvme_latency_ns);
    }
    at = std::max(at, gpus_[gpu].link_in.free_ns()) +
         rounded(bytes * rates_.ns_per_link_byte + setup_.link_latency_ns);
    return at - now > patience_ns_;
}

/// An entry has reached host memory from flash: on to its GPU.
void NodeSim::land(Hop const& hop) {
    Gpu& gpu = gpus_.at(hop.gpu);  // checked: hops come out of checkpoints, too
    Pending request = hop.request;
    request.ready_ns = std::max(request.ready_ns, over_link(hop.gpu, hop.at_ns, hop.link_bytes));
    --gpu.hopping;
    gpu.coming.push(request);
}

Nanoseconds NodeSim::over_link(std::uint32_t gpu, Nanoseconds at_ns, std::uint64_t bytes) {
    Nanoseconds const busy = rounded(static_cast<double>(bytes) * rates_.ns_per_link_byte);
    auto const slot = gpus_[gpu].link_in.serve(at_ns, busy);
    if (measured(at_ns))
        result_.busy_ns[static_cast<std::size_t>(Device::link_in)] +=
            static_cast<std::uint64_t>(busy);
    return slot.end_ns + rounded(setup_.link_latency_ns);
}

/// What an admission or a growth pushed down; returns when GPU memory has room again. With
/// inclusive tiers that is host copies: nobody waits for his own, but for those queued before it.
Nanoseconds NodeSim::write_back(std::uint32_t gpu, Nanoseconds from, Moves const& moves,
                                bool counts) {
    Nanoseconds done_ns = 0;
    auto const busy = [&](Device device, Nanoseconds ns) {
        if (counts)
            result_.busy_ns[static_cast<std::size_t>(device)] += static_cast<std::uint64_t>(ns);
    };
    if (moves.hbm_to_dram > 0) {
        Nanoseconds const ns =
            rounded(static_cast<double>(moves.hbm_to_dram) * rates_.ns_per_link_byte);
        auto const slot = gpus_[gpu].link_out.serve(from, ns);
        done_ns = setup_.tiers.inclusive ? slot.start_ns : slot.end_ns;
        busy(Device::link_out, ns);
    }
    if (moves.dram_to_nvme > 0) {
        Nanoseconds const ns =
            rounded(static_cast<double>(moves.dram_to_nvme) * rates_.ns_per_nvme_write_byte);
        nvme_.serve(from, ns);
        busy(Device::nvme, ns);
    }
    if (counts) {
        result_.write_back_bytes += moves.hbm_to_dram;
        result_.nvme_write_bytes += moves.dram_to_nvme;
        result_.evictions += moves.evictions;
        result_.dropped += moves.dropped;
    }
    return done_ns;
}

NodeSim::Transfer NodeSim::move(Arrival const& arrival, std::uint32_t index,
                                std::uint32_t interactions, Residence found,
                                std::uint64_t entry_bytes, Moves const& moves) {
    Nanoseconds const now = arrival.time_ns;
    bool const counts = measured(now);
    auto const busy = [&](Device device, Nanoseconds ns) {
        if (counts)
            result_.busy_ns[static_cast<std::size_t>(device)] += static_cast<std::uint64_t>(ns);
    };
    Transfer transfer;
    transfer.ready_ns = now;
    // A session's first request was announced.
    Nanoseconds const from =
        arrival.returning ? now : std::max<Nanoseconds>(now - run_.prefetch_lead_ns, 0);
    transfer.ready_ns = std::max(now, write_back(index, from, moves, counts));
    double const encoded = found == Residence::none ? interactions : arrival.appended;
    TableReads const& reads = rates_.reads;
    double const table_link = reads.link_bytes_per_candidate * costs_.candidates() +
                              reads.link_bytes_per_interaction * interactions +
                              reads.link_bytes_per_encoded * encoded;
    double nic = reads.nic_bytes_per_candidate * costs_.candidates() +
                 reads.nic_bytes_per_interaction * interactions +
                 reads.nic_bytes_per_encoded * encoded;
    // Without an entry the ids come from the history store.
    if (found == Residence::none) nic += static_cast<double>(kIdBytes) * interactions;
    if (nic > 0.0) {
        Nanoseconds const ns = rounded(nic * rates_.ns_per_nic_byte);
        transfer.ready_ns = std::max(transfer.ready_ns,
                                     nic_.serve(from, ns).end_ns + rounded(setup_.nic_latency_ns));
        busy(Device::nic, ns);
    }
    bool const fetched = found == Residence::dram || found == Residence::nvme;
    transfer.link_bytes = static_cast<std::uint64_t>(table_link) + (fetched ? entry_bytes : 0);
    if (counts) {
        result_.nic_bytes += static_cast<std::uint64_t>(nic);
        result_.link_table_bytes += static_cast<std::uint64_t>(table_link);
        if (fetched) result_.link_entry_bytes += entry_bytes;
        if (found == Residence::nvme) result_.nvme_read_bytes += entry_bytes;
    }
    if (found == Residence::nvme) {
        Nanoseconds const ns =
            rounded(static_cast<double>(entry_bytes) * rates_.ns_per_nvme_read_byte);
        transfer.hop = true;
        transfer.hop_ns = nvme_.serve(from, ns).end_ns + rounded(setup_.nvme_latency_ns);
        busy(Device::nvme, ns);
    } else if (transfer.link_bytes > 0) {
        transfer.ready_ns =
            std::max(transfer.ready_ns, over_link(index, from, transfer.link_bytes));
    }
    return transfer;
}

void NodeSim::push_ready(Gpu& gpu, Pending const& request) {
    if (gpu.count == gpu.ready.size()) {
        std::rotate(gpu.ready.begin(), gpu.ready.begin() + static_cast<std::ptrdiff_t>(gpu.head),
                    gpu.ready.end());
        gpu.head = 0;
        gpu.ready.resize(2 * gpu.ready.size());
    }
    gpu.ready[(gpu.head + gpu.count) & (gpu.ready.size() - 1)] = request;
    ++gpu.count;
}

/// Runs every batch of a GPU that starts at or before `now`.
void NodeSim::advance(std::uint32_t index, Nanoseconds now) {
    Gpu& gpu = gpus_[index];
    while (!gpu.coming.empty() && gpu.coming.top().ready_ns <= now) {
        push_ready(gpu, gpu.coming.top());
        gpu.coming.pop();
    }
    std::size_t const most = setup_.batching.max_batch;
    std::size_t const mask = gpu.ready.size() - 1;
    while (gpu.count > 0) {
        Nanoseconds close = gpu.ready[gpu.head].ready_ns + max_wait_ns_;
        if (gpu.count >= most)
            close = std::min(close, gpu.ready[(gpu.head + most - 1) & mask].ready_ns);
        close = std::max(close, gpu.free_ns);
        if (close > now) return;
        run_batch(index, close);
    }
}

Nanoseconds NodeSim::stage_ns(StageWork const& work, double noise) const {
    return rounded(
        (std::max(work.bytes * setup_.ns_per_byte, work.flops * setup_.ns_per_flop) * noise +
         setup_.batch_overhead_ns) *
        rates_.gpu);
}

void NodeSim::run_batch(std::uint32_t index, Nanoseconds start_ns) {
    Gpu& gpu = gpus_[index];
    std::size_t const mask = gpu.ready.size() - 1;
    StageWork prefill, append, decode, score;
    bool prefills = false, appends = false;
    std::size_t size = 0;
    std::size_t const most = std::min<std::size_t>(setup_.batching.max_batch, gpu.count);
    auto const add = [](StageWork& sum, StageWork const& work) {
        sum.bytes += work.bytes;
        sum.flops += work.flops;
    };
    for (; size < most; ++size) {
        Pending const& request = gpu.ready[(gpu.head + size) & mask];
        if (request.ready_ns > start_ns) break;
        if (request.found == Residence::none) {
            add(prefill, costs_.prefill(request.interactions));
            prefills = true;
        } else if (request.appended > 0) {
            add(append, costs_.append(request.interactions, request.appended));
            appends = true;
        }
        add(decode, costs_.decode(request.interactions));
        add(score, costs_.score());
    }
    decode.bytes += costs_.batch_bytes();
    double noise = 1.0;
    if (setup_.noise.size() > 1) {
        std::uint64_t const key = mix64(run_.seed ^ kNoiseSalt ^ (std::uint64_t{node_} << 40) ^
                                        (std::uint64_t{index} << 32)) +
                                  gpu.batches;
        noise = setup_.noise[mix64(key) % setup_.noise.size()];
    }
    std::array<Nanoseconds, 4> const stages = {
        prefills ? stage_ns(prefill, noise) : 0,
        appends && (append.bytes > 0.0 || append.flops > 0.0) ? stage_ns(append, noise) : 0,
        stage_ns(decode, noise), stage_ns(score, noise)};
    Nanoseconds busy = 0;
    for (auto const ns : stages) busy += ns;
    Nanoseconds const end_ns = start_ns + busy;
    bool const cut_short = end_ns > faults_.crash_ns;
    std::uint64_t counted = 0;
    for (std::size_t i = 0; i < size; ++i) {
        Pending const& request = gpu.ready[(gpu.head + i) & mask];
        if (cut_short) {
            lose(request, faults_.crash_event);
            continue;
        }
        counted += measured(request.start_ns) ? 1 : 0;
        complete(request, start_ns, end_ns);
    }
    if (cut_short) busy = faults_.crash_ns - start_ns;
    if (counted > 0) {
        for (std::size_t s = 0; s < stages.size(); ++s)
            result_.latency[static_cast<std::size_t>(FleetStage::prefill) + s].add(stages[s],
                                                                                   counted);
    }
    if (measured(start_ns)) {
        ++result_.batches;
        result_.busy_ns[static_cast<std::size_t>(Device::gpu)] += static_cast<std::uint64_t>(busy);
    }
    gpu.head = (gpu.head + size) & mask;
    gpu.count -= size;
    gpu.free_ns = end_ns;
    ++gpu.batches;
    gpu.worked_ns += busy;
    gpu.answered += size;
}

Nanoseconds NodeSim::backlog_ns(Nanoseconds now) const {
    Nanoseconds sum = 0;
    for (auto const& gpu : gpus_) {
        sum += std::max<Nanoseconds>(gpu.free_ns - now, 0);
        // The work of what waits is known when its batch closes.
        std::size_t const waiting = gpu.count + gpu.coming.size() + gpu.hopping;
        sum += static_cast<Nanoseconds>(waiting) *
               (gpu.answered == 0 ? 1000 : gpu.worked_ns / static_cast<Nanoseconds>(gpu.answered));
    }
    return sum;
}

bool NodeSim::is_whole() const {
    for (auto const& gpu : gpus_) {
        if (!std::has_single_bit(gpu.ready.size()) || gpu.head >= gpu.ready.size() ||
            gpu.count > gpu.ready.size())
            return false;
    }
    auto const known = [&](std::vector<std::uint16_t> const& events) {
        return std::all_of(events.begin(), events.end(),
                           [&](std::uint16_t event) { return event < faults_.events.size(); });
    };
    for (auto const& action : faults_.actions)
        if (!known({action.event}) || action.slices == 0) return false;
    if (faults_.grown && !setup_.growth) return false;
    if (faults_.next > faults_.actions.size() || !known(faults_.active) ||
        !known(faults_.link_swaps) || !known(faults_.nic_swaps) ||
        (faults_.crash_event > 0 && !known({faults_.crash_event})))
        return false;
    if (!std::has_single_bit(guests_.size())) return false;
    std::uint64_t guests = 0;
    for (auto const& [user, place] : guests_) {
        if (user == kNoUser) continue;
        ++guests;
        if (place < users_ || place >= tiers_.places()) return false;
    }
    return guests == guest_count_ && 2 * guests <= guests_.size() &&
           (owed_.empty() || (owed_.size() >= users_ && owed_.size() <= tiers_.places()));
}

std::uint32_t NodeSim::guest_place(std::uint64_t user, std::uint32_t events) {
    if (2 * (guest_count_ + 1) > guests_.size()) {
        std::vector<std::pair<std::uint64_t, std::uint32_t>> larger(2 * guests_.size(),
                                                                    {kNoUser, kNoPlace});
        for (auto const& guest : guests_) {
            if (guest.first == kNoUser) continue;
            std::size_t at = mix64(guest.first) & (larger.size() - 1);
            while (larger[at].first != kNoUser) at = (at + 1) & (larger.size() - 1);
            larger[at] = guest;
        }
        guests_ = std::move(larger);
    }
    std::size_t at = mix64(user) & (guests_.size() - 1);
    while (guests_[at].first != user && guests_[at].first != kNoUser)
        at = (at + 1) & (guests_.size() - 1);
    if (guests_[at].first == kNoUser) {
        guests_[at] = {user, tiers_.add_place()};
        ++guest_count_;
        tiers_.state(guests_[at].second).events =
            static_cast<std::uint16_t>(std::min<std::uint32_t>(events, 65535));
    }
    return guests_[at].second;
}

void NodeSim::serve_guest(Arrival const& arrival, std::uint32_t events) {
    std::uint32_t const place = guest_place(arrival.user, events);
    // What he did since he was last here is appended, too.
    std::uint32_t const known = tiers_.state(place).events;
    std::uint32_t const lacking = arrival.appended + (events > known ? events - known : 0);
    if (arrival.time_ns >= faults_.next_ns) pass_events(arrival.time_ns);
    std::uint32_t const due = owed(place);
    Arrival here = arrival;
    here.appended = static_cast<std::uint16_t>(std::min<std::uint32_t>(lacking, 65535));
    if (measured(arrival.time_ns)) ++result_.guests;
    if (arrive(here, place, lacking + due) && due > 0) owed_[place] = 0;
}

std::uint32_t NodeSim::send_away(Arrival const& arrival) {
    std::uint32_t const events = tiers_.state(arrival.place).events;
    Moves moves;
    tiers_.grow(arrival.place, arrival.appended, moves);
    write_back(tiers_.gpu_of(arrival.place), arrival.time_ns, moves, measured(arrival.time_ns));
    owe(arrival.place, arrival.appended);
    return events;
}

void NodeSim::owe(std::uint32_t place, std::uint32_t events) {
    if (place >= owed_.size()) owed_.resize(std::max<std::uint64_t>(tiers_.places(), users_), 0);
    owed_[place] =
        static_cast<std::uint16_t>(std::min<std::uint32_t>(owed_[place] + events, 65535));
}

FleetResult NodeSim::finish() {
    constexpr Nanoseconds kEnd = std::numeric_limits<Nanoseconds>::max() / 4;
    if (faults_.next_ns != kNever) pass_events(kNever - 1);
    while (!hops_.empty()) {
        Hop const hop = hops_.top();
        hops_.pop();
        land(hop);
    }
    for (std::uint32_t g = 0; g < gpus_.size(); ++g) advance(g, kEnd);
    for (std::size_t t = 1; t < kResidences; ++t) {
        auto const tier = static_cast<Residence>(t);
        result_.entries[t] = tiers_.entries(tier);
        result_.used_bytes[t] = tiers_.used_bytes(tier);
        result_.capacity_bytes[t] = tiers_.capacity_bytes(tier);
    }
    std::uint64_t looked_up = 0;
    for (auto const count : result_.found) looked_up += count;
    validate(
        result_.offered == result_.shed + result_.lost + looked_up && looked_up == result_.served,
        "NodeSim: hits and misses of the tiers are not the requests that were served");
    result_.state_bytes = tiers_.state_bytes();
    result_.simulated_users = users_;
    result_.decision_hash = hash_.value();
    return std::move(result_);
}

}  // namespace ckvsim::fleet
