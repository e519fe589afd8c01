# Targets `lint` (clang-format, clang-tidy of userspace/, shellcheck; any finding is an error) and `format` (rewrites the sources).
file(GLOB_RECURSE lint_cxx CONFIGURE_DEPENDS
  ${CMAKE_SOURCE_DIR}/userspace/*.h ${CMAKE_SOURCE_DIR}/userspace/*.cpp
  ${CMAKE_SOURCE_DIR}/tests/*.h ${CMAKE_SOURCE_DIR}/tests/*.cpp)
file(GLOB_RECURSE lint_c CONFIGURE_DEPENDS
  ${CMAKE_SOURCE_DIR}/bpf/*.h ${CMAKE_SOURCE_DIR}/bpf/*.c ${CMAKE_SOURCE_DIR}/include/*.h ${CMAKE_SOURCE_DIR}/tests/*.c)
file(GLOB_RECURSE lint_scripts CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/scripts/* ${CMAKE_SOURCE_DIR}/tests/*.sh)
list(APPEND lint_scripts ${CMAKE_SOURCE_DIR}/.ci/run)
set(lint_bash)
foreach(script ${lint_scripts})
  file(STRINGS ${script} first LIMIT_COUNT 1)
  if(first MATCHES "bash$")
    list(APPEND lint_bash ${script})
  endif()
endforeach()

set(format_cxx clang-format-19 --style=file:${CMAKE_SOURCE_DIR}/.clang-format)
set(format_c clang-format-19 --style=file:${CMAKE_SOURCE_DIR}/bpf/.clang-format)
add_custom_target(format
  COMMAND ${format_cxx} -i ${lint_cxx}
  COMMAND ${format_c} -i ${lint_c}
  VERBATIM)
include(ProcessorCount)
ProcessorCount(lint_jobs)
add_custom_target(lint
  COMMAND ${format_cxx} --dry-run -Werror ${lint_cxx}
  COMMAND ${format_c} --dry-run -Werror ${lint_c}
  COMMAND shellcheck -x -P ${CMAKE_SOURCE_DIR}/scripts ${lint_bash}
  COMMAND run-clang-tidy-19 -quiet -j ${lint_jobs} -p ${CMAKE_BINARY_DIR} /userspace/
  VERBATIM)
add_dependencies(lint proxzzy_bpf proxzzy_egress_bpf) # the skeletons are among the sources
