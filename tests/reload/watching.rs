//! Every way in which a file comes to hold something else, and what is no change at all.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tidemill::plugin::{Watch, Watched};

use crate::support::PATIENCE;

/// A folder with watched files in it.
struct Folder {
    dir: TempDir,
    watch: Watch,
}

impl Folder {
    fn new() -> Folder {
        Folder { dir: TempDir::new().unwrap(), watch: Watch::start().unwrap() }
    }

    /// To which nobody tells anything, as on a network file system.
    fn without_events() -> Folder {
        Folder { dir: TempDir::new().unwrap(), watch: Watch::without_events().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
    }

    fn replace(&self, name: &str, content: &str) {
        self.write("fresh", content);
        fs::rename(self.path("fresh"), self.path(name)).unwrap();
    }

    fn link(&self, to: impl AsRef<Path>, name: &str) {
        symlink(to, self.path("link.fresh")).unwrap();
        fs::rename(self.path("link.fresh"), self.path(name)).unwrap();
    }

    /// Watches files, each of which is told once.
    async fn watching(self, names: &[&str]) -> Folder {
        self.watch.set(names.iter().map(|name| Watched::File(self.path(name))).collect());
        let mut told = BTreeSet::new();
        while told.len() < names.len() {
            told.extend(self.changed().await);
        }
        self
    }

    async fn changed(&self) -> BTreeSet<Watched> {
        tokio::time::timeout(PATIENCE, self.watch.changed()).await.expect("a change is told")
    }

    #[track_caller]
    fn is(&self, told: &BTreeSet<Watched>, name: &str) {
        assert_eq!(told, &BTreeSet::from([Watched::File(self.path(name))]));
    }

    /// What was told until `last` changes, which takes longer than anything before to stand still.
    async fn until(&self, last: &str) -> BTreeSet<Watched> {
        let mut file = fs::OpenOptions::new().append(true).open(self.path(last)).unwrap();
        file.write_all(b"+").unwrap();
        file.flush().unwrap();
        let last = Watched::File(self.path(last));
        let mut all = BTreeSet::new();
        while !all.contains(&last) {
            all.extend(self.changed().await);
        }
        all.remove(&last);
        all
    }
}

#[tokio::test]
async fn a_file_that_is_replaced_or_written_is_told() {
    let folder = Folder::new();
    folder.write("a", "1");
    folder.write("b", "1");
    let folder = folder.watching(&["a", "b"]).await;
    folder.replace("a", "2");
    folder.is(&folder.changed().await, "a");
    folder.write("b", "2");
    folder.is(&folder.changed().await, "b");
    fs::remove_file(folder.path("a")).unwrap();
    folder.write("a", "3");
    folder.is(&folder.changed().await, "a");
}

#[tokio::test]
async fn a_file_is_told_where_the_system_tells_no_changes() {
    let folder = Folder::without_events();
    folder.write("a", "1");
    fs::create_dir(folder.path("two")).unwrap();
    folder.write("two/b", "2");
    fs::create_dir(folder.path("one")).unwrap();
    folder.write("one/b", "1");
    folder.link("one", "now");
    let folder = folder.watching(&["a", "now/b"]).await;
    folder.replace("a", "2");
    folder.is(&folder.changed().await, "a");
    folder.write("a", "3");
    folder.is(&folder.changed().await, "a");
    fs::remove_file(folder.path("a")).unwrap();
    folder.write("a", "4");
    folder.is(&folder.changed().await, "a");
    folder.link("two", "now");
    folder.is(&folder.changed().await, "now/b");
}

#[tokio::test]
async fn a_file_that_stays_open_is_told_once_it_stands_still() {
    let folder = Folder::new();
    folder.write("a", "1");
    let folder = folder.watching(&["a"]).await;
    let mut file = fs::File::create(folder.path("a")).unwrap();
    for part in ["all ", "of ", "it"] {
        file.write_all(part.as_bytes()).unwrap();
    }
    folder.is(&folder.changed().await, "a");
    // Truncated in place and filled again.
    file.set_len(0).unwrap();
    file.write_all(b"another").unwrap();
    folder.is(&folder.changed().await, "a");
}

#[tokio::test]
async fn a_touch_and_the_same_content_again_are_no_change() {
    let folder = Folder::new();
    folder.write("a", "1");
    folder.write("last", "1");
    let folder = folder.watching(&["a", "last"]).await;
    fs::File::open(folder.path("a")).unwrap().set_modified(std::time::SystemTime::now() - Duration::from_secs(5)).unwrap();
    assert!(folder.until("last").await.is_empty());
    folder.replace("a", "1");
    assert!(folder.until("last").await.is_empty());
    fs::remove_file(folder.path("a")).unwrap();
    assert!(folder.until("last").await.is_empty(), "what is gone may come back");
    folder.write("a", "1");
    assert!(folder.until("last").await.is_empty());
}

#[tokio::test]
async fn a_link_that_leads_elsewhere_is_told_and_so_is_what_it_leads_to() {
    let folder = Folder::new();
    fs::create_dir(folder.path("builds")).unwrap();
    folder.write("builds/one", "1");
    folder.write("builds/two", "2");
    folder.link("builds/one", "current");
    let folder = folder.watching(&["current"]).await;
    folder.link("builds/two", "current");
    folder.is(&folder.changed().await, "current");
    folder.write("builds/two", "3");
    folder.is(&folder.changed().await, "current");
}

#[tokio::test]
async fn the_data_link_of_kubernetes_is_followed() {
    let folder = Folder::new();
    for (build, content) in [("..one", "1"), ("..two", "2"), ("..three", "3")] {
        fs::create_dir(folder.path(build)).unwrap();
        folder.write(&format!("{build}/plugin.wasm"), content);
    }
    folder.link("..one", "..data");
    folder.link("..data/plugin.wasm", "plugin.wasm");
    let folder = folder.watching(&["plugin.wasm"]).await;
    for build in ["..two", "..three"] {
        folder.link(build, "..data");
        folder.is(&folder.changed().await, "plugin.wasm");
    }
    fs::remove_dir_all(folder.path("..one")).unwrap();
    folder.write("..three/plugin.wasm", "4");
    folder.is(&folder.changed().await, "plugin.wasm");
}

#[tokio::test]
async fn a_folder_that_is_made_anew_is_followed() {
    let folder = Folder::new();
    fs::create_dir(folder.path("out")).unwrap();
    folder.write("out/a", "1");
    let folder = folder.watching(&["out/a"]).await;
    fs::remove_dir_all(folder.path("out")).unwrap();
    fs::create_dir(folder.path("out")).unwrap();
    folder.write("out/a", "2");
    folder.is(&folder.changed().await, "out/a");
    folder.replace("out/a", "3");
    folder.is(&folder.changed().await, "out/a");
}

#[tokio::test]
async fn a_file_that_is_not_there_yet_is_told_when_it_comes() {
    let folder = Folder::new();
    folder.watch.set(BTreeSet::from([Watched::File(folder.path("later/a"))]));
    fs::create_dir(folder.path("later")).unwrap();
    folder.write("later/a", "1");
    folder.is(&folder.changed().await, "later/a");
}

#[tokio::test]
async fn ten_thousand_other_files_hide_nothing() {
    let folder = Folder::new();
    folder.write("a", "1");
    let folder = folder.watching(&["a"]).await;
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let folder = &folder;
            scope.spawn(move || (0..2_500).for_each(|number| folder.write(&format!("noise-{thread}-{number}"), "noise")));
        }
    });
    folder.replace("a", "2");
    folder.is(&folder.changed().await, "a");
}

#[tokio::test]
async fn source_is_told_and_what_is_built_in_it_is_not() {
    let folder = Folder::new();
    for made in ["plugin", "plugin/src", "plugin/target"] {
        fs::create_dir(folder.path(made)).unwrap();
    }
    folder.write("plugin/src/lib.rs", "1");
    folder.write("last", "1");
    let source = Watched::Source(folder.path("plugin"));
    folder.watch.set(BTreeSet::from([source.clone(), Watched::File(folder.path("last"))]));
    let mut told = BTreeSet::new();
    while told.len() < 2 {
        told.extend(folder.changed().await);
    }
    folder.write("plugin/target/plugin.wasm", "made");
    folder.write("plugin/src/.lib.rs.swp", "an editor's");
    assert!(folder.until("last").await.is_empty());
    folder.write("plugin/src/lib.rs", "2");
    assert_eq!(folder.changed().await, BTreeSet::from([source.clone()]));
    fs::create_dir(folder.path("plugin/src/deep")).unwrap();
    folder.write("plugin/src/deep/more.rs", "3");
    assert_eq!(folder.changed().await, BTreeSet::from([source]));
}
