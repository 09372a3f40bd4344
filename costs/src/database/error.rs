//! What can be wrong with a database.

use super::schema::VERSION;
use rusqlite::ErrorCode;
use std::fmt;
use std::path::{Path, PathBuf};

/// Why a profile database can't be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DatabaseError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub cause: Cause,
}

/// What is wrong with a database.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cause {
    /// It can't be opened or made.
    Open(String),
    /// It is no database, or one whose contents contradict each other.
    Damaged(String),
    /// It is a database of something else.
    NotOurs,
    /// A newer version made it.
    Newer {
        /// The version of its tables.
        version: i32,
    },
    /// Others write it and don't come to an end.
    Busy,
    /// Reading or writing failed.
    Failed(String),
}

impl DatabaseError {
    pub(super) fn new(path: &Path, cause: Cause) -> Self {
        Self {
            path: path.into(),
            cause,
        }
    }

    /// What to do about it.
    pub fn help(&self) -> &'static str {
        match self.cause {
            Cause::Open(_) => "check the path and its permissions",
            Cause::Damaged(_) => "move the file away; what is measured next starts a new one",
            Cause::NotOurs => "give another file; a new one is made where there is none",
            Cause::Newer { .. } => "use the newer dlirc, or another file",
            Cause::Busy => "wait for the other processes that measure, or end them",
            Cause::Failed(_) => "check that there is room on the disk, and the file's permissions",
        }
    }
}

impl fmt::Display for DatabaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the profile database {} ", self.path.display())?;
        match &self.cause {
            Cause::Open(why) => write!(f, "can't be opened: {why}"),
            Cause::Damaged(why) => write!(f, "is damaged: {why}"),
            Cause::NotOurs => write!(f, "is a database of something else"),
            Cause::Newer { version } => write!(
                f,
                "was made by a newer version: its tables are of version {version}, and only those \
                 up to {VERSION} are known here"
            ),
            Cause::Busy => write!(f, "is being written by others without an end"),
            Cause::Failed(why) => write!(f, "can't be read or written: {why}"),
        }
    }
}

impl std::error::Error for DatabaseError {}

/// Says of which file an error is.
pub(super) trait Context<T> {
    fn of(self, path: &Path) -> Result<T, DatabaseError>;
}

impl<T> Context<T> for rusqlite::Result<T> {
    fn of(self, path: &Path) -> Result<T, DatabaseError> {
        self.map_err(|error| {
            let why = error.to_string();
            let cause = match error.sqlite_error_code() {
                Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Cause::Damaged(why),
                Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => Cause::Open(why),
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Cause::Busy,
                Some(_) => Cause::Failed(why),
                // The columns are not what the tables of this version have.
                None => Cause::Damaged(why),
            };
            DatabaseError::new(path, cause)
        })
    }
}
