# The same archive for the other machines that netc makes code for, where Debian's cross compiler is installed: one command per
# source. Without sanitizers, whatever netc itself is built with; products and sums are not contracted, as in runtime/.
get_target_property(cli_sources netc_cli SOURCES)
get_target_property(runtime_sources netc_runtime SOURCES)
list(FILTER cli_sources EXCLUDE REGEX "/png.c$")
set(NETC_CROSS_SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/main.c ${CMAKE_CURRENT_SOURCE_DIR}/level.c ${CMAKE_SOURCE_DIR}/ir/nearest.c
    ${cli_sources} ${runtime_sources})
set(NETC_CROSS_FLAGS -std=gnu11 -O2 -fPIE -ffp-contract=off -ffunction-sections -fdata-sections -D_GNU_SOURCE -DNETC_VERSION="${PROJECT_VERSION}"
    -I${CMAKE_SOURCE_DIR} -Wall -Wextra -Wno-missing-field-initializers)
if(NETC_WERROR)
  list(APPEND NETC_CROSS_FLAGS -Werror)
endif()

function(netc_cross_archive target)
  find_program(NETC_CC_${target} ${target}-gcc)
  find_program(NETC_AR_${target} ${target}-ar)
  if(NOT NETC_CC_${target} OR NOT NETC_AR_${target})
    message(STATUS "No ${target}-gcc: netc build makes only objects for ${target}")
    return()
  endif()
  # PNG where Debian's multiarch package libpng-dev:arm64 is; elsewhere these executables say that they do not read it.
  find_library(NETC_LIBPNG_${target} NAMES libpng16.a PATHS /usr/lib/${target} /usr/${target}/lib NO_DEFAULT_PATH)
  find_library(NETC_ZLIB_${target} NAMES libz.a PATHS /usr/lib/${target} /usr/${target}/lib NO_DEFAULT_PATH)
  set(objects)
  set(sources ${NETC_CROSS_SOURCES})
  set(flags ${NETC_CROSS_FLAGS})
  set(take_png)
  if(NETC_LIBPNG_${target} AND NETC_ZLIB_${target})
    list(APPEND sources ${CMAKE_SOURCE_DIR}/cli/png.c)
    list(APPEND flags -idirafter ${PNG_PNG_INCLUDE_DIR})
    netc_take_png(${CMAKE_CURRENT_BINARY_DIR}/${target}.ar libnetc_standalone.a ${NETC_LIBPNG_${target}} ${NETC_ZLIB_${target}})
    set(take_png COMMAND ${NETC_AR_${target}} -M < ${CMAKE_CURRENT_BINARY_DIR}/${target}.ar)
  else()
    list(APPEND flags -DNETC_WITHOUT_PNG)
  endif()
  foreach(source ${sources})
    file(RELATIVE_PATH object ${CMAKE_SOURCE_DIR} ${source})
    string(REPLACE "/" "-" object ${object})
    set(object ${CMAKE_CURRENT_BINARY_DIR}/${target}/${object}.o)
    add_custom_command(OUTPUT ${object} DEPENDS ${source} DEPFILE ${object}.d VERBATIM
                       COMMAND ${NETC_CC_${target}} ${flags} -MD -MF ${object}.d -MT ${object} -c ${source} -o ${object}
                       COMMENT "Building ${object}")
    list(APPEND objects ${object})
  endforeach()
  file(MAKE_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/${target} ${CMAKE_BINARY_DIR}/lib/netc/${target})
  set(archive ${CMAKE_BINARY_DIR}/lib/netc/${target}/libnetc_standalone.a)
  add_custom_command(OUTPUT ${archive} DEPENDS ${objects} VERBATIM COMMAND ${CMAKE_COMMAND} -E rm -f ${archive}
                     COMMAND ${NETC_AR_${target}} rcs ${archive} ${objects}
                     ${take_png} WORKING_DIRECTORY ${CMAKE_BINARY_DIR}/lib/netc/${target})
  add_custom_target(netc_standalone_${target} ALL DEPENDS ${archive})
  install(FILES ${archive} DESTINATION lib/netc/${target})
endfunction()

foreach(target x86_64-linux-gnu aarch64-linux-gnu)
  if(NOT target STREQUAL NETC_TARGET)
    netc_cross_archive(${target})
  endif()
endforeach()
