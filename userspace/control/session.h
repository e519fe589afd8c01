// SPDX-License-Identifier: Apache-2.0
// One connection's side of the protocol in the daemon, without the socket: packets in, messages out.
#pragma once

#include <deque>
#include <functional>
#include <optional>
#include <span>

#include "control/codec.h"
#include "control/service.h"

namespace pz::control {

class Session {
public:
    /// `may_write`: the peer may read hosts and change things.
    Session(Service& service, bool may_write) : service_(service), may_write_(may_write) {}

    /// Does what the packet asks for.  `truncated`: the packet was longer than PZ_CONTROL_MAX_MESSAGE.
    /// To be called when next() has nothing more to say about the packet before.
    void receive(std::span<const std::uint8_t> packet, bool truncated);

    /// The next message for the peer.  A dump is made one message at a time, as it is taken.
    std::optional<Message> next();

private:
    /// A record that arrives in parts.
    struct Record {
        HostConfig config;
        std::uint16_t flags = 0;
        Seen seen = 0;
        std::size_t parts = 0;
        std::size_t bytes = 0;
    };

    Decoded<Acknowledgement> dispatch(const Received& request);
    template <class T>
    Decoded<Acknowledgement> answer(const Received& request, const T& body);
    Decoded<Acknowledgement> stats(const Received& request);
    Decoded<Acknowledgement> host_get(const Received& request);
    Decoded<Acknowledgement> host_set(const Received& request);
    Decoded<Acknowledgement> host_begin(const Received& request);
    Decoded<Acknowledgement> host_put(const Received& request);
    Decoded<Acknowledgement> host_commit(const Received& request);
    Decoded<Acknowledgement> host_change(const Received& request, Result<Durable> (Service::*change)(std::string_view));
    Result<Durable> apply(HostConfig config, std::uint16_t flags);

    Service& service_;
    bool may_write_;
    std::optional<Record> record_;
    std::deque<Message> answers_;
    std::function<std::optional<Message>()> dump_; // the rest of a dump, its NLMSG_DONE included
};

} // namespace pz::control
