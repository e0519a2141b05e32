// KuaiRand-Pure as text: video features, then stored histories, then labelled impressions.
#include <algorithm>
#include <utility>

#include "core/error.hpp"
#include "workload/dataset_builder.hpp"
#include "workload/import_options.hpp"
#include "workload/readers.hpp"
#include "workload/table_reader.hpp"

namespace ckvsim::workload {

namespace {

constexpr std::int64_t kStoredExposures = 50;  ///< the files keep a user's last 50 (their README)
constexpr std::int64_t kMaxTab = 255;          ///< 15 tabs exist; a guard against shifted columns
constexpr std::int64_t kMaxTimeMs = 4102444800000;  ///< 2100-01-01

class KuaiRandReader {
  public:
    KuaiRandReader(std::string folder, KuaiRandOptions const& options, ProgressCallback progress)
        : folder_(std::move(folder)), options_(options), progress_(std::move(progress)) {}

    Dataset run() {
        read_features();
        read_histories();
        read_impressions();
        builder_.add_feature(std::move(category_));
        builder_.add_feature(std::move(author_));
        Dataset dataset = builder_.build(shell(), {std::numeric_limits<std::int64_t>::min(),
                                                   options_.tune_from_ms, options_.test_from_ms});
        add_notes(dataset);
        finish_import(dataset, folder_, "tab");
        add_own_statistics(dataset);
        return dataset;
    }

  private:
    TableReader open(std::string const& name, TableDialect dialect,
                     std::vector<std::string> columns) const {
        return {find_table(folder_, name), dialect, std::move(columns), progress_};
    }
    Dataset shell() const {
        Dataset shell;
        shell.name = "kuairand-pure";
        shell.licence = "CC-BY-SA-4.0";
        shell.history_kind = "exposures, clicked or not (watch_seq, then the user's impressions)";
        shell.history_growth = HistoryGrowth::exposures;
        shell.context_vocabulary = largest_tab_ + 1;
        return shell;
    }
    void read_features() {
        enum : std::size_t { kVideo, kAuthor, kTag };
        auto table = open("video_features_basic_pure.csv", kCsv, {"video_id", "author_id", "tag"});
        while (table.next()) {
            std::int64_t const video = table.id(kVideo);
            if (!author_.values.emplace(video, table.id(kAuthor)).second)
                table.fail(kVideo, "repeats video " + std::to_string(video));
            std::int64_t const tag = first_tag(table, kTag);
            if (tag >= 0) category_.values.emplace(video, tag);
        }
        table.require_rows();
    }
    /// The first of comma-separated tags; -1 when there is none.
    static std::int64_t first_tag(TableReader const& table, std::size_t column) {
        std::string_view const tags = table.text(column);
        return tags.empty() ? -1 : table.parse_id(column, tags.substr(0, tags.find(',')));
    }
    void require_known(TableReader const& table, std::size_t column, std::int64_t video) const {
        if (author_.values.count(video) != 0) return;
        table.fail(column, "holds video " + std::to_string(video) +
                               ", which video_features_basic_pure.csv does not list");
    }
    void read_histories() {
        enum : std::size_t { kUser, kLength, kLastTime, kWatched };
        auto table =
            open("history.tsv", kTsv, {"user_id", "history_len", "last_time_ms", "watch_seq"});
        while (table.next()) {
            std::int64_t const user = table.id(kUser);
            if (!builder_.begin_history(user))
                table.fail(kUser, "repeats user " + std::to_string(user));
            std::int64_t stored = 0;
            table.each_integer(kWatched, 0, kMaxId, [&](std::int64_t video) {
                require_known(table, kWatched, video);
                builder_.add_history_item(video);
                ++stored;
            });
            std::int64_t const length = table.integer(kLength, 0, kMaxId);
            if (stored != std::min(length, kStoredExposures)) {
                table.fail(kWatched, "holds " + std::to_string(stored) +
                                         " videos, but history_len = " + std::to_string(length) +
                                         " asks for " +
                                         std::to_string(std::min(length, kStoredExposures)));
            }
            exposures_before_cut_ += length;
            if (length > stored) ++users_cut_;
            last_time_ms_.emplace(user, table.integer(kLastTime, 0, kMaxTimeMs));
        }
        table.require_rows();
    }
    void read_impressions() {
        enum : std::size_t { kUser, kVideo, kTime, kClick, kTab };
        auto table =
            open("impressions.tsv", kTsv, {"user_id", "video_id", "time_ms", "is_click", "tab"});
        while (table.next()) {
            LogRow row;
            row.user = table.id(kUser);
            row.item = table.id(kVideo);
            row.time_ms = table.integer(kTime, 1, kMaxTimeMs);
            row.label = table.flag(kClick);
            row.context = static_cast<std::uint32_t>(table.integer(kTab, 0, kMaxTab));
            require_known(table, kVideo, row.item);
            largest_tab_ = std::max(largest_tab_, row.context);
            auto const last = last_time_ms_.find(row.user);
            if (last == last_time_ms_.end()) {
                ++impressions_without_history_;
            } else if (row.time_ms <= last->second) {
                ++early_impressions_;
            }
            builder_.add_row(row);
        }
        table.require_rows();
    }
    void add_own_statistics(Dataset& dataset) const {
        auto const add = [&](char const* name, auto value) {
            dataset.statistics.emplace_back(name, static_cast<double>(value));
        };
        add("exposures before the cut to 50", exposures_before_cut_);
        add("users whose history was cut", users_cut_);
        add("users without a history row", dataset.original_user_ids.size() - last_time_ms_.size());
        add("impressions of users without a history row", impressions_without_history_);
        add("impressions at or before last_time_ms", early_impressions_);
    }
    void add_notes(Dataset& dataset) const {
        auto& notes = dataset.notes;
        notes.emplace_back(
            "stored histories hold at most the last 50 exposures, so long branches are barely "
            "exercised; the exposures before them are not in the data");
        notes.emplace_back(
            "stored events carry neither times nor actions nor labels; a history is what was "
            "shown, "
            "not what was liked");
        std::size_t const without = dataset.original_user_ids.size() - last_time_ms_.size();
        if (without > 0) {
            notes.push_back(std::to_string(without) + " users (" +
                            std::to_string(impressions_without_history_) +
                            " impressions) have no history row: nothing was shown to them before "
                            "the impressions begin; they are kept with an empty stored history");
        }
        if (early_impressions_ > 0) {
            notes.push_back(std::to_string(early_impressions_) +
                            " impressions are stamped at or before their user's last stored event; "
                            "they count as later (the source splits by calendar date)");
        }
    }

