//! Writes zip archives as `torch.save` does, and says where every record is, so that a test can spoil it.

/// An archive in the making.
#[derive(Clone, Default)]
pub(crate) struct Zip {
    entries: Vec<(String, Vec<u8>)>,
}

/// An archive, and where its records are.
#[derive(Clone)]
pub(crate) struct Built {
    pub(crate) bytes: Vec<u8>,
    /// Of each entry: local header, data, descriptor, central header.
    pub(crate) local: Vec<usize>,
    pub(crate) data: Vec<usize>,
    pub(crate) descriptor: Vec<usize>,
    pub(crate) central: Vec<usize>,
    pub(crate) end_64: usize,
    pub(crate) locator: usize,
    pub(crate) end: usize,
}

impl Zip {
    pub(crate) fn add(&mut self, name: &str, data: impl Into<Vec<u8>>) {
        self.entries.push((name.to_owned(), data.into()));
    }

    pub(crate) fn build(&self) -> Built {
        let mut bytes = Vec::new();
        let (mut local, mut data, mut descriptor, mut central) = (vec![], vec![], vec![], vec![]);
        for (name, content) in &self.entries {
            local.push(bytes.len());
            bytes.extend(b"PK\x03\x04\0\0\x08\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
            bytes.extend((name.len() as u16).to_le_bytes());
            // The padding that aligns the data is an extra field.
            let padding = (64 - (bytes.len() + 2 + name.len() + 4) % 64) % 64;
            bytes.extend((padding as u16 + 4).to_le_bytes());
            bytes.extend(name.as_bytes());
            bytes.extend(b"FB");
            bytes.extend((padding as u16).to_le_bytes());
            bytes.resize(bytes.len() + padding, b'Z');
            data.push(bytes.len());
            bytes.extend(content);
            descriptor.push(bytes.len());
            bytes.extend(b"PK\x07\x08");
            bytes.extend(crc32fast::hash(content).to_le_bytes());
            bytes.extend([(content.len() as u32).to_le_bytes(); 2].concat());
        }
        let directory = bytes.len();
        for ((name, content), start) in self.entries.iter().zip(&local) {
            central.push(bytes.len());
            bytes.extend(b"PK\x01\x02\0\0\0\0\x08\x08\0\0\0\0\0\0");
            bytes.extend(crc32fast::hash(content).to_le_bytes());
            bytes.extend([(content.len() as u32).to_le_bytes(); 2].concat());
            bytes.extend((name.len() as u16).to_le_bytes());
            bytes.extend([0; 12]);
            bytes.extend((*start as u32).to_le_bytes());
            bytes.extend(name.as_bytes());
        }
        let (count, size) = (self.entries.len() as u64, (bytes.len() - directory) as u64);
        let end_64 = bytes.len();
        bytes.extend(b"PK\x06\x06\x2c\0\0\0\0\0\0\0\x1e\x03\x2d\0\0\0\0\0\0\0\0\0");
        bytes.extend([count, count, size, directory as u64].map(u64::to_le_bytes).concat());
        let locator = bytes.len();
        bytes.extend(b"PK\x06\x07\0\0\0\0");
        bytes.extend((end_64 as u64).to_le_bytes());
        bytes.extend(1_u32.to_le_bytes());
        let end = bytes.len();
        bytes.extend(b"PK\x05\x06\0\0\0\0");
        bytes.extend([(count as u16).to_le_bytes(); 2].concat());
        bytes.extend((size as u32).to_le_bytes());
        bytes.extend((directory as u32).to_le_bytes());
        bytes.extend([0; 2]);
        Built { bytes, local, data, descriptor, central, end_64, locator, end }
    }
}

impl Built {
    /// Writes over the bytes at `at`.
    pub(crate) fn patch(mut self, at: usize, with: &[u8]) -> Self {
        self.bytes[at..at + with.len()].copy_from_slice(with);
        self
    }
}
