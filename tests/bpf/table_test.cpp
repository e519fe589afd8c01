// SPDX-License-Identifier: Apache-2.0
// The tables of addresses and MACs as their writer leaves them and the program finds them: every key that was put there
// and no other, wherever it fell, also while the writer is at work.
#include <atomic>
#include <random>
#include <set>
#include <thread>

#include "harness.h"
#include "proxzzy.skel.h"

namespace pz::test {
namespace {

/// The MAC says which address it belongs to, so that a mixture of two entries is recognised.
Mac mac_of(const Ip4Address& address, std::uint8_t version = 0) {
    return {{2, version, address.bytes[0], address.bytes[1], address.bytes[2], address.bytes[3]}};
}

pz_index4_key key_of(const Ip4Address& address, std::uint32_t segment = segment_lan) {
    pz_index4_key key{.segment = segment, .address = {}};
    std::ranges::copy(address.bytes, key.address);
    return key;
}

pz_index value_of(const Mac& mac) {
    pz_index value{.mac = {}, .flags = 0, .host = Host{}.id};
    std::ranges::copy(mac.bytes, value.mac);
    return value;
}

Bytes question(const Ip4Address& address) {
    return (Ether{.destination = broadcast_mac} / Arp{.target_ip = address}).padded();
}

class TableTest : public DataPathTest {
protected:
    /// The MAC that the program answers with; none: it does not.
    static std::optional<Mac> answer(const Ip4Address& address) {
        Bytes out;
        if (kernel().run_quickly(question(address), out) != XDP_TX)
            return std::nullopt;
        Mac mac;
        std::copy_n(out.begin() + 22, 6, mac.bytes.begin());
        return mac;
    }
    void TearDown() override {
        for (const auto place : places_)
            kernel().tables().index4.erase(place);
    }
    void put(const Ip4Address& address, std::uint32_t segment = segment_lan) {
        const auto place = kernel().tables().index4.put(key_of(address, segment), value_of(mac_of(address)));
        ASSERT_TRUE(place) << place.error().message;
        places_.push_back(*place);
    }
    std::vector<fastpath::Place> places_;
};

Ip4Address address_of(std::uint32_t number) {
    return {{static_cast<std::uint8_t>(number >> 24), static_cast<std::uint8_t>(number >> 16),
             static_cast<std::uint8_t>(number >> 8), static_cast<std::uint8_t>(number)}};
}

TEST_F(TableTest, AFullTableHasEveryKeyAndNoOther) {
    std::mt19937 random(1);
    std::vector<Ip4Address> addresses;
    for (std::uint32_t i = 0; i < 4096; i++)
        addresses.push_back(address_of(0x0a000000 | (random() & 0xffffff)));
    std::ranges::sort(addresses, {}, &Ip4Address::bytes);
    addresses.erase(std::ranges::unique(addresses).begin(), addresses.end());
    for (const auto& address : addresses)
        put(address);
    EXPECT_GT(kernel().tables().index4.more(), addresses.size() / 8) << "chance alone leaves a fifth without a slot";
    for (const auto& address : addresses)
        EXPECT_EQ(answer(address), mac_of(address)) << to_string(address);
    for (int i = 0; i < 4096; i++)
        EXPECT_EQ(answer(address_of(0x0b000000 | (random() & 0xffffff))), std::nullopt);
    // one half goes, the other half stays
    for (std::size_t i = 0; i < places_.size(); i += 2)
        kernel().tables().index4.erase(places_[i]);
    for (std::size_t i = 0; i < addresses.size(); i++)
        EXPECT_EQ(answer(addresses[i]), i % 2 == 0 ? std::nullopt : std::optional(mac_of(addresses[i])));
    std::vector<fastpath::Place> left;
    for (std::size_t i = 1; i < places_.size(); i += 2)
        left.push_back(places_[i]);
    places_ = left;
}

TEST_F(TableTest, OneAddressOnEverySegmentHasRoom) {
    // all of them fall into one bucket
    for (std::uint32_t segment = 1; segment <= PZ_MAX_SEGMENT; segment++)
        put(other_ip4, segment);
    EXPECT_EQ(kernel().tables().index4.more(), PZ_MAX_SEGMENT - PZ_SLOTS);
    EXPECT_EQ(answer(other_ip4), mac_of(other_ip4));
    // on another segment, by the long way
    const auto headers = Ether{.destination = broadcast_mac, .type = 0x8100} / Vlan{.vid = 100};
    const auto mac = mac_of(other_ip4);
    kernel().check(headers / Arp{.target_ip = other_ip4},
                   answered(PZ_REASON_ARP_ANSWERED,
                            (Ether{.destination = client_mac, .source = mac, .type = 0x8100} / Vlan{.vid = 100} /
                             Arp{.operation = 2,
                                 .sender_mac = mac,
                                 .sender_ip = other_ip4,
                                 .target_mac = client_mac,
                                 .target_ip = client_ip4} /
                             arp_mark())
                                .padded()));
}

TEST_F(TableTest, AnEntryThatFoundNoSlotStaysWhereItIs) {
    for (std::uint32_t segment = 100; segment < 110; segment++)
        put(other_ip4, segment);
    put(other_ip4);
    const auto more = kernel().tables().index4.more();
    EXPECT_GT(more, 0U);
    kernel().tables().index4.erase(places_.front()); // a slot is free again
    places_.erase(places_.begin());
    EXPECT_EQ(answer(other_ip4), mac_of(other_ip4));
    EXPECT_EQ(kernel().tables().index4.more(), more);
}

TEST_F(TableTest, AnEntryMovesOnlyToWhereReadersLookLater) {
    // one bucket, whose first slot gets free
    for (const auto segment : {segment_vlan100, segment_lan, segment_qinq})
        put(other_ip4, segment);
    auto& table = kernel().tables().index4;
    table.erase(places_.front());
    places_.erase(places_.begin());
    std::vector<fastpath::Place> places{places_.front()};
    for (std::uint8_t version = 1; version <= 4; version++) {
        auto value = value_of(mac_of(other_ip4, version));
        value.host += version % 2; // in another word than the MAC
        places.push_back(table.put(key_of(other_ip4), value).value());
    }
    places_.front() = places.back();
    EXPECT_EQ(places[1], places[0] + 2) << "the slot behind the one that is taken";
    EXPECT_EQ(table.more(), 1U) << "no slot is behind that";
    EXPECT_EQ(places[4], places[2]);
    EXPECT_FALSE(table.at(places[0]));
    EXPECT_FALSE(table.at(places[1]));
    EXPECT_EQ(answer(other_ip4), mac_of(other_ip4, 4));
}

TEST_F(TableTest, AReplacedValueIsTheNewOne) {
    put(other_ip4);
    auto value = value_of(mac_of(other_ip4, 1));
    ASSERT_TRUE(kernel().tables().index4.put(key_of(other_ip4), value));
    EXPECT_EQ(answer(other_ip4), mac_of(other_ip4, 1));
    value.flags = PZ_INDEX_UNANSWERED;
    ASSERT_TRUE(kernel().tables().index4.put(key_of(other_ip4), value));
    EXPECT_EQ(kernel().tables().index4.at(places_.front())->value.flags, PZ_INDEX_UNANSWERED);
}

// Of each table: an entry by its number, and which version of it the program finds.  An odd version is of `deaf_host`,
// which answers no ping, and an identity proxy; the next but one differs in nothing but the MAC.
constexpr std::uint32_t deaf_host = 4; // Host{} is 3
constexpr int versions = 4;
constexpr int mixed = -1; // no version has these fields

pz_index value_of(std::uint32_t number, int version) {
    pz_index value = value_of(mac_of(address_of(number), static_cast<std::uint8_t>(version)));
    value.flags = version & 1 ? PZ_INDEX_IDENTITY_PROXY : 0;
    value.host += static_cast<std::uint32_t>(version & 1);
    return value;
}

/// By the MAC that an answer came from.
int version_of(const Bytes& answer, std::uint32_t number) {
    Mac mac;
    std::copy_n(answer.begin() + 6, 6, mac.bytes.begin());
    return mac == mac_of(address_of(number), mac.bytes[1]) ? mac.bytes[1] : mixed;
}

struct Index4 {
    static constexpr const char* name = "index4";
    static auto& table(DataPath::Tables& tables) { return tables.index4; }
    static pz_index4_key key(std::uint32_t number) { return key_of(address_of(number)); }
    static pz_index value(std::uint32_t number, int version) { return value_of(number, version); }
    static std::optional<int> found(const DataPath& kernel, std::uint32_t number) {
        Bytes out;
        const auto ping = Ether{.destination = gateway_mac} / Ip4{.destination = address_of(number)} / Icmp4{};
        const auto verdict = kernel.run_quickly(ping.bytes(), out);
        if (verdict == XDP_PASS)
            return std::nullopt;
        if (verdict == XDP_DROP)
            return 1;
        const int version = version_of(out, number);
        return version & 1 ? mixed : version;
    }
};

struct Index6 {
    static constexpr const char* name = "index6";
    static auto& table(DataPath::Tables& tables) { return tables.index6; }
    static Ip6Address address(std::uint32_t number) {
        Ip6Address address = "2001:db8::"_ip6;
        std::ranges::copy(address_of(number).bytes, address.bytes.begin() + 12);
        return address;
    }
    static pz_index6_key key(std::uint32_t number) {
        pz_index6_key key{.segment = segment_lan, .address = {}};
        std::ranges::copy(address(number).bytes, key.address);
        return key;
    }
    static pz_index value(std::uint32_t number, int version) { return value_of(number, version); }
    static std::optional<int> found(const DataPath& kernel, std::uint32_t number) {
        Bytes out;
        // no link-layer option, so that the short way is not taken: what it misses the long way looks for once more
        const auto question = solicitation_headers(address(number)) / Ns{.target = address(number)};
        if (kernel.run_quickly(question.bytes(), out) != XDP_TX)
            return std::nullopt;
        const int version = version_of(out, number);
        const bool override_flag = out[14 + 40 + 4] & 0x20;
        return override_flag == !(version & 1) ? version : mixed;
    }
};

struct ByMac {
    static constexpr const char* name = "by_mac";
    static auto& table(DataPath::Tables& tables) { return tables.by_mac; }
    static Mac mac(std::uint32_t number) { return mac_of(address_of(number)); }
    static pz_mac_key key(std::uint32_t number) {
        pz_mac_key key{.segment = segment_lan, .mac = {}, .pad = {}};
        std::ranges::copy(mac(number).bytes, key.mac);
        return key;
    }
    static pz_owner value(std::uint32_t number, int version) { return {.host = value_of(number, version).host}; }
    static std::optional<int> found(const DataPath& kernel, std::uint32_t number) {
        Bytes out;
        // whoever asks for himself gets no answer; and nobody does who is ours, if the question is marked
        if (kernel.run_quickly((Ether{.source = mac(number)} / Ip4{} / Icmp4{}).bytes(), out) == XDP_PASS)
            return 0;
        const auto marked = Ether{.destination = broadcast_mac, .source = mac(number)} / Arp{} / arp_mark();
        return kernel.run_quickly(marked.padded(), out) == XDP_PASS ? std::optional(1) : std::nullopt;
    }
};

template <class Table>
class WrittenTableTest : public DataPathTest {};

struct TableName {
    template <class Table>
    static std::string GetName(int) {
        return Table::name;
    }
};
using WrittenTables = testing::Types<Index4, Index6, ByMac>;
TYPED_TEST_SUITE(WrittenTableTest, WrittenTables, TableName);

TYPED_TEST(WrittenTableTest, ReadersFindWhatIsThereWhileTheWriterIsAtWork) {
    auto& kernel = this->kernel();
    kernel.put_policy({.id = deaf_host, .echo = PZ_ECHO_IGNORE});
    auto& table = TypeParam::table(kernel.tables());
    const auto put = [&](std::uint32_t number, int version = 0) {
        return table.put(TypeParam::key(number), TypeParam::value(number, version)).value();
    };
    std::mt19937 random(1);
    std::set<std::uint32_t> taken;
    const auto another = [&] {
        while (true)
            if (const auto [number, is_new] = taken.insert(0x0a000000 | (random() & 0xffffff)); is_new)
                return *number;
    };
    // A crowd leaves no slot to half of those that stay and fills the hash table, which the next one has to grow for.
    // Once the crowd is gone, others find slots: they come, change and go one after the other, because the kernel's
    // hash table may miss what is replaced there at this moment, if it is not the latest of its chain.
    const std::size_t room = bpf_map__max_entries(kernel.skeleton()->maps.first_more4);
    std::vector<fastpath::Place> crowd;
    while (table.more() < room / 2)
        crowd.push_back(put(another()));
    std::vector<std::uint32_t> staying;
    std::vector<fastpath::Place> places;
    while (table.more() < room)
        places.push_back(put(staying.emplace_back(another())));
    std::vector<std::uint32_t> changing(20);
    std::ranges::generate(changing, another);

    std::atomic<bool> stop = false;
    std::atomic<std::uint64_t> asked = 0;
    std::atomic<std::uint64_t> half_rounds = 0; // odd: the one that changes is there
    std::thread writer([&] {
        while (asked < 100 && !stop)
            std::this_thread::yield();
        while (table.more() <= room)
            crowd.push_back(put(another()));
        for (const auto place : crowd)
            table.erase(place);
        while (!stop) {
            const auto number = changing[half_rounds / 2 % changing.size()];
            auto place = put(number);
            half_rounds++;
            // the MAC and the host, then the MAC alone, and so on: from slot to slot, and some into the hash table
            for (int i = 1; i <= 2 * versions; i++)
                place = put(number, (i ^ i >> 1) % versions);
            half_rounds++;
            table.erase(place);
        }
    });
    std::uint64_t there = 0;
    const auto begun = std::chrono::steady_clock::now();
    const auto is_enough = [&] {
        const auto took = std::chrono::steady_clock::now() - begun;
        const bool seen = asked > 1000 && half_rounds > 10 && there > 100;
        return took > (seen ? std::chrono::milliseconds(1500) : std::chrono::seconds(60)) || this->HasFailure();
    };
    for (; !is_enough(); asked++) {
        const auto stays = staying[asked % staying.size()];
        EXPECT_EQ(TypeParam::found(kernel, stays), 0) << stays;
        const auto before = half_rounds.load();
        const auto changes = changing[before / 2 % changing.size()];
        const auto found = TypeParam::found(kernel, changes);
        EXPECT_NE(found, mixed) << changes;
        if (before % 2 != 0 && half_rounds == before) {
            EXPECT_NE(found, std::nullopt) << changes;
            there++;
        }
    }
    stop = true;
    writer.join();
    for (const auto place : places)
        table.erase(place);
    std::printf("asked %lu times for each kind during %lu rounds; %lu times what changes was there\n", asked.load(),
                half_rounds / 2, there);
    EXPECT_GT(asked, 1000U);
    EXPECT_GT(half_rounds, 10U);
    EXPECT_GT(there, 100U);
}

} // namespace
} // namespace pz::test
