//! Files on a file system where others change them and this system tells nothing: a folder mounted once more (`bindfs`), and changed behind
//! the mount.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecursiveMode, Watcher};

use super::scene::Live;
use crate::support::{jobs, skip_or_panic};

struct Mounted(PathBuf);

impl Mounted {
    /// `None`: no such thing can be mounted here, which is told.
    fn new(behind: &Path, at: &Path) -> Option<Mounted> {
        match Command::new("bindfs").args([behind, at]).output() {
            Ok(output) if output.status.success() => Some(Mounted(at.to_owned())),
            Ok(output) => {
                // No package makes a system let its processes mount; how files are looked at is tested in `watching` all the same.
                eprintln!("SKIPPED: nothing can be mounted: {}", String::from_utf8_lossy(&output.stderr).trim());
                None
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                skip_or_panic("`bindfs` is not installed");
                None
            }
            Err(error) => panic!("start bindfs: {error}"),
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let unmounted = Command::new("fusermount3").args(["-u", "-z"]).arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "unmount {}", self.0.display());
    }
}

#[test]
fn what_changes_where_no_event_tells_is_seen_all_the_same() {
    let mut scene = jobs::Scene::new("tests/reload/table", jobs::lines(20_000));
    let behind = scene.dir.path().to_owned();
    let at = tempfile::tempdir().expect("make a folder");
    let Some(_mounted) = Mounted::new(&behind, at.path()) else { return };
    scene.pipeline.file = at.path().join("pipeline.toml");
    let (events, told) = mpsc::channel();
    let mut watcher = notify::recommended_watcher(events).expect("watch");
    watcher.watch(at.path(), RecursiveMode::NonRecursive).expect("watch the folder");

    let mut live = Live::of(scene);
    // Renamed into place, written in place, and the pipeline file.
    live.swap("aaaa");
    let bytes = live.scene.marks.component("bbbb");
    fs::write(behind.join("triage.wasm"), bytes).expect("write a component");
    live.serves("bbbb");
    let text = fs::read_to_string(behind.join("pipeline.toml")).expect("read the pipeline file");
    let plugin = "plugin = \"triage.wasm\"\n";
    assert!(text.contains(plugin));
    let limited = text.replace(plugin, &format!("{plugin}limits = {{ memory = \"32 MiB\" }}\n"));
    fs::write(behind.join("fresh"), limited).expect("write the pipeline file");
    fs::rename(behind.join("fresh"), behind.join("pipeline.toml")).expect("replace the pipeline file");
    let applied = live.receipt("applied", 2);
    assert_eq!(applied["changes"][0]["what"], serde_json::json!(["limits"]), "{applied}");

    drop(watcher);
    let is_change = |event: &notify::Event| match event.kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        _ => true,
    };
    let changes: Vec<notify::Event> = told.into_iter().filter_map(Result::ok).filter(is_change).collect();
    assert!(changes.is_empty(), "{changes:?}");
    live.finish();
}
