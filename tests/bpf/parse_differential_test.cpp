// SPDX-License-Identifier: Apache-2.0
// The kernel's parser (bpf/parse.h) against user space's (net/frame.h) on the same bytes: the same words for the same
// frame.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <cerrno>
#include <cstring>

#include "corpus.h"
#include "net/frame.h"
#include "parse_result.h"

#include "parse_probe.skel.h"

namespace pz::test {
namespace {

class ParseDifferentialTest : public testing::Test {
public:
    static void SetUpTestSuite() {
        libbpf_set_print([](libbpf_print_level level, const char* format, va_list arguments) {
            return level == LIBBPF_WARN && std::getenv("PROXZZY_BPF_LOG") != nullptr
                       ? vfprintf(stderr, format, arguments)
                       : 0;
        });
        probe_ = parse_probe_bpf__open();
        load_error_ = probe_ == nullptr ? -errno : parse_probe_bpf__load(probe_);
    }
    static void TearDownTestSuite() { parse_probe_bpf__destroy(probe_); }

protected:
    void SetUp() override {
        if (load_error_ == -EPERM)
            PZ_SKIP_OR_FAIL("BPF is refused: CAP_BPF and CAP_NET_ADMIN are needed");
        ASSERT_EQ(load_error_, 0) << strerror(-load_error_);
    }

    /// What the kernel's parser says of `frame`, in the words of user space's.
    static std::string kernel_says(ByteView frame) {
        bpf_test_run_opts options{};
        options.sz = sizeof options;
        options.data_in = frame.data();
        options.data_size_in = static_cast<__u32>(frame.size());
        options.repeat = 1;
        parse_result result{};
        const __u32 zero = 0;
        if (bpf_prog_test_run_opts(bpf_program__fd(probe_->progs.parse_probe), &options) != 0 ||
            options.retval != XDP_PASS || bpf_map_lookup_elem(bpf_map__fd(probe_->maps.results), &zero, &result) != 0)
            return "the probe did not run";
        if (result.action != -1)
            return result.reason == PZ_REASON_UNKNOWN_L2 ? "unknown L2"
                   : result.reason == PZ_REASON_ARP_MALFORMED
                       ? link(result.outer_vid, result.inner_vid, result.l3_offset, "ARP")
                       : "short";
        const auto tags = [&](std::string_view l3) {
            return link(result.outer_vid, result.inner_vid, result.l3_offset, l3);
        };
        switch (result.l3) {
        case 1:
            return tags("ARP");
        case 4:
            return tags("magic");
        default:
            break;
        }
        const bool v4 = result.l3 == 2;
        const auto l3 = tags(v4 ? "IPv4" : "IPv6");
        switch (result.status) {
        case PZ_REASON_NOBODY:
            break;
        case PZ_REASON_IP_MALFORMED:
            return l3 + " malformed";
        case PZ_REASON_IP_CHECKSUM:
            return l3 + " checksum";
        case PZ_REASON_IP_FRAGMENT:
        case PZ_REASON_ND_FRAGMENTED:
            return l3 + " fragment";
        case PZ_REASON_IP_SOURCE_ROUTE:
            return l3 + " source route";
        case PZ_REASON_IP_EXT_TOO_MANY:
            return l3 + " too many extension headers";
        default:
            return l3 + " " + std::string(reason_name(result.status));
        }
        const std::size_t size = v4 ? 4 : 16;
        return l3 + network(ByteView(result.source).first(size), ByteView(result.destination).first(size),
                            result.protocol, result.hop_limit, result.l4_offset, result.l4_length);
    }

