// SPDX-License-Identifier: Apache-2.0
#include "fastpath/attach.h"

#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <tuple>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <spdlog/fmt/fmt.h>

#include <spdlog/spdlog.h>

#include "base/lock.h"
#include "net/link.h"
#include "net/neighbour.h"
#include "net/traffic_control.h"

namespace pz::fastpath {

namespace fs = std::filesystem;

namespace {

/// The nearest existing directory at or above `path`.
fs::path existing_parent(fs::path path) {
    std::error_code ignored;
    while (path.has_relative_path() && !fs::exists(path, ignored))
        path = path.parent_path();
    return path;
}

Result<> require_bpffs(const std::string& path) {
    struct statfs info{};
    const fs::path existing = existing_parent(path);
    if (::statfs(existing.c_str(), &info) != 0)
        return fail_errno("cannot read " + existing.string(), errno);
    if (static_cast<unsigned long>(info.f_type) != BPF_FS_MAGIC)
        return fail(Errc::system,
                    "--bpffs '" + path + "' is not on a BPF file system: mount one with `mount -t bpf bpf /sys/fs/bpf`",
                    "bpffs");
    return {};
}

std::string replaced(std::string text, char from, char to) {
    std::ranges::replace(text, from, to);
    return text;
}

/// Creates and locks the directory.
Result<Fd> lock_directory(const std::string& path) {
    std::error_code error;
    fs::create_directories(path, error);
    if (error)
        return fail(Errc::permission, "cannot create " + path + ": " + error.message() + " (run as root)", "bpffs");
    Fd lock(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!lock)
        return fail_errno("cannot open " + path, errno);
    // a daemon that was just killed holds its lock until the kernel has taken it apart
    const auto locked = lock_exclusively(lock, std::chrono::seconds(1));
    if (!locked)
        return fail(locked.error().code, "cannot lock " + path + ": " + locked.error().message);
    if (!*locked)
        return fail(Errc::busy,
                    "another proxzzyd is running with --bpffs '" + path +
                        "': stop it, or give this one another directory",
                    "bpffs");
    if (!is_still_at(lock, path))
        return lock_directory(path);
    return lock;
}

std::optional<XdpMode> attached_mode(int ifindex) {
    bpf_xdp_query_opts query{};
    query.sz = sizeof(query);
    if (bpf_xdp_query(ifindex, 0, &query) != 0)
        return std::nullopt;
    return query.attach_mode == XDP_ATTACHED_SKB ? XdpMode::generic : XdpMode::native;
}

/// The interface index that a link is attached to; 0 once the device is gone.
std::uint32_t link_ifindex(int link_fd) {
    struct bpf_link_info info{};
    std::uint32_t size = sizeof(info);
    if (bpf_obj_get_info_by_fd(link_fd, &info, &size) != 0)
        return 0;
    return info.xdp.ifindex;
}

/// Where the filter stands among those of others: what an administrator puts into a clsact by hand has a lower number
/// and sees packets first, what `tc` numbers by itself has a higher one.
constexpr std::uint32_t filter_handle = 0x707a, filter_priority = 0x707a; // "pz"

bpf_tc_hook egress_hook(int ifindex) {
    bpf_tc_hook hook{};
    hook.sz = sizeof hook;
    hook.ifindex = ifindex;
    hook.attach_point = BPF_TC_EGRESS;
    return hook;
}

bpf_tc_opts our_filter() {
    bpf_tc_opts filter{};
    filter.sz = sizeof filter;
    filter.handle = filter_handle;
    filter.priority = filter_priority;
    return filter;
}

/// How the names of folders for devices in this network namespace begin.
std::string this_namespace() {
    struct stat found{};
    ::stat("/proc/self/ns/net", &found);
    return fmt::format("{}:", found.st_ino);
}

/// Our neighbour entries on the device and on the VLAN devices over it.
void drop_neighbours(int ifindex) {
    for (const int device : devices_over(ifindex))
        if (auto dropped = Neighbours().unpin_all(device); !dropped)
            spdlog::warn("{}", dropped.error().message);
}

} // namespace

std::string_view to_string(XdpMode mode) {
    return mode == XdpMode::native ? "native" : "generic";
}

Result<PinDirectory> PinDirectory::open(const std::string& path) {
    PZ_TRY(require_bpffs(path));
    Fd lock = PZ_TRY(lock_directory(path));
    std::error_code error;
    for (const char* folder : {"/maps", "/links", "/egress"}) {
        fs::create_directories(path + folder, error);
        if (error)
            return fail(Errc::system, "cannot create " + path + folder + ": " + error.message(), "bpffs");
    }
    return PinDirectory(path, std::move(lock));
}

std::vector<std::string> PinDirectory::links() const {
    std::vector<std::string> names;
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(path_ + "/links", ignored))
        names.push_back(replaced(entry.path().filename().string(), ':', '.'));
    return names;
}

