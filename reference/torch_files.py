"""Writes small files with torch.save, in every form it has, for crates/formats/tests/torch_files.rs.

Run it once with each torch whose files are to be read; it works with any from 1.4 (Python 3.7) on:

    python reference/torch_files.py crates/formats/tests/data
    python reference/torch_files.py crates/formats/tests/data --lightning    # with pytorch-lightning 1.4.2 and omegaconf 2.1
    python reference/torch_files.py crates/formats/tests/data --expected     # writes torch.json as well

The files in the repository were written by torch 1.4.0 and 1.11.0 (Python 3.8) and 2.11.0 (Python 3.11). What is in them
doesn't depend on the version; torch.json holds it, as torch computes it.
"""

import argparse
import collections
import json
import pathlib
import warnings

import numpy as np
import torch


def tensors():
    """Every dtype a checkpoint has, and every way for elements to lie in a storage."""
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    halves = torch.tensor([1.5, -0.25, 65504.0])
    block = torch.arange(60, dtype=torch.float32).reshape(1, 3, 4, 5)
    return collections.OrderedDict(
        f16=halves.half(),
        bf16=halves.to(torch.bfloat16),
        f32=torch.tensor([[1.0, -2.5], [1e-30, 3e38]]),
        f64=torch.tensor([0.1, -1e300], dtype=torch.float64),
        i64=torch.tensor([2**62, -1]),
        i32=torch.tensor([2**31 - 1, -(2**31)], dtype=torch.int32),
        i16=torch.tensor([-(2**15)], dtype=torch.int16),
        i8=torch.tensor([-128, 127], dtype=torch.int8),
        u8=torch.tensor([0, 255], dtype=torch.uint8),
        bool=torch.tensor([True, False, True]),
        scalar=torch.tensor(3.5),
        empty=torch.zeros(0, 4),
        whole=base,
        transposed=base.t(),
        part=base[1:3, 2:5],
        column=base[:, 4],
        every_second=base[::2, 1::2],
        expanded=torch.tensor([7.0, 8.0]).reshape(2, 1).expand(2, 3),
        permuted=block.permute(0, 2, 3, 1),
        channels_last=block.contiguous(memory_format=torch.channels_last),
        parameter=torch.nn.Parameter(torch.tensor([0.5, 0.75])),
    )


def checkpoint():
    """A training checkpoint in Lightning's form, with what stands in such files beside the weights."""
    layer = torch.nn.Linear(2, 1)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return {
        "state_dict": tensors(),
        "global_step": 470000,
        "epoch": 3,
        "pytorch-lightning_version": "1.4.2",
        "learning_rate": 1e-4,
        "big": 2**70,
        "optimizer_states": [optimizer.state_dict()],
        "callbacks": {"best": np.float64(0.25), "count": np.int64(3), "array": np.arange(3)},
        "others": [
            None, True, -1, 1.5, "text", b"bytes", (1, 2), {3}, layer.state_dict(), torch.Size([2, 3]),
            torch.float16, torch.device("cpu"), collections.Counter([4, 4]), collections.defaultdict(list, a=[1]),
        ],
    }


def objects():
    """What trainers put beside the weights: their arguments, their paths, torch's version."""
    arguments = argparse.Namespace(name="x", sizes=[1, 2], out=pathlib.PosixPath("a/b"))
    return {
        "state_dict": {"w": torch.tensor([1.0, 2.0])},
        "hyper_parameters": {"args": arguments, "path": pathlib.PureWindowsPath("c:/x")},
        "torch_version": torch.torch_version.TorchVersion("2.11.0"),
    }


def embedding(old):
    """Textual inversion: as its authors' code saved it, and as others do."""
    vectors = torch.arange(8, dtype=torch.float32).reshape(2, 4) / 8
    if old:
        params = torch.nn.ParameterDict({"*": torch.nn.Parameter(vectors)})
        return {"string_to_token": {"*": torch.tensor(265)}, "string_to_param": params}
    params = {"*": vectors}
    return {"string_to_token": {"*": 265}, "string_to_param": params, "name": "style", "step": 1000, "sd_checkpoint": None}


