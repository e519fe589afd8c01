// SPDX-License-Identifier: Apache-2.0
// What a frame costs in the kernel program, by BPF_PROG_TEST_RUN, next to the cheapest programs that there are.
//
// Results are named program/WHAT/SIZE/SUBJECT.  The time is that of one turn of the kernel's test loop, less what the
// generator needs for the packet, which is measured as generator and XDP_DROP less XDP_DROP alone.  The cheapest
// programs have the same loop and no generator: program/loop/SIZE/xdp-pass, xdp-tx and xdp-drop.
#include <benchmark/benchmark.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "base/fd.h"
#include "fastpath/events.h"
#include "fastpath/fastpath.h"
#include "fastpath/slot_table.h"
#include "sleepers.h"
#include "workload.h"

#include "bare.skel.h"
#include "generator.skel.h"
#include "proxzzy.skel.h"
#include "proxzzy_egress.skel.h"

namespace pz::bench {
namespace {

/// The same program with everything in hash tables.
constexpr const char* plain_hash = "plain-hash";
/// The most for which bare.bpf.c has memory.
constexpr std::uint32_t max_floor_sleepers = 1'000'000;

using test::Bytes;

constexpr std::uint32_t segment = 1;

template <class T, void (*destroy)(T*)>
struct Destroy {
    void operator()(T* skeleton) const { destroy(skeleton); }
};
using Generator = std::unique_ptr<generator_bpf, Destroy<generator_bpf, generator_bpf__destroy>>;
using Bare = std::unique_ptr<bare_bpf, Destroy<bare_bpf, bare_bpf__destroy>>;

/// CPU time of this thread.
double cpu_seconds() {
    timespec time{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

/// The sum of what a checksum at `offset` covers, itself left out.
std::uint32_t covered_sum(const Bytes& frame, std::size_t offset) {
    std::uint16_t checksum = 0;
    std::memcpy(&checksum, frame.data() + offset, sizeof checksum);
    return static_cast<std::uint16_t>(~checksum);
}

/// The program, and tables with sleepers.
class Subject {
public:
    static Result<std::unique_ptr<Subject>> open(const std::string& name, fastpath::Options options,
                                                 std::uint32_t sleepers) {
        options.bpffs = "/sys/fs/bpf/" + name;
        options.magic_ports = {magic_port};
        options.answer_without_daemon = std::chrono::hours(24); // instead of heartbeats
        auto fastpath = PZ_TRY(fastpath::Fastpath::open(options));
        const auto loopback = if_nametoindex("lo"); // where BPF_PROG_TEST_RUN has frames come in
        for (const std::uint16_t vid : {std::uint16_t{0}, traffic_vid}) {
            const pz_segment_key key{.ifindex = loopback, .outer_vid = vid, .inner_vid = 0};
            PZ_TRY(fastpath->set_segment(key, vid == 0 ? segment : segment + 1, MacAddress{test::gateway_mac.bytes}));
        }
        PZ_TRY(fastpath->heartbeat(std::chrono::steady_clock::now()));
        PZ_TRY(add_sleepers(*fastpath, segment, 0, sleepers,
                            {.port = wake_port, .protocol = IPPROTO_TCP, .action = PZ_RULE_WAKE}));
        static_cast<void>(PZ_TRY(fastpath->attach("lo", static_cast<int>(loopback))));
        bpf_xdp_query_opts query{};
        query.sz = sizeof query;
        if (const int error = bpf_xdp_query(static_cast<int>(loopback), 0, &query); error != 0)
            return fail_errno("cannot see the program", -error);
        Fd program(bpf_prog_get_fd_by_id(query.prog_id));
        if (!program)
            return fail_errno("cannot open the program", errno);
        fastpath->detach("lo");
        auto ring = PZ_TRY(fastpath::EventRing::open(fastpath->triggers_fd(), [](const pz_event&, ByteView) {}));
        return std::unique_ptr<Subject>(new Subject(name, std::move(fastpath), std::move(program), std::move(ring)));
    }

    [[nodiscard]] const std::string& name() const { return name_; }
    [[nodiscard]] int program() const { return program_.get(); }
    [[nodiscard]] std::uint64_t frames(pz_reason reason) const { return fastpath_->counters().at(reason).frames; }
    void drain() {
        while (!ring_.consume())
            ;
    }

private:
    Subject(std::string name, std::unique_ptr<fastpath::Fastpath> fastpath, Fd program, fastpath::EventRing ring)
        : name_(std::move(name)), fastpath_(std::move(fastpath)), program_(std::move(program)), ring_(std::move(ring)) {
    }

    std::string name_;
    std::unique_ptr<fastpath::Fastpath> fastpath_;
    Fd program_;
    fastpath::EventRing ring_;
};

/// The generator, and the bare programs.
class Rig {
public:
    static Result<Rig> open() {
        Generator generator(generator_bpf__open_and_load());
        if (!generator)
            return fail_errno("cannot load the generator", errno);
        Bare bare(bare_bpf__open_and_load());
        if (!bare)
            return fail_errno("cannot load the bare programs", errno);
        return Rig(std::move(generator), std::move(bare));
    }

    [[nodiscard]] const decltype(bare_bpf::progs)& bare() const { return bare_->progs; }
    /// The reading programs read in tables of that size.
    void set_buckets(const fastpath::Options& tables) {
        bare_->data->buckets4 = fastpath::buckets_for(tables.max_addresses4);
        bare_->data->buckets6 = fastpath::buckets_for(tables.max_addresses6);
        bare_->data->buckets_mac = fastpath::buckets_for(tables.max_macs);
    }

    /// Runs `program` for `repeats` generated frames; `drain` empties the ring in between if the workload fills it. The
    /// CPU seconds.
    Result<double> run(const Workload& workload, std::uint32_t host, int program, std::uint32_t action,
                       std::uint32_t repeats, const std::function<void()>& drain) {
        const auto* found =
            bpf_object__find_program_by_name(generator_->obj, ("generate_" + workload.generator).c_str());
        if (!found)
            return fail(Errc::system, "there is no generator '" + workload.generator + "'");
        const int generator = bpf_program__fd(found);
        auto& wanted = *generator_->bss;
        std::ranges::fill(wanted.head, std::uint8_t{0});
        std::copy_n(workload.frame.begin(), std::min(workload.frame.size(), sizeof wanted.head), wanted.head);
        wanted.length = static_cast<std::uint32_t>(workload.frame.size());
        wanted.first = workload.first_key + host;
        wanted.count = workload.hosts.count;
        wanted.partial_sum = covered_sum(workload.frame, workload.checksum);
        const std::uint32_t slot = 0;
        if (bpf_map_update_elem(bpf_map__fd(generator_->maps.under_test), &slot, &program, BPF_ANY) != 0)
            return fail_errno("cannot choose the program under test", errno);
        const auto before = wanted.generated;
        double seconds = 0;
        const std::uint32_t batch = workload.wakes ? ring_batch : repeats;
        for (std::uint32_t done = 0; done < repeats; done += batch) {
            seconds += PZ_TRY(turn(generator, workload.frame, action, batch));
            if (workload.wakes && drain)
                drain();
        }
        if (wanted.generated - before != repeats)
            return fail(Errc::system, fmt::format("{} of {} packets were made", wanted.generated - before, repeats));
        return seconds;
    }

    /// Runs `program` for the same frame again and again.
    Result<double> turn(int program, const Bytes& frame, std::uint32_t action, std::uint32_t repeats) {
        bpf_test_run_opts options{};
        options.sz = sizeof options;
        options.data_in = frame.data();
        options.data_size_in = static_cast<__u32>(frame.size());
        options.repeat = static_cast<int>(repeats);
        PZ_TRY(hold(program));
        const auto start = cpu_seconds();
        const int error = bpf_prog_test_run_opts(program, &options);
        const auto end = cpu_seconds();
        if (error != 0)
            return fail_errno("cannot run the program", -error);
        if (options.retval != action)
            return fail(Errc::system,
                        fmt::format("the last frame's verdict is {} instead of {}", options.retval, action));
        return end - start;
    }

    /// Attaches nothing any more.
    Result<> let_go() {
        held_ = -1;
        return attach(-1);
    }

    /// Frames whose events fit into the ring: it has room for some 3,900.
    static constexpr std::uint32_t ring_batch = 2'000;

private:
    Rig(Generator generator, Bare bare) : generator_(std::move(generator)), bare_(std::move(bare)) {}

    /// Attaches the program to a device where no frame comes by.  Else each call would change the kernel's XDP
    /// dispatcher for this program and back, which takes a millisecond.
    Result<> hold(int program) {
        if (held_ == program)
            return {};
        held_ = program;
        return attach(program);
    }
    static Result<> attach(int program) {
        if (const int error =
                bpf_xdp_attach(static_cast<int>(if_nametoindex("lo")), program, XDP_FLAGS_SKB_MODE, nullptr);
            error != 0)
            return fail_errno("cannot attach to the loopback device", -error);
        return {};
    }

    Generator generator_;
    Bare bare_;
    int held_ = -1;
};

std::string action_name(std::uint32_t action) {
    return action == XDP_TX ? "XDP_TX" : action == XDP_DROP ? "XDP_DROP" : "XDP_PASS";
}

/// Keeps all repetitions, and writes them with the generator's share taken away.
class Results : public benchmark::BenchmarkReporter {
public:
    bool ReportContext(const Context&) override { return true; }
    void ReportRuns(const std::vector<Run>& runs) override {
        for (auto run : runs) {
            if (run.run_type != Run::RT_Iteration)
                continue;
            if (run.error_occurred) {
                fmt::print(stderr, "{}: {}\n", run.run_name.function_name, run.error_message);
                failed_ = true;
            }
            benchmark::BenchmarkName name; // without the number of iterations and the like
            name.function_name = run.run_name.function_name;
            run.run_name = name;
            runs_.push_back(std::move(run));
        }
    }

    [[nodiscard]] bool failed() const { return failed_; }

    /// What to take from one result's time: the difference of two others, `share` of it.  No name is no time.
    void take_away(const std::string& from, const std::string& larger, const std::string& smaller, double share = 1) {
        differences_.push_back({from, larger, smaller, share});
    }
    /// A counter `what` of one result: its time less that of another.
    void compare(const std::string& result, const std::string& other, const std::string& what) {
        comparisons_.push_back({result, other, what});
    }

    bool write(const std::string& path) {
        std::map<std::string, std::vector<double>> raw;
        for (const auto& run : runs_)
            raw[run.run_name.function_name].push_back(run.GetAdjustedRealTime());
        std::map<std::string, double> surplus;
        for (const auto& [from, larger, smaller, share] : differences_)
            surplus[from] += share * (median(raw[larger]) - median(raw[smaller]));
        for (auto& run : runs_) {
            const auto& name = run.run_name.function_name;
            run.counters["measured"] = run.GetAdjustedRealTime();
            run.real_accumulated_time -=
                surplus[name] * static_cast<double>(run.iterations) / benchmark::GetTimeUnitMultiplier(run.time_unit);
            run.cpu_accumulated_time = run.real_accumulated_time;
            if (run.time_unit == benchmark::kNanosecond)
                run.counters["items_per_second"] = 1e9 / run.GetAdjustedRealTime();
            for (const auto& [result, other, what] : comparisons_)
                if (result == name)
                    run.counters[what] = run.GetAdjustedRealTime() - (median(raw[other]) - surplus[other]);
        }
        std::ofstream out(path);
        benchmark::JSONReporter json;
        json.SetOutputStream(&out);
        json.SetErrorStream(&std::cerr);
        json.ReportContext(Context{});
        json.ReportRuns(runs_);
        json.Finalize();
        out.close();
        return out.good();
    }

private:
    struct Difference {
        std::string from, larger, smaller;
        double share;
    };
    struct Comparison {
        std::string result, other, what;
    };
    static double median(std::vector<double> values) {
        std::ranges::sort(values);
        return values.empty() ? 0 : values[values.size() / 2];
    }

    std::vector<Run> runs_;
    std::vector<Difference> differences_;
    std::vector<Comparison> comparisons_;
    bool failed_ = false;
};

struct Extent {
    int rounds = 9;
    std::uint32_t repeats = 300'000; // frames in one
    std::vector<std::pair<std::string, std::uint32_t>> sizes = {
        {"1", 1}, {"10k", 10'000}, {"1M", 1'000'000}, {"4M", 4'000'000}};
};

/// Seconds for so many frames; `turn` counts the calls.
using Measure = std::function<Result<double>(std::uint32_t repeats, std::uint32_t turn)>;

/// One result: the time for a frame, after some that warm the caches.
void add_benchmark(const std::string& name, std::uint32_t repeats, const std::string& path, const Measure& measure) {
    const auto run = [=, turn = 0U](benchmark::State& state) mutable {
        turn++;
        const auto warm = measure(Rig::ring_batch, turn);
        const auto seconds = warm ? measure(repeats, turn) : warm;
        if (!seconds)
            return state.SkipWithError(seconds.error().message.c_str());
        while (state.KeepRunningBatch(repeats))
            state.SetIterationTime(*seconds);
        state.SetLabel("test run: " + path);
        state.counters["answered"] = repeats;
    };
    benchmark::RegisterBenchmark(name.c_str(), run)->Iterations(repeats)->UseManualTime();
}

/// The first of the workload's hosts.  A stranger's address is another one in each turn, since some have the bit of a
/// sleeper's.
std::uint32_t first_host(const Workload& workload, std::uint32_t turn) {
    const bool one_stranger = workload.hosts.first >= nobody && workload.hosts.count == 1;
    return workload.hosts.first + (one_stranger ? turn * 7919 : 0);
}

/// The workload for the subjects, and what the generator needs for it.
void add_workload(Rig& rig, Results& results, const Workload& workload, const std::string& size, std::uint32_t sleepers,
                  std::uint32_t repeats, const std::vector<std::unique_ptr<Subject>>& subjects) {
    const auto prefix = fmt::format("program/{}/{}/", workload.name, size);
    const auto add_generator = [&](const std::string& name, const bpf_program* program) {
        add_benchmark(
            prefix + name, repeats, "XDP_DROP", [&rig, workload, program](std::uint32_t count, std::uint32_t turn) {
                return rig.run(workload, first_host(workload, turn), bpf_program__fd(program), XDP_DROP, count, {});
            });
    };
    add_generator("generator", rig.bare().bare_drop);
    if (workload.resized)
        add_generator("generator-resize", rig.bare().bare_grow);

    const auto add_floor = [&](const std::string& name, const bpf_program* program, const std::string& path) {
        const auto measure = [&rig, workload, sleepers, program](std::uint32_t count, std::uint32_t turn) {
            rig.set_buckets(room_for(sleepers));
            return rig.run(workload, first_host(workload, turn), bpf_program__fd(program), workload.action, count, {});
        };
        add_benchmark(prefix + name, repeats, action_name(workload.action) + ", " + path, measure);
        results.take_away(prefix + name, prefix + "generator", fmt::format("program/loop/{}/xdp-drop", size));
    };
    const auto is_any_of = [&](std::string_view what) {
        return workload.name == fmt::format("{}-hot", what) || workload.name == fmt::format("{}-random", what);
    };
    if (sleepers <= max_floor_sleepers) {
        if (is_any_of("arp"))
            add_floor("one-read", rig.bare().bare_read, "one read");
        if (is_any_of("ns"))
            add_floor("one-read", rig.bare().bare_read6, "one read");
        if (is_any_of("arp") || workload.name == "arp-dependent") {
            add_floor("least-answer", rig.bare().bare_answer, "one read and a reply");
            add_floor("filtered-answer", rig.bare().bare_filtered_answer, "a filter, one read and a reply");
        }
        if (is_any_of("ns") || workload.name == "ns-dependent")
            add_floor("least-answer", rig.bare().bare_answer6, "one read and a reply, two checksums");
        if (is_any_of("tcp4"))
            add_floor("two-filters", rig.bare().bare_filters, "two filters and a counter");
    }

    for (const auto& subject : subjects) {
        if (subject->name() == plain_hash && !is_any_of("arp") && !is_any_of("ns"))
            continue; // what the tables are worth is seen in these
        const auto measure = [&rig, workload, subject = subject.get()](std::uint32_t count,
                                                                       std::uint32_t turn) -> Result<double> {
            const auto before = subject->frames(workload.reason);
            const auto seconds = PZ_TRY(rig.run(workload, first_host(workload, turn), subject->program(),
                                                workload.action, count, [=] { subject->drain(); }));
            if (const auto frames = subject->frames(workload.reason) - before; frames != count)
                return fail(Errc::system, fmt::format("{} of {} packets are {}", frames, count,
                                                      fastpath::reason_name(workload.reason)));
            return seconds;
        };
        add_benchmark(prefix + subject->name(), repeats,
                      fmt::format("{}, {}", action_name(workload.action), fastpath::reason_name(workload.reason)),
                      measure);
        results.take_away(prefix + subject->name(), prefix + "generator",
                          fmt::format("program/loop/{}/xdp-drop", size));
        if (workload.resized) // the generator undoes what the answer does, at the same cost
            results.take_away(prefix + subject->name(), prefix + "generator-resize", prefix + "generator", 0.5);
        if (workload.name.starts_with("scan-") && workload.name != "scan-none")
            results.compare(prefix + subject->name(), fmt::format("program/scan-none/{}/{}", size, subject->name()),
                            "scan");
    }
}

/// Everything with so many sleepers in the tables.
Result<> measure_size(Rig& rig, Results& results, const Extent& extent, const std::string& size,
                      std::uint32_t sleepers) {
    std::vector<std::unique_ptr<Subject>> subjects;
    subjects.push_back(PZ_TRY(Subject::open("proxzzy", room_for(sleepers), sleepers)));
    if (sleepers <= 1'000'000) {
        auto options = room_for(sleepers);
        options.plain_hash = true;
        subjects.push_back(PZ_TRY(Subject::open(plain_hash, options, sleepers)));
    }
    const auto add_bare = [&](const std::string& name, const bpf_program* program, std::uint32_t action) {
        add_benchmark(fmt::format("program/loop/{}/{}", size, name), 3 * extent.repeats,
                      action_name(action) + ", no generator",
                      [&rig, program, action](std::uint32_t count, std::uint32_t) {
                          return rig.turn(bpf_program__fd(program), Bytes(60, 0), action, count);
                      });
    };
    add_bare("xdp-drop", rig.bare().bare_drop, XDP_DROP);
    add_bare("xdp-pass", rig.bare().bare_pass, XDP_PASS);
    add_bare("xdp-tx", rig.bare().bare_tx, XDP_TX);
    auto measured = workloads(sleepers);
    if (size == "1M")
        std::ranges::move(scans(), std::back_inserter(measured));
    for (const auto& workload : measured)
        add_workload(rig, results, workload, size, sleepers, extent.repeats, subjects);
    benchmark::RunSpecifiedBenchmarks(&results);
    benchmark::ClearRegisteredBenchmarks();
    return rig.let_go();
}

/// Loading an object at its default sizes, or only its maps: the time, and the instructions that the verifier looked
/// at.
template <class Skeleton>
void add_load(const std::string& name, bool with_program, Skeleton* (*open)(), int (*load)(Skeleton*),
              void (*destroy)(Skeleton*), bpf_program* (*program)(const Skeleton&)) {
    const auto run = [=](benchmark::State& state) {
        const std::unique_ptr<Skeleton, void (*)(Skeleton*)> skeleton(open(), destroy);
        if (!skeleton)
            return state.SkipWithError("cannot open the object");
        bpf_program__set_autoload(program(*skeleton), with_program);
        while (state.KeepRunning()) {
            const auto start = cpu_seconds();
            if (load(skeleton.get()) != 0)
                return state.SkipWithError("cannot load the object");
            state.SetIterationTime(cpu_seconds() - start);
        }
        state.SetLabel("BPF_PROG_LOAD");
        if (!with_program)
            return;
        bpf_prog_info info{};
        std::uint32_t length = sizeof info;
        if (bpf_obj_get_info_by_fd(bpf_program__fd(program(*skeleton)), &info, &length) != 0)
            return state.SkipWithError("the kernel tells nothing of the program");
        state.counters["instructions"] = info.verified_insns;
    };
    benchmark::RegisterBenchmark(name.c_str(), run)->Iterations(1)->UseManualTime()->Unit(benchmark::kMillisecond);
}

void measure_load(Results& results) {
    const auto add = [&](const std::string& what, auto... object) {
        add_load("program/" + what + "/default/proxzzy", true, object...);
        add_load("program/" + what + "/default/maps", false, object...);
        results.take_away("program/" + what + "/default/proxzzy", "program/" + what + "/default/maps", "");
    };
    add(
        "load", proxzzy_bpf__open, proxzzy_bpf__load, proxzzy_bpf__destroy,
        +[](const proxzzy_bpf& skeleton) { return skeleton.progs.proxzzy_ingress; });
    add(
        "load-egress", proxzzy_egress_bpf__open, proxzzy_egress_bpf__load, proxzzy_egress_bpf__destroy,
        +[](const proxzzy_egress_bpf& skeleton) { return skeleton.progs.proxzzy_egress; });
    benchmark::RunSpecifiedBenchmarks(&results);
    benchmark::ClearRegisteredBenchmarks();
}

/// Namespaces of our own, with a loopback device to attach to and a BPF file system to pin in: they end with us.
Result<> isolate() {
    if (unshare(CLONE_NEWNET | CLONE_NEWNS) != 0)
        return fail_errno("cannot make namespaces (root is needed)", errno);
    if (mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        mount("bpf", "/sys/fs/bpf", "bpf", 0, nullptr) != 0)
        return fail_errno("cannot mount a BPF file system", errno);
    return {};
}

/// On the last processor that we may use: the first one has most interrupts.
Result<> pin_to_processor() {
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0)
        return fail_errno("cannot read the processors", errno);
    int last = CPU_SETSIZE - 1;
    while (last > 0 && !CPU_ISSET(last, &allowed))
        last--;
    CPU_ZERO(&allowed);
    CPU_SET(last, &allowed);
    if (sched_setaffinity(0, sizeof allowed, &allowed) != 0)
        return fail_errno("cannot stay on one processor", errno);
    benchmark::AddCustomContext("pinned_to_processor", std::to_string(last));
    return {};
}

Result<> measure(Results& results, const Extent& extent) {
    PZ_TRY(isolate());
    PZ_TRY(pin_to_processor());
    auto rig = PZ_TRY(Rig::open());
    measure_load(results);
    for (const auto& [size, sleepers] : extent.sizes) {
        fmt::print(stderr, "program_bench: {} sleepers\n", size);
        PZ_TRY(measure_size(rig, results, extent, size, sleepers));
    }
    return {};
}

constexpr std::string_view usage = "usage: program_bench [--short] --out FILE [--benchmark_filter=REGEX]\n"
                                   "--short  3 rounds, at most a million sleepers\n";

} // namespace

int main(int count, char** words) {
    Extent extent;
    std::string out;
    std::vector<std::string> arguments{words[0], "--benchmark_enable_random_interleaving=true"};
    for (int i = 1; i < count; i++) {
        const std::string_view word = words[i];
        if (word == "--short") {
            extent.rounds = 3;
            extent.repeats = 100'000;
            extent.sizes.pop_back();
        } else if (word == "--out" && i + 1 < count) {
            out = words[++i];
        } else {
            arguments.emplace_back(word);
        }
    }
    arguments.push_back(fmt::format("--benchmark_repetitions={}", extent.rounds));
    std::vector<char*> pointers;
    for (auto& argument : arguments)
        pointers.push_back(argument.data());
    int left = static_cast<int>(pointers.size());
    benchmark::Initialize(&left, pointers.data());
    if (out.empty() || left > 1) {
        fmt::print(stderr, "{}", usage);
        return 2;
    }
    Results results;
    if (const auto measured = measure(results, extent); !measured) {
        fmt::print(stderr, "program_bench: {}\n", measured.error().message);
        return 1;
    }
    if (results.failed())
        return 1;
    if (!results.write(out)) {
        fmt::print(stderr, "program_bench: cannot write {}\n", out);
        return 1;
    }
    return 0;
}

} // namespace pz::bench

int main(int count, char** words) {
    return pz::bench::main(count, words);
}
