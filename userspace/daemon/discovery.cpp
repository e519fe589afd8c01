// SPDX-License-Identifier: Apache-2.0
#include "daemon/discovery.h"

#include <netinet/in.h>

#include <algorithm>
#include <iterator>
#include <random>
#include <set>
#include <utility>
#include <variant>

#include <spdlog/fmt/fmt.h>

namespace pz {

namespace {

/// Of so many who asked the MAC is kept.
constexpr std::size_t max_askers = 4096;

std::uint16_t word_at(ByteView bytes, std::size_t at) {
    return static_cast<std::uint16_t>(bytes[at] << 8 | bytes[at + 1]);
}

/// A segment's tags with a priority (IEEE 802.1Q §9.6: the three highest bits), in a tag of VID 0 if there is none.
TagStack with_priority(TagStack tags, std::uint8_t priority) {
    tags.outer = static_cast<std::uint16_t>((tags.outer & 0x1fff) | priority << 13);
    return tags;
}

/// A whole UDP datagram whose checksum is right, absent (IPv4), or half done, as virtual interfaces leave it.
std::optional<Datagram> datagram_in(ByteView frame, const ParsedFrame& parsed) {
    constexpr std::size_t header = 8;
    if (parsed.status != ParseStatus::ok || parsed.protocol != IPPROTO_UDP || parsed.l4_length < header ||
        parsed.l4_offset + parsed.l4_length > frame.size())
        return std::nullopt;
    ByteView udp = frame.subspan(parsed.l4_offset, parsed.l4_length);
    const std::size_t length = word_at(udp, 4);
    if (length < header || length > udp.size())
        return std::nullopt;
    udp = udp.first(length);
    const std::uint32_t pseudo = pseudo_header_sum(parsed.ip_source, parsed.ip_destination, IPPROTO_UDP, length);
    const std::uint16_t checksum = word_at(udp, 6);
    const bool is_half_done = checksum == static_cast<std::uint16_t>(~checksum_fold(pseudo));
    const bool is_absent = checksum == 0 && parsed.ip_source.is_v4();
    if (!is_half_done && !is_absent && checksum_fold(checksum_add(udp, pseudo)) != 0)
        return std::nullopt;
    return Datagram{word_at(udp, 0), word_at(udp, 2), udp.subspan(header)};
}

} // namespace

Discovery::Segment& Discovery::segment(SegmentId id) {
    if (const auto found = segments_.find(id); found != segments_.end())
        return found->second;
    const auto random = [this](Duration lowest, Duration highest) {
        return Duration(std::uniform_int_distribution<Duration::rep>(lowest.count(), highest.count())(random_));
    };
    return segments_
        .emplace(id, Segment{.mdns = mdns::Responder(random),
                             .llmnr = llmnr::Responder(random),
                             .membership = groups::Membership(random),
                             .listeners = {},
                             .askers = {}})
        .first->second;
}

/// The speaker listens, or (-1) does not any more.
void Discovery::count(SegmentId id, const Speaker& speaker, std::uint32_t change) {
    auto& listeners = segment(id).listeners;
    for (const auto& [group, options] : speaker.listens) {
        Listeners& here = listeners[group];
        std::uint8_t wanted = 0;
        for (unsigned bit = 0; bit < here.hosts.size(); bit++) {
            if ((options >> bit & 1U) != 0)
                here.hosts[bit] += change;
            wanted = static_cast<std::uint8_t>(wanted | (here.hosts[bit] > 0 ? 1U << bit : 0U));
        }
        if (std::exchange(here.told, wanted) != wanted)
            hooks_.listen(id, group, wanted);
        if (wanted == 0)
            listeners.erase(group);
    }
}

std::vector<IpAddress> Discovery::speak(const Host& host, Instant now) {
    const auto around = hooks_.look(host.segment);
    if (!around)
        return {};
    Speaker speaker{.segment = host.segment,
                    .generation = host.generation,
                    .offers = *host.offers,
                    .addresses = answered_addresses(host),
                    .listens = {}};
    if (speaker.offers == HostOffers{} || speaker.addresses.empty()) {
        silence(host.id, false, now);
        return {};
    }
    const bool has_mdns = std::ranges::any_of(speaker.offers.hostnames, is_local_name);
    const bool has_llmnr = !speaker.offers.hostnames.empty();
    std::set<IpAddress> member_of(speaker.offers.groups.begin(), speaker.offers.groups.end());
    groups::Sources sources;
    std::set<IpAddress::Family> families;
    for (const auto& address : speaker.addresses) {
        families.insert(address.family);
        if (address.is_v4() && sources.v4.is_unspecified())
            sources.v4 = address;
        else if (address.is_v6() && address.is_link_local() && sources.v6.is_unspecified())
            sources.v6 = address;
        if (address.is_v6())
            member_of.insert(solicited_node_group(address));
    }
    if (sources.v6.is_unspecified() && around->link_local)
        sources.v6 = *around->link_local;
    for (const auto family : families) {
        const bool v4 = family == IpAddress::Family::v4;
        if (has_mdns)
            speaker.listens[mdns::group(family)] |= PZ_LISTEN_MDNS;
        if (has_llmnr)
            speaker.listens[v4 ? llmnr::group4 : llmnr::group6] |= PZ_LISTEN_LLMNR;
        speaker.listens[*IpAddress::parse(v4 ? "224.0.0.1" : "ff02::1")] |= PZ_LISTEN_GROUPS;
    }
    for (const auto& [group, options] : speaker.listens)
        member_of.insert(group);
    for (const auto& group : member_of)
        speaker.listens[group] |= PZ_LISTEN_GROUPS;
    std::vector<IpAddress> heard_by(member_of.begin(), member_of.end());

    const auto before = speakers_.find(host.id);
    if (before != speakers_.end() && before->second == speaker)
        return heard_by;
    Segment& here = segment(host.segment);
    count(host.segment, speaker, 1);
    if (before != speakers_.end())
        count(before->second.segment, before->second, static_cast<std::uint32_t>(-1));
    here.membership.add(host.id, sources, heard_by, now);
    mdns::Outputs announced;
    if (has_mdns)
        announced = here.mdns.set(host.id,
                                  {.hostnames = speaker.offers.hostnames,
                                   .services = speaker.offers.services,
                                   .addresses = speaker.addresses},
                                  now);
    if (has_llmnr)
        here.llmnr.add(host.id, {.hostnames = speaker.offers.hostnames, .addresses = speaker.addresses}, now);
    const SegmentId id = host.segment;
    speakers_.insert_or_assign(host.id, std::move(speaker));
    say(id, around, announced, now);
    return heard_by;
}

void Discovery::silence(HostId host, bool goodbye, Instant now) {
    const auto found = speakers_.find(host);
    if (found == speakers_.end())
        return;
    const SegmentId id = found->second.segment;
    Segment& here = segment(id);
    here.llmnr.remove(host, now);
    here.membership.remove(host, goodbye, now);
    say(id, hooks_.look(id), here.mdns.remove(host, goodbye), now); // while it is known what it spoke from
    count(id, found->second, static_cast<std::uint32_t>(-1));
    speakers_.erase(found);
}

/// What a module says to a datagram, as far as it is said at once.
mdns::Outputs Discovery::take(Segment& here, const Surroundings& around, const ParsedFrame& parsed,
                              const Datagram& datagram, Instant now) {
    if (here.askers.size() >= max_askers)
        here.askers.clear();
    here.askers.insert_or_assign(parsed.ip_source, parsed.source);
    if (datagram.destination_port == mdns::port)
        return here.mdns.on_message({.source = parsed.ip_source,
                                     .source_port = datagram.source_port,
                                     .destination = parsed.ip_destination,
                                     .on_link = mdns::is_on_link(parsed.ip_source, around.prefixes),
                                     .message = datagram.payload},
                                    now);
    if (datagram.destination_port == llmnr::port) // counted there, if it was ignored
        (void)here.llmnr.receive({.source_mac = parsed.source,
                                  .source = parsed.ip_source,
                                  .source_port = datagram.source_port,
                                  .destination = parsed.ip_destination,
                                  .destination_port = datagram.destination_port,
                                  .payload = datagram.payload},
                                 now);
    return {};
}

void Discovery::receive(SegmentId id, ByteView frame, Instant now) {
    const auto found = segments_.find(id);
    const auto around = hooks_.look(id);
    if (found == segments_.end() || !around)
        return;
    mdns::Outputs outputs;
    const auto parsed = parse_frame(frame);
    if (const auto datagram = datagram_in(frame, parsed))
        outputs = take(found->second, *around, parsed, *datagram, now);
    else if (const auto message = groups::received(frame))
        (void)found->second.membership.receive(*message, now);
    say(id, around, outputs, now);
}

std::optional<std::size_t> Discovery::answer(SegmentId id, std::span<std::uint8_t> room, std::size_t length,
                                             Instant now) {
    const auto found = segments_.find(id);
    const auto around = hooks_.look(id);
    const ByteView frame = room.first(length);
    const auto parsed = parse_frame(frame);
    const auto datagram = datagram_in(frame, parsed);
    if (found == segments_.end() || !around || !datagram)
        return std::nullopt;
    auto outputs = take(found->second, *around, parsed, *datagram, now);
    const auto direct = std::ranges::find_if(outputs, [&](const mdns::Output& output) {
        const auto* reply = std::get_if<mdns::Reply>(&output);
        return reply != nullptr && reply->destination == parsed.ip_source && reply->port == datagram->source_port;
    });
    std::optional<std::size_t> answered;
    if (direct != outputs.end()) {
        const auto frames = build_udp({.source_mac = parsed.destination,
                                       .destination_mac = parsed.source,
                                       .source = parsed.ip_destination,
                                       .destination = parsed.ip_source},
                                      mdns::port, datagram->source_port, std::get<mdns::Reply>(*direct).message,
                                      {.hop_limit = 255}, tags_of(std::get<mdns::Reply>(*direct).host, *around));
        if (frames.size() == 1 && frames.front().size() <= room.size()) {
            std::ranges::copy(frames.front(), room.begin());
            answered = frames.front().size();
            outputs.erase(direct);
        }
    }
    say(id, around, outputs, now);
    return answered;
}

void Discovery::tick(Instant now) {
    for (auto& [id, here] : segments_)
        say(id, hooks_.look(id), here.mdns.tick(now), now);
}

std::optional<Instant> Discovery::next_deadline() const {
    std::optional<Instant> next;
    for (const auto& [id, here] : segments_)
        for (const auto& deadline :
             {here.mdns.next_deadline(), here.llmnr.next_deadline(), here.membership.next_deadline()})
            if (deadline && (!next || *deadline < *next))
                next = deadline;
    return next;
}

std::optional<IpAddress> Discovery::source_of(HostId host, const IpAddress& destination) const {
    const auto found = speakers_.find(host);
    if (found == speakers_.end())
        return std::nullopt;
    const bool local = destination.is_multicast() || destination.is_link_local();
    std::optional<IpAddress> source;
    for (const auto& address : found->second.addresses)
        if (address.family == destination.family &&
            (!source || (address.is_link_local() == local && source->is_link_local() != local)))
            source = address;
    return source;
}

TagStack Discovery::tags_of(HostId host, const Surroundings& around) const {
    const auto found = speakers_.find(host);
    return found == speakers_.end() ? around.tags : with_priority(around.tags, found->second.offers.priority);
}

void Discovery::send(SegmentId id, HostId host, const Surroundings& around, const MacAddress& to,
                     const IpAddress& source, const IpAddress& destination, std::uint16_t source_port,
                     std::uint16_t port, ByteView message, std::string_view what) {
    const Ends ends{.source_mac = around.mac, .destination_mac = to, .source = source, .destination = destination};
    for (const auto& frame : build_udp(ends, source_port, port, message,
                                       {.hop_limit = 255, .identification = ++identification_}, tags_of(host, around)))
        hooks_.send(id, host, frame, what);
}

void Discovery::conflict(HostId host, std::string_view option, std::string text) {
    if (speakers_.contains(host))
        hooks_.conflict(host, option, std::move(text));
}

/// mDNS says what is due when it is called; the others when they are asked.
void Discovery::say(SegmentId id, const std::optional<Surroundings>& around, const std::vector<mdns::Output>& outputs,
                    Instant now) {
    Segment& here = segment(id);
    const auto llmnr = here.llmnr.tick(now);
    const auto reports = here.membership.tick(now);
    if (!around)
        return;
    for (const auto& report : reports)
        hooks_.send(id, report.host, groups::frame_of(report, around->mac, tags_of(report.host, *around)),
                    "group report");
    for (const auto& datagram : llmnr.datagrams)
        send(id, datagram.host, *around, datagram.destination_mac, datagram.source, datagram.destination, llmnr::port,
             datagram.destination_port, datagram.payload, "LLMNR");
    for (const auto& output : outputs) {
        const auto* reply = std::get_if<mdns::Reply>(&output);
        if (reply == nullptr)
            continue;
        const auto source = source_of(reply->host, reply->destination);
        const auto asker = here.askers.find(reply->destination);
        if (!source || (!reply->destination.is_multicast() && asker == here.askers.end()))
            continue;
        send(id, reply->host, *around,
             reply->destination.is_multicast() ? multicast_mac(reply->destination) : asker->second, *source,
             reply->destination, mdns::port, reply->port, reply->message, "mDNS");
    }
    for (const auto& claim : llmnr.conflicts)
        conflict(claim.host, "llmnr",
                 fmt::format("{} answers to the name {} too", claim.other.to_string(), claim.name));
    for (const auto& output : outputs)
        if (const auto* claim = std::get_if<mdns::Conflict>(&output))
            conflict(claim->host, "mdns", fmt::format("another node has the name {} too", claim->name.to_string()));
}

std::vector<control::Counter> Discovery::counters() const {
    std::map<std::string, control::Counter> sums;
    const auto add = [&](std::string name, std::string_view sentence, std::uint64_t value) {
        auto& sum = sums[name];
        sum.value += value;
        sum.sentence = sentence;
        sum.name = std::move(name);
    };
    for (const auto& [id, here] : segments_) {
        const auto& mdns = here.mdns.counters();
        add("mdns-queries", "mDNS queries that were looked at", mdns.queries);
        add("mdns-responses", "mDNS responses of others that were looked at", mdns.responses);
        add("mdns-replies", "mDNS messages sent for sleepers", mdns.replies);
        add("mdns-conflicts", "names of sleepers that others claimed by mDNS", mdns.conflicts);
        add("mdns-dropped", "mDNS answers for which there was no room", mdns.dropped);
        for (std::size_t i = 0; i < mdns::ignored_kinds; i++)
            add(fmt::format("mdns-ignored-{}", to_string(static_cast<mdns::Ignored>(i))), "mDNS messages not looked at",
                mdns.ignored[i]);
#define X(identifier, name, sentence)                                                                                  \
    add("llmnr-ignored-" name, sentence, here.llmnr.ignored(llmnr::Ignored::identifier));
        PZ_LLMNR_IGNORED(X)
#undef X
#define X(identifier, name, sentence)                                                                                  \
    add("groups-ignored-" name, sentence, here.membership.ignored(groups::Ignored::identifier));
        PZ_GROUPS_IGNORED(X)
#undef X
    }
    std::vector<control::Counter> counters;
    counters.reserve(sums.size());
    for (auto& [name, counter] : sums)
        counters.push_back(std::move(counter));
    return counters;
}

} // namespace pz
