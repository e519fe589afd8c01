// SPDX-License-Identifier: Apache-2.0
// The AF_XDP sockets of the served devices: what the kernel programs steer to the options is answered in place.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>

#include "control/service.h"
#include "daemon/segments.h"
#include "xsk/socket.h"

namespace pz {

class Steering {
public:
    struct Hooks {
        /// The answer to a frame that came in by the port: see xsk::Answer.
        std::function<std::optional<std::size_t>(const Port&, std::span<std::uint8_t> room, std::size_t length)> answer;
        /// Something to be told of a device.
        std::function<void(const std::string& device, std::string text)> tell;
    };

    Steering(boost::asio::io_context& loop, fastpath::Fastpath& fastpath, Hooks hooks)
        : loop_(loop), fastpath_(fastpath), hooks_(std::move(hooks)) {}
    Steering(const Steering&) = delete;
    Steering& operator=(const Steering&) = delete;
    ~Steering() { close(); }

    /// Every device of the port that XDP is attached to has sockets, one for each receive queue that it has now, and no
    /// other device has.  Where there can be none the kernel sends events instead, which is told once.
    void follow(const Port& port);
    /// Whether follow() was called for the port, or any.
    [[nodiscard]] bool is_wanted(const Port& port) const { return wanted_.contains(&port); }
    [[nodiscard]] bool is_wanted() const { return !wanted_.empty(); }
    /// Lets go of all devices.
    void close();
    [[nodiscard]] std::vector<control::Counter> counters() const;

private:
    struct Device {
        Device(boost::asio::io_context& loop, const Port& of, int index, xsk::DeviceSockets opened)
            : port(&of), ifindex(index), sockets(std::move(opened)), ready(loop) {}
        const Port* port;
        int ifindex;
        xsk::DeviceSockets sockets;
        boost::asio::posix::stream_descriptor ready;
    };
    using Devices = std::map<std::string, std::unique_ptr<Device>>;

    void open(const Port& port, const Member& member);
    void close(Device& device);
    void wait(const std::string& name);
    void receive(const std::string& name);

    boost::asio::io_context& loop_;
    fastpath::Fastpath& fastpath_;
    Hooks hooks_;
    Devices devices_;
    std::set<const Port*> wanted_;
    std::set<std::pair<std::string, int>> without_; // told
    xsk::Statistics closed_;
};

} // namespace pz
