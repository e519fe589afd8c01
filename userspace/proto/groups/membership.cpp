// SPDX-License-Identifier: Apache-2.0
// Membership: what a host of RFC 2236 and RFC 3810 does, for many hosts at once.
#include "proto/groups/membership.h"

#include <netinet/in.h>

#include <algorithm>
#include <iterator>

namespace pz::groups {
namespace {

using namespace std::chrono_literals;

constexpr unsigned robustness = 2; // RFC 2236 §8.1, RFC 3810 §9.1
constexpr Duration query_interval = 125s;
constexpr Duration v1_router_present = 400s;     // RFC 2236 §8.11
constexpr Duration unsolicited_interval = 10s;   // RFC 2236 §8.10, RFC 2710 §7.10
constexpr Duration unsolicited_interval_v2 = 1s; // RFC 3810 §9.11
constexpr Duration between_generals = 50ms;

constexpr IpAddress general{.family = IpAddress::Family::v6};
constexpr IpAddress all_systems{.bytes = {224, 0, 0, 1}};
constexpr IpAddress all_routers4{.bytes = {224, 0, 0, 2}};
constexpr IpAddress all_nodes{.family = IpAddress::Family::v6,
                              .bytes = {0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}};
constexpr IpAddress all_routers6{.family = IpAddress::Family::v6,
                                 .bytes = {0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2}};
constexpr IpAddress mld2_routers{.family = IpAddress::Family::v6,
                                 .bytes = {0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x16}};

} // namespace

std::optional<Received> received(ByteView frame) {
    const ParsedFrame parsed = parse_frame(frame);
    if (parsed.status != ParseStatus::ok || parsed.l4_length == 0)
        return std::nullopt;
    const auto message = frame.subspan(parsed.l4_offset, parsed.l4_length);
    const auto is_mld = [&] {
        const auto type = static_cast<mld::Type>(message[0]);
        return type == mld::Type::query || type == mld::Type::report_v1 || type == mld::Type::done ||
               type == mld::Type::report_v2;
    };
    const bool wanted = parsed.l3 == L3::ipv4   ? parsed.protocol == IPPROTO_IGMP
                        : parsed.l3 == L3::ipv6 ? parsed.protocol == IPPROTO_ICMPV6 && is_mld()
                                                : false;
    if (!wanted)
        return std::nullopt;
    return Received{.source = parsed.ip_source,
                    .destination = parsed.ip_destination,
                    .hop_limit = parsed.hop_limit,
                    .router_alert = has_router_alert(frame, parsed),
                    .message = message};
}

Bytes frame_of(const Report& report, const MacAddress& sender, TagStack tags) {
    const auto build = report.destination.is_v4() ? build_igmp : build_mld;
    return build(sender, report.source, report.destination, report.message, tags);
}

bool is_reported(const IpAddress& group) {
    if (!group.is_multicast())
        return false;
    return group.is_v4() ? group != all_systems : (group.bytes[1] & 0xf) > 1 && group != all_nodes;
}

void Membership::add(std::uint32_t host, const Sources& sources, std::span<const IpAddress> groups, Instant now) {
    remove(host, false, now);
    Member& member = members_[host];
    member.sources = sources;
    for (const IpAddress& source : {sources.v4, sources.v6})
        ++own_sources_[source];
    for (const IpAddress& group : groups) {
        if (!is_reported(group))
            continue;
        Group& state = member.groups[group];
        state.unsolicited = robustness;
        by_group_[group].insert(host);
        arm(host, group, state.due, now);
    }
}

void Membership::remove(std::uint32_t host, bool leave, Instant now) {
    const auto found = members_.find(host);
    if (found == members_.end())
        return;
    Member& member = found->second;
    disarm(host, general, member.general);
    Departure departure{.due = now, .host = host, .sources = member.sources, .groups = {}, .left = robustness};
    for (auto& [group, state] : member.groups) {
        disarm(host, group, state.due);
        const auto hosts = by_group_.find(group);
        hosts->second.erase(host);
        if (!hosts->second.empty())
            continue;
        by_group_.erase(hosts);
        departure.groups.push_back(group);
    }
    for (const IpAddress& source : {member.sources.v4, member.sources.v6})
        if (const auto own = own_sources_.find(source); --own->second == 0)
            own_sources_.erase(own);
    members_.erase(found);
    if (leave && !departure.groups.empty())
        departures_.push_back(std::move(departure));
}

std::optional<Ignored> Membership::receive(const Received& received, Instant now) {
    update_mld_version(now);
    const auto reason = received.destination.is_v4() ? receive_igmp(received, now) : receive_mld(received, now);
    if (reason)
        ++ignored_[static_cast<std::size_t>(*reason)];
    return reason;
}

std::optional<Ignored> Membership::receive_igmp(const Received& received, Instant now) {
    // RFC 3376 §9.1 advises against queries without Router Alert, RFC 2236 does not: many queriers and switches send
    // none, and whoever could forge a query could forge the option too.
    if (received.hop_limit != 1)
        return Ignored::hop_limit;
    const auto message = igmp::parse(received.message);
    if (!message)
        return message.error();
    if (message->type != igmp::Type::query) {
        if (own_sources_.contains(received.source))
            return Ignored::own;
        if (received.destination != message->group)
            return Ignored::bad_destination;
        return suppress(message->group, std::nullopt) ? std::nullopt : std::optional(Ignored::nothing_pending);
    }
    if (message->group.is_unspecified() && received.destination != all_systems) // RFC 3376 §9.1
        return Ignored::bad_destination;
    if (message->version == 1)
        igmp_v1_until_ = now + v1_router_present;
    return schedule(IpAddress::Family::v4, message->group, message->max_response, now);
}

std::optional<Ignored> Membership::receive_mld(const Received& received, Instant now) {
    if (received.hop_limit != 1)
        return Ignored::hop_limit;
    if (!received.router_alert)
        return Ignored::no_router_alert;
    const auto message = mld::parse(received.message, received.source, received.destination);
    if (!message)
        return message.error();
    if (message->type == mld::Type::report_v1 && own_sources_.contains(received.source))
        return Ignored::own;
    if (!received.source.is_link_local())
        return Ignored::bad_source;
    if (message->type == mld::Type::report_v1) {
        if (received.destination != message->group)
            return Ignored::bad_destination;
        // RFC 3810 §8.2.2 allows a report of version 2 to be suppressed too, but does not ask for it
        if (!mld_v1_)
            return Ignored::nothing_pending;
        return suppress(message->group, std::nullopt) ? std::nullopt : std::optional(Ignored::nothing_pending);
    }
    if (message->version == 1) {
        const Duration known = mld_older_querier_ > Duration{} ? mld_older_querier_ : robustness * query_interval;
        mld_v1_until_ = now + known + message->max_response;
        update_mld_version(now);
    } else {
        mld_older_querier_ = (message->robustness != 0 ? message->robustness : robustness) *
                             (message->query_interval > Duration{} ? message->query_interval : query_interval);
    }
    return schedule(IpAddress::Family::v6, message->group, message->max_response, now);
}

std::optional<Ignored> Membership::schedule(IpAddress::Family family, const IpAddress& group, Duration max_response,
                                            Instant now) {
    const auto when = [&] { return now + random_(Duration{}, max_response); };
    if (!group.is_unspecified()) {
        const auto hosts = by_group_.find(group);
        if (hosts == by_group_.end())
            return Ignored::no_member;
        for (const std::uint32_t host : hosts->second)
            arm(host, group, members_.at(host).groups.at(group).due, when());
        return std::nullopt;
    }

    // Work for every group here: not more often than any querier needs, however often it is asked for.
    Instant& after = general_after_[family == IpAddress::Family::v4 ? 0 : 1];
    if (now < after)
        return Ignored::too_soon;
    after = now + between_generals;
    bool any = false;
    for (auto& [host, member] : members_) {
        bool in_family = false;
        for (auto& [each, state] : member.groups) {
            if (each.family != family)
                continue;
            in_family = true;
            if (each.is_v6() && !mld_v1_)
                break; // one report for all of them
            arm(host, each, state.due, when());
        }
        any = any || in_family;
        if (in_family && family == IpAddress::Family::v6 && !mld_v1_)
            arm(host, general, member.general, when());
    }
    return any ? std::nullopt : std::optional(Ignored::no_member);
}

bool Membership::suppress(const IpAddress& group, std::optional<std::uint32_t> speaker) {
    const auto hosts = by_group_.find(group);
    if (hosts == by_group_.end())
        return false;
    bool any = false;
    for (const std::uint32_t host : hosts->second) {
        Group& state = members_.at(host).groups.at(group);
        // the first report of a take-over is no answer that another's report could stand for
        if (host == speaker || !state.due || state.unsolicited == robustness)
            continue;
        disarm(host, group, state.due);
        state.unsolicited = 0;
        any = true;
    }
    return any;
}

void Membership::update_mld_version(Instant now) {
    const bool v1 = now < mld_v1_until_;
    if (v1 != std::exchange(mld_v1_, v1))
        cancel_mld();
}

/// RFC 3810 §8.2.1: a change of mode cancels pending responses and retransmissions; but each group is reported once.
void Membership::cancel_mld() {
    for (auto& [host, member] : members_) {
        disarm(host, general, member.general);
        for (auto& [group, state] : member.groups) {
            if (group.is_v4() || state.unsolicited == robustness)
                continue;
            disarm(host, group, state.due);
            state.unsolicited = 0;
        }
    }
    std::erase_if(departures_, [](const Departure& departure) { return departure.left < robustness; });
}

/// A running timer is only shortened (RFC 2236 §3, RFC 3810 §6.2).
void Membership::arm(std::uint32_t host, const IpAddress& group, std::optional<Instant>& due, Instant when) {
    if (due && *due <= when)
        return;
    disarm(host, group, due);
    due = when;
    timers_.insert({when, host, group});
}

void Membership::disarm(std::uint32_t host, const IpAddress& group, std::optional<Instant>& due) {
    if (due)
        timers_.erase({*due, host, group});
    due.reset();
}

std::vector<Report> Membership::tick(Instant now) {
    update_mld_version(now);
    std::vector<Report> out;
    for (Departure& departure : departures_)
        if (departure.due <= now)
            depart(departure, now, out);
    std::erase_if(departures_, [](const Departure& departure) { return departure.left == 0; });

    std::map<std::uint32_t, Records> records;
    while (!timers_.empty() && timers_.begin()->due <= now) {
        const Timer timer = *timers_.begin();
        Member& member = members_.at(timer.host);
        fire(timer.host, member, timer.group, now, out, records[timer.host]);
    }
    for (const auto& [host, list] : records)
        append_reports(host, members_.at(host).sources.v6, list, out);
    return out;
}

void Membership::fire(std::uint32_t host, Member& member, const IpAddress& group, Instant now, std::vector<Report>& out,
                      Records& records) {
    if (group == general) {
        disarm(host, general, member.general);
        for (auto& [each, state] : member.groups) {
            if (each.is_v4())
                continue;
            records.push_back({mld::RecordType::is_exclude, each});
            if (state.unsolicited == 0) // an answer about the one group is in this one (RFC 3810 §6.2, rule 1)
                disarm(host, each, state.due);
        }
        return;
    }

    Group& state = member.groups.at(group);
    disarm(host, group, state.due);
    const bool is_unsolicited = state.unsolicited > 0;
    const bool mld2 = group.is_v6() && !mld_v1_;
    if (is_unsolicited && --state.unsolicited > 0)
        arm(host, group, state.due, now + random_(Duration{}, mld2 ? unsolicited_interval_v2 : unsolicited_interval));
    if (mld2) {
        records.push_back({is_unsolicited ? mld::RecordType::to_exclude : mld::RecordType::is_exclude, group});
        return;
    }
    if (group.is_v4())
        out.push_back({host, member.sources.v4, group,
                       igmp::build(igmp_version(now) == 1 ? igmp::Type::report_v1 : igmp::Type::report_v2, group)});
    else
        out.push_back({host, member.sources.v6, group, mld::build(mld::Type::report_v1, group)});
    suppress(group, host); // the other hosts here have heard it
}

void Membership::depart(Departure& departure, Instant now, std::vector<Report>& out) const {
    Records records;
    const bool first = departure.left == robustness;
    for (const IpAddress& group : departure.groups) {
        if (by_group_.contains(group)) // joined again
            continue;
        if (group.is_v6() && !mld_v1_)
            records.push_back({mld::RecordType::to_include, group});
        else if (first && group.is_v6())
            out.push_back({departure.host, departure.sources.v6, all_routers6, mld::build(mld::Type::done, group)});
        else if (first && igmp_version(now) == 2) // version 1 knows no leaving (RFC 2236 §4)
            out.push_back({departure.host, departure.sources.v4, all_routers4, igmp::build(igmp::Type::leave, group)});
    }
    append_reports(departure.host, departure.sources.v6, records, out);
    departure.left = records.empty() ? 0 : departure.left - 1;
    departure.due = now + random_(Duration{}, unsolicited_interval_v2);
}

void Membership::append_reports(std::uint32_t host, const IpAddress& source, std::span<const mld::Record> records,
                                std::vector<Report>& out) const {
    while (!records.empty()) {
        const auto part = records.first(std::min(records.size(), mld::records_that_fit(mtu_)));
        out.push_back({host, source, mld2_routers, mld::build_report(part)});
        records = records.subspan(part.size());
    }
}

std::optional<Instant> Membership::next_deadline() const {
    std::optional<Instant> next;
    if (!timers_.empty())
        next = timers_.begin()->due;
    for (const Departure& departure : departures_)
        next = next ? std::min(*next, departure.due) : departure.due;
    return next;
}

} // namespace pz::groups
