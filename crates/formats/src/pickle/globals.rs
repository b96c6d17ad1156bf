//! The names a pickle may ask for: what `torch.save` writes for weights, and what Lightning, NumPy and OmegaConf put beside
//! them in training checkpoints. Each is data here; there is nothing behind it that could be run.

use crate::DType;

/// A name on the list.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Global {
    /// `collections.OrderedDict`.
    OrderedDict,
    /// `collections.defaultdict`.
    DefaultDict,
    /// `collections.Counter`.
    Counter,
    /// `torch._utils._rebuild_tensor`, `_v2` and `_v3`.
    RebuildTensor(u8),
    /// `torch._utils._rebuild_parameter` and `_rebuild_parameter_with_state`.
    RebuildParameter,
    /// `torch._tensor._rebuild_from_type_v2`.
    RebuildFromType,
    /// A storage class of `torch`.
    Storage(&'static str, DType),
    /// A dtype of `torch`.
    TorchDType(&'static str, DType),
    /// `torch.Size`.
    Size,
    /// `torch.device`.
    Device,
    /// `torch.nn.modules.container.ParameterDict`.
    ParameterDict,
    /// `numpy.core.multiarray.scalar`.
    NumpyScalar,
    /// `numpy.dtype`.
    NumpyDType,
    /// `_codecs.encode`: how protocol 2 writes bytes.
    Encode,
    /// `set` or `frozenset`.
    Set,
    /// `bytearray` or `bytes`.
    ByteArray,
    /// `collections.deque`.
    Deque,
    /// A class of dicts.
    Dict(&'static str),
    /// A class of texts.
    Text(&'static str),
    /// A class whose instances are kept closed.
    Closed(&'static str),
    /// A name that is only ever named.
    Name(&'static str),
}

/// How Python 2 (and so protocol 2) and Python 3 call the module of built-in names.
const BUILTINS: [&str; 2] = ["__builtin__", "builtins"];

impl Global {
    /// The name on the list that `module` and `name` spell, exactly.
    pub(crate) fn find(module: &str, name: &str) -> Option<&'static Self> {
        if BUILTINS.contains(&module) {
            return find(BUILTIN_NAMES, name);
        }
        MODULES.iter().find(|(listed, _)| *listed == module).and_then(|(_, names)| find(names, name))
    }

    /// The name as Python spells it.
    pub(crate) fn name(&self) -> &'static str {
        match *self {
            Self::OrderedDict => "collections.OrderedDict",
            Self::DefaultDict => "collections.defaultdict",
            Self::Counter => "collections.Counter",
            Self::RebuildTensor(1) => "torch._utils._rebuild_tensor",
            Self::RebuildTensor(2) => "torch._utils._rebuild_tensor_v2",
            Self::RebuildTensor(_) => "torch._utils._rebuild_tensor_v3",
            Self::RebuildParameter => "torch._utils._rebuild_parameter",
            Self::RebuildFromType => "torch._tensor._rebuild_from_type_v2",
            Self::Size => "torch.Size",
            Self::Device => "torch.device",
            Self::ParameterDict => "torch.nn.modules.container.ParameterDict",
            Self::NumpyScalar => "numpy.core.multiarray.scalar",
            Self::NumpyDType => "numpy.dtype",
            Self::Encode => "_codecs.encode",
            Self::Set => "builtins.set",
            Self::ByteArray => "builtins.bytearray",
            Self::Deque => "collections.deque",
            Self::Storage(name, _)
            | Self::TorchDType(name, _)
            | Self::Dict(name)
            | Self::Text(name)
            | Self::Closed(name)
            | Self::Name(name) => name,
        }
    }

    /// What a name of torch would make that is a tensor, but none that is read here.
    pub(crate) fn unsupported(module: &str, name: &str) -> Option<&'static str> {
        Some(match (module, name) {
            ("torch._utils", "_rebuild_qtensor")
            | ("torch", "QInt8Storage" | "QUInt8Storage" | "QInt32Storage" | "QUInt4x2Storage" | "QUInt2x4Storage") => {
                "a quantized tensor"
            }
            ("torch._utils", "_rebuild_sparse_tensor" | "_rebuild_sparse_csr_tensor") => "a sparse tensor",
            ("torch._utils", "_rebuild_wrapper_subclass") => "a tensor of a class of its own",
            ("torch._utils", "_rebuild_nested_tensor") => "a nested tensor",
            ("torch._utils", "_rebuild_meta_tensor_no_storage") => "a tensor without data",
            (
                "torch._utils",
                "_rebuild_device_tensor_from_numpy" | "_rebuild_device_tensor_from_cpu_tensor" | "_rebuild_xla_tensor",
            ) => "a tensor of a TPU or another device",
            ("torch" | "torch.cuda", "ComplexDoubleStorage") | ("torch", "complex128") => {
                "a tensor of 128-bit complex numbers"
            }
            _ => return None,
        })
    }
}

fn find(names: Names, name: &str) -> Option<&'static Global> {
    names.iter().find(|(listed, _)| *listed == name).map(|(_, global)| global)
}

type Names = &'static [(&'static str, Global)];

