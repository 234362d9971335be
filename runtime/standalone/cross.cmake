# The same archive for the other machines that netc makes code for, where Debian's cross compiler is installed: one command per
# source. Without sanitizers, whatever netc itself is built with; products and sums are not contracted, as in runtime/.
get_target_property(cli_sources netc_cli SOURCES)
get_target_property(runtime_sources netc_runtime SOURCES)
set(NETC_CROSS_SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/main.c ${CMAKE_CURRENT_SOURCE_DIR}/level.c ${CMAKE_CURRENT_SOURCE_DIR}/pnm.c
    ${CMAKE_SOURCE_DIR}/ir/nearest.c
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
  set(objects)
  foreach(source ${NETC_CROSS_SOURCES})
    file(RELATIVE_PATH object ${CMAKE_SOURCE_DIR} ${source})
    string(REPLACE "/" "-" object ${object})
    set(object ${CMAKE_CURRENT_BINARY_DIR}/${target}/${object}.o)
    add_custom_command(OUTPUT ${object} DEPENDS ${source} DEPFILE ${object}.d VERBATIM
                       COMMAND ${NETC_CC_${target}} ${NETC_CROSS_FLAGS} -MD -MF ${object}.d -MT ${object} -c ${source} -o ${object}
                       COMMENT "Building ${object}")
    list(APPEND objects ${object})
  endforeach()
  file(MAKE_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/${target} ${CMAKE_BINARY_DIR}/lib/netc/${target})
  set(archive ${CMAKE_BINARY_DIR}/lib/netc/${target}/libnetc_standalone.a)
  add_custom_command(OUTPUT ${archive} DEPENDS ${objects} VERBATIM COMMAND ${CMAKE_COMMAND} -E rm -f ${archive}
                     COMMAND ${NETC_AR_${target}} rcs ${archive} ${objects})
  add_custom_target(netc_standalone_${target} ALL DEPENDS ${archive})
  install(FILES ${archive} DESTINATION lib/netc/${target})
endfunction()

foreach(target x86_64-linux-gnu aarch64-linux-gnu)
  if(NOT target STREQUAL NETC_TARGET)
    netc_cross_archive(${target})
  endif()
endforeach()
