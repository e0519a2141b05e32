#include "workload/gz_line_reader.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <vector>

#include "core/error.hpp"
#include "gzip.hpp"
#include "temporary_folder.hpp"

namespace ckvsim::workload {
namespace {

using test::gzip;
using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> lines_of(std::string const& path) {
    GzLineReader reader(path);
    std::vector<std::string> lines;
    std::string_view line;
    while (reader.next(line)) {
        lines.emplace_back(line);
        EXPECT_EQ(reader.line_number(), lines.size());
    }
    EXPECT_FALSE(reader.next(line)) << "the end is final";
    EXPECT_EQ(reader.bytes_read(), reader.total_bytes());
    return lines;
}

/// Message of the DataError that reading the whole file throws; empty when it reads.
std::string refusal(std::string const& path) {
    try {
        GzLineReader reader(path);
        std::string_view line;
        while (reader.next(line)) {
        }
    } catch (DataError const& error) {
        return error.what();
    }
    return "";
}

std::string many_lines() {
    std::string text;
    for (int i = 0; i < 300000; ++i)
        text += std::to_string(i * 7919LL) + "\t" + std::to_string(i) + "\n";
    return text;
}

TEST(GzLineReader, ReadsPlainAndPackedAlike) {
    test::TemporaryFolder const folder;
    std::string const text = many_lines();  // several MB: lines straddle every buffer
    auto const plain = lines_of(folder.write("a.txt", text));
    EXPECT_EQ(plain.size(), 300000U);
    EXPECT_EQ(plain[299999], "2375692081\t299999");
    EXPECT_EQ(lines_of(folder.write("a.gz", gzip(text))), plain);
    EXPECT_EQ(lines_of(folder.write("packed_without_suffix", gzip(text))), plain);
}

TEST(GzLineReader, LineEndsAndTheLastLine) {
    test::TemporaryFolder const folder;
    EXPECT_THAT(lines_of(folder.write("a", "x\r\ny\n\nz")), ElementsAre("x", "y", "", "z"));
    EXPECT_THAT(lines_of(folder.write("b", "x\n")), ElementsAre("x"));
    EXPECT_THAT(lines_of(folder.write("c", "")), ElementsAre());
    EXPECT_THAT(lines_of(folder.write("d", "\n")), ElementsAre(""));
    EXPECT_THAT(lines_of(folder.write("e", "a\rb\n")), ElementsAre("a\rb"))
        << "old Mac ends are text";
}

TEST(GzLineReader, ReadsEveryMember) {
    test::TemporaryFolder const folder;
    EXPECT_THAT(lines_of(folder.write("a.gz", gzip("a\nb") + gzip("") + gzip("c\nd\n"))),
                ElementsAre("a", "bc", "d"));
}

TEST(GzLineReader, TheLongestLineIsAccepted) {
    test::TemporaryFolder const folder;
    std::string const longest(GzLineReader::kMaxLineBytes, 'x');
    EXPECT_EQ(lines_of(folder.write("a", longest + "\nshort\n")).size(), 2U);
    EXPECT_EQ(lines_of(folder.write("b", longest)).size(), 1U);
    EXPECT_THAT(refusal(folder.write("c", "a\n" + longest + "x\n")),
                HasSubstr(":2: the line is longer"));
    EXPECT_THAT(refusal(folder.write("d.gz", gzip(std::string(10U << 20, 'x')))),
                HasSubstr(":1: the line is longer"));
}

TEST(GzLineReader, EveryTruncationOfAGzipFileIsRefused) {
    test::TemporaryFolder const folder;
    std::string const whole = gzip("some\nlines\nof\ntext\nsome\nmore\nlines\n");
    for (std::size_t size = 0; size < whole.size(); ++size) {
        auto const message = refusal(folder.write("cut.gz", whole.substr(0, size)));
        EXPECT_THAT(message, size < 2 ? HasSubstr("is not a gzip file") : HasSubstr("truncated"))
            << size << " bytes";
    }
    EXPECT_EQ(refusal(folder.write("cut.gz", whole)), "");
}

TEST(GzLineReader, NoFlippedBitChangesTheText) {
    test::TemporaryFolder const folder;
    std::string const whole = gzip("user\titem\n1\t2\n3\t4\n5\t6\n");
    auto const lines = lines_of(folder.write("whole.gz", whole));
    int harmless = 0;  // padding bits behind the last deflate block
    for (std::size_t bit = 10 * 8; bit < whole.size() * 8; ++bit) {  // behind the header
        std::string damaged = whole;
        damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
        auto const path = folder.write("damaged.gz", damaged);
        if (!refusal(path).empty()) continue;
        ++harmless;
        EXPECT_EQ(lines_of(path), lines) << "bit " << bit;
    }
    EXPECT_LT(harmless, 8);
}

TEST(GzLineReader, NothingBehindAStreamIsSkipped) {
    test::TemporaryFolder const folder;
    std::string second = gzip("c\nd\n");
    EXPECT_THAT(refusal(folder.write("a.gz", gzip("a\nb\n") + "garbage")),
                HasSubstr("bytes that are not gzip follow"));
    second[0] = 'x';
    EXPECT_THAT(refusal(folder.write("b.gz", gzip("a\nb\n") + second)),
                HasSubstr("bytes that are not gzip follow"));
    EXPECT_THAT(refusal(folder.write("c.gz", gzip("a\nb\n") + "\x1f")),
                HasSubstr("bytes that are not gzip follow"));
}

TEST(GzLineReader, RefusesWhatIsNotTextWithTheLine) {
    test::TemporaryFolder const folder;
    using namespace std::string_literals;
    EXPECT_THAT(refusal(folder.write("nul", "a\nb\0c\n"s)), HasSubstr(":2: contains a NUL byte"));
    EXPECT_THAT(refusal(folder.write("latin1", "a\nb\ncaf\xE9\n")), HasSubstr(":3: is not UTF-8"));
    EXPECT_THAT(refusal(folder.write("utf16",
                                     "\xFF\xFE"
                                     "a\0b\0\n\0"s)),
                HasSubstr(":1: "));
}

TEST(GzLineReader, RefusesWhatIsNotARegularFile) {
    test::TemporaryFolder const folder;
    EXPECT_THAT(refusal(folder.path("absent")), HasSubstr("absent: no such file"));
    EXPECT_THAT(refusal(folder.path()), HasSubstr("is a folder"));
    EXPECT_THAT(refusal("/dev/zero"), HasSubstr("device"));
    EXPECT_THAT(refusal(folder.write("plain.gz", "a\tb\n")), HasSubstr("named .gz but is not"));
    EXPECT_THAT(refusal(folder.write("file", "x") + "/below"), HasSubstr("cannot be opened"));
    ASSERT_EQ(::mkfifo(folder.path("fifo").c_str(), 0600), 0);
    EXPECT_THAT(refusal(folder.path("fifo")), HasSubstr("pipe"))
        << "and must not wait for a writer";
}

TEST(GzLineReader, RefusesAFileWithoutPermission) {
    if (::geteuid() == 0) GTEST_SKIP() << "root may read everything";
    test::TemporaryFolder const folder;
    auto const path = folder.write("secret", "x\n");
    ASSERT_EQ(::chmod(path.c_str(), 0), 0);
    EXPECT_THAT(refusal(path), HasSubstr("cannot be opened (Permission denied)"));
}

TEST(IsUtf8, AgreesWithTheUnicodeTable) {
    for (auto const good : {"", "plain", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80",
                            "\xEF\xBF\xBF", "\xED\x9F\xBF", "\xEE\x80\x80", "\xF4\x8F\xBF\xBF"})
        EXPECT_TRUE(is_utf8(good)) << good;
    for (auto const bad :
         {"\x80", "\xC0\xAF", "\xC1\xBF", "\xC3", "\xE0\x9F\xBF", "\xE2\x82", "\xED\xA0\x80",
          "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF", "\xC3\x28"})
        EXPECT_FALSE(is_utf8(bad));
}

}  // namespace
}  // namespace ckvsim::workload
