"""Writes the data and golden cases of crates/text from the reference CLIP tokenizer.

    python reference/tokenizer.py FOLDER

FOLDER is a diffusers `tokenizer` folder of the OpenAI CLIP vocabulary (vocab.json, merges.txt, tokenizer.json).
Versions this was run with: transformers 5.23, tokenizers 0.23.3.

Written, all under crates/text:
    data/clip_merges.txt.z   merges.txt, zlib at its highest level
    data/characters.txt      the character classes the reference sees, found by asking it about each code point
    tests/goldens.json       texts with their ids, and digests over the vocabulary and over every code point
"""

import hashlib
import json
import random
import struct
import sys
import zlib
from pathlib import Path

from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers

CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]
CRATE = Path(__file__).resolve().parent.parent / "crates" / "text"


def matching(pattern):
    """Code points that the reference's regex engine counts as `pattern`."""
    split = pre_tokenizers.Split(Regex(pattern), behavior="removed", invert=True)
    return {ord(c) for piece, _ in split.pre_tokenize_str("".join(map(chr, CODE_POINTS))) for c in piece}


def canonical():
    """Code points that canonical normalization can change, reorder or compose, as the reference's NFC sees them."""
    nfd = normalizers.NFD().normalize_str
    active = set()
    for code in CODE_POINTS:
        c = chr(code)
        full = nfd(c)
        if full != c:
            active.add(code)
            if len(full) > 1:  # its parts may compose with their neighbours
                active.update(map(ord, full))
        elif nfd(c + "\u0334") != c + "\u0334" or nfd("\u0345" + c) != "\u0345" + c:
            # It moves past a mark of class 1 or lets one of class 240 move: its own class is not 0.
            active.add(code)
    return active | {0x345}


def ranges(codes):
    out = []
    for code in sorted(codes):
        if out and out[-1][1] == code - 1:
            out[-1][1] = code
        else:
            out.append([code, code])
    return out


def write_characters():
    classes = {"L": matching(r"\p{L}"), "N": matching(r"\p{N}"), "C": canonical()}
    assert matching(r"\s") == {c for c in CODE_POINTS if chr(c).isspace() and not 0x1C <= c <= 0x1F}
    lines = [f"{name} {low:X} {high:X}" for name, codes in classes.items() for low, high in ranges(codes)]
    (CRATE / "data" / "characters.txt").write_text("\n".join(lines) + "\n")


HAND_PICKED = [
    "", " ", "   ", "\t\r\n", "\x00", "a\x00b", "\x00\x00 \x01", "\x1b[31mred\x1b[0m", "\u200b", "\ufeffa", "\ufffd", "\uffff",
    "a photograph of an astronaut riding a horse", "A Photograph, of AN astronaut!!!", "hello   world\n\tthere",
    "it's we're they've I'm you'll he'd don't", "IT'S WE'RE", "''s", "'s", "!'s", "'''ll''d", "x's'", "'sx", "'rex", "’s it’s",
    "1234567890", "v1.5", "3x4", "½ ⅷ ² ①", "١٢٣", "a1b2c3", "12's", "<|endoftext|>", "<|startoftext|>", "a<|endoftext|>b",
    " <|endoftext|> ", "<|ENDOFTEXT|>", "<|StartOfText|>!!!", "!<|STARTOFTEXT|>", "<|endoftext|", "<|endoftext|><|endoftext|>",
    "<|<|endoftext|>|>", "<|STARTOFTEXT|><|startoftext|>", "<|İstartoftext|>", "<|endoftext|>\u0301", "e<|endoftext|>\u0301", "</w>", "a</w>", "Ġ", "Ċ",
    "İstanbul", "İ", "ı", "ß", "ẞ", "STRASSE", "ΟΔΟΣ", "Σ", "ΑΣ.", "ǅ", "ŉ", "ſ's", "K", "Å", "ﬁ", "Ⅷ", "Ⓐ",
    "é", "e\u0301", "E\u0301", "q\u0323\u0307", "q\u0307\u0323", "\u0301", "a\u0301\u0301\u0301", "\u0344", "\u0958", "\u2126", "\u212b", "\ufb1d",
    "각", "\u1100\u1161\u11a8", "\u1100\u1161\u11a7", "가\u11a8", "\u1161", "한국어 텍스트", "日本語のテキスト", "中文字符", "か\u3099", "ｶﾞ", "\u2f800",
    "สวัสดี", "नमस्ते", "नि", "مرحبا بالعالم", "שָׁלוֹם", "Привет мир", "ЁЖ", "Ա", "Ა", "Ꭰ", "ꭰ", "𐐀", "𞤀", "𝔘𝔫𝔦", "🅰",
    "😀", "👨‍👩‍👧‍👦", "👍🏽", "🇩🇪", "❤️", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "a😀b", "😀😀😀", "™®©", "…", "—–-", "«quote»", "“x”", "(((masterpiece)))", "[[a:b:0.5]]",
    "<lora:x:1>", "a_b_c", "c++ c#", "100% $5 @me #tag", "https://example.com/?q=1&r=2", "C:\\path\\file", "a\u00a0b", "a\u3000b", "a\u2028b",
    "a\u0085b", "a\x0bb\x0cc", "a\x1cb\x1dc\x1ed\x1fe", "a\u180eb", "a\u200db", "a\u00adb", "\u061c", "\u202eabc", "\U0010ffff", "\ue000", "\U000e0001",
    "\U00011938", "\U00011935\U00011930", "\U000105c9", "\U000105d2\u0307", "\U000113c5", "\U00016121", "\u1acf\u0301", "a\u1df6\u0323", "a\u0323\u1df6",
    "\ua7cb", "\ua7cc", "\ua7ce", "\u1c89", "\U00010d50", "\U00016ea0", "\U0001ccf0", "\U000323b0", "\U000323af",
    "word " * 75, "word " * 74, "word " * 76, "word " * 77, "x" * 300, "supercalifragilisticexpialidocious" * 3, "!" * 200, "9" * 80, "😀" * 60, "é" * 100,
    "a " * 40 + "<|endoftext|> " + "b " * 60, "the quick brown fox jumps over the lazy dog " * 9,
]

