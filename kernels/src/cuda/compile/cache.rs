//! What was compiled before, in a folder: one file for each source and architecture.

use super::Unit;
use plans::Resources;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// The most that is kept, in bytes.
const MAX_BYTES: u64 = 1 << 30;

/// What entries start with; the last number rises when their form changes.
const MAGIC: &[u8; 8] = b"dlknl\0\0\x01";

/// The folder of this user for what can be made again: `XDG_CACHE_HOME/dlirc/kernels`, else
/// `~/.cache/dlirc/kernels`.
pub fn default_folder() -> Option<PathBuf> {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
    };
    let home = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(home.join("dlirc").join("kernels"))
}

/// All that an image depends on, in one name.
pub(super) fn key(source: &str, options: &[String], version: (u32, u32), with_ptx: bool) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut field = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    field(MAGIC);
    field(&version.0.to_le_bytes());
    field(&version.1.to_le_bytes());
    field(&[u8::from(with_ptx)]);
    for option in options {
        field(option.as_bytes());
    }
    field(source.as_bytes());
    hasher.finalize().to_hex().to_string()
}

/// The folder. What can't be read is compiled again, and what can't be written is not kept: nothing
/// fails for want of a cache.
pub(super) struct Cache {
    folder: PathBuf,
    max_bytes: u64,
    /// For names of files that are being written.
    n_written: AtomicU64,
}

impl Cache {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            max_bytes: MAX_BYTES,
            n_written: AtomicU64::new(0),
        }
    }

    fn file(&self, key: &str) -> PathBuf {
        self.folder.join(&key[..2]).join(&key[2..])
    }

    /// The entry of `key`, if it is there and whole.
    pub(super) fn get(&self, key: &str) -> Option<Unit> {
        let path = self.file(key);
        let bytes = fs::read(&path).ok()?;
        let unit = decode(&bytes);
        match &unit {
            // The time of the last use, by which old entries are told.
            Some(_) => {
                let touched = fs::File::options().append(true).open(&path);
                let _ = touched.and_then(|f| f.set_modified(SystemTime::now()));
            }
            None => {
                let _ = fs::remove_file(&path);
            }
        }
        unit
    }

    /// Keeps an entry; it appears whole or not at all.
    pub(super) fn put(&self, key: &str, unit: &Unit) {
        let path = self.file(key);
        let Some(folder) = path.parent() else { return };
        let n = self.n_written.fetch_add(1, Ordering::Relaxed);
        let draft = folder.join(format!(".{}.{n}.tmp", std::process::id()));
        let written = fs::create_dir_all(folder)
            .and_then(|()| fs::File::create(&draft))
            .and_then(|mut file| file.write_all(&encode(unit)))
            .and_then(|()| fs::rename(&draft, &path));
        if written.is_err() {
            let _ = fs::remove_file(&draft);
        }
    }

    /// Removes what was not used for longest, if there is too much: down to three quarters.
    pub(super) fn trim(&self) {
        let mut entries: Vec<(SystemTime, u64, PathBuf)> = vec![];
        for folder in list(&self.folder) {
            for path in list(&folder) {
                let Ok(found) = fs::metadata(&path) else {
                    continue;
                };
                let used = found.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                entries.push((used, found.len(), path));
            }
        }
        let mut sum: u64 = entries.iter().map(|e| e.1).sum();
        if sum <= self.max_bytes {
            return;
        }
        entries.sort();
        for (_, bytes, path) in entries {
            if sum <= self.max_bytes / 4 * 3 {
                break;
            }
            if fs::remove_file(&path).is_ok() {
                sum -= bytes;
            }
        }
    }
}

fn list(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|e| e.path()).collect()
}

/// Magic, hash of the rest, cubin, PTX, functions; each part after its length.
fn encode(unit: &Unit) -> Vec<u8> {
    let mut rest = vec![];
    let mut part = |bytes: &[u8]| {
        rest.extend((bytes.len() as u64).to_le_bytes());
        rest.extend(bytes);
    };
    part(&unit.cubin);
    part(&unit.ptx);
    for r in &unit.resources {
        part(r.function.as_bytes());
        let numbers = [r.registers, r.spills, r.stack_bytes, r.shared_bytes];
        part(&numbers.map(u32::to_le_bytes).concat());
    }
    let mut bytes = MAGIC.to_vec();
    bytes.extend(blake3::hash(&rest).as_bytes());
    bytes.extend(rest);
    bytes
}

