// SPDX-License-Identifier: Apache-2.0
// Neighbour Discovery: solicitations for a sleeper are answered in place after every check of RFC 4861 §7.1.1
// (ECMA-393 R25-R29, RFC 4861, 6980, 7527).
#include "harness.h"

namespace pz::test {
namespace {

class NdTest : public DataPathTest {};

const Mac solicited_group = group_mac(solicited_node(host_ip6()));

/// The checks below fail one at a time: by multicast (passed) and by unicast to the sleeper (dropped), never answered.
void check_ignored(DataPath& kernel, const Ip6& ip, const Packet& message, std::uint32_t reason,
                   std::source_location where = std::source_location::current()) {
    auto unicast_ip = ip;
    unicast_ip.destination = host_ip6();
    kernel.check(Ether{.destination = solicited_group} / ip / message, passed({reason}), where);
    kernel.check(Ether{.destination = host_mac} / unicast_ip / message, dropped({reason}), where);
}
const Ip6 nd_ip = {.destination = solicited_node(host_ip6()), .hop_limit = 255};

// ---- answered ------------------------------------------------------------------------------------------------------

TEST_F(NdTest, R25_R26_MulticastSolicitationForAGlobalAddressIsAnswered) {
    check(solicitation(), answered(PZ_REASON_ND_ANSWERED, advertisement().bytes()));
}

TEST_F(NdTest, R25_R27_SolicitationForALinkLocalAddressIsAnswered) {
    const auto client = "fe80::200:5eff:fe00:530c"_ip6;
    check(solicitation(host_link_local(), client),
          answered(PZ_REASON_ND_ANSWERED, advertisement(host_link_local(), client).bytes()));
}

TEST_F(NdTest, R25_R28_SolicitationForATemporaryAddressIsAnswered) {
    check(solicitation(host_temporary_ip6()),
          answered(PZ_REASON_ND_ANSWERED, advertisement(host_temporary_ip6()).bytes()));
}

TEST_F(NdTest, R25_UnicastSolicitationIsAnswered) {
    // neighbour unreachability detection, RFC 4861 §7.3.3
    const auto probe = Ether{} / Ip6{.hop_limit = 255} / Ns{};
    check(probe, answered(PZ_REASON_ND_ANSWERED, advertisement().bytes()));
    check(probe / source_lla(), answered(PZ_REASON_ND_ANSWERED, advertisement().bytes()));
}

TEST_F(NdTest, R25_UnicastSolicitationToTheGatewaysMacIsAnswered) {
    check(Ether{.destination = gateway_mac} / Ip6{.hop_limit = 255} / Ns{} / source_lla(),
          answered(PZ_REASON_ND_ANSWERED, advertisement().bytes()));
}

TEST_F(NdTest, UnicastSolicitationToAnotherMacIsNotOurs) {
    check(Ether{.destination = stranger_mac} / Ip6{.hop_limit = 255} / Ns{} / source_lla(),
          passed({PZ_REASON_NOT_ADDRESSED}));
}

TEST_F(NdTest, R25_WithoutSourceLinkLayerOptionTheEthernetSourceIsAnswered) {
    check(solicitation_headers() / Ns{}, answered(PZ_REASON_ND_ANSWERED, advertisement().bytes()));
}

TEST_F(NdTest, R25_AnswerGoesToTheSourceLinkLayerOption) {
    // RFC 4861 §7.2.4 with §7.2.3: the option is the solicitor's address, whatever relayed the frame
    check(solicitation_headers() / Ns{} / source_lla(stranger_mac),
          answered(PZ_REASON_ND_ANSWERED, advertisement(host_ip6(), client_ip6(), stranger_mac).bytes()));
}

TEST_F(NdTest, R25_NonceOptionIsTolerated) {
    // RFC 7527 §4.1, before and after the link-layer option
    check(solicitation_headers() / Ns{} / nonce_option() / source_lla(stranger_mac),
          answered(PZ_REASON_ND_ANSWERED, advertisement(host_ip6(), client_ip6(), stranger_mac).bytes()));
    check(solicitation_headers() / Ns{} / source_lla(stranger_mac) / nonce_option(),
          answered(PZ_REASON_ND_ANSWERED, advertisement(host_ip6(), client_ip6(), stranger_mac).bytes()));
    check(solicitation_headers() / Ns{} / nonce_option(Bytes(14, 0xab)) / source_lla(stranger_mac),
          answered(PZ_REASON_ND_ANSWERED, advertisement(host_ip6(), client_ip6(), stranger_mac).bytes()));
}

TEST_F(NdTest, R25_UnknownOptionsAreSkipped) {
    // RFC 4861 §4.6: "Nodes MUST silently ignore any options they do not recognize"
    for (unsigned type = 0; type <= 255; type++) {
        if (type == 1)
            continue;
        check(solicitation_headers() / Ns{} /
                  NdOption{.type = static_cast<std::uint8_t>(type), .body = Bytes(6, 0xee)} / source_lla(stranger_mac),
              answered(PZ_REASON_ND_ANSWERED, advertisement(host_ip6(), client_ip6(), stranger_mac).bytes()));
    }
}

TEST_F(NdTest, R25_ReservedFieldIsIgnored) {
    // RFC 4861 §4.3: "This field is unused. It MUST be initialized to zero by the sender and MUST be ignored"
    Bytes message = {0xde, 0xad, 0xbe, 0xef};
    message.insert(message.end(), host_ip6().bytes.begin(), host_ip6().bytes.end());
    Icmp6 header{.type = 135, .word = 0xdeadbeef};
    message.erase(message.begin(), message.begin() + 4);
    check(solicitation_headers() / header / Raw{message} / source_lla(),
          answered(PZ_REASON_ND_ANSWERED, advertisement().bytes()));
}

TEST_F(NdTest, R25_TrafficClassAndFlowLabelOfTheRequestDoNotMatter) {
    check(Ether{.destination = solicited_group} /
              Ip6{.destination = solicited_node(host_ip6()),
                  .hop_limit = 255,
                  .traffic_class = 0xc0,
                  .flow_label = 0xabcde} /
              Ns{} / source_lla(),
          answered(PZ_REASON_ND_ANSWERED, advertisement().bytes()));
}

TEST_F(NdTest, R25_TrailingEthernetPaddingIsNotInTheAnswer) {
    check(solicitation_headers() / Ns{} / Trailer{30, 0xa5}, answered(PZ_REASON_ND_ANSWERED, advertisement().bytes()));
    check(solicitation_headers() / Ns{} / source_lla() / Trailer{500, 0xa5},
          answered(PZ_REASON_ND_ANSWERED, advertisement().bytes()));
}

TEST_F(NdTest, R25_OptionListsOfEveryLengthUpToTheMtu) {
    // The whole message is checksummed and every option's length is looked at; the source option is found wherever it
    // is, or the message is ignored as too long a list: the answer never goes to a wrong place.
    std::size_t answered_lists = 0;
    for (std::size_t options = 0; options <= 179; options++) {
        auto packet = solicitation_headers() / Ns{};
        for (std::size_t i = 0; i < options; i++)
            packet = packet / nonce_option();
        packet = packet / source_lla(stranger_mac);
        const auto outcome = kernel().run(packet.bytes());
        answered_lists += outcome.verdict == XDP_TX ? 1U : 0U;
        if (options <= 6 || outcome.verdict == XDP_TX)
            check(packet,
                  answered(PZ_REASON_ND_ANSWERED, advertisement(host_ip6(), client_ip6(), stranger_mac).bytes()));
        else
            check(packet, passed({PZ_REASON_ND_MALFORMED}));
    }
    std::printf("answered with up to %zu options before the link-layer address\n", answered_lists - 1);
}

TEST_F(NdTest, R25_OneLongOption) {
    for (const std::size_t units : {2U, 3U, 17U, 31U, 100U, 175U}) {
        const NdOption option{.type = 253, .body = Bytes(8 * units - 2, 0x77)};
        check(solicitation_headers() / Ns{} / option / source_lla(stranger_mac),
              answered(PZ_REASON_ND_ANSWERED, advertisement(host_ip6(), client_ip6(), stranger_mac).bytes()));
    }
}

TEST_F(NdTest, R25_IdentityProxyClearsOverride) {
    Host host;
    host.answer_mac = gateway_mac;
    host.index_flags = PZ_INDEX_IDENTITY_PROXY;
    sleeper(host);
    // RFC 4861 §7.2.4: a proxy advertisement SHOULD have O=0
    check(solicitation(), answered(PZ_REASON_ND_ANSWERED,
                                   advertisement(host_ip6(), client_ip6(), client_mac, gateway_mac, false).bytes()));
    check(Ether{.destination = solicited_group} /
              Ip6{.source = unspecified(), .destination = solicited_node(host_ip6()), .hop_limit = 255} / Ns{},
          answered(PZ_REASON_ND_DAD_ANSWERED, dad_advertisement(host_ip6(), false, gateway_mac).bytes()));
}

TEST_F(NdTest, R25_WakingHostIsAnsweredForUntilItsSignOfLife) {
    Host host;
    host.stage = PZ_STAGE_WAKING;
    sleeper(host);
    check(solicitation(), answered(PZ_REASON_ND_ANSWERED, advertisement().bytes()));
}

// ---- duplicate address detection -----------------------------------------------------------------------------------

TEST_F(NdTest, R25_DuplicateAddressDetectionIsAnsweredToAllNodes) {
    for (const auto& target : {host_ip6(), host_link_local(), host_temporary_ip6()})
        check(solicitation_headers(target, unspecified()) / Ns{.target = target},
              answered(PZ_REASON_ND_DAD_ANSWERED, dad_advertisement(target).bytes()));
}

TEST_F(NdTest, R25_DuplicateAddressDetectionWithNonceIsAnswered) {
    check(solicitation_headers(host_ip6(), unspecified()) / Ns{} / nonce_option(),
          answered(PZ_REASON_ND_DAD_ANSWERED, dad_advertisement().bytes()));
}

TEST_F(NdTest, R36_DadWithASourceLinkLayerOptionIsIgnored) {
    check(solicitation_headers(host_ip6(), unspecified()) / Ns{} / source_lla(), passed({PZ_REASON_ND_MALFORMED}));
    check(solicitation_headers(host_ip6(), unspecified()) / Ns{} / nonce_option() / source_lla(),
          passed({PZ_REASON_ND_MALFORMED}));
}

TEST_F(NdTest, R36_DadToAnythingButASolicitedNodeGroupIsIgnored) {
    const auto dad = Ns{};
    check(Ether{} / Ip6{.source = unspecified(), .hop_limit = 255} / dad, dropped({PZ_REASON_ND_MALFORMED}));
    for (const auto& group : {all_nodes(), "ff02::2"_ip6, "ff05::1:ff00:10"_ip6, "ff02::2:ff00:10"_ip6,
                              "ff02::1:fe00:10"_ip6, "ff02:0:0:1::1:ff00:10"_ip6})
        check(Ether{.destination = group_mac(group)} /
                  Ip6{.source = unspecified(), .destination = group, .hop_limit = 255} / dad,
              passed({PZ_REASON_ND_MALFORMED}));
}

// ---- RFC 4861 §7.1.1, one check at a time --------------------------------------------------------------------------

TEST_F(NdTest, R36_HopLimitMustBe255) {
    for (const auto hop_limit : U8{0, 1, 64, 128, 254}) {
        auto ip = nd_ip;
        ip.hop_limit = hop_limit;
        check_ignored(kernel(), ip, Ns{} / source_lla(), PZ_REASON_ND_MALFORMED);
    }
}

TEST_F(NdTest, R36_ChecksumMustBeRight) {
    // each bit of the right checksum damaged
    const auto good = solicitation().bytes();
    for (std::size_t bit = 0; bit < 16; bit++) {
        auto frame = good;
        frame[14 + 40 + 2 + bit / 8] ^= static_cast<std::uint8_t>(1U << bit % 8);
        kernel().check(frame, passed({PZ_REASON_ND_CHECKSUM}), "checksum damaged");
    }
    check_ignored(kernel(), nd_ip, Ns{.checksum = 0} / source_lla(), PZ_REASON_ND_CHECKSUM);
}

TEST_F(NdTest, R36_EveryDamagedByteOfTheMessageIsNoticed) {
    const auto good = (solicitation() / nonce_option(Bytes(22, 0x3c))).bytes();
    // type, code, the target (another address is nobody's) and option types and lengths have tests of their own
    for (std::size_t at = 14 + 40 + 4; at < good.size(); at++) {
        for (std::size_t bit = 0; bit < 8; bit++) {
            auto frame = good;
            frame[at] ^= static_cast<std::uint8_t>(1U << bit);
            const auto outcome = kernel().run(frame);
            EXPECT_EQ(outcome.verdict, std::uint32_t{XDP_PASS}) << "byte " << at << " bit " << bit;
        }
    }
    // and of the addresses of the pseudo header (RFC 8200 §8.1)
    for (std::size_t at = 14 + 8; at < 14 + 40; at++) {
        auto frame = good;
        frame[at] ^= 0x04;
        EXPECT_EQ(kernel().run(frame).verdict, std::uint32_t{XDP_PASS}) << "byte " << at;
    }
}

TEST_F(NdTest, R36_CodeMustBeZero) {
    for (const auto code : U8{1, 2, 128, 255})
        check_ignored(kernel(), nd_ip, Ns{.code = code} / source_lla(), PZ_REASON_ND_MALFORMED);
}

TEST_F(NdTest, R36_LengthMustBeAtLeast24) {
    Bytes target(host_ip6().bytes.begin(), host_ip6().bytes.end());
    for (std::size_t length = 8; length < 24; length++) {
        // a right checksum over the short message; what lies behind it is padding
        const auto body = Raw{Bytes(target.begin(), target.begin() + static_cast<std::ptrdiff_t>(length - 8))};
        const auto missing = Trailer{24 - length, 0x10};
        const Icmp6 header{.type = 135, .word = 0};
        check(Ether{.destination = solicited_group} / nd_ip / header / body / missing,
              passed({PZ_REASON_ND_MALFORMED, PZ_REASON_NOBODY, PZ_REASON_L4_MALFORMED, PZ_REASON_TOO_SHORT}));
    }
}

TEST_F(NdTest, R36_TargetMustNotBeMulticast) {
    // even if a filter bit and an index entry said so
    Host host;
    host.ip6 = {solicited_node(host_ip6()), all_nodes()};
    sleeper(host);
    for (const auto& target : host.ip6)
        check(Ether{.destination = solicited_group} / nd_ip / Ns{.target = target} / source_lla(),
              passed({PZ_REASON_ND_MALFORMED, PZ_REASON_NOBODY}));
}

TEST_F(NdTest, R36_OptionOfLengthZeroIsIgnored) {
    check_ignored(kernel(), nd_ip, Ns{} / NdOption{.type = 14, .body = Bytes(6), .units = 0}, PZ_REASON_ND_MALFORMED);
    check_ignored(kernel(), nd_ip, Ns{} / NdOption{.type = 1, .body = Bytes(6), .units = 0}, PZ_REASON_ND_MALFORMED);
    // RFC 4861 §7.1.1 speaks of all options, also those behind the one that is needed
    check_ignored(kernel(), nd_ip, Ns{} / source_lla() / NdOption{.type = 14, .body = Bytes(6), .units = 0},
                  PZ_REASON_ND_MALFORMED);
    check_ignored(kernel(), nd_ip,
                  Ns{} / nonce_option() / source_lla() / nonce_option() /
                      NdOption{.type = 200, .body = Bytes(6), .units = 0},
                  PZ_REASON_ND_MALFORMED);
}

TEST_F(NdTest, R36_OptionBeyondTheMessageIsIgnored) {
    for (const auto units : U8{2, 3, 4, 128, 255}) {
        check_ignored(kernel(), nd_ip, Ns{} / NdOption{.type = 1, .body = Bytes(6), .units = units},
                      PZ_REASON_ND_MALFORMED);
        check_ignored(kernel(), nd_ip, Ns{} / source_lla() / NdOption{.type = 14, .body = Bytes(6), .units = units},
                      PZ_REASON_ND_MALFORMED);
    }
}

TEST_F(NdTest, R36_OptionInThePaddingIsNoOption) {
    // the option's eight bytes are there, but outside the IPv6 payload
    auto frame = (solicitation_headers() / Ns{}).bytes();
    const auto option = (source_lla(stranger_mac) / Raw{}).bytes();
    frame.insert(frame.end(), option.begin(), option.end());
    kernel().check(frame, answered(PZ_REASON_ND_ANSWERED, advertisement().bytes()));
}

TEST_F(NdTest, R36_RaggedEndOfTheOptionsIsIgnored) {
    for (std::size_t extra = 1; extra < 8; extra++)
        check_ignored(kernel(), nd_ip, Ns{} / source_lla() / Raw{extra, 1}, PZ_REASON_ND_MALFORMED);
}

TEST_F(NdTest, R36_GroupInTheSourceLinkLayerOptionIsNotAnswered) {
    for (const auto& mac : {broadcast_mac, "33:33:00:00:00:01"_mac, "01:00:5e:00:00:01"_mac})
        check_ignored(kernel(), nd_ip, Ns{} / source_lla(mac), PZ_REASON_ND_MALFORMED);
}

TEST_F(NdTest, R36_GroupEthernetSourceIsNotAnswered) {
    // IEEE 802.3 §3.2.3; without the option the answer would go there
    for (const auto& source : {broadcast_mac, "01:00:5e:00:53:0c"_mac, "33:33:00:00:00:01"_mac}) {
        const auto packet = Ether{.destination = solicited_group, .source = source} / nd_ip / Ns{};
        EXPECT_EQ(kernel().run(packet.bytes()).verdict, std::uint32_t{XDP_PASS}) << packet.scapy();
    }
}

TEST_F(NdTest, R36_GroupSourceAddressIsNotAnswered) {
    // RFC 4291 §2.7: multicast addresses must not be used as source addresses
    auto ip = nd_ip;
    ip.source = all_nodes();
    const auto outcome = kernel().run((Ether{.destination = solicited_group} / ip / Ns{} / source_lla()).bytes());
    EXPECT_EQ(outcome.verdict, std::uint32_t{XDP_PASS}) << outcome.to_string();
    ip.destination = host_ip6();
    EXPECT_EQ(kernel().run((Ether{} / ip / Ns{} / source_lla()).bytes()).verdict, std::uint32_t{XDP_DROP});
}

// ---- extension headers (R29) ---------------------------------------------------------------------------------------

TEST_F(NdTest, R29_RecognisedExtensionHeadersAreWalked) {
    const Ext hop{.kind = ext_hop_by_hop};
    const Ext destination{.kind = ext_destination};
    const Ext routing{.kind = ext_routing, .body = {0, 0, 0, 0, 0, 0}}; // segments left 0
    const Ext mobility{.kind = ext_mobility, .body = {0, 0, 0, 0, 0, 0}};
    const Ext auth{.kind = ext_auth, .body = Bytes(14)};
    const Ext long_destination{.kind = ext_destination, .body = Bytes(62)}; // Pad1 options
    const std::vector<Packet> chains = {
        hop,  destination,      routing,           mobility,
        auth, long_destination, hop / destination, hop / destination / routing / auth / mobility};
    for (const auto& chain : chains) {
        check(solicitation_headers() / chain / Ns{} / source_lla(),
              answered(PZ_REASON_ND_ANSWERED, advertisement().bytes()));
        check(solicitation_headers() / chain / Ns{} / nonce_option() / source_lla(stranger_mac),
              answered(PZ_REASON_ND_ANSWERED, advertisement(host_ip6(), client_ip6(), stranger_mac).bytes()));
        check(Ether{} / Ip6{.hop_limit = 255} / chain / Ns{}, answered(PZ_REASON_ND_ANSWERED, advertisement().bytes()));
        check(solicitation_headers(host_ip6(), unspecified()) / chain / Ns{},
              answered(PZ_REASON_ND_DAD_ANSWERED, dad_advertisement().bytes()));
    }
}

TEST_F(NdTest, R29_UpToEightExtensionHeaders) {
    auto packet = solicitation_headers() / Ext{.kind = ext_hop_by_hop};
    for (int i = 1; i < 8; i++)
        packet = packet / Ext{.kind = ext_destination};
    check(packet / Ns{} / source_lla(), answered(PZ_REASON_ND_ANSWERED, advertisement().bytes()));
}

TEST_F(NdTest, NineExtensionHeadersAreTooMany) {
    // As multicast it names no sleeper before its target is found.
    Packet chain = Ext{.kind = ext_destination};
    for (int i = 1; i < 9; i++)
        chain = chain / Ext{.kind = ext_destination};
    check(solicitation_headers() / chain / Ns{} / source_lla(), passed());
    check(Ether{} / Ip6{.hop_limit = 255} / chain / Ns{} / source_lla(), dropped({PZ_REASON_IP_EXT_TOO_MANY}));
}

TEST_F(NdTest, R36_HopByHopHeaderMustBeFirst) {
    // RFC 8200 §4.1: "restricted to appear immediately after an IPv6 header only"
    const auto outcome = kernel().run(
        (solicitation_headers() / Ext{.kind = ext_destination} / Ext{.kind = ext_hop_by_hop} / Ns{} / source_lla())
            .bytes());
    EXPECT_EQ(outcome.verdict, std::uint32_t{XDP_PASS}) << outcome.to_string();
}

TEST_F(NdTest, R36_FragmentHeaderIsIgnoredEvenIfAtomic) {
    // RFC 6980 §5: Neighbour Discovery with any Fragment header is silently ignored.  As multicast it names no sleeper:
    // the walk ends at the Fragment header, before the target.
    const std::vector<Packet> messages = {
        Fragment{} / Ns{} / source_lla(),
        Fragment{.offset_flags = 1} / Ns{} / source_lla(),
        Ext{.kind = ext_hop_by_hop} / Fragment{} / Ns{} / source_lla(),
        Fragment{} / Ext{.kind = ext_destination} / Ns{} / source_lla(),
    };
    for (const auto& message : messages) {
        check(solicitation_headers() / message, passed({PZ_REASON_ND_FRAGMENTED, PZ_REASON_NOBODY}));
        check(Ether{} / Ip6{.hop_limit = 255} / message, dropped({PZ_REASON_ND_FRAGMENTED, PZ_REASON_IP_FRAGMENT}));
    }
}

TEST_F(NdTest, R38_RoutingHeaderWithSegmentsLeftIsIgnored) {
    for (const auto segments_left : U8{1, 2, 255}) {
        const Ext routing{.kind = ext_routing, .body = {0, segments_left, 0, 0, 0, 0}};
        check(Ether{} / Ip6{.hop_limit = 255} / routing / Ns{} / source_lla(), dropped({PZ_REASON_IP_SOURCE_ROUTE}));
        check(solicitation_headers() / routing / Ns{} / source_lla(), passed());
    }
}

TEST_F(NdTest, R36_ExtensionHeaderBeyondTheFrameIsIgnored) {
    check(Ether{} / Ip6{.hop_limit = 255} / Ext{.kind = ext_destination, .length = 200} / Ns{} / source_lla(),
          dropped({PZ_REASON_IP_MALFORMED, PZ_REASON_TOO_SHORT}));
}

// ---- nobody's, released ... ----------------------------------------------------------------------------------------

TEST_F(NdTest, SolicitationForAnotherAddressIsNobodys) {
    check(solicitation(other_ip6()), passed({PZ_REASON_NOBODY}));
    check(solicitation_headers(other_ip6(), unspecified()) / Ns{.target = other_ip6()}, passed({PZ_REASON_NOBODY}));
    // the same solicited-node group, another address
    check(solicitation("2001:db8:0:1::10"_ip6), passed({PZ_REASON_NOBODY}));
}

TEST_F(NdTest, CollisionInTheFilterIsNobodys) {
    kernel().set_bit(other_ip6());
    check(solicitation(other_ip6()), passed({PZ_REASON_NOBODY}));
}

TEST_F(NdTest, ReleasedHostIsNotAnsweredFor) {
    kernel().put_released(Host{}.id, Host{}.generation);
    check(solicitation(), passed({PZ_REASON_RELEASED}));
    check(Ether{} / Ip6{.hop_limit = 255} / Ns{}, passed({PZ_REASON_RELEASED}));
}

TEST_F(NdTest, HostFallingAsleepIsNotAnsweredFor) {
    Host host;
    host.stage = PZ_STAGE_ARMING;
    sleeper(host);
    check(solicitation(), passed());
}

TEST_F(NdTest, DaemonGoneForTooLongPassesEverything) {
    kernel().put_daemon(61'000'000'000, 60'000'000'000);
    check(solicitation(), passed({PZ_REASON_DAEMON_GONE}));
}

TEST_F(NdTest, AdvertisementOfAnotherAddressIsNobodys) {
    check(Ether{.destination = group_mac(all_nodes())} /
              Ip6{.source = client_ip6(), .destination = all_nodes(), .hop_limit = 255} /
              Na{.target = client_ip6(), .solicited = false} / target_lla(client_mac),
          passed({PZ_REASON_NOBODY}));
}

TEST_F(NdTest, RouterSolicitationsAreNobodys) {
    check(Ether{.destination = group_mac(all_nodes()), .source = stranger_mac} /
              Ip6{.source = "fe80::1"_ip6, .destination = all_nodes(), .hop_limit = 255} /
              Icmp6{.type = 133, .word = 0} / source_lla(stranger_mac),
          passed({PZ_REASON_NOBODY}));
}

TEST_F(NdTest, OtherNdMessagesToTheSleeperAreIgnored) {
    // RA, RS and Redirect by unicast
    for (const auto type : U8{133, 134, 137})
        check(Ether{} / Ip6{.hop_limit = 255} / Icmp6{.type = type, .word = 0} / Raw{32, 0},
              dropped({PZ_REASON_UNICAST_IGNORED}));
}

// ---- VLAN tags (R1) ------------------------------------------------------------------------------------------------

TEST_F(NdTest, R1_R25_TagsAreKept) {
    const auto with_tags = [](std::vector<Vlan> tags, const Mac& destination, const Mac& source) {
        Packet packet = Ether{.destination = destination,
                              .source = source,
                              .type = tags.empty() ? std::optional<std::uint16_t>{} : tags[0].tpid};
        for (const auto& tag : tags)
            packet = packet / tag;
        return packet;
    };
    struct Case {
        std::uint32_t segment;
        std::vector<Vlan> tags;
    };
    const std::vector<Case> cases = {
        {segment_lan, {{.vid = 0, .priority = 6}}},
        {segment_vlan100, {{.vid = 100, .priority = 1}}},
        {segment_qinq, {{.vid = 100, .tpid = 0x88a8}, {.vid = 200, .priority = 2, .drop_eligible = true}}},
    };
    for (const auto& [segment, tags] : cases) {
        kernel().reset();
        sleeper({.id = 9, .segment = segment});
        const Ip6 ip{.destination = solicited_node(host_ip6()), .hop_limit = 255};
        const Ip6 back{.source = host_ip6(), .destination = client_ip6(), .hop_limit = 255};
        check(with_tags(tags, solicited_group, client_mac) / ip / Ns{} / source_lla(),
              answered(PZ_REASON_ND_ANSWERED,
                       (with_tags(tags, client_mac, host_mac) / back / Na{} / target_lla() / mark_option()).bytes()));
        // the answer is longer than this request
        check(with_tags(tags, solicited_group, client_mac) / ip / Ns{},
              answered(PZ_REASON_ND_ANSWERED,
                       (with_tags(tags, client_mac, host_mac) / back / Na{} / target_lla() / mark_option()).bytes()));
    }
    check(with_tags({{.vid = 1}, {.vid = 2}, {.vid = 3}}, solicited_group, client_mac) / nd_ip / Ns{} / source_lla(),
          passed({PZ_REASON_UNKNOWN_L2}));
}

} // namespace
} // namespace pz::test
