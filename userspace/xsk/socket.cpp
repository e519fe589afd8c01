// SPDX-License-Identifier: Apache-2.0
#include "xsk/socket.h"

#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <system_error>
#include <thread>

#include <spdlog/fmt/fmt.h>
#include <spdlog/spdlog.h>

#include <xdp/libxdp.h>

namespace pz::xsk {

namespace {

constexpr std::uint32_t frames_in_turn = 64;
constexpr std::uint32_t kernel_batch = 32; // of what it sends in one call

/// libxdp says on standard error what its callers are told by a value.
int log_libxdp(libxdp_print_level /*level*/, const char* /*format*/, va_list /*arguments*/) {
    return 0;
}

std::unexpected<Error> refused(const std::string& interface, std::uint32_t queue, int error) {
    const std::string what = fmt::format("no AF_XDP socket on queue {} of interface '{}'", queue, interface);
    const auto say = [&](Errc code, std::string_view why) {
        return fail(code, fmt::format("{}: {} ({})", what, why, std::generic_category().message(error)), "interface");
    };
    switch (error) {
    case EPERM:
    case EACCES:
        return say(Errc::permission, "proxzzyd needs CAP_NET_RAW");
    case ENOBUFS:
    case ENOMEM:
    case EMFILE:
        return say(Errc::limit, "not enough locked memory: raise LimitMEMLOCK, or give CAP_IPC_LOCK");
    case EBUSY:
        return say(Errc::busy, "another program has one there");
    case ENODEV:
        return say(Errc::not_found, "there is no such interface or queue");
    case EOPNOTSUPP:
    case EAFNOSUPPORT:
    case EPROTONOSUPPORT:
    case EINVAL:
        return say(Errc::unsupported, "the kernel or the driver has none");
    default:
        return fail_errno(what, error);
    }
}

} // namespace

std::string_view to_string(Mode mode) {
    constexpr std::array<std::string_view, 3> names{"zero-copy", "copy", "generic"};
    return names.at(static_cast<std::size_t>(mode));
}

Statistics& Statistics::operator+=(const Statistics& other) {
    received += other.received;
    sent += other.sent;
    not_sent += other.not_sent;
    rx_dropped += other.rx_dropped;
    rx_invalid += other.rx_invalid;
    tx_invalid += other.tx_invalid;
    rx_ring_full += other.rx_ring_full;
    rx_fill_empty += other.rx_fill_empty;
    tx_empty += other.tx_empty;
    return *this;
}

std::expected<Socket, int> Socket::try_open(const std::string& interface, std::uint32_t queue, Mode mode) {
    auto umem = Umem::create();
    if (!umem)
        return std::unexpected(umem.error());
    for (std::uint32_t frame = 0; frame < rx_frames; frame++) // before the queue is bound, so that nothing is missed
        if (!umem->fill(std::uint64_t{frame} * frame_size, Owner::free))
            return std::unexpected(EINVAL);
    xsk_socket_config config{};
    config.rx_size = ring_size;
    config.tx_size = ring_size;
    config.libxdp_flags = XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD; // the data path redirects to it
    config.xdp_flags = mode == Mode::generic ? XDP_FLAGS_SKB_MODE : XDP_FLAGS_DRV_MODE;
    config.bind_flags =
        static_cast<std::uint16_t>(XDP_USE_NEED_WAKEUP | (mode == Mode::zero_copy ? XDP_ZEROCOPY : XDP_COPY));
    xsk_socket* socket = nullptr;
    Rings& rings = umem->rings();
    if (const int error =
            xsk_socket__create(&socket, interface.c_str(), queue, umem->get(), &rings.rx, &rings.tx, &config);
        error != 0)
        return std::unexpected(-error);
    return Socket(*std::move(umem), std::unique_ptr<xsk_socket, Delete>(socket), mode);
}

Result<Socket> Socket::open(const std::string& interface, std::uint32_t queue, bool native) {
    using namespace std::chrono_literals;
    libxdp_set_print(log_libxdp);
    const auto give_up = std::chrono::steady_clock::now() + 100ms;
    std::vector<Mode> modes{Mode::generic};
    if (native)
        modes = {Mode::zero_copy, Mode::copy};
    int error = EOPNOTSUPP;
    for (auto mode = modes.begin(); mode != modes.end();) {
        auto opened = try_open(interface, queue, *mode);
        if (opened)
            return *std::move(opened);
        error = opened.error();
        if (error == EBUSY && std::chrono::steady_clock::now() < give_up)
            std::this_thread::sleep_for(2ms);
        else
            ++mode;
    }
    return refused(interface, queue, error);
}

/// A descriptor says where in a frame the packet begins.
Result<> Socket::take(const xdp_desc& received, const Answer& answer) {
    PZ_TRY(umem_.ledger().move(received.addr, Owner::fill, Owner::hand));
    counted_.received++;
    const auto room = umem_.at(received.addr);
    const auto length = answer(room, received.len);
    if (!length || *length == 0 || *length > room.size())
        return umem_.fill(received.addr, Owner::hand);
    if (answering_ >= rx_frames / 2) {
        counted_.not_sent++;
        return umem_.fill(received.addr, Owner::hand);
    }
    PZ_TRY(umem_.send(received.addr, *length, Owner::hand));
    answering_++;
    return {};
}

Result<bool> Socket::receive(const Answer& answer) {
    PZ_TRY(reap());
    Rings& rings = umem_.rings();
    std::uint32_t at = 0;
    const std::uint32_t count = xsk_ring_cons__peek(&rings.rx, frames_in_turn, &at);
    for (std::uint32_t i = 0; i < count; i++)
        PZ_TRY(take(*xsk_ring_cons__rx_desc(&rings.rx, at + i), answer));
    xsk_ring_cons__release(&rings.rx, count);
    kick();
    PZ_TRY(reap());
    PZ_TRY(umem_.ledger().check_settled());
    return count < frames_in_turn;
}

Result<> Socket::send(ByteView frame) {
    if (frame.empty() || frame.size() > frame_size)
        return fail(Errc::invalid, fmt::format("frame: has {} bytes, not 1 to {}", frame.size(), frame_size), "frame");
    PZ_TRY(reap());
    const auto address = umem_.spare();
    if (!address) {
        counted_.not_sent++;
        return fail(Errc::busy, "AF_XDP: every frame to send in waits to be sent");
    }
    std::ranges::copy(frame, umem_.at(*address).begin());
    PZ_TRY(umem_.send(*address, frame.size(), Owner::free));
    kick();
    return {};
}

Result<> Socket::reap() {
    Rings& rings = umem_.rings();
    std::uint32_t at = 0;
    const std::uint32_t count = xsk_ring_cons__peek(&rings.completion, ring_size, &at);
    for (std::uint32_t i = 0; i < count; i++) {
        const std::uint64_t address = *xsk_ring_cons__comp_addr(&rings.completion, at + i);
        PZ_TRY(umem_.complete(address));
        if (Umem::is_rx(address))
            answering_--;
        counted_.sent++;
    }
    xsk_ring_cons__release(&rings.completion, count);
    return {};
}

/// Tells the kernel of what is to be sent, and to be received in, where it does not look by itself.  What it does not
/// take now waits for the next turn.
void Socket::kick() const {
    const Rings& rings = umem_.rings();
    const auto waits = [&] {
        return rings.tx.cached_prod != __atomic_load_n(rings.tx.consumer, __ATOMIC_ACQUIRE) &&
               xsk_ring_prod__needs_wakeup(&rings.tx) != 0;
    };
    for (std::uint32_t i = 0; i <= ring_size / kernel_batch && waits(); i++)
        if (::sendto(fd(), nullptr, 0, MSG_DONTWAIT, nullptr, 0) < 0 && errno != EAGAIN)
            break;
    if (xsk_ring_prod__needs_wakeup(&rings.fill) != 0)
        (void)::recvfrom(fd(), nullptr, 0, MSG_DONTWAIT, nullptr, nullptr);
}

Result<Statistics> Socket::statistics() const {
    xdp_statistics kernel{};
    socklen_t size = sizeof kernel;
    if (::getsockopt(fd(), SOL_XDP, XDP_STATISTICS, &kernel, &size) != 0)
        return fail_errno("cannot read the statistics of an AF_XDP socket", errno);
    Statistics all = counted_;
    all.rx_dropped = kernel.rx_dropped;
    all.rx_invalid = kernel.rx_invalid_descs;
    all.tx_invalid = kernel.tx_invalid_descs;
    all.rx_ring_full = kernel.rx_ring_full;
    all.rx_fill_empty = kernel.rx_fill_ring_empty_descs;
    all.tx_empty = kernel.tx_ring_empty_descs;
    return all;
}

std::uint32_t queues_of(const std::string& interface) {
    ethtool_channels channels{};
    channels.cmd = ETHTOOL_GCHANNELS;
    ifreq request{};
    interface.copy(request.ifr_name, IFNAMSIZ - 1);
    request.ifr_data = reinterpret_cast<char*>(&channels);
    const Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (socket && ::ioctl(socket.get(), SIOCETHTOOL, &request) == 0 && channels.rx_count + channels.combined_count != 0)
        return channels.rx_count + channels.combined_count;
    // drivers that cannot change them need not tell
    std::uint32_t count = 0;
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator("/sys/class/net/" + interface + "/queues", ignored))
        count += entry.path().filename().string().starts_with("rx-") ? 1 : 0;
    return std::max(count, 1U);
}

