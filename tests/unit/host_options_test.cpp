// SPDX-License-Identifier: Apache-2.0
// A host in a file: what may be in it, and what is said of what may not.
#include "hosts/host_options.h"

#include <netinet/in.h>

#include <algorithm>
#include <filesystem>
#include <initializer_list>
#include <random>

#include <boost/program_options.hpp>
#include <gtest/gtest.h>

#include "../support/folder.h"
#include "base/ini.h"
#include "control/schema.h"

namespace pz {
namespace {

constexpr const char* least = "mac = 00:00:5e:00:53:01\nip = 192.0.2.7\n";

std::string refusal(const std::string& text, const std::string& path = "/etc/proxzzy/hosts.d/nas.conf") {
    const auto config = parse_host_file(path, text);
    if (config)
        return "accepted";
    EXPECT_TRUE(config.error().message.starts_with(path + ": ")) << config.error().message;
    return config.error().message.substr(std::min(config.error().message.size(), path.size() + 2));
}

TEST(HostFile, HasEverythingThatTheCommandLineHas) {
    const test::Folder folder;
    (void)folder.write("password", "01:23:45:67:89:ab\n");
    const auto config = parse_host_file(
        folder.path() + "/nas.conf",
        "# the file server\nmac = 00:00:5e:00:53:01\nmac = 00-00-5e-00-53-02\n"
        "ip = 192.0.2.7\nip=2001:db8::7\ntemporary-ip = 2001:db8::8\n"
        "wake = tcp/22 # ssh\nwake = udp/any\nhostname = nas.local\nhostname = files # by LLMNR\n"
        "service = _smb._tcp 445\nservice = _http._tcp,_web 80 \"The\\x23 NAS\" path=/ \"note=1st floor\" # its page\n"
        "service-wake = no\ngroup = 239.1.2.3\ngroup = ff02::1234\ninterface = lan0\nvlan = 100.20\n"
        "priority = 5\nauto = yes\nlearn = yes\necho = wake\nidentity = proxy\nmagic-port = 40000\nsecureon-file = "
        "password\n"
        "allow-from = 192.0.2.0/24\ndeny-from = 192.0.2.9\nwakes-per-hour = 12\n"
        "wakes-per-source = 4\nmin-wake-interval = 60\nquiet = 23:00-07:00\n");
    ASSERT_TRUE(config) << config.error().message;
    HostConfig expected;
    expected.name = "nas";
    expected.macs = {{{0, 0, 0x5e, 0, 0x53, 1}}, {{0, 0, 0x5e, 0, 0x53, 2}}};
    expected.addresses = {{.ip = *IpAddress::parse("192.0.2.7")},
                          {.ip = *IpAddress::parse("2001:db8::7")},
                          {.ip = *IpAddress::parse("2001:db8::8"), .temporary = true}};
    expected.wake = {{IPPROTO_TCP, 22}, {IPPROTO_UDP, 0}};
    expected.offers = {.hostnames = {"nas.local", "files"},
                       .services = {{.type = "_smb._tcp", .port = 445},
                                    {.type = "_http._tcp",
                                     .subtypes = {"_web"},
                                     .port = 80,
                                     .instance = "The# NAS",
                                     .txt = {"path=/", "note=1st floor"}}},
                       .groups = {*IpAddress::parse("239.1.2.3"), *IpAddress::parse("ff02::1234")},
                       .service_ports_wake = false,
                       .priority = 5};
    expected.interface = "lan0";
    expected.vlan = {100, 20};
    expected.agentless = true;
    expected.learn = true;
    expected.echo = EchoMode::wake;
    expected.identity = Identity::proxy;
    expected.magic = {40'000, {{0x01, 0x23, 0x45, 0x67, 0x89, 0xab}}};
    expected.policy = {.allow_from = {*Network::parse("192.0.2.0/24")},
                       .deny_from = {*Network::parse("192.0.2.9")},
                       .wakes_per_hour = 12,
                       .wakes_per_source = 4,
                       .min_wake_interval = std::chrono::seconds(60),
                       .quiet = {{.from = 23 * 60, .to = 7 * 60}}};
    EXPECT_EQ(*config, expected);
}

TEST(HostFile, TheNameIsTheFilesName) {
    EXPECT_EQ(parse_host_file("/x/desk.upstairs.conf", least)->name, "desk.upstairs");
    EXPECT_EQ(refusal(least, "/x/my desk.conf"),
              "name 'my desk': must be 1 to 63 letters, digits, '.', '_' or '-', the "
              "first a letter or digit");
}

TEST(HostFile, TheExamplesAreRight) {
    std::size_t read = 0;
    for (const auto& file : std::filesystem::directory_iterator(PROXZZY_SOURCE_DIR "/docs/examples/hosts.d")) {
        const auto config = parse_host_file(file.path(), *read_file(file.path()));
        EXPECT_TRUE(config) << (config ? "" : config.error().message);
        ++read;
        if (config && config->name == "printer") {
            EXPECT_EQ(config->offers.services.at(0).txt.at(2), "note=first floor");
        }
    }
    EXPECT_EQ(read, 2U);
}

TEST(HostFile, LineEndsOfOtherSystemsAreAccepted) {
    EXPECT_TRUE(parse_host_file("nas.conf", "mac = 00:00:5e:00:53:01\r\nip = 192.0.2.7\r\n"));
    EXPECT_TRUE(parse_host_file("nas.conf", "mac = 00:00:5e:00:53:01\nip = 192.0.2.7"));
}

TEST(HostFile, ARefusalNamesTheFileTheKeyTheValueAndWhatWouldBeRight) {
    EXPECT_EQ(refusal(""), "mac: 0 given, a host has 1 to 8");
    EXPECT_EQ(refusal("mac = 00:00:5e:00:53:01\n"), "ip: 0 given, a host has 1 to 64");
    EXPECT_EQ(refusal("mac = 00:00:5e\n").substr(0, 14), "mac \"00:00:5e\"");
    EXPECT_EQ(refusal(least + std::string("wake = tcp\n")),
              "wake \"tcp\": must be tcp or udp, a slash, and a port from 1 to 65535 or any, as in tcp/22 or tcp/any");
    EXPECT_EQ(refusal("mac = 00:00:5e:00:53:01\nlearn = yes\n"), "accepted") << "its addresses are learned";
    EXPECT_EQ(refusal(least + std::string("learn = maybe\n")), "learn \"maybe\": must be one of no, yes");
    EXPECT_EQ(
        refusal(least + std::string("hostname = desk.example.com\n")),
        "hostname 'desk.example.com': is in a domain that only a DNS server answers for, must be a name in .local, "
        "as in desk.local, or one label, as in desk");
    EXPECT_TRUE(refusal(least + std::string("service = _ssh._tcp\n"))
                    .starts_with("service \"_ssh._tcp\": must be TYPE[,SUBTYPE...] PORT"));
    EXPECT_EQ(refusal(least + std::string("service = _ssh._tcp 22\n")),
              "service '_ssh._tcp': has no host to point to, there must be a hostname in .local, as in desk.local");
    EXPECT_EQ(refusal(least + std::string("service-wake = never\n")), "service-wake \"never\": must be one of no, yes");
    EXPECT_TRUE(refusal(least + std::string("group = all\n")).starts_with("group \"all\"")) << "as of an address";
    EXPECT_EQ(refusal(least + std::string("auto = maybe\n")), "auto \"maybe\": must be one of no, yes");
    EXPECT_EQ(refusal(least + std::string("vlan = 5000\n")), "vlan 5000: must be 1 to 4094, or 0 for none");
    EXPECT_EQ(refusal(least + std::string("echo = loud\n")), "echo \"loud\": must be one of answer, ignore, wake");
    EXPECT_EQ(refusal(least + std::string("echo = answer\necho = wake\n")),
              "option 'echo' cannot be specified more than once");
    EXPECT_EQ(refusal(least + std::string("secureon-file = gone\n")),
              "secureon-file \"/etc/proxzzy/hosts.d/gone\": No such file or directory");
    EXPECT_EQ(refusal(least + std::string("replace = 1\n")),
              "key \"replace\": is unknown, must be one of mac, ip, temporary-ip, wake, hostname, service, "
              "service-wake, group, priority, interface, vlan, auto, learn, echo, identity, magic-port, secureon-file, "
              "allow-from, deny-from, wakes-per-hour, wakes-per-source, "
              "min-wake-interval, quiet");
    EXPECT_EQ(refusal(least + std::string("asleep\n")), "line \"asleep\": must be KEY = VALUE");
}

TEST(HostFile, APasswordThatIsWrongIsNotShown) {
    const test::Folder folder;
    (void)folder.write("password", "geheim\n");
    const std::string said = refusal(least + std::string("secureon-file = password\n"), folder.path() + "/nas.conf");
    EXPECT_EQ(said, "secureon-file \"" + folder.path() +
                        "/password\": must hold six pairs of hexadecimal digits, as in 01:23:45:67:89:ab, and nothing "
                        "else");
}

/// A configuration in which no field has its default.
HostConfig everything() {
    HostConfig config;
    config.name = "nas";
    config.macs = {{{0, 0, 0x5e, 0, 0x53, 1}}, {{0, 0, 0x5e, 0, 0x53, 2}}};
    config.addresses = {{.ip = *IpAddress::parse("192.0.2.7")},
                        {.ip = *IpAddress::parse("2001:db8::7")},
                        {.ip = *IpAddress::parse("2001:db8::8"), .temporary = true}};
    config.wake = {{IPPROTO_TCP, 22}, {IPPROTO_UDP, 0}};
    config.offers = {.hostnames = {"nas.local", "b\xc3\xbcro"},
                     .services = {{.type = "_ssh._tcp", .port = 22},
                                  {.type = "_http._tcp",
                                   .subtypes = {"_web", "a b"},
                                   .port = 80,
                                   .instance = "The # \"NAS\"\\",
                                   .txt = {"path=/", "flag", std::string("bytes=\0\xff # \n", 12)}}},
                     .groups = {*IpAddress::parse("239.1.2.3"), *IpAddress::parse("ff02::1234")},
                     .service_ports_wake = false,
                     .priority = 7};
    config.interface = "lan0";
    config.vlan = {100, 20};
    config.echo = EchoMode::ignore;
    config.identity = Identity::host;
    config.magic = {40'000, {{0x01, 0x23, 0x45, 0x67, 0x89, 0xab}}};
    config.agentless = true;
    config.learn = true;
    config.policy = {.allow_from = {*Network::parse("192.0.2.0/24"), *Network::parse("2001:db8::/32")},
                     .deny_from = {*Network::parse("192.0.2.9")},
                     .wakes_per_hour = 0,
                     .wakes_per_source = 4,
                     .min_wake_interval = std::chrono::seconds(90),
                     .quiet = {{.from = 23 * 60 + 5, .to = 7 * 60}, {.from = 0, .to = 1}}};
    return config;
}

std::string section_of(const HostConfig& config, const std::string& more = "") {
    std::string text = "[" + config.name + "]\n";
    for (const auto& [key, value] : words_of(config))
        text += key + " = " + value + "\n";
    return text + more;
}

/// Every attribute of a host in the control protocol is looked at.
void expect_no_defaults(const HostConfig& config) {
    const HostConfig defaults;
    control::for_each_field<HostConfig>([&](const auto& field, unsigned) {
        EXPECT_FALSE(std::invoke(field.member, config) == std::invoke(field.member, defaults))
            << field.name << " has its default: give everything() a value of it, so that it is looked for";
    });
}

Result<std::vector<HostConfig>> parse_hosts(const std::string& path, std::string_view text,
                                            const std::filesystem::path& folder) {
    HostReader reader(path, text, folder);
    std::vector<HostConfig> hosts;
    while (auto host = PZ_TRY(reader.next()))
        hosts.push_back(std::move(*host));
    return hosts;
}

TEST(HostWords, NoFieldIsForgotten) {
    HostConfig config = everything();
    expect_no_defaults(config);
    const auto words = words_of(config);
    const auto options = host_options("");
    for (const auto& option : options.options())
        EXPECT_TRUE(option->long_name() == "secureon-file" ||
                    std::ranges::any_of(words, [&](const auto& word) { return word.first == option->long_name(); }))
            << option->long_name();
    const test::Folder folder;
    (void)folder.write("password", "01:23:45:67:89:ab\n");
    const auto read = parse_hosts("site.conf", section_of(config, "secureon-file = password\n"), folder.path());
    ASSERT_TRUE(read) << read.error().message;
    ASSERT_EQ(read->size(), 1U);
    EXPECT_EQ((*read)[0], config);
}

TEST(HostWords, ThePasswordIsNotThere) {
    const HostConfig config = everything();
    EXPECT_EQ(section_of(config).find("01:23:45"), std::string::npos);
    HostConfig without = config;
    without.magic.secureon.reset();
    EXPECT_EQ(words_of(config), words_of(without));
}

TEST(HostWords, DefaultsComeBackToo) {
    HostConfig config;
    config.name = "nas";
    config.macs = {{{0, 0, 0x5e, 0, 0x53, 1}}};
    config.addresses = {{.ip = *IpAddress::parse("192.0.2.7")}};
    EXPECT_EQ(parse_hosts("-", section_of(config), "")->at(0), config);
    config.vlan = {20, 0};
    config.identity = Identity::proxy;
    EXPECT_EQ(parse_hosts("-", section_of(config), "")->at(0), config);
}

std::string site_refusal(const std::string& text) {
    const auto hosts = parse_hosts("site.conf", text, "");
    return hosts ? "accepted" : hosts.error().message;
}

TEST(HostSections, EachIsAHost) {
    const auto hosts = parse_hosts("site.conf",
                                   "# a site\n\n [nas] # the first\r\nmac = 00:00:5e:00:53:01\r\nip = 192.0.2.7\r\n"
                                   "[desk.upstairs]\nmac = 00:00:5e:00:53:02\nip = 192.0.2.8 # wired",
                                   "");
    ASSERT_TRUE(hosts) << hosts.error().message;
    ASSERT_EQ(hosts->size(), 2U);
    EXPECT_EQ((*hosts)[0].name, "nas");
    EXPECT_EQ((*hosts)[1].name, "desk.upstairs");
    EXPECT_EQ((*hosts)[1].addresses[0].ip, *IpAddress::parse("192.0.2.8"));
    EXPECT_TRUE(parse_hosts("site.conf", "# nobody\n", "")->empty());
}

/// A section with lines in any order, most of them right.
std::string some_section(const std::string& name, std::mt19937& random) {
    const auto one_of = [&](std::initializer_list<const char*> choices) {
        return choices.begin()[random() % choices.size()];
    };
    const auto number = [&] { return std::to_string(random() % 200); };
    std::vector<std::string> lines{"mac = 00:00:5e:00:53:0" + std::to_string(random() % 10)};
    const auto maybe = [&](unsigned in, const std::string& line) {
        if (random() % in == 0)
            lines.push_back(line);
    };
    for (int i = 0; i < 3; ++i) {
        maybe(2, "ip = 192.0.2." + number());
        maybe(2, "ip=2001:db8::" + number());
        maybe(4, "temporary-ip\t= 2001:db8:1::" + number());
        maybe(4, "hostname = h" + number() + one_of({"", ".local"}));
    }
    maybe(2, one_of({"echo = wake", "wake = tcp/22", "learn = yes", "interface = lan0", "vlan = 7",
                     "quiet = 23:00-07:00"}));
    maybe(3, one_of({"echo = wake", "wake = udp/any", "auto = yes", "group = 239.1.2.3", "service = _ssh._tcp 22"}));
    maybe(20, one_of({"ip = 192.0.2.300", "mac = 1", "mac", "ip", "ecko = wake", "echo = often", "= 1",
                      "ip = ", "MAC = 1", "hostname = -", "temporary-ip = 192.0.2.1", "mac = 00:00:5e:00:53:01"}));
    std::ranges::shuffle(lines, random);
    std::string text = "[" + name + "]" + one_of({"", " # it", "\r"}) + "\n";
    for (const auto& line : lines)
        text += one_of({"", "  ", "\n", "# mac = 1\n"}) + line + one_of({"", " ", "# ip = 1", "\r"}) + "\n";
    return text;
}

TEST(HostSections, AHostIsReadTheSameAfterOthersLikeIt) {
    std::mt19937 random(1); // NOLINT: the same sections each time
    std::string others; // that are right
    int read = 0;
    int refused = 0;
    for (int i = 0; i < 600; ++i) {
        const std::string name = "h" + std::to_string(i);
        const std::string section = some_section(name, random);
        const auto alone = parse_hosts("site.conf", section, "");
        const auto after_others = parse_hosts("site.conf", others + section, "");
        ASSERT_EQ(alone.has_value(), after_others.has_value()) << section;
        if (!alone) {
            ++refused;
            EXPECT_EQ(alone.error().message, after_others.error().message);
            EXPECT_EQ(alone.error().field, after_others.error().field);
            continue;
        }
        EXPECT_EQ(alone->at(0), after_others->back()) << section;
        if (++read < 100)
            others += section;
    }
    EXPECT_GT(read, 200);
    EXPECT_GT(refused, 30);
}

TEST(HostSections, ARefusalNamesFileSectionKeyValueAndWhatWouldBeRight) {
    const std::string nas = std::string("[nas]\n") + least;
    EXPECT_EQ(site_refusal(least),
              "site.conf: line \"mac = 00:00:5e:00:53:01\": must be in a section, below a line [NAME]");
    EXPECT_EQ(site_refusal(nas + "[nas]\n"), "site.conf: section [nas]: is there twice, must be there once");
    EXPECT_EQ(site_refusal(nas + "[desk]\n"), "site.conf: section [desk]: mac: 0 given, a host has 1 to 8");
    EXPECT_EQ(site_refusal(nas + "auto = maybe\n"), "site.conf: section [nas]: auto \"maybe\": must be one of no, yes");
    EXPECT_TRUE(site_refusal(nas + "ecko = wake\n")
                    .starts_with("site.conf: section [nas]: key \"ecko\": is unknown, must be one of mac, ip, "));
    EXPECT_EQ(site_refusal(nas + "[desk\n"), "site.conf: section [nas]: line \"[desk\": must be KEY = VALUE");
    EXPECT_EQ(site_refusal(nas + "echo = wake\necho = wake\n"),
              "site.conf: section [nas]: option 'echo' cannot be specified more than once");
    EXPECT_EQ(site_refusal("[my desk]\n" + std::string(least)),
              "site.conf: section [my desk]: name 'my desk': must be 1 to 63 letters, digits, '.', '_' or '-', the "
              "first a letter or digit");
}

} // namespace
} // namespace pz
