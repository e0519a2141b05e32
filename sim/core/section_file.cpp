#include "core/section_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

#include "core/error.hpp"
#include "core/hash.hpp"

namespace ckvsim {

namespace {

constexpr std::size_t kChunk = std::size_t{1} << 20;  ///< checksums run over pieces of this size
constexpr char kMagic[8] = {'C', 'K', 'V', 'S', 'E', 'C', '0', '1'};
constexpr std::uint64_t kSectionMark = 0x4E4F49544345534BULL;

struct FileHeader {
    char magic[8];
    std::uint64_t key = 0;
    std::uint64_t checksum = 0;
};
struct SectionHeader {
    std::uint64_t mark = kSectionMark;
    SectionName name;
    std::uint64_t bytes = 0;
    std::uint64_t checksum = 0;
    std::uint64_t header_checksum = 0;
};

FileHeader file_header(std::uint64_t key) {
    FileHeader header{};
    std::memcpy(header.magic, kMagic, sizeof kMagic);
    header.key = key;
    header.checksum = hash_bytes(&header, offsetof(FileHeader, checksum));
    return header;
}
std::uint64_t checksum_of(SectionHeader const& header) {
    return hash_bytes(&header, offsetof(SectionHeader, header_checksum));
}
std::uint64_t checksum_of(std::span<std::byte const> bytes) {
    std::uint64_t checksum = 0;
    for (std::size_t at = 0; at < bytes.size(); at += kChunk)
        checksum = hash_bytes(bytes.data() + at, std::min(kChunk, bytes.size() - at), checksum);
    return checksum;
}

std::string reason() { return std::string(" (") + std::strerror(errno) + ")"; }

/// False on an error or a short write; errno says why.
bool put_all(int descriptor, void const* data, std::size_t bytes, std::uint64_t offset) {
    auto const* from = static_cast<char const*>(data);
    while (bytes > 0) {
        ssize_t const wrote = ::pwrite(descriptor, from, bytes, static_cast<off_t>(offset));
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote <= 0) return false;
        from += wrote;
        bytes -= static_cast<std::size_t>(wrote);
        offset += static_cast<std::uint64_t>(wrote);
    }
    return true;
}
bool get_all(int descriptor, void* data, std::size_t bytes, std::uint64_t offset) {
    auto* to = static_cast<char*>(data);
    while (bytes > 0) {
        ssize_t const got = ::pread(descriptor, to, bytes, static_cast<off_t>(offset));
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        to += got;
        bytes -= static_cast<std::size_t>(got);
        offset += static_cast<std::uint64_t>(got);
    }
    return true;
}

/// A verified section, read in pieces.
class FileSource final : public ByteSource {
  public:
    FileSource(int descriptor, std::string path, std::uint64_t offset, std::uint64_t bytes)
        : descriptor_(descriptor), path_(std::move(path)), offset_(offset), left_(bytes) {}
    void read(std::span<std::byte> out) override {
        if (out.size() > remaining()) refuse("a section ends in the middle of a value");
        while (!out.empty()) {
            if (at_ == buffer_.size()) refill();
            std::size_t const some = std::min(out.size(), buffer_.size() - at_);
            std::memcpy(out.data(), buffer_.data() + at_, some);
            at_ += some;
            out = out.subspan(some);
        }
    }
    [[nodiscard]] std::uint64_t remaining() const override {
        return left_ + (buffer_.size() - at_);
    }
    [[nodiscard]] std::string name() const override { return path_; }

  private:
    void refill() {
        buffer_.resize(static_cast<std::size_t>(std::min<std::uint64_t>(left_, kChunk)));
        at_ = 0;
        if (!get_all(descriptor_, buffer_.data(), buffer_.size(), offset_))
            refuse("cannot be read, or was changed meanwhile");
        offset_ += buffer_.size();
        left_ -= buffer_.size();
    }
    int descriptor_;
    std::string path_;
    std::uint64_t offset_;
    std::uint64_t left_;
    std::vector<std::byte> buffer_;
    std::size_t at_ = 0;
};

}  // namespace

