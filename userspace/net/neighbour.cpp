// SPDX-License-Identifier: Apache-2.0
// rtnetlink by libnl's messages: its neighbour objects know no NDA_PROTOCOL.
#include "net/neighbour.h"

#include <linux/neighbour.h>
#include <linux/rtnetlink.h>

#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>

#include <vector>

#include <spdlog/fmt/fmt.h>

#include "net/link_netlink.h"

namespace pz {
namespace {

struct Entry {
    int ifindex = 0;
    IpAddress address;
    bool permanent = false;
    bool ours = false;
};

std::uint8_t family_of(const IpAddress& address) {
    return address.is_v4() ? AF_INET : AF_INET6;
}

NlMessage message(std::uint16_t type, int flags, const ndmsg& header) {
    NlMessage made(nlmsg_alloc_simple(type, flags));
    if (made && nlmsg_append(made.get(), const_cast<ndmsg*>(&header), sizeof header, NLMSG_ALIGNTO) < 0)
        made.reset();
    return made;
}

void put_address(nl_msg& message, const IpAddress& address) {
    nla_put(&message, NDA_DST, address.is_v4() ? 4 : 16, address.bytes.data()); // the message has room for a page
}

/// The entry that a message describes.
int on_entry(nl_msg* message, void* list) {
    nlmsghdr* const header = nlmsg_hdr(message);
    nlattr* attributes[NDA_MAX + 1] = {};
    if (header->nlmsg_type != RTM_NEWNEIGH || nlmsg_parse(header, sizeof(ndmsg), attributes, NDA_MAX, nullptr) < 0 ||
        attributes[NDA_DST] == nullptr)
        return NL_OK;
    const auto& neighbour = *static_cast<const ndmsg*>(nlmsg_data(header));
    const auto* const octets = static_cast<const std::uint8_t*>(nla_data(attributes[NDA_DST]));
    const auto address = IpAddress::from_bytes({octets, static_cast<std::size_t>(nla_len(attributes[NDA_DST]))});
    if (address)
        static_cast<std::vector<Entry>*>(list)->push_back(
            {.ifindex = neighbour.ndm_ifindex,
             .address = *address,
             .permanent = (neighbour.ndm_state & NUD_PERMANENT) != 0,
             .ours =
                 attributes[NDA_PROTOCOL] != nullptr && nla_get_u8(attributes[NDA_PROTOCOL]) == neighbour_protocol});
    return NL_OK;
}

class Neighbours {
public:
    static Result<Neighbours> open() {
        auto socket = PZ_TRY(route_socket());
        return Neighbours(std::move(socket));
    }

    Result<std::optional<Entry>> find(int ifindex, const IpAddress& address) {
        const auto request = message(RTM_GETNEIGH, 0,
                                     {.ndm_family = family_of(address),
                                      .ndm_pad1 = 0,
                                      .ndm_pad2 = 0,
                                      .ndm_ifindex = ifindex,
                                      .ndm_state = 0,
                                      .ndm_flags = 0,
                                      .ndm_type = 0});
        if (!request)
            return fail(Errc::system, "rtnetlink: out of memory");
        put_address(*request, address);
        std::vector<Entry> found;
        nl_socket_modify_cb(socket_.get(), NL_CB_VALID, NL_CB_CUSTOM, on_entry, &found);
        int error = nl_send_auto(socket_.get(), request.get());
        if (error >= 0)
            error = nl_wait_for_ack(socket_.get());
        if (error == -NLE_OBJ_NOTFOUND)
            return std::optional<Entry>();
        if (error < 0)
            return fail(Errc::system,
                        fmt::format("reading the neighbour entry of {}: {}", address.to_string(), nl_geterror(error)));
        return found.empty() ? std::optional<Entry>() : found.front();
    }

    Result<std::vector<Entry>> all() {
        const auto request = message(RTM_GETNEIGH, NLM_F_DUMP, {});
        if (!request)
            return fail(Errc::system, "rtnetlink: out of memory");
        std::vector<Entry> found;
        nl_socket_modify_cb(socket_.get(), NL_CB_VALID, NL_CB_CUSTOM, on_entry, &found);
        int error = nl_send_auto(socket_.get(), request.get());
        if (error >= 0)
            error = nl_recvmsgs_default(socket_.get());
        if (error < 0)
            return fail(Errc::system, fmt::format("reading the neighbour entries: {}", nl_geterror(error)));
        return found;
    }

    Result<> set(int ifindex, const IpAddress& address, const MacAddress& mac, bool permanent) {
        const auto request = message(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE,
                                     {.ndm_family = family_of(address),
                                      .ndm_pad1 = 0,
                                      .ndm_pad2 = 0,
                                      .ndm_ifindex = ifindex,
                                      .ndm_state = static_cast<std::uint16_t>(permanent ? NUD_PERMANENT : NUD_STALE),
                                      .ndm_flags = 0,
                                      .ndm_type = 0});
        if (!request)
            return fail(Errc::system, "rtnetlink: out of memory");
        put_address(*request, address);
        nla_put(request.get(), NDA_LLADDR, static_cast<int>(mac.bytes.size()), mac.bytes.data());
        if (permanent)
            nla_put_u8(request.get(), NDA_PROTOCOL, neighbour_protocol);
        return change(*request, "setting", address);
    }

    Result<> remove(int ifindex, const IpAddress& address) {
        const auto request = message(RTM_DELNEIGH, 0,
                                     {.ndm_family = family_of(address),
                                      .ndm_pad1 = 0,
                                      .ndm_pad2 = 0,
                                      .ndm_ifindex = ifindex,
                                      .ndm_state = 0,
                                      .ndm_flags = 0,
                                      .ndm_type = 0});
        if (!request)
            return fail(Errc::system, "rtnetlink: out of memory");
        put_address(*request, address);
        return change(*request, "removing", address);
    }

private:
    explicit Neighbours(NlSocket socket) : socket_(std::move(socket)) {}

    Result<> change(nl_msg& request, const char* verb, const IpAddress& address) {
        int error = nl_send_auto(socket_.get(), &request);
        if (error >= 0)
            error = nl_wait_for_ack(socket_.get());
        if (error < 0)
            return fail(Errc::system,
                        fmt::format("{} the neighbour entry of {}: {}", verb, address.to_string(), nl_geterror(error)));
        return {};
    }

    NlSocket socket_;
};

} // namespace

Result<bool> pin_neighbour(int ifindex, const IpAddress& address, const MacAddress& mac) {
    auto neighbours = PZ_TRY(Neighbours::open());
    const auto found = PZ_TRY(neighbours.find(ifindex, address));
    if (found && found->permanent && !found->ours)
        return false;
    PZ_TRY(neighbours.set(ifindex, address, mac, true));
    return true;
}

Result<> unpin_neighbour(int ifindex, const IpAddress& address, const std::optional<MacAddress>& mac) {
    auto neighbours = PZ_TRY(Neighbours::open());
    const auto found = PZ_TRY(neighbours.find(ifindex, address));
    if (!found || !found->permanent || !found->ours)
        return {};
    PZ_TRY(neighbours.remove(ifindex, address)); // a change would leave our tag on it
    if (mac)
        PZ_TRY(neighbours.set(ifindex, address, *mac, false));
    return {};
}

Result<> unpin_neighbours(int ifindex) {
    auto neighbours = PZ_TRY(Neighbours::open());
    for (const Entry& entry : PZ_TRY(neighbours.all()))
        if (entry.ifindex == ifindex && entry.permanent && entry.ours)
            PZ_TRY(neighbours.remove(ifindex, entry.address));
    return {};
}

} // namespace pz
