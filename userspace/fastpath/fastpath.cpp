// SPDX-License-Identifier: Apache-2.0
#include "fastpath/fastpath.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <spdlog/spdlog.h>

#include "proxzzy.skel.h"
#include "proxzzy_egress.skel.h"

namespace pz::fastpath {

namespace {

constexpr std::array<ReasonCount, PZ_REASON_COUNT> reasons = {{
#define PZ_REASON_ROW(id, name, sentence) ReasonCount{name, sentence, 0},
    PZ_REASONS(PZ_REASON_ROW)
#undef PZ_REASON_ROW
}};

int log_libbpf(libbpf_print_level level, const char* format, va_list arguments) {
    if (level == LIBBPF_DEBUG || !spdlog::should_log(spdlog::level::debug))
        return 0;
    va_list again;
    va_copy(again, arguments);
    const int size = std::vsnprintf(nullptr, 0, format, again);
    va_end(again);
    if (size < 0)
        return 0;
    std::string line(static_cast<std::size_t>(size), '\0');
    if (std::vsnprintf(line.data(), line.size() + 1, format, arguments) < 0)
        return 0;
    std::string_view text(line);
    while (text.ends_with('\n'))
        text.remove_suffix(1);
    constexpr std::size_t shown = 8192; // the verifier's words may be megabytes; the last ones say what is wrong
    text.remove_prefix(text.size() - std::min(text.size(), shown));
    spdlog::debug("libbpf: {}", text);
    return 0;
}

/// At most one bit in eight is set when the tables are full, so that few frames of others pass the filter.
std::uint32_t filter_bits(std::uint32_t keys) {
    return std::clamp(std::bit_ceil(keys) * 8U, 1U << 16, 1U << 28);
}

pz_index4_key key4(std::uint32_t segment, const IpAddress& address) {
    pz_index4_key key{.segment = segment, .address = {}};
    std::memcpy(key.address, address.bytes.data(), sizeof(key.address));
    return key;
}

pz_index6_key key6(std::uint32_t segment, const IpAddress& address) {
    pz_index6_key key{.segment = segment, .address = {}};
    std::memcpy(key.address, address.bytes.data(), sizeof(key.address));
    return key;
}

pz_mac_key mac_key(std::uint32_t segment, const MacAddress& mac) {
    pz_mac_key key{.segment = segment, .mac = {}, .pad = {}};
    std::memcpy(key.mac, mac.bytes.data(), sizeof(key.mac));
    return key;
}

Result<> update(const bpf_map* map, const void* key, const void* value, const char* what) {
    if (bpf_map_update_elem(bpf_map__fd(map), key, value, BPF_ANY) != 0) {
        if (errno == E2BIG || errno == ENOSPC)
            return fail(Errc::limit, std::string("the kernel table of ") + what + " is full");
        return fail_errno(std::string("cannot write the kernel table of ") + what, errno);
    }
    return {};
}

} // namespace

std::string_view reason_name(std::uint32_t reason) {
    return reason < reasons.size() ? reasons[reason].name : "unknown";
}

std::string_view reason_sentence(std::uint32_t reason) {
    return reason < reasons.size() ? reasons[reason].sentence : "unknown";
}

void Fastpath::SkeletonDeleter::operator()(proxzzy_bpf* skeleton) const {
    proxzzy_bpf__destroy(skeleton);
}

void Fastpath::SkeletonDeleter::operator()(proxzzy_egress_bpf* skeleton) const {
    proxzzy_egress_bpf__destroy(skeleton);
}

Fastpath::Fastpath(PinDirectory pins, Loaded loaded, pz_daemon daemon)
    : pins_(std::move(pins)), skeleton_(std::move(loaded.skeleton)), egress_(std::move(loaded.egress)),
      address_bits_(std::move(loaded.addresses)), mac_bits_(std::move(loaded.macs)), daemon_(daemon),
      before_(std::move(loaded.before)) {}

Fastpath::~Fastpath() = default;

void Fastpath::forget_before() {
    before_ = {};
}

/// The pinned map if it has the layout and the size of `map`.
Fd open_same(const PinDirectory& pins, const bpf_map* map) {
    Fd pinned(bpf_obj_get(pins.map_path(bpf_map__name(map)).c_str()));
    bpf_map_info info{};
    std::uint32_t size = sizeof(info);
    if (!pinned || bpf_obj_get_info_by_fd(pinned.get(), &info, &size) != 0 || info.type != bpf_map__type(map) ||
        info.key_size != bpf_map__key_size(map) || info.value_size != bpf_map__value_size(map) ||
        info.max_entries != bpf_map__max_entries(map))
        return {};
    return pinned;
}

/// What a daemon that is gone left in the pinned maps.  If theirs are like ours, the programs of `skeleton` use its
/// pz_live_v1 and its rings.
Fastpath::Before Fastpath::take_over(const PinDirectory& pins, proxzzy_bpf& skeleton) {
    const auto& maps = skeleton.maps;
    const auto pinned = [&](const bpf_map* map) { return PinnedArray::open(pins.map_path(bpf_map__name(map))); };
    if (pins.links().empty())
        return {};
    const auto daemon = pinned(maps.pz_daemon_v1).at<pz_daemon>(0);
    Before before{.heartbeat = instant_from_ns(daemon.heartbeat_ns),
                  .policy = pinned(maps.pz_policy_v1),
                  .live = pinned(maps.pz_live_v1)};
    if (to_ns(std::chrono::steady_clock::now()) - daemon.heartbeat_ns >= daemon.answer_without_daemon_ns ||
        !before.policy || !before.live)
        return {};
    const std::array shared{maps.pz_live_v1, maps.pz_triggers_v1, maps.pz_overheard_v1};
    std::array<Fd, shared.size()> same;
    std::ranges::transform(shared, same.begin(), [&](const bpf_map* map) { return open_same(pins, map); });
    if (daemon.abi_version != PZ_ABI_VERSION || !std::ranges::all_of(same, [](const Fd& fd) { return bool{fd}; }))
        return before;
    for (std::size_t i = 0; i < shared.size(); i++)
        if (bpf_map__reuse_fd(shared[i], same[i].get()) != 0)
            return {};
    before.live = {};
    return before;
}

Result<Fastpath::Loaded> Fastpath::load(const PinDirectory& pins, const Options& options) {
    Skeleton skeleton(proxzzy_bpf__open());
    if (!skeleton)
        return fail_errno("cannot open the kernel programs", errno);
    // one size for both bitmaps, since one mask serves both
    const std::uint32_t bits = filter_bits(std::max(options.max_addresses4 + options.max_addresses6, options.max_macs));
    skeleton->rodata->filter_mask = bits - 1;
    auto& maps = skeleton->maps;
    bpf_map__set_max_entries(maps.pz_index4_v1, options.max_addresses4);
    bpf_map__set_max_entries(maps.pz_index6_v1, options.max_addresses6);
    bpf_map__set_max_entries(maps.pz_by_mac_v1, options.max_macs);
    bpf_map__set_max_entries(maps.pz_policy_v1, options.max_hosts);
    bpf_map__set_max_entries(maps.pz_live_v1, options.max_hosts);
    bpf_map__set_max_entries(maps.pz_addr_bits_v1, bits / 64);
    bpf_map__set_max_entries(maps.pz_mac_bits_v1, bits / 64);
    EgressSkeleton egress(proxzzy_egress_bpf__open());
    if (!egress)
        return fail_errno("cannot open the kernel programs", errno);
    egress->rodata->filter_mask = bits - 1;
    Before before = take_over(pins, *skeleton);
    int error = proxzzy_bpf__load(skeleton.get());
    if (error == 0) {
        PZ_TRY(share_maps(*skeleton->obj, *egress->obj));
        error = proxzzy_egress_bpf__load(egress.get());
    }
    if (error != 0) {
        if (error == -EPERM || error == -EACCES)
            return fail(Errc::permission,
                        "the kernel refuses our programs: proxzzyd needs CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN and "
                        "CAP_NET_RAW; run it as root");
        return fail_errno("the kernel does not load our programs (Linux 6.1 or later is needed; --log-level debug "
                          "shows the verifier's words)",
                          -error);
    }

    for (std::uint32_t host = 0; host < std::min(before.live.size(), options.max_hosts); host++) {
        const auto old = before.live.at<pz_live>(host);
        pz_live live{};
        live.released = old.released;
        live.last_seen_ns = old.last_seen_ns;
        PZ_TRY(update(maps.pz_live_v1, &host, &live, "what the owners said"));
    }
    FilterBitmap addresses = PZ_TRY(FilterBitmap::open(bpf_map__fd(maps.pz_addr_bits_v1), bits));
    FilterBitmap macs = PZ_TRY(FilterBitmap::open(bpf_map__fd(maps.pz_mac_bits_v1), bits));
    return Loaded{std::move(skeleton), std::move(egress), std::move(addresses), std::move(macs), std::move(before)};
}

Result<std::unique_ptr<Fastpath>> Fastpath::open(const Options& options) {
    libbpf_set_print(log_libbpf);
    PinDirectory pins = PZ_TRY(PinDirectory::open(options.bpffs));
    auto loaded = load(pins, options);
    if (!loaded) {
        if (pins.links().empty()) // else the programs of a daemon that was killed still answer
            pins.remove_all();
        return std::unexpected(std::move(loaded).error());
    }
    pz_daemon daemon{};
    daemon.abi_version = PZ_ABI_VERSION;
    daemon.pid = static_cast<std::uint32_t>(::getpid());
    daemon.answer_without_daemon_ns = static_cast<std::uint64_t>(options.answer_without_daemon.count());
    std::copy_n(options.magic_ports.begin(), std::min<std::size_t>(options.magic_ports.size(), PZ_MAX_MAGIC_PORTS),
                daemon.magic_ports);
    return std::unique_ptr<Fastpath>(new Fastpath(std::move(pins), *std::move(loaded), daemon));
}

Result<> Fastpath::pin_maps() {
    if (!before_.heartbeat) // nobody watches over what they answer for: a later daemon must not take it for ours
        for (const auto& name : pins_.links())
            pins_.remove_link(name);
    pins_.remove_maps();
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, skeleton_->obj) {
        const std::string_view name = bpf_map__name(map);
        if (!name.starts_with("pz_"))
            continue; // .rodata
        const std::string path = pins_.map_path(name);
        if (bpf_map__pin(map, path.c_str()) != 0)
            return fail_errno("cannot pin " + path, errno);
    }
    return {};
}

