// Owning handles and checked calls of HDF5. Internal to this folder: public headers here do not
// name HDF5.
#pragma once

#include <hdf5.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace ckvsim::report::h5 {

/// Silences HDF5's own printing while it lives; failures travel as exceptions that carry the
/// innermost reason. The first one also keeps HDF5 from closing files at the end of the program.
class QuietErrors {
  public:
    QuietErrors();
    ~QuietErrors();
    QuietErrors(QuietErrors const&) = delete;
    QuietErrors& operator=(QuietErrors const&) = delete;

  private:
    H5E_auto2_t function_ = nullptr;
    void* data_ = nullptr;
};

/// Throws BackendError "<where>: <what> failed (<HDF5's innermost reason>)".
[[noreturn]] void fail(std::string const& where, char const* what);
/// Passes non-negative results through; `where` names the file and object.
template <class T>
T check(T result, std::string const& where, char const* what) {
    if (result < 0) fail(where, what);
    return result;
}

/// Closes its identifier on destruction; close() does the same and reports failure.
class Handle {
  public:
    using Closer = herr_t (*)(hid_t);
    Handle() = default;
    Handle(hid_t id, Closer closer, std::string const& where, char const* what)
        : id_(check(id, where, what)), closer_(closer) {}
    ~Handle() {
        if (id_ >= 0) closer_(id_);
    }
    Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, -1)), closer_(other.closer_) {}
    Handle& operator=(Handle&& other) noexcept {
        std::swap(id_, other.id_);
        std::swap(closer_, other.closer_);
        return *this;
    }
    [[nodiscard]] hid_t id() const { return id_; }
    void close(std::string const& where) {
        if (id_ < 0) return;
        check(closer_(std::exchange(id_, -1)), where, "closing");
    }

  private:
    hid_t id_ = -1;
    Closer closer_ = nullptr;
};

enum class Open : std::uint8_t { read, modify };
/// `access` = file access properties; with several ranks' properties the call is collective.
Handle open_file(std::string const& path, Open mode, hid_t access = H5P_DEFAULT);
/// New file in memory, with room for a seal in front. Files are made here and written by the
/// caller: when HDF5 1.10 itself cannot write (disk full), the file can no longer be closed and the
/// library crashes at the end of the program.
Handle create_memory_file(std::string const& name);
/// The bytes of a file in memory, seal room (zeros) included.
std::vector<char> file_image(Handle const& file, std::string const& where);
Handle create_group(hid_t parent, std::string const& name);
Handle open_group(hid_t parent, std::string const& name, std::string const& where);
[[nodiscard]] bool exists(hid_t parent, std::string const& name);

void set_attribute(hid_t object, std::string const& name, std::string const& value);
void set_attribute(hid_t object, std::string const& name, std::int64_t value);
[[nodiscard]] bool has_attribute(hid_t object, std::string const& name);
std::string text_attribute(hid_t object, std::string const& name, std::string const& where);
std::int64_t integer_attribute(hid_t object, std::string const& name, std::string const& where);
/// Names of all attributes, sorted.
std::vector<std::string> attribute_names(hid_t object, std::string const& where);

/// Dataset creation properties: no timestamps; from `chunk_rows` rows on chunks of that many with
/// shuffle, gzip and Fletcher32, below contiguous.
inline constexpr std::uint64_t kChunkRows = 65536;
Handle dataset_properties(std::uint64_t rows, std::uint64_t chunk_rows);
/// Link creation properties that make missing groups.
Handle link_properties();

/// HDF5 type in memory; files hold the little-endian equivalent.
template <class T>
hid_t memory_type();
template <>
hid_t memory_type<std::int64_t>();
template <>
hid_t memory_type<std::uint64_t>();
template <>
hid_t memory_type<std::uint32_t>();
template <>
hid_t memory_type<std::uint8_t>();
template <>
hid_t memory_type<double>();
template <>
hid_t memory_type<float>();

/// One-dimensional dataset; the handle stays open for attributes.
Handle write_array(hid_t parent, std::string const& name, hid_t type, void const* data,
                   std::uint64_t rows);
template <class T>
Handle write_array(hid_t parent, std::string const& name, std::vector<T> const& values) {
    return write_array(parent, name, memory_type<T>(), values.data(), values.size());
}
/// Fixed-length UTF-8, zero-padded, as long as the longest value.
Handle write_texts(hid_t parent, std::string const& name, std::vector<std::string> const& values);

/// Opens a one-dimensional dataset and tells its length.
Handle open_array(hid_t parent, std::string const& name, std::string const& where,
                  std::uint64_t& rows);
void read_raw(hid_t dataset, hid_t type, void* data, std::string const& where);
template <class T>
std::vector<T> read_array(hid_t parent, std::string const& name, std::string const& where) {
    std::uint64_t rows = 0;
    Handle const dataset = open_array(parent, name, where, rows);
    std::vector<T> values(rows);
    if (rows > 0) read_raw(dataset.id(), memory_type<T>(), values.data(), where + ", " + name);
    return values;
}
std::vector<std::string> read_texts(hid_t parent, std::string const& name,
                                    std::string const& where);

}  // namespace ckvsim::report::h5
