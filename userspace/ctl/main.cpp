// SPDX-License-Identifier: Apache-2.0
// proxzzyctl: the command line of proxzzyd.
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <string_view>

#include "ctl/command.h"
#include "ctl/json.h"
#include "ctl/run.h"

namespace {

int report(const pz::Error& error, bool json, int status) {
    const std::string text = json ? pz::ctl::text_to_json("error", error.message) : "proxzzyctl: " + error.message;
    (void)std::fprintf(stderr, "%s\n", text.c_str());
    return status;
}

} // namespace

int main(int argc, char** argv) {
    const std::span<const char* const> arguments(argv + 1, static_cast<std::size_t>(std::max(argc - 1, 0)));
    const bool json = std::ranges::find(arguments, std::string_view("--json")) != arguments.end();
    const auto command = pz::ctl::parse(arguments);
    if (!command)
        return report(command.error(), json, 2);
    // what never ends by itself has printed whole lines, and is done when it is interrupted
    for (const int signal : {SIGINT, SIGTERM})
        if (command->follow || command->watch)
            (void)std::signal(signal, [](int) { ::_exit(0); });
    const auto output = pz::ctl::run(*command);
    if (!output)
        return report(output.error(), json, 1);
    if (!output->empty())
        std::printf("%s\n", output->c_str());
    return std::fflush(stdout) == 0 ? 0 : 1;
}
