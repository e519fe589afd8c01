// SPDX-License-Identifier: Apache-2.0
// The tables of addresses and MACs as their writer leaves them and the program finds them: every key that was put there
// and no other, wherever it fell, also while the writer is at work.
#include <atomic>
#include <random>
#include <thread>

#include "harness.h"

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

TEST_F(TableTest, ReadersFindWhatIsThereWhileTheWriterIsAtWork) {
    // some stay, some come and go, some change their MAC: in the same few buckets
    constexpr std::uint32_t staying = 0x0a000000;
    constexpr std::uint32_t passing = 0x0a010000;
    constexpr std::uint32_t changing = 0x0a020000;
    constexpr std::uint32_t each = 1500; // in 4,096 slots
    for (std::uint32_t i = 0; i < each; i++)
        put(address_of(staying + i));
    for (std::uint32_t i = 0; i < each; i++)
        put(address_of(changing + i));

    std::atomic<bool> stop = false;
    std::atomic<std::uint64_t> writes = 0;
    std::thread writer([&] {
        auto& table = kernel().tables().index4;
        std::vector<fastpath::Place> places;
        for (std::uint8_t version = 0; !stop; version ^= 1) {
            for (std::uint32_t i = 0; i < each; i++) {
                const auto address = address_of(passing + i);
                places.push_back(table.put(key_of(address), value_of(mac_of(address))).value());
                const auto other = address_of(changing + i);
                (void)table.put(key_of(other), value_of(mac_of(other, version)));
            }
            for (const auto place : std::exchange(places, {}))
                table.erase(place);
            writes += 3 * each;
        }
    });
    std::uint64_t asked = 0;
    std::uint64_t passers = 0;
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(3);
    for (std::uint32_t i = 0; std::chrono::steady_clock::now() < end; i = (i + 1) % each, asked++) {
        const auto stays = address_of(staying + i);
        ASSERT_EQ(answer(stays), mac_of(stays)) << to_string(stays);
        const auto changes = address_of(changing + i);
        const auto mac = answer(changes);
        ASSERT_TRUE(mac == mac_of(changes, 0) || mac == mac_of(changes, 1)) << to_string(changes);
        const auto passes = address_of(passing + i);
        if (const auto found = answer(passes)) {
            ASSERT_EQ(found, mac_of(passes));
            passers++;
        }
    }
    stop = true;
    writer.join();
    std::printf("asked %lu times for each kind during %lu writes; %lu of those that come and go were there\n", asked,
                writes.load(), passers);
    EXPECT_GT(asked, 1000U);
    EXPECT_GT(writes, 10 * each);
    EXPECT_GT(passers, 0U);
    EXPECT_LT(passers, asked);
}

} // namespace
} // namespace pz::test