std::string PinDirectory::link_path(std::string_view interface) const {
    return path_ + "/links/" + replaced(std::string(interface), '.', ':');
}

std::uint32_t PinDirectory::attached_to(std::string_view interface) const {
    const Fd link(bpf_obj_get(link_path(interface).c_str()));
    return link ? link_ifindex(link.get()) : 0;
}

void PinDirectory::remove_link(std::string_view interface) {
    const std::string path = link_path(interface);
    // the last reference to an unpinned link goes some time later; whoever asked wants it off now
    if (const Fd link(bpf_obj_get(path.c_str())); link)
        bpf_link_detach(link.get());
    std::error_code ignored;
    fs::remove(path, ignored);
}

std::vector<int> PinDirectory::egress_devices() const {
    std::vector<int> devices;
    std::error_code ignored;
    const std::string here = this_namespace();
    for (const auto& entry : fs::directory_iterator(path_ + "/egress", ignored)) {
        const std::string name = entry.path().filename().string();
        int ifindex = 0;
        if (name.starts_with(here) &&
            std::from_chars(name.data() + here.size(), name.data() + name.size(), ifindex).ec == std::errc{})
            devices.push_back(ifindex);
    }
    return devices;
}

std::string PinDirectory::egress_path(int ifindex) const {
    return fmt::format("{}/egress/{}{}", path_, this_namespace(), ifindex);
}

bool PinDirectory::has_egress_elsewhere() const {
    std::error_code ignored;
    const auto folders = std::distance(fs::directory_iterator(path_ + "/egress", ignored), fs::directory_iterator());
    return static_cast<std::size_t>(folders) > egress_devices().size();
}

void PinDirectory::remove_egress(int ifindex) {
    std::error_code ignored;
    const std::string path = egress_path(ifindex);
    if (!fs::exists(path, ignored))
        return;
    bpf_tc_hook hook = egress_hook(ifindex);
    bpf_tc_opts filter = our_filter();
    bpf_tc_detach(&hook, &filter); // fails if the device or somebody's clsact is gone, and the filter with it
    if (fs::remove(path + "/clsact", ignored) && !has_clsact_filters(ifindex).value_or(true)) {
        hook.attach_point = static_cast<bpf_tc_attach_point>(BPF_TC_INGRESS | BPF_TC_EGRESS); // the clsact as a whole
        bpf_tc_hook_destroy(&hook);
    }
    fs::remove(path, ignored);
    drop_neighbours(ifindex);
}

void PinDirectory::remove_maps() {
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(path_ + "/maps", ignored))
        fs::remove(entry.path(), ignored);
}

