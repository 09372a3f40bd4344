//! Finished scenes, in a folder.
//!
//! A scene lies in a folder of its own, called by [`Scene::key`]: `scene.json`, `requests.jsonl` and
//! `statistics.json`, the last for people and programs. It is made beside its place and moved there when it is whole. `solo` holds what
//! models took alone, so that scenes of one machine are asked for the same requests. `catalogue.json`
//! lists the scenes, for people.

use crate::load::record;
use crate::load::scene::Scene;
use crate::load::statistics::{Collector, Statistics};
use crate::report::{Diagnostic, write_file};
use plans::Model;
use runtime::schedule::Record;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

const SCENE: &str = "scene.json";
const REQUESTS: &str = "requests.jsonl";
const STATISTICS: &str = "statistics.json";
const LIST: &str = "catalogue.json";
const SOLO: &str = "solo";
/// What the folder of a scene that is being made starts with; the process's number ends it.
const DRAFT: &str = ".draft-";

/// What models take alone, in nanoseconds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SoloTimes {
    /// The blocks of each model.
    pub blocks: BTreeMap<String, Vec<u64>>,
    /// From the decision to start a block to its start.
    pub launch_ns: u64,
    /// From the end of a block until that is known.
    pub notice_ns: u64,
}

/// A folder of finished scenes.
pub struct Catalogue {
    folder: PathBuf,
}

fn failed<'a>(what: &'a str, path: &'a Path) -> impl FnOnce(io::Error) -> Diagnostic + 'a {
    move |e| {
        Diagnostic::error("catalogue", format!("{what}: {e}"))
            .at(format!("path {}", path.display()))
    }
}

impl Catalogue {
    /// The catalogue in `folder`, which is made if need be. What processes that are gone left
    /// unfinished is removed.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn open(folder: &Path) -> Result<Self, Diagnostic> {
        fs::create_dir_all(folder).map_err(failed("the folder can't be made", folder))?;
        let entries = fs::read_dir(folder).map_err(failed("the folder can't be read", folder))?;
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let maker = name.strip_prefix(DRAFT).and_then(|n| n.rsplit('-').next());
            if maker.is_some_and(is_gone) {
                // Another process may do the same at once.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        Ok(Self {
            folder: folder.to_path_buf(),
        })
    }

    /// Where `scene` lies, once it is finished.
    pub fn path(&self, scene: &Scene) -> PathBuf {
        self.folder.join(scene.key())
    }

    /// What `scene` came to, if it is finished: counted from its requests, which are whole numbers.
    ///
    /// # Errors
    /// When what is there can't be read.
    pub fn finished(
        &self,
        scene: &Scene,
        models: &[Model],
        limits: &[f64],
    ) -> Result<Option<Statistics>, Diagnostic> {
        let path = self.path(scene).join(REQUESTS);
        match path.exists() {
            true => requests(&path, models, limits).map(Some),
            false => Ok(None),
        }
    }

    /// Begins to make `scene`; nothing of it is in its place before [`Draft::finish`].
    ///
    /// # Errors
    /// When the system refuses.
    pub fn begin<'c>(
        &'c self,
        scene: &'c Scene,
        models: &'c [Model],
    ) -> Result<Draft<'c>, Diagnostic> {
        let name = format!("{DRAFT}{}-{}", scene.key(), std::process::id());
        let folder = self.folder.join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).map_err(failed("a folder can't be made", &folder))?;
        let path = folder.join(REQUESTS);
        let file = File::create(&path).map_err(failed("a file can't be made", &path));
        let draft = |out| Draft {
            catalogue: self,
            scene,
            models,
            folder: folder.clone(),
            out,
        };
        // What fails from here on removes the folder.
        let mut draft = draft(None);
        draft.out = Some(BufWriter::with_capacity(1 << 20, file?));
        Ok(draft)
    }

    /// The times that were kept under `key`.
    ///
    /// # Errors
    /// When what is there can't be read.
    pub fn solo_times(&self, key: &str) -> Result<Option<SoloTimes>, Diagnostic> {
        read(&self.folder.join(SOLO).join(key).with_extension("json"))
    }

    /// Keeps times under `key`.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn keep_solo_times(&self, key: &str, times: &SoloTimes) -> Result<(), Diagnostic> {
        let folder = self.folder.join(SOLO);
        fs::create_dir_all(&folder).map_err(failed("the folder can't be made", &folder))?;
        write(&folder.join(key).with_extension("json"), times)
    }

    /// Writes the list of all finished scenes.
    fn list(&self) -> Result<(), Diagnostic> {
        let entries = fs::read_dir(&self.folder);
        let entries = entries.map_err(failed("the folder can't be read", &self.folder))?;
        let mut scenes: BTreeMap<String, Scene> = BTreeMap::new();
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') || name == SOLO {
                continue;
            }
            // Folders of others, and of other versions, are no scenes of ours.
            if let Ok(Some(scene)) = read(&entry.path().join(SCENE)) {
                scenes.insert(name, scene);
            }
        }
        write(&self.folder.join(LIST), &scenes)
    }
}

