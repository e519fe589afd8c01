// SPDX-License-Identifier: Apache-2.0
#include "daemon/daemon.h"

#include <net/if.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>

#include <boost/asio/post.hpp>

#include <spdlog/fmt/fmt.h>
#include <spdlog/spdlog.h>

#include "daemon/explain.h"
#include "daemon/service_manager.h"
#include "net/describe.h"
#include "net/router_advertisement.h"

namespace pz {

namespace {

constexpr Duration heartbeat_interval = std::chrono::seconds(1);
/// So many notices of the trigger thread wait for the loop before those that only tell are left out.
constexpr int max_notices = 1024;
/// So many permanent neighbour entries are made: each is half a kilobyte of the kernel's.
constexpr std::size_t max_pinned = 65'536;
/// So many in a second become entries of the stack's own, of which it keeps 1,024 by default (gc_thresh3): to make room
/// for more takes it milliseconds for each, and to ask for the address is no harm.
constexpr int max_handed_over = 256;
/// A host that could not settle a conflict of its name is not woken for it again before.
constexpr Duration name_conflict_interval = std::chrono::hours(1);

Instant now() {
    return std::chrono::steady_clock::now();
}

fastpath::Options fastpath_options(const DaemonOptions& options) {
    const auto table = table_options(options);
    return {.bpffs = options.bpffs,
            .max_hosts = table.max_hosts,
            .max_addresses4 = table.max_addresses4,
            .max_addresses6 = table.max_addresses6,
            .max_macs = table.max_macs,
            .answer_without_daemon = options.answer_without_daemon,
            .magic_ports = options.magic_ports};
}

/// Refuses what XDP and AF_PACKET cannot serve, before anything is touched.
Result<> check_servable(const Link& link) {
    if (!link.is_ethernet)
        return fail(Errc::invalid, "--interface '" + link.name + "' is not an Ethernet interface", "interface");
    return {};
}

/// Nanoseconds since 1970 of a point on our clock.
std::uint64_t wall_time(Instant at) {
    const auto wall = std::chrono::system_clock::now().time_since_epoch();
    return static_cast<std::uint64_t>((std::chrono::duration_cast<Duration>(wall) - (now() - at)).count());
}

/// What of the host's record a trigger matched.
std::string rule_of(const pz_event& event, const Host& host) {
    if (event.reason == PZ_REASON_TRIGGER_MAGIC)
        return "magic";
    if (event.reason == PZ_REASON_TRIGGER_ECHO)
        return "echo";
    return to_string(find_wake_rule(host.options, *host.offers, event.protocol, event.port)
                         .value_or(WakeRule{.protocol = IPPROTO_TCP}));
}

control::EventKind kind_of(Effect::Notice notice) {
    switch (notice) {
    case Effect::Notice::sleep_abandoned:
        return control::EventKind::sleep_abandoned;
    case Effect::Notice::unreachable:
        return control::EventKind::unreachable;
    case Effect::Notice::address_not_back:
        return control::EventKind::address_not_back;
    case Effect::Notice::address_expired:
        return control::EventKind::address_expired;
    case Effect::Notice::address_learned:
        return control::EventKind::address_learned;
    case Effect::Notice::address_forgotten:
        return control::EventKind::address_forgotten;
    case Effect::Notice::not_learned:
        return control::EventKind::not_learned;
    case Effect::Notice::no_address:
    case Effect::Notice::none:
        break;
    }
    return control::EventKind::failed;
}

/// The network can cause it as often as it likes.
bool is_told_sparingly(Effect::Notice notice) {
    using enum Effect::Notice;
    return notice == address_learned || notice == address_forgotten || notice == not_learned;
}

std::string_view why_not_held(const TriggerNotice& notice) {
    switch (notice.refusal) {
    case HoldRefusal::host_full:
        return "as much as may be is held for the host already";
    case HoldRefusal::all_full:
        return "as much as may be is held for all hosts together";
    case HoldRefusal::duplicate_syn: // it waits already
    case HoldRefusal::none:
        break;
    }
    // a Magic Packet is nobody's first packet
    return notice.frame.empty() && notice.event.reason != PZ_REASON_TRIGGER_MAGIC ? "it is too long, or several in one"
                                                                                  : "";
}

/// What the wake log has in common with the event.
control::Wake wake_of(const control::Event& event, const Cause& cause) {
    return {.time_ns = event.time_ns,
            .outcome = {},
            .reason = event.reason,
            .sentence = event.sentence,
            .rule = event.rule,
            .decided_by = event.decided_by,
            .packet = event.packet,
            .frame = {Bytes(cause.frame.begin(), cause.frame.end())},
            .frame_length = cause.frame_length};
}

constexpr std::size_t max_probes = 32; // sent by one call of the kernel

bool can_send(const Segment& segment) {
    return segment.port->socket && Segments::reaches(segment);
}

/// Says to everybody that `address` is at `mac`; `override_flag` counts for IPv6.
Bytes claim_of(const IpAddress& address, const MacAddress& mac, bool override_flag, TagStack tags) {
    return address.is_v4() ? build_arp_announcement(mac, address, tags)
                           : build_unsolicited_na(mac, mac, address, override_flag, tags);
}

std::uint64_t milliseconds(Duration duration) {
    return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(duration).count());
}

} // namespace

Daemon::Daemon(boost::asio::io_context& loop, DaemonOptions options, LinkMonitor monitor, std::vector<Link> links,
               std::unique_ptr<fastpath::Fastpath> fastpath, std::unique_ptr<Store> store)
    : loop_(loop), options_(std::move(options)), monitor_(std::move(monitor)), links_(std::move(links)),
      started_(now()), table_(table_options(options_)), hold_(HoldLimits{}), fastpath_(std::move(fastpath)),
      tick_timer_(loop), heartbeat_timer_(loop), overheard_ready_(loop), links_ready_(loop),
      discovery_(discovery_hooks()), steering_(std::make_unique<Steering>(loop, *fastpath_, steering_hooks())),
      discovery_timer_(loop), file_hosts_(file_table()), import_timer_(loop),
      leaves_(fastpath_->last_heartbeat().has_value()),
      state_(std::make_unique<DurableState>(
          loop, std::move(store),
          DurableState::Hooks{.row = [this](const std::string& name) { return row_of(name); },
                              .put_back = [this](const std::string& name,
                                                 const std::optional<StoredHost>& before) { put_back(name, before); },
                              .failed = [this](const Error& error) { record_failure(error.message); }})) {}

Result<std::vector<Link>> Daemon::find_interfaces(const DaemonOptions& options) {
    std::vector<Link> links;
    links.reserve(options.interfaces.size());
    for (const auto& name : options.interfaces) {
        links.push_back(PZ_TRY(find_link(name)));
        PZ_TRY(check_servable(links.back()));
    }
    PZ_TRY(check_together(links));
    return links;
}

Result<std::unique_ptr<Daemon>> Daemon::load(boost::asio::io_context& loop, DaemonOptions options) {
    auto monitor = PZ_TRY(LinkMonitor::open());
    auto links = PZ_TRY(find_interfaces(options));
    auto store = PZ_TRY(Store::open(options.state));
    auto fastpath = PZ_TRY(fastpath::Fastpath::open(fastpath_options(options)));
    return std::unique_ptr<Daemon>(new Daemon(loop, std::move(options), std::move(monitor), std::move(links),
                                              std::move(fastpath), std::move(store)));
}

