# SPDX-License-Identifier: Apache-2.0
"""What is installed next to the programs fits them: manual pages, the annotated configuration, completions, the unit."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
REPOSITORY = Path(__file__).resolve().parent.parent.parent
BUILD = Path(os.environ.get("PROXZZY_BUILD", REPOSITORY / "build" / "release"))
PROGRAMS = BUILD / "userspace"
SYSTEM = REPOSITORY / "scripts" / "system"
ENVIRONMENT = {**os.environ, "PATH": f"{PROGRAMS}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}


def run(*argv, **more):
    return subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=60, env=ENVIRONMENT, **more)


def help_of(*command):
    done = run(*command, "--help")
    assert done.returncode == 0, done
    return done.stdout


def commands():
    """"host add", "hosts", ... as proxzzyctl lists them; with "NAME" behind those that take one."""
    section = help_of("proxzzyctl").split("Commands:\n")[1].split("\n\n")[0]
    return [re.split(r"  +", line.strip())[0] for line in section.splitlines()]


def options(*command):
    """The long options of a command."""
    found = re.findall(r"^  (?:-. \[ )?(--[a-z-]+)", help_of(*command), re.MULTILINE)
    assert found, command
    return found


def all_options():
    """(command, option) for every command."""
    yield from (((), option) for option in options("proxzzyctl"))
    for command in commands():
        words = tuple(command.removesuffix(" NAME").split())
        yield from ((words, option) for option in options("proxzzyctl", *words))


def man(page):
    """A manual page as it is read."""
    done = run("man", "--warnings", "-l", REPOSITORY / "docs" / "man" / page)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return re.sub(r"\s+", " ", re.sub(r".\x08|‐\s*", lambda m: "-" if "‐" in m.group() else "", done.stdout))


def tool(name):
    """Skips the test if a program is missing, or fails it where nothing may be skipped."""
    if shutil.which(name) is None:
        if os.environ.get("PROXZZY_REQUIRE_ALL") == "1":
            raise AssertionError(f"not installed: {name}")
        raise unittest.SkipTest(f"not installed: {name}")


class ManualPages(unittest.TestCase):
    def setUp(self):
        tool("man")

    def test_every_option_of_proxzzyd(self):
        page = man("proxzzyd.8")
        self.assertEqual([o for o in options("proxzzyd") if o not in page], [])

    def test_every_command_and_option_of_proxzzyctl(self):
        page = man("proxzzyctl.1")
        self.assertEqual([o for _, o in all_options() if o not in page], [])
        self.assertEqual([c for c in commands() if c not in page], [])

    def test_every_key_of_the_files(self):
        page = man("proxzzyd.conf.5")
        in_file = options("proxzzyd")[:options("proxzzyd").index("--config")]
        of_host = [o for o in options("proxzzyctl", "host", "add")
                   if o not in (*options("proxzzyctl"), "--replace")]
        self.assertEqual([o for o in (*in_file, *of_host) if f"{o[2:]} = " not in page], [])
        for name, expected in (("proxzzyd.conf", in_file), ("hosts.d/desk.conf", of_host)):
            text = (REPOSITORY / "docs" / "examples" / name).read_text()
            keys = re.findall(r"^(?:# )?([a-z-]+) = ", text, re.MULTILINE)
            self.assertEqual(sorted({o[2:] for o in expected}), sorted(set(keys)), name)


class Examples(unittest.TestCase):
    def test_the_annotated_files_are_right(self):
        done = run("proxzzyd", "--config", REPOSITORY / "docs" / "examples" / "proxzzyd.conf", "--check-config")
        self.assertEqual((done.returncode, done.stdout),
                         (0, "proxzzyd: the configuration is right; hosts from files: 2\n"), done.stderr)

    def test_what_they_call_a_default_is_one(self):
        """Commented out or not, nothing changes."""
        text = (REPOSITORY / "docs" / "examples" / "proxzzyd.conf").read_text()
        shown = dict(re.findall(r"--([a-z-]+) [A-Z]+ \(=(.*?)\)", help_of("proxzzyd")))
        said = dict(re.findall(r"^# ([a-z-]+) = (\S+)$", text, re.MULTILINE))
        for example in ("magic-port", "no-wake-from"):  # have none
            said.pop(example)
        self.assertEqual(said, shown)


class Bash(unittest.TestCase):
    def complete(self, *words):
        script = (f'source "{SYSTEM / "completion.bash"}"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _proxzzy "$1"; '
                  'printf "%s\\n" "${COMPREPLY[@]}"')
        done = run("bash", "--norc", "-c", script, "bash", *words)
        self.assertEqual((done.returncode, done.stderr), (0, ""), words)
        return done.stdout.split()

    def test_commands(self):
        self.assertEqual(self.complete("proxzzyctl", ""), sorted({c.split()[0] for c in commands()}))
        self.assertEqual(self.complete("proxzzyctl", "host", ""),
                         sorted(c.split()[1] for c in commands() if c.startswith("host ")))
        self.assertEqual(self.complete("proxzzyctl", "ho"), ["host", "hosts"])
        self.assertEqual(self.complete("proxzzyctl", "--json", "--control", "/x", "host", "sl"), ["sleep"])
        self.assertEqual(self.complete("proxzzyctl", "hosts", ""), [])
        self.assertEqual(self.complete("proxzzyctl", "nonsense", ""), [])

    def test_every_option_of_every_command(self):
        for words, option in all_options():
            self.assertIn(option, self.complete("proxzzyctl", *words, "--"), words)
        self.assertEqual(self.complete("proxzzyd", "--"), options("proxzzyd"))
        self.assertEqual(self.complete("proxzzyctl", "host", "add", "nas", "--te"), ["--temporary-ip"])

    def test_values(self):
        add = ("proxzzyctl", "host", "add", "nas")
        self.assertEqual(self.complete(*add, "--echo", ""), ["answer", "ignore", "wake"])
        self.assertEqual(self.complete(*add, "--echo", "=", "w"), ["wake"])
        self.assertEqual(self.complete(*add, "--identity", "p"), ["proxy"])
        self.assertIn("tcp/any", self.complete(*add, "--wake", "t"))
        self.assertIn("lo", self.complete(*add, "--interface", "l"))
        self.assertIn("lo", self.complete("proxzzyd", "-i", "l"))
        self.assertEqual(self.complete("proxzzyd", "--log-level", "w"), ["warn"])
        self.assertEqual(self.complete("proxzzyd", "--config", str(SYSTEM / "completion.b")),
                         [str(SYSTEM / "completion.bash")])
        self.assertEqual(self.complete(*add, "--mac", ""), [])


class Zsh(unittest.TestCase):
    SCRIPT = r"""
        zmodload zsh/zpty
        zpty shell zsh -f -i
        read_until() {  # what the shell writes until a pattern is there
            local all part
            while zpty -r shell part; do
                all+=$part
                [[ $all == *$1* ]] && break
            done
            print -r -- $all
        }
        # the matches as they are, instead of a screen with them
        zpty -w shell "stty -echo; PS1=; fpath=($1 \$fpath); autoload -U compinit; compinit -u -D; COLUMNS=200
            compadd() { builtin compadd -O hits \"\$@\"; print -rl -- \$hits; builtin compadd \"\$@\" }
            print REA''DY"
        read_until READY >/dev/null
        shift
        for line in "$@"; do
            zpty -w -n shell "$line"$'\t'
            zpty -w -n shell $'\x15'"print -r -- EN''D"$'\n'
            read_until END
        done
        zpty -d shell
    """

    def complete(self, line, expected):
        """The matches, with `expected` among them.  A shell that is busy may take what is typed ahead for an end of the
        completion, so a few attempts are made."""
        for _ in range(5):
            found = self.matches(line)
            if expected <= found:
                break
        self.assertLessEqual(expected, found)
        return found

    def matches(self, line):
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(SYSTEM / "completion.zsh", Path(folder) / "_proxzzy")
            done = run("zsh", "-f", "-c", self.SCRIPT, "zsh", folder, line)
        self.assertEqual(done.returncode, 0, done.stderr)
        return set(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", done.stdout).split())

    def setUp(self):
        tool("zsh")

    def test_syntax(self):
        done = run("zsh", "-n", SYSTEM / "completion.zsh")
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_commands(self):
        self.complete("proxzzyctl ", {c.split()[0] for c in commands()})
        found = self.complete("proxzzyctl --json host ", {c.split()[1] for c in commands() if c.startswith("host ")})
        self.assertNotIn("hosts", found)

    def test_options_and_values(self):
        self.complete("proxzzyctl host add nas --", set(options("proxzzyctl", "host", "add")))
        self.complete("proxzzyd --", set(options("proxzzyd")))
        self.complete("proxzzyctl host add nas --echo ", {"answer", "ignore", "wake"})


class Unit(unittest.TestCase):
    def test_it_is_well_closed(self):
        """systemd's own measure from 0 (closed) to 10; what is left is what proxzzyd is there to do."""
        tool("systemd-analyze")
        done = run("systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=25",
                   BUILD / "system" / "proxzzyd.service")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


class Install(unittest.TestCase):
    def test_below_another_folder_and_back(self):
        with tempfile.TemporaryDirectory() as folder:
            def install(*argv):
                return subprocess.run([REPOSITORY / "scripts" / "install", *argv], capture_output=True, text=True,
                                      env={**ENVIRONMENT, "DESTDIR": folder, "PROXZZY_BUILD": str(BUILD)})

            def files():
                return {str(p.relative_to(folder)) for p in Path(folder).rglob("*") if not p.is_dir()}

            done = install()
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertLessEqual({"usr/local/sbin/proxzzyd", "usr/local/bin/proxzzyctl", "etc/proxzzy/proxzzyd.conf",
                                  "usr/local/lib/systemd/system/proxzzyd.service",
                                  "usr/local/share/man/man5/proxzzyd.conf.5",
                                  "usr/local/share/bash-completion/completions/proxzzyd",
                                  "usr/local/share/zsh/site-functions/_proxzzy"}, files())
            config = Path(folder) / "etc/proxzzy/proxzzyd.conf"
            config.write_text("interface = mine\n")
            self.assertEqual(install().returncode, 0)
            self.assertEqual(config.read_text(), "interface = mine\n", "an upgrade changed the configuration")
            self.assertEqual(install("--remove").returncode, 0)
            self.assertEqual(files(), {"etc/proxzzy/proxzzyd.conf"})
            self.assertEqual(install("--remove").returncode, 1)
            self.assertEqual(install().returncode, 0)
            self.assertEqual(install("--remove", "--purge").returncode, 0)
            self.assertEqual(files(), set())
            self.assertEqual(install("--nonsense").returncode, 2)


if __name__ == "__main__":
    unittest.main()
