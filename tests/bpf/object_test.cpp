// SPDX-License-Identifier: Apache-2.0
// The BPF object itself: the layout of its maps in BTF against the C++ types, map types and sizes, and what the
// verifier says of the program's size.
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <string>

#include "harness.h"

#include "proxzzy.skel.h"

namespace pz::test {
namespace {

struct Member {
    std::string_view name;
    std::size_t offset;
    std::size_t size;
    std::uint32_t first_bit = 0;
    std::uint32_t bits = 0; // of a bit field
};
struct Layout {
    std::string_view name;
    std::size_t size;
    std::vector<Member> members;
};

#define PZ_MEMBER(type, member) Member{#member, offsetof(type, member), sizeof(type::member), 0, 0}
#define PZ_LAYOUT_1(type, a) PZ_MEMBER(type, a)
#define PZ_LAYOUT_2(type, a, ...) PZ_MEMBER(type, a), PZ_LAYOUT_1(type, __VA_ARGS__)
#define PZ_LAYOUT_3(type, a, ...) PZ_MEMBER(type, a), PZ_LAYOUT_2(type, __VA_ARGS__)
#define PZ_LAYOUT_4(type, a, ...) PZ_MEMBER(type, a), PZ_LAYOUT_3(type, __VA_ARGS__)
#define PZ_LAYOUT_5(type, a, ...) PZ_MEMBER(type, a), PZ_LAYOUT_4(type, __VA_ARGS__)
#define PZ_LAYOUT_6(type, a, ...) PZ_MEMBER(type, a), PZ_LAYOUT_5(type, __VA_ARGS__)
#define PZ_LAYOUT_7(type, a, ...) PZ_MEMBER(type, a), PZ_LAYOUT_6(type, __VA_ARGS__)
#define PZ_LAYOUT_8(type, a, ...) PZ_MEMBER(type, a), PZ_LAYOUT_7(type, __VA_ARGS__)
#define PZ_LAYOUT(count, type, ...)                                                                                    \
    Layout {                                                                                                           \
        #type, sizeof(type), {                                                                                         \
            PZ_LAYOUT_##count(type, __VA_ARGS__)                                                                       \
        }                                                                                                              \
    }

const std::vector<Layout>& layouts() {
    static const std::vector<Layout> all = {
        PZ_LAYOUT(3, pz_segment_key, ifindex, outer_vid, inner_vid),
        PZ_LAYOUT(5, pz_segment, segment, mac, pad, xsk_first, xsk_count),
        PZ_LAYOUT(2, pz_index4_key, segment, address),
        PZ_LAYOUT(2, pz_index6_key, segment, address),
        PZ_LAYOUT(3, pz_index, mac, flags, host),
        PZ_LAYOUT(4, pz_port, ifindex, segment, mac, pad),
        PZ_LAYOUT(1, pz_bucket4, slots),
        // segment and flags are bit fields of one word, which offsetof() does not take
        Layout{"pz_slot4",
               sizeof(pz_slot4),
               {PZ_MEMBER(pz_slot4, address), PZ_MEMBER(pz_slot4, host), PZ_MEMBER(pz_slot4, mac),
                Member{"segment", 14, 2, 0, 12}, Member{"flags", 14, 2, 12, 4}}},
        PZ_LAYOUT(1, pz_bucket6, slots),
        PZ_LAYOUT(6, pz_slot6, address, host, segment, flags, mac, turn),
        PZ_LAYOUT(1, pz_bucket_mac, slots),
        PZ_LAYOUT(4, pz_slot_mac, mac, segment, host, turn),
        PZ_LAYOUT(3, pz_mac_key, segment, mac, pad),
        PZ_LAYOUT(1, pz_owner, host),
        PZ_LAYOUT(3, pz_rule, port, protocol, action),
        PZ_LAYOUT(7, pz_policy, generation, stage, echo, flags, pad, rules, pad2),
        PZ_LAYOUT(4, pz_rules, secureon, pad, count, rules),
        PZ_LAYOUT(8, pz_live, released, lost, last_seen_ns, last_trigger_ns, event_due_ms, again_due_ms,
                  non_wake_due_ms, conflict_ms),
        PZ_LAYOUT(3, pz_asker, tag, since_ms, due_ms),
        PZ_LAYOUT(1, pz_filter_words, bits),
        PZ_LAYOUT(1, pz_released, bits),
        PZ_LAYOUT(7, pz_daemon, abi_version, pid, heartbeat_ns, answer_without_daemon_ns, magic_ports,
                  event_interval_ms, event_burst),
        PZ_LAYOUT(1, pz_counter, frames),
    };
    return all;
}

struct MapShape {
    std::string_view name;
    bpf_map_type type;
    std::string_view key;   // empty: a 32-bit index
    std::string_view value;
};
constexpr std::array<MapShape, 19> map_shapes = {{
    {"pz_segments_v2", BPF_MAP_TYPE_HASH, "pz_segment_key", "pz_segment"},
    {"pz_ports_v1", BPF_MAP_TYPE_ARRAY, "", "pz_port"},
    {"pz_index4_v2", BPF_MAP_TYPE_ARRAY, "", "pz_bucket4"},
    {"pz_index6_v2", BPF_MAP_TYPE_ARRAY, "", "pz_bucket6"},
    {"pz_by_mac_v2", BPF_MAP_TYPE_ARRAY, "", "pz_bucket_mac"},
    {"first_more4", BPF_MAP_TYPE_HASH, "pz_index4_key", "pz_index"},
    {"first_more6", BPF_MAP_TYPE_HASH, "pz_index6_key", "pz_index"},
    {"first_more_mac", BPF_MAP_TYPE_HASH, "pz_mac_key", "pz_owner"},
    {"pz_bits4_v1", BPF_MAP_TYPE_ARRAY, "", "pz_filter_words"},
    {"pz_bits6_v1", BPF_MAP_TYPE_ARRAY, "", "pz_filter_words"},
    {"pz_bits_mac_v1", BPF_MAP_TYPE_ARRAY, "", "pz_filter_words"},
    {"pz_policy_v2", BPF_MAP_TYPE_ARRAY, "", "pz_policy"},
    {"pz_rules_v1", BPF_MAP_TYPE_HASH, "", "pz_rules"},
    {"pz_live_v2", BPF_MAP_TYPE_ARRAY, "", "pz_live"},
    {"pz_released_v1", BPF_MAP_TYPE_ARRAY, "", "pz_released"},
    {"pz_askers_v1", BPF_MAP_TYPE_ARRAY, "", "pz_asker"},
    {"pz_alarms_v1", BPF_MAP_TYPE_ARRAY, "", "pz_alarm"}, // the kernel's alone
    {"pz_daemon_v2", BPF_MAP_TYPE_ARRAY, "", "pz_daemon"},
    {"pz_counters_v1", BPF_MAP_TYPE_PERCPU_ARRAY, "", "pz_counter"},
}};
/// What they have of these is a map, not a value.
constexpr std::array<std::string_view, 3> maps_of_maps = {"pz_more4_v1", "pz_more6_v1", "pz_more_mac_v1"};

class LayoutTest : public testing::Test {
protected:
    void SetUp() override {
        skeleton_.reset(proxzzy_bpf__open()); // reads the object; needs no privilege
        ASSERT_NE(skeleton_, nullptr) << strerror(errno);
        btf_ = bpf_object__btf(skeleton_->obj);
        ASSERT_NE(btf_, nullptr) << "the object carries no BTF";
    }
    [[nodiscard]] const btf_type* type(__u32 id) const { return btf__type_by_id(btf_, id); }
    [[nodiscard]] std::string_view name(const btf_type* of) const { return btf__name_by_offset(btf_, of->name_off); }