    std::string folder_;
    KuaiRandOptions options_;
    ProgressCallback progress_;
    DatasetBuilder builder_;
    ItemFeature category_{"category", {}};
    ItemFeature author_{"author", {}};
    std::unordered_map<std::int64_t, std::int64_t> last_time_ms_;  ///< users with a history row
    std::int64_t exposures_before_cut_ = 0;
    std::uint64_t users_cut_ = 0;
    std::uint64_t impressions_without_history_ = 0;
    std::uint64_t early_impressions_ = 0;
    std::uint32_t largest_tab_ = 0;
};

}  // namespace

Dataset read_kuairand_pure(std::string const& folder, KuaiRandOptions const& options,
                           ProgressCallback const& progress) {
    validate(options.tune_from_ms <= options.test_from_ms,
             "read_kuairand_pure: the test split cannot begin before the tune split");
    return KuaiRandReader(folder, options, progress).run();
}

Reader kuairand_reader() {
    return {
        "kuairand-pure",
        "history.tsv, impressions.tsv and video_features_basic_pure.csv, plain or .gz (a folder); "
        "history = exposures, label = is_click, context = tab",
        {{"split", "two instants: first of tune, first of test",
          "2022-04-29T00:00:00+08:00,2022-05-01T00:00:00+08:00"}},
        [](std::string const& path, ImportOptions const& options,
           ProgressCallback const& progress) {
            std::string const& text = options.at("split");
            std::size_t const comma = text.find(',');
            KuaiRandOptions own;
            if (comma == std::string::npos ||
                !parse_instant(std::string_view(text).substr(0, comma), own.tune_from_ms) ||
                !parse_instant(std::string_view(text).substr(comma + 1), own.test_from_ms) ||
                own.tune_from_ms > own.test_from_ms) {
                refuse_option("split", text,
                              "needs two instants like 2022-04-29T00:00:00+08:00, in order");
            }
            return read_kuairand_pure(path, own, progress);
        }};
}

}  // namespace ckvsim::workload
