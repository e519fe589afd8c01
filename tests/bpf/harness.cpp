// SPDX-License-Identifier: Apache-2.0
// The kernel program under test: loading, maps, running frames, comparing.
#include "harness.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/pkt_cls.h>

#include <ctime>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <numeric>

#include <fmt/format.h>

#include "proxzzy.skel.h"
#include "proxzzy_egress.skel.h"

namespace pz::test {
namespace {

constexpr std::array<std::string_view, PZ_REASON_COUNT> reason_names = {
#define PZ_TEST_NAME(id, name, sentence) name,
    PZ_REASONS(PZ_TEST_NAME)
#undef PZ_TEST_NAME
};

constexpr std::uint32_t max_hosts = 1024;
constexpr std::uint32_t buckets = 1024;

std::uint16_t index_flags(const Host& host) {
    const bool answered = host.stage == PZ_STAGE_ASLEEP || host.stage == PZ_STAGE_WAKING;
    return static_cast<std::uint16_t>(host.index_flags | (answered ? 0 : PZ_INDEX_UNANSWERED));
}

std::uint64_t little_endian(ByteView bytes) {
    std::uint64_t value = 0;
    for (auto i = bytes.size(); i-- > 0;)
        value = value << 8 | bytes[i];
    return value;
}

int collect(void* list, void* data, std::size_t size) {
    Event event{.header = {}, .frame = {}, .record_size = size};
    std::memcpy(&event.header, data, sizeof event.header);
    const auto* bytes = static_cast<const std::uint8_t*>(data);
    const auto captured = std::min<std::size_t>(event.header.frame_captured, size - sizeof event.header);
    event.frame.assign(bytes + sizeof event.header, bytes + sizeof event.header + captured);
    static_cast<std::vector<Event>*>(list)->push_back(std::move(event));
    return 0;
}

std::string_view verdict_name(std::uint32_t verdict) {
    switch (verdict) {
    case XDP_ABORTED:
        return "XDP_ABORTED";
    case XDP_DROP:
        return "XDP_DROP";
    case XDP_PASS:
        return "XDP_PASS";
    case XDP_TX:
        return "XDP_TX";
    case XDP_REDIRECT:
        return "XDP_REDIRECT";
    default:
        return "unknown verdict";
    }
}

std::uint32_t xdp_action(std::uint32_t tc_action) {
    switch (static_cast<int>(tc_action)) {
    case TC_ACT_UNSPEC: // others' filters come next
        return XDP_PASS;
    case TC_ACT_STOLEN:
        return XDP_DROP;
    case TC_ACT_REDIRECT:
        return XDP_TX;
    default:
        return XDP_ABORTED;
    }
}

std::string address_text(const Address& address) {
    if (const auto* v4 = std::get_if<Ip4Address>(&address))
        return to_string(*v4);
    if (const auto* v6 = std::get_if<Ip6Address>(&address))
        return to_string(*v6);
    return "none";
}

Address event_address(const pz_event& event) {
    Ip4Address v4;
    Ip6Address v6;
    switch (event.family) {
    case PZ_FAMILY_4:
        std::copy_n(event.address, v4.bytes.size(), v4.bytes.begin());
        return v4;
    case PZ_FAMILY_6:
        std::copy_n(event.address, v6.bytes.size(), v6.bytes.begin());
        return v6;
    default:
        return {};
    }
}

std::string event_text(const Event& event) {
    const auto& h = event.header;
    Mac mac;
    std::copy_n(h.mac, 6, mac.bytes.begin());
    return fmt::format("kind {} reason {} host {} generation {} segment {} ifindex {} length {} captured {} mac {} "
                       "address {} detail {} port {} protocol {} record {}",
                       h.kind, reason_name(h.reason), h.host, h.generation, h.segment, h.ifindex, h.frame_length,
                       h.frame_captured, to_string(mac), address_text(event_address(h)), h.detail, h.port, h.protocol,
                       event.record_size);
}

/// What is wrong with `event`; empty if nothing.
std::string compare(const Event& event, const ExpectedEvent& want, const Host& host, ByteView frame) {
    const auto& h = event.header;
    std::string wrong;
    const auto expect = [&](std::string_view field, const auto& wanted, const auto& got) {
        if (wanted != got)
            wrong += fmt::format("  {}: wanted {}, got {}\n", field, wanted, got);
    };
    expect("kind", want.kind, h.kind);
    expect("host", host.id, h.host);
    expect("generation", host.generation, h.generation);
    expect("segment", want.segment.value_or(host.segment), h.segment);
    expect("ifindex", test_ifindex, h.ifindex);
    expect("frame_length", frame.size(), std::size_t{h.frame_length});
    if (want.reason)
        expect("reason", reason_name(*want.reason), reason_name(h.reason));
    if (want.detail)
        expect("detail", *want.detail, h.detail);
    if (want.address)
        expect("address", address_text(*want.address), address_text(event_address(h)));
    if (want.port)
        expect("port", *want.port, h.port);
    if (want.protocol)
        expect("protocol", *want.protocol, h.protocol);
    if (want.mac) {
        Mac mac;
        std::copy_n(h.mac, 6, mac.bytes.begin());
        expect("mac", to_string(*want.mac), to_string(mac));
    }
    const auto now = monotonic_ns();
    if (h.time_ns > now || now - h.time_ns > 60'000'000'000)
        wrong += fmt::format("  time_ns {} is not now ({})\n", h.time_ns, now);
    for (const auto byte : h.pad)
        if (byte != 0)
            wrong += "  pad is not zero\n";
    if (want.check_frame) {
        if (want.carries_frame && !std::ranges::equal(event.frame, frame))
            wrong += "  frame in the event differs:\n" + hexdiff(frame, event.frame);
        if (!want.carries_frame && h.frame_captured != 0)
            wrong += "  the event carries a frame and should not\n";
        const std::size_t size = !want.carries_frame || frame.size() <= PZ_EVENT_SMALL_FRAME ? PZ_EVENT_SMALL_SIZE
                                 : frame.size() <= PZ_EVENT_LARGE_FRAME                      ? PZ_EVENT_LARGE_SIZE
                                                                                             : PZ_EVENT_JUMBO_SIZE;
        expect("record size", size, event.record_size);
    }
    return wrong;
}

} // namespace

std::uint64_t monotonic_ns() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
}

std::string_view reason_name(std::uint32_t reason) {
    return reason < reason_names.size() ? reason_names[reason] : "no such reason";
}

Expected triggered(std::uint32_t reason, ExpectedEvent event, std::uint32_t verdict) {
    event.kind = PZ_EVENT_TRIGGER;
    event.reason = reason;
    event.check_frame = true;
    return {.verdict = verdict, .reasons = {reason}, .triggers = {event}};
}

std::string Outcome::to_string() const {
    auto out = fmt::format("{} length {}", verdict_name(verdict), frame.size());
    for (const auto& [reason, count] : counted)
        out += fmt::format(", {} +{}", reason_name(reason), count);
    for (const auto& event : triggers)
        out += "\n  trigger ring: " + event_text(event);
    for (const auto& event : overheard)
        out += "\n  overheard ring: " + event_text(event);
    return out;
}

template <class Rodata>
void DataPath::configure(Rodata& rodata) {
    rodata.buckets4 = rodata.buckets6 = rodata.buckets_mac = buckets;
}

DataPath::DataPath() {
    libbpf_set_print([](libbpf_print_level level, const char* format, va_list arguments) {
        return level == LIBBPF_WARN && std::getenv("PROXZZY_BPF_LOG") != nullptr ? vfprintf(stderr, format, arguments)
                                                                                 : 0;
    });
    skeleton_ = proxzzy_bpf__open();
    if (skeleton_ == nullptr) {
        error_ = fmt::format("the BPF object cannot be opened: {}", strerror(errno));
        return;
    }
    configure(*skeleton_->rodata);
    auto& maps = skeleton_->maps;
    for (auto* host_array : {maps.pz_policy_v2, maps.pz_rules_v1, maps.pz_live_v2})
        bpf_map__set_max_entries(host_array, max_hosts);
    bpf_map__set_max_entries(maps.pz_released_v1, max_hosts / 64);
    for (auto* table : {maps.pz_index4_v2, maps.pz_index6_v2, maps.pz_by_mac_v2})
        bpf_map__set_max_entries(table, buckets);
    for (auto* filter : {maps.pz_bits4_v1, maps.pz_bits6_v1, maps.pz_bits_mac_v1})
        bpf_map__set_max_entries(filter, buckets / PZ_FILTER_WORDS);
    if (const auto result = proxzzy_bpf__load(skeleton_); result != 0) {
        denied_ = result == -EPERM;
        error_ = fmt::format("the BPF program cannot be loaded: {} (PROXZZY_BPF_LOG=1 shows the verifier's log)",
                             strerror(-result));
        return;
    }
    triggers_ring_ = ring_buffer__new(map("pz_triggers_v1"), collect, &triggers_, nullptr);
    overheard_ring_ = ring_buffer__new(map("pz_overheard_v1"), collect, &overheard_, nullptr);
    if (triggers_ring_ == nullptr || overheard_ring_ == nullptr)
        error_ = "a ring buffer cannot be mapped";
    const int btf = bpf_object__btf_fd(skeleton_->obj);
    auto index4 = fastpath::SlotTable<fastpath::Slots4>::open(
        {maps.pz_index4_v2, maps.pz_bits4_v1, maps.pz_more4_v1, maps.first_more4, btf}, false);
    auto index6 = fastpath::SlotTable<fastpath::Slots6>::open(
        {maps.pz_index6_v2, maps.pz_bits6_v1, maps.pz_more6_v1, maps.first_more6, btf}, false);
    auto by_mac = fastpath::SlotTable<fastpath::SlotsMac>::open(
        {maps.pz_by_mac_v2, maps.pz_bits_mac_v1, maps.pz_more_mac_v1, maps.first_more_mac, btf}, false);
    if (index4 && index6 && by_mac)
        tables_.emplace(*std::move(index4), *std::move(index6), *std::move(by_mac));
    else
        error_ = "a table cannot be mapped";
}

DataPath::~DataPath() {
    ring_buffer__free(triggers_ring_);
    ring_buffer__free(overheard_ring_);
    proxzzy_egress_bpf__destroy(egress_);
    proxzzy_bpf__destroy(skeleton_);
}

int DataPath::program() const {
    return bpf_program__fd(skeleton_->progs.proxzzy_ingress);
}

int DataPath::egress_program() const {
    return bpf_program__fd(egress_->progs.proxzzy_egress);
}

void DataPath::turn_to_egress() {
    egress_turn_ = true;
    if (egress_ != nullptr)
        return;
    egress_ = proxzzy_egress_bpf__open();
    ASSERT_NE(egress_, nullptr) << strerror(errno);
    configure(*egress_->rodata);
    bpf_map* shared = nullptr;
    bpf_object__for_each_map(shared, egress_->obj) {
        if (std::string_view(bpf_map__name(shared)).starts_with("pz_")) {
            ASSERT_EQ(bpf_map__reuse_fd(shared, map(bpf_map__name(shared))), 0) << strerror(errno);
        }
    }
    ASSERT_EQ(proxzzy_egress_bpf__load(egress_), 0) << "PROXZZY_BPF_LOG=1 shows the verifier's log";
}

int DataPath::map(const char* name) const {
    return bpf_object__find_map_fd_by_name(skeleton_->obj, name);
}

void DataPath::clear_hash(const char* name, std::size_t key_size) {
    const auto fd = map(name);
    Bytes key(key_size);
    while (bpf_map_get_next_key(fd, nullptr, key.data()) == 0)
        bpf_map_delete_elem(fd, key.data());
}

void DataPath::clear_askers() {
    std::vector<std::uint32_t> keys(PZ_ASKERS);
    std::iota(keys.begin(), keys.end(), 0U);
    const std::vector<pz_asker> values(keys.size());
    auto count = static_cast<std::uint32_t>(keys.size());
    ASSERT_EQ(bpf_map_update_batch(map("pz_askers_v1"), keys.data(), values.data(), &count, nullptr), 0)
        << strerror(errno);
}

void DataPath::reset() {
    clear_hash("pz_segments_v2", sizeof(pz_segment_key));
    const auto clear = [](auto& table, std::vector<fastpath::Place>& places) {
        for (const auto place : std::exchange(places, {}))
            table.erase(place);
    };
    clear(tables_->index4, in4_);
    clear(tables_->index6, in6_);
    clear(tables_->by_mac, in_macs_);
    const pz_filter_words zero{};
    for (const auto& [fd, entry] : std::exchange(filters_set_, {}))
        bpf_map_update_elem(fd, &entry, &zero, BPF_ANY);
    for (const auto& [id, host] : hosts_) {
        const pz_policy policy{};
        bpf_map_update_elem(map("pz_policy_v2"), &id, &policy, BPF_ANY);
        put_live(id, {});
    }
    hosts_.clear();
    clear_askers();
    xsk_count_ = 0;
    put_segments();
    put_daemon();
    drain();
}

int DataPath::wait_for_triggers() {
    constexpr int limit_ms = 1000;
    return ring_buffer__poll(triggers_ring_, limit_ms);
}

void DataPath::put_xsks(std::uint32_t first, std::span<const int> sockets) {
    xsk_first_ = first;
    xsk_count_ = static_cast<std::uint32_t>(sockets.size());
    for (const int socket : sockets) {
        const std::uint32_t at = first++;
        ASSERT_EQ(bpf_map_update_elem(map("pz_xsks_v1"), &at, &socket, BPF_ANY), 0) << strerror(errno);
    }
    put_segments();
}

void DataPath::put_segments() {
    put_segment(0, 0, segment_lan);
    put_segment(100, 0, segment_vlan100);
    put_segment(100, 200, segment_qinq);
}

void DataPath::put_segment(std::uint16_t outer, std::uint16_t inner, std::uint32_t segment, const Mac& mac) {
    const pz_segment_key key{.ifindex = test_ifindex, .outer_vid = outer, .inner_vid = inner};
    pz_segment value{.segment = segment, .mac = {}, .pad = {}, .xsk_first = xsk_first_, .xsk_count = xsk_count_};
    std::ranges::copy(mac.bytes, value.mac);
    ASSERT_EQ(bpf_map_update_elem(map("pz_segments_v2"), &key, &value, BPF_ANY), 0) << strerror(errno);
    if (outer != 0)
        return;
    pz_port port{.ifindex = test_ifindex, .segment = segment, .mac = {}, .pad = {}};
    std::ranges::copy(mac.bytes, port.mac);
    const std::uint32_t at = test_ifindex % PZ_PORTS;
    ASSERT_EQ(bpf_map_update_elem(map("pz_ports_v1"), &at, &port, BPF_ANY), 0) << strerror(errno);
}

void DataPath::set_filter_bits(const char* filter, std::uint64_t hash) {
    const auto bucket = pz_bucket_of(hash, buckets);
    const std::uint32_t entry = bucket / PZ_FILTER_WORDS;
    pz_filter_words words{};
    ASSERT_EQ(bpf_map_lookup_elem(map(filter), &entry, &words), 0) << strerror(errno);
    words.bits[bucket % PZ_FILTER_WORDS] |= pz_filter_bits(hash);
    ASSERT_EQ(bpf_map_update_elem(map(filter), &entry, &words, BPF_ANY), 0) << strerror(errno);
    filters_set_.emplace_back(map(filter), entry);
}
void DataPath::set_bit(const Ip4Address& address) {
    set_filter_bits("pz_bits4_v1", pz_hash4(static_cast<std::uint32_t>(little_endian(address.bytes))));
}
void DataPath::set_bit(const Ip6Address& address) {
    const ByteView bytes = address.bytes;
    set_filter_bits("pz_bits6_v1", pz_hash6(little_endian(bytes.subspan(0, 8)), little_endian(bytes.subspan(8, 8))));
}
void DataPath::set_bit(const Mac& mac) {
    set_filter_bits("pz_bits_mac_v1", pz_hash_mac(little_endian(mac.bytes)));
}

void DataPath::put_policy(const Host& host) {
    pz_policy policy{};
    policy.generation = host.generation;
    policy.stage = host.stage;
    policy.echo = host.echo;
    policy.flags = host.flags;
    policy.rules = host.id + 1;
    pz_rules rules{};
    if (host.secureon) {
        policy.flags |= PZ_POLICY_SECUREON;
        std::ranges::copy(*host.secureon, rules.secureon);
    }
    ASSERT_LE(host.rules.size(), std::size_t{PZ_MAX_RULES});
    rules.count = static_cast<std::uint8_t>(host.rules.size());
    std::ranges::copy(host.rules, rules.rules);
    ASSERT_EQ(bpf_map_update_elem(map("pz_rules_v1"), &policy.rules, &rules, BPF_ANY), 0) << strerror(errno);
    ASSERT_EQ(bpf_map_update_elem(map("pz_policy_v2"), &host.id, &policy, BPF_ANY), 0) << strerror(errno);
    hosts_[host.id] = host;
    const auto flag = [&](auto& table, const std::vector<fastpath::Place>& places) {
        for (const auto place : places) {
            auto entry = table.at(place);
            if (!entry || entry->value.host != host.id)
                continue;
            entry->value.flags = index_flags(host);
            ASSERT_TRUE(table.put(entry->key, entry->value));
        }
    };
    flag(tables_->index4, in4_);
    flag(tables_->index6, in6_);
    const std::uint32_t zero = 0;
    pz_daemon daemon{};
    ASSERT_EQ(bpf_map_lookup_elem(map("pz_daemon_v2"), &zero, &daemon), 0) << strerror(errno);
    daemon.event_interval_ms = host.event_interval_ms;
    daemon.event_burst = host.event_burst;
    ASSERT_EQ(bpf_map_update_elem(map("pz_daemon_v2"), &zero, &daemon, BPF_ANY), 0) << strerror(errno);
}

void DataPath::put_policy_keeping_rules(const Host& host) {
    const std::uint32_t key = host.id + 1;
    pz_rules before{};
    ASSERT_EQ(bpf_map_lookup_elem(map("pz_rules_v1"), &key, &before), 0) << strerror(errno);
    put_policy(host);
    pz_rules after{};
    ASSERT_EQ(bpf_map_lookup_elem(map("pz_rules_v1"), &key, &after), 0) << strerror(errno);
    for (std::size_t i = after.count; i < PZ_MAX_RULES; i++)
        after.rules[i] = before.rules[i];
    ASSERT_EQ(bpf_map_update_elem(map("pz_rules_v1"), &key, &after, BPF_ANY), 0) << strerror(errno);
}

std::size_t DataPath::overheard_ring_size() const {
    return bpf_map__max_entries(skeleton_->maps.pz_overheard_v1);
}

std::size_t DataPath::waiting_overheard() {
    ring_buffer__consume(overheard_ring_);
    return std::exchange(overheard_, {}).size();
}

std::size_t DataPath::trigger_ring_size() const {
    return bpf_map__max_entries(skeleton_->maps.pz_triggers_v1);
}

namespace {

void note(std::vector<fastpath::Place>& places, const Result<fastpath::Place>& place) {
    ASSERT_TRUE(place) << place.error().message;
    if (std::ranges::find(places, *place) == places.end())
        places.push_back(*place);
}

} // namespace

void DataPath::put(const Host& host) {
    put_policy(host);
    pz_index index{.mac = {}, .flags = index_flags(host), .host = host.id};
    std::ranges::copy(host.answer_mac.bytes, index.mac);
    for (const auto& address : host.ip4)
        put_index(host.segment, address, index);
    for (const auto& address : host.ip6)
        put_index(host.segment, address, index);
    for (const auto& mac : host.macs) {
        pz_mac_key key{.segment = host.segment, .mac = {}, .pad = {}};
        std::ranges::copy(mac.bytes, key.mac);
        note(in_macs_, tables_->by_mac.put(key, {.host = host.id}));
    }
}

void DataPath::put_index(std::uint32_t segment, const Ip4Address& address, const pz_index& index) {
    pz_index4_key key{.segment = segment, .address = {}};
    std::ranges::copy(address.bytes, key.address);
    note(in4_, tables_->index4.put(key, index));
}

void DataPath::put_index(std::uint32_t segment, const Ip6Address& address, const pz_index& index) {
    pz_index6_key key{.segment = segment, .address = {}};
    std::ranges::copy(address.bytes, key.address);
    note(in6_, tables_->index6.put(key, index));
}

void DataPath::put_daemon(std::uint64_t age_ns, std::uint64_t answer_without_daemon_ns) {
    const std::uint32_t key = 0;
    pz_daemon daemon{};
    ASSERT_EQ(bpf_map_lookup_elem(map("pz_daemon_v2"), &key, &daemon), 0) << strerror(errno); // keeps the allowance
    daemon.abi_version = PZ_ABI_VERSION;
    daemon.pid = 1;
    daemon.heartbeat_ns = monotonic_ns() - age_ns;
    daemon.answer_without_daemon_ns = answer_without_daemon_ns;
    constexpr std::array<std::uint16_t, 3> ports = {7, 9, 40000};
    std::ranges::copy(ports, daemon.magic_ports);
    ASSERT_EQ(bpf_map_update_elem(map("pz_daemon_v2"), &key, &daemon, BPF_ANY), 0) << strerror(errno);
}

pz_live DataPath::live(std::uint32_t host) const {
    pz_live value{};
    EXPECT_EQ(bpf_map_lookup_elem(map("pz_live_v2"), &host, &value), 0) << strerror(errno);
    return value;
}
void DataPath::put_live(std::uint32_t host, const pz_live& live) {
    ASSERT_EQ(bpf_map_update_elem(map("pz_live_v2"), &host, &live, BPF_ANY), 0) << strerror(errno);
    const std::uint32_t entry = host / 64;
    pz_released word{};
    ASSERT_EQ(bpf_map_lookup_elem(map("pz_released_v1"), &entry, &word), 0) << strerror(errno);
    const auto bit = std::uint64_t{1} << (host % 64);
    word.bits = live.released != 0 ? word.bits | bit : word.bits & ~bit;
    ASSERT_EQ(bpf_map_update_elem(map("pz_released_v1"), &entry, &word, BPF_ANY), 0) << strerror(errno);
}

void DataPath::put_released(std::uint32_t host, std::uint32_t generation) {
    pz_live live{};
    live.released = generation;
    put_live(host, live);
}

std::map<std::uint32_t, std::uint64_t> DataPath::counters() const {
    static const auto cpus = static_cast<std::size_t>(libbpf_num_possible_cpus());
    std::vector<pz_counter> values(cpus * PZ_REASON_COUNT);
    std::vector<std::uint32_t> keys(PZ_REASON_COUNT);
    const auto fd = map("pz_counters_v1");
    std::uint32_t position = 0;
    std::uint32_t count = PZ_REASON_COUNT;
    bpf_map_batch_opts options{};
    options.sz = sizeof options;
    // one system call for all; ENOENT says that the end was reached
    const auto result = bpf_map_lookup_batch(fd, nullptr, &position, keys.data(), values.data(), &count, &options);
    if ((result != 0 && result != -ENOENT) || count != PZ_REASON_COUNT) {
        // a kernel without batches for per-CPU arrays
        for (std::uint32_t reason = 0; reason < PZ_REASON_COUNT; reason++) {
            keys[reason] = reason;
            EXPECT_EQ(bpf_map_lookup_elem(fd, &reason, &values[reason * cpus]), 0) << strerror(errno);
        }
    }
    std::map<std::uint32_t, std::uint64_t> out;
    for (std::size_t i = 0; i < PZ_REASON_COUNT; i++)
        for (std::size_t cpu = 0; cpu < cpus; cpu++)
            out[keys[i]] += values[i * cpus + cpu].frames;
    return out;
}

void DataPath::drain() {
    ring_buffer__consume(triggers_ring_);
    ring_buffer__consume(overheard_ring_);
    triggers_.clear();
    overheard_.clear();
}

std::uint32_t DataPath::run_quickly(ByteView frame, Bytes& out) const {
    out.resize(frame.size() + 256);
    bpf_test_run_opts options{};
    options.sz = sizeof options;
    options.data_in = frame.data();
    options.data_size_in = static_cast<__u32>(frame.size());
    options.data_out = out.data();
    options.data_size_out = static_cast<__u32>(out.size());
    options.repeat = 1;
    __sk_buff context{};
    context.gso_size = gso_size_;
    if (egress_turn_) {
        options.ctx_in = &context;
        options.ctx_size_in = sizeof context;
    }
    const int chosen = !egress_turn_ ? program() : before_egress_ >= 0 ? before_egress_ : egress_program();
    if (const auto result = bpf_prog_test_run_opts(chosen, &options); result != 0) {
        ADD_FAILURE() << "BPF_PROG_TEST_RUN of " << frame.size() << " bytes: " << strerror(-result);
        out.clear();
        return XDP_ABORTED;
    }
    out.resize(options.data_size_out);
    return egress_turn_ ? xdp_action(options.retval) : options.retval;
}

Outcome DataPath::run(ByteView frame) {
    const auto before = counters();
    drain();
    Outcome outcome;
    outcome.verdict = run_quickly(frame, outcome.frame);
    for (const auto& [reason, count] : counters())
        if (const auto change = count - before.at(reason); change != 0)
            outcome.counted[reason] = change;
    ring_buffer__consume(triggers_ring_);
    ring_buffer__consume(overheard_ring_);
    outcome.triggers = std::exchange(triggers_, {});
    outcome.overheard = std::exchange(overheard_, {});
    const auto is_non_wake = [](const Event& event) { return event.header.kind == PZ_EVENT_NON_WAKE; };
    std::ranges::copy_if(outcome.overheard, std::back_inserter(outcome.non_wakes), is_non_wake);
    std::erase_if(outcome.overheard, is_non_wake);
    return outcome;
}

Outcome DataPath::check(const Packet& packet, const Expected& expected, std::source_location where) {
    return check(packet.bytes(), expected, packet.scapy(), where);
}

Outcome DataPath::check(ByteView frame, const Expected& expected, const std::string& what, std::source_location where) {
    auto outcome = run(frame);
    std::string wrong;
    if (outcome.verdict != expected.verdict)
        wrong += fmt::format("  verdict: wanted {}, got {}\n", verdict_name(expected.verdict),
                             verdict_name(outcome.verdict));
    const auto wanted_frame = expected.frame ? ByteView(*expected.frame) : frame;
    if (!std::ranges::equal(outcome.frame, wanted_frame))
        wrong += "  frame differs:\n" + hexdiff(wanted_frame, outcome.frame);
    std::uint64_t frames = 0;
    for (const auto& [reason, count] : outcome.counted)
        frames += count;
    if (frames != 1)
        wrong += fmt::format("  {} reasons were counted for one frame\n", frames);
    const auto counted = outcome.counted.empty() ? std::uint32_t{PZ_REASON_COUNT} : outcome.counted.begin()->first;
    if (!expected.reasons.empty() && std::ranges::count(expected.reasons, counted) == 0) {
        std::string names;
        for (const auto reason : expected.reasons)
            names += std::string(names.empty() ? "" : " or ") + std::string(reason_name(reason));
        wrong += fmt::format("  reason: wanted {}, got {}\n", names, reason_name(counted));
    }
    const auto compare_events = [&](std::string_view ring, const std::vector<Event>& got,
                                    const std::vector<ExpectedEvent>& want) {
        if (got.size() != want.size())
            wrong += fmt::format("  {} ring: wanted {} events, got {}\n", ring, want.size(), got.size());
        for (std::size_t i = 0; i < std::min(got.size(), want.size()); i++) {
            if (got[i].header.kind == PZ_EVENT_OPTION && got[i].header.generation == 0) {
                wrong += compare(got[i], want[i], Host{.id = 0, .generation = 0}, frame); // a group's
                continue;
            }
            const auto known = hosts_.find(got[i].header.host);
            if (got[i].header.kind == PZ_EVENT_ROUTER && got[i].header.kind == want[i].kind)
                continue; // no host's
            if (known == hosts_.end())
                wrong += fmt::format("  {} ring: host {} is nobody\n", ring, got[i].header.host);
            else
                wrong += compare(got[i], want[i], known->second, frame);
        }
    };
    compare_events("trigger", outcome.triggers, expected.triggers);
    compare_events("overheard", outcome.overheard, expected.overheard);
    for (const auto& event : outcome.non_wakes)
        if (event.header.reason != counted || !outcome.triggers.empty() ||
            !std::ranges::equal(event.frame, frame.first(std::min<std::size_t>(frame.size(), PZ_EVENT_SMALL_FRAME))))
            wrong += "  a non-wake is told of another reason or frame: " + event_text(event) + "\n";
    if (!wrong.empty())
        GTEST_MESSAGE_AT_(where.file_name(), static_cast<int>(where.line()), wrong.c_str(),
                          testing::TestPartResult::kNonFatalFailure)
            << "frame: " << what << "\n"
            << hexdump(frame.first(std::min<std::size_t>(frame.size(), 256))) << "outcome: " << outcome.to_string();
    return outcome;
}

std::unique_ptr<DataPath> DataPathTest::shared_;

void DataPathTest::SetUpTestSuite() {
    shared_ = std::make_unique<DataPath>();
}
void DataPathTest::TearDownTestSuite() {
    shared_.reset();
}
void DataPathTest::SetUp() {
    if (kernel().denied())
        PZ_SKIP_OR_FAIL("BPF is refused: CAP_BPF and CAP_NET_ADMIN are needed (" + kernel().error() + ")");
    ASSERT_EQ(kernel().error(), "");
    kernel().reset();
    kernel().put(Host{});
}

} // namespace pz::test
