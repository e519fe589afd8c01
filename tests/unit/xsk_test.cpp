// SPDX-License-Identifier: Apache-2.0
// Who has a frame, without privileges; then sockets on a veth pair with our data path, where that is allowed: what is
// sent to a sleeper's port 5353 comes back, answered in the frame that it came in.
#include "xsk/socket.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <linux/ethtool.h>
#include <linux/if_packet.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/if_ether.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <set>

#include <spdlog/fmt/fmt.h>

#include "../support/net_namespace.h"
#include "fastpath/events.h"
#include "fastpath/fastpath.h"

namespace pz::xsk {
namespace {

TEST(Ledger, AFrameGoesFromOneOwnerToAnother) {
    Ledger ledger(4);
    EXPECT_EQ(ledger.count(Owner::free), 4U);
    for (const auto& [from, to] : {std::pair{Owner::free, Owner::fill},
                                   {Owner::fill, Owner::hand},
                                   {Owner::hand, Owner::tx},
                                   {Owner::tx, Owner::completion},
                                   {Owner::completion, Owner::fill}}) {
        ASSERT_TRUE(ledger.move(2 * frame_size + 256, from, to));
        EXPECT_EQ(ledger.count(to), 1U);
        EXPECT_EQ(ledger.count(Owner::free), 3U);
    }
}

TEST(Ledger, AFrameThatIsGivenBackTwiceIsFound) {
    Ledger ledger(4);
    ASSERT_TRUE(ledger.move(frame_size, Owner::free, Owner::fill));
    ASSERT_TRUE(ledger.move(frame_size, Owner::fill, Owner::hand));
    ASSERT_TRUE(ledger.move(frame_size, Owner::hand, Owner::fill));
    const auto twice = ledger.move(frame_size + 100, Owner::hand, Owner::fill);
    ASSERT_FALSE(twice);
    EXPECT_EQ(twice.error().message, "AF_XDP: frame 1 goes from hand to fill, but is in fill");
    EXPECT_EQ(ledger.count(Owner::fill), 1U) << "and nothing has moved";
}

TEST(Ledger, AFrameThatIsLostOnTheWayIsFound) {
    Ledger ledger(4);
    EXPECT_TRUE(ledger.check_settled());
    ASSERT_TRUE(ledger.move(0, Owner::free, Owner::fill));
    ASSERT_TRUE(ledger.move(0, Owner::fill, Owner::hand));
    EXPECT_EQ(ledger.check_settled().error().message, "AF_XDP: 1 frames are lost in hand");
    ASSERT_TRUE(ledger.move(0, Owner::hand, Owner::tx));
    EXPECT_TRUE(ledger.check_settled());
    ASSERT_TRUE(ledger.move(0, Owner::tx, Owner::completion));
    EXPECT_EQ(ledger.check_settled().error().message, "AF_XDP: 1 frames are lost in completion");
}

TEST(Ledger, AddressesOutsideTheMemoryAreNobodys) {
    Ledger ledger(4);
    EXPECT_EQ(ledger.move(4 * frame_size, Owner::free, Owner::fill).error().message,
              fmt::format("AF_XDP: there is no frame at {}", 4 * frame_size));
}

TEST(Queues, ADeviceHasOneAtLeast) {
    EXPECT_EQ(queues_of("lo"), 1U);
    EXPECT_EQ(queues_of("pz-missing-0"), 1U);
}

TEST(Sockets, AMissingInterfaceIsNamed) {
    const auto opened = DeviceSockets::open("pz-missing-0", true);
    ASSERT_FALSE(opened);
    EXPECT_NE(opened.error().message.find("'pz-missing-0'"), std::string::npos) << opened.error().message;
}

const MacAddress host_mac = MacAddress::parse("02:00:00:00:00:50").value();
const MacAddress gateway_mac = MacAddress::parse("02:00:00:00:00:a0").value();
const MacAddress client_mac = MacAddress::parse("02:00:00:00:00:a1").value();
const IpAddress host_ip = IpAddress::parse("192.0.2.50").value();
const IpAddress client_ip = IpAddress::parse("192.0.2.12").value();

/// UDP to the sleeper's port 5353, with `number` in its payload.
Bytes question(std::uint32_t number, std::uint16_t source_port = 5353, std::size_t payload = 40) {
    Bytes frame(14 + 20 + 8 + payload);
    std::ranges::copy(host_mac.bytes, frame.begin());
    std::ranges::copy(client_mac.bytes, frame.begin() + 6);
    const std::array<std::uint8_t, 12> head{0x08, 0x00, 0x45, 0, 0, 0, 0, 0, 0, 0, 255, IPPROTO_UDP};
    std::ranges::copy(head, frame.begin() + 12);
    const auto put16 = [&](std::size_t at, std::size_t value) {
        frame[at] = static_cast<std::uint8_t>(value >> 8);
        frame[at + 1] = static_cast<std::uint8_t>(value);
    };
    put16(16, 28 + payload);
    std::copy_n(client_ip.bytes.begin(), 4, frame.begin() + 26);
    std::copy_n(host_ip.bytes.begin(), 4, frame.begin() + 30);
    std::uint32_t sum = 0;
    for (std::size_t i = 14; i < 34; i += 2)
        sum += static_cast<std::uint32_t>(frame[i] << 8 | frame[i + 1]);
    sum = (sum & 0xffff) + (sum >> 16);
    put16(24, static_cast<std::uint16_t>(~((sum & 0xffff) + (sum >> 16))));
    put16(34, source_port);
    put16(36, 5353);
    put16(38, 8 + payload);
    std::memcpy(frame.data() + 42, &number, sizeof number);
    return frame;
}

/// Both ends change places; the length stays.
std::optional<std::size_t> turn_around(std::span<std::uint8_t> room, std::size_t length) {
    std::swap_ranges(room.begin(), room.begin() + 6, room.begin() + 6);
    std::swap_ranges(room.begin() + 26, room.begin() + 30, room.begin() + 30);
    std::swap_ranges(room.begin() + 34, room.begin() + 36, room.begin() + 36);
    return length;
}

bool set_queues(const std::string& interface, std::uint32_t receiving, std::uint32_t sending) {
    ethtool_channels channels{};
    channels.cmd = ETHTOOL_SCHANNELS;
    channels.rx_count = receiving;
    channels.tx_count = sending;
    ifreq request{};
    interface.copy(request.ifr_name, IFNAMSIZ - 1);
    request.ifr_data = reinterpret_cast<char*>(&channels);
    const Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    return ::ioctl(socket.get(), SIOCETHTOOL, &request) == 0;
}

/// The gateway's end of a cable, pz0, with our data path and a sleeper whose mDNS is steered; pz1 is a client's.
class SteeredTest : public test::NetworkNamespace {
protected:
    void SetUp() override {
        NetworkNamespace::SetUp();
        if (IsSkipped() || HasFatalFailure())
            return;
        run("ip link add pz0 address 02:00:00:00:00:a0 numrxqueues 2 numtxqueues 2 type veth "
            "peer name pz1 address 02:00:00:00:00:a1 numrxqueues 2 numtxqueues 2");
        for (const auto* end : {"pz0", "pz1"}) {
            run(std::string("sysctl -qw net.ipv6.conf.") + end + ".disable_ipv6=1");
            run(std::string("ip link set ") + end + " up");
        }
        index_ = static_cast<int>(if_nametoindex("pz0"));
        ASSERT_GT(index_, 0);
        fastpath::Options options;
        options.bpffs = fmt::format("/sys/fs/bpf/proxzzy/xsk-test-{}", ::getpid());
        options.max_hosts = 64;
        auto opened = fastpath::Fastpath::open(options);
        if (!opened)
            GTEST_SKIP() << opened.error().message;
        fastpath_ = *std::move(opened);
        ASSERT_TRUE(fastpath_->pin_maps());
        const auto mode = fastpath_->attach("pz0", index_);
        ASSERT_TRUE(mode) << mode.error().message;
        native_ = *mode == fastpath::XdpMode::native;
        ASSERT_TRUE(fastpath_->heartbeat(std::chrono::steady_clock::now()));
        fastpath::HostEntry host;
        host.host = 3;
        host.segment = 1;
        host.macs = {host_mac};
        host.addresses = {host_ip};
        host.answer_mac = host_mac;
        host.policy.generation = 7;
        host.policy.flags = PZ_POLICY_MDNS;
        ASSERT_TRUE(fastpath_->serve(host));
        const pz_segment_key key{.ifindex = static_cast<std::uint32_t>(index_), .outer_vid = 0, .inner_vid = 0};
        ASSERT_TRUE(fastpath_->set_segment(key, 1, gateway_mac));
        client_ = Fd(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_IP)));
        sockaddr_ll at{};
        at.sll_family = AF_PACKET;
        at.sll_protocol = htons(ETH_P_IP);
        at.sll_ifindex = static_cast<int>(if_nametoindex("pz1"));
        ASSERT_EQ(::bind(client_.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at), 0) << strerror(errno);
        const int room = 8 << 20;
        ::setsockopt(client_.get(), SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
    }
    void TearDown() override {
        if (fastpath_)
            fastpath_->detach_all();
        fastpath_.reset();
        NetworkNamespace::TearDown();
    }

