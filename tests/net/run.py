# SPDX-License-Identifier: Apache-2.0
"""Runs one network test: run.py NAME.  run.py --list [FILE...] names them all, or those of test_FILE.py.  PROXZZY_BUILD is the build folder.
Exit status: 0 passed, 1 failed, 77 skipped (a failure with PROXZZY_REQUIRE_ALL=1)."""

import importlib
import os
import signal
import sys
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path[:0] = [str(HERE), str(HERE.parent / "support")]

from case import TESTS, Skip  # noqa: E402

SKIPPED = 77


def main(folders=(HERE,)):
    for folder in folders:
        for path in sorted(folder.glob("test_*.py")):
            importlib.import_module(path.stem)
    match sys.argv[1:]:
        case ["--list", *files]:
            print(*(name for name, body in TESTS.items() if not files or body.__module__.removeprefix("test_") in files),
                  sep="\n")
            return 0
        case [name] if name in TESTS:
            pass
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        if os.geteuid() != 0:
            raise Skip("not root")
        TESTS[name]()
    except Skip as reason:
        print(f"skipped: {reason}")
        return 1 if os.environ.get("PROXZZY_REQUIRE_ALL") == "1" else SKIPPED
    except Exception:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
