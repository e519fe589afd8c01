// SPDX-License-Identifier: Apache-2.0
// The thread between a trigger and its first Magic Packet: reads the trigger ring, sends, holds the packet.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_map>
#include <vector>

#include "fastpath/events.h"
#include "hosts/hold_queue.h"
#include "net/packet_socket.h"

namespace pz {

/// A frame, and where it leaves.  The plan keeps its socket: the loop may be done with the interface meanwhile.
struct Departure {
    std::shared_ptr<const PacketSocket> socket;
    Bytes frame;
};

/// Everything that the trigger thread needs to know of a sleeper.  Immutable: replaced, never changed.
struct WakePlan {
    std::uint32_t generation = 0;
    std::vector<Departure> magic;
};

/// Plans by host.  Written by the loop, read by the trigger thread.
class WakePlans {
public:
    void set(HostId host, std::shared_ptr<const WakePlan> plan);
    void erase(HostId host);
    [[nodiscard]] std::shared_ptr<const WakePlan> get(HostId host) const;

private:
    mutable std::mutex mutex_;
    std::unordered_map<HostId, std::shared_ptr<const WakePlan>> plans_;
};

/// What the loop is told of one event.
struct TriggerNotice {
    pz_event event{};
    Bytes frame;                      // what was captured of it
    std::optional<IpAddress> address; // event.address, if there is one
    bool magic_sent = false;
    bool matters = true; // else it only tells of one more packet
    Instant magic_at{}; // when
    bool held = false;
    HoldRefusal refusal = HoldRefusal::none;
};

class TriggerThread {
public:
    using Notify = std::function<void(TriggerNotice)>;

    /// `notify` is called in the trigger thread.  `plans` and `hold` outlive the thread.
    static Result<std::unique_ptr<TriggerThread>> start(int ring_fd, const WakePlans& plans, HoldQueue& hold,
                                                        Notify notify);
    ~TriggerThread(); // stops and joins
    TriggerThread(const TriggerThread&) = delete;
    TriggerThread& operator=(const TriggerThread&) = delete;

    /// Whether the thread came round to its ring of late; it does so at least once a second.
    [[nodiscard]] bool is_alive(Instant now) const { return now - round_.load() < std::chrono::seconds(3); }

private:
    TriggerThread(const WakePlans& plans, HoldQueue& hold, Notify notify, Fd stop)
        : plans_(plans), hold_(hold), notify_(std::move(notify)), stop_(std::move(stop)) {}
    void run(fastpath::EventRing& ring);
    void on_event(const pz_event& event, ByteView frame);

    const WakePlans& plans_;
    HoldQueue& hold_;
    Notify notify_;
    Fd stop_;
    std::atomic<Instant> round_{std::chrono::steady_clock::now()};
    std::unordered_map<HostId, std::uint32_t> woken_; // generation that the first Magic Packet went out for
    std::thread thread_;
};

/// The address of an event, if it has one.
std::optional<IpAddress> event_address(const pz_event& event);

} // namespace pz
