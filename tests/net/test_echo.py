# SPDX-License-Identifier: Apache-2.0
"""ping and ping -6 to a sleeper."""

from case import assert_slept, sleeper, test


@test("ping")
def ping_of_a_sleeper_is_answered(lan):
    proxy = sleeper(lan)
    client, host = lan.client, lan.host
    client.flush_neighbours()
    for address in (host.ip4, host.ip6, host.temp, f"{host.ll}%eth0"):
        for size in (0, 56, 1400):
            done = client.run("ping", "-n", "-c", "3", "-i", "0.05", "-W", "2", "-s", size, address)
            assert "3 received" in done.stdout, done.stdout
            assert not any(word in done.stdout for word in ("wrong", "DUP", "duplicates", "errors")), done.stdout
    for address in (host.ip4, host.ip6):
        assert client.neighbour(address)["lladdr"] == host.mac
    assert proxy.counters()["echo-answered"] == 36
    assert_slept(lan, proxy)


@test("ping")
def ping_of_a_sleeper_that_ignores_echo_gets_nothing(lan):
    proxy = sleeper(lan, "--echo", "ignore")
    client, host = lan.client, lan.host
    for address in (host.ip4, host.ip6):
        assert client.run("ping", "-n", "-c", "2", "-i", "0.2", "-W", "1", address, check=False).returncode == 1
    assert proxy.counters()["echo-ignored"] == 4
    assert_slept(lan, proxy)


@test("ping")
def ping_wakes_a_host_that_asks_for_it(lan):
    proxy = sleeper(lan, "--echo", "wake")
    client, host = lan.client, lan.host
    done = client.run("ping", "-n", "-c", "1", "-W", "10", host.ip4)
    assert "1 received" in done.stdout, "the echo request that woke the host was not delivered to it"
    proxy.wait_state("awake")
