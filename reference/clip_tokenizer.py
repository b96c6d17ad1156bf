"""CLIP's tokenizer for transformers, from the merges that `crates/text` has inside."""

import json
import pathlib
import zlib

MERGES = pathlib.Path(__file__).parent.parent / "crates/text/data/clip_merges.txt.z"


def write(folder):
    """Writes `vocab.json` and `merges.txt` into a folder, which is made."""
    merges = zlib.decompress(MERGES.read_bytes()).decode()
    # The characters that stand for bytes: printable Latin-1 for itself, the others from U+0100 on; the printable first.
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = len(set(range(256)) - set(printable))
    letters = [chr(byte) for byte in printable] + [chr(0x100 + n) for n in range(others)]
    pairs = [line.split(" ") for line in merges.splitlines()[1:] if line]
    tokens = [*letters, *(letter + "</w>" for letter in letters), *("".join(pair) for pair in pairs)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({token: id for id, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text(merges)
    return folder
