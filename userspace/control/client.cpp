// SPDX-License-Identifier: Apache-2.0
#include "control/client.h"

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>

#include <spdlog/fmt/fmt.h>

namespace pz::control {

Result<Client> Client::connect(const std::string& path, Duration limit) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.empty() || path.size() >= sizeof address.sun_path)
        return fail(
            Errc::invalid,
            fmt::format("control \"{}\": must be a path of 1 to {} characters", path, sizeof address.sun_path - 1),
            "control");
    std::ranges::copy(path, address.sun_path);
    Fd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    if (!socket)
        return fail_errno("socket", errno);
    const auto microseconds = std::chrono::duration_cast<std::chrono::microseconds>(limit).count();
    const timeval time{microseconds / 1'000'000, microseconds % 1'000'000};
    for (const int option : {SO_RCVTIMEO, SO_SNDTIMEO})
        if (setsockopt(socket.get(), SOL_SOCKET, option, &time, sizeof time) != 0)
            return fail_errno("setsockopt", errno);
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        if (errno == ENOENT || errno == ENOTDIR || errno == ECONNREFUSED)
            return fail(Errc::not_found,
                        fmt::format("no proxzzyd at {}: start it with `sudo scripts/up IFACE` or "
                                    "`systemctl start proxzzyd`",
                                    path),
                        "control");
        if (errno == EACCES || errno == EPERM)
            return fail(Errc::permission,
                        fmt::format("{}: permission denied: only root and members of the group " PZ_CONTROL_GROUP
                                    " may change anything; try sudo",
                                    path),
                        "control");
        return fail_errno(fmt::format("{}: connect", path), errno);
    }
    return Client(std::move(socket), path);
}

Result<> Client::wait_for_ever() {
    const timeval none{};
    if (setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &none, sizeof none) != 0)
        return fail_errno("setsockopt", errno);
    return {};
}

Result<> Client::send(const Result<Message>& message) {
    if (!message)
        return std::unexpected(message.error());
    const auto bytes = message->bytes();
    // after EPIPE there may be an answer that says why
    if (::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) < 0 && errno != EPIPE)
        return fail_errno(fmt::format("{}: send", path_), errno);
    return {};
}

Result<Received> Client::receive(std::uint16_t type, std::uint32_t sequence) {
    for (;;) {
        const ssize_t size = recv(socket_.get(), buffer_.data(), buffer_.size(), MSG_TRUNC);
        if (size < 0 && errno == EINTR)
            continue;
        if (size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return fail(Errc::system, fmt::format("proxzzyd at {} does not answer", path_));
        if (size < 0 && errno != ECONNRESET)
            return fail_errno(fmt::format("{}: receive", path_), errno);
        if (size <= 0)
            return fail(Errc::system, fmt::format("proxzzyd at {} closed the connection", path_));
        if (static_cast<std::size_t>(size) > buffer_.size())
            return bad_answer(fmt::format("{} bytes long", size));
        auto message = open_answer({buffer_.data(), static_cast<std::size_t>(size)});
        if (!message)
            return bad_answer(message.error().error.message);
        const nlmsghdr& header = message->header;
        const bool about_connection = header.nlmsg_type == NLMSG_ERROR && header.nlmsg_seq == 0;
        if (header.nlmsg_seq != sequence && !about_connection)
            continue; // left over from a request that was given up
        if (header.nlmsg_type == NLMSG_ERROR && message->error.error != 0) {
            const Acknowledgement refusal = PZ_TRY(read<Acknowledgement>(*message));
            return fail(from_errno(-message->error.error), refusal.message);
        }
        if (header.nlmsg_type != type && header.nlmsg_type != NLMSG_DONE)
            return bad_answer(fmt::format("message type {}, {} was expected", header.nlmsg_type, type));
        return std::move(*message);
    }
}

std::unexpected<Error> Client::bad_answer(const std::string& why) const {
    return fail(Errc::invalid, fmt::format("proxzzyd at {} sent an answer that cannot be right: {}; is it of another "
                                           "version?",
                                           path_, why));
}

} // namespace pz::control
