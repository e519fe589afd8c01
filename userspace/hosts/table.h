// SPDX-License-Identifier: Apache-2.0
// The presence table: every host's record and state.  Plain functions of (event, now); what has to happen in the
// kernel and on the wire comes back as effects, in the order in which they must be applied.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include <boost/container/small_vector.hpp>
#include <boost/flyweight.hpp>
#include <boost/flyweight/set_factory.hpp>

#include <proxzzy/abi/events.h>
#include <proxzzy/abi/maps.h>

#include "base/clock.h"
#include "base/result.h"
#include "hosts/host_index.h"
#include "hosts/rare.h"
#include "hosts/record.h"

namespace pz {

/// Something that the daemon must do for a host because of a transition.
struct Effect {
    enum class Kind : std::uint8_t {
        watch,          // kernel: owner MACs and policy, stage ARMING; no address is answered for yet
        watch_awake,    // kernel: the same with stage WATCHED
        serve,          // kernel: addresses too, stage ASLEEP
        serve_unanswered, // kernel: the same with stage UNANSWERED: nothing is answered for the addresses
        stage_waking,   // kernel: stage WAKING
        stage_unanswered, // kernel: stage UNANSWERED: the addresses stay, but nothing is answered
        stop_answering, // kernel: `address` leaves the index (nullopt: all of the host's addresses)
        forget,         // kernel: nothing of this host remains, whatever was there
        announce,       // wire: gratuitous ARP or unsolicited NA for every address (design §5)
        defend,         // wire: one announcement of `address`, with the MAC that answers carry (RFC 5227 §2.4 b)
        hand_back,      // wire: after identity proxy, neighbours are told the host's own MAC for `address`
        refresh, // wire: one frame with the host's MAC (identity host) and the MLD report, against switch ageing
        send_magic, // wire: Magic Packet in every configured form
        probe, // wire: ask for `address` from the gateway's own addresses
        deliver, // held packets to `address` go out
        drop_held, // held packets are dropped; `address` nullopt: all
        notice, // something to tell about the host: `notice`, and `text` in words
        edge, // the host went `from` one state `to` another, because of `text`
    };
    enum class Notice : std::uint8_t {
        none,
        sleep_abandoned,
        unreachable,
        address_not_back,
        address_expired,
        address_learned,
        address_forgotten,
        not_learned, // another host has it
        no_address, // agentless, and none was learned yet
    };
    Kind kind = Kind::notice;
    HostId host = 0;
    std::optional<IpAddress> address = std::nullopt;
    std::string text = {};
    Notice notice = Notice::none;
    HostState from = HostState::awake;
    HostState to = HostState::awake;
};
using Effects = std::vector<Effect>;

/// "ARP probe", "duplicate address detection", ...
std::string_view name_of(pz_sign sign);

/// What a claim of an address by another node calls for (RFC 5227 §2.4 b).
enum class Defence : std::uint8_t {
    none,   // it is not answered for
    defend, // say once whose it is
    let_go, // the claimant does not give way: stop answering
    forget, // the host was only seen to use it, and now another node is: stop answering
};

/// Time constants of the design's sections 5 to 7.
struct Timers {
    Duration arming_silence = std::chrono::seconds(3);
    Duration arming_limit = std::chrono::seconds(60);
    Duration base_line = std::chrono::seconds(1); // for the NIC to answer the probes at the beginning of `asleep`
    Duration announce_interval = std::chrono::seconds(2); // the second announcement (RFC 5227 §3)
    Duration switch_refresh = std::chrono::seconds(240);
    Duration defend_interval = std::chrono::seconds(10); // DEFEND_INTERVAL (RFC 5227 §1.1)
    Duration magic_first_retry = std::chrono::seconds(1); // then doubled ...
    Duration magic_max_retry = std::chrono::seconds(16); // ... up to this
    Duration wake_limit = std::chrono::seconds(60); // then `unreachable`
    Duration sought_first_retry =
        std::chrono::seconds(30); // unreachable: the next Magic Packet for who looks for it ...
    Duration sought_max_retry = std::chrono::minutes(15); // ... doubled up to this
    Duration waking_probe = std::chrono::milliseconds(500); // for a host that resumes without saying a word
    /// After its link is back, a sleeper's answer to these probes is awaited for so long: by then the gateway's own
    /// IPv6 addresses are past duplicate address detection too, and it can ask.
    Duration resume_silence = std::chrono::seconds(3);
    Duration resumed_announce = std::chrono::seconds(1); // then doubled: after 1, 3, 7, 15, 31 and 63 s
    Duration probe_interval = std::chrono::milliseconds(200); // after the sign of life
    Duration address_limit = std::chrono::seconds(10); // after the sign of life; then address-not-back
    /// So long before an address ends its host is woken to renew it, or a quarter of its validity if that is less.
    Duration renew_ahead = std::chrono::minutes(2);
    /// RFC 8981 §3.8 TEMP_VALID_LIFETIME: routers extend no temporary address beyond this.
    Duration temporary_limit = std::chrono::hours(48);
    /// By then the owner's probing and its first announcement are over (RFC 5227 §1.1: at most 7 s).
    Duration hand_back = std::chrono::seconds(8);
    /// An agentless host that is awake and was silent for so long is probed, and again after as long.
    Duration check_interval = std::chrono::seconds(12);
    /// A learned address that was not used for so long is asked for.
    Duration use_lasts = std::chrono::hours(1);
};

/// An agentless host that left so many probes unanswered is asleep, and one that is there has left a learned address.
inline constexpr int silent_probes = 3;

/// An address that is not configured, which the host was seen to use.
struct LearnedAddress {
    IpAddress ip;
    Instant used;
    std::optional<Instant> asked = std::nullopt; // since then, last
    int unanswered = 0; // so often, while the host was there
    bool can_ask = true; // the gateway has an address of that family
    bool operator==(const LearnedAddress&) const = default;
};

struct TableOptions {
    std::uint32_t max_hosts = 65'536;
    std::uint32_t max_addresses4 = 131'072;
    std::uint32_t max_addresses6 = 262'144;
    std::uint32_t max_macs = 131'072;
    Identity default_identity = Identity::host;
    Timers timers = {};
};

/// An address that is configured for a host.
struct OwnAddress {
    IpAddress ip;
    bool temporary = false;
};

/// What the record knows of a host that most hosts have nothing of.
struct HostExtra {
    /// Of Host::addresses, one each; nullopt = for ever.  Empty if all of them are.
    std::vector<std::optional<std::chrono::seconds>> valid_for;
    std::vector<std::optional<Instant>> valid_until;
    std::vector<LearnedAddress> learned; // none of Host::addresses
    std::vector<IpAddress> awaited; // addresses with held packets, not yet proven
    std::vector<IpAddress> proven; // addresses that the owner used since its release
    std::vector<IpAddress> expired; // no longer answered for
    std::map<IpAddress, Instant> claims; // asleep, waking: when another node last claimed the address
    /// Not answered for, since another node uses them, until the owner is seen to do so; they are asked for as before.
    std::vector<IpAddress> let_go;
    /// awake: when the addresses not proven by then are handed back; arming: they are if it does not fall asleep.
    std::optional<Instant> hand_back;
    Duration last_wake_latency{};
    bool told_no_address = false;
    bool operator==(const HostExtra&) const = default;
};

/// Of a deadline: there is none.
inline constexpr Instant never = Instant::max();

/// What is under way with a host; meaningless in states that do not need it, and nothing is while a sleeper sleeps.
struct HostActivity {
    Instant state_deadline{};
    Instant last_owner_frame{};
    Instant next_magic{};
    Duration magic_retry{};
    Instant next_announce{};
    Duration announce_interval{}; // to the one after that, doubled each time
    int announcements_left = 0;
    /// asleep, waking: the host may have come back unseen; until then it is not answered for.  For ever: it was not
    /// asked yet, since there is no link, or tick() was not called since, or no probe could be sent.
    std::optional<Instant> resumes;
    std::size_t asked = 0; // while it resumes: the probes of the last round, less those that could not be sent
    /// As Host::due, for what waits while anything else is due for any host: announcements, and the probes of a host
    /// that resumes after the first ones.
    Instant due_later = never;
    Instant triggered{};
    Instant held_until{}; // waking: packets that wait are dropped then; that is before state_deadline after a lost link
    Instant next_probe{};
    /// awake, agentless or learning, watched by the kernel: when it is looked at next, and the probes since it last
    /// spoke.
    std::optional<Instant> next_check;
    int unanswered = 0;
    std::size_t probes = 0; // in all, or while it resumes since it was asked for all addresses: whose turn it is
    std::size_t not_asked = 0; // addresses of this turn that could not be asked for ...
    bool asks_again = false; // ... and the next one is asked for in the same turn
};

/// One host.  Read by everybody, changed by PresenceTable only.  There may be millions: what few hosts have is apart,
/// and what many have alike is there once.
struct Host {
    HostId id = 0;
    std::uint32_t generation = 0; // new for each time the host enters proxy care
    SegmentId segment = PZ_NO_SEGMENT;
    HostState state = HostState::awake;
    Identity identity = Identity::host;
    bool woken_to_renew = false; // once for each validity
    bool wake_wanted = false; // arming, asleep: to be woken as soon as it sleeps
    std::string name;
    boost::container::small_vector<MacAddress, 1> macs;
    std::vector<OwnAddress> addresses;
    boost::flyweight<HostOptions, boost::flyweights::set_factory<>> options;
    Instant since;
    boost::flyweight<std::string> since_reason;
    Instant configured; // valid_for counts from here
    std::uint64_t wakes = 0;
    Instant next_refresh{}; // asleep
    Instant due = never; // when tick() looks at the host next
    Rare<HostOffers> offers;
    Rare<HostExtra> extra;
    Rare<HostActivity> activity;