    struct Close {
        void operator()(proxzzy_bpf* skeleton) const { proxzzy_bpf__destroy(skeleton); }
    };
    std::unique_ptr<proxzzy_bpf, Close> skeleton_;
    const btf* btf_ = nullptr;
};

TEST_F(LayoutTest, EveryKeyAndValueHasTheCppLayout) {
    for (const auto& layout : layouts()) {
        SCOPED_TRACE(layout.name);
        const auto id = btf__find_by_name_kind(btf_, std::string(layout.name).c_str(), BTF_KIND_STRUCT);
        ASSERT_GT(id, 0) << "not in the object's BTF";
        const auto* in_btf = type(static_cast<__u32>(id));
        EXPECT_EQ(in_btf->size, layout.size);
        const auto& wanted = layout.members;
        ASSERT_EQ(btf_vlen(in_btf), wanted.size()) << "another number of members";
        const auto* members = btf_members(in_btf);
        std::size_t end = 0;
        for (std::uint32_t i = 0; i < btf_vlen(in_btf); i++) {
            const std::string_view member = btf__name_by_offset(btf_, members[i].name_off);
            EXPECT_EQ(member, wanted[i].name);
            EXPECT_EQ(btf_member_bit_offset(in_btf, i), 8 * wanted[i].offset + wanted[i].first_bit) << member;
            EXPECT_EQ(btf_member_bitfield_size(in_btf, i), wanted[i].bits) << member;
            EXPECT_EQ(btf__resolve_size(btf_, members[i].type), static_cast<__s64>(wanted[i].size)) << member;
            // no hidden padding: every byte of a map's value has a name in bpftool's dump
            EXPECT_EQ(8 * wanted[i].offset + wanted[i].first_bit, end) << member << " follows a hole";
            end += wanted[i].bits != 0 ? wanted[i].bits : 8 * wanted[i].size;
        }
        EXPECT_EQ(end, 8 * layout.size) << "padding at the end";
    }
}

TEST_F(LayoutTest, EveryMapHasItsTypeKeyAndValue) {
    for (const auto& shape : map_shapes) {
        SCOPED_TRACE(shape.name);
        const auto* map = bpf_object__find_map_by_name(skeleton_->obj, std::string(shape.name).c_str());
        ASSERT_NE(map, nullptr);
        EXPECT_EQ(bpf_map__type(map), shape.type);
        const auto value_id = bpf_map__btf_value_type_id(map);
        const auto key_id = bpf_map__btf_key_type_id(map);
        ASSERT_GT(value_id, 0U);
        ASSERT_GT(key_id, 0U);
        EXPECT_EQ(name(type(value_id)), shape.value);
        EXPECT_EQ(bpf_map__value_size(map), static_cast<__u32>(btf__resolve_size(btf_, value_id)));
        EXPECT_EQ(bpf_map__key_size(map), static_cast<__u32>(btf__resolve_size(btf_, key_id)));
        if (shape.key.empty())
            EXPECT_EQ(bpf_map__key_size(map), 4U);
        else
            EXPECT_EQ(name(type(key_id)), shape.key);
    }
    for (const auto* ring : {"pz_triggers_v1", "pz_overheard_v1"}) {
        const auto* map = bpf_object__find_map_by_name(skeleton_->obj, ring);
        ASSERT_NE(map, nullptr) << ring;
        EXPECT_EQ(bpf_map__type(map), BPF_MAP_TYPE_RINGBUF);
        EXPECT_GE(bpf_map__max_entries(map), 64U * PZ_EVENT_LARGE_SIZE) << ring;
    }
    const auto* xsks = skeleton_->maps.pz_xsks_v1;
    EXPECT_EQ(bpf_map__type(xsks), BPF_MAP_TYPE_XSKMAP);
    EXPECT_EQ(bpf_map__max_entries(xsks), std::uint32_t{PZ_XSKS});
}

TEST_F(LayoutTest, NoMapIsUnknownToThisTest) {
    // a map added or renamed has to be looked at here, and in docs/maps.md
    const bpf_map* map = nullptr;
    bpf_object__for_each_map(map, skeleton_->obj) {
        const std::string_view map_name = bpf_map__name(map);
        const bool known = std::ranges::any_of(map_shapes, [&](const auto& s) { return s.name == map_name; }) ||
                           std::ranges::find(maps_of_maps, map_name) != maps_of_maps.end() ||
                           map_name == "pz_triggers_v1" || map_name == "pz_overheard_v1" || map_name == "pz_xsks_v1" ||
                           map_name.ends_with(".rodata") || map_name.ends_with(".bss");
        EXPECT_TRUE(known) << map_name;
    }
}

TEST_F(LayoutTest, CountersHaveOneEntryForEachReason) {
    EXPECT_EQ(bpf_map__max_entries(skeleton_->maps.pz_counters_v1), std::uint32_t{PZ_REASON_COUNT});
    EXPECT_EQ(bpf_map__max_entries(skeleton_->maps.pz_daemon_v2), 1U);
}

TEST_F(LayoutTest, NamesFitTheKernelsLimitOf15Bytes) {
    // longer ones are cut in bpftool's list, and two maps could get one name
    const bpf_map* map = nullptr;
    bpf_object__for_each_map(map, skeleton_->obj) {
        const std::string_view map_name = bpf_map__name(map);
        if (map_name.starts_with("pz_")) {
            EXPECT_LE(map_name.size(), std::size_t{BPF_OBJ_NAME_LEN - 1}) << map_name;
        }
    }
}

TEST_F(LayoutTest, LicenseAndProgram) {
    EXPECT_STREQ(bpf_program__section_name(skeleton_->progs.proxzzy_ingress), "xdp.frags");
}

// ---- the tables' hash -----------------------------------------------------------------------------------------------

struct Spread {
    double without_slot = 0; // of the keys
    double taken_for = 0; // of other keys, those for which all bits are set
};

/// How `count` keys fall into buckets, two to each on average, and what their filter says of `count` others.
template <class Hash>
Spread spread(std::uint32_t count, Hash hash) {
    const auto size = count / 2;
    std::vector<std::uint32_t> keys(size);
    std::vector<std::uint32_t> bits(size);
    Spread spread;
    for (std::uint32_t i = 0; i < count; i++) {
        const auto bucket = pz_bucket_of(hash(i), size);
        bits[bucket] |= pz_filter_bits(hash(i));
        spread.without_slot += keys[bucket]++ >= PZ_SLOTS ? 1.0 / count : 0;
    }
    for (std::uint32_t i = count; i < 2 * count; i++) {
        const auto wanted = pz_filter_bits(hash(i));
        spread.taken_for += (bits[pz_bucket_of(hash(i), size)] & wanted) == wanted ? 1.0 / count : 0;
    }
    return spread;
}

TEST(TableHashTest, NeighboursFallIntoBucketsOfTheirOwn) {
    // Hosts of one network differ in their last bytes.  By chance 3.7 % of keys find no slot, and 1.4 % of others are
    // taken for one of them.
    const auto ip6 = [](ByteView bytes) {
        std::uint64_t high = 0;
        std::uint64_t low = 0;
        std::memcpy(&high, bytes.data(), 8);
        std::memcpy(&low, bytes.data() + 8, 8);
        return pz_hash6(high, low);
    };
    const auto expect = [](const Spread& found, std::string_view what) {
        EXPECT_LT(found.without_slot, 0.1) << what;
        EXPECT_LT(found.taken_for, 0.04) << what;
    };
    for (const std::uint32_t count : {1U << 12, 1U << 15}) {
        SCOPED_TRACE(count);
        // at which byte the counter ends: the interface identifier's end, a subnet number, EUI-64 around ff:fe
        for (const std::size_t last : {15U, 14U, 10U, 7U, 6U})
            expect(spread(count,
                          [&](std::uint32_t i) {
                              auto address = "2001:db8::200:5eff:fe00:5310"_ip6;
                              address.bytes[last] = static_cast<std::uint8_t>(i);
                              address.bytes[last - 1] = static_cast<std::uint8_t>(i >> 8);
                              return ip6(address.bytes);
                          }),
                   "IPv6, byte " + std::to_string(last));
        for (const std::size_t last : {3U, 2U, 1U})
            expect(spread(count,
                          [&](std::uint32_t i) {
                              Ip4Address address = {{10, 20, 30, 40}};
                              address.bytes[last] = static_cast<std::uint8_t>(i);
                              address.bytes[last - 1] = static_cast<std::uint8_t>(i >> 8);
                              std::uint32_t word = 0;
                              std::memcpy(&word, address.bytes.data(), 4);
                              return pz_hash4(word);
                          }),
                   "IPv4, byte " + std::to_string(last));
        for (const std::size_t last : {5U, 4U, 2U})
            expect(spread(count,
                          [&](std::uint32_t i) {
                              auto mac = host_mac;
                              mac.bytes[last] = static_cast<std::uint8_t>(i);
                              mac.bytes[last - 1] = static_cast<std::uint8_t>(i >> 8);
                              std::uint64_t word = 0;
                              std::memcpy(&word, mac.bytes.data(), 6);
                              return pz_hash_mac(word);
                          }),
                   "MAC, byte " + std::to_string(last));
    }
}

class VerifierTest : public DataPathTest {};

TEST_F(VerifierTest, ProgramStaysWithinItsBudget) {
    // The kernel refuses at 1,000,000; older kernels count more for the same program, so that half is a wide margin.
    bpf_prog_info info{};
    __u32 length = sizeof info;
    ASSERT_EQ(bpf_obj_get_info_by_fd(kernel().program(), &info, &length), 0) << strerror(errno);
    std::printf("verified instructions %u, translated %u bytes, JIT %u bytes\n", info.verified_insns,
                info.xlated_prog_len, info.jited_prog_len);
    RecordProperty("verified_insns", static_cast<int>(info.verified_insns));
    RecordProperty("xlated_bytes", static_cast<int>(info.xlated_prog_len));
    EXPECT_GT(info.verified_insns, 0U);
    EXPECT_LT(info.verified_insns, 500'000U);
    EXPECT_LT(info.xlated_prog_len, 96U * 1024U);
    EXPECT_GT(info.jited_prog_len, 0U) << "the program is interpreted, not compiled";
}

} // namespace
} // namespace pz::test
