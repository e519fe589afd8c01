// SPDX-License-Identifier: Apache-2.0
// Services in words: what is written is read, and what a person writes wrong is said.
#include "proto/offers.h"

#include <gtest/gtest.h>
#include <netinet/in.h>

#include "base/text.h"

namespace pz {
namespace {

Service read(const std::string& text) {
    auto service = parse_service(text);
    EXPECT_TRUE(service) << (service ? "" : service.error().message);
    return service.value_or(Service{});
}

TEST(ServiceWords, C30_C32_C33_AreTypePortInstanceAndTxt) {
    EXPECT_EQ(read("_ssh._tcp 22"), (Service{.type = "_ssh._tcp", .port = 22}));
    EXPECT_EQ(read("\t_sip._udp \t5060  "), (Service{.type = "_sip._udp", .port = 5060}));
    EXPECT_EQ(read(R"(_ipp._tcp,_universal,"_a b" 631 "Front office" rp=ipp/print "note=first floor" Color)"),
              (Service{.type = "_ipp._tcp",
                       .subtypes = {"_universal", "_a b"},
                       .port = 631,
                       .instance = "Front office",
                       .txt = {"rp=ipp/print", "note=first floor", "Color"}}));
    EXPECT_EQ(read(R"(_ssh._tcp 22 desk)").instance, "desk");
    EXPECT_EQ(read(R"(_ssh._tcp 22 "a=b")").instance, "a=b");
    EXPECT_EQ(read(R"(_ssh._tcp 22 "" flag path="/a b"c)").txt, (std::vector<std::string>{"flag", "path=/a bc"}));
    EXPECT_EQ(read(R"(_ssh._tcp 22 "C\x23 \"x\" \\ \xC3\xb6" a\b)"),
              (Service{.type = "_ssh._tcp", .port = 22, .instance = "C# \"x\" \\ \xc3\xb6", .txt = {"a\\b"}}));
}

TEST(ServiceWords, AreWrittenAsTheyAreRead) {
    const auto expect_same = [](const Service& service, const std::string& text) {
        EXPECT_EQ(to_string(service), text);
        EXPECT_EQ(read(text), service);
        EXPECT_TRUE(is_text(text)) << "one line";
        EXPECT_FALSE(text.contains('#')) << "which begins a comment";
    };
    expect_same({.type = "_ssh._tcp", .port = 22}, "_ssh._tcp 22");
    expect_same({.type = "_ssh._tcp", .port = 22, .instance = "B\xc3\xbcro"}, "_ssh._tcp 22 B\xc3\xbcro");
    expect_same({.type = "_ssh._tcp", .port = 22, .instance = "a=b"}, "_ssh._tcp 22 \"a=b\"");
    expect_same({.type = "_ipp._tcp", .subtypes = {"_universal", "a b"}, .port = 631, .txt = {"Color", "note=a b"}},
                R"("_ipp._tcp,_universal,a b" 631 "" Color "note=a b")");
    expect_same({.type = "_x._udp", .port = 1, .instance = "C# \"x\" \\", .txt = {std::string("k=\0\xff\n\\", 6)}},
                R"(_x._udp 1 "C\x23 \"x\" \\" "k=\x00\xff\x0a\\")");
}

TEST(ServiceWords, AnyByteOfTxtComesBack) {
    for (int byte = 0; byte < 256; ++byte)
        for (int next = 0; next < 256; ++next) {
            Service service{.type = "_x._tcp", .port = 1, .txt = {"k="}};
            service.txt[0] += static_cast<char>(byte);
            service.txt[0] += static_cast<char>(next);
            ASSERT_EQ(parse_service(to_string(service)).value_or(Service{}), service) << to_string(service);
        }
}

TEST(ServiceWords, WhatIsWrongIsSaid) {
    const auto refusal = [](const char* text) {
        const auto service = parse_service(text);
        EXPECT_EQ(service ? "" : service.error().field, "service");
        return service ? "accepted" : service.error().message;
    };
    constexpr const char* right = "must be TYPE[,SUBTYPE...] PORT [INSTANCE] [KEY[=VALUE]...], as in _ssh._tcp 22, or "
                                  "_ipp._tcp,_universal 631 \"Front office\" rp=ipp/print";
    EXPECT_EQ(refusal(""), std::string("service \"\": ") + right);
    EXPECT_EQ(refusal("_ssh._tcp"), std::string("service \"_ssh._tcp\": ") + right);
    for (const char* port : {"0", "65536", "ssh", "-1", "+22"})
        EXPECT_EQ(refusal((std::string("_ssh._tcp ") + port).c_str()), std::string("service \"_ssh._tcp ") + port +
                                                                           "\": port \"" + port +
                                                                           "\" must be 1 to 65535; " + right);
    EXPECT_EQ(
        refusal("_ssh._tcp 22 path=/"),
        "service \"_ssh._tcp 22 path=/\": the third word is the instance, \"path=/\", and the TXT follows; must be "
        "\"\" path=/ for the host's name, or \"path=/\" if that is the name");
    EXPECT_EQ(
        refusal("_ssh._tcp 22 \"C"),
        R"(service "_ssh._tcp 22 \"C": a " must have its end; in a file a # begins a comment, "\x23" stands for one)");
    for (const char* text : {R"(_ssh._tcp 22 "\n")", R"(_ssh._tcp 22 "\x2")", R"(_ssh._tcp 22 "\xg0")"})
        EXPECT_TRUE(
            refusal(text).ends_with(R"(after a \ in quotes must come ", \ or two hexadecimal digits as in \x23)"))
            << refusal(text);
}

TEST(Offers, TheTargetIsTheFirstLocalName) {
    HostOffers offers{.hostnames = {"desk", "Desk.Office.LOCAL", "other.local"}};
    EXPECT_EQ(service_target(offers), "Desk.Office.LOCAL");
    EXPECT_EQ(instance_name(offers, {.type = "_ssh._tcp"}), "Desk");
    EXPECT_EQ(instance_name(offers, {.type = "_ssh._tcp", .instance = "x"}), "x");
    offers.hostnames = {"desk", ".local", "alocal"};
    EXPECT_EQ(service_target(offers), "");
    EXPECT_EQ(protocol_of({.type = "_ssh._tcp"}), IPPROTO_TCP);
    EXPECT_EQ(protocol_of({.type = "_sip._udp"}), IPPROTO_UDP);
}

TEST(Text, IsUtf8WithoutControlCharacters) {
    for (const char* good : {"", "a ~", "\xc2\xa0", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80",
                             "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf", "\xf0\x9f\x96\xa8 x"})
        EXPECT_TRUE(is_text(good)) << escaped(good);
    for (const char* bad : {"\x1f", "\x7f", "\xc2\x80", "\xc2\x9f", "\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80",
                            "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xc3", "\xe2\x82", "a\xff"})
        EXPECT_FALSE(is_text(bad)) << escaped(bad);
    EXPECT_FALSE(is_text(std::string_view("\0", 1)));
    EXPECT_EQ(in_quotes("a\xc3\xa4\xe4\n"), "'a\xc3\xa4\\xe4\\x0a'");
    EXPECT_EQ(in_quotes(std::string(64, 'a')), "'" + std::string(64, 'a') + "'");
    EXPECT_EQ(in_quotes(std::string(63, 'a') + "\xc3\xa4"), "'" + std::string(63, 'a') + "...'")
        << "no half a character";
}

TEST(Text, OnlyAsciiLettersHaveTwoCases) {
    EXPECT_TRUE(equal_whatever_case("Desk-1", "dESK-1"));
    EXPECT_FALSE(equal_whatever_case("\xc3\xa4", "\xc3\x84"));
    EXPECT_FALSE(equal_whatever_case("desk", "desk1"));
    EXPECT_FALSE(equal_whatever_case("[", "{"));
    EXPECT_EQ(lower("AZ[\xc3\x84"), "az[\xc3\x84");
}

} // namespace
} // namespace pz
