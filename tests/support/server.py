# SPDX-License-Identifier: Apache-2.0
"""A service on the host: accepts TCP on the given ports (IPv4 and IPv6), greets with the port, then echoes.  Says who
came, one JSON object a line: {"t": CLOCK_MONOTONIC seconds, "event": "accept", "from": ..., "port": ...}."""

import json
import socket
import sys
import threading
import time


def serve(connection, port):
    with connection:
        connection.sendall(f"port {port}\n".encode())
        while data := connection.recv(4096):
            connection.sendall(data)


def accept(listener, port, log):
    while True:
        connection, address = listener.accept()
        log.write(json.dumps({"t": time.monotonic(), "event": "accept", "from": address[0].removeprefix("::ffff:"),
                              "port": port}) + "\n")
        threading.Thread(target=serve, args=(connection, port), daemon=True).start()


def main():
    path, *ports = sys.argv[1:]
    with open(path, "w", buffering=1) as log:
        threads = []
        for port in map(int, ports):
            listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=128)
            threads.append(threading.Thread(target=accept, args=(listener, port, log)))
        log.write(json.dumps({"t": time.monotonic(), "event": "ready"}) + "\n")
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main()
