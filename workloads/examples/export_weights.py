#!/usr/bin/python3
"""Writes weights that were trained elsewhere as a weight file of ckvsim (sim/docs/tensor_file.md), for a model with the forward
pass of SIM, TWIN, ETA, SDIM or HSTU (header comment of sim/model/sim.hpp). A complete example: copy it and change NAMES.

usage: export_weights.py SAMPLES WEIGHTS [--seed 1] [--variant full|full_silu] [-o FILE]
  SAMPLES  what `ckvsim prepare SPEC` wrote: shapes, catalogue and the reference requests
  WEIGHTS  a state dict: .npz (numpy.savez), or .pt / .pth (torch.save; needs torch)
  FILE     default: where the spec looks for this variant and seed
A vector `reference_logits` among the weights holds your own model's logits of the reference requests, in their order; the
script then refuses weights that this forward pass would score differently. Packages: python3-numpy, python3-xxhash.
Exit codes: 0 written, 2 command line, 4 the weights do not fit.
"""
import argparse
import os
import struct
import sys

import numpy as np
import xxhash

# ckvsim's tensor <- name in your state dict. nn.Linear stores [out, in], as ckvsim does; a layer that stores [in, out] is
# transposed by writing "T:" before its name. {f}: feature number, {l}: layer of the tower, {site}: short, long (SDIM has no long
# one); of HSTU layer1, layer2, ..., which have a gate and biases of positions besides.
#! [names]
NAMES = {
    "embed.{f}": "embeddings.{f}.weight",
    "embed.context": "context_embedding.weight",
    "{site}.wq": "{site}_attention.query.weight",
    "{site}.wk": "{site}_attention.key.weight",
    "{site}.wv": "{site}_attention.value.weight",
    "{site}.wo": "{site}_attention.output.weight",
    "{site}.wg": "{site}_attention.gate.weight",
    "{site}.bias": "{site}_attention.position_bias",
    "search.wq": "search.query.weight",
    "search.wk": "search.key.weight",
    "hash.planes": "search.planes",
    "tower.{l}.w": "tower.{l}.weight",
    "tower.{l}.b": "tower.{l}.bias",
}
#! [names]
TYPES = {"float32": 1, "uint8": 4, "uint32": 6, "uint64": 8}
KINDS = dict(enumerate("f4 f2 i1 u1 i4 u4 i8 u8 f8".split(), 1))
NONE = 0xFFFFFFFF
BUCKETS = 32  # biases of a head of HSTU, by distance
SHAPE_KEYS = "feature_dim attention_dim heads short_tokens top_k max_tokens context_dim".split()
OWN_KEYS = ["search_dim", "hash_bits", "hashes", "layers"]  # of SIM, ETA and SDIM, SDIM, HSTU


class Unfit(Exception):
    """Weights that cannot be exported, in words."""


