"""What is compared, and the command of each contender for it."""

import dataclasses
import json
import pathlib
import tomllib

ROOT = pathlib.Path(__file__).parent.parent.parent
WORKER = pathlib.Path(__file__).parent / "worker.py"
EMOJI = ROOT / "examples" / "emoji" / "diffusion.toml"
# A process is only started while this much memory is free, and else others end first; for 512 × 512 pixels, in GB.
NEEDS = {"unet_step": 9, "vae_decode": 9, "train_emoji": 3, "train_sd15": 19, "txt2img": 10}


@dataclasses.dataclass(frozen=True)
class Work:
    kind: str
    width: int = 512
    height: int = 512

    @property
    def id(self):
        sized = self.kind in ("unet_step", "vae_decode", "txt2img")
        return f"{self.kind}_{self.width}" if sized else self.kind

    @property
    def title(self):
        size = f"{self.width}×{self.height}"
        return {
            "unet_step": f"UNet step with guidance (batch 2), {size}",
            "vae_decode": f"VAE decode, {size}",
            "train_emoji": "training step of the emoji model (batch 32)",
            "train_sd15": "training step of SD v1.5's UNet (batch 1, 512×512, checkpointed)",
            "txt2img": f"txt2img, whole process, {size}",
        }[self.kind]

    @property
    def needs_bytes(self):
        larger = max(1.0, self.width * self.height / (512 * 512))
        return NEEDS[self.kind] * 1e9 * (larger if self.kind == "vae_decode" else 1.0)


@dataclasses.dataclass(frozen=True)
class Contender:
    program: str
    precision: str
    compile: bool = False

    @property
    def name(self):
        return f"{self.program} {self.precision}" + (" compiled" if self.compile else "")

    @property
    def ours(self):
        return self.program == "Calotype"


def all_contenders(args):
    peers = [Contender("Calotype", precision) for precision in args.precisions]
    peers += [Contender("PyTorch", "f32"), Contender("PyTorch", "bf16")]
    peers += [Contender("PyTorch", "bf16", compile=True)] if args.compile else []
    peers += [Contender("OpenVINO", "f32"), Contender("OpenVINO", "bf16"), Contender("stable-diffusion.cpp", "f16")]
    peers += [Contender("candle", "f32")] if args.candle else []
    return [c for c in peers if not args.only or any(part.lower() in c.name.lower() for part in args.only)]


def takes_part(contender, work):
    """Training is compared in f32, and only where a peer can train; whole pictures with what has a pipeline."""
    if work.kind.startswith("train"):
        return contender.precision == "f32" and contender.program in ("Calotype", "PyTorch")
    if work.kind == "txt2img":
        return contender.program in ("Calotype", "PyTorch", "stable-diffusion.cpp") and not contender.compile
    return True


def command(contender, work, args):
    if contender.ours:
        return calotype(contender, work, args)
    spec = {
        "work": work.kind,
        "precision": contender.precision,
        "compile": contender.compile,
        "width": work.width,
        "height": work.height,
        "threads": args.threads,
        "folder": str(args.work),
        "model": str(args.model),
        "steps": args.steps,
    }
    if work.kind.startswith("train"):
        spec |= {"work": "train", "training": emoji_training() if work.kind == "train_emoji" else SD15_TRAINING}
    if contender.program == "candle":
        return [args.candle, json.dumps(spec)]
    peer = {"PyTorch": "pytorch", "OpenVINO": "openvino", "stable-diffusion.cpp": "sdcpp"}[contender.program]
    return [args.python, str(WORKER), json.dumps({"peer": peer} | spec)]


def calotype(contender, work, args):
    common = ["--threads", str(args.threads), "--precision", contender.precision]
    size = ["--width", str(work.width), "--height", str(work.height)]
    if work.kind == "txt2img":
        picture = str(args.work / "picture.png")
        job = ["txt2img", "a cat", "--model", str(args.model), "--steps", str(args.steps), "--json", "--output", picture]
        return [args.calotype, *job, *common, *size]
    part = {
        "unet_step": ["--arch", "sd15", "--part", "unet", *size],
        "vae_decode": ["--arch", "sd15", "--part", "vae", *size],
        "train_emoji": ["--train", str(EMOJI)],
        "train_sd15": ["--train-sd15"],
    }[work.kind]
    return [args.calotype, "bench", "--serve", *part, *common]


SD15_TRAINING = {
    "unet": None,
    "batch_size": 1,
    "latents": 64,
    "betas": [0.9, 0.999],
    "gradient_clip": 1.0,
    "ema_decay": 0.0,
}


def emoji_training():
    """The shipped model's config in diffusers' words."""
    config = tomllib.loads(EMOJI.read_text())
    model, train, text = config["model"], config["train"], config["model"]["text_encoder"]
    down = ["CrossAttnDownBlock2D" if attends else "DownBlock2D" for attends in model["attention_levels"]]
    up = ["CrossAttnUpBlock2D" if attends else "UpBlock2D" for attends in reversed(model["attention_levels"])]
    latents = config["data"]["size"] // 4  # The shipped autoencoder halves twice.
    return {
        "batch_size": train["batch_size"],
        "latents": latents,
        "betas": train["betas"],
        "gradient_clip": train["gradient_clip"],
        "ema_decay": train["ema_decay"],
        "unet": {
            "sample_size": latents,
            "in_channels": 4,
            "out_channels": 4,
            "block_out_channels": model["block_out_channels"],
            "layers_per_block": model["layers_per_block"],
            "cross_attention_dim": text["hidden_size"],
            "attention_head_dim": model["attention_heads"],
            "norm_num_groups": model["norm_num_groups"],
            "down_block_types": down,
            "up_block_types": up,
        },
        "text_encoder": {
            "vocab_size": 49408,
            "hidden_size": text["hidden_size"],
            "intermediate_size": text.get("intermediate_size", 4 * text["hidden_size"]),
            "projection_dim": text["hidden_size"],
            "num_hidden_layers": text["num_hidden_layers"],
            "num_attention_heads": text["num_attention_heads"],
            "max_position_embeddings": 77,
            "hidden_act": "quick_gelu",
        },
    }
