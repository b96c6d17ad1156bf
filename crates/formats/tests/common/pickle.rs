//! Writes pickles, opcode by opcode, right or wrong.

/// A pickle in the making.
#[derive(Clone, Default)]
pub(crate) struct Pickle(Vec<u8>);

impl Pickle {
    pub(crate) fn new(protocol: u8) -> Self {
        Self(vec![0x80, protocol])
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    pub(crate) fn stop(self) -> Vec<u8> {
        self.raw(b".").0
    }

    /// `BINUNICODE`.
    pub(crate) fn str(self, text: &str) -> Self {
        self.raw(b"X").raw(&(text.len() as u32).to_le_bytes()).raw(text.as_bytes())
    }

    /// `BININT` or, where it takes more, `LONG1`.
    pub(crate) fn int(self, n: i64) -> Self {
        match i32::try_from(n) {
            Ok(n) => self.raw(b"J").raw(&n.to_le_bytes()),
            Err(_) => self.raw(b"\x8a\x08").raw(&n.to_le_bytes()),
        }
    }

    /// `GLOBAL`.
    pub(crate) fn global(self, module: &str, name: &str) -> Self {
        self.raw(b"c").raw(module.as_bytes()).raw(b"\n").raw(name.as_bytes()).raw(b"\n")
    }

    /// `STACK_GLOBAL`.
    pub(crate) fn stack_global(self, module: &str, name: &str) -> Self {
        self.str(module).str(name).raw(b"\x93")
    }

    pub(crate) fn list(self) -> Self {
        self.raw(b"]")
    }

    pub(crate) fn dict(self) -> Self {
        self.raw(b"}")
    }

    pub(crate) fn mark(self) -> Self {
        self.raw(b"(")
    }

    /// `TUPLE`, down to the mark.
    pub(crate) fn tuple(self) -> Self {
        self.raw(b"t")
    }

    pub(crate) fn reduce(self) -> Self {
        self.raw(b"R")
    }

    /// `SETITEM`.
    pub(crate) fn set(self) -> Self {
        self.raw(b"s")
    }

    /// A tuple of integers.
    pub(crate) fn ints(self, ints: &[i64]) -> Self {
        ints.iter().fold(self.mark(), |pickle, &n| pickle.int(n)).tuple()
    }

    /// `BINPERSID` of a storage of `count` elements.
    pub(crate) fn storage(self, class: &str, key: &str, count: i64) -> Self {
        self.mark().str("storage").global("torch", class).str(key).str("cpu").int(count).tuple().raw(b"Q")
    }

    /// A tensor by `_rebuild_tensor_v2`.
    pub(crate) fn tensor(self, storage: (&str, &str, i64), offset: i64, shape: &[i64], strides: &[i64]) -> Self {
        let (class, key, count) = storage;
        let call = self.global("torch._utils", "_rebuild_tensor_v2").mark().storage(class, key, count);
        let call = call.int(offset).ints(shape).ints(strides).raw(b"\x89");
        call.global("collections", "OrderedDict").raw(b")R").tuple().reduce()
    }
}
