#include "report/hdf5_wrap.hpp"

#include <algorithm>
#include <cstring>

#include "core/error.hpp"
#include "report/sealed_file.hpp"

namespace ckvsim::report::h5 {

namespace {

herr_t keep_first(unsigned, H5E_error2_t const* error, void* data) {
    auto& text = *static_cast<std::string*>(data);
    if (text.empty() && error->desc != nullptr) text = error->desc;
    return 0;
}

Handle scalar_space(std::string const& where) {
    return {H5Screate(H5S_SCALAR), H5Sclose, where, "creating a scalar space"};
}

Handle text_type(std::size_t bytes, std::string const& where) {
    Handle type(H5Tcopy(H5T_C_S1), H5Tclose, where, "copying a string type");
    check(H5Tset_size(type.id(), bytes), where, "sizing a string type");
    check(H5Tset_cset(type.id(), H5T_CSET_UTF8), where, "setting UTF-8");
    if (bytes != H5T_VARIABLE)
        check(H5Tset_strpad(type.id(), H5T_STR_NULLPAD), where, "setting padding");
    return type;
}

/// Stored texts end at a NUL: one inside would be cut off without a word.
void refuse_nul(std::string const& value, std::string const& name) {
    if (value.find('\0') == std::string::npos) return;
    throw DataError(name, 0, "a text holds a NUL byte, which the file cannot keep. remove it");
}

}  // namespace

QuietErrors::QuietErrors() {
    // A file that HDF5 1.10 could not close (disk full, I/O error) stays registered, and closing it
    // again at the end of the program crashes. Everything here is closed by its handle.
    [[maybe_unused]] static herr_t const once = H5dont_atexit();
    H5Eget_auto2(H5E_DEFAULT, &function_, &data_);
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
}

QuietErrors::~QuietErrors() { H5Eset_auto2(H5E_DEFAULT, function_, data_); }

void fail(std::string const& where, char const* what) {
    std::string reason;
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_first, &reason);
    std::replace(reason.begin(), reason.end(), '\n', ' ');  // some hold a date with its line end
    throw BackendError(where + ": " + what +
                       " failed (HDF5: " + (reason.empty() ? "no reason given" : reason) + ")");
}

Handle open_file(std::string const& path, Open mode, hid_t access) {
    return {H5Fopen(path.c_str(), mode == Open::read ? H5F_ACC_RDONLY : H5F_ACC_RDWR, access),
            H5Fclose, path, "opening"};
}

Handle create_memory_file(std::string const& name) {
    constexpr std::size_t kGrowth = std::size_t{4} << 20;
    Handle const access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, name, "creating properties");
    check(H5Pset_fapl_core(access.id(), kGrowth, false), name, "choosing memory");
    Handle const creation(H5Pcreate(H5P_FILE_CREATE), H5Pclose, name, "creating properties");
    check(H5Pset_obj_track_times(creation.id(), false), name, "switching timestamps off");
    check(H5Pset_userblock(creation.id(), kSealBytes), name, "leaving room for the seal");
    // HDF5 opens and reads a file of that name if there is one: an older report, for example.
    auto const absent = name + ".memory";
    return {H5Fcreate(absent.c_str(), H5F_ACC_TRUNC, creation.id(), access.id()), H5Fclose, name,
            "creating in memory"};
}

std::vector<char> file_image(Handle const& file, std::string const& where) {
    check(H5Fflush(file.id(), H5F_SCOPE_GLOBAL), where, "flushing");
    auto const counted = static_cast<std::size_t>(
        check(H5Fget_file_image(file.id(), nullptr, 0), where, "asking for the size"));
    std::vector<char> image(kSealBytes + counted, '\0');
    check(H5Fget_file_image(file.id(), image.data() + kSealBytes, counted), where, "copying");
    // HDF5 1.10 leaves the user block out of the copy.
    validate(image[kSealBytes] == '\x89',
             "report: HDF5 lays out file images in another way than this program knows");
    return image;
}

Handle create_group(hid_t parent, std::string const& name) {
    Handle const links = link_properties();
    return {H5Gcreate2(parent, name.c_str(), links.id(), H5P_DEFAULT, H5P_DEFAULT), H5Gclose, name,
            "creating a group"};
}

Handle open_group(hid_t parent, std::string const& name, std::string const& where) {
    return {H5Gopen2(parent, name.c_str(), H5P_DEFAULT), H5Gclose, where + ", " + name,
            "opening a group"};
}

