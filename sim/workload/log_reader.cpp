// Event logs in CSV or TSV with a column mapping: the generic format, and MovieLens as one mapping.
#include <algorithm>
#include <filesystem>
#include <limits>
#include <utility>

#include "core/error.hpp"
#include "workload/log_mapping.hpp"
#include "workload/text_values.hpp"

namespace ckvsim::workload {

namespace {

constexpr std::int64_t kMaxTimeMs = 4102444800000;  ///< 2100-01-01
constexpr std::size_t kMaxContexts = 65536;         ///< an embedding row each

class LogReader {
  public:
    LogReader(std::string const& path, LogPlan const& plan, ProgressCallback const& progress)
        : plan_(plan), table_(path, plan.mapping.dialect, wanted(plan.mapping), progress) {
        auto const& mapping = plan.mapping;
        std::size_t next = kLabel + 1;
        if (!mapping.category.empty()) category_ = next++;
        if (!mapping.context.empty()) context_ = next++;
        max_time_ = kMaxTimeMs * mapping.denominator / mapping.numerator_ms;
    }

    Dataset run(Dataset shell) {
        while (table_.next()) add_row();
        table_.require_rows();
        if (context_ != 0) builder_.map_contexts(contexts_.ranks());
        shell.context_vocabulary =
            static_cast<std::uint32_t>(std::max<std::size_t>(contexts_.size(), 1));
        if (category_ != 0) add_category();
        if (conflicts_ > 0) {
            shell.notes.push_back(std::to_string(conflicts_) +
                                  " rows give an item another category than its first row; the "
                                  "first one counts");
        }
        auto const at = plan_.split.instants_ms(builder_);
        constexpr auto kAll = std::numeric_limits<std::uint32_t>::max();
        Dataset dataset = builder_.build(std::move(shell), {at[0], at[1], at[2]},
                                         plan_.max_history == 0 ? kAll : plan_.max_history);
        finish_import(dataset, table_.path(), plan_.mapping.context, contexts_.ranked());
        return dataset;
    }

  private:
    enum : std::size_t { kUser, kItem, kTime, kLabel };

    static std::vector<std::string> wanted(LogMapping const& mapping) {
        std::vector<std::string> columns = {mapping.user, mapping.item, mapping.time,
                                            mapping.label.column};
        if (!mapping.category.empty()) columns.push_back(mapping.category);
        if (!mapping.context.empty()) columns.push_back(mapping.context);
        return columns;
    }
    void add_row() {
        LogRow row;
        row.user = table_.id(kUser);
        row.item = table_.id(kItem);
        row.time_ms = table_.integer(kTime, 0, max_time_) * plan_.mapping.numerator_ms /
                      plan_.mapping.denominator;
        row.label = label();
        if (context_ != 0) {
            row.context = contexts_.intern(table_.text(context_));
            if (contexts_.size() > kMaxContexts)
                table_.fail(context_, "has more than 65536 values; choose a coarser column");
        }
        std::uint32_t const item = builder_.add_row(row);
        if (category_ != 0) note_category(item);
    }
    std::uint8_t label() const {
        LabelRule const& rule = plan_.mapping.label;
        switch (rule.kind) {
            case LabelRule::Kind::flag:
                return table_.flag(kLabel);
            case LabelRule::Kind::at_least:
                return table_.real(kLabel) >= rule.threshold ? 1 : 0;
            case LabelRule::Kind::above:
                return table_.real(kLabel) > rule.threshold ? 1 : 0;
            case LabelRule::Kind::equal:
                return table_.real(kLabel) == rule.threshold ? 1 : 0;
        }
        throw InternalError("unknown label rule");
    }
    /// `item` is the builder's number; an empty field says nothing.
    void note_category(std::uint32_t item) {
        if (item >= category_of_.size()) category_of_.resize(item + std::size_t{1}, kNone);
        std::string_view const text = table_.text(category_);
        if (text.empty()) return;
        std::uint32_t const value = categories_.intern(text);
        if (category_of_[item] == kNone) category_of_[item] = value;
        if (category_of_[item] != value) ++conflicts_;
    }
    void add_category() {
        auto const ranks = categories_.ranks();
        ItemFeature feature{"category", {}};
        for (std::uint32_t item = 0; item < category_of_.size(); ++item) {
            if (category_of_[item] != kNone)
                feature.values.emplace(builder_.item_id(item), ranks[category_of_[item]]);
        }
        builder_.add_feature(std::move(feature));
    }

