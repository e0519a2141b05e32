#include "app/request_streams.hpp"

#include <map>
#include <numeric>

#include "core/hash.hpp"
#include "core/shards.hpp"

namespace ckvsim::app {

namespace {

using workload::RequestStream;

workload::TrafficParams const& traffic_of(config::Spec const& spec, RequestStream stream) {
    return stream == RequestStream::executed ? spec.executed.traffic : spec.simulated.traffic;
}

/// Shards of every logical node.
std::vector<std::vector<std::uint32_t>> shards_by_node(config::Spec const& spec) {
    std::vector<std::vector<std::uint32_t>> shards(spec.fleet.nodes);
    for (std::uint32_t shard = 0; shard < spec.shards; ++shard)
        shards[to_int(node_of_shard(ShardId{shard}, spec.fleet.nodes))].push_back(shard);
    return shards;
}

void replay(RunContext const& context, workload::TrafficParams const& traffic, RequestStream stream,
            std::vector<std::vector<std::uint32_t>> const& groups, NodeStreams& streams) {
    workload::ReplayParams params;
    params.path = traffic.path;
    params.stream = stream;
    params.speed_factor = traffic.speed_factor;
    params.shards = context.spec.shards;
    params.max_tokens = context.spec.model.max_tokens;
    params.candidates = traffic.candidates;
    auto recorded = workload::load_requests(params, *context.population, groups);
    streams.requests = std::move(recorded.groups);
    streams.source = traffic.path + " " + recorded.digest;
}

/// One rank's blocks of one stream.
struct StreamBlocks {
    std::vector<std::uint32_t> shards;
    std::vector<std::string> bytes;
};

StreamBlocks encode(NodeStreams const& streams, RequestStream stream,
                    workload::RequestFileHeader& header) {
    std::map<std::uint32_t, workload::RequestEncoder> encoders;
    for (auto const& requests : streams.requests) {
        for (auto const& request : requests) encoders[request.shard].add(request);
    }
    StreamBlocks blocks;
    for (auto const& [shard, encoder] : encoders) {
        header.blocks[header.index(stream, shard)] = encoder.block();
        blocks.shards.push_back(shard);
        blocks.bytes.push_back(encoder.bytes());
    }
    return blocks;
}

/// Every rank then knows all blocks.
void share_blocks(comm::Communicator& comm, std::vector<workload::RequestBlock>& blocks) {
    std::vector<std::uint64_t> flat;
    for (auto const& block : blocks)
        flat.insert(flat.end(), {block.requests, block.bytes, block.hash});
    comm.sum(std::span<std::uint64_t>(flat));  // each block is one rank's, zero on the others
    for (std::size_t i = 0; i < blocks.size(); ++i)
        blocks[i] = {flat[3 * i], flat[3 * i + 1], flat[3 * i + 2]};
}

}  // namespace

std::uint64_t NodeStreams::total() const {
    return std::accumulate(requests.begin(), requests.end(), std::uint64_t{0},
                           [](auto sum, auto const& stream) { return sum + stream.size(); });
}

NodeStreams make_streams(RunContext const& context,
                         std::vector<std::vector<UserId>> const& shard_users,
                         RequestStream stream) {
    auto const& spec = context.spec;
    auto const& traffic = traffic_of(spec, stream);
    auto const shards = shards_by_node(spec);
    NodeStreams streams;
    std::vector<std::vector<std::uint32_t>> mine;
    for (std::uint32_t node = 0; node < spec.fleet.nodes; ++node) {
        if (rank_of_node(NodeId{node}, context.comm.size()) != context.comm.rank()) continue;
        streams.ids.push_back(node);
        mine.push_back(shards[node]);
    }
    if (traffic.kind == workload::ArrivalKind::recorded) {
        replay(context, traffic, stream, mine, streams);
        return streams;
    }
    for (auto const& node_shards : mine) {
        streams.requests.push_back(workload::make_requests(*context.population, traffic, spec.seed,
                                                           node_shards, shard_users,
                                                           spec.model.max_tokens));
    }
    return streams;
}

void hash_streams(RunContext& context, NodeStreams const& streams) {
    for (auto const& stream : streams.requests) {
        for (auto const& request : stream) {
            auto const id = (static_cast<std::uint64_t>(request.shard) << 32) | request.sequence;
            context.logical_hash.add(
                id, mix64(request.user) ^ static_cast<std::uint64_t>(request.intended_start_ns) ^
                        (static_cast<std::uint64_t>(request.candidates) << 40) ^ request.tokens);
        }
    }
}

void report_sources(RunContext& context, NodeStreams const& executed,
                    NodeStreams const& simulated) {
    struct Source {
        char const* key;
        NodeStreams const& streams;
    };
    for (auto const& [key, streams] :
         {Source{"requests_executed", executed}, Source{"requests_simulated", simulated}}) {
        if (streams.source.empty()) continue;
        context.comm.require_equal(hash_bytes(streams.source.data(), streams.source.size()),
                                   "the request file " + streams.source);
        context.report.provenance[key] = streams.source;
    }
}

void record_requests(RunContext& context, NodeStreams const& executed,
                     NodeStreams const& simulated) {
    auto const& path = context.record_requests;
    auto& comm = context.comm;
    workload::RequestFileHeader header;
    header.shards = context.spec.shards;
    header.max_tokens = context.spec.model.max_tokens;
    header.users = context.population->users();
    header.population = context.population->digest();
    header.seed = context.spec.seed;
    header.blocks.resize(std::size_t{workload::kRequestStreams} * header.shards);
    StreamBlocks blocks[workload::kRequestStreams];
    comm.run_phase("encoding requests", [&] {
        blocks[0] = encode(executed, RequestStream::executed, header);
        blocks[1] = encode(simulated, RequestStream::simulated, header);
    });
    share_blocks(comm, header.blocks);
    try {
        comm.run_phase("recording requests", [&] {
            if (comm.is_root()) workload::create_request_file(path, header);
        });
        comm.run_phase("recording requests", [&] {
            for (auto const stream : {RequestStream::executed, RequestStream::simulated}) {
                auto const& own = blocks[static_cast<std::size_t>(stream)];
                workload::write_request_blocks(path, header, stream, own.shards, own.bytes);
            }
        });
        comm.run_phase("recording requests", [&] {
            if (comm.is_root()) workload::publish_request_file(path, header);
        });
    } catch (...) {
        if (comm.is_root()) workload::discard_request_file(path);
        throw;
    }
    context.report.provenance["requests_recorded"] =
        path + " " + to_hex(workload::request_file_digest(header));
}

}  // namespace ckvsim::app
