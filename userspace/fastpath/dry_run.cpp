// SPDX-License-Identifier: Apache-2.0
#include "fastpath/dry_run.h"

#include <cerrno>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <spdlog/fmt/fmt.h>

#include "proxzzy.skel.h"

namespace pz::fastpath {

namespace {

/// Room for an answer that is longer than its request.
constexpr std::size_t growth = 256;

} // namespace

Result<> share_maps(const bpf_object& from, bpf_object& to) {
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, &to) {
        const char* name = bpf_map__name(map);
        if (!std::string_view(name).starts_with("pz_"))
            continue; // .rodata and .bss are what differs
        if (bpf_map__reuse_fd(map, bpf_object__find_map_fd_by_name(&from, name)) != 0)
            return fail_errno(fmt::format("cannot share the map {}", name), errno);
    }
    return {};
}

DryRun::~DryRun() {
    proxzzy_bpf__destroy(skeleton_);
}

Result<std::unique_ptr<DryRun>> DryRun::open(const proxzzy_bpf& running) {
    proxzzy_bpf* skeleton = proxzzy_bpf__open();
    if (skeleton == nullptr)
        return fail_errno("cannot open the kernel programs", errno);
    std::unique_ptr<DryRun> self(new DryRun(skeleton));
    skeleton->rodata->filter_mask = running.rodata->filter_mask;
    skeleton->rodata->dry_run = 1;
    PZ_TRY(share_maps(*running.obj, *skeleton->obj));
    if (const int error = proxzzy_bpf__load(skeleton); error != 0)
        return fail_errno("the kernel does not load our program for a dry run", -error);
    return self;
}

int DryRun::program() const {
    return bpf_program__fd(skeleton_->progs.proxzzy_ingress);
}

Result<Verdict> DryRun::run(int ifindex, ByteView frame) {
    if (frame.size() < smallest_frame || frame.size() > largest_frame)
        return fail(Errc::invalid,
                    fmt::format("frame: has {} bytes, an Ethernet frame has {} to {}", frame.size(), smallest_frame,
                                largest_frame),
                    "frame");
    Verdict verdict;
    verdict.frame.resize(frame.size() + growth);
    xdp_md context{};
    context.data_end = static_cast<__u32>(frame.size());
    context.ingress_ifindex = static_cast<__u32>(ifindex);
    bpf_test_run_opts options{};
    options.sz = sizeof options;
    options.ctx_in = &context;
    options.ctx_size_in = sizeof context;
    options.data_in = frame.data();
    options.data_size_in = static_cast<__u32>(frame.size());
    options.data_out = verdict.frame.data();
    options.data_size_out = static_cast<__u32>(verdict.frame.size());
    options.repeat = 1;
    pz_explanation& explanation = skeleton_->bss->explanation;
    explanation = {};
    if (const int error = bpf_prog_test_run_opts(program(), &options); error != 0) {
        if (error == -ENODEV)
            return fail(Errc::not_found, "interface: is gone", "interface");
        return fail_errno("the kernel does not run our program on a frame", -error);
    }
    verdict.action = options.retval;
    verdict.frame.resize(options.data_size_out);
    verdict.found = explanation;
    return verdict;
}

} // namespace pz::fastpath
