// SPDX-License-Identifier: Apache-2.0
// object_load OBJECT...: loads the programs of each file into the kernel, and prints for each
//   FILE INSTRUCTIONS MILLISECONDS
// how many instructions the verifier looked at, and how long it took to load programs and maps.  Nothing stays there.
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

namespace {

struct Close {
    void operator()(bpf_object* object) const { bpf_object__close(object); }
};

bool load(const char* path) {
    const std::unique_ptr<bpf_object, Close> object(bpf_object__open_file(path, nullptr));
    if (!object)
        return false;
    const auto begun = std::chrono::steady_clock::now();
    if (bpf_object__load(object.get()) != 0)
        return false;
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begun;
    unsigned instructions = 0;
    bpf_program* program = nullptr;
    bpf_object__for_each_program(program, object.get()) {
        bpf_prog_info info{};
        __u32 length = sizeof info;
        if (bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &length) != 0)
            return false;
        instructions += info.verified_insns;
    }
    std::printf("%s %u %.2f\n", std::filesystem::path(path).stem().c_str(), instructions, took.count());
    return true;
}

} // namespace

int main(int count, char** words) {
    if (count < 2) {
        std::fprintf(stderr, "usage: object_load OBJECT...\n");
        return 2;
    }
    for (int i = 1; i < count; i++)
        if (!load(words[i])) {
            std::fprintf(stderr, "object_load: %s is not taken\n", words[i]);
            return 1;
        }
    return 0;
}