void flush_folder(std::string const& folder) {
    int const descriptor =
        ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) return;
    (void)::fsync(descriptor);
    ::close(descriptor);
}

SectionWriter::SectionWriter(std::string const& path, std::uint64_t key) : path_(path) {
    auto const partial = path_ + ".partial";
    descriptor_ = ::open(partial.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (descriptor_ < 0) throw BackendError(partial + ": cannot create" + reason());
    auto const header = file_header(key);
    write_at(&header, sizeof header, 0);
    offset_ = sizeof header;
    buffer_.reserve(kChunk);
}

SectionWriter::~SectionWriter() {
    if (descriptor_ >= 0) ::close(descriptor_);
    if (!committed_) ::unlink((path_ + ".partial").c_str());
}

void SectionWriter::write_at(void const* data, std::size_t bytes, std::uint64_t offset) {
    if (!put_all(descriptor_, data, bytes, offset))
        throw BackendError(path_ + ".partial: cannot write" + reason());
}

ByteSink& SectionWriter::begin(SectionName const& name) {
    name_ = name;
    start_ = offset_;
    offset_ += sizeof(SectionHeader);
    checksum_ = 0;
    return *this;
}

void SectionWriter::write(std::span<std::byte const> bytes) {
    while (!bytes.empty()) {
        std::size_t const some = std::min(bytes.size(), kChunk - buffer_.size());
        buffer_.insert(buffer_.end(), bytes.begin(),
                       bytes.begin() + static_cast<std::ptrdiff_t>(some));
        if (buffer_.size() == kChunk) flush();
        bytes = bytes.subspan(some);
    }
}

void SectionWriter::flush() {
    if (buffer_.empty()) return;
    checksum_ = hash_bytes(buffer_.data(), buffer_.size(), checksum_);
    write_at(buffer_.data(), buffer_.size(), offset_);
    offset_ += buffer_.size();
    buffer_.clear();
}

void SectionWriter::end() {
    flush();
    SectionHeader header;
    header.name = name_;
    header.bytes = offset_ - start_ - sizeof header;
    header.checksum = checksum_;
    header.header_checksum = checksum_of(header);
    write_at(&header, sizeof header, start_);
    digest_ = hash_bytes(&header, sizeof header, digest_);
}

void SectionWriter::commit() {
    auto const partial = path_ + ".partial";
    if (::fsync(descriptor_) != 0) throw BackendError(partial + ": cannot flush" + reason());
    if (::rename(partial.c_str(), path_.c_str()) != 0)
        throw BackendError(partial + ": cannot rename to its final name" + reason());
    committed_ = true;
    flush_folder(std::filesystem::path(path_).parent_path().string());
}

SectionJournal::SectionJournal(std::string path, std::uint64_t key) : path_(std::move(path)) {
    descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (descriptor_ < 0) throw BackendError(path_ + ": cannot create" + reason());
    auto const header = file_header(key);
    if (!put_all(descriptor_, &header, sizeof header, 0)) {
        auto const why = reason();
        ::close(descriptor_);
        ::unlink(path_.c_str());
        throw BackendError(path_ + ": cannot write" + why);
    }
    good_bytes_ = sizeof header;
}

SectionJournal::~SectionJournal() {
    if (descriptor_ >= 0) ::close(descriptor_);
}

void SectionJournal::append(SectionName const& name, std::span<std::byte const> bytes) {
    SectionHeader header;
    header.name = name;
    header.bytes = bytes.size();
    header.checksum = checksum_of(bytes);
    header.header_checksum = checksum_of(header);
    auto const* head = reinterpret_cast<std::byte const*>(&header);
    std::vector<std::byte> all(head, head + sizeof header);
    all.insert(all.end(), bytes.begin(), bytes.end());
    if (!put_all(descriptor_, all.data(), all.size(), good_bytes_)) {
        auto const why = reason();
        (void)!::ftruncate(descriptor_, static_cast<off_t>(good_bytes_));
        throw BackendError(path_ + ": cannot write" + why);
    }
    good_bytes_ += all.size();
}

void SectionJournal::flush() {
    if (::fdatasync(descriptor_) != 0) throw BackendError(path_ + ": cannot flush" + reason());
}

SectionFile::SectionFile(std::string path, std::uint64_t key) : path_(std::move(path)) {
    // O_NONBLOCK: opening a FIFO must not wait for a writer.
    descriptor_ = ::open(path_.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (descriptor_ < 0) throw DataError(path_, 0, "cannot open" + reason());
    try {
        struct stat info {};
        if (::fstat(descriptor_, &info) != 0 || !S_ISREG(info.st_mode))
            throw DataError(path_, 0, "is not a regular file");
        bytes_ = static_cast<std::uint64_t>(info.st_size);
        FileHeader header{};
        if (bytes_ < sizeof header || !get_all(descriptor_, &header, sizeof header, 0))
            throw DataError(path_, 0, "is shorter than its header: it was truncated");
        auto const expected = file_header(header.key);
        if (std::memcmp(&expected, &header, sizeof header) != 0)
            throw DataError(path_, 0, "is not a checkpoint of ckvsim, or its beginning is damaged");
        if (header.key != key)
            throw DataError(path_, 0, "belongs to another study or to another build of ckvsim");
        scan();
    } catch (...) {
        ::close(descriptor_);
        throw;
    }
}

SectionFile::~SectionFile() { ::close(descriptor_); }

void SectionFile::scan() {
    std::uint64_t at = sizeof(FileHeader);
    while (at < bytes_) {
        SectionHeader header;
        if (bytes_ - at < sizeof header || !get_all(descriptor_, &header, sizeof header, at)) {
            torn_ = "ends in the middle of a section's header: it was truncated";
            return;
        }
        if (header.mark != kSectionMark || header.header_checksum != checksum_of(header)) {
            torn_ = "has a damaged section header at byte " + std::to_string(at);
            return;
        }
        if (header.bytes > bytes_ - at - sizeof header) {
            torn_ = "ends in the middle of a section: it was truncated";
            return;
        }
        entries_.push_back({header.name, at + sizeof header, header.bytes, header.checksum});
        digest_ = hash_bytes(&header, sizeof header, digest_);
        at += sizeof header + header.bytes;
    }
}

std::unique_ptr<ByteSource> SectionFile::open(SectionName const& name) const {
    for (auto const& entry : entries_) {
        if (entry.name.kind != name.kind || entry.name.first != name.first ||
            entry.name.second != name.second)
            continue;
        if (entry.name.layout != name.layout)
            throw DataError(path_, 0, "holds state of another layout: another build wrote it");
        return open(entry);
    }
    throw DataError(path_, 0, torn_.empty() ? "lacks what it should hold" : torn_);
}

std::unique_ptr<ByteSource> SectionFile::open(Entry const& entry) const {
    std::vector<std::byte> chunk;
    std::uint64_t checksum = 0;
    for (std::uint64_t done = 0; done < entry.bytes; done += chunk.size()) {
        chunk.resize(static_cast<std::size_t>(std::min<std::uint64_t>(kChunk, entry.bytes - done)));
        if (!get_all(descriptor_, chunk.data(), chunk.size(), entry.offset + done))
            throw DataError(path_, 0, "cannot be read" + reason());
        checksum = hash_bytes(chunk.data(), chunk.size(), checksum);
    }
    if (checksum != entry.checksum)
        throw DataError(path_, 0, "is damaged: a section's checksum is wrong");
    return std::make_unique<FileSource>(descriptor_, path_, entry.offset, entry.bytes);
}

}  // namespace ckvsim
