// SPDX-License-Identifier: Apache-2.0
// AF_XDP: what is steered to a device's sockets is answered in the very frame in which it came.  A thread of its own
// owns them, or the loop; nothing here is thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "net/frame.h"
#include "xsk/umem.h"

namespace pz::xsk {

/// How frames get to the socket: in the driver without a copy, in the driver with one, after the stack's head.
enum class Mode : std::uint8_t { zero_copy, copy, generic };
std::string_view to_string(Mode mode);

struct Statistics {
    std::uint64_t received = 0;
    std::uint64_t sent = 0;
    std::uint64_t not_sent = 0; // answers for which there was no room
    // the kernel's (XDP_STATISTICS)
    std::uint64_t rx_dropped = 0;
    std::uint64_t rx_invalid = 0;
    std::uint64_t tx_invalid = 0;
    std::uint64_t rx_ring_full = 0;
    std::uint64_t rx_fill_empty = 0;
    std::uint64_t tx_empty = 0;
    Statistics& operator+=(const Statistics& other);
};

/// Looks at the frame, which has `length` bytes at the beginning of `room`, and may write its answer there.  The
/// answer's length; nullopt: none.
using Answer = std::function<std::optional<std::size_t>(std::span<std::uint8_t> room, std::size_t length)>;

/// The socket of one receive queue.
class Socket {
public:
    /// `native`: the program is attached in the driver.  A queue whose last socket has just been closed is busy for
    /// some milliseconds: waits for up to 100 ms.  Errc::unsupported: the kernel or the driver has no AF_XDP;
    /// Errc::permission; Errc::limit: locked memory (RLIMIT_MEMLOCK).
    static Result<Socket> open(const std::string& interface, std::uint32_t queue, bool native);

    Socket(Socket&&) = default;
    Socket& operator=(Socket&&) = delete; // would let go of the memory before the socket

    [[nodiscard]] int fd() const { return xsk_socket__fd(socket_.get()); }
    [[nodiscard]] Mode mode() const { return mode_; }
    /// Hands what has come to `answer`, as much as fits in one turn of a loop; true if nothing is left.  At most half
    /// of the frames carry answers at a time, so that the others go on receiving.  An error: the socket has to be
    /// opened anew.
    Result<bool> receive(const Answer& answer);
    /// Sends a frame by itself, of at most `frame_size` bytes.  Errc::busy: the others have not been sent yet.
    Result<> send(ByteView frame);
    [[nodiscard]] Result<Statistics> statistics() const;
    [[nodiscard]] const Ledger& ledger() const { return umem_.ledger(); }
    /// Takes back what the kernel has sent.
    Result<> reap();

private:
    struct Delete {
        void operator()(xsk_socket* socket) const { xsk_socket__delete(socket); }
    };
    Socket(Umem umem, std::unique_ptr<xsk_socket, Delete> socket, Mode mode)
        : umem_(std::move(umem)), socket_(std::move(socket)), mode_(mode) {}
    static std::expected<Socket, int> try_open(const std::string& interface, std::uint32_t queue, Mode mode);
    Result<> take(const xdp_desc& received, const Answer& answer);
    void kick() const;

    Umem umem_;
    std::unique_ptr<xsk_socket, Delete> socket_; // goes before its memory
    Mode mode_;
    std::uint32_t answering_ = 0; // frames to receive in that are to be sent
    Statistics counted_;
};

/// How many receive queues the device has.
std::uint32_t queues_of(const std::string& interface);

/// The sockets of all receive queues of a device: frames on a queue without one are never seen.
class DeviceSockets {
public:
    static Result<DeviceSockets> open(const std::string& interface, bool native);

    /// Opens all of them anew if the device has another number of queues now; true: it did.  On an error there are
    /// none. It will be a larger one: the kernel takes no queue away that has a socket.
    Result<bool> follow();
    /// By queue.
    [[nodiscard]] std::vector<int> fds() const;
    /// Readable when something has come; another one after follow() said true.
    [[nodiscard]] int poll_fd() const { return epoll_.get(); }
    [[nodiscard]] Mode mode() const { return sockets_.empty() ? Mode::generic : sockets_.front().mode(); }
    /// As Socket::receive(), of all.
    Result<bool> receive(const Answer& answer);
    [[nodiscard]] Result<Statistics> statistics() const;
    [[nodiscard]] std::vector<Socket>& sockets() { return sockets_; }

private:
    DeviceSockets(std::string interface, bool native) : interface_(std::move(interface)), native_(native) {}
    Result<> open_all(std::uint32_t queues);

    std::string interface_;
    bool native_ = false;
    Fd epoll_;
    std::vector<Socket> sockets_;
};

} // namespace pz::xsk
