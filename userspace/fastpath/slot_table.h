// SPDX-License-Identifier: Apache-2.0
// The writer of the kernel's tables of addresses and MACs: buckets, their filter, and the hash tables for what finds no
// slot.  How they are read is said in abi/maps.h and bpf/table.h.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <proxzzy/abi/maps.h>

#include "base/fd.h"
#include "base/result.h"
#include "fastpath/mapped_array.h"

namespace pz::fastpath {

/// The maps of one table, of a loaded object.
struct TableMaps {
    const bpf_map* buckets;
    const bpf_map* filter;
    const bpf_map* more; // array of one map ...
    const bpf_map* first_more; // ... which this is at first
    int btf; // of the object
};

/// IPv4 addresses.
struct Slots4 {
    using Slot = pz_slot4;
    using Bucket = pz_bucket4;
    using Key = pz_index4_key;
    using Value = pz_index;
    static constexpr const char* what = "IPv4 addresses";
    static std::uint64_t hash(const Key& key) { return pz_hash4(std::bit_cast<std::uint32_t>(key.address)); }
    static Slot make(const Key& key, const Value& value, std::uint32_t turn);
    static std::uint32_t turn(const Slot& slot); // that makes one like it
    static Key key(const Slot& slot);
    static Value value(const Slot& slot);
};

/// IPv6 addresses.
struct Slots6 {
    using Slot = pz_slot6;
    using Bucket = pz_bucket6;
    using Key = pz_index6_key;
    using Value = pz_index;
    static constexpr const char* what = "IPv6 addresses";
    static std::uint64_t hash(const Key& key) {
        const auto words = std::bit_cast<std::array<std::uint64_t, 2>>(key.address);
        return pz_hash6(words[0], words[1]);
    }
    static Slot make(const Key& key, const Value& value, std::uint32_t turn);
    static std::uint32_t turn(const Slot& slot); // that makes one like it
    static Key key(const Slot& slot);
    static Value value(const Slot& slot);
};

/// MACs.
struct SlotsMac {
    using Slot = pz_slot_mac;
    using Bucket = pz_bucket_mac;
    using Key = pz_mac_key;
    using Value = pz_owner;
    static constexpr const char* what = "MACs";
    static std::uint64_t hash(const Key& key) {
        std::uint64_t mac = 0;
        std::memcpy(&mac, key.mac, sizeof key.mac);
        return pz_hash_mac(mac);
    }
    static Slot make(const Key& key, const Value& value, std::uint32_t turn);
    static std::uint32_t turn(const Slot& slot); // that makes one like it
    static Key key(const Slot& slot);
    static Value value(const Slot& slot);
};

/// A table with that many buckets has a slot for each of so many keys.
constexpr std::uint32_t buckets_for(std::uint32_t keys) {
    return (keys + PZ_SLOTS - 1) / PZ_SLOTS;
}

/// Where an entry is, until it is erased or put() says another one.
using Place = std::uint32_t;
inline constexpr int place_bits = 30;

/// One table, whose only writer this is.
template <class Slots>
class SlotTable {
public:
    using Key = typename Slots::Key;
    using Value = typename Slots::Value;
    struct Entry {
        Key key;
        Value value;
    };

    /// `plain_hash`: everything goes to the hash table, as the programs must have been told (`plain_hash`).
    static Result<SlotTable> open(const TableMaps& maps, bool plain_hash);

    /// For a put() that comes soon: of millions of keys hardly one is in the processor's cache.
    void prefetch(const Key& key) const {
        const std::uint32_t bucket = bucket_of(key);
        const auto* const slots = reinterpret_cast<const std::byte*>(&buckets_[bucket]);
        for (std::size_t line = 0; line < sizeof(typename Slots::Bucket); line += cache_line)
            __builtin_prefetch(slots + line, 1);
        __builtin_prefetch(&filter_[bucket / PZ_FILTER_WORDS], 1);
    }
    /// Adds the key, or replaces its value.  A reader finds the old value or the new one.  Where they differ in one
    /// word of a slot the entry stays where it is, else it may move.  Of what is in the hash table he may find neither
    /// at the moment when it is replaced (docs/maps.md).
    Result<Place> put(const Key& key, const Value& value);
    /// None: it was erased, or has moved.
    [[nodiscard]] std::optional<Entry> at(Place place) const;
    void erase(Place place);
    /// How many found no slot.
    [[nodiscard]] std::size_t more() const { return more_by_bucket_.size(); }

private:
    using Slot = typename Slots::Slot;
    static constexpr Place is_more = 1U << (place_bits - 1);
    static constexpr std::size_t head_at = sizeof(Slot) - 8;
    static constexpr std::size_t cache_line = 64;

    SlotTable(const TableMaps& maps, bool plain_hash, MappedArray<typename Slots::Bucket> buckets,
              MappedArray<pz_filter_words> filter)
        : maps_(maps), more_room_(bpf_map__max_entries(maps.first_more)), plain_hash_(plain_hash),
          buckets_(std::move(buckets)), filter_(std::move(filter)) {}

    Slot& slot(Place place) const { return buckets_[place / PZ_SLOTS].slots[place % PZ_SLOTS]; }
    static bool in_use(Slot& slot) { return word_at(&slot, head_at).load(std::memory_order_relaxed) != 0; }
    static bool same(const Key& a, const Key& b) { return std::memcmp(&a, &b, sizeof(Key)) == 0; }
    [[nodiscard]] std::uint32_t bucket_of(const Key& key) const {
        return pz_bucket_of(Slots::hash(key), buckets_.size());
    }
    std::optional<Place> find(const Key& key, std::uint32_t bucket) const;
    void write(Slot& to, const Key& key, const Value& value);
    bool replace(Slot& to, const Key& key, const Value& value);
    Result<> write_more(const Entry& entry);
    Result<> grow();
    [[nodiscard]] std::atomic_ref<std::uint32_t> filter_word(std::uint32_t bucket) const {
        return std::atomic_ref(filter_[bucket / PZ_FILTER_WORDS].bits[bucket % PZ_FILTER_WORDS]);
    }

    TableMaps maps_;
    std::uint32_t more_room_;
    bool plain_hash_;
    MappedArray<typename Slots::Bucket> buckets_;
    MappedArray<pz_filter_words> filter_;
    std::uint32_t turn_ = 0;
    Fd grown_; // the hash table, if it is not the first one
    std::vector<Entry> more_; // what is in it; unused ones have no segment, and are in free_more_
    std::vector<Place> free_more_;
    std::unordered_multimap<std::uint32_t, Place> more_by_bucket_;
};

extern template class SlotTable<Slots4>;
extern template class SlotTable<Slots6>;
extern template class SlotTable<SlotsMac>;

} // namespace pz::fastpath
