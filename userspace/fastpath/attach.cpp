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
#include <chrono>
#include <filesystem>
#include <optional>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <spdlog/fmt/fmt.h>

#include "base/lock.h"

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

} // namespace

std::string_view to_string(XdpMode mode) {
    return mode == XdpMode::native ? "native" : "generic";
}

Result<PinDirectory> PinDirectory::open(const std::string& path) {
    PZ_TRY(require_bpffs(path));
    Fd lock = PZ_TRY(lock_directory(path));
    std::error_code error;
    for (const char* folder : {"/maps", "/links"}) {
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

void PinDirectory::remove_maps() {
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(path_ + "/maps", ignored))
        fs::remove(entry.path(), ignored);
}

void PinDirectory::remove_all() {
    std::error_code ignored;
    for (const auto& name : links())
        remove_link(name);
    remove_maps();
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
                            fmt::format("--interface '{0}' already has an XDP program: see `ip link show dev {0}`, "
                                        "and stop the program that it belongs to",
                                        interface),
                            "interface");
            if (mode == XdpMode::native)
                continue; // whatever the driver's reason, the generic path is worth a try
            return fail_errno("XDP cannot be attached to --interface '" + interface + "', native or generic", errno);
        }
        if (bpf_obj_pin(link.get(), path.c_str()) != 0)
            return fail_errno("cannot pin " + path, errno);
        return mode;
    }
    return fail(Errc::unsupported, "XDP cannot be attached to --interface '" + interface + "'", "interface");
}

Result<bool> detach_pinned(const std::string& path) {
    std::error_code ignored;
    if (!fs::exists(path, ignored))
        return false;
    PinDirectory pins = PZ_TRY(PinDirectory::open(path));
    const bool any = !pins.links().empty() || !fs::is_empty(path + "/maps", ignored);
    pins.remove_all();
    return any;
}

} // namespace pz::fastpath
