// SPDX-License-Identifier: Apache-2.0
#include "daemon/daemon.h"

#include <netinet/in.h>

#include <algorithm>

#include <boost/asio/post.hpp>

#include <spdlog/spdlog.h>

namespace pz {

namespace {

constexpr Duration heartbeat_interval = std::chrono::seconds(1);
/// A host's events: this many at once, then one in each interval, so that a flood at one host leaves the ring to
/// others.
constexpr std::uint32_t event_interval_us = 10'000;
constexpr std::uint32_t event_burst = 64;

Instant now() {
    return std::chrono::steady_clock::now();
}

TableOptions table_options(const DaemonOptions& options) {
    return {.max_hosts = options.max_hosts,
            .max_addresses4 = 2 * options.max_hosts,
            .max_addresses6 = 4 * options.max_hosts,
            .max_macs = 2 * options.max_hosts,
            .default_identity = options.identity};
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
Result<Link> servable_link(const std::string& name) {
    Link link = PZ_TRY(find_link(name));
    if (!link.is_ethernet)
        return fail(Errc::invalid, "--interface '" + name + "' is not an Ethernet interface", "interface");
    if (link.kind == "bridge")
        return fail(Errc::unsupported,
                    "--interface '" + name +
                        "' is a bridge, which this version does not serve: name an interface that is not one",
                    "interface");
    return link;
}

std::uint64_t milliseconds(Duration duration) {
    return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(duration).count());
}

} // namespace

Daemon::Daemon(boost::asio::io_context& loop, DaemonOptions options, std::vector<Link> links,
               std::unique_ptr<fastpath::Fastpath> fastpath)
    : loop_(loop), options_(std::move(options)), links_(std::move(links)), started_(now()),
      table_(table_options(options_)), hold_(HoldLimits{}), fastpath_(std::move(fastpath)), tick_timer_(loop),
      heartbeat_timer_(loop), overheard_ready_(loop) {}

Result<std::unique_ptr<Daemon>> Daemon::load(boost::asio::io_context& loop, DaemonOptions options) {
    std::vector<Link> links;
    links.reserve(options.interfaces.size());
    for (const auto& name : options.interfaces)
        links.push_back(PZ_TRY(servable_link(name)));
    auto fastpath = PZ_TRY(fastpath::Fastpath::open(fastpath_options(options)));
    return std::unique_ptr<Daemon>(new Daemon(loop, std::move(options), std::move(links), std::move(fastpath)));
}

Result<> Daemon::serve() {
    PZ_TRY(fastpath_->heartbeat(now()));
    segments_ = std::make_unique<Segments>(*fastpath_);
    for (const auto& link : links_)
        PZ_TRY(segments_->serve(link));
    fastpath_->drop_links_except(options_.interfaces);

    overheard_ = std::make_unique<fastpath::EventRing>(PZ_TRY(fastpath::EventRing::open(
        fastpath_->overheard_fd(), [this](const pz_event& event, ByteView) { on_overheard(event); })));
    overheard_ready_.assign(overheard_->poll_fd());
    trigger_thread_ =
        PZ_TRY(TriggerThread::start(fastpath_->triggers_fd(), plans_, hold_, [this](TriggerNotice notice) {
            boost::asio::post(loop_, [this, notice = std::move(notice)] { on_notice(notice); });
        }));
    wait_overheard();
    wait_heartbeat();
    return {};
}

Daemon::~Daemon() {
    take_off();
}

void Daemon::take_off() {
    trigger_thread_.reset();
    if (overheard_ready_.is_open())
        overheard_ready_.release(); // the descriptor is the ring's
    overheard_.reset();
    if (fastpath_)
        fastpath_->detach_all();
    segments_.reset();
}

// ---- requests ----

control::Capabilities Daemon::capabilities() {
    return {.version = PROXZZY_VERSION,
            .options = {"ethernet", "arp", "nd", "echo", "wake-magic", "wake-tcp", "wake-udp", "vlan"},
            .max_hosts = options_.max_hosts,
            .max_addresses_per_host = max_addresses,
            .max_rules_per_host = PZ_MAX_RULES,
            .max_macs_per_host = max_macs};
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
    for (const auto& port : segments_->ports()) {
        const auto current = find_link(port.link.name);
        status.interfaces.push_back({.name = port.link.name,
                                     .mode = std::string(to_string(port.mode)),
                                     .mac = port.link.mac,
                                     .up = current && current->up});
    }
    return status;
}

std::vector<control::Counter> Daemon::stats() {
    std::vector<control::Counter> counters;
    for (const auto& reason : fastpath_->counters())
        counters.push_back({.name = reason.name, .sentence = reason.sentence, .value = reason.frames});
    return counters;
}

Result<control::Durable> Daemon::host_set(HostConfig config, bool replace) {
    PZ_TRY(validate(config)); // before its segment is made
    const SegmentId segment = PZ_TRY(segments_->resolve(config.interface, config.vlan));
    (void)PZ_TRY(table_.set(std::move(config), segment, replace, now()));
    return control::Durable::no;
}

Result<control::HostStatus> Daemon::host_get(std::string_view name) {
    const Host* host = table_.find(name);
    if (host == nullptr)
        return fail(Errc::not_found, "there is no host '" + std::string(name) + "': `proxzzyctl hosts` lists them",
                    "name");
    return control::HostStatus{
        .config = host->config,
        .id = host->id,
        .generation = host->generation,
        .state = host->state,
        .since_reason = host->since_reason,
        .since_ms = milliseconds(now() - host->since),
        .identity = host->identity,
        .wakes = host->wakes,
        .held_packets = static_cast<std::uint32_t>(hold_.usage(host->id).packets),
        .last_wake_latency_us = static_cast<std::uint64_t>(
            std::chrono::duration_cast<std::chrono::microseconds>(host->last_wake_latency).count())};
}

std::vector<std::string> Daemon::host_names() {
    return table_.names();
}

Result<control::Durable> Daemon::apply_request(Result<Effects> effects) {
    if (!effects)
        return std::unexpected(std::move(effects).error());
    PZ_TRY(apply(*effects));
    return control::Durable::no;
}

Result<control::Durable> Daemon::host_remove(std::string_view name) {
    return apply_request(table_.remove(name));
}

Result<control::Durable> Daemon::host_sleep(std::string_view name) {
    auto done = apply_request(table_.request_sleep(name, now()));
    if (!done) // what is acknowledged is programmed; what cannot be programmed is not in our care
        if (auto released = apply_request(table_.request_release(name, now())); !released)
            spdlog::debug("{}", released.error().message);
    return done;
}

Result<control::Durable> Daemon::host_release(std::string_view name) {
    return apply_request(table_.request_release(name, now()));
}

Result<control::Durable> Daemon::host_wake(std::string_view name) {
    return apply_request(table_.request_wake(name, now()));
}

Result<> Daemon::detach() {
    spdlog::info("detach requested: leaving the interfaces");
    trigger_thread_.reset();
    fastpath_->detach_all(); // before the answer, which says that it is done
    boost::asio::post(loop_, [this] { loop_.stop(); });
    return {};
}

// ---- events ----

void Daemon::on_notice(const TriggerNotice& notice) {
    const pz_event& event = notice.event;
    if (event.kind == PZ_EVENT_TRIGGER) {
        log_trigger(notice);
        react(table_.on_trigger(event.host, event.generation, notice.held ? notice.address : std::nullopt,
                                notice.magic_sent, now()));
        return;
    }
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
    react(table_.on_owner(event.host, event.generation, static_cast<pz_event_kind>(event.kind),
                          static_cast<pz_sign>(event.detail), notice.address, now()));
}

void Daemon::log_trigger(const TriggerNotice& notice) const {
    const pz_event& event = notice.event;
    const Host* host = table_.get(event.host);
    if (host == nullptr || host->generation != event.generation || host->state != HostState::asleep)
        return; // the first one wakes; `stats` counts the others
    MacAddress sender;
    std::ranges::copy(event.mac, sender.bytes.begin());
    spdlog::info("{}: {} from {} to {} port {}: waking", host->config.name, fastpath::reason_name(event.reason),
                 sender.to_string(), notice.address ? notice.address->to_string() : "its MAC", event.port);
}

void Daemon::on_overheard(const pz_event& event) {
    const Host* host = table_.get(event.host);
    if (host == nullptr || host->generation != event.generation)
        return;
    MacAddress mac;
    std::ranges::copy(event.mac, mac.bytes.begin());
    const auto address = event_address(event);
    if (event.kind == PZ_EVENT_NIC_ANSWERS) {
        if (std::exchange(seen_[event.host].nic_answers, event.generation) != event.generation)
            spdlog::info("{}: nic-answers: {} answers for the sleeping host by itself", host->config.name,
                         mac.to_string());
    } else if (event.kind == PZ_EVENT_CONFLICT) {
        spdlog::warn("{}: conflict: {} claims {}, which {} holds", host->config.name, mac.to_string(),
                     address ? address->to_string() : "an address", host->config.macs.front().to_string());
    }
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
        spdlog::error("{}", written.error().message);
    sweep_lost_events();
}

void Daemon::sweep_lost_events() {
    const std::uint64_t full = fastpath_->counters()[PZ_REASON_RING_FULL].frames;
    if (full == ring_full_)
        return;
    spdlog::warn("ring-full: {} events did not fit; looking at every sleeper", full - ring_full_);
    ring_full_ = full;
    for (const auto& name : table_.names()) {
        const Host* host = table_.find(name);
        if (host == nullptr || host->state == HostState::awake)
            continue;
        const pz_live live = fastpath_->live(host->id);
        if (live.released == host->generation)
            react(table_.on_owner(host->id, host->generation, PZ_EVENT_RELEASE, PZ_SIGN_NONE, std::nullopt, now()));
        else if (host->state == HostState::asleep && instant_from_ns(live.last_trigger_ns) > host->since)
            react(table_.on_trigger(host->id, host->generation, std::nullopt, false, now()));
    }
}

Instant Daemon::last_seen(HostId host) const {
    return instant_from_ns(fastpath_->live(host).last_seen_ns);
}

// ---- effects ----

Result<> Daemon::apply(const Effects& effects) {
    Result<> first;
    for (const auto& effect : effects)
        if (auto applied = apply(effect); !applied) {
            spdlog::error("host {}: {}", effect.host, applied.error().message);
            if (first)
                first = std::move(applied);
        }
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
        react(table_.tick(now(), [this](HostId host) { return last_seen(host); }));
    });
}