    /// Sockets of pz0, known to the data path.
    std::unique_ptr<DeviceSockets> open() {
        auto opened = DeviceSockets::open("pz0", native_);
        EXPECT_TRUE(opened) << opened.error().message;
        if (!opened)
            return nullptr;
        auto device = std::make_unique<DeviceSockets>(*std::move(opened));
        EXPECT_TRUE(fastpath_->set_xsks(index_, device->fds()));
        return device;
    }
    void send(const Bytes& frame) const {
        ASSERT_EQ(::send(client_.get(), frame.data(), frame.size(), 0), static_cast<ssize_t>(frame.size()))
            << strerror(errno);
    }
    /// What has come to the client that is not its own, by number.
    std::set<std::uint32_t> answers(std::size_t wanted, int timeout_ms = 2000) const {
        std::set<std::uint32_t> numbers;
        pollfd ready{.fd = client_.get(), .events = POLLIN, .revents = 0};
        while (numbers.size() < wanted && ::poll(&ready, 1, timeout_ms) > 0) {
            Bytes frame(2048);
            sockaddr_ll from{};
            socklen_t size = sizeof from;
            const auto length =
                ::recvfrom(client_.get(), frame.data(), frame.size(), 0, reinterpret_cast<sockaddr*>(&from), &size);
            if (length < 46 || from.sll_pkttype == PACKET_OUTGOING)
                continue;
            std::uint32_t number = 0;
            std::memcpy(&number, frame.data() + 42, sizeof number);
            EXPECT_TRUE(std::ranges::equal(client_mac.bytes, std::span(frame).first(6)));
            EXPECT_TRUE(std::ranges::equal(host_mac.bytes, std::span(frame).subspan(6, 6)));
            EXPECT_TRUE(numbers.insert(number).second) << number << " came twice";
        }
        return numbers;
    }
    /// Serves the sockets until `count` frames were seen, or nothing comes any more.
    static std::size_t serve(DeviceSockets& device, std::size_t count, const Answer& answer, int timeout_ms = 2000) {
        std::size_t seen = 0;
        const Answer counting = [&](std::span<std::uint8_t> room, std::size_t length) {
            seen++;
            return answer(room, length);
        };
        pollfd ready{.fd = device.poll_fd(), .events = POLLIN, .revents = 0};
        while (seen < count && ::poll(&ready, 1, timeout_ms) > 0) {
            const auto all = device.receive(counting);
            EXPECT_TRUE(all) << all.error().message;
            if (!all)
                break;
        }
        return seen;
    }
    /// Every frame is where it belongs when nothing is on its way.
    static void expect_settled(DeviceSockets& device) {
        for (Socket& socket : device.sockets()) {
            for (int i = 0; i < 5000 && socket.ledger().count(Owner::tx) != 0; i++) {
                ASSERT_TRUE(socket.reap());
                ::usleep(1000);
            }
            EXPECT_EQ(socket.ledger().count(Owner::fill), rx_frames);
            EXPECT_EQ(socket.ledger().count(Owner::free), tx_frames);
            EXPECT_EQ(socket.ledger().count(Owner::tx), 0U);
            EXPECT_EQ(socket.ledger().count(Owner::hand), 0U);
            EXPECT_EQ(socket.ledger().count(Owner::completion), 0U);
        }
    }
    std::uint64_t counted(pz_reason reason) const { return fastpath_->counters()[reason].frames; }