Result<> Daemon::serve() {
    // who fails below shall not seem to have watched over what goes on answering
    PZ_TRY(fastpath_->heartbeat(fastpath_->last_heartbeat().value_or(now())));
    segments_ = std::make_unique<Segments>(*fastpath_);
    for (const auto& link : links_) {
        PZ_TRY(segments_->add(link));
        if (!link.up)
            lose_link(segments_->ports().back(), "no link yet: it is served as soon as it has one");
    }
    restore_hosts(); // before the first frame that our programs see
    PZ_TRY(fastpath_->pin_maps());
    for (Port& port : segments_->ports()) {
        PZ_TRY(segments_->attach(port));
        record_port(control::EventKind::interface, port,
                    fmt::format("{}, {}", attachment_of(port), port.link.mac.to_string()));
    }
    record_bridges();
    fastpath_->drop_other_links();
    for (HostId id = 0; id < table_.end_of_ids(); id++) { // those that are served since before there was a filter
        if (id % PresenceTable::hosts_at_a_time == 0)
            service_manager::alive();
        if (const Host* host = table_.get(id); host != nullptr &&
                                               (host->state == HostState::asleep || host->state == HostState::waking) &&
                                               !host->activity->resumes)
            pin_neighbours(*host, *segments_->find(host->segment), answered_addresses(*host));
    }

    overheard_ = std::make_unique<fastpath::EventRing>(PZ_TRY(fastpath::EventRing::open(
        fastpath_->overheard_fd(), [this](const pz_event& event, ByteView frame) { on_overheard(event, frame); })));
    overheard_ready_.assign(overheard_->poll_fd());
    trigger_thread_ = PZ_TRY(TriggerThread::start(
        fastpath_->triggers_fd(),
        {.plans = plans_, .budgets = budgets_, .hold = hold_, .no_wake_from = options_.no_wake_from},
        [this](TriggerNotice notice) {
            if (!notice.matters && notices_ >= max_notices)
                return; // the kernel counted it
            ++notices_;
            boost::asio::post(loop_, [this, notice = std::move(notice)] {
                --notices_;
                on_notice(notice);
            });
        }));
    links_ready_.assign(monitor_.fd());
    wait_overheard();
    wait_links();
    wait_heartbeat();
    if (left_at_ && fastpath_->has_new_rings()) // nobody else tells what happened meanwhile
        sweep(left_at_, PZ_REASON_COUNT);
    leaves_ = false;
    return fastpath_->heartbeat(now());
}

Daemon::~Daemon() {
    take_off();
}

std::vector<Fd> Daemon::leave() {
    leaves_ = true;
    std::vector<Fd> kept;
    for (const Port& port : segments_->ports()) {
        if (!port.socket)
            continue;
        if (auto fd = port.socket->inheritable())
            kept.push_back(*std::move(fd));
        else
            record_failure(fd.error().message, port.link.name);
    }
    return kept;
}

void Daemon::take_off() {
    trigger_thread_.reset();
    if (overheard_ready_.is_open())
        overheard_ready_.release(); // the descriptor is the ring's
    if (links_ready_.is_open())
        links_ready_.release(); // and this one the monitor's
    overheard_.reset();
    discovery_timer_.cancel();
    steering_->close();
    if (leaves_ && segments_)
        segments_->leave(); // the kernel goes on looking at tags
    if (!leaves_)
        fastpath_->detach_all();
    state_.reset(); // may wait for the disk
    if (!leaves_ && segments_)
        for (HostId id = 0; id < table_.end_of_ids(); id++)
            if (const Host* host = table_.get(id); host != nullptr)
                hand_back_all(*host);
    segments_.reset();
}

// ---- requests ----

control::Capabilities Daemon::capabilities() {
    return {.version = PROXZZY_VERSION,
            .options = {"ethernet", "arp", "nd", "echo", "wake-magic", "wake-tcp", "wake-udp", "vlan", "igmp", "mld",
                        "mdns", "llmnr"},
            .max_hosts = options_.max_hosts,
            .max_addresses_per_host = max_addresses,
            .max_rules_per_host = PZ_MAX_RULES,
            .max_macs_per_host = max_macs,
            .max_hostnames_per_host = max_hostnames,
            .max_services_per_host = max_services,
            .max_groups_per_host = max_groups};
}

control::DaemonStatus Daemon::status() {
    control::DaemonStatus status;
    status.version = PROXZZY_VERSION;
    status.uptime_ms = milliseconds(now() - started_);
    status.hosts = static_cast<std::uint32_t>(table_.size());
    status.hosts_asleep = static_cast<std::uint32_t>(table_.in_care());
    const auto held = hold_.usage();
    status.held_packets = static_cast<std::uint32_t>(held.packets);
    status.held_bytes = static_cast<std::uint32_t>(held.bytes);
    status.bpffs = fastpath_->bpffs();
    status.no_wake_from = options_.no_wake_from;
    for (const auto& port : segments_->ports()) {
        status.interfaces.push_back(
            {.name = port.link.name,
             .mode = is_bridge(port) ? "bridge" : std::string(to_string(port.members.front().mode)),
             .mac = port.link.mac,
             .up = port.link.up,
             .served = port.socket != nullptr,
             .egress = port.egress,
             .ports = {}});
        if (is_bridge(port))
            for (const Member& member : port.members)
                status.interfaces.back().ports.push_back({.name = member.link.name,
                                                          .mode = std::string(to_string(member.mode)),
                                                          .up = member.link.up,
                                                          .served = member.attached});
    }
    return status;
}

std::vector<control::Counter> Daemon::stats() {
    std::vector<control::Counter> counters;
    for (const auto& reason : fastpath_->counters())
        counters.push_back({.name = reason.name, .sentence = reason.sentence, .value = reason.frames});
    std::ranges::move(discovery_.counters(), std::back_inserter(counters));
    if (steering_->is_wanted())
        std::ranges::move(steering_->counters(), std::back_inserter(counters));
    return counters;
}

Result<> Daemon::host_set(HostConfig config, bool replace) {
    PZ_TRY(writable(config.name));
    PZ_TRY(not_imported(config.name));
    const std::string name = config.name;
    if (const auto kept = not_restored_.find(name); kept != not_restored_.end() && !replace)
        return fail(Errc::exists,
                    fmt::format("name '{}': there is a record of it in the state file that could not be restored ({}); "
                                "replace it, or remove it first",
                                name, kept->second),
                    "name");
    begin_change(name, true);
    PZ_TRY(set_host(config, replace));
    file_hosts_.forget(name);
    return {};
}

Result<> Daemon::set_host(const HostConfig& config, bool replace) {
    (void)PZ_TRY(put_host(config, replace));
    state_->changed(config.name);
    return {};
}

Result<HostId> Daemon::put_host(const HostConfig& config, bool replace) {
    PZ_TRY(validate(config)); // before its segment is made
    const SegmentId segment = PZ_TRY(segments_->resolve(config.interface, config.vlan));
    if (!has_link(*segments_->find(segment)->port))
        react(table_.link_lost(segment), {}); // it may be new
    auto id = table_.set(config, segment, replace, now());
    if (!id && id.error().code == Errc::exists) { // what another host was seen to use may be in the way
        PZ_TRY(table_.check(config, segment, replace));
        react(table_.make_way(config, segment), {.decided_by = "operator"});
        id = table_.set(config, segment, replace, now());
    }
    rearm();
    return id;
}

Result<control::HostStatus> Daemon::host_get(std::string_view name) {
    const Host* host = PZ_TRY(table_.named(name));
    const std::string* file = file_hosts_.file_of(name);
    std::vector<IpAddress> learned;
    std::ranges::transform(host->extra->learned, std::back_inserter(learned), &LearnedAddress::ip);
    return control::HostStatus{
        .config = host->config(),
        .id = host->id,
        .generation = host->generation,
        .state = host->state,
        .since_reason = host->since_reason.get(),
        .since_ms = milliseconds(now() - host->since),
        .identity = host->identity,
        .wakes = host->wakes,
        .held_packets = static_cast<std::uint32_t>(hold_.usage(host->id).packets),
        .last_wake_latency_us = static_cast<std::uint64_t>(
            std::chrono::duration_cast<std::chrono::microseconds>(host->extra->last_wake_latency).count()),
        .refused = budgets_.refused(host->id),
        .file = file == nullptr ? std::nullopt : std::optional(*file),
        .learned = std::move(learned)};
}

std::vector<std::string> Daemon::host_names() {
    return table_.names();
}

Result<> Daemon::apply_request(Result<Effects> effects) {
    if (!effects)
        return std::unexpected(std::move(effects).error());
    return apply(*effects, {.decided_by = "operator"});
}

