//! What the store answers when it cannot.

use rusqlite::ErrorCode;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The disk is full: the write waits and is tried again; nothing is lost.
    #[error("the disk is full: {0}")]
    Full(String),
    /// It may pass: a disk that answers with errors, another program that holds the file locked. Tried again as well.
    #[error("{0}")]
    Busy(String),
    #[error("{0}")]
    Sqlite(String),
    /// Another host owns the store; its address, if it serves one.
    #[error("the store is in use by another host{}", .0.as_deref().map(|at| format!(" at {at}")).unwrap_or_default())]
    Owned(Option<String>),
    #[error("{0}")]
    Io(String),
}

impl Error {
    pub(crate) fn io(doing: &str, error: &std::io::Error) -> Error {
        Error::Io(format!("{doing}: {error}"))
    }

    pub(super) fn closed() -> Error {
        Error::Io("the store is closed".to_owned())
    }

    /// Whether the same write may succeed later.
    pub(super) fn passes(&self) -> bool {
        matches!(self, Error::Full(_) | Error::Busy(_))
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Error {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Error::Full(error.to_string()),
            Some(ErrorCode::SystemIoFailure | ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::OutOfMemory) => {
                Error::Busy(error.to_string())
            }
            _ => Error::Sqlite(error.to_string()),
        }
    }
}
