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
      tables_(std::move(loaded.tables)), rules_(skeleton_->maps.pz_rules_v1), daemon_(daemon),
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
        info.max_entries != bpf_map__max_entries(map) || info.map_flags != bpf_map__map_flags(map))
        return {};
    return pinned;
}

/// The pinned array of that name, or the one that an earlier version had instead.
PinnedArray open_any_version(const PinDirectory& pins, const bpf_map* map) {
    std::string name = bpf_map__name(map); // pz_..._v2
    PinnedArray array;
    for (; !array && name.back() != '0'; name.back()--)
        array = PinnedArray::open(pins.map_path(name));
    return array;
}

/// What a daemon that is gone left in the pinned maps.  If theirs are like ours, the programs of `skeleton` use its
/// pz_live_v2 and its rings.
Fastpath::Before Fastpath::take_over(const PinDirectory& pins, proxzzy_bpf& skeleton) {
    const auto& maps = skeleton.maps;
    const auto pinned = [&](const bpf_map* map) { return open_any_version(pins, map); };
    const auto links = pins.links();
    if (links.empty())
        return {};
    const auto daemon = pinned(maps.pz_daemon_v2).at<pz_daemon>(0);
    Before before{.heartbeat = instant_from_ns(daemon.heartbeat_ns),
                  .policy = pinned(maps.pz_policy_v2),
                  .live = pinned(maps.pz_live_v2),
                  .devices = {}};
    for (const auto& name : links)
        before.devices.emplace(name, pins.attached_to(name));
    if (to_ns(std::chrono::steady_clock::now()) - daemon.heartbeat_ns >= daemon.answer_without_daemon_ns ||
        !before.policy || !before.live)
        return {};
    const std::array shared{maps.pz_live_v2, maps.pz_released_v1, maps.pz_triggers_v1, maps.pz_overheard_v1};
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
    auto& maps = skeleton->maps;
    const std::uint32_t buckets4 = buckets_for(options.max_addresses4);
    const std::uint32_t buckets6 = buckets_for(options.max_addresses6);
    const std::uint32_t buckets_mac = buckets_for(options.max_macs);
    const auto filter_entries = [](std::uint32_t buckets) { return (buckets + PZ_FILTER_WORDS - 1) / PZ_FILTER_WORDS; };
    bpf_map__set_max_entries(maps.pz_index4_v2, buckets4);
    bpf_map__set_max_entries(maps.pz_index6_v2, buckets6);
    bpf_map__set_max_entries(maps.pz_by_mac_v2, buckets_mac);
    bpf_map__set_max_entries(maps.pz_bits4_v1, filter_entries(buckets4));
    bpf_map__set_max_entries(maps.pz_bits6_v1, filter_entries(buckets6));
    bpf_map__set_max_entries(maps.pz_bits_mac_v1, filter_entries(buckets_mac));
    bpf_map__set_max_entries(maps.pz_policy_v2, options.max_hosts);
    bpf_map__set_max_entries(maps.pz_rules_v1, options.max_hosts);
    bpf_map__set_max_entries(maps.pz_live_v2, options.max_hosts);
    bpf_map__set_max_entries(maps.pz_released_v1, (options.max_hosts + 63) / 64);
    const auto tell_sizes = [&](auto& rodata) {
        rodata.buckets4 = buckets4;
        rodata.buckets6 = buckets6;
        rodata.buckets_mac = buckets_mac;
        rodata.plain_hash = options.plain_hash ? 1 : 0;
    };
    tell_sizes(*skeleton->rodata);
    EgressSkeleton egress(proxzzy_egress_bpf__open());
    if (!egress)
        return fail_errno("cannot open the kernel programs", errno);
    tell_sizes(*egress->rodata);
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

    Tables tables = PZ_TRY(open_tables(*skeleton, options));
    for (std::uint32_t host = 0; host < std::min(before.live.size(), options.max_hosts); host++) {
        const auto old = before.live.at<pz_live>(host);
        tables.live[host] = {};
        tables.live[host].released = old.released;
        tables.live[host].last_seen_ns = old.last_seen_ns;
    }
    return Loaded{std::move(skeleton), std::move(egress), std::move(tables), std::move(before)};
}