void Daemon::react(const Effects& effects) {
    // nobody waits for the outcome of an event; apply() has logged what failed
    [[maybe_unused]] const auto outcome = apply(effects);
}

Result<> Daemon::apply(const Effect& effect) {
    using Kind = Effect::Kind;
    switch (effect.kind) { // those that need no record: it may be gone
    case Kind::forget:
        forget(effect.host);
        return {};
    case Kind::drop_held:
        if (const auto dropped = hold_.drop(effect.host, effect.address); dropped > 0)
            spdlog::info("host {}: {} held packets dropped", effect.host, dropped);
        return {};
    case Kind::stop_answering:
        fastpath_->stop_answering(effect.host, effect.address);
        return {};
    default:
        break;
    }
    const Host* host = table_.get(effect.host);
    const Segment* segment = host == nullptr ? nullptr : segments_->find(host->segment);
    if (segment == nullptr)
        return {};
    switch (effect.kind) {
    case Kind::watch:
        return watch(*host, *segment, false);
    case Kind::serve:
        return watch(*host, *segment, true);
    case Kind::stage_waking:
        return fastpath_->set_stage(host->id, PZ_STAGE_WAKING);
    case Kind::announce:
    case Kind::refresh_switch:
        // the kernel may have let go already, and then nothing leaves with the host's MAC
        if (fastpath_->live(host->id).released != host->generation)
            announce(*host, *segment, effect.kind == Kind::refresh_switch);
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
        spdlog::info("{}: {}", host->config.name, effect.text);
        break;
    default:
        break;
    }
    return {};
}

