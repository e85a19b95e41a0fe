//! Log files of others (a broker's, a database's), followed into the one log: also when they are rotated, by renaming or by being cut.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::logs::{Line, Logs};
use crate::record::escape;

const LOOK_EVERY: Duration = Duration::from_millis(250);
/// What is shown of a file that is there already.
const TAIL_BYTES: u64 = 16 << 10;
/// Read of one file at one look; a file that grows faster is read with gaps, and says so.
const LOOK_BYTES: u64 = 256 << 10;
const LINE_BYTES_MAX: usize = 4 << 10;

/// Follows until it is dropped.
pub struct Following {
    ended: Arc<AtomicBool>,
}

impl Drop for Following {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

/// Starts a thread that reads the files into the log.
pub fn follow(files: &[PathBuf], logs: &Logs) -> io::Result<Option<Following>> {
    if files.is_empty() {
        return Ok(None);
    }
    let ended = Arc::new(AtomicBool::new(false));
    let mut followed: Vec<Followed> = files.iter().map(|path| Followed::new(path)).collect();
    let (until, logs) = (ended.clone(), logs.clone());
    thread::Builder::new().name("log-files".to_owned()).spawn(move || {
        while !until.load(Ordering::Relaxed) {
            followed.iter_mut().for_each(|file| file.look(&logs));
            thread::sleep(LOOK_EVERY);
        }
    })?;
    Ok(Some(Following { ended }))
}

struct Followed {
    path: PathBuf,
    name: String,
    open: Option<Open>,
    /// Told once, until it can be read again.
    problem: Option<String>,
    /// A file that appears while it is followed is read from its start.
    looked: bool,
}

struct Open {
    file: File,
    inode: u64,
    at: u64,
    /// The beginning of a line whose end has not been written yet.
    line: Vec<u8>,
}

impl Followed {
    fn new(path: &Path) -> Followed {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Followed { path: path.to_owned(), name: escape(&name).into_owned(), open: None, problem: None, looked: false }
    }

    fn look(&mut self, logs: &Logs) {
        let problem = self.read(logs).err().map(|error| error.to_string());
        if let (Some(problem), true) = (&problem, problem != self.problem) {
            logs.push(Line::new("warn", "file", &self.name, &format!("cannot be read, trying again: {}", escape(problem))));
        }
        self.problem = problem;
        self.looked = true;
    }

    fn read(&mut self, logs: &Logs) -> io::Result<()> {
        let now = std::fs::metadata(&self.path);
        if let Some(open) = &mut self.open {
            // What was written before the file was renamed away.
            open.read(&self.name, logs)?;
            match &now {
                Ok(now) if now.ino() == open.inode && now.len() >= open.at => return Ok(()),
                Ok(now) if now.ino() == open.inode => {
                    open.at = 0;
                    open.line.clear();
                    return open.read(&self.name, logs);
                }
                _ => self.open = None,
            }
        }
        let now = now?;
        let mut file = File::open(&self.path)?;
        let at = if self.looked { 0 } else { now.len().saturating_sub(TAIL_BYTES) };
        file.seek(SeekFrom::Start(at))?;
        let mut open = Open { file, inode: now.ino(), at, line: Vec::new() };
        open.read(&self.name, logs)?;
        self.open = Some(open);
        Ok(())
    }
}

impl Open {
    fn read(&mut self, name: &str, logs: &Logs) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        if length.saturating_sub(self.at) > LOOK_BYTES {
            let skipped = length - self.at - LOOK_BYTES;
            logs.push(Line::new(
                "warn",
                "file",
                name,
                &format!("{skipped} bytes are not shown: it grows faster than it is read"),
            ));
            self.at += skipped;
            self.line.clear();
        }
        self.file.seek(SeekFrom::Start(self.at))?;
        let mut bytes = Vec::new();
        self.at += (&self.file).take(LOOK_BYTES).read_to_end(&mut bytes)? as u64;
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = LINE_BYTES_MAX.saturating_sub(self.line.len());
            self.line.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                let text = String::from_utf8_lossy(&line);
                let text = text.trim_end();
                if !text.is_empty() {
                    logs.push(Line::new(level(text), "file", name, &escape(text)));
                }
            }
        }
        Ok(())
    }
}

/// The level that a line names near its beginning; `info` where it names none.
fn level(text: &str) -> &'static str {
    let words = text.split(|c: char| !c.is_ascii_alphabetic()).filter(|word| !word.is_empty()).take(16);
    let known = |word: &str| match word.to_ascii_uppercase().as_str() {
        "ERROR" | "FATAL" | "SEVERE" | "CRITICAL" => Some("error"),
        "WARN" | "WARNING" => Some("warn"),
        "INFO" => Some("info"),
        "DEBUG" => Some("debug"),
        "TRACE" => Some("trace"),
        _ => None,
    };
    words.into_iter().find_map(known).unwrap_or("info")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::logs::Wanted;
    use std::io::Write;

    fn texts(logs: &Logs) -> Vec<String> {
        logs.find(&Wanted::default()).lines.into_iter().map(|line| format!("{} {}", line.level, line.text)).collect()
    }

    #[test]
    fn a_file_is_followed_through_rotation_and_cutting() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("server.log");
        let logs = Logs::default();
        let mut followed = Followed::new(&path);
        followed.look(&logs);
        followed.look(&logs);
        assert_eq!(texts(&logs).len(), 1, "that it is not there is told once");
        let mut file = File::create(&path).unwrap();
        write!(file, "[2026] ERROR one\nWARN tw").unwrap();
        followed.look(&logs);
        writeln!(file, "o \u{1b}[31m").unwrap();
        std::fs::rename(&path, dir.path().join("server.log.1")).unwrap();
        writeln!(file, "late").unwrap();
        std::fs::write(&path, "three\n").unwrap();
        followed.look(&logs);
        std::fs::write(&path, "4\n").unwrap();
        followed.look(&logs);
        assert_eq!(
            texts(&logs)[1..],
            ["error [2026] ERROR one", "warn WARN two \\u{1b}[31m", "info late", "info three", "info 4"]
        );
    }

    #[test]
    fn a_file_that_grows_faster_than_it_is_read_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fast.log");
        std::fs::write(&path, "").unwrap();
        let logs = Logs::default();
        let mut followed = Followed::new(&path);
        followed.look(&logs);
        std::fs::write(&path, "0".repeat(LOOK_BYTES as usize + 15) + "\n").unwrap();
        followed.look(&logs);
        let texts = texts(&logs);
        assert_eq!(texts[0], "warn 16 bytes are not shown: it grows faster than it is read");
    }
}
