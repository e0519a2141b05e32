#include "workload/request_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "core/error.hpp"
#include "core/hash.hpp"
#include "core/shards.hpp"
#include "workload/request_log.hpp"

namespace ckvsim::workload {

namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

constexpr char kMagic[] = "ckvsim requests\n";
constexpr std::size_t kMagicBytes = sizeof kMagic - 1;
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kFixedBytes = 64;
constexpr std::size_t kBlockBytes = 24;
constexpr std::uint32_t kMostShards = 1U << 20;  ///< the spec's limit
constexpr char const* kStreamNames[kRequestStreams] = {"executed", "simulated"};

std::string reason() { return std::string(" (") + std::strerror(errno) + ")"; }
std::string partial_name(std::string const& path) { return path + ".partial"; }

class Descriptor {
  public:
    Descriptor(std::string const& path, int flags)
        : id_(::open(path.c_str(), flags | O_CLOEXEC | O_NONBLOCK, 0644)) {}
    ~Descriptor() {
        if (id_ >= 0) ::close(id_);
    }
    Descriptor(Descriptor const&) = delete;
    Descriptor& operator=(Descriptor const&) = delete;
    [[nodiscard]] int id() const { return id_; }
    [[nodiscard]] bool ok() const { return id_ >= 0; }

  private:
    int id_;
};

void write_at(Descriptor const& file, std::string const& path, std::string_view data,
              std::uint64_t offset) {
    while (!data.empty()) {
        ssize_t const wrote =
            ::pwrite(file.id(), data.data(), data.size(), static_cast<off_t>(offset));
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote <= 0) throw BackendError(path + ": cannot write" + reason());
        data.remove_prefix(static_cast<std::size_t>(wrote));
        offset += static_cast<std::uint64_t>(wrote);
    }
}

/// Exactly `bytes`; DataError at the end of the file and for read errors.
std::string read_at(Descriptor const& file, std::string const& path, std::uint64_t bytes,
                    std::uint64_t offset) {
    std::string data(bytes, '\0');
    for (std::size_t done = 0; done < bytes;) {
        ssize_t const got =
            ::pread(file.id(), data.data() + done, bytes - done, static_cast<off_t>(offset + done));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) throw DataError(path, 0, "cannot read" + reason());
        if (got == 0) throw DataError(path, 0, "is truncated. copy or record it again");
        done += static_cast<std::size_t>(got);
    }
    return data;
}

template <class T>
void put(std::string& out, T value) {
    out.append(reinterpret_cast<char const*>(&value), sizeof value);
}
template <class T>
T get(std::string const& data, std::size_t offset) {
    T value{};
    std::memcpy(&value, data.data() + offset, sizeof value);
    return value;
}

/// A shard without requests has no bytes and the hash 0.
std::uint64_t block_hash(std::string const& data) {
    return data.empty() ? 0 : hash_bytes(data.data(), data.size());
}

void put_varint(std::string& out, std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
    out.push_back(static_cast<char>(value));
}
std::uint64_t zigzag(std::int64_t value) {
    return (static_cast<std::uint64_t>(value) << 1) ^ static_cast<std::uint64_t>(value >> 63);
}
std::int64_t unzigzag(std::uint64_t value) {
    return static_cast<std::int64_t>(value >> 1) ^ -static_cast<std::int64_t>(value & 1);
}

std::uint64_t table_bytes(std::uint32_t shards) {
    return std::uint64_t{kRequestStreams} * shards * kBlockBytes;
}

std::string header_text(RequestFileHeader const& header) {
    std::string table;
    for (auto const& block : header.blocks) {
        put(table, block.requests);
        put(table, block.bytes);
        put(table, block.hash);
    }
    std::string text(kMagic);
    put(text, kVersion);
    put(text, kRequestStreams);
    put(text, header.shards);
    put(text, header.max_tokens);
    put(text, header.users);
    put(text, header.population);
    put(text, header.seed);
    put(text, hash_bytes(table.data(), table.size(), hash_bytes(text.data(), text.size())));
    return text + table;
}

/// Where each block starts, then the size of the file.
std::vector<std::uint64_t> offsets_of(RequestFileHeader const& header) {
    std::vector<std::uint64_t> offsets = {kFixedBytes + table_bytes(header.shards)};
    for (auto const& block : header.blocks) offsets.push_back(offsets.back() + block.bytes);
    return offsets;
}