fastpath::HostEntry Daemon::entry_of(const Host& host, const Segment& segment) const {
    fastpath::HostEntry entry;
    entry.host = host.id;
    entry.segment = host.segment;
    entry.macs = host.config.macs;
    for (const auto& address : host.config.addresses)
        if (std::ranges::find(host.expired, address.ip) == host.expired.end())
            entry.addresses.push_back(address.ip);
    const bool as_proxy = host.identity == Identity::proxy;
    entry.answer_mac = as_proxy ? segment.port->link.mac : host.config.macs.front();
    entry.index_flags = as_proxy ? PZ_INDEX_IDENTITY_PROXY : 0;

    pz_policy& policy = entry.policy;
    policy.generation = host.generation;
    policy.echo = static_cast<std::uint8_t>(host.config.echo);
    policy.event_interval_us = event_interval_us;
    policy.event_burst = event_burst;
    if (host.config.magic.secureon) {
        policy.flags |= PZ_POLICY_SECUREON;
        std::ranges::copy(*host.config.magic.secureon, policy.secureon);
    }
    static const std::vector<WakeRule> any_tcp{{.protocol = IPPROTO_TCP, .port = 0}}; // R30
    for (const auto& rule : host.config.wake.empty() ? any_tcp : host.config.wake)
        policy.rules[policy.rule_count++] = {.port = rule.port, .protocol = rule.protocol, .action = PZ_RULE_WAKE};
    return entry;
}