Result<XdpMode> Fastpath::attach(const std::string& interface, int ifindex) {
    const XdpMode mode =
        PZ_TRY(attach_xdp(pins_, interface, ifindex, bpf_program__fd(skeleton_->progs.proxzzy_ingress)));
    attached_.insert(interface);
    return mode;
}

void Fastpath::detach(const std::string& interface) {
    if (attached_.erase(interface) != 0)
        pins_.remove_link(interface);
}

void Fastpath::drop_other_links() {
    for (const auto& name : pins_.links())
        if (!attached_.contains(name))
            pins_.remove_link(name);
    for (const int ifindex : pins_.egress_devices())
        if (std::ranges::find(egress_devices_, ifindex) == egress_devices_.end())
            pins_.remove_egress(ifindex);
}

Result<> Fastpath::attach_egress(int ifindex) {
    PZ_TRY(fastpath::attach_egress(pins_, ifindex, bpf_program__fd(egress_->progs.proxzzy_egress)));
    egress_devices_.push_back(ifindex);
    return {};
}

void Fastpath::detach_egress(int ifindex) {
    std::erase(egress_devices_, ifindex);
    pins_.remove_egress(ifindex);
}

void Fastpath::detach_all() {
    pins_.remove_all();
}

Result<> Fastpath::set_segment(const pz_segment_key& key, std::uint32_t segment, const MacAddress& interface_mac) {
    pz_segment value{.segment = segment, .mac = {}, .pad = {}};
    std::ranges::copy(interface_mac.bytes, value.mac);
    return update(skeleton_->maps.pz_segments_v1, &key, &value, "segments");
}

