// SPDX-License-Identifier: Apache-2.0
// The control socket in the daemon: accepts, checks who is there, and runs a Session for each connection.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "control/service.h"

namespace boost::asio {
class io_context;
}

namespace pz::control {

/// Who connected, as the kernel says (SO_PEERCRED, SO_PEERGROUPS).
struct Peer {
    uid_t uid = 0;
    gid_t gid = 0;
    std::vector<gid_t> groups;
    pid_t pid = 0;
};

/// uid 0, and members of the group PZ_CONTROL_GROUP if there is one.
bool root_or_group_may_write(const Peer& peer);

struct ServerOptions {
    /// Whether the peer may read hosts and change things; everybody else may read the rest.
    std::function<bool(const Peer&)> may_write = root_or_group_may_write;
    /// A client that does not read its answers for so long is dropped.  Who follows events may leave those unread: it
    /// costs no more than its socket's buffer.
    Duration send_limit = std::chrono::seconds(10);
    /// Connections at a time of peers that may write, and as many of those that may not.
    std::size_t max_connections = 256;
    /// Of these, for one user that may not write: nobody shuts another one out.
    std::size_t max_connections_of_user = 16;
};

/// Lives in the loop thread.  Each connection has one request at a time in work, and of an answer only the message
/// that is being sent.
class Server {
public:
    /// Listens at `path` (a socket that everybody may connect to; its folder is made if missing) and serves from
    /// `context`.  The socket file that a dead daemon left is replaced.  Errc::busy: a live one is there.
    static Result<std::unique_ptr<Server>> listen(boost::asio::io_context& context, const std::string& path,
                                                  Service& service, ServerOptions options = {});
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;
    ~Server(); // closes

    /// Ends all connections and removes the socket file.  `service` is not called afterwards.  What a call of the
    /// service answered has been handed to the socket before anything that the call posted to the context runs.
    void close();

private:
    class Impl;
    explicit Server(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
    std::shared_ptr<Impl> impl_;
};

} // namespace pz::control
