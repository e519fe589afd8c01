# SPDX-License-Identifier: Apache-2.0
"""Configuration by files: what proxzzyd reads, what it says to what is wrong, and what a reload changes."""

import json
import os
import signal

from case import connect_and_check, test
from lan import REPOSITORY, wait_until
from netns import run
from proxy import Proxy, program
from test_daemon import assert_nothing_left, traces


class Files:
    """proxzzyd.conf and hosts.d of a LAN's gateway."""

    def __init__(self, lan):
        self.lan = lan
        self.folder = lan.folder / "etc"
        self.config = self.folder / "proxzzyd.conf"
        (self.folder / "hosts.d").mkdir(parents=True)
        self.write_config()

    def write_config(self, *more):
        lines = ["# this LAN", *(f"interface = {s.gateway.interface}" for s in self.lan.segments),
                 f"control = {self.lan.folder}/proxzzyd.sock", f"bpffs = {self.lan.bpffs}/proxzzy",
                 f"state = {self.lan.folder}/proxzzyd.state", *more]
        self.config.write_text("\n".join(lines) + "\n")

    def host(self, name):
        return self.folder / "hosts.d" / f"{name}.conf"

    def write_host(self, name, node, *more):
        lines = [f"mac = {node.mac}", *(f"ip = {address}" for address in node.own_addresses), *more]
        self.host(name).write_text("\n".join(lines) + "\n")

    def check(self, *more):
        """`proxzzyd --check-config`: exit status and what it says."""
        done = self.lan.gateway_ns.run(program("proxzzyd"), "--config", self.config, "--check-config", *more,
                                       check=False)
        return done.returncode, (done.stdout + done.stderr).strip()

    def proxy(self, *options):
        """A daemon that is told nothing but the file."""
        proxy = Proxy(self.lan, *options, config=self.config)
        proxy.command = lambda: [program("proxzzyd"), "--config", self.config, *options]
        proxy.start()
        return proxy


def reload(proxy):
    """SIGHUP; returns what the daemon logged while it reloaded."""
    before = len(proxy.text())
    proxy.process.send_signal(signal.SIGHUP)
    wait_until("the daemon has reloaded", lambda: "reloaded: " in proxy.text()[before:])
    return proxy.text()[before:]


@test()
def hosts_in_files_are_served_like_others(lan):
    files = Files(lan)
    files.write_host("sleeper", lan.host, "wake = tcp/22")
    proxy = files.proxy()
    proxy.put_to_sleep(lan.host)
    connect_and_check(lan, proxy, lan.host.ip4)


@test("nc")
def C30_ports_of_services_wake_hosts_of_files(lan):
    files = Files(lan)
    files.write_host("sleeper", lan.host, "wake = tcp/22", "hostname = sleeper.local", "group = 239.1.2.3",
                     'service = _sip._udp,_phone 5060 "The \\x23 phone" "note=first floor" flag # its desk')
    files.host("other").write_text("mac = 00:00:5e:00:53:77\nip = 192.0.2.77\nhostname = SLEEPER.local\n")
    code, text = files.check()
    assert code == 2 and "hostname 'sleeper.local': host 'other' on the same network has 'SLEEPER.local'" in text, text
    files.host("other").unlink()
    proxy = files.proxy()
    config = proxy.ctl("host", "show", "sleeper")["config"]
    assert config["hostname"] == ["sleeper.local"] and config["group"] == ["239.1.2.3"], config
    assert config["service"] == [{"type": "_sip._udp", "subtype": ["_phone"], "port": 5060, "instance": "The # phone",
                                  "txt": ["note=first floor", "flag"]}], config
    for address in (lan.host.ip4, lan.host.ip6):
        proxy.put_to_sleep(lan.host)
        lan.client.run("nc", "-u", "-N", "-w", "1", "-q", "0", address, "5060", input="wake up\n")
        proxy.wait_state("awake")
        assert proxy.ctl("why", "sleeper")["wakes"][-1]["rule"] == "udp/5060"
        lan.host.wait_settled()


@test()
def check_config_says_what_is_wrong_and_touches_nothing(lan):
    before = traces(lan)
    files = Files(lan)
    files.write_host("sleeper", lan.host)
    assert files.check() == (0, "proxzzyd: the configuration is right; hosts from files: 1"), files.check()
    files.write_host("double", lan.host)
    files.host("broken").write_text("mac 00:00:5e:00:53:01\n")
    code, text = files.check()
    assert code == 2, f"exit {code}: {text}"
    for expected in (f"{files.host('broken')}: line \"mac 00:00:5e:00:53:01\": must be KEY = VALUE",
                     f"{files.host('sleeper')}: mac {lan.host.mac}: belongs to host 'double'"):
        assert expected in text, f"{expected} is not in:\n{text}"
    files.write_config("identity = router")
    assert files.check() == (2, f"proxzzyd: {files.config}: identity 'router' is unknown: host or proxy")
    assert files.check("--identity", "proxy")[1].count("router") == 0, "the command line does not win"
    files.config.unlink()
    files.config.mkdir()
    assert files.check() == (1, f"proxzzyd: {files.config}: Is a directory"), files.check()
    assert_nothing_left(lan, before)


