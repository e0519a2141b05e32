"""CollectiveKV that starts from trained full KV, in whole runs on the CI spec: prepared, trained in one command, served as trained,
said in the report, and refused where it means nothing."""
import json
import pathlib
import unittest

from harness import CI, CKVSIM, HSTU, SDIM, SPEC, TWIN, OwnModel, launch, settings

TRAINER = pathlib.Path(CKVSIM).with_name("ckvsim-train")
NO_SERVING = settings(measurements__executed__enabled="false", measurements__simulated__enabled="false")
SIM = json.dumps(CI["model"])


def pools(name, start=None, scope="all"):
    weights = {"variant": "collective", "scope": scope, "d_u": 1, "m": 32, **({"start": start} if start else {})}
    return {"name": name, "weights": weights, "strategy": {"kind": "collective", "value_type": "fp16", "index_bytes": 2}}


def arms_of(scope="all"):
    full = {"name": "full_fp32", "weights": {"variant": "full"}, "strategy": {"kind": "full"}}
    return [full, *(pools(f"pools_{start}", start, scope) for start in ("random", "full", "full_silu"))]


class WarmStart(OwnModel):
    model = settings(arms=json.dumps(arms_of()))

    def must(self, *command):
        made = launch(command, self.folder)
        self.assertEqual(made.code, 0, str(made))
        return made

    @unittest.skipUnless(TRAINER.exists(), "ckvsim-train is not built")
    def test_one_command_trains_what_is_served(self):
        for name, model, scope in (("sim", SIM, "all"), ("twin", TWIN, "all"), ("sdim", SDIM, "released")):
            with self.subTest(name):
                own = settings(model=model, arms=json.dumps(arms_of(scope)), files__weights_dir=self.folder / name)
                self.must(CKVSIM, "prepare", SPEC, *self.base, *own, "-q", "-o", name + ".ckvt")
                warm = f"collective_{scope}_from_full_silu_du1_m32"
                # Alone, as a queue of single runs has it: nothing but the sample file is needed.
                alone = self.must(TRAINER, name + ".ckvt", "-q", "--only", warm)
                self.assertRegex(alone.out, r"epoch \d+ of \d+ from \d+ of \d+")
                first = (self.folder / name / f"{warm}_seed{CI['training']['seeds'][0]}.ckvt").read_bytes()
                rest = self.must(TRAINER, name + ".ckvt", "-q")
                self.assertIn("up to date", rest.out)
                self.assertEqual(first, (self.folder / name / f"{warm}_seed{CI['training']['seeds'][0]}.ckvt").read_bytes())
                self.must_run(name + ".h5", extra=[*NO_SERVING, *own])
                check = [line.split() for line in self.shown(name + ".h5", "serving_check").replace(",", "").splitlines()
                         if line.startswith(("full", "collective", "no_history"))]
                stems = {f"collective_{scope}{start}_du1_m32" for start in ("", "_from_full", "_from_full_silu")}
                self.assertLessEqual(stems, {row[1] for row in check})
                for row in check:
                    self.assertLessEqual(float(row[4]), 1e-5, " ".join(row))
                facts = [line.split() for line in self.shown(name + ".h5", "training").splitlines() if " start_" in line]
                self.assertEqual({row[0] for row in facts if row[0].endswith("m32")}, stems - {f"collective_{scope}_du1_m32"})
                self.assertEqual({row[2] for row in facts}, {"start_epochs", "start_best_epoch", "start_tune_auc"})
                for arm in arms_of(scope)[1:]:
                    self.assertIn(arm["name"], self.shown(name + ".h5", "accuracy"))

    def test_the_report_says_where_pools_started(self):
        self.must_run("whole.h5")
        table = self.shown("whole.h5", "arms").splitlines()
        for name, start in (("full_fp32", "-"), ("pools_random", "random"), ("pools_full", "full"), ("pools_full_silu", "full_silu")):
            self.assertIn(start, {word for line in table if line.split()[:1] == [name] for word in line.split()[1:]})
        summary = launch([CKVSIM, "show", "whole.h5"], self.folder).out
        lines = {line.split()[0]: line for line in reversed(summary.splitlines()) if line.startswith("pools_")}
        for name, scope in (("pools_random", " all "), ("pools_full", " all/warm "), ("pools_full_silu", " all/warm ")):
            self.assertIn(scope, lines[name])

    def test_a_random_start_is_what_was_before_there_was_a_choice(self):
        told = settings(arms=json.dumps([arms_of()[0], pools("pools", "random")]))
        silent = settings(arms=json.dumps([arms_of()[0], pools("pools")]))
        for name, arms in (("told", told), ("silent", silent)):
            self.must(CKVSIM, "prepare", SPEC, *self.base, *arms, "-q", "-o", name + ".ckvt")
        self.assertEqual((self.folder / "told.ckvt").read_bytes(), (self.folder / "silent.ckvt").read_bytes())
        self.assertNotIn(b"start", (self.folder / "told.ckvt").read_bytes()[:4096])

    def test_weights_of_another_start_are_refused(self):
        (self.folder / "swapped").mkdir()
        for file in (self.folder / "own").iterdir():
            (self.folder / "swapped" / file.name.replace("_from_full_silu_", "_from_x_").replace("_from_full_", "_from_full_silu_")
             .replace("_from_x_", "_from_full_")).write_bytes(file.read_bytes())
        outcome = self.run_spec("x.h5", extra=[*NO_SERVING, *settings(files__weights_dir=self.folder / "swapped")])
        self.assertEqual(outcome.code, 4, str(outcome))
        self.assertIn("holds weights of variant 'collective_all_from_full_silu_du1_m32', not 'collective_all_from_full_du1_m32'",
                      outcome.err)

    def test_where_it_means_nothing_it_is_refused(self):
        for change, pointer, words in (
                ({"arms__0__weights__start": "full"}, "/arms/0/weights/start", "\"full\" has no effect here"),
                ({"arms__1__weights__start": "warm"}, "/arms/1/weights/start", "is not known; allowed: random, full, full_silu"),
                ({"model": HSTU}, "/arms/2/weights/start", "start 'full' means nothing to model 'hstu'"),
                ({"model": HSTU}, "/arms/3/weights/start", "use 'random'")):
            with self.subTest(words):
                outcome = launch([CKVSIM, "validate", SPEC, *self.base, *settings(**change)], self.folder)
                self.assertEqual(outcome.code, 3, str(outcome))
                line = next((line for line in outcome.err.splitlines() if pointer in line), "")
                self.assertIn(words, line, outcome.err)


if __name__ == "__main__":
    unittest.main()
