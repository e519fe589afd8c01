// SPDX-License-Identifier: Apache-2.0
#include "daemon/service_manager.h"

#include <systemd/sd-daemon.h>

#include <spdlog/fmt/fmt.h>

#include "base/clock.h"

namespace pz::service_manager {

// nobody changes the environment once the program runs, and there is nobody to tell that nobody could be told
namespace {
void notify(const std::string& text) {
    (void)::sd_notify(0, text.c_str());
}
} // namespace

void ready(const std::string& status) {
    notify(fmt::format("READY=1\nSTATUS={}", status));
}

void reloading() {
    notify(fmt::format("RELOADING=1\nMONOTONIC_USEC={}", to_ns(std::chrono::steady_clock::now()) / 1000));
}

void stopping() {
    notify("STOPPING=1");
}

void alive() {
    if (::sd_watchdog_enabled(0, nullptr) > 0)
        notify("WATCHDOG=1");
}

} // namespace pz::service_manager
