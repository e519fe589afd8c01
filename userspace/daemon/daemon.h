// SPDX-License-Identifier: Apache-2.0
// The daemon: the presence table in one loop thread, and its effects on the kernel and the wire.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

#include "control/journal.h"
#include "control/service.h"
#include "daemon/discovery.h"
#include "daemon/durable_state.h"
#include "daemon/host_files.h"
#include "daemon/options.h"
#include "daemon/segments.h"
#include "daemon/steering.h"
#include "daemon/trigger_thread.h"
#include "daemon/wake_log.h"
#include "fastpath/events.h"
#include "fastpath/fastpath.h"
#include "hosts/hold_queue.h"
#include "hosts/table.h"
#include "net/link_monitor.h"
#include "net/neighbour.h"

namespace pz {

/// What effects come from, for events and the wake log.
struct Cause {
    std::string_view decided_by = "daemon"; // or "kernel", "host", "operator"
    Instant at{};                           // when it happened; unset: now
    std::uint32_t reason = PZ_REASON_COUNT; // enum pz_reason; none
    std::string rule = {};
    ByteView frame = {};
    std::uint32_t frame_length = 0;
    std::string_view sign = {}; // of life
};

/// An import that is under way.
struct Import {
    control::Imported count;
    /// How hosts were, in the order in which they were changed; null: they were not there.
    std::vector<std::pair<HostId, std::unique_ptr<StoredHost>>> before;
    std::vector<bool> hosts; // by id, the same: of nobody else to change meanwhile
    std::vector<HostConfig> deferred; // want what other hosts have, which may give it up
    bool ends = false; // to the disk, or by being undone
};

class Daemon final : public control::Service {
public:
    /// Those that `options` name.  Refuses what is not there or cannot be served.
    static Result<std::vector<Link>> find_interfaces(const DaemonOptions& options);
    /// Checks the interfaces, takes the lock and loads the kernel side; nothing is served yet.
    static Result<std::unique_ptr<Daemon>> load(boost::asio::io_context& loop, DaemonOptions options);
    /// Serves the interfaces and starts the trigger thread.  To be called once, before the loop runs.  After an error
    /// the daemon is good for nothing but its destructor, which leaves nothing behind but what a daemon before had
    /// left.
    Result<> serve();
    /// The hosts that files configure, when the daemon starts and when it reloads; logs what is done.  False: a file
    /// could not be applied.
    bool set_file_hosts(const HostFiles& files);
    [[nodiscard]] std::size_t file_hosts() const { return file_hosts_.size(); }
    /// Takes everything off the kernel and the network; after leave() the kernel goes on answering for the next daemon.
    ~Daemon() override;
    /// Who keeps the descriptors open keeps what the interfaces were told to accept, also through execve().
    [[nodiscard]] std::vector<Fd> leave();
    Daemon(const Daemon&) = delete;
    Daemon& operator=(const Daemon&) = delete;

    control::Capabilities capabilities() override;
    control::DaemonStatus status() override;
    std::vector<control::Counter> stats() override;
    Result<> host_set(HostConfig config, bool replace) override;
    Result<control::HostStatus> host_get(std::string_view name) override;
    std::vector<std::string> host_names() override;
    Result<> host_remove(std::string_view name) override;
    Result<> host_sleep(std::string_view name) override;
    Result<> host_release(std::string_view name) override;
    Result<> host_wake(std::string_view name) override;
    void commit(Committed done) override;
    Result<> import_begin() override;
    Result<> import_put(std::vector<HostConfig> hosts, const std::vector<ByteView>& encoded) override;
    void import_when_ready(std::function<void()> ready) override;
    void import_commit(std::function<void(Result<control::Imported>)> done) override;
    void import_abort() override;
    Result<std::vector<control::Wake>> wakes(std::string_view name) override;
    control::Journal& journal() override { return journal_; }
    Result<control::Explanation> explain(const control::ExplainRequest& request) override;
    Result<> detach() override;

private:
    Daemon(boost::asio::io_context& loop, DaemonOptions options, LinkMonitor monitor, std::vector<Link> links,
           std::unique_ptr<fastpath::Fastpath> fastpath, std::unique_ptr<Store> store);

    void take_off();

    // hosts on disk (restore.cpp)
    void restore_hosts();
    Result<> restore_host(const StoredHost& stored, bool watched);
    void put_back(const std::string& name, const std::optional<StoredHost>& before);
    [[nodiscard]] std::optional<StoredHost> row_of(const std::string& name) const;
    [[nodiscard]] StoredHost row_of(const Host& host) const;
    [[nodiscard]] StoredHost row_of(const Host& host, Bytes config) const;
    /// StoredHost::config of attributes that were encoded before.
    [[nodiscard]] static Bytes config_row(ByteView encoded);
    void begin_change(std::string_view name, bool undo);