void Fastpath::remove_segment(const pz_segment_key& key) {
    bpf_map_delete_elem(bpf_map__fd(skeleton_->maps.pz_segments_v1), &key);
}

Result<> Fastpath::write_policy(std::uint32_t host, const pz_policy& policy) {
    return update(skeleton_->maps.pz_policy_v1, &host, &policy, "policies");
}

Result<> Fastpath::program(const HostEntry& entry, pz_stage stage, bool with_addresses) {
    forget(entry.host);
    Programmed& programmed = programmed_[entry.host];
    programmed.segment = entry.segment;
    programmed.policy = entry.policy;
    programmed.policy.stage = static_cast<std::uint8_t>(stage);
    const auto write = [&]() -> Result<> {
        // policy first, filter bits last: a frame finds either nothing or everything
        PZ_TRY(write_policy(entry.host, programmed.policy));
        for (const auto& mac : entry.macs) {
            const pz_mac_key key = mac_key(entry.segment, mac);
            const pz_owner value{.host = entry.host};
            PZ_TRY(update(skeleton_->maps.pz_by_mac_v1, &key, &value, "MACs"));
            mac_bits_.add(filter_hash(mac));
            programmed.macs.push_back(mac);
        }
        if (!with_addresses)
            return {};
        pz_index value{};
        std::ranges::copy(entry.answer_mac.bytes, value.mac);
        value.flags = entry.index_flags;
        value.host = entry.host;
        value.generation = entry.policy.generation;
        for (const auto& address : entry.addresses) {
            if (address.is_v4()) {
                const pz_index4_key key = key4(entry.segment, address);
                PZ_TRY(update(skeleton_->maps.pz_index4_v1, &key, &value, "IPv4 addresses"));
            } else {
                const pz_index6_key key = key6(entry.segment, address);
                PZ_TRY(update(skeleton_->maps.pz_index6_v1, &key, &value, "IPv6 addresses"));
            }
            address_bits_.add(filter_hash(address));
            programmed.addresses.push_back(address);
        }
        return {};
    };
    if (auto written = write(); !written) {
        forget(entry.host);
        return written;
    }
    return {};
}