Result<> Daemon::host_remove(std::string_view name) {
    PZ_TRY(writable(name));
    PZ_TRY(not_imported(name));
    begin_change(name, true);
    file_hosts_.forget(name);
    return remove_host(name);
}

Result<> Daemon::remove_host(std::string_view name) {
    const Host* host = table_.find(name);
    if (host == nullptr && not_restored_.contains(name))
        return {}; // commit() erases it
    if (host == nullptr)
        return apply_request(table_.remove(name));
    state_->changed(std::string(name));
    wakes_.forget(host->id);
    budgets_.forget(host->id);
    const Host removed = *host;
    silence(host->id, true);
    auto done = apply_request(table_.remove(name));
    hand_back_all(removed); // when the kernel has stopped to say otherwise
    return done;
}

Result<std::vector<control::Wake>> Daemon::wakes(std::string_view name) {
    const Host* host = PZ_TRY(table_.named(name));
    return wakes_.of(host->id);
}

Result<> Daemon::host_sleep(std::string_view name) {
    PZ_TRY(not_imported(name));
    begin_change(name, true);
    auto done = apply_request(table_.request_sleep(name, now()));
    if (!done) // what is acknowledged is programmed; what cannot be programmed is not in our care
        if (auto released = apply_request(table_.request_release(name, now())); !released)
            spdlog::debug("{}", released.error().message);
    return done;
}

Result<> Daemon::host_release(std::string_view name) {
    begin_change(name, false);
    return apply_request(table_.request_release(name, now()));
}

Result<> Daemon::host_wake(std::string_view name) {
    begin_change(name, false);
    return apply_request(table_.request_wake(name, now()));
}

Result<control::Explanation> Daemon::explain(const control::ExplainRequest& request) {
    const ByteView frame = request.frame.bytes;
    const Port* port = PZ_TRY(segments_->port(request.interface));
    if (!port->socket)
        return fail(Errc::not_found,
                    fmt::format("interface '{}' is not there now; it is served when it is back", port->link.name),
                    "interface");
    const auto verdict = PZ_TRY(fastpath_->explain(
        port->link.ifindex, frame, request.egress ? fastpath::Direction::egress : fastpath::Direction::ingress));
    const auto parsed = parse_frame(frame);
    const SegmentId segment = segments_->find(*port, {.outer = parsed.outer_vid, .inner = parsed.inner_vid});
    auto explanation = pz::explain(
        verdict, frame, segment, table_,
        [this](HostId host, std::uint32_t generation) {
            const auto found = seen_.find(host);
            return found != seen_.end() && found->second.nic_answers == generation;
        },
        [&](const pz_event& event, const Host& host) { return refusal_of(trigger_of(event, frame), host); }, now());
    explanation.interface = port->link.name;
    return explanation;
}

/// What the trigger thread would say.
std::optional<Refusal> Daemon::refusal_of(const Trigger& trigger, const Host& host) const {
    auto refusal = refuse_source(host.options.get().policy, options_.no_wake_from, trigger);
    if (!refusal && host.state == HostState::asleep)
        refusal = budgets_.ask(host.id, host.options.get().policy, trigger, now());
    return refusal;
}

Result<> Daemon::detach() {
    trigger_thread_.reset();
    fastpath_->detach_all(); // before the answer, which says that it is done
    loop_.stop(); // nothing that waits for its turn may put anything back
    return {};
}

// ---- hosts that files configure ----

FileHosts::Table Daemon::file_table() {
    return {.set = [this](const HostConfig& config) -> Result<> {
                PZ_TRY(set_host(config, true));
                not_restored_.erase(config.name);
                return {};
            },
            .remove = [this](std::string_view name) { return remove_host(name); },
            .in_care =
                [this](std::string_view name) {
                    const Host* host = table_.find(name);
                    return host != nullptr &&
                           (host->state != HostState::awake || !host->extra->awaited.empty() || host->extra->hand_back);
                }};
}

/// Files are the authority for their hosts.
Result<> Daemon::writable(std::string_view name) const {
    if (const std::string* file = file_hosts_.file_of(name))
        return fail(Errc::permission,
                    fmt::format("name '{}': is configured by {}; change that file and reload proxzzyd", name, *file),
                    "name");
    return {};
}

bool Daemon::set_file_hosts(const HostFiles& files) {
    return record_file_hosts(file_hosts_.apply(files));
}

bool Daemon::record_file_hosts(const FileHosts::Report& report) {
    const auto tell = [this](const std::vector<std::string>& names, const char* text) {
        for (const auto& name : names) {
            control::Event event;
            event.host = name;
            event.text = text;
            journal_.record(control::EventKind::configuration, std::move(event));
        }
    };
    tell(report.added, "added by its file");
    tell(report.changed, "changed by its file");
    tell(report.removed, "removed, its file is gone");
    tell(report.waiting, "is in proxy care and keeps its record until it is awake, then follows its file");
    for (const auto& error : report.errors)
        record_failure(error.message);
    return report.errors.empty();
}

// ---- events ----

control::Event Daemon::event_of(const Host& host, const Cause& cause) const {
    control::Event event;
    if (cause.at != Instant{})
        event.time_ns = wall_time(cause.at);
    event.host = host.name;
    event.host_id = host.id;
    event.generation = host.generation;
    if (const Segment* segment = segments_->find(host.segment); segment != nullptr)
        event.interface = segment->port->link.name;
    if (cause.reason != PZ_REASON_COUNT) {
        event.reason = fastpath::reason_name(cause.reason);
        event.sentence = fastpath::reason_sentence(cause.reason);
    }
    event.rule = cause.rule;
    event.decided_by = cause.decided_by;
    if (!cause.frame.empty())
        event.packet = describe_captured(cause.frame, cause.frame_length);
    return event;
}

void Daemon::record(control::EventKind kind, const Host& host, std::string text, const Cause& cause) {
    auto event = event_of(host, cause);
    event.text = std::move(text);
    journal_.record(kind, std::move(event));
}

void Daemon::record_sparingly(control::EventKind kind, const Host& host, std::string text, const Cause& cause) {
    control::Sparing& sparing = seen_[host.id].sparing[kind];
    if (!sparing.has_room(now())) { // before the packet is put in words
        (void)sparing.admit(now());
        return;
    }
    auto event = event_of(host, cause);
    event.text = std::move(text);
    journal_.record(kind, std::move(event), sparing, now());
}

void Daemon::record_failure(std::string text, const std::string& interface) {
    control::Event event;
    event.text = std::move(text);
    event.interface = interface;
    journal_.record(control::EventKind::failed, std::move(event), failures_[interface], now());
}

void Daemon::on_notice(const TriggerNotice& notice) {
    for (const auto& [id, packets] : hold_.take_evicted()) {
        wakes_.dropped(id, packets);
        if (const Host* host = table_.get(id); host != nullptr)
            record(control::EventKind::dropped, *host,
                   fmt::format("{} held packets made room for those of others", packets), {});
    }
    const pz_event& event = notice.event;
    if (event.kind == PZ_EVENT_TRIGGER)
        return on_trigger(notice);
    if (const Host* host = table_.get(event.host); host == nullptr || host->generation != event.generation)
        return; // of an earlier stay in our care
    Seen& seen = seen_[event.host];
    std::ranges::copy(event.mac, seen.mac.bytes.begin());
    seen.mac_generation = event.generation;
    // a NIC that answers by itself proves nothing about its host; the other ring may know that it does
    if (event.detail == PZ_SIGN_REPLY)
        (void)overheard_->consume();
    if (event.detail == PZ_SIGN_REPLY && seen.nic_answers == event.generation)
        return;
    const auto sign = static_cast<pz_sign>(event.detail);
    react(table_.on_owner(event.host, event.generation, static_cast<pz_event_kind>(event.kind), sign, notice.address,
                          now()),
          {.decided_by = "host",
           .at = instant_from_ns(event.time_ns),
           .reason = event.reason,
           .frame = notice.frame,
           .frame_length = event.frame_length,
           .sign = name_of(sign)});
}

