// SPDX-License-Identifier: Apache-2.0
// Interfaces as any machine has them, without privileges; then a veth pair in a network namespace, where that is
// allowed.
#include "net/link.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/if_ether.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <memory>
#include <thread>

#include "../support/net_namespace.h"
#include "net/neighbour.h"
#include "net/packet_socket.h"

namespace pz {
namespace {

constexpr const char* missing = "pz-missing-0";

bool contains(const std::vector<IpAddress>& addresses, std::string_view text) {
    return std::ranges::find(addresses, IpAddress::parse(text).value()) != addresses.end();
}

TEST(FindLink, DescribesTheLoopbackInterface) {
    const auto link = find_link("lo");
    ASSERT_TRUE(link) << link.error().message;
    EXPECT_EQ(link->name, "lo");
    EXPECT_EQ(static_cast<unsigned>(link->ifindex), if_nametoindex("lo"));
    EXPECT_TRUE(link->mac.is_zero());
    EXPECT_FALSE(link->is_ethernet);
    EXPECT_EQ(link->kind, "");
}

TEST(FindLink, MissingInterfaceIsNamedAndThoseThatExistAreListed) {
    const auto link = find_link(missing);
    ASSERT_FALSE(link);
    EXPECT_EQ(link.error().code, Errc::not_found);
    EXPECT_TRUE(link.error().message.starts_with("interface \"pz-missing-0\" does not exist; there are "))
        << link.error().message;
    EXPECT_NE(link.error().message.find(" lo"), std::string::npos) << link.error().message;
}

TEST(FindLink, NamesThatNoInterfaceCanHaveAreJustMissing) {
    for (const auto* name : {"", "a-name-longer-than-any-interface-may-have", "l", "lo0", "lo\n"}) {
        const auto link = find_link(name);
        ASSERT_FALSE(link) << name;
        EXPECT_EQ(link.error().code, Errc::not_found);
    }
}

TEST(LinkAddresses, LoopbackHasItsAddresses) {
    const auto link = find_link("lo");
    ASSERT_TRUE(link) << link.error().message;
    const auto addresses = link_addresses(link->ifindex);
    ASSERT_TRUE(addresses) << addresses.error().message;
    if (!link->up)
        GTEST_SKIP() << "lo is down here, so it has no addresses";
    EXPECT_TRUE(contains(*addresses, "127.0.0.1"));
    std::string every_ipv6;
    std::getline(std::ifstream("/proc/net/if_inet6"), every_ipv6, '\0');
    EXPECT_EQ(contains(*addresses, "::1"), every_ipv6.contains(" lo\n"));
}

TEST(LinkAddresses, AnIndexThatNoInterfaceHasGivesNone) {
    const auto addresses = link_addresses(0x7fffffff);
    ASSERT_TRUE(addresses) << addresses.error().message;
    EXPECT_TRUE(addresses->empty());
}

TEST(RxVlanOffload, MissingInterfaceIsNamed) {
    for (const std::string name : {missing, "a-name-longer-than-any-interface-may-have"}) {
        const auto disabled = disable_rx_vlan_offload(name);
        ASSERT_FALSE(disabled);
        EXPECT_EQ(disabled.error().code, Errc::not_found);
        EXPECT_NE(disabled.error().message.find('"' + name + '"'), std::string::npos) << disabled.error().message;
        const auto enabled = enable_rx_vlan_offload(name);
        ASSERT_FALSE(enabled);
        EXPECT_EQ(enabled.error().code, Errc::not_found);
    }
}

TEST(PacketSocket, MissingInterfaceIsNamedByItsIndex) {
    const auto socket = PacketSocket::open(0x7ffffffe);
    ASSERT_FALSE(socket);
    EXPECT_EQ(socket.error().code, Errc::system);
    EXPECT_TRUE(socket.error().message.starts_with("interface index 2147483646: ")) << socket.error().message;
}

/// Two ends of a cable, pz0 (02:00:00:00:00:a0) and pz1, in a network namespace of this test's own.
class VethPair : public test::NetworkNamespace {
protected:
    void SetUp() override {
        NetworkNamespace::SetUp();
        if (IsSkipped() || HasFatalFailure())
            return;
        run("ip link add pz0 address 02:00:00:00:00:a0 type veth peer name pz1 address 02:00:00:00:00:a1");
        run("ip link set lo up");
        run("ip link set pz0 up");
        run("ip link set pz1 up");
        index_ = static_cast<int>(if_nametoindex("pz0"));
        ASSERT_GT(index_, 0);
    }
    static std::string output_of(const char* command) {
        const std::unique_ptr<FILE, int (*)(FILE*)> pipe(::popen(command, "r"), ::pclose);
        std::string output;
        for (int c = std::fgetc(pipe.get()); c != EOF; c = std::fgetc(pipe.get()))
            output.push_back(static_cast<char>(c));
        return output;
    }
    /// The MACs that pz0's filters let in, next to its own.
    static std::string filters() { return output_of("bridge fdb show dev pz0"); }

