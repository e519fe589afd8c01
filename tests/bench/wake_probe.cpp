// SPDX-License-Identifier: Apache-2.0
// wake_probe INTERFACE SPARE HOSTS ASKED: a client of sleeping hosts that measures how long the Magic Packet takes.
//
// Reads lines "CASE FIRST COUNT": a SYN to each of the hosts FIRST to FIRST + COUNT - 1, one after the other.  CASE is
// idle, cpu (two spinners on each processor meanwhile) or arp (500,000 ARP requests a second meanwhile, for the ASKED
// hosts after the first HOSTS).  Answers each with a line of JSON: the nanoseconds from just before the SYN was sent to
// the first Magic Packet in the XDP program at this end, and what was lost and counted.  Each woken host comes back at
// once: it announces itself, is sent the SYN that was held, and is awake.  Between the SYNs the probe wakes a thread of
// its own by an eventfd, at the priority and on the processor of the daemon's: nothing that is told to user space can
// be faster than that; and it asks for another host by ARP: nothing that the kernel sends back can be faster than that.
//
// Host i has the MAC 06:00 and i, and the address 10.0.0.0 + i (tests/support/control_load.py).  SPARE is a veth that
// nothing else uses: a program that is attached somewhere runs by BPF_PROG_TEST_RUN without a rebuild of the kernel's
// XDP dispatcher each time.  The probe itself is on processor 0 at real-time priority; ARP requests come from 1, where
// the daemon is.
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <iostream>
#include <memory>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <spdlog/fmt/fmt.h>
#include <spdlog/fmt/ranges.h>

#include "base/fd.h"
#include "base/result.h"
#include "net/frame.h"
#include "net/packet_socket.h"
#include "wake_probe.skel.h"

namespace pz {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock; // CLOCK_MONOTONIC

constexpr unsigned probe_processor = 0;
constexpr unsigned gateway_processor = 1;
constexpr unsigned arp_rate = 500'000;
constexpr unsigned arp_batch = 64; // a veth's ring has room for 256
constexpr unsigned spinners_per_processor = 2;
constexpr auto lost_after = 900ms; // the daemon repeats a Magic Packet after 1 s: that would be late, not first
constexpr auto deliver_within = 10s; // later the daemon drops what it holds
constexpr MacAddress own_mac{{2, 0, 0, 0, 0, 0x98}};

std::array<std::uint8_t, 4> big_endian(std::uint32_t value) {
    return {static_cast<std::uint8_t>(value >> 24), static_cast<std::uint8_t>(value >> 16),
            static_cast<std::uint8_t>(value >> 8), static_cast<std::uint8_t>(value)};
}

MacAddress mac_of(std::uint32_t host) {
    const auto number = big_endian(host);
    return {{6, 0, number[0], number[1], number[2], number[3]}};
}

IpAddress address_of(std::uint32_t host) {
    return IpAddress::v4(big_endian(0x0a000000 + host));
}

Result<> run_on(unsigned processor) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(processor, &set);
    if (::sched_setaffinity(0, sizeof set, &set) != 0)
        return fail_errno(fmt::format("cannot run on processor {}", processor), errno);
    return {};
}

/// Threads that end with the object.
class Load {
public:
    Load() = default;
    Load(const Load&) = delete;
    Load& operator=(const Load&) = delete;
    ~Load() {
        stopping_ = true;
        for (auto& thread : threads_)
            thread.join();
    }

    /// `work` looks at its argument often.
    template <class Work>
    void add(unsigned processor, Work work) {
        threads_.emplace_back([this, processor, work] {
            constexpr sched_param ordinary{};
            if (::pthread_setschedparam(::pthread_self(), SCHED_OTHER, &ordinary) == 0 && run_on(processor))
                work(stopping_);
        });
    }

private:
    std::atomic<bool> stopping_{false};
    std::vector<std::thread> threads_;
};

