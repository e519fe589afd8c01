// SPDX-License-Identifier: Apache-2.0
#include "control/server.h"

#include <fcntl.h>
#include <grp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <set>
#include <tuple>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/generic/seq_packet_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <spdlog/fmt/fmt.h>
#include <spdlog/spdlog.h>

#include "base/fd.h"
#include "base/lock.h"
#include "control/session.h"

namespace pz::control {

namespace asio = boost::asio;

namespace {

using Protocol = asio::generic::seq_packet_protocol;
using Socket = Protocol::socket;
using Acceptor = asio::basic_socket_acceptor<Protocol>;
using boost::system::error_code;

/// After so many messages to one client the loop gets to do other work.
constexpr int messages_at_a_time = 16;
constexpr auto accept_retry = std::chrono::milliseconds(100);

Peer peer_of(int socket) {
    ucred credentials{};
    socklen_t length = sizeof credentials;
    // nobody's numbers if the kernel does not say
    if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0)
        return {static_cast<uid_t>(-1), static_cast<gid_t>(-1), {}, 0};
    Peer peer{credentials.uid, credentials.gid, std::vector<gid_t>(64), credentials.pid};
    for (;;) {
        length = static_cast<socklen_t>(peer.groups.size() * sizeof(gid_t));
        const int result = getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, peer.groups.data(), &length);
        if (result != 0 && errno != ERANGE)
            length = 0;
        peer.groups.resize(length / sizeof(gid_t));
        if (result == 0 || length == 0)
            return peer;
    }
}

Result<sockaddr_un> socket_address(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.empty() || path.size() >= sizeof address.sun_path)
        return fail(
            Errc::invalid,
            fmt::format("control \"{}\": must be a path of 1 to {} characters", path, sizeof address.sun_path - 1),
            "control");
    std::ranges::copy(path, address.sun_path);
    return address;
}

/// Makes room at `path`: removes a socket that nobody listens at.
Result<> remove_stale(const std::string& path, const sockaddr_un& address) {
    struct stat found{};
    if (lstat(path.c_str(), &found) != 0)
        return errno == ENOENT ? Result<>{} : fail_errno(fmt::format("control \"{}\"", path), errno);
    if (!S_ISSOCK(found.st_mode))
        return fail(Errc::exists,
                    fmt::format("control \"{}\": there is something that is not a socket; must be a path "
                                "for proxzzyd alone",
                                path),
                    "control");
    const Fd probe(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!probe)
        return fail_errno("socket", errno);
    if (connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 || errno == EAGAIN)
        return fail(Errc::busy,
                    fmt::format("control \"{}\": another proxzzyd is running; stop it, or give this one "
                                "another --control",
                                path),
                    "control");
    if (errno != ECONNREFUSED)
        return fail_errno(fmt::format("control \"{}\": connect", path), errno);
    if (unlink(path.c_str()) != 0)
        return fail_errno(fmt::format("control \"{}\": remove", path), errno);
    return {};
}

/// Two daemons that start at the same time must not remove each other's socket.  A file that nobody else can open, for
/// whoever can open a file can lock it; it is gone when the lock is.
class Lock {
public:
    static Result<Lock> take(const std::string& socket) {
        const std::string path = socket + ".lock";
        for (;;) {
            Fd file(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
            if (!file)
                return fail_errno(fmt::format("control \"{}\": lock {}", socket, path), errno);
            if (!PZ_TRY(lock_exclusively(file, std::chrono::seconds(2))))
                break;
            if (is_still_at(file, path))
                return Lock(path, std::move(file));
        }
        return fail(Errc::busy, fmt::format("control \"{}\": another proxzzyd is starting, it holds {}", socket, path),
                    "control");
    }
    Lock(Lock&&) noexcept = default;
    Lock& operator=(Lock&&) = delete;
    Lock(const Lock&) = delete;
    Lock& operator=(const Lock&) = delete;
    ~Lock() {
        if (file_)
            unlink(path_.c_str());
    }

private:
    Lock(std::string path, Fd file) : path_(std::move(path)), file_(std::move(file)) {}
    std::string path_;
    Fd file_;
};

/// A listening socket at `path`.
Result<Fd> listen_at(const std::string& path) {
    const sockaddr_un address = PZ_TRY(socket_address(path));
    const auto folder = std::filesystem::absolute(path).parent_path();
    if (mkdir(folder.c_str(), 0755) != 0 && errno != EEXIST)
        return fail_errno(fmt::format("control \"{}\": folder {}", path, folder.string()), errno);
    const Lock lock = PZ_TRY(Lock::take(path));
    PZ_TRY(remove_stale(path, address));
    Fd listener(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!listener)
        return fail_errno("socket", errno);
    if (bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
        return fail_errno(fmt::format("control \"{}\": bind", path), errno);
    // Connecting is for everybody; what a peer may do depends on its credentials.
    if (chmod(path.c_str(), 0666) != 0 || ::listen(listener.get(), SOMAXCONN) != 0) {
        const int error = errno;
        unlink(path.c_str());
        return fail_errno(fmt::format("control \"{}\": listen", path), error);
    }
    return listener;
}

} // namespace

bool root_or_group_may_write(const Peer& peer) {
    if (peer.uid == 0)
        return true;
    group entry{};
    group* found = nullptr;
    std::vector<char> buffer(4096);
    int error = 0;
    while ((error = getgrnam_r(PZ_CONTROL_GROUP, &entry, buffer.data(), buffer.size(), &found)) == ERANGE)
        buffer.resize(buffer.size() * 2);
    return error == 0 && found != nullptr &&
           (peer.gid == entry.gr_gid || std::ranges::find(peer.groups, entry.gr_gid) != peer.groups.end());
}

class Server::Impl : public std::enable_shared_from_this<Server::Impl> {
public:
    Impl(asio::io_context& context, std::string path, Service& service, ServerOptions options)
        : context_(context), path_(std::move(path)), service_(service), options_(std::move(options)),
          acceptor_(context), accept_retry_(context), buffer_(PZ_CONTROL_MAX_MESSAGE) {}

