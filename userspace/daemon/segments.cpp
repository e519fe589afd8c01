// SPDX-License-Identifier: Apache-2.0
#include "daemon/segments.h"

#include <algorithm>

#include <spdlog/fmt/fmt.h>
#include <spdlog/fmt/ranges.h>
#include <spdlog/spdlog.h>

namespace pz {

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
    for (const auto& port : ports_)
        if (port.restore_offload)
            if (auto restored = enable_rx_vlan_offload(port.link.name); !restored)
                spdlog::warn("{}: {}", port.link.name, restored.error().message);
}

Result<> Segments::serve(const Link& link) {
    Port port{.link = link, .socket = PZ_TRY(PacketSocket::open(link.ifindex))};
    if (auto was_on = disable_rx_vlan_offload(link.name); was_on) {
        port.tags_visible = true;
        port.restore_offload = *was_on;
    } else {
        spdlog::warn("{}: {}; hosts with a VLAN are refused on it", link.name, was_on.error().message);
    }
    ports_.push_back(std::move(port)); // from here on the destructor restores the offload
    ports_.back().mode = PZ_TRY(fastpath_.attach(link.name, link.ifindex));
    (void)PZ_TRY(resolve(link.name, {}));
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
    if (vlan != VlanTags{} && !port->tags_visible)
        return fail(Errc::unsupported,
                    fmt::format("vlan {} cannot be served on {}: its rx-vlan-offload cannot be switched off",
                                vlan.outer, port->link.name),
                    "vlan");
    const auto [known, is_new] = by_key_.try_emplace(Key{port->link.name, vlan}, next_id_);
    if (!is_new)
        return known->second;
    const pz_segment_key key{
        .ifindex = static_cast<std::uint32_t>(port->link.ifindex), .outer_vid = vlan.outer, .inner_vid = vlan.inner};
    if (auto written = fastpath_.set_segment(key, next_id_, port->link.mac); !written) {
        by_key_.erase(known);
        return std::unexpected(written.error());
    }
    segments_[next_id_] = {.id = next_id_, .port = port, .tags = {.outer = vlan.outer, .inner = vlan.inner}};
    return next_id_++;
}

const Segment* Segments::find(SegmentId id) const {
    const auto found = segments_.find(id);
    return found == segments_.end() ? nullptr : &found->second;
}

SegmentId Segments::find(const Port& port, VlanTags vlan) const {
    const auto found = by_key_.find({port.link.name, vlan});
    return found == by_key_.end() ? PZ_NO_SEGMENT : found->second;
}

} // namespace pz