bool exists(hid_t parent, std::string const& name) {
    // Group by group: an unreadable file is not the same as an absent object.
    for (std::size_t end = name.find('/');; end = name.find('/', end + 1)) {
        if (end == 0) continue;  // the root
        auto const part = name.substr(0, end);
        if (check(H5Lexists(parent, part.c_str(), H5P_DEFAULT), name, "looking up") == 0)
            return false;
        if (end == std::string::npos) return true;
    }
}

void set_attribute(hid_t object, std::string const& name, std::string const& value) {
    refuse_nul(value, name);
    Handle const space = scalar_space(name);
    Handle const type = text_type(H5T_VARIABLE, name);
    Handle const attribute(
        H5Acreate2(object, name.c_str(), type.id(), space.id(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose,
        name, "creating an attribute");
    char const* text = value.c_str();
    check(H5Awrite(attribute.id(), type.id(), &text), name, "writing an attribute");
}

void set_attribute(hid_t object, std::string const& name, std::int64_t value) {
    Handle const space = scalar_space(name);
    Handle const attribute(
        H5Acreate2(object, name.c_str(), H5T_STD_I64LE, space.id(), H5P_DEFAULT, H5P_DEFAULT),
        H5Aclose, name, "creating an attribute");
    check(H5Awrite(attribute.id(), H5T_NATIVE_INT64, &value), name, "writing an attribute");
}

bool has_attribute(hid_t object, std::string const& name) {
    return check(H5Aexists(object, name.c_str()), name, "looking up an attribute") > 0;
}

std::string text_attribute(hid_t object, std::string const& name, std::string const& where) {
    std::string const what = where + ", attribute " + name;
    Handle const attribute(H5Aopen(object, name.c_str(), H5P_DEFAULT), H5Aclose, what, "opening");
    Handle const stored(H5Aget_type(attribute.id()), H5Tclose, what, "reading the type");
    if (H5Tget_class(stored.id()) != H5T_STRING || H5Tis_variable_str(stored.id()) <= 0) {
        throw DataError(where, 0, "attribute " + name + " is not a variable-length string");
    }
    Handle const type = text_type(H5T_VARIABLE, what);
    char* text = nullptr;
    check(H5Aread(attribute.id(), type.id(), &text), what, "reading");
    std::string value = text == nullptr ? "" : text;
    H5free_memory(text);
    return value;
}

std::int64_t integer_attribute(hid_t object, std::string const& name, std::string const& where) {
    std::string const what = where + ", attribute " + name;
    Handle const attribute(H5Aopen(object, name.c_str(), H5P_DEFAULT), H5Aclose, what, "opening");
    Handle const stored(H5Aget_type(attribute.id()), H5Tclose, what, "reading the type");
    if (H5Tget_class(stored.id()) != H5T_INTEGER) {
        throw DataError(where, 0, "attribute " + name + " is not an integer");
    }
    std::int64_t value = 0;
    check(H5Aread(attribute.id(), H5T_NATIVE_INT64, &value), what, "reading");
    return value;
}

std::vector<std::string> attribute_names(hid_t object, std::string const& where) {
    std::vector<std::string> names;
    auto const collect = [](hid_t, char const* name, H5A_info_t const*, void* data) -> herr_t {
        static_cast<std::vector<std::string>*>(data)->emplace_back(name);
        return 0;
    };
    hsize_t position = 0;
    check(H5Aiterate2(object, H5_INDEX_NAME, H5_ITER_INC, &position, collect, &names), where,
          "listing attributes");
    std::sort(names.begin(), names.end());
    return names;
}

Handle link_properties() {
    Handle links(H5Pcreate(H5P_LINK_CREATE), H5Pclose, "link properties", "creating");
    check(H5Pset_create_intermediate_group(links.id(), 1), "link properties", "setting");
    check(H5Pset_char_encoding(links.id(), H5T_CSET_UTF8), "link properties", "setting UTF-8");
    return links;
}

Handle dataset_properties(std::uint64_t rows, std::uint64_t chunk_rows) {
    static char const kWhere[] = "dataset properties";
    constexpr unsigned kGzipLevel =
        4;  // higher levels shrink float columns by under 1 % at several times the cost
    Handle properties(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, kWhere, "creating");
    check(H5Pset_obj_track_times(properties.id(), false), kWhere, "switching timestamps off");
    if (rows == 0 || rows < chunk_rows) return properties;
    hsize_t const chunk = chunk_rows;
    check(H5Pset_chunk(properties.id(), 1, &chunk), kWhere, "setting chunks");
    check(H5Pset_shuffle(properties.id()), kWhere, "setting shuffle");
    check(H5Pset_deflate(properties.id(), kGzipLevel), kWhere, "setting gzip");
    check(H5Pset_fletcher32(properties.id()), kWhere, "setting Fletcher32");
    return properties;
}

template <>
hid_t memory_type<std::int64_t>() {
    return H5T_NATIVE_INT64;
}
template <>
hid_t memory_type<std::uint64_t>() {
    return H5T_NATIVE_UINT64;
}
template <>
hid_t memory_type<std::uint32_t>() {
    return H5T_NATIVE_UINT32;
}
template <>
hid_t memory_type<std::uint8_t>() {
    return H5T_NATIVE_UINT8;
}
template <>
hid_t memory_type<double>() {
    return H5T_NATIVE_DOUBLE;
}
template <>
hid_t memory_type<float>() {
    return H5T_NATIVE_FLOAT;
}

Handle write_array(hid_t parent, std::string const& name, hid_t type, void const* data,
                   std::uint64_t rows) {
    hsize_t const extent = rows;
    Handle const space(H5Screate_simple(1, &extent, nullptr), H5Sclose, name, "creating a space");
    Handle const properties = dataset_properties(rows, kChunkRows);
    Handle const links = link_properties();
    Handle dataset(H5Dcreate2(parent, name.c_str(), type, space.id(), links.id(), properties.id(),
                              H5P_DEFAULT),
                   H5Dclose, name, "creating a dataset");
    if (rows > 0)
        check(H5Dwrite(dataset.id(), type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data), name, "writing");
    return dataset;
}

Handle write_texts(hid_t parent, std::string const& name, std::vector<std::string> const& values) {
    std::size_t width = 1;
    for (auto const& value : values) {
        refuse_nul(value, name);
        width = std::max(width, value.size());
    }
    std::vector<char> flat(width * values.size(), '\0');
    for (std::size_t i = 0; i < values.size(); ++i) {
        std::copy(values[i].begin(), values[i].end(),
                  flat.begin() + static_cast<std::ptrdiff_t>(i * width));
    }
    Handle const type = text_type(width, name);
    return write_array(parent, name, type.id(), flat.data(), values.size());
}

Handle open_array(hid_t parent, std::string const& name, std::string const& where,
                  std::uint64_t& rows) {
    std::string const what = where + ", " + name;
    if (!exists(parent, name)) throw DataError(where, 0, "has no dataset " + name);
    Handle dataset(H5Dopen2(parent, name.c_str(), H5P_DEFAULT), H5Dclose, what, "opening");
    Handle const space(H5Dget_space(dataset.id()), H5Sclose, what, "reading the extent");
    if (H5Sget_simple_extent_ndims(space.id()) != 1)
        throw DataError(where, 0, name + " is not one-dimensional");
    hsize_t extent = 0;
    check(H5Sget_simple_extent_dims(space.id(), &extent, nullptr), what, "reading the extent");
    rows = extent;
    return dataset;
}

void read_raw(hid_t dataset, hid_t type, void* data, std::string const& where) {
    check(H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data), where, "reading");
}

std::vector<std::string> read_texts(hid_t parent, std::string const& name,
                                    std::string const& where) {
    std::string const what = where + ", " + name;
    std::uint64_t rows = 0;
    Handle const dataset = open_array(parent, name, where, rows);
    Handle const stored(H5Dget_type(dataset.id()), H5Tclose, what, "reading the type");
    if (H5Tget_class(stored.id()) != H5T_STRING || H5Tis_variable_str(stored.id()) > 0) {
        throw DataError(where, 0, name + " is not a fixed-length text column");
    }
    std::size_t const width = H5Tget_size(stored.id());
    std::vector<char> flat(width * rows);
    if (rows > 0) read_raw(dataset.id(), text_type(width, what).id(), flat.data(), what);
    std::vector<std::string> values(rows);
    for (std::size_t i = 0; i < rows; ++i) {
        char const* text = flat.data() + i * width;
        values[i].assign(text, strnlen(text, width));
    }
    return values;
}

}  // namespace ckvsim::report::h5