    Result<> start(Fd listener) {
        struct stat status{};
        if (lstat(path_.c_str(), &status) == 0)
            inode_ = status.st_ino;
        error_code error;
        if (acceptor_.assign(Protocol(AF_UNIX, 0), listener.get(), error))
            return fail(Errc::system, fmt::format("control \"{}\": {}", path_, error.message()), "control");
        (void)listener.release();
        service_.journal().listen([weak = weak_from_this()] {
            if (const auto self = weak.lock())
                self->on_event();
        });
        asio::co_spawn(context_, accept(shared_from_this()), asio::detached);
        return {};
    }

    void close() {
        if (closed_)
            return;
        closed_ = true;
        // not if another daemon's socket is there by now
        struct stat status{};
        if (lstat(path_.c_str(), &status) == 0 && status.st_ino == inode_)
            unlink(path_.c_str());
        error_code ignored;
        std::ignore = acceptor_.close(ignored);
        accept_retry_.cancel();
        service_.journal().listen({});
        for (Connection* connection : connections_) {
            if (connection->idle) // so its reader has room for the last events
                end_following(*connection);
            connection->drop();
        }
    }

private:
    struct Connection {
        Connection(Socket connected, Service& service, bool writes, Requester requester)
            : socket(std::move(connected)), send_limit(socket.get_executor()), committed(socket.get_executor()),
              session(service, writes, requester), may_write(writes), uid(requester.uid) {
            committed.expires_at(asio::steady_timer::time_point::max());
            session.on_ready = [this] { committed.cancel(); };
        }

        void drop() {
            error_code ignored;
            std::ignore = socket.close(ignored);
            send_limit.cancel();
            committed.cancel();
        }

        Socket socket;
        asio::steady_timer send_limit;
        asio::steady_timer committed; // never expires: cancelled when the session waits no longer
        Session session;
        bool may_write;
        uid_t uid;
        bool idle = false; // waits for a request
    };

    /// Those who follow get to see it, once for all that was recorded in one turn of the loop.
    void on_event() {
        if (std::exchange(news_, true))
            return;
        asio::post(context_, [self = shared_from_this()] {
            self->news_ = false;
            for (Connection* connection : self->connections_)
                if (connection->idle && connection->session.follows()) {
                    error_code ignored;
                    std::ignore = connection->socket.cancel(ignored);
                }
        });
    }

    static void end_following(Connection& connection) {
        error_code error;
        connection.session.end_following();
        while (const auto message = connection.session.next())
            if (!send(connection, *message, error) || error)
                return;
    }

    /// Keeps count of a connection for as long as its coroutine runs.
    class Registration {
    public:
        Registration(Impl& impl, Connection& connection) : impl_(impl), connection_(connection) {
            impl_.connections_.insert(&connection_);
        }
        Registration(const Registration&) = delete;
        Registration& operator=(const Registration&) = delete;
        ~Registration() { impl_.connections_.erase(&connection_); }

    private:
        Impl& impl_;
        Connection& connection_;
    };

    static asio::awaitable<void> accept(std::shared_ptr<Impl> self) {
        while (!self->closed_) {
            error_code error;
            Socket socket(self->context_);
            co_await self->acceptor_.async_accept(socket, asio::redirect_error(asio::use_awaitable, error));
            if (self->closed_)
                co_return;
            if (error) { // out of descriptors, most likely
                spdlog::warn("control: accept: {}", error.message());
                self->accept_retry_.expires_after(accept_retry);
                co_await self->accept_retry_.async_wait(asio::redirect_error(asio::use_awaitable, error));
                continue;
            }
            self->admit(std::move(socket));
        }
    }

