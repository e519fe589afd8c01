// SPDX-License-Identifier: Apache-2.0
// Messages of the control protocol: what goes in comes out, and what is not right is refused by name and place.
#include <netinet/in.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include <gtest/gtest.h>
#include <spdlog/fmt/fmt.h>

#include "../support/control.h"

namespace pz::control {
namespace {

using test::named;
using test::RawMessage;

constexpr Header put_request{PZ_MSG_HOST_SET, NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL, 7, 0};

HostConfig full_config() {
    HostConfig config;
    config.name = "nas";
    config.macs = {{{0, 0, 0x5e, 0, 0x53, 1}}, {{0, 0, 0x5e, 0, 0x53, 2}}};
    config.addresses = {
        {.ip = *IpAddress::parse("192.0.2.7")},
        {.ip = *IpAddress::parse("fe80::7")},
        {.ip = *IpAddress::parse("2001:db8::7"), .temporary = true, .valid_for = std::chrono::seconds(86'400)}};
    config.wake = {{IPPROTO_TCP, 22}, {IPPROTO_UDP, 0}};
    config.offers = {.hostnames = {"nas.local", "b\xc3\xbcro"},
                     .services = {{.type = "_ssh._tcp", .port = 22},
                                  {.type = "_ipp._tcp",
                                   .subtypes = {"_universal", "_print"},
                                   .port = 631,
                                   .instance = "Front office",
                                   .txt = {"note=first floor", std::string("bytes=\0\xff", 8), "flag"}}},
                     .groups = {*IpAddress::parse("239.1.2.3"), *IpAddress::parse("ff02::1234")},
                     .service_ports_wake = false,
                     .priority = 5};
    config.interface = "lan0";
    config.vlan = {100, 20};
    config.echo = EchoMode::wake;
    config.identity = Identity::proxy;
    config.magic = {40'000, {{1, 2, 3, 4, 5, 6}}};
    config.agentless = true;
    config.learn = true;
    config.policy = {.allow_from = {*Network::parse("192.0.2.0/24"), *Network::parse("2001:db8::/32")},
                     .deny_from = {*Network::parse("192.0.2.9")},
                     .wakes_per_hour = 12,
                     .wakes_per_source = 0,
                     .min_wake_interval = std::chrono::seconds(90),
                     .quiet = {{.from = 23 * 60, .to = 7 * 60}, {.from = 0, .to = 1}}};
    return config;
}

HostStatus full_status() {
    return {.config = full_config(),
            .id = 17,
            .generation = 3,
            .state = HostState::waking,
            .since_reason = "TCP SYN",
            .since_ms = 1ULL << 40,
            .identity = Identity::proxy,
            .wakes = 5,
            .held_packets = 6,
            .last_wake_latency_us = 1'234'567,
            .refused = 7,
            .file = "/etc/proxzzy/hosts.d/nas.conf",
            .learned = {*IpAddress::parse("192.0.2.8"), *IpAddress::parse("2001:db8::8")}};
}

DaemonStatus full_daemon_status() {
    return {.version = "0.1.0",
            .uptime_ms = 1ULL << 33,
            .interfaces = {{"br0", "bridge", {{2, 0, 0, 0, 0, 1}}, true, true, true, {{"lan0", "native", true, true}}},
                           {"lan1", "generic", {{2, 0, 0, 0, 0, 2}}, false, false, false, {}}},
            .hosts = 10,
            .hosts_asleep = 4,
            .held_packets = 2,
            .held_bytes = 1500,
            .bpffs = "/sys/fs/bpf/proxzzy/default",
            .no_wake_from = {*Network::parse("192.0.2.9")}};
}

Event full_event() {
    return {.sequence = 1ULL << 40,
            .time_ns = 1'700'000'000'123'456'789,
            .kind = "state",
            .level = "info",
            .text = "trigger: packet to 192.0.2.7",
            .host = "nas",
            .host_id = 0,
            .generation = 3,
            .interface = "lan0",
            .from = HostState::asleep,
            .to = HostState::waking,
            .reason = "trigger-syn",
            .sentence = "TCP connection attempt",
            .rule = "tcp/22",
            .decided_by = "kernel",
            .packet = "02:00:00:00:00:01 192.0.2.1:40000 > 192.0.2.7:22 tcp syn 60 bytes",
            .uid = 0,
            .pid = 4711,
            .missed = 12};
}

Wake full_wake() {
    return {.time_ns = 1'700'000'000'123'456'789,
            .outcome = "awake",
            .reason = "trigger-syn",
            .sentence = "TCP connection attempt",
            .rule = "tcp/22",
            .decided_by = "kernel",
            .packet = "02:00:00:00:00:01 192.0.2.1:40000 > 192.0.2.7:22 tcp syn 60 bytes",
            .frame = {{1, 2, 3}},
            .frame_length = 60,
            .count = 2,
            .magic_after_us = 0,
            .sign = "ARP probe",
            .alive_after_us = 300'000,
            .delivered = 1,
            .delivered_after_us = 310'000,
            .dropped = 1};
}

Capabilities full_capabilities() {
    return {"0.1.0", {"arp", "nd", "wake-tcp"}, 65'536, 64, 32, 8, 4, 32, 32};
}

/// An example in which some member has its default value would not notice that the member is lost.
template <class T>
void expect_every_field_set(const T& body) {
    const T defaults{};
    for_each_field<T>([&](const auto& field, unsigned) {
        EXPECT_FALSE(std::invoke(field.member, body) == std::invoke(field.member, defaults)) << field.name;
    });
}

template <class T>
T round_trip(const T& body, std::uint16_t type) {
    const auto message = encode({type, NLM_F_REQUEST, 7, 9}, body);
    EXPECT_TRUE(message);
    nlmsghdr header{};
    const auto opened = open_request(message->bytes(), header);
    EXPECT_TRUE(opened);
    EXPECT_EQ(header.nlmsg_type, type);
    EXPECT_EQ(header.nlmsg_seq, 7U);
    EXPECT_EQ(header.nlmsg_pid, 9U);
    auto decoded = decode<T>(*opened);
    EXPECT_TRUE(decoded) << (decoded ? "" : decoded.error().error.message);
    return decoded ? *decoded : T{};
}

TEST(ControlCodec, C5_C7_C8_C12_C15_C29_C30_C32_C33_HostConfigurationKeepsEveryField) {
    expect_every_field_set(full_config());
    expect_every_field_set(full_config().addresses[2]);
    expect_every_field_set(full_config().wake[0]);
    expect_every_field_set(full_config().offers.services[1]);
    expect_every_field_set(full_config().vlan);
    EXPECT_EQ(round_trip(full_config(), PZ_MSG_HOST_SET), full_config());
    const HostConfig bare = named("x");
    EXPECT_EQ(round_trip(bare, PZ_MSG_HOST_SET), bare);
}

TEST(ControlCodec, C13_StatusKeepsEveryField) {
    expect_every_field_set(full_status());
    EXPECT_EQ(round_trip(full_status(), PZ_MSG_HOST), full_status());
    HostStatus bare;
    bare.config.name = "x";
    EXPECT_EQ(round_trip(bare, PZ_MSG_HOST), bare);
    expect_every_field_set(full_daemon_status());
    expect_every_field_set(full_daemon_status().interfaces[0]);
    expect_every_field_set(full_daemon_status().interfaces[0].ports[0]);
    EXPECT_EQ(round_trip(full_daemon_status(), PZ_MSG_STATUS), full_daemon_status());
}

TEST(ControlCodec, C11_CapabilitiesKeepEveryField) {
    expect_every_field_set(full_capabilities());
    EXPECT_EQ(round_trip(full_capabilities(), PZ_MSG_CAPABILITIES), full_capabilities());
    expect_every_field_set(full_event());
    EXPECT_EQ(round_trip(full_event(), PZ_MSG_EVENT), full_event());
    expect_every_field_set(full_wake());
    EXPECT_EQ(round_trip(full_wake(), PZ_MSG_WAKE), full_wake());
}

TEST(ControlCodec, CountersKeepEveryField) {
    const Counter counter{"nobody", "not ours", ~0ULL};
    EXPECT_EQ(round_trip(counter, PZ_MSG_COUNTER), counter);
}

TEST(ControlCodec, ExplanationsKeepEveryField) {
    const ExplainRequest request{.interface = "lan0", .frame = {Bytes(9216, 0xa5)}, .egress = true};
    expect_every_field_set(request);
    EXPECT_EQ(round_trip(request, PZ_MSG_EXPLAIN), request);
    const Explanation full{.verdict = FrameVerdict::answer,
                           .reason = "arp-answered",
                           .sentence = "ARP request for a sleeper, answered",
                           .interface = "lan0",
                           .vlan = {100, 20},
                           .segment = 3,
                           .host = "nas",
                           .host_state = HostState::asleep,
                           .sender = "desk",
                           .sender_state = HostState::awake,
                           .sign = "ARP request",
                           .rule = "tcp/22",
                           .events = {{.kind = "release",
                                       .host = "desk",
                                       .address = *IpAddress::parse("192.0.2.7"),
                                       .next = "desk counts as awake"},
                                      {.kind = "trigger", .next = "nothing"}},
                           .reply = Frame{Bytes(60, 1)}};
    expect_every_field_set(full);
    expect_every_field_set(full.events[0]);
    EXPECT_EQ(round_trip(full, PZ_MSG_EXPLANATION), full);
    EXPECT_EQ(round_trip(Explanation{}, PZ_MSG_EXPLANATION), Explanation{});
    Explanation with_empty_reply;
    with_empty_reply.reply.emplace();
    EXPECT_EQ(round_trip(with_empty_reply, PZ_MSG_EXPLANATION), with_empty_reply);
}

TEST(ControlCodec, EveryStateAndModeTravels) {
    for (std::size_t i = 0; i < enum_names<HostState>.size(); ++i) {
        HostStatus status;
        status.state = static_cast<HostState>(i);
        EXPECT_EQ(round_trip(status, PZ_MSG_HOST).state, status.state);
        EXPECT_EQ(to_string(status.state), enum_names<HostState>[i]);
    }
    for (std::size_t i = 0; i < enum_names<EchoMode>.size(); ++i) {
        HostConfig config = named("x");
        config.echo = static_cast<EchoMode>(i);
        EXPECT_EQ(round_trip(config, PZ_MSG_HOST_SET).echo, config.echo);
    }
}

TEST(ControlCodec, TheLargestRecordFitsOneMessage) {
    HostConfig config = full_config();
    config.name = std::string(max_name_length, 'n');
    config.macs.assign(max_macs, MacAddress{{0, 0, 0x5e, 0, 0x53, 1}});
    config.addresses.assign(max_addresses, config.addresses[2]);
    config.wake.assign(PZ_MAX_RULES, config.wake[0]);
    EXPECT_EQ(round_trip(config, PZ_MSG_HOST_SET), config);
    EXPECT_LT(encode(put_request, config)->bytes().size(), 8192U);
}

/// Services that take about as much as they may, with TXT strings of this length.
void fill_services(HostConfig& config, std::size_t length) {
    auto& services = config.offers.services;
    services.clear();
    do {
        services.push_back(
            {.type = "_abcdefghijklmno._tcp", .port = 80, .instance = fmt::format("{:063}", services.size())});
        for (std::size_t i = 0; i < max_txt_size / (length + 1); ++i)
            services.back().txt.push_back(fmt::format("{:0{}}", i, length));
    } while (validate(config.offers));
    services.pop_back();
}

TEST(ControlCodec, AHostWithAsManyServicesAsMayBeFitsOneMessage) {
    for (const std::size_t length : std::initializer_list<std::size_t>{3, 5, 8, 61, 255}) {
        HostStatus status;
        HostConfig& config = status.config;
        config = full_config();
        config.name = std::string(max_name_length, 'n');
        config.macs.clear();
        for (std::uint8_t i = 1; i <= max_macs; ++i)
            config.macs.push_back({{2, 0, 0, 0, 0, i}});
        config.addresses.clear();
        for (std::uint8_t i = 1; i <= max_addresses; ++i)
            config.addresses.push_back({IpAddress::v6({0x20, i}), true, std::chrono::seconds(1)});
        for (std::uint8_t i = 0; i < 30; ++i)
            config.offers.groups.push_back(IpAddress::v6({0xff, 2, i}));
        config.policy.allow_from.assign(32, *Network::parse("2001:db8::/32"));
        config.policy.deny_from = config.policy.allow_from;
        config.policy.quiet.assign(8, config.policy.quiet[0]);
        fill_services(config, length);
        ASSERT_TRUE(validate(config)) << validate(config).error().message;
        EXPECT_GT(encode(put_request, config)->bytes().size(), 24'000U);
        status.since_reason = std::string(200, 'r');
        status.file = std::string(4096, 'f');
        status.learned.assign(max_addresses, config.addresses[0].ip);
        EXPECT_EQ(round_trip(status, PZ_MSG_HOST), status);
        EXPECT_EQ(round_trip(config, PZ_MSG_HOST_SET), config);
        EXPECT_TRUE(encode(put_request, HostList{{config}}));
    }
}

TEST(ControlCodec, AHostOfAListCanBeAMessageAsItCame) {
    HostConfig other = full_config();
    other.name = "other";
    const auto message = encode(put_request, HostList{{full_config(), other}});
    ASSERT_TRUE(message);
    nlmsghdr header{};
    const auto list = open_request(message->bytes(), header);
    ASSERT_TRUE(list);
    const auto hosts = payloads(*list);
    ASSERT_EQ(hosts.size(), 2U);
    const Bytes whole = with_header({.type = PZ_MSG_HOST_SET, .flags = NLM_F_REQUEST}, hosts[1]);
    EXPECT_TRUE(std::ranges::equal(whole, encode({PZ_MSG_HOST_SET, NLM_F_REQUEST}, other)->bytes()));
}

TEST(ControlCodec, AMessageThatWouldBeTooLongIsNotMade) {
    HostConfig config = full_config();
    config.addresses.assign(2000, config.addresses[2]);
    const auto message = encode(put_request, config);
    ASSERT_FALSE(message);
    EXPECT_EQ(message.error().code, Errc::limit);
    EXPECT_EQ(message.error().message, "the message would be longer than 65536 bytes");
    EXPECT_FALSE(encode(put_request, HostName{std::string(70'000, 'x')}));
}

TEST(ControlCodec, AcknowledgementsCarryTextOffsetAndDurability) {
    nlmsghdr request{};
    request.nlmsg_seq = 77;
    request.nlmsg_pid = 5;
    request.nlmsg_type = PZ_MSG_HOST_SET;
    const auto refusal = encode_acknowledgement(request, EINVAL, {"mac: wrong", 36, 1, 20});
    const auto opened = open_answer(refusal.bytes());
    ASSERT_TRUE(opened);
    EXPECT_EQ(opened->header.nlmsg_type, NLMSG_ERROR);
    EXPECT_EQ(opened->header.nlmsg_flags, NLM_F_CAPPED | NLM_F_ACK_TLVS);
    EXPECT_EQ(opened->header.nlmsg_seq, 77U);
    EXPECT_EQ(opened->header.nlmsg_pid, 5U);
    EXPECT_EQ(opened->error.error, -EINVAL);
    EXPECT_EQ(opened->error.msg.nlmsg_type, PZ_MSG_HOST_SET);
    auto body = decode<Acknowledgement>(*opened);
    ASSERT_TRUE(body);
    EXPECT_EQ(body->message, "mac: wrong");
    EXPECT_EQ(body->offset, 36U);
    EXPECT_EQ(body->missing_type, 1U);
    EXPECT_EQ(body->missing_nest, 20U);
    EXPECT_EQ(body->durable, std::nullopt);

    const auto done = encode_acknowledgement(request, 0, {.message = {}, .durable = Durable::no});
    body = decode<Acknowledgement>(*open_answer(done.bytes()));
    ASSERT_TRUE(body);
    EXPECT_EQ(body->durable, Durable::no);
    EXPECT_EQ(body->message, "");

    const auto long_text = encode_acknowledgement(request, EINVAL, {std::string(5000, 'x'), 36, 1, 20});
    body = decode<Acknowledgement>(*open_answer(long_text.bytes()));
    ASSERT_TRUE(body);
    EXPECT_EQ(body->message, std::string(1000, 'x'));
    EXPECT_EQ(body->missing_nest, 20U);
}

TEST(ControlCodec, ErrorCodesSurviveTheirErrno) {
    for (const Errc code : {Errc::invalid, Errc::exists, Errc::not_found, Errc::busy, Errc::limit, Errc::permission,
                            Errc::unsupported, Errc::system})
        EXPECT_EQ(from_errno(to_errno(code)), code);
}

template <class T>
void expect_numbers_in_order() {
    for_each_field<T>([](const auto& field, unsigned position) { EXPECT_EQ(field.type, position + 1) << field.name; });
}

TEST(ControlCodec, EveryAttributeHasItsOwnNumber) {
    expect_numbers_in_order<Capabilities>();
    expect_numbers_in_order<DaemonStatus>();
    expect_numbers_in_order<InterfaceStatus>();
    expect_numbers_in_order<PortStatus>();
    expect_numbers_in_order<Counter>();
    expect_numbers_in_order<HostConfig>();
    expect_numbers_in_order<HostAddress>();
    expect_numbers_in_order<pz::Service>();
    expect_numbers_in_order<WakeRule>();
    expect_numbers_in_order<VlanTags>();
    expect_numbers_in_order<HostStatus>();
}

// ---- what is not right ----

struct Wrong {
    std::string what;
    RawMessage message;
    std::optional<std::uint32_t> offset;
    std::string text;
};

RawMessage host() {
    return RawMessage(PZ_MSG_HOST_SET).text(PZ_A_HOST_NAME, "nas"); // 8 bytes: the next attribute is at 28
}
RawMessage inside() {
    return RawMessage(0);
}

RawMessage nested_deeply(int depth) {
    RawMessage message = inside();
    for (int i = 0; i < depth; ++i)
        message = inside().nest(PZ_A_HOST_VLAN, message);
    return message;
}

std::vector<Wrong> wrong_messages() {
    const std::vector<std::uint8_t> mac{0, 0, 0x5e, 0, 0x53, 1};
    return {
        {"unknown attribute", host().attribute(99, {1}), 28, "attribute 99: is unknown here"},
        {"attribute 0", host().attribute(0, {}), 28, "attribute 0: is unknown here"},
        {"unknown attribute in a nest", host().nest(PZ_A_HOST_VLAN, inside().attribute(9, {1, 2})), 32,
         "vlan: attribute 9: is unknown here"},
        {"duplicate", host().text(PZ_A_HOST_NAME, "nas2"), 28, "name: is there twice, may be there once"},
        {"duplicate in a nest",
         host().nest(PZ_A_HOST_WAKE, inside().attribute(PZ_A_WAKE_PROTOCOL, {6}).attribute(PZ_A_WAKE_PROTOCOL, {6})),
         40, "wake: protocol: is there twice, may be there once"},
        {"missing", RawMessage(PZ_MSG_HOST_SET).attribute(PZ_A_HOST_MAC, mac), std::nullopt, "name: is missing"},
        {"missing in a nest", host().nest(PZ_A_HOST_IP, inside()), std::nullopt, "ip: address: is missing"},
        {"attribute beyond the end", host().attribute(PZ_A_HOST_MAC, mac, 99), 28,
         "attribute 2: its length is 99, but only 10 bytes are left"},
        {"attribute beyond the end of its nest",
         host().nest(PZ_A_HOST_VLAN, inside().attribute(PZ_A_VLAN_OUTER, {1, 0}, 30)).attribute(PZ_A_HOST_MAC, mac), 32,
         "vlan: attribute 1: its length is 30, but only 6 bytes are left"},
        {"attribute shorter than its header", host().attribute(PZ_A_HOST_MAC, mac, 3), 28,
         "attribute 2: its length is 3, must be at least 4"},
        {"attribute of length 0", host().attribute(PZ_A_HOST_MAC, mac, 0), 28,
         "attribute 2: its length is 0, must be at least 4"},
        {"trailing bytes", host().raw({1, 2, 3}), 28, "3 bytes are left over, an attribute has at least 4"},
        {"trailing bytes in a nest", host().attribute(PZ_A_HOST_VLAN | NLA_F_NESTED, {1, 2}), 32,
         "vlan: 2 bytes are left over, an attribute has at least 4"},
        {"no padding", host().attribute(PZ_A_HOST_MAC, mac, 10), 28,
         "attribute 2: its padding to a multiple of 4 bytes is missing"},
        {"padding not zero", host().attribute(PZ_A_HOST_ECHO, {1}, 5).raw({0, 0, 1}), 28,
         "attribute 7: its padding must be zero"},
        {"MAC of 5 bytes", host().attribute(PZ_A_HOST_MAC, {1, 2, 3, 4, 5}), 28, "mac: has 5 bytes, must have 6"},
        {"empty MAC", host().attribute(PZ_A_HOST_MAC, {}), 28, "mac: has 0 bytes, must have 6"},
        {"u16 of 4 bytes", host().attribute(PZ_A_HOST_MAGIC_PORT, {9, 0, 0, 0}), 28,
         "magic-port: has 4 bytes, must have 2"},
        {"u8 of 4 bytes", host().attribute(PZ_A_HOST_ECHO, {1, 0, 0, 0}), 28, "echo: has 4 bytes, must have 1"},
        {"u32 of 8 bytes", host().nest(PZ_A_HOST_IP, inside().attribute(PZ_A_IP_VALID_FOR, {1, 0, 0, 0, 0, 0, 0, 0})),
         32, "ip: valid-for: has 8 bytes, must have 4"},
        {"IP of 5 bytes", host().nest(PZ_A_HOST_IP, inside().attribute(PZ_A_IP_ADDRESS, {1, 2, 3, 4, 5})), 32,
         "ip: address: has 5 bytes, must have 4 (IPv4) or 16 (IPv6)"},
        {"password of 4 bytes", host().attribute(PZ_A_HOST_SECUREON, {1, 2, 3, 4}), 28,
         "secureon: has 4 bytes, must have 6"},
        {"bool of 2", host().nest(PZ_A_HOST_IP, inside().attribute(PZ_A_IP_TEMPORARY, {2})), 32,
         "ip: temporary: is 2, must be 0 or 1"},
        {"echo mode 3", host().attribute(PZ_A_HOST_ECHO, {3}), 28,
         "echo: is 3, must be one of 0 (answer), 1 (ignore), 2 (wake)"},
        {"identity 2", host().attribute(PZ_A_HOST_IDENTITY, {2}), 28,
         "identity: is 2, must be one of 0 (host), 1 (proxy)"},
        {"text without NUL", host().attribute(PZ_A_HOST_INTERFACE, {'l', 'a', 'n', '0'}), 28,
         "interface: must be text with one NUL, at its end"},
        {"text with NUL inside", host().attribute(PZ_A_HOST_INTERFACE, {'l', 0, 'n', 0}), 28,
         "interface: must be text with one NUL, at its end"},
        {"text of no bytes", host().attribute(PZ_A_HOST_INTERFACE, {}), 28,
         "interface: must be text with one NUL, at its end"},
        {"nest without the flag", host().attribute(PZ_A_HOST_VLAN, {}), 28,
         "vlan: holds attributes, must have NLA_F_NESTED"},
        {"flag without a nest", host().attribute(PZ_A_HOST_MAC | NLA_F_NESTED, mac), 28,
         "mac: is a plain value, NLA_F_NESTED must not be set"},
        {"network byte order", host().attribute(PZ_A_HOST_MAGIC_PORT | NLA_F_NET_BYTEORDER, {0, 9}), 28,
         "attribute 9: NLA_F_NET_BYTEORDER is not served, integers are little-endian"},
        {"host name without NUL", host().attribute(PZ_A_HOST_HOSTNAME, {'a'}), 28,
         "hostname: must be text with one NUL, at its end"},
        {"service without a port", host().nest(PZ_A_HOST_SERVICE, inside().text(PZ_A_SERVICE_TYPE, "_ssh._tcp")),
         std::nullopt, "service: port: is missing"},
        {"service without a type", host().nest(PZ_A_HOST_SERVICE, inside().attribute(PZ_A_SERVICE_PORT, {22, 0})),
         std::nullopt, "service: type: is missing"},
        {"two ports of a service",
         host().nest(PZ_A_HOST_SERVICE,
                     inside().attribute(PZ_A_SERVICE_PORT, {22, 0}).attribute(PZ_A_SERVICE_PORT, {22, 0})),
         40, "service: port: is there twice, may be there once"},
        {"service as text", host().text(PZ_A_HOST_SERVICE, "_ssh._tcp"), 28,
         "service: holds attributes, must have NLA_F_NESTED"},
        {"nested TXT", host().nest(PZ_A_HOST_SERVICE, inside().nest(PZ_A_SERVICE_TXT, inside())), 32,
         "service: txt: is a plain value, NLA_F_NESTED must not be set"},
        {"unknown attribute of a service", host().nest(PZ_A_HOST_SERVICE, inside().attribute(6, {})), 32,
         "service: attribute 6: is unknown here"},
        {"group of 5 bytes", host().attribute(PZ_A_HOST_GROUP, {1, 2, 3, 4, 5}), 28,
         "group: has 5 bytes, must have 4 (IPv4) or 16 (IPv6)"},
        {"service-wake of 2", host().attribute(PZ_A_HOST_SERVICE_WAKE, {2}), 28, "service-wake: is 2, must be 0 or 1"},
        {"service-wake twice", host().attribute(PZ_A_HOST_SERVICE_WAKE, {1}).attribute(PZ_A_HOST_SERVICE_WAKE, {1}), 36,
         "service-wake: is there twice, may be there once"},
        {"nested deeper than any table", host().nest(PZ_A_HOST_VLAN, nested_deeply(10'000)), 32,
         "vlan: attribute 6: is unknown here"},
        {"nest in a plain value of a nest",
         host().nest(PZ_A_HOST_IP, inside().nest(PZ_A_IP_ADDRESS, nested_deeply(500))), 32,
         "ip: address: is a plain value, NLA_F_NESTED must not be set"},
    };
}

TEST(ControlCodec, WhatIsNotRightIsRefusedWithNameAndOffset) {
    for (const Wrong& wrong : wrong_messages()) {
        SCOPED_TRACE(wrong.what);
        const auto bytes = wrong.message.bytes();
        nlmsghdr header{};
        const auto opened = open_request(bytes, header);
        ASSERT_TRUE(opened);
        const auto decoded = decode<HostConfig>(*opened);
        ASSERT_FALSE(decoded);
        EXPECT_EQ(decoded.error().error.message, wrong.text);
        EXPECT_EQ(decoded.error().error.code, Errc::invalid);
        EXPECT_EQ(decoded.error().offset, wrong.offset);
    }
}

TEST(ControlCodec, AMissingAttributeIsNamedByTypeAndNest) {
    nlmsghdr header{};
    auto bytes = RawMessage(PZ_MSG_HOST_SET).bytes();
    auto decoded = decode<HostConfig>(*open_request(bytes, header));
    ASSERT_FALSE(decoded);
    EXPECT_EQ(decoded.error().missing_type, PZ_A_HOST_NAME);
    EXPECT_EQ(decoded.error().missing_nest, std::nullopt);
    bytes = host().nest(PZ_A_HOST_IP, inside()).bytes();
    decoded = decode<HostConfig>(*open_request(bytes, header));
    ASSERT_FALSE(decoded);
    EXPECT_EQ(decoded.error().missing_type, PZ_A_IP_ADDRESS);
    EXPECT_EQ(decoded.error().missing_nest, 28U);
    EXPECT_EQ(decoded.error().error.field, "ip");
}

TEST(ControlCodec, EveryTruncationOfAMessageIsRefused) {
    const auto message = encode(put_request, full_config());
    ASSERT_TRUE(message);
    const std::vector<std::uint8_t> whole(message->bytes().begin(), message->bytes().end());
    std::size_t prefixes_that_are_records = 0;
    for (std::size_t size = 0; size < whole.size(); ++size) {
        std::vector<std::uint8_t> cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
        nlmsghdr header{};
        EXPECT_FALSE(open_request(cut, header)) << size; // nlmsg_len tells
        if (size < sizeof(nlmsghdr))
            continue;
        const auto length = static_cast<std::uint32_t>(size);
        std::memcpy(cut.data(), &length, sizeof length);
        const auto opened = open_request(cut, header);
        if (opened && decode<HostConfig>(*opened))
            ++prefixes_that_are_records;
    }
    // only the cuts between two attributes at the top can be read: after the name, 2 MACs, 3 IPs, 2 rules, 7 more, of
    // the wake policy 3 networks, 3 numbers and 2 quiet hours, and learn, 2 host names, 2 services, service-wake,
    // 2 groups, priority
    EXPECT_EQ(prefixes_that_are_records, 1U + 2 + 3 + 2 + 7 + 3 + 3 + 2 + 8);
}

TEST(ControlCodec, UnknownAttributesOfAnswersAreSkipped) {
    nlmsghdr header{};
    const auto bytes = RawMessage(PZ_MSG_COUNTER)
                           .text(PZ_A_COUNTER_NAME, "n")
                           .nest(77, nested_deeply(3))
                           .text(PZ_A_COUNTER_SENTENCE, "s")
                           .attribute(PZ_A_COUNTER_VALUE, {5, 0, 0, 0, 0, 0, 0, 0})
                           .bytes();
    const auto opened = open_request(bytes, header);
    ASSERT_TRUE(opened);
    EXPECT_FALSE(decode<Counter>(*opened));
    const auto counter = decode<Counter>(*opened, Unknown::skip);
    ASSERT_TRUE(counter);
    EXPECT_EQ(*counter, (Counter{"n", "s", 5}));
}

TEST(ControlCodec, HeadersAreChecked) {
    const auto refusal = [](const std::vector<std::uint8_t>& bytes) {
        nlmsghdr header{};
        const auto opened = open_request(bytes, header);
        return opened ? std::string() : opened.error().error.message;
    };
    RawMessage message(PZ_MSG_STATUS_GET);
    EXPECT_EQ(refusal(message.bytes()), "");
    EXPECT_EQ(refusal({}), "nlmsghdr: the packet has 0 bytes, must have at least 16");
    EXPECT_EQ(refusal({1, 2, 3}), "nlmsghdr: the packet has 3 bytes, must have at least 16");
    message.family.version = 2;
    EXPECT_EQ(refusal(message.bytes()), "version: is 2, must be 1");
    message.family = {1, {0, 0, 4}};
    EXPECT_EQ(refusal(message.bytes()), "reserved: is 0 0 4, must be zero");
    message.family = {1, {}};
    message.header.nlmsg_len = 24;
    EXPECT_EQ(refusal(message.bytes()), "nlmsg_len: is 24, but the packet has 20 bytes; must be one whole message");
    message.header.nlmsg_len = 0;
    message.header.nlmsg_type = NLMSG_DONE;
    EXPECT_EQ(refusal(message.bytes()), "nlmsg_type: 3 is not a request, the first one is 16");
    std::vector<std::uint8_t> bare(16);
    bare[0] = 16;
    bare[4] = PZ_MSG_STATUS_GET;
    EXPECT_EQ(refusal(bare), "pz_control_header: the message has 16 bytes, must have at least 20");
}

TEST(ControlCodec, TheOnlyAttributeOfANameIsFound) {
    nlmsghdr header{};
    const auto bytes = host()
                           .attribute(PZ_A_HOST_MAC, {0, 0, 0, 0, 0, 1})
                           .attribute(PZ_A_HOST_ECHO, {1})
                           .attribute(PZ_A_HOST_MAC, {0, 0, 0, 0, 0, 2})
                           .bytes();
    const auto opened = open_request(bytes, header);
    ASSERT_TRUE(opened);
    EXPECT_EQ(find_attribute<HostConfig>(*opened, "name"), 20U);
    EXPECT_EQ(find_attribute<HostConfig>(*opened, "echo"), 40U);
    EXPECT_EQ(find_attribute<HostConfig>(*opened, "mac"), std::nullopt) << "there are two";
    EXPECT_EQ(find_attribute<HostConfig>(*opened, "vlan"), std::nullopt);
    EXPECT_EQ(find_attribute<HostConfig>(*opened, ""), std::nullopt);
}

// ---- the documentation ----

std::string documentation() {
    const auto path = std::filesystem::path(PROXZZY_SOURCE_DIR) / "docs/control-protocol.md";
    std::ifstream file(path);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
}

/// What is between "<!-- NAME -->" and the end of the code block or table that follows.
std::string part(const std::string& text, const std::string& name) {
    const auto mark = "<!-- " + name + " -->\n";
    const auto begin = text.find(mark);
    EXPECT_NE(begin, std::string::npos) << name;
    if (begin == std::string::npos)
        return {};
    const auto start = begin + mark.size();
    const auto end = text.compare(start, 3, "```") == 0 ? text.find("\n```", start) : text.find("\n\n", start);
    return text.substr(start, end - start);
}

/// The bytes of a code block of "hex  explanation" lines.
std::vector<std::uint8_t> hex_block(const std::string& name) {
    std::vector<std::uint8_t> bytes;
    std::istringstream lines(part(documentation(), name));
    std::string line;
    std::getline(lines, line); // ```
    while (std::getline(lines, line)) {
        std::istringstream words(line.substr(0, line.find("  ")));
        unsigned byte = 0;
        while (words >> std::hex >> byte)
            bytes.push_back(static_cast<std::uint8_t>(byte));
    }
    return bytes;
}

std::vector<std::uint8_t> copy(std::span<const std::uint8_t> bytes) {
    return {bytes.begin(), bytes.end()};
}

HostConfig documented_host() {
    HostConfig config;
    config.name = "nas";
    config.macs = {{{0, 0, 0x5e, 0, 0x53, 1}}};
    config.addresses = {{.ip = *IpAddress::parse("192.0.2.7")}};
    config.wake = {{IPPROTO_TCP, 22}};
    return config;
}

TEST(ControlDocumentation, TheExampleRequestIsWhatTheCodeSends) {
    const auto message =
        encode({PZ_MSG_HOST_SET, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, 1, 0}, documented_host());
    ASSERT_TRUE(message);
    EXPECT_EQ(hex_block("example: host set"), copy(message->bytes()));
}

TEST(ControlDocumentation, TheExampleAnswersAreWhatTheCodeSends) {
    nlmsghdr request{};
    const auto bytes = hex_block("example: host set");
    ASSERT_TRUE(open_request(bytes, request));
    const auto done = encode_acknowledgement(request, 0, {.message = {}, .durable = Durable::no});
    EXPECT_EQ(hex_block("example: acknowledgement"), copy(done.bytes()));

    auto wrong = RawMessage(PZ_MSG_HOST_SLEEP).attribute(PZ_A_HOST_NAME, {'n', 'a', 's'}).bytes();
    EXPECT_EQ(hex_block("example: wrong request"), wrong);
    nlmsghdr header{};
    const auto opened = open_request(wrong, header);
    ASSERT_TRUE(opened);
    auto refusal = decode<HostName>(*opened);
    ASSERT_FALSE(refusal);
    const auto answer = encode_acknowledgement(header, to_errno(refusal.error().error.code),
                                               {refusal.error().error.message, refusal.error().offset});
    EXPECT_EQ(hex_block("example: refusal"), copy(answer.bytes()));
}

template <class T>
void expect_documented(const std::string& name) {
    const std::string table = part(documentation(), "attributes: " + name);
    std::size_t rows = 0;
    for_each_field<T>([&](const auto& field, unsigned) {
        const std::string row = "| " + std::to_string(field.type) + " | `" + field.name + "` |";
        EXPECT_NE(table.find(row), std::string::npos) << name << " lacks " << row;
        ++rows;
    });
    EXPECT_EQ(static_cast<std::size_t>(std::ranges::count(table, '\n')) + 1, rows + 2) << name;
}

TEST(ControlDocumentation, EveryAttributeHasItsRow) {
    expect_documented<Capabilities>("capabilities");
    expect_documented<DaemonStatus>("status");
    expect_documented<InterfaceStatus>("interface");
    expect_documented<PortStatus>("port");
    expect_documented<Counter>("counter");
    expect_documented<HostConfig>("host");
    expect_documented<HostAddress>("ip");
    expect_documented<WakeRule>("wake");
    expect_documented<pz::Service>("service");
    expect_documented<VlanTags>("vlan");
    expect_documented<Network>("network");
    expect_documented<QuietHours>("quiet");
    expect_documented<HostStatus>("host-status");
    expect_documented<ExplainRequest>("explain");
    expect_documented<Explanation>("explanation");
    expect_documented<HostList>("import");
    expect_documented<ExplainedEvent>("explained-event");
    expect_documented<Acknowledgement>("acknowledgement");
    expect_documented<EventsWanted>("events");
    expect_documented<Event>("event");
    expect_documented<Wake>("wake-log");
}

} // namespace
} // namespace pz::control