def hypernetwork():
    def module(n):
        return collections.OrderedDict([("linear.0.weight", torch.full((2, 2), n / 2)), ("linear.0.bias", torch.tensor([n, -n]))])

    return {320: (module(1.0), module(2.0)), 640: (module(3.0), module(4.0)), "layer_structure": [1, 2, 1], "step": 7, "name": "hyper"}


def no_source(*_):
    """In place of what reads the source of a module's class: the older form would put it into the file."""
    raise OSError


def save(folder, name, value, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(value, str(folder / name), **options)
    print(name, (folder / name).stat().st_size)


def lightning(folder):
    """A checkpoint that Lightning itself wrote, its callback as a class and its configuration by OmegaConf."""
    import pytorch_lightning
    from omegaconf import OmegaConf

    class Model(pytorch_lightning.LightningModule):
        def __init__(self, config=None):
            super().__init__()
            self.save_hyperparameters()
            self.layer = torch.nn.Linear(2, 1)
            with torch.no_grad():
                self.layer.weight.zero_()

        def training_step(self, batch, _):
            loss = self.layer(batch[0]).sum()
            self.log("loss", loss)
            return loss

        def configure_optimizers(self):
            optimizer = torch.optim.AdamW(self.parameters(), lr=0.5, weight_decay=0)
            schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)
            return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(2, 2)), batch_size=2)
    callback = pytorch_lightning.callbacks.ModelCheckpoint(dirpath="checkpoints", monitor="loss", save_top_k=0)
    trainer = pytorch_lightning.Trainer(
        max_epochs=1, callbacks=[callback], logger=False, progress_bar_refresh_rate=0, weights_summary=None
    )
    trainer.fit(Model(OmegaConf.create({"target": "ldm", "params": {"sizes": [1, 2.5, "x", None]}})), data)
    callback.dirpath = "checkpoints"  # Lightning made it absolute.
    trainer.save_checkpoint(str(folder / "lightning-1.4.2.ckpt"))


def expected():
    def entry(tensor):
        name = {"float": "f", "int": "i", "uint": "u", "bool": "bool"}
        kind = str(tensor.dtype).replace("torch.", "")
        short = "BF16" if kind == "bfloat16" else (name[kind.rstrip("0123456789")] + kind.lstrip("abcdefghijklmnopqrstuvwxyz")).upper()
        return {"dtype": short, "shape": list(tensor.shape), "values": tensor.detach().double().flatten().tolist()}

    return {name: entry(tensor) for name, tensor in tensors().items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--lightning", action="store_true")
    parser.add_argument("--expected", action="store_true")
    args = parser.parse_args()
    torch.serialization.get_source_lines_and_file = no_source
    torch.manual_seed(0)
    torch.set_num_threads(1)
    if args.lightning:
        return lightning(args.folder)
    name = "torch-" + torch.__version__.split("+")[0]
    save(args.folder, name + "-zip.ckpt", checkpoint(), _use_new_zipfile_serialization=True)
    save(args.folder, name + "-legacy.ckpt", checkpoint(), _use_new_zipfile_serialization=False)
    save(args.folder, name + "-embedding.pt", embedding(old=True))
    save(args.folder, name + "-embedding-legacy.pt", embedding(old=True), _use_new_zipfile_serialization=False)
    if hasattr(torch.serialization, "set_crc32_options"):
        save(args.folder, name + "-protocol4.ckpt", tensors(), pickle_protocol=4)
        save(args.folder, "embedding.pt", embedding(old=False))
        save(args.folder, "hypernetwork.pt", hypernetwork())
        save(args.folder, name + "-objects.ckpt", objects())
        save(args.folder, name + "-quantized.pt", {"w": torch.quantize_per_tensor(torch.ones(2), 0.5, 0, torch.qint8)})
        save(args.folder, name + "-sparse.pt", {"w": torch.eye(2).to_sparse()})
        newer = {"u16": torch.tensor([1, 65535], dtype=torch.uint16), "f8": torch.tensor([1.0, 2.0]).to(torch.float8_e4m3fn)}
        torch.serialization.set_crc32_options(False)
        save(args.folder, name + "-newer.ckpt", newer)
    if args.expected:
        text = json.dumps(expected(), indent=0).replace("\n", " ").replace("}, ", "},\n")
        (args.folder / "torch.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
