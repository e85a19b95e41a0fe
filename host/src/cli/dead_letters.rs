//! `tidemill dead-letters list | show | replay | discard | pin`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::Context;
use clap::Subcommand;
use serde_json::{Value, json};

use super::owner::{self, Keeper, Owner, block_on};
use super::{Done, Exit, Failure, OrExit, Output, PipelineArgs, Tone, inspect, refused, table};
use crate::pipeline::{self, prepare};
use crate::record::{Place, escape};
use crate::status::dead_letter::{ShownBytes, ShownLetter};
use crate::status::mask::Mask;
use crate::status::{Control, Pinned};
use crate::store::Store;
use crate::topic::{self, Resolution, Topic};

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  tidemill dead-letters list pipelines/users.toml\n  tidemill dead-letters replay pipelines/users.toml 0/17"
)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// List them, by place
    #[command(after_help = "Example:\n  tidemill dead-letters list pipelines/users.toml --limit 10")]
    List {
        #[command(flatten)]
        pipeline: PipelineArgs,
        /// How many; at most 1000
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Show one with its record as it was
    #[command(after_help = "Example:\n  tidemill dead-letters show pipelines/users.toml 0/17")]
    Show {
        #[command(flatten)]
        pipeline: PipelineArgs,
        /// Partition and offset
        place: Spot,
    },
    /// Give one to the present plugins again, at its own write time
    #[command(after_help = "Example:\n  tidemill dead-letters replay pipelines/users.toml 0/17")]
    Replay {
        #[command(flatten)]
        pipeline: PipelineArgs,
        /// Partition and offset
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        place: Option<Spot>,
        /// All of them, a thousand at most
        #[arg(long)]
        all: bool,
        /// Also one so old that a newer delete of its key may be forgotten
        #[arg(long)]
        force: bool,
        /// Only tell what would become of it
        #[arg(long)]
        dry_run: bool,
    },
    /// Write one as a [[test]] case into the pipeline file: it expects what the present plugins make of the record
    #[command(after_help = "Example:\n  tidemill dead-letters pin pipelines/users.toml 0/17 --name \"a user without an e-mail\"")]
    Pin {
        #[command(flatten)]
        pipeline: PipelineArgs,
        /// Partition and offset
        place: Spot,
        /// What the case shows, in a sentence
        #[arg(long)]
        name: Option<String>,
        /// Only show the case
        #[arg(long)]
        dry_run: bool,
    },
    /// Remove one for good
    #[command(after_help = "Example:\n  tidemill dead-letters discard pipelines/users.toml 0/17")]
    Discard {
        #[command(flatten)]
        pipeline: PipelineArgs,
        /// Partition and offset
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        place: Option<Spot>,
        /// All of them, a thousand at most
        #[arg(long)]
        all: bool,
    },
}

/// A place on the command line: `0/17`.
#[derive(Clone, Copy, Debug)]
struct Spot(Place);

impl FromStr for Spot {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Spot, &'static str> {
        let parsed = text.split_once('/').and_then(|(partition, offset)| Some((partition.parse().ok()?, offset.parse().ok()?)));
        let (partition, offset) = parsed.ok_or("a place is partition/offset, such as 0/17")?;
        Ok(Spot(Place { partition, offset }))
    }
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.0.partition, self.0.offset)
    }
}

/// The dead letters of a pipeline, through whoever has its store.
enum Letters {
    Host(Owner),
    Ours { topic: Arc<dyn Topic>, pipeline: PipelineArgs, store: Store },
}

impl Letters {
    fn open(args: PipelineArgs, out: &Output) -> Result<Letters, Failure> {
        let loaded = args.load(out)?;
        match owner::keeper(&args.store_to_ask(&loaded))? {
            Keeper::Host(host) => Ok(Letters::Host(host)),
            Keeper::Us(store) => {
                let topic = block_on(topic::open(&loaded.pipeline.topic, &loaded.pipeline.name, &store))?;
                let topic = topic.or_exit(Exit::Environment)?;
                Ok(Letters::Ours { topic, pipeline: args, store })
            }
        }
    }

    fn list(&self, limit: usize) -> Result<Vec<ShownLetter>, Failure> {
        match self {
            Letters::Host(host) => {
                let mut answer: Value = host.get(&format!("/api/dead-letters?limit={limit}"))?;
                serde_json::from_value(answer["dead-letters"].take()).context("read the host's answer").or_exit(Exit::Failed)
            }
            Letters::Ours { topic, .. } => {
                let letters = block_on(topic.dead_letters(None, limit.min(1_000)))?.or_exit(Exit::Failed)?;
                Ok(letters.iter().map(|letter| ShownLetter::brief(letter, &Mask::default())).collect())
            }
        }
    }

