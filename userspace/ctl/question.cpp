// SPDX-License-Identifier: Apache-2.0
#include "ctl/question.h"

#include <netinet/tcp.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <iostream>
#include <iterator>

#include <spdlog/fmt/fmt.h>
#include <spdlog/fmt/ranges.h>

#include "base/number.h"
#include "ctl/command.h"
#include "hosts/host_options.h"

namespace pz::ctl {

namespace po = boost::program_options;

namespace {

using Kind = Question::Kind;
using Texts = std::vector<std::string>;

struct Source {
    const char* option;
    Kind kind;
};
constexpr std::array sources{
    Source{"hex", Kind::hex},   Source{"pcap", Kind::pcap}, Source{"tcp", Kind::tcp}, Source{"udp", Kind::udp},
    Source{"echo", Kind::echo}, Source{"arp", Kind::arp},   Source{"ns", Kind::ns},   Source{"magic", Kind::magic},
};

struct Flag {
    const char* option;
    std::uint8_t bit;
};
constexpr std::array all_flags{
    Flag{"syn", TH_SYN},  Flag{"ack", TH_ACK}, Flag{"fin", TH_FIN}, Flag{"rst", TH_RST},
    Flag{"psh", TH_PUSH}, Flag{"urg", TH_URG}, Flag{"ece", 0x40},   Flag{"cwr", 0x80}, // RFC 3168 §6.1
};

/// How much of a port an end may or must have.
enum class Port : std::uint8_t { none, optional, required };

std::unexpected<Error> refuse(const char* option, const std::string& why) {
    return fail(Errc::invalid, fmt::format("--{} {}", option, why), option);
}

Result<Bytes> parse_hex(const Texts& texts) {
    std::string text = fmt::format("{}", fmt::join(texts, " "));
    if (text == "-")
        text.assign(std::istreambuf_iterator<char>(std::cin), {});
    std::erase_if(text, [](unsigned char c) { return std::isspace(c) != 0 || c == ':'; });
    const auto wrong = std::ranges::find_if(text, [](unsigned char c) { return std::isxdigit(c) == 0; });
    if (wrong != text.end())
        return refuse("hex",
                      fmt::format("{:?}: must be pairs of hexadecimal digits, with spaces and colons as you like",
                                  std::string(1, *wrong)));
    if (text.size() % 2 != 0)
        return refuse("hex", fmt::format("has {} digits, must have pairs", text.size()));
    Bytes bytes(text.size() / 2);
    for (std::size_t i = 0; i < bytes.size(); i++)
        std::from_chars(text.data() + 2 * i, text.data() + 2 * i + 2, bytes[i], 16);
    return bytes;
}

/// "192.0.2.7", "192.0.2.7:22", "2001:db8::7", "[2001:db8::7]:22", "nas", "nas:22"
Result<Endpoint> parse_endpoint(const char* option, const std::string& text, Port wanted) {
    const auto bad = [&](const char* why) { return refuse(option, fmt::format("{:?}: {}", text, why)); };
    Endpoint end;
    std::string host = text;
    std::optional<std::string> port;
    if (text.starts_with('[')) {
        const auto close = text.find(']');
        if (close == std::string::npos || (close + 1 < text.size() && text[close + 1] != ':'))
            return bad("must be an IPv6 address in brackets, then a colon and a port, as in [2001:db8::7]:22");
        host = text.substr(1, close - 1);
        if (close + 1 < text.size())
            port = text.substr(close + 2);
        if (const auto inside = IpAddress::parse(host); !inside || inside->is_v4())
            return bad("must have an IPv6 address in its brackets, as in [2001:db8::7]:22");
    } else if (!IpAddress::parse(text)) {
        if (const auto colon = text.rfind(':'); colon != std::string::npos) {
            host = text.substr(0, colon);
            port = text.substr(colon + 1);
        }
    }
    if (port && wanted == Port::none)
        return bad("must have no port");
    if (port) {
        const auto number = parse_number<std::uint16_t>(*port);
        if (!number || *number == 0)
            return bad("must have a port from 1 to 65535 behind its last colon");
        end.port = *number;
    } else if (wanted == Port::required) {
        return bad("lacks a port, as in nas:22 or [2001:db8::7]:22");
    }
    if (const auto address = IpAddress::parse(host))
        end.address = *address;
    else
        end.name = host;
    if (host.empty())
        return bad("must begin with a host's name or an IP address");
    return end;
}

Result<> parse_ends(Question& question, const char* option, const Texts& texts, Port from, Port to) {
    if (texts.size() != 2)
        return refuse(option, fmt::format("{:?}: must be two, who sends and who is meant", fmt::join(texts, " ")));
    question.from = PZ_TRY(parse_endpoint(option, texts[0], from));
    question.to = PZ_TRY(parse_endpoint(option, texts[1], to));
    const bool both_given = question.from.name.empty() && question.to.name.empty();
    if (both_given && question.from.address.family != question.to.address.family)
        return refuse(option, fmt::format("{} {}: must be two addresses of one family", texts[0], texts[1]));
    const auto family = question.kind == Kind::arp  ? std::optional(IpAddress::Family::v4)
                        : question.kind == Kind::ns ? std::optional(IpAddress::Family::v6)
                                                    : std::nullopt;
    for (const Endpoint* end : {&question.from, &question.to})
        if (family && end->name.empty() && end->address.family != *family)
            return refuse(option, fmt::format("{}: must be an IPv{} address", end->address.to_string(),
                                              *family == IpAddress::Family::v4 ? 4 : 6));
    return {};
}

Result<> parse_source(Question& question, const char* option, const Texts& texts) {
    switch (question.kind) {
    case Kind::hex:
        question.frame = PZ_TRY(parse_hex(texts));
        return {};
    case Kind::pcap:
        question.file = texts.front();
        return {};
    case Kind::tcp:
    case Kind::udp:
        return parse_ends(question, option, texts, Port::optional, Port::required);
    case Kind::echo:
    case Kind::arp:
    case Kind::ns:
        return parse_ends(question, option, texts, Port::none, Port::none);
    case Kind::magic:
        if (const auto mac = MacAddress::parse(texts.front()))
            question.mac = *mac;
        else
            question.name = texts.front();
        return {};
    }
    return {};
}

/// An option that says nothing about this kind of frame.
std::unexpected<Error> out_of_place(const char* option, const char* belongs_to) {
    return refuse(option, fmt::format("must not be there: it is for {}", belongs_to));
}

} // namespace

po::options_description question_options() {
    using Text = std::string;
    po::options_description options("Options of this command", 100);
    const auto two = [](const char* names) { return po::value<Texts>()->multitoken()->value_name(names); };
    options.add_options()("hex", po::value<Texts>()->multitoken()->value_name("HEX"),
                          "the frame's bytes from the destination MAC on; - reads them from standard input")(
        "pcap", po::value<Text>()->value_name("FILE"), "every packet of a capture file")(
        "packet", po::value<Text>()->value_name("N"), "of the capture file only this one, counted from 1")(
        "tcp", two("SRC[:PORT] DST:PORT"), "a TCP segment, with the flags below; none given: --syn")(
        "udp", two("SRC[:PORT] DST:PORT"), "a UDP datagram")("echo", two("SRC DST"), "a ping")(
        "arp", two("SENDER TARGET"), "an ARP request; a probe if the sender is 0.0.0.0")(
        "ns", two("SRC TARGET"), "a Neighbour Solicitation; duplicate address detection if SRC is ::")(
        "magic", po::value<Text>()->value_name("NAME|MAC"),
        "a Magic Packet; for a NAME with the host's SecureOn password, if it has one");
    for (const Flag& flag : all_flags)
        options.add_options()(flag.option, "TCP flag");
    options.add_options()("egress", "the frame leaves by the interface, sent or forwarded by the gateway")(
        "interface", po::value<Text>()->value_name("IF"),
        "where the frame comes in, or leaves; none given: where the host is, or the only one served")(
        "vlan", po::value<Text>()->value_name("VID"),
        "its VLAN: one tag, N, or two, OUTER.INNER; none given: the host's")(
        "from-mac", po::value<Text>()->value_name("MAC"),
        "who sends it; none given: the sending host, or 02:65:78:70:6c:6e, which is nobody's; with --egress the "
        "gateway");
    return options;
}

Result<Question> parse_question(const po::variables_map& values) {
    const auto text = [&](const char* option) -> const std::string* {
        return values.contains(option) ? &values[option].as<std::string>() : nullptr;
    };
    Question question;
    const Source* source = nullptr;
    for (const Source& each : sources) {
        if (!values.contains(each.option))
            continue;
        if (source != nullptr)
            return refuse(each.option,
                          fmt::format("must not be there beside --{}: one frame at a time", source->option));
        source = &each;
    }
    if (source == nullptr)
        return fail(Errc::invalid, "a frame is missing: must be given by one of --hex, --pcap, --tcp, --udp, --echo, "
                                   "--arp, --ns, --magic");
    question.kind = source->kind;
    const bool single = question.kind == Kind::pcap || question.kind == Kind::magic;
    PZ_TRY(parse_source(question, source->option,
                        single ? Texts{values[source->option].as<std::string>()} : values[source->option].as<Texts>()));

    for (const Flag& flag : all_flags) {
        if (!values.contains(flag.option))
            continue;
        if (question.kind != Kind::tcp)
            return out_of_place(flag.option, "--tcp");
        question.flags |= flag.bit;
    }
    if (question.kind == Kind::tcp && question.flags == 0)
        question.flags = TH_SYN;
    if (const auto* packet = text("packet")) {
        if (question.kind != Kind::pcap)
            return out_of_place("packet", "--pcap");
        question.packet = parse_number<std::size_t>(*packet);
        if (!question.packet || *question.packet == 0)
            return refuse("packet", fmt::format("{:?}: must be a number from 1", *packet));
    }
    const bool whole = question.kind == Kind::hex || question.kind == Kind::pcap;
    for (const char* option : {"vlan", "from-mac"})
        if (whole && values.contains(option))
            return out_of_place(option, "frames that are built from words");
    if (const auto* vlan = text("vlan")) {
        constexpr std::uint16_t last_vid = 4094;
        const auto tags = parse_vlan(*vlan);
        if (!tags || std::max(tags->outer, tags->inner) > last_vid)
            return refuse("vlan", fmt::format("{:?}: must be a VLAN id from 1 to {}, as in 20, or two, as in 100.20",
                                              *vlan, last_vid));
        question.vlan = *tags;
    }
    if (const auto* mac = text("from-mac")) {
        const auto parsed = MacAddress::parse(*mac);
        if (!parsed)
            return refuse("from-mac", parsed.error().message);
        question.from_mac = *parsed;
    }
    question.egress = values.contains("egress");
    if (const auto* interface = text("interface"))
        question.interface = *interface;
    return question;
}

} // namespace pz::ctl
