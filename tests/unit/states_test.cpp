// SPDX-License-Identifier: Apache-2.0
// The table of states: it is the documented one, and no state is a dead end.
#include "hosts/states.h"

#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <string>
#include <utility>

namespace pz {
namespace {

std::string name(HostState state) {
    return host_state_names.at(static_cast<std::size_t>(state));
}

TEST(States, TheDocumentedEdgesAreThoseOfTheTable) {
    std::ifstream file(PROXZZY_SOURCE_DIR "/docs/states.md");
    ASSERT_TRUE(file);
    std::string documented;
    bool inside = false;
    for (std::string line; std::getline(file, line);) {
        if (line.starts_with("## "))
            inside = line == "## Changes of state";
        if (inside && line.starts_with("| `"))
            documented += line + "\n";
    }
    std::string table;
    for (const auto& [from, event, to] : edges)
        table += "| `" + name(from) + "` | " + state_event_names.at(static_cast<std::size_t>(event)) + " | `" +
                 name(to) + "` |\n";
    EXPECT_EQ(documented, table) << "docs/states.md, Changes of state";
}

TEST(States, AnEventLeadsToOneState) {
    std::set<std::pair<HostState, StateEvent>> seen;
    for (const Edge& edge : edges) {
        EXPECT_TRUE(seen.emplace(edge.from, edge.event).second) << name(edge.from);
        EXPECT_NE(edge.from, edge.to);
        EXPECT_EQ(next_state(edge.from, edge.event), edge.to);
    }
    EXPECT_EQ(next_state(HostState::awake, StateEvent::trigger), std::nullopt);
}

TEST(States, WhoeverSpeaksOrIsReleasedIsAwake) {
    for (const HostState state : {HostState::arming, HostState::asleep, HostState::waking, HostState::unreachable}) {
        EXPECT_EQ(next_state(state, StateEvent::sign_of_life), HostState::awake) << name(state);
        EXPECT_EQ(next_state(state, StateEvent::release_request), HostState::awake) << name(state);
    }
}

} // namespace
} // namespace pz
