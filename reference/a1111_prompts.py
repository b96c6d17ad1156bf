"""Writes what A1111 makes of prompts: crates/text/tests/prompts.json and crates/calotype/tests/goldens/contexts.json.

    python reference/a1111_prompts.py --webui CHECKOUT --tokenizer FOLDER

CHECKOUT is a stable-diffusion-webui tree of 1.10 (or one that still has its `modules/`, such as a merge of it); its own
`prompt_parser`, `extra_networks`, `sd_hijack_clip`, `sd_emphasis` and `textual_inversion` are imported, everything else
of it is left out. FOLDER has CLIP's vocab.json and merges.txt. Needs `lark` (A1111 pins 1.1.2), torch and transformers.

That version of lark takes one of several readings of some prompts with stray brackets by the hash seed of the process.
Schedules are therefore computed under several seeds, and random prompts that come out differently are left out.

Contexts are those of a random text encoder, its weights by the formula of formula.py, in f64.
"""

import argparse
import importlib
import importlib.abc
import importlib.machinery
import json
import os
import pathlib
import random
import subprocess
import sys
import types
from unittest import mock

import torch

CRATES = pathlib.Path(__file__).resolve().parent.parent / "crates"
REAL = {"prompt_parser", "extra_networks", "sd_hijack_clip", "sd_emphasis", "textual_inversion",
        "textual_inversion.textual_inversion", "processing_scripts", "processing_scripts.comments"}
HASH_SEEDS = "0123"

WORDS = ["a", "red", " ", "cat, ", "(", "(", ")", ")", "[", "[", "]", "]", ":", ":", "|", "1.2", ".5", "3", "\\", "\\(",
         " BREAK ", "BREAK", "[a:b:2]", "[a|b]", "(dog:1.3)", "[d]", " 3 ", "\n", " AND ", "AND:.7", "é", "\u00a0"]
SCHEDULES = [  # (prompt, base steps, hires steps or None)
    (text, 10, None) for text in [
        "test", "a [b:3]", "a [b: 3 ] c", "a [[[b]]:2]", "[(a:2):3]", "a [b : c : 1] d", "a[b:[c:d:2]:1]e",
        "a [unbalanced", "a [b:.5] c", "a [{b|d{:.5] c", "((a][:b:c [d:3]", "[a|(b:1.1)]", "[fe|]male", "[fe|||]male",
        "[a::4]", "[:a:4]", "[::4]", "[a:b:1e0]", "[a:b:2.]", "[a:b:-1]", "[a:b:0]", "[a:b:99]", "[a:b:1.5]", "[a|b:3]",
        "[[a|b]|[c|d|e]]", "[[a|b]:c:5]", "[a:[b|c]:5]", "a | b [c:2]", "a\\", "a\\[b:c:2]", "[a\\:b:2]", "(a|b)",
        "[()|[a:2]]", "[x:[a:2]:3]", "[x:[a:2:3]", "([a:2]:1.3)", "[a:b:2](c:1.2)[d|e]",
        "fantasy [mountain:lake:0.25] and [an oak:a christmas tree:0.75][ in foreground::0.6][: in background:0.25] "
        "[shoddy:masterful:0.5]"]
] + [(text, 10, 8) for text in ["a [b:.5] c", "a [b:1.5] c", "a [b:12] c", "[a|b] [c::1.25]", "[a:b:9]"]]
# With "Use old prompt editing timelines".
OLD_SCHEDULES = [(text, 10, hires) for hires in (None, 8) for text in [
    "a [b:.5] c", "a [b:1.5] c", "[a:b:1.0]", "[a:b:0.99]", "[a:b:3]", "[a:b:-0.5]", "[a:b:12]", "[a|b] [c::1.25]"]]
