// SPDX-License-Identifier: Apache-2.0
// Hears of every change of this machine's interfaces and of their addresses (rtnetlink).
#pragma once

#include <memory>
#include <vector>

#include "net/link.h"

struct nl_sock;

namespace pz {

/// One interface as it became, or its end: it was deleted, or moved to another namespace.
struct LinkChange {
    Link link;
    bool gone = false;
    bool operator==(const LinkChange&) const = default;
};

class LinkMonitor {
public:
    /// Hears of what happens from now on, in the network namespace of the caller.
    static Result<LinkMonitor> open();

    /// Readable when there is something to read; never blocks.
    [[nodiscard]] int fd() const;

    struct Changes {
        std::vector<LinkChange> changes; // in the order in which they happened
        bool addresses = false; // one came, went, or is past duplicate address detection
        bool lost = false; // changes were lost before or between these: only list_links() knows how things are now
    };
    /// Everything that happened since the last call.  Errors are lost changes.
    Changes read();

private:
    struct SocketDeleter {
        void operator()(nl_sock* socket) const;
    };
    explicit LinkMonitor(std::unique_ptr<nl_sock, SocketDeleter> socket) : socket_(std::move(socket)) {}
    std::unique_ptr<nl_sock, SocketDeleter> socket_;
};

} // namespace pz
