// SPDX-License-Identifier: Apache-2.0
// Names of hosts.
#include "proto/offers.h"

#include <strings.h>

namespace pz {

bool is_local_name(std::string_view hostname) {
    constexpr std::string_view domain = ".local";
    return hostname.size() > domain.size() &&
           ::strncasecmp(hostname.data() + hostname.size() - domain.size(), domain.data(), domain.size()) == 0;
}

std::string_view single_label(std::string_view hostname) {
    return hostname.substr(0, hostname.find('.'));
}

} // namespace pz
