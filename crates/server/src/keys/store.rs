//! The file of keys, which several processes may change: the server, and `calotype keys`.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::SystemTime,
};

use calotype_queue::wall_clock;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::{Key, Quotas, Scope, hash, new_secret};
use crate::{Error, Result, private_file};

/// The file's name in the data folder.
const FILE: &str = "keys.json";
/// Held while the file is changed.
const LOCK: &str = "keys.lock";
/// More keys than any team has.
const MAX_BYTES: u64 = 64 << 20;
const MS_PER_DAY: u64 = 24 * 3600 * 1000;

/// The form of the file.
const FORM: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Stored {
    form: u32,
    keys: Vec<Key>,
}

/// What a new key is to be.
#[derive(Clone, Debug, Default)]
pub struct NewKey {
    /// Whose it is, or what for.
    pub name: String,
    /// What it is for: making images and looking at them, if nothing is said.
    pub scopes: Vec<Scope>,
    /// After how many days it ends.
    pub expires_in_days: Option<u64>,
    /// What it may use.
    pub quotas: Quotas,
}

/// The keys of a data folder. What another process changes is seen at the next use.
pub struct KeyStore {
    folder: PathBuf,
    read: RwLock<(Option<Stamp>, Arc<Vec<Key>>)>,
}

/// By which a changed file is known.
type Stamp = (SystemTime, u64);

impl KeyStore {
    /// The keys in a data folder, which is made if it is not there.
    ///
    /// # Errors
    /// The folder or the file can't be used.
    pub fn open(folder: &Path) -> Result<Self> {
        let made = private_file::make_folder(folder);
        made.map_err(|error| Error::Key(format!("{}: {error}", folder.display())))?;
        let store = Self { folder: folder.to_owned(), read: RwLock::default() };
        store.all()?;
        Ok(store)
    }

    /// All keys, also those that no longer count.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn all(&self) -> Result<Arc<Vec<Key>>> {
        let path = self.folder.join(FILE);
        let stamp = fs::metadata(&path).and_then(|file| Ok((file.modified()?, file.len()))).ok();
        {
            let read = self.read.read().unwrap_or_else(PoisonError::into_inner);
            if read.0 == stamp {
                return Ok(Arc::clone(&read.1));
            }
        }
        let keys = Arc::new(if stamp.is_some() { read(&path)? } else { Vec::new() });
        *self.read.write().unwrap_or_else(PoisonError::into_inner) = (stamp, Arc::clone(&keys));
        Ok(keys)
    }

    /// The key of a secret, if it counts. Every key is compared, each in constant time.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn find(&self, secret: &str) -> Result<Option<Key>> {
        let (given, now) = (hash(secret), wall_clock()());
        let keys = self.all()?;
        let mut found = None;
        for key in keys.iter() {
            if bool::from(key.sha256.as_bytes().ct_eq(given.as_bytes())) {
                found = Some(key);
            }
        }
        Ok(found.filter(|key| key.is_valid(now)).cloned())
    }

    /// The key of an id, if it counts.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn by_id(&self, id: &str) -> Result<Option<Key>> {
        let now = wall_clock()();
        Ok(self.all()?.iter().find(|key| key.id == id && key.is_valid(now)).cloned())
    }

    /// Makes a key, and gives it with its secret, which is nowhere else.
    ///
    /// # Errors
    /// There is no name, or the file can't be written.
    pub fn new_key(&self, new: NewKey) -> Result<(Key, String)> {
        let NewKey { name, scopes, expires_in_days, quotas } = new;
        if name.trim().is_empty() || name.len() > 200 || name.chars().any(char::is_control) {
            return Err(Error::Key("a key needs a name, of at most 200 bytes in one line".to_owned()));
        }
        let secret = new_secret()?;
        let sha256 = hash(&secret);
        let now = wall_clock()();
        let scopes = if scopes.is_empty() { vec![Scope::Generate, Scope::Read] } else { scopes };
        let expires = expires_in_days.map(|days| now.saturating_add(days.saturating_mul(MS_PER_DAY)));
        let id = format!("k_{}", &sha256[..12]);
        let key = Key { id, name, scopes, created: now, expires, revoked: None, quotas, sha256 };
        self.change(|keys| {
            keys.push(key.clone());
            Ok(())
        })?;
        Ok((key, secret))
    }

    /// Revokes a key: it counts no more.
    ///
    /// # Errors
    /// There is no such key, or the file can't be written.
    pub fn revoke(&self, id: &str) -> Result<Key> {
        let now = wall_clock()();
        self.change(|keys| {
            let shown: String = id.chars().take(40).collect();
            let key = keys.iter_mut().find(|key| key.id == id);
            let key = key.ok_or_else(|| Error::Key(format!("there is no key {shown:?}: see calotype keys list")))?;
            key.revoked.get_or_insert(now);
            Ok(key.clone())
        })
    }

    /// Changes the file, alone of all processes.
    fn change<R>(&self, change: impl FnOnce(&mut Vec<Key>) -> Result<R>) -> Result<R> {
        let (path, lock) = (self.folder.join(FILE), self.folder.join(LOCK));
        let failed = |error: &dyn ToString| Error::Key(format!("{}: {}", path.display(), error.to_string()));
        let lock = private_file::open(&lock).map_err(|error| failed(&error))?;
        lock.lock().map_err(|error| failed(&error))?;
        let mut keys = if path.exists() { read(&path)? } else { Vec::new() };
        let result = change(&mut keys)?;
        let json = serde_json::to_vec_pretty(&Stored { form: FORM, keys }).map_err(|error| failed(&error))?;
        private_file::write(&path, &json).map_err(|error| failed(&error))?;
        // A change within the clock's grain is seen all the same.
        self.read.write().unwrap_or_else(PoisonError::into_inner).0 = None;
        Ok(result)
    }
}