void Daemon::on_trigger(const TriggerNotice& notice) {
    const pz_event& event = notice.event;
    const Host* host = table_.get(event.host);
    Cause cause{.decided_by = "kernel",
                .at = instant_from_ns(event.time_ns),
                .reason = event.reason,
                .frame = notice.frame,
                .frame_length = event.frame_length};
    if (host != nullptr && host->generation == event.generation) {
        if (notice.refused)
            return on_refused(*host, *notice.refused, std::move(cause));
        cause.rule = rule_of(event, *host);
        if (host->state == HostState::asleep)
            record(control::EventKind::trigger, *host, cause.rule, cause);
        else
            record_sparingly(control::EventKind::trigger_again, *host, cause.rule, cause);
        if (const auto why = why_not_held(notice); !why.empty())
            record_sparingly(control::EventKind::not_held, *host, std::string(why), cause);
    }
    react(table_.on_trigger(event.host, event.generation, notice.held ? notice.address : std::nullopt,
                            notice.magic_sent, now()),
          cause);
    if (event.at_once != 0)
        wakes_.magic_sent(event.host, cause.at);
    else if (notice.magic_sent)
        wakes_.magic_sent(event.host, notice.magic_at);
}

void Daemon::on_refused(const Host& host, const Refusal& refusal, Cause cause) {
    cause.decided_by = "daemon";
    cause.rule = rule_of(refusal);
    const std::string text = to_string(refusal);
    if (seen_[host.id].sparing[control::EventKind::refused].has_room(now())) {
        auto wake = wake_of(event_of(host, cause), cause);
        wake.sentence = text; // the kernel's says that it is woken
        wakes_.not_woken(host.id, std::move(wake));
    }
    record_sparingly(control::EventKind::refused, host, text, cause);
}

void Daemon::on_edge(const Host& host, const Effect& edge, const Cause& cause) {
    auto event = event_of(host, cause);
    event.packet.clear(); // an event of its own has it
    event.text = edge.text;
    event.from = edge.from;
    event.to = edge.to;
    journal_.record(control::EventKind::state, std::move(event));

    const Instant at = cause.at == Instant{} ? now() : cause.at;
    const bool alive = !cause.sign.empty();
    if (edge.to == HostState::waking || (edge.from == HostState::asleep && alive)) {
        auto wake = wake_of(event_of(host, cause), cause);
        wake.time_ns = wall_time(at);
        if (wake.reason.empty()) // no packet did it
            wake.sentence = edge.text;
        wakes_.begin(host.id, std::move(wake), at);
    }
    if (alive)
        wakes_.alive(host.id, std::string(cause.sign), at);
    if (edge.to == HostState::awake)
        wakes_.outcome(host.id, alive ? "awake" : "released");
    else if (edge.to == HostState::unreachable)
        wakes_.outcome(host.id, "unreachable");
    if (edge.to == HostState::arming) {
        if (edge.from != HostState::awake)
            wakes_.outcome(host.id, "sleep-requested");
        wakes_.end(host.id);
    }
}

void Daemon::on_router(SegmentId segment, ByteView frame) {
    if (!routers_[segment].admit(now())) // each costs a look at every host in its prefixes
        return;
    for (const auto& [prefix, valid] : advertised_prefixes(frame))
        for (const HostId host : table_.on_prefix(segment, prefix, valid, now()))
            if (const Host* found = table_.get(host); found != nullptr)
                state_->changed(found->name);
    rearm();
}

void Daemon::on_overheard(const pz_event& event, ByteView frame) {
    if (event.kind == PZ_EVENT_ROUTER)
        return on_router(event.segment, frame);
    if (event.kind == PZ_EVENT_ADDRESS)
        return on_use(event, frame);
    if (event.kind == PZ_EVENT_OPTION) {
        discovery_.receive(event.segment, frame, now());
        return rearm_discovery();
    }
    const Host* host = table_.get(event.host);
    if (host == nullptr || host->generation != event.generation)
        return;
    MacAddress mac;
    std::ranges::copy(event.mac, mac.bytes.begin());
    const auto address = event_address(event);
    const Cause cause{.decided_by = "kernel",
                      .at = instant_from_ns(event.time_ns),
                      .reason = event.reason,
                      .frame = frame,
                      .frame_length = event.frame_length};
    if (event.kind == PZ_EVENT_NIC_ANSWERS) {
        if (std::exchange(seen_[event.host].nic_answers, event.generation) != event.generation)
            record(control::EventKind::nic_answers, *host, mac.to_string() + " answers for the sleeping host by itself",
                   cause);
    } else if (event.kind == PZ_EVENT_CONFLICT) {
        if (address)
            on_conflict(*host, mac, *address, cause);
    } else if (event.kind == PZ_EVENT_SECOND_PROXY) {
        record_sparingly(control::EventKind::second_proxy, *host,
                         fmt::format("the gateway {} stands in for {} ({}) too", mac.to_string(), host->name,
                                     host->macs.front().to_string()),
                         cause);
    } else if (event.kind == PZ_EVENT_NON_WAKE &&
               (host->state == HostState::asleep || host->state == HostState::unreachable)) {
        auto told = event_of(*host, cause);
        wakes_.not_woken(host->id, wake_of(told, cause));
        told.text = told.reason;
        journal_.record(control::EventKind::non_wake, std::move(told), non_wakes_, now());
        if (event.reason == PZ_REASON_UNANSWERED)
            react(table_.on_sought(event.host, event.generation, now()), cause);
    }
}

void Daemon::on_use(const pz_event& event, ByteView frame) {
    const auto address = event_address(event);
    const Segment* segment = segments_->find(event.segment);
    if (!address || segment == nullptr)
        return;
    MacAddress mac;
    std::ranges::copy(event.mac, mac.bytes.begin());
    if (table_.find(event.segment, *address) == nullptr) { // it would be a new one
        if (table_.get(event.host) == nullptr || !seen_[event.host].learned.admit(now()))
            return;
        const auto device = Segments::own_device(*segment);
        const auto own = device ? link_addresses(*device) : std::vector<IpAddress>{};
        if (!own || std::ranges::find(*own, *address) != own->end())
            return;
    }
    // an advertisement with O is nobody else's (RFC 4861 §7.2.8), a reply of a router with proxy ARP may be
    const bool answered = event.detail == PZ_SIGN_REPLY && address->is_v4();
    react(table_.on_use(event.host, event.segment, mac, *address, answered, now()),
          {.decided_by = "host",
           .at = instant_from_ns(event.time_ns),
           .frame = frame,
           .frame_length = event.frame_length});
}

void Daemon::on_conflict(const Host& host, const MacAddress& claimant, const IpAddress& address, Cause cause) {
    cause.decided_by = "daemon";
    cause.rule = "conflict";
    const Instant at = now();
    const Defence defence = table_.defence(host, address, at);
    std::string text = fmt::format("{} claims {}, which {} ({}) holds", claimant.to_string(), address.to_string(),
                                   host.macs.front().to_string(), host.name);
    if (defence == Defence::defend)
        text += "; defended";
    if (defence == Defence::let_go) // once for each address, and told whatever else happens
        record(control::EventKind::conflict, host,
               text + (host.state == HostState::asleep ? "; no longer answered for, the host is woken"
                                                       : "; no longer answered for"),
               cause);
    else if (defence == Defence::forget) // the same
        record(control::EventKind::conflict, host, text + "; it was learned, and is no longer answered for", cause);
    else
        record_sparingly(control::EventKind::conflict, host, std::move(text), cause);
    react(table_.on_conflict(host.id, host.generation, address, at), cause);
}

void Daemon::consume_overheard() {
    if (overheard_->consume())
        wait_overheard();
    else
        boost::asio::post(loop_, [this] { consume_overheard(); });
}

void Daemon::wait_overheard() {
    overheard_ready_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                                [this](const boost::system::error_code& error) {
                                    if (error)
                                        return;
                                    consume_overheard();
                                });
}

void Daemon::wait_heartbeat() {
    heartbeat_timer_.expires_after(heartbeat_interval);
    heartbeat_timer_.async_wait([this](const boost::system::error_code& error) {
        if (error)
            return;
        on_heartbeat();
        wait_heartbeat();
    });
}

