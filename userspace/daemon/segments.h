// SPDX-License-Identifier: Apache-2.0
// The served interfaces and the L2 segments seen through them: where frames of ours leave.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "fastpath/fastpath.h"
#include "hosts/record.h"
#include "net/bridge.h"
#include "net/link.h"
#include "net/link_monitor.h"
#include "net/packet_socket.h"

namespace pz {

/// A device that XDP is attached to: a served interface, or a port of the bridge that is served.
struct Member {
    Link link; // as last seen
    fastpath::XdpMode mode = fastpath::XdpMode::native;
    bool attached = false;
    bool tags_visible = false; // rx-vlan-offload is off, so XDP sees the outer tag
    bool restore_offload = false;
};

/// One served interface.  It is the one with the configured name, whichever device that is.
struct Port {
    Link link; // as last seen; the name is the configured one
    std::shared_ptr<PacketSocket> socket; // null while there is no such interface or it cannot be served
    std::vector<Member> members; // itself; of a bridge: its ports
    Bridge bridge; // what it lets pass, if it is one
    std::vector<pz_segment_key> keys; // what of it the kernel was told
    bool egress = false; // the filter on what leaves is there
    Link refused; // could not be served as it was then; looked at again when it has changed
};

inline bool is_bridge(const Port& port) {
    return port.link.kind == "bridge";
}

/// What XDP is attached to, in words.
std::string attachment_of(const Port& port);

/// What became of a bridge, or of a port of it.
struct BridgeReport {
    std::string bridge;
    std::string device;
    std::string text;
    bool failed = false;
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

/// Refuses interfaces that cannot be served together: a bridge and one of its ports.
Result<> check_together(const std::vector<Link>& served);

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
    Result<> write(Port& port);
    /// Ports come and go.  First every bridge is told what changed, since what is gone may have a successor that looks
    /// the same; then every bridge lets go of what has left it, of all the interfaces `links` of this machine; then
    /// each takes on what has joined it, which may be what another one had.
    void note(Port& bridge, const LinkChange& change);
    void let_go(Port& bridge, const std::vector<Link>& links);
    void take_on(Port& bridge, const std::vector<Link>& links);
    /// Whether what is sent by the port gets into the segment: a bridge drops what is of a VLAN that it is not in
    /// itself.
    [[nodiscard]] static bool reaches(const Segment& segment);
    /// What attach() and these did about ports of bridges, once.
    std::vector<BridgeReport> take_reports() { return std::exchange(reports_, {}); }
    /// What the programs that an earlier daemon left do with the host: see Fastpath::stage_before().
    [[nodiscard]] pz_stage stage_before(const Port& port, HostId host, std::uint32_t generation) const;
    /// Leaves the offload of the interfaces as it is.
    void leave();

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
    void open(const Port& port, Member& member, const Link& link);
    Result<> attach(const Port& port, Member& member);
    /// Takes everything off the device, which is called `name` now; empty: it is gone.
    void release(const Port& port, Member& member, const std::string& name);
    /// By which the kernel finds the segment: one for each device that its frames come in by, or leave by.
    [[nodiscard]] std::vector<pz_segment_key> keys_of(const Segment& segment) const;
    /// Where the bridge keeps VLANs apart: the one that the segment is; 0: none.
    [[nodiscard]] std::uint16_t vlan_of(const Segment& segment) const;
    /// Reads what the bridge lets pass.  False: it is as before.
    Result<bool> look(Port& bridge);
    /// Says so if frames of ours do not come into the segment.
    void check_own_vlan(const Segment& segment);
    Result<> write(const Segment& segment);
    void report(const Port& bridge, const std::string& device, std::string text, bool failed = false);
    static void restore_offload(Member& member, const std::string& name);

    using Key = std::pair<std::string, VlanTags>;

    fastpath::Fastpath& fastpath_;
    std::deque<Port> ports_; // addresses stay valid
    std::vector<BridgeReport> reports_;
    std::map<Key, SegmentId> by_key_;
    std::map<SegmentId, Segment> segments_;
    SegmentId next_id_ = 1;
};

} // namespace pz
