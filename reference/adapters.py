"""Writes crates/models/tests/goldens/adapters*: small networks with adapters, as diffusers, PEFT and LyCORIS apply them.

Weights of networks and adapters are not stored: both sides make them from their names by the formula of formula.py.
A case has the keys and shapes of the adapter's tensors (their values are `values(key) * SIZE`, but for single numbers,
which are stored), its metadata, how strongly it is applied, and the network's output. Everything is computed in f64.

Beside it: two hypernetworks as A1111 writes them, and outputs with them; embeddings as A1111 and diffusers write them, and the text
encoder's output with their vectors in its table.

    python reference/adapters.py
"""

import importlib.util
import json
import pathlib
import sys
import types

import diffusers
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from formula import fill, values
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from transformers import CLIPTextConfig, CLIPTextModel

# lycoris-lora reads presets with toml, which nothing here needs.
if importlib.util.find_spec("toml") is None:
    sys.modules["toml"] = types.ModuleType("toml")
from lycoris.functional import loha, lokr  # noqa: E402

OUT = pathlib.Path(__file__).parent.parent / "crates/models/tests/goldens/adapters.json"
SIZE = 0.4
# The layers that LyCORIS' cases change: every kind of them.
SOME = ("conv_in", "time_embedding", "down_blocks.0.down", "mid_block", "up_blocks.0.upsamplers", "up_blocks.1.attentions.1")
UNET = dict(block_out_channels=[8, 16], layers_per_block=1, norm_num_groups=4, attention_head_dim=2,
            cross_attention_dim=12, sample_size=8, down_block_types=["CrossAttnDownBlock2D", "DownBlock2D"],
            up_block_types=["UpBlock2D", "CrossAttnUpBlock2D"])
TEXT = dict(vocab_size=100, hidden_size=16, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
            max_position_embeddings=8, bos_token_id=98, eos_token_id=99)
IDS = [[98, 5, 17, 42, 99, 99]]
LATENTS, CONTEXT, TIMESTEP = (1, 4, 8, 8), (1, 5, 12), 500.0


def unet():
    return fill(UNet2DConditionModel(**UNET))


def text_encoder():
    return fill(CLIPTextModel(CLIPTextConfig(**TEXT, attn_implementation="eager")), "text_model.")


def text_name(name):
    """As files of any version of transformers have it."""
    return name if name.startswith("text_model.") else "text_model." + name


def output(model):
    model = model.double().eval()
    with torch.no_grad():
        if isinstance(model, UNet2DConditionModel):
            return model(values("latents", LATENTS), torch.tensor([TIMESTEP]), values("context", CONTEXT)).sample.movedim(1, -1)
        return model(torch.tensor(IDS)).last_hidden_state


def tensors(shapes):
    """`shapes`: by key, a shape or a number."""
    made = {}
    for key, shape in shapes.items():
        number = isinstance(shape, (int, float))
        made[key] = torch.tensor(float(shape)) if number else (values(key, tuple(shape)) * SIZE).float()
    return made


def case(name, network, shapes, model, strength=1.0, metadata=None, **more):
    result = output(model)
    plain = output(unet() if network == "unet" else text_encoder())
    assert (result - plain).abs().max() > 1e-2 * plain.abs().max(), name
    return dict(name=name, network=network, strength=strength, metadata=metadata or {}, **more,
                tensors={key: list(s) if not isinstance(s, (int, float)) else s for key, s in shapes.items()},
                output=[float(f"{v:.7g}") for v in result.flatten().tolist()])


def layers(model):
    """Every linear map and convolution, by name."""
    kinds = (torch.nn.Linear, torch.nn.Conv2d)
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, kinds)}


def loaded(model, state, strength, network, metadata=None):
    """A model with an adapter as diffusers' pipeline loads it."""
    parts = dict(unet=unet(), text_encoder=text_encoder(), vae=AutoencoderKL(norm_num_groups=4, block_out_channels=[8]),
                 tokenizer=None, scheduler=diffusers.DDIMScheduler(), safety_checker=None, feature_extractor=None)
    parts[network] = model
    pipe = StableDiffusionPipeline(**parts, requires_safety_checker=False)
    state = dict(state)
    if metadata is None:
        pipe.load_lora_weights(state, adapter_name="a")
    else:
        model.load_lora_adapter(state, prefix=network, metadata=metadata, adapter_name="a")
    pipe.set_adapters("a", strength)
    return getattr(pipe, network)


