// SPDX-License-Identifier: Apache-2.0
// wire_load: sends questions out of interfaces of its network namespace as fast as the kernel takes them, and counts
// the replies.  Each line of standard input is a command, and is answered by one line of JSON; the programs that it
// attached go with it.
//
//   attach NAMESPACE INTERFACE PROGRAM   a program of wire_generator.bpf.c; NAMESPACE is a name in /run/netns
//   measure PROGRAM BYTES INTERFACE KEYS CPU[,CPU] MILLISECONDS RATE
//        frames of that program and size, with keys below KEYS; RATE a second on each CPU, 0: as fast as it goes.
//        Answer: what was asked and came back in that time; with "all_" also before it, to warm up, and shortly after.
//
// A generator has to be attached somewhere, it does not matter where: else every BPF_PROG_TEST_RUN makes the kernel
// rewrite its XDP dispatcher, which takes 20 ms.
#include <fcntl.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <sched.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <barrier>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/fd.h"
#include "base/number.h"
#include "base/result.h"

#include "wire_generator.h"
#include "wire_generator.skel.h"

namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;
using pz::Errc;
using pz::fail;
using pz::fail_errno;
using pz::Fd;
using pz::Result;

constexpr std::uint32_t warm_up = 256;        // frames
constexpr std::uint32_t most_in_a_run = 250'000;
constexpr auto run_length = 10ms;             // of one BPF_PROG_TEST_RUN; its beginning takes some 0.1 ms
constexpr auto quiet = 5ms, patience = 200ms; // for replies that are late

struct SkeletonDeleter {
    void operator()(wire_generator_bpf* skeleton) const { wire_generator_bpf__destroy(skeleton); }
};
using Skeleton = std::unique_ptr<wire_generator_bpf, SkeletonDeleter>;

struct Load {
    int program = -1;
    std::vector<unsigned char> frame;
    std::uint32_t ifindex = 0;
    std::vector<int> cpus;
    Clock::duration time{};
    double rate = 0; // on each CPU
};

struct Count {
    std::uint64_t asked = 0, replies = 0, reflected = 0, others = 0;

    [[nodiscard]] std::uint64_t returned() const { return replies + reflected; }
    Count operator-(const Count& before) const {
        return {asked - before.asked, replies - before.replies, reflected - before.reflected, others - before.others};
    }
    bool operator==(const Count&) const = default;
};

Count count(const wire_generator_bpf& skeleton) {
    std::atomic_thread_fence(std::memory_order_acquire);
    Count sum;
    for (const auto& generator : skeleton.bss->generators)
        sum.asked += generator.asked;
    for (const auto& tally : skeleton.bss->tallies) {
        sum.replies += tally.replies;
        sum.reflected += tally.reflected;
        sum.others += tally.others;
    }
    return sum;
}

/// The count when nothing has come for a while, or after `patience`.
Count settle(const wire_generator_bpf& skeleton) {
    const auto limit = Clock::now() + patience;
    Count last = count(skeleton);
    while (Clock::now() < limit) {
        std::this_thread::sleep_for(quiet);
        const Count now = count(skeleton);
        if (now == last)
            break;
        last = now;
    }
    return last;
}

Result<> send(const Load& load, std::uint32_t frames) {
    xdp_md context{};
    context.data_end = static_cast<std::uint32_t>(load.frame.size());
    context.ingress_ifindex = load.ifindex;
    LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = load.frame.data(), .data_size_in = context.data_end,
                .ctx_in = &context, .ctx_size_in = sizeof(context), .repeat = static_cast<int>(frames),
                .flags = BPF_F_TEST_XDP_LIVE_FRAMES);
    if (const int error = bpf_prog_test_run_opts(load.program, &options); error != 0)
        return fail_errno("BPF_PROG_TEST_RUN with live frames", -error);
    return {};
}

/// Moves the calling thread to the CPU, before what else wants it.
Result<> take_cpu(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(static_cast<std::size_t>(cpu), &set);
    if (::sched_setaffinity(0, sizeof(set), &set) != 0)
        return fail_errno("cannot run on CPU " + std::to_string(cpu), errno);
    if (::setpriority(PRIO_PROCESS, 0, -20) != 0)
        return fail_errno("cannot take priority", errno);
    return {};
}

