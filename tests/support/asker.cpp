// SPDX-License-Identifier: Apache-2.0
// asker INTERFACE SECONDS RATE FRAME FRAME: asks two questions (whole frames in hex, an ARP request and a Neighbour
// Solicitation) over and over, each at most RATE times a second, and counts the answers to its own MAC.  There are
// never more questions on the way than a veth's ring has room for, so one that stays without an answer for 5 s was
// not answered.  Until SIGTERM, or for SECONDS; then prints {"asked": N, "arp": N, "nd": N, "seconds": S}: `asked` of
// each.
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <thread>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
using Frame = std::vector<unsigned char>;
using namespace std::chrono_literals;

constexpr std::size_t window = 64; // of each kind
constexpr auto patience = 5s;

volatile std::sig_atomic_t stopping = 0;

Frame from_hex(std::string_view hex) {
    Frame frame;
    for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
        frame.push_back(static_cast<unsigned char>(std::strtoul(std::string(hex.substr(i, 2)).c_str(), nullptr, 16)));
    return frame;
}

/// Counts in `arp` or `nd` what answers a question of the node with this MAC.
void count(const unsigned char* frame, std::size_t size, const unsigned char* mac, unsigned long& arp,
           unsigned long& nd) {
    constexpr std::size_t ip6 = ETH_HLEN;
    if (size < ip6 + 28 || !std::equal(mac, mac + ETH_ALEN, frame))
        return;
    const unsigned type = frame[12] * 256U + frame[13];
    if (type == ETH_P_ARP && frame[ip6 + 7] == 2)
        ++arp;
    else if (type == ETH_P_IPV6 && size > ip6 + 40 && frame[ip6 + 6] == 58 && frame[ip6 + 40] == 136)
        ++nd;
}

} // namespace

int main(int argc, char** argv) {
    if (argc != 6) {
        std::fprintf(stderr, "usage: asker INTERFACE SECONDS RATE FRAME FRAME\n");
        return 2;
    }
    std::signal(SIGTERM, [](int) { stopping = 1; });
    const std::array questions{from_hex(argv[4]), from_hex(argv[5])};
    const double rate = std::atof(argv[3]);
    const int fd = ::socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, htons(ETH_P_ALL));
    const int on = 1;
    const int room = 64 << 20; // many hosts may be announced while it asks
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_protocol = htons(ETH_P_ALL);
    address.sll_ifindex = static_cast<int>(::if_nametoindex(argv[1]));
    if (fd < 0 || ::setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on) != 0 ||
        ::setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof on) != 0 ||
        ::setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room) != 0 ||
        ::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        std::perror("asker");
        return 1;
    }
    const unsigned char* const mac = questions[0].data() + ETH_ALEN;
    std::array<iovec, 2 * window> to_send{};
    std::array<mmsghdr, 2 * window> sending{};
    for (std::size_t i = 0; i < sending.size(); i++) {
        const Frame& question = questions[i % 2];
        to_send[i] = {const_cast<unsigned char*>(question.data()), question.size()};
        sending[i].msg_hdr.msg_iov = &to_send[i];
        sending[i].msg_hdr.msg_iovlen = 1;
    }
    std::vector<std::array<unsigned char, 256>> buffers(2 * window);
    std::array<iovec, 2 * window> to_receive{};
    std::array<mmsghdr, 2 * window> receiving{};
    for (std::size_t i = 0; i < receiving.size(); i++) {
        to_receive[i] = {buffers[i].data(), buffers[i].size()};
        receiving[i].msg_hdr.msg_iov = &to_receive[i];
        receiving[i].msg_hdr.msg_iovlen = 1;
    }
    unsigned long asked = 0;
    unsigned long arp = 0;
    unsigned long nd = 0;
    const auto begun = Clock::now();
    auto due = begun;
    while (!stopping && Clock::now() < begun + std::chrono::duration<double>(std::atof(argv[2]))) {
        for (std::size_t sent = 0; sent < sending.size();) {
            const int done = ::sendmmsg(fd, sending.data() + sent, static_cast<unsigned>(sending.size() - sent), 0);
            if (done > 0)
                sent += static_cast<std::size_t>(done);
            else
                std::this_thread::sleep_for(1ms); // no room, or no link
        }
        asked += window;
        const auto limit = Clock::now() + patience;
        while ((arp < asked || nd < asked) && Clock::now() < limit) {
            pollfd ready{.fd = fd, .events = POLLIN, .revents = 0};
            if (::poll(&ready, 1, 100) <= 0)
                continue;
            const int got = ::recvmmsg(fd, receiving.data(), receiving.size(), MSG_DONTWAIT, nullptr);
            for (int i = 0; i < got; i++)
                count(buffers[static_cast<std::size_t>(i)].data(), receiving[static_cast<std::size_t>(i)].msg_len, mac,
                      arp, nd);
        }
        // what was missed is not made up for: that would be more than RATE
        due = std::max(due + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(window / rate)),
                       Clock::now() - 1ms);
        std::this_thread::sleep_until(due);
    }
    std::printf("{\"asked\": %lu, \"arp\": %lu, \"nd\": %lu, \"seconds\": %.3f}\n", asked, arp, nd,
                std::chrono::duration<double>(Clock::now() - begun).count());
    return 0;
}