TEXTS = [
    "", " ", "normal text", "an (important) word", "(unbalanced", "\\(literal\\]", "(unnecessary)(parens)",
    "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).", "a ((((b]]]] c", "(a:1.2", "a:1.2)", "(a: -0.5 )", "(a:+.5)",
    "(a\\:1.2)", "\\\\(a)", "a\\b", "[[[a]]]:1", "(a (b [c:1.5) d) e", "one BREAK two", "one(BREAK)two", "aBREAK b",
    "BREAK BREAK\nBREAK", "(x BREAK y:1.3) z", "a (b:1.2)(c:1.2) d", "<lora:x:0.5>a <b:c>", "a # comment\nb",
    ", ".join(f"item {i} of a long list" for i in range(30)), "word " * 75, "word " * 76, "word " * 160,
    "a, " + "word " * 72 + "tail tail", "a, b, " + "word " * 55 + "c, " + "x " * 16 + "(y:1.3) " * 10,
    "word " * 54 + ", " + "tail " * 30, "word " * 55 + ", " + "tail " * 30, "word " * 74 + ", tail", "word " * 75 + ", tail",
    "<|endoftext|> x", "a cat :0.5", "a cat AND a dog", "a cat:1.2 AND (a dog:0.7):-0.3 AND", "cAND AND ANDy",
    "[a AND b:2]", "[cat:dog:0.5] AND [x|y] :2", "x [y BREAK z:2] AND long " + "word " * 80, "(a:0)", "(((a:0.1)))",
    "<lora:detail:0.7:te=0.5> (portrait:1.15), <hypernet:style> <lyco:x:unet=1> <weird> <:a>",
    "#only a comment", "a #x\n#y\n#z\nb", "日本語 (猫:1.4), 🐙 [ö]", "(½:1.2) it's 'LL",
]
NAMES = {"my-style": 3, "my-style-two": 2, "ugly, hands": 5, "wide": 75, "word": 4}
EMBEDDED = [
    "a my-style cat", "my-style-two, (my-style:1.3)", "ugly, hands ugly,hands", "a wide b", "words word (word) wordy",
    "word " * 20, "x, " + "y " * 68 + "my-style z", "x " * 60 + ", " + "y " * 12 + "my-style", "wide", "MY-STYLE",
]
CONTEXTS = [  # (prompt, steps, clip skip, emphasis)
    ("a lighthouse in the fog", 10, 1, "Original"),
    ("a (lighthouse:1.4) in the [fog]", 10, 1, "Original"),
    ("a (lighthouse:1.4) in the [fog]", 10, 2, "Original"),
    ("a (lighthouse:1.4) in the [fog]", 10, 3, "No norm"),
    ("a (lighthouse:1.4) in the [fog]", 10, 1, "Ignore"),
    ("a (lighthouse:1.4) in the [fog]", 10, 2, "None"),
    ("one (two:0.6) BREAK three " + "(four:1.1), " * 40, 10, 1, "Original"),
    ("a [(cat:1.5):dog BREAK (bowl:0.8):0.4] [x|y]", 6, 2, "Original"),
    ("a [cat:dog:3] AND (fog:1.2) BREAK sea :0.5 AND [a:b::2", 6, 1, "Original"),
]


# Every clip skip of Stable Diffusion's twelve layers.
SKIPS = [("a (lighthouse:1.4) in the [fog]", 4, clip_skip, "Original") for clip_skip in range(1, 13)]


