// SPDX-License-Identifier: Apache-2.0
#include "daemon/steering.h"

#include <algorithm>
#include <vector>

#include <boost/asio/post.hpp>

#include <spdlog/fmt/fmt.h>

namespace pz {

void Steering::follow(const Port& port) {
    wanted_.insert(&port);
    const auto member_of = [&](const Device& device) {
        return std::ranges::find_if(port.members, [&](const Member& member) {
            return member.attached && member.link.ifindex == device.ifindex;
        });
    };
    std::erase_if(devices_, [&](auto& entry) {
        Device& device = *entry.second;
        if (device.port != &port || (port.socket && member_of(device) != port.members.end()))
            return false;
        close(device);
        return true;
    });
    if (!port.socket)
        return;
    for (const Member& member : port.members) {
        const auto found = devices_.find(member.link.name);
        if (!member.attached)
            continue;
        if (found == devices_.end()) {
            open(port, member);
            continue;
        }
        Device& device = *found->second;
        const auto changed = device.sockets.follow();
        if (changed && !*changed)
            continue;
        close(device); // the others than before are opened like new ones
        devices_.erase(found);
        open(port, member);
    }
}

void Steering::open(const Port& port, const Member& member) {
    const std::string& name = member.link.name;
    const std::pair known(name, member.link.ifindex);
    auto sockets = xsk::DeviceSockets::open(name, member.mode == fastpath::XdpMode::native);
    Result<> given;
    if (sockets)
        given = fastpath_.set_xsks(member.link.ifindex, sockets->fds());
    if (!sockets || !given) {
        if (without_.insert(known).second)
            hooks_.tell(name,
                        fmt::format("{}: without AF_XDP ({}): what is steered comes by events, and is answered by "
                                    "the packet socket",
                                    name, sockets ? given.error().message : sockets.error().message));
        return;
    }
    without_.erase(known);
    const auto mode = sockets->mode();
    const auto queues = sockets->sockets().size();
    auto device = std::make_unique<Device>(loop_, port, member.link.ifindex, *std::move(sockets));
    device->ready.assign(device->sockets.poll_fd());
    devices_.insert_or_assign(name, std::move(device));
    hooks_.tell(
        name, fmt::format("{}: AF_XDP in {} mode, {} queue{}", name, to_string(mode), queues, queues == 1 ? "" : "s"));
    wait(name);
}

void Steering::close(Device& device) {
    if (const auto statistics = device.sockets.statistics())
        closed_ += *statistics;
    if (device.ready.is_open())
        device.ready.release(); // the descriptor is the sockets'
    // the kernel forgets closed ones by itself
    [[maybe_unused]] const auto cleared = fastpath_.set_xsks(device.ifindex, {});
}

void Steering::close() {
    for (auto& [name, device] : devices_)
        close(*device);
    devices_.clear();
}

void Steering::wait(const std::string& name) {
    devices_.at(name)->ready.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                                        [this, name](const boost::system::error_code& error) {
                                            if (!error)
                                                receive(name);
                                        });
}

void Steering::receive(const std::string& name) {
    const auto found = devices_.find(name);
    if (found == devices_.end())
        return;
    Device& device = *found->second;
    const auto done = device.sockets.receive(
        [&](std::span<std::uint8_t> room, std::size_t length) { return hooks_.answer(*device.port, room, length); });
    if (!done) {
        hooks_.tell(name, fmt::format("{}: AF_XDP sockets are opened anew: {}", name, done.error().message));
        close(device);
        devices_.erase(found); // by the next follow()
    } else if (*done) {
        wait(name);
    } else {
        boost::asio::post(loop_, [this, name] { receive(name); });
    }
}

std::vector<control::Counter> Steering::counters() const {
    xsk::Statistics sum = closed_;
    for (const auto& [name, device] : devices_)
        if (const auto statistics = device->sockets.statistics())
            sum += *statistics;
    return {{"xsk-received", "frames that AF_XDP sockets received", sum.received},
            {"xsk-sent", "answers sent by AF_XDP sockets", sum.sent},
            {"xsk-not-sent", "answers for which an AF_XDP socket had no room", sum.not_sent},
            {"xsk-rx-dropped", "frames that the kernel dropped before an AF_XDP socket", sum.rx_dropped},
            {"xsk-rx-invalid", "descriptors for receiving that the kernel refused", sum.rx_invalid},
            {"xsk-tx-invalid", "descriptors for sending that the kernel refused", sum.tx_invalid},
            {"xsk-rx-ring-full", "frames for which an AF_XDP socket's ring had no room", sum.rx_ring_full},
            {"xsk-rx-fill-empty", "frames for which an AF_XDP socket had no memory", sum.rx_fill_empty},
            {"xsk-tx-empty", "times that the kernel found nothing to send", sum.tx_empty}};
}

} // namespace pz
