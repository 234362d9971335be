# find_package(netc): the command as netc::netc, and netc_add_inference, which compiles a net into a library at build time.
#
#   netc_add_inference(digits MODEL se_resnet20.net WEIGHTS best.safetensors)
#   target_link_libraries(app PRIVATE digits)      # app includes "digits.h" and calls digits_init, digits_run, ...
#
#   MODEL    a .net file, or the name of a model that comes with netc
#   WEIGHTS  a safetensors file, which is put into the library; without it digits_init is given the weights
#   PREFIX   what the functions begin with (default: the target's name)
#   OPTIONS  more options of `netc build --infer`, such as --batch=1 or --cpu=native
#
# The library is made for the machine that CMake compiles for. What it is: docs/infer.md.
#
#   netc_add_pass(my_fusion my_fusion.c)           # netc ... --load-pass=my_fusion.so
#
# A shared object with passes, NAME.so in the build directory. What they are: docs/passes.md.
include(CMakeFindDependencyMacro)
find_dependency(Threads)

get_filename_component(netc_PREFIX_DIR "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
if(NOT TARGET netc::netc)
  add_executable(netc::netc IMPORTED GLOBAL)
  set_target_properties(netc::netc PROPERTIES IMPORTED_LOCATION "${netc_PREFIX_DIR}/bin/netc")
endif()

function(netc_add_inference name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "MODEL;WEIGHTS;PREFIX" "OPTIONS")
  if(arg_UNPARSED_ARGUMENTS OR arg_KEYWORDS_MISSING_VALUES OR NOT arg_MODEL)
    message(FATAL_ERROR "netc_add_inference(TARGET MODEL FILE [WEIGHTS FILE] [PREFIX NAME] [OPTIONS ...])")
  endif()
  if(NOT arg_PREFIX)
    string(MAKE_C_IDENTIFIER "${name}" arg_PREFIX)
  endif()
  set(depends)
  foreach(file MODEL WEIGHTS) # files are found from where the project's CMakeLists.txt is; another MODEL is one of netc's own
    get_filename_component(path "${arg_${file}}" ABSOLUTE)
    if(arg_${file} AND (EXISTS "${path}" OR file STREQUAL "WEIGHTS"))
      set(arg_${file} "${path}")
      list(APPEND depends "${path}")
    endif()
  endforeach()
  if(arg_WEIGHTS)
    list(PREPEND arg_OPTIONS --weights "${arg_WEIGHTS}")
  else()
    list(PREPEND arg_OPTIONS --embed-weights=no)
  endif()
  if(CMAKE_CROSSCOMPILING)
    list(PREPEND arg_OPTIONS "--target=${CMAKE_SYSTEM_PROCESSOR}-linux-gnu")
  endif()
  set(library "${CMAKE_CURRENT_BINARY_DIR}/${name}/lib${name}.a")
  set(header "${CMAKE_CURRENT_BINARY_DIR}/${name}/${name}.h")
  file(MAKE_DIRECTORY "${CMAKE_CURRENT_BINARY_DIR}/${name}")
  add_custom_command(OUTPUT "${library}" "${header}" DEPENDS netc::netc ${depends} VERBATIM
                     COMMAND netc::netc build --infer "${arg_MODEL}" --prefix "${arg_PREFIX}" ${arg_OPTIONS} -o "${library}" --header "${header}"
                     COMMENT "Compiling the net ${arg_MODEL} into lib${name}.a")
  add_custom_target(${name}_netc DEPENDS "${library}" "${header}")
  add_library(${name} STATIC IMPORTED GLOBAL)
  set_target_properties(${name} PROPERTIES IMPORTED_LOCATION "${library}"
                        INTERFACE_INCLUDE_DIRECTORIES "${CMAKE_CURRENT_BINARY_DIR}/${name}"
                        INTERFACE_LINK_LIBRARIES "m;Threads::Threads")
  add_dependencies(${name} ${name}_netc)
endfunction()

function(netc_add_pass name)
  if(NOT ARGN)
    message(FATAL_ERROR "netc_add_pass(NAME SOURCE...)")
  endif()
  add_library(${name} MODULE ${ARGN})
  set_target_properties(${name} PROPERTIES PREFIX "" SUFFIX ".so" C_STANDARD 11 C_EXTENSIONS ON)
  target_include_directories(${name} PRIVATE "${netc_PREFIX_DIR}/include/netc")
endfunction()
