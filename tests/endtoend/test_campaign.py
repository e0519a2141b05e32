"""scripts/campaign: two cells searched, trained, run and tabulated; kept when repeated, redone when changed, refused before work."""
import fcntl
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

from harness import CI, CKVSIM, ENVIRONMENT, HSTU, PLATFORM, SOURCE, SPEC, launch

sys.path.insert(0, str(SOURCE / "scripts"))
from campaigning import tables  # noqa: E402  (needs the path above)
from campaigning.campaign_file import CampaignError  # noqa: E402  (needs the path above)
from campaigning.programs import Programs  # noqa: E402

TRAINER = pathlib.Path(CKVSIM).with_name("ckvsim-train")
PROGRAM = ["/usr/bin/python3", "-B", SOURCE / "scripts/campaign"]
SMALL = {"/files/platform": str(PLATFORM), "/measurements/executed/enabled": False, "/measurements/simulated/enabled": False,
         "/training/seeds": [1, 2], "/training/epochs": 1, "/measurements/accuracy/bootstrap_replicates": 20,
         "/measurements/accuracy/controls": ["no_history", "mean_pool"]}


def campaign(**changes):
    content = {
        "name": "small", "description": "Two models.", "trial_set": {"/training/seeds": [9]},
        "trials": {"other": [{"/training/learning_rate": 0.001}, {"/training/learning_rate": 0.05}],
                   "collective": [{"/training/learning_rate": 0.001}, {"/training/balance_weight": 0.01}]},
        "cells": [{"cell": "one", "spec": str(SPEC), "set": {**SMALL, "/model": CI["model"]}},
                  {"cell": "two", "spec": str(SPEC), "set": {**SMALL, "/model": json.loads(HSTU)}}]}
    return {**content, **changes}


class CampaignTest(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ckvsim-endtoend-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def queue(self, content, *arguments):
        path = self.folder / "small.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return launch([*PROGRAM, path, "-o", "out", "--work", "work", "--build", pathlib.Path(CKVSIM).parents[1], *arguments],
                      self.folder, timeout_s=500)

    def refused(self, content, code, *pieces):
        outcome = self.queue(content)
        self.assertEqual(outcome.code, code, str(outcome))
        for piece in pieces:
            self.assertIn(piece, outcome.err)
        self.assertFalse((self.folder / "work").exists(), "work was begun")

    def text(self):
        return (self.folder / "out/tables.md").read_text()


@unittest.skipUnless(TRAINER.exists(), "ckvsim-train is not built")
class Runs(CampaignTest):
    def test_a_queue_is_searched_run_tabulated_and_kept(self):
        first = self.queue(campaign(), "--only", "two")
        self.assertEqual(first.code, 0, str(first))
        shown = self.text()
        self.assertIn("| not run |", shown)  # cell one
        self.assertIn("does not apply", shown)  # an item table of HSTU
        self.assertIn("depend on the tokens before", shown)
        record = json.loads((self.folder / "out/two.json").read_text())
        self.assertNotIn('"sides"', json.dumps(record["wanted"]), "cells from before there was the key stay finished")
        for key in ("start", "teacher", "distil_weight", "distil_temperature"):
            self.assertNotIn(f'"{key}"', json.dumps(record["wanted"]), "likewise")
        for stem, choice in record["chosen"].items():
            aucs = [trial["tune_auc"] for trial in choice["trials"]]
            self.assertEqual(len(aucs), 2, stem)
            best = choice["trials"][aucs.index(max(aucs))]
            self.assertEqual(choice["settings"], best["settings"])
            self.assertEqual(len(set(aucs)), 2, f"{stem}: the settings of a trial had no effect")

        second = self.queue(campaign())
        self.assertEqual(second.code, 0, str(second))
        self.assertIn("== one (cell 1 of 1", second.out)
        self.assertNotIn("== two", second.out)
        self.assertNotIn("not run", self.text())
        self.assertTrue((self.folder / "out/plots/accuracy_models.png").exists())

        third = self.queue(campaign(), "--tables")
        self.assertEqual((third.code, third.out.count("==")), (0, 0), str(third))
        changed = campaign(trial_set={"/training/seeds": [8]})
        listed = self.queue(changed, "--list")
        self.assertEqual(listed.out.count("stale"), 2, str(listed))

    def test_the_run_serves_the_weights_of_the_chosen_trial(self):
        done = self.queue(campaign(cells=campaign()["cells"][:1]))
        self.assertEqual(done.code, 0, str(done))
        chosen = json.loads((self.folder / "out/one.json").read_text())["chosen"]
        table = launch([CKVSIM, "show", "out/one.h5", "training"], self.folder)
        self.assertEqual(table.code, 0, str(table))
        rates = {words[0]: float(words[-1]) for words in map(str.split, table.out.splitlines()) if "learning_rate" in words}
        for stem, choice in chosen.items():
            expected = choice["settings"].get("/training/learning_rate", CI["training"].get("learning_rate", 0.001))
            self.assertAlmostEqual(rates[stem], expected, places=9, msg=stem)


    def test_a_killed_queue_goes_on_where_it_was(self):
        content = campaign(cells=campaign()["cells"][:1])
        (self.folder / "small.json").write_text(json.dumps(content))
        command = [*PROGRAM, "small.json", "-o", "out", "--work", "work", "--build", pathlib.Path(CKVSIM).parents[1]]
        with subprocess.Popen([str(part) for part in command], cwd=self.folder, env=ENVIRONMENT, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, start_new_session=True) as queue:
            for line in queue.stdout:
                if line.startswith("trained 2 of "):
                    break
            os.killpg(queue.pid, signal.SIGKILL)
        self.assertEqual(queue.returncode, -signal.SIGKILL)
        with open(next((self.folder / "work").rglob("lock")), "rb") as held:  # its trainers hold it until they are gone, too
            fcntl.flock(held, fcntl.LOCK_EX)
        self.assertFalse((self.folder / "out/one.json").exists())
        kept = {path: path.stat().st_mtime_ns for path in (self.folder / "work").rglob("*_seed*.ckvt")}
        self.assertGreaterEqual(len(kept), 2)

        again = self.queue(content)
        self.assertEqual(again.code, 0, str(again))
        self.assertEqual({path: path.stat().st_mtime_ns for path in kept}, kept, "what was trained was trained again")
        self.assertIn("0 trained, 1 up to date", again.out)
        self.assertTrue((self.folder / "out/one.h5").exists())