    void admit(Socket socket) {
        error_code error;
        if (socket.native_non_blocking(true, error) || socket.non_blocking(true, error))
            return;
        const Peer peer = peer_of(socket.native_handle());
        const bool may_write = options_.may_write(peer);
        const auto open = static_cast<std::size_t>(std::ranges::count(connections_, may_write, &Connection::may_write));
        const auto of_user = static_cast<std::size_t>(std::ranges::count(connections_, peer.uid, &Connection::uid));
        if (open >= options_.max_connections || (!may_write && of_user >= options_.max_connections_of_user)) {
            const Message message = encode_acknowledgement(
                {}, EBUSY,
                {open >= options_.max_connections
                     ? fmt::format("{} connections are open already, one must end first", open)
                     : fmt::format("user {} has {} connections open already, one must end first", peer.uid, of_user)});
            socket.send(asio::buffer(message.bytes().data(), message.bytes().size()), MSG_NOSIGNAL, error);
            return;
        }
        auto connection = std::make_shared<Connection>(std::move(socket), service_, may_write,
                                                       Requester{peer.uid, static_cast<std::uint32_t>(peer.pid)});
        asio::co_spawn(context_, serve(shared_from_this(), std::move(connection)), asio::detached);
    }

    static asio::awaitable<void> serve(std::shared_ptr<Impl> self, std::shared_ptr<Connection> connection) {
        co_await serve_requests(self, connection);
        if (!self->closed_)
            connection->session.end();
    }

    static asio::awaitable<void> serve_requests(std::shared_ptr<Impl> self, std::shared_ptr<Connection> connection) {
        const Registration registration(*self, *connection);
        int sent = 0;
        for (;;) {
            error_code error;
            connection->idle = true;
            co_await connection->socket.async_wait(Socket::wait_read, asio::redirect_error(asio::use_awaitable, error));
            connection->idle = false;
            const bool news = error == asio::error::operation_aborted && connection->socket.is_open();
            if (self->closed_ || (error && !news))
                co_return;
            // Nothing else runs before the packet is taken in, so one buffer serves all.
            asio::socket_base::message_flags flags = 0;
            const std::size_t size = connection->socket.receive(asio::buffer(self->buffer_), 0, flags, error);
            if (error != asio::error::would_block) {
                if (error || size == 0) // the peer has closed
                    co_return;
                connection->session.receive({self->buffer_.data(), size}, (flags & MSG_TRUNC) != 0);
            }
            // also after the peer has gone: what it asked for is done, and told
            while (connection->session.waits()) {
                co_await connection->committed.async_wait(asio::redirect_error(asio::use_awaitable, error));
                if (self->closed_)
                    co_return;
            }
            while (auto message = connection->session.next()) {
                // The first attempt is made at once: the answer to DETACH is out before the daemon stops.
                while (!send(*connection, *message, error)) {
                    if (!connection->session.may_wait())
                        expire(connection, self->options_.send_limit);
                    co_await connection->socket.async_wait(Socket::wait_write,
                                                           asio::redirect_error(asio::use_awaitable, error));
                    connection->send_limit.cancel();
                    if (error || self->closed_)
                        co_return;
                }
                if (error || self->closed_)
                    co_return;
                if (++sent % messages_at_a_time == 0) {
                    co_await asio::post(self->context_, asio::use_awaitable);
                    if (self->closed_)
                        co_return;
                }
            }
        }
    }

    /// False: the socket has no room.
    static bool send(Connection& connection, const Message& message, error_code& error) {
        connection.socket.send(asio::buffer(message.bytes().data(), message.bytes().size()), MSG_NOSIGNAL, error);
        return error != asio::error::would_block;
    }

    static void expire(const std::shared_ptr<Connection>& connection, Duration limit) {
        connection->send_limit.expires_after(limit);
        connection->send_limit.async_wait([weak = std::weak_ptr(connection)](error_code cancelled) {
            const auto slow = weak.lock();
            if (cancelled || !slow)
                return;
            spdlog::info("control: a client that does not read its answers is dropped");
            slow->drop();
        });
    }

    asio::io_context& context_;
    std::string path_;
    Service& service_;
    ServerOptions options_;
    Acceptor acceptor_;
    asio::steady_timer accept_retry_;
    std::vector<std::uint8_t> buffer_;
    std::set<Connection*> connections_;
    ino_t inode_ = 0;
    bool closed_ = false;
    bool news_ = false; // those who follow are going to be told
};

Result<std::unique_ptr<Server>> Server::listen(asio::io_context& context, const std::string& path, Service& service,
                                               ServerOptions options) {
    Fd listener = PZ_TRY(listen_at(path));
    auto impl = std::make_shared<Impl>(context, path, service, std::move(options));
    PZ_TRY(impl->start(std::move(listener)));
    return std::unique_ptr<Server>(new Server(std::move(impl)));
}

// Only cancelling a timer could throw, and a timer that exists can be cancelled.
Server::~Server() { // NOLINT(bugprone-exception-escape)
    close();
}

void Server::close() {
    impl_->close();
}

} // namespace pz::control
