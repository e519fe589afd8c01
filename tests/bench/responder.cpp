// SPDX-License-Identifier: Apache-2.0
// responder BPFFS INTERFACE COUNT: the data path alone, with so many sleepers (sleepers.h) behind the interface, until
// SIGTERM or the end of standard input.  Prints a line of JSON with the frames counted by reason when it is ready, for
// each line of standard input, and at the end.
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <memory>
#include <string>

#include "base/number.h"
#include "fastpath/fastpath.h"
#include "net/link.h"
#include "sleepers.h"

namespace {

constexpr std::uint32_t segment = 1;
constexpr int heartbeat_ms = 1000;

volatile std::sig_atomic_t stopping = 0;

void print_counters(const pz::fastpath::Fastpath& fastpath) {
    const char* separator = "{";
    for (const auto& reason : fastpath.counters()) {
        std::printf("%s\"%s\": %lu", separator, reason.name, reason.frames);
        separator = ", ";
    }
    std::puts("}");
    std::fflush(stdout);
}

/// Heartbeats, and answers lines.
pz::Result<> stand_by(pz::fastpath::Fastpath& fastpath) {
    print_counters(fastpath);
    while (stopping == 0) {
        PZ_TRY(fastpath.heartbeat(std::chrono::steady_clock::now()));
        pollfd input{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
        if (::poll(&input, 1, heartbeat_ms) <= 0)
            continue;
        char line[64];
        if (::read(STDIN_FILENO, line, sizeof(line)) <= 0)
            break;
        print_counters(fastpath);
    }
    print_counters(fastpath);
    return {};
}

pz::Result<> run(const std::string& bpffs, const std::string& interface, std::uint32_t count) {
    const pz::Link link = PZ_TRY(pz::find_link(interface));
    auto options = pz::bench::room_for(count);
    options.bpffs = bpffs;
    const auto fastpath = PZ_TRY(pz::fastpath::Fastpath::open(options));
    const auto served = [&]() -> pz::Result<> {
        PZ_TRY(fastpath->set_segment(
            {.ifindex = static_cast<std::uint32_t>(link.ifindex), .outer_vid = 0, .inner_vid = 0}, segment, link.mac));
        PZ_TRY(pz::bench::add_sleepers(*fastpath, segment, 0, count));
        PZ_TRY(fastpath->heartbeat(std::chrono::steady_clock::now()));
        const auto mode = PZ_TRY(fastpath->attach(interface, link.ifindex));
        if (mode != pz::fastpath::XdpMode::native)
            return pz::fail(pz::Errc::unsupported, interface + " takes no native XDP program");
        return stand_by(*fastpath);
    }();
    fastpath->detach_all();
    return served;
}

} // namespace

int main(int argc, char** argv) {
    const auto count = argc == 4 ? pz::parse_number<std::uint32_t>(argv[3]) : std::nullopt;
    if (!count) {
        std::fprintf(stderr, "usage: responder BPFFS INTERFACE COUNT\n");
        return 2;
    }
    struct sigaction stop{};
    stop.sa_handler = [](int) { stopping = 1; };
    ::sigaction(SIGTERM, &stop, nullptr);
    if (auto done = run(argv[1], argv[2], *count); !done) {
        std::fprintf(stderr, "responder: %s\n", done.error().message.c_str());
        return 1;
    }
    return 0;
}