    // hosts that files configure
    FileHosts::Table file_table();
    Result<> writable(std::string_view name) const;
    Result<> set_host(const HostConfig& config, bool replace);
    /// The same without a word to the disk.
    Result<HostId> put_host(const HostConfig& config, bool replace);

    // many hosts as one change (import.cpp)
    Result<> import_host(const HostConfig& wanted, ByteView encoded, StoreBatch& part);
    [[nodiscard]] bool is_imported(HostId id) const;
    Result<> import_deferred(StoreBatch& part);
    void import_put_back();
    [[nodiscard]] Result<> not_imported(std::string_view name) const;
    void expect_more();
    bool record_file_hosts(const FileHosts::Report& report);
    Result<> remove_host(std::string_view name);

    // events
    void on_notice(const TriggerNotice& notice);
    void on_trigger(const TriggerNotice& notice);
    void on_refused(const Host& host, const Refusal& refusal, Cause cause);
    void on_overheard(const pz_event& event, ByteView frame);
    void on_router(SegmentId segment, ByteView frame);
    void on_use(const pz_event& event, ByteView frame);
    void on_conflict(const Host& host, const MacAddress& claimant, const IpAddress& address, Cause cause);
    void on_edge(const Host& host, const Effect& edge, const Cause& cause);
    control::Event event_of(const Host& host, const Cause& cause) const;
    void record(control::EventKind kind, const Host& host, std::string text, const Cause& cause = {});
    /// For what the network can cause as often as it likes.
    void record_sparingly(control::EventKind kind, const Host& host, std::string text, const Cause& cause);
    void record_failure(std::string text, const std::string& interface = {});
    void on_heartbeat();
    void wait_heartbeat();
    void wait_overheard();
    void consume_overheard();
    void sweep_lost_events();
    /// Looks at every sleeper for what the rings may not have told: releases, and triggers after `since`; nullopt: of
    /// hosts of which something was lost since the last look.
    void sweep(std::optional<Instant> since, std::uint32_t reason);
    void sweep_lost_trigger(const Host& host, Instant at, std::uint32_t reason);
    Instant last_seen(HostId host) const;
    std::uint32_t lost_of(HostId host) const;
    std::optional<Refusal> refusal_of(const Trigger& trigger, const Host& host) const;

    // names, services and groups
    Discovery::Hooks discovery_hooks();
    Steering::Hooks steering_hooks();
    /// The host is answered for, or with what has changed of it.
    void speak(const Host& host, const Segment& segment);
    void silence(HostId host, bool goodbye);
    void rearm_discovery();
    std::optional<Surroundings> surroundings(SegmentId segment);

    // interfaces
    void wait_links();
    void read_links();
    void record_bridges();
    void on_link_change(const LinkChange& change);
    void update_port(Port& port, const Link& link);
    void begin_service(Port& port, const Link& link);
    /// `name`: what the interface is called now; empty: it is gone.
    void end_service(Port& port, const std::string& name, const std::string& why);
    void lose_link(const Port& port, const std::string& why);
    void regain_link(const Port& port);
    void record_port(control::EventKind kind, const Port& port, std::string_view text);
    /// What the gateway sends from on the segment, if it is not in a host's name.
    SourceAddresses sources(const Segment& segment);

    // effects
    Result<> apply_request(Result<Effects> effects);
    /// All of them, whatever fails; failures are recorded, the first one comes back.
    Result<> apply(const Effects& effects, const Cause& cause);
    Result<> apply(const Effect& effect, const Cause& cause);
    void react(const Effects& effects, const Cause& cause);
    void rearm();
    [[nodiscard]] bool wakes_at_once(const Host& host, const Segment& segment) const;
    fastpath::HostEntry entry_of(const Host& host, const Segment& segment) const;
    MagicRoute magic_route(const Segment& segment);
    void plan(const Host& host, const Segment& segment);
    /// `stage`: ARMING, without addresses, ASLEEP or UNANSWERED.
    Result<> watch(const Host& host, const Segment& segment, pz_stage stage);
    void forget(HostId host);
    void drop_held(const Effect& effect);
    MacAddress answer_mac(const Host& host, const Segment& segment) const;
    void announce(const Host& host, const Segment& segment, bool once);
    /// Switches that snoop go on sending here what is multicast to the host's solicited-node groups.
    void report_groups(const Host& host, const Segment& segment);
    void defend(const Host& host, const Segment& segment, const IpAddress& address);
    void hand_back(const Host& host, const Segment& segment, const IpAddress& address);
    /// For a host that leaves proxy care without being back: nobody is left with the gateway's MAC.
    void hand_back_all(const Host& host);
    void send_magic(const Host& host, const Segment& segment);
    /// The table hears of it if nothing could be sent.
    void probe(const Host& host, const Segment& segment, const IpAddress& address);
    /// The MAC that the host came back with, else its first.
    MacAddress owner_mac(const Host& host) const;
    void deliver(const Host& host, const Segment& segment, const IpAddress& address);
    /// Recorded if it did not leave.
    void send(const Segment& segment, ByteView frame, std::string_view what);
    /// The same for probes, of which there are a lot when many hosts are looked for: they wait for more of them, so
    /// that one call of the kernel sends all, but for nothing else, and no longer than until the effects of an event
    /// are applied.  Announcements do not: such bursts would take the room from the answers.
    void send_probes();
    /// The table hears that nobody was asked; `for_now`: there was no room for the probe.
    void not_probed(HostId host, const IpAddress& address, const std::string& interface, std::string_view why,
                    bool for_now);
    /// ARP or an NA in the name of a host: with our mark, so that nobody takes it for the host's.
    void send_in_name(const Segment& segment, Bytes frame, std::string_view what);
    /// The port's interface is there.
    void join(const Port& port, const MacAddress& mac);
    void join_all(const Port& port);
    void accept(const Segment& segment, HostId host, const MacAddress& mac);
    /// The gateway's own stack needs not ask for what we answer for.
    void pin_neighbours(const Host& host, const Segment& segment, const std::vector<IpAddress>& addresses);
    /// It finds out by itself again; with a MAC: the host was heard from, and is there at once.
    void unpin_neighbours(HostId host, const std::optional<IpAddress>& only, const std::optional<MacAddress>& mac);