fn read(path: &Path) -> Result<Vec<Key>> {
    let failed = |problem: String| Error::Key(format!("{}: {problem}", path.display()));
    let text = calotype_files::read_text(path, MAX_BYTES).map_err(|error| failed(error.to_string()))?;
    let stored: Stored = serde_json::from_str(&text).map_err(|error| failed(format!("is no file of keys: {error}")))?;
    match stored.form {
        FORM => Ok(stored.keys),
        form => Err(failed(format!("a newer version of Calotype wrote it (form {form}): use that version"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(name: &str) -> NewKey {
        NewKey { name: name.to_owned(), ..NewKey::default() }
    }

    #[test]
    fn a_key_is_found_by_its_secret_until_it_is_revoked() {
        let folder = tempfile::tempdir().unwrap();
        let store = KeyStore::open(folder.path()).unwrap();
        let (key, secret) = store.new_key(new("alice")).unwrap();
        assert!(secret.starts_with("calo_") && secret.len() == 48);
        assert_eq!(store.find(&secret).unwrap(), Some(key.clone()));
        assert!(key.has(Scope::Generate) && key.has(Scope::Read) && !key.has(Scope::Admin));
        for wrong in ["", "calo_", &secret[..47], &format!("{secret}a"), &secret.to_uppercase(), &key.sha256] {
            assert_eq!(store.find(wrong).unwrap(), None, "{wrong}");
        }
        let text = fs::read_to_string(folder.path().join(FILE)).unwrap();
        assert!(!text.contains(&secret[5..]) && text.contains(&key.sha256));

        // Another process.
        let other = KeyStore::open(folder.path()).unwrap();
        let (second, second_secret) = other.new_key(new("bob")).unwrap();
        assert_eq!(store.find(&second_secret).unwrap(), Some(second));
        other.revoke(&key.id).unwrap();
        assert_eq!(store.find(&secret).unwrap(), None);
        assert_eq!(store.by_id(&key.id).unwrap(), None);
        assert!(other.revoke("k_none").unwrap_err().to_string().contains("there is no key"));
    }

    #[test]
    fn keys_end_and_have_names() {
        let folder = tempfile::tempdir().unwrap();
        let store = KeyStore::open(folder.path()).unwrap();
        let (_, secret) = store.new_key(NewKey { expires_in_days: Some(0), ..new("short") }).unwrap();
        assert_eq!(store.find(&secret).unwrap(), None);
        assert!(store.new_key(new(" ")).is_err() && store.new_key(new("a\nb")).is_err());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let new = folder.path().join("new");
            KeyStore::open(&new).unwrap();
            for private in [folder.path().join(FILE), new] {
                assert_eq!(fs::metadata(private).unwrap().permissions().mode() & 0o077, 0);
            }
        }
    }

    #[test]
    fn many_processes_lose_no_key() {
        let folder = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for n in 0..8 {
                let folder = folder.path();
                scope.spawn(move || {
                    let store = KeyStore::open(folder).unwrap();
                    (0..5).for_each(|m| drop(store.new_key(new(&format!("{n} {m}"))).unwrap()));
                });
            }
        });
        assert_eq!(KeyStore::open(folder.path()).unwrap().all().unwrap().len(), 40);
    }

    #[test]
    fn a_file_that_is_none_is_said() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "{\"form\": 9, \"keys\": []}").unwrap();
        assert!(KeyStore::open(folder.path()).err().unwrap().to_string().contains("a newer version"));
        fs::write(folder.path().join(FILE), "keys").unwrap();
        assert!(KeyStore::open(folder.path()).err().unwrap().to_string().contains("is no file of keys"));
    }
}