/// A thread that does nothing but note when it was woken.
class BareThread {
public:
    static Result<std::unique_ptr<BareThread>> start() {
        Fd fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
        if (!fd)
            return fail_errno("cannot make an eventfd", errno);
        return std::unique_ptr<BareThread>(new BareThread(std::move(fd)));
    }
    BareThread(const BareThread&) = delete;
    BareThread& operator=(const BareThread&) = delete;
    ~BareThread() {
        stopping_ = true;
        (void)::eventfd_write(fd_.get(), 1);
        thread_.join();
    }

    /// Nanoseconds until it runs.
    [[nodiscard]] std::uint64_t wake() {
        woken_ = Clock::time_point{};
        const auto began = Clock::now();
        if (::eventfd_write(fd_.get(), 1) != 0)
            return 0;
        while (woken_.load() == Clock::time_point{})
            ;
        return static_cast<std::uint64_t>((woken_.load() - began) / 1ns);
    }

private:
    explicit BareThread(Fd fd) : fd_(std::move(fd)), thread_([this] { run(); }) {}
    void run() {
        constexpr sched_param priority{.sched_priority = 1};
        (void)run_on(gateway_processor);
        (void)::pthread_setschedparam(::pthread_self(), SCHED_FIFO, &priority);
        while (!stopping_) {
            pollfd ready{.fd = fd_.get(), .events = POLLIN, .revents = 0};
            eventfd_t count = 0;
            if (::poll(&ready, 1, -1) > 0 && ::eventfd_read(fd_.get(), &count) == 0)
                woken_ = Clock::now();
        }
    }

    Fd fd_;
    std::atomic<bool> stopping_{false};
    std::atomic<Clock::time_point> woken_{};
    std::thread thread_;
};

struct CloseSkeleton {
    void operator()(wake_probe_bpf* skeleton) const { wake_probe_bpf::destroy(skeleton); }
};

class Probe {
public:
    static Result<Probe> open(const char* interface, const char* spare, std::uint32_t hosts, std::uint32_t asked);
    /// What a line asks for, as a line of JSON.
    Result<std::string> measure(const std::string& load, std::uint32_t first, std::uint32_t count);

private:
    Probe(std::unique_ptr<wake_probe_bpf, CloseSkeleton> skeleton, PacketSocket socket, std::uint64_t* first_magic)
        : skeleton_(std::move(skeleton)), socket_(std::move(socket)), first_magic_(first_magic) {}
    void ask(const std::atomic<bool>& stopping, std::atomic<bool>& failed) const;
    Result<Clock::time_point> send(ByteView frame);
    Result<std::uint64_t> ask_once();
    Result<std::uint64_t> wake(std::uint32_t host);

    std::unique_ptr<wake_probe_bpf, CloseSkeleton> skeleton_;
    PacketSocket socket_;
    volatile std::uint64_t* first_magic_; // the map of that name
    std::minstd_rand random_{1};
};

Result<Probe> Probe::open(const char* interface, const char* spare, std::uint32_t hosts, std::uint32_t asked) {
    const auto index = static_cast<int>(::if_nametoindex(interface));
    const auto spare_index = static_cast<int>(::if_nametoindex(spare));
    if (index == 0 || spare_index == 0)
        return fail_errno(fmt::format("interface {} or {}", interface, spare), errno);
    std::unique_ptr<wake_probe_bpf, CloseSkeleton> skeleton(wake_probe_bpf::open());
    if (!skeleton)
        return fail_errno("cannot open the programs", errno);
    skeleton->rodata->first_asked = hosts;
    skeleton->rodata->asked_hosts = asked;
    if (::bpf_map__set_max_entries(skeleton->maps.first_magic, hosts + asked) != 0 ||
        wake_probe_bpf::load(skeleton.get()) != 0)
        return fail_errno("cannot load the programs", errno);
    skeleton->links.arrive = ::bpf_program__attach_xdp(skeleton->progs.arrive, index);
    skeleton->links.ask = ::bpf_program__attach_xdp(skeleton->progs.ask, spare_index);
    if (skeleton->links.arrive == nullptr || skeleton->links.ask == nullptr)
        return fail_errno("cannot attach the programs", errno);
    void* const times = ::mmap(nullptr, (hosts + asked) * sizeof(std::uint64_t), PROT_READ, MAP_SHARED,
                               ::bpf_map__fd(skeleton->maps.first_magic), 0);
    if (times == MAP_FAILED)
        return fail_errno("cannot map the times", errno);
    return Probe(std::move(skeleton), PZ_TRY(PacketSocket::open(index)), static_cast<std::uint64_t*>(times));
}

