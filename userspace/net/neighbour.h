// SPDX-License-Identifier: Apache-2.0
// Entries of the kernel's neighbour tables that are ours: permanent, and tagged by their protocol (NDA_PROTOCOL).
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "net/address.h"

struct nl_msg;
struct nl_sock;

namespace pz {

/// The tag, as `ip neigh` shows it ("proto 122"); a number that linux/rtnetlink.h gives to nobody.
inline constexpr std::uint8_t neighbour_protocol = 122;

/// By one rtnetlink socket, which is opened when it is needed, and anew after an error.
class Neighbours {
public:
    /// `address` is at `mac` on the device until unpin(): the kernel does not ask.  False: somebody else's permanent
    /// entry is there, and stays as it is.
    Result<bool> pin(int ifindex, const IpAddress& address, const MacAddress& mac);
    /// Takes away what pin() made, and nothing else.  With a MAC an entry of the kernel's own takes its place, which is
    /// used at once and verified.
    Result<> unpin(int ifindex, const IpAddress& address, const std::optional<MacAddress>& mac);
    /// Takes away all of ours on the device.
    Result<> unpin_all(int ifindex);

private:
    struct Entry;
    struct SocketDeleter {
        void operator()(nl_sock* socket) const;
    };
    /// The entries that come back and libnl's error, 0 or negative.
    Result<int> ask(nl_msg& request, std::vector<Entry>* found);
    Result<std::optional<Entry>> find(int ifindex, const IpAddress& address);
    Result<bool> set(int ifindex, const IpAddress& address, const MacAddress& mac, bool permanent, bool only_new);
    Result<> remove(int ifindex, const IpAddress& address);

    std::unique_ptr<nl_sock, SocketDeleter> socket_;
};

} // namespace pz