/// Whether no process has the number `id`, as far as the system tells.
fn is_gone(id: &str) -> bool {
    let processes = Path::new("/proc");
    let is_number = !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit());
    is_number && processes.join("self").exists() && !processes.join(id).exists()
}

/// A JSON file, if it is there.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Diagnostic> {
    let text = match fs::read(path) {
        Err(e)
            if e.kind() == io::ErrorKind::NotFound || e.kind() == io::ErrorKind::NotADirectory =>
        {
            return Ok(None);
        }
        text => text.map_err(failed("a file of the catalogue can't be read", path))?,
    };
    serde_json::from_slice(&text).map(Some).map_err(|e| {
        Diagnostic::error(
            "catalogue",
            format!("a file of the catalogue is damaged: {e}"),
        )
        .at(format!("path {}", path.display()))
        .help("run the scene again with --again, or remove it")
    })
}

fn write<T: Serialize>(path: &Path, value: &T) -> Result<(), Diagnostic> {
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(|e| Diagnostic::error("catalogue", e.to_string()))?;
    text.push(b'\n');
    write_file(path, &text)
}

/// What the requests in the file at `path` come to.
fn requests(path: &Path, models: &[Model], limits: &[f64]) -> Result<Statistics, Diagnostic> {
    let cant = || failed("the requests of a scene can't be read", path);
    let mut reader = BufReader::new(File::open(path).map_err(cant())?);
    let mut collector = Collector::new(models.len(), limits);
    let (mut line, mut n) = (String::new(), 0u64);
    loop {
        line.clear();
        n += 1;
        if reader.read_line(&mut line).map_err(cant())? == 0 {
            break;
        }
        let record = record::parse(&line, models).map_err(|e| {
            Diagnostic::error("catalogue", format!("line {n} is damaged: {e}"))
                .at(format!("path {}", path.display()))
                .help("run the scene again with --again")
        })?;
        collector.add(&record);
    }
    Ok(collector.statistics(models))
}

/// A scene that is being made; dropped before it is finished, it leaves nothing.
pub struct Draft<'c> {
    catalogue: &'c Catalogue,
    scene: &'c Scene,
    models: &'c [Model],
    folder: PathBuf,
    out: Option<BufWriter<File>>,
}

