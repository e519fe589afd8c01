# add_bpf_object(name source.bpf.c [STEM stem] [DEFINE macro...]): compiles a BPF object with clang and makes
# <name>_skeleton, a library whose include folder holds <stem>.skel.h (by default the source's name).  Only UAPI headers
# are used, so no vmlinux.h is needed.
set(BPF_CLANG "clang;clang-19;clang-14" CACHE STRING "clang for the BPF objects: names or paths, the first found is taken")
find_program(bpf_clang NAMES ${BPF_CLANG} NO_CACHE REQUIRED)
find_program(bpftool NAMES bpftool PATHS /usr/sbin NO_CACHE REQUIRED)
execute_process(COMMAND ${bpf_clang} --version OUTPUT_VARIABLE bpf_clang_version COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCH "[^\n]*" bpf_clang_version "${bpf_clang_version}")
message(STATUS "BPF objects are compiled by ${bpf_clang} (${bpf_clang_version})")

function(add_bpf_object name source)
  cmake_parse_arguments(PARSE_ARGV 2 arg "" "STEM" "DEFINE")
  get_filename_component(stem ${source} NAME_WE)
  if(arg_STEM)
    set(stem ${arg_STEM})
  endif()
  list(TRANSFORM arg_DEFINE PREPEND -D)
  set(object ${CMAKE_CURRENT_BINARY_DIR}/${stem}.bpf.o)
  set(compiled ${CMAKE_CURRENT_BINARY_DIR}/${stem}.compiled.o)
  set(skeleton_dir ${CMAKE_CURRENT_BINARY_DIR}/${stem}-skeleton)
  add_custom_command(
    OUTPUT ${object}
    COMMAND ${bpf_clang} -target bpf -mcpu=v3 -O2 -g -std=gnu11 ${arg_DEFINE} -Wall -Wextra -Werror -Wno-unused-function
      -I${CMAKE_SOURCE_DIR}/include -I${CMAKE_SOURCE_DIR}/bpf
      -idirafter /usr/include/${CMAKE_LIBRARY_ARCHITECTURE}
      -MD -MF ${object}.d -MT ${object} -c ${CMAKE_CURRENT_SOURCE_DIR}/${source} -o ${compiled}
    # Leaves out DWARF and keeps BTF.
    COMMAND ${bpftool} gen object ${object} ${compiled}
    DEPENDS ${source}
    DEPFILE ${object}.d
    COMMENT "BPF object ${stem}" VERBATIM)
  add_custom_command(
    OUTPUT ${skeleton_dir}/${stem}.skel.h
    COMMAND ${CMAKE_COMMAND} -E make_directory ${skeleton_dir}
    COMMAND sh -c "'${bpftool}' gen skeleton '${object}' name ${stem}_bpf > '${skeleton_dir}/${stem}.skel.h'"
    DEPENDS ${object}
    COMMENT "BPF skeleton ${stem}" VERBATIM)
  add_custom_target(${name} DEPENDS ${skeleton_dir}/${stem}.skel.h)
  add_library(${name}_skeleton INTERFACE)
  add_dependencies(${name}_skeleton ${name})
  target_include_directories(${name}_skeleton SYSTEM INTERFACE ${skeleton_dir})
  target_link_libraries(${name}_skeleton INTERFACE PkgConfig::LIBBPF)
  set_target_properties(${name} PROPERTIES BPF_OBJECT ${object})
endfunction()