def read_ckvt(path):
    with open(path, "rb") as file:
        data = file.read()
    if data[:8] != b"CKVTNSR1":
        raise Unfit(f"{path}: not a tensor file; make it with: ckvsim prepare SPEC")
    at = 8

    def take(form):
        nonlocal at
        values = struct.unpack_from("<" + form, data, at)
        at += struct.calcsize("<" + form)
        return values if len(values) > 1 else values[0]

    def text():
        nonlocal at
        size = take("I")
        at += size
        return data[at - size:at].decode()

    _, attribute_count, tensor_count, _ = take("4I")
    attributes, tensors = {}, {}
    for _ in range(attribute_count):
        key = text()
        attributes[key] = text()
    for _ in range(tensor_count):
        name, kind, rank = text(), take("B"), take("B")
        shape = [take("q") for _ in range(rank)]
        offset, size = take("Q"), take("Q")
        tensors[name] = np.frombuffer(data, "<" + KINDS[kind], size // int(KINDS[kind][1]), offset).reshape(shape)
    return attributes, tensors


def write_ckvt(path, attributes, tensors):
    def text(value):
        return struct.pack("<I", len(value.encode())) + value.encode()

    order = sorted(tensors)
    header = b"CKVTNSR1" + struct.pack("<4I", 1, len(attributes), len(order), 0)
    header += b"".join(text(key) + text(attributes[key]) for key in sorted(attributes))
    at = len(header) + sum(4 + len(name.encode()) + 2 + 8 * tensors[name].ndim + 16 for name in order)
    blocks = []
    for name in order:
        values = np.ascontiguousarray(tensors[name])
        pad = -at % 64
        at += pad
        header += text(name) + struct.pack("<BB", TYPES[values.dtype.name], values.ndim)
        header += struct.pack(f"<{values.ndim}q", *values.shape) + struct.pack("<2Q", at, values.nbytes)
        blocks += [b"\0" * pad, values.tobytes()]
        at += values.nbytes
    content = header + b"".join(blocks)
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with open(path + ".partial", "wb") as file:
        file.write(content + struct.pack("<Q", xxhash.xxh3_64_intdigest(content)))
    os.replace(path + ".partial", path)


def load_state(path):
    if path.endswith(".npz"):
        with np.load(path) as archive:
            return dict(archive)
    import torch  # pylint: disable=import-outside-toplevel
    state = torch.load(path, map_location="cpu", weights_only=True)
    return {name: tensor.detach().to(torch.float32).numpy() for name, tensor in state.items()}


def shape_of(attributes):
    """Widths and counts of a sample file; OWN_KEYS belong to some models, HSTU has no branches, SDIM no top_k."""
    shape = {key: int(attributes[key]) for key in [*SHAPE_KEYS, *OWN_KEYS] if key in attributes}
    shape["tower"] = [int(width) for width in attributes["tower"].split(",")]
    shape["model"] = attributes.get("model", "sim")
    return shape


def wanted_shapes(shape, vocabularies, context_vocabulary):
    """ckvsim's tensor -> (its name in the state dict, its shape)."""
    d, wide = shape["attention_dim"], len(vocabularies) * shape["feature_dim"]
    wanted = {f"embed.{f}": (("f", f), (int(rows), shape["feature_dim"])) for f, rows in enumerate(vocabularies)}
    wanted["embed.context"] = (None, (context_vocabulary, shape["context_dim"]))
    hstu, sdim = (shape["model"] == model for model in ("hstu", "sdim"))
    branches = ["short"] if sdim else ["short", "long"]
    for site in [f"layer{layer + 1}" for layer in range(shape["layers"])] if hstu else branches:
        if hstu:
            wanted[f"{site}.wg"] = (("site", site), (d, wide))
            wanted[f"{site}.bias"] = (("site", site), (shape["heads"], BUCKETS))
        for side in ("wq", "wk", "wv"):
            wanted[f"{site}.{side}"] = (("site", site), (d, wide))
        wanted[f"{site}.wo"] = (("site", site), (wide, d))
    if shape["model"] == "sim":
        wanted["search.wq"] = wanted["search.wk"] = (None, (shape["search_dim"], wide))
    if shape["model"] in ("eta", "sdim"):
        wanted["hash.planes"] = (None, (shape["hash_bits"] * shape.get("hashes", 1), wide))
    into = (2 if hstu else 3) * wide + shape["context_dim"]
    for layer, out in enumerate([*shape["tower"], 1]):
        wanted[f"tower.{layer}.w"] = (("l", layer), (out, into))
        wanted[f"tower.{layer}.b"] = (("l", layer), (out,))
        into = out
    named = {}
    for name, (hole, extent) in wanted.items():
        template = name
        if hole and hole[0] == "site":
            template = name.replace(hole[1], "{site}")
        elif hole:
            template = name.replace(f".{hole[1]}", "." + "{" + hole[0] + "}", 1)
        named[name] = (NAMES[template].format(**(dict([hole]) if hole else {})), extent)
    return named


def collect(state, wanted):
    tensors = {}
    for name, (own, extent) in wanted.items():
        transposed, own = own.startswith("T:"), own.removeprefix("T:")
        if own not in state:
            raise Unfit(f"the state dict has no {own} for {name}; it has: {', '.join(sorted(state))}")
        values = state[own].T if transposed else state[own]
        if values.shape != extent:
            raise Unfit(f"{own} has shape {list(values.shape)}, {name} needs {list(extent)}")
        tensors[name] = np.array(values, dtype="<f4")
        if not np.isfinite(tensors[name]).all():
            raise Unfit(f"{own} holds a value that is not finite")
        if name.startswith("embed.") and name != "embed.context" and tensors[name][0].any():
            raise Unfit(f"{own}: row 0 pads histories and must be zero (padding_idx=0)")
    return tensors


def norm(x):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)


