// SPDX-License-Identifier: Apache-2.0
// One connection's side of the protocol in the daemon, without the socket: packets in, messages out.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>

#include "control/codec.h"
#include "control/journal.h"
#include "control/service.h"

namespace pz::control {

/// Who asks, for the record.
struct Requester {
    std::uint32_t uid = 0;
    std::uint32_t pid = 0;
};

class Session {
public:
    /// `may_write`: the peer may read hosts and change things.
    Session(Service& service, bool may_write, Requester requester = {})
        : service_(service), may_write_(may_write), requester_(requester) {}

    /// Does what the packet asks for.  `truncated`: the packet was longer than PZ_CONTROL_MAX_MESSAGE.
    /// To be called when next() has nothing more to say about the packet before, and not while it waits().
    void receive(std::span<const std::uint8_t> packet, bool truncated);
    /// Whether the answer to the packet is still to come: a change is on its way to the disk.
    [[nodiscard]] bool waits() const { return waits_; }
    /// Called when it no longer does.
    std::function<void()> on_ready;

    /// The next message for the peer.  A dump is made one message at a time, as it is taken.
    std::optional<Message> next();
    /// Whether what next() gave last is an event, which may wait for as long as its reader likes.
    [[nodiscard]] bool may_wait() const { return may_wait_; }
    /// Whether events are followed: next() has more to say after each of the journal's.
    [[nodiscard]] bool follows() const { return stream_ && stream_->wanted.follow; }
    /// Who follows events gets no more of them than there are now, and the end of the dump.
    void end_following();
    /// The connection has ended: what is not committed is undone.
    void end();

private:
    /// Where a reader of events stands.
    struct Stream {
        nlmsghdr request{};
        EventsWanted wanted;
        std::uint64_t next = 1; // sequence number
        std::uint64_t last = 0; // the dump ends after this one, unless it follows
    };

    /// A record that arrives in parts.
    struct Record {
        HostConfig config;
        std::uint16_t flags = 0;
        Seen seen = 0;
        std::size_t parts = 0;
        std::size_t bytes = 0;
    };

    Decoded<Acknowledgement> dispatch(const Received& request);
    void finish(const nlmsghdr& request, Decoded<Acknowledgement> outcome);
    void tell(const nlmsghdr& request, const Decoded<Acknowledgement>& outcome);
    template <class T>
    Decoded<Acknowledgement> answer(const Received& request, const T& body);
    Decoded<Acknowledgement> stats(const Received& request);
    Decoded<Acknowledgement> host_get(const Received& request);
    Decoded<Acknowledgement> host_set(const Received& request);
    Decoded<Acknowledgement> host_begin(const Received& request);
    Decoded<Acknowledgement> host_put(const Received& request);
    Decoded<Acknowledgement> host_commit(const Received& request);
    Decoded<Acknowledgement> host_change(const Received& request, Result<> (Service::*change)(std::string_view));
    Decoded<Acknowledgement> events(const Received& request);
    Decoded<Acknowledgement> wakes(const Received& request);
    Decoded<Acknowledgement> explain(const Received& request);
    Decoded<Acknowledgement> import_begin(const Received& request);
    Decoded<Acknowledgement> import_put(const Received& request);
    Decoded<Acknowledgement> import_commit(const Received& request);
    Result<> apply(HostConfig config, std::uint16_t flags);
    /// A function that ends the wait for what comes back later, and does `then` before that, if the session is there.
    template <class Then>
    auto when_back(Then then);
    std::optional<Message> next_event(Stream& stream);

    Service& service_;
    bool may_write_;
    Requester requester_;
    std::string host_; // that the request is about
    std::optional<Record> record_;
    std::deque<Message> answers_;
    std::function<std::optional<Message>()> dump_; // the rest of a dump, its NLMSG_DONE included
    std::optional<Stream> stream_;
    bool may_wait_ = false;
    std::shared_ptr<const bool> is_there_ = std::make_shared<const bool>(true); // for what comes back later
    bool waits_ = false;
    bool is_change_ = false; // the request changed something that is to be committed
    bool imports_ = false; // from IMPORT_BEGIN on
    bool import_refused_ = false; // a part of the last import
    bool is_told_ = false; // the request is refused for what was told of another one
    std::function<void(const nlmsghdr&)> later_; // answers the request instead of receive()
};

} // namespace pz::control