std::uint64_t size_of_file(Descriptor const& file, std::string const& path) {
    struct stat info {};
    if (::fstat(file.id(), &info) != 0 || !S_ISREG(info.st_mode))
        throw DataError(path, 0, "is not a regular file");
    return static_cast<std::uint64_t>(info.st_size);
}

/// Everything about a recording that can be checked without reading its blocks.
RequestFileHeader read_header(Descriptor const& file, std::string const& path) {
    std::uint64_t const size = size_of_file(file, path);
    std::string const fixed = read_at(file, path, kFixedBytes, 0);
    auto const version = get<std::uint32_t>(fixed, kMagicBytes);
    if (version != kVersion) {
        throw DataError(path, 0,
                        "has version " + std::to_string(version) + " of the layout, this ckvsim " +
                            "reads " + std::to_string(kVersion) + ". record it again");
    }
    RequestFileHeader header;
    header.shards = get<std::uint32_t>(fixed, 24);
    header.max_tokens = get<std::uint32_t>(fixed, 28);
    header.users = get<std::uint64_t>(fixed, 32);
    header.population = get<std::uint64_t>(fixed, 40);
    header.seed = get<std::uint64_t>(fixed, 48);
    std::string const damaged =
        "has a damaged header (its hash does not match). copy or record it again";
    if (get<std::uint32_t>(fixed, 20) != kRequestStreams || header.shards == 0 ||
        header.shards > kMostShards)
        throw DataError(path, 0, damaged);
    std::string const table = read_at(file, path, table_bytes(header.shards), kFixedBytes);
    std::uint64_t const hash =
        hash_bytes(table.data(), table.size(), hash_bytes(fixed.data(), kFixedBytes - 8));
    if (hash != get<std::uint64_t>(fixed, kFixedBytes - 8)) throw DataError(path, 0, damaged);
    for (std::size_t at = 0; at < table.size(); at += kBlockBytes) {
        header.blocks.push_back({get<std::uint64_t>(table, at), get<std::uint64_t>(table, at + 8),
                                 get<std::uint64_t>(table, at + 16)});
    }
    // The sum below must not wrap around.
    for (auto const& block : header.blocks) {
        if (block.bytes > std::uint64_t{1} << 40) throw DataError(path, 0, damaged);
    }
    std::uint64_t const needed = offsets_of(header).back();
    if (size != needed) {
        throw DataError(path, 0,
                        (size < needed ? "is truncated: " : "has bytes behind its end: ") +
                            std::to_string(size) + " bytes, the header says " +
                            std::to_string(needed) + ". copy or record it again");
    }
    return header;
}

/// Decodes one block; every value is checked, because a hash does not make a value plausible.
class BlockReader {
  public:
    BlockReader(std::string const& data, std::string where) : data_(data), where_(where) {}
    std::uint64_t varint(std::string const& path) {
        std::uint64_t value = 0;
        for (unsigned shift = 0; shift < 64; shift += 7) {
            if (at_ == data_.size()) fail(path, "ends within a request");
            auto const byte = static_cast<std::uint8_t>(data_[at_++]);
            value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
            if (byte < 0x80) return value;
        }
        fail(path, "holds a number that is too long");
    }
    [[nodiscard]] bool done() const { return at_ == data_.size(); }
    [[noreturn]] void fail(std::string const& path, std::string const& what) const {
        throw DataError(path, 0, where_ + " " + what + ". record it again");
    }

  private:
    std::string const& data_;
    std::string where_;
    std::size_t at_ = 0;
};

