#include "workload/cache_trace.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "core/error.hpp"
#include "gzip.hpp"
#include "temporary_folder.hpp"

namespace ckvsim::workload {
namespace {

std::vector<CacheRequest> read_all(CacheTrace& trace, std::size_t step = 1000) {
    std::vector<CacheRequest> all;
    std::vector<CacheRequest> block(step);
    for (std::size_t got = trace.read(block); got > 0; got = trace.read(block))
        all.insert(all.end(), block.begin(), block.begin() + static_cast<std::ptrdiff_t>(got));
    return all;
}

std::string record(std::uint32_t time, std::uint64_t key, std::uint32_t bytes) {
    std::string text(24, '\xFF');
    std::memcpy(text.data(), &time, 4);
    std::memcpy(text.data() + 4, &key, 8);
    std::memcpy(text.data() + 12, &bytes, 4);
    return text;
}

struct Broken {
    char const* name;
    std::string content;
    std::string said;  ///< must be in the message
    bool ignore_size = false;
    bool binary = false;
};

std::vector<Broken> broken_traces() {
    return {
        {"unsorted", "1,1,1\n5,2,1\n4,3,1\n", ":3: time 4 is before the previous request's 5"},
        {"negative time", "-1,1,1\n", ":1: time -1 is negative"},
        {"negative id", "1,-7,1\n", ":1: id -7 is negative"},
        {"negative size", "time,id,size\n1,7,-1\n", ":2: size -1 is negative"},
        {"size 0", "1,7,0\n", ":1: size 0"},
        {"no size", "1,7\n", ":1: no size"},
        {"empty id", "1,,3\n", ":1: no id"},
        {"only a time", "1\n", ":1: no id"},
        {"id above 64 bits", "1,18446744073709551616,1\n", ":1: id 18446744073709551616 is above"},
        {"size above 32 bits", "1,7,4294967296\n", ":1: size 4294967296 is above"},
        {"a word for an id", "1,abc,1\n", ":1: id 'abc' is not an unsigned integer"},
        {"decimals in an id", "1,7.5,1\n", ":1: id '7.5' is not"},
        {"hexadecimal", "1,0x10,1\n", ":1: id '0x10' is not"},
        {"second header", "t,i,s\nt,i,s\n", ":2: time 't' is not"},
        {"time span", "0,1,1\n4294967296,1,1\n", ":2: time 4294967296 is more than"},
        {"not text", std::string("1,2,3\n\0,", 8), ":2:"},
        {"truncated record", record(1, 2, 3) + record(2, 2, 3).substr(0, 13),
         "record 2 is truncated: 13 of 24 bytes", false, true},
        {"a CSV as binary", "time,id,size\n1,2,3\n", "record 1 is truncated", false, true},
        {"unsorted records", record(9, 1, 1) + record(8, 1, 1), "record 2 has time 8 is before",
         false, true},
        {"record of size 0", record(9, 1, 1) + record(9, 2, 0), "record 2 has size 0", false, true},
        {"bad id where sizes are ignored", "1,x\n", ":1: id 'x'", true},
    };
}

TEST(CacheTrace, BrokenTracesNameTheLineOrRecordAndTheReason) {
    test::TemporaryFolder const folder;
    for (Broken const& broken : broken_traces()) {
        std::string const path = folder.write("trace", broken.content);
        try {
            auto const trace = open_trace(
                path, broken.binary ? TraceFormat::binary : TraceFormat::csv, broken.ignore_size);
            read_all(*trace);
            ADD_FAILURE() << broken.name << ": accepted";
        } catch (DataError const& error) {
            EXPECT_NE(std::string(error.what()).find(broken.said), std::string::npos)
                << broken.name << ": " << error.what();
            EXPECT_EQ(error.exit_code(), ExitCode::data);
        }
    }
}

TEST(CacheTrace, ReadsWhatIsAllowed) {
    test::TemporaryFolder const folder;
    auto csv = [&](std::string const& text, bool ignore_size) {
        return read_all(*open_trace(folder.write("t.csv", text), TraceFormat::csv, ignore_size));
    };
    EXPECT_TRUE(csv("", false).empty());
    EXPECT_TRUE(csv("time,id,size\n", false).empty());
    auto const plain =
        csv("time,id,size,op\r\n100.25, 18446744073709551615 ,5,get\r\n\n107,0,6", false);
    ASSERT_EQ(plain.size(), 2U);
    EXPECT_EQ(plain[0].key, UINT64_MAX);
    EXPECT_EQ(plain[0].bytes, 5U);
    EXPECT_EQ(plain[0].time, 0U);  // relative to the first
    EXPECT_EQ(plain[1].time, 7U);
    EXPECT_EQ(plain[1].bytes, 6U);
    auto const without = csv("1,5\n2,6,0\n3,7,-9\n", true);
    ASSERT_EQ(without.size(), 3U);
    EXPECT_EQ(without[2].bytes, 1U);
}

TEST(CacheTrace, BinaryAndGzipHoldTheSameRequests) {
    test::TemporaryFolder const folder;
    std::string binary;
    std::string text;
    for (std::uint32_t i = 0; i < 20000; ++i) {
        binary += record(50 + i, i * 7919ULL << 20, i + 1);
        text += std::to_string(50 + i) + "," + std::to_string(i * 7919ULL << 20) + "," +
                std::to_string(i + 1) + "\n";
    }
    auto const reference =
        read_all(*open_trace(folder.write("t.bin", binary), TraceFormat::binary, false));
    ASSERT_EQ(reference.size(), 20000U);
    EXPECT_EQ(reference[19999].key, 19999 * 7919ULL << 20);
    EXPECT_EQ(reference[19999].bytes, 20000U);
    EXPECT_EQ(reference[19999].time, 19999U);
    auto same = [&](std::string const& name, std::string const& content, TraceFormat format) {
        auto const other = read_all(*open_trace(folder.write(name, content), format, false), 77);
        ASSERT_EQ(other.size(), reference.size()) << name;
        for (std::size_t i = 0; i < other.size(); ++i) {
            ASSERT_EQ(other[i].key, reference[i].key) << name << " " << i;
            ASSERT_EQ(other[i].bytes, reference[i].bytes);
            ASSERT_EQ(other[i].time, reference[i].time);
        }
    };
    same("t.csv", text, TraceFormat::csv);
    same("t.csv.gz", test::gzip(text), TraceFormat::csv);
    same("t.bin.gz", test::gzip(binary), TraceFormat::binary);
}

TEST(CacheTrace, NamesTellTheFormatOrSayThatTheyDoNot) {
    EXPECT_EQ(trace_format_of("a.csv"), TraceFormat::csv);
    EXPECT_EQ(trace_format_of("a.txt.gz"), TraceFormat::csv);
    EXPECT_EQ(trace_format_of("a.oracleGeneral"), TraceFormat::binary);
    EXPECT_EQ(trace_format_of("a.bin.gz"), TraceFormat::binary);
    EXPECT_THROW(trace_format_of("a.zst"), Error);
}

TEST(CacheTrace, ZipfRequestsDependOnSeedAndPositionOnly) {
    ZipfTrace const parameters{.alpha = 0.9, .objects = 1000, .requests = 5000, .seed = 3};
    auto const a = read_all(*make_zipf_trace(parameters), 5000);
    auto const b = read_all(*make_zipf_trace(parameters), 13);
    ASSERT_EQ(a.size(), 5000U);
    ASSERT_EQ(b.size(), 5000U);
    std::size_t other_seed = 0;
    auto changed = parameters;
    changed.seed = 4;
    auto const c = read_all(*make_zipf_trace(changed), 5000);
    for (std::size_t i = 0; i < a.size(); ++i) {
        ASSERT_EQ(a[i].key, b[i].key);
        other_seed += a[i].key != c[i].key ? 1 : 0;
    }
    EXPECT_GT(other_seed, 4000U);
}

TEST(CacheTrace, ZipfRanksHaveTheLawsProbabilities) {
    for (double const alpha : {0.5, 1.0, 1.5}) {
        auto const requests = read_all(
            *make_zipf_trace({.alpha = alpha, .objects = 50, .requests = 400'000, .seed = 1}));
        std::vector<double> counts(50);
        for (auto const& r : requests) counts.at(r.key) += 1.0;
        double sum = 0.0;
        for (int k = 1; k <= 50; ++k) sum += std::pow(k, -alpha);
        double chi_square = 0.0;
        for (int k = 1; k <= 50; ++k) {
            double const expected = 400'000 * std::pow(k, -alpha) / sum;
            double const off = counts[static_cast<std::size_t>(k - 1)] - expected;
            chi_square += off * off / expected;
        }
        EXPECT_LT(chi_square, 94.0) << alpha;  // 49 degrees of freedom: exceeded once in 10^4
    }
}

TEST(CacheTrace, ParsesSyntheticDescriptions) {
    auto const made = parse_zipf_trace("zipf:alpha=0.8,objects=1e3,requests=20,bytes=4096,seed=9");
    EXPECT_EQ(made.alpha, 0.8);
    EXPECT_EQ(made.objects, 1000U);
    EXPECT_EQ(made.requests, 20U);
    EXPECT_EQ(made.bytes, 4096U);
    EXPECT_EQ(made.seed, 9U);
    EXPECT_EQ(parse_zipf_trace("zipf").objects, 10'000'000U);
    for (char const* bad :
         {"uniform", "zipf:alpha", "zipf:alpha=x", "zipf:alpha=0", "zipf:size=3", "zipf:objects=0",
          "zipf:objects=1.5", "zipf:requests=-1", "zipf:bytes=1e10", "zipf:alpha=inf"})
        EXPECT_THROW(parse_zipf_trace(bad), Error) << bad;
}

}  // namespace
}  // namespace ckvsim::workload