    /// As it was set.
    [[nodiscard]] HostConfig config() const;
    /// All of it anew.
    void configure(const HostConfig& config);
};

/// Those that are configured, then those that were learned.
std::vector<IpAddress> held_addresses(const Host& host);
/// Whether packets to `ip` may wait for the host: it is one of its addresses, and has not expired.
bool is_served(const Host& host, const IpAddress& ip);
/// The addresses that the kernel answers for while the host is asleep or waking: served, and not let go.
std::vector<IpAddress> answered_addresses(const Host& host);

class PresenceTable {
public:
    explicit PresenceTable(TableOptions options) : options_(std::move(options)) {}

    /// Adds a host, or with `replace` changes the awake one of that name if there is one.  Refuses, naming the field:
    /// an invalid configuration, a name, MAC, address, host name or service that another host of the segment has, a
    /// full table, a host that is not awake or still waits for held packets to be delivered.  On an error the table is
    /// as before.
    Result<HostId> set(const HostConfig& config, SegmentId segment, bool replace, Instant now);
    /// A host as an earlier daemon left it, and what its kernel programs do with it in this generation, or none if they
    /// do not run: nobody watched, so it is looked for, by tick(), before it is answered for.  Of `record` what is
    /// meaningful in its state has to be there: the configuration, the segment, id, generation, state, since,
    /// valid_until, let_go ... Refuses what set() refuses for a new host, but for what validate() does: that is looked
    /// at before the host is made of a configuration.  Learned addresses that are others' meanwhile are left out.
    Result<Effects> restore(Host record, pz_stage stage, Instant now);
    /// Whether set() will take it, once make_way() was called.
    Result<> check(const HostConfig& config, SegmentId segment, bool replace);
    /// What is configured for one host goes before what was learned of others, which is forgotten.
    Effects make_way(const HostConfig& config, SegmentId segment);
    /// No generation up to this one is given out.
    void skip_generations(std::uint32_t last) { last_generation_ = std::max(last_generation_, last); }
    /// In any state.  The record is gone when this returns, the effects name its id.
    Result<Effects> remove(std::string_view name);