Result<> Fastpath::watch(const HostEntry& entry, pz_stage stage) {
    return program(entry, stage, false);
}

Result<> Fastpath::serve(const HostEntry& entry) {
    return program(entry, PZ_STAGE_ASLEEP, true);
}

Result<> Fastpath::set_stage(std::uint32_t host, pz_stage stage) {
    const auto found = programmed_.find(host);
    if (found == programmed_.end())
        return {}; // forgotten in between
    found->second.policy.stage = static_cast<std::uint8_t>(stage);
    return write_policy(host, found->second.policy);
}

void Fastpath::remove_address(std::uint32_t segment, const IpAddress& address) {
    address_bits_.remove(filter_hash(address));
    if (address.is_v4()) {
        const pz_index4_key key = key4(segment, address);
        bpf_map_delete_elem(bpf_map__fd(skeleton_->maps.pz_index4_v1), &key);
    } else {
        const pz_index6_key key = key6(segment, address);
        bpf_map_delete_elem(bpf_map__fd(skeleton_->maps.pz_index6_v1), &key);
    }
}

void Fastpath::stop_answering(std::uint32_t host, const std::optional<IpAddress>& address) {
    const auto found = programmed_.find(host);
    if (found == programmed_.end())
        return;
    auto& programmed = found->second;
    std::erase_if(programmed.addresses, [&](const IpAddress& held) {
        if (address && held != *address)
            return false;
        remove_address(programmed.segment, held);
        return true;
    });
}

