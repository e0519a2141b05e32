// How the columns of a delimited event log map to user, item, time, label, category and context.
#pragma once

#include <cstdint>
#include <string>

#include "workload/dataset.hpp"
#include "workload/import_options.hpp"
#include "workload/readers.hpp"
#include "workload/table_reader.hpp"

namespace ckvsim::workload {

/// A label is a 0/1 column or a comparison of a number column with a constant.
struct LabelRule {
    enum class Kind : std::uint8_t { flag, at_least, above, equal };
    std::string column;
    Kind kind = Kind::flag;
    double threshold = 0.0;
};

/// Which columns of a log mean what.
struct LogMapping {
    std::string user;
    std::string item;
    std::string time;
    LabelRule label;
    std::string category;  ///< empty = none
    std::string context;   ///< empty = none
    TableDialect dialect;
    std::int64_t numerator_ms = 1;  ///< ms = time * numerator / denominator, rounded down
    std::int64_t denominator = 1;
};

/// "user=userId,item=movieId,time=timestamp,label=rating>=4[,category=..][,context=..]".
/// Comparisons:
/// >=, >, ==. Throws Error(ExitCode::usage).
LogMapping parse_columns(std::string const& option, std::string const& text);
/// Sets the dialect: "comma", "tab", "semicolon", "pipe" or one printable character.
void set_delimiter(LogMapping& mapping, std::string const& option, std::string const& text);
/// Sets the unit: "s", "ms" or "us".
void set_time_unit(LogMapping& mapping, std::string const& option, std::string const& text);

/// What happens to the rows of a log.
struct LogPlan {
    LogMapping mapping;
    SplitRule
        split;  ///< three boundaries: end of the stored histories, first of tune, first of test
    std::uint32_t max_history = 0;  ///< stored events kept per user, the newest; 0 = all
};

/// Reads one file. `shell` brings name, licence, history kind and history growth. Rows may come in
/// any order; rows of one instant keep the file's order. Memory: 24 bytes a row, then 32 while the
/// dataset is built (42 with the dataset itself). Throws DataError.
Dataset read_log(std::string const& path, LogPlan const& plan, Dataset shell,
                 ProgressCallback const& progress);

}  // namespace ckvsim::workload
