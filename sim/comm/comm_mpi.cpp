// MPI adapter: the only file that includes mpi.h. Everything runs on a private duplicate of the
// start-up communicator.
#include <mpi.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "comm/communicator.hpp"

namespace ckvsim::comm {

namespace {

/// Counts of MPI 3 calls are int; 1 GiB pieces stay below on every path.
constexpr std::size_t kPieceBytes = std::size_t{1} << 30;
constexpr std::size_t kPieceElements = kPieceBytes / 8;
constexpr int kGatherTag = 1;

void check(int status, char const* call) {
    if (status == MPI_SUCCESS) return;
    char text[MPI_MAX_ERROR_STRING];
    int length = 0;
    MPI_Error_string(status, text, &length);
    throw BackendError(std::string(call) + ": " +
                       std::string(text, static_cast<std::size_t>(length)));
}

class MpiCommunicator final : public Communicator {
  public:
    explicit MpiCommunicator(MPI_Comm parent) {
        check(MPI_Comm_dup(parent, &comm_), "MPI_Comm_dup");
        // Errors of MPI itself end the job: peers may be inside the same collective and cannot be
        // told.
        check(MPI_Comm_set_errhandler(comm_, MPI_ERRORS_ARE_FATAL), "MPI_Comm_set_errhandler");
        check(MPI_Comm_rank(comm_, &rank_), "MPI_Comm_rank");
        check(MPI_Comm_size(comm_, &size_), "MPI_Comm_size");
    }
    ~MpiCommunicator() override { MPI_Comm_free(&comm_); }
    MpiCommunicator(MpiCommunicator const&) = delete;
    MpiCommunicator& operator=(MpiCommunicator const&) = delete;

    [[nodiscard]] int rank() const override { return rank_; }
    [[nodiscard]] int size() const override { return size_; }
    void barrier() override { check(MPI_Barrier(comm_), "MPI_Barrier"); }
    void sum(std::span<std::int64_t> values) override { reduce(values, MPI_INT64_T, MPI_SUM); }
    void sum(std::span<std::uint64_t> values) override { reduce(values, MPI_UINT64_T, MPI_SUM); }
    void max(std::span<std::int64_t> values) override { reduce(values, MPI_INT64_T, MPI_MAX); }
    void max(std::span<double> values) override { reduce(values, MPI_DOUBLE, MPI_MAX); }

    void broadcast(std::vector<std::byte>& data, int root) override {
        check_root(root);
        std::uint64_t bytes = data.size();
        check(MPI_Bcast(&bytes, 1, MPI_UINT64_T, root, comm_), "MPI_Bcast");
        data.resize(bytes);
        for (std::size_t done = 0; done < data.size(); done += kPieceBytes) {
            auto const piece = static_cast<int>(std::min(kPieceBytes, data.size() - done));
            check(MPI_Bcast(data.data() + done, piece, MPI_BYTE, root, comm_), "MPI_Bcast");
        }
    }

    std::vector<std::byte> gather(std::span<std::byte const> part, int root) override {
        check_root(root);
        auto const sizes = all_gather(part.size());
        if (rank_ != root) {
            for (std::size_t done = 0; done < part.size(); done += kPieceBytes) {
                auto const piece = static_cast<int>(std::min(kPieceBytes, part.size() - done));
                check(MPI_Send(part.data() + done, piece, MPI_BYTE, root, kGatherTag, comm_),
                      "MPI_Send");
            }
            return {};
        }
        std::uint64_t total = 0;
        for (auto const bytes : sizes) total += bytes;
        std::vector<std::byte> all(total);
        std::byte* place = all.data();
        for (int source = 0; source < size_; ++source) {
            std::size_t const bytes = sizes[static_cast<std::size_t>(source)];
            if (source == root) {
                std::copy(part.begin(), part.end(), place);
            } else {
                receive(place, bytes, source);
            }
            place += bytes;
        }
        return all;
    }

    std::vector<std::uint64_t> all_gather(std::uint64_t value) override {
        std::vector<std::uint64_t> values(static_cast<std::size_t>(size_));
        check(MPI_Allgather(&value, 1, MPI_UINT64_T, values.data(), 1, MPI_UINT64_T, comm_),
              "MPI_Allgather");
        return values;
    }

