// SPDX-License-Identifier: Apache-2.0
// The state machine of a host as one table; docs/states.md has the same lines.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace pz {

/// States of the design's section 6.
enum class HostState : std::uint8_t { awake, arming, asleep, waking, unreachable };
inline constexpr std::array host_state_names{"awake", "arming", "asleep", "waking", "unreachable"};

/// What changes the state of a host.
enum class StateEvent : std::uint8_t {
    sleep_request,
    release_request,
    wake_request,
    sign_of_life,
    silence,     // the owner was silent for as long as it takes
    no_silence,  // ... or never, in the time that it has
    trigger,
    renewal,     // an address is about to end
    conflict,    // another node goes on using an address of the host
    no_wake,     // no sign of life in the time that it has
};
inline constexpr std::array state_event_names{"sleep request", "release request", "wake request", "sign of life",
                                              "silence",       "no silence",      "trigger",      "renewal",
                                              "conflict",      "no wake"};

struct Edge {
    HostState from;
    StateEvent event;
    HostState to;
};

/// Every change of state that there is.
inline constexpr std::array edges{
    Edge{HostState::awake, StateEvent::sleep_request, HostState::arming},
    Edge{HostState::awake, StateEvent::silence, HostState::asleep}, // agentless hosts

    Edge{HostState::arming, StateEvent::silence, HostState::asleep},
    Edge{HostState::arming, StateEvent::no_silence, HostState::awake},
    Edge{HostState::arming, StateEvent::sign_of_life, HostState::awake},
    Edge{HostState::arming, StateEvent::release_request, HostState::awake},

    Edge{HostState::asleep, StateEvent::trigger, HostState::waking},
    Edge{HostState::asleep, StateEvent::wake_request, HostState::waking},
    Edge{HostState::asleep, StateEvent::renewal, HostState::waking},
    Edge{HostState::asleep, StateEvent::conflict, HostState::waking},
    Edge{HostState::asleep, StateEvent::sign_of_life, HostState::awake},
    Edge{HostState::asleep, StateEvent::release_request, HostState::awake},

    Edge{HostState::waking, StateEvent::sign_of_life, HostState::awake},
    Edge{HostState::waking, StateEvent::release_request, HostState::awake},
    Edge{HostState::waking, StateEvent::no_wake, HostState::unreachable},
    Edge{HostState::waking, StateEvent::sleep_request, HostState::arming},

    Edge{HostState::unreachable, StateEvent::wake_request, HostState::waking},
    Edge{HostState::unreachable, StateEvent::sign_of_life, HostState::awake},
    Edge{HostState::unreachable, StateEvent::release_request, HostState::awake},
    Edge{HostState::unreachable, StateEvent::sleep_request, HostState::arming},
};

/// The state after `event`; nullopt: it changes nothing.
constexpr std::optional<HostState> next_state(HostState from, StateEvent event) {
    const auto* const edge =
        std::ranges::find_if(edges, [&](const Edge& each) { return each.from == from && each.event == event; });
    return edge == edges.end() ? std::nullopt : std::optional(edge->to);
}

} // namespace pz