ALPHABETS = [
    [chr(c) for c in range(0x80)],
    list("aeiouAEIOU\u0300\u0301\u0302\u0308\u0323\u0327\u0328\u0331\u0345\u05b0\u3099 "),
    list("'sStTrReEvVmMlLdD !<|>") + ["<|endoftext|>", "<|startoftext|>", "<|EndOfText|>"],
    [chr(c) for c in range(0x1100, 0x1200)] + [chr(c) for c in range(0xAC00, 0xAC40)],
    [chr(c) for c in range(0xA0, 0x600)],
    [chr(c) for c in range(0x1F300, 0x1F700)] + list("\u200d\ufe0f "),
    [chr(c) for c in CODE_POINTS if c < 0x3000],
    [chr(c) for c in CODE_POINTS if 0x10000 <= c < 0x20000],
    [chr(c) for c in CODE_POINTS],
]


def random_text(rng, longest=12):
    parts = rng.sample(ALPHABETS, rng.randint(1, 2))
    return "".join(rng.choice(rng.choice(parts)) for _ in range(rng.randint(1, longest)))


def every_code_point():
    """One text for each 256 code points: each alone, then between a letter and a mark."""
    for start in range(0, 0x110000, 256):
        yield "".join(f"{c} e{c}\u0323b " for c in map(chr, range(start, start + 256)) if not "\ud800" <= c <= "\udfff")


def write_goldens(folder):
    padded = Tokenizer.from_file(str(folder / "tokenizer.json"))
    padded.enable_truncation(77)
    padded.enable_padding(length=77, pad_id=49407, pad_token="<|endoftext|>")
    bare = Tokenizer.from_file(str(folder / "tokenizer.json"))
    bare.no_truncation()
    bare.no_padding()

    rng = random.Random(0)
    cases = []
    for text in HAND_PICKED + [random_text(rng) for _ in range(150)]:
        encoded = padded.encode(text).ids
        while encoded and encoded[-1] == 49407:
            encoded.pop()  # the test pads again
        ids = bare.encode(text, add_special_tokens=False).ids
        decoded = bare.decode(ids, skip_special_tokens=False).replace("</w>", " ").strip()
        cases.append({"text": text, "encoded": encoded, "ids": ids, "decoded": decoded})

    vocabulary = sorted(bare.get_vocab(), key=bare.get_vocab().get)
    digest = hashlib.sha256()
    for text in every_code_point():
        for i in bare.encode(text, add_special_tokens=False).ids:
            digest.update(struct.pack("<I", i))
    goldens = {
        "vocabulary_sha256": hashlib.sha256("\n".join(vocabulary).encode()).hexdigest(),
        "every_code_point_sha256": digest.hexdigest(),
        "cases": cases,
    }
    lines = json.dumps(goldens, separators=(",", ":")).replace('{"text"', '\n{"text"')
    (CRATE / "tests" / "goldens.json").write_text(lines + "\n")


def main():
    folder = Path(sys.argv[1])
    merges = (folder / "merges.txt").read_bytes()
    (CRATE / "data" / "clip_merges.txt.z").write_bytes(zlib.compress(merges, 9))
    write_characters()
    write_goldens(folder)


if __name__ == "__main__":
    main()
