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

private:
    PinDirectory(std::string path, Fd lock) : path_(std::move(path)), lock_(std::move(lock)) {}
    std::string path_;
    Fd lock_;
};

/// Attaches the program to the interface by a pinned link, native or else generic.  A link left by an earlier daemon is
/// updated in place, so that no frame is missed.
Result<XdpMode> attach_xdp(const PinDirectory& pins, const std::string& interface, int ifindex, int program_fd);

/// Removes what a proxzzyd that is gone left pinned below `path`; false if there was nothing.
/// Errc::busy if one is still running.
Result<bool> detach_pinned(const std::string& path);

} // namespace pz::fastpath