class Forward:
    """The forward pass in double precision; replace it by your model to test another."""

    def __init__(self, tensors, shape, features, silu):
        self.w = {name: values.astype(np.float64) for name, values in tensors.items()}
        self.shape = shape
        self.items = np.concatenate([self.w[f"embed.{f}"][row] for f, row in enumerate(features)], axis=1)
        self.act = (lambda x: x / (1 + np.exp(-x))) if silu else (lambda x: x)

    def attention(self, site, candidate, tokens):
        d, heads = self.shape["attention_dim"], self.shape["heads"]
        if len(tokens) == 0:
            return np.zeros_like(candidate)
        q = self.act(self.w[f"{site}.wq"] @ candidate).reshape(heads, -1)
        k = self.act(self.items[tokens] @ self.w[f"{site}.wk"].T).reshape(len(tokens), heads, -1)
        v = self.act(self.items[tokens] @ self.w[f"{site}.wv"].T).reshape(len(tokens), heads, -1)
        scores = np.einsum("hd,thd->ht", q, k) / np.sqrt(d / heads)
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        return self.w[f"{site}.wo"] @ np.einsum("ht,thd->hd", weights, v).reshape(d)

    def search(self, candidate, tokens):
        if self.shape["model"] == "twin":
            return self.act(self.items[tokens] @ self.w["long.wk"].T) @ self.act(self.w["long.wq"] @ candidate)
        if self.shape["model"] == "eta":
            planes = self.w["hash.planes"]
            return -np.sum((self.items[tokens] @ planes.T > 0) != (planes @ candidate > 0), axis=1)
        return (self.items[tokens] @ self.w["search.wk"].T) @ (self.w["search.wq"] @ candidate)

    def score(self, tokens, item, context):
        """(logit, positions of the top k tokens, ascending)."""
        candidate = self.items[item]
        search = self.search(candidate, tokens)
        # Highest first; of equal scores the newer token.
        ranked = sorted(range(len(tokens)), key=lambda j: (search[j], j), reverse=True)
        top = sorted(ranked[:self.shape["top_k"]])
        short = self.attention("short", candidate, tokens[-self.shape["short_tokens"]:])
        return self.tower([candidate, short, self.attention("long", candidate, tokens[top])], context), top

    def tower(self, parts, context):
        x = np.concatenate([*parts, self.w["embed.context"][context]])
        last = len(self.shape["tower"])
        for layer in range(last + 1):
            x = self.w[f"tower.{layer}.w"] @ x + self.w[f"tower.{layer}.b"]
            if layer < last:
                x = np.maximum(x, 0)
        return x[0]


class SdimForward(Forward):
    """The same for SDIM: the long branch is made of the tokens in the candidate's buckets."""

    def __init__(self, tensors, shape, features, silu):
        super().__init__(tensors, shape, features, silu)
        above = self.items @ self.w["hash.planes"].T > 0
        above = above.reshape(len(self.items), shape["hashes"], shape["hash_bits"])
        self.buckets = (above << np.arange(shape["hash_bits"])).sum(axis=2).astype("u1")

    def score(self, tokens, item, context):
        candidate = self.items[item]
        older = np.zeros_like(candidate)
        for bucket, own in zip(self.buckets[tokens].T, self.buckets[item]):
            total = self.items[tokens[bucket == own]].sum(axis=0)
            older += total / max(np.linalg.norm(total), 1e-12) / self.shape["hashes"]
        short = self.attention("short", candidate, tokens[-self.shape["short_tokens"]:])
        return self.tower([candidate, short, older], context), []


class HstuForward(Forward):
    """The same for HSTU: the candidate is the last token of its sequence."""

    def __init__(self, tensors, shape, features, silu):
        if silu:
            raise Unfit("HSTU has no variant full_silu: its layers apply SiLU anyway; use --variant full")
        super().__init__(tensors, shape, features, True)
        distance = np.arange(shape["max_tokens"] + 1)
        steps = np.log(np.maximum(distance, 16) / 16) / np.log(128 / 16) * 16
        self.bucket = np.where(distance < 16, distance, np.minimum(16 + steps.astype(int), BUCKETS - 1))

    def score(self, tokens, item, context):
        x = self.items[[*tokens, item]]
        count, d = len(x), self.shape["attention_dim"]
        distance = np.arange(count)[:, None] - np.arange(count)
        for layer in range(self.shape["layers"]):
            w = {side: self.w[f"layer{layer + 1}.{side}"] for side in ("wq", "wk", "wv", "wg", "wo", "bias")}
            state = norm(x)
            q, k, v = (self.act(state @ w[side].T).reshape(count, self.shape["heads"], -1) for side in ("wq", "wk", "wv"))
            scores = np.einsum("ihd,jhd->hij", q, k) + w["bias"][:, self.bucket[np.abs(distance)]]
            weights = np.where(distance >= 0, self.act(scores) / self.shape["max_tokens"], 0)
            attended = np.einsum("hij,jhd->ihd", weights, v).reshape(count, d)
            x = x + (norm(attended) * self.act(state @ w["wg"].T)) @ w["wo"].T
        return self.tower([self.items[item], x[-1]], context), []


