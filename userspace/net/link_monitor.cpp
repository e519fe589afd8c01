// SPDX-License-Identifier: Apache-2.0
#include "net/link_monitor.h"

#include <linux/rtnetlink.h>

#include <netlink/msg.h>

#include <spdlog/fmt/fmt.h>

#include "net/link_netlink.h"

namespace pz {
namespace {

/// Fills LinkMonitor::Changes with one message.
int on_message(nl_msg* message, void* into) {
    auto& read = *static_cast<LinkMonitor::Changes*>(into);
    nlmsghdr* const header = nlmsg_hdr(message);
    if (header->nlmsg_type == RTM_NEWADDR || header->nlmsg_type == RTM_DELADDR)
        read.addresses = true;
    const bool gone = header->nlmsg_type == RTM_DELLINK;
    if (!gone && header->nlmsg_type != RTM_NEWLINK)
        return NL_OK;
    // a bridge speaks of its ports in the same words; and a wireless event says nothing of the interface itself
    if (nlmsg_datalen(header) < static_cast<int>(sizeof(ifinfomsg)) ||
        static_cast<const ifinfomsg*>(nlmsg_data(header))->ifi_family != AF_UNSPEC ||
        nlmsg_find_attr(header, sizeof(ifinfomsg), IFLA_WIRELESS) != nullptr)
        return NL_OK;
    const auto collect = [](nl_object* object, void* link) {
        *static_cast<Link*>(link) = link_of(reinterpret_cast<rtnl_link*>(object));
    };
    Link link;
    if (nl_msg_parse(message, collect, &link) == 0)
        read.changes.push_back({.link = std::move(link), .gone = gone});
    return NL_OK;
}

} // namespace

void LinkMonitor::SocketDeleter::operator()(nl_sock* socket) const {
    nl_socket_free(socket);
}

Result<LinkMonitor> LinkMonitor::open() {
    std::unique_ptr<nl_sock, SocketDeleter> socket(nl_socket_alloc());
    if (!socket)
        return fail(Errc::system, "rtnetlink: out of memory");
    nl_socket_disable_seq_check(socket.get()); // nothing here is an answer
    constexpr int buffer = 256 * 1024; // some hundred changes at once
    for (const int error : {nl_connect(socket.get(), NETLINK_ROUTE), nl_socket_set_nonblocking(socket.get()),
                            nl_socket_set_buffer_size(socket.get(), buffer, 0),
                            nl_socket_add_memberships(socket.get(), RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR,
                                                      RTNLGRP_IPV6_IFADDR, RTNLGRP_NONE)})
        if (error < 0)
            return fail(Errc::system, fmt::format("rtnetlink: {}", nl_geterror(error)));
    return LinkMonitor(std::move(socket));
}

int LinkMonitor::fd() const {
    return nl_socket_get_fd(socket_.get());
}

LinkMonitor::Changes LinkMonitor::read() {
    Changes changes;
    nl_socket_modify_cb(socket_.get(), NL_CB_VALID, NL_CB_CUSTOM, on_message, &changes);
    // one datagram a call; what an error leaves unread is read by the next call at the latest
    for (int failures = 0; failures < 2;) {
        const int error = nl_recvmsgs_default(socket_.get());
        if (error == -NLE_AGAIN)
            break;
        if (error < 0) { // ENOBUFS: more happened than the socket holds
            changes.lost = true;
            ++failures;
        }
    }
    return changes;
}

} // namespace pz
