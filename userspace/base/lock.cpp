// SPDX-License-Identifier: Apache-2.0
#include "base/lock.h"

#include <sys/file.h>
#include <sys/stat.h>

#include <cerrno>
#include <thread>

namespace pz {

Result<bool> lock_exclusively(const Fd& file, Duration patience) {
    const auto give_up = std::chrono::steady_clock::now() + patience;
    while (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK)
            return fail_errno("flock", errno);
        if (std::chrono::steady_clock::now() >= give_up)
            return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return true;
}

bool is_still_at(const Fd& opened, const std::string& path) {
    struct stat held{};
    struct stat found{};
    return ::fstat(opened.get(), &held) == 0 && ::stat(path.c_str(), &found) == 0 && held.st_dev == found.st_dev &&
           held.st_ino == found.st_ino;
}

} // namespace pz
