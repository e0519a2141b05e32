#include "workload/request_file.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <functional>
#include <numeric>
#include <ostream>
#include <tuple>

#include "core/atomic_file.hpp"
#include "core/error.hpp"
#include "core/hash.hpp"
#include "core/shards.hpp"
#include "gzip.hpp"
#include "temporary_folder.hpp"
#include "workload/synthetic.hpp"

namespace ckvsim::workload {
namespace {

constexpr std::uint32_t kShards = 8;
constexpr std::uint32_t kTokens = 50;

auto key(Request const& r) {
    return std::tuple(r.intended_start_ns, r.shard, r.sequence, r.user, r.candidates, r.tokens);
}
bool same(std::vector<Request> const& a, std::vector<Request> const& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [](auto const& x, auto const& y) { return key(x) == key(y); });
}

std::unique_ptr<Population> population_of(std::uint64_t users, std::uint64_t seed = 1) {
    SyntheticParams params;
    params.users = users;
    params.seed = seed;
    return make_synthetic(params);
}

class RequestFileTest : public testing::Test {
  protected:
    RequestFileTest() : population_(population_of(200)), all_(kShards) {
        std::iota(all_.begin(), all_.end(), 0U);
        replay_.path = folder_.path("requests.bin");
        replay_.shards = kShards;
        replay_.max_tokens = kTokens;
        replay_.candidates = 7;
    }

    std::vector<Request> make(double per_second, std::uint64_t seed = 1) const {
        TrafficParams traffic;
        traffic.requests_per_second = per_second;
        traffic.duration_s = 2.0;
        return make_requests(*population_, traffic, seed, all_, users_by_shard(200, kShards),
                             kTokens);
    }
    /// Records both streams as one process that owns all shards.
    RequestFileHeader record(std::vector<Request> const& executed,
                             std::vector<Request> const& simulated) const {
        RequestFileHeader header{kShards, kTokens, 200, population_->digest(), 1, {}};
        header.blocks.resize(std::size_t{kRequestStreams} * kShards);
        std::vector<std::vector<std::string>> bytes(2, std::vector<std::string>(kShards));
        for (auto const stream : {RequestStream::executed, RequestStream::simulated}) {
            std::vector<RequestEncoder> encoders(kShards);
            for (auto const& request : stream == RequestStream::executed ? executed : simulated)
                encoders[request.shard].add(request);
            for (std::uint32_t shard = 0; shard < kShards; ++shard) {
                header.blocks[header.index(stream, shard)] = encoders[shard].block();
                bytes[static_cast<std::size_t>(stream)][shard] = encoders[shard].bytes();
            }
        }
        create_request_file(replay_.path, header);
        write_request_blocks(replay_.path, header, RequestStream::executed, all_, bytes[0]);
        write_request_blocks(replay_.path, header, RequestStream::simulated, all_, bytes[1]);
        publish_request_file(replay_.path, header);
        return header;
    }
    RecordedRequests load() const { return load_requests(replay_, *population_, {all_}); }
    /// The message of the DataError that loading throws.
    std::string refusal() const {
        try {
            (void)load();
        } catch (DataError const& error) {
            return error.what();
        }
        return "was accepted";
    }

