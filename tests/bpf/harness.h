// SPDX-License-Identifier: Apache-2.0
// The kernel program under test: typed map filling, one frame at a time through BPF_PROG_TEST_RUN, and everything that
// one frame may change compared with what is wanted.
#pragma once

#include <linux/bpf.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <source_location>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include <gtest/gtest.h>

#include <proxzzy/abi/events.h>
#include <proxzzy/abi/explain.h>
#include <proxzzy/abi/maps.h>
#include <proxzzy/abi/reasons.h>

#include "fastpath/slot_table.h"
#include "packet.h"

struct proxzzy_bpf;
struct proxzzy_egress_bpf;
struct ring_buffer;

namespace pz::test {

/// BPF_PROG_TEST_RUN without a context receives on the loopback interface.
constexpr std::uint32_t test_ifindex = 1;
constexpr std::uint32_t segment_lan = 11, segment_vlan100 = 12, segment_qinq = 13;

std::string_view reason_name(std::uint32_t reason);

/// One host as the daemon would write it into the maps; the defaults are the sleeper of most cases.
struct Host {
    std::uint32_t id = 3;
    std::uint32_t generation = 7;
    std::uint32_t segment = segment_lan;
    std::vector<Mac> macs = {host_mac};
    Mac answer_mac = host_mac;
    std::uint16_t index_flags = 0; // PZ_INDEX_IDENTITY_PROXY or 0
    std::vector<Ip4Address> ip4 = {host_ip4};
    std::vector<Ip6Address> ip6 = {host_ip6(), host_link_local(), host_temporary_ip6()};
    std::uint8_t stage = PZ_STAGE_ASLEEP;
    std::uint8_t echo = PZ_ECHO_ANSWER;
    std::uint8_t flags = 0; // pz_policy_flag, but SECUREON
    std::optional<std::array<std::uint8_t, 6>> secureon = std::nullopt;
    std::uint32_t event_interval_ms = 0; // is the same for all hosts
    std::uint32_t event_burst = 0;
    std::vector<pz_rule> rules = {{.port = 22, .protocol = proto_tcp, .action = PZ_RULE_WAKE},
                                  {.port = 5060, .protocol = proto_udp, .action = PZ_RULE_WAKE}};
};

struct Event {
    pz_event header{};
    Bytes frame;             // the captured bytes
    std::size_t record_size; // PZ_EVENT_SMALL_SIZE, PZ_EVENT_LARGE_SIZE or PZ_EVENT_JUMBO_SIZE
};

/// CLOCK_MONOTONIC, as in events and pz_live.
std::uint64_t monotonic_ns();

struct Outcome {
    std::uint32_t verdict = 0;
    Bytes frame;
    std::map<std::uint32_t, std::uint64_t> counted; // by reason, changes only
    std::vector<Event> triggers;
    std::vector<Event> overheard; // without the non-wakes
    std::vector<Event> non_wakes;
    [[nodiscard]] std::string to_string() const;
};

using U8 = std::initializer_list<std::uint8_t>;
using U16 = std::initializer_list<std::uint16_t>;
using Address = std::variant<std::monostate, Ip4Address, Ip6Address>;

/// What of an event matters; unset fields are not compared.
struct ExpectedEvent {
    std::uint32_t kind = PZ_EVENT_TRIGGER;
    std::optional<std::uint32_t> reason = std::nullopt;
    std::optional<std::uint8_t> detail = std::nullopt;
    std::optional<Address> address = std::nullopt; // monostate: no address
    std::optional<std::uint16_t> port = std::nullopt;
    std::optional<std::uint8_t> protocol = std::nullopt;
    std::optional<Mac> mac = std::nullopt;
    std::optional<std::uint32_t> segment = std::nullopt; // else the host's
    bool carries_frame = true; // only looked at when `check_frame`
    bool check_frame = false;
};

/// Exactly one reason is counted for each frame; `reasons` lists the acceptable ones, empty = any.
struct Expected {
    std::uint32_t verdict = XDP_PASS;
    std::vector<std::uint32_t> reasons = {};
    std::optional<Bytes> frame = std::nullopt; // as it came in
    std::vector<ExpectedEvent> triggers = {};
    std::vector<ExpectedEvent> overheard = {};
};

inline Expected passed(std::vector<std::uint32_t> reasons = {}) {
    return {.verdict = XDP_PASS, .reasons = std::move(reasons)};
}
inline Expected dropped(std::vector<std::uint32_t> reasons = {}) {
    return {.verdict = XDP_DROP, .reasons = std::move(reasons)};
}
inline Expected answered(std::uint32_t reason, Bytes reply) {
    return {.verdict = XDP_TX, .reasons = {reason}, .frame = std::move(reply)};
}
/// XDP_DROP (held by user space) or XDP_PASS (broadcast), and one trigger event with the frame.
Expected triggered(std::uint32_t reason, ExpectedEvent event, std::uint32_t verdict = XDP_DROP);

/// Why the kernel program cannot be loaded here; a skip, unless PROXZZY_REQUIRE_ALL=1.
struct Unavailable {
    std::string why;
};

class DataPath {
public:
    DataPath(); // see error()
    ~DataPath();
    DataPath(const DataPath&) = delete;
    DataPath& operator=(const DataPath&) = delete;

