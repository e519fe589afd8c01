// SPDX-License-Identifier: Apache-2.0
// proxzzyd: the network proxy for sleeping hosts.
#include <csignal>
#include <cstdio>

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>

#include <spdlog/fmt/fmt.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include "control/server.h"
#include "daemon/daemon.h"
#include "daemon/options.h"

namespace {

constexpr int exit_failed = 1;
constexpr int exit_usage = 2;

void set_up_log(const std::string& level) {
    auto logger = spdlog::stderr_logger_mt("proxzzyd");
    logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e %l: %v");
    logger->set_level(spdlog::level::from_str(level == "error" ? "err" : level));
    logger->flush_on(spdlog::level::trace);
    spdlog::set_default_logger(std::move(logger));
}

int run(const pz::DaemonOptions& options) {
    boost::asio::io_context loop(1);
    boost::asio::signal_set signals(loop, SIGTERM, SIGINT);
    std::string why = "detach requested";
    signals.async_wait([&](const boost::system::error_code& error, int number) {
        if (error)
            return;
        why = fmt::format("signal {}", number);
        loop.stop();
    });
    const auto refuse = [](const pz::Error& error) {
        std::fprintf(stderr, "proxzzyd: %s\n", error.message.c_str());
        return exit_failed;
    };
    auto daemon = pz::Daemon::load(loop, options);
    if (!daemon)
        return refuse(daemon.error());
    // everything that can be refused comes before the network is touched
    auto server = pz::control::Server::listen(loop, options.control, **daemon);
    if (!server)
        return refuse(server.error());
    if (auto served = (*daemon)->serve(); !served)
        return refuse(served.error());
    auto& journal = (*daemon)->journal();
    pz::control::Event ready;
    ready.text = fmt::format("control socket {}, pins in {}", options.control, options.bpffs);
    journal.record(pz::control::EventKind::ready, std::move(ready));
    loop.run();
    pz::control::Event stopping;
    stopping.text = std::move(why);
    if (const auto status = (*daemon)->status(); status.hosts_asleep > 0)
        stopping.text += fmt::format("; {} hosts in proxy care are on their own from now on", status.hosts_asleep);
    journal.record(pz::control::EventKind::stopping, std::move(stopping));
    (*server)->close(); // its readers hear of it
    return 0;
}

} // namespace

int main(int argc, char** argv) {
    const auto parsed = pz::parse_options(argc, argv);
    if (!parsed) {
        std::fprintf(stderr, "proxzzyd: %s\n", parsed.error().message.c_str());
        return exit_usage;
    }
    if (const auto* text = std::get_if<pz::PrintAndExit>(&*parsed)) {
        std::fputs(text->text.c_str(), stdout);
        return 0;
    }
    const auto& options = std::get<pz::DaemonOptions>(*parsed);
    set_up_log(options.log_level);
    return run(options);
}
