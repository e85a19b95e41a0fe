//! A dead letter as a test: its record goes through the present code as a test's would, and what becomes of it is what the case expects.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use serde_json::{Map, Value};

use super::deliver::Deliver;
use super::worker::{self, Decided};
use crate::config::pinned::Case;
use crate::config::{self, LoadOptions};
use crate::record::{Batch, Columns, Kind, Place, RecordRef, RowOutcome};
use crate::status::Pinned;
use crate::topic::{Boundary, DeadLetter};
use crate::transform::{KeyPath, write_json};

/// The pipeline file that cases are written to.
#[derive(Clone, Debug)]
pub struct PipelineFile {
    pub path: PathBuf,
    pub profile: Option<String>,
    /// Payload field that becomes the record's key.
    pub key: Option<String>,
}

pub async fn pin(
    deliver: &Deliver,
    file: &PipelineFile,
    place: Place,
    name: Option<String>,
    write: bool,
) -> anyhow::Result<Pinned> {
    let letter = deliver.topic.dead_letter(place).await.context("read the dead letter")?;
    let letter = letter.with_context(|| format!("there is no dead letter at {}/{}", place.partition, place.offset))?;
    let value = letter.value.clone().context("the record has no value, and a test begins with a payload")?;
    let payload = String::from_utf8(value).map_err(|_| anyhow!("the payload is no text, and a pipeline file is"))?;
    let key = match (&letter.key, &file.key) {
        (Some(key), Some(path)) if KeyPath::new(path).read(payload.as_bytes()).ok().flatten().as_ref() == Some(key) => None,
        (Some(key), _) => {
            Some(String::from_utf8(key.clone()).map_err(|_| anyhow!("the key is no text, and a pipeline file is"))?)
        }
        (None, _) => None,
    };
    let expect = expectation(deliver, &letter, &payload).await?;
    let path = file.path.canonicalize().with_context(|| format!("find {}", file.path.display()))?;
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let wished = name.unwrap_or_else(|| format!("dead letter {}/{}", place.partition, place.offset));
    let case = Case { name: free_name(&text, wished), payload, key, expect: expect.clone() };
    let cannot = |why: String| anyhow!("write the test into {}: {why}", file.path.display());
    let (appended, line) = case.append_to(&text).map_err(cannot)?;
    let options = LoadOptions { profile: file.profile.as_deref(), ..LoadOptions::new(&config::process_env) };
    // A file that only `--set` makes whole cannot be judged without it.
    if let (Ok(_), Err(found)) = (config::read(&path, &text, &options), config::read(&path, &appended, &options)) {
        let first = found.iter().find(|diagnostic| diagnostic.is_error()).map(|error| error.message.clone());
        bail!("{}", cannot(first.unwrap_or_default()));
    }
    if write {
        replace(&path, &appended).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(Pinned { name: case.name.clone(), file: file.path.display().to_string(), line, text: case.text(), expect, written: write })
}

/// Names are unique in a file.
fn free_name(file: &str, wished: String) -> String {
    let table: toml::Table = file.parse().unwrap_or_default();
    let tests = table.get("test").and_then(toml::Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let taken = |name: &str| tests.iter().any(|test| test.get("name").and_then(toml::Value::as_str) == Some(name));
    let numbered = (2..).map(|number| format!("{wished} ({number})"));
    std::iter::once(wished.clone()).chain(numbered).find(|name| !taken(name)).unwrap_or(wished)
}

/// What `tidemill test` will find: without headers, at the present time.
async fn expectation(deliver: &Deliver, letter: &DeadLetter, payload: &str) -> anyhow::Result<Value> {
    let mut batch = Batch::new(0);
    let timestamp = super::now_micros() / 1_000;
    batch.push(RecordRef { offset: 0, timestamp, key: letter.key.as_deref(), value: Some(payload.as_bytes()), headers: &[] });
    let generation = deliver.generations.present().clone();
    let boundary = Boundary { first: 0, generation: generation.number, time: letter.write_time };
    let (decided, columns) =
        worker::rehearse(Arc::new(batch), boundary, generation).await.map_err(|error| anyhow!("decide the record: {error}"))?;
    Ok(match decided.outcomes.first() {
        Some(RowOutcome::Rejected { reason, .. }) => {
            // A test binds for tables, and knows no sinks by name.
            let sinks = decided.generation.code.sinks.iter();
            let bare = sinks.filter_map(|sink| reason.strip_prefix(&format!("sink {}: ", sink.name()))).next();
            format!("rejected: {}", bare.unwrap_or(reason).trim()).into()
        }
        Some(RowOutcome::Deleted) => "deleted".into(),
        Some(RowOutcome::Emitted) => Value::Object(row(&decided, &columns)?),
        Some(RowOutcome::Dropped) | None => "dropped".into(),
    })
}

fn row(decided: &Decided, columns: &Columns) -> anyhow::Result<Map<String, Value>> {
    let mut fields = Map::new();
    for (name, column) in columns.iter() {
        if column.rows() != 1 {
            bail!("the record becomes {} rows, and a test expects one", column.rows());
        }
        let charted = column.kind() == Kind::Json && decided.generation.code.charts.iter().any(|chart| chart.field.name == name);
        let mut text = Vec::new();
        if !charted && !column.is_null(0) && write_json(column, 0, &mut text).is_ok() {
            fields.insert(name.to_owned(), serde_json::from_slice(&text).unwrap_or_default());
        }
    }
    Ok(fields)
}

/// In one step, with the permissions that it had: whoever watches the file must never read half of it.
fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let file = tempfile::NamedTempFile::new_in(folder)?;
    std::fs::write(file.path(), text)?;
    file.as_file().set_permissions(std::fs::metadata(path)?.permissions())?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}
