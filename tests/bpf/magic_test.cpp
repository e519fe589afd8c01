// SPDX-License-Identifier: Apache-2.0
// Magic Packets: six 0xff and sixteen times the MAC, anywhere in the payload of EtherType 0x0842 or UDP (ECMA-393 R31).
#include "harness.h"

#include <algorithm>
#include <random>

namespace pz::test {
namespace {

class MagicTest : public DataPathTest {};

/// Deterministic bytes without long runs of 0xff.
Bytes noise(std::size_t length, std::uint32_t seed = 1) {
    std::mt19937 random(seed);
    Bytes out(length);
    for (auto& byte : out)
        byte = static_cast<std::uint8_t>(random() % 255);
    return out;
}
Bytes operator+(Bytes left, const Bytes& right) {
    left.insert(left.end(), right.begin(), right.end());
    return left;
}
Bytes times(std::size_t count, const Bytes& unit) {
    Bytes out;
    for (std::size_t i = 0; i < count; i++)
        out.insert(out.end(), unit.begin(), unit.end());
    return out;
}
Bytes bytes_of(const Mac& mac) {
    return {mac.bytes.begin(), mac.bytes.end()};
}

const Ip4Address limited_broadcast = {{255, 255, 255, 255}};

Packet ethernet(const Bytes& payload, const Mac& destination = broadcast_mac) {
    return Ether{.destination = destination, .type = 0x0842} / Raw{payload};
}
Packet unicast_udp(const Bytes& payload, std::uint16_t port = 31337) {
    return Ether{} / Ip4{} / Udp{.destination_port = port} / Raw{payload};
}
Packet broadcast_udp(const Bytes& payload, std::uint16_t port = 9) {
    return Ether{.destination = broadcast_mac} / Ip4{.destination = limited_broadcast} / Udp{.destination_port = port} /
           Raw{payload};
}

const ExpectedEvent in_ethernet = {.address = Address{}, .port = 0, .protocol = 0, .mac = client_mac};
ExpectedEvent in_udp(std::uint16_t port, Address address = {}) {
    return {.address = address, .port = port, .protocol = proto_udp, .mac = client_mac};
}

/// Every way in which a Magic Packet with this payload may come.
void check_found(DataPath& kernel, const Bytes& payload) {
    kernel.check(ethernet(payload), triggered(PZ_REASON_TRIGGER_MAGIC, in_ethernet, XDP_PASS));
    kernel.check(ethernet(payload, host_mac), triggered(PZ_REASON_TRIGGER_MAGIC, in_ethernet));
    kernel.check(broadcast_udp(payload), triggered(PZ_REASON_TRIGGER_MAGIC, in_udp(9), XDP_PASS));
    kernel.check(unicast_udp(payload), triggered(PZ_REASON_TRIGGER_MAGIC, in_udp(31337, host_ip4)));
}
void check_not_found(DataPath& kernel, const Bytes& payload) {
    for (const auto& packet : {ethernet(payload), ethernet(payload, host_mac), broadcast_udp(payload)})
        kernel.check(packet, passed());
    kernel.check(unicast_udp(payload), dropped({PZ_REASON_PORT_CLOSED}));
}

// ---- where it may come from ----------------------------------------------------------------------------------------

TEST_F(MagicTest, R31_EtherTypeBroadcast) {
    check(ethernet(magic()), triggered(PZ_REASON_TRIGGER_MAGIC, in_ethernet, XDP_PASS));
    EXPECT_NE(kernel().live(Host{}.id).last_trigger_ns, 0U);
}
TEST_F(MagicTest, R31_EtherTypeUnicast) {
    check(ethernet(magic(), host_mac), triggered(PZ_REASON_TRIGGER_MAGIC, in_ethernet));
}
TEST_F(MagicTest, R31_EtherTypeUnicastToTheGateway) {
    // etherwake to the gateway's MAC: meant for us to act on; the verdict for a unicast trigger
    check(ethernet(magic(), gateway_mac), triggered(PZ_REASON_TRIGGER_MAGIC, in_ethernet));
}
TEST_F(MagicTest, R31_EtherTypeMulticast) {
    check(ethernet(magic(), "01:00:5e:00:00:01"_mac), triggered(PZ_REASON_TRIGGER_MAGIC, in_ethernet, XDP_PASS));
}
TEST_F(MagicTest, R1_R31_Tagged) {
    kernel().reset();
    sleeper({.id = 31, .segment = segment_vlan100});
    check(Ether{.destination = broadcast_mac, .type = 0x8100} / Vlan{.vid = 100, .priority = 7, .type = 0x0842} /
              Raw{magic()},
          triggered(PZ_REASON_TRIGGER_MAGIC, in_ethernet, XDP_PASS));
    check(Ether{.destination = broadcast_mac, .type = 0x8100} / Vlan{.vid = 100} /
              Ip4{.destination = limited_broadcast} / Udp{.destination_port = 7} / Raw{magic()},
          triggered(PZ_REASON_TRIGGER_MAGIC, in_udp(7), XDP_PASS));
}

TEST_F(MagicTest, R31_UdpUnicastToAnyPort) {
    for (const auto port : U16{0, 7, 9, 53, 5353, 40000, 65535}) {
        check(unicast_udp(magic(), port), triggered(PZ_REASON_TRIGGER_MAGIC, in_udp(port, host_ip4)));
        check(Ether{} / Ip6{} / Udp{.destination_port = port} / Raw{magic()},
              triggered(PZ_REASON_TRIGGER_MAGIC, in_udp(port, host_ip6())));
    }
}

TEST_F(MagicTest, R31_UdpUnicastBehindExtensionHeaders) {
    check(Ether{} / Ip6{} / Ext{.kind = ext_hop_by_hop} / Ext{} / Udp{.destination_port = 9} / Raw{magic()},
          triggered(PZ_REASON_TRIGGER_MAGIC, in_udp(9, host_ip6())));
    check(Ether{} / Ip4{.options = {148, 4, 0, 0}} / Udp{.destination_port = 9} / Raw{noise(3) + magic()},
          triggered(PZ_REASON_TRIGGER_MAGIC, in_udp(9, host_ip4)));
}

TEST_F(MagicTest, R31_UdpBroadcastToTheConfiguredPorts) {
    for (const auto port : U16{7, 9, 40000})
        check(broadcast_udp(magic(), port), triggered(PZ_REASON_TRIGGER_MAGIC, in_udp(port), XDP_PASS));
    for (const auto port : U16{0, 8, 10, 53, 39999, 0x0900, 65535})
        check(broadcast_udp(magic(), port), passed({PZ_REASON_NOBODY, PZ_REASON_MULTICAST_PASSED}));
}

TEST_F(MagicTest, R31_UdpSubnetBroadcastAndMulticast) {
    check(Ether{.destination = broadcast_mac} / Ip4{.destination = "192.0.2.255"_ip4} / Udp{.destination_port = 9} /
              Raw{magic()},
          triggered(PZ_REASON_TRIGGER_MAGIC, in_udp(9), XDP_PASS));
    check(Ether{.destination = "01:00:5e:00:00:01"_mac} / Ip4{.destination = "224.0.0.1"_ip4} /
              Udp{.destination_port = 9} / Raw{magic()},
          triggered(PZ_REASON_TRIGGER_MAGIC, in_udp(9), XDP_PASS));
    check(Ether{.destination = group_mac(all_nodes())} / Ip6{.destination = all_nodes()} / Udp{.destination_port = 9} /
              Raw{magic()},
          triggered(PZ_REASON_TRIGGER_MAGIC, in_udp(9), XDP_PASS));
}

TEST_F(MagicTest, R31_HalfDoneUdpChecksumIsNotLookedAt) {
    check(Ether{.destination = broadcast_mac} / Ip4{.destination = limited_broadcast} /
              Udp{.destination_port = 9, .checksum = 0x5555} / Raw{magic()},
          triggered(PZ_REASON_TRIGGER_MAGIC, in_udp(9), XDP_PASS));
}

TEST_F(MagicTest, R31_SecondMacOfTheRecordWakesToo) {
    Host host;
    host.macs = {host_mac, host_second_mac};
    sleeper(host);
    check(ethernet(magic(host_second_mac)), triggered(PZ_REASON_TRIGGER_MAGIC, in_ethernet, XDP_PASS));
    check(broadcast_udp(magic(host_second_mac)), triggered(PZ_REASON_TRIGGER_MAGIC, in_udp(9), XDP_PASS));
}

TEST_F(MagicTest, OtherPlacesAreNotLookedAt) {
    // TCP data, another EtherType, the Ethernet header
    check(Ether{} / Ip4{} / Tcp{.flags = 0x18} / Raw{magic()}, dropped({PZ_REASON_UNICAST_IGNORED}));
    check(Ether{.destination = broadcast_mac, .type = 0x0843} / Raw{magic()}, passed({PZ_REASON_UNKNOWN_L2}));
    check(Ether{.destination = broadcast_mac, .source = host_second_mac, .type = 0x0842} / Raw{magic(host_mac, 15)},
          passed());
}

TEST_F(MagicTest, R36_MagicInABadPacketIsIgnored) {
    const auto ip_broadcast = Ether{.destination = broadcast_mac};
    check(ip_broadcast / Ip4{.destination = limited_broadcast, .checksum = 0x1234} / Udp{.destination_port = 9} /
              Raw{magic()},
          passed());
    check(ip_broadcast / Ip4{.destination = limited_broadcast, .fragment = 0x2000} / Udp{.destination_port = 9} /
              Raw{magic()},
          passed());
    check(ip_broadcast / Ip4{.destination = limited_broadcast, .options = {131, 3, 4, 0}} / Udp{.destination_port = 9} /
              Raw{magic()},
          passed());
    check(ip_broadcast / Ip4{.destination = limited_broadcast} / Udp{.destination_port = 9, .length = 7} / Raw{magic()},
          passed());
}

TEST_F(MagicTest, MagicOutsideTheIpPacketIsIgnored) {
    // in the Ethernet padding behind a short datagram
    auto frame = (Ether{.destination = broadcast_mac} / Ip4{.destination = limited_broadcast} /
                  Udp{.destination_port = 9} / Raw{"x"})
                     .bytes();
    frame = frame + magic();
    kernel().check(frame, passed());
    auto unicast = unicast_udp({}).bytes();
    kernel().check(unicast + magic(), dropped({PZ_REASON_PORT_CLOSED}));
}

TEST_F(MagicTest, MagicForAnotherMacIsNobodys) {
    for (const auto& mac : {stranger_mac, host_second_mac, "10:53:00:5e:00:00"_mac}) {
        check(ethernet(magic(mac)), passed({PZ_REASON_NOBODY}));
        check(broadcast_udp(magic(mac)), passed({PZ_REASON_NOBODY, PZ_REASON_MULTICAST_PASSED}));
    }
    kernel().set_bit(stranger_mac); // a collision in the filter
    check(ethernet(magic(stranger_mac)), passed({PZ_REASON_NOBODY}));
}

TEST_F(MagicTest, MagicForAHostOfAnotherSegmentIsNobodys) {
    check(Ether{.destination = broadcast_mac, .type = 0x8100} / Vlan{.vid = 100, .type = 0x0842} / Raw{magic()},
          passed({PZ_REASON_NOBODY}));
}

// ---- stages --------------------------------------------------------------------------------------------------------

TEST_F(MagicTest, HostThatIsBeingWokenIsNotTriggeredAgain) {
    Host host;
    host.stage = PZ_STAGE_WAKING;
    sleeper(host);
    check(ethernet(magic()), passed({PZ_REASON_MAGIC_REPEATS}));
    check(broadcast_udp(magic()), passed({PZ_REASON_MAGIC_REPEATS}));
    check(unicast_udp(magic()), dropped({PZ_REASON_MAGIC_REPEATS}));
}

TEST_F(MagicTest, ReleasedOrArmingHostIsNotTriggered) {
    kernel().put_released(Host{}.id, Host{}.generation);
    check(ethernet(magic()), passed({PZ_REASON_MAGIC_REPEATS, PZ_REASON_RELEASED}));
    check(unicast_udp(magic()), passed({PZ_REASON_RELEASED}));
    kernel().reset();
    Host host;
    host.stage = PZ_STAGE_ARMING;
    sleeper(host);
    check(ethernet(magic()), passed());
    check(unicast_udp(magic()), passed());
}

TEST_F(MagicTest, AwakeHostIsNobodys) {
    for (const auto stage : {PZ_STAGE_NONE, PZ_STAGE_WATCHED}) {
        kernel().reset();
        Host host;
        host.stage = static_cast<std::uint8_t>(stage);
        host.ip4 = {};
        host.ip6 = {};
        sleeper(host);
        check(ethernet(magic()), passed({PZ_REASON_NOBODY}));
        check(unicast_udp(magic()), passed({PZ_REASON_NOBODY}));
    }
}

TEST_F(MagicTest, AllowanceLimitsMagicPacketsToo) {
    Host host;
    host.event_interval_ms = 10'000;
    host.event_burst = 2;
    sleeper(host);
    check(ethernet(magic()), triggered(PZ_REASON_TRIGGER_MAGIC, in_ethernet, XDP_PASS));
    check(broadcast_udp(magic()), triggered(PZ_REASON_TRIGGER_MAGIC, in_udp(9), XDP_PASS));
    const auto before = kernel().live(host.id).last_trigger_ns;
    EXPECT_EQ(kernel().run(ethernet(magic()).bytes()).counted.count(PZ_REASON_TRIGGER_THROTTLED), 1U);
    EXPECT_GT(kernel().live(host.id).last_trigger_ns, before);
    check(unicast_udp(magic()), dropped({PZ_REASON_TRIGGER_THROTTLED}));
    // a broadcast is everybody's: over the allowance it still passes
    check(broadcast_udp(magic()), passed({PZ_REASON_TRIGGER_THROTTLED}));
}

TEST_F(MagicTest, DaemonGoneForTooLongPassesEverything) {
    kernel().put_daemon(61'000'000'000, 60'000'000'000);
    check(ethernet(magic()), passed({PZ_REASON_DAEMON_GONE}));
    check(unicast_udp(magic()), passed({PZ_REASON_DAEMON_GONE}));
}

// ---- SecureOn ------------------------------------------------------------------------------------------------------

TEST_F(MagicTest, R31_PasswordIsNeededWhereThePolicyHasOne) {
    Host host;
    const Bytes password = {0x10, 0x32, 0x54, 0x76, 0x98, 0xba};
    host.secureon = std::array<std::uint8_t, 6>{0x10, 0x32, 0x54, 0x76, 0x98, 0xba};
    sleeper(host);
    check_found(kernel(), magic(host_mac, 16, password));
    check_found(kernel(), noise(50) + magic(host_mac, 16, password) + noise(20));
    const auto refused = [&](const Bytes& payload) {
        check(ethernet(payload), passed({PZ_REASON_MAGIC_PASSWORD}));
        check(broadcast_udp(payload), passed({PZ_REASON_MAGIC_PASSWORD}));
        check(unicast_udp(payload), dropped({PZ_REASON_MAGIC_PASSWORD}));
    };
    refused(magic());
    refused(magic(host_mac, 16, {0x10, 0x32, 0x54, 0x76}));
    refused(magic(host_mac, 16, Bytes(6)));
    refused(magic() + noise(1) + password);
    for (std::size_t bit = 0; bit < 48; bit++) {
        auto wrong = password;
        wrong[bit / 8] ^= static_cast<std::uint8_t>(1U << bit % 8);
        refused(magic(host_mac, 16, wrong));
    }
    // every prefix of the password
    for (std::ptrdiff_t length = 0; length < 6; length++)
        refused(magic(host_mac, 16, Bytes(password.begin(), password.begin() + length)));
}

TEST_F(MagicTest, R31_PasswordIsNotLookedAtWhereThePolicyHasNone) {
    check_found(kernel(), magic(host_mac, 16, {1, 2, 3, 4}));
    check_found(kernel(), magic(host_mac, 16, {1, 2, 3, 4, 5, 6}));
}

// ---- offsets -------------------------------------------------------------------------------------------------------

/// `magic()` at every offset of a payload of `length` bytes of noise.
void check_every_offset(DataPath& kernel, std::size_t length, const std::function<Packet(const Bytes&)>& around,
                        const Expected& expected) {
    const auto packet = magic();
    for (std::size_t offset = 0; offset + packet.size() <= length; offset++) {
        auto payload = noise(length, static_cast<std::uint32_t>(offset));
        std::ranges::copy(packet, payload.begin() + static_cast<std::ptrdiff_t>(offset));
        kernel.check(around(payload), expected);
        if (testing::Test::HasFailure()) {
            ADD_FAILURE() << "at offset " << offset;
            return;
        }
    }
}

TEST_F(MagicTest, R31_EveryOffsetOfAUnicastDatagram) {
    check_every_offset(
        kernel(), 1472, [](const Bytes& payload) { return unicast_udp(payload); },
        triggered(PZ_REASON_TRIGGER_MAGIC, in_udp(31337, host_ip4)));
}
TEST_F(MagicTest, R31_EveryOffsetOfABroadcastDatagram) {
    check_every_offset(
        kernel(), 1472, [](const Bytes& payload) { return broadcast_udp(payload); },
        triggered(PZ_REASON_TRIGGER_MAGIC, in_udp(9), XDP_PASS));
}
TEST_F(MagicTest, R31_EveryOffsetOfAnEthernetFrame) {
    check_every_offset(
        kernel(), 1500, [](const Bytes& payload) { return ethernet(payload); },
        triggered(PZ_REASON_TRIGGER_MAGIC, in_ethernet, XDP_PASS));
}
TEST_F(MagicTest, R31_EveryOffsetOfAnIpv6Datagram) {
    check_every_offset(
        kernel(), 1452,
        [](const Bytes& payload) { return Ether{} / Ip6{} / Udp{.destination_port = 9} / Raw{payload}; },
        triggered(PZ_REASON_TRIGGER_MAGIC, in_udp(9, host_ip6())));
}

TEST_F(MagicTest, R31_EndOfPayloadsOfEveryLength) {
    for (std::size_t before = 0; before + 102 <= 1472; before++) {
        kernel().check(unicast_udp(noise(before) + magic()),
                       triggered(PZ_REASON_TRIGGER_MAGIC, in_udp(31337, host_ip4)));
        if (HasFailure()) {
            ADD_FAILURE() << before << " bytes before";
            return;
        }
    }
}

TEST_F(MagicTest, R31_CutShortByAByteIsNone) {
    auto payload = magic();
    payload.pop_back();
    check_not_found(kernel(), payload);
    check_not_found(kernel(), noise(40) + payload);
    kernel().check(ethernet(payload).bytes(), passed());
}

// ---- near misses ---------------------------------------------------------------------------------------------------

TEST_F(MagicTest, R31_EachDamagedBitIsNoticed) {
    const auto good = magic();
    for (std::size_t bit = 0; bit < good.size() * 8; bit++) {
        auto payload = good;
        payload[bit / 8] ^= static_cast<std::uint8_t>(1U << bit % 8);
        const auto frames = {ethernet(payload), broadcast_udp(noise(100) + payload + noise(30))};
        for (const auto& frame : frames)
            check(frame, passed());
        check(unicast_udp(noise(7) + payload), dropped({PZ_REASON_PORT_CLOSED}));
        if (HasFailure()) {
            ADD_FAILURE() << "bit " << bit;
            return;
        }
    }
}

TEST_F(MagicTest, R31_MacOnceIsNone) {
    check_not_found(kernel(), magic(host_mac, 1));
    check_not_found(kernel(), magic(host_mac, 1) + Bytes(90));
    check_not_found(kernel(), Bytes(6, 0xff) + bytes_of(host_mac) + noise(300));
}

TEST_F(MagicTest, R31_FewerThanSixteenRepeatsAreNone) {
    for (std::size_t repeats = 0; repeats < 16; repeats++) {
        check_not_found(kernel(), magic(host_mac, repeats));
        check_not_found(kernel(), magic(host_mac, repeats) + noise(200));
        check_not_found(kernel(), noise(33) + magic(host_mac, repeats) + Bytes(200));
    }
}

TEST_F(MagicTest, R31_MoreThanSixteenRepeatsAreOne) {
    for (const std::size_t repeats : {17U, 18U, 20U, 32U, 100U, 240U}) {
        check_found(kernel(), magic(host_mac, repeats));
        if (repeats < 230)
            check_found(kernel(), noise(17) + magic(host_mac, repeats) + noise(9));
    }
}

TEST_F(MagicTest, R31_RunsOfSyncBytes) {
    // six 0xff must be there; more before them are allowed
    for (std::size_t sync = 0; sync <= 40; sync++) {
        const auto payload = magic(host_mac, 16, {}, sync);
        if (sync < 6) {
            check_not_found(kernel(), payload);
            check_not_found(kernel(), noise(60) + payload + noise(30));
        } else {
            check_found(kernel(), payload);
            check_found(kernel(), noise(60) + payload + noise(30));
        }
    }
    for (std::size_t sync = 41; sync <= 1376; sync += 89)
        check_found(kernel(), magic(host_mac, 16, {}, sync));
}

TEST_F(MagicTest, R31_RepeatsWithoutSyncAreNone) {
    check_not_found(kernel(), times(16, bytes_of(host_mac)));
    check_not_found(kernel(), times(240, bytes_of(host_mac)));
    // the sync behind, or with a gap
    check_not_found(kernel(), times(16, bytes_of(host_mac)) + Bytes(6, 0xff));
    check_not_found(kernel(), Bytes(6, 0xff) + Bytes{0} + times(16, bytes_of(host_mac)));
    check_not_found(kernel(), Bytes(5, 0xff) + Bytes{0xfe} + times(20, bytes_of(host_mac)));
}

TEST_F(MagicTest, R31_MacsWithManyFfBytes) {
    // the end of one MAC and the start of the next look like sync
    for (const auto& mac : {"00:ff:ff:ff:ff:ff"_mac, "02:00:00:00:00:ff"_mac, "02:00:00:ff:ff:ff"_mac,
                            "fe:ff:ff:ff:ff:ff"_mac, "02:ff:00:ff:00:ff"_mac, "fe:ff:ff:ff:ff:fe"_mac,
                            "02:02:02:02:02:02"_mac, "02:03:02:03:02:03"_mac, "00:00:00:00:00:02"_mac}) {
        kernel().reset();
        sleeper({.macs = {mac}, .answer_mac = mac});
        const auto found = [&](const Bytes& payload) {
            check(broadcast_udp(payload), triggered(PZ_REASON_TRIGGER_MAGIC, in_udp(9), XDP_PASS));
            check(ethernet(payload), triggered(PZ_REASON_TRIGGER_MAGIC, in_ethernet, XDP_PASS));
        };
        const auto not_found = [&](const Bytes& payload) {
            check(broadcast_udp(payload), passed());
            check(ethernet(payload), passed());
        };
        found(magic(mac));
        found(magic(mac, 20));
        found(noise(77) + magic(mac, 16) + noise(41));
        found(noise(5) + magic(mac, 16, {}, 20));
        found(Bytes{0} + magic(mac) + Bytes(10, 0xff));
        not_found(magic(mac, 15));
        not_found(magic(mac, 15) + Bytes(40, 0));
        not_found(magic(mac, 15) + Bytes(12, 0xff));
        not_found(Bytes(40, 0xff) + times(15, bytes_of(mac)) + noise(50));
        not_found(times(20, bytes_of(mac)) + noise(50));
        not_found(Bytes{0} + times(30, bytes_of(mac)));
        not_found(Bytes{0} + magic(mac, 16, {}, 5));
    }
}

TEST_F(MagicTest, R31_PeriodicJunkBefore) {
    // runs that look like the repeats: every period up to seven, and a Magic Packet for somebody else
    for (std::size_t period = 1; period <= 7; period++)
        for (const std::size_t length : {96U, 102U, 200U, 1000U}) {
            Bytes junk(length);
            for (std::size_t i = 0; i < length; i++)
                junk[i] = static_cast<std::uint8_t>(0x20 + i % period);
            check_found(kernel(), junk + magic());
            check_found(kernel(), junk + magic() + Bytes(junk.begin(), junk.begin() + 90));
        }
    check_found(kernel(), Bytes(1000) + magic());
    check_found(kernel(), times(60, bytes_of(host_mac)) + magic());
    check_found(kernel(), times(16, bytes_of(stranger_mac)) + magic());
}

TEST_F(MagicTest, R31_DecoysBefore) {
    // a whole Magic Packet for somebody else, and broken ones for this host
    check_found(kernel(), magic(stranger_mac) + magic());
    check_found(kernel(), magic(host_mac, 15) + Bytes{0} + magic());
    check_found(kernel(), magic(host_mac, 15) + magic());
    check_found(kernel(), magic(host_mac, 3) + noise(11) + magic(host_mac, 9) + magic());
    check_found(kernel(), magic(stranger_mac, 40) + noise(100) + magic() + magic(stranger_mac));
}

TEST_F(MagicTest, ManyBrokenOnesForTheHostEndTheSearch) {
    // what costs most to look at; so many of them are sent to keep us busy
    const auto broken = times(20, bytes_of(host_mac)) + Bytes(90);
    check_found(kernel(), broken + broken + broken + magic());
    check_not_found(kernel(), broken + broken + broken + broken + magic());
    const auto of_strangers = times(20, bytes_of(stranger_mac)) + Bytes(90);
    check_found(kernel(), of_strangers + of_strangers + of_strangers + of_strangers + of_strangers + magic());
}

TEST_F(MagicTest, R31_RandomPayloadsAgreeWithAPlainSearch) {
    // built from the pieces that matter, too few to end the search; the plain search below is the definition
    const auto plain_search = [](const Bytes& payload) {
        const auto wanted = magic();
        return std::ranges::search(payload, wanted).begin() != payload.end();
    };
    std::mt19937 random(31);
    std::size_t with = 0;
    for (int round = 0; round < 20'000; round++) {
        Bytes payload;
        for (auto pieces = random() % 5; pieces-- > 0;) {
            switch (random() % 7) {
            case 0:
                payload = payload + noise(random() % 90, static_cast<std::uint32_t>(random()));
                break;
            case 1:
                payload = payload + Bytes(random() % 14, 0xff);
                break;
            case 2:
                payload = payload + times(random() % 22, bytes_of(host_mac));
                break;
            case 3:
                payload = payload + magic(host_mac, 14 + random() % 4, {}, 5 + random() % 3);
                break;
            case 4:
                payload = payload + Bytes(random() % 150, static_cast<std::uint8_t>(random()));
                break;
            case 5:
                payload = payload + magic(stranger_mac, 10 + random() % 8);
                break;
            default:
                payload = payload + bytes_of(host_mac);
                payload.resize(payload.size() - random() % 6);
                break;
            }
        }
        payload.resize(std::min<std::size_t>(payload.size(), 1472));
        const bool expected = plain_search(payload);
        with += expected ? 1U : 0U;
        const auto outcome = kernel().run(broadcast_udp(payload).bytes());
        ASSERT_EQ(outcome.triggers.size(), expected ? 1U : 0U) << "round " << round << "\n"
                                                               << hexdump(payload) << outcome.to_string();
    }
    EXPECT_GT(with, 2000U) << "the generator makes too few Magic Packets";
    EXPECT_LT(with, 18'000U);
}

} // namespace
} // namespace pz::test
