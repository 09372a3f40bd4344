//! Where NVRTC lies.

use super::nvrtc::Nvrtc;
use super::{CompileError, VARIABLE};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Folders of packages that Python sees.
const PYTHON_PATH: &str = "import sys; print('\\n'.join(p for p in sys.path if p))";

/// Loads what was named, or else the first of what is found that can be loaded.
pub(super) fn load(named: Option<&Path>) -> Result<(Nvrtc, PathBuf), CompileError> {
    let variable = std::env::var_os(VARIABLE).filter(|v| !v.is_empty());
    let named = named.map(Path::to_path_buf).or(variable.map(PathBuf::from));
    let mut search = Search { tried: vec![] };
    let found = match named {
        Some(path) if path.is_dir() => search.folder(&path),
        Some(path) => search.file(&path),
        None => search.everywhere(),
    };
    found.ok_or(CompileError::NotFound {
        tried: search.tried,
    })
}

struct Search {
    tried: Vec<String>,
}

type Found = Option<(Nvrtc, PathBuf)>;

impl Search {
    fn everywhere(&mut self) -> Found {
        for folder in folders_of_cuda().into_iter().chain(folders_of_loader()) {
            if let Some(found) = self.folder(&folder) {
                return Some(found);
            }
        }
        for folder in folders_of_python() {
            if let Some(found) = self.folder(&folder) {
                return Some(found);
            }
        }
        self.tried.push(
            "it is in no folder of CUDA_HOME, CUDA_PATH, /usr/local/cuda, LD_LIBRARY_PATH, and in no nvidia/*/lib of Python's packages"
                .into(),
        );
        // What the loader knows without our help.
        ["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"]
            .into_iter()
            .find_map(|name| self.file(Path::new(name)))
    }

    /// The newest library of a folder.
    fn folder(&mut self, folder: &Path) -> Found {
        let mut files = libraries(folder);
        if files.is_empty() {
            self.tried
                .push(format!("no libnvrtc.so in {}", folder.display()));
        }
        files.reverse();
        files.iter().find_map(|file| self.file(file))
    }

    fn file(&mut self, file: &Path) -> Found {
        match Nvrtc::load(file) {
            Ok(nvrtc) => Some((nvrtc, file.to_path_buf())),
            Err(why) => {
                self.tried.push(format!("{}: {why}", file.display()));
                None
            }
        }
    }
}

/// NVRTC's libraries in a folder, by version.
fn libraries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<(Vec<u32>, PathBuf)> = entries
        .map(|e| e.path())
        .filter_map(|path| {
            let name = path.file_name()?.to_string_lossy().into_owned();
            let version = name.strip_prefix("libnvrtc.so")?;
            let numbers = version.split('.').filter_map(|n| n.parse().ok());
            Some((numbers.collect(), path))
        })
        .collect();
    found.sort();
    found.into_iter().map(|(_, path)| path).collect()
}

fn variable_folders(name: &str) -> Vec<PathBuf> {
    let value: OsString = std::env::var_os(name).unwrap_or_default();
    std::env::split_paths(&value)
        .filter(|p| !p.as_os_str().is_empty())
        .collect()
}

fn folders_of_cuda() -> Vec<PathBuf> {
    let mut homes = variable_folders("CUDA_HOME");
    homes.extend(variable_folders("CUDA_PATH"));
    homes.push("/usr/local/cuda".into());
    let mut folders = vec![];
    for home in homes {
        folders.push(home.join("lib64"));
        folders.push(home.join("targets/x86_64-linux/lib"));
        folders.push(home.join("targets/sbsa-linux/lib"));
    }
    folders.retain(|f| f.is_dir());
    folders
}

fn folders_of_loader() -> Vec<PathBuf> {
    let mut folders = variable_folders("LD_LIBRARY_PATH");
    folders.retain(|f| !libraries(f).is_empty());
    folders
}

/// The folders `nvidia/*/lib` beside Python's packages: where NVIDIA's wheels put libraries.
fn folders_of_python() -> Vec<PathBuf> {
    let said = ["python3", "python"].into_iter().find_map(|python| {
        let output = Command::new(python)
            .args(["-c", PYTHON_PATH])
            .output()
            .ok()?;
        output.status.success().then_some(output.stdout)
    });
    let said = String::from_utf8(said.unwrap_or_default()).unwrap_or_default();
    let mut folders = vec![];
    for packages in said.lines() {
        let entries = std::fs::read_dir(Path::new(packages).join("nvidia"));
        let mut found: Vec<PathBuf> = entries
            .into_iter()
            .flatten()
            .flatten()
            .map(|e| e.path().join("lib"))
            .filter(|f| !libraries(f).is_empty())
            .collect();
        // CUDA 13 in `cu13`, CUDA 12 in `cuda_nvrtc`: the newest first.
        found.sort_by_key(|f| {
            std::cmp::Reverse(
                libraries(f)
                    .pop()
                    .map(|p| p.file_name().map(OsString::from)),
            )
        });
        folders.extend(found);
    }
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_library_comes_last() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "libnvrtc.so.12",
            "libnvrtc.so.13",
            "libnvrtc.so",
            "libnvrtc.so.13.0.88",
            "libnvrtc-builtins.so.13.0",
            "libnvrtc.alt.so.13",
            "other.so",
        ] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let names: Vec<_> = libraries(folder.path())
            .iter()
            .map(|p| p.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        assert_eq!(
            names,
            [
                "libnvrtc.so",
                "libnvrtc.so.12",
                "libnvrtc.so.13",
                "libnvrtc.so.13.0.88"
            ]
        );
    }

    #[test]
    fn what_is_named_and_no_library_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let empty = load(Some(folder.path())).err().unwrap();
        let CompileError::NotFound { tried } = &empty else {
            panic!("{empty}");
        };
        assert!(tried[0].contains("no libnvrtc.so in"), "{tried:?}");
        assert!(empty.help().contains("pip install nvidia-cuda-nvrtc"));
        let file = folder.path().join("libnvrtc.so.13");
        std::fs::write(&file, "no library").unwrap();
        for named in [folder.path(), &file] {
            let CompileError::NotFound { tried } = load(Some(named)).err().unwrap() else {
                panic!("it is found nowhere");
            };
            assert!(tried[0].contains("libnvrtc.so.13: "), "{tried:?}");
        }
    }
}
