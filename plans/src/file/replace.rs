//! Files that appear whole or not at all.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

/// Why a file could not be written.
#[derive(Debug)]
pub struct OutputError {
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

impl OutputError {
    /// The error `source` of writing `path`.
    pub fn new(path: &Path, source: io::Error) -> Self {
        Self {
            path: path.to_owned(),
            source,
        }
    }
}

impl fmt::Display for OutputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot write {}: {}", self.path.display(), self.source)
    }
}

impl std::error::Error for OutputError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Makes or replaces the file at `path` with what `write` writes, once it is whole and on disk.
///
/// Whatever fails, what was at `path` stays as it was, and nothing else is left in the folder. On
/// Linux that holds even if the process is killed, because the new file has no name before it is
/// whole (`O_TMPFILE`); only if it replaces another one may a kill in the last moment leave it,
/// whole, under the name `.NAME.PID.tmp`. On other systems, and in file systems that cannot do this, the
/// file has that name while it is written, and a kill leaves it behind.
///
/// A symbolic link is followed. Files without write permission, and what is no file, are not replaced.
///
/// # Errors
///
/// Those of `write`, and [`OutputError`] if the system refuses.
pub fn replace_file<E: From<OutputError>>(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> Result<(), E>,
) -> Result<(), E> {
    let fail = |source| E::from(OutputError::new(path, source));
    let target = Target::new(path).map_err(fail)?;
    let mut draft = target.draft().map_err(fail)?;
    let mut writer = BufWriter::with_capacity(1 << 20, draft.take_file().map_err(fail)?);
    write(&mut writer)?;
    let file = writer.into_inner().map_err(|e| fail(e.into_error()))?;
    file.sync_all().map_err(fail)?;
    draft.publish(file, &target).map_err(fail)
}

/// A place for a file.
struct Target {
    folder: PathBuf,
    name: OsString,
    exists: bool,
}

impl Target {
    fn new(path: &Path) -> io::Result<Self> {
        let is_link = fs::symlink_metadata(path).is_ok_and(|m| m.is_symlink());
        let path = if is_link {
            fs::canonicalize(path)?
        } else {
            path.to_owned()
        };
        let exists = match fs::metadata(&path) {
            Ok(found) if found.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Ok(found) if !found.is_file() => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "it is no regular file",
                ));
            }
            Ok(found) if found.permissions().readonly() => {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            Ok(_) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        let name = path
            .file_name()
            .ok_or_else(|| io::Error::from(io::ErrorKind::IsADirectory))?
            .to_owned();
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        Ok(Self {
            folder,
            name,
            exists,
        })
    }

    fn path(&self) -> PathBuf {
        self.folder.join(&self.name)
    }

    fn temporary_path(&self) -> PathBuf {
        let mut name = OsString::from(".");
        name.push(&self.name);
        name.push(format!(".{}.tmp", std::process::id()));
        self.folder.join(name)
    }

    fn draft(&self) -> io::Result<Draft> {
        if let Some(file) = nameless::create(&self.folder)? {
            return Ok(Draft {
                file: Some(file),
                name: None,
            });
        }
        self.named_draft()
    }

    fn named_draft(&self) -> io::Result<Draft> {
        let path = self.temporary_path();
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)?;
        Ok(Draft {
            file: Some(file),
            name: Some(Temporary(Some(path))),
        })
    }
}

/// A file that is being written, without a name or under a temporary one.
struct Draft {
    file: Option<File>,
    name: Option<Temporary>,
}

/// A name that is removed unless it is kept.
struct Temporary(Option<PathBuf>);

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // Nothing better can be done if the system refuses.
            let _ = fs::remove_file(path);
        }
    }
}

impl Draft {
    fn take_file(&mut self) -> io::Result<File> {
        self.file
            .take()
            .ok_or_else(|| io::Error::other("the file was taken twice"))
    }

    fn publish(self, file: File, target: &Target) -> io::Result<()> {
        let path = target.path();
        let mut temporary = match self.name {
            Some(temporary) => temporary,
            None => {
                if !target.exists {
                    match nameless::link(&file, &path) {
                        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                        done_or_failed => {
                            done_or_failed?;
                            sync_folder(&target.folder);
                            return Ok(());
                        }
                    }
                }
                let name = target.temporary_path();
                nameless::link(&file, &name)?;
                Temporary(Some(name))
            }
        };
        if let Some(name) = &temporary.0 {
            fs::rename(name, &path)?;
        }
        temporary.0 = None;
        sync_folder(&target.folder);
        Ok(())
    }
}