    int index_ = 0;
};

TEST_F(VethPair, FindLinkDescribesIt) {
    const auto link = find_link("pz0");
    ASSERT_TRUE(link) << link.error().message;
    EXPECT_EQ(link->ifindex, index_);
    EXPECT_EQ(link->mac.to_string(), "02:00:00:00:00:a0");
    EXPECT_EQ(link->kind, "veth");
    EXPECT_TRUE(link->is_ethernet);
    EXPECT_TRUE(link->up);
}

TEST_F(VethPair, ErrorListsExactlyTheInterfacesThatExist) {
    run("ip link del pz0");
    EXPECT_EQ(find_link("pz0").error().message, "interface \"pz0\" does not exist; there are lo");
}

TEST_F(VethPair, IsUpOnlyWithCarrier) {
    run("ip link set pz1 down");
    EXPECT_FALSE(find_link("pz0").value().up) << "administratively up, no carrier";
    run("ip link set pz1 up");
    EXPECT_TRUE(find_link("pz0").value().up);
    run("ip link set pz0 down");
    EXPECT_FALSE(find_link("pz0").value().up);
}

TEST(SourceAddresses, TheFirstOfEachFamilyAndLinkLocalBeforeOtherIpv6) {
    const auto ip = [](const char* text) { return IpAddress::parse(text).value(); };
    EXPECT_EQ(choose_sources({}), SourceAddresses{});
    EXPECT_EQ(choose_sources({ip("2001:db8::1"), ip("192.0.2.1"), ip("fe80::1"), ip("198.51.100.1"), ip("fe80::2")}),
              (SourceAddresses{.ip4 = ip("192.0.2.1"), .ip6 = ip("fe80::1"), .link_local = ip("fe80::1")}));
    EXPECT_EQ(choose_sources({ip("2001:db8::1"), ip("2001:db8::2")}),
              (SourceAddresses{.ip4 = {}, .ip6 = ip("2001:db8::1"), .link_local = {}}));
    EXPECT_EQ(choose_sources({ip("169.254.0.1")}),
              (SourceAddresses{.ip4 = ip("169.254.0.1"), .ip6 = {}, .link_local = {}}))
        << "the link-local one is of IPv6";
}

TEST_F(VethPair, AddressesComeInKernelOrderAndTentativeOnesAreLeftOut) {
    run("ip addr add 192.0.2.1/24 dev pz0");
    run("ip addr add 198.51.100.1/24 dev pz0");
    run("ip addr add 203.0.113.1 peer 203.0.113.2/32 dev pz0");
    run("ip addr add 192.0.2.99/24 dev pz1");
    run("ip addr add 2001:db8::1/64 dev pz0 nodad");
    run("ip addr add 2001:db8::2/64 dev pz0");
    const auto early = link_addresses(index_);
    ASSERT_TRUE(early) << early.error().message;
    ASSERT_GE(early->size(), 4U);
    EXPECT_EQ((*early)[0].to_string(), "192.0.2.1");
    EXPECT_EQ((*early)[1].to_string(), "198.51.100.1");
    EXPECT_EQ((*early)[2].to_string(), "203.0.113.1") << "the local end, not the peer";
    EXPECT_TRUE(contains(*early, "2001:db8::1"));
    EXPECT_FALSE(contains(*early, "2001:db8::2")) << "still tentative";
    EXPECT_FALSE(contains(*early, "192.0.2.99")) << "another interface's";

    bool settled = false;
    for (int i = 0; i < 100 && !settled; ++i) { // duplicate address detection takes one to two seconds
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        settled = contains(link_addresses(index_).value(), "2001:db8::2");
    }
    EXPECT_TRUE(settled);
}

TEST_F(VethPair, EveryFrameIsAcceptedFromJoinAllToLeaveAll) {
    auto socket = PacketSocket::open(index_).value();
    const auto is_promiscuous = [] { return output_of("ip -d link show dev pz0").contains("promiscuity 1"); };
    EXPECT_FALSE(is_promiscuous());
    ASSERT_TRUE(socket.join_all(index_));
    EXPECT_TRUE(is_promiscuous());
    ASSERT_TRUE(socket.leave_all(index_));
    EXPECT_FALSE(is_promiscuous());
}

TEST_F(VethPair, NeighbourEntriesComeAndGoByOneSocketAndThoseOfOthersStay) {
    Neighbours neighbours;
    const auto entries = [] { return output_of("ip -d neigh show dev pz0 nud permanent"); };
    const auto ip = [](int i) { return IpAddress::v4({192, 0, 2, static_cast<std::uint8_t>(i)}); };
    const MacAddress one{{2, 0, 0, 0, 0, 1}};
    const MacAddress two{{2, 0, 0, 0, 0, 2}};
    run("ip neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev pz0 nud permanent");
    for (int round = 0; round < 3; ++round) {
        for (int i = 1; i <= 3; ++i)
            ASSERT_TRUE(neighbours.pin(index_, ip(i), one).value());
        EXPECT_TRUE(neighbours.pin(index_, ip(2), two).value()) << "ours may change";
        EXPECT_TRUE(entries().contains("192.0.2.1 lladdr 02:00:00:00:00:01")) << entries();
        EXPECT_TRUE(entries().contains("192.0.2.2 lladdr 02:00:00:00:00:02")) << entries();
        EXPECT_FALSE(neighbours.pin(index_, ip(9), one).value());
        EXPECT_FALSE(neighbours.pin(0x7ffffffe, ip(1), one)) << "there is no such device";
        for (const int i : {1, 2, 9, 7})
            EXPECT_TRUE(neighbours.unpin(index_, ip(i), std::nullopt));
        EXPECT_FALSE(entries().contains("192.0.2.1 ") || entries().contains("192.0.2.2 ")) << entries();
        EXPECT_TRUE(entries().contains("192.0.2.3 lladdr 02:00:00:00:00:01")) << entries();
        EXPECT_TRUE(entries().contains("192.0.2.9 lladdr 02:00:00:00:00:09")) << entries();
        ASSERT_TRUE(neighbours.unpin_all(index_));
        EXPECT_FALSE(entries().contains("192.0.2.3 ")) << entries();
    }
    ASSERT_TRUE(neighbours.pin(index_, ip(1), one).value());
    ASSERT_TRUE(neighbours.unpin(index_, ip(1), two));
    EXPECT_TRUE(output_of("ip neigh show dev pz0").contains("192.0.2.1 lladdr 02:00:00:00:00:02 STALE"));
}

TEST_F(VethPair, RxVlanOffloadIsTurnedOffAndBackOn) {
    EXPECT_TRUE(output_of("ethtool -k pz0").contains("rx-vlan-offload: on"));
    EXPECT_TRUE(disable_rx_vlan_offload("pz0").value()) << "it was on";
    EXPECT_TRUE(output_of("ethtool -k pz0").contains("rx-vlan-offload: off"));
    EXPECT_FALSE(disable_rx_vlan_offload("pz0").value()) << "it was off";
    ASSERT_TRUE(enable_rx_vlan_offload("pz0"));
    EXPECT_TRUE(output_of("ethtool -k pz0").contains("rx-vlan-offload: on"));
    EXPECT_TRUE(enable_rx_vlan_offload("pz0")) << "twice is no error";
}

TEST_F(VethPair, RxVlanOffloadThatIsFixedIsUnsupported) {
    ASSERT_TRUE(output_of("ethtool -k lo").contains("rx-vlan-offload: off [fixed]"));
    EXPECT_FALSE(disable_rx_vlan_offload("lo").value());
    const auto enabled = enable_rx_vlan_offload("lo");
    ASSERT_FALSE(enabled);
    EXPECT_EQ(enabled.error().code, Errc::unsupported);
    EXPECT_EQ(enabled.error().message, "interface \"lo\": the device has rx-vlan-offload fixed");
}

/// All frames that reach pz1, as they are.
class Receiver {
public:
    Receiver() : fd_(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL))) {
        sockaddr_ll at{};
        at.sll_family = AF_PACKET;
        at.sll_protocol = htons(ETH_P_ALL);
        at.sll_ifindex = static_cast<int>(if_nametoindex("pz1"));
        EXPECT_EQ(::bind(fd_.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at), 0);
        const timeval patience{.tv_sec = 2, .tv_usec = 0};
        EXPECT_EQ(::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    }
    /// The next frame from `source`; empty when none comes.
    Bytes next_from(const MacAddress& source) {
        for (;;) {
            Bytes frame(2048);
            const auto length = ::recv(fd_.get(), frame.data(), frame.size(), 0);
            if (length < 0)
                return {};
            frame.resize(static_cast<std::size_t>(length));
            if (parse_frame(frame).source == source)
                return frame;
        }
    }

private:
    Fd fd_;
};

constexpr MacAddress sleeper{{0x02, 0, 0, 0, 0, 0x51}};
constexpr MacAddress group{{0x33, 0x33, 0xff, 0, 0, 0x51}};

TEST_F(VethPair, PacketSocketSendsTheFrameByteForByte) {
    Receiver receiver;
    const auto socket = PacketSocket::open(index_);
    ASSERT_TRUE(socket) << socket.error().message;
    EXPECT_EQ(socket->ifindex(), index_);
    const auto arp = build_arp_announcement(sleeper, IpAddress::v4({192, 0, 2, 81}), {});
    const auto magic = build_magic_ethernet(sleeper, sleeper, std::nullopt, {});
    for (const auto& frame : {arp, magic}) {
        const auto sent = socket->send(frame);
        ASSERT_TRUE(sent) << sent.error().message;
        EXPECT_EQ(receiver.next_from(sleeper), frame);
    }
}

TEST_F(VethPair, PacketSocketSurvivesALinkFlap) {
    Receiver receiver;
    const auto socket = PacketSocket::open(index_).value();
    const auto frame = build_arp_announcement(sleeper, IpAddress::v4({192, 0, 2, 81}), {});
    run("ip link set pz0 down");
    const auto while_down = socket.send(frame);
    ASSERT_FALSE(while_down);
    EXPECT_EQ(while_down.error().message,
              "sending 60 bytes on interface index " + std::to_string(index_) + ": Network is down");
    run("ip link set pz0 up");
    const auto after = socket.send(frame);
    ASSERT_TRUE(after) << after.error().message;
    EXPECT_EQ(receiver.next_from(sleeper), frame);
}

TEST_F(VethPair, PacketSocketRefusesWhatIsNoFrame) {
    const auto socket = PacketSocket::open(index_).value();
    const auto sent = socket.send(Bytes(10));
    ASSERT_FALSE(sent);
    EXPECT_TRUE(sent.error().message.starts_with("sending 10 bytes on interface index ")) << sent.error().message;
}

TEST_F(VethPair, JoinedMacsEnterTheInterfacesFiltersUntilLeaveOrClose) {
    const auto holds = [](const MacAddress& mac) { return filters().contains(mac.to_string()); };
    ASSERT_FALSE(holds(sleeper));
    ASSERT_FALSE(holds(group));
    {
        auto socket = PacketSocket::open(index_).value();
        ASSERT_TRUE(socket.join(sleeper));
        ASSERT_TRUE(socket.join(group));
        EXPECT_TRUE(holds(sleeper));
        EXPECT_TRUE(holds(group));
        ASSERT_TRUE(socket.leave(sleeper));
        EXPECT_FALSE(holds(sleeper));
        EXPECT_TRUE(holds(group));
        ASSERT_TRUE(socket.join(sleeper));
        ASSERT_TRUE(socket.leave(group));
        EXPECT_TRUE(holds(sleeper));
        EXPECT_FALSE(holds(group));
    }
    EXPECT_FALSE(holds(sleeper)) << "the socket is closed";
}

TEST_F(VethPair, JoinOnAnInterfaceThatWentAwayNamesMacAndIndex) {
    auto socket = PacketSocket::open(index_).value();
    run("ip link del pz0");
    const auto joined = socket.join(sleeper);
    ASSERT_FALSE(joined);
    EXPECT_EQ(joined.error().message,
              "receiving for 02:00:00:00:00:51 on interface index " + std::to_string(index_) + ": No such device");
    EXPECT_FALSE(socket.send(build_arp_announcement(sleeper, IpAddress::v4({192, 0, 2, 81}), {})));
}

TEST_F(VethPair, WithoutCapabilitiesTheErrorNamesTheOneThatIsMissing) {
    constexpr uid_t nobody = 65534;
    if (::seteuid(nobody) != 0)
        GTEST_SKIP() << "no other user to become";
    const auto socket = PacketSocket::open(index_);
    const auto offload = disable_rx_vlan_offload("pz0");
    const auto link = find_link("pz0");
    ASSERT_EQ(::seteuid(0), 0);
    ASSERT_FALSE(socket);
    EXPECT_EQ(socket.error().code, Errc::permission);
    EXPECT_TRUE(socket.error().message.contains("CAP_NET_RAW")) << socket.error().message;
    ASSERT_FALSE(offload);
    EXPECT_EQ(offload.error().code, Errc::permission);
    EXPECT_TRUE(offload.error().message.starts_with("interface \"pz0\": ")) << offload.error().message;
    EXPECT_TRUE(offload.error().message.contains("CAP_NET_ADMIN")) << offload.error().message;
    EXPECT_TRUE(link) << "reading needs no privilege";
}

} // namespace
} // namespace pz
