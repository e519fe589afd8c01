# SPDX-License-Identifier: Apache-2.0
"""scripts/conformance: which tests prove what, and when the check fails."""

import contextlib
import importlib.machinery
import importlib.util
import io
import pathlib
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True  # scripts/ stays as it is
SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "conformance"
loader = importlib.machinery.SourceFileLoader("conformance", str(SCRIPT))
conformance = importlib.util.module_from_spec(importlib.util.spec_from_loader("conformance", loader))
sys.modules["conformance"] = conformance
loader.exec_module(conformance)

HEADER = "clause\tnumber\tlevel\trequirement\tstate\tnote\n"
TABLE = (
    HEADER
    + "6.1 Ethernet\tR1\tM\tOdd frames are ignored.\tdone\n"
    + "6.1 Ethernet\tR2\tS\tLink loss.\topen\n"
    + "6.2 Wi-Fi\tR3\tM\tStation.\tn/a\tnot offered\n"
)


def junit(**status_by_name):
    return junit_of(status_by_name)


def junit_of(status_by_name):
    cases = "".join(f'<testcase name="{name}" status="{status}"/>' for name, status in status_by_name.items())
    return f'<?xml version="1.0" encoding="UTF-8"?><testsuite name="x">{cases}</testsuite>'


class Requirements(unittest.TestCase):
    def refused(self, text, word):
        with self.assertRaisesRegex(ValueError, word):
            conformance.read_requirements(text)

    def test_the_real_table_is_whole(self):
        rows = conformance.read_requirements((SCRIPT.parents[1] / "docs" / "requirements.tsv").read_text())
        self.assertEqual(90, len(rows))

    def test_each_error_is_named(self):
        self.refused("", "line 1")
        self.refused("number\tlevel\n", "line 1")
        self.refused(HEADER + "6.1\tR1\tM\twords\n", "line 2 has 4 fields")
        self.refused(HEADER + "6.1\tR1\tM\twords\tdone\t\tmore\n", "line 2 has 7 fields")
        self.refused(HEADER + "6.1\tR2\tM\twords\tdone\n", "R1 comes next")
        self.refused(TABLE + "6.2\tR3\tM\tagain\tdone\n", "R4 comes next")
        self.refused(HEADER + "6.1\tR1\tX\twords\tdone\n", "level 'X'")
        self.refused(HEADER + "6.1\tR1\tM\twords\tfinished\n", "state 'finished'")
        self.refused(HEADER + "6.1\tR1\tM\twords\tpart\n", "needs a reason")
        self.refused(HEADER + "6.1\tR1\tM\twords\tn/a\n", "needs a reason")


class Names(unittest.TestCase):
    def numbers(self, name):
        return sorted(conformance.read_results([junit_of({name: "run"})]).passed)

    def test_a_number_is_a_word_of_its_own(self):
        self.assertEqual(["R18"], self.numbers("bpf.R18_broadcast"))
        self.assertEqual(["R30"], self.numbers("unit.Table.R30_SynWakes"))
        self.assertEqual(["R30"], self.numbers("net.R30"))
        self.assertEqual(["R18", "R20"], self.numbers("bpf.Arp.R18_R20_Reply"))
        self.assertEqual(["R18", "R20"], self.numbers("bpf/R18-R20"))

    def test_what_only_looks_like_one(self):
        self.assertEqual([], self.numbers("unit.XR3_a"))
        self.assertEqual([], self.numbers("unit.R3a"))
        self.assertEqual([], self.numbers("unit.3R3_a"))
        self.assertEqual([], self.numbers("unit.r3_a"))
        self.assertEqual([], self.numbers("unit.R_3"))

    def test_instances_of_a_parameterised_test_are_one(self):
        text = junit_of({"bpf.All/Arp.R18_Tags/0": "run", "bpf.All/Arp.R18_Tags/a/b": "run"})
        results = conformance.read_results([text])
        self.assertEqual({"bpf.All/Arp.R18_Tags"}, results.passed["R18"])

    def test_only_what_passed_counts(self):
        text = junit_of({"R1_a": "run", "R2_a": "fail", "R3_a": "notrun", "R4_a": "disabled"})
        results = conformance.read_results([text])
        self.assertEqual(["R1"], sorted(results.passed))
        self.assertEqual(["R2"], sorted(results.failed))

    def test_files_add_up(self):
        results = conformance.read_results([junit(R1_a="run"), junit(R1_b="run", R1_a="run")])
        self.assertEqual({"R1_a", "R1_b"}, results.passed["R1"])


