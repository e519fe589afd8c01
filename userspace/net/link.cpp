// SPDX-License-Identifier: Apache-2.0
// rtnetlink by libnl-route; the one ethtool feature by its ioctl.
#include "net/link.h"

#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/link/vlan.h>

#include <algorithm>
#include <cerrno>
#include <iterator>

#include <spdlog/fmt/fmt.h>

#include "base/fd.h"
#include "net/link_netlink.h"

namespace pz {
namespace {

constexpr unsigned lower_up = 1U << 16; // IFF_LOWER_UP: <linux/if.h> has it, which <net/if.h> does not go with

template <class Each>
void for_each(nl_cache* cache, Each each) {
    for (auto* object = nl_cache_get_first(cache); object != nullptr; object = nl_cache_get_next(object))
        each(object);
}

/// One ETHTOOL_GFLAGS or ETHTOOL_SFLAGS call; the legacy pair, because it names the feature by a constant.
Result<ethtool_value> ethtool_flags(const std::string& interface, ethtool_value value) {
    const Fd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (!fd)
        return fail_errno("socket for ethtool", errno);
    ifreq request{};
    if (interface.size() >= sizeof request.ifr_name)
        return fail(Errc::not_found, fmt::format("interface {:?}: a name has at most {} characters", interface,
                                                 sizeof request.ifr_name - 1));
    std::ranges::copy(interface, request.ifr_name);
    request.ifr_data = reinterpret_cast<char*>(&value);
    if (::ioctl(fd.get(), SIOCETHTOOL, &request) == 0)
        return value;
    switch (errno) {
    case ENODEV:
        return fail(Errc::not_found, fmt::format("interface {:?} does not exist", interface));
    case EPERM:
        return fail(Errc::permission, fmt::format("interface {:?}: changing rx-vlan-offload needs CAP_NET_ADMIN: run "
                                                  "as root or grant that capability",
                                                  interface));
    case EOPNOTSUPP:
        return fail(Errc::unsupported, fmt::format("interface {:?}: the device has rx-vlan-offload fixed", interface));
    default:
        return fail_errno(fmt::format("interface {:?}: rx-vlan-offload", interface), errno);
    }
}

/// Returns whether the feature was on before.
Result<bool> set_rx_vlan_offload(const std::string& interface, bool on) {
    auto flags = PZ_TRY(ethtool_flags(interface, {.cmd = ETHTOOL_GFLAGS, .data = 0}));
    const bool was_on = (flags.data & ETH_FLAG_RXVLAN) != 0;
    if (was_on == on)
        return was_on;
    flags.cmd = ETHTOOL_SFLAGS;
    flags.data ^= ETH_FLAG_RXVLAN;
    PZ_TRY(ethtool_flags(interface, flags));
    // A driver may accept the call and keep the feature as it is.
    const auto after = PZ_TRY(ethtool_flags(interface, {.cmd = ETHTOOL_GFLAGS, .data = 0}));
    if (((after.data & ETH_FLAG_RXVLAN) != 0) != on)
        return fail(Errc::unsupported,
                    fmt::format("interface {:?}: the driver keeps rx-vlan-offload {}", interface, on ? "off" : "on"));
    return was_on;
}

} // namespace

Result<NlSocket> route_socket() {
    NlSocket socket(nl_socket_alloc());
    if (!socket)
        return fail(Errc::system, "rtnetlink: out of memory");
    if (const int error = nl_connect(socket.get(), NETLINK_ROUTE); error < 0)
        return fail(Errc::system, fmt::format("rtnetlink: {}", nl_geterror(error)));
    return socket;
}

Link link_of(rtnl_link* from) {
    Link link;
    link.name = rtnl_link_get_name(from);
    link.ifindex = rtnl_link_get_ifindex(from);
    if (auto* const address = rtnl_link_get_addr(from);
        address != nullptr && nl_addr_get_len(address) == link.mac.bytes.size())
        std::copy_n(static_cast<const std::uint8_t*>(nl_addr_get_binary_addr(address)), link.mac.bytes.size(),
                    link.mac.bytes.begin());
    link.up = (rtnl_link_get_flags(from) & IFF_UP) != 0 && (rtnl_link_get_flags(from) & lower_up) != 0;
    if (const char* const kind = rtnl_link_get_type(from); kind != nullptr)
        link.kind = kind;
    link.is_ethernet = rtnl_link_get_arptype(from) == ARPHRD_ETHER;
    link.master = rtnl_link_get_master(from);
    if (rtnl_link_is_vlan(from)) {
        link.below = rtnl_link_get_link(from);
        link.vid = static_cast<std::uint16_t>(rtnl_link_vlan_get_id(from));
    }
    return link;
}

Result<std::vector<Link>> list_links() {
    const auto socket = PZ_TRY(route_socket());
    nl_cache* raw = nullptr;
    if (const int error = rtnl_link_alloc_cache(socket.get(), AF_UNSPEC, &raw); error < 0)
        return fail(Errc::system, fmt::format("reading the interfaces: {}", nl_geterror(error)));
    const NlCache cache(raw);
    std::vector<Link> links;
    for_each(cache.get(), [&](nl_object* object) { links.push_back(link_of(reinterpret_cast<rtnl_link*>(object))); });
    return links;
}

Result<Link> find_link(std::string_view name) {
    const auto links = PZ_TRY(list_links());
    if (const auto found = std::ranges::find(links, name, &Link::name); found != links.end())
        return *found;
    std::vector<std::string_view> names;
    names.reserve(links.size());
    for (const auto& link : links)
        names.emplace_back(link.name);
    return fail(Errc::not_found,
                fmt::format("interface {:?} does not exist; there are {}", name, fmt::join(names, ", ")));
}

std::optional<int> find_vlan_device(int ifindex, std::uint16_t vid) {
    const auto links = list_links().value_or(std::vector<Link>{});
    const auto found =
        std::ranges::find_if(links, [&](const Link& link) { return link.below == ifindex && link.vid == vid; });
    return found == links.end() ? std::nullopt : std::optional(found->ifindex);
}

std::vector<int> devices_over(int ifindex) {
    std::vector<int> devices{ifindex};
    const auto links = list_links().value_or(std::vector<Link>{});
    for (std::size_t i = 0; i < devices.size(); i++)
        for (const Link& link : links)
            if (link.below == devices[i])
                devices.push_back(link.ifindex);
    return devices;
}

namespace {

/// The interface's own addresses, each with the length of its prefix, in kernel order; tentative ones left out.
Result<std::vector<Network>> own_addresses(int ifindex) {
    const auto socket = PZ_TRY(route_socket());
    nl_cache* raw = nullptr;
    if (const int error = rtnl_addr_alloc_cache(socket.get(), &raw); error < 0)
        return fail(Errc::system, fmt::format("reading the addresses: {}", nl_geterror(error)));
    const NlCache cache(raw);

    std::vector<Network> addresses;
    for_each(cache.get(), [&](nl_object* object) {
        auto* const entry = reinterpret_cast<rtnl_addr*>(object);
        if (rtnl_addr_get_ifindex(entry) != ifindex || (rtnl_addr_get_flags(entry) & IFA_F_TENTATIVE) != 0)
            return;
        auto* const local = rtnl_addr_get_local(entry);
        if (local == nullptr)
            return;
        const auto* const octets = static_cast<const std::uint8_t*>(nl_addr_get_binary_addr(local));
        if (const auto address = IpAddress::from_bytes({octets, nl_addr_get_len(local)}))
            addresses.push_back({*address, static_cast<std::uint8_t>(rtnl_addr_get_prefixlen(entry))});
    });
    return addresses;
}

} // namespace

Result<std::vector<IpAddress>> link_addresses(int ifindex) {
    const auto own = PZ_TRY(own_addresses(ifindex));
    std::vector<IpAddress> addresses;
    std::ranges::transform(own, std::back_inserter(addresses), &Network::address);
    return addresses;
}

Result<std::vector<Network>> link_networks(int ifindex) {
    auto networks = PZ_TRY(own_addresses(ifindex));
    for (Network& network : networks)
        for (std::size_t bit = network.length; bit < network.address.octets().size() * 8; bit++)
            network.address.bytes[bit / 8] &= static_cast<std::uint8_t>(~(0x80U >> bit % 8));
    return networks;
}

SourceAddresses choose_sources(const std::vector<IpAddress>& own) {
    const auto first = [&](auto matches) -> std::optional<IpAddress> {
        const auto found = std::ranges::find_if(own, matches);
        return found == own.end() ? std::nullopt : std::optional(*found);
    };
    SourceAddresses sources;
    sources.ip4 = first([](const IpAddress& ip) { return ip.is_v4(); });
    sources.link_local = first([](const IpAddress& ip) { return ip.is_v6() && ip.is_link_local(); });
    sources.ip6 = sources.link_local ? sources.link_local : first([](const IpAddress& ip) { return ip.is_v6(); });
    return sources;
}

Result<bool> disable_rx_vlan_offload(const std::string& interface) {
    return set_rx_vlan_offload(interface, false);
}

Result<> enable_rx_vlan_offload(const std::string& interface) {
    if (const auto was_on = set_rx_vlan_offload(interface, true); !was_on)
        return std::unexpected(was_on.error());
    return {};
}

} // namespace pz