def kohya(prefix, model, kinds, rank, alpha, rename=lambda name: name):
    shapes = {}
    for name, layer in layers(model).items():
        if not kinds(name, layer):
            continue
        o, i, *taps = layer.weight.shape
        key = f"{prefix}_{rename(name).replace('.', '_')}"
        shapes[f"{key}.lora_down.weight"] = (rank, i, *taps)
        shapes[f"{key}.lora_up.weight"] = (o, rank, *[1] * len(taps))
        if alpha is not None:
            shapes[f"{key}.alpha"] = alpha
    return shapes


# CompVis' names of the UNet above: its blocks are counted through.
COMPVIS = {
    "conv_in": "input_blocks.0.0", "conv_out": "out.2", "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "down_blocks.0.resnets.0": "input_blocks.1.0", "down_blocks.0.attentions.0": "input_blocks.1.1",
    "down_blocks.0.downsamplers.0.conv": "input_blocks.2.0.op", "down_blocks.1.resnets.0": "input_blocks.3.0",
    "mid_block.resnets.0": "middle_block.0", "mid_block.attentions.0": "middle_block.1", "mid_block.resnets.1": "middle_block.2",
    "up_blocks.0.resnets.0": "output_blocks.0.0", "up_blocks.0.resnets.1": "output_blocks.1.0",
    "up_blocks.0.upsamplers.0.conv": "output_blocks.1.1.conv", "up_blocks.1.resnets.0": "output_blocks.2.0",
    "up_blocks.1.attentions.0": "output_blocks.2.1", "up_blocks.1.resnets.1": "output_blocks.3.0",
    "up_blocks.1.attentions.1": "output_blocks.3.1",
    ".conv1": ".in_layers.2", ".conv2": ".out_layers.3", ".time_emb_proj": ".emb_layers.1", ".conv_shortcut": ".skip_connection",
}


def compvis_name(name):
    for ours, theirs in COMPVIS.items():
        if name == ours or name.startswith(ours + ".") or (ours.startswith(".") and name.endswith(ours)):
            name = name.replace(ours, theirs)
    return name


