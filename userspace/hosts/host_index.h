// SPDX-License-Identifier: Apache-2.0
// Finds hosts by their names, MACs or addresses: a hash table (open addressing, linear probing) of host ids alone,
// since the keys are in the hosts, each with a few bits of its key's hash: most other keys are told apart without a
// look at their hosts.  A million keys take 8 MB.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <limits>
#include <optional>
#include <vector>

#include "hosts/record.h"

namespace pz {

class HostIndex {
public:
    /// The host with a key of this hash that `has_key(id)` is true of.
    template <class HasKey>
    std::optional<HostId> find(std::size_t hash, const HasKey& has_key) const {
        if (slots_.empty())
            return std::nullopt;
        const HostId bits = slot(hash, 0);
        for (std::size_t at = first(hash); slots_[at] != never_used; at = next(at))
            if (const HostId host = slots_[at] ^ bits; host < end_of_ids && slots_[at] != erased && has_key(host))
                return host;
        return std::nullopt;
    }
    /// For a find() or insert() that comes soon: of millions of keys hardly one is in the processor's cache.
    void prefetch(std::size_t hash) const {
        if (!slots_.empty())
            __builtin_prefetch(&slots_[first(hash)]);
    }
    /// There has to be room, and no such key.
    void insert(std::size_t hash, HostId host) {
        std::size_t at = first(hash);
        while (slots_[at] < erased)
            at = next(at);
        used_ += slots_[at] == never_used ? 1U : 0U;
        slots_[at] = slot(hash, host);
        ++size_;
    }
    /// Of two keys of a host that meet here it does not matter whose slot goes: both are found by either.
    void erase(std::size_t hash, HostId host) {
        for (std::size_t at = first(hash); slots_[at] != never_used; at = next(at))
            if (slots_[at] == slot(hash, host)) {
                slots_[at] = erased;
                --size_;
                return;
            }
    }
    [[nodiscard]] bool has_room(std::size_t more) const { return (used_ + more) * 2 <= slots_.size(); }
    /// Empty, with room for so many keys.
    void clear(std::size_t keys) {
        slots_.assign(std::bit_ceil(std::max(2 * keys + keys / 8, smallest)), never_used);
        size_ = used_ = 0;
    }
    [[nodiscard]] std::size_t size() const { return size_; }

    /// Hosts have ids below this one, to leave room for the bits.
    static constexpr HostId end_of_ids = 1U << 23;

private:
    // no host has ids as high as these have in their low bits
    static constexpr HostId never_used = std::numeric_limits<HostId>::max();
    static constexpr HostId erased = never_used - 1;
    static constexpr std::size_t smallest = 256;

    /// The highest bits of the hash: first() takes the lowest.
    static HostId slot(std::size_t hash, HostId host) {
        return static_cast<HostId>(hash >> 32U) / end_of_ids * end_of_ids | host;
    }
    [[nodiscard]] std::size_t first(std::size_t hash) const { return hash & (slots_.size() - 1); }
    [[nodiscard]] std::size_t next(std::size_t at) const { return (at + 1) & (slots_.size() - 1); }

    std::vector<HostId> slots_; // a power of two
    std::size_t size_ = 0;
    std::size_t used_ = 0; // slots that were not always empty
};

} // namespace pz