void decode_block(std::string const& path, RequestFileHeader const& header, std::size_t index,
                  std::string const& data, std::vector<Request>& out) {
    RequestBlock const& block = header.blocks[index];
    auto const shard = static_cast<std::uint32_t>(index % header.shards);
    BlockReader reader(data, std::string("shard ") + std::to_string(shard) + " of the stream " +
                                 kStreamNames[index / header.shards]);
    if (block_hash(data) != block.hash) reader.fail(path, "is damaged (its hash does not match)");
    if (block.requests > data.size()) reader.fail(path, "is shorter than its number of requests");
    constexpr std::uint64_t kLatest = static_cast<std::uint64_t>(kLatestRequestS) * 1'000'000'000;
    std::uint64_t time_ns = 0;
    std::int64_t candidates = 0;
    Request request;
    request.shard = shard;
    for (std::uint64_t sequence = 0; sequence < block.requests; ++sequence) {
        std::uint64_t const step_ns = reader.varint(path);
        request.user = reader.varint(path);
        std::int64_t const change = unzigzag(reader.varint(path));
        std::uint64_t const tokens = reader.varint(path);
        if (step_ns > kLatest - time_ns) reader.fail(path, "holds a time beyond 1e7 s");
        time_ns += step_ns;
        if (request.user >= header.users ||
            to_int(shard_of_user(request.user, header.shards)) != shard)
            reader.fail(path, "holds user " + std::to_string(request.user) + " of another shard");
        if (change < -std::int64_t{kMostRequestCandidates} ||
            change > std::int64_t{kMostRequestCandidates})
            reader.fail(path, "holds candidates out of range");
        candidates += change;
        if (candidates < 1 || candidates > std::int64_t{kMostRequestCandidates})
            reader.fail(path, "holds candidates out of range");
        if (tokens > header.max_tokens) reader.fail(path, "holds more tokens than the header says");
        request.intended_start_ns = static_cast<Nanoseconds>(time_ns);
        request.sequence = static_cast<std::uint32_t>(sequence);
        request.candidates = static_cast<std::uint32_t>(candidates);
        request.tokens = static_cast<std::uint32_t>(tokens);
        out.push_back(request);
    }
    if (!reader.done()) reader.fail(path, "is longer than its number of requests");
}

void require_same_run(ReplayParams const& params, Population const& population,
                      RequestFileHeader const& header) {
    auto const refuse = [&](std::string const& what) { throw DataError(params.path, 0, what); };
    if (header.shards != params.shards) {
        refuse("was recorded with " + std::to_string(header.shards) + " shards, the spec has " +
               std::to_string(params.shards) + ". set /shards=" + std::to_string(header.shards));
    }
    if (header.users != population.users() || header.population != population.digest()) {
        refuse("was recorded for another population (" + std::to_string(header.users) +
               " users, digest " + to_hex(header.population) + "; the spec's has " +
               std::to_string(population.users()) + " users, digest " +
               to_hex(population.digest()) +
               "). replay it with the spec that it was recorded from");
    }
    if (header.max_tokens < params.max_tokens) {
        refuse("was recorded with at most " + std::to_string(header.max_tokens) +
               " tokens a request, the spec has max_tokens " + std::to_string(params.max_tokens) +
               ". set /model/max_tokens=" + std::to_string(header.max_tokens) + " or lower");
    }
}

RecordedRequests load_recording(Descriptor const& file, ReplayParams const& params,
                                Population const& population,
                                std::vector<std::vector<std::uint32_t>> const& groups) {
    RequestFileHeader const header = read_header(file, params.path);
    require_same_run(params, population, header);
    auto const offsets = offsets_of(header);
    RecordedRequests result;
    result.digest = to_hex(request_file_digest(header));
    for (auto const& shards : groups) {
        auto& requests = result.groups.emplace_back();
        for (std::uint32_t const shard : shards) {
            std::size_t const index = header.index(params.stream, shard);
            std::string const data =
                read_at(file, params.path, header.blocks[index].bytes, offsets[index]);
            decode_block(params.path, header, index, data, requests);
        }
        for (Request& request : requests)
            request.tokens = std::min(request.tokens, params.max_tokens);
    }
    return result;
}

/// Whether the file starts as a recording does.
bool is_recording(Descriptor const& file) {
    char start[kMagicBytes] = {};
    return ::pread(file.id(), start, kMagicBytes, 0) == static_cast<ssize_t>(kMagicBytes) &&
           std::memcmp(start, kMagic, kMagicBytes) == 0;
}

}  // namespace

std::size_t RequestFileHeader::index(RequestStream stream, std::uint32_t shard) const {
    validate(shard < shards, "RequestFileHeader: the shard does not exist");
    return static_cast<std::size_t>(stream) * shards + shard;
}

void RequestEncoder::add(Request const& request) {
    validate(request.intended_start_ns >= last_ns_ && request.sequence == requests_,
             "RequestEncoder: requests of a shard must come in their order");
    put_varint(bytes_, static_cast<std::uint64_t>(request.intended_start_ns - last_ns_));
    put_varint(bytes_, request.user);
    put_varint(bytes_, zigzag(std::int64_t{request.candidates} - std::int64_t{last_candidates_}));
    put_varint(bytes_, request.tokens);
    last_ns_ = request.intended_start_ns;
    last_candidates_ = request.candidates;
    ++requests_;
}