void PinDirectory::remove_all() {
    std::error_code ignored;
    for (const auto& name : links())
        remove_link(name);
    for (const int ifindex : egress_devices())
        remove_egress(ifindex);
    remove_maps();
    fs::remove(path_ + "/egress", ignored);
    fs::remove(path_ + "/links", ignored);
    fs::remove(path_ + "/maps", ignored);
    fs::remove(path_, ignored);
    // the folder above is ours too when it is .../proxzzy and of our making, not the unit's; it stays while it holds
    // other instances
    const fs::path parent = fs::path(path_).parent_path();
    if (struct stat found{};
        parent.filename() == "proxzzy" && ::stat(parent.c_str(), &found) == 0 && found.st_uid == ::geteuid())
        fs::remove(parent, ignored);
}

Result<XdpMode> attach_xdp(const PinDirectory& pins, const std::string& interface, int ifindex, int program_fd) {
    const std::string path = pins.link_path(interface);
    for (const auto& name : pins.links()) // it may have been called otherwise when its link was made
        if (name != interface && pins.attached_to(name) == static_cast<std::uint32_t>(ifindex))
            std::ignore = std::rename(pins.link_path(name).c_str(), path.c_str());
    if (Fd old(bpf_obj_get(path.c_str())); old) {
        if (link_ifindex(old.get()) == static_cast<std::uint32_t>(ifindex) &&
            bpf_link_update(old.get(), program_fd, nullptr) == 0)
            return attached_mode(ifindex).value_or(XdpMode::native);
        std::error_code ignored; // the device is gone or another one has its name: the old link serves nobody
        fs::remove(path, ignored);
    }
    for (const XdpMode mode : {XdpMode::native, XdpMode::generic}) {
        bpf_link_create_opts options{};
        options.sz = sizeof(options);
        options.flags = mode == XdpMode::native ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE;
        Fd link(bpf_link_create(program_fd, ifindex, BPF_XDP, &options));
        if (!link) {
            if (errno == EBUSY || errno == EEXIST)
                return fail(Errc::busy,
                            fmt::format("interface '{0}' already has an XDP program: see `ip link show dev {0}`, "
                                        "and stop the program that it belongs to",
                                        interface),
                            "interface");
            if (mode == XdpMode::native)
                continue; // whatever the driver's reason, the generic path is worth a try
            return fail_errno("XDP cannot be attached to interface '" + interface + "', native or generic", errno);
        }
        if (bpf_obj_pin(link.get(), path.c_str()) != 0)
            return fail_errno("cannot pin " + path, errno);
        return mode;
    }
    return fail(Errc::unsupported, "XDP cannot be attached to interface '" + interface + "'", "interface");
}

Result<> attach_egress(const PinDirectory& pins, int ifindex, int program_fd) {
    const std::string path = pins.egress_path(ifindex);
    std::error_code error;
    fs::create_directory(path, error);
    if (error)
        return fail(Errc::system, "cannot create " + path + ": " + error.message());
    bpf_tc_hook hook = egress_hook(ifindex);
    if (const int made = bpf_tc_hook_create(&hook); made == 0)
        fs::create_directory(path + "/clsact", error);
    else if (made != -EEXIST)
        return fail_errno(fmt::format("no clsact on interface index {}", ifindex), -made);
    bpf_tc_opts filter = our_filter();
    filter.prog_fd = program_fd;
    filter.flags = BPF_TC_F_REPLACE;
    if (const int attached = bpf_tc_attach(&hook, &filter); attached != 0)
        return fail_errno(fmt::format("no filter on what leaves by interface index {}", ifindex), -attached);
    drop_neighbours(ifindex);
    return {};
}

Result<bool> detach_pinned(const std::string& path) {
    std::error_code ignored;
    if (!fs::exists(path, ignored))
        return false;
    PinDirectory pins = PZ_TRY(PinDirectory::open(path));
    if (pins.has_egress_elsewhere())
        return fail(Errc::not_found,
                    "the proxzzyd that is gone ran in another network namespace: run `proxzzyctl detach` there");
    const bool any = !pins.links().empty() || !fs::is_empty(path + "/maps", ignored);
    pins.remove_all();
    return any;
}

} // namespace pz::fastpath