double cpu_seconds() {
    timespec time{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

double seconds(Clock::duration time) {
    return std::chrono::duration<double>(time).count();
}

/// So many that they take `run_length`.
std::uint32_t frames_for_a_run(std::uint32_t sent, Clock::duration took) {
    const double each = std::max(seconds(took), 1e-9) / sent;
    return static_cast<std::uint32_t>(std::clamp(seconds(run_length) / each, 64.0, double{most_in_a_run}));
}

/// One CPU's share of the load, from the barrier on until the time is over.  Returns the CPU seconds that it took.
Result<double> keep_sending(const Load& load, int cpu, std::barrier<>& together) {
    const auto ready = [&]() -> Result<std::uint32_t> {
        PZ_TRY(take_cpu(cpu));
        const auto begun = Clock::now();
        PZ_TRY(send(load, warm_up));
        return frames_for_a_run(warm_up, Clock::now() - begun);
    }();
    together.arrive_and_wait(); // all are warm
    together.arrive_and_wait(); // and what that brought is counted
    std::uint32_t frames = PZ_TRY(ready);
    const double cpu_before = cpu_seconds();
    for (auto now = Clock::now(), end = now + load.time; now < end;) {
        const auto begun = now;
        PZ_TRY(send(load, frames));
        now = Clock::now();
        frames = frames_for_a_run(frames, now - begun);
    }
    return cpu_seconds() - cpu_before;
}

Result<std::string> measure(const wire_generator_bpf& skeleton, const Load& load) {
    std::barrier together(static_cast<std::ptrdiff_t>(load.cpus.size() + 1));
    std::vector<Result<double>> cpu(load.cpus.size());
    std::vector<std::thread> threads;
    threads.reserve(load.cpus.size());
    const Count cold = count(skeleton);
    for (std::size_t i = 0; i < load.cpus.size(); i++)
        threads.emplace_back([&, i] { cpu[i] = keep_sending(load, load.cpus[i], together); });
    together.arrive_and_wait();
    const Count warm = settle(skeleton);
    const auto begun = Clock::now();
    together.arrive_and_wait();
    for (auto& thread : threads)
        thread.join();
    const auto took = Clock::now() - begun;
    const Count in_time = count(skeleton) - warm;
    const Count all = settle(skeleton) - cold;
    double cpu_sum = 0;
    for (auto& each : cpu)
        cpu_sum += PZ_TRY(each);
    std::array<char, 512> line{};
    std::snprintf(line.data(), line.size(),
                  R"({"seconds": %.9f, "cpu_seconds": %.9f, "asked": %lu, "replies": %lu, "reflected": %lu, )"
                  R"("all_asked": %lu, "all_returned": %lu, "others": %lu})",
                  seconds(took), cpu_sum, in_time.asked, in_time.replies, in_time.reflected, all.asked, all.returned(),
                  all.others);
    return line.data();
}

Result<Fd> open_namespace(const std::string& path) {
    Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd)
        return fail_errno(path, errno);
    return fd;
}

Result<std::uint32_t> index_of(const std::string& interface) {
    const std::uint32_t ifindex = ::if_nametoindex(interface.c_str());
    if (ifindex == 0)
        return fail_errno(interface, errno);
    return ifindex;
}

Result<bpf_program*> find_program(const wire_generator_bpf& skeleton, const std::string& name) {
    bpf_program* const program = bpf_object__find_program_by_name(skeleton.obj, name.c_str());
    if (program == nullptr)
        return fail(Errc::not_found, "there is no program " + name);
    return program;
}

Result<std::string> attach(wire_generator_bpf& skeleton, std::istream& words) {
    std::string name, interface, program_name;
    words >> name >> interface >> program_name;
    bpf_program* const program = PZ_TRY(find_program(skeleton, program_name));
    const Fd home = PZ_TRY(open_namespace("/proc/thread-self/ns/net"));
    const Fd there = PZ_TRY(open_namespace("/run/netns/" + name));
    if (::setns(there.get(), CLONE_NEWNET) != 0)
        return fail_errno("cannot enter " + name, errno);
    const auto attached = [&]() -> Result<> {
        const std::uint32_t ifindex = PZ_TRY(index_of(interface));
        LIBBPF_OPTS(bpf_link_create_opts, options, .flags = XDP_FLAGS_DRV_MODE);
        if (bpf_link_create(bpf_program__fd(program), static_cast<int>(ifindex), BPF_XDP, &options) < 0)
            return fail_errno("cannot attach " + program_name + " to " + interface, errno); // closed at exit
        return {};
    }();
    if (::setns(home.get(), CLONE_NEWNET) != 0)
        return fail_errno("cannot come back from " + name, errno);
    PZ_TRY(attached);
    return "{}";
}

Result<std::string> measure(wire_generator_bpf& skeleton, std::istream& words) {
    std::string program, interface, cpus;
    std::size_t bytes = 0;
    std::uint32_t keys = 0;
    unsigned milliseconds = 0;
    Load load;
    words >> program >> bytes >> interface >> keys >> cpus >> milliseconds >> load.rate;
    if (!words || keys == 0)
        return fail(Errc::invalid, "usage: measure PROGRAM BYTES INTERFACE KEYS CPU[,CPU] MILLISECONDS RATE");
    load.program = bpf_program__fd(PZ_TRY(find_program(skeleton, program)));
    load.frame.resize(bytes);
    load.ifindex = PZ_TRY(index_of(interface));
    load.time = std::chrono::milliseconds(milliseconds);
    std::istringstream list(cpus);
    for (std::string cpu; std::getline(list, cpu, ',');) {
        const auto number = pz::parse_number<int>(cpu);
        if (!number)
            return fail(Errc::invalid, "not a CPU: " + cpu);
        load.cpus.push_back(*number);
    }
    skeleton.data->keys = keys;
    skeleton.bss->batch_ns = load.rate > 0 ? static_cast<std::uint64_t>(1e9 * WIRE_BATCH / load.rate) : 0;
    return measure(skeleton, load);
}

Result<> serve() {
    const Skeleton skeleton(wire_generator_bpf__open_and_load());
    if (!skeleton)
        return fail_errno("cannot load the generator", errno);
    for (std::uint64_t number = 0; auto& generator : skeleton->bss->generators) // else two CPUs ask the same at a time
        generator.seed = ++number * 0x9e3779b97f4a7c15;
    for (std::string line; std::getline(std::cin, line);) {
        std::istringstream words(line);
        std::string command;
        words >> command;
        if (command != "attach" && command != "measure")
            return fail(Errc::invalid, "not understood: " + line);
        const std::string answer = PZ_TRY(command == "attach" ? attach(*skeleton, words) : measure(*skeleton, words));
        std::puts(answer.c_str());
        std::fflush(stdout);
    }
    return {};
}

} // namespace

int main() {
    if (auto served = serve(); !served) {
        std::fprintf(stderr, "wire_load: %s\n", served.error().message.c_str());
        return 1;
    }
    return 0;
}