def reference_requests(attributes, samples):
    """(history, oldest first; candidate; context) of every reference request."""
    longest = int(attributes["max_tokens"])
    offsets, items = samples["timeline.offsets"], samples["timeline.items"]
    for row in range(len(samples["reference.item"])):
        begin = int(offsets[samples["reference.user"][row]])
        end = begin + int(samples["reference.history_end"][row])
        yield (items[max(begin, end - longest):end], int(samples["reference.item"][row]),
               int(samples["reference.context"][row]))


def reference_block(forward, attributes, samples, own_logits):
    requests = list(reference_requests(attributes, samples))
    results = [forward.score(*request) for request in requests]
    logits = np.array([logit for logit, _ in results])
    if own_logits is not None:
        if own_logits.shape != logits.shape:
            raise Unfit(f"reference_logits has {own_logits.size} values, there are {logits.size} reference requests")
        worst = int(np.argmax(np.abs(own_logits - logits)))
        if abs(own_logits[worst] - logits[worst]) > 1e-4 * (1 + abs(logits[worst])):
            raise Unfit(f"reference request {worst}: your model says {own_logits[worst]:.6g}, this forward pass with these weights "
                        f"{logits[worst]:.6g}; compare NAMES and the contract in sim/model/sim.hpp")
        logits = own_logits
    block = {
        "ref.offsets": np.cumsum([0, *(len(tokens) for tokens, _, _ in requests)]).astype("<u8"),
        "ref.tokens": np.concatenate([tokens for tokens, _, _ in requests]).astype("<u4"),
        "ref.candidate": np.array([item for _, item, _ in requests], dtype="<u4"),
        "ref.context": np.array([context for _, _, context in requests], dtype="<u4"),
        "ref.logit": logits.astype("<f4"),
    }
    if "top_k" in forward.shape:
        padded = [top + [NONE] * (forward.shape["top_k"] - len(top)) for _, top in results]
        block["ref.topk"] = np.array(padded, dtype="<u4")
    if "hashes" in forward.shape:
        block["ref.signature"] = forward.buckets
    return block


FORWARDS = {"sdim": SdimForward, "hstu": HstuForward}  # of SIM, TWIN and ETA: Forward


def export(samples_path, state, variant, seed, output):
    attributes, samples = read_ckvt(samples_path)
    shape = shape_of(attributes)
    state = dict(state)
    own_logits = state.pop("reference_logits", None)
    tensors = collect(state, wanted_shapes(shape, samples["feature_vocabularies"], int(attributes["context_vocabulary"])))
    forward = FORWARDS.get(shape["model"], Forward)(tensors, shape, samples["item_features"], variant == "full_silu")
    tensors.update(reference_block(forward, attributes, samples, own_logits))
    output = output or os.path.join(attributes["weights_dir"], f"{variant}_seed{seed}.ckvt")
    keys = [*SHAPE_KEYS, *OWN_KEYS, "model", "tower", "catalogue_digest"]
    facts = {key: attributes[key] for key in keys if key in attributes}
    facts.update({"format": "ckvsim-sim-1", "variant": variant, "seed": str(seed), "train.method": "exported"})
    write_ckvt(output, facts, tensors)
    return output


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("samples")
    parser.add_argument("weights")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--variant", choices=["full", "full_silu"], default="full")
    parser.add_argument("-o", "--output")
    arguments = parser.parse_args()
    try:
        print(export(arguments.samples, load_state(arguments.weights), arguments.variant, arguments.seed, arguments.output))
    except (Unfit, OSError) as error:
        print(f"export_weights.py: {error}", file=sys.stderr)
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main())
