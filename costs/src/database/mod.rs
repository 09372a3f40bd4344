//! What was measured: one file, for any number of processes at once.
//!
//! The file is an SQLite database in write-ahead mode. Measurements are kept by what was measured,
//! a [`Key`], and by the device and its driver; measuring again replaces what was there.

mod error;
mod measured;
mod schema;

pub use error::{Cause, DatabaseError};
pub use measured::Measured;

use crate::{Kind, Times, Work};
use error::Context;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a process waits for others that are writing.
const PATIENCE: Duration = Duration::from_secs(20);

/// What was measured: a hash of all that its time depends on beside the device.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub [u8; 32]);

impl Key {
    /// The BLAKE3 hash of an encoding of it.
    pub fn of(encoded: &[u8]) -> Self {
        Self(blake3::hash(encoded).into())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in &self.0[..6] {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// A device with its driver, in one database.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct DeviceId(i64);

/// A device of which there are measurements.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KnownDevice {
    /// Which it is.
    pub id: DeviceId,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// The version of its driver; of a CPU, that of what computes.
    pub driver: String,
    /// Kernels that were measured.
    pub n_kernels: u64,
}

/// An open database.
#[derive(Debug)]
pub struct Database {
    connection: Connection,
    path: PathBuf,
}

/// The database of the user, below the folder for caches; none if there is no such folder.
pub fn default_path() -> Option<PathBuf> {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
    };
    let caches = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(caches.join("dlirc").join("profile.db"))
}

impl Database {
    /// The database at `path`; made if there is none.
    ///
    /// # Errors
    ///
    /// If it can't be opened or made, is damaged, or something else's, or a newer version's.
    pub fn open(path: &Path) -> Result<Self, DatabaseError> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)
                .map_err(|e| DatabaseError::new(path, Cause::Open(e.to_string())))?;
        }
        let flags = OpenFlags::default();
        Self::with(path, flags)
    }

    /// The database at `path`, to look things up.
    ///
    /// # Errors
    ///
    /// As [`Database::open`], and if there is none.
    pub fn open_existing(path: &Path) -> Result<Self, DatabaseError> {
        Self::with(path, OpenFlags::default() - OpenFlags::SQLITE_OPEN_CREATE)
    }

    fn with(path: &Path, flags: OpenFlags) -> Result<Self, DatabaseError> {
        let connection = Connection::open_with_flags(path, flags).of(path)?;
        connection.busy_timeout(PATIENCE).of(path)?;
        schema::prepare(&connection, path)?;
        Ok(Self {
            connection,
            path: path.into(),
        })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The device of this name and driver, listed if it was not.
    ///
    /// # Errors
    ///
    /// If the database can't be read or written.
    pub fn device(&self, name: &str, kind: Kind, driver: &str) -> Result<DeviceId, DatabaseError> {
        let kind = kind_name(kind);
        self.run(
            "INSERT OR IGNORE INTO devices (name, kind, driver) VALUES (?1, ?2, ?3)",
            params![name, kind, driver],
        )?;
        self.connection
            .query_row(
                "SELECT id FROM devices WHERE name = ?1 AND kind = ?2 AND driver = ?3",
                params![name, kind, driver],
                |row| row.get(0),
            )
            .map(DeviceId)
            .of(&self.path)
    }

    /// The devices that are listed, in the order in which they came.
    ///
    /// # Errors
    ///
    /// If the database can't be read.
    pub fn devices(&self) -> Result<Vec<KnownDevice>, DatabaseError> {
        let query = "SELECT id, name, kind, driver, \
             (SELECT COUNT(*) FROM kernels WHERE device = devices.id) FROM devices ORDER BY id";
        self.rows(query, [], |row| {
            Ok(KnownDevice {
                id: DeviceId(row.get(0)?),
                name: row.get(1)?,
                kind: kind_of(&row.get::<_, String>(2)?),
                driver: row.get(3)?,
                n_kernels: row.get::<_, i64>(4)?.unsigned_abs(),
            })
        })
    }

    /// What a kernel took, timed by itself.
    ///
    /// # Errors
    ///
    /// If the database can't be read.
    pub fn kernel(&self, device: DeviceId, key: &Key) -> Result<Option<Times>, DatabaseError> {
        self.times("kernels", device, key)
    }

    /// What a block took.
    ///
    /// # Errors
    ///
    /// If the database can't be read.
    pub fn block(&self, device: DeviceId, key: &Key) -> Result<Option<Times>, DatabaseError> {
        self.times("blocks", device, key)
    }

    fn times(
        &self,
        table: &str,
        device: DeviceId,
        key: &Key,
    ) -> Result<Option<Times>, DatabaseError> {
        let query = format!("SELECT {TIMES} FROM {table} WHERE device = ?1 AND key = ?2");
        self.connection
            .query_row(&query, params![device.0, key.0], |row| times_at(row, 0))
            .optional()
            .of(&self.path)
    }

    /// Keeps what a kernel took, timed by itself. `label` says what it is, for people.
    ///
    /// # Errors
    ///
    /// If the database can't be written.
    pub fn put_kernel(
        &self,
        device: DeviceId,
        key: &Key,
        label: &str,
        work: &Work,
        times: &Times,
    ) -> Result<(), DatabaseError> {
        self.run(
            "INSERT OR REPLACE INTO kernels (device, key, label, class, dtype, flop, bytes_read, \
             bytes_written, launches, rounds, n, mean_ns, std_ns, min_ns, p50_ns, p90_ns, p99_ns, \
             max_ns) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, \
             ?17, ?18)",
            params![
                device.0,
                key.0,
                label,
                work.class,
                work.dtype,
                integer(work.flop),
                integer(work.bytes_read),
                integer(work.bytes_written),
                work.launches_text(),
                integer(work.rounds),
                integer(times.n),
                times.mean_ns,
                times.std_ns,
                times.min_ns,
                times.p50_ns,
                times.p90_ns,
                times.p99_ns,
                times.max_ns,
            ],
        )
    }

    /// Keeps what a block took. `label` says what it is, for people.
    ///
    /// # Errors
    ///
    /// If the database can't be written.
    pub fn put_block(
        &self,
        device: DeviceId,
        key: &Key,
        label: &str,
        times: &Times,
    ) -> Result<(), DatabaseError> {
        self.run(
            "INSERT OR REPLACE INTO blocks (device, key, label, n, mean_ns, std_ns, min_ns, p50_ns, \
             p90_ns, p99_ns, max_ns) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            params![
                device.0,
                key.0,
                label,
                integer(times.n),
                times.mean_ns,
                times.std_ns,
                times.min_ns,
                times.p50_ns,
                times.p90_ns,
                times.p99_ns,
                times.max_ns,
            ],
        )
    }

    /// How many times as long each of two blocks took beside the other.
    ///
    /// # Errors
    ///
    /// If the database can't be read.
    pub fn pair(
        &self,
        device: DeviceId,
        blocks: [&Key; 2],
    ) -> Result<Option<[f64; 2]>, DatabaseError> {
        let swapped = blocks[0] > blocks[1];
        let [a, b] = if swapped {
            [blocks[1], blocks[0]]
        } else {
            blocks
        };
        let found = self
            .connection
            .query_row(
                "SELECT slowdown_a, slowdown_b FROM pairs WHERE device = ?1 AND a = ?2 AND b = ?3",
                params![device.0, a.0, b.0],
                |row| Ok([row.get(0)?, row.get(1)?]),
            )
            .optional()
            .of(&self.path)?;
        Ok(found.map(|[a, b]: [f64; 2]| if swapped { [b, a] } else { [a, b] }))
    }

    /// Keeps how many times as long each of two blocks took beside the other, in `n` runs of them.
    ///
    /// # Errors
    ///
    /// If the database can't be written.
    pub fn put_pair(
        &self,
        device: DeviceId,
        blocks: [&Key; 2],
        slowdown: [f64; 2],
        n: u64,
    ) -> Result<(), DatabaseError> {
        let ([a, b], [of_a, of_b]) = match blocks[0] > blocks[1] {
            true => ([blocks[1], blocks[0]], [slowdown[1], slowdown[0]]),
            false => (blocks, slowdown),
        };
        self.run(
            "INSERT OR REPLACE INTO pairs (device, a, b, slowdown_a, slowdown_b, n) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![device.0, a.0, b.0, of_a, of_b, integer(n)],
        )
    }

    /// All that was measured on a device.
    ///
    /// # Errors
    ///
    /// If the database can't be read.
    pub fn measured(&self, device: DeviceId) -> Result<Measured, DatabaseError> {
        let times = |table: &str| {
            let query = format!("SELECT key, {TIMES} FROM {table} WHERE device = ?1");
            self.rows(&query, [device.0], |row| {
                Ok((Key(row.get(0)?), times_at(row, 1)?))
            })
        };
        let pairs = self.rows(
            "SELECT a, b, slowdown_a, slowdown_b FROM pairs WHERE device = ?1",
            [device.0],
            |row| {
                let blocks = (Key(row.get(0)?), Key(row.get(1)?));
                Ok((blocks, [row.get(2)?, row.get(3)?]))
            },
        )?;
        Ok(Measured::new(
            times("kernels")?.into_iter().collect(),
            times("blocks")?.into_iter().collect(),
            pairs.into_iter().collect(),
        ))
    }

    fn run(&self, statement: &str, values: impl rusqlite::Params) -> Result<(), DatabaseError> {
        self.connection.execute(statement, values).of(&self.path)?;
        Ok(())
    }

    fn rows<T>(
        &self,
        query: &str,
        values: impl rusqlite::Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, DatabaseError> {
        let mut statement = self.connection.prepare(query).of(&self.path)?;
        let rows = statement.query_map(values, read).of(&self.path)?;
        rows.collect::<rusqlite::Result<Vec<T>>>().of(&self.path)
    }
}

/// The columns of [`Times`], in the order of [`times_at`].
const TIMES: &str = "n, mean_ns, std_ns, min_ns, p50_ns, p90_ns, p99_ns, max_ns";

fn times_at(row: &Row<'_>, first: usize) -> rusqlite::Result<Times> {
    Ok(Times {
        n: row.get::<_, i64>(first)?.unsigned_abs(),
        mean_ns: row.get(first + 1)?,
        std_ns: row.get(first + 2)?,
        min_ns: row.get(first + 3)?,
        p50_ns: row.get(first + 4)?,
        p90_ns: row.get(first + 5)?,
        p99_ns: row.get(first + 6)?,
        max_ns: row.get(first + 7)?,
    })
}

/// SQLite's integers are signed.
fn integer(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Cpu => "cpu",
        Kind::Cuda => "cuda",
    }
}

fn kind_of(name: &str) -> Kind {
    match name {
        "cuda" => Kind::Cuda,
        _ => Kind::Cpu,
    }
}
