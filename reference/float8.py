"""Writes crates/formats/tests/data/float8.json: the value of each byte of torch's 8-bit floats, as the bits of an f32.

    pip install torch && python reference/float8.py
"""

import json
from pathlib import Path

import torch

FORMS = {
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
}


def main() -> None:
    golden: dict[str, object] = {"torch": torch.__version__.split("+")[0]}
    for name, dtype in FORMS.items():
        values = torch.arange(256, dtype=torch.uint8).view(dtype).float()
        golden[name] = [bits & 0xFFFFFFFF for bits in values.view(torch.int32).tolist()]
    path = Path(__file__).parent.parent / "crates/formats/tests/data/float8.json"
    path.write_text(json.dumps(golden, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