void Daemon::on_heartbeat() {
    if (auto written = fastpath_->heartbeat(now()); !written)
        record_failure(written.error().message);
    else if (trigger_thread_ && trigger_thread_->is_alive(now()))
        service_manager::alive();
    handed_over_ = 0;
    sweep_lost_events();
    if (left_at_) { // by now the rings have told what they knew
        sweep(left_at_, PZ_REASON_COUNT);
        left_at_.reset();
        fastpath_->forget_before();
    }
    record_file_hosts(file_hosts_.retry());
    record_bridges(); // a new host may have a VLAN that the bridge does not let us into
    for (const Port& port : segments_->ports())
        if (steering_->is_wanted(port)) // queues and ports of bridges come and go
            steering_->follow(port);
}

void Daemon::sweep_lost_events() {
    const std::uint64_t full = fastpath_->counters()[PZ_REASON_RING_FULL].frames;
    if (full == ring_full_)
        return;
    control::Event loss;
    loss.text = fmt::format("{} events of the kernel did not fit; looking at every sleeper", full - ring_full_);
    loss.reason = fastpath::reason_name(PZ_REASON_RING_FULL);
    loss.sentence = fastpath::reason_sentence(PZ_REASON_RING_FULL);
    journal_.record(control::EventKind::ring_loss, std::move(loss));
    ring_full_ = full;
    sweep(std::nullopt, PZ_REASON_RING_FULL);
}

void Daemon::sweep(std::optional<Instant> since, std::uint32_t reason) {
    for (HostId id = 0; id < table_.end_of_ids(); id++) {
        const Host* host = table_.get(id);
        if (host == nullptr || host->state == HostState::awake)
            continue;
        const pz_live live = fastpath_->live(host->id);
        const bool has_lost = lost_of(host->id) != live.lost;
        if (has_lost)
            seen_[host->id].lost = live.lost;
        const Instant triggered = instant_from_ns(live.last_trigger_ns);
        if (live.released == host->generation)
            react(table_.on_owner(host->id, host->generation, PZ_EVENT_RELEASE, PZ_SIGN_NONE, std::nullopt, now()),
                  {.decided_by = "host",
                   .at = instant_from_ns(live.last_seen_ns),
                   .reason = reason,
                   .sign = name_of(PZ_SIGN_NONE)});
        else if (host->state == HostState::asleep && triggered > host->since && (since ? triggered > *since : has_lost))
            sweep_lost_trigger(*host, triggered, reason);
    }
}

/// What came for the sleeper at `at` is lost: its policy says whether that may wake it, whoever sent it.
void Daemon::sweep_lost_trigger(const Host& host, Instant at, std::uint32_t reason) {
    const Cause cause{.at = at, .reason = reason};
    const Trigger trigger{.is_known = false};
    auto refusal = refuse_source(host.options.get().policy, options_.no_wake_from, trigger);
    if (!refusal)
        refusal = budgets_.ask(host.id, host.options.get().policy, trigger, now());
    if (refusal) {
        budgets_.count_refusal(host.id);
        return on_refused(host, *refusal, cause);
    }
    budgets_.add(host.id, trigger, now());
    react(table_.on_trigger(host.id, host.generation, std::nullopt, false, now()), cause);
}

std::uint32_t Daemon::lost_of(HostId host) const {
    const auto found = seen_.find(host);
    return found == seen_.end() ? 0 : found->second.lost;
}

Instant Daemon::last_seen(HostId host) const {
    return instant_from_ns(fastpath_->live(host).last_seen_ns);
}

// ---- names, services and groups ----

Discovery::Hooks Daemon::discovery_hooks() {
    return {.look = [this](SegmentId segment) { return surroundings(segment); },
            .send =
                [this](SegmentId id, HostId id_of_host, ByteView frame, std::string_view what) {
                    const Host* host = table_.get(id_of_host);
                    const Segment* segment = segments_->find(id);
                    // the kernel may have let go already; of a host that was removed these are the goodbyes
                    if (segment != nullptr &&
                        (host == nullptr || fastpath_->live(id_of_host).released != host->generation))
                        send(*segment, frame, what);
                },
            .conflict =
                [this](HostId id, std::string_view option, std::string text) {
                    // not in the middle of what is being said
                    boost::asio::post(loop_, [this, id, option, text = std::move(text)] {
                        const Host* host = table_.get(id);
                        if (host == nullptr || !discovery_.speaks(id))
                            return;
                        const Cause cause{.decided_by = "daemon", .rule = std::string(option) + " conflict"};
                        auto& woken = seen_[id].name_conflict;
                        if (woken && now() - *woken < name_conflict_interval)
                            return record_sparingly(control::EventKind::conflict, *host,
                                                    text + "; the host was woken for that lately", cause);
                        woken = now();
                        record_sparingly(control::EventKind::conflict, *host, text + "; the host is woken", cause);
                        react(table_.request_wake(host->name, now()).value_or(Effects{}), cause);
                    });
                },
            .listen =
                [this](SegmentId segment, const IpAddress& group, std::uint8_t options) {
                    if (auto done = fastpath_->listen(segment, group, options); !done)
                        record_failure(done.error().message);
                }};
}

Steering::Hooks Daemon::steering_hooks() {
    return {.answer =
                [this](const Port& port, std::span<std::uint8_t> room, std::size_t length) {
                    const auto parsed = parse_frame(room.first(length));
                    const auto answer =
                        discovery_.answer(segments_->find(port, {.outer = parsed.outer_vid, .inner = parsed.inner_vid}),
                                          room, length, now());
                    rearm_discovery();
                    return answer;
                },
            .tell =
                [this](const std::string& device, std::string text) {
                    control::Event event;
                    event.interface = device;
                    event.text = std::move(text);
                    journal_.record(control::EventKind::interface, std::move(event));
                }};
}

std::optional<Surroundings> Daemon::surroundings(SegmentId id) {
    const Segment* segment = segments_->find(id);
    if (segment == nullptr || !has_link(*segment->port))
        return std::nullopt;
    auto known = networks_.find(id);
    if (known == networks_.end())
        known = networks_
                    .emplace(id, link_networks(Segments::own_device(*segment).value_or(segment->port->link.ifindex))
                                     .value_or(std::vector<Network>{}))
                    .first;
    return Surroundings{.mac = segment->port->link.mac,
                        .link_local = sources(*segment).link_local,
                        .prefixes = known->second,
                        .tags = segment->tags};
}

void Daemon::speak(const Host& host, const Segment& segment) {
    if (*host.offers == HostOffers{} && !discovery_.speaks(host.id))
        return;
    for (const auto& group : discovery_.speak(host, now()))
        accept(segment, host.id, multicast_mac(group));
    if (!host.offers->hostnames.empty() && !steering_->is_wanted(*segment.port))
        steering_->follow(*segment.port); // what is steered to hosts there is looked at
    rearm_discovery();
}

void Daemon::silence(HostId host, bool goodbye) {
    discovery_.silence(host, goodbye, now());
    rearm_discovery();
}

void Daemon::rearm_discovery() {
    const auto deadline = discovery_.next_deadline();
    if (deadline == discovery_armed_)
        return;
    discovery_armed_ = deadline;
    discovery_timer_.cancel();
    if (!deadline)
        return;
    discovery_timer_.expires_at(*deadline);
    discovery_timer_.async_wait([this](const boost::system::error_code& error) {
        if (error)
            return;
        discovery_armed_.reset();
        discovery_.tick(now());
        rearm_discovery();
    });
}

// ---- interfaces ----

void Daemon::wait_links() {
    links_ready_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                            [this](const boost::system::error_code& error) {
                                if (error)
                                    return;
                                read_links();
                                wait_links();
                            });
}