@test()
def a_broken_file_keeps_the_daemon_from_starting(lan):
    """Named by file, one line each, and nothing is touched."""
    before = traces(lan)
    files = Files(lan)
    files.write_host("sleeper", lan.host, "ecko = wake")
    done = lan.gateway_ns.run(program("proxzzyd"), "--config", files.config, check=False, timeout=20)
    assert done.returncode == 2 and str(files.host("sleeper")) in done.stderr and '"ecko"' in done.stderr, done
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert_nothing_left(lan, before)


@test()
def control_does_not_change_what_a_file_says(lan):
    files = Files(lan)
    files.write_host("sleeper", lan.host)
    proxy = files.proxy()
    before = proxy.ctl("host", "show", "sleeper")["config"]
    add = ["host", "add", "sleeper", "--mac", lan.host.mac, "--ip", lan.host.ip4]
    for args in ([*add, "--replace"], add, ["host", "remove", "sleeper"]):
        done = proxy.run_ctl(*args)
        assert done.returncode == 1 and str(files.host("sleeper")) in done.stderr, f"{args}: {done.stderr}"
    assert proxy.ctl("host", "show", "sleeper")["config"] == before
    proxy.put_to_sleep(lan.host)  # everything else is for control to do
    proxy.ctl("host", "release", "sleeper")


@test()
def a_reload_adds_changes_and_removes_hosts(lan):
    files = Files(lan)
    files.write_host("one", lan.host)
    proxy = files.proxy()
    proxy.ctl("host", "add", "by-hand", "--mac", "00:00:5e:00:53:77", "--ip", "192.0.2.77")
    files.write_host("one", lan.host, "echo = wake")
    files.host("two").write_text("mac = 00:00:5e:00:53:78\nip = 192.0.2.78\n")
    reload(proxy)
    echo = {h["config"]["name"]: h["config"]["echo"] for h in proxy.ctl("hosts")}
    assert echo == {"by-hand": "answer", "one": "wake", "two": "answer"}, echo
    files.host("two").unlink()
    reload(proxy)
    assert [h["config"]["name"] for h in proxy.ctl("hosts")] == ["by-hand", "one"]
    proxy.ctl("host", "add", "two", "--mac", "00:00:5e:00:53:78", "--ip", "192.0.2.78")  # free again


@test()
def a_reload_with_a_broken_file_changes_nothing_of_it(lan):
    files = Files(lan)
    files.write_host("one", lan.host)
    files.host("two").write_text("mac = 00:00:5e:00:53:78\nip = 192.0.2.78\n")
    proxy = files.proxy()
    before = proxy.ctl("hosts")
    files.host("one").write_text("mac = nonsense\n")
    files.host("two").write_text("mac = 00:00:5e:00:53:78\nip = 192.0.2.78\necho = ignore\n")
    files.write_config("log-level = loud")
    said = reload(proxy)
    for expected in (f"{files.host('one')}: mac", "nonsense", f"{files.config}: log-level 'loud' is unknown"):
        assert expected in said, f"{expected} is not in:\n{said}"
    after = proxy.ctl("hosts")
    assert after[0]["config"] == before[0]["config"], "the host of the broken file changed"
    assert after[1]["config"]["echo"] == "ignore", "the host of the good file did not change"
    os.rename(files.folder / "hosts.d", files.folder / "gone")
    assert "there is no such folder" in reload(proxy)
    assert len(proxy.ctl("hosts")) == 2, "hosts are lost with their folder"


@test()
def a_reload_changes_the_log_level_and_names_what_takes_a_restart(lan):
    files = Files(lan)
    proxy = files.proxy()
    files.write_config("log-level = debug", "max-hosts = 10", "answer-without-daemon = 30")
    said = reload(proxy)
    for option in ("max-hosts", "answer-without-daemon"):
        assert f"{option} has changed and takes effect when proxzzyd is restarted" in said, said
    assert "log-level has changed" not in said, said
    assert proxy.ctl("capabilities")["max_hosts"] == 65536
    files.write_config("log-level = error")
    proxy.process.send_signal(signal.SIGHUP)
    wait_until("SIGHUP is handled", lambda: proxy.run_ctl("status").returncode == 0)
    files.write_host("one", lan.host)
    quiet = len(proxy.text())
    proxy.process.send_signal(signal.SIGHUP)
    wait_until("the host is there", lambda: proxy.ctl("hosts"))
    assert proxy.text()[quiet:] == "", f"said at log level error: {proxy.text()[quiet:]}"


@test()
def a_sleeping_host_follows_its_file_when_it_is_awake(lan):
    files = Files(lan)
    files.write_host("sleeper", lan.host)
    proxy = files.proxy()
    proxy.put_to_sleep(lan.host)
    files.write_host("sleeper", lan.host, "echo = ignore")
    assert "keeps its record until it is awake" in reload(proxy)
    shown = proxy.ctl("host", "show", "sleeper")
    assert (shown["state"], shown["config"]["echo"]) == ("asleep", "answer"), shown
    connect_and_check(lan, proxy, lan.host.ip4)
    wait_until("the file applies", lambda: proxy.ctl("host", "show", "sleeper")["config"]["echo"] == "ignore", 15)