    [[nodiscard]] const Host* find(std::string_view name) const;
    /// Errc::not_found, in words for who asked.
    [[nodiscard]] Result<const Host*> named(std::string_view name) const;
    [[nodiscard]] const Host* find(SegmentId segment, const IpAddress& ip) const;
    [[nodiscard]] const Host* get(HostId id) const;
    [[nodiscard]] std::vector<std::string> names() const;
    [[nodiscard]] std::size_t size() const { return by_name_.size(); }
    /// Hosts have ids below this one.
    [[nodiscard]] HostId end_of_ids() const { return static_cast<HostId>(hosts_.size()); }
    [[nodiscard]] std::size_t in_care() const; // not awake

    /// R32.  A host that is already arming or asleep: no effect, no error.  Packets still held are dropped.
    Result<Effects> request_sleep(std::string_view name, Instant now);
    /// R32.  Packets still held are delivered as after a sign of life.  A host that is awake: no effect, no error.
    Result<Effects> request_release(std::string_view name, Instant now);
    /// R35.  Errc::busy for a host that is awake.
    Result<Effects> request_wake(std::string_view name, Instant now);

    /// A trigger from the kernel.  `held` is the destination of a packet that is in the hold queue, if any;
    /// `magic_sent`: the trigger thread already sent the first Magic Packet.  A stale generation changes no state.
    /// A packet held too late is never left in the queue: after the release of the same generation it joins those
    /// that wait for their address (the kernel watches again if it had already forgotten the host), or is delivered at
    /// once if that address is proven; in any other case there is an effect that drops it.
    Effects on_trigger(HostId id, std::uint32_t generation, std::optional<IpAddress> held, bool magic_sent,
                       Instant now);
    /// A release or proof event of the kernel; `address` is the record's address that the owner used, if any.  Proofs
    /// by reply of a NIC that answers for its sleeping host are the caller's to leave out.
    Effects on_owner(HostId id, std::uint32_t generation, pz_event_kind kind, pz_sign sign,
                     std::optional<IpAddress> address, Instant now);

