// SPDX-License-Identifier: Apache-2.0
// Sending whole frames, and the interface's filters for the MACs that the gateway speaks for.
#include "net/packet_socket.h"

#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <vector>

#include <spdlog/fmt/fmt.h>

namespace pz {
namespace {

/// `mac` nullopt: promiscuous mode.
Result<> change_membership(int fd, int ifindex, const std::optional<MacAddress>& mac, int option, const char* verb) {
    packet_mreq request{};
    request.mr_ifindex = ifindex;
    request.mr_type = PACKET_MR_PROMISC;
    if (mac) {
        request.mr_type = mac->is_multicast() ? PACKET_MR_MULTICAST : PACKET_MR_UNICAST;
        request.mr_alen = static_cast<unsigned short>(mac->bytes.size());
        std::ranges::copy(mac->bytes, request.mr_address);
    }
    if (::setsockopt(fd, SOL_PACKET, option, &request, sizeof request) < 0)
        return fail_errno(fmt::format("{} {} on interface index {}", verb, mac ? mac->to_string() : "all", ifindex),
                          errno);
    return {};
}

sockaddr_ll address_of(int ifindex) {
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_ifindex = ifindex;
    return address;
}

/// By what errno says.
std::unexpected<Error> not_sent(ByteView frame, int ifindex) {
    const int reason = errno;
    auto error = fail_errno(fmt::format("sending {} bytes on interface index {}", frame.size(), ifindex), reason);
    if (reason == ENOBUFS || reason == EAGAIN)
        error.error().code = Errc::busy;
    return error;
}

} // namespace

Result<PacketSocket> PacketSocket::open(int ifindex) {
    std::array<char, IF_NAMESIZE> name{};
    if (::if_indextoname(static_cast<unsigned>(ifindex), name.data()) == nullptr)
        return fail_errno(fmt::format("interface index {}", ifindex), errno);
    // Protocol 0: nothing is ever received on this socket.
    Fd fd(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
    if (!fd && (errno == EPERM || errno == EACCES))
        return fail(Errc::permission, "a packet socket needs CAP_NET_RAW: run as root or grant that capability");
    if (!fd)
        return fail_errno("packet socket", errno);
    const int on = 1;
    if (::setsockopt(fd.get(), SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof on) < 0)
        return fail_errno(fmt::format("PACKET_QDISC_BYPASS on interface index {}", ifindex), errno);
    return PacketSocket(std::move(fd), ifindex);
}

Result<> PacketSocket::send(ByteView frame) const {
    const sockaddr_ll to = address_of(ifindex_);
    // Never waits for room: this runs on the daemon's loop.
    const auto sent = ::sendto(fd_.get(), frame.data(), frame.size(), MSG_DONTWAIT,
                               reinterpret_cast<const sockaddr*>(&to), sizeof to);
    if (sent < 0)
        return not_sent(frame, ifindex_);
    return {};
}

void PacketSocket::send(std::span<const Bytes> frames,
                        const std::function<void(std::size_t, const Error&)>& failed) const {
    sockaddr_ll to = address_of(ifindex_);
    std::vector<iovec> parts(frames.size());
    std::vector<mmsghdr> messages(frames.size());
    for (std::size_t i = 0; i < frames.size(); i++) {
        parts[i] = {.iov_base = const_cast<std::uint8_t*>(frames[i].data()), .iov_len = frames[i].size()};
        msghdr& header = messages[i].msg_hdr;
        header.msg_name = &to;
        header.msg_namelen = sizeof to;
        header.msg_iov = &parts[i];
        header.msg_iovlen = 1;
    }
    for (std::size_t next = 0; next < frames.size();) {
        const int sent =
            ::sendmmsg(fd_.get(), messages.data() + next, static_cast<unsigned>(frames.size() - next), MSG_DONTWAIT);
        if (sent < 0) { // why the first of them was not; it says nothing of the others
            failed(next, not_sent(frames[next], ifindex_).error());
            ++next;
        } else {
            next += static_cast<std::size_t>(sent);
        }
    }
}

Result<> PacketSocket::join(const MacAddress& mac) const {
    return change_membership(fd_.get(), ifindex_, mac, PACKET_ADD_MEMBERSHIP, "receiving for");
}

Result<> PacketSocket::leave(const MacAddress& mac) const {
    return change_membership(fd_.get(), ifindex_, mac, PACKET_DROP_MEMBERSHIP, "no longer receiving for");
}

Result<Fd> PacketSocket::inheritable() const {
    Fd copy(::fcntl(fd_.get(), F_DUPFD, STDERR_FILENO + 1)); // NOLINT(android-cloexec-dup): that is what it is for
    if (!copy)
        return fail_errno(fmt::format("a second descriptor of the socket on interface index {}", ifindex_), errno);
    return copy;
}

Result<> PacketSocket::join_all(int ifindex) {
    return change_membership(fd_.get(), ifindex, std::nullopt, PACKET_ADD_MEMBERSHIP, "receiving for");
}

Result<> PacketSocket::leave_all(int ifindex) {
    return change_membership(fd_.get(), ifindex, std::nullopt, PACKET_DROP_MEMBERSHIP, "no longer receiving for");
}

} // namespace pz
