# The fuzz targets: only with the fuzz preset, whose compiler knows -fsanitize=fuzzer. The target
# "fuzzers" builds them all; they land in build-fuzz/tests/.
# The engine has small rings here, so that a fresh one costs little.
test_engine(_fuzz FLASHD_SMALL)
test_support(_fuzz)
file(GLOB net_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/net/*.c)
set_source_files_properties(${OPENAPI_SOURCE} PROPERTIES GENERATED ON)
add_library(net_fuzz STATIC ${net_sources} ${OPENAPI_SOURCE})
add_dependencies(net_fuzz openapi_source)
target_link_libraries(net_fuzz PUBLIC engine_fuzz PkgConfig::URING PkgConfig::JANSSON
  PkgConfig::SODIUM PkgConfig::JWT llhttp)

foreach(target request json tokens query cron)
  add_executable(fuzz_${target} fuzz/${target}.c fuzz/front.c)
  target_link_libraries(fuzz_${target} PRIVATE net_fuzz support_fuzz)
  target_link_options(fuzz_${target} PRIVATE -fsanitize=fuzzer)
  list(APPEND fuzzers fuzz_${target})
endforeach()
add_custom_target(fuzzers DEPENDS ${fuzzers})