def cases():
    # kohya's keys, read by diffusers, which has every convolution but few of their names.
    shapes = kohya("lora_unet", unet(), lambda name, layer: True, 3, 2.0)
    yield case("kohya", "unet", shapes, loaded(unet(), tensors(shapes), 0.7, "unet"), 0.7)
    shapes = kohya("lora_te", text_encoder(), lambda name, layer: True, 2, 1.0, text_name)
    yield case("kohya text", "text_encoder", shapes, loaded(text_encoder(), tensors(shapes), 1.3, "text_encoder"), 1.3)
    # The same with CompVis' names, which trainers on CompVis' code wrote.
    shapes = kohya("lora_unet", unet(), lambda name, layer: True, 1, None, compvis_name)
    deltas = tensors(shapes)

    def product(name, layer):
        key = f"lora_unet_{compvis_name(name).replace('.', '_')}"
        up, down = deltas[f"{key}.lora_up.weight"].double(), deltas[f"{key}.lora_down.weight"].double()
        return up.flatten(1) @ down.flatten(1)

    yield case("compvis", "unet", shapes, changed(product, where=""), 1.0)
    # As diffusers saved its attention processors, without alpha.
    shapes = {}
    for name, layer in layers(unet()).items():
        if ".attn" in name:
            path, last = name.replace(".to_out.0", ".to_out").rsplit(".", 1)
            shapes[f"unet.{path}.processor.{last}_lora.down.weight"] = (2, layer.in_features)
            shapes[f"unet.{path}.processor.{last}_lora.up.weight"] = (layer.out_features, 2)
    yield case("processors", "unet", shapes, loaded(unet(), tensors(shapes), 1.0, "unet"))
    # PEFT's own, with DoRA's lengths.
    for name, options in [("peft", dict(lora_alpha=6)), ("peft rslora", dict(lora_alpha=3, use_rslora=True)),
                          ("peft dora", dict(lora_alpha=4, use_dora=True))]:
        model = unet()
        config = LoraConfig(r=4, target_modules=["to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "conv1", "proj_in"], **options)
        model.add_adapter(config, "a")
        shapes = {f"unet.{k}": tuple(v.shape) for k, v in get_peft_model_state_dict(model, adapter_name="a").items()}
        for key, layer in layers(model).items():
            if key.endswith("base_layer"):
                magnitude = f"unet.{key.removesuffix('base_layer')}lora_magnitude_vector"
                assert not options.get("use_dora") or magnitude in shapes or magnitude + ".weight" in shapes, magnitude
        kept = {k: v for k, v in config.to_dict().items() if k in ("r", "lora_alpha", "use_rslora", "use_dora", "alpha_pattern", "rank_pattern")}
        kept["target_modules"] = sorted(config.target_modules)
        metadata = {f"unet.{k}": v for k, v in kept.items()}
        model = loaded(unet(), tensors(shapes), 1.0, "unet", metadata)
        yield case(name, "unet", shapes, model, metadata=dict(lora_adapter_metadata=json.dumps(metadata)))
    yield from lycoris_cases()


def changed(change, strength=1.0, dora=None, shapes=None, where=SOME):
    """A UNet whose layers `change(name, layer)` gives another weight, or None. `dora`: "rows" or "inputs"."""
    model = unet()
    for name, layer in layers(model).items():
        delta = change(name, layer) if name.startswith(where) else None
        if delta is None:
            continue
        weight = layer.weight.data.double()
        if dora:
            key = f"lora_unet_{name.replace('.', '_')}.dora_scale"
            o, i, *taps = weight.shape
            shape = (o, 1) if dora == "rows" else (1, i)
            shapes[key] = (*shape, *[1] * len(taps))
            dims = tuple(d for d in range(weight.ndim) if d != (0 if dora == "rows" else 1))
            new = weight + delta.double().reshape(weight.shape)
            new = new * tensors({key: shapes[key]})[key].double() / torch.linalg.vector_norm(new, dim=dims, keepdim=True)
            layer.weight.data = weight + strength * (new - weight)
        else:
            layer.weight.data = weight + strength * delta.double().reshape(weight.shape)
    return model


def lycoris_cases():
    def key(name):
        return f"lora_unet_{name.replace('.', '_')}"

    def scaled(delta, alpha, rank):
        return delta * (alpha / rank)

    # LoCon with a core, of the 3x3 convolutions.
    shapes, rank, alpha = {}, 3, 2.0

    def locon(name, layer):
        if getattr(layer, "kernel_size", None) != (3, 3):
            return None
        o, i, kh, kw = layer.weight.shape
        made = {"lora_up.weight": (o, rank, 1, 1), "lora_down.weight": (rank, i, 1, 1), "lora_mid.weight": (rank, rank, kh, kw)}
        made = {f"{key(name)}.{part}": shape for part, shape in made.items()}
        shapes.update(made, **{f"{key(name)}.alpha": alpha})
        up, down, mid = tensors(made).values()
        # The three convolutions one after the other are this one.
        return scaled(torch.einsum("nmkl,in,mj->ijkl", mid.double(), up[:, :, 0, 0].double(), down[:, :, 0, 0].double()), alpha, rank)

    model = changed(locon, 0.8)
    yield case("locon core", "unet", shapes, model, 0.8)

    for tucker in [False, True]:
        shapes = {}

        def hada(name, layer, tucker=tucker, shapes=shapes):
            o, i, *taps = layer.weight.shape
            if tucker and taps != [3, 3]:
                return None
            n = 1
            for tap in taps:
                n *= tap
            made = {}
            for w in ["w1", "w2"]:
                if tucker:
                    made |= {f"hada_{w}_a": (rank, o), f"hada_{w}_b": (rank, i), f"hada_{w.replace('w', 't')}": (rank, rank, *taps)}
                else:
                    made |= {f"hada_{w}_a": (o, rank), f"hada_{w}_b": (rank, i * n)}
            made = {f"{key(name)}.{part}": shape for part, shape in made.items()}
            shapes.update(made, **{f"{key(name)}.alpha": alpha})
            t = {k.split(".")[1].removeprefix("hada_"): v.double() for k, v in tensors(made).items()}
            gamma = torch.tensor(alpha / rank).double()
            return loha.diff_weight(t["w1_b"], t["w1_a"], t["w2_b"], t["w2_a"], t.get("t1"), t.get("t2"), gamma=gamma)

        model = changed(hada, 2.5)
        yield case("loha tucker" if tucker else "loha", "unet", shapes, model, 2.5)

    # Both factors whole (then alpha counts nothing), the second a product, both, and with a core.
    for form in ["whole", "second", "both", "core"]:
        shapes = {}

        def kron(name, layer, form=form, shapes=shapes):
            o, i, *taps = layer.weight.shape
            if o % 4 or i % 4 or (form == "core" and taps != [3, 3]):
                return None
            a, c = 2, 4
            b, d = o // a, i // c
            made = {}
            if form == "both":
                made |= {"lokr_w1_a": (a, 1), "lokr_w1_b": (1, c)}
            else:
                made |= {"lokr_w1": (a, c)}
            if form == "whole":
                made |= {"lokr_w2": (b, d, *taps)}
            elif form == "core":
                made |= {"lokr_w2_a": (2, b), "lokr_w2_b": (2, d), "lokr_t2": (2, 2, *taps)}
            else:
                n = 1
                for tap in taps:
                    n *= tap
                made |= {"lokr_w2_a": (b, 2), "lokr_w2_b": (2, d * n)}
            made = {f"{key(name)}.{part}": shape for part, shape in made.items()}
            shapes.update(made, **{f"{key(name)}.alpha": alpha})
            t = {k.split(".")[1].removeprefix("lokr_"): v.double() for k, v in tensors(made).items()}
            w1 = t["w1"] if "w1" in t else t["w1_a"] @ t["w1_b"]
            if "w2" in t:
                w2 = t["w2"]
            elif "t2" in t:
                w2 = torch.einsum("ijkl,ib,jd->bdkl", t["t2"], t["w2_a"], t["w2_b"])
            else:
                w2 = (t["w2_a"] @ t["w2_b"]).reshape(b, d, *taps)
            return lokr.make_kron(w1, w2, 1.0 if form == "whole" else alpha / 2)

        model = changed(kron, 1.5)
        yield case(f"lokr {form}", "unet", shapes, model, 1.5)

    # Differences of weights, biases and norms; factors of rows and of inputs.
    shapes = {}

    def full(name, layer):
        made = {f"{key(name)}.diff": layer.weight.shape}
        if layer.bias is not None:
            made[f"{key(name)}.diff_b"] = layer.bias.shape
        shapes.update(made)
        made = [t.double() for t in tensors(made).values()]
        if layer.bias is not None:
            layer.bias.data = layer.bias.data.double() + 0.5 * made[1]
        return made[0]

    model = changed(full, 0.5)
    for name, norm in model.named_modules():
        if isinstance(norm, (torch.nn.LayerNorm, torch.nn.GroupNorm)) and name.startswith(SOME):
            made = {f"{key(name)}.w_norm": norm.weight.shape, f"{key(name)}.b_norm": norm.bias.shape}
            shapes.update(made)
            w, b = [t.double() for t in tensors(made).values()]
            norm.weight.data, norm.bias.data = norm.weight.data.double() + 0.5 * w, norm.bias.data.double() + 0.5 * b
    yield case("full and norm", "unet", shapes, model, 0.5)

    shapes = {}

    def ia3(name, layer):
        if not name.endswith(("to_k", "to_v", "net.2")):
            return None
        on_input = name.endswith("net.2")
        o, i = layer.weight.shape
        made = {f"{key(name)}.weight": (i if on_input else o,)}
        shapes.update(made, **{f"{key(name)}.on_input": int(on_input)})
        w = tensors(made)[f"{key(name)}.weight"].double()
        return layer.weight.data.double() * (w if on_input else w[:, None])

    model = changed(ia3, 1.2)
    yield case("ia3", "unet", shapes, model, 1.2)

    # DoRA as LyCORIS has it now, and had it first.
    for dora in ["rows", "inputs"]:
        shapes = {}

        def lora(name, layer, shapes=shapes):
            if not name.endswith(("to_k", "to_q", "conv1", "proj_in")):
                return None
            o, i, *taps = layer.weight.shape
            made = {f"{key(name)}.lora_down.weight": (2, i, *taps), f"{key(name)}.lora_up.weight": (o, 2, *[1] * len(taps))}
            shapes.update(made, **{f"{key(name)}.alpha": 1.0})
            down, up = [t.double() for t in tensors(made).values()]
            return 0.5 * up.flatten(1) @ down.flatten(1)

        model = changed(lora, 0.6, dora, shapes)
        yield case(f"dora {dora}", "unet", shapes, model, 0.6)


class Hypernetwork:
    """`x + strength * f(x)` before keys and before values, in every attention to a context of its widths."""

    def __init__(self, widths, structure, activation, norms, at_end):
        self.state = {}
        for width in widths:
            pair = []
            for which in "kv":
                place, tensors = 0, {}
                for n in range(len(structure) - 1):
                    i, o = int(width * structure[n]), int(width * structure[n + 1])
                    for kind in ["linear", "norm"][: 1 + norms]:
                        shapes = [("weight", (o, i) if kind == "linear" else (o,)), ("bias", (o,))]
                        for part, shape in shapes:
                            name = f"linear.{place}.{part}"
                            tensors[name] = (values(f"{width}.{which}.{name}", shape) * SIZE).float()
                        place += 1
                        if kind == "linear" and (n < len(structure) - 2 or at_end):
                            place += 1
                pair.append(tensors)
            self.state[width] = tuple(pair)
        self.structure, self.activation, self.norms, self.at_end = structure, activation, norms, at_end

    def save(self, file):
        torch.save({**self.state, "step": 3, "name": "golden", "layer_structure": self.structure, "activation_func": self.activation.lower(),
                    "is_layer_norm": self.norms, "activate_output": self.at_end, "use_dropout": False, "sd_checkpoint": None}, file)

    def __call__(self, which, x, strength):
        if x.shape[-1] not in self.state:
            return x
        tensors = {k: v.double() for k, v in self.state[x.shape[-1]]["kv".index(which)].items()}
        weights = [(tensors[k], tensors[k.replace("weight", "bias")]) for k in tensors if k.endswith("weight")]
        h, linear, linears = x, 0, len(self.structure) - 1
        for weight, bias in weights:
            if weight.ndim == 2:
                h = torch.nn.functional.linear(h, weight, bias)
                linear += 1
                if linear < linears or self.at_end:
                    h = getattr(torch.nn, self.activation)()(h)
            else:
                h = torch.nn.functional.layer_norm(h, weight.shape, weight, bias)
        return x + strength * h


class Processor:
    """Attention with hypernetworks."""

    def __init__(self, hypernetworks):
        self.hypernetworks = hypernetworks

    def __call__(self, attn, x, encoder_hidden_states=None, **_):
        of_k = of_v = x if encoder_hidden_states is None else encoder_hidden_states
        for hypernetwork, strength in self.hypernetworks:
            of_k, of_v = hypernetwork("k", of_k, strength), hypernetwork("v", of_v, strength)
        q, k, v = [attn.head_to_batch_dim(t) for t in (attn.to_q(x), attn.to_k(of_k), attn.to_v(of_v))]
        return attn.to_out[0](attn.batch_to_head_dim(torch.bmm(attn.get_attention_scores(q, k), v)))


def hypernetworks():
    """Outputs with one, and with one after the other."""
    first = Hypernetwork([8, 12], [1, 1.5, 1], "ReLU", False, False)
    second = Hypernetwork([12, 16], [1, 0.5, 1.25, 1], "Tanh", True, True)
    first.save(OUT.parent / "adapters_hypernetwork_1.pt")
    second.save(OUT.parent / "adapters_hypernetwork_2.pt")
    for strengths in [(0.8, 0.0), (0.0, -1.5), (1.0, 0.7)]:
        model = unet()
        model.set_attn_processor(Processor([pair for pair in zip([first, second], strengths) if pair[1]]))
        yield dict(strengths=strengths, output=[float(f"{v:.7g}") for v in output(model).flatten().tolist()])


def curves():
    """Every activation function that goes element by element, at some places."""
    x = torch.linspace(-9, 9, 37).double()
    names = ["ReLU", "ReLU6", "LeakyReLU", "RReLU", "ELU", "CELU", "SELU", "GELU", "SiLU", "Mish", "Hardswish", "Hardsigmoid", "Hardtanh",
             "Hardshrink", "Softshrink", "Softplus", "Softsign", "Sigmoid", "LogSigmoid", "Tanh", "Tanhshrink"]
    return {name.lower(): [float(f"{v:.7g}") for v in getattr(torch.nn, name)().eval()(x).tolist()] for name in names}


def embeddings():
    """Two embeddings in the ids of one text, after the 100 tokens of the vocabulary: three vectors, and one."""
    three, one = values("three", (3, 16)).float(), values("one", (16,)).float()
    torch.save({"string_to_token": {"*": torch.tensor(265)}, "string_to_param": torch.nn.ParameterDict({"*": torch.nn.Parameter(three)}),
                "name": "three", "step": 5, "sd_checkpoint": None}, OUT.parent / "adapters_embedding.pt")
    torch.save({"<cat-toy>": one}, OUT.parent / "adapters_learned_embeds.bin")
    model = text_encoder()
    table = model.get_input_embeddings()
    table.weight.data = torch.cat([table.weight.data, three, one[None]])
    table.num_embeddings = 104
    ids = [[98, 100, 101, 102, 7, 103, 99, 99]]
    with torch.no_grad():
        out = model.double().eval()(torch.tensor(ids)).last_hidden_state
    return dict(ids=ids, output=[float(f"{v:.7g}") for v in out.flatten().tolist()])


torch.set_num_threads(1)
data = dict(size=SIZE, unet=json.loads(UNet2DConditionModel(**UNET).to_json_string()), text_encoder=CLIPTextConfig(**TEXT).to_dict(),
            latents=[1, 8, 8, 4], context=CONTEXT, timestep=TIMESTEP, ids=IDS, cases=list(cases()),
            hypernetworks=list(hypernetworks()), curves=curves(), embeddings=embeddings())
OUT.write_text(json.dumps(data, separators=(",", ":")) + "\n")