Result<Fastpath::Tables> Fastpath::open_tables(proxzzy_bpf& skeleton, const Options& options) {
    const auto& maps = skeleton.maps;
    const int btf = bpf_object__btf_fd(skeleton.obj);
    return Tables{
        .index4 = PZ_TRY(SlotTable<Slots4>::open(
            {maps.pz_index4_v2, maps.pz_bits4_v1, maps.pz_more4_v1, maps.first_more4, btf}, options.plain_hash)),
        .index6 = PZ_TRY(SlotTable<Slots6>::open(
            {maps.pz_index6_v2, maps.pz_bits6_v1, maps.pz_more6_v1, maps.first_more6, btf}, options.plain_hash)),
        .by_mac = PZ_TRY(SlotTable<SlotsMac>::open(
            {maps.pz_by_mac_v2, maps.pz_bits_mac_v1, maps.pz_more_mac_v1, maps.first_more_mac, btf},
            options.plain_hash)),
        .policy = PZ_TRY(MappedArray<pz_policy>::open(maps.pz_policy_v2)),
        .live = PZ_TRY(MappedArray<pz_live>::open(maps.pz_live_v2)),
        .released = PZ_TRY(MappedArray<pz_released>::open(maps.pz_released_v1)),
        .ports = PZ_TRY(MappedArray<pz_port>::open(maps.pz_ports_v1)),
    };
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
    daemon.event_interval_ms = static_cast<std::uint32_t>(options.event_interval.count());
    daemon.event_burst = options.event_burst;
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
    if (segment > PZ_MAX_SEGMENT)
        return fail(Errc::limit, "the kernel table of segments is full");
    pz_segment& value = segments_[key];
    value = {.segment = segment, .mac = {}, .pad = {}, .xsk_first = 0, .xsk_count = 0};
    std::ranges::copy(interface_mac.bytes, value.mac);
    PZ_TRY(write_segment(key));
    pz_port& port = tables_.ports[key.ifindex % PZ_PORTS];
    if (key.outer_vid != 0 || (port.ifindex != 0 && port.ifindex != key.ifindex))
        return {};
    pz_port next{.ifindex = key.ifindex, .segment = segment, .mac = {}, .pad = {}};
    std::ranges::copy(interface_mac.bytes, next.mac);
    const auto words = std::bit_cast<std::array<std::uint64_t, 2>>(next);
    word_at(&port, 8).store(words[1]);
    word_at(&port).store(words[0]);
    return {};
}

void Fastpath::remove_segment(const pz_segment_key& key) {
    pz_port& port = tables_.ports[key.ifindex % PZ_PORTS];
    if (key.outer_vid == 0 && port.ifindex == key.ifindex)
        word_at(&port).store(0);
    bpf_map_delete_elem(bpf_map__fd(skeleton_->maps.pz_segments_v2), &key);
    segments_.erase(key);
}

/// As it is in `segments_`, with the sockets that its device has now.
Result<> Fastpath::write_segment(const pz_segment_key& key) {
    pz_segment& value = segments_.at(key);
    const auto found = xsks_.find(key.ifindex);
    const Range range = found == xsks_.end() ? Range{} : found->second;
    value.xsk_first = range.first;
    value.xsk_count = range.count;
    return update(skeleton_->maps.pz_segments_v2, &key, &value, "segments");
}

Result<std::uint32_t> Fastpath::room_for_xsks(std::uint32_t count) const {
    std::vector<Range> taken;
    taken.reserve(xsks_.size() + 1);
    for (const auto& [ifindex, range] : xsks_)
        taken.push_back(range);
    std::ranges::sort(taken, {}, &Range::first);
    taken.push_back({.first = PZ_XSKS, .count = 0});
    std::uint32_t first = 0;
    for (const Range& range : taken) {
        if (range.first - first >= count)
            return first;
        first = range.first + range.count;
    }
    return fail(Errc::limit, "the kernel table of AF_XDP sockets is full");
}

void Fastpath::clear_xsks(std::uint32_t first, std::uint32_t count) {
    for (std::uint32_t at = first; at < first + count; at++)
        bpf_map_delete_elem(bpf_map__fd(skeleton_->maps.pz_xsks_v1), &at);
}

