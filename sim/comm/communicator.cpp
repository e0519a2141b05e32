#include "comm/communicator.hpp"

#include <cstdlib>
#include <new>

namespace ckvsim::comm {

std::optional<Failure> capture(std::function<void()> const& phase) {
    try {
        phase();
        return std::nullopt;
    } catch (Error const& error) {
        return Failure{error.exit_code(), error.what()};
    } catch (std::bad_alloc const&) {
        return Failure{ExitCode::backend,
                       "memory: an allocation failed (out of memory). use fewer users, fewer arms "
                       "or more machines"};
    } catch (std::exception const& error) {
        return Failure{ExitCode::internal, std::string("unexpected exception: ") + error.what()};
    } catch (...) {
        return Failure{ExitCode::internal, "unexpected exception of a type without a message"};
    }
}

namespace {

std::vector<std::byte> to_bytes(std::string const& text) {
    auto const bytes = std::as_bytes(std::span(text.data(), text.size()));
    return {bytes.begin(), bytes.end()};
}

std::string to_text(std::vector<std::byte> const& bytes) {
    return {reinterpret_cast<char const*>(bytes.data()), bytes.size()};
}

}  // namespace

void Communicator::agree_or_throw(std::optional<Failure> const& failure, std::string const& phase) {
    // Exit code 0 means "no failure", so one integer per rank says who failed and how.
    auto const codes = all_gather(failure ? static_cast<std::uint64_t>(failure->code) : 0);
    int lowest = -1;
    int failing = 0;
    for (int i = size() - 1; i >= 0; --i) {
        if (codes[static_cast<std::size_t>(i)] == 0) continue;
        lowest = i;
        ++failing;
    }
    if (lowest < 0) return;
    std::vector<std::byte> message;
    if (rank() == lowest) message = to_bytes(failure->message);
    broadcast(message, lowest);
    std::string text = phase + ", rank " + std::to_string(lowest) + " of " +
                       std::to_string(size()) + ": " + to_text(message);
    if (failing > 1) text += " [" + std::to_string(failing) + " ranks failed]";
    throw CollectiveError(static_cast<ExitCode>(codes[static_cast<std::size_t>(lowest)]),
                          std::move(text));
}

void Communicator::run_phase(std::string const& phase, std::function<void()> const& body) {
    agree_or_throw(capture(body), phase);
}

void Communicator::require_equal(std::uint64_t value, std::string const& what) {
    auto const values = all_gather(value);
    std::string others;
    for (std::size_t i = 1; i < values.size(); ++i) {
        if (values[i] != values[0]) others += (others.empty() ? "" : ", ") + std::to_string(i);
    }
    if (others.empty()) return;
    throw CollectiveError(ExitCode::internal,
                          what + ": ranks disagree (rank 0 against rank " + others +
                              "). give every rank the same input files and options");
}

namespace {

/// One rank, nothing to exchange.
class SerialCommunicator final : public Communicator {
  public:
    [[nodiscard]] int rank() const override { return 0; }
    [[nodiscard]] int size() const override { return 1; }
    void barrier() override {}
    void sum(std::span<std::int64_t>) override {}
    void sum(std::span<std::uint64_t>) override {}
    void max(std::span<std::int64_t>) override {}
    void max(std::span<double>) override {}
    void broadcast(std::vector<std::byte>&, int root) override { check_root(root); }
    std::vector<std::byte> gather(std::span<std::byte const> part, int root) override {
        check_root(root);
        return {part.begin(), part.end()};
    }
    std::vector<std::uint64_t> all_gather(std::uint64_t value) override { return {value}; }
    std::vector<std::byte> exchange(std::vector<std::vector<std::byte>> const& to) override {
        validate(to.size() == 1, "communicator: exchange needs one part per rank");
        return to[0];
    }
    [[nodiscard]] void const* native_handle() const override { return nullptr; }
    [[noreturn]] void end_job(ExitCode code, std::string const& message) override {
        throw Error(code, message);
    }

  private:
    static void check_root(int root) { validate(root == 0, "communicator: root outside the job"); }
};

}  // namespace

std::unique_ptr<Communicator> make_serial() { return std::make_unique<SerialCommunicator>(); }

void require_launched(Communicator const& world) {
    // Open MPI's mpirun, and the launchers that speak PMI (MPICH, Intel MPI).
    for (char const* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"}) {
        char const* const text = std::getenv(name);
        if (text == nullptr) continue;
        long const launched = std::strtol(text, nullptr, 10);
        if (launched <= world.size()) continue;
        throw BackendError("MPI: a launcher started " + std::to_string(launched) + " processes (" +
                           name + "), but this one is in a job of " + std::to_string(world.size()) +
                           ": each would do all of the work and write the same files. the "
                           "program's MPI is " +
                           Runtime::library_version() +
                           ": use its own mpirun, a build with MPI, or start one process");
    }
}

}  // namespace ckvsim::comm
