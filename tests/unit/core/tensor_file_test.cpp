#include "core/tensor_file.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>

#include "core/atomic_file.hpp"
#include "core/error.hpp"
#include "core/hash.hpp"
#include "temporary_folder.hpp"

namespace ckvsim {
namespace {

using testing::HasSubstr;

template <class T>
Tensor vector_of(std::vector<T> const& values) {
    return Tensor::from<T>(std::span<T const>(values), {static_cast<std::int64_t>(values.size())});
}

TensorFile sample() {
    TensorFile file;
    file.set("format", std::string("test"));
    file.set("empty", std::string());
    file.set("count", std::int64_t{-9223372036854775807});
    file.set_real("rate", 0.1);
    file.tensors["f32"] = vector_of<float>({1.5F, -0.0F, INFINITY});
    file.tensors["f64"] = vector_of<double>({1e-300});
    file.tensors["i8"] = vector_of<std::int8_t>({-128, 127});
    file.tensors["u8"] = vector_of<std::uint8_t>({255});
    file.tensors["i32"] = vector_of<std::int32_t>({-1});
    file.tensors["u32"] = vector_of<std::uint32_t>({4000000000U});
    file.tensors["i64"] = vector_of<std::int64_t>({-1});
    file.tensors["u64"] = vector_of<std::uint64_t>({~0ULL});
    file.tensors["none"] = vector_of<float>({});
    std::vector<float> const matrix(35, 2.0F);
    file.tensors["matrix"] = Tensor::from<float>(std::span<float const>(matrix), {5, 7});
    std::vector<float> const scalar = {3.0F};
    file.tensors["scalar"] = Tensor::from<float>(std::span<float const>(scalar), {});
    return file;
}

class TensorFileTest : public testing::Test {
  protected:
    std::string refusal(std::string const& image) {
        try {
            TensorFile::read(folder_.write("damaged", image));
        } catch (DataError const& error) {
            EXPECT_THAT(error.what(), HasSubstr(folder_.path("damaged")));
            return error.what();
        }
        return "";
    }
    /// The sample's image, changed by `damage`, with a checksum that fits again.
    std::string resealed(std::function<void(std::string&)> const& damage) {
        std::string image = image_;
        damage(image);
        image.resize(image.size() - 8);
        std::uint64_t const sum = hash_bytes(image.data(), image.size());
        image.append(reinterpret_cast<char const*>(&sum), 8);
        return image;
    }
    /// Position behind the name of a tensor's header.
    std::size_t header_of(std::string const& name) const {
        std::uint32_t const size = static_cast<std::uint32_t>(name.size());
        std::string const key = std::string(reinterpret_cast<char const*>(&size), 4) + name;
        return image_.find(key) + key.size();
    }
    template <class T>
    static void poke(std::string& image, std::size_t at, T value) {
        std::memcpy(image.data() + at, &value, sizeof value);
    }
    TensorFileTest() {
        sample().write(folder_.path("good"));
        image_ = read_file(folder_.path("good"));
    }
    test::TemporaryFolder folder_;
    std::string image_;
};

TEST_F(TensorFileTest, RoundTrip) {
    auto const read = TensorFile::read(folder_.path("good"));
    auto const expected = sample();
    EXPECT_EQ(read.attributes, expected.attributes);
    ASSERT_EQ(read.tensors.size(), expected.tensors.size());
    for (auto const& [name, tensor] : expected.tensors) {
        EXPECT_EQ(read.tensor(name).dtype, tensor.dtype) << name;
        EXPECT_EQ(read.tensor(name).shape, tensor.shape) << name;
        EXPECT_EQ(read.tensor(name).data, tensor.data) << name;
    }
    EXPECT_EQ(read.digest(), expected.digest());
    EXPECT_EQ(read.integer("count"), -9223372036854775807);
    EXPECT_EQ(read.real("rate"), 0.1) << "17 digits keep every bit";
    EXPECT_EQ(read.tensor("none").elements(), 0U);
    EXPECT_EQ(read.tensor("scalar").elements(), 1U);
}

TEST_F(TensorFileTest, WritingTwiceGivesTheSameBytes) {
    sample().write(folder_.path("again"));
    EXPECT_EQ(read_file(folder_.path("again")), image_);
}

TEST_F(TensorFileTest, DataBlocksAreAligned) {
    auto const at = header_of("matrix") + 2 + 2 * 8;
    std::uint64_t offset = 0;
    std::memcpy(&offset, image_.data() + at, 8);
    EXPECT_EQ(offset % 64, 0U);
}

TEST_F(TensorFileTest, EveryTruncationIsRefused) {
    for (std::size_t size = 0; size < image_.size(); size += size < 400 ? 1 : 97)
        EXPECT_NE(refusal(image_.substr(0, size)), "") << size << " bytes";
    EXPECT_THAT(refusal(image_ + "x"), HasSubstr("checksum"));
    EXPECT_THAT(refusal(""), HasSubstr("is not a ckvsim tensor file"));
}

TEST_F(TensorFileTest, EveryFlippedBitIsSeen) {
    for (std::size_t at = 0; at < image_.size(); ++at) {
        std::string damaged = image_;
        damaged[at] = static_cast<char>(damaged[at] ^ (1 << (at % 8)));
        ASSERT_NE(refusal(damaged), "") << "byte " << at;
    }
}

TEST_F(TensorFileTest, OtherFilesAndVersionsAreNamed) {
    EXPECT_THAT(refusal(std::string(200, 'x')), HasSubstr("is not a ckvsim tensor file"));
    EXPECT_THAT(refusal(resealed([](std::string& image) { poke(image, 8, std::uint32_t{2}); })),
                HasSubstr("version 2"));
}

TEST_F(TensorFileTest, HostileHeadersWithAGoodChecksumAreRefused) {
    std::size_t const matrix = header_of("matrix");  // dtype, rank, shape[2], offset, bytes
    struct Case {
        char const* expected;
        std::function<void(std::string&)> damage;
    };
    std::vector<Case> const cases = {
        {"unknown value type", [&](auto& i) { poke(i, matrix, std::uint8_t{0}); }},
        {"unknown value type", [&](auto& i) { poke(i, matrix, std::uint8_t{10}); }},
        {"rank above 8", [&](auto& i) { poke(i, matrix + 1, std::uint8_t{9}); }},
        {"impossible shape", [&](auto& i) { poke(i, matrix + 2, std::int64_t{-1}); }},
        {"impossible shape", [&](auto& i) { poke(i, matrix + 2, std::int64_t{1} << 62); }},
        {"impossible shape",  // 2^24 * 2^40 wraps to a small product of bytes
         [&](auto& i) {
             poke(i, matrix + 2, std::int64_t{1} << 24);
             poke(i, matrix + 10, std::int64_t{1} << 40);
         }},
        {"does not match its shape", [&](auto& i) { poke(i, matrix + 2, std::int64_t{6}); }},
        {"does not match its shape", [&](auto& i) { poke(i, matrix + 26, std::uint64_t{139}); }},
        {"lies outside the file", [&](auto& i) { poke(i, matrix + 18, ~std::uint64_t{0}); }},
        {"lies outside the file",
         [&](auto& i) { poke(i, matrix + 18, std::uint64_t{i.size() - 100}); }},
        {"ends early", [&](auto& i) { poke(i, 12, ~std::uint32_t{0}); }},
        {"", [&](auto& i) { poke(i, 16, ~std::uint32_t{0}); }},
        {"is too long", [&](auto& i) { poke(i, 24, ~std::uint32_t{0}); }},
    };
    for (auto const& [expected, damage] : cases) {
        auto const message = refusal(resealed(damage));
        EXPECT_NE(message, "") << expected;
        EXPECT_THAT(message, HasSubstr(expected));
    }
    EXPECT_EQ(refusal(resealed([](std::string&) {})), "") << "resealing alone changes nothing";
}

TEST_F(TensorFileTest, DigestSeesNamesTypesShapesAndValues) {
    auto const reference = sample().digest();
    std::vector<std::function<void(TensorFile&)>> const changes = {
        [](TensorFile& f) { f.attributes["format"] = "tesu"; },
        [](TensorFile& f) { f.attributes["more"] = ""; },
        [](TensorFile& f) {
            f.tensors["matrix"].shape = {7, 5};
        },
        [](TensorFile& f) { f.tensors["u32"].dtype = DType::i32; },
        [](TensorFile& f) { f.tensors["u8"].data[0] ^= std::byte{1}; },
        [](TensorFile& f) { f.tensors.erase("none"); },
        [](TensorFile& f) {
            f.tensors["i9"] = f.tensors["i8"];
            f.tensors.erase("i8");
        },
    };
    for (auto const& change : changes) {
        TensorFile file = sample();
        change(file);
        EXPECT_NE(file.digest(), reference);
    }
}

TEST_F(TensorFileTest, MissingAndMistypedAccessIsNamed) {
    auto const file = TensorFile::read(folder_.path("good"));
    EXPECT_THROW(static_cast<void>(file.tensor("absent")), DataError);
    EXPECT_THROW(static_cast<void>(file.text("absent")), DataError);
    EXPECT_THROW(static_cast<void>(file.integer("format")), DataError);
    EXPECT_THROW(static_cast<void>(file.integer("rate")), DataError);
    EXPECT_THROW(static_cast<void>(file.integer("empty")), DataError);
    EXPECT_THROW(static_cast<void>(file.real("format")), DataError);
    EXPECT_THROW(static_cast<void>(file.tensor("f32").as<double>()), InternalError);
    std::vector<float> const values(6);
    EXPECT_THROW(Tensor::from<float>(std::span<float const>(values), {2, 4}), InternalError);
    try {
        static_cast<void>(file.tensor("absent"));
    } catch (DataError const& error) {
        EXPECT_THAT(error.what(), HasSubstr(folder_.path("good") + ": tensor absent is missing"));
    }
}

}  // namespace
}  // namespace ckvsim
