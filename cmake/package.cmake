# For users of inference libraries: find_package(netc) and pkg-config, both relative to where they are installed.
include(CMakePackageConfigHelpers)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/netc-config-version.cmake COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
configure_file(cmake/netc.pc.in netc.pc @ONLY)
install(FILES cmake/netc-config.cmake ${CMAKE_BINARY_DIR}/netc-config-version.cmake DESTINATION lib/cmake/netc)
install(FILES ${CMAKE_BINARY_DIR}/netc.pc DESTINATION lib/pkgconfig)
