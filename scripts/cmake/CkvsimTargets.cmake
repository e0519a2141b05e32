# Helpers that declare one library per layer and one test program per name.

# What the project's own targets are compiled with; not exported, so that users keep their own warnings.
add_library(ckvsim_flags INTERFACE)
target_include_directories(ckvsim_flags INTERFACE ${PROJECT_SOURCE_DIR}/sim ${PROJECT_BINARY_DIR}/generated)
target_include_directories(ckvsim_flags SYSTEM INTERFACE ${RANDOM123_INCLUDE_DIR})
# GCC 12 reports overlapping copies in "literal" + string at -O3 where there are none (GCC bug 105651, fixed in 13).
target_compile_options(ckvsim_flags INTERFACE
  $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<CXX_COMPILER_ID:GNU>,$<VERSION_LESS:$<CXX_COMPILER_VERSION>,13>>:-Wno-restrict>)
set(warnings -Wall -Wextra -Wshadow -Wundef -Wnon-virtual-dtor $<$<BOOL:${CKVSIM_WARNINGS_AS_ERRORS}>:-Werror>)
target_compile_options(ckvsim_flags INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:${warnings}>")
if(CKVSIM_SANITIZE)
  # GCC 12 takes std::function inside std::regex for uninitialised once sanitizers instrument it.
  target_compile_options(ckvsim_flags INTERFACE -fsanitize=${CKVSIM_SANITIZE} -fno-omit-frame-pointer
    -fno-sanitize-recover=undefined -Wno-maybe-uninitialized)
  target_link_options(ckvsim_flags INTERFACE -fsanitize=${CKVSIM_SANITIZE})
endif()

# ckvsim_add_layer(NAME [DEPENDS layer...] [LINK target...] [EXCLUDE regex])
# Compiles every *.cpp of the calling folder into library ckvsim_NAME (alias ckvsim::NAME).
function(ckvsim_add_layer name)
  cmake_parse_arguments(arg "" "EXCLUDE" "DEPENDS;LINK" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp)
  if(arg_EXCLUDE)
    list(FILTER sources EXCLUDE REGEX "${arg_EXCLUDE}")
  endif()
  if(sources)
    add_library(ckvsim_${name} STATIC ${sources})
    set(scope PUBLIC)
  else()
    add_library(ckvsim_${name} INTERFACE)
    set(scope INTERFACE)
  endif()
  add_library(ckvsim::${name} ALIAS ckvsim_${name})
  target_link_libraries(ckvsim_${name} ${scope} $<BUILD_INTERFACE:ckvsim_flags> ${arg_LINK})
  foreach(dep IN LISTS arg_DEPENDS)
    target_link_libraries(ckvsim_${name} ${scope} ckvsim_${dep})
  endforeach()
  target_compile_features(ckvsim_${name} ${scope} cxx_std_20)
  # Programs (app) and the trainer are installed as programs only. The GPU's kernels are not installed: who links them needs
  # the CUDA runtime, and no installed program does.
  if(NOT name MATCHES "^(app|train.*|device_cuda)$")
    target_include_directories(ckvsim_${name} ${scope} $<INSTALL_INTERFACE:include/ckvsim>)
    set_target_properties(ckvsim_${name} PROPERTIES EXPORT_NAME ${name})
    install(TARGETS ckvsim_${name} EXPORT ckvsimTargets ARCHIVE DESTINATION lib)
    string(REPLACE "_" "/" folder ${name})  # device_cpu lives in device/cpu
    install(DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR}/ DESTINATION include/ckvsim/${folder}
      FILES_MATCHING PATTERN "*.hpp")
  endif()
endfunction()

# add_ckvsim_test(NAME n SOURCES f... LINK target... [NP 1 2 4] [LABELS l...] [TIMEOUT s])
# Without NP: a plain GoogleTest program. With NP: one CTest entry per number of MPI ranks, n.np<k>.
function(add_ckvsim_test)
  cmake_parse_arguments(arg "" "NAME;TIMEOUT" "SOURCES;LINK;NP;LABELS" ${ARGN})
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 300)
  endif()
  add_executable(${arg_NAME} ${arg_SOURCES})
  set(tested_main GTest::gtest_main)
  if(arg_NP)
    set(tested_main ckvsim_mpi_main)
  endif()
  target_link_libraries(${arg_NAME} PRIVATE ckvsim_flags ${arg_LINK} GTest::gmock GTest::gtest ${tested_main})
  target_include_directories(${arg_NAME} PRIVATE ${PROJECT_SOURCE_DIR}/tests/support)
  target_compile_definitions(${arg_NAME} PRIVATE CKVSIM_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  if(arg_NP)
    foreach(ranks IN LISTS arg_NP)
      set(test_name ${arg_NAME}.np${ranks})
      add_test(NAME ${test_name}
        COMMAND mpirun --bind-to none -n ${ranks} $<TARGET_FILE:${arg_NAME}>)
      set_tests_properties(${test_name} PROPERTIES PROCESSORS ${ranks} TIMEOUT ${arg_TIMEOUT}
        LABELS "mpi;${arg_LABELS}"
        ENVIRONMENT "OMPI_ALLOW_RUN_AS_ROOT=1;OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1;OMPI_MCA_rmaps_base_oversubscribe=1;OMP_NUM_THREADS=1")
    endforeach()
  else()
    add_test(NAME ${arg_NAME} COMMAND ${arg_NAME})
    set_tests_properties(${arg_NAME} PROPERTIES TIMEOUT ${arg_TIMEOUT} LABELS "${arg_LABELS}")
  endif()
endfunction()
