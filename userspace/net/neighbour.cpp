// SPDX-License-Identifier: Apache-2.0
// rtnetlink by libnl's messages: its neighbour objects know no NDA_PROTOCOL.
#include "net/neighbour.h"

#include <linux/neighbour.h>
#include <linux/rtnetlink.h>

#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>

#include <algorithm>

#include <spdlog/fmt/fmt.h>

#include "net/link_netlink.h"

namespace pz {

struct Neighbours::Entry {
    int ifindex = 0;
    IpAddress address;
    bool permanent = false;
    bool ours = false;
};

namespace {

std::uint8_t family_of(const IpAddress& address) {
    return address.is_v4() ? AF_INET : AF_INET6;
}

/// About the entry of `address`; nullopt: about none.
Result<NlMessage> message(std::uint16_t type, int flags, int ifindex, const std::optional<IpAddress>& address,
                          std::uint16_t state = 0) {
    ndmsg header{};
    header.ndm_family = address ? family_of(*address) : std::uint8_t{AF_UNSPEC};
    header.ndm_ifindex = ifindex;
    header.ndm_state = state;
    NlMessage made(nlmsg_alloc_simple(type, flags));
    if (!made || nlmsg_append(made.get(), &header, sizeof header, NLMSG_ALIGNTO) < 0)
        return fail(Errc::system, "rtnetlink: out of memory");
    if (address) // the message has room for a page
        nla_put(made.get(), NDA_DST, address->is_v4() ? 4 : 16, address->bytes.data());
    return made;
}

Error failure(const char* verb, const IpAddress& address, int error) {
    return {Errc::system,
            fmt::format("{} the neighbour entry of {}: {}", verb, address.to_string(), nl_geterror(error)),
            {}};
}

/// Adds the entry that a message describes.
template <class Entry>
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

int on_acknowledged(nl_msg* /*message*/, void* is_done) {
    *static_cast<bool*>(is_done) = true;
    return NL_STOP;
}

} // namespace

void Neighbours::SocketDeleter::operator()(nl_sock* socket) const {
    nl_socket_free(socket);
}

Result<int> Neighbours::ask(nl_msg& request, std::vector<Entry>* found) {
    if (!socket_)
        socket_.reset(PZ_TRY(route_socket()).release());
    const bool is_dump = (nlmsg_hdr(&request)->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
    nl_socket_modify_cb(socket_.get(), NL_CB_VALID, found != nullptr ? NL_CB_CUSTOM : NL_CB_DEFAULT,
                        found != nullptr ? on_entry<Entry> : nullptr, found);
    bool is_done = is_dump; // which is read whole, and not acknowledged
    nl_socket_modify_cb(socket_.get(), NL_CB_ACK, NL_CB_CUSTOM, on_acknowledged, &is_done);
    int error = nl_send_auto(socket_.get(), &request);
    do { // an entry and the acknowledgement after it come one by one
        if (error >= 0)
            error = nl_recvmsgs_default(socket_.get());
    } while (error >= 0 && !is_done);
    if (error < 0 && error != -NLE_OBJ_NOTFOUND && error != -NLE_EXIST)
        socket_.reset(); // whatever is still on its way there
    return std::min(error, 0);
}

Result<std::optional<Neighbours::Entry>> Neighbours::find(int ifindex, const IpAddress& address) {
    const auto request = PZ_TRY(message(RTM_GETNEIGH, 0, ifindex, address));
    std::vector<Entry> found;
    const int error = PZ_TRY(ask(*request, &found));
    if (error < 0 && error != -NLE_OBJ_NOTFOUND)
        return std::unexpected(failure("reading", address, error));
    return found.empty() ? std::optional<Entry>() : found.front();
}

/// False: there is one already, and only a new one was wanted.
Result<bool> Neighbours::set(int ifindex, const IpAddress& address, const MacAddress& mac, bool permanent,
                             bool only_new) {
    const auto request = PZ_TRY(message(RTM_NEWNEIGH, NLM_F_CREATE | (only_new ? NLM_F_EXCL : NLM_F_REPLACE), ifindex,
                                        address, permanent ? NUD_PERMANENT : NUD_STALE));
    nla_put(request.get(), NDA_LLADDR, static_cast<int>(mac.bytes.size()), mac.bytes.data());
    if (permanent)
        nla_put_u8(request.get(), NDA_PROTOCOL, neighbour_protocol);
    const int error = PZ_TRY(ask(*request, nullptr));
    if (error == -NLE_EXIST && only_new)
        return false;
    if (error < 0)
        return std::unexpected(failure("setting", address, error));
    return true;
}

Result<> Neighbours::remove(int ifindex, const IpAddress& address) {
    const auto request = PZ_TRY(message(RTM_DELNEIGH, 0, ifindex, address));
    if (const int error = PZ_TRY(ask(*request, nullptr)); error < 0)
        return std::unexpected(failure("removing", address, error));
    return {};
}

Result<bool> Neighbours::pin(int ifindex, const IpAddress& address, const MacAddress& mac) {
    if (PZ_TRY(set(ifindex, address, mac, true, true)))
        return true;
    const auto found = PZ_TRY(find(ifindex, address));
    if (found && found->permanent && !found->ours)
        return false;
    return set(ifindex, address, mac, true, false);
}

Result<> Neighbours::unpin(int ifindex, const IpAddress& address, const std::optional<MacAddress>& mac) {
    const auto found = PZ_TRY(find(ifindex, address));
    if (!found || !found->permanent || !found->ours)
        return {};
    PZ_TRY(remove(ifindex, address)); // a change would leave our tag on it
    if (mac)
        (void)PZ_TRY(set(ifindex, address, *mac, false, false));
    return {};
}

Result<> Neighbours::unpin_all(int ifindex) {
    const auto request = PZ_TRY(message(RTM_GETNEIGH, NLM_F_DUMP, 0, std::nullopt));
    std::vector<Entry> found;
    if (const int error = PZ_TRY(ask(*request, &found)); error < 0)
        return fail(Errc::system, fmt::format("reading the neighbour entries: {}", nl_geterror(error)));
    for (const Entry& entry : found)
        if (entry.ifindex == ifindex && entry.permanent && entry.ours)
            PZ_TRY(remove(ifindex, entry.address));
    return {};
}

} // namespace pz
