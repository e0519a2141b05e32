#include "core/tensor_file.hpp"

#include <charconv>
#include <cstdio>
#include <cstring>

#include "core/atomic_file.hpp"
#include "core/error.hpp"
#include "core/hash.hpp"

namespace ckvsim {

namespace {

constexpr char kMagic[8] = {'C', 'K', 'V', 'T', 'N', 'S', 'R', '1'};
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kAlignment = 64;
constexpr std::uint32_t kMaxTextBytes = 1U << 20;
constexpr std::uint32_t kMaxRank = 8;

template <class T>
void put(std::string& out, T value) {
    out.append(reinterpret_cast<char const*>(&value), sizeof(T));
}
void put_text(std::string& out, std::string const& text) {
    put(out, static_cast<std::uint32_t>(text.size()));
    out += text;
}
void pad_to_alignment(std::string& out) {
    out.append((kAlignment - out.size() % kAlignment) % kAlignment, '\0');
}

/// Bounds-checked reader over the whole file image.
class Cursor {
  public:
    Cursor(std::string const& image, std::string const& path) : image_(image), path_(path) {}
    template <class T>
    T take() {
        need(sizeof(T));
        T value;
        std::memcpy(&value, image_.data() + at_, sizeof(T));
        at_ += sizeof(T);
        return value;
    }
    std::string take_text() {
        auto const bytes = take<std::uint32_t>();
        if (bytes > kMaxTextBytes)
            throw DataError(path_, 0, "a text of " + std::to_string(bytes) + " bytes is too long");
        need(bytes);
        std::string text(image_, at_, bytes);
        at_ += bytes;
        return text;
    }

  private:
    void need(std::size_t bytes) const {
        if (image_.size() - at_ < bytes)
            throw DataError(path_, 0, "header ends early: the file is truncated or damaged");
    }
    std::string const& image_;
    std::string const& path_;
    std::size_t at_ = sizeof(kMagic);
};

struct Header {
    std::string name;
    Tensor tensor;
    std::uint64_t offset = 0;
    std::uint64_t bytes = 0;
};

Header take_header(Cursor& cursor, std::string const& path) {
    Header header;
    header.name = cursor.take_text();
    auto const dtype = cursor.take<std::uint8_t>();
    if (dtype < 1 || dtype > 9)
        throw DataError(path, 0, "tensor " + header.name + ": unknown value type");
    header.tensor.dtype = static_cast<DType>(dtype);
    auto const rank = cursor.take<std::uint8_t>();
    if (rank > kMaxRank) throw DataError(path, 0, "tensor " + header.name + ": rank above 8");
    std::uint64_t elements = 1;
    for (std::uint8_t axis = 0; axis < rank; ++axis) {
        auto const extent = cursor.take<std::int64_t>();
        if (extent < 0 ||
            (extent > 0 && elements > (1ULL << 48) / static_cast<std::uint64_t>(extent))) {
            throw DataError(path, 0, "tensor " + header.name + ": impossible shape");
        }
        elements *= static_cast<std::uint64_t>(extent);
        header.tensor.shape.push_back(extent);
    }
    header.offset = cursor.take<std::uint64_t>();
    header.bytes = cursor.take<std::uint64_t>();
    if (header.bytes != elements * dtype_bytes(header.tensor.dtype)) {
        throw DataError(path, 0, "tensor " + header.name + ": size does not match its shape");
    }
    return header;
}

template <class T>
T parse_number(std::string const& text, std::string const& key, std::string const& origin) {
    T value{};
    auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) {
        throw DataError(origin, 0, "attribute " + key + " = \"" + text + "\" is not a number");
    }
    return value;
}

}  // namespace

std::size_t dtype_bytes(DType dtype) {
    switch (dtype) {
        case DType::i8:
        case DType::u8:
            return 1;
        case DType::f16:
            return 2;
        case DType::f32:
        case DType::i32:
        case DType::u32:
            return 4;
        case DType::i64:
        case DType::u64:
        case DType::f64:
            return 8;
    }
    throw InternalError("unknown tensor value type");
}

std::size_t Tensor::elements() const {
    std::size_t count = 1;
    for (auto const extent : shape) count *= static_cast<std::size_t>(extent);
    return count;
}

void Tensor::require(DType expected) const {
    if (dtype != expected)
        throw InternalError("tensor is read as another value type than it was stored with");
}

void Tensor::require_consistent() const {
    if (data.size() != elements() * dtype_bytes(dtype))
        throw InternalError("tensor shape does not match its data");
}