    int index_ = 0;
    bool native_ = true;
    std::unique_ptr<fastpath::Fastpath> fastpath_;
    Fd client_;
};

TEST_F(SteeredTest, R63_QuestionsAreAnsweredInTheFramesThatTheyCameIn) {
    auto device = open();
    ASSERT_TRUE(device);
    EXPECT_EQ(device->sockets().size(), 2U);
    constexpr std::uint32_t rounds = 40;
    constexpr std::uint32_t burst = 100;
    std::set<std::uint32_t> back;
    for (std::uint32_t round = 0; round < rounds; round++) {
        for (std::uint32_t i = 0; i < burst; i++) // other ports, so that both queues get some
            send(question(round * burst + i, static_cast<std::uint16_t>(5000 + i), i % 2 == 0 ? 40 : 1400));
        ASSERT_EQ(serve(*device, burst, turn_around), burst);
        back.merge(answers(burst));
        ASSERT_EQ(back.size(), (round + 1) * burst);
        ASSERT_TRUE(fastpath_->heartbeat(std::chrono::steady_clock::now()));
    }
    expect_settled(*device);
    const auto statistics = device->statistics();
    ASSERT_TRUE(statistics);
    EXPECT_EQ(statistics->received, std::uint64_t{rounds * burst});
    EXPECT_EQ(statistics->sent, std::uint64_t{rounds * burst});
    EXPECT_EQ(statistics->not_sent, 0U);
    EXPECT_EQ(statistics->rx_dropped + statistics->rx_invalid + statistics->tx_invalid + statistics->rx_ring_full, 0U);
    EXPECT_EQ(counted(PZ_REASON_STEERED), std::uint64_t{rounds * burst});
    EXPECT_EQ(counted(PZ_REASON_OPTION_LOST), 0U);
}

TEST_F(SteeredTest, WhatIsNotAnsweredIsReceivedInAgain) {
    auto device = open();
    ASSERT_TRUE(device);
    const Answer none = [](std::span<std::uint8_t> /*room*/, std::size_t length) -> std::optional<std::size_t> {
        return length % 2 == 0 ? std::nullopt : std::optional<std::size_t>(frame_size + 1); // none, or impossible
    };
    for (std::uint32_t i = 0; i < 3 * rx_frames; i++) {
        send(question(i, 5353, 40 + i % 2));
        ASSERT_EQ(serve(*device, 1, none), 1U);
    }
    expect_settled(*device);
    EXPECT_TRUE(answers(1, 50).empty());
}

TEST_F(SteeredTest, AnAnswerMayBeLonger) {
    auto device = open();
    ASSERT_TRUE(device);
    send(question(1));
    const Answer longer = [](std::span<std::uint8_t> room, std::size_t length) -> std::optional<std::size_t> {
        EXPECT_EQ(length, 82U);
        EXPECT_GE(room.size(), 1514U);
        turn_around(room, length);
        return 1514;
    };
    ASSERT_EQ(serve(*device, 1, longer), 1U);
    EXPECT_EQ(answers(1), std::set<std::uint32_t>{1});
    expect_settled(*device);
}

TEST_F(SteeredTest, WhatCannotBeSentIsCountedAndTheRestIsReceived) {
    auto device = open();
    ASSERT_TRUE(device);
    constexpr std::uint32_t sent = 200;
    for (std::uint32_t i = 0; i < sent; i++)
        send(question(i)); // one flow: one queue
    for (int i = 0; i < 500 && counted(PZ_REASON_STEERED) < sent; i++)
        ::usleep(1000);
    run("ip link set pz0 down"); // nothing is sent now; what came waits
    bool all = false;
    for (int turn = 0; turn < 10 && !all; turn++) {
        const auto done = device->receive(turn_around); // poll() tells nothing of a device that is down
        ASSERT_TRUE(done) << done.error().message;
        all = *done;
    }
    EXPECT_TRUE(all);
    const auto waiting = [&] {
        std::uint32_t frames = 0;
        for (const Socket& socket : device->sockets())
            frames += socket.ledger().count(Owner::tx);
        return frames;
    };
    EXPECT_EQ(waiting(), rx_frames / 2);
    auto statistics = device->statistics().value();
    EXPECT_EQ(statistics.received, sent);
    EXPECT_EQ(statistics.sent, 0U);
    EXPECT_EQ(statistics.not_sent, sent - rx_frames / 2);
    run("ip link set pz0 up");
    ASSERT_TRUE(device->receive(turn_around)); // tells the kernel again
    EXPECT_EQ(answers(rx_frames / 2).size(), rx_frames / 2);
    expect_settled(*device);
    statistics = device->statistics().value();
    EXPECT_EQ(statistics.sent, rx_frames / 2);
    EXPECT_EQ(statistics.not_sent, sent - rx_frames / 2);
    // and it goes on
    send(question(7));
    ASSERT_EQ(serve(*device, 1, turn_around), 1U);
    EXPECT_EQ(answers(1), std::set<std::uint32_t>{7});
}

TEST_F(SteeredTest, FramesThatAreSentByThemselvesHaveRoomOfTheirOwn) {
    auto device = open();
    ASSERT_TRUE(device);
    Socket& socket = device->sockets().front();
    Bytes frame = question(0);
    turn_around(frame, frame.size());
    for (std::uint32_t i = 0; i < 4 * tx_frames; i++) {
        std::memcpy(frame.data() + 42, &i, sizeof i);
        const auto sent = socket.send(frame);
        ASSERT_TRUE(sent) << sent.error().message;
        ASSERT_TRUE(answers(1).contains(i));
    }
    expect_settled(*device);
    EXPECT_EQ(socket.send(Bytes(frame_size + 1)).error().code, Errc::invalid);
    EXPECT_EQ(socket.send({}).error().code, Errc::invalid);
}

TEST_F(SteeredTest, SocketsAreClosedAndOpenedAgainAtOnce) {
    auto device = open();
    for (std::uint32_t i = 0; i < 10; i++) {
        ASSERT_TRUE(device);
        send(question(i));
        ASSERT_EQ(serve(*device, 1, turn_around), 1U);
        ASSERT_EQ(answers(1), std::set<std::uint32_t>{i});
        device.reset();
        device = open();
    }
    // a second one is refused while the first is there
    const auto second = Socket::open("pz0", 0, native_);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, Errc::busy) << second.error().message;
}

