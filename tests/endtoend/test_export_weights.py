"""workloads/examples/export_weights.py: a state dict becomes a weight file that ckvsim accepts, and serving agrees with it."""
import importlib.util
import json
import subprocess
import sys
import unittest

from harness import CALIBRATION, CKVSIM, ETA, HSTU, PLATFORM, SDIM, SOURCE, SPEC, TEST_WEIGHTS, TWIN, Scratch, launch, settings

SCRIPT = SOURCE / "workloads/examples/export_weights.py"
try:
    import numpy as np
    import xxhash  # noqa: F401  (the script needs it)
except ImportError:
    np = None


def load_script():
    found = importlib.util.spec_from_file_location("export_weights", SCRIPT)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@unittest.skipIf(np is None, "needs python3-numpy and python3-xxhash")
class ExportWeights(Scratch):
    MODEL = {}
    ARMS = (("full", "full"), ("full", "item_table"), ("full_silu", "full"))
    KEY = "short_attention.key.weight"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.script = load_script()
        arms = [{"name": f"{variant}_{kind}", "weights": {"variant": variant}, "strategy": {"kind": kind}}
                for variant, kind in cls.ARMS]
        cls.base = settings(files__platform=PLATFORM, files__calibration=CALIBRATION, training__seeds="[3]",
                            measurements__executed__enabled="false", measurements__simulated__enabled="false",
                            arms=json.dumps(arms), files__weights_dir=cls.folder / "exported", **cls.MODEL)
        # The controls (no history, mean pool) are ckvsim's own; exported files replace those of their variant.
        for command in ([TEST_WEIGHTS, SPEC, *cls.base], [CKVSIM, "prepare", SPEC, *cls.base, "-o", "s.ckvt", "-q"]):
            made = launch(command, cls.folder)
            if made.code != 0:
                raise AssertionError(str(made))
        cls.attributes, cls.samples = cls.script.read_ckvt(cls.folder / "s.ckvt")

    def state(self):
        """A random model under the names that the script expects."""
        shape = self.script.shape_of(self.attributes)
        random = np.random.default_rng(5)
        state = {}
        for name, (own, extent) in self.script.wanted_shapes(
                shape, self.samples["feature_vocabularies"], int(self.attributes["context_vocabulary"])).items():
            state[own] = random.normal(0, 0.3, extent).astype("f4")
            if name.startswith("embed.") and name != "embed.context":
                state[own][0] = 0
        return state

    def export(self, state, *arguments):
        np.savez(self.folder / "w.npz", **state)
        done = subprocess.run([sys.executable, "-B", SCRIPT, "s.ckvt", "w.npz", "--seed", "3", *arguments], cwd=self.folder,
                              capture_output=True, text=True, check=False, timeout=120)
        return done.returncode, done.stdout, done.stderr

    def test_exported_weights_are_served_as_they_score(self):
        variants = sorted({variant for variant, _ in self.ARMS})
        for variant in variants:
            code, out, err = self.export(self.state(), "--variant", variant)
            self.assertEqual((code, out), (0, f"{self.folder}/exported/{variant}_seed3.ckvt\n"), err)
        outcome = self.run_spec("exported.h5")
        self.assertEqual(outcome.code, 0, str(outcome))
        shown = launch([CKVSIM, "show", "exported.h5", "serving_check"], self.folder)
        for variant in variants:
            self.assertIn(variant, shown.out)

        # The check that accepted them sees a wrong logit.
        attributes, tensors = self.script.read_ckvt(self.folder / "exported/full_seed3.ckvt")
        tensors["ref.logit"] = tensors["ref.logit"] + np.float32(0.01)
        self.script.write_ckvt(str(self.folder / "exported/full_seed3.ckvt"), attributes, tensors)
        outcome = self.run_spec("wrong.h5")
        self.assertEqual(outcome.code, 4, str(outcome))
        self.assertIn("served scores differ", outcome.err)

    def test_weights_that_do_not_fit_are_refused(self):
        state = self.state()
        logits = np.array([logit for logit, _ in self.logits(state)])
        self.assertEqual(self.export({**state, "reference_logits": logits}, "-o", "x.ckvt")[0], 0)
        bent = logits.copy()
        bent[4] += 0.01
        key = self.KEY
        padded = state["embeddings.0.weight"].copy()
        padded[0] = 1
        for words, change in (("reference request 4", {"reference_logits": bent}),
                              ("has shape", {key: state[key][:, 1:]}),
                              ("row 0", {"embeddings.0.weight": padded}),
                              ("not finite", {key: state[key] * np.float32("nan")})):
            with self.subTest(words):
                code, _, err = self.export({**state, **change}, "-o", "x.ckvt")
                self.assertEqual(code, 4, err)
                self.assertIn(words, err)
        del state[key]
        self.assertIn(f"has no {key}", self.export(state, "-o", "x.ckvt")[2])

    def logits(self, state):
        shape = self.script.shape_of(self.attributes)
        wanted = self.script.wanted_shapes(shape, self.samples["feature_vocabularies"],
                                           int(self.attributes["context_vocabulary"]))
        kind = self.script.FORWARDS.get(shape["model"], self.script.Forward)
        forward = kind(self.script.collect(state, wanted), shape, self.samples["item_features"], False)
        return [forward.score(*request) for request in self.script.reference_requests(self.attributes, self.samples)]


class ExportTwin(ExportWeights):
    MODEL = {"model": TWIN}


class ExportEta(ExportWeights):
    MODEL = {"model": ETA}


class ExportSdim(ExportWeights):
    MODEL = {"model": SDIM}


class ExportHstu(ExportWeights):
    MODEL = {"model": HSTU}
    ARMS = (("full", "full"), ("full", "recompute"))
    KEY = "layer1_attention.key.weight"

    def test_it_has_no_variant_of_its_own_for_silu(self):
        code, _, err = self.export(self.state(), "--variant", "full_silu", "-o", "x.ckvt")
        self.assertEqual(code, 4, err)
        self.assertIn("HSTU has no variant full_silu", err)


if __name__ == "__main__":
    unittest.main()
