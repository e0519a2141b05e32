// EB-NeRD as text: clicked articles per user, then impressions with the articles in view.
#include <algorithm>
#include <limits>
#include <unordered_map>
#include <utility>

#include "core/error.hpp"
#include "workload/id_table.hpp"
#include "workload/import_options.hpp"
#include "workload/readers.hpp"
#include "workload/table_reader.hpp"

namespace ckvsim::workload {

namespace {

constexpr std::int64_t kMaxTimeS = 4102444800;  ///< 2100-01-01
constexpr std::int64_t kMaxDevice = 255;        ///< 3 kinds exist; a guard against shifted columns

class EbnerdReader {
  public:
    EbnerdReader(std::string folder, ImportOptions const& options, ProgressCallback progress)
        : folder_(std::move(folder)),
          split_("split", options.at("split"), 2),
          progress_(std::move(progress)) {}

    Dataset run() {
        read_histories();
        read_behaviors();
        auto const at = split_.instants_ms(builder_);
        Dataset shell;
        shell.name = "ebnerd";
        shell.licence = "Ekstra Bladet terms of the bundle (the sample: MIT)";
        shell.history_kind = "clicked articles";
        shell.history_growth = HistoryGrowth::positives;
        shell.context_vocabulary = largest_device_ + 1;
        if (early_impressions_ > 0) {
            shell.notes.push_back(std::to_string(early_impressions_) +
                                  " impressions are not later than their user's last stored click");
        }
        Dataset dataset = builder_.build(std::move(shell),
                                         {std::numeric_limits<std::int64_t>::min(), at[0], at[1]});
        finish_import(dataset, folder_, "device_type");
        return dataset;
    }

  private:
    void read_histories() {
        enum : std::size_t { kUser, kArticles, kTimes };
        TableReader table(find_table(folder_, "history.tsv"), kTsv,
                          {"user_id", "article_ids", "times_s"}, progress_);
        while (table.next()) {
            std::int64_t const user = table.id(kUser);
            if (!builder_.begin_history(user))
                table.fail(kUser, "repeats user " + std::to_string(user));
            std::size_t articles = 0;
            table.each_integer(kArticles, 0, kMaxId, [&](std::int64_t article) {
                builder_.add_history_item(article);
                ++articles;
            });
            std::size_t times = 0;
            std::int64_t last = 0;
            table.each_integer(kTimes, 0, kMaxTimeS, [&](std::int64_t time_s) {
                if (time_s < last)
                    table.fail(kTimes,
                               "is not in ascending order at entry " + std::to_string(times + 1));
                last = time_s;
                ++times;
            });
            if (articles != times) {
                table.fail(kTimes, "holds " + std::to_string(times) + " entries, article_ids " +
                                       std::to_string(articles));
            }
            last_click_s_.emplace(user, last);
        }
        table.require_rows();
    }
    void read_behaviors() {
        enum : std::size_t { kImpression, kUser, kTime, kDevice, kInView, kClicked };
        TableReader table(
            find_table(folder_, "behaviors.tsv"), kTsv,
            {"impression_id", "user_id", "time_s", "device_type", "inview", "clicked"}, progress_);
        IdTable impressions;
        while (table.next()) {
            std::int64_t const impression = table.id(kImpression);
            if (impressions.find(impression) != IdTable::kAbsent)
                table.fail(kImpression, "repeats impression " + std::to_string(impression));
            impressions.intern(impression);
            LogRow row;
            row.user = table.id(kUser);
            row.time_ms = 1000 * table.integer(kTime, 0, kMaxTimeS);
            row.context = static_cast<std::uint32_t>(table.integer(kDevice, 0, kMaxDevice));
            largest_device_ = std::max(largest_device_, row.context);
            auto const last = last_click_s_.find(row.user);
            if (last != last_click_s_.end() && row.time_ms <= 1000 * last->second)
                ++early_impressions_;
            read_list(table, kInView, in_view_);
            read_list(table, kClicked, clicked_);
            add_candidates(table, kInView, kClicked, row);
        }
        table.require_rows();
    }
    static void read_list(TableReader const& table, std::size_t column,
                          std::vector<std::int64_t>& out) {
        out.clear();
        table.each_integer(column, 0, kMaxId,
                           [&](std::int64_t article) { out.push_back(article); });
    }
    void add_candidates(TableReader const& table, std::size_t in_view, std::size_t clicked,
                        LogRow row) {
        if (in_view_.empty()) table.fail(in_view, "is empty");
        for (std::int64_t const article : clicked_) {
            if (std::find(in_view_.begin(), in_view_.end(), article) == in_view_.end())
                table.fail(clicked,
                           "holds article " + std::to_string(article) + ", which was not in view");
        }
        for (std::int64_t const article : in_view_) {
            row.item = article;
            row.label = std::find(clicked_.begin(), clicked_.end(), article) != clicked_.end();
            builder_.add_row(row);
        }
    }

    std::string folder_;
    SplitRule split_;
    ProgressCallback progress_;
    DatasetBuilder builder_;
    std::unordered_map<std::int64_t, std::int64_t> last_click_s_;
    std::vector<std::int64_t> in_view_;
    std::vector<std::int64_t> clicked_;
    std::uint64_t early_impressions_ = 0;
    std::uint32_t largest_device_ = 0;
};

}  // namespace

Reader ebnerd_reader() {
    return {
        "ebnerd",
        "history.tsv[.gz] and behaviors.tsv[.gz] (a folder); history = clicked articles, "
        "label = clicked among those in view, context = device_type",
        {{"split",
          "two boundaries: first of tune, first of test; shares of the candidates in time order "
          "or instants",
          "0.6,0.8"}},
        [](std::string const& path, ImportOptions const& options,
           ProgressCallback const& progress) {
            return EbnerdReader(path, options, progress).run();
        }};
}

}  // namespace ckvsim::workload
