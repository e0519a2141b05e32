#include "report/report_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "core/error.hpp"
#include "core/hash.hpp"
#include "report/hdf5_wrap.hpp"
#include "report/report_content.hpp"

namespace ckvsim::report {

namespace {

namespace fs = std::filesystem;

/// Flushes a closed file to the device.
void flush(std::string const& path) {
    int const descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        throw BackendError(path + ": cannot open to flush (" + std::strerror(errno) + ")");
    int const status = ::fsync(descriptor);
    int const reason = errno;
    ::close(descriptor);
    if (status != 0) throw BackendError(path + ": cannot flush (" + std::strerror(reason) + ")");
}

void prepare_folder(std::string const& path, std::string const& partial) {
    auto const folder = fs::path(path).parent_path();
    std::error_code error;
    if (!folder.empty()) fs::create_directories(folder, error);
    if (error) throw BackendError(path + ": cannot create folder (" + error.message() + ")");
    if (fs::is_directory(path))
        throw BackendError(path + ": is a folder. give the report another name");
    fs::remove(partial, error);
    if (error) throw BackendError(partial + ": cannot replace (" + error.message() + ")");
}

/// What must be equal on all ranks before they enter collective calls.
std::uint64_t digest_layout(std::string const& path, std::vector<BulkArray> const& bulk) {
    std::string text = path;
    for (auto const& array : bulk) {
        for (auto const* part : {&array.path, &array.unit, &array.meaning, &array.provenance})
            text += '\0' + *part;
        text += '\0' + std::to_string(array.total);
    }
    return hash_bytes(text.data(), text.size());
}

/// Local checks of one rank's share; returns the values it brings.
std::int64_t check_segments(BulkArray const& array) {
    std::uint64_t end = 0;
    std::uint64_t count = 0;
    for (auto const& segment : array.segments) {
        validate(segment.offset >= end && segment.offset + segment.count <= array.total,
                 "report: bulk segments overlap, are out of order or leave the array");
        end = segment.offset + segment.count;
        count += segment.count;
    }
    validate(count == array.values.size(), "report: bulk values and segments differ in length");
    return static_cast<std::int64_t>(count);
}

/// This rank's elements of the array; adjacent segments become one block.
void select(hid_t space, BulkArray const& array) {
    h5::check(H5Sselect_none(space), array.path, "selecting");
    for (std::size_t i = 0; i < array.segments.size();) {
        hsize_t const start = array.segments[i].offset;
        hsize_t count = 0;
        for (; i < array.segments.size() && array.segments[i].offset == start + count; ++i) {
            count += array.segments[i].count;
        }
        if (count == 0) continue;
        h5::check(H5Sselect_hyperslab(space, H5S_SELECT_OR, &start, nullptr, &count, nullptr),
                  array.path, "selecting");
    }
}

h5::Handle memory_space(BulkArray const& array) {
    hsize_t const count = array.values.size();
    h5::Handle space(H5Screate_simple(1, &count, nullptr), H5Sclose, array.path,
                     "creating a space");
    if (count == 0) h5::check(H5Sselect_none(space.id()), array.path, "selecting");
    return space;
}

h5::Handle create_bulk(hid_t file, BulkArray const& array) {
    hsize_t const extent = array.total;
    h5::Handle const space(H5Screate_simple(1, &extent, nullptr), H5Sclose, array.path,
                           "creating a space");
    // Small arrays are one chunk, so that every bulk array carries a checksum.
    auto const properties =
        h5::dataset_properties(array.total, std::min(array.total, h5::kChunkRows));
    h5::check(H5Pset_fill_time(properties.id(), H5D_FILL_TIME_NEVER), array.path,
              "setting fill time");
    auto const links = h5::link_properties();
    h5::Handle dataset(H5Dcreate2(file, array.path.c_str(), H5T_IEEE_F32LE, space.id(), links.id(),
                                  properties.id(), H5P_DEFAULT),
                       H5Dclose, array.path, "creating a dataset");
    h5::set_attribute(dataset.id(), "unit", array.unit);
    h5::set_attribute(dataset.id(), "provenance", array.provenance);
    h5::set_attribute(dataset.id(), "meaning", array.meaning);
    return dataset;
}

struct Transfer {
    h5::Handle file_access;
    h5::Handle dataset_transfer;
};

/// Collective MPI-IO when there are ranks to share the file with, the default driver otherwise.
Transfer make_transfer(comm::Communicator& comm, std::string const& path) {
    Transfer transfer{{H5Pcreate(H5P_FILE_ACCESS), H5Pclose, path, "creating properties"},
                      {H5Pcreate(H5P_DATASET_XFER), H5Pclose, path, "creating properties"}};
    if (comm.native_handle() == nullptr || comm.size() == 1) return transfer;
#ifdef H5_HAVE_PARALLEL
    // HDF5 duplicates the communicator, which is itself a plain duplicate: no Cartesian topology,
    // no foreign traffic.
    h5::check(H5Pset_fapl_mpio(transfer.file_access.id(),
                               *static_cast<MPI_Comm const*>(comm.native_handle()), MPI_INFO_NULL),
              path, "choosing MPI-IO");
    h5::check(H5Pset_dxpl_mpio(transfer.dataset_transfer.id(), H5FD_MPIO_COLLECTIVE), path,
              "choosing collective transfers");
    return transfer;
#else
    throw BackendError(
        path +
        ": several ranks cannot share a report (HDF5 was built without MPI). use the parallel "
        "HDF5 package");
#endif
}

/// Collective. Ranks agree after every HDF5 call that communicates, so that none enters the next
/// one alone.
void write_bulk(comm::Communicator& comm, std::string const& partial,
                std::vector<BulkArray> const& bulk) {
    Transfer transfer;
    h5::Handle file;
    comm.run_phase("report: creating the file", [&] {
        transfer = make_transfer(comm, partial);
        file = h5::create_file(partial, transfer.file_access.id());
    });
    for (auto const& array : bulk) {
        h5::Handle dataset;
        comm.run_phase("report: creating " + array.path,
                       [&] { dataset = create_bulk(file.id(), array); });
        if (array.total == 0) continue;
        comm.run_phase("report: writing " + array.path, [&] {
            h5::Handle const space(H5Dget_space(dataset.id()), H5Sclose, array.path,
                                   "reading the extent");
            select(space.id(), array);
            auto const memory = memory_space(array);
            h5::check(H5Dwrite(dataset.id(), H5T_NATIVE_FLOAT, memory.id(), space.id(),
                               transfer.dataset_transfer.id(), array.values.data()),
                      array.path, "writing");
        });
    }
    comm.run_phase("report: closing the file", [&] { file.close(partial); });
}

/// Local. Each rank reads its own elements through the plain driver and compares bits.
void verify_bulk(std::string const& partial, std::vector<BulkArray> const& bulk) {
    auto const file = h5::open_file(partial, h5::Open::read);
    for (auto const& array : bulk) {
        std::uint64_t rows = 0;
        auto const dataset = h5::open_array(file.id(), array.path, partial, rows);
        if (rows != array.total)
            throw DataError(partial, 0, array.path + " has another length than was written");
        if (array.values.empty()) continue;
        h5::Handle const space(H5Dget_space(dataset.id()), H5Sclose, array.path,
                               "reading the extent");
        select(space.id(), array);
        auto const memory = memory_space(array);
        std::vector<float> back(array.values.size());
        h5::check(H5Dread(dataset.id(), H5T_NATIVE_FLOAT, memory.id(), space.id(), H5P_DEFAULT,
                          back.data()),
                  array.path, "reading back");
        if (std::memcmp(back.data(), array.values.data(), back.size() * sizeof(float)) != 0) {
            throw DataError(partial, 0,
                            array.path + " reads back differently from what was written");
        }
    }
}

void write_tables(std::string const& partial, metrics::Report const& report, bool new_file) {
    auto file = new_file ? h5::create_file(partial) : h5::open_file(partial, h5::Open::modify);
    write_content(file.id(), report);
    file.close(partial);
}

void verify_tables(std::string const& partial, metrics::Report const& report) {
    if (digest_report(read_report(partial)) != digest_report(report)) {
        throw DataError(partial, 0, "reads back differently from what was written");
    }
}

void write_phases(comm::Communicator& comm, std::string const& path, std::string const& partial,
                  metrics::Report const& report, std::vector<BulkArray> const& bulk) {
    comm.require_equal(digest_layout(path, bulk), "report: file name and bulk arrays");
    std::vector<std::int64_t> brought(bulk.size());
    comm.run_phase("report: preparing", [&] {
        std::transform(bulk.begin(), bulk.end(), brought.begin(), check_segments);
        if (comm.is_root()) prepare_folder(path, partial);
    });
    comm.sum(std::span<std::int64_t>(brought));
    comm.run_phase("report: preparing", [&] {
        for (std::size_t i = 0; i < bulk.size(); ++i) {
            validate(brought[i] == static_cast<std::int64_t>(bulk[i].total),
                     "report: the ranks' bulk segments do not cover the array");
        }
    });
    if (!bulk.empty()) write_bulk(comm, partial, bulk);
    comm.run_phase("report: writing tables", [&] {
        if (!comm.is_root()) return;
        write_tables(partial, report, bulk.empty());
        flush(partial);
    });
    comm.run_phase("report: reading back", [&] {
        if (!bulk.empty()) verify_bulk(partial, bulk);
        if (comm.is_root()) verify_tables(partial, report);
    });
    comm.run_phase("report: renaming", [&] {
        if (!comm.is_root() || ::rename(partial.c_str(), path.c_str()) == 0) return;
        throw BackendError(partial + ": cannot rename to " + path + " (" + std::strerror(errno) +
                           ")");
    });
}

}  // namespace

void write_report(comm::Communicator& comm, std::string const& path, metrics::Report const& report,
                  std::vector<BulkArray> const& bulk) {
    h5::QuietErrors const quiet;
    std::string const partial = path + ".partial";
    try {
        write_phases(comm, path, partial, report, bulk);
    } catch (...) {
        if (comm.is_root()) ::unlink(partial.c_str());
        throw;
    }
}

metrics::Report read_report(std::string const& path) {
    h5::QuietErrors const quiet;
    std::error_code error;
    if (!fs::exists(path, error)) throw DataError(path, 0, "does not exist");
    if (!fs::is_regular_file(path, error)) throw DataError(path, 0, "is not a regular file");
    if (H5Fis_hdf5(path.c_str()) <= 0) {
        throw DataError(
            path, 0,
            "is not an HDF5 file (signature missing). pass a report written by `ckvsim run`");
    }
    try {
        auto const file = h5::open_file(path, h5::Open::read);
        return read_content(file.id(), path);
    } catch (BackendError const& failure) {
        throw DataError(
            path, 0, std::string("cannot be read, truncated or damaged (") + failure.what() + ")");
    }
}

}  // namespace ckvsim::report
