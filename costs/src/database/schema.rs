//! The tables of a database, and whether a file has them.

use super::PATIENCE;
use super::error::{Cause, Context, DatabaseError};
use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use std::path::Path;
use std::time::{Duration, Instant};

/// "dlir": tells the file from databases of others.
const APPLICATION: i32 = 0x646c_6972;

/// The version of the tables.
pub(super) const VERSION: i32 = 1;

const TABLES: &str = "
CREATE TABLE devices (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    driver TEXT NOT NULL,
    UNIQUE (name, kind, driver)
);
CREATE TABLE kernels (
    device INTEGER NOT NULL REFERENCES devices (id),
    key BLOB NOT NULL,
    label TEXT NOT NULL,
    class TEXT NOT NULL,
    dtype TEXT NOT NULL,
    flop INTEGER NOT NULL,
    bytes_read INTEGER NOT NULL,
    bytes_written INTEGER NOT NULL,
    launches TEXT NOT NULL,
    rounds INTEGER NOT NULL,
    n INTEGER NOT NULL,
    mean_ns REAL NOT NULL,
    std_ns REAL NOT NULL,
    min_ns REAL NOT NULL,
    p50_ns REAL NOT NULL,
    p90_ns REAL NOT NULL,
    p99_ns REAL NOT NULL,
    max_ns REAL NOT NULL,
    PRIMARY KEY (device, key)
) WITHOUT ROWID;
CREATE TABLE blocks (
    device INTEGER NOT NULL REFERENCES devices (id),
    key BLOB NOT NULL,
    label TEXT NOT NULL,
    n INTEGER NOT NULL,
    mean_ns REAL NOT NULL,
    std_ns REAL NOT NULL,
    min_ns REAL NOT NULL,
    p50_ns REAL NOT NULL,
    p90_ns REAL NOT NULL,
    p99_ns REAL NOT NULL,
    max_ns REAL NOT NULL,
    PRIMARY KEY (device, key)
) WITHOUT ROWID;
CREATE TABLE pairs (
    device INTEGER NOT NULL REFERENCES devices (id),
    a BLOB NOT NULL,
    b BLOB NOT NULL,
    slowdown_a REAL NOT NULL,
    slowdown_b REAL NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (device, a, b)
) WITHOUT ROWID;
";

/// Checks that the file is a database of this version; makes the tables if it is empty.
pub(super) fn prepare(connection: &Connection, path: &Path) -> Result<(), DatabaseError> {
    // In one transaction: another process may be making the tables.
    let reading = connection.unchecked_transaction().of(path)?;
    let [application, version, n_tables] = state(&reading, path)?;
    reading.commit().of(path)?;
    match (application, version, n_tables) {
        (0, 0, 0) => make(connection, path)?,
        (APPLICATION, VERSION, _) => {}
        (APPLICATION, version, _) if version > VERSION => {
            return Err(DatabaseError::new(path, Cause::Newer { version }));
        }
        _ => return Err(DatabaseError::new(path, Cause::NotOurs)),
    }
    // A crash of the machine may cost the last measurements, never the file.
    connection
        .pragma_update(None, "synchronous", "NORMAL")
        .of(path)?;
    let sound: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .of(path)?;
    match sound.as_str() {
        "ok" => Ok(()),
        _ => Err(DatabaseError::new(path, Cause::Damaged(sound))),
    }
}

/// Whose it is, the version of the tables, and how many there are.
fn state(connection: &Connection, path: &Path) -> Result<[i32; 3], DatabaseError> {
    let number = |query: &str| connection.query_row(query, [], |row| row.get::<_, i32>(0));
    let read = || {
        Ok([
            number("PRAGMA application_id")?,
            number("PRAGMA user_version")?,
            number("SELECT COUNT(*) FROM sqlite_master")?,
        ])
    };
    read().of(path)
}

fn make(connection: &Connection, path: &Path) -> Result<(), DatabaseError> {
    // Changing the mode does not wait for others that do the same.
    let started = Instant::now();
    loop {
        let mode = connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()));
        match mode {
            Err(rusqlite::Error::SqliteFailure(e, _))
                if e.code == ErrorCode::DatabaseBusy && started.elapsed() < PATIENCE =>
            {
                std::thread::sleep(Duration::from_millis(5));
            }
            done => break done.of(path)?,
        }
    }
    let change = rusqlite::Transaction::new_unchecked(connection, TransactionBehavior::Immediate)
        .of(path)?;
    // Another process may have been first.
    if let [0, 0, 0] = state(&change, path)? {
        change
            .execute_batch(TABLES)
            .and_then(|()| change.pragma_update(None, "application_id", APPLICATION))
            .and_then(|()| change.pragma_update(None, "user_version", VERSION))
            .of(path)?;
    }
    change.commit().of(path)
}