Result<DeviceSockets> DeviceSockets::open(const std::string& interface, bool native) {
    DeviceSockets device(interface, native);
    PZ_TRY(device.open_all(queues_of(interface)));
    return device;
}

Result<> DeviceSockets::open_all(std::uint32_t queues) {
    Fd epoll(::epoll_create1(EPOLL_CLOEXEC));
    if (!epoll)
        return fail_errno("cannot wait for AF_XDP sockets", errno);
    std::vector<Socket> sockets;
    for (std::uint32_t queue = 0; queue < queues; queue++) {
        sockets.push_back(PZ_TRY(Socket::open(interface_, queue, native_)));
        epoll_event event{.events = EPOLLIN, .data = {.u32 = queue}};
        if (::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, sockets.back().fd(), &event) != 0)
            return fail_errno("cannot wait for AF_XDP sockets", errno);
    }
    epoll_ = std::move(epoll);
    sockets_ = std::move(sockets);
    return {};
}

Result<bool> DeviceSockets::follow() {
    const std::uint32_t queues = queues_of(interface_);
    if (queues == sockets_.size())
        return false;
    sockets_.clear(); // a queue takes one socket
    epoll_ = {};
    PZ_TRY(open_all(queues));
    return true;
}

std::vector<int> DeviceSockets::fds() const {
    std::vector<int> all;
    std::ranges::transform(sockets_, std::back_inserter(all), &Socket::fd);
    return all;
}

Result<bool> DeviceSockets::receive(const Answer& answer) {
    bool all = true;
    for (Socket& socket : sockets_)
        all = PZ_TRY(socket.receive(answer)) && all;
    return all;
}

Result<Statistics> DeviceSockets::statistics() const {
    Statistics all;
    for (const Socket& socket : sockets_)
        all += PZ_TRY(socket.statistics());
    return all;
}

} // namespace pz::xsk
