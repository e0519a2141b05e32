// Flat container of named arrays and text attributes: weights, training samples, reference scores.
// Byte format (little-endian), documented in sim/docs/tensor_file.md:
//   magic "CKVTNSR1" | u32 version | u32 attributes | u32 tensors | u32 reserved
//   attributes: u32 key bytes, key, u32 value bytes, value
//   tensor headers: u32 name bytes, name, u8 dtype, u8 rank, i64 shape[rank], u64 offset from file
//   start, u64 bytes data, each block aligned to 64 bytes | u64 XXH3 of everything before it
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace ckvsim {

/// Element types of a tensor file.
enum class DType : std::uint8_t {
    f32 = 1,
    f16 = 2,
    i8 = 3,
    u8 = 4,
    i32 = 5,
    u32 = 6,
    i64 = 7,
    u64 = 8,
    f64 = 9
};

std::size_t dtype_bytes(DType dtype);

template <class T>
constexpr DType dtype_of();
template <>
constexpr DType dtype_of<float>() {
    return DType::f32;
}
template <>
constexpr DType dtype_of<double>() {
    return DType::f64;
}
template <>
constexpr DType dtype_of<std::int8_t>() {
    return DType::i8;
}
template <>
constexpr DType dtype_of<std::uint8_t>() {
    return DType::u8;
}
template <>
constexpr DType dtype_of<std::int32_t>() {
    return DType::i32;
}
template <>
constexpr DType dtype_of<std::uint32_t>() {
    return DType::u32;
}
template <>
constexpr DType dtype_of<std::int64_t>() {
    return DType::i64;
}
template <>
constexpr DType dtype_of<std::uint64_t>() {
    return DType::u64;
}

/// One dense row-major array.
struct Tensor {
    DType dtype = DType::f32;
    std::vector<std::int64_t> shape;
    std::vector<std::byte> data;

    [[nodiscard]] std::size_t elements() const;
    /// Typed view; throws InternalError when T is not the stored type.
    template <class T>
    [[nodiscard]] std::span<T const> as() const {
        require(dtype_of<T>());
        return {reinterpret_cast<T const*>(data.data()), elements()};
    }
    template <class T>
    static Tensor from(std::span<T const> values, std::vector<std::int64_t> shape) {
        Tensor tensor;
        tensor.dtype = dtype_of<T>();
        tensor.shape = std::move(shape);
        auto const bytes = std::as_bytes(values);
        tensor.data.assign(bytes.begin(), bytes.end());
        tensor.require_consistent();
        return tensor;
    }

  private:
    void require(DType expected) const;
    void require_consistent() const;
};

/// In-memory image of a tensor file.
class TensorFile {
  public:
    std::map<std::string, std::string> attributes;
    std::map<std::string, Tensor> tensors;

    /// Reads and verifies (magic, version, bounds, checksum). Throws DataError naming file and
    /// reason.
    static TensorFile read(std::string const& path);
    /// Writes to a temporary name, flushes, renames. Throws BackendError.
    void write(std::string const& path) const;
    /// XXH3 over attributes and tensors, independent of the path.
    [[nodiscard]] std::uint64_t digest() const;

    [[nodiscard]] Tensor const& tensor(std::string const& name) const;  ///< DataError when missing
    [[nodiscard]] bool has(std::string const& name) const { return tensors.count(name) != 0; }
    [[nodiscard]] std::string const& text(
        std::string const& key) const;  ///< DataError when missing
    [[nodiscard]] std::int64_t integer(
        std::string const& key) const;  ///< DataError when missing or not a number
    [[nodiscard]] double real(
        std::string const& key) const;  ///< DataError when missing or not a number
    void set(std::string const& key, std::string value) { attributes[key] = std::move(value); }
    void set(std::string const& key, std::int64_t value) {
        attributes[key] = std::to_string(value);
    }
    void set_real(std::string const& key, double value);  ///< 17 significant digits

  private:
    std::string origin_ = "(memory)";
};

}  // namespace ckvsim
