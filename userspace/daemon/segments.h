// SPDX-License-Identifier: Apache-2.0
// The served interfaces and the L2 segments seen through them: where frames of ours leave.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fastpath/fastpath.h"
#include "hosts/record.h"
#include "net/link.h"
#include "net/packet_socket.h"

namespace pz {

/// One served interface.  Sending is thread-safe, the rest belongs to the loop.
struct Port {
    Link link;
    PacketSocket socket;
    fastpath::XdpMode mode = fastpath::XdpMode::native;
    bool tags_visible = false; // rx-vlan-offload is off, so XDP sees the outer tag
    bool restore_offload = false;
};

/// An {interface, VLAN} pair in use.
struct Segment {
    SegmentId id = PZ_NO_SEGMENT;
    Port* port = nullptr;
    TagStack tags;
};

/// The interface that `wanted` is; it may be empty if only one is served.  Errors name the field `interface`.
Result<std::string> served_interface(const std::string& wanted, const std::vector<std::string>& served);

class Segments {
public:
    explicit Segments(fastpath::Fastpath& fastpath) : fastpath_(fastpath) {}
    Segments(const Segments&) = delete;
    Segments& operator=(const Segments&) = delete;
    /// Gives the interfaces their VLAN offload back.
    ~Segments();

    /// Opens the interface for sending, makes its tags visible, attaches XDP and gives it its untagged segment.
    Result<> serve(const Link& link);

    /// The segment of a configuration; made on first use.  `interface` may be empty if only one is served.
    /// Errors name the field: `interface` or `vlan`.
    Result<SegmentId> resolve(const std::string& interface, VlanTags vlan);
    /// The served interface of that name; `interface` may be empty if only one is served.
    Result<Port*> port(const std::string& interface);
    [[nodiscard]] const Segment* find(SegmentId id) const;
    /// The segment that frames with these tags belong to; PZ_NO_SEGMENT if there is none.
    [[nodiscard]] SegmentId find(const Port& port, VlanTags vlan) const;
    [[nodiscard]] const std::deque<Port>& ports() const { return ports_; }

private:
    using Key = std::pair<std::string, VlanTags>;

    fastpath::Fastpath& fastpath_;
    std::deque<Port> ports_; // addresses stay valid
    std::map<Key, SegmentId> by_key_;
    std::map<SegmentId, Segment> segments_;
    SegmentId next_id_ = 1;
};

} // namespace pz