void Fastpath::forget(std::uint32_t host) {
    const auto found = programmed_.find(host);
    if (found == programmed_.end())
        return;
    stop_answering(host, std::nullopt);
    for (const auto& mac : found->second.macs) {
        mac_bits_.remove(filter_hash(mac));
        const pz_mac_key key = mac_key(found->second.segment, mac);
        pz_owner owner{};
        const int owners = bpf_map__fd(skeleton_->maps.pz_by_mac_v1);
        if (bpf_map_lookup_elem(owners, &key, &owner) == 0 && owner.host == host) // else it has gone to another host
            bpf_map_delete_elem(owners, &key);
    }
    const pz_policy none{};
    if (auto cleared = write_policy(host, none); !cleared)
        spdlog::warn("{}", cleared.error().message);
    programmed_.erase(found);
}

pz_live Fastpath::live(std::uint32_t host) const {
    pz_live live{};
    bpf_map_lookup_elem(bpf_map__fd(skeleton_->maps.pz_live_v1), &host, &live);
    if (before_.live) { // what the programs before saw until they were replaced
        const auto before = before_.live.at<pz_live>(host);
        live.released = std::max(live.released, before.released);
        live.last_seen_ns = std::max(live.last_seen_ns, before.last_seen_ns);
        live.last_trigger_ns = std::max(live.last_trigger_ns, before.last_trigger_ns);
    }
    return live;
}

pz_stage Fastpath::stage_before(const std::string& interface, int ifindex, std::uint32_t host,
                                std::uint32_t generation) const {
    if (pins_.attached_to(interface) != static_cast<std::uint32_t>(ifindex))
        return PZ_STAGE_NONE;
    const auto policy = before_.policy.at<pz_policy>(host);
    return policy.generation == generation ? static_cast<pz_stage>(policy.stage) : PZ_STAGE_NONE;
}

std::uint32_t Fastpath::last_generation() const {
    std::uint32_t last = 0;
    for (std::uint32_t host = 0; host < before_.policy.size(); host++)
        last = std::max({last, before_.policy.at<pz_policy>(host).generation, live(host).released});
    return last;
}

Result<> Fastpath::heartbeat(Instant now) {
    const std::uint32_t zero = 0;
    daemon_.heartbeat_ns = to_ns(now);
    return update(skeleton_->maps.pz_daemon_v1, &zero, &daemon_, "the daemon's heartbeat");
}

std::vector<ReasonCount> Fastpath::counters() const {
    std::vector<ReasonCount> counts(reasons.begin(), reasons.end());
    const int cpus = libbpf_num_possible_cpus();
    if (cpus <= 0)
        return counts;
    std::vector<pz_counter> values(static_cast<std::size_t>(cpus));
    for (std::uint32_t reason = 0; reason < PZ_REASON_COUNT; reason++) {
        if (bpf_map_lookup_elem(bpf_map__fd(skeleton_->maps.pz_counters_v1), &reason, values.data()) != 0)
            continue;
        for (const auto& value : values)
            counts[reason].frames += value.frames;
    }
    return counts;
}

Result<Verdict> Fastpath::explain(int ifindex, ByteView frame, Direction direction) {
    if (!dry_run_)
        dry_run_ = PZ_TRY(DryRun::open(*skeleton_));
    return dry_run_->run(ifindex, frame, direction);
}

int Fastpath::triggers_fd() const {
    return bpf_map__fd(skeleton_->maps.pz_triggers_v1);
}

int Fastpath::overheard_fd() const {
    return bpf_map__fd(skeleton_->maps.pz_overheard_v1);
}

} // namespace pz::fastpath
