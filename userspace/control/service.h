// SPDX-License-Identifier: Apache-2.0
// What the control protocol asks of the daemon.  The daemon implements it; tests of the protocol use a fake.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "hosts/record.h"
#include "net/frame.h"

namespace pz::control {

/// C11: what this proxy can do.
struct Capabilities {
    std::string version;
    std::vector<std::string> options; // "arp", "nd", "echo", "wake-tcp", "wake-udp", "wake-magic", ...
    std::uint32_t max_hosts = 0;
    std::uint32_t max_addresses_per_host = 0;
    std::uint32_t max_rules_per_host = 0;
    std::uint32_t max_macs_per_host = 0;
    std::uint32_t max_hostnames_per_host = 0;
    std::uint32_t max_services_per_host = 0;
    std::uint32_t max_groups_per_host = 0;
    bool operator==(const Capabilities&) const = default;
};

/// A port of a bridge that the daemon serves.
struct PortStatus {
    std::string name;
    std::string mode; // "native" or "generic"
    bool up = false; // frames can pass
    bool served = false; // false: it cannot be served
    bool operator==(const PortStatus&) const = default;
};

/// An interface that the daemon serves.
struct InterfaceStatus {
    std::string name;
    std::string mode; // "native" or "generic"; "bridge": see its ports
    MacAddress mac;
    bool up = false; // frames can pass
    bool served = false; // false: there is no such interface now, or it cannot be served
    bool egress = false; // what the gateway itself sends, and forwards, is looked at too
    std::vector<PortStatus> ports;
    bool operator==(const InterfaceStatus&) const = default;
};

/// C13: the daemon as a whole.
struct DaemonStatus {
    std::string version;
    std::uint64_t uptime_ms = 0;
    std::vector<InterfaceStatus> interfaces;
    std::uint32_t hosts = 0;
    std::uint32_t hosts_asleep = 0; // arming, asleep, waking or unreachable
    std::uint32_t held_packets = 0;
    std::uint32_t held_bytes = 0;
    std::string bpffs;
    std::vector<Network> no_wake_from;
    bool operator==(const DaemonStatus&) const = default;
};

/// C13: one host.
struct HostStatus {
    HostConfig config;
    HostId id = 0;
    std::uint32_t generation = 0;
    HostState state = HostState::awake;
    std::string since_reason; // why it is in this state: "sleep requested", "sign of life: ARP probe", ...
    std::uint64_t since_ms = 0; // time in this state
    Identity identity = Identity::host;
    std::uint64_t wakes = 0;
    std::uint32_t held_packets = 0;
    std::uint64_t last_wake_latency_us = 0; // last trigger to first sign of life; 0 = never woken
    std::uint64_t refused = 0; // triggers, by its wake policy
    std::optional<std::string> file = std::nullopt; // that configures it
    std::vector<IpAddress> learned = {};            // that it was seen to use, besides those that are configured
    bool operator==(const HostStatus&) const = default;
};

struct Counter {
    std::string name;
    std::string sentence;
    std::uint64_t value = 0;
    bool operator==(const Counter&) const = default;
};

/// A frame, from the destination MAC on; of a captured one maybe only the beginning.
struct Frame {
    Bytes bytes;
    bool operator==(const Frame&) const = default;
};

/// Something that happened: one line of the log, one message to each follower.
struct Event {
    std::uint64_t sequence = 0; // set by the journal, as are kind and level
    std::uint64_t time_ns = 0;  // wall time; 0 = set by the journal
    std::string kind = {};           // of event_kinds.h
    std::string level = {};
    std::string text = {};
    std::string host = {}; // name
    std::optional<HostId> host_id = std::nullopt;
    std::optional<std::uint32_t> generation = std::nullopt;
    std::string interface = {};
    std::optional<HostState> from = std::nullopt; // of an edge
    std::optional<HostState> to = std::nullopt;
    std::string reason = {}; // name of an enum pz_reason
    std::string sentence = {};
    std::string rule = {};       // "tcp/22", "tcp/any", "magic", "echo"
    std::string decided_by = {}; // "kernel", "daemon", "operator", "host"
    std::string packet = {};     // in one line
    std::optional<std::uint32_t> uid = std::nullopt; // who asked
    std::optional<std::uint32_t> pid = std::nullopt;
    std::optional<std::uint64_t> missed = std::nullopt;
    bool operator==(const Event&) const = default;
};

/// Which events a client wants.
struct EventsWanted {
    std::string host = {};      // empty: all
    bool follow = false;   // also those to come
    bool new_only = false; // not those that are kept
};

/// C14: a packet or request that woke a host and what came of it, or a packet that did not wake it.
struct Wake {
    std::uint64_t time_ns = 0; // wall time of the packet, by the kernel
    std::string outcome = {};       // see pz_wake_log_attr
    std::string reason = {};        // name of an enum pz_reason
    std::string sentence = {};
    std::string rule = {};
    std::string decided_by = {};
    std::string packet = {}; // in one line
    Frame frame = {};
    std::uint32_t frame_length = 0;
    std::uint32_t count = 1;
    std::optional<std::uint64_t> magic_after_us = std::nullopt;
    std::string sign = {};
    std::optional<std::uint64_t> alive_after_us = std::nullopt;
    std::uint32_t delivered = 0;
    std::optional<std::uint64_t> delivered_after_us = std::nullopt;
    std::uint32_t dropped = 0;
    bool operator==(const Wake&) const = default;
};

class Journal;

/// A frame that might come in.
struct ExplainRequest {
    std::string interface; // empty = the only one served
    Frame frame;
    bool egress = false; // the frame leaves by the interface
    bool operator==(const ExplainRequest&) const = default;
};

enum class FrameVerdict : std::uint8_t { pass, drop, answer };

/// An event that the kernel would hand to the daemon.
struct ExplainedEvent {
    std::string kind; // "trigger", "release", ...
    std::optional<std::string> host = std::nullopt;
    std::optional<IpAddress> address = std::nullopt;
    std::string next; // what the daemon would do, in a sentence
    bool operator==(const ExplainedEvent&) const = default;
};

/// What would happen to a frame.
struct Explanation {
    FrameVerdict verdict = FrameVerdict::pass;
    std::string reason;
    std::string sentence;
    std::string interface;
    VlanTags vlan = {};
    std::uint32_t segment = PZ_NO_SEGMENT;
    std::optional<std::string> host = std::nullopt; // who it is for, or whose address it claims
    std::optional<HostState> host_state = std::nullopt;
    std::optional<std::string> sender = std::nullopt; // the host that sent it
    std::optional<HostState> sender_state = std::nullopt;
    std::optional<std::string> sign = std::nullopt; // which sign of the sender's life it is
    std::optional<std::string> rule = std::nullopt; // of `host`, that decided
    std::vector<ExplainedEvent> events = {};
    std::optional<Frame> reply = std::nullopt;
    bool operator==(const Explanation&) const = default;
};

/// Whether an acknowledged change survives a restart.
enum class Durable : bool { no, yes };

/// What became of the hosts of an import.
struct Imported {
    std::uint32_t added = 0;
    std::uint32_t changed = 0;
    std::uint32_t unchanged = 0;
    bool operator==(const Imported&) const = default;
};

/// All calls come from the loop thread and return at once.  A change that was not refused is acknowledged when
/// commit() says so.
class Service {
public:
    virtual ~Service() = default;

