#include "report/report_file.hpp"

#include <algorithm>
#include <cstring>
#include <functional>
#include <tuple>

#include "core/error.hpp"
#include "core/hash.hpp"
#include "report/hdf5_wrap.hpp"
#include "report/report_content.hpp"
#include "report/sealed_file.hpp"

namespace ckvsim::report {

namespace {

char const kKind[] = "report";

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

/// Local checks of one rank's share.
void check_segments(BulkArray const& array) {
    std::uint64_t end = 0;
    std::uint64_t count = 0;
    for (auto const& segment : array.segments) {
        bool const inside =
            segment.count <= array.total && segment.offset <= array.total - segment.count;
        if (!inside || segment.offset < end) {
            throw InternalError("report: bulk segment [" + std::to_string(segment.offset) + ", +" +
                                std::to_string(segment.count) + ") of " + array.path +
                                " overlaps the one before, is out of order or leaves the array");
        }
        end = segment.offset + segment.count;
        count += segment.count;
    }
    if (count != array.values.size()) {
        throw InternalError("report: " + array.path + " brings " +
                            std::to_string(array.values.size()) + " values for segments of " +
                            std::to_string(count));
    }
}

struct PlacedSegment {
    std::uint64_t array = 0;
    std::uint64_t offset = 0;
    std::uint64_t count = 0;
};

/// Rank 0 has everybody's segments: together they must cover every array once.
void check_cover(std::vector<PlacedSegment> placed, std::vector<BulkArray> const& bulk) {
    std::sort(placed.begin(), placed.end(), [](auto const& a, auto const& b) {
        return std::tie(a.array, a.offset) < std::tie(b.array, b.offset);
    });
    auto next = placed.begin();
    for (std::uint64_t i = 0; i < bulk.size(); ++i) {
        std::uint64_t end = 0;
        for (; next != placed.end() && next->array == i; ++next) {
            if (next->offset != end) {
                throw InternalError("report: bulk segments of " + bulk[i].path +
                                    (next->offset < end ? " overlap" : " leave a gap") +
                                    " at value " + std::to_string(std::min(next->offset, end)));
            }
            end += next->count;
        }
        if (end != bulk[i].total) {
            throw InternalError("report: bulk segments of " + bulk[i].path + " cover " +
                                std::to_string(end) + " of " + std::to_string(bulk[i].total) +
                                " values");
        }
    }
}

/// Collective.
void check_bulk(comm::Communicator& comm, std::vector<BulkArray> const& bulk) {
    if (bulk.empty()) return;
    std::vector<PlacedSegment> mine;
    comm.run_phase("report: checking bulk arrays", [&] {
        for (std::uint64_t i = 0; i < bulk.size(); ++i) {
            check_segments(bulk[i]);
            for (auto const& segment : bulk[i].segments) {
                if (segment.count > 0) mine.push_back({i, segment.offset, segment.count});
            }
        }
    });
    auto all = comm.gather_values(std::span<PlacedSegment const>(mine));
    comm.run_phase("report: checking bulk arrays", [&] {
        if (comm.is_root()) check_cover(std::move(all), bulk);
    });
}

/// Bytes that the bulk arrays can take, for reserving them; deflate adds at most 5 bytes per 16 KiB
/// (RFC 1951 stored blocks) and a chunk some bytes of index and checksum.
std::uint64_t most_bulk_bytes(std::vector<BulkArray> const& bulk) {
    std::uint64_t bytes = 0;
    for (auto const& array : bulk) {
        std::uint64_t const raw = array.total * sizeof(float);
        bytes += raw + raw / 512 + 8192;
    }
    return bytes;
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

/// A phase inside MPI-IO. When a rank fails there, the others may wait for it in HDF5's or MPI's
/// own communication and never come to an agreement: that rank ends the job, without closing
/// anything.
void run_shared_phase(comm::Communicator& comm, std::string const& phase,
                      std::string const& partial, std::function<void()> const& body) {
    auto const failure = comm::capture(body);
    if (!failure) return;
    if (comm.size() > 1) discard_shared(partial);
    comm.end_job(failure->code, phase + ", rank " + std::to_string(comm.rank()) + " of " +
                                    std::to_string(comm.size()) + ": " + failure->message);
}

/// Collective. Local steps, which may fail on one rank alone, come in phases of their own before
/// each collective HDF5 call, so that no rank enters one alone.
void write_array(comm::Communicator& comm, hid_t file, std::string const& partial,
                 Transfer const& transfer, BulkArray const& array) {
    h5::Handle dataset;
    run_shared_phase(comm, "report: creating " + array.path, partial,
                     [&] { dataset = create_bulk(file, array); });
    if (array.total == 0) return;
    h5::Handle space;
    h5::Handle memory;
    comm.run_phase("report: selecting " + array.path, [&] {
        space = h5::Handle(H5Dget_space(dataset.id()), H5Sclose, array.path, "reading the extent");
        select(space.id(), array);
        memory = memory_space(array);
    });
    run_shared_phase(comm, "report: writing " + array.path, partial, [&] {
        h5::check(H5Dwrite(dataset.id(), H5T_NATIVE_FLOAT, memory.id(), space.id(),
                           transfer.dataset_transfer.id(), array.values.data()),
                  partial + ", " + array.path, "writing");
    });
    // Compressed chunks may be written only now.
    run_shared_phase(comm, "report: closing " + array.path, partial,
                     [&] { dataset.close(partial + ", " + array.path); });
}

/// Collective. The file exists, with its tables and with disk space for the arrays.
void write_bulk(comm::Communicator& comm, std::string const& partial,
                std::vector<BulkArray> const& bulk) {
    comm.run_phase("report: asking for room",
                   [&] { require_permitted_size(partial, most_bulk_bytes(bulk)); });
    Transfer transfer;
    // Apart: choosing MPI-IO duplicates the communicator, so nobody may leave before it alone.
    comm.run_phase("report: sharing the file", [&] { transfer = make_transfer(comm, partial); });
    h5::Handle file;
    run_shared_phase(comm, "report: opening the file", partial, [&] {
        file = h5::open_file(partial, h5::Open::modify, transfer.file_access.id());
    });
    for (auto const& array : bulk) write_array(comm, file.id(), partial, transfer, array);
    run_shared_phase(comm, "report: closing the file", partial, [&] { file.close(partial); });
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

/// Local. The file with everything but the bulk arrays, for which it reserves space.
void write_tables(std::string const& path, metrics::Report const& report,
                  std::vector<BulkArray> const& bulk) {
    prepare_partial(path);
    auto const file = h5::create_memory_file(path);
    write_content(file.id(), report);
    write_partial(path, h5::file_image(file, path));
    if (!bulk.empty()) reserve_room(partial_name(path), most_bulk_bytes(bulk));
}

void verify_tables(std::string const& partial, metrics::Report const& report) {
    if (digest_report(read_report(partial)) != digest_report(report)) {
        throw DataError(partial, 0, "reads back differently from what was written");
    }
}

void write_phases(comm::Communicator& comm, std::string const& path, metrics::Report const& report,
                  std::vector<BulkArray> const& bulk) {
    auto const partial = partial_name(path);
    comm.require_equal(digest_layout(path, bulk), "report: file name and bulk arrays");
    check_bulk(comm, bulk);
    comm.run_phase("report: writing tables", [&] {
        if (comm.is_root()) write_tables(path, report, bulk);
    });
    if (!bulk.empty()) write_bulk(comm, partial, bulk);
    comm.run_phase("report: sealing", [&] {
        if (comm.is_root()) seal_file(partial, kKind);
    });
    comm.run_phase("report: reading back", [&] {
        if (!bulk.empty()) verify_bulk(partial, bulk);
        if (comm.is_root()) verify_tables(partial, report);
    });
    comm.run_phase("report: renaming", [&] {
        if (comm.is_root()) publish(path);
    });
}

}  // namespace

void write_report(comm::Communicator& comm, std::string const& path, metrics::Report const& report,
                  std::vector<BulkArray> const& bulk) {
    h5::QuietErrors const quiet;
    try {
        write_phases(comm, path, report, bulk);
    } catch (...) {
        if (comm.is_root()) discard_partial(path);
        throw;
    }
}

metrics::Report read_report(std::string const& path) {
    h5::QuietErrors const quiet;
    check_seal(path, kKind);
    try {
        auto const file = h5::open_file(path, h5::Open::read);
        return read_content(file.id(), path);
    } catch (BackendError const& failure) {
        throw DataError(path, 0, std::string("cannot be read (") + failure.what() + ")");
    }
}

}  // namespace ckvsim::report
