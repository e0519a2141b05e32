#include "app/fleet_keeper.hpp"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <new>
#include <nlohmann/json.hpp>

#include "core/atomic_file.hpp"
#include "core/error.hpp"
#include "core/hash.hpp"

namespace ckvsim::app {

namespace {

using Json = nlohmann::ordered_json;

std::uint64_t number_after(std::string const& name, std::size_t at) {
    std::uint64_t value = 0;
    for (; at < name.size() && name[at] >= '0' && name[at] <= '9'; ++at)
        value = 10 * value + static_cast<std::uint64_t>(name[at] - '0');
    return value;
}
bool is_whole_name(std::string const& name) { return !name.ends_with(".partial"); }

/// The number behind the last dash of each name, newest first; unfinished files left out.
std::vector<std::uint64_t> numbers_of(std::vector<std::string> const& names, std::size_t at) {
    std::vector<std::uint64_t> numbers;
    for (auto const& name : names)
        if (is_whole_name(name)) numbers.push_back(number_after(name, at));
    std::sort(numbers.rbegin(), numbers.rend());
    return numbers;
}

SectionName section(CheckpointKind kind, std::uint64_t first, std::uint64_t second,
                    std::uint64_t layout) {
    return {static_cast<std::uint64_t>(kind), first, second, layout};
}

/// Nodes and the sum of their results.
struct DoneNodes {
    std::vector<std::uint32_t> nodes;
    fleet::FleetResult sum;
    template <class Archive>
    void archive(Archive& ar) {
        ar(nodes, sum);
    }
};

}  // namespace

FleetKeeper::FleetKeeper(CheckpointFolder& folder, comm::Communicator& comm, std::size_t number)
    : folder_(folder), comm_(comm), case_(number) {
    done_slot_.due = in(folder_.pause_s(0.0));
    window_slot_.due = done_slot_.due;
    comm_.run_phase("reading the checkpoint", [&] {
        if (comm_.is_root()) read_done();
    });
    std::vector<std::uint32_t> nodes(before_.begin(), before_.end());
    auto const raw = std::as_bytes(std::span(nodes));
    std::vector<std::byte> bytes(raw.begin(), raw.end());
    comm_.broadcast(bytes);
    nodes.resize(bytes.size() / sizeof(std::uint32_t));
    if (!bytes.empty()) std::memcpy(nodes.data(), bytes.data(), bytes.size());
    before_ = {nodes.begin(), nodes.end()};
    if (comm_.is_root()) cost_.resumed += before_.size();
}

std::string FleetKeeper::name(char const* kind) const {
    return std::string(kind) + "-" + std::to_string(case_) + "-";
}

FleetKeeper::Clock::time_point FleetKeeper::in(double seconds) const {
    return Clock::now() +
           std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

void FleetKeeper::remove(std::string const& name) const {
    std::error_code ignored;
    std::filesystem::remove(folder_.file(name), ignored);
}

template <class Write>
bool FleetKeeper::written(Write&& write, double& seconds) {
    auto const begin = Clock::now();
    bool good = true;
    std::uint64_t bytes = 0;
    try {
        bytes = write();
    } catch (BackendError const& error) {
        CheckpointFolder::warn(std::string(error.what()) +
                               "; the run goes on, the last good state is kept");
        good = false;
    } catch (std::bad_alloc const&) {
        CheckpointFolder::warn("no memory for a checkpoint; the run goes on");
        good = false;
    }
    seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    std::lock_guard const lock(mutex_);
    cost_.add({seconds, good ? 1U : 0U, bytes});
    return good;
}

// Finished nodes.

bool FleetKeeper::read_done_file(std::string const& name, std::set<std::uint32_t>& nodes,
                                 fleet::FleetResult& sum) const {
    try {
        DoneNodes found;
        SectionFile const file(folder_.file(name), folder_.key());
        auto const source = file.open(section(CheckpointKind::done, case_, 0, layout_of(found)));
        load(*source, found);
        for (auto const node : found.nodes) {
            if (nodes.contains(node))
                throw DataError(folder_.file(name), 0, "counts a node that another file counts");
        }
        nodes.insert(found.nodes.begin(), found.nodes.end());
        merge(sum, found.sum);
        return true;
    } catch (DataError const& error) {
        CheckpointFolder::warn(std::string(error.what()) + "; not used");
        return false;
    }
}

/// Rank 0: everything that the last epoch knew, written as the base of this one.
void FleetKeeper::read_done() {
    if (folder_.epoch() == 1) return;
    auto const prefix = name("done");
    auto const base_prefix = name("base");
    auto names = folder_.names(prefix);
    auto const bases = folder_.names(base_prefix);
    std::uint64_t last = 0;
    for (auto const& found : names) last = std::max(last, number_after(found, prefix.size()));
    for (auto const& found : bases)
        if (is_whole_name(found)) last = std::max(last, number_after(found, base_prefix.size()));
    auto const base = base_prefix + std::to_string(last);
    if (std::find(bases.begin(), bases.end(), base) != bases.end())
        read_done_file(base, before_, base_);
    // Of every rank the newest good file.
    std::map<std::uint64_t, std::vector<std::uint64_t>> by_rank;
    auto const of_epoch = prefix + std::to_string(last) + "-";
    for (auto const& found : names) {
        if (found.rfind(of_epoch, 0) != 0 || !is_whole_name(found)) continue;
        by_rank[number_after(found, of_epoch.size())].push_back(
            number_after(found, found.rfind('-') + 1));
    }
    for (auto& [rank, numbers] : by_rank) {
        std::sort(numbers.rbegin(), numbers.rend());
        for (auto const number : numbers)
            if (read_done_file(of_epoch + std::to_string(rank) + "-" + std::to_string(number),
                               before_, base_))
                break;
    }
    if (!before_.empty()) write_done(base_prefix + std::to_string(folder_.epoch()), before_, base_);
    for (auto const& found : names) remove(found);
    for (auto const& found : bases)
        if (number_after(found, base_prefix.size()) != folder_.epoch()) remove(found);
}

std::uint64_t FleetKeeper::write_done(std::string const& name, std::set<std::uint32_t> const& nodes,
                                      fleet::FleetResult& sum) {
    DoneNodes all{{nodes.begin(), nodes.end()}, sum};
    SectionWriter file(folder_.file(name), folder_.key());
    save(file.begin(section(CheckpointKind::done, case_, 0, layout_of(all))), all);
    file.end();
    file.commit();
    return file.bytes();
}

void FleetKeeper::done(std::uint32_t node, fleet::FleetResult const& result) {
    {
        std::lock_guard const lock(mutex_);
        mine_.insert(node);
        merge(sum_, result);
        if (!folder_.keeps_states() || Clock::now() < done_slot_.due) return;
        done_slot_.due = Clock::time_point::max();  // nobody else meanwhile
    }
    keep_done();
}

void FleetKeeper::keep_done() {
    std::set<std::uint32_t> nodes;
    fleet::FleetResult sum;
    {
        std::lock_guard const lock(mutex_);
        nodes = mine_;
        sum = sum_;
    }
    auto const start =
        name("done") + std::to_string(folder_.epoch()) + "-" + std::to_string(comm_.rank()) + "-";
    double seconds = 0.0;
    auto& slot = done_slot_;
    bool const good =
        written([&] { return write_done(start + std::to_string(slot.next), nodes, sum); }, seconds);
    if (good) {
        if (slot.last > 0) remove(start + std::to_string(slot.last - 1));
        slot.last = slot.next++;
        // States of nodes that are counted now.
        for (auto const node : nodes) {
            std::uint64_t last = 0;
            {
                std::lock_guard const lock(mutex_);
                auto const found = slots_.find(node);
                if (found == slots_.end()) continue;
                last = found->second.last;
                slots_.erase(found);
            }
            auto const state = name("node") + std::to_string(node) + "-";
            for (std::uint64_t back = 0; back < 2 && back < last; ++back)
                remove(state + std::to_string(last - back));
        }
    }
    std::lock_guard const lock(mutex_);
    slot.due = in(folder_.pause_s(seconds));
}

// Nodes in progress.

FleetKeeper::Slot& FleetKeeper::slot_of(std::uint32_t node) {
    std::lock_guard const lock(mutex_);
    auto const [at, fresh] = slots_.try_emplace(node);
    if (fresh) at->second.due = in(folder_.pause_s(0.0));
    return at->second;
}

bool FleetKeeper::restore(std::uint32_t node, std::uint64_t layout, Load const& load) {
    if (folder_.epoch() == 1) return false;
    auto const start = name("node") + std::to_string(node) + "-";
    auto const numbers = numbers_of(folder_.names(start), start.size());
    auto& slot = slot_of(node);
    for (auto const number : numbers) {
        slot.next = std::max(slot.next, number + 1);
        auto const file_name = start + std::to_string(number);
        try {
            SectionFile const file(folder_.file(file_name), folder_.key());
            auto const source = file.open(section(CheckpointKind::node, case_, node, layout));
            load(*source);
            if (source->remaining() > 0) source->refuse("holds more than the state of a node");
            slot.last = number;
            std::lock_guard const lock(mutex_);
            ++cost_.resumed;
            return true;
        } catch (DataError const& error) {
            CheckpointFolder::warn(std::string(error.what()) + "; an older state is used");
            remove(file_name);
        }
    }
    return false;
}

bool FleetKeeper::is_due(std::uint32_t node) {
    return folder_.keeps_states() && Clock::now() >= slot_of(node).due;
}

void FleetKeeper::keep(std::uint32_t node, std::uint64_t layout, Save const& save) {
    auto& slot = slot_of(node);  // this thread's alone
    auto const start = name("node") + std::to_string(node) + "-";
    // The disk holds two states at most.
    if (slot.last > 1) remove(start + std::to_string(slot.last - 1));
    double seconds = 0.0;
    bool const good = written(
        [&] {
            SectionWriter file(folder_.file(start + std::to_string(slot.next)), folder_.key());
            save(file.begin(section(CheckpointKind::node, case_, node, layout)));
            file.end();
            file.commit();
            return file.bytes();
        },
        seconds);
    if (good) slot.last = slot.next++;
    slot.due = in(folder_.pause_s(seconds));
}

// Windows.

bool FleetKeeper::window_is_due() {
    return folder_.keeps_states() && Clock::now() >= window_slot_.due;
}

void FleetKeeper::keep_window(Nanoseconds edge, std::vector<std::uint32_t> const& nodes,
                              std::uint64_t layout, SaveNode const& save) {
    auto const begin = Clock::now();
    auto& slot = window_slot_;
    auto const prefix = name("window");
    auto const start = prefix + std::to_string(slot.next);
    if (comm_.is_root()) {
        // The disk holds two sets at most.
        for (auto const& found : folder_.names(prefix))
            if (number_after(found, prefix.size()) < slot.last) remove(found);
    }
    auto const file_name = start + "-" + std::to_string(comm_.rank());
    std::vector<std::uint64_t> about(2);
    double seconds = 0.0;
    bool const good = written(
        [&] {
            SectionWriter file(folder_.file(file_name), folder_.key());
            for (auto const node : nodes) {
                save(node, file.begin(section(CheckpointKind::window, case_, node, layout)));
                file.end();
            }
            file.commit();
            about = {file.bytes(), file.digest()};
            return file.bytes();
        },
        seconds);
    auto const all = comm_.gather_values(std::span<std::uint64_t const>(about));
    std::int64_t bad = good ? 0 : 1;
    comm_.max(std::span(&bad, 1));
    if (bad == 0 && comm_.is_root()) {
        Json json = {{"edge_ns", edge}, {"files", Json::array()}};
        for (std::size_t rank = 0; 2 * rank < all.size(); ++rank) {
            json["files"].push_back({{"name", start + "-" + std::to_string(rank)},
                                     {"bytes", all[2 * rank]},
                                     {"digest", to_hex(all[2 * rank + 1])}});
        }
        double ignored = 0.0;
        bad = written(
                  [&] {
                      auto const text = json.dump(1) + "\n";
                      write_file_atomically(folder_.file(start + ".json"), text);
                      flush_folder(folder_.file("."));
                      return std::uint64_t{text.size()};
                  },
                  ignored)
                  ? 0
                  : 1;
    }
    comm_.max(std::span(&bad, 1));
    if (bad == 0) {
        slot.last = slot.next;
    } else {
        remove(file_name);
    }
    ++slot.next;
    auto took = static_cast<std::int64_t>(
        std::chrono::duration<double, std::milli>(Clock::now() - begin).count());
    comm_.max(std::span(&took, 1));
    slot.due = in(folder_.pause_s(static_cast<double>(took) * 1e-3));
}

/// Local. False, with the reason on standard error, when the set cannot be used.
bool FleetKeeper::restore_files(std::string const& manifest,
                                std::vector<std::uint32_t> const& nodes, std::uint64_t layout,
                                LoadNode const& load, Nanoseconds& edge) {
    try {
        auto const json = Json::parse(manifest);
        edge = json.at("edge_ns").get<Nanoseconds>();
        std::set<std::uint32_t> missing(nodes.begin(), nodes.end());
        for (auto const& entry : json.at("files")) {
            auto const file_name = entry.at("name").get<std::string>();
            SectionFile const file(folder_.file(file_name), folder_.key());
            if (!file.torn().empty()) throw DataError(folder_.file(file_name), 0, file.torn());
            if (to_hex(file.digest()) != entry.at("digest").get<std::string>() ||
                file.bytes() != entry.at("bytes").get<std::uint64_t>())
                throw DataError(folder_.file(file_name), 0, "is not the file of this set");
            for (auto const& part : file.entries()) {
                auto const node = static_cast<std::uint32_t>(part.name.second);
                if (missing.erase(node) == 0) continue;
                auto const source = file.open(section(CheckpointKind::window, case_, node, layout));
                load(node, *source);
                if (source->remaining() > 0) source->refuse("holds more than the state of a node");
            }
        }
        if (!missing.empty())
            throw DataError(folder_.file("."), 0,
                            "no file has node " + std::to_string(*missing.begin()));
        return true;
    } catch (DataError const& error) {
        CheckpointFolder::warn(std::string(error.what()) + "; an older set is used");
    } catch (nlohmann::json::exception const& error) {
        CheckpointFolder::warn(std::string("a damaged list of files (") + error.what() +
                               "); an older set is used");
    }
    return false;
}

std::optional<Nanoseconds> FleetKeeper::restore_window(std::vector<std::uint32_t> const& nodes,
                                                       std::uint64_t layout, LoadNode const& load) {
    if (folder_.epoch() == 1) return {};
    auto const prefix = name("window");
    std::vector<std::uint64_t> sets;
    std::uint64_t newest = 0;
    if (comm_.is_root()) {
        for (auto const& found : folder_.names(prefix)) {
            auto const number = number_after(found, prefix.size());
            newest = std::max(newest, number);
            if (found.ends_with(".json")) sets.push_back(number);
        }
        std::sort(sets.rbegin(), sets.rend());
    }
    std::optional<Nanoseconds> result;
    for (std::size_t i = 0;; ++i) {
        // Rank 0 says which set is next; an empty text ends the search.
        std::string text;
        if (comm_.is_root() && i < sets.size()) {
            try {
                text = read_file(folder_.file(prefix + std::to_string(sets[i]) + ".json"));
            } catch (DataError const& error) {
                CheckpointFolder::warn(error.what());
            }
            if (text.empty()) text = "unreadable";
        }
        auto const raw = std::as_bytes(std::span(text.data(), text.size()));
        std::vector<std::byte> bytes(raw.begin(), raw.end());
        comm_.broadcast(bytes);
        if (bytes.empty()) break;
        text.assign(reinterpret_cast<char const*>(bytes.data()), bytes.size());
        Nanoseconds edge = 0;
        std::int64_t bad = restore_files(text, nodes, layout, load, edge) ? 0 : 1;
        comm_.max(std::span(&bad, 1));
        if (bad == 0) {
            window_slot_.last = comm_.is_root() ? sets[i] : 0;
            result = edge;
            cost_.resumed += nodes.size();
            break;
        }
    }
    // New numbers are above all that were ever there; sets that were refused go.
    std::vector<std::int64_t> numbers = {static_cast<std::int64_t>(newest),
                                         static_cast<std::int64_t>(window_slot_.last)};
    comm_.max(std::span(numbers));
    window_slot_.next = static_cast<std::uint64_t>(numbers[0]) + 1;
    window_slot_.last = static_cast<std::uint64_t>(numbers[1]);
    if (comm_.is_root()) {
        for (auto const& found : folder_.names(prefix))
            if (number_after(found, prefix.size()) > window_slot_.last) remove(found);
    }
    comm_.barrier();
    return result;
}

void FleetKeeper::forget() {
    for (char const* kind : {"done", "base", "node", "window"})
        for (auto const& found : folder_.names(name(kind))) remove(found);
}

}  // namespace ckvsim::app
