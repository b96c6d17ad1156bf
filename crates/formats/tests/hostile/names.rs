//! Pickles that ask for what runs, opens or connects: the tricks by which scanners were passed, each under the number of
//! its advisory. None of these names is on the list of what weights are made of, so each is refused where it stands.

use crate::common::{listed, pickle::Pickle, torch_legacy, torch_zip, verdict, verdict_in_memory};

/// `(name in attacks/README.md, module, attribute)`
const NAMES: &[(&str, &str, &str)] = &[
    // picklescan
    ("CVE-2025-71373", "operator", "methodcaller"),
    ("GHSA-3329-ghmp-jmv5", "numpy.f2py.crackfortran", "myeval"),
    ("GHSA-3gf5-cxq9-w223", "idlelib.pyshell", "ModifiedInterpreter.runcode"),
    ("GHSA-3vg9-h568-4w9m", "idlelib.debugobj", "ObjectTreeItem.SetText"),
    ("GHSA-4675-36f9-wf6r", "ctypes", "CDLL"),
    ("GHSA-46h3-79wf-xr6c", "_operator", "attrgetter"),
    ("GHSA-49gj-c84q-6qm9", "cProfile", "run"),
    ("GHSA-4r9r-ch6f-vxmx", "torch.utils.bottleneck.__main__", "run_cprofile"),
    ("GHSA-4whj-rm5r-c2v8", "torch.utils.bottleneck.__main__", "run_autograd_prof"),
    ("GHSA-5qwp-399c-mjwf", "trace", "Trace.run"),
    ("GHSA-6556-fwc2-fg2p", "numpy.f2py.crackfortran", "_eval_length"),
    ("GHSA-655q-fx9r-782v", "pip", "main"),
    ("GHSA-6vqj-c2q5-j97w", "profile", "Profile.runctx"),
    ("GHSA-6w4w-5w54-rjvr", "idlelib.autocomplete", "AutoComplete.get_entity"),
    ("GHSA-7cq8-mj8x-j263", "idlelib.autocomplete", "AutoComplete.fetch_completions"),
    ("GHSA-7wx9-6375-f5wh", "profile", "run"),
    ("GHSA-84r2-jw7c-4r5q", "pydoc", "locate"),
    ("GHSA-86cj-95qr-2p4f", "torch._dynamo.guards", "GuardBuilder.get"),
    ("GHSA-8r4j-24qv-fmq9", "idlelib.calltip", "Calltip.fetch_tip"),
    ("GHSA-955r-x9j8-7rhh", "_operator", "methodcaller"),
    ("GHSA-9726-w42j-3qjr", "_io", "FileIO"),
    ("GHSA-9726-w42j-3qjr-urlopen", "urllib.request", "urlopen"),
    ("GHSA-9m3x-qqw2-h32h", "cloudpickle.cloudpickle", "_make_function"),
    ("GHSA-9m3x-qqw2-h32h-code", "types", "CodeType"),
    ("GHSA-9w88-8rmg-7g2p", "cProfile", "runctx"),
    ("GHSA-9xph-j2h6-g47v", "idlelib.calltip", "get_entity"),
    ("GHSA-cffc-mxrf-mhh4", "numpy.f2py.crackfortran", "param_eval"),
    ("GHSA-cj3c-v495-4xqh", "code", "InteractiveInterpreter.runcode"),
    ("GHSA-f4x7-rfwp-v3xw", "torch.fx.experimental.symbolic_shapes", "ShapeEnv.evaluate_guards_expression"),
    ("GHSA-f54q-57x4-jg88", "lib2to3.pgen2.grammar", "Grammar.loads"),
    ("GHSA-f745-w6jp-hpxx", "torch.utils.collect_env", "run"),
    ("GHSA-f7qq-56ww-84cr", "asyncio.unix_events", "_UnixSubprocessTransport._start"),
    ("GHSA-fqq6-7vqf-w3fg", "doctest", "debug_script"),
    ("GHSA-g344-hcph-8vgg", "trace", "Trace.runctx"),
    ("GHSA-g38g-8gr9-h9xp-aix", "_aix_support", "_read_cmd_output"),
    ("GHSA-g38g-8gr9-h9xp-imaplib", "imaplib", "IMAP4_stream"),
    ("GHSA-g38g-8gr9-h9xp-osx", "_osx_support", "_read_output"),
    ("GHSA-g38g-8gr9-h9xp-pyrepl", "_pyrepl.pager", "pipe_pager"),
    ("GHSA-g38g-8gr9-h9xp-test", "test.support.script_helper", "assert_python_ok"),
    ("GHSA-g38g-8gr9-h9xp-uuid", "uuid", "_get_command_stdout"),
    ("GHSA-h3qp-7fh3-f8h4", "torch.utils.data.datapipes.utils.decoder", "basichandlers"),
    ("GHSA-hgrh-qx5j-jfwx", "ssl", "get_server_certificate"),
    ("GHSA-j343-8v2j-ff7w", "idlelib.pyshell", "ModifiedInterpreter.runcommand"),
    ("GHSA-jhph-76pp-mggw", "torch.utils.collect_env", "run_and_read_all"),
    ("GHSA-m273-6v24-x4m4", "distutils.file_util", "write_file"),
    ("GHSA-m7j5-r2p5-c39r", "logging", "FileHandler"),
    ("GHSA-m869-42cg-3xwr", "idlelib.run", "Executive.runcode"),
    ("GHSA-p9w7-82w4-7q8m", "lib2to3.pgen2.pgen", "ParserGenerator.make_label"),
    ("GHSA-q77w-mwjj-7mqx", "asyncio.unix_events", "_UnixSubprocessTransport._start"),
    ("GHSA-r8g5-cgf2-4m4m", "numpy.f2py.crackfortran", "getlincoef"),
    ("GHSA-rrxm-2pvv-m66x", "numpy.f2py.crackfortran", "getlincoef"),
    ("GHSA-v7x6-rv5q-mhwc", "timeit", "timeit"),
    ("GHSA-vqmv-47xg-9wpr", "pty", "spawn"),
    ("GHSA-vr7h-p6mm-wpmh", "torch.jit.unsupported_tensor_ops", "execWrapper"),
    ("GHSA-vv6j-3g6g-2pvj", "torch.utils._config_module", "ConfigModule.load_config"),
    ("GHSA-vvpj-8cmc-gx39", "pkgutil", "resolve_name"),
    ("GHSA-x696-vm39-cp64", "profile", "Profile.run"),
    ("GHSA-xp4f-hrf8-rxw7", "ensurepip", "_run_pip"),
    // Without a number there
    ("picklescan-builtin-eval", "__builtin__", "eval"),
    ("picklescan-builtins-eval", "builtins", "eval"),
    ("picklescan-exec", "builtins", "exec"),
    ("picklescan-apply", "__builtin__", "apply"),
    ("picklescan-open", "builtins", "open"),
    ("picklescan-breakpoint", "builtins", "breakpoint"),
    ("picklescan-posix", "posix", "system"),
    ("picklescan-nt", "nt", "system"),
    ("picklescan-https", "http.client", "HTTPSConnection"),
    ("picklescan-httplib", "httplib", "HTTPSConnection"),
    ("picklescan-requests", "requests.api", "get"),
    ("picklescan-aiohttp", "aiohttp.client", "ClientSession"),
    ("picklescan-socket", "socket", "create_connection"),
    ("picklescan-subprocess", "subprocess", "run"),
    ("picklescan-exit", "sys", "exit"),
    ("picklescan-pickle", "_pickle", "loads"),
    ("picklescan-runpy", "runpy", "_run_code"),
    ("picklescan-bdb", "bdb", "Bdb.run"),
    ("picklescan-codecache", "torch._inductor.codecache", "compile_file"),
    ("picklescan-pipepager", "pydoc", "pipepager"),
    ("picklescan-torch-load", "torch.serialization", "load"),
    ("picklescan-partial", "functools", "partial"),
    ("picklescan-venv", "venv", "create"),
    ("picklescan-timeit", "timeit", "timeit"),
    ("picklescan-runstring", "numpy.testing._private.utils", "runstring"),
    ("picklescan-webbrowser", "webbrowser", "open"),
    ("picklescan-commands", "commands", "getoutput"),
    ("picklescan-pdb", "pdb", "run"),
    // fickling
    ("GHSA-565g-hwwr-4pp3", "marshal", "loads"),
    ("GHSA-5cxw-w2xg-2m8h", "platform", "_syscmd_file"),
    ("GHSA-5hvc-6wx8-mvv4", "pydoc", "locate"),
    ("GHSA-5hwf-rc88-82xm", "_osx_support", "_find_build_tool"),
    ("GHSA-5j3x-jp52-966f", "pathlib", "os.system"),
    ("GHSA-6ggj-6f2q-f7mx", "_interpreters", "create"),
    ("GHSA-6ggj-6f2q-f7mx-old", "_xxsubinterpreters", "create"),
    ("GHSA-cffv-grgg-g429", "ast", "parse"),
    ("GHSA-fphw-536r-4p88", "pickle", "_loads"),
    ("GHSA-h4rm-mm56-xf63", "builtins", "__import__"),
    ("GHSA-m6fh-58r7-x697", "_posixsubprocess", "fork_exec"),
    ("GHSA-m6fh-58r7-x697-site", "site", "addpackage"),
    ("GHSA-m6fh-58r7-x697-atexit", "atexit", "_run_exitfuncs"),
    ("GHSA-mhc9-48gj-9gp3", "socketserver", "TCPServer"),
    ("GHSA-p523-jq9w-64x9", "cProfile", "run"),
    ("GHSA-pc6j-px3p-rrj4", "unittest.mock", "_importer"),
    ("GHSA-q5qq-mvfm-j35x", "importlib", "import_module"),
    ("GHSA-q5qq-mvfm-j35x-multiprocessing", "multiprocessing.util", "spawnv_passfds"),
    ("GHSA-r48f-3986-4f9c", "linecache", "getlines"),
    ("GHSA-r7v6-mfhq-g3m2", "pty", "spawn"),
    ("GHSA-wccx-j62j-r448", "pickle", "Unpickler"),
    ("GHSA-wfq2-52f7-7qvj", "runpy", "run_path"),
    ("fickling-hook", "fickling.hook", "remove_hook"),
    ("fickling-getattr", "builtins", "getattr"),
    ("fickling-smtp", "smtplib", "SMTP"),
    ("fickling-ftp", "ftplib", "FTP"),
    ("fickling-future", "__future__", "_ssl.RAND_bytes"),
    ("fickling-imp", "imp", "load_source"),
    ("fickling-pipes", "pipes", "Template"),
    // modelscan, Lightning, Hydra
    ("modelscan-330", "numpy", "__builtins__"),
    ("lightning-load", "pytorch_lightning.core.saving", "load_hparams_from_yaml"),
    ("hydra-instantiate", "hydra._internal.instantiate._instantiate2", "instantiate"),
    // PyTorch
    ("CVE-2022-45907", "torch.jit.annotations", "parse_type_line"),
    ("CVE-2024-5480", "torch.distributed.rpc.internal", "PythonUDF"),
    ("CVE-2024-48063", "torch.distributed.nn.api.remote_module", "RemoteModule"),
    ("torch-load-from-bytes", "torch.storage", "_load_from_bytes"),
    ("torch-jit-load", "torch.jit", "load"),
    ("torch-hub", "torch.hub", "load"),
    ("torch-ops", "torch.ops", "load_library"),
    ("torch-module", "torch.nn.modules.linear", "Linear"),
    // Near misses of names on the list
    ("near-dotted", "torch", "_utils._rebuild_tensor_v2"),
    ("near-dunder", "collections", "OrderedDict.__init_subclass__"),
    ("near-module", "torch", "storage"),
    ("near-space", "torch ", "FloatStorage"),
    ("near-case", "Torch", "FloatStorage"),
    ("near-homoglyph", "torch", "FlоatStorage"),
    ("near-numpy-load", "numpy", "load"),
    ("near-namedtuple", "collections", "namedtuple"),
    ("near-omegaconf", "omegaconf.omegaconf", "OmegaConf.load"),
    ("near-empty", "", ""),
];