Result<> Fastpath::set_xsks(int ifindex, std::span<const int> sockets) {
    const auto device = static_cast<std::uint32_t>(ifindex);
    const auto write_segments = [&]() -> Result<> {
        for (const auto& [key, value] : segments_)
            if (key.ifindex == device)
                PZ_TRY(write_segment(key));
        return {};
    };
    if (const auto had = xsks_.find(device); had != xsks_.end()) {
        const Range range = had->second;
        xsks_.erase(had);
        PZ_TRY(write_segments());
        clear_xsks(range.first, range.count);
    }
    if (sockets.empty())
        return {};
    const auto count = static_cast<std::uint32_t>(sockets.size());
    const std::uint32_t first = PZ_TRY(room_for_xsks(count));
    for (std::uint32_t i = 0; i < count; i++) {
        const std::uint32_t at = first + i;
        if (auto put = update(skeleton_->maps.pz_xsks_v1, &at, &sockets[i], "AF_XDP sockets"); !put) {
            clear_xsks(first, i);
            return put;
        }
    }
    xsks_[device] = {.first = first, .count = count};
    return write_segments();
}

Result<> Fastpath::listen(std::uint32_t segment, const IpAddress& group, std::uint8_t options) {
    if (options == 0) {
        unlisten(segment, group);
        return {};
    }
    // UNANSWERED: so that nothing takes it for an address to answer for
    const pz_index value{.mac = {options}, .flags = PZ_INDEX_UNANSWERED, .host = PZ_LISTENERS};
    const Reference reference = PZ_TRY(put(segment, group, value));
    listened_.insert_or_assign({segment, group}, reference);
    return {};
}

void Fastpath::unlisten(std::uint32_t segment, const IpAddress& group) {
    if (const auto found = listened_.find({segment, group}); found != listened_.end()) {
        erase(PZ_LISTENERS, found->second);
        listened_.erase(found);
    }
}

void Fastpath::write_policy(std::uint32_t host, const pz_policy& policy) {
    const auto words = std::bit_cast<std::array<std::uint64_t, 2>>(policy);
    word_at(&tables_.policy[host], 8).store(words[1]);
    word_at(&tables_.policy[host]).store(words[0]);
}

/// Clears the host's bit unless this very generation is released.  A program that marks it so meanwhile writes the
/// generation first and sets the bit then: either it is seen here, or the bit is set after it was cleared.
void Fastpath::note_released(std::uint32_t host, std::uint32_t generation) {
    const std::uint64_t bit = 1ULL << (host % 64);
    const auto word = word_at(&tables_.released[host / 64]);
    word.fetch_and(~bit);
    if (std::atomic_ref(tables_.live[host].released).load() == generation)
        word.fetch_or(bit);
}

Result<Fastpath::Reference> Fastpath::put(std::uint32_t segment, const IpAddress& address, const pz_index& value) {
    if (address.is_v4())
        return Reference(In::table4, PZ_TRY(tables_.index4.put(key4(segment, address), value)));
    return Reference(In::table6, PZ_TRY(tables_.index6.put(key6(segment, address), value)));
}

/// Unless it has gone to another host meanwhile.
void Fastpath::erase(std::uint32_t host, Reference reference) {
    const auto erase_from = [&](auto& table) {
        if (const auto entry = table.at(reference.place); entry && entry->value.host == host)
            table.erase(reference.place);
    };
    switch (reference.in) {
    case In::table4:
        return erase_from(tables_.index4);
    case In::table6:
        return erase_from(tables_.index6);
    case In::macs:
        return erase_from(tables_.by_mac);
    }
}

