// SPDX-License-Identifier: Apache-2.0
#include "fastpath/slot_table.h"

#include <linux/bpf.h>

#include <limits>
#include <string>

namespace pz::fastpath {

namespace {

template <std::size_t size>
void copy(const std::uint8_t (&from)[size], std::uint8_t (&to)[size]) {
    std::memcpy(to, from, size);
}

/// A turn that is not 0 in so many bits.
template <class T>
T turn_of(std::uint32_t turn) {
    return static_cast<T>(turn % std::numeric_limits<T>::max() + 1);
}

template <class Slot>
auto words_of(const Slot& slot) {
    return std::bit_cast<std::array<std::uint64_t, sizeof(Slot) / 8>>(slot);
}

} // namespace

Slots4::Slot Slots4::make(const Key& key, const Value& value, std::uint32_t turn) {
    Slot slot{};
    copy(key.address, slot.address);
    slot.host = value.host;
    copy(value.mac, slot.mac);
    slot.segment = key.segment & PZ_MAX_SEGMENT;
    slot.flags = (value.flags | (turn << 2)) & 0xf; // PZ_INDEX_TURN
    return slot;
}

std::uint32_t Slots4::turn(const Slot& slot) {
    return slot.flags >> 2;
}

Slots4::Key Slots4::key(const Slot& slot) {
    Key key{.segment = slot.segment, .address = {}};
    copy(slot.address, key.address);
    return key;
}

Slots4::Value Slots4::value(const Slot& slot) {
    Value value{.mac = {}, .flags = static_cast<std::uint16_t>(slot.flags & ~PZ_INDEX_TURN), .host = slot.host};
    copy(slot.mac, value.mac);
    return value;
}

Slots6::Slot Slots6::make(const Key& key, const Value& value, std::uint32_t turn) {
    Slot slot{};
    copy(key.address, slot.address);
    slot.host = value.host;
    slot.segment = static_cast<std::uint16_t>(key.segment);
    slot.flags = value.flags;
    copy(value.mac, slot.mac);
    slot.turn = turn_of<std::uint16_t>(turn);
    return slot;
}

std::uint32_t Slots6::turn(const Slot& slot) {
    return slot.turn - 1U;
}

Slots6::Key Slots6::key(const Slot& slot) {
    Key key{.segment = slot.segment, .address = {}};
    copy(slot.address, key.address);
    return key;
}

Slots6::Value Slots6::value(const Slot& slot) {
    Value value{.mac = {}, .flags = slot.flags, .host = slot.host};
    copy(slot.mac, value.mac);
    return value;
}

SlotsMac::Slot SlotsMac::make(const Key& key, const Value& value, std::uint32_t turn) {
    Slot slot{};
    copy(key.mac, slot.mac);
    slot.segment = static_cast<std::uint16_t>(key.segment);
    slot.host = value.host;
    slot.turn = turn_of<std::uint32_t>(turn);
    return slot;
}

std::uint32_t SlotsMac::turn(const Slot& slot) {
    return slot.turn - 1U;
}

SlotsMac::Key SlotsMac::key(const Slot& slot) {
    Key key{.segment = slot.segment, .mac = {}, .pad = {}};
    copy(slot.mac, key.mac);
    return key;
}

SlotsMac::Value SlotsMac::value(const Slot& slot) {
    return {.host = slot.host};
}

template <class Slots>
Result<SlotTable<Slots>> SlotTable<Slots>::open(const TableMaps& maps, bool plain_hash) {
    auto buckets = PZ_TRY(MappedArray<typename Slots::Bucket>::open(maps.buckets));
    auto filter = PZ_TRY(MappedArray<pz_filter_words>::open(maps.filter));
    return SlotTable(maps, plain_hash, std::move(buckets), std::move(filter));
}

template <class Slots>
std::optional<Place> SlotTable<Slots>::find(const Key& key, std::uint32_t bucket) const {
    for (Place place = bucket * PZ_SLOTS; place < (bucket + 1) * PZ_SLOTS; place++)
        if (in_use(slot(place)) && same(Slots::key(slot(place)), key))
            return place;
    const auto [first, last] = more_by_bucket_.equal_range(bucket);
    const auto found = std::find_if(first, last, [&](const auto& entry) { return same(more_[entry.second].key, key); });
    return found == last ? std::nullopt : std::optional(found->second | is_more);
}

template <class Slots>
std::optional<typename SlotTable<Slots>::Entry> SlotTable<Slots>::at(Place place) const {
    if (place & is_more) {
        const Entry& entry = more_[place & ~is_more];
        return entry.key.segment == PZ_NO_SEGMENT ? std::nullopt : std::optional(entry);
    }
    if (!in_use(slot(place)))
        return std::nullopt;
    return Entry{Slots::key(slot(place)), Slots::value(slot(place))};
}

/// A free slot becomes the key's.
template <class Slots>
void SlotTable<Slots>::write(Slot& to, const Key& key, const Value& value) {
    const auto words = words_of(Slots::make(key, value, turn_++));
    for (std::size_t i = 0; i < words.size(); i++)
        word_at(&to, 8 * i).store(words[i], std::memory_order_release); // the head last
}

/// The key's slot gets another value, unless more than one word of it had to be written: a reader would find a mixture.
template <class Slots>
bool SlotTable<Slots>::replace(Slot& to, const Key& key, const Value& value) {
    const auto before = words_of(to);
    const auto after = words_of(Slots::make(key, value, Slots::turn(to)));
    const auto [was, is] = std::ranges::mismatch(before, after);
    if (is == after.end())
        return true;
    if (!std::equal(was + 1, before.end(), is + 1))
        return false;
    word_at(&to, 8 * static_cast<std::size_t>(is - after.begin())).store(*is, std::memory_order_release);
    return true;
}

template <class Slots>
Result<Place> SlotTable<Slots>::put(const Key& key, const Value& value) {
    const std::uint32_t bucket = bucket_of(key);
    const auto known = find(key, bucket);
    if (known && *known & is_more) {
        PZ_TRY(write_more({key, value}));
        more_[*known & ~is_more].value = value;
        return *known;
    }
    if (known && replace(slot(*known), key, value))
        return *known;
    // the new one goes where readers look after they looked at the old one, and is there before the old one is away
    Place place = known ? *known + 1 : bucket * PZ_SLOTS;
    while (place < (bucket + 1) * PZ_SLOTS && (plain_hash_ || in_use(slot(place))))
        place++;
    std::uint32_t bits = pz_filter_bits(Slots::hash(key));
    if (place < (bucket + 1) * PZ_SLOTS) {
        write(slot(place), key, value);
    } else {
        PZ_TRY(write_more({key, value}));
        if (free_more_.empty()) {
            free_more_.push_back(static_cast<Place>(more_.size()));
            more_.push_back({});
        }
        place = free_more_.back();
        free_more_.pop_back();
        more_[place] = Entry{key, value};
        more_by_bucket_.emplace(bucket, place);
        place |= is_more;
        bits |= PZ_FILTER_MORE;
    }
    filter_word(bucket).fetch_or(bits);
    if (known)
        word_at(&slot(*known), head_at).store(0, std::memory_order_release);
    return place;
}

template <class Slots>
void SlotTable<Slots>::erase(Place place) {
    const auto entry = at(place);
    if (!entry)
        return;
    const std::uint32_t bucket = bucket_of(entry->key);
    if (place & is_more) {
        place &= ~is_more;
        bpf_map_delete_elem(grown_ ? grown_.get() : bpf_map__fd(maps_.first_more), &entry->key);
        more_[place] = {};
        const auto [first, last] = more_by_bucket_.equal_range(bucket);
        more_by_bucket_.erase(std::find_if(first, last, [&](const auto& other) { return other.second == place; }));
        free_more_.push_back(place);
    } else {
        word_at(&slot(place), head_at).store(0, std::memory_order_release);
    }
    std::uint32_t bits = 0;
    for (Place left = bucket * PZ_SLOTS; left < (bucket + 1) * PZ_SLOTS; left++)
        if (in_use(slot(left)))
            bits |= pz_filter_bits(Slots::hash(Slots::key(slot(left))));
    const auto [first, last] = more_by_bucket_.equal_range(bucket);
    for (auto other = first; other != last; other++)
        bits |= PZ_FILTER_MORE | pz_filter_bits(Slots::hash(more_[other->second].key));
    filter_word(bucket).store(bits);
}

template <class Slots>
Result<> SlotTable<Slots>::write_more(const Entry& entry) {
    if (more_by_bucket_.size() == more_room_)
        PZ_TRY(grow());
    const int fd = grown_ ? grown_.get() : bpf_map__fd(maps_.first_more);
    if (bpf_map_update_elem(fd, &entry.key, &entry.value, BPF_ANY) != 0)
        return fail_errno(std::string("cannot write the kernel table of ") + Slots::what, errno);
    return {};
}

/// A table of twice the size takes the place of the one that is full, once everything is in it.
template <class Slots>
Result<> SlotTable<Slots>::grow() {
    bpf_map_create_opts options{};
    options.sz = sizeof options;
    options.map_flags = bpf_map__map_flags(maps_.first_more);
    options.btf_fd = static_cast<__u32>(maps_.btf);
    options.btf_key_type_id = bpf_map__btf_key_type_id(maps_.first_more);
    options.btf_value_type_id = bpf_map__btf_value_type_id(maps_.first_more);
    Fd larger(bpf_map_create(BPF_MAP_TYPE_HASH, bpf_map__name(maps_.first_more), sizeof(Key), sizeof(Value),
                             2 * more_room_, &options));
    if (!larger)
        return fail_errno(std::string("cannot enlarge the kernel table of ") + Slots::what, errno);
    for (const auto& [bucket, place] : more_by_bucket_)
        if (bpf_map_update_elem(larger.get(), &more_[place].key, &more_[place].value, BPF_ANY) != 0)
            return fail_errno(std::string("cannot enlarge the kernel table of ") + Slots::what, errno);
    const std::uint32_t zero = 0;
    const int fd = larger.get();
    if (bpf_map_update_elem(bpf_map__fd(maps_.more), &zero, &fd, BPF_ANY) != 0)
        return fail_errno(std::string("cannot enlarge the kernel table of ") + Slots::what, errno);
    grown_ = std::move(larger);
    more_room_ *= 2;
    return {};
}

template class SlotTable<Slots4>;
template class SlotTable<Slots6>;
template class SlotTable<SlotsMac>;

} // namespace pz::fastpath
