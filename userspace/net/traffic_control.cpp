// SPDX-License-Identifier: Apache-2.0
#include "net/traffic_control.h"

#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>

#include <netlink/msg.h>
#include <netlink/netlink.h>

#include <spdlog/fmt/fmt.h>

#include "net/link_netlink.h"

namespace pz {
namespace {

int on_filter(nl_msg* message, void* found) {
    if (nlmsg_hdr(message)->nlmsg_type == RTM_NEWTFILTER)
        *static_cast<bool*>(found) = true;
    return NL_OK;
}

} // namespace

Result<bool> has_clsact_filters(int ifindex) {
    const auto socket = PZ_TRY(route_socket());
    bool found = false;
    nl_socket_modify_cb(socket.get(), NL_CB_VALID, NL_CB_CUSTOM, on_filter, &found);
    for (const std::uint32_t direction : {TC_H_MIN_INGRESS, TC_H_MIN_EGRESS}) {
        tcmsg wanted{};
        wanted.tcm_family = AF_UNSPEC;
        wanted.tcm_ifindex = ifindex;
        wanted.tcm_parent = TC_H_MAKE(TC_H_CLSACT, direction);
        int error = nl_send_simple(socket.get(), RTM_GETTFILTER, NLM_F_DUMP, &wanted, sizeof wanted);
        if (error >= 0)
            error = nl_recvmsgs_default(socket.get());
        if (error < 0)
            return fail(Errc::system,
                        fmt::format("reading the filters of interface index {}: {}", ifindex, nl_geterror(error)));
    }
    return found;
}

} // namespace pz
