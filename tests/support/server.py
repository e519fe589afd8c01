# SPDX-License-Identifier: Apache-2.0
"""A service on each of some hosts: accepts TCP on the given ports (IPv4 and IPv6), greets with the port, then echoes.
Says who came, one JSON object a line: {"t": CLOCK_MONOTONIC seconds, "event": "accept", "from": ..., "port": ...}."""

import argparse
import json
import selectors
import socket
import threading
import time

from netns import Namespace


def serve(connection, port):
    with connection:
        connection.sendall(f"port {port}\n".encode())
        while data := connection.recv(4096):
            connection.sendall(data)


def accept(listener, port, log):
    connection, address = listener.accept()
    log.write(json.dumps({"t": time.monotonic(), "event": "accept", "from": address[0].removeprefix("::ffff:"),
                          "port": port}) + "\n")
    threading.Thread(target=serve, args=(connection, port), daemon=True).start()


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--host", nargs=2, action="append", required=True, metavar=("NAMESPACE", "LOG"))
    options.add_argument("--ports", nargs="+", type=int, required=True)
    args = options.parse_args()

    listeners = selectors.DefaultSelector()
    for namespace, path in args.host:
        log = open(path, "w", buffering=1)
        for port in args.ports:
            with Namespace(namespace).entered():
                listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=128)
            listeners.register(listener, selectors.EVENT_READ, (port, log))
        log.write(json.dumps({"t": time.monotonic(), "event": "ready"}) + "\n")
    while True:
        for key, _ in listeners.select():
            accept(key.fileobj, *key.data)


if __name__ == "__main__":
    main()
