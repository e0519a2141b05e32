#include "core/error.hpp"

#include <gtest/gtest.h>

namespace ckvsim {
namespace {

TEST(Errors, CarryTheirExitCode) {
    EXPECT_EQ(ConfigError("spec.json", {}).exit_code(), ExitCode::config);
    EXPECT_EQ(DataError("f", 1, "r").exit_code(), ExitCode::data);
    EXPECT_EQ(BackendError("m").exit_code(), ExitCode::backend);
    EXPECT_EQ(InternalError("m").exit_code(), ExitCode::internal);
    EXPECT_EQ(static_cast<int>(ExitCode::difference), 6);
}

TEST(DataError, NamesFileAndLineWhereThereIsOne) {
    EXPECT_STREQ(DataError("a.csv", 7, "is odd").what(), "a.csv:7: is odd");
    EXPECT_STREQ(DataError("a.ckvt", 0, "is odd").what(), "a.ckvt: is odd");
}

TEST(ConfigError, ListsEveryProblem) {
    ConfigError const error("spec.json", {{"/arms/0/m", "0 is not possible (1 .. 100)", "use 8"},
                                          {"", "is not an object", ""}});
    EXPECT_STREQ(error.what(),
                 "spec.json: 2 problems, nothing was run\n"
                 "  /arms/0/m: 0 is not possible (1 .. 100); use 8\n"
                 "  /: is not an object");
    ASSERT_EQ(error.problems().size(), 2U);
    EXPECT_EQ(error.problems()[0].pointer, "/arms/0/m");
    EXPECT_STREQ(ConfigError("s", {{"/a", "b", ""}}).what(),
                 "s: 1 problem, nothing was run\n  /a: b");
}

TEST(Validate, ThrowsOnlyWhenViolated) {
    EXPECT_NO_THROW(validate(true, "fine"));
    EXPECT_THROW(validate(false, "broken"), InternalError);
}

}  // namespace
}  // namespace ckvsim