    /// The owner of an awake host says by ARP or Neighbour Discovery, as `mac`, that it has `address`; `answered`: when
    /// it was asked, which is no reason to learn the address of a host that may answer for others.
    Effects on_use(HostId id, SegmentId segment, const MacAddress& mac, const IpAddress& address, bool answered,
                   Instant now);

    /// Somebody looks for a host that did not wake: a Magic Packet and a probe, if the last ones are long enough ago.
    Effects on_sought(HostId id, std::uint32_t generation, Instant now);

    /// A Router Advertisement on the segment gives the /64 `prefix` this valid lifetime, nullopt = for ever: RFC 4862
    /// §5.5.3 e, for every address that is in it and has a validity.  Returns the hosts whose addresses changed.
    std::vector<HostId> on_prefix(SegmentId segment, const IpAddress& prefix, std::optional<std::chrono::seconds> valid,
                                  Instant now);

    /// The link of the segment is lost: its hosts keep their states, nothing is sent there and no timer runs, but those
    /// of packets held and of addresses.  The kernel watches sleepers and answers for none.  Also for a segment that
    /// has no link from the start.
    Effects link_lost(SegmentId segment);
    /// The link is back: timers start again, sleepers are looked for by tick() and then answered for as before.
    Effects link_back(SegmentId segment, Instant now);

    /// A probe that was asked for could not be sent.  That nobody answers says nothing of that address, if it was
    /// learned, nor of an agentless host: its next address is asked for; true: none could be, and it stays what it is,
    /// awake, or not answered for.  The others said that they sleep; only if there was no room, `for_now`, they are
    /// asked again before they are answered for too.
    bool not_probed(HostId id, const IpAddress& address, bool for_now = false);

    /// Another node claims `address` by ARP or a Neighbour Advertisement (R24).  The first claim is defended; after a
    /// second one within DEFEND_INTERVAL the address is let go, and the host is woken to see to it.
    Effects on_conflict(HostId id, std::uint32_t generation, const IpAddress& address, Instant now);
    /// What on_conflict() would do.
    [[nodiscard]] Defence defence(const Host& host, const IpAddress& address, Instant now) const;