@test()
def a_site_moves_to_another_gateway(lan):
    """What one daemon exports, hosts of files too, another one has after it was applied; who sleeps is refused by name."""
    files = Files(lan)
    files.write_host("printer", lan.host, "auto = yes", "echo = ignore")
    old = files.proxy()
    old.ctl("host", "add", "desk", "--mac", "00:00:5e:00:53:77", "--ip", "192.0.2.77", "--wake", "tcp/22",
            "--wake", "udp/any", "--identity", "proxy", "--magic-port", "40000")
    password = lan.folder / "password"
    password.write_text("01:23:45:67:89:ab\n")
    old.ctl("host", "add", "nas", "--mac", "00:00:5e:00:53:78", "--ip", "192.0.2.78", "--ip", "2001:db8::78",
            "--secureon-file", password, "--allow-from", "192.0.2.0/24", "--deny-from", "2001:db8::/64",
            "--wakes-per-hour", "7", "--wakes-per-source", "0", "--min-wake-interval", "5", "--quiet", "23:00-07:00")
    exported = old.run_ctl("export", json_output=False)
    assert exported.returncode == 0 and "other side for: nas\n" in exported.stderr, exported
    assert f"[printer]\n# configured by the file {files.host('printer')}\n" in exported.stdout, exported.stdout
    assert "01:23:45" not in exported.stdout, exported.stdout
    configs = [host["config"] for host in old.ctl("hosts")]
    assert [host["config"] for host in old.ctl("export")] == configs
    site = lan.folder / "site.conf"
    site.write_text(exported.stdout)
    ctl = f"{program('proxzzyctl')} --control {old.control}"
    piped = run(["sh", "-c", f"{ctl} export | {ctl} apply -"])
    assert piped.stdout == "0 added, 0 changed, 3 unchanged\n", piped
    old.stop()

    new = lan.proxy(name="second")
    assert new.ctl("hosts") == []
    # the operator gives the password to the new gateway
    site.write_text(exported.stdout.replace("[nas]\n", "[nas]\nsecureon-file = password\n"))
    done = new.run_ctl("apply", site, json_output=False)
    assert (done.returncode, done.stdout) == (0, "3 added, 0 changed, 0 unchanged\n"), done
    assert [host["config"] for host in new.ctl("hosts")] == configs
    again = new.run_ctl("export", json_output=False)
    assert words(again.stdout) == words(exported.stdout)

    new.ctl("host", "sleep", "desk")
    site.write_text(again.stdout.replace("magic-port = 9\n", "magic-port = 19\n").replace("40000", "40001"))
    done = new.run_ctl("apply", site, json_output=False)
    assert (done.returncode, done.stdout) == (1, "0 added, 2 changed, 0 unchanged\n"), done
    assert "1 refused\ndesk: " in done.stderr, done.stderr
    ports = {host["config"]["name"]: host["config"]["magic_port"] for host in new.ctl("hosts")}
    assert ports == {"desk": 40000, "nas": 19, "printer": 19}, ports
    site.write_text(again.stdout + "sometimes = yes\n")
    done = new.run_ctl("apply", site)
    assert done.returncode == 1 and "section [printer]: key" in json.loads(done.stderr)["error"], done
    assert {host["config"]["name"]: host["config"]["magic_port"] for host in new.ctl("hosts")} == ports


def words(text):
    """Without the comments, which say from which file of which gateway a host is."""
    return [line for line in text.splitlines() if not line.startswith("#")]


@test("bash")
def completion_knows_the_daemons_hosts(lan):
    proxy = lan.proxy()
    proxy.add(lan.host, "nas")
    proxy.ctl("host", "add", "desk", "--mac", "00:00:5e:00:53:77", "--ip", "192.0.2.77")

    def complete(*words):
        script = (f'PATH="{program("proxzzyctl").parent}:$PATH"; source "{REPOSITORY}/scripts/system/completion.bash"; '
                  'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _proxzzy "$1"; printf "%s\\n" "${COMPREPLY[@]}"')
        return run(["bash", "--norc", "-c", script, "bash", *words]).stdout.split()

    control = ("--control", str(proxy.control))
    assert complete("proxzzyctl", *control, "host", "sleep", "") == ["desk", "nas"]
    assert complete("proxzzyctl", *control, "host", "show", "n") == ["nas"]
    assert complete("proxzzyctl", *control, "host", "add", "") == [], "a new host's name is not known"
    assert complete("proxzzyctl", *control, "ex") == ["explain", "export"]
    (lan.folder / "site.conf").touch()
    assert complete("proxzzyctl", *control, "apply", f"{lan.folder}/si") == [f"{lan.folder}/site.conf"]
    proxy.stop()
    assert complete("proxzzyctl", *control, "host", "sleep", "") == []