Result<> Fastpath::program(const HostEntry& entry, pz_stage stage, bool with_addresses) {
    for (const auto& mac : entry.macs)
        tables_.by_mac.prefetch(mac_key(entry.segment, mac));
    if (with_addresses)
        for (const auto& address : entry.addresses)
            address.is_v4() ? tables_.index4.prefetch(key4(entry.segment, address))
                            : tables_.index6.prefetch(key6(entry.segment, address));
    if (programmed_.size() <= entry.host)
        programmed_.resize(entry.host + 1);
    Programmed before = std::exchange(programmed_[entry.host], {});
    Programmed& programmed = programmed_[entry.host];
    const std::uint32_t rules_before = tables_.policy[entry.host].rules;
    const auto write = [&]() -> Result<> {
        // policy first, filter bits last: a frame finds either nothing or everything
        pz_policy policy = entry.policy;
        policy.stage = static_cast<std::uint8_t>(stage);
        policy.rules = PZ_TRY(rules_.take(entry.rules));
        note_released(entry.host, policy.generation);
        write_policy(entry.host, policy);
        rules_.release(rules_before);
        for (const auto& mac : entry.macs)
            programmed.emplace_back(
                In::macs, PZ_TRY(tables_.by_mac.put(mac_key(entry.segment, mac), pz_owner{.host = entry.host})));
        if (!with_addresses)
            return {};
        pz_index value{.mac = {}, .flags = entry.index_flags, .host = entry.host};
        if (stage == PZ_STAGE_UNANSWERED)
            value.flags |= PZ_INDEX_UNANSWERED;
        std::ranges::copy(entry.answer_mac.bytes, value.mac);
        for (const auto& address : entry.addresses)
            programmed.push_back(PZ_TRY(put(entry.segment, address, value)));
        return {};
    };
    auto written = write();
    // what was there and is not wanted any more goes last, so that what stays is never away
    for (const Reference reference : before)
        if (std::ranges::find(programmed, reference) == programmed.end())
            erase(entry.host, reference);
    if (!written)
        forget(entry.host);
    return written;
}

Result<> Fastpath::watch(const HostEntry& entry, pz_stage stage) {
    return program(entry, stage, false);
}

Result<> Fastpath::serve(const HostEntry& entry, pz_stage stage) {
    return program(entry, stage, true);
}

Result<> Fastpath::set_stage(std::uint32_t host, pz_stage stage) {
    if (host >= programmed_.size() || programmed_[host].empty())
        return {}; // forgotten in between
    pz_policy policy = tables_.policy[host];
    const auto was = std::exchange(policy.stage, static_cast<std::uint8_t>(stage));
    write_policy(host, policy);
    if ((was == PZ_STAGE_UNANSWERED) == (stage == PZ_STAGE_UNANSWERED))
        return {};
    const auto flag = [&](auto& table, Place place) -> Result<> {
        auto entry = table.at(place);
        if (!entry || entry->value.host != host)
            return {};
        entry->value.flags ^= PZ_INDEX_UNANSWERED;
        static_cast<void>(PZ_TRY(table.put(entry->key, entry->value))); // one word: it stays at its place
        return {};
    };
    for (const auto [place, in] : programmed_[host]) {
        if (in == In::table4)
            PZ_TRY(flag(tables_.index4, place));
        if (in == In::table6)
            PZ_TRY(flag(tables_.index6, place));
    }
    return {};
}

void Fastpath::stop_answering(std::uint32_t host, const std::optional<IpAddress>& address) {
    if (host >= programmed_.size())
        return;
    const auto has = [](const auto& entry, auto bytes) {
        return entry && std::ranges::equal(entry->key.address, bytes);
    };
    const auto is_address = [&](Reference reference) {
        if (reference.in == In::table4 && (!address || address->is_v4()))
            return !address || has(tables_.index4.at(reference.place), std::span(address->bytes).first<4>());
        if (reference.in == In::table6 && (!address || !address->is_v4()))
            return !address || has(tables_.index6.at(reference.place), std::span(address->bytes));
        return false;
    };
    auto& programmed = programmed_[host];
    const auto [first, last] = std::ranges::remove_if(programmed, [&](Reference reference) {
        if (!is_address(reference))
            return false;
        erase(host, reference);
        return true;
    });
    programmed.erase(first, last);
}

void Fastpath::forget(std::uint32_t host) {
    if (host >= programmed_.size())
        return;
    for (const Reference reference : std::exchange(programmed_[host], {}))
        erase(host, reference);
    rules_.release(tables_.policy[host].rules);
    write_policy(host, {});
}

pz_live Fastpath::live(std::uint32_t host) const {
    pz_live live = host < tables_.live.size() ? tables_.live[host] : pz_live{}; // there may have been more before
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
    const auto device = before_.devices.find(interface);
    if (device == before_.devices.end() || device->second != static_cast<std::uint32_t>(ifindex))
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
    return update(skeleton_->maps.pz_daemon_v2, &zero, &daemon_, "the daemon's heartbeat");
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
