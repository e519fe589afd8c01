// SPDX-License-Identifier: Apache-2.0
// rtnetlink by libnl's messages: its link objects know nothing of vlan_filtering.
#include "net/bridge.h"

#include <arpa/inet.h>
#include <linux/if_bridge.h>
#include <linux/if_ether.h>
#include <linux/rtnetlink.h>

#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>

#include <array>
#include <utility>

#include <spdlog/fmt/fmt.h>

#include "net/link_netlink.h"

namespace pz {
namespace {

using Attributes = std::array<nlattr*, 64>; // more than any of these messages' has

/// The attributes in `nested`, by type; none if it is missing or odd.
Attributes parse(nlattr* nested) {
    Attributes attributes{};
    if (nested != nullptr)
        nla_parse_nested(attributes.data(), static_cast<int>(attributes.size()) - 1, nested, nullptr);
    return attributes;
}

const ifinfomsg* parse(nlmsghdr* header, Attributes& attributes) {
    if (header->nlmsg_type != RTM_NEWLINK ||
        nlmsg_parse(header, sizeof(ifinfomsg), attributes.data(), static_cast<int>(attributes.size()) - 1, nullptr) < 0)
        return nullptr;
    return static_cast<const ifinfomsg*>(nlmsg_data(header));
}

struct Reading {
    int ifindex = 0;
    Bridge bridge;
};

/// The bridge's own settings.
int on_bridge(nl_msg* message, void* into) {
    Attributes attributes{};
    if (parse(nlmsg_hdr(message), attributes) == nullptr)
        return NL_OK;
    const auto settings = parse(parse(attributes[IFLA_LINKINFO])[IFLA_INFO_DATA]);
    Bridge& bridge = static_cast<Reading*>(into)->bridge;
    if (settings[IFLA_BR_VLAN_FILTERING] != nullptr)
        bridge.filters_vlans = nla_get_u8(settings[IFLA_BR_VLAN_FILTERING]) != 0;
    if (settings[IFLA_BR_VLAN_PROTOCOL] != nullptr)
        bridge.is_8021ad = nla_get_u16(settings[IFLA_BR_VLAN_PROTOCOL]) != htons(ETH_P_8021Q);
    return NL_OK;
}

void add_vlans(nlattr* list, BridgePort& port) {
    nlattr* each = nullptr;
    int rest = 0;
    std::uint16_t begin = 0;
    nla_for_each_nested(each, list, rest) {
        if (nla_type(each) != IFLA_BRIDGE_VLAN_INFO || nla_len(each) < static_cast<int>(sizeof(bridge_vlan_info)))
            continue;
        const auto& info = *static_cast<const bridge_vlan_info*>(nla_data(each));
        if ((info.flags & BRIDGE_VLAN_INFO_RANGE_BEGIN) != 0) {
            begin = info.vid;
            continue;
        }
        const std::uint16_t first = (info.flags & BRIDGE_VLAN_INFO_RANGE_END) != 0 ? begin : info.vid;
        for (std::size_t vid = first; vid <= info.vid && vid < port.vlans.size(); vid++)
            port.vlans.set(vid);
        if ((info.flags & BRIDGE_VLAN_INFO_PVID) != 0)
            port.pvid = info.vid;
    }
}

/// One port, or the bridge itself.  A device may describe itself besides, in words that are none of ours.
int on_port(nl_msg* message, void* into) {
    Attributes attributes{};
    const ifinfomsg* const info = parse(nlmsg_hdr(message), attributes);
    auto& [bridge_ifindex, bridge] = *static_cast<Reading*>(into);
    nlattr* const master = attributes[IFLA_MASTER];
    if (info == nullptr || info->ifi_family != AF_BRIDGE ||
        (info->ifi_index != bridge_ifindex &&
         (master == nullptr || nla_get_u32(master) != static_cast<std::uint32_t>(bridge_ifindex))))
        return NL_OK;
    BridgePort& port = bridge.ports[info->ifi_index];
    if (nlattr* const state = parse(attributes[IFLA_PROTINFO])[IFLA_BRPORT_STATE]; state != nullptr)
        port.held_back = nla_get_u8(state) != BR_STATE_FORWARDING && nla_get_u8(state) != BR_STATE_DISABLED;
    if (attributes[IFLA_AF_SPEC] != nullptr)
        add_vlans(attributes[IFLA_AF_SPEC], port);
    return NL_OK;
}

Result<> ask(nl_sock& socket, const ifinfomsg& about, int flags, int (*on_answer)(nl_msg*, void*), Reading& into) {
    const NlMessage request(nlmsg_alloc_simple(RTM_GETLINK, flags));
    if (!request || nlmsg_append(request.get(), const_cast<ifinfomsg*>(&about), sizeof about, NLMSG_ALIGNTO) < 0 ||
        nla_put_u32(request.get(), IFLA_EXT_MASK, RTEXT_FILTER_BRVLAN_COMPRESSED) < 0)
        return fail(Errc::system, "rtnetlink: out of memory");
    nl_socket_modify_cb(&socket, NL_CB_VALID, NL_CB_CUSTOM, on_answer, &into);
    int error = nl_send_auto(&socket, request.get());
    if (error >= 0)
        error = nl_recvmsgs_default(&socket);
    if (error < 0)
        return fail(error == -NLE_NODEV ? Errc::not_found : Errc::system,
                    fmt::format("reading a bridge: {}", nl_geterror(error)));
    return {};
}

} // namespace

Result<Bridge> read_bridge(int ifindex) {
    const auto socket = PZ_TRY(route_socket());
    nl_socket_disable_auto_ack(socket.get());
    Reading reading{.ifindex = ifindex, .bridge = {}};
    ifinfomsg about{};
    about.ifi_index = ifindex;
    PZ_TRY(ask(*socket, about, 0, on_bridge, reading));
    about = {};
    about.ifi_family = AF_BRIDGE;
    PZ_TRY(ask(*socket, about, NLM_F_DUMP, on_port, reading));
    return std::move(reading.bridge);
}

} // namespace pz