RequestBlock RequestEncoder::block() const {
    return {requests_, bytes_.size(), block_hash(bytes_)};
}

std::uint64_t request_file_digest(RequestFileHeader const& header) {
    auto const text = header_text(header);
    return hash_bytes(text.data(), text.size());
}

void create_request_file(std::string const& path, RequestFileHeader const& header) {
    auto const partial = partial_name(path);
    auto const folder = std::filesystem::path(path).parent_path();
    std::error_code error;
    if (!folder.empty()) std::filesystem::create_directories(folder, error);
    if (error) throw BackendError(path + ": cannot create folder (" + error.message() + ")");
    if (std::filesystem::is_directory(path, error))
        throw BackendError(path + ": is a folder. give the file another name");
    Descriptor const file(partial, O_WRONLY | O_CREAT | O_TRUNC);
    if (!file.ok()) throw BackendError(partial + ": cannot create" + reason());
    // Space is taken now, so that the ranks' blocks cannot meet a full disk.
    auto const size = static_cast<off_t>(offsets_of(header).back());
    int const failure = ::posix_fallocate(file.id(), 0, size);
    if (failure != 0) {
        errno = failure;
        throw BackendError(partial + ": cannot take " + std::to_string(size) + " bytes" + reason());
    }
    write_at(file, partial, header_text(header), 0);
}

void write_request_blocks(std::string const& path, RequestFileHeader const& header,
                          RequestStream stream, std::vector<std::uint32_t> const& shards,
                          std::vector<std::string> const& bytes) {
    auto const partial = partial_name(path);
    Descriptor const file(partial, O_WRONLY);
    if (!file.ok()) {
        throw BackendError(partial + ": cannot open" + reason() +
                           ". write to a folder that all ranks share");
    }
    auto const offsets = offsets_of(header);
    for (std::size_t i = 0; i < shards.size(); ++i) {
        std::size_t const index = header.index(stream, shards[i]);
        validate(bytes[i].size() == header.blocks[index].bytes,
                 "write_request_blocks: the block has another size than the header says");
        write_at(file, partial, bytes[i], offsets[index]);
    }
    if (::fsync(file.id()) != 0) throw BackendError(partial + ": cannot flush" + reason());
}

void publish_request_file(std::string const& path, RequestFileHeader const& header) {
    auto const partial = partial_name(path);
    Descriptor const file(partial, O_RDWR);
    if (!file.ok()) throw BackendError(partial + ": cannot open" + reason());
    auto const differs = [&] {
        throw BackendError(partial + ": reads back differently from what was written");
    };
    if (read_header(file, partial) != header) differs();
    auto const offsets = offsets_of(header);
    for (std::size_t index = 0; index < header.blocks.size(); ++index) {
        auto const data = read_at(file, partial, header.blocks[index].bytes, offsets[index]);
        if (block_hash(data) != header.blocks[index].hash) differs();
    }
    if (::fsync(file.id()) != 0) throw BackendError(partial + ": cannot flush" + reason());
    if (::rename(partial.c_str(), path.c_str()) != 0)
        throw BackendError(partial + ": cannot rename to " + path + reason());
}

void discard_request_file(std::string const& path) noexcept {
    ::unlink((path + ".partial").c_str());
}

RecordedRequests load_requests(ReplayParams const& params, Population const& population,
                               std::vector<std::vector<std::uint32_t>> const& groups) {
    validate(params.speed_factor > 0.0 && params.shards >= 1, "load_requests: bad parameters");
    RecordedRequests result;
    {
        Descriptor const file(params.path, O_RDONLY);
        if (!file.ok()) throw DataError(params.path, 0, "cannot open" + reason());
        size_of_file(file, params.path);
        result = is_recording(file) ? load_recording(file, params, population, groups)
                                    : load_request_log(params, population, groups);
    }
    for (auto& requests : result.groups) {
        for (Request& request : requests) {
            if (params.speed_factor == 1.0) break;
            request.intended_start_ns = static_cast<Nanoseconds>(
                static_cast<double>(request.intended_start_ns) / params.speed_factor);
        }
        sort_requests(requests);
    }
    return result;
}

}  // namespace ckvsim::workload