/// A command that leaves a trace, were it run. The tests look for it.
const PAYLOAD: &str = "touch hostile-was-here";

/// Every way in which a pickle calls a name.
fn forms(module: &str, name: &str) -> Vec<Vec<u8>> {
    let proto = Pickle::new;
    let mut forms = vec![
        // What pickle.dumps writes, protocols 2 and 4
        proto(2).global(module, name).str(PAYLOAD).raw(b"\x85R").stop(),
        proto(4).stack_global(module, name).str(PAYLOAD).raw(b"\x85R").stop(),
        // NEWOBJ, NEWOBJ_EX, and the old INST and OBJ
        proto(2).global(module, name).str(PAYLOAD).raw(b"\x85\x81").stop(),
        proto(4).stack_global(module, name).str(PAYLOAD).raw(b"\x85}\x92").stop(),
        proto(2).mark().str(PAYLOAD).raw(format!("i{module}\n{name}\n").as_bytes()).stop(),
        proto(2).mark().global(module, name).str(PAYLOAD).raw(b"o").stop(),
        // Named and never called; called and thrown away (GHSA-mxhj-88fx-4pcv); as a class that is given a state
        proto(4).stack_global(module, name).stop(),
        proto(4).mark().stack_global(module, name).str(PAYLOAD).raw(b"o0N").stop(),
        proto(2).global(module, name).dict().raw(b"b").stop(),
        // In the midst of what looks like weights
        proto(2)
            .dict()
            .str("w")
            .tensor(("FloatStorage", "0", 1), 0, &[1], &[1])
            .set()
            .str("x")
            .global(module, name)
            .set()
            .stop(),
    ];
    if module.is_ascii() && name.is_ascii() {
        forms.push([b"c", module.as_bytes(), b"\n", name.as_bytes(), b"\n(S'touch hostile-was-here'\ntR."].concat());
    }
    forms
}

