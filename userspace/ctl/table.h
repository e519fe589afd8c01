// SPDX-License-Identifier: Apache-2.0
// What the daemon said, for people.
#pragma once

#include <string>
#include <vector>

#include "control/service.h"

namespace pz::ctl {

std::string to_text(const control::Capabilities& capabilities);
std::string to_text(const control::DaemonStatus& status);
std::string to_text(const control::HostStatus& host);
std::string to_text(const std::vector<control::HostStatus>& hosts);
std::string to_text(const std::vector<control::Counter>& counters);

} // namespace pz::ctl
