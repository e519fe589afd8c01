// SPDX-License-Identifier: Apache-2.0
// proxzzyd: the network proxy for sleeping hosts.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <optional>
#include <span>
#include <sstream>
#include <variant>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>

#include <spdlog/fmt/fmt.h>
#include <spdlog/fmt/ranges.h>

#include "base/log.h"
#include "control/server.h"
#include "daemon/daemon.h"
#include "daemon/host_files.h"
#include "daemon/options.h"
#include "daemon/segments.h"
#include "daemon/service_manager.h"

namespace {

constexpr int exit_failed = 1;
constexpr int exit_usage = 2;

/// One line for each error; the status to exit with.
int refuse(std::span<const pz::Error> errors) {
    int status = exit_usage;
    for (const auto& error : errors) {
        std::fprintf(stderr, "proxzzyd: %s\n", error.message.c_str());
        if (error.code == pz::Errc::system)
            status = exit_failed;
    }
    return status;
}

int refuse(const pz::Error& error) {
    std::fprintf(stderr, "proxzzyd: %s\n", error.message.c_str());
    return exit_failed;
}

/// The hosts.d of `options`.  That there is none is an error only if hosts came from it, which are not to be lost.
pz::Result<pz::HostFiles> read_hosts(const pz::DaemonOptions& options, std::size_t known) {
    if (options.hosts.empty())
        return pz::HostFiles{};
    auto files = pz::read_host_files(options.hosts);
    if (!files && files.error().code == pz::Errc::not_found && known == 0)
        return pz::HostFiles{};
    return files;
}

/// What this program would refuse in the files, one by one and together.
std::vector<pz::Error> errors_in(const pz::DaemonOptions& options, const pz::HostFiles& files) {
    auto errors = files.errors;
    std::ranges::move(pz::check_host_files(options, files), std::back_inserter(errors));
    return errors;
}

/// Those of the configured interfaces that are there.
std::vector<pz::Link> links_of(const pz::DaemonOptions& options) {
    auto links = pz::list_links().value_or(std::vector<pz::Link>{});
    std::erase_if(links, [&](const pz::Link& link) {
        return std::ranges::find(options.interfaces, link.name) == options.interfaces.end();
    });
    return links;
}

std::string status_line(const pz::DaemonOptions& options) {
    return fmt::format("Serving {}", fmt::join(options.interfaces, ", "));
}

class Reload {
public:
    Reload(int argc, const char* const* argv, const pz::DaemonOptions& running, pz::Daemon& daemon)
        : argc_(argc), argv_(argv), running_(running), daemon_(daemon) {}

    /// What can change without a restart changes; what is wrong is logged and changes nothing.
    void operator()() const {
        pz::service_manager::reloading();
        bool good = true;
        auto options = running_;
        if (const auto parsed = pz::parse_options(argc_, argv_)) {
            options = std::get<pz::DaemonOptions>(*parsed);
            pz::log::set_level(options.log_level);
            for (const auto& name : pz::needs_restart(running_, options))
                record(pz::control::EventKind::configuration,
                       fmt::format("{} has changed and takes effect when proxzzyd is restarted", name));
        } else {
            record(pz::control::EventKind::failed, parsed.error().message);
            good = false;
        }
        if (const auto files = read_hosts(options, daemon_.file_hosts())) {
            good = daemon_.set_file_hosts(*files) && good;
        } else {
            record(pz::control::EventKind::failed, files.error().message);
            good = false;
        }
        record(pz::control::EventKind::reloaded, good ? "done" : "what the errors before name stays as it was");
        pz::service_manager::ready(status_line(running_));
    }

    /// Whether a program that is executed anew would take the configuration as it is now; if not, why is logged.
    [[nodiscard]] bool can_restart() const {
        std::vector<pz::Error> errors;
        if (const auto parsed = pz::parse_options(argc_, argv_); !parsed) {
            errors.push_back(parsed.error());
        } else {
            const auto& options = std::get<pz::DaemonOptions>(*parsed);
            const auto files = read_hosts(options, daemon_.file_hosts());
            errors = files ? errors_in(options, *files) : std::vector{files.error()};
            if (const auto links = pz::Daemon::find_interfaces(options); !links)
                errors.push_back(links.error());
        }
        for (const auto& error : errors)
            record(pz::control::EventKind::failed, "no restart: " + error.message);
        return errors.empty();
    }

private:
    void record(pz::control::EventKind kind, std::string text) const {
        pz::control::Event event;
        event.text = std::move(text);
        daemon_.journal().record(kind, std::move(event));
    }

