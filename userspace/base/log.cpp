// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <sys/stat.h>
#include <sys/uio.h>
#include <syslog.h>
#include <unistd.h>

#include <cstdlib>
#include <utility>
#include <vector>

#define SD_JOURNAL_SUPPRESS_LOCATION // an event's place in the source says nothing to its reader
#include <systemd/sd-journal.h>

#include <spdlog/fmt/fmt.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/sinks/systemd_sink.h>
#include <spdlog/spdlog.h>

namespace pz::log {

namespace {

spdlog::level::level_enum spdlog_level(Level level) {
    switch (level) {
    case Level::debug:
        return spdlog::level::debug;
    case Level::info:
        return spdlog::level::info;
    case Level::warning:
        return spdlog::level::warn;
    case Level::error:
        break;
    }
    return spdlog::level::err;
}

int priority(Level level) {
    switch (level) {
    case Level::debug:
        return LOG_DEBUG;
    case Level::info:
        return LOG_INFO;
    case Level::warning:
        return LOG_WARNING;
    case Level::error:
        break;
    }
    return LOG_ERR;
}

bool stderr_is_journal() {
    // nobody changes the environment once the program runs
    return is_journal(STDERR_FILENO, std::getenv("JOURNAL_STREAM")); // NOLINT(concurrency-mt-unsafe)
}

} // namespace

bool is_journal(int fd, const char* journal_stream) {
    struct stat found{};
    return journal_stream != nullptr && ::fstat(fd, &found) == 0 &&
           journal_stream == fmt::format("{}:{}", found.st_dev, found.st_ino);
}

void set_up(const std::string& program, Level level) {
    spdlog::sink_ptr sink;
    if (stderr_is_journal())
        sink = std::make_shared<spdlog::sinks::systemd_sink_mt>(program);
    else
        sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
    auto logger = std::make_shared<spdlog::logger>(program, std::move(sink));
    logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e %l: %v");
    logger->set_level(spdlog_level(level));
    logger->flush_on(spdlog::level::trace);
    spdlog::set_default_logger(std::move(logger));
}

void set_level(Level level) {
    spdlog::default_logger_raw()->set_level(spdlog_level(level));
}

void event(Level level, std::string_view message_id, std::string_view text, std::span<const Field> fields) {
    auto& logger = *spdlog::default_logger_raw();
    if (!logger.should_log(spdlog_level(level)))
        return;
    if (!stderr_is_journal()) {
        logger.log(spdlog_level(level), "{}", text);
        return;
    }
    std::vector<std::string> lines{fmt::format("MESSAGE={}", text), fmt::format("MESSAGE_ID={}", message_id),
                                   fmt::format("PRIORITY={}", priority(level)),
                                   fmt::format("SYSLOG_IDENTIFIER={}", logger.name())};
    for (const Field& field : fields)
        lines.push_back(fmt::format("{}={}", field.name, field.value));
    std::vector<iovec> parts;
    parts.reserve(lines.size());
    for (std::string& line : lines)
        parts.push_back({.iov_base = line.data(), .iov_len = line.size()});
    if (::sd_journal_sendv(parts.data(), static_cast<int>(parts.size())) < 0)
        logger.log(spdlog_level(level), "{}", text); // which reports in turn if nothing gets through
}

} // namespace pz::log