fn pickle_has_storage(pickle: &[u8]) -> bool {
    pickle.windows(7).any(|window| window == b"storage")
}

fn refusal(module: &str, name: &str) -> String {
    let full = format!("{module}.{name}");
    let plain = full.chars().all(|c| c.is_ascii_alphanumeric() || "._".contains(c));
    let full = if plain { full } else { format!("{full:?}") };
    format!(
        "refused: it asks for {full}, which is none of the names that weights are made of: do not load this file, here or elsewhere; look for a safetensors copy of the model"
    )
}

/// Each name in each form and place.
pub(crate) fn files() -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for (id, module, name) in NAMES {
        for (n, pickle) in forms(module, name).into_iter().enumerate() {
            files.extend(places(pickle).map(|file| (format!("{id}, form {n}"), file)));
        }
    }
    files
}

/// A pickle in the zip form, in the older form, and by itself (the magic number made by a call: GHSA-97f8-7cmv-76j2).
fn places(pickle: Vec<u8>) -> impl Iterator<Item = Vec<u8>> {
    // The form with a tensor needs a place with storages.
    let places = if pickle_has_storage(&pickle) { 2 } else { 3 };
    let (zip, legacy) =
        (torch_zip(pickle.clone(), &[("0", &[0; 4])]), torch_legacy(pickle.clone(), &[("0", 1, &[0; 4])]));
    [zip, legacy, pickle].into_iter().take(places)
}