void Daemon::read_links() {
    const auto read = monitor_.read();
    if (read.lost || read.addresses || !read.changes.empty()) {
        sources_.clear();
        networks_.clear();
    }
    const bool has_bridges = std::ranges::any_of(segments_->ports(), is_bridge);
    auto links = has_bridges || read.lost ? list_links() : std::vector<Link>{};
    if (!links)
        record_failure(links.error().message);
    if (has_bridges && links)
        for (Port& port : segments_->ports()) {
            for (const auto& change : read.changes)
                segments_->note(port, change);
            segments_->let_go(port, *links);
        }
    for (const auto& change : read.changes)
        on_link_change(change);
    if (!links)
        return;
    if (read.lost) {
        for (const auto& port : segments_->ports())
            if (std::ranges::find(*links, port.link.ifindex, &Link::ifindex) == links->end())
                on_link_change({.link = port.link, .gone = true});
        for (const auto& link : *links)
            on_link_change({.link = link});
    }
    if (has_bridges)
        for (Port& port : segments_->ports())
            segments_->take_on(port, *links);
    record_bridges();
}

/// What became of bridges and their ports.
void Daemon::record_bridges() {
    for (const auto& report : segments_->take_reports()) {
        if (report.failed) {
            record_failure(report.text, report.device);
            continue;
        }
        control::Event event;
        event.interface = report.bridge;
        event.text = report.text;
        journal_.record(control::EventKind::interface, std::move(event));
    }
}

/// The served interface is the one with the configured name.
void Daemon::on_link_change(const LinkChange& change) {
    const Link& link = change.link;
    for (Port& port : segments_->ports()) {
        const bool is_served = port.socket && port.link.ifindex == link.ifindex;
        if (is_served && change.gone) {
            end_service(port, {}, "is gone");
        } else if (is_served && link.name != port.link.name) {
            end_service(port, link.name, fmt::format("is called {} now", link.name));
        } else if (is_served) {
            update_port(port, link);
        } else if (!change.gone && link.name == port.link.name) {
            if (port.socket)
                end_service(port, {}, "is another interface now");
            begin_service(port, link);
        }
    }
}

void Daemon::update_port(Port& port, const Link& link) {
    const bool had_link = port.link.up;
    const bool has_new_mac = link.mac != port.link.mac;
    if (had_link && !link.up)
        lose_link(port, "lost its link; its hosts wait for it to come back");
    else if (had_link && has_new_mac)
        lose_link(port, fmt::format("changes its MAC from {} to {}", port.link.mac.to_string(), link.mac.to_string()));
    port.link = link;
    if (has_new_mac)
        if (auto written = segments_->write(port); !written)
            record_failure(written.error().message, link.name);
    if (link.up && (!had_link || has_new_mac))
        regain_link(port);
}

void Daemon::begin_service(Port& port, const Link& link) {
    if (link == port.refused)
        return; // each attempt is a change of the interface too, in what does not matter here
    auto attached = check_servable(link);
    if (attached)
        attached = segments_->attach(port, link);
    port.refused = attached ? Link{} : link;
    if (!attached)
        return record_failure(fmt::format("{} is back and not served: {}", link.name, attached.error().message),
                              link.name);
    for (const auto& [mac, hosts] : joins_[&port].macs)
        join(port, mac);
    if (joins_[&port].all)
        join_all(port);
    record_port(control::EventKind::interface, port, fmt::format("{}, {}", attachment_of(port), link.mac.to_string()));
    record_bridges();
    if (link.up)
        regain_link(port);
}

void Daemon::end_service(Port& port, const std::string& name, const std::string& why) {
    segments_->detach(port, name);
    if (steering_->is_wanted(port))
        steering_->follow(port);
    // plans would keep the socket, and with it what the interface was told to accept
    for (const SegmentId segment : segments_->of(port))
        plans_.set_route(segment, {});
    lose_link(port, fmt::format("{}; its hosts wait for an interface of the name {}", why, port.link.name));
}

void Daemon::lose_link(const Port& port, const std::string& why) {
    record_port(control::EventKind::link_lost, port, why);
    for (const SegmentId segment : segments_->of(port))
        react(table_.link_lost(segment), {});
}

void Daemon::regain_link(const Port& port) {
    record_port(control::EventKind::link_back, port, "has its link; its sleepers are looked for, then served");
    for (const SegmentId segment : segments_->of(port))
        react(table_.link_back(segment, now()), {});
}

void Daemon::record_port(control::EventKind kind, const Port& port, std::string_view text) {
    control::Event event;
    event.interface = port.link.name;
    event.text = fmt::format("{}: {}", port.link.name, text);
    journal_.record(kind, std::move(event));
}

// ---- effects ----

Result<> Daemon::apply(const Effects& effects, const Cause& cause) {
    Result<> first;
    std::vector<HostId> failed; // to be programmed: what follows for these has lost its ground
    for (const auto& effect : effects) {
        if (std::ranges::find(failed, effect.host) != failed.end())
            continue;
        if (auto applied = apply(effect, cause); !applied) {
            if (effect.kind == Effect::Kind::watch || effect.kind == Effect::Kind::serve ||
                effect.kind == Effect::Kind::serve_unanswered)
                failed.push_back(effect.host);
            if (const Host* host = table_.get(effect.host); host != nullptr)
                record(control::EventKind::failed, *host, applied.error().message);
            else
                record_failure(applied.error().message);
            if (first)
                first = std::move(applied);
        }
    }
    send_probes();
    rearm();
    return first;
}

void Daemon::rearm() {
    const auto deadline = table_.next_deadline();
    if (deadline == armed_)
        return;
    armed_ = deadline;
    tick_timer_.cancel();
    if (!deadline)
        return;
    tick_timer_.expires_at(*deadline);
    tick_timer_.async_wait([this](const boost::system::error_code& error) {
        if (error)
            return;
        armed_.reset();
        react(table_.tick(now(), [this](HostId host) { return last_seen(host); }), {});
    });
}

void Daemon::react(const Effects& effects, const Cause& cause) {
    // nobody waits for the outcome of an event; apply() has recorded what failed
    [[maybe_unused]] const auto outcome = apply(effects, cause);
}

Result<> Daemon::apply(const Effect& effect, const Cause& cause) {
    using Kind = Effect::Kind;
    switch (effect.kind) { // those that need no record: it may be gone
    case Kind::forget:
        send_probes();
        forget(effect.host);
        return {};
    case Kind::drop_held:
        drop_held(effect);
        return {};
    case Kind::stop_answering: {
        send_probes();
        fastpath_->stop_answering(effect.host, effect.address);
        if (!effect.address)
            silence(effect.host, false);
        // one address: it is not the host's any more; all of them: the host is back
        const Host* host = table_.get(effect.host);
        if (host != nullptr) // an address may be let go
            state_->changed(host->name);
        if (host != nullptr && discovery_.speaks(host->id))
            speak(*host, *segments_->find(host->segment));
        unpin_neighbours(effect.host, effect.address,
                         effect.address || host == nullptr ? std::nullopt : std::optional(owner_mac(*host)));
        return {};
    }
    default:
        break;
    }
    const Host* host = table_.get(effect.host);
    if (host != nullptr && (effect.kind == Kind::edge || effect.kind == Kind::deliver ||
                            (effect.kind == Kind::notice && effect.notice != Effect::Notice::not_learned)))
        state_->changed(host->name);
    const Segment* segment = host == nullptr ? nullptr : segments_->find(host->segment);
    if (segment == nullptr)
        return {};
    switch (effect.kind) {
    case Kind::watch:
        return watch(*host, *segment, PZ_STAGE_ARMING);
    case Kind::watch_awake:
        return fastpath_->watch(entry_of(*host, *segment), PZ_STAGE_WATCHED);
    case Kind::serve:
        return watch(*host, *segment, PZ_STAGE_ASLEEP);
    case Kind::serve_unanswered:
        return watch(*host, *segment, PZ_STAGE_UNANSWERED);
    case Kind::stage_waking:
        if (host->state == HostState::waking)
            plan(*host, *segment);
        return fastpath_->set_stage(host->id, PZ_STAGE_WAKING);
    case Kind::stage_unanswered:
        unpin_neighbours(host->id, std::nullopt, std::nullopt);
        silence(host->id, host->state == HostState::unreachable);
        return fastpath_->set_stage(host->id, PZ_STAGE_UNANSWERED);
    case Kind::announce:
    case Kind::refresh:
        // the kernel may have let go already, and then nothing leaves with the host's MAC
        if (fastpath_->live(host->id).released != host->generation) {
            if (effect.kind == Kind::announce) // to the gateway's own stack too
                pin_neighbours(*host, *segment, answered_addresses(*host));
            if (effect.kind == Kind::announce || host->identity == Identity::host)
                announce(*host, *segment, effect.kind == Kind::refresh);
            report_groups(*host, *segment);
            speak(*host, *segment);
        }
        break;
    case Kind::defend:
        if (effect.address && fastpath_->live(host->id).released != host->generation)
            defend(*host, *segment, *effect.address);
        break;
    case Kind::hand_back:
        if (effect.address)
            hand_back(*host, *segment, *effect.address);
        break;
    case Kind::send_magic:
        send_magic(*host, *segment);
        break;
    case Kind::probe:
        if (effect.address)
            probe(*host, *segment, *effect.address);
        break;
    case Kind::deliver:
        if (effect.address)
            deliver(*host, *segment, *effect.address);
        break;
    case Kind::notice:
        if (effect.notice == Effect::Notice::address_not_back)
            wakes_.outcome(host->id, "address-not-back");
        if (is_told_sparingly(effect.notice))
            record_sparingly(kind_of(effect.notice), *host, effect.text, cause);
        else
            record(kind_of(effect.notice), *host, effect.text, cause);
        break;
    case Kind::edge:
        on_edge(*host, effect, cause);
        break;
    default:
        break;
    }
    return {};
}