/// ARP requests at a steady rate.  What was missed is made up for.
void Probe::ask(const std::atomic<bool>& stopping, std::atomic<bool>& failed) const {
    std::array<std::uint8_t, 60> frame{};
    xdp_md context{};
    context.data_end = frame.size();
    context.ingress_ifindex = static_cast<std::uint32_t>(socket_.ifindex());
    bpf_test_run_opts options{};
    options.sz = sizeof options;
    options.data_in = frame.data();
    options.data_size_in = frame.size();
    options.ctx_in = &context;
    options.ctx_size_in = sizeof context;
    options.flags = BPF_F_TEST_XDP_LIVE_FRAMES;
    options.repeat = arp_batch;
    options.batch_size = arp_batch;
    const int program = ::bpf_program__fd(skeleton_->progs.ask);
    (void)::prctl(PR_SET_TIMERSLACK, 1UL);
    auto due = Clock::now();
    while (!stopping) {
        if (::bpf_prog_test_run_opts(program, &options) != 0) {
            failed = true;
            return;
        }
        due += std::chrono::nanoseconds(1'000'000'000ULL * arp_batch / arp_rate);
        if (due > Clock::now())
            std::this_thread::sleep_until(due);
    }
}

/// Sends a frame, again while the wire has no room for it; when it left.
Result<Clock::time_point> Probe::send(ByteView frame) {
    const auto limit = Clock::now() + lost_after;
    while (true) {
        const auto at = Clock::now();
        auto sent = socket_.send(frame);
        if (sent)
            return at;
        if (at > limit)
            return std::unexpected(std::move(sent).error());
    }
}

/// Asks for one of the hosts that stay asleep; nanoseconds until the reply, 0 if there was none.
Result<std::uint64_t> Probe::ask_once() {
    auto& arrived = static_cast<volatile __u64&>(skeleton_->bss->reply_ns);
    arrived = 0;
    const Bytes request =
        build_arp_request(own_mac, IpAddress::v4({192, 0, 2, 98}), address_of(skeleton_->rodata->first_asked), {});
    const auto sent = PZ_TRY(send(request));
    while (arrived == 0 && Clock::now() < sent + lost_after)
        ;
    return arrived == 0 ? 0 : arrived - static_cast<std::uint64_t>(sent.time_since_epoch() / 1ns);
}

/// Sends a SYN; nanoseconds until the Magic Packet, 0 if there was none.
Result<std::uint64_t> Probe::wake(std::uint32_t host) {
    const Ends ends{.source_mac = own_mac,
                    .destination_mac = mac_of(host),
                    .source = IpAddress::v4({192, 0, 2, 98}),
                    .destination = address_of(host)};
    const Bytes syn = build_tcp(ends, 40'000, 22, TH_SYN, {});
    const Bytes announcement = build_arp_announcement(mac_of(host), address_of(host), {});
    const auto sent = PZ_TRY(send(syn));
    std::uint64_t arrived = 0;
    while ((arrived = first_magic_[host]) == 0 && Clock::now() < sent + lost_after)
        ;
    PZ_TRY(send(announcement));
    const auto sent_ns = static_cast<std::uint64_t>(sent.time_since_epoch() / 1ns);
    return arrived == 0 ? 0 : arrived - sent_ns;
}

Result<std::string> Probe::measure(const std::string& load, std::uint32_t first, std::uint32_t count) {
    auto& counted = *skeleton_->bss;
    counted.magic_packets = counted.delivered = counted.arp_asked = counted.arp_answered = 0;
    std::vector<std::uint64_t> times;
    std::vector<std::uint64_t> bare_times;
    std::vector<std::uint64_t> reply_times;
    std::size_t lost = 0;
    std::atomic<bool> failed{false};
    const auto begun = Clock::now();
    Clock::duration took{};
    {
        Load running;
        if (load == "cpu")
            for (unsigned i = 0; i < spinners_per_processor * std::thread::hardware_concurrency(); ++i)
                running.add(i / spinners_per_processor, [](const std::atomic<bool>& stopping) {
                    while (!stopping)
                        ;
                });
        else if (load == "arp")
            running.add(gateway_processor, [&](const std::atomic<bool>& stopping) { ask(stopping, failed); });
        else if (load != "idle")
            return fail(Errc::invalid, fmt::format("'{}' is not idle, cpu or arp", load));
        const auto pause = [this] { std::this_thread::sleep_for(std::chrono::microseconds(1000 + random_() % 1000)); };
        const auto bare = PZ_TRY(BareThread::start());
        for (std::uint32_t host = first; host < first + count; ++host) {
            pause();
            bare_times.push_back(bare->wake());
            pause();
            if (const auto reply = PZ_TRY(ask_once()); reply != 0)
                reply_times.push_back(reply);
            pause();
            const auto time = PZ_TRY(wake(host));
            if (time == 0)
                ++lost;
            else
                times.push_back(time);
        }
        took = Clock::now() - begun;
    }
    if (failed)
        return fail(Errc::system, "sending ARP requests failed");
    const auto limit = Clock::now() + deliver_within;
    do // also for answers that are on the way
        std::this_thread::sleep_for(100ms);
    while (static_cast<volatile __u64&>(counted.delivered) < count && Clock::now() < limit);
    return fmt::format(
        R"({{"nanoseconds": [{}], "thread": [{}], "reply": [{}], "lost": {}, "magic": {}, "delivered": {}, "arp_asked": {}, )"
        R"("arp_answered": {}, "seconds": {:.6f}}})",
        fmt::join(times, ", "), fmt::join(bare_times, ", "), fmt::join(reply_times, ", "), lost, counted.magic_packets,
        counted.delivered, counted.arp_asked, counted.arp_answered, std::chrono::duration<double>(took).count());
}

/// Runs on its processor, before everybody else, out of memory that is there.
Result<> become_punctual() {
    PZ_TRY(run_on(probe_processor));
    (void)::prctl(PR_SET_TIMERSLACK, 1UL);
    const sched_param priority{.sched_priority = 60};
    if (::sched_setscheduler(0, SCHED_FIFO, &priority) != 0)
        return fail_errno("cannot get real-time priority", errno);
    if (::mlockall(MCL_CURRENT) != 0)
        return fail_errno("cannot lock memory", errno);
    return {};
}

Result<> serve(char** arguments) {
    std::array<std::uint32_t, 2> numbers{}; // HOSTS, ASKED
    for (std::size_t i = 0; i < numbers.size(); ++i) {
        const std::string_view text = arguments[3 + i];
        if (std::from_chars(text.begin(), text.end(), numbers[i]).ptr != text.end())
            return fail(Errc::invalid, fmt::format("'{}' is not a number", text));
    }
    Probe probe = PZ_TRY(Probe::open(arguments[1], arguments[2], numbers[0], numbers[1]));
    PZ_TRY(become_punctual());
    std::string line;
    while (std::getline(std::cin, line)) {
        std::istringstream words(line);
        std::string load;
        std::uint32_t first = 0;
        std::uint32_t count = 0;
        if (!(words >> load >> first >> count) || first + count > numbers[0])
            return fail(Errc::invalid, fmt::format("'{}' is not CASE FIRST COUNT", line));
        std::cout << PZ_TRY(probe.measure(load, first, count)) << std::endl;
    }
    return {};
}

} // namespace
} // namespace pz

int main(int argc, char** argv) {
    if (argc != 5) {
        std::fprintf(stderr, "usage: wake_probe INTERFACE SPARE HOSTS ASKED\n");
        return 2;
    }
    if (const auto served = pz::serve(argv); !served) {
        std::fprintf(stderr, "wake_probe: %s\n", served.error().message.c_str());
        return 1;
    }
    return 0;
}
