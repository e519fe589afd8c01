# SPDX-License-Identifier: Apache-2.0
"""proxzzyctl against a running daemon: what it shows, what it refuses, and how."""

from case import test


@test()
def R32_C11_C13_the_command_line_shows_and_changes_the_table(lan):
    proxy = lan.proxy()
    host = lan.host
    assert proxy.ctl("capabilities")
    proxy.add(host, "sleeper", "--wake", "tcp/22", "--wake", "tcp/443", "--echo", "ignore")
    shown = proxy.ctl("host", "show", "sleeper")
    text = str(shown)
    for expected in ("sleeper", host.mac, *host.own_addresses, "443", "ignore", "awake"):
        assert expected in text, f"{expected} is not in {text}"
    assert "sleeper" in str(proxy.ctl("hosts"))
    plain = proxy.run_ctl("hosts", json_output=False)
    assert plain.returncode == 0 and "sleeper" in plain.stdout and "awake" in plain.stdout, plain.stdout
    proxy.ctl("host", "remove", "sleeper")
    assert "sleeper" not in str(proxy.ctl("hosts"))


@test()
def what_a_command_gets_wrong_is_named(lan):
    """Exit 1 (refused) or 2 (bad usage), one line that names the argument and its value, and the table as before."""
    proxy = lan.proxy()
    proxy.add(lan.host)
    before = proxy.ctl("hosts")
    other = ["--mac", "00:00:5e:00:53:77", "--ip", "192.0.2.77"]
    for code, names, args in (
            ((1, 2), "00:00:5e:00:53", ["host", "add", "x", "--mac", "00:00:5e:00:53", "--ip", "192.0.2.77"]),
            ((1, 2), "192.0.2.300", ["host", "add", "x", "--mac", "00:00:5e:00:53:77", "--ip", "192.0.2.300"]),
            ((1, 2), "tcp/70000", ["host", "add", "x", *other, "--wake", "tcp/70000"]),
            ((1, 2), "sometimes", ["host", "add", "x", *other, "--echo", "sometimes"]),
            ((1, 2), "5000", ["host", "add", "x", *other, "--vlan", "5000"]),
            ((1,), "nosuch0", ["host", "add", "x", *other, "--interface", "nosuch0"]),
            ((1,), lan.host.mac, ["host", "add", "x", "--mac", lan.host.mac, "--ip", "192.0.2.77"]),
            ((1,), lan.host.ip4, ["host", "add", "x", "--mac", "00:00:5e:00:53:77", "--ip", lan.host.ip4]),
            ((1,), "sleeper", ["host", "add", "sleeper", *other]),
            ((1,), "nobody", ["host", "sleep", "nobody"]),
            ((1,), "nobody", ["host", "show", "nobody"]),
            ((2,), "--nosuch", ["hosts", "--nosuch"]),
            ((2,), "dance", ["dance"]),
            ((2,), "dance", ["host", "dance", "sleeper"])):
        done = proxy.run_ctl(*args)
        assert done.returncode in code, f"{args}: exit {done.returncode}: {done.stderr}"
        assert names in done.stderr, f"{args}: {names} is not named in: {done.stderr}"
    assert [h["config"]["name"] for h in proxy.ctl("hosts")] == [h["config"]["name"] for h in before]


@test()
def without_a_daemon_the_command_line_says_so(lan):
    proxy = lan.proxy()
    proxy.stop()
    done = proxy.run_ctl("hosts")
    assert done.returncode == 1 and str(proxy.control) in done.stderr, f"exit {done.returncode}: {done.stderr}"
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
