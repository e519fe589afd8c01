// SPDX-License-Identifier: Apache-2.0
// What the presence table does on the edges of its state machine: docs/states.md says it in words.
#include "hosts/table.h"

#include <algorithm>
#include <functional>
#include <iterator>
#include <ranges>
#include <utility>

#include <boost/container/static_vector.hpp>
#include <boost/container_hash/hash.hpp>
#include <spdlog/fmt/fmt.h>

#include "base/text.h"

namespace pz {

namespace {

using Kind = Effect::Kind;

/// Whether an owner that shows `sign` uses the address in the event.  A probe and DAD come before the address is usable
/// (RFC 5227 §2.1, RFC 4862 §5.4).  DHCP, a group message or a reply to our probe say it only as an event of kind
/// PROOF.
bool proves_address(pz_event_kind kind, pz_sign sign) {
    switch (sign) {
    case PZ_SIGN_ARP_REQUEST:
    case PZ_SIGN_ARP_ANNOUNCEMENT:
    case PZ_SIGN_ND:
    case PZ_SIGN_IP:
        return true;
    case PZ_SIGN_ARP_PROBE:
    case PZ_SIGN_DAD:
        return false;
    case PZ_SIGN_NONE:
    case PZ_SIGN_DHCP:
    case PZ_SIGN_GROUP:
    case PZ_SIGN_REPLY:
        break;
    }
    return kind == PZ_EVENT_PROOF;
}

double in_seconds(Duration duration) {
    return std::chrono::duration<double>(duration).count();
}

constexpr int resumed_announcements = 6; // the last one a minute after the first: spanning tree may eat the others

bool contains(const std::vector<IpAddress>& list, const IpAddress& ip) {
    return std::ranges::find(list, ip) != list.end();
}

bool is_configured(const HostConfig& config, const IpAddress& ip) {
    return std::ranges::find(config.addresses, ip, &HostAddress::ip) != config.addresses.end();
}

bool is_configured(const Host& host, const IpAddress& ip) {
    return std::ranges::find(host.addresses, ip, &OwnAddress::ip) != host.addresses.end();
}

bool is_learned(const Host& host, const IpAddress& ip) {
    return std::ranges::find(host.extra->learned, ip, &LearnedAddress::ip) != host.extra->learned.end();
}

/// Of the learned addresses the one that was not used for the longest time.
std::vector<LearnedAddress>::const_iterator oldest(const Host& host) {
    return std::ranges::min_element(host.extra->learned, {}, &LearnedAddress::used);
}

/// Of those that can be asked for.
std::optional<IpAddress> used_last(const Host& host) {
    const LearnedAddress* last = nullptr;
    for (const LearnedAddress& learned : host.extra->learned)
        if (learned.can_ask && (last == nullptr || learned.used > last->used))
            last = &learned;
    return last == nullptr ? std::nullopt : std::optional(last->ip);
}

bool is_held(const Host& host, const IpAddress& ip) {
    return is_configured(host, ip) || is_learned(host, ip);
}

/// Awake, but held packets wait for their address, so the kernel still watches the owner.
bool is_returning(const Host& host) {
    return host.state == HostState::awake && !host.extra->awaited.empty();
}

void add(Effects& effects, Kind kind, const Host& host, std::optional<IpAddress> address = std::nullopt) {
    effects.push_back(Effect{kind, host.id, address, {}});
}

void add_notice(Effects& effects, const Host& host, Effect::Notice notice, std::string text) {
    effects.push_back(Effect{Kind::notice, host.id, std::nullopt, std::move(text), notice});
}

/// While it is awake somebody has to look at it: nobody tells when it falls asleep, or which addresses it has.
bool is_to_check(const HostOptions& options) {
    return options.agentless || options.learn;
}

bool is_checked(const Host& host) {
    return host.state == HostState::awake && is_to_check(host.options) && !is_returning(host);
}

/// The kernel watches it as a host to check, which it was until it was configured anew.
bool is_checked_no_more(const Host& host) {
    return host.activity->next_check && !is_to_check(host.options);
}

/// The only way into a state.  There is an edge for the event: who calls has looked.
void enter(Host& host, StateEvent event, std::string reason, Instant now, Effects& effects) {
    const HostState from = std::exchange(host.state, next_state(host.state, event).value_or(host.state));
    effects.push_back(Effect{.kind = Kind::edge, .host = host.id, .text = reason, .from = from, .to = host.state});
    if (host.state != HostState::waking) // which answers as soon as the host would have been answered for asleep
        host.activity.edit().resumes.reset();
    host.activity.edit().next_check.reset();
    host.since = now;
    host.since_reason = std::move(reason);
}

/// Marks the addresses whose validity has ended; returns those that were not marked before.
std::vector<IpAddress> expire(Host& host, Instant now) {
    std::vector<IpAddress> fresh;
    for (std::size_t i = 0; i < host.extra->valid_until.size(); i++) {
        const IpAddress& ip = host.addresses[i].ip;
        const auto& until = host.extra->valid_until[i];
        if (until && *until <= now && !contains(host.extra->expired, ip))
            fresh.push_back(ip);
    }
    if (!fresh.empty())
        std::ranges::copy(fresh, std::back_inserter(host.extra.edit().expired));
    return fresh;
}

/// When an address that is valid until then is to be renewed.
Instant renew_at(const Host& host, Instant until, const Timers& timers) {
    return until - std::min(timers.renew_ahead, Duration(until - host.configured) / 4);
}

/// The first address that its host has to be woken for, and when.  Temporary ones end, and their host makes others.
std::optional<std::pair<Instant, IpAddress>> renewal(const Host& host, const Timers& timers) {
    std::optional<std::pair<Instant, IpAddress>> first;
    if (host.woken_to_renew)
        return first;
    for (std::size_t i = 0; i < host.extra->valid_until.size(); i++) {
        const OwnAddress& address = host.addresses[i];
        const auto& until = host.extra->valid_until[i];
        if (!until || address.temporary || contains(host.extra->expired, address.ip) ||
            contains(host.extra->let_go, address.ip))
            continue;
        // not before its NIC was asked whether it answers by itself
        const Instant at = std::max(renew_at(host, *until, timers), host.since + timers.base_line);
        if (at < *until && (!first || at < first->first))
            first.emplace(at, address.ip);
    }
    return first;
}

void add_expiry_notice(Effects& effects, const Host& host, const IpAddress& ip) {
    add_notice(effects, host, Effect::Notice::address_expired,
               fmt::format("{} is past its validity and no longer answered", ip.to_string()));
}

/// The back-off, the probes and the time limit of a wake begin.
void start_wake_timers(Host& host, const Timers& timers, Instant now) {
    host.activity.edit().state_deadline = now + timers.wake_limit;
    host.activity.edit().magic_retry = timers.magic_first_retry;
    host.activity.edit().next_magic = now + host.activity->magic_retry;
    host.activity.edit().next_probe = now + timers.waking_probe;
}

void start_waking(Host& host, const Timers& timers, bool magic_sent, StateEvent event, std::string reason, Instant now,
                  Effects& effects) {
    enter(host, event, std::move(reason), now, effects);
    host.wake_wanted = false;
    ++host.wakes;
    host.activity.edit().triggered = now;
    start_wake_timers(host, timers, now);
    host.activity.edit().held_until = host.activity->state_deadline;
    if (!host.activity->resumes)
        add(effects, Kind::stage_waking, host);
    if (!magic_sent)
        add(effects, Kind::send_magic, host);
}

/// Asleep: somebody wanted it woken before it slept, or one of its addresses is to be renewed.  False: not now.
bool wake_if_due(Host& host, const Timers& timers, Instant now, Effects& effects) {
    if (host.wake_wanted && now >= host.since + timers.base_line) {
        start_waking(host, timers, false, StateEvent::wake_request, "wake requested", now, effects);
        return true;
    }
    const auto due = renewal(host, timers);
    if (!due || now < due->first)
        return false;
    host.woken_to_renew = true;
    start_waking(host, timers, false, StateEvent::renewal, fmt::format("{} is to be renewed", due->second.to_string()),
                 now, effects);
    return true;
}

/// Asks for the addresses that packets wait for.
void probe_awaited(const Host& host, Effects& effects) {
    for (const IpAddress& ip : host.extra->awaited)
        add(effects, Kind::probe, host, ip);
}

/// The rest of the awaited addresses is asked for, or there is nothing left to do in the kernel.
void await_or_forget(Host& host, const Timers& timers, Instant now, Effects& effects) {
    if (host.extra->awaited.empty()) {
        add(effects, Kind::forget, host);
        return;
    }
    probe_awaited(host, effects);
    host.activity.edit().state_deadline = now + timers.address_limit;
    host.activity.edit().next_probe = now + timers.probe_interval;
}

/// Those that have not expired: also those that were let go, which may be the only ones.
std::vector<IpAddress> served_addresses(const Host& host) {
    std::vector<IpAddress> served = held_addresses(host);
    std::erase_if(served, [&](const IpAddress& ip) { return contains(host.extra->expired, ip); });
    return served;
}

/// Asks for every one of them.
void probe_served(const Host& host, Effects& effects) {
    for (const IpAddress& ip : served_addresses(host))
        add(effects, Kind::probe, host, ip);
}

/// The first announcement, and when the others come: `count` more, in intervals that double from `interval` on.
void announce(Host& host, const Timers& timers, int count, Duration interval, Instant now, Effects& effects) {
    add(effects, Kind::announce, host);
    host.activity.edit().announcements_left = count;
    host.activity.edit().announce_interval = 2 * interval;
    host.activity.edit().next_announce = now + interval;
    host.next_refresh = now + timers.switch_refresh;
}

/// The first announcement comes when it is its turn: not before others are answered for.
void announce_later(Host& host, const Timers& timers, int count, Duration interval, Instant first) {
    host.activity.edit().announcements_left = count + 1;
    host.activity.edit().announce_interval = interval;
    host.activity.edit().next_announce = first;
    host.next_refresh = first + timers.switch_refresh;
}

/// Its owner is silent: it is answered for from now on.
void fall_asleep(Host& host, const Timers& timers, std::string reason, Instant now, Effects& effects) {
    for (const IpAddress& ip : host.extra->let_go)
        reason += fmt::format("; {} is not answered for, another node used it", ip.to_string());
    enter(host, StateEvent::silence, std::move(reason), now, effects);
    host.extra.edit().hand_back.reset();
    add(effects, Kind::serve, host);
    // whoever answers these is the NIC: its replies prove nothing later (event nic-answers)
    probe_served(host, effects);
    if (host.extra->learned.empty())
        return announce(host, timers, 1, timers.announce_interval, now, effects);
    // another node may have one of the learned ones by now, and answers; nobody shall be told before that
    announce_later(host, timers, 1, timers.announce_interval, now + timers.announce_interval);
}

/// Asks a host that may be up by now: for the addresses that packets wait for, else for any one.
void probe_waking(const Host& host, Effects& effects) {
    probe_awaited(host, effects);
    if (!host.extra->awaited.empty())
        return;
    for (const IpAddress& ip : held_addresses(host))
        if (!contains(host.extra->expired, ip)) {
            add(effects, Kind::probe, host, ip);
            return;
        }
}

/// Asks a host that is looked for again, for its next address: any sign of it will do.
void probe_next(Host& host, Effects& effects) {
    HostActivity& activity = host.activity.edit();
    if (!std::exchange(activity.asks_again, false))
        activity.not_asked = 0;
    const std::vector<IpAddress> all = served_addresses(host);
    if (!all.empty())
        add(effects, Kind::probe, host, all[activity.probes++ % all.size()]);
}

/// The probes of a host that is asleep and looked for, or waking; when it is looked for its silence begins with the
/// first of them.
void ask(Host& host, const Timers& timers, Instant now, Effects& effects) {
    const std::size_t before = effects.size();
    HostActivity& activity = host.activity.edit();
    const bool is_first = activity.resumes == Instant::max();
    if (host.state == HostState::waking) {
        probe_waking(host, effects);
    } else if (is_first) {
        activity.probes = 0;
        probe_served(host, effects);
    } else {
        probe_next(host, effects);
    }
    activity.asked = effects.size() - before;
    activity.next_probe = now + timers.waking_probe;
    if (is_first)
        activity.resumes = now + timers.resume_silence;
}

/// The owner uses `ip`: packets held for it go out.
void prove(Host& host, const IpAddress& ip, Effects& effects) {
    std::erase(host.extra.edit().let_go, ip);
    if (is_held(host, ip) && !contains(host.extra->proven, ip)) {
        host.extra.edit().proven.push_back(ip);
        if (host.identity == Identity::proxy)
            add(effects, Kind::hand_back, host, ip);
    }
    if (std::erase(host.extra.edit().awaited, ip) != 0)
        add(effects, Kind::deliver, host, ip);
}

/// Returning: the addresses that packets wait for did not come back in time.
void give_up_return(Host& host, const Timers& timers, Effects& effects) {
    for (const IpAddress& ip : host.extra->awaited) {
        add(effects, Kind::drop_held, host, ip);
        add_notice(effects, host, Effect::Notice::address_not_back,
                   fmt::format("{} was not seen in use within {} s", ip.to_string(), in_seconds(timers.address_limit)));
    }
    host.extra.edit().awaited.clear();
    add(effects, Kind::forget, host);
}

/// Waking: the packets that wait for the host have waited for as long as they may.
void drop_overdue(Host& host, Effects& effects) {
    for (const IpAddress& ip : host.extra->awaited)
        add(effects, Kind::drop_held, host, ip);
    host.extra.edit().awaited.clear();
}

/// From arming: the owner goes on speaking for itself.
void stay_awake(Host& host, const Timers& timers, StateEvent event, std::string reason, Instant now, Effects& effects) {
    enter(host, event, std::move(reason), now, effects);
    add(effects, Kind::forget, host);
    if (host.extra->hand_back)
        host.extra.edit().hand_back = now + timers.hand_back;
}

/// From asleep, waking or unreachable: the owner speaks for itself again.
void give_back(Host& host, const Timers& timers, StateEvent event, std::string reason, std::optional<IpAddress> proven,
               Instant now, Effects& effects) {
    const bool was_asleep = host.state == HostState::asleep;
    enter(host, event, std::move(reason), now, effects);
    add(effects, Kind::stop_answering, host);
    if (host.identity == Identity::proxy)
        host.extra.edit().hand_back = now + timers.hand_back;
    for (const IpAddress& ip : host.extra->let_go) // does the owner use it again?
        if (is_served(host, ip) && !contains(host.extra->awaited, ip))
            host.extra.edit().awaited.push_back(ip);
    if (was_asleep && !host.extra->awaited.empty())
        add(effects, Kind::stage_waking, host); // its replies count now
    if (proven)
        prove(host, *proven, effects);
    await_or_forget(host, timers, now, effects);
}

const HostOffers& offers_of(const HostConfig& config) {
    return config.offers;
}

const HostOffers& offers_of(const Host& host) {
    return *host.offers;
}

/// Gives back what the state does not need.
void settle(Host& host) {
    const bool is_under_way =
        host.state == HostState::asleep
            ? host.activity->resumes || host.activity->announcements_left > 0
            : host.state != HostState::awake || is_checked(host) || is_returning(host) || host.activity->next_check;
    if (!is_under_way)
        host.activity.clear();
    host.extra.settle();
}

/// For the indexes.
std::size_t hash_of(std::string_view name) {
    return std::hash<std::string_view>{}(name);
}
template <class Key>
std::size_t hash_of(SegmentId segment, const Key& key) {
    std::size_t hash = std::hash<Key>{}(key);
    boost::hash_combine(hash, segment);
    return hash;
}
std::size_t hash_of_label(SegmentId segment, std::string_view label) {
    return hash_of(segment, lower(label));
}
std::size_t hash_of_service(SegmentId segment, std::string_view instance, std::string_view type) {
    std::size_t hash = hash_of(segment, lower(instance));
    boost::hash_combine(hash, hash_of(lower(type)));
    return hash;
}

/// The one of them that has the first label, whatever the case; nullptr: none.
const std::string* find_name(const HostOffers& offers, std::string_view label) {
    const auto found = std::ranges::find_if(
        offers.hostnames, [&](const auto& name) { return equal_whatever_case(single_label(name), label); });
    return found == offers.hostnames.end() ? nullptr : &*found;
}

} // namespace

std::string_view name_of(pz_sign sign) {
    switch (sign) {
    case PZ_SIGN_ARP_REQUEST:
        return "ARP request";
    case PZ_SIGN_ARP_PROBE:
        return "ARP probe";
    case PZ_SIGN_ARP_ANNOUNCEMENT:
        return "ARP announcement";
    case PZ_SIGN_DAD:
        return "duplicate address detection";
    case PZ_SIGN_ND:
        return "Neighbour Discovery";
    case PZ_SIGN_DHCP:
        return "DHCP";
    case PZ_SIGN_GROUP:
        return "IGMP or MLD";
    case PZ_SIGN_IP:
        return "IP packet";
    case PZ_SIGN_REPLY:
        return "reply";
    case PZ_SIGN_NONE:
        break;
    }
    return "frame";
}

HostConfig Host::config() const {
    HostConfig config;
    static_cast<HostOptions&>(config) = options;
    config.name = name;
    config.macs.assign(macs.begin(), macs.end());
    config.addresses.reserve(addresses.size());
    for (std::size_t i = 0; i < addresses.size(); i++)
        config.addresses.push_back({.ip = addresses[i].ip,
                                    .temporary = addresses[i].temporary,
                                    .valid_for = extra->valid_for.empty() ? std::nullopt : extra->valid_for[i]});
    config.offers = *offers;
    return config;
}

void Host::configure(const HostConfig& config) {
    name = config.name;
    macs.assign(config.macs.begin(), config.macs.end());
    addresses.clear();
    addresses.reserve(config.addresses.size());
    for (const HostAddress& address : config.addresses)
        addresses.push_back({.ip = address.ip, .temporary = address.temporary});
    const auto has_end = [](const HostAddress& address) { return address.valid_for.has_value(); };
    if (const bool ends = std::ranges::any_of(config.addresses, has_end); ends || !extra->valid_for.empty()) {
        auto& valid_for = extra.edit().valid_for;
        valid_for.clear();
        if (ends)
            std::ranges::transform(config.addresses, std::back_inserter(valid_for), &HostAddress::valid_for);
    }
    offers.clear();
    if (config.offers != HostOffers{})
        offers.edit() = config.offers;
    if (const HostOptions& wanted = config; options.get() != wanted) // to look for those of others takes longer
        options = wanted;
}

std::vector<IpAddress> held_addresses(const Host& host) {
    std::vector<IpAddress> held;
    held.reserve(host.addresses.size() + host.extra->learned.size());
    for (const OwnAddress& address : host.addresses)
        held.push_back(address.ip);
    for (const LearnedAddress& learned : host.extra->learned)
        held.push_back(learned.ip);
    return held;
}

bool is_served(const Host& host, const IpAddress& ip) {
    return is_held(host, ip) && !contains(host.extra->expired, ip);
}

std::vector<IpAddress> answered_addresses(const Host& host) {
    std::vector<IpAddress> answered = served_addresses(host);
    std::erase_if(answered, [&](const IpAddress& ip) { return contains(host.extra->let_go, ip); });
    return answered;
}

Result<> PresenceTable::check(const HostConfig& config, SegmentId segment, bool replace) {
    Host* const old = PZ_TRY(settable(config, segment, replace));
    return check_room(config, segment, old, true);
}

/// The host that `config` is to replace; nullptr: there is none.
Result<Host*> PresenceTable::settable(const HostConfig& config, SegmentId segment, bool replace) {
    PZ_TRY(validate(config));
    if (segment == PZ_NO_SEGMENT)
        return fail(Errc::invalid,
                    fmt::format("interface '{}': is not served, must be one of proxzzyd's", config.interface),
                    "interface");
    Host* const old = find_host(config.name);
    if (old != nullptr) {
        if (!replace)
            return fail(
                Errc::exists,
                fmt::format("name '{}': there is such a host already; replace it, or choose another name", config.name),
                "name");
        if (old->state != HostState::awake)
            return fail(Errc::busy,
                        fmt::format("name '{}': the host is {} and can be changed only while awake; release it first",
                                    config.name, to_string(old->state)),
                        "name");
        if (is_returning(*old))
            return fail(
                Errc::busy,
                fmt::format("name '{}': the host just woke up and packets wait for its addresses; try again in {} s",
                            config.name, in_seconds(options_.timers.address_limit)),
                "name");
    }
    return old;
}

Result<HostId> PresenceTable::set(const HostConfig& config, SegmentId segment, bool replace, Instant now) {
    Host* const old = PZ_TRY(settable(config, segment, replace));
    PZ_TRY(check_room(config, segment, old, false));

    make_room();
    HostId id = 0;
    if (old != nullptr) {
        id = old->id;
        unindex(*old);
    } else {
        id = take_id(std::nullopt);
        hosts_[id] = std::make_unique<Host>();
    }
    Host& host = at(id);
    if (old != nullptr) {
        HostExtra& extra = host.extra.edit();
        // another machine, or elsewhere: what was learned is nothing to it
        if (!config.learn || segment != host.segment || !std::ranges::equal(config.macs, host.macs))
            extra.learned.clear();
        std::erase_if(extra.learned, [&](const LearnedAddress& learned) { return is_configured(config, learned.ip); });
        while (config.addresses.size() + extra.learned.size() > max_addresses)
            extra.learned.erase(oldest(host));
        extra.valid_until.clear();
        extra.expired.clear();
        extra.let_go.clear();
        extra.hand_back.reset();
        extra.told_no_address = false;
    } else {
        host.id = id;
        host.since = now;
        host.since_reason = "configured";
    }
    host.segment = segment;
    host.identity = config.identity.value_or(options_.default_identity);
    host.configure(config);
    host.configured = now;
    for (const auto& valid_for : host.extra->valid_for)
        host.extra.edit().valid_until.push_back(valid_for ? std::optional(now + *valid_for) : std::nullopt);
    host.woken_to_renew = false;
    index(host);
    if (is_to_check(host.options) && host.activity->next_check)
        host.activity.edit().next_check.reset(); // the kernel is told anew
    schedule(host);
    return id;
}

/// `wanted` if it is free, else the lowest one; its place in hosts_ is there, and empty.
HostId PresenceTable::take_id(std::optional<HostId> wanted) {
    const auto free = [this](HostId id) {
        free_ids_.push_back(id);
        std::ranges::push_heap(free_ids_, std::greater());
    };
    if (wanted && *wanted < options_.max_hosts)
        while (hosts_.size() <= *wanted) {
            free(static_cast<HostId>(hosts_.size()));
            hosts_.emplace_back();
        }
    if (wanted && *wanted < hosts_.size() && !hosts_[*wanted])
        return *wanted; // free_ids_ is told when it comes to it
    while (!free_ids_.empty()) {
        std::ranges::pop_heap(free_ids_, std::greater());
        const HostId id = free_ids_.back();
        free_ids_.pop_back();
        if (!hosts_[id])
            return id;
    }
    hosts_.emplace_back();
    return static_cast<HostId>(hosts_.size() - 1);
}

Result<Effects> PresenceTable::restore(Host record, pz_stage stage, Instant now) {
    each_key(record, [](const HostIndex& index, const auto& hash) { index.prefetch(hash()); });
    if (find(record.name) != nullptr)
        return fail(Errc::exists, fmt::format("name '{}': there is such a host already", record.name), "name");
    PZ_TRY(check_room(record, record.segment, nullptr, true));
    Effects effects = forget_others(record, record.segment);
    make_room();
    const HostId id = take_id(record.id);
    if (id != record.id)
        stage = PZ_STAGE_NONE; // that was another record of the kernel's
    record.id = id;
    record.since = std::min(record.since, now); // the wall clock that they were stored by may have been ahead
    record.configured = std::min(record.configured, now);
    record.due = never;
    record.activity.clear();
    record.identity = record.options.get().identity.value_or(options_.default_identity);
    skip_generations(record.generation);
    hosts_[id] = std::make_unique<Host>(std::move(record));
    Host& host = at(id);
    std::vector<LearnedAddress> learned;
    if (!host.extra->learned.empty())
        learned = std::exchange(host.extra.edit().learned, {});
    index(host);
    for (LearnedAddress& each : learned)
        if (host.options.get().learn && find(host.segment, each.ip) == nullptr && has_room_for(each.ip) &&
            held_addresses(host).size() < max_addresses)
            learn(host, std::move(each));
    if (host.state == HostState::awake) {
        // neighbours may still know our MAC
        if (host.identity == Identity::proxy && host.generation != 0 && now < host.since + options_.timers.hand_back)
            host.extra.edit().hand_back = now + options_.timers.hand_back;
    } else {
        for (const IpAddress& ip : expire(host, now))
            add_expiry_notice(effects, host, ip);
        resume_care(host, stage, now, effects);
    }
    keep_off_the_wire(host, effects);
    schedule(host);
    return effects;
}

/// A restored host that is not awake.
void PresenceTable::resume_care(Host& host, pz_stage stage, Instant now, Effects& effects) {
    const Timers& timers = options_.timers;
    const bool answers = stage == PZ_STAGE_ASLEEP || stage == PZ_STAGE_WAKING; // and watched the owner ever since
    const bool was_arming = host.state == HostState::arming;
    if (was_arming && stage == PZ_STAGE_ARMING) {
        add(effects, Kind::watch, host);
        host.activity.edit().last_owner_frame = now;
        host.activity.edit().state_deadline = now + timers.arming_limit;
        return;
    }
    // the kernel may be further than what was stored; and who was about to sleep when nobody watched is asleep by now,
    // or it answers when it is looked for
    if (was_arming)
        host.state = HostState::asleep;
    if (host.state == HostState::asleep && stage == PZ_STAGE_WAKING)
        host.state = HostState::waking;
    const bool is_looked_for = !has_link(host) || !answers;
    add(effects, host.state == HostState::unreachable || is_looked_for ? Kind::serve_unanswered : Kind::serve, host);
    if (host.state == HostState::unreachable) {
        host.activity.edit().magic_retry = timers.sought_first_retry;
        host.activity.edit().next_magic = now;
        return;
    }
    host.activity.edit().triggered = now;
    start_wake_timers(host, timers, now);
    host.activity.edit().held_until = host.activity->state_deadline;
    host.activity.edit().announcements_left = 0;
    host.next_refresh = now; // nobody knows when the last one was
    if (is_looked_for) {
        host.activity.edit().resumes = Instant::max();
        if (has_link(host))
            resume(host, now, effects);
    } else if (host.state == HostState::waking) {
        add(effects, Kind::stage_waking, host);
        add(effects, Kind::send_magic, host);
    }
}

Result<Effects> PresenceTable::remove(std::string_view name) {
    Host* const host = PZ_TRY(host_named(name));
    Effects effects;
    add(effects, Kind::forget, *host);
    add(effects, Kind::drop_held, *host);
    unindex(*host);
    const HostId id = host->id;
    free_ids_.push_back(id);
    std::ranges::push_heap(free_ids_, std::greater());
    hosts_[id].reset();
    drop_stale(soon_);
    drop_stale(later_);
    return effects;
}

Host* PresenceTable::find_host(std::string_view name) {
    const auto found = by_name_.find(hash_of(name), [&](HostId id) { return hosts_[id]->name == name; });
    return found ? hosts_[*found].get() : nullptr;
}

const Host* PresenceTable::find(std::string_view name) const {
    const auto found = by_name_.find(hash_of(name), [&](HostId id) { return hosts_[id]->name == name; });
    return found ? hosts_[*found].get() : nullptr;
}

const Host* PresenceTable::get(HostId id) const {
    return id < hosts_.size() ? hosts_[id].get() : nullptr;
}

const Host* PresenceTable::find(SegmentId segment, const IpAddress& ip) const {
    const auto found = index_of(ip).find(
        hash_of(segment, ip), [&](HostId id) { return hosts_[id]->segment == segment && is_held(*hosts_[id], ip); });
    return found ? hosts_[*found].get() : nullptr;
}

const Host* PresenceTable::find(SegmentId segment, const MacAddress& mac) const {
    const auto found = by_mac_.find(hash_of(segment, mac), [&](HostId id) {
        const Host& host = *hosts_[id];
        return host.segment == segment && std::ranges::find(host.macs, mac) != host.macs.end();
    });
    return found ? hosts_[*found].get() : nullptr;
}

const Host* PresenceTable::find_label(SegmentId segment, std::string_view label) const {
    const auto found = by_offer_.find(hash_of_label(segment, label), [&](HostId id) {
        return hosts_[id]->segment == segment && find_name(*hosts_[id]->offers, label) != nullptr;
    });
    return found ? hosts_[*found].get() : nullptr;
}

const Host* PresenceTable::find_service(SegmentId segment, std::string_view instance, std::string_view type) const {
    const auto found = by_offer_.find(hash_of_service(segment, instance, type), [&](HostId id) {
        const HostOffers& offers = *hosts_[id]->offers;
        return hosts_[id]->segment == segment && std::ranges::any_of(offers.services, [&](const Service& service) {
                   return equal_whatever_case(service.type, type) &&
                          equal_whatever_case(instance_name(offers, service), instance);
               });
    });
    return found ? hosts_[*found].get() : nullptr;
}

std::vector<std::string> PresenceTable::names() const {
    std::vector<std::string> all;
    all.reserve(size());
    for (const auto& host : hosts_)
        if (host)
            all.push_back(host->name);
    std::ranges::sort(all);
    return all;
}

std::size_t PresenceTable::in_care() const {
    return static_cast<std::size_t>(
        std::ranges::count_if(hosts_, [](const auto& host) { return host && host->state != HostState::awake; }));
}

/// From here on nothing counts that was known of the owner before.
void PresenceTable::begin_care(Host& host, Instant now, Effects& effects) {
    HostExtra& extra = host.extra.edit();
    extra.proven.clear();
    extra.claims.clear();
    host.wake_wanted = false;
    for (const IpAddress& ip : expire(host, now))
        add_expiry_notice(effects, host, ip);
    host.generation = ++last_generation_;
}

Result<Effects> PresenceTable::request_sleep(std::string_view name, Instant now) {
    Host& host = *PZ_TRY(host_named(name));
    Effects effects;
    if (!next_state(host.state, StateEvent::sleep_request))
        return effects;
    if (host.state != HostState::awake || is_returning(host)) {
        // The wake, or the return, that is under way ends here.
        add(effects, Kind::forget, host);
        add(effects, Kind::drop_held, host);
        host.extra.edit().awaited.clear();
    }
    if (host.identity == Identity::proxy && (host.state == HostState::waking || host.state == HostState::unreachable))
        host.extra.edit().hand_back = now; // neighbours know our MAC: owed if the host does not fall asleep
    begin_care(host, now, effects);
    enter(host, StateEvent::sleep_request, "sleep requested", now, effects);
    host.activity.edit().state_deadline = now + options_.timers.arming_limit;
    host.activity.edit().last_owner_frame = now;
    add(effects, Kind::watch, host);
    schedule(host);
    return effects;
}

Result<Effects> PresenceTable::request_release(std::string_view name, Instant now) {
    Host& host = *PZ_TRY(host_named(name));
    Effects effects;
    switch (host.state) {
    case HostState::awake:
        return effects;
    case HostState::arming:
        stay_awake(host, options_.timers, StateEvent::release_request, "release requested", now, effects);
        break;
    case HostState::asleep:
    case HostState::waking:
    case HostState::unreachable:
        give_back(host, options_.timers, StateEvent::release_request, "release requested", std::nullopt, now, effects);
        break;
    }
    keep_off_the_wire(host, effects);
    schedule(host);
    return effects;
}

Result<Effects> PresenceTable::request_wake(std::string_view name, Instant now) {
    Host& host = *PZ_TRY(host_named(name));
    Effects effects;
    if (host.state != HostState::awake && !has_link(host))
        return fail(Errc::busy,
                    fmt::format("name '{}': its interface has no link, so no Magic Packet can leave; try again when "
                                "`proxzzyctl status` says that the interface is up",
                                name),
                    "name");
    switch (host.state) {
    case HostState::awake:
        return fail(Errc::busy, fmt::format("name '{}': the host is awake, only one in proxy care can be woken", name),
                    "name");
    case HostState::arming:
        // What a NIC hears before it sleeps is lost; and the host's last frames would look like a sign of life.
        host.wake_wanted = true;
        add(effects, Kind::send_magic, host);
        break;
    case HostState::unreachable:
        add(effects, Kind::serve, host); // anew: the gateway's MAC may be another one now
        [[fallthrough]];
    case HostState::asleep:
        start_waking(host, options_.timers, false, StateEvent::wake_request, "wake requested", now, effects);
        break;
    case HostState::waking:
        add(effects, Kind::send_magic, host);
        break;
    }
    schedule(host);
    return effects;
}

Effects PresenceTable::on_trigger(HostId id, std::uint32_t generation, std::optional<IpAddress> held, bool magic_sent,
                                  Instant now) {
    Effects effects;
    Host* const host = current(id, generation);
    if (host == nullptr) {
        // Held for an earlier care of this host, or for a host that had this id before.
        const Host* const other = get(id);
        if (held && (other == nullptr || !contains(other->extra->awaited, *held)))
            effects.push_back(Effect{Kind::drop_held, id, held, {}});
        return effects;
    }
    if (next_state(host->state, StateEvent::trigger))
        start_waking(*host, options_.timers, magic_sent, StateEvent::trigger,
                     held ? fmt::format("trigger: packet to {}", held->to_string()) : std::string("trigger"), now,
                     effects);
    if (held && !contains(host->extra->awaited, *held)) {
        const bool can_wait = host->state == HostState::waking || host->state == HostState::awake;
        if (!can_wait || !is_served(*host, *held)) {
            add(effects, Kind::drop_held, *host, held);
        } else if (host->state == HostState::waking) {
            if (host->extra->awaited.empty())
                host->activity.edit().held_until = host->activity->state_deadline;
            host->extra.edit().awaited.push_back(*held);
        } else if (contains(host->extra->proven, *held) && has_link(*host)) {
            add(effects, Kind::deliver, *host, held);
        } else {
            if (!is_returning(*host)) {
                host->activity.edit().next_check.reset(); // the kernel watches for something else
                add(effects, Kind::watch, *host);
                add(effects, Kind::stage_waking, *host);
                host->activity.edit().state_deadline = now + options_.timers.address_limit;
                host->activity.edit().next_probe = now + options_.timers.probe_interval;
            }
            host->extra.edit().awaited.push_back(*held);
            add(effects, Kind::probe, *host, held);
        }
    }
    keep_off_the_wire(*host, effects);
    schedule(*host);
    return effects;
}

Effects PresenceTable::on_owner(HostId id, std::uint32_t generation, pz_event_kind kind, pz_sign sign,
                                std::optional<IpAddress> address, Instant now) {
    Effects effects;
    Host* const host = current(id, generation);
    if (host == nullptr || (kind != PZ_EVENT_RELEASE && kind != PZ_EVENT_PROOF))
        return effects;
    if (!proves_address(kind, sign) || !has_link(*host)) // what is delivered now would be lost; it is asked for again
        address.reset();
    // A proof that overtook its release, or whose release was lost, says as much.  A reply may come from the NIC alone,
    // but the caller withholds those of NICs that answer for a sleeper; once it is to wake, and when its link is back,
    // what is left is the host itself.  Only for a served address: the NIC was not asked about any other.
    const bool asked =
        host->state == HostState::waking || host->state == HostState::unreachable || host->activity->resumes;
    const bool answers = asked && address && is_served(*host, *address);
    const bool alive = kind == PZ_EVENT_RELEASE || sign != PZ_SIGN_REPLY || answers;

    switch (host->state) {
    case HostState::awake: {
        const bool was_returning = is_returning(*host);
        if (address)
            prove(*host, *address, effects);
        if (was_returning && host->extra->awaited.empty())
            add(effects, Kind::forget, *host);
        break;
    }
    case HostState::arming:
        if (kind != PZ_EVENT_RELEASE)
            return effects;
        stay_awake(*host, options_.timers, StateEvent::sign_of_life, fmt::format("sign of life: {}", name_of(sign)),
                   now, effects);
        break;
    case HostState::waking:
        if (alive)
            host->extra.edit().last_wake_latency =
                std::max(Duration::zero(), Duration(now - host->activity->triggered));
        [[fallthrough]];
    case HostState::asleep:
    case HostState::unreachable:
        if (!alive)
            return effects;
        give_back(*host, options_.timers, StateEvent::sign_of_life, fmt::format("sign of life: {}", name_of(sign)),
                  address, now, effects);
        break;
    }
    keep_off_the_wire(*host, effects);
    schedule(*host);
    return effects;
}

Effects PresenceTable::on_use(HostId id, SegmentId segment, const MacAddress& mac, const IpAddress& address,
                              bool answered, Instant now) {
    Effects effects;
    if (get(id) == nullptr)
        return effects;
    Host& host = at(id);
    // the event may be about an earlier host of this id, or have waited
    if (host.state != HostState::awake || !host.options.get().learn || host.segment != segment ||
        std::ranges::find(host.macs, mac) == host.macs.end() || is_configured(host, address) ||
        !is_host_address(address))
        return effects;
    if (is_learned(host, address)) {
        *std::ranges::find(host.extra.edit().learned, address, &LearnedAddress::ip) = {.ip = address, .used = now};
        return effects;
    }
    if (answered || host.addresses.size() == max_addresses)
        return effects;
    if (const Host* const other = find(segment, address); other != nullptr) {
        if (!is_learned(*other, address) ||
            other->state != HostState::awake) { // of a sleeper the kernel tells a conflict
            add_notice(effects, host, Effect::Notice::not_learned,
                       fmt::format("{} uses {}, which {} has", mac.to_string(), address.to_string(), other->name));
            return effects;
        }
        forget_learned(at(other->id), address, fmt::format("{} uses it", host.name), effects);
    }
    if (!has_room_for(address)) {
        add_notice(effects, host, Effect::Notice::not_learned,
                   fmt::format("{} is not learned: the table is full", address.to_string()));
        return effects;
    }
    if (host.addresses.size() + host.extra->learned.size() == max_addresses)
        forget_learned(host, oldest(host)->ip, fmt::format("a host has at most {}", max_addresses), effects);
    if (address.is_v4()) // of which a host mostly has one: does it use the others still?
        for (LearnedAddress& other : host.extra.edit().learned)
            if (other.ip.is_v4())
                other.used = std::min(other.used, now - options_.timers.use_lasts);
    make_room();
    learn(host, {.ip = address, .used = now});
    host.extra.edit().told_no_address = false;
    if (const auto next = host.activity->next_check)
        host.activity.edit().next_check = std::min(*next, now + options_.timers.check_interval);
    add_notice(effects, host, Effect::Notice::address_learned,
               fmt::format("{} is learned: {} uses it", address.to_string(), mac.to_string()));
    schedule(host);
    return effects;
}

void PresenceTable::learn(Host& host, LearnedAddress address) {
    index_of(address.ip).insert(hash_of(host.segment, address.ip), host.id);
    host.extra.edit().learned.push_back(std::move(address));
}

/// `why` in words, for who reads events.
void PresenceTable::forget_learned(Host& host, IpAddress ip, std::string_view why, Effects& effects) {
    if (host.state != HostState::awake && host.state != HostState::arming)
        add(effects, Kind::stop_answering, host, ip);
    const bool was_returning = is_returning(host);
    if (std::erase(host.extra.edit().awaited, ip) != 0)
        add(effects, Kind::drop_held, host, ip);
    if (was_returning && host.extra->awaited.empty())
        add(effects, Kind::forget, host);
    std::erase(host.extra.edit().proven, ip);
    index_of(ip).erase(hash_of(host.segment, ip), host.id);
    std::erase_if(host.extra.edit().learned, [&](const LearnedAddress& learned) { return learned.ip == ip; });
    add_notice(effects, host, Effect::Notice::address_forgotten,
               fmt::format("{} is forgotten: {}", ip.to_string(), why));
    schedule(host);
}

Effects PresenceTable::make_way(const HostConfig& config, SegmentId segment) {
    return forget_others(config, segment);
}

template <class Config>
Effects PresenceTable::forget_others(const Config& config, SegmentId segment) {
    Effects effects;
    for (const auto& address : config.addresses)
        if (const Host* const other = find(segment, address.ip);
            other != nullptr && other->name != config.name && is_learned(*other, address.ip))
            forget_learned(at(other->id), address.ip, fmt::format("it is configured for {}", config.name), effects);
    return effects;
}

Effects PresenceTable::on_sought(HostId id, std::uint32_t generation, Instant now) {
    Effects effects;
    Host* const host = current(id, generation);
    if (host == nullptr || host->state != HostState::unreachable || !has_link(*host) ||
        now < host->activity->next_magic)
        return effects;
    add(effects, Kind::send_magic, *host);
    probe_served(*host, effects);
    host->activity.edit().magic_retry = std::min(host->activity->magic_retry * 2, options_.timers.sought_max_retry);
    host->activity.edit().next_magic = now + host->activity->magic_retry;
    return effects;
}

std::vector<HostId> PresenceTable::on_prefix(SegmentId segment, const IpAddress& prefix,
                                             std::optional<std::chrono::seconds> valid, Instant now) {
    std::vector<HostId> changed;
    constexpr std::size_t prefix_bytes = 8;
    constexpr auto two_hours = std::chrono::hours(2);
    const auto is_in = [&](const IpAddress& ip) {
        return std::ranges::equal(std::span(ip.bytes).first(prefix_bytes), std::span(prefix.bytes).first(prefix_bytes));
    };
    for (auto found = ending_.lower_bound({segment, prefix, 0});
         found != ending_.end() && std::get<0>(*found) == segment && is_in(std::get<IpAddress>(*found)); ++found) {
        Host& host = at(std::get<2>(*found));
        const auto address = std::ranges::find(host.addresses, std::get<IpAddress>(*found), &OwnAddress::ip);
        auto& until = host.extra.edit().valid_until[static_cast<std::size_t>(address - host.addresses.begin())];
        if (!until || contains(host.extra->expired, address->ip))
            continue;
        std::optional<Instant> extended = valid ? std::optional(now + *valid) : std::nullopt;
        if (extended && *valid <= two_hours && *extended <= *until)
            // RFC 4862 §5.5.3 e: nobody ends an address early by a forged advertisement
            extended = std::min(*until, now + two_hours);
        if (const Instant limit = host.configured + options_.timers.temporary_limit; address->temporary)
            extended = std::min(extended.value_or(limit), std::max(limit, *until));
        if (extended == until)
            continue;
        if (renew_at(host, *until, options_.timers) <= now && (!extended || *extended > *until))
            host.woken_to_renew = false; // it may have been woken for this one
        until = extended;
        schedule(host);
        changed.push_back(host.id);
    }
    return changed;
}

bool PresenceTable::not_probed(HostId id, const IpAddress& address, bool for_now) {
    if (get(id) == nullptr)
        return false;
    Host& host = at(id);
    if (is_checked(host) && is_learned(host, address))
        std::ranges::find(host.extra.edit().learned, address, &LearnedAddress::ip)->can_ask = false;
    if (!host.options.get().agentless && !for_now)
        return false;
    if (is_checked(host) && host.activity->unanswered > 0) {
        --host.activity.edit().unanswered;
        if (++host.activity.edit().not_asked >= held_addresses(host).size())
            return true;
        if (auto& next_check = host.activity.edit().next_check)
            *next_check -= options_.timers.check_interval; // the next address, at once
        host.activity.edit().asks_again = true;
        schedule(host);
        return false;
    }
    if (!host.activity->resumes || host.activity->asked == 0)
        return false;
    HostActivity& activity = host.activity.edit();
    if (--activity.asked > 0)
        return false;
    const bool is_one_of_several = host.state == HostState::asleep && activity.probes > 0; // probe_next()
    const bool has_others = is_one_of_several && ++activity.not_asked < served_addresses(host).size();
    if (has_others) {
        activity.next_probe -= options_.timers.waking_probe; // the next address, at once
        activity.asks_again = true;
    } else {
        activity.resumes = Instant::max(); // the silence begins when one can be sent
    }
    schedule(host);
    return !has_others;
}

Defence PresenceTable::defence(const Host& host, const IpAddress& address, Instant now) const {
    const bool in_care = host.state != HostState::awake && host.state != HostState::arming;
    if (!in_care || !is_served(host, address) || contains(host.extra->let_go, address))
        return Defence::none;
    if (is_learned(host, address))
        return Defence::forget; // that it has the address is no more than was seen
    if (host.activity->resumes)
        return Defence::none; // nobody knows yet whether it is there to settle it itself
    if (host.state == HostState::unreachable)
        return Defence::let_go; // nobody is there to settle it
    const auto last = host.extra->claims.find(address);
    return last != host.extra->claims.end() && now - last->second < options_.timers.defend_interval ? Defence::let_go
                                                                                                    : Defence::defend;
}

Effects PresenceTable::on_conflict(HostId id, std::uint32_t generation, const IpAddress& address, Instant now) {
    Effects effects;
    Host* const host = current(id, generation);
    if (host == nullptr)
        return effects;
    switch (defence(*host, address, now)) {
    case Defence::none:
        break;
    case Defence::defend:
        host->extra.edit().claims.insert_or_assign(address, now);
        add(effects, Kind::defend, *host, address);
        break;
    case Defence::let_go:
        host->extra.edit().let_go.push_back(address);
        add(effects, Kind::stop_answering, *host, address);
        if (next_state(host->state, StateEvent::conflict))
            start_waking(*host, options_.timers, false, StateEvent::conflict,
                         fmt::format("conflict: another node uses {}", address.to_string()), now, effects);
        break;
    case Defence::forget:
        forget_learned(*host, address, "another node uses it", effects);
        break;
    }
    keep_off_the_wire(*host, effects);
    schedule(*host);
    return effects;
}

Effects PresenceTable::tick(Instant now, const std::function<Instant(HostId)>& last_seen) {
    Effects effects;
    std::size_t turns = 0;
    const auto run_due = [&](Queue& queue, const auto& reset) {
        std::vector<HostId> due;
        for (; !queue.deadlines.empty() && queue.deadlines.front().first <= now && turns < hosts_at_a_time; ++turns) {
            due.push_back(queue.deadlines.front().second);
            reset(at(due.back()));
            drop_stale(queue);
        }
        for (const HostId id : due) {
            run(at(id), now, last_seen, effects);
            schedule(at(id));
        }
    };
    run_due(soon_, [](Host& host) { host.due = never; });
    run_due(later_, [](Host& host) { host.activity.edit().due_later = never; });
    return effects;
}

std::optional<Instant> PresenceTable::next_deadline() const {
    std::optional<Instant> next;
    for (const Queue* const queue : {&soon_, &later_})
        if (!queue->deadlines.empty())
            next = std::min(next.value_or(Instant::max()), queue->deadlines.front().first);
    return next;
}

// ---- links ----

Effects PresenceTable::link_lost(SegmentId segment) {
    Effects effects;
    if (!without_link_.insert(segment).second)
        return effects;
    for (const auto& each : hosts_) {
        if (!each || each->segment != segment)
            continue;
        Host& host = *each;
        if (host.state == HostState::asleep || host.state == HostState::waking) {
            host.activity.edit().resumes = Instant::max();
            add(effects, Kind::stage_unanswered,
                host); // before the first frame after the loss, which may be the owner's
        }
        schedule(host);
    }
    return effects;
}

Effects PresenceTable::link_back(SegmentId segment, Instant now) {
    Effects effects;
    if (without_link_.erase(segment) == 0)
        return effects;
    for (const auto& each : hosts_)
        if (each && each->segment == segment) {
            resume(*each, now, effects);
            schedule(*each);
        }
    return effects;
}

/// Goes on with a record after a time in which nobody heard its owner: what waited for its time waits from now, and
/// who is said to sleep is asked first, by the next tick: by then replies can be heard, and the ticks take turns with
/// everything else when there are many.
void PresenceTable::resume(Host& host, Instant now, Effects& effects) {
    const Timers& timers = options_.timers;
    switch (host.state) {
    case HostState::awake:
        if (host.extra->hand_back)
            host.extra.edit().hand_back = now + timers.hand_back;
        if (is_returning(host)) {
            probe_awaited(host, effects);
            host.activity.edit().next_probe = now + timers.probe_interval;
        }
        if (!is_checked_no_more(host)) // which the kernel is still to be told
            host.activity.edit().next_check.reset();
        break;
    case HostState::arming:
        host.activity.edit().last_owner_frame = now;
        host.activity.edit().state_deadline = now + timers.arming_limit;
        break;
    case HostState::asleep:
        host.activity.edit().next_probe = now;
        host.activity.edit().resumes = Instant::max();
        break;
    case HostState::waking:
        add(effects, Kind::send_magic, host);
        start_wake_timers(host, timers, now);
        host.activity.edit().next_probe = now;
        host.activity.edit().resumes = Instant::max();
        break;
    case HostState::unreachable:
        break;
    }
}

/// Packets keep their time limits; everything else waits for resume().
void PresenceTable::run_without_link(Host& host, Instant now, Effects& effects) {
    if (is_returning(host) && now >= host.activity->state_deadline)
        give_up_return(host, options_.timers, effects);
    else if (host.state == HostState::waking && now >= host.activity->held_until)
        drop_overdue(host, effects);
}

/// Takes out what would be sent to nobody.
void PresenceTable::keep_off_the_wire(const Host& host, Effects& effects) const {
    if (has_link(host))
        return;
    std::erase_if(effects, [](const Effect& effect) {
        return effect.kind == Kind::announce || effect.kind == Kind::hand_back || effect.kind == Kind::refresh ||
               effect.kind == Kind::send_magic || effect.kind == Kind::probe || effect.kind == Kind::defend;
    });
}

/// What is due for one host.
void PresenceTable::run(Host& host, Instant now, const std::function<Instant(HostId)>& last_seen, Effects& effects) {
    const Timers& timers = options_.timers;
    if (host.state != HostState::awake) {
        for (const IpAddress& ip : expire(host, now)) {
            add(effects, Kind::stop_answering, host, ip);
            add(effects, Kind::drop_held, host, ip);
            add_expiry_notice(effects, host, ip);
            std::erase(host.extra.edit().awaited, ip);
        }
    }
    if (!has_link(host))
        return run_without_link(host, now, effects);
    switch (host.state) {
    case HostState::awake:
        if (const auto hand_back = host.extra->hand_back; hand_back && now >= *hand_back) {
            for (const IpAddress& ip : answered_addresses(host))
                if (!contains(host.extra->proven, ip))
                    add(effects, Kind::hand_back, host, ip);
            host.extra.edit().hand_back.reset();
        }
        if (!is_returning(host))
            break;
        if (now >= host.activity->state_deadline) {
            give_up_return(host, timers, effects);
        } else if (now >= host.activity->next_probe) {
            probe_awaited(host, effects);
            host.activity.edit().next_probe = now + timers.probe_interval;
        }
        break;
    case HostState::arming:
        host.activity.edit().last_owner_frame = std::max(host.activity->last_owner_frame, last_seen(host.id));
        if (now >= host.activity->last_owner_frame + timers.arming_silence) {
            fall_asleep(host, timers, "silent after sleep was requested", now, effects);
        } else if (now >= host.activity->state_deadline) {
            stay_awake(host, timers, StateEvent::no_silence, "sleep abandoned", now, effects);
            add_notice(effects, host, Effect::Notice::sleep_abandoned,
                       fmt::format("the host was never silent for {} s within {} s", in_seconds(timers.arming_silence),
                                   in_seconds(timers.arming_limit)));
        }
        break;
    case HostState::asleep:
        if (const auto resumes = host.activity->resumes; resumes && now < *resumes) {
            if (now >= host.activity->next_probe)
                ask(host, timers, now, effects);
        } else if (host.activity->resumes) {
            host.activity.edit().resumes.reset();
            add(effects, Kind::serve, host);
            if (!wake_if_due(host, timers, now, effects))
                announce_later(host, timers, resumed_announcements, timers.resumed_announce, now);
        } else if (wake_if_due(host, timers, now, effects)) {
            break;
        } else if (host.activity->announcements_left > 0 && now >= host.activity->next_announce) {
            announce(host, timers, host.activity->announcements_left - 1, host.activity->announce_interval, now,
                     effects);
        } else if (now >= host.next_refresh) {
            add(effects, Kind::refresh, host);
            host.next_refresh = now + timers.switch_refresh;
        }
        break;
    case HostState::waking:
        if (now >= host.activity->state_deadline) {
            enter(host, StateEvent::no_wake, "did not wake in time", now, effects);
            add(effects, Kind::stage_unanswered, host);
            add(effects, Kind::drop_held, host);
            host.extra.edit().awaited.clear();
            host.activity.edit().magic_retry = timers.sought_first_retry;
            host.activity.edit().next_magic = now + host.activity->magic_retry;
            add_notice(effects, host, Effect::Notice::unreachable,
                       fmt::format("no sign of life within {} s of being woken", in_seconds(timers.wake_limit)));
            break;
        }
        if (now >= host.activity->held_until)
            drop_overdue(host, effects);
        if (const auto resumes = host.activity->resumes; resumes && now >= *resumes) {
            host.activity.edit().resumes.reset();
            add(effects, Kind::serve, host);
            add(effects, Kind::stage_waking, host);
        }
        if (now >= host.activity->next_magic) {
            add(effects, Kind::send_magic, host);
            host.activity.edit().magic_retry = std::min(host.activity->magic_retry * 2, timers.magic_max_retry);
            host.activity.edit().next_magic = now + host.activity->magic_retry;
        }
        if (now >= host.activity->next_probe)
            ask(host, timers, now, effects);
        break;
    case HostState::unreachable:
        break;
    }
    if (is_checked(host)) {
        check_awake(host, now, last_seen(host.id), effects);
    } else if (is_checked_no_more(host)) {
        host.activity.edit().next_check.reset();
        add(effects, Kind::forget, host);
    }
}

/// A host that is awake and to be checked.
void PresenceTable::check_awake(Host& host, Instant now, Instant last_seen, Effects& effects) {
    const Timers& timers = options_.timers;
    const std::optional<Instant> next_check = host.activity->next_check;
    if (!next_check) {
        add(effects, Kind::watch_awake, host);
        host.activity.edit().last_owner_frame = now;
        host.activity.edit().unanswered = 0;
        host.activity.edit().next_check = now + timers.check_interval;
        return;
    }
    if (now < *next_check)
        return;
    if (last_seen > host.activity->last_owner_frame) {
        host.activity.edit().last_owner_frame = last_seen;
        host.activity.edit().unanswered = 0;
    }
    if (host.options.get().agentless && now >= host.activity->last_owner_frame + timers.check_interval)
        check_silent(host, now, effects);
    else
        check_learned(host, now, effects);
}

/// An agentless host that was silent for a while is probed, and asleep when it does not answer.
void PresenceTable::check_silent(Host& host, Instant now, Effects& effects) {
    const Timers& timers = options_.timers;
    if (host.activity->unanswered == silent_probes) {
        begin_care(host, now, effects);
        fall_asleep(host, timers,
                    fmt::format("{} probes without an answer, silent for {:.0f} s", host.activity->unanswered,
                                in_seconds(now - host.activity->last_owner_frame)),
                    now, effects);
        return;
    }
    if (!std::exchange(host.activity.edit().asks_again, false))
        host.activity.edit().not_asked = 0;
    host.activity.edit().next_check = now + timers.check_interval;
    bool asked = false;
    // each in its turn, the host may have changed one; the last question is for the one that it used last
    for (auto all = held_addresses(host); !asked && !all.empty(); all = held_addresses(host)) {
        IpAddress ip = all[host.activity.edit().probes++ % all.size()];
        if (host.activity->unanswered + 1 == silent_probes)
            ip = used_last(host).value_or(ip);
        asked = ask_for(host, ip, now, effects);
    }
    if (asked) {
        ++host.activity.edit().unanswered;
    } else if (!std::exchange(host.extra.edit().told_no_address, true)) {
        add_notice(effects, host, Effect::Notice::no_address,
                   "is silent and cannot be probed, since no address of it is known: it will not be found asleep");
    }
}

/// A host that speaks, or whose silence means nothing, is asked for the learned addresses that it does not use.
void PresenceTable::check_learned(Host& host, Instant now, Effects& effects) {
    const Timers& timers = options_.timers;
    const auto next = [&](const LearnedAddress& learned) { return asked_next(host, learned); };
    bool asked = false;
    while (!asked && !host.extra->learned.empty()) {
        const auto first = std::ranges::min_element(host.extra->learned, {}, next);
        if (now < next(*first))
            break;
        asked = ask_for(host, first->ip, now, effects);
    }
    // one probe in each interval at the most, whatever it is for
    if (host.options.get().agentless && !asked)
        host.activity.edit().next_check = host.activity->last_owner_frame + timers.check_interval;
    else if (asked || host.extra->learned.empty())
        host.activity.edit().next_check = now + (asked ? timers.check_interval : timers.use_lasts);
    else
        host.activity.edit().next_check =
            std::max(now + timers.check_interval, std::ranges::min(host.extra->learned | std::views::transform(next)));
}

/// When it is due.  Whether a host that was not heard since it was asked is there, nobody knows.
Instant PresenceTable::asked_next(const Host& host, const LearnedAddress& learned) const {
    const Timers& timers = options_.timers;
    if (!learned.asked)
        return learned.used + timers.use_lasts;
    const bool is_there = learned.can_ask && host.activity->last_owner_frame > *learned.asked;
    return *learned.asked + (is_there ? timers.check_interval : timers.use_lasts);
}

/// Probes for `ip`.  False: it was learned and asked for often enough, so it is forgotten.
bool PresenceTable::ask_for(Host& host, IpAddress ip, Instant now, Effects& effects) {
    if (is_learned(host, ip)) {
        LearnedAddress& learned = *std::ranges::find(host.extra.edit().learned, ip, &LearnedAddress::ip);
        if (learned.asked && learned.can_ask && host.activity->last_owner_frame > *learned.asked &&
            ++learned.unanswered == silent_probes) {
            forget_learned(host, ip, "the host is there and does not answer for it", effects);
            return false;
        }
        learned.asked = now;
        learned.can_ask = true;
    }
    add(effects, Kind::probe, host, ip);
    return true;
}

/// Puts the host where tick() finds it in time.
void PresenceTable::schedule(Host& host) {
    Instant due = never;
    Instant due_later = never;
    const auto at = [&due](Instant instant) { due = std::min(due, instant); };
    switch (host.state) {
    case HostState::awake:
        if (!has_link(host)) {
            if (is_returning(host))
                at(host.activity->state_deadline);
            break;
        }
        if (is_returning(host)) {
            at(host.activity->next_probe);
            at(host.activity->state_deadline);
        }
        if (const auto hand_back = host.extra->hand_back)
            at(*hand_back);
        if (is_checked(host))
            at(host.activity->next_check.value_or(host.since));
        else if (is_checked_no_more(host))
            at(host.since);
        break;
    case HostState::arming:
        if (!has_link(host))
            break;
        at(host.activity->last_owner_frame + options_.timers.arming_silence);
        at(host.activity->state_deadline);
        break;
    case HostState::asleep:
        if (!has_link(host))
            break;
        if (const auto resumes = host.activity->resumes) {
            if (*resumes == Instant::max()) {
                at(host.activity->next_probe);
            } else {
                due_later = host.activity->next_probe;
                at(*resumes);
            }
            break;
        }
        if (host.wake_wanted)
            at(host.since + options_.timers.base_line);
        if (const auto to_renew = renewal(host, options_.timers))
            at(to_renew->first);
        if (host.activity->announcements_left > 0)
            due_later = host.activity->next_announce;
        at(host.next_refresh);
        break;
    case HostState::waking:
        if (!host.extra->awaited.empty())
            at(host.activity->held_until);
        if (!has_link(host))
            break;
        if (const auto resumes = host.activity->resumes)
            at(*resumes);
        at(host.activity->next_magic);
        at(host.activity->next_probe);
        at(host.activity->state_deadline);
        break;
    case HostState::unreachable:
        break;
    }
    if (host.state != HostState::awake)
        for (std::size_t i = 0; i < host.extra->valid_until.size(); i++)
            if (host.extra->valid_until[i] && !contains(host.extra->expired, host.addresses[i].ip))
                at(*host.extra->valid_until[i]);
    settle(host);
    put(soon_, host.due, due, host.id);
    if (due_later != host.activity->due_later)
        put(later_, host.activity.edit().due_later, due_later, host.id);
    drop_stale(later_); // also when settle() has let go of what was in there
}

/// `due` is the host's of that queue.
void PresenceTable::put(Queue& queue, Instant& due, Instant at, HostId id) {
    if (due == at)
        return;
    due = at;
    if (at != never) {
        queue.deadlines.emplace_back(at, id);
        std::ranges::push_heap(queue.deadlines, std::greater());
    }
    drop_stale(queue);
}

/// So that next_deadline() is one, and that there are never many others.
void PresenceTable::drop_stale(Queue& queue) {
    auto& deadlines = queue.deadlines;
    const auto is_stale = [&](const Deadline& deadline) {
        const Host* const host = get(deadline.second);
        return host == nullptr || queue.due(*host) != deadline.first;
    };
    if (constexpr std::size_t few = 64; deadlines.size() > 2 * size() + few) {
        std::erase_if(deadlines, is_stale);
        std::ranges::make_heap(deadlines, std::greater());
    }
    while (!deadlines.empty() && is_stale(deadlines.front())) {
        std::ranges::pop_heap(deadlines, std::greater());
        deadlines.pop_back();
    }
}

/// Whether `config` fits beside all hosts but `replaced`.  `makes_way`: what another host has learned goes.
template <class Config>
Result<> PresenceTable::check_room(const Config& config, SegmentId segment, const Host* replaced, bool makes_way) {
    const auto taken = [&](const auto& key) -> const Host* {
        const Host* const other = find(segment, key);
        return other == replaced ? nullptr : other;
    };
    for (const MacAddress& mac : config.macs)
        if (const Host* const other = taken(mac))
            return fail(Errc::exists,
                        fmt::format("mac {}: belongs to host '{}' on the same network, must be this host's own",
                                    mac.to_string(), other->name),
                        "mac");
    for (const auto& address : config.addresses)
        if (const Host* const other = taken(address.ip);
            other != nullptr && !(makes_way && is_learned(*other, address.ip)))
            return fail(Errc::exists,
                        fmt::format("ip {}: belongs to host '{}' on the same network, must be this host's own",
                                    address.ip.to_string(), other->name),
                        "ip");
    PZ_TRY(check_offers(offers_of(config), segment, replaced));
    if (replaced == nullptr && size() >= options_.max_hosts)
        return fail(Errc::limit,
                    fmt::format("name '{}': the table is full with {} hosts; remove one first", config.name, size()),
                    "name");
    const std::size_t macs = by_mac_.size() - (replaced != nullptr ? replaced->macs.size() : 0);
    if (macs + config.macs.size() > options_.max_macs)
        return fail(
            Errc::limit,
            fmt::format("mac: the {} MACs of host '{}' do not fit, the table holds {} of {}; remove a host first",
                        config.macs.size(), config.name, macs, options_.max_macs),
            "mac");
    for (const bool v4 : {true, false}) {
        const auto count = [v4](const auto& counted) {
            return static_cast<std::size_t>(std::ranges::count_if(
                counted.addresses, [v4](const auto& address) { return address.ip.is_v4() == v4; }));
        };
        const std::size_t used =
            (v4 ? by_address4_ : by_address6_).size() - (replaced != nullptr ? count(*replaced) : 0);
        if (count(config) > 0 && used + count(config) > room(v4))
            return fail(
                Errc::limit,
                fmt::format(
                    "ip: the {} {} addresses of host '{}' do not fit, the table holds {} of {}; remove a host first",
                    count(config), v4 ? "IPv4" : "IPv6", config.name, used, room(v4)),
                "ip");
    }
    return {};
}

/// Names and service instances are unique on a link (RFC 6762 §8, RFC 4795 §4).
Result<> PresenceTable::check_offers(const HostOffers& offers, SegmentId segment, const Host* replaced) const {
    for (const auto& name : offers.hostnames)
        if (const Host* const other = find_label(segment, single_label(name)); other != nullptr && other != replaced)
            return fail(Errc::exists,
                        fmt::format("hostname {}: host '{}' on the same network has {} already, the first label must "
                                    "be this host's own",
                                    in_quotes(name), other->name,
                                    in_quotes(*find_name(*other->offers, single_label(name)))),
                        "hostname");
    for (const Service& service : offers.services) {
        const std::string_view instance = instance_name(offers, service);
        if (const Host* const other = find_service(segment, instance, service.type);
            other != nullptr && other != replaced)
            return fail(Errc::exists,
                        fmt::format("service {}: host '{}' on the same network has the instance {} already, must be "
                                    "this host's own",
                                    in_quotes(service.type), other->name, in_quotes(instance)),
                        "service");
    }
    return {};
}

/// Calls `visit` with the index of everything that the host is found by, and a function that makes its hash.
template <class Visit>
void PresenceTable::each_key(const Host& host, const Visit& visit) {
    visit(by_name_, [&] { return hash_of(host.name); });
    for (const MacAddress& mac : host.macs)
        visit(by_mac_, [&] { return hash_of(host.segment, mac); });
    for (const OwnAddress& address : host.addresses)
        visit(index_of(address.ip), [&] { return hash_of(host.segment, address.ip); });
    for (const LearnedAddress& learned : host.extra->learned)
        visit(index_of(learned.ip), [&] { return hash_of(host.segment, learned.ip); });
    for (const auto& name : host.offers->hostnames)
        visit(by_offer_, [&] { return hash_of_label(host.segment, single_label(name)); });
    for (const Service& service : host.offers->services)
        visit(by_offer_,
              [&] { return hash_of_service(host.segment, instance_name(*host.offers, service), service.type); });
}

/// In all indexes, for one more host or address.
static_assert(max_hostnames + max_services <= max_addresses);
void PresenceTable::make_room() {
    boost::container::static_vector<HostIndex*, 5> small;
    for (HostIndex* const index : {&by_name_, &by_mac_, &by_address4_, &by_address6_, &by_offer_})
        if (!index->has_room(max_addresses))
            small.push_back(index);
    if (small.empty())
        return;
    for (HostIndex* const index : small)
        index->clear(index->size() + max_addresses);
    for (const auto& host : hosts_)
        if (host)
            each_key(*host, [&](HostIndex& index, const auto& hash) {
                if (std::ranges::find(small, &index) != small.end())
                    index.insert(hash(), host->id);
            });
}

void PresenceTable::index(const Host& host) {
    each_key(host, [&](HostIndex& index, const auto& hash) { index.insert(hash(), host.id); });
    if (!host.extra->valid_until.empty())
        for (const OwnAddress& address : host.addresses)
            if (address.ip.is_v6())
                ending_.emplace(host.segment, address.ip, host.id);
}

void PresenceTable::unindex(const Host& host) {
    each_key(host, [&](HostIndex& index, const auto& hash) { index.erase(hash(), host.id); });
    if (!host.extra->valid_until.empty())
        for (const OwnAddress& address : host.addresses)
            ending_.erase({host.segment, address.ip, host.id});
}

bool PresenceTable::has_room_for(const IpAddress& ip) const {
    return index_of(ip).size() < room(ip.is_v4());
}

Result<const Host*> PresenceTable::named(std::string_view name) const {
    const Host* const host = find(name);
    if (host == nullptr)
        return fail(Errc::not_found,
                    fmt::format("name '{}': there is no such host; `proxzzyctl hosts` lists them", name), "name");
    return host;
}

Result<Host*> PresenceTable::host_named(std::string_view name) {
    return &at(PZ_TRY(named(name))->id);
}

/// The host, if `generation` is its present one.
Host* PresenceTable::current(HostId id, std::uint32_t generation) {
    const Host* const host = get(id);
    return host == nullptr || generation == 0 || host->generation != generation ? nullptr : &at(id);
}

} // namespace pz