fn decode(bytes: &[u8]) -> Option<Unit> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (hash, mut rest) = rest.split_first_chunk::<32>()?;
    if blake3::hash(rest).as_bytes() != hash {
        return None;
    }
    let mut part = || {
        let (len, after) = rest.split_first_chunk::<8>()?;
        let len = usize::try_from(u64::from_le_bytes(*len)).ok()?;
        let (part, after) = after.split_at_checked(len)?;
        rest = after;
        Some(part)
    };
    let mut unit = Unit {
        cubin: part()?.to_vec(),
        ptx: part()?.to_vec(),
        resources: vec![],
    };
    while let Some(name) = part() {
        let (numbers, []) = part()?.as_chunks::<4>() else {
            return None;
        };
        let &[registers, spills, stack_bytes, shared_bytes] = numbers else {
            return None;
        };
        unit.resources.push(Resources {
            function: String::from_utf8(name.to_vec()).ok()?,
            registers: u32::from_le_bytes(registers),
            spills: u32::from_le_bytes(spills),
            stack_bytes: u32::from_le_bytes(stack_bytes),
            shared_bytes: u32::from_le_bytes(shared_bytes),
        });
    }
    Some(unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn unit(n: u8) -> Unit {
        Unit {
            cubin: vec![n; 1000],
            ptx: vec![n + 1; 500],
            resources: vec![Resources {
                function: format!("f{n}"),
                registers: 40,
                spills: 1,
                stack_bytes: 2,
                shared_bytes: 3,
            }],
        }
    }

    fn name(n: u8) -> String {
        key(&n.to_string(), &[], (13, 0), true)
    }

    #[test]
    fn what_is_kept_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().join("made/when/needed"));
        assert_eq!(cache.get(&name(1)), None);
        cache.put(&name(1), &unit(1));
        cache.put(&name(2), &Unit::default());
        assert_eq!(cache.get(&name(1)), Some(unit(1)));
        assert_eq!(cache.get(&name(2)), Some(Unit::default()));
        cache.put(&name(1), &unit(3));
        assert_eq!(cache.get(&name(1)), Some(unit(3)));
    }

    #[test]
    fn damaged_entries_are_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().into());
        cache.put(&name(1), &unit(1));
        let path = cache.file(&name(1));
        let whole = fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(7) {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(&path, &damaged).unwrap();
            assert_eq!(cache.get(&name(1)), None, "{at}");
            assert!(!path.exists());
            fs::write(&path, &whole[..at]).unwrap();
            assert_eq!(cache.get(&name(1)), None, "{at}");
        }
        fs::write(&path, &whole).unwrap();
        assert_eq!(cache.get(&name(1)), Some(unit(1)));
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let folder = tempfile::tempdir().unwrap();
        let mut cache = Cache::new(folder.path().into());
        for n in 0..10 {
            cache.put(&name(n), &unit(n));
            let hours = Duration::from_secs(3600 * (20 - u64::from(n)));
            let file = fs::File::options().append(true).open(cache.file(&name(n)));
            file.unwrap()
                .set_modified(SystemTime::now() - hours)
                .unwrap();
        }
        cache.trim();
        assert!((0..10).all(|n| cache.file(&name(n)).exists()));
        // Its use makes it the newest.
        assert!(cache.get(&name(0)).is_some());
        cache.max_bytes = 10_000;
        cache.trim();
        let left: Vec<u8> = (0..10).filter(|&n| cache.file(&name(n)).exists()).collect();
        assert_eq!(left, [0, 7, 8, 9]);
    }

    #[test]
    fn a_key_holds_all_that_matters() {
        let options = |text: &str| vec![text.to_string()];
        let keys = [
            key("a", &options("b"), (13, 0), true),
            key("ab", &options(""), (13, 0), true),
            key("a", &options("b"), (13, 0), false),
            key("a", &options("b"), (13, 1), true),
            key("a", &[], (13, 0), true),
        ];
        for (i, a) in keys.iter().enumerate() {
            assert!(keys[..i].iter().all(|b| a != b));
        }
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let cache = Cache::new(file);
        cache.put(&name(1), &unit(1));
        assert_eq!(cache.get(&name(1)), None);
        cache.trim();
    }
}
