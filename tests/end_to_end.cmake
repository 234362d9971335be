# Golden tests, one ctest test per folder, and end-to-end tests: real training through the command. See tests/golden/run and tests/e2e.
file(GLOB golden_folders CONFIGURE_DEPENDS LIST_DIRECTORIES true ${CMAKE_CURRENT_SOURCE_DIR}/golden/*)
list(FILTER golden_folders EXCLUDE REGEX "/frontend$") # test_frontend_golden runs those in one process
foreach(folder ${golden_folders})
  if(IS_DIRECTORY ${folder})
    get_filename_component(name ${folder} NAME)
    add_test(NAME golden_${name} COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/golden/run $<TARGET_FILE:netc> ${folder})
    set_tests_properties(golden_${name} PROPERTIES LABELS golden TIMEOUT 300)
  endif()
endforeach()
find_program(PYTHON3 python3 PATHS /usr/bin NO_DEFAULT_PATH) # the system's, which Debian's python3-torch belongs to
find_program(PYTHON3 python3 REQUIRED)
foreach(name why lint learns same_bits tune bf16 compile_cache bench build_cross failures nonfinite input_files own_data two_thousand arrays terminal tensorboard fine_tune report sweep lrfind strict_json ir_page predict_pictures memory memory_limit passes trainings zoo torch_trajectory torch_statistics torch_activations torch_airbench torch_models)
  add_test(NAME e2e_${name} COMMAND ${PYTHON3} ${CMAKE_CURRENT_SOURCE_DIR}/e2e/${name}.py $<TARGET_FILE:netc>)
  set_tests_properties(e2e_${name} PROPERTIES LABELS e2e TIMEOUT 600 SKIP_RETURN_CODE 77)
endforeach()
add_test(NAME e2e_torch_blocks COMMAND ${PYTHON3} ${CMAKE_CURRENT_SOURCE_DIR}/e2e/torch_blocks.py $<TARGET_FILE:netc> $<TARGET_FILE:check_net>)
set_tests_properties(e2e_torch_blocks PROPERTIES LABELS e2e TIMEOUT 600 SKIP_RETURN_CODE 77)
add_test(NAME e2e_torch_augment COMMAND ${PYTHON3} ${CMAKE_CURRENT_SOURCE_DIR}/e2e/torch_augment.py $<TARGET_FILE:netc> $<TARGET_FILE:augmented>)
set_tests_properties(e2e_torch_augment PROPERTIES LABELS e2e TIMEOUT 600 SKIP_RETURN_CODE 77)
add_test(NAME e2e_verify COMMAND ${PYTHON3} ${CMAKE_CURRENT_SOURCE_DIR}/e2e/verify.py $<TARGET_FILE:netc> $<TARGET_FILE:plugin_wrong>
         $<TARGET_FILE:plugin_wrong_autodiff>)
set_tests_properties(e2e_verify PROPERTIES LABELS e2e TIMEOUT 600)
# Every include and every call between files, against the table in ARCHITECTURE.md.
add_test(NAME e2e_bisect COMMAND ${PYTHON3} ${CMAKE_CURRENT_SOURCE_DIR}/e2e/wrong_rewrites.py $<TARGET_FILE:netc> $<TARGET_FILE:plugin_wrong>
         $<TARGET_FILE:plugin_wrong_autodiff>)
set_tests_properties(e2e_bisect PROPERTIES LABELS e2e TIMEOUT 600)
add_test(NAME e2e_explore COMMAND ${PYTHON3} ${CMAKE_CURRENT_SOURCE_DIR}/e2e/explore.py $<TARGET_FILE:netc>)
set_tests_properties(e2e_explore PROPERTIES LABELS e2e TIMEOUT 600 SKIP_RETURN_CODE 77)
add_test(NAME e2e_reduce COMMAND ${PYTHON3} ${CMAKE_CURRENT_SOURCE_DIR}/e2e/reduce.py $<TARGET_FILE:netc> $<TARGET_FILE:plugin_wrong>
         $<TARGET_FILE:plugin_wrong_autodiff> $<TARGET_FILE:plugin_broken>)
set_tests_properties(e2e_reduce PROPERTIES LABELS e2e TIMEOUT 600)
if(NOT NETC_SANITIZE) # twenty passes are compiled, verified, bisected and reduced
  add_test(NAME e2e_seeded_faults COMMAND ${PYTHON3} ${CMAKE_CURRENT_SOURCE_DIR}/e2e/seeded_faults.py $<TARGET_FILE:netc> ${CMAKE_C_COMPILER}
           ${CMAKE_SOURCE_DIR} ${CMAKE_BINARY_DIR})
  set_tests_properties(e2e_seeded_faults PROPERTIES LABELS e2e TIMEOUT 600)
endif()
foreach(name ablate)
  add_test(NAME e2e_${name} COMMAND ${PYTHON3} ${CMAKE_CURRENT_SOURCE_DIR}/e2e/${name}.py $<TARGET_FILE:netc> $<TARGET_FILE:plugin_wrong>)
  set_tests_properties(e2e_${name} PROPERTIES LABELS e2e TIMEOUT 600)
endforeach()
add_test(NAME plugin_version COMMAND ${PYTHON3} ${CMAKE_CURRENT_SOURCE_DIR}/plugin_version.py ${CMAKE_COMMAND} ${CMAKE_BINARY_DIR})
# A convolution method is a folder and one line.
add_test(NAME nothing_method COMMAND ${PYTHON3} ${CMAKE_CURRENT_SOURCE_DIR}/nothing_method.py ${CMAKE_COMMAND} ${CMAKE_BINARY_DIR})
set_tests_properties(nothing_method PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 300)
add_test(NAME rooms COMMAND ${PYTHON3} ${CMAKE_CURRENT_SOURCE_DIR}/rooms.py ${CMAKE_BINARY_DIR})
# Habits: few checks of clang-tidy, and clang-format. In one build only, since they look at text, and the one that has all tests: faults
# that tests/mutants/run plants still find their text and name tests that there are (the run itself takes hours).
if(NOT NETC_SANITIZE)
  add_test(NAME mutants_apply COMMAND ${PYTHON3} ${CMAKE_CURRENT_SOURCE_DIR}/mutants/run --check ${CMAKE_BINARY_DIR})
  add_test(NAME tidy COMMAND ${PYTHON3} ${CMAKE_CURRENT_SOURCE_DIR}/tidy.py ${CMAKE_BINARY_DIR})
  add_test(NAME format COMMAND ${PYTHON3} ${CMAKE_CURRENT_SOURCE_DIR}/tidy.py --format)
  set_tests_properties(tidy format PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 600)
endif()
if(NOT NETC_SANITIZE) # what they compute is the frameworks' and the evaluator's
  # Models against PyTorch and what other frameworks there are, and nets drawn at random.
  add_test(NAME e2e_peers COMMAND ${PYTHON3} ${CMAKE_CURRENT_SOURCE_DIR}/e2e/peers.py $<TARGET_FILE:netc>)
  set_tests_properties(e2e_peers PROPERTIES LABELS e2e TIMEOUT 900 SKIP_RETURN_CODE 77)
  add_test(NAME random_nets COMMAND ${PYTHON3} ${CMAKE_CURRENT_SOURCE_DIR}/random_nets.py $<TARGET_FILE:netc> $<TARGET_FILE:check_net> --count 30
           --keep ${CMAKE_BINARY_DIR}/random-nets)
  set_tests_properties(random_nets PROPERTIES LABELS e2e TIMEOUT 900)
endif()
if(NOT NETC_SANITIZE) # the archive of a sanitized build needs the sanitizer's runtime, and a sanitizer terabytes of addresses
  foreach(name runs ranks textual textual_zoo openblas build_executable build_cpus chroot_cifar10 build_library torch_library package package_passes)
    add_test(NAME e2e_${name} COMMAND ${PYTHON3} ${CMAKE_CURRENT_SOURCE_DIR}/e2e/${name}.py $<TARGET_FILE:netc>)
    set_tests_properties(e2e_${name} PROPERTIES LABELS e2e TIMEOUT 600 SKIP_RETURN_CODE 77)
  endforeach()
  if(CMAKE_SYSTEM_PROCESSOR STREQUAL "x86_64") # every call that can fail does, a sample of them; all: tests/faults/run NETC LIBFAULTS
    add_library(faults MODULE ${CMAKE_CURRENT_SOURCE_DIR}/faults/shim.c)
    target_link_libraries(faults PRIVATE ${CMAKE_DL_LIBS})
    add_test(NAME faults COMMAND ${PYTHON3} ${CMAKE_CURRENT_SOURCE_DIR}/faults/run $<TARGET_FILE:netc> $<TARGET_FILE:faults> --sample 45)
    set_tests_properties(faults PROPERTIES LABELS e2e TIMEOUT 600)
  endif()
endif()
if(NETC_SANITIZE MATCHES "address") # the ranks of netc itself; a thread sanitizer would ask about MPI's own threads
  add_test(NAME e2e_ranks COMMAND ${PYTHON3} ${CMAKE_CURRENT_SOURCE_DIR}/e2e/ranks.py $<TARGET_FILE:netc> sanitized)
  set_tests_properties(e2e_ranks PROPERTIES LABELS e2e TIMEOUT 600 SKIP_RETURN_CODE 77)
endif()
option(NETC_FUZZ "Build the libFuzzer harnesses (clang)" OFF)
add_subdirectory(fuzz)
