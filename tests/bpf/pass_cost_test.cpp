// SPDX-License-Identifier: Apache-2.0
// What everybody else's traffic pays: the program's time per frame as a ratio to a bare XDP_PASS, with one sleeper and
// with a million in the tables.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <ctime>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "harness.h"

#include "bare_pass.skel.h"
#include "proxzzy.skel.h"

namespace pz::test {
namespace {

constexpr std::uint32_t repeats = 200'000;
constexpr int rounds = 11;
constexpr double widest = 4.0;

/// CPU nanoseconds of this thread for one frame.
double cost(int program, Bytes frame) {
    const auto now = [] {
        timespec time{};
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
        return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
    };
    bpf_test_run_opts options{};
    options.sz = sizeof options;
    options.data_in = frame.data();
    options.data_size_in = static_cast<__u32>(frame.size());
    options.repeat = static_cast<int>(repeats);
    const auto start = now();
    const auto result = bpf_prog_test_run_opts(program, &options);
    const auto end = now();
    EXPECT_EQ(result, 0) << strerror(-result);
    EXPECT_EQ(options.retval, std::uint32_t{XDP_PASS});
    return (end - start) / repeats;
}

double median(std::vector<double> values) {
    std::ranges::sort(values);
    return values[values.size() / 2];
}

struct Bare {
    Bare() : skeleton(bare_pass_bpf__open_and_load()) {}
    ~Bare() { bare_pass_bpf__destroy(skeleton); }
    Bare(const Bare&) = delete;
    Bare& operator=(const Bare&) = delete;
    bare_pass_bpf* skeleton;
};

struct Traffic {
    std::string_view what;
    Packet packet;
};
std::vector<Traffic> traffic() {
    const auto elsewhere = Ether{.destination = gateway_mac};
    return {
        {"TCP data", elsewhere / Ip4{.destination = other_ip4} / Tcp{.flags = 0x10} / Raw{1448, 0x61}},
        {"UDP", elsewhere / Ip4{.destination = other_ip4} / Udp{} / Raw{64, 0x61}},
        {"IPv6 TCP data", elsewhere / Ip6{.destination = other_ip6()} / Tcp{.flags = 0x10} / Raw{1428, 0x61}},
        {"tagged TCP data", Ether{.destination = gateway_mac, .type = 0x8100} / Vlan{.vid = 100} /
                                Ip4{.destination = other_ip4} / Tcp{.flags = 0x10} / Raw{1400, 0x61}},
        {"ARP request", Ether{.destination = broadcast_mac} / Arp{.target_ip = other_ip4}},
        {"mDNS", Ether{.destination = "01:00:5e:00:00:fb"_mac} / Ip4{.destination = "224.0.0.251"_ip4} /
                     Udp{.source_port = 5353, .destination_port = 5353} / Raw{200, 0}},
    };
}

void compare(DataPath& kernel) {
    const Bare bare;
    ASSERT_NE(bare.skeleton, nullptr) << strerror(errno);
    const auto bare_program = bpf_program__fd(bare.skeleton->progs.bare_pass);
    for (const auto& [what, packet] : traffic()) {
        const auto frame = packet.bytes();
        std::vector<double> ours;
        std::vector<double> theirs;
        const auto before = kernel.counters().at(PZ_REASON_NOBODY);
        for (int round = 0; round < rounds; round++) {
            // in turn, so that a slow spell of the machine meets both
            theirs.push_back(cost(bare_program, frame));
            ours.push_back(cost(kernel.program(), frame));
        }
        // the path measured is the one claimed
        EXPECT_EQ(kernel.counters().at(PZ_REASON_NOBODY) - before, std::uint64_t{repeats} * rounds) << what;
        const auto ratio = median(ours) / median(theirs);
        std::printf("%-16s %6.1f ns, bare XDP_PASS %5.1f ns, ratio %.2f\n", std::string(what).c_str(), median(ours),
                    median(theirs), ratio);
        EXPECT_LT(ratio, widest) << what;
    }
}

TEST(PassCost, WithOneSleeper) {
    DataPath kernel;
    if (kernel.denied())
        PZ_SKIP_OR_FAIL(kernel.error());
    ASSERT_EQ(kernel.error(), "");
    kernel.reset();
    kernel.put(Host{});
    compare(kernel);
}

/// Adds `count` entries by batches of keys and values that `fill` makes.
template <class Key, class Value, class Fill>
void load(int map, std::uint32_t count, Fill fill) {
    constexpr std::uint32_t batch = 65'536;
    std::vector<Key> keys(batch);
    std::vector<Value> values(batch);
    for (std::uint32_t first = 0; first < count; first += batch) {
        auto size = std::min(batch, count - first);
        for (std::uint32_t i = 0; i < size; i++)
            fill(first + i, keys[i], values[i]);
        bpf_map_batch_opts options{};
        options.sz = sizeof options;
        ASSERT_EQ(bpf_map_update_batch(map, keys.data(), values.data(), &size, &options), 0) << strerror(errno);
    }
}

TEST(PassCost, WithAMillionSleepers) {
    constexpr std::uint32_t million = 1'000'000;
    constexpr std::uint32_t bits = 1U << 26; // 8 MiB each, some 1.5 % full
    DataPath kernel({.max_hosts = million, .max_addresses = million + 16, .filter_bits = bits});
    if (kernel.denied())
        PZ_SKIP_OR_FAIL(kernel.error());
    ASSERT_EQ(kernel.error(), "");
    kernel.reset();

    // host i: 10.x.y.z and MAC 02:00:00:x:y:z
    std::vector<pz_filter_word> address_bits(bits / 64);
    std::vector<pz_filter_word> mac_bits(bits / 64);
    const auto set = [](std::vector<pz_filter_word>& words, std::uint32_t hash) {
        const auto bit = hash & (bits - 1);
        words[bit >> 6].bits |= std::uint64_t{1} << (bit & 63);
    };
    const auto tail = [](std::uint32_t i, int at) { return static_cast<std::uint8_t>(i >> (16 - 8 * at)); };
    const auto& maps = kernel.skeleton()->maps;
    load<pz_index4_key, pz_index>(bpf_map__fd(maps.pz_index4_v1), million, [&](auto i, auto& key, auto& value) {
        key = {.segment = segment_lan, .address = {10, tail(i, 0), tail(i, 1), tail(i, 2)}};
        value = {
            .mac = {2, 0, 0, tail(i, 0), tail(i, 1), tail(i, 2)}, .flags = 0, .pad = 0, .host = i, .generation = 1};
        std::uint32_t word = 0;
        std::memcpy(&word, key.address, sizeof word);
        set(address_bits, pz_hash4(word));
    });
    load<pz_mac_key, pz_owner>(bpf_map__fd(maps.pz_by_mac_v1), million, [&](auto i, auto& key, auto& value) {
        key = {.segment = segment_lan, .mac = {2, 0, 0, tail(i, 0), tail(i, 1), tail(i, 2)}, .pad = {}};
        value = {.host = i};
        std::uint64_t word = 0;
        std::memcpy(&word, key.mac, sizeof key.mac);
        set(mac_bits, pz_hash_mac(word));
    });
    load<std::uint32_t, pz_policy>(bpf_map__fd(maps.pz_policy_v1), million, [](auto i, auto& key, auto& value) {
        key = i;
        value = {};
        value.generation = 1;
        value.stage = PZ_STAGE_ASLEEP;
    });
    const auto copy = [](int map, const std::vector<pz_filter_word>& words) {
        load<std::uint32_t, pz_filter_word>(map, bits / 64, [&](auto i, auto& key, auto& value) {
            key = i;
            value = words[i];
        });
    };
    copy(bpf_map__fd(maps.pz_addr_bits_v1), address_bits);
    copy(bpf_map__fd(maps.pz_mac_bits_v1), mac_bits);
    ASSERT_FALSE(testing::Test::HasFailure());

    // the tables are what they claim to be: the last of the million is answered for
    const Mac last = {{2, 0, 0, 0x0f, 0x42, 0x3f}};
    kernel.check(Ether{.destination = broadcast_mac} / Arp{.target_ip = "10.15.66.63"_ip4},
                 answered(PZ_REASON_ARP_ANSWERED, arp_reply(last, "10.15.66.63"_ip4).padded()));
    compare(kernel);
}

} // namespace
} // namespace pz::test
