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

/// One served interface.  It is the one with the configured name, whichever device that is.
struct Port {
    Link link; // as last seen; the name is the configured one
    std::shared_ptr<PacketSocket> socket; // null while there is no such interface or it cannot be served
    fastpath::XdpMode mode = fastpath::XdpMode::native;
    bool egress = false; // the filter on what leaves is there
    bool tags_visible = false; // rx-vlan-offload is off, so XDP sees the outer tag
    bool restore_offload = false;
    Link refused; // could not be served as it was then; looked at again when it has changed
};

/// An {interface, VLAN} pair in use.
struct Segment {
    SegmentId id = PZ_NO_SEGMENT;
    Port* port = nullptr;
    TagStack tags;
};

/// Whether frames can come and go.
inline bool has_link(const Port& port) {
    return port.socket && port.link.up;
}

/// The interface that `wanted` is; it may be empty if only one is served.  Errors name the field `interface`.
Result<std::string> served_interface(const std::string& wanted, const std::vector<std::string>& served);

class Segments {
public:
    explicit Segments(fastpath::Fastpath& fastpath) : fastpath_(fastpath) {}
    Segments(const Segments&) = delete;
    Segments& operator=(const Segments&) = delete;
    /// Gives the interfaces their VLAN offload back.
    ~Segments();

    /// Adds a port with its untagged segment: everything but the attachment of XDP, which attach() does.
    Result<> add(const Link& link);
    /// Attaches XDP to a port that was added: from now on its frames are seen.  On an error the port is detached.
    Result<> attach(Port& port);
    /// The same for a port whose interface is (back) there as `link`: opens it first.
    Result<> attach(Port& port, const Link& link);
    /// Takes everything off the interface, which is called `name` now; empty: it is gone.
    void detach(Port& port, const std::string& name);
    /// Tells the kernel of the port's segments, and of the MAC that they are seen from.
    Result<> write(const Port& port);

    /// The segment of a configuration; made on first use.  `interface` may be empty if only one is served.
    /// Errors name the field: `interface` or `vlan`.
    Result<SegmentId> resolve(const std::string& interface, VlanTags vlan);
    /// The served interface of that name; `interface` may be empty if only one is served.
    Result<Port*> port(const std::string& interface);
    [[nodiscard]] const Segment* find(SegmentId id) const;
    /// The segment that frames with these tags belong to; PZ_NO_SEGMENT if there is none.
    [[nodiscard]] SegmentId find(const Port& port, VlanTags vlan) const;
    [[nodiscard]] std::vector<SegmentId> of(const Port& port) const;
    /// The device with the gateway's own addresses on the segment: the interface, or a VLAN device over it.  nullopt:
    /// there is no such VLAN device.
    [[nodiscard]] static std::optional<int> own_device(const Segment& segment);
    /// The same, whose neighbour table has the segment's hosts.  nullopt also if what leaves by it does not meet our
    /// filter.
    [[nodiscard]] static std::optional<int> l3_device(const Segment& segment);
    [[nodiscard]] const std::deque<Port>& ports() const { return ports_; }
    [[nodiscard]] std::deque<Port>& ports() { return ports_; }

private:
    /// Opens the interface for sending, makes its tags visible and tells the kernel of the port's segments.
    Result<> open(Port& port, const Link& link);
    Result<> write(const Segment& segment);
    static void restore_offload(Port& port, const std::string& name);

    using Key = std::pair<std::string, VlanTags>;

    fastpath::Fastpath& fastpath_;
    std::deque<Port> ports_; // addresses stay valid
    std::map<Key, SegmentId> by_key_;
    std::map<SegmentId, Segment> segments_;
    SegmentId next_id_ = 1;
};

} // namespace pz