    /// What is due, for at most `hosts_at_a_time`: next_deadline() stays in the past while there are more.  What may
    /// wait (HostActivity::due_later) comes when nothing else is due.  `last_seen` reads pz_live: when the kernel last
    /// saw a frame of the owner.
    static constexpr std::size_t hosts_at_a_time = 256;
    Effects tick(Instant now, const std::function<Instant(HostId)>& last_seen);
    /// When tick() wants to be called next; nullopt = nothing is pending.
    [[nodiscard]] std::optional<Instant> next_deadline() const;

private:
    [[nodiscard]] std::size_t room(bool v4) const { return v4 ? options_.max_addresses4 : options_.max_addresses6; }
    [[nodiscard]] const HostIndex& index_of(const IpAddress& ip) const {
        return ip.is_v4() ? by_address4_ : by_address6_;
    }
    HostIndex& index_of(const IpAddress& ip) { return ip.is_v4() ? by_address4_ : by_address6_; }
    Host& at(HostId id) { return *hosts_[id]; }
    [[nodiscard]] const Host* find(SegmentId segment, const MacAddress& mac) const;
    [[nodiscard]] const Host* find_label(SegmentId segment, std::string_view label) const;
    [[nodiscard]] const Host* find_service(SegmentId segment, std::string_view instance, std::string_view type) const;
    HostId take_id(std::optional<HostId> wanted);
    Result<Host*> settable(const HostConfig& config, SegmentId segment, bool replace);
    template <class Config> // HostConfig, or Host, which has one
    Result<> check_room(const Config& config, SegmentId segment, const Host* replaced, bool makes_way);
    template <class Config>
    Effects forget_others(const Config& config, SegmentId segment);
    [[nodiscard]] Result<> check_offers(const HostOffers& offers, SegmentId segment, const Host* replaced) const;
    template <class Visit>
    void each_key(const Host& host, const Visit& visit);
    void make_room();
    void index(const Host& host);
    void unindex(const Host& host);
    Host* find_host(std::string_view name);
    Result<Host*> host_named(std::string_view name);
    void learn(Host& host, LearnedAddress address);
    void begin_care(Host& host, Instant now, Effects& effects);
    void check_awake(Host& host, Instant now, Instant last_seen, Effects& effects);
    void check_silent(Host& host, Instant now, Effects& effects);
    void check_learned(Host& host, Instant now, Effects& effects);
    bool ask_for(Host& host, IpAddress ip, Instant now, Effects& effects);
    void forget_learned(Host& host, IpAddress ip, std::string_view why, Effects& effects);
    [[nodiscard]] Instant asked_next(const Host& host, const LearnedAddress& learned) const;
    [[nodiscard]] bool has_room_for(const IpAddress& ip) const;
    Host* current(HostId id, std::uint32_t generation);
    void run(Host& host, Instant now, const std::function<Instant(HostId)>& last_seen, Effects& effects);
    void schedule(Host& host);
    struct Queue;
    void put(Queue& queue, Instant& due, Instant at, HostId id);
    void drop_stale(Queue& queue);
    [[nodiscard]] bool has_link(const Host& host) const { return !without_link_.contains(host.segment); }
    void resume(Host& host, Instant now, Effects& effects);
    void resume_care(Host& host, pz_stage stage, Instant now, Effects& effects);
    void run_without_link(Host& host, Instant now, Effects& effects);
    void keep_off_the_wire(const Host& host, Effects& effects) const;

    TableOptions options_;
    std::vector<std::unique_ptr<Host>> hosts_; // by id; null: free
    std::vector<HostId> free_ids_; // a heap, the lowest first; some may have been taken since
    std::uint32_t last_generation_ = 0;
    HostIndex by_name_;
    HostIndex by_mac_; // with the segment, as the others below
    HostIndex by_address4_;
    HostIndex by_address6_;
    HostIndex by_offer_; // first labels of names, and service instances
    std::set<std::tuple<SegmentId, IpAddress, HostId>> ending_; // IPv6 addresses of hosts of which one has an end
    using Deadline = std::pair<Instant, HostId>;
    /// A heap, the next one first; others may be stale, and are no longer what `due` says.
    struct Queue {
        Instant (*due)(const Host& host);
        std::vector<Deadline> deadlines = {};
    };
    Queue soon_{[](const Host& host) { return host.due; }};
    Queue later_{[](const Host& host) { return host.activity->due_later; }};
    std::set<SegmentId> without_link_;
};

} // namespace pz
