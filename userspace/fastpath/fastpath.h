// SPDX-License-Identifier: Apache-2.0
// The kernel side as one object: programs, pinned maps, and the records in them.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <boost/container/small_vector.hpp>

#include <proxzzy/abi/maps.h>
#include <proxzzy/abi/reasons.h>

#include "base/clock.h"
#include "base/result.h"
#include "fastpath/attach.h"
#include "fastpath/dry_run.h"
#include "fastpath/mapped_array.h"
#include "fastpath/pinned_array.h"
#include "fastpath/rule_sets.h"
#include "fastpath/slot_table.h"
#include "net/address.h"

struct proxzzy_bpf;
struct proxzzy_egress_bpf;

namespace pz::fastpath {

struct Options {
    std::string bpffs = default_bpffs;
    std::uint32_t max_hosts = 65'536;
    std::uint32_t max_addresses4 = 131'072;
    std::uint32_t max_addresses6 = 262'144;
    std::uint32_t max_macs = 131'072;
    Duration answer_without_daemon = std::chrono::minutes(10);
    std::vector<std::uint16_t> magic_ports; // at most PZ_MAX_MAGIC_PORTS
    std::chrono::milliseconds event_interval{10}; // a host earns one event each ...
    std::uint32_t event_burst = 64;               // ... and may save up this many
    bool plain_hash = false; // to measure what the bucket tables are worth: everything is in hash tables
};

/// What the kernel is told of one host.
struct HostEntry {
    std::uint32_t host = 0;
    std::uint32_t segment = PZ_NO_SEGMENT;
    std::vector<MacAddress> macs;
    std::vector<IpAddress> addresses;
    MacAddress answer_mac;
    std::uint16_t index_flags = 0; // PZ_INDEX_IDENTITY_PROXY or 0
    /// Generation, echo and flags (PZ_POLICY_MDNS: mDNS to the host's own addresses is steered; PZ_POLICY_AT_ONCE is in
    /// force for as long as the host is served); the rest is set by watch() and serve().
    pz_policy policy{};
    pz_rules rules{};
};

struct ReasonCount {
    const char* name;
    const char* sentence;
    std::uint64_t frames;
};

/// The name of an enum pz_reason, as in `proxzzyctl stats`, and its sentence.
std::string_view reason_name(std::uint32_t reason);
std::string_view reason_sentence(std::uint32_t reason);

/// Writer of the maps.  Not thread-safe: the loop thread owns it, the ring descriptors excepted.
class Fastpath {
public:
    /// Loads the programs.  Nothing is attached or pinned yet.  If the programs of a daemon that is gone still
    /// answer, what the owners said is not lost; nor, if the maps are like ours, are the triggers that wait in its
    /// ring.
    static Result<std::unique_ptr<Fastpath>> open(const Options& options);
    ~Fastpath();
    Fastpath(const Fastpath&) = delete;
    Fastpath& operator=(const Fastpath&) = delete;

    /// To be called before attach(), when the maps are filled: they take the place of those of the daemon before.
    Result<> pin_maps();
    Result<XdpMode> attach(const std::string& interface, int ifindex);
    /// Takes the program off the interface that attach() was called for, and removes the pin.  Harmless when it is
    /// gone, or was never attached.
    void detach(const std::string& interface);
    /// The same for what leaves by the device that has the addresses: the served interface, which may be a bridge.
    Result<> attach_egress(int ifindex);
    void detach_egress(int ifindex);
    /// Drops the links and filters of devices that attach() and attach_egress() were not called for: an earlier
    /// daemon's.
    void drop_other_links();
    /// Takes everything off the kernel: links, maps, pins.
    void detach_all();

    Result<> set_segment(const pz_segment_key& key, std::uint32_t segment, const MacAddress& interface_mac);
    void remove_segment(const pz_segment_key& key);

    /// The AF_XDP sockets of the device, that of receive queue 0 first; they take the place of those that it had.
    /// Empty: it has none.  It does not matter which is set first, they or the device's segments.  The kernel itself
    /// forgets a socket that is closed; what would have gone there comes by the ring.
    Result<> set_xsks(int ifindex, std::span<const int> sockets);

    /// What comes to the group in the segment is copied to those of `options` (enum pz_listen) that it is for, by
    /// PZ_EVENT_OPTION.  No option: as unlisten().
    Result<> listen(std::uint32_t segment, const IpAddress& group, std::uint8_t options);
    void unlisten(std::uint32_t segment, const IpAddress& group);

    /// Owner MACs and policy, and no address; replaces what was there for this host.  `stage`: ARMING or WATCHED.
    Result<> watch(const HostEntry& entry, pz_stage stage);
    /// The same with the addresses.  `stage`: ASLEEP, or UNANSWERED, where nothing is answered for them.
    Result<> serve(const HostEntry& entry, pz_stage stage = PZ_STAGE_ASLEEP);
    Result<> set_stage(std::uint32_t host, pz_stage stage);
    void stop_answering(std::uint32_t host, const std::optional<IpAddress>& address);
    void forget(std::uint32_t host);

