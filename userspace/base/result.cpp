// SPDX-License-Identifier: Apache-2.0
#include "base/result.h"

#include <system_error>

namespace pz {

std::unexpected<Error> fail_errno(std::string what, int errno_value) {
    return fail(Errc::system, std::move(what) + ": " + std::generic_category().message(errno_value));
}

} // namespace pz