const BUILTIN_NAMES: Names = &[
    ("set", Global::Set),
    ("frozenset", Global::Set),
    ("bytearray", Global::ByteArray),
    ("bytes", Global::ByteArray),
    ("complex", Global::Closed("builtins.complex")),
    ("range", Global::Closed("builtins.range")),
    ("xrange", Global::Closed("builtins.range")),
    ("slice", Global::Closed("builtins.slice")),
    // As types in OmegaConf's metadata and in `defaultdict`.
    ("dict", Global::Name("builtins.dict")),
    ("list", Global::Name("builtins.list")),
    ("tuple", Global::Name("builtins.tuple")),
    ("int", Global::Name("builtins.int")),
    ("long", Global::Name("builtins.int")),
    ("float", Global::Name("builtins.float")),
    ("bool", Global::Name("builtins.bool")),
    ("str", Global::Name("builtins.str")),
    ("unicode", Global::Name("builtins.str")),
];

/// NumPy moved these modules in 2.0.
const MULTIARRAY: Names =
    &[("scalar", Global::NumpyScalar), ("_reconstruct", Global::Closed("numpy.core.multiarray._reconstruct"))];

/// Of files from before torch 1.0 whose tensors were on a GPU.
const CUDA: Names = &[
    ("DoubleStorage", Global::Storage("torch.cuda.DoubleStorage", DType::F64)),
    ("FloatStorage", Global::Storage("torch.cuda.FloatStorage", DType::F32)),
    ("HalfStorage", Global::Storage("torch.cuda.HalfStorage", DType::F16)),
    ("BFloat16Storage", Global::Storage("torch.cuda.BFloat16Storage", DType::BF16)),
    ("LongStorage", Global::Storage("torch.cuda.LongStorage", DType::I64)),
    ("IntStorage", Global::Storage("torch.cuda.IntStorage", DType::I32)),
    ("ShortStorage", Global::Storage("torch.cuda.ShortStorage", DType::I16)),
    ("CharStorage", Global::Storage("torch.cuda.CharStorage", DType::I8)),
    ("ByteStorage", Global::Storage("torch.cuda.ByteStorage", DType::U8)),
    ("BoolStorage", Global::Storage("torch.cuda.BoolStorage", DType::Bool)),
];

/// Lightning moved this class from release to release.
const ATTRIBUTE_DICT: Names = &[("AttributeDict", Global::Dict("pytorch_lightning.utilities.parsing.AttributeDict"))];

/// In Python 3.13 these are in a module of their own.
const PATHS: Names = &[
    ("Path", Global::Closed("pathlib.Path")),
    ("PosixPath", Global::Closed("pathlib.PosixPath")),
    ("WindowsPath", Global::Closed("pathlib.WindowsPath")),
    ("PurePosixPath", Global::Closed("pathlib.PurePosixPath")),
    ("PureWindowsPath", Global::Closed("pathlib.PureWindowsPath")),
];

