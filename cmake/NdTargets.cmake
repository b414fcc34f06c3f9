# nd_library(FOLDER SOURCES... USES LIBS...): the static library nd_FOLDER of src/FOLDER.
function(nd_library folder)
    cmake_parse_arguments(A "" "" "SOURCES;USES" ${ARGN})
    add_library(nd_${folder} STATIC ${A_SOURCES})
    target_include_directories(nd_${folder} PUBLIC ${CMAKE_SOURCE_DIR}/src)
    target_link_libraries(nd_${folder} PUBLIC ${A_USES})
endfunction()

# nd_program(NAME SOURCE USES LIBS...): a program whose main is options, open, one call, close.
function(nd_program name source)
    cmake_parse_arguments(A "" "" "USES" ${ARGN})
    add_executable(${name} ${source})
    target_link_libraries(${name} PRIVATE ${A_USES})
endfunction()

# nd_test(NAME SOURCE USES LIBS... [TIMEOUT SECONDS] [RANKS N...]): a cmocka program, run once alone, or once per N in RANKS.
# The test sees ND_SHARED (folder of captures outside the project, may be absent) and ND_BIN (built programs).
function(nd_test name source)
    cmake_parse_arguments(A "" "TIMEOUT" "USES;RANKS" ${ARGN})
    if(NOT A_TIMEOUT)
        set(A_TIMEOUT 120)
    endif()
    add_executable(test_${name} ${source})
    target_include_directories(test_${name} PRIVATE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/tests)
    target_link_libraries(test_${name} PRIVATE ${A_USES} cmocka m)
    if(A_RANKS AND ND_HAVE_MPI)
        foreach(n ${A_RANKS})
            add_test(NAME ${name}.np${n} COMMAND ${ND_MPIRUN} -np ${n} $<TARGET_FILE:test_${name}>)
            set_tests_properties(${name}.np${n} PROPERTIES TIMEOUT ${A_TIMEOUT} ENVIRONMENT "${ND_TEST_ENVIRONMENT}" PROCESSORS ${n})
        endforeach()
    else()
        add_test(NAME ${name} COMMAND test_${name})
        set_tests_properties(${name} PROPERTIES TIMEOUT ${A_TIMEOUT} ENVIRONMENT "${ND_TEST_ENVIRONMENT}")
    endif()
endfunction()

# nd_script_test(NAME SCRIPT [TIMEOUT SECONDS] [ARGS...]): a shell script; exit 77 is a skip that says why.
function(nd_script_test name script)
    cmake_parse_arguments(A "" "TIMEOUT" "ARGS" ${ARGN})
    if(NOT A_TIMEOUT)
        set(A_TIMEOUT 120)
    endif()
    add_test(NAME ${name} COMMAND bash ${CMAKE_CURRENT_SOURCE_DIR}/${script} ${A_ARGS})
    set_tests_properties(${name} PROPERTIES TIMEOUT ${A_TIMEOUT} ENVIRONMENT "${ND_TEST_ENVIRONMENT}" SKIP_RETURN_CODE 77)
endfunction()

set(ND_MPIRUN mpirun.openmpi --oversubscribe --bind-to none)
set(ND_TEST_ENVIRONMENT
    "ND_SOURCE=${CMAKE_SOURCE_DIR}"
    "ND_SHARED=${CMAKE_SOURCE_DIR}/../shared"
    "ND_BIN=${CMAKE_RUNTIME_OUTPUT_DIRECTORY}"
    "OMPI_ALLOW_RUN_AS_ROOT=1" "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1"
    "OMPI_MCA_mpi_yield_when_idle=1" "OMPI_MCA_pml=ob1" "OMPI_MCA_btl=self,vader"
    "OMPI_MCA_rmaps_base_oversubscribe=1" "OMPI_MCA_hwloc_base_binding_policy=none"
    "ASAN_OPTIONS=detect_leaks=0:abort_on_error=1")
