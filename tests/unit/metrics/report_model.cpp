#include "metrics/report_model.hpp"

#include <gtest/gtest.h>

#include <regex>
#include <set>

#include "core/error.hpp"

namespace ckvsim::metrics {
namespace {

TEST(ReportModel, RegistryIsConsistent) {
    std::set<std::string> names;
    std::regex const snake("[a-z][a-z0-9_]*");
    for (auto const& schema : table_schemas()) {
        EXPECT_TRUE(names.insert(schema.name).second) << schema.name;
        EXPECT_TRUE(std::regex_match(schema.name, snake)) << schema.name;
        EXPECT_FALSE(schema.meaning.empty()) << schema.name;
        std::set<std::string> columns;
        std::size_t keys = 0;
        for (auto const& column : schema.columns) {
            auto const where = schema.name + "." + column.name;
            EXPECT_TRUE(columns.insert(column.name).second) << where;
            EXPECT_TRUE(std::regex_match(column.name, snake)) << where;
            EXPECT_FALSE(column.unit.empty()) << where;
            EXPECT_FALSE(column.meaning.empty()) << where;
            EXPECT_TRUE(!column.name.ends_with("_ns") || column.unit == "ns") << where;
            EXPECT_TRUE(!column.name.ends_with("_bytes") || column.unit == "bytes") << where;
            keys += column.provenance == Provenance::key ? 1 : 0;
            if (schema.wall_clock && column.provenance != Provenance::key) {
                EXPECT_LT(column.diff_tolerance, 0.0) << where;
            }
        }
        EXPECT_GE(keys, 1U) << schema.name;
    }
    EXPECT_THROW(table_schema("no_such_table"), InternalError);
}

TEST(ReportModel, RowsMustFitTheSchema) {
    Table table("popularity");  // rank int, share real, cumulative real
    table.add_row({std::int64_t{1}, 0.5, std::int64_t{1}});
    ASSERT_EQ(table.rows().size(), 1U);
    EXPECT_EQ(std::get<double>(table.rows()[0][2]), 1.0);  // integers are accepted for real columns
    EXPECT_THROW(table.add_row({std::int64_t{1}, 0.5}), InternalError);
    EXPECT_THROW(table.add_row({1.0, 0.5, 0.5}), InternalError);
    EXPECT_THROW(table.add_row({std::int64_t{1}, std::string("x"), 0.5}), InternalError);
    EXPECT_EQ(table.rows().size(), 1U);
}

TEST(ReportModel, TablesAreCreatedOnFirstUse) {
    Report report;
    report.table("oracle").add_row({std::string("auc"), 0.75});
    EXPECT_EQ(report.table("oracle").rows().size(), 1U);
    EXPECT_EQ(report.tables.size(), 1U);
    EXPECT_THROW(report.table("no_such_table"), InternalError);
}

}  // namespace
}  // namespace ckvsim::metrics
