//! Our own users, without a network: deterministic, of the API's shape, at any rate.

mod nations;
mod user;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Error, Page, Source, now_ms, read_cursor, write_cursor};
use crate::config::plan::GeneratorPlan;
use crate::record::Message;
use crate::topic::Cursor;

pub use user::{AGES_COUNTED_IN, Gender, Seed, nation_codes};

/// Room for one user; few are larger.
const USER_BYTES: usize = 1_280;

pub struct Generator {
    name: String,
    seed: Seed,
}

/// Record `next` of `seed` comes next.
#[derive(Serialize, Deserialize)]
struct Place {
    seed: String,
    next: u64,
}

impl Generator {
    pub fn new(plan: &GeneratorPlan) -> Generator {
        Generator { name: plan.seed.clone(), seed: Seed::new(&plan.seed) }
    }
}

#[async_trait]
impl Source for Generator {
    async fn fetch(&mut self, cursor: Option<&Cursor>, records: u32) -> Result<Page, Error> {
        let at: Option<Place> = read_cursor(cursor);
        let mut notes = Vec::new();
        if at.as_ref().is_some_and(|at| at.seed != self.name) {
            notes.push("the seed has changed: this is another stream, read from its start".to_owned());
        }
        let first = at.filter(|at| at.seed == self.name).map_or(0, |at| at.next);
        let next = first.saturating_add(u64::from(records));
        let timestamp = now_ms();
        let mut bytes = 0;
        let messages = (first..next)
            .map(|number| {
                let mut value = Vec::with_capacity(USER_BYTES);
                self.seed.write_user(number, &mut value);
                bytes += value.len() as u64;
                Message { key: None, value: Some(value), timestamp, headers: Vec::new() }
            })
            .collect();
        Ok(Page {
            messages,
            next: write_cursor(&Place { seed: self.name.clone(), next }),
            bytes,
            what: format!("seed {}, users from {first}", self.name),
            notes,
            exhausted: false,
        })
    }

    async fn reachable(&mut self) -> Result<(), Error> {
        Ok(())
    }
}