TEST_F(SteeredTest, R63_WithoutSocketsQuestionsComeByTheRing) {
    std::vector<Bytes> seen;
    auto ring = fastpath::EventRing::open(fastpath_->overheard_fd(), [&](const pz_event& event, ByteView frame) {
        EXPECT_EQ(event.kind, std::uint32_t{PZ_EVENT_OPTION});
        EXPECT_EQ(event.host, 3U);
        EXPECT_EQ(event.generation, 7U);
        EXPECT_EQ(event.detail, PZ_LISTEN_MDNS);
        seen.emplace_back(frame.begin(), frame.end());
    });
    ASSERT_TRUE(ring);
    const auto next = [&] {
        pollfd ready{.fd = ring->poll_fd(), .events = POLLIN, .revents = 0};
        for (int i = 0; i < 20 && seen.empty() && ::poll(&ready, 1, 100) >= 0; i++)
            ring->consume();
        return std::exchange(seen, {});
    };
    send(question(1));
    EXPECT_EQ(next(), std::vector<Bytes>({question(1)}));
    {
        auto device = open();
        ASSERT_TRUE(device);
        send(question(2));
        EXPECT_EQ(serve(*device, 1, turn_around), 1U);
    }
    send(question(3)); // they are closed, and the data path knows
    EXPECT_EQ(next(), std::vector<Bytes>({question(3)}));
    auto device = open();
    ASSERT_TRUE(fastpath_->set_xsks(index_, {}));
    send(question(4));
    EXPECT_EQ(next(), std::vector<Bytes>({question(4)}));
    EXPECT_EQ(serve(*device, 1, turn_around, 50), 0U);
}

