// Communicator facade: serial or MPI. mpi.h is included only in comm_mpi.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/error.hpp"

namespace ckvsim::comm {

/// A failure caught on one rank, in a form that travels.
struct Failure {
    ExitCode code = ExitCode::internal;
    std::string message;
};

/// Runs `phase` and returns its exception as a value (std::bad_alloc and unknown ones included).
std::optional<Failure> capture(std::function<void()> const& phase);

/// What all ranks throw when at least one failed: the lowest failing rank's message with rank and
/// phase.
class CollectiveError : public Error {
  public:
    CollectiveError(ExitCode code, std::string const& message) : Error(code, message) {}
};

/// The ranks of a job, or one process alone. Collective calls are made by every rank in the same
/// order.
class Communicator {
  public:
    virtual ~Communicator() = default;
    [[nodiscard]] virtual int rank() const = 0;
    [[nodiscard]] virtual int size() const = 0;
    [[nodiscard]] bool is_root() const { return rank() == 0; }

    // All below are collective.
    virtual void barrier() = 0;
    virtual void sum(
        std::span<std::int64_t> values) = 0;  ///< element-wise, in place, on every rank
    virtual void sum(std::span<std::uint64_t> values) = 0;  ///< modulo 2^64
    virtual void max(std::span<std::int64_t> values) = 0;
    virtual void max(std::span<double> values) = 0;
    virtual void broadcast(std::vector<std::byte>& data,
                           int root = 0) = 0;  ///< resizes on receivers
    /// Concatenation in rank order on `root`, empty elsewhere; beyond 2 GiB in pieces.
    virtual std::vector<std::byte> gather(std::span<std::byte const> part, int root = 0) = 0;
    virtual std::vector<std::uint64_t> all_gather(std::uint64_t value) = 0;
    /// Sends `to[r]` to rank r, everybody to everybody; returns what came, in rank order. At most
    /// 1 GiB per rank and call.
    virtual std::vector<std::byte> exchange(std::vector<std::vector<std::byte>> const& to) = 0;
    /// Native handle for parallel HDF5 (MPI_Comm*), nullptr when serial.
    [[nodiscard]] virtual void const* native_handle() const = 0;

    /// All ranks throw CollectiveError when any rank brings a failure; otherwise returns on all.
    void agree_or_throw(std::optional<Failure> const& failure, std::string const& phase);
    /// capture + agree_or_throw.
    void run_phase(std::string const& phase, std::function<void()> const& body);
    /// Local. Ends the whole job with this message and exit code, without unwinding: for a failure
    /// inside collective calls of another library, where the other ranks may wait for this one and
    /// cannot be asked. With one rank it throws Error instead.
    [[noreturn]] virtual void end_job(ExitCode code, std::string const& message) = 0;
    /// All ranks must hold the same value; else all throw, naming `what` and the ranks that differ.
    void require_equal(std::uint64_t value, std::string const& what);

    template <class T>
    std::vector<T> gather_values(std::span<T const> part, int root = 0) {
        auto const bytes = gather(std::as_bytes(part), root);
        std::vector<T> values(bytes.size() / sizeof(T));
        if (!bytes.empty()) std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
        return values;
    }
};

std::unique_ptr<Communicator> make_serial();

/// Local. Throws BackendError when a launcher says that it started more processes than `world` has:
/// each would do the whole job and write the same files. So it is in a build without MPI, and under
/// the mpirun of another MPI than the program's.
void require_launched(Communicator const& world);

/// Owns MPI_Init / MPI_Finalize for the process where MPI is built in and a launcher started the
/// program; serial otherwise, MPI untouched. Aborts the job when destroyed during an exception
/// that was not agreed on.
class Runtime {
  public:
    Runtime(int& argc, char**& argv);
    ~Runtime();
    Runtime(Runtime const&) = delete;
    Runtime& operator=(Runtime const&) = delete;
    [[nodiscard]] Communicator& world() { return *world_; }
    /// Ends the whole job at once with this exit code; for failures outside an agreed phase.
    [[noreturn]] void abort(int exit_code);
    [[nodiscard]] static std::string library_version();

  private:
    bool initialised_ = false;
    std::unique_ptr<Communicator> world_;
};

}  // namespace ckvsim::comm
