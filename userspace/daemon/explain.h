// SPDX-License-Identifier: Apache-2.0
// What a dry run found, with the names and states that only the daemon knows, and what the daemon would do next.
#pragma once

#include "control/service.h"
#include "fastpath/dry_run.h"
#include "hosts/table.h"

namespace pz {

/// Whether the NIC of a host answered by itself in this generation, so that its replies prove nothing.
using NicAnswers = std::function<bool(HostId, std::uint32_t generation)>;

/// Whether the wake policy of the host refuses the trigger.
using Refuses = std::function<std::optional<Refusal>(const pz_event&, const Host&)>;

/// `segment` is the one that the frame's interface and tags belong to.  All but the interface is filled in.
control::Explanation explain(const fastpath::Verdict& verdict, ByteView frame, SegmentId segment,
                             const PresenceTable& table, const NicAnswers& nic_answers, const Refuses& refuses,
                             Instant now);

} // namespace pz
