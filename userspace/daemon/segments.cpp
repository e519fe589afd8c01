// SPDX-License-Identifier: Apache-2.0
#include "daemon/segments.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include <spdlog/fmt/fmt.h>
#include <spdlog/fmt/ranges.h>
#include <spdlog/spdlog.h>

namespace pz {

namespace {

bool is_same(const pz_segment_key& one, const pz_segment_key& other) {
    return one.ifindex == other.ifindex && one.outer_vid == other.outer_vid && one.inner_vid == other.inner_vid;
}

pz_segment_key key_of(const Link& device, TagStack tags) {
    return {.ifindex = static_cast<std::uint32_t>(device.ifindex), .outer_vid = tags.outer, .inner_vid = tags.inner};
}

bool is_held_back(const Port& port, const Member& member) {
    const auto found = port.bridge.ports.find(member.link.ifindex);
    return found != port.bridge.ports.end() && found->second.held_back;
}

} // namespace

std::string attachment_of(const Port& port) {
    if (!is_bridge(port))
        return fmt::format("XDP in {} mode", to_string(port.members.front().mode));
    std::vector<std::string> ports;
    for (const Member& member : port.members)
        if (member.attached)
            ports.push_back(fmt::format("{} in {} mode", member.link.name, to_string(member.mode)));
    return ports.empty() ? "a bridge, XDP on none of its ports"
                         : fmt::format("a bridge, XDP on its ports: {}", fmt::join(ports, ", "));
}

Result<> check_together(const std::vector<Link>& served) {
    for (const Link& link : served) {
        const auto bridge = std::ranges::find_if(
            served, [&](const Link& other) { return other.kind == "bridge" && other.ifindex == link.master; });
        if (bridge != served.end())
            return fail(Errc::invalid,
                        fmt::format("--interface '{}' is a port of --interface '{}': name the bridge alone, which is "
                                    "served by its ports",
                                    link.name, bridge->name),
                        "interface");
    }
    return {};
}

Result<std::string> served_interface(const std::string& wanted, const std::vector<std::string>& served) {
    if (wanted.empty() && served.size() > 1)
        return fail(Errc::invalid, "interface is missing: several are served, so name the one that the host is on",
                    "interface");
    if (wanted.empty() && !served.empty())
        return served.front();
    if (std::ranges::find(served, wanted) == served.end())
        return fail(Errc::not_found, fmt::format("interface '{}' is not served: {}", wanted, fmt::join(served, ", ")),
                    "interface");
    return wanted;
}

Segments::~Segments() {
    for (auto& port : ports_)
        for (auto& member : port.members)
            restore_offload(member, member.link.name);
}

void Segments::leave() {
    for (auto& port : ports_)
        for (auto& member : port.members)
            member.restore_offload = false;
}

void Segments::restore_offload(Member& member, const std::string& name) {
    if (!std::exchange(member.restore_offload, false) || name.empty()) // it goes with the device
        return;
    if (auto restored = enable_rx_vlan_offload(name); !restored && restored.error().code != Errc::not_found)
        spdlog::warn("{}: {}", name, restored.error().message);
}

void Segments::report(const Port& bridge, const std::string& device, std::string text, bool failed) {
    if (device != bridge.link.name)
        text = fmt::format("port {} {}", device, text);
    reports_.push_back({.bridge = bridge.link.name,
                        .device = device,
                        .text = fmt::format("{}: {}", bridge.link.name, text),
                        .failed = failed});
}

Result<> Segments::add(const Link& link) {
    PZ_TRY(open(ports_.emplace_back(), link));
    (void)PZ_TRY(resolve(link.name, {}));
    return {};
}

Result<> Segments::attach(Port& port, const Link& link) {
    PZ_TRY(open(port, link));
    return attach(port);
}

Result<> Segments::attach(Port& port) {
    for (Member& member : port.members)
        if (auto attached = attach(port, member); !attached && !is_bridge(port)) {
            detach(port, port.link.name);
            return attached;
        }
    const auto egress = fastpath_.attach_egress(port.link.ifindex);
    port.egress = egress.has_value();
    if (!egress)
        spdlog::warn("{}: {}; programs on this gateway and clients behind its other interfaces do not wake hosts",
                     port.link.name, egress.error().message);
    return {};
}

Result<> Segments::attach(const Port& port, Member& member) {
    auto mode = [&]() -> Result<fastpath::XdpMode> {
        for (const Port& other : ports_)
            if (&other != &port && other.link.ifindex == member.link.ifindex)
                return fail(Errc::busy, "it is served by its name already, and the bridge alone would serve both");
        return fastpath_.attach(member.link.name, member.link.ifindex);
    }();
    member.attached = mode.has_value();
    if (mode) {
        member.mode = *mode;
        return {};
    }
    release(port, member, member.link.name);
    if (is_bridge(port))
        report(port, member.link.name, "is not served: " + mode.error().message, true);
    return std::unexpected(std::move(mode).error());
}

Result<> Segments::open(Port& port, const Link& link) {
    port.link = link;
    port.members.clear();
    if (!is_bridge(port))
        port.members.push_back({.link = link});
    const auto opened = [&]() -> Result<> {
        for (const Port& bridge : ports_)
            if (is_bridge(bridge) && bridge.socket && bridge.link.ifindex == link.master)
                return fail(Errc::busy, fmt::format("it is a port of {}, which is served", bridge.link.name));
        port.socket = std::make_shared<PacketSocket>(PZ_TRY(PacketSocket::open(link.ifindex)));
        if (is_bridge(port)) {
            for (const Link& each : PZ_TRY(list_links()))
                if (each.master == link.ifindex)
                    open(port, port.members.emplace_back(), each);
            (void)PZ_TRY(look(port));
        } else {
            open(port, port.members.front(), link);
        }
        return write(port);
    }();
    if (!opened)
        detach(port, link.name);
    return opened;
}

void Segments::open(const Port& port, Member& member, const Link& link) {
    member.link = link;
    if (is_bridge(port)) // with VLANs of its own and a single port that is not configured by hand, it may be selective
        if (auto joined = port.socket->join_all(link.ifindex); !joined)
            report(port, link.name, joined.error().message, true);
    auto was_on = disable_rx_vlan_offload(link.name);
    member.tags_visible = was_on.has_value();
    member.restore_offload = was_on.value_or(false);
    if (was_on)
        return;
    if (is_bridge(port))
        report(port, member.link.name, was_on.error().message + "; hosts with a VLAN are not served behind it", true);
    else
        spdlog::warn("{}: {}; hosts with a VLAN are refused on it", link.name, was_on.error().message);
}

void Segments::release(const Port& port, Member& member, const std::string& name) {
    restore_offload(member, name);
    if (std::exchange(member.attached, false))
        fastpath_.detach(member.link.name);
    if (is_bridge(port) && !name.empty())
        if (auto left = port.socket->leave_all(member.link.ifindex); !left)
            spdlog::debug("{}", left.error().message); // with the device
}

void Segments::detach(Port& port, const std::string& name) {
    for (Member& member : port.members)
        release(port, member, is_bridge(port) ? member.link.name : name);
    if (is_bridge(port))
        port.members.clear();
    fastpath_.detach_egress(port.link.ifindex);
    port.egress = false;
    for (const pz_segment_key& key : std::exchange(port.keys, {}))
        fastpath_.remove_segment(key);
    port.bridge = {};
    port.socket.reset();
    port.link.ifindex = 0;
    port.link.up = false;
}

void Segments::note(Port& bridge, const LinkChange& change) {
    if (!is_bridge(bridge))
        return;
    const auto member = std::ranges::find(bridge.members, change.link.ifindex,
                                          [](const Member& candidate) { return candidate.link.ifindex; });
    if (member == bridge.members.end())
        return;
    if (change.gone) {
        release(bridge, *member, {});
        report(bridge, member->link.name, "is gone");
        bridge.members.erase(member);
    } else if (!member->attached && change.link != member->link) {
        member->link.name.clear(); // worth another attempt, whatever it is like now
    }
}

void Segments::let_go(Port& bridge, const std::vector<Link>& links) {
    if (!is_bridge(bridge) || !bridge.socket)
        return;
    const auto left = std::erase_if(bridge.members, [&](Member& member) {
        const auto now = std::ranges::find(links, member.link.ifindex, &Link::ifindex);
        if (now != links.end() && now->master == bridge.link.ifindex)
            return false;
        release(bridge, member, now == links.end() ? std::string() : now->name);
        report(bridge, member.link.name, "has left the bridge and is not served any more");
        return true;
    });
    if (left == 0)
        return;
    if (auto written = write(bridge); !written)
        report(bridge, bridge.link.name, written.error().message, true);
}

/// All that ports have become: new, renamed, or worth another attempt.
void Segments::take_on(Port& bridge, const std::vector<Link>& links) {
    if (!is_bridge(bridge) || !bridge.socket)
        return;
    const auto changed = look(bridge);
    if (!changed && changed.error().code != Errc::not_found) // a message is under way that says so
        report(bridge, bridge.link.name, changed.error().message, true);
    std::vector<int> joined;
    for (const Link& link : links) {
        if (link.master != bridge.link.ifindex)
            continue;
        auto member = std::ranges::find(bridge.members, link.ifindex,
                                        [](const Member& candidate) { return candidate.link.ifindex; });
        if (member == bridge.members.end())
            member = bridge.members.emplace(bridge.members.end());
        else if (member->link == link) // each attempt is a change of the interface too, in what does not matter here
            continue;
        if (member->attached && member->link.name == link.name) {
            member->link = link;
            continue;
        }
        if (!member->attached)
            open(bridge, *member, link);
        member->link = link;
        joined.push_back(link.ifindex);
    }
    if (changed.value_or(false) || !joined.empty())
        if (auto written = write(bridge); !written)
            report(bridge, bridge.link.name, written.error().message, true);
    for (Member& member : bridge.members)
        if (std::ranges::find(joined, member.link.ifindex) != joined.end() && attach(bridge, member))
            report(bridge, member.link.name, fmt::format("is served, XDP in {} mode", to_string(member.mode)));
}

pz_stage Segments::stage_before(const Port& port, HostId host, std::uint32_t generation) const {
    for (const Member& member : port.members)
        if (const pz_stage stage = fastpath_.stage_before(member.link.name, member.link.ifindex, host, generation);
            stage != PZ_STAGE_NONE)
            return stage;
    return PZ_STAGE_NONE;
}

Result<> Segments::write(Port& port) {
    std::vector<pz_segment_key> keys;
    for (const SegmentId id : of(port)) {
        const auto more = keys_of(segments_.at(id));
        keys.insert(keys.end(), more.begin(), more.end());
    }
    for (const pz_segment_key& old : std::exchange(port.keys, {}))
        if (std::ranges::none_of(keys, [&](const pz_segment_key& key) { return is_same(key, old); }))
            fastpath_.remove_segment(old);
    for (const SegmentId id : of(port))
        PZ_TRY(write(segments_.at(id)));
    return {};
}

std::uint16_t Segments::vlan_of(const Segment& segment) const {
    const Port& port = *segment.port;
    if (port.bridge.is_8021ad)
        return 0;
    if (segment.tags.outer != 0)
        return segment.tags.outer;
    const auto own = port.bridge.ports.find(port.link.ifindex);
    const std::uint16_t pvid = own == port.bridge.ports.end() ? std::uint16_t{0} : own->second.pvid;
    // resolve() refuses this, but the bridge may change
    return by_key_.contains({port.link.name, {.outer = pvid}}) ? std::uint16_t{0} : pvid;
}

std::vector<pz_segment_key> Segments::keys_of(const Segment& segment) const {
    const Port& port = *segment.port;
    std::vector<pz_segment_key> keys;
    if (!port.bridge.filters_vlans) {
        for (const Member& member : port.members)
            if ((member.tags_visible || segment.tags.outer == 0) && !is_held_back(port, member))
                keys.push_back(key_of(member.link, segment.tags));
        if (is_bridge(port))
            keys.push_back(key_of(port.link, segment.tags));
        return keys;
    }
    const std::uint16_t vlan = vlan_of(segment);
    const auto add = [&](const Link& device, bool tags_visible) {
        const auto found = port.bridge.ports.find(device.ifindex);
        if (found == port.bridge.ports.end() || vlan == 0 || !found->second.vlans[vlan] || found->second.held_back)
            return;
        const BridgePort& at = found->second;
        // where tags are out of sight, all frames look untagged
        if (at.pvid == vlan && segment.tags.inner == 0 && (tags_visible || at.vlans.count() == 1))
            keys.push_back(key_of(device, {}));
        if (tags_visible)
            keys.push_back(key_of(device, {.outer = vlan, .inner = segment.tags.inner}));
    };
    for (const Member& member : port.members)
        add(member.link, member.tags_visible);
    add(port.link, true);
    return keys;
}

Result<bool> Segments::look(Port& bridge) {
    Bridge now = PZ_TRY(read_bridge(bridge.link.ifindex));
    if (now == bridge.bridge)
        return false;
    bridge.bridge = std::move(now);
    if (bridge.bridge.filters_vlans && bridge.bridge.is_8021ad)
        report(bridge, bridge.link.name, "vlan_filtering with vlan_protocol 802.1ad is not served", true);
    for (const SegmentId id : of(bridge))
        check_own_vlan(segments_.at(id));
    return true;
}

bool Segments::reaches(const Segment& segment) {
    const Port& port = *segment.port;
    const std::uint16_t vlan = segment.tags.outer;
    if (!port.bridge.filters_vlans || port.bridge.is_8021ad || vlan == 0)
        return true;
    const auto own = port.bridge.ports.find(port.link.ifindex);
    return own != port.bridge.ports.end() && own->second.vlans[vlan];
}

void Segments::check_own_vlan(const Segment& segment) {
    const Port& port = *segment.port;
    const std::uint16_t vlan = segment.tags.outer;
    if (port.socket && !reaches(segment))
        report(port, port.link.name,
               fmt::format("the bridge itself is not in VLAN {0}, so no probe, Magic Packet or held packet gets there: "
                           "`bridge vlan add dev {1} vid {0} self`",
                           vlan, port.link.name),
               true);
}

Result<> Segments::write(const Segment& segment) {
    for (const pz_segment_key& key : keys_of(segment)) {
        PZ_TRY(fastpath_.set_segment(key, segment.id, segment.port->link.mac));
        segment.port->keys.push_back(key);
    }
    return {};
}

Result<Port*> Segments::port(const std::string& interface) {
    std::vector<std::string> served;
    served.reserve(ports_.size());
    for (const auto& candidate : ports_)
        served.push_back(candidate.link.name);
    const std::string name = PZ_TRY(served_interface(interface, served));
    return &*std::ranges::find(ports_, name,
                               [](const Port& candidate) -> const std::string& { return candidate.link.name; });
}

Result<SegmentId> Segments::resolve(const std::string& interface, VlanTags vlan) {
    Port* const port = PZ_TRY(this->port(interface));
    if (vlan != VlanTags{} && !port->members.empty() && std::ranges::none_of(port->members, &Member::tags_visible))
        return fail(Errc::unsupported,
                    fmt::format("vlan {} cannot be served on {}: its rx-vlan-offload cannot be switched off",
                                vlan.outer, port->link.name),
                    "vlan");
    const auto own = port->bridge.ports.find(port->link.ifindex);
    if (port->bridge.filters_vlans && vlan != VlanTags{} && vlan.inner == 0 && own != port->bridge.ports.end() &&
        own->second.pvid == vlan.outer)
        return fail(Errc::invalid,
                    fmt::format("vlan {0} is where {1} itself is without a tag: leave vlan out, or take {1} out of it "
                                "(`bridge vlan add dev {1} vid {0} self`, without pvid)",
                                vlan.outer, port->link.name),
                    "vlan");
    const auto [known, is_new] = by_key_.try_emplace(Key{port->link.name, vlan}, next_id_);
    if (!is_new)
        return known->second;
    const Segment segment{.id = next_id_, .port = port, .tags = {.outer = vlan.outer, .inner = vlan.inner}};
    if (port->socket) // else the kernel hears of it when there is an interface
        if (auto written = write(segment); !written) {
            by_key_.erase(known);
            if (written.error().code == Errc::limit)
                return fail(Errc::limit,
                            fmt::format("vlan {}: the table is full with {} interfaces and VLANs, which it keeps until "
                                        "proxzzyd ends; choose one of them",
                                        vlan.outer, by_key_.size()),
                            "vlan");
            return std::unexpected(written.error());
        }
    segments_[next_id_] = segment;
    check_own_vlan(segment);
    return next_id_++;
}

const Segment* Segments::find(SegmentId id) const {
    const auto found = segments_.find(id);
    return found == segments_.end() ? nullptr : &found->second;
}

std::optional<int> Segments::l3_device(const Segment& segment) {
    return segment.port->egress ? own_device(segment) : std::nullopt;
}

std::optional<int> Segments::own_device(const Segment& segment) {
    std::optional<int> device = segment.port->link.ifindex;
    for (const std::uint16_t vid : {segment.tags.outer, segment.tags.inner})
        if (vid != 0 && device)
            device = find_vlan_device(*device, vid);
    return device;
}

std::vector<SegmentId> Segments::of(const Port& port) const {
    std::vector<SegmentId> ids;
    for (const auto& [id, segment] : segments_)
        if (segment.port == &port)
            ids.push_back(id);
    return ids;
}

SegmentId Segments::find(const Port& port, VlanTags vlan) const {
    const auto found = by_key_.find({port.link.name, vlan});
    return found == by_key_.end() ? PZ_NO_SEGMENT : found->second;
}

} // namespace pz