#[test]
fn every_hostile_name_is_refused_in_every_form_and_place() {
    for (id, module, name) in NAMES {
        let expected = refusal(module, name);
        for (n, pickle) in forms(module, name).into_iter().enumerate() {
            for (place, file) in places(pickle).enumerate() {
                let verdict = if n == 0 { verdict(&file) } else { verdict_in_memory(file) };
                let verdict = verdict.unwrap_or_else(|| panic!("{id}, form {n}, place {place} was taken"));
                assert_eq!(verdict, expected, "{id}, form {n}, place {place}");
            }
        }
    }
    assert!(!std::path::Path::new("hostile-was-here").exists());
}

/// Whole modules that fickling blocks: none has a name on the list.
#[test]
fn no_module_of_the_standard_library_is_known() {
    const MODULES: &str = "__builtin__ __builtins__ builtins os posix nt subprocess sys pty commands multiprocessing \
        _posixsubprocess code codeop runpy marshal types compile exec eval doctest _interpreters _xxsubinterpreters importlib \
        _frozen_importlib _frozen_importlib_external _imp imp pkgutil zipimport gc site unittest inspect test _operator \
        operator functools cProfile profile pdb bdb timeit trace socket ssl httplib http urllib urllib2 requests aiohttp \
        asyncio webbrowser smtplib imaplib ftplib poplib telnetlib nntplib ctypes _ctypes pickle _pickle dill cloudpickle \
        joblib shutil tempfile filecmp distutils pydoc pexpect pipes venv ensurepip pip idlelib lib2to3 socketserver xmlrpc \
        signal _signal threading _thread atexit sqlite3 _sqlite3 fileinput glob platform linecache difflib compileall \
        py_compile mmap select selectors logging syslog tarfile zipfile shelve uuid _osx_support _aix_support io _io copyreg \
        copy_reg codecs typing.io dataclasses string pathlib random secrets hashlib json weakref contextlib";
    const ATTRIBUTES: &str = "system eval exec open run main load loads compile getattr __import__ partial _reconstructor \
        __dict__ __class__ Popen dangerous";
    for module in MODULES.split_whitespace() {
        for name in ATTRIBUTES.split_whitespace() {
            let pickle = Pickle::new(2).global(module, name).stop();
            assert_eq!(verdict_in_memory(torch_zip(pickle, &[])), Some(refusal(module, name)));
        }
    }
}

/// Names on the list that are no calls here: to call them is refused too.
#[test]
fn what_is_only_a_name_is_not_called() {
    for (module, name, shown) in [
        ("typing", "Any", "typing.Any"),
        ("torch", "FloatStorage", "torch.FloatStorage"),
        ("torch", "float16", "torch.float16"),
        ("__builtin__", "dict", "builtins.dict"),
        ("torch.nn.parameter", "Parameter", "torch.nn.parameter.Parameter"),
        (
            "pytorch_lightning.callbacks.model_checkpoint",
            "ModelCheckpoint",
            "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
        ),
    ] {
        let pickle = Pickle::new(2).global(module, name).str(PAYLOAD).raw(b"\x85R").stop();
        let expected = format!("refused: its pickle calls {shown}, as no checkpoint does: do not load this file");
        assert_eq!(verdict(&torch_zip(pickle, &[])), Some(expected));
    }
}

#[test]
fn the_readme_lists_every_name() {
    assert_eq!(listed("Names in a pickle"), NAMES.iter().map(|name| name.0).collect::<Vec<_>>());
}
