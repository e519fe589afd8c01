// SPDX-License-Identifier: Apache-2.0
// What systemd is told about the daemon (sd_notify(3)).  Without systemd nothing happens.
#pragma once

#include <string>

namespace pz::service_manager {

/// The daemon serves; `status` is the line that `systemctl status` shows.
void ready(const std::string& status);
/// The configuration is being read again, until ready().
void reloading();
void stopping();
/// Everything goes on as it should.  To be called each second; withheld for longer than WatchdogSec= it costs the
/// daemon its life.
void alive();

} // namespace pz::service_manager