TEST_F(SteeredTest, R62_WhatOptionsListenToIsCopied) {
    std::vector<std::pair<pz_event, Bytes>> seen;
    auto ring = fastpath::EventRing::open(fastpath_->overheard_fd(), [&](const pz_event& event, ByteView frame) {
        seen.emplace_back(event, Bytes(frame.begin(), frame.end()));
    });
    ASSERT_TRUE(ring);
    Bytes to_group = question(1);
    const std::array<std::uint8_t, 6> mac{0x01, 0x00, 0x5e, 0, 0, 0xfb};
    std::ranges::copy(mac, to_group.begin());
    const auto group = IpAddress::parse("224.0.0.251").value();
    std::copy_n(group.bytes.begin(), 4, to_group.begin() + 30);
    const auto copies = [&](std::uint64_t copied) {
        const auto before = counted(PZ_REASON_MULTICAST_COPIED);
        const auto nobody = counted(PZ_REASON_NOBODY);
        to_group[24] = to_group[25] = 0;
        std::uint32_t sum = 0;
        for (std::size_t i = 14; i < 34; i += 2)
            sum += static_cast<std::uint32_t>(to_group[i] << 8 | to_group[i + 1]);
        sum = (sum & 0xffff) + (sum >> 16);
        to_group[24] = static_cast<std::uint8_t>(~sum >> 8);
        to_group[25] = static_cast<std::uint8_t>(~sum);
        send(to_group);
        for (int i = 0;
             i < 5000 && counted(PZ_REASON_MULTICAST_COPIED) - before + counted(PZ_REASON_NOBODY) - nobody == 0; i++)
            ::usleep(1000);
        EXPECT_EQ(counted(PZ_REASON_MULTICAST_COPIED) - before, copied);
    };
    copies(0);
    ASSERT_TRUE(fastpath_->listen(1, group, PZ_LISTEN_LLMNR));
    copies(0);
    ASSERT_TRUE(fastpath_->listen(1, group, PZ_LISTEN_LLMNR | PZ_LISTEN_MDNS));
    copies(1);
    fastpath_->unlisten(1, group);
    fastpath_->unlisten(1, group);
    copies(0);
    ASSERT_TRUE(fastpath_->listen(1, group, PZ_LISTEN_MDNS));
    copies(1);
    ASSERT_TRUE(fastpath_->listen(1, group, 0));
    copies(0);
    ring->consume();
    ASSERT_EQ(seen.size(), 2U);
    EXPECT_EQ(seen[0].second, to_group);
    EXPECT_EQ(seen[0].first.detail, PZ_LISTEN_MDNS);
}