    fn get(&self, place: Spot) -> Result<ShownLetter, Failure> {
        match self {
            Letters::Host(host) => host.reveal(&format!("/api/dead-letters/{place}?reveal=true")),
            Letters::Ours { topic, .. } => {
                let letter = block_on(topic.dead_letter(place.0))?.or_exit(Exit::Failed)?;
                letter.as_ref().map(ShownLetter::whole).ok_or_else(|| missing(place))
            }
        }
    }

    /// Each with `None` where it passed, else why it was rejected again. Plugins are started once for all of them.
    fn replay(
        &self,
        places: &[Spot],
        force: bool,
        dry_run: bool,
        mut told: impl FnMut(Spot, Option<String>),
    ) -> Result<(), Failure> {
        match self {
            Letters::Host(host) => {
                for place in places {
                    let wanted = json!({ "force": force, "dry-run": dry_run });
                    let answer = host.post(&format!("/api/dead-letters/{place}/replay"), &wanted)?;
                    told(*place, answer["reason"].as_str().map(str::to_owned));
                }
                Ok(())
            }
            Letters::Ours { pipeline, store, .. } => at_rest(pipeline, store, async |pipeline| {
                for place in places {
                    let reason = match dry_run {
                        true => pipeline.rehearse(place.0).await,
                        false => pipeline.replay(place.0, force).await,
                    };
                    told(*place, reason.or_exit(Exit::Failed)?);
                }
                Ok(())
            }),
        }
    }

    fn pin(&self, place: Spot, name: Option<String>, write: bool) -> Result<Pinned, Failure> {
        match self {
            Letters::Host(host) => {
                let wanted = json!({ "name": name, "dry-run": !write });
                let pinned = host.post(&format!("/api/dead-letters/{place}/pin"), &wanted)?;
                serde_json::from_value(pinned).context("read the host's answer").or_exit(Exit::Failed)
            }
            Letters::Ours { pipeline, store, .. } => {
                at_rest(pipeline, store, async |pipeline| pipeline.pin(place.0, name, write).await.or_exit(Exit::Failed))
            }
        }
    }

    fn discard(&self, place: Spot) -> Result<(), Failure> {
        match self {
            Letters::Host(host) => host.post(&format!("/api/dead-letters/{place}/discard"), &json!({})).map(|_| ()),
            Letters::Ours { topic, .. } => {
                match block_on(topic.resolve_dead_letter(place.0, Resolution::Discarded, Vec::new()))?.or_exit(Exit::Failed)? {
                    true => Ok(()),
                    false => Err(missing(place)),
                }
            }
        }
    }

    /// The one that was named, or all.
    fn chosen(&self, place: Option<Spot>) -> Result<Vec<Spot>, Failure> {
        match place {
            Some(place) => Ok(vec![place]),
            None => Ok(self.list(1_000)?.iter().map(|letter| Spot(place_of(letter))).collect()),
        }
    }
}