    test::TemporaryFolder folder_;
    std::unique_ptr<Population> population_;
    std::vector<std::uint32_t> all_;
    ReplayParams replay_;
};

TEST_F(RequestFileTest, StreamsComeBackAsTheyWere) {
    auto const executed = make(500.0);
    auto const simulated = make(900.0, 2);
    auto const header = record(executed, simulated);
    EXPECT_FALSE(std::filesystem::exists(replay_.path + ".partial"));
    auto loaded = load();
    ASSERT_EQ(loaded.groups.size(), 1U);
    EXPECT_TRUE(same(loaded.groups[0], executed));
    EXPECT_EQ(loaded.digest, to_hex(request_file_digest(header)));
    replay_.stream = RequestStream::simulated;
    EXPECT_TRUE(same(load().groups[0], simulated));
    auto const bytes = std::filesystem::file_size(replay_.path);
    EXPECT_LT(bytes, 64 + 2 * kShards * 24 + 10 * (executed.size() + simulated.size()));
}

TEST_F(RequestFileTest, GroupsHoldTheirShardsOnly) {
    auto const executed = make(500.0);
    record(executed, {});
    auto const loaded = load_requests(replay_, *population_, {{1, 5}, {}, {0, 2, 3, 4, 6, 7}});
    ASSERT_EQ(loaded.groups.size(), 3U);
    std::vector<Request> first;
    for (auto const& request : executed)
        if (request.shard == 1 || request.shard == 5) first.push_back(request);
    EXPECT_TRUE(same(loaded.groups[0], first));
    EXPECT_TRUE(loaded.groups[1].empty());
    EXPECT_EQ(loaded.groups[2].size(), executed.size() - first.size());
    replay_.stream = RequestStream::simulated;
    EXPECT_TRUE(load().groups[0].empty());
}

TEST_F(RequestFileTest, SpeedAndFewerTokensApply) {
    auto const executed = make(500.0);
    record(executed, {});
    replay_.speed_factor = 4.0;
    replay_.max_tokens = 10;
    auto const fast = load().groups[0];
    ASSERT_EQ(fast.size(), executed.size());
    for (std::size_t i = 0; i < fast.size(); ++i) EXPECT_LE(fast[i].tokens, 10U);
    EXPECT_NEAR(static_cast<double>(fast.back().intended_start_ns),
                static_cast<double>(executed.back().intended_start_ns) / 4.0, 1.0);
}

TEST_F(RequestFileTest, TheDigestSeesEveryRequest) {
    auto executed = make(500.0);
    auto const before = request_file_digest(record(executed, {}));
    EXPECT_EQ(request_file_digest(record(executed, {})), before);
    ++executed.back().candidates;
    EXPECT_NE(request_file_digest(record(executed, {})), before);
}

TEST_F(RequestFileTest, OtherRunsAreRefused) {
    record(make(500.0), {});
    replay_.shards = 16;
    EXPECT_NE(refusal().find("set /shards=8"), std::string::npos) << refusal();
    replay_.shards = kShards;
    replay_.max_tokens = kTokens + 1;
    EXPECT_NE(refusal().find("set /model/max_tokens=50"), std::string::npos) << refusal();
    replay_.max_tokens = kTokens;
    population_ = population_of(201);
    EXPECT_NE(refusal().find("another population (200 users"), std::string::npos) << refusal();
    population_ = population_of(200, 2);
    EXPECT_NE(refusal().find("another population"), std::string::npos) << refusal();
}

TEST_F(RequestFileTest, RequestsOutOfOrderAreADefect) {
    RequestEncoder encoder;
    Request request;
    request.intended_start_ns = 5;
    encoder.add(request);
    EXPECT_THROW(encoder.add(request), InternalError) << "sequence 0 again";
    request.sequence = 1;
    request.intended_start_ns = 4;
    EXPECT_THROW(encoder.add(request), InternalError);
}

TEST_F(RequestFileTest, WhatCannotBeWrittenIsRefusedAndLeavesNothing) {
    RequestFileHeader header{kShards, kTokens, 200, 1, 1, {}};
    header.blocks.resize(std::size_t{kRequestStreams} * kShards);
    EXPECT_THROW(create_request_file(folder_.path(), header), BackendError);
    auto const file = folder_.write("file", "x");
    EXPECT_THROW(create_request_file(file + "/requests.bin", header), BackendError);
    header.blocks[0] = {1, 3, 0};
    create_request_file(replay_.path, header);
    EXPECT_THROW(write_request_blocks(replay_.path, header, RequestStream::executed, {0}, {"ab"}),
                 InternalError);
    write_request_blocks(replay_.path, header, RequestStream::executed, {0}, {"abc"});
    EXPECT_THROW(publish_request_file(replay_.path, header), BackendError) << "another hash";
    discard_request_file(replay_.path);
    EXPECT_FALSE(std::filesystem::exists(replay_.path + ".partial"));
    EXPECT_FALSE(std::filesystem::exists(replay_.path));
}

struct Damage {
    char const* name;
    std::function<void(std::string&)> apply;
    char const* reason;
};
void PrintTo(Damage const& damage, std::ostream* out) { *out << damage.name; }

/// Replaces the bytes of one shard of the executed stream, hashes made to fit again.
std::function<void(std::string&)> forged(std::string const& block, std::uint64_t requests) {
    return [=](std::string& file) {
        std::string table(file, 64, 2 * kShards * 24);
        std::uint64_t old_bytes[kShards];
        std::uint64_t before = 0;
        for (std::uint32_t s = 0; s < kShards; ++s)
            std::memcpy(&old_bytes[s], table.data() + 24 * s + 8, 8);
        for (std::uint32_t s = 0; s < 3; ++s) before += old_bytes[s];
        file.replace(64 + table.size() + before, old_bytes[3], block);
        std::uint64_t const entry[3] = {requests, block.size(),
                                        hash_bytes(block.data(), block.size())};
        std::memcpy(table.data() + 24 * 3, entry, sizeof entry);
        std::uint64_t const hash =
            hash_bytes(table.data(), table.size(), hash_bytes(file.data(), 56));
        file.replace(64, table.size(), table);
        std::memcpy(file.data() + 56, &hash, 8);
    };
}
UserId user_of_shard(std::uint32_t shard) {
    for (UserId user = 0;; ++user)
        if (to_int(shard_of_user(user, kShards)) == shard) return user;
}
/// One request: time step, user, zigzag change of candidates, tokens; all below 128.
std::string one(int step, UserId user, int candidates, int tokens) {
    return {static_cast<char>(step), static_cast<char>(user), static_cast<char>(candidates),
            static_cast<char>(tokens)};
}

std::vector<Damage> const kDamages = {
    {"empty", [](auto& f) { f.clear(); }, "is empty"},
    {"cut_in_magic", [](auto& f) { f.resize(9); }, "the first line is"},
    {"cut_in_header", [](auto& f) { f.resize(40); }, "is truncated"},
    {"cut_in_table", [](auto& f) { f.resize(200); }, "is truncated"},
    {"cut_in_blocks", [](auto& f) { f.resize(f.size() - 5); }, "is truncated: "},
    {"longer", [](auto& f) { f += "x"; }, "has bytes behind its end"},
    {"newer_version", [](auto& f) { f[16] = 2; }, "has version 2 of the layout"},
    {"three_streams", [](auto& f) { f[20] = 3; }, "damaged header"},
    {"no_shards", [](auto& f) { f[24] = 0; }, "damaged header"},
    {"many_shards", [](auto& f) { f[27] = 0x7F; }, "damaged header"},
    {"other_seed", [](auto& f) { ++f[48]; }, "damaged header"},
    {"other_users", [](auto& f) { ++f[32]; }, "damaged header"},
    {"count_changed", [](auto& f) { ++f[64]; }, "damaged header"},
    {"hash_changed", [](auto& f) { ++f[56]; }, "damaged header"},
    {"byte_in_block", [](auto& f) { f[64 + 2 * kShards * 24 + 3] ^= 4; }, "is damaged"},
    {"last_byte_of_executed",
     [](auto& f) {
         std::uint64_t bytes = 0;
         for (std::uint32_t s = 0; s < kShards; ++s) {
             std::uint64_t of_shard = 0;
             std::memcpy(&of_shard, f.data() + 64 + 24 * s + 8, 8);
             bytes += of_shard;
         }
         f[64 + 2 * kShards * 24 + bytes - 1] ^= 1;
     },
     "shard 7 of the stream executed is damaged"},
    {"text_after_magic", [](auto& f) { f = "ckvsim requests\nof somebody else"; }, "truncated"},
    {"more_requests_than_bytes", forged("abcd", 9), "shorter than its number"},
    {"ends_within_a_request", forged(one(1, user_of_shard(3), 2, 1) + "\x01", 2),
     "ends within a request"},
    {"number_too_long", forged(std::string(16, '\xFF'), 1), "too long"},
    {"more_bytes_than_requests", forged(one(1, user_of_shard(3), 2, 1) + "z", 1),
     "longer than its number"},
    {"foreign_user", forged(one(1, user_of_shard(4), 2, 1), 1), "of another shard"},
    {"unknown_user", forged(std::string("\x01\xFF\xFF\x7F\x02\x01", 6), 1), "holds user 2097151"},
    {"no_candidates", forged(one(1, user_of_shard(3), 0, 1), 1), "candidates out of range"},
    {"negative_candidates", forged(one(1, user_of_shard(3), 3, 1), 1), "candidates out of range"},
    {"many_tokens", forged(one(1, user_of_shard(3), 2, 51), 1), "more tokens"},
    {"late",
     forged("\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F" + one(0, user_of_shard(3), 2, 1).substr(1), 1),
     "beyond 1e7 s"},
};

class DamagedRecording : public RequestFileTest, public testing::WithParamInterface<Damage> {};

TEST_P(DamagedRecording, IsRefusedWithItsReason) {
    record(make(500.0), make(300.0, 2));
    std::string file = read_file(replay_.path);
    GetParam().apply(file);
    folder_.write("requests.bin", file);
    auto const message = refusal();
    EXPECT_NE(message.find(replay_.path), std::string::npos) << message;
    EXPECT_NE(message.find(GetParam().reason), std::string::npos) << message;
}
INSTANTIATE_TEST_SUITE_P(Files, DamagedRecording, testing::ValuesIn(kDamages),
                         [](auto const& tested) { return std::string(tested.param.name); });

TEST_F(RequestFileTest, AForgedBlockThatIsWellFormedIsRead) {
    record(make(500.0), {});
    std::string file = read_file(replay_.path);
    forged(one(1, user_of_shard(3), 2, 50), 1)(file);
    folder_.write("requests.bin", file);
    auto const loaded = load_requests(replay_, *population_, {{3}}).groups[0];
    ASSERT_EQ(loaded.size(), 1U) << "the forgery of the cases above is sound";
    EXPECT_EQ(loaded[0].candidates, 1U);
}

TEST_F(RequestFileTest, ALogBecomesRequests) {
    folder_.write("requests.bin",
                  "time_s,user,candidates\n0,3,5\n0.5,4,65536\n0.5,3,1\n12.000000001,199,2\n");
    auto const requests = load().groups[0];
    ASSERT_EQ(requests.size(), 4U);
    EXPECT_EQ(requests[0].intended_start_ns, 0);
    EXPECT_EQ(requests[0].user, 3U);
    EXPECT_EQ(requests[0].candidates, 5U);
    EXPECT_EQ(requests[0].tokens, std::min(population_->history_length(3), kTokens));
    EXPECT_EQ(requests[3].intended_start_ns, 12'000'000'001);
    for (auto const& request : requests)
        EXPECT_EQ(request.shard, to_int(shard_of_user(request.user, kShards)));
    EXPECT_EQ(requests[1].intended_start_ns, 500'000'000);
    EXPECT_EQ(requests[2].intended_start_ns, 500'000'000);
    replay_.speed_factor = 0.5;
    EXPECT_EQ(load().groups[0][3].intended_start_ns, 24'000'000'002);
}

TEST_F(RequestFileTest, ALogWithoutCandidatesTakesTheDefaultAndMayBePacked) {
    std::string const text = "time_s,user\n0.25,3\r\n1,4\n";
    folder_.write("requests.bin", text);
    auto const plain = load();
    ASSERT_EQ(plain.groups[0].size(), 2U);
    EXPECT_EQ(plain.groups[0][1].candidates, 7U);
    folder_.write("requests.bin", test::gzip(text));
    auto const packed = load();
    EXPECT_TRUE(same(plain.groups[0], packed.groups[0]));
    EXPECT_EQ(plain.digest, packed.digest);
    folder_.write("requests.bin", "time_s,user\n0.25,3\n1,5\n");
    EXPECT_NE(load().digest, plain.digest);
}

struct BrokenLog {
    char const* name;
    std::string text;
    char const* line;  ///< ":3:" where it is broken
    char const* reason;
};
void PrintTo(BrokenLog const& broken, std::ostream* out) { *out << broken.name; }

std::string const kHead = "time_s,user\n";
std::vector<BrokenLog> const kBrokenLogs = {
    {"other_header", "time,user\n1,2\n", ":1:", "the first line is \"time,user\""},
    {"no_header", "0.5,3\n", ":1:", "expected time_s,user"},
    {"header_only", kHead, "", "holds no requests"},
    {"unsorted", kHead + "1,2\n0.999999999,2\n", ":3:", "earlier than the line before"},
    {"negative_time", kHead + "-1,2\n", ":2:", "is negative"},
    {"no_time", kHead + ",2\n", ":2:", "is not a time"},
    {"scientific_time", kHead + "1e3,2\n", ":2:", "is not a time"},
    {"nan_time", kHead + "nan,2\n", ":2:", "is not a time"},
    {"ten_decimals", kHead + "1.0000000001,2\n", ":2:", "at most 9 decimals"},
    {"point_without_decimals", kHead + "1.,2\n", ":2:", "is not a time"},
    {"signed_decimals", kHead + "1.-5,2\n", ":2:", "is not a time"},
    {"epoch_time", kHead + "1650882384,2\n", ":2:", "subtract the first one"},
    {"huge_time", kHead + "99999999999999999999,2\n", ":2:", "is not a time"},
    {"user_out_of_range", kHead + "1,2\n1,200\n", ":3:", "allowed: 0 .. 199"},
    {"negative_user", kHead + "1,-2\n", ":2:", "is not a user number"},
    {"user_name", kHead + "1,u2\n", ":2:", "is not a user number"},
    {"huge_user", kHead + "1,99999999999999999999\n", ":2:", "is not a user number"},
    {"one_field", kHead + "1\n", ":2:", "does not have two fields"},
    {"empty_line", kHead + "1,2\n\n2,3\n", ":3:", "does not have two fields"},
    {"three_fields", kHead + "1,2,3\n", ":2:", "does not have two fields"},
    {"missing_candidates", "time_s,user,candidates\n1,2\n", ":2:", "does not have three fields"},
    {"no_candidates", "time_s,user,candidates\n1,2,0\n", ":2:", "allowed: 1 .. 65536"},
    {"many_candidates", "time_s,user,candidates\n1,2,65537\n", ":2:", "allowed: 1 .. 65536"},
    {"four_fields", "time_s,user,candidates\n1,2,3,4\n", ":2:", "does not have three fields"},
    {"nul", kHead + std::string("1,2\n1\0,2\n", 10), ":3:", "NUL"},
    {"not_utf8", kHead + "1,\xFF\n", ":2:", "UTF-8"},
    {"cut_gzip", test::gzip(kHead + "1,2\n2,3\n").substr(0, 20), "", "truncated"},
};

class BrokenRequestLog : public RequestFileTest, public testing::WithParamInterface<BrokenLog> {};

TEST_P(BrokenRequestLog, IsRefusedAtItsLine) {
    folder_.write("requests.bin", GetParam().text);
    auto const message = refusal();
    EXPECT_NE(message.find(replay_.path + GetParam().line), std::string::npos) << message;
    EXPECT_NE(message.find(GetParam().reason), std::string::npos) << message;
}
INSTANTIATE_TEST_SUITE_P(Files, BrokenRequestLog, testing::ValuesIn(kBrokenLogs),
                         [](auto const& tested) { return std::string(tested.param.name); });

TEST_F(RequestFileTest, AFolderAndAMissingFileAreRefused) {
    EXPECT_NE(refusal().find("cannot open"), std::string::npos) << refusal();
    replay_.path = folder_.path();
    EXPECT_NE(refusal().find("not a regular file"), std::string::npos) << refusal();
}

}  // namespace
}  // namespace ckvsim::workload