    [[nodiscard]] const std::string& error() const { return error_; }
    [[nodiscard]] bool denied() const { return denied_; }
    [[nodiscard]] int program() const;
    /// From here on frames leave: the program for that runs, on the same maps.  Its actions are told as XDP's.
    void turn_to_egress();
    void turn_to_ingress() { egress_turn_ = false; }
    /// From here on another program gets the frames that leave, which calls the one for that.
    void put_before_egress(int program) { before_egress_ = program; }
    [[nodiscard]] int egress_program() const;
    /// From here on what leaves is one packet of so many bytes each; 0: one.
    void set_gso_size(std::uint32_t size) { gso_size_ = size; }
    [[nodiscard]] proxzzy_bpf* skeleton() const { return skeleton_; }

    /// Empty maps, the three segments of the lab, a fresh heartbeat.
    void reset();
    void clear_askers();
    void put_segment(std::uint16_t outer, std::uint16_t inner, std::uint32_t segment, const Mac& mac = gateway_mac);
    /// AF_XDP sockets of the interface, from that entry on; none: it has none.
    void put_xsks(std::uint32_t first, std::span<const int> sockets);
    void put(const Host& host);
    /// An entry by itself, without a host.
    void put_index(std::uint32_t segment, const Ip4Address& address, const pz_index& index);
    void put_index(std::uint32_t segment, const Ip6Address& address, const pz_index& index);
    void put_policy(const Host& host);
    /// put_policy(), except that the rule slots beyond the count keep what they held.
    void put_policy_keeping_rules(const Host& host);
    /// Bits without an index entry, as a hash collision makes them.
    void set_bit(const Ip4Address& address);
    void set_bit(const Ip6Address& address);
    void set_bit(const Mac& mac);
    /// The daemon was last alive `age_ns` ago.
    void put_daemon(std::uint64_t age_ns = 0, std::uint64_t answer_without_daemon_ns = 600'000'000'000);
    [[nodiscard]] pz_live live(std::uint32_t host) const;
    void put_live(std::uint32_t host, const pz_live& live);
    /// As if `generation` of the host had shown a sign of life.
    void put_released(std::uint32_t host, std::uint32_t generation);

    Outcome run(ByteView frame);
    /// Verdict and frame only, for loops over many frames: no counters, rings untouched.
    std::uint32_t run_quickly(ByteView frame, Bytes& out) const;
    [[nodiscard]] std::map<std::uint32_t, std::uint64_t> counters() const;
    void drain(); // forgets events
    /// Until somebody is woken for the ring of triggers, a second at most; takes what is there, and says how many.
    [[nodiscard]] int wait_for_triggers();
    [[nodiscard]] std::size_t trigger_ring_size() const;
    [[nodiscard]] std::size_t overheard_ring_size() const;
    /// Takes the events from the ring and counts them.
    [[nodiscard]] std::size_t waiting_overheard();

    /// run() and compare; the failure message names what differs, with a hexdump diff and the frame in Scapy's words.
    Outcome check(const Packet& packet, const Expected& expected,
                  std::source_location where = std::source_location::current());
    Outcome check(ByteView frame, const Expected& expected, const std::string& what = {},
                  std::source_location where = std::source_location::current());

    struct Tables {
        fastpath::SlotTable<fastpath::Slots4> index4;
        fastpath::SlotTable<fastpath::Slots6> index6;
        fastpath::SlotTable<fastpath::SlotsMac> by_mac;
    };
    [[nodiscard]] Tables& tables() { return *tables_; }

private:
    template <class Rodata>
    static void configure(Rodata& rodata);
    void put_segments();
    void set_filter_bits(const char* filter, std::uint64_t hash);
    [[nodiscard]] int map(const char* name) const;
    void clear_hash(const char* name, std::size_t key_size);

    std::optional<Tables> tables_;
    std::vector<fastpath::Place> in4_; // what was put there
    std::vector<fastpath::Place> in6_;
    std::vector<fastpath::Place> in_macs_;
    proxzzy_bpf* skeleton_ = nullptr;
    proxzzy_egress_bpf* egress_ = nullptr; // loaded when it is first wanted
    bool egress_turn_ = false;
    int before_egress_ = -1;
    std::uint32_t gso_size_ = 0;
    std::uint32_t xsk_first_ = 0;
    std::uint32_t xsk_count_ = 0;
    ring_buffer* triggers_ring_ = nullptr;
    ring_buffer* overheard_ring_ = nullptr;
    std::vector<Event> triggers_;
    std::vector<Event> overheard_;
    std::vector<std::pair<int, std::uint32_t>> filters_set_;
    std::map<std::uint32_t, Host> hosts_; // as last put
    std::string error_;
    bool denied_ = false;
};

/// A suite with one loaded program; each case starts with the default sleeper in the maps.
class DataPathTest : public testing::Test {
public:
    static void SetUpTestSuite();
    static void TearDownTestSuite();

protected:
    void SetUp() override;
    static DataPath& kernel() { return *shared_; }
    /// Writes the sleeper anew.
    static void sleeper(const Host& host) { kernel().put(host); }

