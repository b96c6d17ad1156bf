"""Added tokens of tokenizers: ids that transformers gives texts, with what its files say of the tokens.

    python reference/added_tokens.py > crates/text/tests/added_tokens.json

transformers 5.24.0, tokenizers 0.23.3. The vocabulary is that of CLIP.
"""

import json
import sys
import tempfile
from pathlib import Path

import clip_tokenizer
from transformers import AddedToken, CLIPTokenizer


# What is added, in turn: words of textual inversions, with every flag.
SETS = {
    "inversion": ["<cat-toy>", "<cat-toy>_1", "<cat-toy>_2", "*"],
    "flags": [
        AddedToken("Sks", single_word=True, normalized=False),
        AddedToken("Ünder", normalized=True),
        AddedToken("|", lstrip=True, rstrip=True, normalized=False),
        AddedToken("big  DOG", normalized=True),
        AddedToken("zwx", single_word=True, normalized=True),
    ],
}
SPECIAL = {"inversion": [], "flags": ["<|mask|>"]}

TEXTS = [
    "",
    "a photo of <cat-toy>",
    "a photo of <cat-toy>_1 and <cat-toy>_2,<cat-toy>_3",
    "A<CAT-TOY>b <Cat-Toy>",
    "* in the style of *, **",
    "sks Sks Sksy xSks (Sks) Sks.",
    "ünder the Ünder UNDER \u0055\u0308nder thÜnder",
    "a | b|c  |  d",
    "a big dog, a Big  Dog, a big   dog; big dogs",
    "zwx ZWX zwxs azwx zwx-zwx",
    "<|mask|> and <|MASK|><|endoftext|> <|startoftext|>",
    "\u4f60<cat-toy>\u597d \U0001f600*",
]


def main():
    cases = []
    clip = tempfile.TemporaryDirectory()
    clip_tokenizer.write(clip.name)
    for name, added in SETS.items():
        tokenizer = CLIPTokenizer.from_pretrained(clip.name)
        tokenizer.add_tokens(added)
        if SPECIAL[name]:
            tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL[name]})
        with tempfile.TemporaryDirectory() as folder:
            tokenizer.save_pretrained(folder)
            again = CLIPTokenizer.from_pretrained(folder)
            files = {path.name: json.loads(path.read_text()) for path in Path(folder).glob("*.json")}
        saved = {
            "tokenizer.json": files["tokenizer.json"]["added_tokens"],
            "tokenizer_config.json": files["tokenizer_config.json"],
        }
        print(name, sorted(files), file=sys.stderr)
        ids = [again(text)["input_ids"][1:-1] for text in TEXTS]
        assert ids == [tokenizer(text)["input_ids"][1:-1] for text in TEXTS]
        cases.append({"name": name, "saved": saved, "ids": ids})
    # The slow tokenizers' file of older folders: texts and ids only.
    legacy = {"<cat-toy>": 49408, "Sks": 49409, "Under": 49410}
    with tempfile.TemporaryDirectory() as folder:
        for file in FOLDER.iterdir():
            (Path(folder) / file.name).write_bytes(file.read_bytes())
        (Path(folder) / "added_tokens.json").write_text(json.dumps(legacy))
        tokenizer = CLIPTokenizer.from_pretrained(folder)
        texts = ["a <cat-toy> b<cat-toy>c", "<CAT-TOY> sks Sks xSks", "under Under UNDER thUnder"]
        ids = [tokenizer(text)["input_ids"][1:-1] for text in texts]
    cases.append({"name": "legacy", "saved": {"added_tokens.json": legacy}, "texts": texts, "ids": ids})
    json.dump({"texts": TEXTS, "cases": cases}, sys.stdout, ensure_ascii=True, separators=(",", ":"))


if __name__ == "__main__":
    main()