void Daemon::drop_held(const Effect& effect) {
    const auto dropped = hold_.drop(effect.host, effect.address);
    if (dropped == 0)
        return;
    wakes_.dropped(effect.host, dropped);
    std::string text = fmt::format("held packets: {}", dropped);
    if (effect.address)
        text += ", to " + effect.address->to_string();
    if (const Host* host = table_.get(effect.host); host != nullptr)
        return record(control::EventKind::dropped, *host, std::move(text));
    control::Event event;
    event.host_id = effect.host; // its record is gone
    event.text = std::move(text);
    journal_.record(control::EventKind::dropped, std::move(event));
}

/// The kernel can send a Magic Packet by the interface that a packet came in by, to the one MAC of its address, and
/// asks no policy.  In generic mode it would complete a checksum in what was such a packet.
bool Daemon::wakes_at_once(const Host& host, const Segment& segment) const {
    const HostOptions& options = host.options;
    const auto is_native = [](const Member& member) { return member.mode == fastpath::XdpMode::native; };
    return !is_bridge(*segment.port) && std::ranges::all_of(segment.port->members, is_native) &&
           host.identity == Identity::host && !options.magic.secureon &&
           budgets_.allows_every(host.id, options.policy, options_.no_wake_from, now());
}

fastpath::HostEntry Daemon::entry_of(const Host& host, const Segment& segment) const {
    fastpath::HostEntry entry;
    entry.host = host.id;
    entry.segment = host.segment;
    entry.macs.assign(host.macs.begin(), host.macs.end());
    entry.addresses = answered_addresses(host);
    entry.answer_mac = answer_mac(host, segment);
    entry.index_flags = host.identity == Identity::proxy ? PZ_INDEX_IDENTITY_PROXY : 0;

    pz_policy& policy = entry.policy;
    policy.generation = host.generation;
    policy.echo = static_cast<std::uint8_t>(host.options.get().echo);
    if (const auto& secureon = host.options.get().magic.secureon) {
        policy.flags |= PZ_POLICY_SECUREON;
        std::ranges::copy(*secureon, entry.rules.secureon);
    }
    if (wakes_at_once(host, segment))
        policy.flags |= PZ_POLICY_AT_ONCE;
    if (host.options.get().learn)
        policy.flags |= PZ_POLICY_LEARN;
    if (std::ranges::any_of(host.offers->hostnames, is_local_name))
        policy.flags |= PZ_POLICY_MDNS;
    if (!host.offers->hostnames.empty())
        policy.flags |= PZ_POLICY_LLMNR;
    for (const auto& rule : wake_rules(host.options, *host.offers))
        entry.rules.rules[entry.rules.count++] = {.port = rule.port, .protocol = rule.protocol, .action = PZ_RULE_WAKE};
    return entry;
}

SourceAddresses Daemon::sources(const Segment& segment) {
    if (const auto known = sources_.find(segment.id); known != sources_.end())
        return known->second;
    const auto own = link_addresses(Segments::own_device(segment).value_or(segment.port->link.ifindex));
    if (!own) {
        record_failure(own.error().message, segment.port->link.name);
        return {};
    }
    return sources_[segment.id] = choose_sources(*own);
}

MagicRoute Daemon::magic_route(const Segment& segment) {
    return {.socket = segment.port->socket,
            .sender = segment.port->link.mac,
            .source = sources(segment).ip4,
            .tags = segment.tags};
}

void Daemon::join(const Port& port, const MacAddress& mac) {
    if (auto joined = port.socket->join(mac); !joined)
        record_failure(fmt::format("frames to {} may not arrive: {}", mac.to_string(), joined.error().message),
                       port.link.name);
}

void Daemon::join_all(const Port& port) {
    if (auto joined = port.socket->join_all(port.link.ifindex); !joined)
        record_failure(fmt::format("frames to some hosts may not arrive: {}", joined.error().message), port.link.name);
}

void Daemon::accept(const Segment& segment, HostId host, const MacAddress& mac) {
    const Port* port = segment.port;
    if (is_bridge(*port)) // its ports receive everything, and a bridge that is told so hands it all to the stack
        return;
    Joins& joins = joins_[port];
    if (!joins.all && joins.macs.size() >= PacketSocket::max_joined && !joins.macs.contains(mac)) {
        joins.all = true;
        if (port->socket)
            join_all(*port);
    }
    if (joins.all)
        return;
    Seen& seen = seen_[host];
    if (std::ranges::find(seen.accepted, mac) != seen.accepted.end())
        return;
    if (joins.macs[mac]++ == 0 && port->socket)
        join(*port, mac);
    seen.joined_on = port;
    seen.accepted.push_back(mac);
}

/// The trigger thread wakes the host from now on.
void Daemon::plan(const Host& host, const Segment& segment) {
    plans_.set_route(segment.id, magic_route(segment));
    plans_.set(host, true);
}

Result<> Daemon::watch(const Host& host, const Segment& segment, pz_stage stage) {
    const auto entry = entry_of(host, segment);
    const std::uint32_t lost = fastpath_->live(host.id).lost;
    if (lost != lost_of(host.id))
        seen_[host.id].lost = lost;
    if (stage == PZ_STAGE_ARMING) {
        // packets that the kernel reported before this are held, and nothing is sent for them
        plans_.set(host, false);
        return fastpath_->watch(entry, stage);
    }
    // a trigger may come with the next frame: everything that it needs is there before the kernel is told
    if (host.identity == Identity::host)
        for (const auto& mac : host.macs)
            accept(segment, host.id, mac);
    for (const auto& address : entry.addresses)
        if (address.is_v6())
            accept(segment, host.id, multicast_mac(solicited_node_group(address)));
    plan(host, segment);
    auto served = fastpath_->serve(entry, stage);
    if (!served) // what cannot be programmed is not in our care
        react(table_.request_release(host.name, now()).value_or(Effects{}), {});
    return served;
}

void Daemon::pin_neighbours(const Host& host, const Segment& segment, const std::vector<IpAddress>& addresses) {
    const auto device = Segments::l3_device(segment);
    if (!device)
        return;
    for (const auto& address : addresses) {
        if (pinned_ >= max_pinned)
            return; // the stack asks for the others, and the filter answers
        if (const auto known = seen_.find(host.id); known != seen_.end() && known->second.neighbours.contains(address))
            continue;
        const auto pinned = neighbours_.pin(*device, address, owner_mac(host));
        if (!pinned)
            record_failure(pinned.error().message, segment.port->link.name);
        else if (*pinned)
            pinned_ += seen_[host.id].neighbours.insert_or_assign(address, *device).second ? 1U : 0U;
        else
            spdlog::info("{}: the neighbour entry of {} is permanent and not ours, so it stays", host.name,
                         address.to_string());
    }
}