    /// What the kernel knows of a host.
    [[nodiscard]] pz_live live(std::uint32_t host) const;
    /// The last heartbeat of the daemon before, if its programs still answer.
    [[nodiscard]] std::optional<Instant> last_heartbeat() const { return before_.heartbeat; }
    /// What they do with a host on that interface: PZ_STAGE_NONE if it is not in their care in this generation.
    [[nodiscard]] pz_stage stage_before(const std::string& interface, int ifindex, std::uint32_t host,
                                        std::uint32_t generation) const;
    /// The highest generation in their maps.
    [[nodiscard]] std::uint32_t last_generation() const;
    /// Its maps are of another size or version than ours: what is in its rings stays there.
    [[nodiscard]] bool has_new_rings() const { return static_cast<bool>(before_.live); }
    /// They have told what they knew: lets go of their maps.
    void forget_before();
    Result<> heartbeat(Instant now);
    [[nodiscard]] std::vector<ReasonCount> counters() const;
    /// What the kernel would do with a frame that comes in on the interface, or leaves by it.  The first call loads the
    /// programs for it.
    Result<Verdict> explain(int ifindex, ByteView frame, Direction direction);

    [[nodiscard]] int triggers_fd() const;
    [[nodiscard]] int overheard_fd() const;
    [[nodiscard]] const std::string& bpffs() const { return pins_.path(); }

private:
    struct SkeletonDeleter {
        void operator()(proxzzy_bpf* skeleton) const;
        void operator()(proxzzy_egress_bpf* skeleton) const;
    };
    using Skeleton = std::unique_ptr<proxzzy_bpf, SkeletonDeleter>;
    using EgressSkeleton = std::unique_ptr<proxzzy_egress_bpf, SkeletonDeleter>;

    /// Where in the tables something of a host is.
    enum class In : std::uint8_t { table4, table6, macs };
    struct Reference {
        Reference(In table, Place at) : place(at & ((1U << place_bits) - 1)), in(table) {}
        Place place : place_bits;
        In in : 2;
        bool operator==(const Reference&) const = default;
    };
    /// What is in the tables for one host, so that it can be taken out again; empty: nothing.
    using Programmed = boost::container::small_vector<Reference, 4>;

    /// What a daemon that is gone left and that is still in force.
    struct Before {
        std::optional<Instant> heartbeat;
        PinnedArray policy;
        PinnedArray live; // if our programs do not use it too
        std::map<std::string, std::uint32_t, std::less<>> devices; // by interface: the index of where its programs are
    };

    /// What is written as memory.
    struct Tables {
        SlotTable<Slots4> index4;
        SlotTable<Slots6> index6;
        SlotTable<SlotsMac> by_mac;
        MappedArray<pz_policy> policy;
        MappedArray<pz_live> live;
        MappedArray<pz_released> released;
        MappedArray<pz_port> ports;
    };
    static Result<Tables> open_tables(proxzzy_bpf& skeleton, const Options& options);

    struct Loaded {
        Skeleton skeleton;
        EgressSkeleton egress;
        Tables tables;
        Before before;
    };
    static Before take_over(const PinDirectory& pins, proxzzy_bpf& skeleton);
    static Result<Loaded> load(const PinDirectory& pins, const Options& options);

    Fastpath(PinDirectory pins, Loaded loaded, pz_daemon daemon);
    Result<> write_segment(const pz_segment_key& key);
    /// Where in pz_xsks_v1 there is room for so many sockets side by side.
    [[nodiscard]] Result<std::uint32_t> room_for_xsks(std::uint32_t count) const;
    void clear_xsks(std::uint32_t first, std::uint32_t count);
    Result<> program(const HostEntry& entry, pz_stage stage, bool with_addresses);
    void write_policy(std::uint32_t host, const pz_policy& policy);
    Result<Reference> put(std::uint32_t segment, const IpAddress& address, const pz_index& value);
    void erase(std::uint32_t host, Reference reference);
    void note_released(std::uint32_t host, std::uint32_t generation);

    PinDirectory pins_;
    Skeleton skeleton_;
    EgressSkeleton egress_;
    std::set<std::string> attached_; // interfaces with the program
    std::vector<int> egress_devices_; // with the filter
    Tables tables_;
    RuleSets rules_;
    pz_daemon daemon_;
    Before before_;
    std::unique_ptr<DryRun> dry_run_; // made by the first explain()
    std::vector<Programmed> programmed_; // by host id

    struct Range {
        std::uint32_t first = 0;
        std::uint32_t count = 0;
    };
    struct SegmentOrder {
        bool operator()(const pz_segment_key& a, const pz_segment_key& b) const {
            return std::tie(a.ifindex, a.outer_vid, a.inner_vid) < std::tie(b.ifindex, b.outer_vid, b.inner_vid);
        }
    };
    std::map<pz_segment_key, pz_segment, SegmentOrder> segments_; // as written
    std::map<std::uint32_t, Range> xsks_; // in pz_xsks_v1, by interface index
    std::map<std::pair<std::uint32_t, IpAddress>, Reference> listened_; // {segment, group}
};

} // namespace pz::fastpath
