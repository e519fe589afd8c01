// SPDX-License-Identifier: Apache-2.0
#include "fastpath/dry_run.h"

#include <linux/pkt_cls.h>

#include <cerrno>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <spdlog/fmt/fmt.h>

#include "proxzzy.skel.h"
#include "proxzzy_egress.skel.h"

namespace pz::fastpath {

namespace {

/// Room for an answer that is longer than its request.
constexpr std::size_t growth = 256;

/// What pz_tc_action() in bpf/verdict.h made of it.
std::uint32_t xdp_action(std::uint32_t tc_action) {
    switch (tc_action) {
    case TC_ACT_REDIRECT:
        return XDP_TX;
    case TC_ACT_STOLEN:
        return XDP_DROP;
    default:
        return XDP_PASS;
    }
}

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
    proxzzy_bpf__destroy(ingress_);
    proxzzy_egress_bpf__destroy(egress_);
}

Result<std::unique_ptr<DryRun>> DryRun::open(const proxzzy_bpf& running) {
    std::unique_ptr<DryRun> self(new DryRun(proxzzy_bpf__open(), proxzzy_egress_bpf__open()));
    if (self->ingress_ == nullptr || self->egress_ == nullptr)
        return fail_errno("cannot open the kernel programs", errno);
    const auto configure = [&](auto& rodata) {
        rodata.buckets4 = running.rodata->buckets4;
        rodata.buckets6 = running.rodata->buckets6;
        rodata.buckets_mac = running.rodata->buckets_mac;
        rodata.plain_hash = running.rodata->plain_hash;
        rodata.dry_run = 1;
    };
    configure(*self->ingress_->rodata);
    configure(*self->egress_->rodata);
    PZ_TRY(share_maps(*running.obj, *self->ingress_->obj));
    PZ_TRY(share_maps(*running.obj, *self->egress_->obj));
    for (const int error : {proxzzy_bpf__load(self->ingress_), proxzzy_egress_bpf__load(self->egress_)})
        if (error != 0)
            return fail_errno("the kernel does not load our programs for a dry run", -error);
    return self;
}

int DryRun::program(Direction direction) const {
    return bpf_program__fd(direction == Direction::egress ? egress_->progs.proxzzy_egress
                                                          : ingress_->progs.proxzzy_ingress);
}

Result<Verdict> DryRun::run(int ifindex, ByteView frame, Direction direction) {
    if (frame.size() < smallest_frame || frame.size() > largest_frame)
        return fail(Errc::invalid,
                    fmt::format("frame: has {} bytes, an Ethernet frame has {} to {}", frame.size(), smallest_frame,
                                largest_frame),
                    "frame");
    const bool leaves = direction == Direction::egress;
    Verdict verdict;
    verdict.frame.resize(frame.size() + growth);
    xdp_md coming{};
    coming.data_end = static_cast<__u32>(frame.size());
    coming.ingress_ifindex = static_cast<__u32>(ifindex);
    __sk_buff leaving{};
    leaving.ifindex = static_cast<__u32>(ifindex);
    bpf_test_run_opts options{};
    options.sz = sizeof options;
    options.ctx_in = leaves ? static_cast<void*>(&leaving) : &coming;
    options.ctx_size_in = leaves ? sizeof leaving : sizeof coming;
    options.data_in = frame.data();
    options.data_size_in = static_cast<__u32>(frame.size());
    options.data_out = verdict.frame.data();
    options.data_size_out = static_cast<__u32>(verdict.frame.size());
    options.repeat = 1;
    pz_explanation& explanation = leaves ? egress_->bss->explanation : ingress_->bss->explanation;
    explanation = {};
    if (const int error = bpf_prog_test_run_opts(program(direction), &options); error != 0) {
        if (error == -ENODEV)
            return fail(Errc::not_found, "interface: is gone", "interface");
        if (error == -EINVAL && leaves)
            return fail(Errc::invalid,
                        fmt::format("frame: of {} bytes cannot be asked about in this direction", frame.size()),
                        "frame");
        return fail_errno("the kernel does not run our program on a frame", -error);
    }
    verdict.action = leaves ? xdp_action(options.retval) : options.retval;
    verdict.frame.resize(options.data_size_out);
    verdict.found = explanation;
    return verdict;
}

} // namespace pz::fastpath