    static constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();
    LogPlan const& plan_;
    TableReader table_;
    DatasetBuilder builder_;
    TextValues contexts_;
    TextValues categories_;
    std::vector<std::uint32_t> category_of_;  ///< by the builder's item number
    std::uint64_t conflicts_ = 0;
    std::size_t category_ = 0;  ///< column; 0 = none
    std::size_t context_ = 0;
    std::int64_t max_time_ = 0;
};

ReaderOption split_option() {
    return {
        "split",
        "three boundaries: end of the stored histories, first of tune, first of test; shares of "
        "the rows in time order (0.5,0.8,0.9) or instants (2016-01-01,...)",
        "0.5,0.8,0.9"};
}
ReaderOption history_option() {
    return {"history", "which events are history: all or positive", "all"};
}
ReaderOption max_history_option() {
    return {"max-history", "stored events kept per user, the newest; 0 = all", "0"};
}

LogPlan make_plan(LogMapping mapping, ImportOptions const& options) {
    auto const max = parse_count("max-history", options.at("max-history"), 0, 1U << 30);
    return {std::move(mapping), SplitRule("split", options.at("split"), 3),
            static_cast<std::uint32_t>(max)};
}

Dataset make_shell(std::string name, std::string licence, std::string const& event,
                   ImportOptions const& options) {
    Dataset shell;
    shell.name = std::move(name);
    shell.licence = std::move(licence);
    shell.history_growth = parse_history("history", options.at("history"));
    bool const all = shell.history_growth == HistoryGrowth::exposures;
    shell.history_kind = (all ? "every " : "every positive ") + event;
    if (options.at("max-history") != "0") {
        shell.notes.push_back("stored histories are cut to their last " +
                              options.at("max-history") + " events");
    }
    return shell;
}

Dataset read_movielens(std::string const& path, ImportOptions const& options,
                       ProgressCallback const& progress) {
    LogMapping mapping =
        parse_columns("positive", "user=userId,item=movieId,time=timestamp,label=rating" +
                                      options.at("positive"));
    mapping.dialect = kCsv;
    set_time_unit(mapping, "time-unit", "s");
    Dataset shell = make_shell("movielens", "GroupLens (research use)", "rating", options);
    shell.notes.emplace_back(
        "labels are stated preferences (rating" + options.at("positive") +
        "), not clicks: every item was chosen by the user, nothing was merely shown");
    shell.notes.emplace_back("ratings come in bursts: the order inside a burst means little");
    std::error_code unreadable;  // reported when the file is opened
    bool const folder = std::filesystem::is_directory(path, unreadable);
    std::string const file = folder ? find_table(path, "ratings.csv") : path;
    return read_log(file, make_plan(std::move(mapping), options), std::move(shell), progress);
}

Dataset read_generic(std::string const& path, ImportOptions const& options,
                     ProgressCallback const& progress) {
    if (options.at("columns").empty())
        throw Error(ExitCode::usage,
                    "format log needs --columns, for example "
                    "user=user_id,item=item_id,time=timestamp,label=click");
    LogMapping mapping = parse_columns("columns", options.at("columns"));
    set_delimiter(mapping, "delimiter", options.at("delimiter"));
    set_time_unit(mapping, "time-unit", options.at("time-unit"));
    Dataset shell = make_shell(options.at("name"), options.at("licence"), "row", options);
    return read_log(path, make_plan(std::move(mapping), options), std::move(shell), progress);
}

}  // namespace

Dataset read_log(std::string const& path, LogPlan const& plan, Dataset shell,
                 ProgressCallback const& progress) {
    return LogReader(path, plan, progress).run(std::move(shell));
}

Reader movielens_reader() {
    return {"movielens",
            "ratings.csv[.gz] (a folder or the file); history = ratings, label = rating>=4",
            {{"positive", "which ratings are positive: >=N, >N or ==N", ">=4"},
             split_option(),
             history_option(),
             max_history_option()},
            read_movielens};
}

Reader log_reader() {
    return {"log",
            "any CSV or TSV event log with a header row, plain or .gz (a file)",
            {{"columns",
              "user=COLUMN,item=COLUMN,time=COLUMN,label=COLUMN or COLUMN>=N, then optional "
              "category=COLUMN (of the item), context=COLUMN (of the request)",
              ""},
             {"delimiter", "comma, tab, semicolon, pipe or one character", "comma"},
             {"time-unit", "s, ms or us since 1970 (UTC)", "s"},
             split_option(),
             history_option(),
             max_history_option(),
             {"name", "name of the dataset in reports", "log"},
             {"licence", "licence of the data, shown in reports", "not stated"}},
            read_generic};
}

}  // namespace ckvsim::workload
