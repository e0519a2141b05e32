#include <gtest/gtest.h>

#include "core/atomic_file.hpp"
#include "metrics/report_model.hpp"
#include "report/report_file.hpp"

namespace ckvsim::report {
namespace {

TEST(SchemaDocument, TheCommittedPageIsTheGeneratedOne) {
    auto const committed = read_file(std::string(CKVSIM_SOURCE_DIR) + "/sim/docs/schema.md");
    EXPECT_TRUE(committed == schema_markdown())
        << "sim/docs/schema.md is out of date. run: ckvsim schema > sim/docs/schema.md";
}

TEST(SchemaDocument, NamesEveryTableAndColumn) {
    auto const text = schema_markdown();
    for (auto const& schema : metrics::table_schemas()) {
        auto const section = text.find("\n### " + schema.name + "\n");
        ASSERT_NE(section, std::string::npos) << schema.name;
        auto const end = std::min(text.find("\n### ", section + 1), text.size());
        auto const body = text.substr(section, end - section);
        for (auto const& column : schema.columns) {
            auto const row = body.find("\n| " + column.name + " | ");
            ASSERT_NE(row, std::string::npos) << schema.name << "." << column.name;
            auto const line = body.substr(row + 1, body.find('\n', row + 1) - row - 1);
            EXPECT_NE(line.find("| " + metrics::to_string(column.provenance) + " |"),
                      std::string::npos)
                << line;
        }
    }
}

}  // namespace
}  // namespace ckvsim::report
