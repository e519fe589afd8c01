// SPDX-License-Identifier: Apache-2.0
// The directory in bpffs that holds our pins, and XDP links in it.  The kernel side lives as long as these pins.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/result.h"

namespace pz::fastpath {

inline constexpr const char* default_bpffs = "/sys/fs/bpf/proxzzy/default";

enum class XdpMode : std::uint8_t { native, generic };
std::string_view to_string(XdpMode mode);

/// An instance's directory: `links/INTERFACE` and `maps/NAME` below it.  Holds its lock.  bpffs refuses names with a
/// dot, so that of an interface (lan0.7) is written as a colon, which no interface name has.
class PinDirectory {
public:
    /// Creates and locks it.  Errc::system when it is not on a bpffs, Errc::busy when another proxzzyd holds it.
    static Result<PinDirectory> open(const std::string& path);

    [[nodiscard]] const std::string& path() const { return path_; }
    [[nodiscard]] std::string map_path(std::string_view name) const { return path_ + "/maps/" + std::string(name); }
    [[nodiscard]] std::string link_path(std::string_view interface) const;
    /// The index of the interface that the pinned link of that name is attached to; 0: of none.
    [[nodiscard]] std::uint32_t attached_to(std::string_view interface) const;
    /// Interfaces with a pinned link.
    [[nodiscard]] std::vector<std::string> links() const;
    /// Unpins everything; a link that nobody else holds detaches its program.  The directory goes too.
    void remove_all();
    /// Unpins all maps, before new ones take their names.
    void remove_maps();
    void remove_link(std::string_view interface);

    /// Devices with our filter on what leaves by them, by index.  A filter is no link that could be pinned, so there is
    /// a folder for each: `egress/NAMESPACE:INDEX`, the network namespace by its inode, since only there the index
    /// means the device; and a folder `clsact` in it if we made the device's clsact.
    [[nodiscard]] std::vector<int> egress_devices() const;
    [[nodiscard]] std::string egress_path(int ifindex) const;
    /// Whether there are filters in another network namespace, which only a process there can take off.
    [[nodiscard]] bool has_egress_elsewhere() const;
    /// Takes the filter off the device, its clsact if we made it and nobody else has a filter in it, and our entries
    /// out of the neighbour table.  Harmless when it is gone.
    void remove_egress(int ifindex);

private:
    PinDirectory(std::string path, Fd lock) : path_(std::move(path)), lock_(std::move(lock)) {}
    std::string path_;
    Fd lock_;
};

/// Attaches the program to the interface by a pinned link, native or else generic.  A link left by an earlier daemon is
/// updated in place, so that no frame is missed.
Result<XdpMode> attach_xdp(const PinDirectory& pins, const std::string& interface, int ifindex, int program_fd);

/// Puts the program on what leaves by the device, by a tc filter in its clsact, which is made if there is none.  A
/// filter left by an earlier daemon is replaced in place, so that no packet passes it by; the neighbour entries that it
/// left go.
Result<> attach_egress(const PinDirectory& pins, int ifindex, int program_fd);

/// Removes what a proxzzyd that is gone left pinned below `path`; false if there was nothing.
/// Errc::busy if one is still running.
Result<bool> detach_pinned(const std::string& path);

} // namespace pz::fastpath