void Daemon::unpin_neighbours(HostId host, const std::optional<IpAddress>& only, const std::optional<MacAddress>& mac) {
    const auto found = seen_.find(host);
    if (found == seen_.end())
        return;
    pinned_ -= std::erase_if(found->second.neighbours, [&](const auto& neighbour) {
        const auto& [address, device] = neighbour;
        if (only && address != *only)
            return false;
        std::array<char, IF_NAMESIZE> name{};
        const bool hand_over = mac && handed_over_ < max_handed_over;
        handed_over_ += hand_over ? 1 : 0;
        if (auto unpinned = neighbours_.unpin(device, address, hand_over ? mac : std::nullopt);
            !unpinned &&
            ::if_indextoname(static_cast<unsigned>(device), name.data()) != nullptr) // else with the device
            record_failure(unpinned.error().message, name.data());
        return true;
    });
}

void Daemon::forget(HostId host) {
    fastpath_->forget(host);
    plans_.erase(host);
    silence(host, false);
    unpin_neighbours(host, std::nullopt, std::nullopt);
    const auto found = seen_.find(host);
    if (found == seen_.end())
        return;
    for (const auto& mac : found->second.accepted) {
        auto& macs = joins_[found->second.joined_on].macs;
        const auto join = macs.find(mac);
        if (join == macs.end() || --join->second > 0)
            continue;
        macs.erase(join);
        const auto& socket = found->second.joined_on->socket;
        if (!socket)
            continue; // with the interface
        if (auto left = socket->leave(mac); !left)
            record_failure(left.error().message);
    }
    found->second.accepted.clear();
    if (table_.get(host) == nullptr)
        seen_.erase(found);
}

void Daemon::send(const Segment& segment, ByteView frame, std::string_view what) {
    send_probes();
    if (!can_send(segment))
        return;
    if (auto sent = segment.port->socket->send(frame); !sent)
        record_failure(fmt::format("{} not sent: {}", what, sent.error().message), segment.port->link.name);
}

void Daemon::send_probes() {
    if (probes_.empty())
        return;
    const auto frames = std::exchange(probes_, {});
    const auto probed = std::exchange(probed_, {});
    const Port& port = *std::exchange(probes_port_, nullptr);
    port.socket->send(frames, [&](std::size_t at, const Error& error) {
        record_failure(fmt::format("probe not sent: {}", error.message), port.link.name);
        const auto& [host, address] = probed[at];
        not_probed(host, address, port.link.name, {}, error.code == Errc::busy);
    });
}

void Daemon::send_in_name(const Segment& segment, Bytes frame, std::string_view what) {
    add_mark(frame, segment.port->link.mac);
    send(segment, frame, what);
}

MacAddress Daemon::answer_mac(const Host& host, const Segment& segment) const {
    return host.identity == Identity::proxy ? segment.port->link.mac : host.macs.front();
}

void Daemon::announce(const Host& host, const Segment& segment, bool once) {
    const MacAddress mac = answer_mac(host, segment);
    for (const auto& address : answered_addresses(host)) {
        send_in_name(segment, claim_of(address, mac, host.identity == Identity::host, segment.tags), "announcement");
        if (once) // one frame is enough for a switch to learn from
            return;
    }
}

void Daemon::report_groups(const Host& host, const Segment& segment) {
    std::set<IpAddress> groups; // addresses with the same last 24 bits share one
    for (const IpAddress& address : answered_addresses(host))
        if (address.is_v6())
            groups.insert(solicited_node_group(address));
    if (groups.empty())
        return;
    send(segment,
         build_mld_report(segment.port->link.mac, sources(segment).link_local.value_or(IpAddress::v6({})),
                          std::vector(groups.begin(), groups.end()), segment.tags),
         "MLD report");
}

void Daemon::defend(const Host& host, const Segment& segment, const IpAddress& address) {
    send_in_name(segment, claim_of(address, answer_mac(host, segment), true, segment.tags), "defence");
}

void Daemon::hand_back(const Host& host, const Segment& segment, const IpAddress& address) {
    const MacAddress& own = segment.port->link.mac;
    const MacAddress mac = owner_mac(host);
    Bytes frame = address.is_v4() ? build_arp_announcement(mac, address, segment.tags)
                                  : build_unsolicited_na(own, mac, address, true, segment.tags);
    set_ethernet(frame, address.is_v4() ? MacAddress::broadcast() : multicast_mac(*IpAddress::parse("ff02::1")),
                 own); // nothing leaves with the host's MAC any more
    send_in_name(segment, std::move(frame), "announcement");
}

void Daemon::hand_back_all(const Host& host) {
    const Segment* segment = segments_->find(host.segment);
    const bool is_owed = host.extra->hand_back || (host.state != HostState::awake && host.state != HostState::arming);
    if (segment == nullptr || !has_link(*segment->port) || host.identity == Identity::host || !is_owed)
        return;
    for (const auto& address : answered_addresses(host))
        hand_back(host, *segment, address);
}

MacAddress Daemon::owner_mac(const Host& host) const {
    const auto found = seen_.find(host.id);
    return found == seen_.end() || found->second.mac_generation != host.generation ? host.macs.front()
                                                                                   : found->second.mac;
}

void Daemon::send_magic(const Host& host, const Segment& segment) {
    for (const auto& departure : magic_frames(magic_route(segment), host.macs, host.options.get().magic))
        send(segment, departure.frame, "Magic Packet");
    wakes_.magic_sent(host.id, now());
}

void Daemon::probe(const Host& host, const Segment& segment, const IpAddress& address) {
    const MacAddress& mac = segment.port->link.mac;
    const auto own = sources(segment);
    // never from no address, which would look like a rival's probe
    const auto& source = address.is_v4() ? own.ip4 : own.ip6;
    if (!source)
        return not_probed(host.id, address, segment.port->link.name, "has no address of that family", false);
    if (!can_send(segment))
        return not_probed(host.id, address, segment.port->link.name, {}, false);
    if (probes_.size() == max_probes || (probes_port_ != nullptr && probes_port_ != segment.port))
        send_probes();
    probes_port_ = segment.port;
    probes_.push_back(address.is_v4() ? build_arp_request(mac, *source, address, segment.tags)
                                      : build_neighbor_solicitation(mac, *source, address, segment.tags));
    probed_.emplace_back(host.id, address);
}

void Daemon::not_probed(HostId id, const IpAddress& address, const std::string& interface, std::string_view why,
                        bool for_now) {
    const bool is_to_tell =
        table_.not_probed(id, address, for_now); // it may never be found asleep, or never be answered for
    const Host* const host = table_.get(id);
    if (host == nullptr || (!is_to_tell && !spdlog::should_log(spdlog::level::debug)))
        return;
    auto text = fmt::format("{}: cannot probe {}", host->name, address.to_string());
    if (!why.empty())
        text += fmt::format(": {} {}", interface, why);
    if (is_to_tell)
        record_failure(std::move(text), interface);
    else
        spdlog::debug("{}", text);
}

void Daemon::deliver(const Host& host, const Segment& segment, const IpAddress& address) {
    const MacAddress mac = owner_mac(host);
    for (auto& packet : hold_.take(host.id, address)) {
        if (!complete_checksum(packet.frame))
            spdlog::debug("{}: held packet without a checksum of ours", host.name);
        set_ethernet(packet.frame, mac, segment.port->link.mac);
        send(segment, packet.frame, "held packet");
        wakes_.delivered(host.id, now());
        record(control::EventKind::delivered, host,
               fmt::format("to {} after {} ms", address.to_string(), milliseconds(now() - packet.arrived)),
               {.frame = packet.frame, .frame_length = static_cast<std::uint32_t>(packet.frame.size())});
    }
}

} // namespace pz
