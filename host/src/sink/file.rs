//! Lines appended to a file, synced before the position is saved: at least once.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use super::{BindRejection, Bound, Emitted, Error, Sink, lines};
use crate::config::plan::SinkColumn;
use crate::record::Place;

/// The longest last line that is looked at when the file is opened.
const LAST_LINE_MAX: u64 = 16 << 20;

pub(super) struct FileSink {
    name: String,
    columns: Vec<SinkColumn>,
    path: PathBuf,
    file: Arc<Mutex<File>>,
}

impl FileSink {
    /// Opens the file for appending. A last line that a crash cut short is removed: its record is delivered again.
    pub(super) fn open(name: &str, path: &Path, columns: &[SinkColumn]) -> Result<FileSink, Error> {
        let open = || -> std::io::Result<File> {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            std::fs::create_dir_all(folder)?;
            // A pipe would wait for a reader, and a device has no last line.
            if std::fs::metadata(path).is_ok_and(|there| !there.is_file()) {
                return Err(std::io::Error::other("it is no regular file"));
            }
            let is_new = !path.exists();
            let mut file = File::options().read(true).append(true).create(true).open(path)?;
            if is_new {
                sync_name(folder)?;
            }
            end_last_line(&mut file)?;
            Ok(file)
        };
        let file = open().map_err(|error| Error::Systemic(format!("open {}: {error}", path.display())))?;
        let file = Arc::new(Mutex::new(file));
        Ok(FileSink { name: name.to_owned(), columns: columns.to_vec(), path: path.to_owned(), file })
    }
}

/// Without it, a power cut may leave synced lines in a file that no folder names.
fn sync_name(folder: &Path) -> std::io::Result<()> {
    use std::io::ErrorKind::{InvalidInput, Unsupported};
    File::open(folder)?.sync_data().or_else(|error| match error.kind() {
        // Some file systems keep names at once, and know of nothing to do.
        InvalidInput | Unsupported => Ok(()),
        _ => Err(error),
    })
}

fn end_last_line(file: &mut File) -> std::io::Result<()> {
    let len = file.seek(SeekFrom::End(0))?;
    let from = len.saturating_sub(LAST_LINE_MAX);
    file.seek(SeekFrom::Start(from))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let last = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    if last == tail.len() {
        return Ok(());
    }
    match serde_json::from_slice::<serde::de::IgnoredAny>(&tail[last..]) {
        Ok(_) => file.write_all(b"\n"),
        Err(_) => file.set_len(from + last as u64),
    }
}

/// All of the lines or none.
fn append(file: &mut File, text: &[u8]) -> std::io::Result<()> {
    let before = file.metadata()?.len();
    file.write_all(text).and_then(|()| file.sync_data()).inspect_err(|_| {
        // If this fails as well, the lines are repeated, as after a crash.
        let _ = file.set_len(before);
    })
}

#[async_trait]
impl Sink for FileSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn wants_messages(&self) -> bool {
        self.columns.is_empty()
    }

    fn bind(&self, emitted: &Emitted<'_>) -> Result<Bound, Vec<BindRejection>> {
        lines::bind(&self.columns, emitted)
    }

    async fn write(&self, bound: &Bound) -> Result<Vec<(Place, String)>, Error> {
        let (text, file) = (lines::of(&self.columns, bound), self.file.clone());
        let write = move || append(&mut file.lock().unwrap_or_else(|poisoned| poisoned.into_inner()), &text);
        let written = tokio::task::spawn_blocking(write).await;
        let written = written.map_err(|error| Error::Systemic(format!("write to {}: {error}", self.path.display())))?;
        written.map(|()| Vec::new()).map_err(|error| match error.kind() {
            std::io::ErrorKind::StorageFull => Error::Full(format!("write to {}: {error}", self.path.display())),
            _ => Error::Transient(format!("write to {}: {error}", self.path.display())),
        })
    }
}
