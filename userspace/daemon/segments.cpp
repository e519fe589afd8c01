// SPDX-License-Identifier: Apache-2.0
#include "daemon/segments.h"

#include <algorithm>
#include <utility>

#include <spdlog/fmt/fmt.h>
#include <spdlog/fmt/ranges.h>
#include <spdlog/spdlog.h>

namespace pz {

namespace {

pz_segment_key key_of(const Segment& segment) {
    return {.ifindex = static_cast<std::uint32_t>(segment.port->link.ifindex),
            .outer_vid = segment.tags.outer,
            .inner_vid = segment.tags.inner};
}

} // namespace

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
        restore_offload(port, port.link.name);
}

void Segments::restore_offload(Port& port, const std::string& name) {
    if (std::exchange(port.restore_offload, false))
        if (auto restored = enable_rx_vlan_offload(name); !restored)
            spdlog::warn("{}: {}", name, restored.error().message);
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
    auto mode = fastpath_.attach(port.link.name, port.link.ifindex);
    if (!mode) {
        detach(port, port.link.name);
        return std::unexpected(std::move(mode).error());
    }
    port.mode = *mode;
    const auto egress = fastpath_.attach_egress(port.link.ifindex);
    port.egress = egress.has_value();
    if (!egress)
        spdlog::warn("{}: {}; programs on this gateway and clients behind its other interfaces do not wake hosts",
                     port.link.name, egress.error().message);
    return {};
}

Result<> Segments::open(Port& port, const Link& link) {
    port.link = link;
    const auto opened = [&]() -> Result<> {
        port.socket = std::make_shared<PacketSocket>(PZ_TRY(PacketSocket::open(link.ifindex)));
        auto was_on = disable_rx_vlan_offload(link.name);
        port.tags_visible = was_on.has_value();
        port.restore_offload = was_on.value_or(false);
        if (!was_on)
            spdlog::warn("{}: {}; hosts with a VLAN are refused on it", link.name, was_on.error().message);
        return write(port);
    }();
    if (!opened)
        detach(port, link.name);
    return opened;
}

void Segments::detach(Port& port, const std::string& name) {
    if (port.restore_offload && name.empty())
        port.restore_offload = false; // with the device
    restore_offload(port, name);
    fastpath_.detach(port.link.name);
    fastpath_.detach_egress(port.link.ifindex);
    port.egress = false;
    for (const SegmentId id : of(port))
        fastpath_.remove_segment(key_of(segments_.at(id)));
    port.socket.reset();
    port.link.ifindex = 0;
    port.link.up = false;
}

Result<> Segments::write(const Port& port) {
    for (const SegmentId id : of(port))
        PZ_TRY(write(segments_.at(id)));
    return {};
}

Result<> Segments::write(const Segment& segment) {
    return fastpath_.set_segment(key_of(segment), segment.id, segment.port->link.mac);
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
    if (vlan != VlanTags{} && !port->tags_visible)
        return fail(Errc::unsupported,
                    fmt::format("vlan {} cannot be served on {}: its rx-vlan-offload cannot be switched off",
                                vlan.outer, port->link.name),
                    "vlan");
    const auto [known, is_new] = by_key_.try_emplace(Key{port->link.name, vlan}, next_id_);
    if (!is_new)
        return known->second;
    const Segment segment{.id = next_id_, .port = port, .tags = {.outer = vlan.outer, .inner = vlan.inner}};
    if (port->socket) // else the kernel hears of it when there is an interface
        if (auto written = write(segment); !written) {
            by_key_.erase(known);
            return std::unexpected(written.error());
        }
    segments_[next_id_] = segment;
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