    static Outcome check(const Packet& packet, const Expected& expected,
                         std::source_location where = std::source_location::current()) {
        return shared_->check(packet, expected, where);
    }

private:
    static std::unique_ptr<DataPath> shared_;
};

/// GTEST_SKIP with `why`, or a failure when the environment promises that everything can run.
#define PZ_SKIP_OR_FAIL(why)                                                                                           \
    do {                                                                                                               \
        const char* required = std::getenv("PROXZZY_REQUIRE_ALL");                                                     \
        if (required != nullptr && std::string_view(required) == "1")                                                  \
            FAIL() << (why);                                                                                           \
        GTEST_SKIP() << (why);                                                                                         \
    } while (false)

// ---- frames that many suites use -----------------------------------------------------------------------------------

/// Broadcast ARP request of the client for the sleeper.
inline Packet arp_request(Arp arp = {}) {
    return Ether{.destination = broadcast_mac} / arp;
}
/// The reply wanted, before padding to 60 bytes.
inline Packet arp_reply(const Mac& owner = host_mac, const Ip4Address& address = host_ip4,
                        const Mac& requester = client_mac, const Ip4Address& requester_ip = client_ip4) {
    return Ether{.destination = requester, .source = owner} /
           Arp{.operation = 2,
               .sender_mac = owner,
               .sender_ip = address,
               .target_mac = requester,
               .target_ip = requester_ip} /
           arp_mark();
}
/// IPv6 header of a multicast solicitation for `target`.
inline Packet solicitation_headers(const Ip6Address& target = host_ip6(), const Ip6Address& source = client_ip6()) {
    return Ether{.destination = group_mac(solicited_node(target))} /
           Ip6{.source = source, .destination = solicited_node(target), .hop_limit = 255};
}
inline Packet solicitation(const Ip6Address& target = host_ip6(), const Ip6Address& source = client_ip6()) {
    return solicitation_headers(target, source) / Ns{.target = target} / source_lla();
}
inline Packet advertisement(const Ip6Address& target = host_ip6(), const Ip6Address& to = client_ip6(),
                            const Mac& requester = client_mac, const Mac& owner = host_mac, bool override_flag = true) {
    return Ether{.destination = requester, .source = owner} /
           Ip6{.source = target, .destination = to, .hop_limit = 255} /
           Na{.target = target, .solicited = true, .override_flag = override_flag} / target_lla(owner) / mark_option();
}
/// The answer to DAD: to all nodes, S=0.
inline Packet dad_advertisement(const Ip6Address& target = host_ip6(), bool override_flag = true,
                                const Mac& owner = host_mac) {
    return Ether{.destination = group_mac(all_nodes()), .source = owner} /
           Ip6{.source = target, .destination = all_nodes(), .hop_limit = 255} /
           Na{.target = target, .solicited = false, .override_flag = override_flag} / target_lla(owner) / mark_option();
}
/// With one prefix: 2001:db8::/64, autonomous, valid for an hour.
inline Packet router_advertisement(const Ether& ether = {.destination = group_mac(all_nodes()),
                                                         .source = gateway_mac}) {
    Bytes prefix{64, 0xc0, 0, 0, 0x0e, 0x10, 0, 0, 0x07, 0x08, 0, 0, 0, 0};
    const Ip6Address network = "2001:db8::"_ip6;
    prefix.insert(prefix.end(), network.bytes.begin(), network.bytes.end());
    return ether / Ip6{.source = "fe80::1"_ip6, .destination = all_nodes(), .hop_limit = 255} /
           Icmp6{.type = 134, .word = 0x40000708} / Raw{8, 0} / NdOption{.type = 3, .body = std::move(prefix)};
}

inline Packet echo4(Raw payload = Raw{"abcdefghijklmnopqrstuvwabcdefghi"}) {
    return Ether{} / Ip4{} / Icmp4{} / std::move(payload);
}
inline Packet echo4_reply(Raw payload = Raw{"abcdefghijklmnopqrstuvwabcdefghi"}) {
    return Ether{.destination = client_mac, .source = host_mac} / Ip4{.source = host_ip4, .destination = client_ip4} /
           Icmp4{.type = 0} / std::move(payload);
}
inline Packet echo6(Raw payload = Raw{"abcdefghijklmnopqrstuvwabcdefghi"}) {
    return Ether{} / Ip6{} / Icmp6{} / std::move(payload);
}
inline Packet echo6_reply(Raw payload = Raw{"abcdefghijklmnopqrstuvwabcdefghi"}) {
    return Ether{.destination = client_mac, .source = host_mac} /
           Ip6{.source = host_ip6(), .destination = client_ip6()} / Icmp6{.type = 129} / std::move(payload);
}
inline const Ip4Address mdns_ip4 = {{224, 0, 0, 251}};
inline const Mac mdns_mac = {{0x01, 0x00, 0x5e, 0x00, 0x00, 0xfb}};
inline Packet mdns_question(Raw message = Raw{40, 1}) {
    return Ether{.destination = mdns_mac} / Ip4{.destination = mdns_ip4, .ttl = 255} /
           Udp{.source_port = 5353, .destination_port = 5353} / std::move(message);
}
/// What the daemon puts at a group that `options` (enum pz_listen) listen to.
inline pz_index listeners(std::uint8_t options) {
    return {.mac = {options}, .flags = PZ_INDEX_UNANSWERED, .host = PZ_LISTENERS};
}
/// Sync of `sync` bytes 0xff, `repeats` times the MAC, then `password`.
inline Bytes magic(const Mac& mac = host_mac, std::size_t repeats = 16, Bytes password = {}, std::size_t sync = 6) {
    Bytes out(sync, 0xff);
    for (std::size_t i = 0; i < repeats; i++)
        out.insert(out.end(), mac.bytes.begin(), mac.bytes.end());
    out.insert(out.end(), password.begin(), password.end());
    return out;
}

} // namespace pz::test