/// Does what a running host would do, by the pipeline put together and at rest.
fn at_rest<T>(
    args: &PipelineArgs,
    store: &Store,
    work: impl AsyncFnOnce(Arc<dyn Control>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let prepared = prepare(args.read()?, &inspect::engine()?).map_err(|found| refused(&found))?;
    block_on(async { work(pipeline::at_rest(prepared, store.clone()).await.or_exit(Exit::Failed)?).await })?
}

fn place_of(letter: &ShownLetter) -> Place {
    Place { partition: letter.partition, offset: letter.offset }
}

fn missing(place: Spot) -> Failure {
    Failure::new(Exit::Failed, format!("there is no dead letter at {place}"))
}

pub fn run(args: Args, out: &Output) -> Result<Done, Failure> {
    match args.what {
        What::List { pipeline, limit } => list(&Letters::open(pipeline, out)?, limit, out),
        What::Show { pipeline, place } => show(&Letters::open(pipeline, out)?.get(place)?, out),
        What::Replay { pipeline, place, force, dry_run, .. } => {
            replay(&Letters::open(pipeline, out)?, place, force, dry_run, out)
        }
        What::Pin { pipeline, place, name, dry_run } => pin(&Letters::open(pipeline, out)?.pin(place, name, !dry_run)?, out),
        What::Discard { pipeline, place, .. } => discard(&Letters::open(pipeline, out)?, place, out),
    }
}

fn list(letters: &Letters, limit: usize, out: &Output) -> Result<Done, Failure> {
    let letters = letters.list(limit)?;
    let rows: Vec<Vec<String>> = letters
        .iter()
        .map(|letter| {
            let stage = letter.stage.clone().unwrap_or_else(|| "host".to_owned());
            let bytes = letter.value_bytes.map_or_else(|| "no value".to_owned(), |bytes| bytes.to_string());
            let place = Spot(place_of(letter)).to_string();
            vec![place, table::time(letter.timestamp_ms), stage, letter.generation.to_string(), bytes, letter.reason.clone()]
        })
        .collect();
    if rows.is_empty() {
        out.line("no dead letters");
    } else {
        table::print(out, &["place", "record's time (UTC)", "rejected by", "generation", "bytes", "reason"], &rows);
    }
    Ok(Done::new(format!("{} dead letters", letters.len()), json!({ "dead-letters": letters })))
}

fn show(letter: &ShownLetter, out: &Output) -> Result<Done, Failure> {
    let place = Spot(place_of(letter));
    let fact = |name: &str, value: &str| out.line(format!("{} {}", out.paint(Tone::Faint, format!("{name:>12}")), escape(value)));
    fact("place", &place.to_string());
    fact("reason", &letter.reason);
    fact("rejected by", letter.stage.as_deref().unwrap_or("the host"));
    fact("digest", letter.digest.as_deref().unwrap_or("-"));
    fact("generation", &letter.generation.to_string());
    fact("timestamp", &table::time(letter.timestamp_ms));
    fact("write time", &format!("{} µs", letter.write_time_us));
    fact("host", &letter.host);
    if let Some(record) = &letter.record {
        let bytes = |bytes: &Option<ShownBytes>| match bytes {
            None => "none".to_owned(),
            Some(ShownBytes { text: Some(text), .. }) => text.clone(),
            Some(ShownBytes { base64, .. }) => format!("{} (base64)", base64.as_deref().unwrap_or_default()),
        };
        fact("key", &bytes(&record.key));
        record.headers.iter().for_each(|(name, value)| fact("header", &format!("{name}: {}", bytes(value))));
        fact("value", &bytes(&record.value));
    }
    Ok(Done::new(format!("dead letter {place}: {}", letter.reason), json!(letter)))
}

fn pin(pinned: &Pinned, out: &Output) -> Result<Done, Failure> {
    let Pinned { name, file, line, text, written, .. } = pinned;
    text.trim().lines().for_each(|line| out.line(escape(line)));
    let summary = match written {
        true => format!("`{name}` is a test of {file} now, at line {line}"),
        false => format!("`{name}` would be a test of {file}, at line {line}"),
    };
    out.line(&summary);
    Ok(Done::new(summary, json!(pinned)))
}

fn replay(letters: &Letters, place: Option<Spot>, force: bool, dry_run: bool, out: &Output) -> Result<Done, Failure> {
    let mut replayed = Vec::new();
    let mut rejected = 0;
    letters.replay(&letters.chosen(place)?, force, dry_run, |place, reason| {
        match &reason {
            None if dry_run => out.line(format!("{} {place} would pass", out.paint(Tone::Good, "✓"))),
            None => out.line(format!("{} {place} passed", out.paint(Tone::Good, "✓"))),
            Some(reason) => {
                rejected += 1;
                out.line(format!("{} {place} was rejected again: {}", out.paint(Tone::Bad, "✗"), escape(reason)));
            }
        }
        replayed.push(json!({ "place": place.to_string(), "passed": reason.is_none(), "reason": reason }));
    })?;
    let tried = replayed.len();
    if dry_run {
        let summary = format!("{} of {tried} now pass", tried - rejected);
        out.line(&summary);
        return Ok(Done::new(summary, json!({ "dry-run": true, "replayed": replayed })));
    }
    finish(format!("{tried} replayed, {rejected} of them rejected again"), rejected == 0, json!({ "replayed": replayed }))
}

fn discard(letters: &Letters, place: Option<Spot>, out: &Output) -> Result<Done, Failure> {
    let places = letters.chosen(place)?;
    for place in &places {
        letters.discard(*place)?;
        out.line(format!("{place} is discarded"));
    }
    let places: Vec<String> = places.iter().map(Spot::to_string).collect();
    finish(format!("{} discarded", places.len()), true, json!({ "discarded": places }))
}

fn finish(summary: String, ok: bool, result: Value) -> Result<Done, Failure> {
    match ok {
        true => Ok(Done::new(summary, result)),
        false => Err(Failure::new(Exit::Failed, summary).with_result(result)),
    }
}