impl Draft<'_> {
    /// Adds a request.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn record(&mut self, record: &Record) -> Result<(), Diagnostic> {
        match &mut self.out {
            Some(out) => record::write(out, self.models, record)
                .map_err(failed("requests can't be written", &self.folder)),
            None => Ok(()),
        }
    }

    /// Puts the scene into its place; one of the same name that is there goes.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn finish(mut self, statistics: &Statistics) -> Result<(), Diagnostic> {
        if let Some(mut out) = self.out.take() {
            let done = out.flush().and_then(|()| out.get_ref().sync_all());
            done.map_err(failed("requests can't be written", &self.folder))?;
        }
        write(&self.folder.join(STATISTICS), statistics)?;
        write(&self.folder.join(SCENE), self.scene)?;
        let place = self.catalogue.path(self.scene);
        if place.exists() {
            fs::remove_dir_all(&place)
                .map_err(failed("an older scene can't be removed", &place))?;
        }
        fs::rename(&self.folder, &place).map_err(failed("the scene can't be put here", &place))?;
        self.catalogue.list()
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        // After `finish`, it is not there.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::record::tests::{model, record};
    use crate::load::scene::tests::scene;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn records() -> Vec<Record> {
        (0..3).map(|i| record(0, 1000 * i, 700 * i, 1000)).collect()
    }

    fn made(catalogue: &Catalogue, scene: &Scene, models: &[Model]) -> Statistics {
        let mut draft = catalogue.begin(scene, models).unwrap();
        let mut collector = Collector::new(1, &[2.0]);
        for record in records() {
            draft.record(&record).unwrap();
            collector.add(&record);
        }
        let statistics = collector.statistics(models);
        draft.finish(&statistics).unwrap();
        statistics
    }

    #[test]
    fn finished_scenes_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let models = [model("a")];
        let catalogue = Catalogue::open(&folder.path().join("deep/er")).unwrap();
        let (fifo, dlir) = (scene("fifo"), scene("dlir"));
        assert_eq!(catalogue.finished(&fifo, &models, &[]), Ok(None));
        let made = made(&catalogue, &fifo, &models);
        assert_eq!(
            catalogue.finished(&fifo, &models, &[2.0]),
            Ok(Some(made.clone()))
        );
        assert_eq!(catalogue.finished(&dlir, &models, &[2.0]), Ok(None));
        // What is counted may change.
        let again = catalogue.finished(&fifo, &models, &[1.9]).unwrap().unwrap();
        assert_eq!(again.total.violation(1.9), Some(1.0 / 3.0));
        assert_eq!(
            (again.total.ratio, again.span_ns),
            (made.total.ratio, made.span_ns)
        );
        assert_eq!(names(&catalogue.path(&fifo)), [REQUESTS, SCENE, STATISTICS]);
        let list: BTreeMap<String, Scene> = read(&folder.path().join("deep/er").join(LIST))
            .unwrap()
            .unwrap();
        assert_eq!(list, [(fifo.key(), fifo.clone())].into());
    }

    #[test]
    fn what_is_not_finished_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let models = [model("a")];
        let catalogue = Catalogue::open(folder.path()).unwrap();
        let fifo = scene("fifo");
        let mut draft = catalogue.begin(&fifo, &models).unwrap();
        draft.record(&records()[0]).unwrap();
        assert_eq!(names(folder.path()).len(), 1);
        drop(draft);
        assert_eq!(names(folder.path()), [""; 0]);
        // A process that was killed; no process has this number.
        let left = folder.path().join(format!("{DRAFT}0123-4294967295"));
        fs::create_dir(&left).unwrap();
        fs::write(left.join(REQUESTS), "half").unwrap();
        // One that is still at it.
        let ours = format!("{DRAFT}4567-{}", std::process::id());
        fs::create_dir(folder.path().join(&ours)).unwrap();
        Catalogue::open(folder.path()).unwrap();
        assert_eq!(names(folder.path()), [ours]);
        assert_eq!(catalogue.finished(&fifo, &models, &[]), Ok(None));
    }

    #[test]
    fn scenes_are_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let models = [model("a")];
        let catalogue = Catalogue::open(folder.path()).unwrap();
        let fifo = scene("fifo");
        made(&catalogue, &fifo, &models);
        fs::write(catalogue.path(&fifo).join(REQUESTS), "{").unwrap();
        let error = catalogue.finished(&fifo, &models, &[]).unwrap_err();
        assert!(error.help.is_some_and(|h| h.contains("--again")));
        let again = made(&catalogue, &fifo, &models);
        assert_eq!(catalogue.finished(&fifo, &models, &[]), Ok(Some(again)));
    }

    #[test]
    fn solo_times_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let catalogue = Catalogue::open(folder.path()).unwrap();
        assert_eq!(catalogue.solo_times("k"), Ok(None));
        let times = SoloTimes {
            blocks: [("a".to_string(), vec![5, 7])].into(),
            launch_ns: 2,
            notice_ns: 1,
        };
        catalogue.keep_solo_times("k", &times).unwrap();
        assert_eq!(catalogue.solo_times("k"), Ok(Some(times)));
    }
}
