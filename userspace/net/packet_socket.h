// SPDX-License-Identifier: Apache-2.0
// One AF_PACKET socket per interface: everything that the daemon originates leaves here, past the qdisc.
#pragma once

#include <functional>
#include <span>
#include <string>

#include "base/fd.h"
#include "net/frame.h"

namespace pz {

class PacketSocket {
public:
    /// Send-only (protocol 0), PACKET_QDISC_BYPASS.  Needs CAP_NET_RAW.
    static Result<PacketSocket> open(int ifindex);

    /// Sends a whole frame.  Thread-safe.  Errc::busy: there is no room for it now.
    Result<> send(ByteView frame) const;
    /// The same with several, in order, by one call of the kernel for all of them.  What could not be sent is told by
    /// its number; the others are sent nevertheless.
    void send(std::span<const Bytes> frames, const std::function<void(std::size_t, const Error&)>& failed) const;

    /// The interface accepts frames to `mac` (unicast or group) until this socket closes or leave() is called; counted
    /// by the kernel per socket.  `mac` may be joined once at a time.  For more than `max_joined` join_all() is better:
    /// the kernel walks a list for each, and few cards filter as many.
    Result<> join(const MacAddress& mac) const;
    Result<> leave(const MacAddress& mac) const;
    static constexpr std::size_t max_joined = 1024;
    /// The device accepts every frame until this socket closes or leave_all() is called.
    Result<> join_all(int ifindex);
    Result<> leave_all(int ifindex);

    /// The same socket once more, which execve() does not close: join() holds until the last one is closed.
    [[nodiscard]] Result<Fd> inheritable() const;

    [[nodiscard]] int ifindex() const { return ifindex_; }

private:
    PacketSocket(Fd fd, int ifindex) : fd_(std::move(fd)), ifindex_(ifindex) {}
    Fd fd_;
    int ifindex_ = 0;
};

} // namespace pz