class Command(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        (self.folder / "requirements.tsv").write_text(TABLE)
        self.document = self.folder / "conformance.md"

    def run_script(self, *arguments, **status_by_name):
        results = self.folder / "tests.xml"
        results.write_text(junit(**status_by_name))
        self.output = io.StringIO()
        with contextlib.redirect_stderr(self.output), contextlib.redirect_stdout(self.output):
            return conformance.main(["--docs", str(self.folder), str(results), *arguments])

    def test_what_was_written_checks(self):
        self.assertEqual(0, self.run_script(R1_odd="run", other="fail"))
        text = self.document.read_text()
        self.assertIn("| R1 | M | Odd frames are ignored. | done | `R1_odd` |", text)
        self.assertIn("| R2 | S | Link loss. | open |  |", text)
        self.assertIn("| R3 | M | Station. | n/a: not offered |  |", text)
        self.assertIn("| M (mandatory) | 1 | 0 | 0 | 1 |", text)
        self.assertEqual(0, self.run_script("--check", R1_odd="run"))

    def test_order_of_the_results_does_not_matter(self):
        self.run_script(R1_b="run", R1_a="run")
        self.assertEqual(0, self.run_script("--check", R1_a="run", R1_b="run"))

    def test_done_without_a_test_fails(self):
        for status in ("notrun", "disabled"):
            self.assertEqual(1, self.run_script(R1_odd=status))
            self.assertIn("R1 is done, but no passed test carries its number", self.output.getvalue())
            self.assertEqual(1, self.run_script("--check", R1_odd=status))

    def test_done_with_a_failed_test_fails(self):
        self.assertEqual(1, self.run_script(R1_good="run", R1_bad="fail"))
        self.assertIn("R1 is done, but R1_bad failed", self.output.getvalue())

    def test_an_unknown_number_fails(self):
        self.assertEqual(1, self.run_script(R1_odd="run", R4_more="run"))
        self.assertIn("R4_more carries R4", self.output.getvalue())

    def test_a_stale_document_fails_and_stays(self):
        self.run_script(R1_odd="run")
        before = self.document.read_text()
        self.assertEqual(1, self.run_script("--check", R1_odd="run", R1_new="run"))
        self.assertIn("stale", self.output.getvalue())
        self.assertIn("+| R1 | M | Odd frames are ignored. | done | `R1_new`<br>`R1_odd` |", self.output.getvalue())
        self.assertEqual(before, self.document.read_text())

    def test_a_missing_document_is_stale(self):
        self.assertEqual(1, self.run_script("--check", R1_odd="run"))
        self.assertFalse(self.document.exists())

    def test_a_bad_table_or_result_is_a_usage_error(self):
        with self.assertRaises(SystemExit) as exit_:
            (self.folder / "requirements.tsv").write_text(HEADER + "x\n")
            self.run_script(R1_odd="run")
        self.assertEqual(2, exit_.exception.code)
        self.assertIn("requirements.tsv: line 2", self.output.getvalue())
        (self.folder / "requirements.tsv").write_text(TABLE)
        with contextlib.redirect_stderr(io.StringIO()), self.assertRaises(SystemExit) as exit_:
            conformance.main(["--docs", str(self.folder), str(self.folder / "none.xml")])
        self.assertEqual(2, exit_.exception.code)


if __name__ == "__main__":
    unittest.main()
