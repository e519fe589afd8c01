# SPDX-License-Identifier: Apache-2.0
"""tests/net/run.py in a guest: with the tests of this folder too, which need what only its kernel has."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "net"))

import run  # noqa: E402

sys.path.insert(0, str(HERE))
sys.exit(run.main((run.HERE, HERE)))