class Kept(unittest.TestCase):
    def test_the_share_of_a_gain_in_gauc_and_logloss(self):
        full, none, arm = ({"gauc": g, "logloss": l} for g, l in ((0.7, 0.50), (0.6, 0.60), (0.65, 0.58)))
        self.assertEqual(tables.kept(arm, full, none, "gauc"), "50 %")
        self.assertEqual(tables.kept(arm, full, none, "logloss"), "20 %")
        self.assertEqual(tables.kept(full, full, none, "logloss"), "100 %")
        for without_gain in (None, full):
            self.assertEqual(tables.kept(arm, full, without_gain, "gauc"), "–")


class Divergence(CampaignTest):
    def test_a_diverged_trial_leaves_no_weights_of_an_earlier_search(self):
        (self.folder / "bin").mkdir()
        for name, body in (("ckvsim", "exit 0"), ("ckvsim-train", "echo 'x diverged: the loss is inf' >&2; exit 4")):
            program = self.folder / "bin" / name
            program.write_text(f"#!/bin/sh\n{body}\n")
            program.chmod(0o755)
        old = self.folder / "full_seed9.ckvt"
        old.write_text("of another learning rate")
        programs = Programs(str(self.folder), 1)
        programs.train([(str(self.folder / "samples.ckvt"), "full", "9")], may_diverge=True)
        self.assertFalse(old.exists())
        with self.assertRaises(CampaignError):
            programs.train([(str(self.folder / "samples.ckvt"), "full", "9")])


class Refusals(CampaignTest):
    def test_broken_campaigns_are_refused_before_any_work(self):
        for content, pieces in (
                ("{", ["is not JSON"]),
                ("[]", ["expected an object"]),
                (campaign(cells=[]), ["/cells", "one at least"]),
                (campaign(name="A b"), ["/name", "small letters"]),
                ({**campaign(), "cell": []}, ["/cell", "unknown key"]),
                (campaign(cells=[campaign()["cells"][0]] * 2), ["/cells/1/cell", "comes twice"]),
                (campaign(cells=[{"cell": "x", "spec": "none.json"}]), ["/cells/0/spec", "is no file"]),
                (campaign(cells=[{"cell": "x", "spec": str(SPEC), "set": {"seed": 1}}]), ["/cells/0/set"]),
                (campaign(cells=[{"cell": "x", "spec": str(SPEC), "set": {"/arms/0/weights/m": 8}}]), ["/cells/0/set", "as a whole"]),
                (campaign(trials={"other": [{}]}), ["/trials", "would be tuned"]),
                (campaign(trials={"other": [{}], "collective": [{}, {"/seed": 2}]}), ["unequal tuning"]),
                (campaign(trials={"other": [{}, {}], "collective": [{}, {"/seed": 2}]}), ["/trials/other", "comes twice"]),
                (campaign(trials={"other": [{}] * 5, "collective": [{}] * 5}), ["1 to 4"])):
            with self.subTest(pieces[0] + pieces[-1]):
                self.refused(content, 3, *pieces)

    def test_a_spec_that_cannot_run_ends_the_queue_before_the_first_cell(self):
        cells = campaign()["cells"]
        cells[1]["set"]["/model/heads"] = 5
        self.refused(campaign(cells=cells), 3, "/model/heads")

    def test_a_misspelt_arm_is_an_error_not_an_arm_that_does_not_apply(self):
        for change in ({"value_type": "int9"}, {"value_typ": "fp16"}, {"kind": "low_rank", "rank": 4096}):
            arms = [dict(arm, strategy=dict(arm["strategy"])) for arm in CI["arms"]]
            arms[1]["strategy"].update(change)
            cells = campaign()["cells"][:1]
            cells[0]["set"]["/arms"] = arms
            with self.subTest(change):
                self.refused(campaign(cells=cells), 3, "/arms/1/")

    @unittest.skipUnless(TRAINER.exists(), "ckvsim-train is not built")
    def test_a_second_queue_in_the_same_folder_is_refused(self):
        (self.folder / "work").mkdir()
        with open(self.folder / "work/lock", "w", encoding="utf-8") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            outcome = self.queue(campaign())
        self.assertEqual(outcome.code, 5, str(outcome))
        self.assertIn("is at work here", outcome.err)

    def test_missing_programs_and_cells_are_named(self):
        self.assertEqual(self.queue(campaign(), "--only", "three").code, 2)
        outcome = self.queue(campaign(), "--build", "nowhere")
        self.assertEqual(outcome.code, 5)
        self.assertIn("cmake --build", outcome.err)


if __name__ == "__main__":
    unittest.main()
