# SPDX-License-Identifier: Apache-2.0
"""The kernels group: what each kernel of the matrix says of the programs, by the compiler that made them."""

from row import Row

KERNELS = {"own": "this machine's kernel", "6.1": "Linux 6.1", "6.12": "Linux 6.12"}
INSTRUCTIONS, MILLISECONDS = 120_000, 60


def of_program(kernel, compiler, direction):
    name, text = f"kernels/{direction}/{kernel}/{compiler}", f"{KERNELS[kernel]}, {compiler}, {direction}"
    rows = [Row(name, None, "<=", INSTRUCTIONS, f"{text}: instructions that the verifier looked at", "instructions")]
    if kernel == "own":
        rows.append(Row(name, None, "<=", MILLISECONDS, f"{text}: to load, with its maps"))
    return rows


ROWS = [row for kernel in KERNELS for compiler in ("clang-14", "clang-19") for direction in ("ingress", "egress")
        for row in of_program(kernel, compiler, direction)]