TensorFile TensorFile::read(std::string const& path) {
    std::string const image = read_file(path);
    if (image.size() < sizeof(kMagic) + 16 + 8 ||
        std::memcmp(image.data(), kMagic, sizeof(kMagic)) != 0) {
        throw DataError(path, 0, "is not a ckvsim tensor file (weights or samples)");
    }
    std::uint64_t stored = 0;
    std::memcpy(&stored, image.data() + image.size() - 8, 8);
    Cursor cursor(image, path);
    auto const version = cursor.take<std::uint32_t>();
    if (version != kVersion) {
        throw DataError(
            path, 0,
            "tensor file version " + std::to_string(version) + ", this program reads version 1");
    }
    if (stored != hash_bytes(image.data(), image.size() - 8)) {
        throw DataError(path, 0,
                        "checksum mismatch: the file is truncated or damaged, make it again");
    }
    auto const attribute_count = cursor.take<std::uint32_t>();
    auto const tensor_count = cursor.take<std::uint32_t>();
    cursor.take<std::uint32_t>();
    TensorFile file;
    file.origin_ = path;
    for (std::uint32_t i = 0; i < attribute_count; ++i) {
        auto key = cursor.take_text();
        file.attributes[std::move(key)] = cursor.take_text();
    }
    for (std::uint32_t i = 0; i < tensor_count; ++i) {
        Header header = take_header(cursor, path);
        if (header.offset > image.size() - 8 || header.bytes > image.size() - 8 - header.offset) {
            throw DataError(path, 0, "tensor " + header.name + " lies outside the file");
        }
        auto const* begin = reinterpret_cast<std::byte const*>(image.data()) + header.offset;
        header.tensor.data.assign(begin, begin + header.bytes);
        file.tensors[header.name] = std::move(header.tensor);
    }
    return file;
}

void TensorFile::write(std::string const& path) const {
    std::string image(kMagic, sizeof(kMagic));
    put(image, kVersion);
    put(image, static_cast<std::uint32_t>(attributes.size()));
    put(image, static_cast<std::uint32_t>(tensors.size()));
    put(image, std::uint32_t{0});
    for (auto const& [key, value] : attributes) {
        put_text(image, key);
        put_text(image, value);
    }
    std::vector<std::size_t> offset_places;
    for (auto const& [name, tensor] : tensors) {
        put_text(image, name);
        put(image, static_cast<std::uint8_t>(tensor.dtype));
        put(image, static_cast<std::uint8_t>(tensor.shape.size()));
        for (auto const extent : tensor.shape) put(image, extent);
        offset_places.push_back(image.size());
        put(image, std::uint64_t{0});
        put(image, static_cast<std::uint64_t>(tensor.data.size()));
    }
    std::size_t place = 0;
    for (auto const& [name, tensor] : tensors) {
        pad_to_alignment(image);
        std::uint64_t const offset = image.size();
        std::memcpy(image.data() + offset_places[place++], &offset, sizeof(offset));
        image.append(reinterpret_cast<char const*>(tensor.data.data()), tensor.data.size());
    }
    put(image, hash_bytes(image.data(), image.size()));
    write_file_atomically(path, image);
}

std::uint64_t TensorFile::digest() const {
    std::uint64_t digest = 0;
    for (auto const& [key, value] : attributes) {
        digest = hash_bytes(key.data(), key.size(), digest);
        digest = hash_bytes(value.data(), value.size(), digest);
    }
    for (auto const& [name, tensor] : tensors) {
        digest = hash_bytes(name.data(), name.size(), digest);
        digest = hash_span(std::span(tensor.shape), digest);
        digest = hash_bytes(tensor.data.data(), tensor.data.size(),
                            digest + static_cast<std::uint64_t>(tensor.dtype));
    }
    return digest;
}

Tensor const& TensorFile::tensor(std::string const& name) const {
    auto const found = tensors.find(name);
    if (found == tensors.end()) throw DataError(origin_, 0, "tensor " + name + " is missing");
    return found->second;
}

std::string const& TensorFile::text(std::string const& key) const {
    auto const found = attributes.find(key);
    if (found == attributes.end()) throw DataError(origin_, 0, "attribute " + key + " is missing");
    return found->second;
}

std::int64_t TensorFile::integer(std::string const& key) const {
    return parse_number<std::int64_t>(text(key), key, origin_);
}

double TensorFile::real(std::string const& key) const {
    return parse_number<double>(text(key), key, origin_);
}

void TensorFile::set_real(std::string const& key, double value) {
    char text[40];
    std::snprintf(text, sizeof text, "%.17g", value);
    attributes[key] = text;
}

}  // namespace ckvsim
