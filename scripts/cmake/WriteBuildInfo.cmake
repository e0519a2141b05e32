# Writes a header with version, commit and dirty flag; touched only when its content changes.
find_package(Git QUIET)
set(commit "unknown")
set(dirty 0)
if(GIT_FOUND)
  execute_process(COMMAND ${GIT_EXECUTABLE} rev-parse HEAD WORKING_DIRECTORY ${SOURCE_DIR}
    OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE status)
  if(NOT status EQUAL 0)
    set(commit "unknown")
  endif()
  execute_process(COMMAND ${GIT_EXECUTABLE} status --porcelain --untracked-files=no WORKING_DIRECTORY ${SOURCE_DIR}
    OUTPUT_VARIABLE changes ERROR_QUIET)
  if(NOT "${changes}" STREQUAL "")
    set(dirty 1)
  endif()
endif()
file(WRITE ${OUTPUT}.tmp "#pragma once
#define CKVSIM_VERSION \"${VERSION}\"
#define CKVSIM_COMMIT \"${commit}\"
#define CKVSIM_DIRTY ${dirty}
#define CKVSIM_BUILD_TYPE \"${BUILD_TYPE}\"
")
configure_file(${OUTPUT}.tmp ${OUTPUT} COPYONLY)