class Stubs(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Everything of the checkout that is not needed, and what it would need."""

    def find_spec(self, name, path=None, target=None):
        package, _, rest = name.partition(".")
        if package == "modules" and rest and rest not in REAL:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        module = mock.MagicMock(name=spec.name)
        module.__path__ = []
        return module

    def exec_module(self, module):
        pass


def webui(checkout):
    package = types.ModuleType("modules")
    package.__path__ = [str(pathlib.Path(checkout) / "modules")]
    sys.modules["modules"] = package
    sys.meta_path.insert(0, Stubs())
    shared = importlib.import_module("modules.shared")
    shared.opts = types.SimpleNamespace(
        emphasis="Original", comma_padding_backtrack=20, CLIP_stop_at_last_layers=1, use_old_emphasis_implementation=False,
        textual_inversion_add_hashes_to_infotext=False)
    importlib.import_module("modules.devices").device = "cpu"
    # A base class can't be a stand-in.
    importlib.import_module("modules.scripts").Script = object
    return {name.split(".")[-1]: importlib.import_module("modules." + name) for name in sorted(REAL)}, shared.opts


class TextEncoder:
    """transformers' model as the version that A1111 pins calls it."""

    def __init__(self, layers):
        from formula import fill
        from transformers import CLIPTextConfig, CLIPTextModel
        model = CLIPTextModel(CLIPTextConfig(
            vocab_size=49408, hidden_size=8, intermediate_size=16, num_hidden_layers=layers, num_attention_heads=2,
            bos_token_id=49406, eos_token_id=49407, attn_implementation="eager"))
        self.model = fill(model, "text_model.").double()
        self.text_model = getattr(model, "text_model", model)

    def __call__(self, input_ids, output_hidden_states):
        return self.model(input_ids=input_ids, output_hidden_states=bool(output_hidden_states))


def embedder(modules, tokenizer, names, layers=3):
    hijack = types.SimpleNamespace(
        embedding_db=modules["textual_inversion"].EmbeddingDatabase(), fixes=None, extra_generation_params={})
    wrapped = types.SimpleNamespace(tokenizer=tokenizer, transformer=TextEncoder(layers))
    clip = modules["sd_hijack_clip"].FrozenCLIPEmbedderWithCustomWords(wrapped, hijack)
    model = types.SimpleNamespace(cond_stage_model=clip, get_learned_conditioning=lambda texts: clip.forward(texts))
    for name, vectors in names.items():
        embedding = modules["textual_inversion"].Embedding(None, name)
        embedding.vectors = vectors
        hijack.embedding_db.register_embedding(embedding, model)
    return clip, model


def laid_out(chunks, first_ids):
    """Chunks as [ids without the padding, [[weight, count], ...]]; an embedding's vectors as ids of their own."""
    out = []
    for chunk in chunks:
        ids = list(chunk.tokens)
        for fix in chunk.fixes:
            for k in range(fix.embedding.vectors):
                ids[1 + fix.offset + k] = first_ids[fix.embedding.name] + k
        while len(ids) > 1 and ids[-2:] == [49407, 49407]:
            ids.pop()
        runs = []
        for weight in chunk.multipliers:
            if not runs or runs[-1][0] != weight:
                runs.append([weight, 0])
            runs[-1][1] += 1
        out.append([ids, runs])
    return out


def schedules(parser, cases):
    """Of each prompt's parts the last steps and the texts."""
    out = []
    for text, steps, hires in cases:
        parts = parser.get_multicond_prompt_list([text])[1]
        out.append([parser.get_learned_conditioning_prompt_schedules([part], steps, hires)[0] for part in parts])
    return out


def case(modules, clip, opts, first_ids, text, steps, hires=None, emphasis="Original", old=False):
    """All that is made of one prompt."""
    parser = modules["prompt_parser"]
    opts.emphasis = emphasis
    clean = modules["comments"].strip_comments(text)
    rest, networks = modules["extra_networks"].parse_prompt(clean)
    indexes, flat, _ = parser.get_multicond_prompt_list([rest])
    parts = []
    for index, weight in indexes[0]:
        schedule = parser.get_learned_conditioning_prompt_schedules([flat[index]], steps, hires, old)[0]
        texts = list(dict.fromkeys(text for _, text in schedule))
        chunks = [laid_out(clip.tokenize_line(text)[0], first_ids) for text in texts]
        entries = [[end, texts.index(text)] for end, text in schedule]
        parts.append(dict(weight=weight, texts=texts, entries=entries, chunks=chunks))
    networks = sorted([kind, item.items] for kind, items in networks.items() for item in items)
    out = dict(prompt=text, steps=steps, networks=networks, parts=parts)
    if hires:
        out["hires"] = hires
    if emphasis != "Original":
        out["emphasis"] = emphasis
    if old:
        out["old"] = True
    return out


def random_prompts(count):
    rng = random.Random(1)
    return [("".join(rng.choices(WORDS, k=rng.randint(1, 16))), 4, None) for _ in range(count)]


def context(model, parser, opts, text, steps, clip_skip, emphasis):
    opts.emphasis, opts.CLIP_stop_at_last_layers = emphasis, clip_skip
    composed = parser.get_multicond_learned_conditioning(model, [text], steps).batch[0]
    parts = []
    for part in composed:
        entries = []
        for end, cond in part.schedules:
            flat = cond.flatten()
            entries.append([end, cond.shape[0], [float(f"{v:.9g}") for v in flat[::29].tolist()]])
        parts.append([part.weight, entries])
    opts.CLIP_stop_at_last_layers = 1
    return dict(prompt=text, steps=steps, clip_skip=clip_skip, emphasis=emphasis, parts=parts)


def write(path, groups):
    lines = [f"{json.dumps(name)}: [\n" + ",\n".join(json.dumps(x, ensure_ascii=False) for x in group) + "\n]"
             for name, group in groups.items()]
    path.write_text("{" + ",\n".join(lines) + "}\n")


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--webui", required=True)
    arguments.add_argument("--tokenizer", required=True)
    arguments.add_argument("--schedules", action="store_true", help="only print the schedules of random prompts")
    args = arguments.parse_args()
    torch.set_num_threads(1)
    modules, opts = webui(args.webui)
    parser, prompts = modules["prompt_parser"], random_prompts(250)
    if args.schedules:
        return print(json.dumps(schedules(parser, prompts)))

    from transformers import CLIPTokenizer
    tokenizer = CLIPTokenizer.from_pretrained(args.tokenizer)
    vocabulary = len(tokenizer.get_vocab())
    first_ids, first = {}, vocabulary
    for name, vectors in NAMES.items():
        first_ids[name] = first
        first += vectors

    def readings(seed):
        command = [sys.executable, __file__, "--webui", args.webui, "--tokenizer", args.tokenizer, "--schedules"]
        return json.loads(subprocess.check_output(command, env={**os.environ, "PYTHONHASHSEED": seed}))

    readings = [readings(seed) for seed in HASH_SEEDS]
    certain = [prompt for prompt, *found in zip(prompts, *readings) if all(x == found[0] for x in found)]
    print(f"{len(prompts) - len(certain)} of {len(prompts)} random prompts have several readings")

    clip, model = embedder(modules, tokenizer, {})
    def of(cases, **more):
        out = []
        for text, steps, hires in cases:
            try:
                out.append(case(modules, clip, opts, first_ids, text, steps, hires, **more))
            except ValueError:  # a weight such as 1.2.3 ends A1111's run, and is an error here
                pass
        return out
    texts = [(text, 4, None) for text in TEXTS]
    groups = {"schedules": of(SCHEDULES), "old": of(OLD_SCHEDULES, old=True), "texts": of(texts), "random": of(certain),
              "emphasis": of(texts[2:12], emphasis="None") + of(texts[18:22], emphasis="Ignore")}
    contexts = [context(model, parser, opts, *c) for c in CONTEXTS]
    _, deep = embedder(modules, tokenizer, {}, layers=12)
    skips = [context(deep, parser, opts, *c) for c in SKIPS]
    clip, _ = embedder(modules, tokenizer, NAMES, layers=1)
    groups["embedded"] = of([(text, 4, None) for text in EMBEDDED])
    groups["embeddings"] = [[name, first_ids[name], vectors] for name, vectors in NAMES.items()]
    write(CRATES / "text/tests/prompts.json", groups)
    write(CRATES / "calotype/tests/goldens/contexts.json", {"cases": contexts, "skips": skips})


with torch.no_grad():
    main()