    int argc_;
    const char* const* argv_;
    const pz::DaemonOptions& running_;
    pz::Daemon& daemon_;
};

/// Calls `reload` for each SIGHUP until another signal of the set stops the loop; that is in `ending`.  SIGUSR1 does
/// only with a configuration that can be read again.
void wait_signal(boost::asio::signal_set& signals, boost::asio::io_context& loop, const Reload& reload, int& ending) {
    signals.async_wait([&](const boost::system::error_code& error, int number) {
        if (error)
            return;
        if (number == SIGHUP) {
            reload();
            return wait_signal(signals, loop, reload, ending);
        }
        if (number == SIGUSR1 && !reload.can_restart())
            return wait_signal(signals, loop, reload, ending);
        ending = number;
        loop.stop();
    });
}

/// From one life of the process to the next, which execv() begins.
namespace next_life {

constexpr const char* variable = "PROXZZYD_KEEPS";
constexpr std::array signals{SIGTERM, SIGINT, SIGHUP, SIGUSR1};

/// Signals wait while there is nobody to handle them.
void block_signals(bool block) {
    sigset_t set;
    ::sigemptyset(&set);
    for (const int signal : signals)
        ::sigaddset(&set, signal);
    ::pthread_sigmask(block ? SIG_BLOCK : SIG_UNBLOCK, &set, nullptr);
}

/// Says which descriptors stay open.
void keep(const std::vector<pz::Fd>& kept) {
    std::vector<int> numbers;
    numbers.reserve(kept.size());
    for (const auto& fd : kept)
        numbers.push_back(fd.get());
    // NOLINTNEXTLINE(concurrency-mt-unsafe): the other threads have ended
    ::setenv(variable, fmt::format("{}", fmt::join(numbers, " ")).c_str(), 1);
}

/// What the life before has kept open.
std::vector<pz::Fd> kept() {
    std::vector<pz::Fd> fds;
    const char* text = ::getenv(variable); // NOLINT(concurrency-mt-unsafe): there are no other threads yet
    std::istringstream numbers(text == nullptr ? "" : text);
    ::unsetenv(variable); // NOLINT(concurrency-mt-unsafe)
    for (int fd = -1; numbers >> fd;)
        if (fd > STDERR_FILENO && ::fcntl(fd, F_SETFD, FD_CLOEXEC) == 0)
            fds.emplace_back(fd);
    return fds;
}

} // namespace next_life

/// `restart`: the daemon ended so that its program can be executed anew, with these descriptors open.
int run(const pz::DaemonOptions& options, const pz::HostFiles& files, int argc, const char* const* argv,
        std::optional<std::vector<pz::Fd>>& restart) {
    auto kept = next_life::kept();
    boost::asio::io_context loop(1);
    boost::asio::signal_set signals(loop);
    for (const int signal : next_life::signals)
        signals.add(signal);
    auto daemon = pz::Daemon::load(loop, options);
    if (!daemon)
        return refuse(daemon.error());
    // everything that can be refused comes before the network is touched
    auto server = pz::control::Server::listen(loop, options.control, **daemon);
    if (!server)
        return refuse(server.error());
    if (auto served = (*daemon)->serve(); !served)
        return refuse(served.error());
    kept.clear();
    next_life::block_signals(false); // not in its threads
    // what collides with a stored host is told, and done when it can be: no reason to serve nobody
    (void)(*daemon)->set_file_hosts(files);
    const Reload reload(argc, argv, options, **daemon);
    int ending = 0;
    wait_signal(signals, loop, reload, ending);
    auto& journal = (*daemon)->journal();
    pz::control::Event ready;
    ready.text = fmt::format("control socket {}, pins in {}", options.control, options.bpffs);
    journal.record(pz::control::EventKind::ready, std::move(ready));
    pz::service_manager::ready(status_line(options));
    loop.run();
    pz::control::Event stopping;
    if (ending == SIGUSR1) {
        next_life::block_signals(true); // the next life handles them
        restart = (*daemon)->leave();
        pz::service_manager::reloading();
        stopping.text = "restarts; the kernel goes on answering";
    } else {
        pz::service_manager::stopping();
        stopping.text = ending == 0 ? "detach requested" : fmt::format("signal {}", ending);
    }
    if (const auto status = (*daemon)->status(); !restart && status.hosts_asleep > 0)
        stopping.text += fmt::format("; {} hosts in proxy care are on their own from now on", status.hosts_asleep);
    journal.record(pz::control::EventKind::stopping, std::move(stopping));
    (*server)->close(); // its readers hear of it
    return 0;
}

/// Where this program is, by the name that a newer one has taken after an upgrade.
std::string own_path() {
    std::string path(PATH_MAX, '\0');
    const auto length = ::readlink("/proc/self/exe", path.data(), path.size());
    path.resize(length > 0 ? static_cast<std::size_t>(length) : 0);
    return path;
}

} // namespace

int main(int argc, char** argv) {
    next_life::block_signals(true); // until there is somebody to handle them
    const std::string path = own_path();
    const auto parsed = pz::parse_options(argc, argv);
    if (!parsed)
        return refuse(std::span(&parsed.error(), 1));
    if (const auto* text = std::get_if<pz::PrintAndExit>(&*parsed)) {
        std::fputs(text->text.c_str(), stdout);
        return 0;
    }
    const auto& options = std::get<pz::DaemonOptions>(*parsed);
    const auto files = read_hosts(options, 0);
    if (!files)
        return refuse(std::span(&files.error(), 1));
    if (const auto errors = errors_in(options, *files); !errors.empty())
        return refuse(errors);
    if (options.check_config) {
        if (const auto together = pz::check_together(links_of(options)); !together)
            return refuse(std::span(&together.error(), 1));
        std::printf("proxzzyd: the configuration is right; hosts from files: %zu\n", files->hosts.size());
        return 0;
    }
    pz::log::set_up("proxzzyd", options.log_level);
    std::optional<std::vector<pz::Fd>> restart;
    const int status = run(options, *files, argc, argv, restart);
    if (restart) {
        next_life::keep(*restart);
        ::execv(path.c_str(), argv);
        return refuse({pz::Errc::system, fmt::format("cannot execute {}: error {}", path, errno)});
    }
    return status;
}