/// Makes the new name survive a crash of the system, where that can be asked for.
fn sync_folder(folder: &Path) {
    if let Ok(folder) = File::open(folder) {
        // Some file systems refuse; the file itself is on disk already.
        let _ = folder.sync_all();
    }
}

/// Files without a name.
#[cfg(target_os = "linux")]
mod nameless {
    use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, open};
    use rustix::io::Errno;
    use std::fs::File;
    use std::io;
    use std::os::fd::AsRawFd;
    use std::path::{Path, PathBuf};

    /// A file without a name in `folder`; `None` if the file system cannot do this.
    pub(super) fn create(folder: &Path) -> io::Result<Option<File>> {
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        match open(folder, flags, Mode::from_raw_mode(0o666)) {
            Ok(fd) => {
                let file = File::from(fd);
                Ok(entry(&file).exists().then_some(file))
            }
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives the file a name that nothing has yet.
    pub(super) fn link(file: &File, path: &Path) -> io::Result<()> {
        Ok(linkat(
            CWD,
            entry(file),
            CWD,
            path,
            AtFlags::SYMLINK_FOLLOW,
        )?)
    }

    fn entry(file: &File) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
    }
}

/// Files without a name: not on this system.
#[cfg(not(target_os = "linux"))]
mod nameless {
    use std::fs::File;
    use std::io;
    use std::path::Path;

    pub(super) fn create(_: &Path) -> io::Result<Option<File>> {
        Ok(None)
    }

    pub(super) fn link(_: &File, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn names(folder: &Path) -> Vec<OsString> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        names
    }

    fn put(path: &Path, text: &str) -> Result<(), OutputError> {
        replace_file(path, |file| {
            file.write_all(text.as_bytes())
                .map_err(|e| OutputError::new(path, e))
        })
    }

    #[test]
    fn a_new_file_and_its_replacement() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        for text in ["one", "two"] {
            put(&path, text).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert_eq!(names(folder.path()), ["x"]);
        }
    }

    #[test]
    fn a_named_draft_leaves_nothing_either() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        for text in ["one", "two"] {
            let target = Target::new(&path).unwrap();
            drop(target.named_draft().unwrap());
            assert_eq!(names(folder.path()).len(), usize::from(target.exists));
            let mut draft = target.named_draft().unwrap();
            let mut file = draft.take_file().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            draft.publish(file, &target).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert_eq!(names(folder.path()), ["x"]);
        }
    }

    #[test]
    fn a_failed_write_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let fail = |path: &Path| {
            replace_file(path, |file| {
                file.write_all(b"half").unwrap();
                Err(OutputError::new(path, io::Error::other("enough")))
            })
        };
        assert!(fail(&path).is_err());
        assert_eq!(names(folder.path()).len(), 0);
        put(&path, "whole").unwrap();
        assert!(fail(&path).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole");
        assert_eq!(names(folder.path()), ["x"]);
    }

    #[test]
    fn what_cannot_be_replaced_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("sub");
        fs::create_dir(&inside).unwrap();
        let kind = |path: &Path| put(path, "x").unwrap_err().source.kind();
        assert_eq!(kind(&inside), io::ErrorKind::IsADirectory);
        assert_eq!(kind(&inside.join("..")), io::ErrorKind::IsADirectory);
        assert_eq!(kind(&folder.path().join("a/b")), io::ErrorKind::NotFound);
        let locked = folder.path().join("locked");
        put(&locked, "mine").unwrap();
        let mut permissions = fs::metadata(&locked).unwrap().permissions();
        permissions.set_readonly(true);
        fs::set_permissions(&locked, permissions).unwrap();
        assert_eq!(kind(&locked), io::ErrorKind::PermissionDenied);
        assert_eq!(fs::read_to_string(&locked).unwrap(), "mine");
        assert_eq!(names(folder.path()), ["locked", "sub"]);
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_and_devices_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        put(&real, "one").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        put(&link, "two").unwrap();
        assert_eq!(fs::read_to_string(&real).unwrap(), "two");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(put(Path::new("/dev/null"), "x").is_err());
    }
}
