// SPDX-License-Identifier: Apache-2.0
// The kernel's table of what wakes hosts: hosts with the same rules share an entry.
#pragma once

#include <array>
#include <cstdint>
#include <map>

#include <bpf/libbpf.h>

#include <proxzzy/abi/maps.h>

#include "base/result.h"

namespace pz::fastpath {

class RuleSets {
public:
    /// `map` is pz_rules_v1 of a loaded object.
    explicit RuleSets(const bpf_map* map) : map_(map) {}

    /// The key of the entry with these rules, which is made if there is none.  Each take() wants a release().
    Result<std::uint32_t> take(const pz_rules& rules);
    void release(std::uint32_t id);

private:
    using Bytes = std::array<std::uint8_t, sizeof(pz_rules)>;
    struct Entry {
        Bytes rules;
        std::uint32_t users = 0;
    };

    const bpf_map* map_;
    std::map<Bytes, std::uint32_t> ids_;
    std::map<std::uint32_t, Entry> entries_;
    std::uint32_t last_id_ = 0;
};

} // namespace pz::fastpath
