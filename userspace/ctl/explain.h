// SPDX-License-Identifier: Apache-2.0
// `proxzzyctl explain`: makes the frames that are asked about, and asks.
#pragma once

#include <string>

#include "control/client.h"
#include "ctl/question.h"

namespace pz::ctl {

/// Who sends a frame that is built from words, unless told: a locally administered address that is nobody's.
inline constexpr MacAddress nobodys_mac{{0x02, 'e', 'x', 'p', 'l', 'n'}};

/// What to print, without a newline at the end.
Result<std::string> explain(const Question& question, bool json, control::Client& client);

} // namespace pz::ctl
