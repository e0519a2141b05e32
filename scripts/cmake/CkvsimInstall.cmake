# What `cmake --install` puts besides programs, libraries and headers, and the Debian package.
include(CMakePackageConfigHelpers)

configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/ckvsimConfig.cmake.in
  ${PROJECT_BINARY_DIR}/generated/ckvsimConfig.cmake INSTALL_DESTINATION lib/cmake/ckvsim)
# Interfaces may change with every minor version before 1.0.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/generated/ckvsimConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(EXPORT ckvsimTargets NAMESPACE ckvsim:: DESTINATION lib/cmake/ckvsim)
install(FILES ${PROJECT_BINARY_DIR}/generated/ckvsimConfig.cmake
  ${PROJECT_BINARY_DIR}/generated/ckvsimConfigVersion.cmake DESTINATION lib/cmake/ckvsim)

# Specs, platforms and schemas under the paths that specs use: run from share/ckvsim.
install(DIRECTORY workloads/specs workloads/platforms workloads/calibration workloads/schema
  DESTINATION share/ckvsim/workloads FILES_MATCHING PATTERN "*.json")
install(PROGRAMS workloads/examples/export_weights.py DESTINATION share/ckvsim/workloads/examples)
install(PROGRAMS scripts/plot scripts/report scripts/export scripts/convert_reczoo DESTINATION share/ckvsim/scripts)
install(DIRECTORY scripts/plotting scripts/reporting scripts/converting DESTINATION share/ckvsim/scripts PATTERN "__pycache__" EXCLUDE)
install(DIRECTORY sim/docs/ DESTINATION share/doc/ckvsim/docs FILES_MATCHING PATTERN "*.md")
install(FILES README.md CHANGELOG.md LICENSE NOTICE CITATION.cff DESTINATION share/doc/ckvsim)
install(FILES LICENSE DESTINATION share/doc/ckvsim RENAME copyright)  # the name that Debian looks for
install(FILES sim/docs/man/ckvsim.1 DESTINATION share/man/man1)
if(CKVSIM_HAVE_TORCH)
  install(FILES sim/docs/man/ckvsim-train.1 DESTINATION share/man/man1)
endif()

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME ckvsim)
set(CPACK_PACKAGE_VENDOR "ckvsim authors")
set(CPACK_PACKAGE_CONTACT "ckvsim authors <ckvsim@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "${PROJECT_DESCRIPTION}")
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)  # libraries of the programs, from dpkg-shlibdeps
# What scripts/report, plot, export and export_weights.py need.
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS
  "python3-h5py, python3-numpy, python3-matplotlib, python3-xxhash, python3-jinja2, libjs-chart.js")
if(CKVSIM_HAVE_MPI)
  set(CPACK_DEBIAN_PACKAGE_DEPENDS "openmpi-bin")
endif()
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
include(CPack)