    static std::string user_space_says(ByteView frame) {
        const auto parsed = parse_frame(frame);
        const auto tags = [&](std::string_view l3) {
            return link(parsed.outer_vid, parsed.inner_vid, parsed.l3_offset, l3);
        };
        if (parsed.status == ParseStatus::unknown_l2)
            return "unknown L2";
        if (parsed.l3 == L3::other || (parsed.l3 == L3::arp && parsed.status == ParseStatus::too_short))
            return "short";
        if (parsed.l3 == L3::arp)
            return tags("ARP");
        if (parsed.l3 == L3::magic)
            return tags("magic");
        const auto l3 = tags(parsed.l3 == L3::ipv4 ? "IPv4" : "IPv6");
        switch (parsed.status) {
        case ParseStatus::ok:
            break;
        case ParseStatus::too_short: // the kernel has one word for both
        case ParseStatus::malformed:
            return l3 + " malformed";
        case ParseStatus::bad_checksum:
            return l3 + " checksum";
        case ParseStatus::fragment:
            return l3 + " fragment";
        case ParseStatus::source_route:
            return l3 + " source route";
        case ParseStatus::too_many_ext:
            return l3 + " too many extension headers";
        default:
            return l3 + " ?";
        }
        return l3 + network(parsed.ip_source.octets(), parsed.ip_destination.octets(), parsed.protocol,
                            parsed.hop_limit, parsed.l4_offset, parsed.l4_length);
    }

    static void compare(ByteView frame, const std::string& what) {
        const auto kernel = kernel_says(frame);
        const auto user_space = user_space_says(frame);
        if (kernel != user_space)
            ADD_FAILURE() << what << "\n  kernel:     " << kernel << "\n  user space: " << user_space << "\n"
                          << hexdump(frame);
        seen_[kernel.substr(0, kernel.find(" from"))]++;
    }
    static std::map<std::string, std::size_t> seen_;

private:
    static std::string link(std::size_t outer, std::size_t inner, std::size_t l3_offset, std::string_view l3) {
        return std::string(l3) + " at " + std::to_string(l3_offset) + " vlan " + std::to_string(outer) + "." +
               std::to_string(inner);
    }
    static std::string network(ByteView source, ByteView destination, std::size_t protocol, std::size_t hop_limit,
                               std::size_t l4_offset, std::size_t l4_length) {
        return " from " + hexdump(source) + " to " + hexdump(destination) + " protocol " + std::to_string(protocol) +
               " hops " + std::to_string(hop_limit) + " L4 at " + std::to_string(l4_offset) + "+" +
               std::to_string(l4_length);
    }

    static parse_probe_bpf* probe_;
    static int load_error_;
};
parse_probe_bpf* ParseDifferentialTest::probe_ = nullptr;
int ParseDifferentialTest::load_error_ = 0;
std::map<std::string, std::size_t> ParseDifferentialTest::seen_;

TEST_F(ParseDifferentialTest, CorpusAtEveryLength) {
    for (const auto& [what, frame, needed] : corpus())
        for (std::size_t length = 14; length <= frame.size(); length++) {
            compare(ByteView(frame).first(length), what + " of " + std::to_string(length) + " bytes");
            if (HasFailure())
                return;
        }
}

TEST_F(ParseDifferentialTest, EveryByteOfTheCorpusTakesEveryValue) {
    for (const auto& [what, frame, needed] : corpus())
        for (std::size_t at = 12; at < std::min<std::size_t>(frame.size(), 90); at++)
            for (unsigned value = 0; value < 256; value += at < 60 ? 1 : 15) {
                auto changed = frame;
                changed[at] = static_cast<std::uint8_t>(value);
                compare(changed, what + ", byte " + std::to_string(at));
                if (HasFailure())
                    return;
            }
}

TEST_F(ParseDifferentialTest, DamagedFrames) {
    Mutator mutator(2026);
    seen_.clear();
    std::size_t failures = 0;
    for (int round = 0; round < 150'000; round++) {
        const auto before = testing::UnitTest::GetInstance()->current_test_info()->result()->total_part_count();
        compare(mutator.next(), "round " + std::to_string(round));
        if (testing::UnitTest::GetInstance()->current_test_info()->result()->total_part_count() != before &&
            ++failures == 5)
            break;
    }
    EXPECT_GT(seen_.size(), 40U) << "the damage leaves too little to look at";
}

} // namespace
} // namespace pz::test