    boost::asio::io_context& loop_;
    DaemonOptions options_;
    LinkMonitor monitor_; // from before links_ was read, so that no change is missed
    std::vector<Link> links_;
    Instant started_;
    control::Journal journal_;
    PresenceTable table_;
    WakeLog wakes_;
    HoldQueue hold_;
    WakePlans plans_;
    WakeBudgets budgets_;
    std::unique_ptr<fastpath::Fastpath> fastpath_;
    std::unique_ptr<Segments> segments_;
    std::unique_ptr<fastpath::EventRing> overheard_;
    std::unique_ptr<TriggerThread> trigger_thread_;
    boost::asio::steady_timer tick_timer_;
    std::optional<Instant> armed_; // what tick_timer_ waits for
    boost::asio::steady_timer heartbeat_timer_;
    boost::asio::posix::stream_descriptor overheard_ready_;
    boost::asio::posix::stream_descriptor links_ready_;

    /// What the wire told about a host.
    struct Seen {
        MacAddress mac; // the MAC that the owner came back with ...
        std::uint32_t mac_generation = 0; // ... from this stay in proxy care
        std::uint32_t lost = 0; // events that did not fit, as far as they were looked for
        std::uint32_t nic_answers = 0; // generation in which its NIC answered by itself
        std::vector<MacAddress> accepted; // joined on the port for it
        const Port* joined_on = nullptr;
        std::map<IpAddress, int> neighbours; // our permanent entries, by address: the device
        std::map<control::EventKind, control::Sparing> sparing;
        control::Sparing learned; // each is a row to write
        std::optional<Instant> name_conflict; // when it was woken for one
    };
    std::unordered_map<HostId, Seen> seen_; // of a host that nothing was told of: none
    /// What an interface was told to accept.  Group MACs are shared between hosts.
    struct Joins {
        std::map<MacAddress, int> macs; // for so many hosts
        bool all = false; // for good: there were more than it would filter
    };
    std::map<const Port*, Joins> joins_;
    std::size_t pinned_ = 0; // neighbour entries
    std::vector<Bytes> probes_; // for send_probes(), all of one port ...
    std::vector<std::pair<HostId, IpAddress>> probed_; // ... and whom each of them asks for what
    const Port* probes_port_ = nullptr;
    int handed_over_ = 0; // of these to the stack, since the last heartbeat
    std::uint64_t ring_full_ = 0;
    std::map<std::string, control::Sparing> failures_; // by interface; what concerns none: empty
    control::Sparing non_wakes_;
    std::map<SegmentId, control::Sparing> routers_;
    Neighbours neighbours_;
    std::map<SegmentId, SourceAddresses> sources_; // since an interface or an address changed last
    std::map<SegmentId, std::vector<Network>> networks_; // the same
    Discovery discovery_;
    std::unique_ptr<Steering> steering_;
    boost::asio::steady_timer discovery_timer_;
    std::optional<Instant> discovery_armed_; // what it waits for
    std::atomic<int> notices_ = 0; // posted and not handled yet
    FileHosts file_hosts_;
    /// Names of stored records that are not in the table, and why.
    std::map<std::string, std::string, std::less<>> not_restored_;
    std::optional<DurableState::Change> change_; // made, not committed yet
    std::unique_ptr<Import> import_;
    boost::asio::steady_timer import_timer_;
    bool leaves_; // at the start: a daemon before left programs that answer, and they stay if this one cannot follow
    std::optional<Instant> left_at_; // the last heartbeat of the daemon whose work goes on; until that is swept
    std::unique_ptr<DurableState> state_; // its last batch is read from everything else
};

} // namespace pz
