// SPDX-License-Identifier: Apache-2.0
// What the files that speak rtnetlink share of libnl.
#pragma once

#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/route/link.h>

#include <memory>

#include "net/link.h"

namespace pz {

template <auto Release>
struct NlDeleter {
    void operator()(auto* object) const { Release(object); }
};
using NlSocket = std::unique_ptr<nl_sock, NlDeleter<nl_socket_free>>;
using NlMessage = std::unique_ptr<nl_msg, NlDeleter<nlmsg_free>>;
using NlCache = std::unique_ptr<nl_cache, NlDeleter<nl_cache_free>>;

/// Connected to rtnetlink.
Result<NlSocket> route_socket();

/// The interface that a message or a cache entry is about.
Link link_of(rtnl_link* from);

} // namespace pz
