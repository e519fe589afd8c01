// SPDX-License-Identifier: Apache-2.0
// Checks of names, services and groups, and services in words.
#include "proto/offers.h"

#include <netinet/in.h>

#include <algorithm>
#include <optional>

#include <spdlog/fmt/fmt.h>

#include "base/number.h"
#include "base/text.h"

namespace pz {

namespace {

constexpr std::size_t max_label = 63;  // RFC 1035 §2.3.4
constexpr std::size_t max_domain = 255; // the same, as on the wire
constexpr std::size_t max_service_name = 15; // RFC 6335 §5.1
constexpr std::size_t max_txt_string = 255;  // RFC 6763 §6.1
constexpr std::uint16_t mdns_port = 5353;
constexpr std::uint16_t llmnr_port = 5355;
constexpr const char* in_words = "must be TYPE[,SUBTYPE...] PORT [INSTANCE] [KEY[=VALUE]...], as in _ssh._tcp 22, or "
                                 "_ipp._tcp,_universal 631 \"Front office\" rp=ipp/print";

std::unexpected<Error> wrong_hostname(const std::string& hostname, std::string_view why) {
    return fail(Errc::invalid, fmt::format("hostname {}: {}", in_quotes(hostname), why), "hostname");
}

Result<> check_hostname(const std::string& hostname) {
    constexpr const char* right = "must be a name in .local, as in desk.local, or one label, as in desk";
    std::size_t size = 1; // the root
    std::size_t labels = 0;
    for (std::size_t at = 0; at <= hostname.size(); ++labels) {
        const std::size_t end = std::min(hostname.find('.', at), hostname.size());
        const std::string_view label = std::string_view(hostname).substr(at, end - at);
        if (label.empty())
            return wrong_hostname(hostname, fmt::format("has an empty label, {}", right));
        if (label.size() > max_label)
            return wrong_hostname(hostname,
                                  fmt::format("has a label of {} bytes, must be 1 to {}", label.size(), max_label));
        const bool good = is_text(label) && std::ranges::all_of(label, [](char c) {
                              return is_alnum(c) || c == '-' || c == '_' || static_cast<unsigned char>(c) >= 0x80;
                          });
        if (!good)
            return wrong_hostname(hostname, "must have labels of UTF-8: letters, digits, '-' and '_' of ASCII, and "
                                            "others that are no control characters");
        size += 1 + label.size();
        at = end + 1;
    }
    if (equal_whatever_case(hostname, "local"))
        return wrong_hostname(hostname, fmt::format("is the domain, {}", right));
    if (labels > 1 && !is_local_name(hostname))
        return wrong_hostname(hostname, fmt::format("is in a domain that only a DNS server answers for, {}", right));
    if (size > max_domain)
        return wrong_hostname(hostname,
                              fmt::format("has {} bytes on the wire, must have at most {}", size, max_domain));
    return {};
}

Result<> check_hostnames(const std::vector<std::string>& hostnames) {
    if (hostnames.size() > max_hostnames)
        return fail(Errc::invalid,
                    fmt::format("hostname: {} given, a host has at most {}", hostnames.size(), max_hostnames),
                    "hostname");
    for (auto it = hostnames.begin(); it != hostnames.end(); ++it) {
        if (auto checked = check_hostname(*it); !checked)
            return checked;
        if (std::any_of(hostnames.begin(), it, [&](const auto& other) { return equal_whatever_case(other, *it); }))
            return wrong_hostname(*it, "given twice, once is right");
    }
    return {};
}

std::unexpected<Error> wrong_service(const Service& service, std::string_view why) {
    return fail(Errc::invalid, fmt::format("service {}: {}", in_quotes(service.type), why), "service");
}

/// _NAME._tcp or _NAME._udp (RFC 6763 §7, RFC 6335 §5.1)
Result<> check_type(const Service& service) {
    const std::string_view type = service.type;
    const auto end = type.rfind('.');
    const std::string_view protocol = end == std::string_view::npos ? "" : type.substr(end);
    if (!type.starts_with('_') || (protocol != "._tcp" && protocol != "._udp"))
        return wrong_service(service, "must be _NAME._tcp or _NAME._udp, as in _ipp._tcp");
    const std::string_view name = type.substr(1, end - 1);
    const bool good = !name.empty() && name.size() <= max_service_name && !name.starts_with('-') &&
                      !name.ends_with('-') && !name.contains("--") &&
                      std::ranges::all_of(name, [](char c) { return is_alnum(c) || c == '-'; }) &&
                      std::ranges::any_of(name, [](char c) { return is_alnum(c) && (c < '0' || c > '9'); });
    if (!good)
        return wrong_service(service,
                             fmt::format("its name must be 1 to {} letters, digits and single hyphens within, at least "
                                         "one of them a letter (RFC 6335)",
                                         max_service_name));
    return {};
}

Result<> check_subtypes(const Service& service) {
    if (service.subtypes.size() > max_subtypes)
        return wrong_service(
            service, fmt::format("{} subtypes given, a service has at most {}", service.subtypes.size(), max_subtypes));
    for (auto it = service.subtypes.begin(); it != service.subtypes.end(); ++it) {
        if (it->empty() || it->size() > max_label || !is_text(*it) || it->contains(','))
            return wrong_service(service,
                                 fmt::format("subtype {} must be 1 to {} bytes of UTF-8 without control characters and "
                                             "commas, as in _universal",
                                             in_quotes(*it), max_label));
        if (std::any_of(service.subtypes.begin(), it,
                        [&](const auto& other) { return equal_whatever_case(other, *it); }))
            return wrong_service(service, fmt::format("subtype {} given twice, once is right", in_quotes(*it)));
    }
    return {};
}

std::string_view key_of(std::string_view txt) {
    return txt.substr(0, txt.find('='));
}

/// RFC 6763 §6.
Result<> check_txt(const Service& service) {
    std::size_t size = 0;
    for (auto it = service.txt.begin(); it != service.txt.end(); ++it) {
        const std::string_view key = key_of(*it);
        if (it->size() > max_txt_string)
            return wrong_service(service, fmt::format("TXT {} has {} bytes, must have at most {}", in_quotes(*it),
                                                      it->size(), max_txt_string));
        if (key.empty() || !std::ranges::all_of(key, [](char c) { return c >= ' ' && c <= '~'; }))
            return wrong_service(service, fmt::format("TXT {} must be KEY or KEY=VALUE, the key of one or more "
                                                      "printable ASCII characters, as in note=upstairs",
                                                      in_quotes(*it)));
        if (std::any_of(service.txt.begin(), it,
                        [&](const auto& other) { return equal_whatever_case(key_of(other), key); }))
            return wrong_service(service, fmt::format("TXT key {} given twice, once is right", in_quotes(key)));
        size += 1 + it->size();
    }
    if (size > max_txt_size)
        return wrong_service(service, fmt::format("its TXT has {} bytes, must have at most {}", size, max_txt_size));
    return {};
}

Result<> check_service(const Service& service) {
    if (auto checked = check_type(service); !checked)
        return checked;
    if (auto checked = check_subtypes(service); !checked)
        return checked;
    if (service.port == 0)
        return wrong_service(service, "port 0 must be 1 to 65535");
    const bool is_udp = protocol_of(service) == IPPROTO_UDP;
    if ((service.port == mdns_port && is_udp) || service.port == llmnr_port)
        return wrong_service(service, fmt::format("port {} is that of {}, which the proxy answers itself and which "
                                                  "never wakes a host; must be another one",
                                                  service.port, service.port == mdns_port ? "mDNS" : "LLMNR"));
    if (service.instance.size() > max_label || !is_text(service.instance))
        return wrong_service(service,
                             fmt::format("instance {} must be at most {} bytes of UTF-8 without control characters",
                                         in_quotes(service.instance), max_label));
    return check_txt(service);
}

/// At least as much as the control protocol needs for it.
std::size_t stored_size(const Service& service) {
    constexpr std::size_t around_text = 8; // header, NUL and padding
    constexpr std::size_t around_service = 16;
    std::size_t size = around_service + service.type.size() + service.instance.size() + 2 * around_text;
    for (const auto* const list : {&service.subtypes, &service.txt})
        for (const auto& text : *list)
            size += text.size() + around_text;
    return size;
}

Result<> check_services(const HostOffers& offers) {
    const auto& services = offers.services;
    if (services.size() > max_services)
        return fail(Errc::invalid,
                    fmt::format("service: {} given, a host has at most {}", services.size(), max_services), "service");
    if (!services.empty() && service_target(offers).empty())
        return fail(Errc::invalid,
                    fmt::format("service {}: has no host to point to, there must be a hostname in .local, as in "
                                "desk.local",
                                in_quotes(services.front().type)),
                    "service");
    std::size_t size = 0;
    for (auto it = services.begin(); it != services.end(); ++it) {
        if (auto checked = check_service(*it); !checked)
            return checked;
        const std::string_view instance = instance_name(offers, *it);
        if (std::any_of(services.begin(), it, [&](const Service& other) {
                return equal_whatever_case(other.type, it->type) &&
                       equal_whatever_case(instance_name(offers, other), instance);
            }))
            return wrong_service(*it, fmt::format("instance {} given twice, once is right", in_quotes(instance)));
        size += stored_size(*it);
    }
    if (size > max_services_size)
        return fail(Errc::invalid,
                    fmt::format("service: all services take {} bytes, must take at most {}; shorten their TXT", size,
                                max_services_size),
                    "service");
    return {};
}

/// Empty: it is one that a host joins.
std::string_view why_not_a_group(const IpAddress& group) {
    if (!group.is_multicast())
        return "is not multicast";
    if (group.is_v4()) // RFC 1112 §4
        return group.bytes[1] == 0 && group.bytes[2] == 0 && group.bytes[0] == 224 && group.bytes[3] <= 1
                   ? "is that of all hosts or none, which nobody joins"
                   : "";
    switch (group.bytes[1] & 0xf) { // RFC 7346 §2
    case 0x0:
    case 0xf:
        return "has a reserved scope";
    case 0x1:
        return "does not leave its host";
    default:
        break;
    }
    static const IpAddress all_nodes = IpAddress::v6({0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1});
    return group == all_nodes ? "is that of all hosts, which nobody joins" : "";
}

Result<> check_groups(const std::vector<IpAddress>& groups) {
    if (groups.size() > max_groups)
        return fail(Errc::invalid, fmt::format("group: {} given, a host has at most {}", groups.size(), max_groups),
                    "group");
    for (auto it = groups.begin(); it != groups.end(); ++it) {
        if (const std::string_view why = why_not_a_group(*it); !why.empty())
            return fail(Errc::invalid,
                        fmt::format("group {}: {}, must be a multicast address that the host takes part in, as in "
                                    "239.1.2.3 or ff02::1234",
                                    it->to_string(), why),
                        "group");
        if (std::find(groups.begin(), it, *it) != it)
            return fail(Errc::invalid, fmt::format("group {}: given twice, once is right", it->to_string()), "group");
    }
    return {};
}

struct Word {
    std::string text;
    bool is_quoted = false;
};

std::unexpected<Error> wrong_words(std::string_view text, std::string_view why) {
    return fail(Errc::invalid, fmt::format("service {:?}: {}", text, why), "service");
}

/// What follows a backslash at the beginning of `rest`, which is taken off; nullopt: nothing that is known.
std::optional<char> take_escape(std::string_view& rest) {
    if (rest.starts_with('"') || rest.starts_with('\\')) {
        const char c = rest.front();
        rest.remove_prefix(1);
        return c;
    }
    const auto digit = [&](std::size_t at) {
        constexpr std::string_view digits = "0123456789abcdef";
        return rest.size() <= at ? std::string_view::npos : digits.find(lower(rest.substr(at, 1)));
    };
    if (!rest.starts_with('x') || digit(1) == std::string_view::npos || digit(2) == std::string_view::npos)
        return std::nullopt;
    const auto byte = static_cast<char>(digit(1) << 4 | digit(2));
    rest.remove_prefix(3);
    return byte;
}

Result<std::vector<Word>> split_words(std::string_view text) {
    std::vector<Word> words;
    bool within = false; // a word
    bool quote = false;
    for (std::string_view rest = text; !rest.empty();) {
        const char c = rest.front();
        rest.remove_prefix(1);
        if (!quote && (c == ' ' || c == '\t')) {
            within = false;
            continue;
        }
        if (!within)
            words.emplace_back();
        within = true;
        Word& word = words.back();
        if (c == '"') {
            word.is_quoted = true;
            quote = !quote;
        } else if (quote && c == '\\') {
            const auto byte = take_escape(rest);
            if (!byte)
                return wrong_words(text, R"(after a \ in quotes must come ", \ or two hexadecimal digits as in \x23)");
            word.text += *byte;
        } else {
            word.text += c;
        }
    }
    if (quote)
        return wrong_words(text, R"(a " must have its end; in a file a # begins a comment, "\x23" stands for one)");
    return words;
}

/// For split_words().
std::string word_of(std::string_view text, std::string_view special) {
    constexpr std::string_view never_bare = " \t\"#";
    const bool bare = !text.empty() && is_text(text) && text.find_first_of(never_bare) == std::string_view::npos &&
                      text.find_first_of(special) == std::string_view::npos;
    if (bare)
        return std::string(text);
    std::string plain;
    for (const char c : text) {
        if (c == '"' || c == '\\')
            plain += '\\';
        plain += c;
    }
    return '"' + escaped(plain, "#") + '"';
}

} // namespace

bool is_local_name(std::string_view hostname) {
    constexpr std::string_view domain = ".local";
    return hostname.size() > domain.size() &&
           equal_whatever_case(hostname.substr(hostname.size() - domain.size()), domain);
}

std::string_view single_label(std::string_view hostname) {
    return hostname.substr(0, hostname.find('.'));
}

std::string_view service_target(const HostOffers& offers) {
    const auto found = std::ranges::find_if(offers.hostnames, is_local_name);
    return found == offers.hostnames.end() ? std::string_view() : std::string_view(*found);
}

std::string_view instance_name(const HostOffers& offers, const Service& service) {
    return service.instance.empty() ? single_label(service_target(offers)) : std::string_view(service.instance);
}

std::uint8_t protocol_of(const Service& service) {
    return service.type.ends_with("._udp") ? IPPROTO_UDP : IPPROTO_TCP;
}

Result<> validate(const HostOffers& offers) {
    Result<> checked = check_hostnames(offers.hostnames);
    if (checked)
        checked = check_services(offers);
    if (checked)
        checked = check_groups(offers.groups);
    if (checked && offers.priority > max_priority)
        checked =
            fail(Errc::invalid,
                 fmt::format("priority {}: must be 0 to {} (IEEE 802.1p)", offers.priority, max_priority), "priority");
    return checked;
}

Result<Service> parse_service(std::string_view text) {
    const auto words = PZ_TRY(split_words(text));
    if (words.size() < 2)
        return wrong_words(text, in_words);
    Service service;
    std::string_view types = words[0].text;
    service.type = types.substr(0, types.find(','));
    while (types.contains(',')) {
        types.remove_prefix(types.find(',') + 1);
        service.subtypes.emplace_back(types.substr(0, types.find(',')));
    }
    const auto port = parse_number<std::uint16_t>(words[1].text);
    if (!port || *port == 0)
        return wrong_words(text, fmt::format("port {:?} must be 1 to 65535; {}", words[1].text, in_words));
    service.port = *port;
    if (words.size() > 2) {
        const Word& instance = words[2];
        if (!instance.is_quoted && instance.text.contains('='))
            return wrong_words(text, fmt::format("the third word is the instance, {0:?}, and the TXT follows; must be "
                                                 "\"\" {1} for the host's name, or \"{1}\" if that is the name",
                                                 instance.text, escaped(instance.text)));
        service.instance = instance.text;
    }
    for (std::size_t i = 3; i < words.size(); ++i)
        service.txt.push_back(words[i].text);
    return service;
}

std::string to_string(const Service& service) {
    std::string types = service.type;
    for (const auto& subtype : service.subtypes)
        types += "," + subtype;
    std::string text = fmt::format("{} {}", word_of(types, ""), service.port);
    if (!service.instance.empty() || !service.txt.empty())
        text += " " + word_of(service.instance, "=");
    for (const auto& entry : service.txt)
        text += " " + word_of(entry, "");
    return text;
}

} // namespace pz
