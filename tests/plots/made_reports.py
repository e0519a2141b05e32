"""Reports changed on purpose, for tests: other texts, more arms, more tables. Sealed again."""
import json
import os
import shutil
import sys

import h5py
import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "scripts"))
from plotting import seal  # noqa: E402  (needs the path above)

INJECTION = "</script><img src=x onerror=window.injected=1>"


def copy(source, path, change):
    """A report that differs from `source` by change(h5py file)."""
    shutil.copy(source, path)
    with h5py.File(path, "r+") as file:
        change(file)
    seal.renew(path)
    return path


def texts(values):
    return np.array([v.encode("utf-8") if isinstance(v, str) else v for v in values], dtype=np.bytes_)


def set_column(group, name, values):
    """Replaces a column, keeping its description."""
    described = dict(group[name].attrs)
    del group[name]
    group[name] = values
    for key, value in described.items():
        group[name].attrs[key] = value


def set_spec(file, spec):
    del file["spec"]
    file["spec"] = texts([json.dumps(spec)])


def spec(file):
    value = file["spec"][()]
    value = value if isinstance(value, bytes) else bytes(np.asarray(value).reshape(-1)[0])
    return json.loads(value.rstrip(b"\0"))


def add_table(file, name, meaning, columns):
    """columns: (name, unit, provenance, values)"""
    group = file["tables"].create_group(name)
    group.attrs["meaning"], group.attrs["wall_clock"] = meaning, 0
    group.attrs["rows"] = len(columns[0][3])
    for column, unit, provenance, values in columns:
        group[column] = texts(values) if isinstance(values[0], str) else np.array(values)
        group[column].attrs["unit"], group[column].attrs["provenance"] = unit, provenance
        group[column].attrs["meaning"] = f"{column} of a made-up table"


def hostile(source, path):
    """Markup in every text that a report holds."""
    def change(file):
        for table in file["tables"].values():
            for name in list(table):
                if "arm" == name:
                    old = [v.decode() for v in table[name][()]]
                    set_column(table, name, texts([f"{v}{INJECTION}" if v == "full_fp32" else v
                                                   for v in old]))
                elif table[name].dtype.kind == "S" and name in ("refusal", "weights", "unit", "reason"):
                    set_column(table, name, texts([INJECTION] * len(table[name])))
            table.attrs["meaning"] = INJECTION
            for column in table.values():
                column.attrs["meaning"] = INJECTION
        one = file["tables/arms"]
        set_column(one, "applies", np.where(np.arange(len(one["applies"])) == 1, 0, 1))
        set_spec(file, {**spec(file), "name": INJECTION, "description": INJECTION})
        for key in list(file["provenance"].attrs):
            file["provenance"].attrs[key] = INJECTION
        file["provenance"].attrs[INJECTION] = INJECTION
        file["hash"].attrs["logical"] = INJECTION
        del file["notes"]
        file["notes"] = texts([INJECTION, "<!-- a comment <script>"])
        add_table(file, INJECTION.replace("/", "|"), INJECTION,
                  [("load " + INJECTION.replace("/", "|"), INJECTION, "key", [1.0, 2.0]),
                   ("p99_ns", "ns", INJECTION, [1.0, 2.0])])
    return copy(source, path, change)


def sweep(source, path, count):
    """`count` arms, made by repeating those of `source` under new names."""
    def change(file):
        arms = [v.decode() for v in file["tables/arms/arm"][()]]
        rounds = -(-count // len(arms))
        allowed = {f"{arm}.{turn}" for turn in range(rounds) for arm in arms}
        allowed = set(sorted(allowed)[:count])
        for table in file["tables"].values():
            if "arm" not in table:
                continue
            old = [v.decode() for v in table["arm"][()]]
            rows = [(row, f"{old[row]}.{turn}") for turn in range(rounds) for row in range(len(old))
                    if f"{old[row]}.{turn}" in allowed]
            take = np.array([row for row, _ in rows], dtype=int)
            factor = np.array([1 + 0.01 * int(name.rsplit(".", 1)[1]) for _, name in rows])
            for name in list(table):
                values = table[name][()]
                scaled = values.dtype.kind == "f" and name in ("bytes", "latency_ns", "mean_ns",
                                                               "bytes_per_interaction", "p99_ns")
                set_column(table, name, texts([n for _, n in rows]) if name == "arm" else
                           values[take] * factor if scaled else values[take])
            table.attrs["rows"] = len(rows)
    return copy(source, path, change)


def with_load_sweep(source, path):
    """Adds a load sweep, a time series and a spectrum that no figure knows by name."""
    arms = ["full_fp32", "collective_fp16"]
    loads = [1000.0, 2000.0, 4000.0, 8000.0]
    key = [(arm, load) for arm in arms for load in loads]

    def change(file):
        add_table(file, "load_sweep", "latency against offered load (made up)",
                  [("arm", "text", "key", [a for a, _ in key]),
                   ("offered_per_s", "1/s", "key", [v for _, v in key]),
                   ("p99_ns", "ns", "simulated", [1e6 * v / 1000 for _, v in key]),
                   ("hit_ratio", "1", "simulated", [0.5 + 0.01 * i for i in range(len(key))])])
        add_table(file, "fleet_windows", "the fleet over time (made up)",
                  [("window", "1", "key", list(range(20))),
                   ("queue_depth", "requests", "simulated", [float(i % 7) for i in range(20)])])
        changed = spec(file)
        changed["fleet"]["slo_ms"] = 5
        set_spec(file, changed)
    return copy(source, path, change)
