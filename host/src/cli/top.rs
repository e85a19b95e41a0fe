//! `tidemill top`: the essence of the page in a terminal. It asks the running host's API, as the page does.

mod draw;

use std::io::{self, IsTerminal};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use serde_json::json;

use super::owner::{self, Owner};
use super::{Done, Exit, Failure, OrExit, Output, PipelineArgs};
use crate::status::Snapshot;
use crate::status::rates::Rates;

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Seconds that the line goes back.
const SECONDS: usize = 300;

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  tidemill top pipelines/users.toml\n  tidemill top pipelines/users.toml | head -3")]
pub struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,
}

/// What was seen of a host last.
pub(super) struct Seen {
    snapshot: Snapshot,
    rates: Rates,
    /// Why there is nothing newer.
    lost: Option<String>,
}

impl Seen {
    fn of(host: &Owner) -> Result<Seen, Failure> {
        let rates = host.get(&format!("/api/rates?seconds={SECONDS}"))?;
        Ok(Seen { snapshot: host.get("/api/status")?, rates, lost: None })
    }
}

pub fn run(args: Args, out: &Output) -> Result<Done, Failure> {
    let loaded = args.pipeline.load(out)?;
    let store_dir = args.pipeline.store_to_ask(&loaded);
    let Some(host) = owner::owner(&store_dir)? else {
        let why = format!("no host runs `{}`: start one with `tidemill dev`", loaded.pipeline.name);
        return Err(Failure::new(Exit::Environment, why));
    };
    let mut seen = Seen::of(&host)?;
    if out.json() || !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        draw::plain(&seen).lines().for_each(|line| out.line(line.trim_end()));
    } else {
        let mut terminal = ratatui::try_init().context("take the terminal").or_exit(Exit::Environment)?;
        let watched = watch(&mut terminal, &store_dir, host, &mut seen);
        ratatui::restore();
        watched?;
    }
    let Snapshot { pipeline, state, .. } = &seen.snapshot;
    Ok(Done::new(format!("{pipeline} is {state}"), json!(seen.snapshot)))
}

/// Draws until `q`, Escape or Ctrl-C.
fn watch(terminal: &mut ratatui::DefaultTerminal, store_dir: &Path, host: Owner, seen: &mut Seen) -> Result<(), Failure> {
    let mut host = Some(host);
    loop {
        terminal.draw(|frame| draw::draw(frame, seen, " q quits ")).context("draw").or_exit(Exit::Environment)?;
        if event::poll(LOOK_EVERY).context("read the keyboard").or_exit(Exit::Environment)? {
            if let Event::Key(key) = event::read().context("read the keyboard").or_exit(Exit::Environment)?
                && (matches!(key.code, KeyCode::Char('q') | KeyCode::Esc)
                    || (key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL)))
            {
                return Ok(());
            }
            // A key is answered at once, and is no reason to ask more often.
            continue;
        }
        match host.as_ref().map(Seen::of) {
            Some(Ok(newer)) => *seen = newer,
            // It has ended, or another has taken its place.
            Some(Err(failure)) => {
                seen.lost = Some(failure.message);
                host = None;
            }
            None => host = owner::owner(store_dir).ok().flatten(),
        }
    }
}
