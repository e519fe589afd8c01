// SPDX-License-Identifier: Apache-2.0
// The thread between a trigger and its first Magic Packet: reads the trigger ring, sends, holds the packet.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/priority_mutex.h"
#include "fastpath/events.h"
#include "hosts/hold_queue.h"
#include "hosts/table.h"
#include "hosts/wake_policy.h"
#include "net/packet_socket.h"

namespace pz {

/// A frame, and where it leaves.  The plan keeps its socket: the loop may be done with the interface meanwhile.
struct Departure {
    std::shared_ptr<const PacketSocket> socket;
    Bytes frame;
};

/// What Magic Packets of a segment have in common.
struct MagicRoute {
    std::shared_ptr<const PacketSocket> socket; // none: nothing leaves
    MacAddress sender;
    std::optional<IpAddress> source; // IPv4; none: no UDP
    TagStack tags;
};

/// Those that wake a host with these MACs: which of its NICs hears now, nobody knows.
std::vector<Departure> magic_frames(const MagicRoute& route, std::span<const MacAddress> macs,
                                    const MagicOptions& options);

/// Everything that the trigger thread needs to know of a sleeper.
struct WakePlan {
    std::uint32_t generation = 0;
    std::vector<Departure> magic;
    WakePolicy policy;
    bool is_asleep = false; // else a packet is no reason for a wake any more
};

/// Plans by host, made when they are asked for.  Written by the loop, read by the trigger thread.
class WakePlans {
public:
    /// `sends`: the trigger thread sends Magic Packets, by the route of the host's segment.
    void set(const Host& host, bool sends);
    void set_route(SegmentId segment, MagicRoute route);
    void erase(HostId host);
    [[nodiscard]] std::optional<WakePlan> get(HostId host) const;

private:
    /// There may be millions.
    struct Entry {
        std::uint32_t generation = 0; // 0: no plan
        SegmentId segment = PZ_NO_SEGMENT;
        boost::flyweight<HostOptions, boost::flyweights::set_factory<>> options;
        MacAddress mac; // the first one
        bool sends = false;
        bool is_asleep = false;
    };
    mutable PriorityMutex mutex_;
    std::vector<Entry> entries_; // by id
    std::unordered_map<HostId, std::vector<MacAddress>> macs_; // all, of hosts with several
    std::map<SegmentId, MagicRoute> routes_;
};

/// What each host has spent of what its policy allows, and how many triggers that has refused.  For both threads.
class WakeBudgets {
public:
    /// Whether a packet may wake the host.  Takes no memory: a Magic Packet waits for it.
    [[nodiscard]] std::optional<Refusal> ask(HostId host, const WakePolicy& policy, const Trigger& trigger,
                                             Instant now) const;
    /// Whether any packet may, until one has.
    [[nodiscard]] bool allows_every(HostId host, const WakePolicy& policy, const std::vector<Network>& no_wake_from,
                                    Instant now) const;
    /// It has.  Should both threads ask about one host before either of them adds, it is woken once more than allowed.
    void add(HostId host, const Trigger& trigger, Instant now);
    void count_refusal(HostId host);
    [[nodiscard]] std::uint64_t refused(HostId host) const;
    void forget(HostId host);

private:
    struct Account {
        WakeBudget budget;
        std::uint64_t refused = 0;
    };
    [[nodiscard]] const WakeBudget& budget_of(HostId host) const;

    mutable PriorityMutex mutex_;
    std::unordered_map<HostId, Account> accounts_;
};

/// What the loop is told of one event.
struct TriggerNotice {
    pz_event event{};
    Bytes frame; // what was captured of it
    std::optional<IpAddress> address; // event.address, if there is one
    bool magic_sent = false;
    bool matters = true; // else it only tells of one more packet
    Instant magic_at{}; // when
    bool held = false;
    HoldRefusal refusal = HoldRefusal::none;
    std::optional<Refusal> refused = std::nullopt; // by the policy: nothing was sent or held
};

class TriggerThread {
public:
    using Notify = std::function<void(TriggerNotice)>;

    /// What the thread works on; all of it outlives the thread.
    struct Shared {
        const WakePlans& plans;
        WakeBudgets& budgets;
        HoldQueue& hold;
        const std::vector<Network>& no_wake_from; // of all hosts
    };

    /// `notify` is called in the trigger thread.
    static Result<std::unique_ptr<TriggerThread>> start(int ring_fd, Shared shared, Notify notify);
    ~TriggerThread(); // stops and joins
    TriggerThread(const TriggerThread&) = delete;
    TriggerThread& operator=(const TriggerThread&) = delete;

    /// Whether the thread came round to its ring of late; it does so at least once a second.
    [[nodiscard]] bool is_alive(Instant now) const { return now - round_.load() < std::chrono::seconds(3); }

private:
    TriggerThread(Shared shared, Notify notify, Fd stop)
        : shared_(shared), notify_(std::move(notify)), stop_(std::move(stop)) {}
    void run(fastpath::EventRing& ring);
    void on_event(const pz_event& event, ByteView frame);
    bool on_trigger(const pz_event& event, ByteView frame, TriggerNotice& notice);

    Shared shared_;
    Notify notify_;
    Fd stop_;
    std::atomic<Instant> round_{std::chrono::steady_clock::now()};
    std::unordered_map<HostId, std::uint32_t> woken_; // generation that the first Magic Packet went out for
    std::thread thread_;
};

/// The facts of a trigger for the policy.
Trigger trigger_of(const pz_event& event, ByteView frame);

/// The address of an event, if it has one.
std::optional<IpAddress> event_address(const pz_event& event);

} // namespace pz