std::vector<Departure> Daemon::magic_frames(const Host& host, const Segment& segment) const {
    const PacketSocket* socket = &segment.port->socket;
    const MacAddress& sender = segment.port->link.mac;
    const auto own = link_addresses(segment.port->link.ifindex).value_or(std::vector<IpAddress>{});
    const auto source = std::ranges::find_if(own, &IpAddress::is_v4);
    std::vector<Departure> frames;
    // every MAC of the host: which of its NICs hears now, nobody knows
    for (const auto& mac : host.config.macs) {
        frames.push_back({socket, build_magic_ethernet(sender, mac, host.config.magic.secureon, segment.tags)});
        if (source != own.end())
            frames.push_back({socket, build_magic_udp(sender, *source, mac, host.config.magic.udp_port,
                                                      host.config.magic.secureon, segment.tags)});
    }
    return frames;
}

void Daemon::accept(const Segment& segment, HostId host, const MacAddress& mac) {
    PacketSocket* socket = &segment.port->socket;
    Seen& seen = seen_[host];
    if (std::ranges::find(seen.accepted, mac) != seen.accepted.end())
        return;
    if (joins_[{socket, mac}]++ == 0)
        if (auto joined = socket->join(mac); !joined)
            spdlog::warn("{}: frames to {} may not arrive: {}", segment.port->link.name, mac.to_string(),
                         joined.error().message);
    seen.joined_on = socket;
    seen.accepted.push_back(mac);
}

Result<> Daemon::watch(const Host& host, const Segment& segment, bool serve) {
    const auto entry = entry_of(host, segment);
    if (!serve)
        return fastpath_->watch(entry);
    // a trigger may come with the next frame: everything that it needs is there before the kernel is told
    if (host.identity == Identity::host)
        for (const auto& mac : host.config.macs)
            accept(segment, host.id, mac);
    for (const auto& address : entry.addresses)
        if (address.is_v6())
            accept(segment, host.id, multicast_mac(solicited_node_group(address)));
    plans_.set(host.id, std::make_shared<const WakePlan>(
                            WakePlan{.generation = host.generation, .magic = magic_frames(host, segment)}));
    auto served = fastpath_->serve(entry);
    if (!served) // what cannot be programmed is not in our care
        react(table_.request_release(host.config.name, now()).value_or(Effects{}));
    return served;
}