TEST_F(SteeredTest, SocketsFollowTheNumberOfQueues) {
    ASSERT_TRUE(set_queues("pz1", 2, 1)) << strerror(errno); // a veth receives on as many as its peer sends on
    ASSERT_TRUE(set_queues("pz0", 1, 1)) << strerror(errno);
    auto device = open();
    ASSERT_TRUE(device);
    EXPECT_EQ(device->fds().size(), 1U);
    EXPECT_EQ(device->follow().value(), false);
    ASSERT_TRUE(set_queues("pz0", 2, 2)) << strerror(errno);
    ASSERT_TRUE(set_queues("pz1", 2, 2)) << strerror(errno);
    ASSERT_EQ(queues_of("pz0"), 2U);
    const auto followed = device->follow();
    ASSERT_TRUE(followed) << followed.error().message;
    EXPECT_TRUE(*followed);
    ASSERT_TRUE(fastpath_->set_xsks(index_, device->fds()));
    EXPECT_EQ(device->fds().size(), 2U);
    for (std::uint32_t i = 0; i < 20; i++) {
        send(question(i, static_cast<std::uint16_t>(5000 + i)));
        ASSERT_EQ(serve(*device, 1, turn_around), 1U);
    }
    EXPECT_EQ(answers(20).size(), 20U);
    expect_settled(*device);
    EXPECT_FALSE(set_queues("pz0", 1, 1)) << "the kernel takes no queue from a socket";
}

} // namespace
} // namespace pz::xsk
