// SPDX-License-Identifier: Apache-2.0
#include "fastpath/rule_sets.h"

#include <bit>
#include <cerrno>

#include <bpf/bpf.h>

namespace pz::fastpath {

Result<std::uint32_t> RuleSets::take(const pz_rules& rules) {
    const auto bytes = std::bit_cast<Bytes>(rules);
    if (const auto known = ids_.find(bytes); known != ids_.end()) {
        entries_.at(known->second).users++;
        return known->second;
    }
    std::uint32_t id = last_id_ + 1;
    while (entries_.contains(id)) // they go around after 2^32 changes
        id++;
    if (bpf_map_update_elem(bpf_map__fd(map_), &id, &rules, BPF_ANY) != 0) {
        if (errno == E2BIG || errno == ENOSPC)
            return fail(Errc::limit, "the kernel table of wake rules is full");
        return fail_errno("cannot write the kernel table of wake rules", errno);
    }
    last_id_ = id;
    ids_.emplace(bytes, id);
    entries_.emplace(id, Entry{.rules = bytes, .users = 1});
    return id;
}

void RuleSets::release(std::uint32_t id) {
    const auto entry = entries_.find(id);
    if (entry == entries_.end() || --entry->second.users != 0)
        return;
    bpf_map_delete_elem(bpf_map__fd(map_), &id);
    ids_.erase(entry->second.rules);
    entries_.erase(entry);
}

} // namespace pz::fastpath