const MODULES: &[(&str, Names)] = &[
    (
        "collections",
        &[
            ("OrderedDict", Global::OrderedDict),
            ("defaultdict", Global::DefaultDict),
            ("Counter", Global::Counter),
            ("deque", Global::Deque),
        ],
    ),
    (
        "torch._utils",
        &[
            ("_rebuild_tensor", Global::RebuildTensor(1)),
            ("_rebuild_tensor_v2", Global::RebuildTensor(2)),
            ("_rebuild_tensor_v3", Global::RebuildTensor(3)),
            ("_rebuild_parameter", Global::RebuildParameter),
            ("_rebuild_parameter_with_state", Global::RebuildParameter),
        ],
    ),
    ("torch._tensor", &[("_rebuild_from_type_v2", Global::RebuildFromType)]),
    (
        "torch",
        &[
            ("DoubleStorage", Global::Storage("torch.DoubleStorage", DType::F64)),
            ("FloatStorage", Global::Storage("torch.FloatStorage", DType::F32)),
            ("HalfStorage", Global::Storage("torch.HalfStorage", DType::F16)),
            ("BFloat16Storage", Global::Storage("torch.BFloat16Storage", DType::BF16)),
            ("LongStorage", Global::Storage("torch.LongStorage", DType::I64)),
            ("IntStorage", Global::Storage("torch.IntStorage", DType::I32)),
            ("ShortStorage", Global::Storage("torch.ShortStorage", DType::I16)),
            ("CharStorage", Global::Storage("torch.CharStorage", DType::I8)),
            ("ByteStorage", Global::Storage("torch.ByteStorage", DType::U8)),
            ("BoolStorage", Global::Storage("torch.BoolStorage", DType::Bool)),
            ("ComplexFloatStorage", Global::Storage("torch.ComplexFloatStorage", DType::C64)),
            ("UntypedStorage", Global::Storage("torch.UntypedStorage", DType::U8)),
            ("float64", Global::TorchDType("torch.float64", DType::F64)),
            ("float32", Global::TorchDType("torch.float32", DType::F32)),
            ("float16", Global::TorchDType("torch.float16", DType::F16)),
            ("bfloat16", Global::TorchDType("torch.bfloat16", DType::BF16)),
            ("int64", Global::TorchDType("torch.int64", DType::I64)),
            ("int32", Global::TorchDType("torch.int32", DType::I32)),
            ("int16", Global::TorchDType("torch.int16", DType::I16)),
            ("int8", Global::TorchDType("torch.int8", DType::I8)),
            ("uint64", Global::TorchDType("torch.uint64", DType::U64)),
            ("uint32", Global::TorchDType("torch.uint32", DType::U32)),
            ("uint16", Global::TorchDType("torch.uint16", DType::U16)),
            ("uint8", Global::TorchDType("torch.uint8", DType::U8)),
            ("bool", Global::TorchDType("torch.bool", DType::Bool)),
            ("complex64", Global::TorchDType("torch.complex64", DType::C64)),
            ("float8_e4m3fn", Global::TorchDType("torch.float8_e4m3fn", DType::F8E4M3)),
            ("float8_e5m2", Global::TorchDType("torch.float8_e5m2", DType::F8E5M2)),
            ("float8_e4m3fnuz", Global::TorchDType("torch.float8_e4m3fnuz", DType::F8E4M3FNUZ)),
            ("float8_e5m2fnuz", Global::TorchDType("torch.float8_e5m2fnuz", DType::F8E5M2FNUZ)),
            ("float8_e8m0fnu", Global::TorchDType("torch.float8_e8m0fnu", DType::F8E8M0)),
            ("Size", Global::Size),
            ("device", Global::Device),
            ("Tensor", Global::Name("torch.Tensor")),
            // Of quantized tensors, which are not read; but a list of such names is.
            ("per_tensor_affine", Global::Name("torch.per_tensor_affine")),
            ("per_tensor_symmetric", Global::Name("torch.per_tensor_symmetric")),
            ("per_channel_affine", Global::Name("torch.per_channel_affine")),
            ("per_channel_symmetric", Global::Name("torch.per_channel_symmetric")),
            ("per_channel_affine_float_qparams", Global::Name("torch.per_channel_affine_float_qparams")),
            ("qint8", Global::Name("torch.qint8")),
            ("quint8", Global::Name("torch.quint8")),
            ("qint32", Global::Name("torch.qint32")),
            ("complex32", Global::Name("torch.complex32")),
            ("float4_e2m1fn_x2", Global::Name("torch.float4_e2m1fn_x2")),
        ],
    ),
    ("torch.cuda", CUDA),
    (
        "torch.storage",
        &[
            ("UntypedStorage", Global::Storage("torch.storage.UntypedStorage", DType::U8)),
            ("TypedStorage", Global::Name("torch.storage.TypedStorage")),
        ],
    ),
    ("torch.serialization", &[("_get_layout", Global::Closed("torch.serialization._get_layout"))]),
    ("torch.nn.parameter", &[("Parameter", Global::Name("torch.nn.parameter.Parameter"))]),
    ("torch.nn.modules.container", &[("ParameterDict", Global::ParameterDict)]),
    ("numpy.core.multiarray", MULTIARRAY),
    ("numpy._core.multiarray", MULTIARRAY),
    ("numpy", &[("dtype", Global::NumpyDType), ("ndarray", Global::Name("numpy.ndarray"))]),
    ("_codecs", &[("encode", Global::Encode)]),
    ("torch.torch_version", &[("TorchVersion", Global::Text("torch.torch_version.TorchVersion"))]),
    (
        // The key of its state in the `callbacks` of Lightning before 1.5, as in sd-v1-4-full-ema.ckpt.
        "pytorch_lightning.callbacks.model_checkpoint",
        &[("ModelCheckpoint", Global::Name("pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint"))],
    ),
    (
        "pytorch_lightning.callbacks.early_stopping",
        &[("EarlyStopping", Global::Name("pytorch_lightning.callbacks.early_stopping.EarlyStopping"))],
    ),
    // Lightning's own `hyper_parameters`, and what programs put there: their arguments, their paths.
    ("pytorch_lightning.utilities.parsing", ATTRIBUTE_DICT),
    ("lightning.pytorch.utilities.parsing", ATTRIBUTE_DICT),
    ("lightning_fabric.utilities.data", ATTRIBUTE_DICT),
    ("lightning.fabric.utilities.data", ATTRIBUTE_DICT),
    ("argparse", &[("Namespace", Global::Closed("argparse.Namespace"))]),
    ("pathlib", PATHS),
    // When and by what number something was trained.
    (
        "datetime",
        &[
            ("datetime", Global::Closed("datetime.datetime")),
            ("date", Global::Closed("datetime.date")),
            ("time", Global::Closed("datetime.time")),
            ("timedelta", Global::Closed("datetime.timedelta")),
            ("timezone", Global::Closed("datetime.timezone")),
        ],
    ),
    ("decimal", &[("Decimal", Global::Closed("decimal.Decimal"))]),
    ("fractions", &[("Fraction", Global::Closed("fractions.Fraction"))]),
    ("uuid", &[("UUID", Global::Closed("uuid.UUID"))]),
    ("pathlib._local", PATHS),
    // Lightning's `hyper_parameters`, where a model saved its OmegaConf configuration.
    ("omegaconf.dictconfig", &[("DictConfig", Global::Closed("omegaconf.dictconfig.DictConfig"))]),
    ("omegaconf.listconfig", &[("ListConfig", Global::Closed("omegaconf.listconfig.ListConfig"))]),
    ("omegaconf.nodes", &[("AnyNode", Global::Closed("omegaconf.nodes.AnyNode"))]),
    (
        "omegaconf.base",
        &[
            ("Metadata", Global::Closed("omegaconf.base.Metadata")),
            ("ContainerMetadata", Global::Closed("omegaconf.base.ContainerMetadata")),
        ],
    ),
    ("typing", &[("Any", Global::Name("typing.Any"))]),
];