    virtual Capabilities capabilities() = 0;
    virtual DaemonStatus status() = 0;
    virtual std::vector<Counter> stats() = 0;

    /// Adds a host; with `replace`, changes one that is awake.  A host in proxy care is Errc::busy.
    virtual Result<> host_set(HostConfig config, bool replace) = 0;
    virtual Result<HostStatus> host_get(std::string_view name) = 0;
    /// Names in order; a dump walks them by repeated host_get.
    virtual std::vector<std::string> host_names() = 0;
    virtual Result<> host_remove(std::string_view name) = 0;
    /// R32: the host goes to sleep; answered when the kernel is programmed.
    virtual Result<> host_sleep(std::string_view name) = 0;
    /// R32: proxy operation ends, the host is awake.
    virtual Result<> host_release(std::string_view name) = 0;
    /// R35: wake by Magic Packet.
    virtual Result<> host_wake(std::string_view name) = 0;
    using Committed = std::function<void(Result<Durable>)>;
    /// To be called after each of these that succeeded, before anything else is asked.  `done` hears, now or later from
    /// the loop, that the change is on disk; that it holds, but is not on disk; or why it could not be stored and was
    /// undone.  It is not called any more once the service is gone.
    virtual void commit(Committed done) = 0;
    /// Many hosts as one change: import_put() adds or changes each, for import_commit() or import_abort() to end.
    /// Errc::busy: another import is under way, or is being undone.
    virtual Result<> import_begin() = 0;
    /// An error, of a host that it names, undoes the import.  `encoded`: what each was decoded from.
    virtual Result<> import_put(std::vector<HostConfig> hosts, const std::vector<ByteView>& encoded) = 0;
    /// `ready` hears, now or later, when more may be put: the disk may be slower.
    virtual void import_when_ready(std::function<void()> ready) = 0;
    /// `done` hears, now or later, that all of it is on disk, or why it was undone.
    virtual void import_commit(std::function<void(Result<Imported>)> done) = 0;
    virtual void import_abort() = 0;
    /// C14: what woke the host lately, and what did not, in order of time.
    virtual Result<std::vector<Wake>> wakes(std::string_view name) = 0;
    /// What happened lately.  The protocol adds requests to it.
    virtual Journal& journal() = 0;
    /// What would happen to a frame that comes in.  Nothing changes.  Errors name the field: `interface` or `frame`.
    virtual Result<Explanation> explain(const ExplainRequest& request) = 0;
    /// Takes proxzzy off every interface and stops the daemon.  Stops by posting to the loop: the answer to this call
    /// is sent before anything posted runs.
    virtual Result<> detach() = 0;
};

} // namespace pz::control
