// Files of checksummed sections: what a run keeps so that it can go on after it was killed. A file
// begins with a key (of the study and the program); a section has a name of three numbers, a
// digest of its layout, its size and a checksum of every byte, and is read only after the checksum
// was found right. A file that was cut short keeps its whole sections.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/archive.hpp"

namespace ckvsim {

/// What a section holds: kinds and numbers are the writer's.
struct SectionName {
    std::uint64_t kind = 0;
    std::uint64_t first = 0;
    std::uint64_t second = 0;
    std::uint64_t layout = 0;  ///< layout_of() the saved object

    bool operator==(SectionName const&) const = default;
};

/// Writes `<path>.partial` and renames it: the file appears whole or not at all. BackendError with
/// the operating system's reason, for example on a full disk; nothing is left then.
class SectionWriter final : private ByteSink {
  public:
    SectionWriter(std::string const& path, std::uint64_t key);
    ~SectionWriter() override;
    SectionWriter(SectionWriter const&) = delete;
    SectionWriter& operator=(SectionWriter const&) = delete;

    /// Where the section's bytes go until end().
    ByteSink& begin(SectionName const& name);
    void end();
    /// Flushes to the device and renames.
    void commit();
    /// Of all sections, in order; the same as SectionFile::digest() of the file.
    [[nodiscard]] std::uint64_t digest() const { return digest_; }
    [[nodiscard]] std::uint64_t bytes() const { return offset_; }

  private:
    void write(std::span<std::byte const> bytes) override;
    void flush();
    void write_at(void const* data, std::size_t bytes, std::uint64_t offset);

    std::string path_;
    int descriptor_ = -1;
    bool committed_ = false;
    SectionName name_;
    std::uint64_t start_ = 0;  ///< of the open section's header
    std::uint64_t offset_ = 0;
    std::uint64_t checksum_ = 0;
    std::uint64_t digest_ = 0;
    std::vector<std::byte> buffer_;
};

/// Appends whole sections to a file that stays open. A section is there or is not: one that could
/// not be written is cut off again.
class SectionJournal {
  public:
    /// Creates the file, or empties it.
    SectionJournal(std::string path, std::uint64_t key);
    ~SectionJournal();
    SectionJournal(SectionJournal const&) = delete;
    SectionJournal& operator=(SectionJournal const&) = delete;
    void append(SectionName const& name, std::span<std::byte const> bytes);
    /// To the device.
    void flush();

  private:
    std::string path_;
    int descriptor_ = -1;
    std::uint64_t good_bytes_ = 0;
};

/// Reads such a file. DataError when it is none, has another key or a broken section is asked for.
class SectionFile {
  public:
    struct Entry {
        SectionName name;
        std::uint64_t offset = 0;
        std::uint64_t bytes = 0;
        std::uint64_t checksum = 0;
    };
    SectionFile(std::string path, std::uint64_t key);
    ~SectionFile();
    SectionFile(SectionFile const&) = delete;
    SectionFile& operator=(SectionFile const&) = delete;

    [[nodiscard]] std::vector<Entry> const& entries() const { return entries_; }
    /// Why the file ends before its last section does; empty when it does not.
    [[nodiscard]] std::string const& torn() const { return torn_; }
    [[nodiscard]] std::uint64_t digest() const { return digest_; }
    [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
    /// The section's content, its checksum verified. DataError when there is none of that name.
    [[nodiscard]] std::unique_ptr<ByteSource> open(SectionName const& name) const;
    [[nodiscard]] std::unique_ptr<ByteSource> open(Entry const& entry) const;

  private:
    void scan();
    std::string path_;
    int descriptor_ = -1;
    std::uint64_t bytes_ = 0;
    std::uint64_t digest_ = 0;
    std::vector<Entry> entries_;
    std::string torn_;
};

/// Flushes a folder's entries to the device. Errors are ignored: some file systems cannot.
void flush_folder(std::string const& folder);

}  // namespace ckvsim
