//! Jobs for the guest `triage`: what stands in the source, and what must become of each, computed natively.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use rusqlite::types::Value as Cell;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::host::Pipeline;
use super::read::{Record, Store};
use super::verify::{self, Decision, Extent, Findings, Native, Row, digest_of};
use super::{guests, root};

pub const TABLE: &str = "jobs.done";

#[derive(Deserialize)]
struct Job {
    number: i64,
    name: String,
    #[serde(rename = "do")]
    what: String,
    note: Option<String>,
}

/// Lines of a source: distinct, on few keys and many, kept, dropped, deleted, rejected by the stage and by the host.
pub fn lines(count: usize) -> Vec<Vec<u8>> {
    let line = |number: usize| {
        // Distinct numbers scattered over what a record may be.
        let mix = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        let name = if mix.is_multiple_of(4) { format!("once-{number}") } else { format!("often-{}", mix % 257) };
        let what = match mix % 100 {
            0..80 => "keep",
            80..86 => "delete",
            86..92 => "drop",
            92..96 => "reject",
            96..98 => "explode",
            _ => return format!(r#"{{"number":{number},"name":"cut short"#).into_bytes(),
        };
        let note = if mix.is_multiple_of(7) { String::new() } else { format!(r#","note":"to {name}, straße {number}""#) };
        format!(r#"{{"number":{number},"name":"{name}","do":"{what}"{note}}}"#).into_bytes()
    };
    (0..count).map(line).collect()
}

/// The last of the lines that deletes a key, by that key.
pub fn deletes(lines: &[Vec<u8>]) -> BTreeMap<String, usize> {
    let job = |(at, line): (usize, &Vec<u8>)| Some((serde_json::from_slice::<Job>(line).ok()?, at));
    let deleting = lines.iter().enumerate().filter_map(job).filter(|(job, _)| job.what == "delete");
    deleting.map(|(job, at)| (job.name, at)).collect()
}

/// What stage `triage` with the mark of the deciding generation must make of a record.
pub fn decide(record: &Record, content: &Value, marks: &Marks) -> Decision {
    decide_in("triage", record, content, marks)
}

/// The same for a stage of another name.
pub fn decide_in(stage: &'static str, record: &Record, content: &Value, marks: &Marks) -> Decision {
    let parsed = record.value.as_deref().map(serde_json::from_slice::<Job>);
    let Some(Ok(job)) = parsed else { return Decision::Rejected(None, String::new()) };
    let mark = marks.of(content, stage);
    let text = |text: &str| Cell::Text(text.to_owned());
    let row: Row = [
        ("id", text(&job.name)),
        ("number", Cell::Integer(job.number)),
        ("twice", Cell::Integer(2 * job.number)),
        ("shout", job.note.as_deref().map_or(Cell::Null, |note| text(&note.to_uppercase()))),
        ("mark", text(mark)),
    ]
    .map(|(name, cell)| (name.to_owned(), cell))
    .into();
    let reject = |reason: String| Decision::Rejected(Some(stage), reason);
    match job.what.as_str() {
        "keep" => Decision::Rows(vec![row]),
        "delete" => Decision::Deleted(row),
        "drop" => Decision::Dropped,
        "reject" => reject(format!("job {} is refused by {mark}", job.number)),
        "fix" if mark == "0000" => reject(format!("job {} meets a mistake of {mark}", job.number)),
        "fix" if mark == "trap" => reject("trap: ".to_owned()),
        "fix" => Decision::Rows(vec![row]),
        other => reject(format!("`{other}` is unknown")),
    }
}

/// Which mark the component with a digest leaves.
#[derive(Default)]
pub struct Marks(HashMap<String, String>);

impl Marks {
    /// Makes `triage` with this mark at `path`, as a build would: the file is replaced in one step.
    pub fn install(&mut self, path: &Path, mark: &str) {
        let fresh = path.with_extension("fresh");
        fs::write(&fresh, self.component(mark)).expect("write a component");
        fs::rename(fresh, path).expect("replace a component");
    }

    /// Of the component that leaves a mark.
    #[track_caller]
    pub fn digest(&self, mark: &str) -> String {
        let (digest, _) = self.0.iter().find(|(_, known)| *known == mark).unwrap_or_else(|| panic!("{mark} was installed"));
        digest.clone()
    }

    /// The mark that the component with a digest leaves.
    pub fn name(&self, digest: &str) -> &str {
        self.0.get(digest).map_or("no such digest", String::as_str)
    }

    /// The bytes of the component with this mark, and its digest, noted for the comparison in the end.
    pub fn component(&mut self, mark: &str) -> Vec<u8> {
        static BUILT: LazyLock<Vec<u8>> =
            LazyLock::new(|| fs::read(guests::component("tests/guests/triage")).expect("read the component of triage"));
        assert_eq!(mark.len(), 4, "a mark has four characters");
        let mut bytes = BUILT.clone();
        let places: Vec<usize> = bytes.windows(9).enumerate().filter(|(_, at)| at == b"mark=0000").map(|(at, _)| at).collect();
        let [at] = places[..] else { panic!("triage has one mark, not {}", places.len()) };
        bytes[at + 5..at + 9].copy_from_slice(mark.as_bytes());
        self.note(&bytes, mark);
        bytes
    }

    /// Another build that behaves the same: a custom section at the end makes it another component.
    pub fn variant(&mut self, mark: &str, variant: u8) -> Vec<u8> {
        let mut bytes = self.component(mark);
        bytes.extend([0, 4, 1, b'v', variant, 0]);
        self.note(&bytes, mark);
        bytes
    }

    /// Whether these are the bytes of a component that was made here.
    pub fn knows(&self, bytes: &[u8]) -> bool {
        self.0.contains_key(&digest(bytes))
    }

    fn note(&mut self, bytes: &[u8], mark: &str) {
        self.0.insert(digest(bytes), mark.to_owned());
    }

    fn of(&self, content: &Value, stage: &str) -> &str {
        digest_of(content, stage).map_or("no such digest", |digest| self.name(digest))
    }
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A pipeline of jobs in a folder of its own.
pub struct Scene {
    pub dir: TempDir,
    pub pipeline: Pipeline,
    pub lines: Vec<Vec<u8>>,
    pub marks: Marks,
}

impl Scene {
    /// From the folder of a case, such as `tests/crash/table`, with these lines in its source.
    pub fn new(case: &str, lines: Vec<Vec<u8>>) -> Scene {
        let dir = TempDir::new().expect("make a folder");
        let file = dir.path().join("pipeline.toml");
        fs::copy(root().join(case).join("pipeline.toml"), &file).expect("copy the pipeline");
        fs::write(dir.path().join("jobs.ndjson"), lines.join(&b'\n')).expect("write the source");
        let pipeline = Pipeline::new(file, dir.path().join("data"));
        let mut scene = Scene { dir, pipeline, lines, marks: Marks::default() };
        scene.swap("0000");
        scene
    }

    /// Puts another plugin in the place of the present one.
    pub fn swap(&mut self, mark: &str) {
        self.marks.install(&self.dir.path().join("triage.wasm"), mark);
    }

    pub fn store_dir(&self) -> PathBuf {
        self.pipeline.store("jobs")
    }

    pub fn store(&self) -> Store {
        Store::open(&self.store_dir(), "jobs")
    }

    /// By the verifier that is shipped as well.
    pub fn verify(&self, extent: Extent) -> Findings {
        let mut findings = self.verify_at(&self.store_dir(), extent);
        findings.broken.extend(self.pipeline.verify());
        findings
    }

    /// A store that began as this scene's.
    pub fn verify_at(&self, dir: &Path, extent: Extent) -> Findings {
        let decide = |record: &Record, content: &Value| decide(record, content, &self.marks);
        let native = Native { topic: "jobs", table: TABLE, key: &["id"], decide: &decide };
        verify::verify(dir, &native, extent)
    }

    /// Everything, the topic against the source included.
    pub fn verify_all(&self) -> Findings {
        let mut findings = self.verify(Extent::All);
        verify::compare_source(self.lines.iter().map(Vec::as_slice), &self.store().records(), &mut findings);
        findings
    }
}