    std::vector<std::byte> exchange(std::vector<std::vector<std::byte>> const& to) override {
        auto const ranks = static_cast<std::size_t>(size_);
        validate(to.size() == ranks, "communicator: exchange needs one part per rank");
        std::vector<std::uint64_t> out_bytes(ranks), in_bytes(ranks);
        for (std::size_t r = 0; r < ranks; ++r) out_bytes[r] = to[r].size();
        check(MPI_Alltoall(out_bytes.data(), 1, MPI_UINT64_T, in_bytes.data(), 1, MPI_UINT64_T,
                           comm_),
              "MPI_Alltoall");
        std::vector<int> out(ranks), in(ranks), out_at(ranks), in_at(ranks);
        std::uint64_t sent = 0;
        std::uint64_t came = 0;
        for (std::size_t r = 0; r < ranks; ++r) {
            sent += out_bytes[r];
            came += in_bytes[r];
        }
        // All ranks find out together: none waits for one that threw.
        std::int64_t most = static_cast<std::int64_t>(std::max(sent, came));
        max(std::span<std::int64_t>(&most, 1));
        validate(most <= static_cast<std::int64_t>(kPieceBytes),
                 "communicator: more than 1 GiB in one exchange");
        int sent_before = 0;
        int came_before = 0;
        for (std::size_t r = 0; r < ranks; ++r) {
            out[r] = static_cast<int>(out_bytes[r]);
            in[r] = static_cast<int>(in_bytes[r]);
            out_at[r] = sent_before;
            in_at[r] = came_before;
            sent_before += out[r];
            came_before += in[r];
        }
        std::vector<std::byte> packed;
        packed.reserve(sent);
        for (auto const& part : to) packed.insert(packed.end(), part.begin(), part.end());
        std::vector<std::byte> all(came);
        check(MPI_Alltoallv(packed.data(), out.data(), out_at.data(), MPI_BYTE, all.data(),
                            in.data(), in_at.data(), MPI_BYTE, comm_),
              "MPI_Alltoallv");
        return all;
    }

    [[nodiscard]] void const* native_handle() const override { return &comm_; }
    [[noreturn]] void end_job(ExitCode code, std::string const& message) override {
        if (size_ == 1) throw Error(code, message);
        std::fprintf(stderr, "ckvsim: %s [ending the job]\n", message.c_str());
        MPI_Abort(comm_, static_cast<int>(code));
        std::_Exit(static_cast<int>(code));
    }

  private:
    void check_root(int root) const {
        validate(root >= 0 && root < size_, "communicator: root outside the job");
    }

    template <class T>
    void reduce(std::span<T> values, MPI_Datatype type, MPI_Op operation) {
        for (std::size_t done = 0; done < values.size(); done += kPieceElements) {
            auto const piece = static_cast<int>(std::min(kPieceElements, values.size() - done));
            check(MPI_Allreduce(MPI_IN_PLACE, values.data() + done, piece, type, operation, comm_),
                  "MPI_Allreduce");
        }
    }

    void receive(std::byte* place, std::size_t bytes, int source) {
        for (std::size_t done = 0; done < bytes; done += kPieceBytes) {
            auto const piece = static_cast<int>(std::min(kPieceBytes, bytes - done));
            check(MPI_Recv(place + done, piece, MPI_BYTE, source, kGatherTag, comm_,
                           MPI_STATUS_IGNORE),
                  "MPI_Recv");
        }
    }

    MPI_Comm comm_ = MPI_COMM_NULL;
    int rank_ = 0;
    int size_ = 1;
};

/// Launchers of Open MPI and of PMIx-aware schedulers announce themselves to their children.
bool under_launcher() {
    for (char const* name : {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"}) {
        if (std::getenv(name) != nullptr) return true;
    }
    return false;
}

}  // namespace

Runtime::Runtime(int& argc, char**& argv) {
    // Started alone there is nobody to talk to. Open MPI's singletons also share one session
    // folder, so that programs started side by side now and then remove it under each other.
    if (!under_launcher()) {
        world_ = make_serial();
        return;
    }
    int provided = MPI_THREAD_SINGLE;
    // Only the thread that started MPI calls it; OpenMP threads compute.
    check(MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread");
    if (provided < MPI_THREAD_FUNNELED) {
        throw BackendError(
            "MPI: the library is not usable beside threads (MPI_THREAD_FUNNELED refused). use a "
            "threaded build of MPI");
    }
    initialised_ = true;
    world_ = std::make_unique<MpiCommunicator>(MPI_COMM_WORLD);
}

Runtime::~Runtime() {
    if (!initialised_) return;
    // Reached by an exception that the other ranks do not know of: MPI_Finalize would wait for them
    // for ever.
    if (std::uncaught_exceptions() > 0) abort(static_cast<int>(ExitCode::internal));
    world_.reset();
    MPI_Finalize();
}

void Runtime::abort(int exit_code) {
    if (initialised_) MPI_Abort(*static_cast<MPI_Comm const*>(world_->native_handle()), exit_code);
    std::_Exit(exit_code);
}

std::string Runtime::library_version() {
    char text[MPI_MAX_LIBRARY_VERSION_STRING];
    int length = 0;
    MPI_Get_library_version(text, &length);
    std::string version(text, static_cast<std::size_t>(length));
    // Some libraries append build hosts and lists; the name and number come before the first comma.
    return version.substr(0, version.find_first_of(",\n"));
}

}  // namespace ckvsim::comm