void Daemon::forget(HostId host) {
    fastpath_->forget(host);
    plans_.erase(host);
    const auto found = seen_.find(host);
    if (found == seen_.end())
        return;
    for (const auto& mac : found->second.accepted) {
        const auto join = joins_.find({found->second.joined_on, mac});
        if (join == joins_.end() || --join->second > 0)
            continue;
        joins_.erase(join);
        if (auto left = found->second.joined_on->leave(mac); !left)
            spdlog::warn("{}", left.error().message);
    }
    found->second.accepted.clear();
    if (table_.get(host) == nullptr)
        seen_.erase(found);
}

void Daemon::send(const Segment& segment, ByteView frame, std::string_view what) {
    if (auto sent = segment.port->socket.send(frame); !sent)
        spdlog::warn("{}: {} not sent: {}", segment.port->link.name, what, sent.error().message);
}

void Daemon::announce(const Host& host, const Segment& segment, bool once) {
    const auto entry = entry_of(host, segment);
    const bool as_proxy = host.identity == Identity::proxy;
    for (const auto& address : entry.addresses) {
        const Bytes frame = address.is_v4() ? build_arp_announcement(entry.answer_mac, address, segment.tags)
                                            : build_unsolicited_na(entry.answer_mac, entry.answer_mac, address,
                                                                   !as_proxy, segment.tags);
        send(segment, frame, "announcement");
        if (once) // one frame is enough for a switch to learn from
            return;
    }
}

void Daemon::hand_back(const Host& host, const Segment& segment, const IpAddress& address) {
    const MacAddress& own = segment.port->link.mac;
    const MacAddress mac = owner_mac(host);
    Bytes frame = address.is_v4() ? build_arp_announcement(mac, address, segment.tags)
                                  : build_unsolicited_na(own, mac, address, true, segment.tags);
    set_ethernet(frame, address.is_v4() ? MacAddress::broadcast() : multicast_mac(*IpAddress::parse("ff02::1")),
                 own); // nothing leaves with the host's MAC any more
    send(segment, frame, "announcement");
}

MacAddress Daemon::owner_mac(const Host& host) const {
    const auto found = seen_.find(host.id);
    return found == seen_.end() || found->second.mac_generation != host.generation ? host.config.macs.front()
                                                                                   : found->second.mac;
}

void Daemon::send_magic(const Host& host, const Segment& segment) {
    for (const auto& departure : magic_frames(host, segment))
        send(segment, departure.frame, "Magic Packet");
}

void Daemon::probe(const Host& host, const Segment& segment, const IpAddress& address) {
    const auto own = link_addresses(segment.port->link.ifindex);
    if (!own) {
        spdlog::warn("{}: {}", segment.port->link.name, own.error().message);
        return;
    }
    const MacAddress& mac = segment.port->link.mac;
    // link-local first for ND: it is always on-link; never from no address, which would look like a rival's probe
    auto source = std::ranges::find_if(*own, [&](const IpAddress& candidate) {
        return candidate.family == address.family && (address.is_v4() || candidate.is_link_local());
    });
    if (source == own->end())
        source = std::ranges::find(*own, address.family, &IpAddress::family);
    if (source == own->end()) {
        spdlog::debug("{}: cannot probe {}: {} has no address of that family", host.config.name, address.to_string(),
                      segment.port->link.name);
        return;
    }
    send(segment,
         address.is_v4() ? build_arp_request(mac, *source, address, segment.tags)
                         : build_neighbor_solicitation(mac, *source, address, segment.tags),
         "probe");
}

void Daemon::deliver(const Host& host, const Segment& segment, const IpAddress& address) {
    const MacAddress mac = owner_mac(host);
    for (auto& packet : hold_.take(host.id, address)) {
        if (!complete_checksum(packet.frame))
            spdlog::debug("{}: held packet without a checksum of ours", host.config.name);
        set_ethernet(packet.frame, mac, segment.port->link.mac);
        send(segment, packet.frame, "held packet");
        spdlog::info("{}: delivered a packet of {} bytes to {} after {} ms", host.config.name, packet.frame.size(),
                     address.to_string(), milliseconds(now() - packet.arrived));
    }
}

} // namespace pz
