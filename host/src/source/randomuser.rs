//! randomuser.me and servers that behave like it (`tidemill stand-in`).
//!
//! A page is named by seed, number and size; asked again it holds the same users, so a page that failed is fetched again and nothing
//! is lost or repeated. The service replaces silently what it does not like, so answers are compared with what was asked.

use std::collections::HashSet;

use async_trait::async_trait;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use url::Url;

use super::client::{self, Client, Request};
use super::{Error, Page, Source, now_ms, read_cursor, write_cursor};
use crate::config::plan::{RandomUserPlan, SourcePlan};
use crate::record::Message;
use crate::topic::Cursor;

/// Beyond it the service answers with page 1.
pub const PAGES_PER_SEED: u64 = 10_000;
/// Seeds of this length fix the nationality by their last two characters.
const TRAP_LENGTH: usize = 18;
/// A page that comes short is asked for so many times before it is taken as it is.
const SHORT_ANSWERS_MAX: u32 = 3;

pub struct RandomUser {
    client: Client,
    plan: RandomUserPlan,
    /// The page that came short, and how many times.
    short: Option<(u64, u32)>,
}

/// What page numbers count in. Change any of it, and page 3 holds other users.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stream {
    seed: String,
    results: u32,
    nat: Vec<String>,
    gender: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Place {
    stream: Stream,
    /// Counted from 0 over all seeds derived from the first.
    page: u64,
}

/// The seed and the page number (1 to [`PAGES_PER_SEED`]) of page `page`, counted from 0.
///
/// Derived seeds end in a letter (the service seeds by seed + page, so `a` page 11 and `a1` page 1 are the same users) and
/// are never 18 long.
pub fn seed_and_page(seed: &str, page: u64) -> (String, u64) {
    let (nth, number) = (page / PAGES_PER_SEED, page % PAGES_PER_SEED + 1);
    if nth == 0 {
        return (seed.to_owned(), number);
    }
    let letters = letters(nth);
    let derived = format!("{seed}-{letters}");
    // Two dashes cannot be met by any other n: letters hold none.
    let derived = if derived.chars().count() == TRAP_LENGTH { format!("{seed}--{letters}") } else { derived };
    (derived, number)
}

/// 1 → a, 26 → z, 27 → aa.
fn letters(mut nth: u64) -> String {
    let mut letters = Vec::new();
    while nth > 0 {
        nth -= 1;
        letters.push((b'a' + (nth % 26) as u8) as char);
        nth /= 26;
    }
    letters.iter().rev().collect()
}

impl RandomUser {
    pub fn new(plan: &SourcePlan, kind: &RandomUserPlan) -> Result<RandomUser, Error> {
        Ok(RandomUser { client: Client::new(plan)?, plan: kind.clone(), short: None })
    }

    fn stream(&self, results: u32) -> Stream {
        Stream { seed: self.plan.seed.clone(), results, nat: self.plan.nat.clone(), gender: self.plan.gender.clone() }
    }

    fn url(&self, seed: &str, page: u64, results: u32) -> Url {
        let mut url = self.plan.url.clone();
        let mut query = url.query_pairs_mut();
        query.append_pair("results", &results.to_string()).append_pair("seed", seed).append_pair("page", &page.to_string());
        for (name, values) in [("nat", &self.plan.nat), ("inc", &self.plan.inc), ("exc", &self.plan.exc)] {
            if !values.is_empty() {
                query.append_pair(name, &values.join(","));
            }
        }
        drop(query);
        url
    }

    /// A short answer may be an accident: the rest of the page would be lost if it were taken at once.
    fn take_short(&mut self, page: u64, got: usize, asked: u32) -> Result<String, Error> {
        let times = match self.short {
            Some((of, times)) if of == page => times + 1,
            _ => 1,
        };
        self.short = Some((page, times));
        if got == 0 || times <= SHORT_ANSWERS_MAX {
            return Err(Error::retry(format!("{} users came instead of {asked}", got)));
        }
        Ok(format!("{got} users came instead of {asked}, {times} times over: taken as the page"))
    }
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    results: Option<Vec<&'a RawValue>>,
    info: Option<Info>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Info {
    seed: String,
    page: u64,
    results: u64,
}

/// What is looked at in a user. All else stays text.
#[derive(Deserialize)]
struct Looked<'a> {
    #[serde(borrow)]
    gender: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow)]
    login: Option<Login<'a>>,
}

#[derive(Deserialize)]
struct Login<'a> {
    #[serde(borrow)]
    uuid: Option<std::borrow::Cow<'a, str>>,
}

#[async_trait]
impl Source for RandomUser {
    async fn fetch(&mut self, cursor: Option<&Cursor>, records: u32) -> Result<Page, Error> {
        let stream = self.stream(records);
        let at: Option<Place> = read_cursor(cursor);
        let other_stream = cursor.is_some() && at.as_ref().is_none_or(|at| at.stream != stream);
        let page = at.filter(|at| at.stream == stream).map_or(0, |at| at.page);
        let (seed, number) = seed_and_page(&stream.seed, page);
        let url = self.url(&seed, number, records);
        let request = Request { method: Method::GET, url: url.clone(), headers: client::headers(&[])?, body: None };
        let response = self.client.send(&request).await?;

        let answer: Answer<'_> = client::parse(&response.body, &url)?;
        let users = users(&answer, &seed, number, &url)?;
        let mut notes = Vec::new();
        if other_stream {
            notes.push(
                "seed, records-per-poll, nat or gender have changed: this is another stream, read from its page 1 on".to_owned(),
            );
        }
        if users.len() < records as usize {
            notes.push(self.take_short(page, users.len(), records)?);
        } else if users.len() > records as usize {
            notes.push(format!("{} users came instead of {records}", users.len()));
        }
        let messages = self.take(&users, &url, &mut notes)?;
        self.short = None;
        Ok(Page {
            messages,
            next: write_cursor(&Place { stream, page: page + 1 }),
            bytes: response.bytes,
            what: format!("seed {seed}, page {number}"),
            notes,
            exhausted: false,
        })
    }

    fn answered(&self) -> Option<u16> {
        self.client.answered()
    }

    async fn reachable(&mut self) -> Result<(), Error> {
        self.client.reachable(&self.plan.url).await
    }
}

impl RandomUser {
    fn take(&self, users: &[&RawValue], url: &Url, notes: &mut Vec<String>) -> Result<Vec<Message>, Error> {
        let timestamp = now_ms();
        let mut messages = Vec::with_capacity(users.len());
        let mut ids = HashSet::with_capacity(users.len());
        let mut repeated = 0;
        for (index, user) in users.iter().enumerate() {
            let text = user.get();
            if !text.starts_with('{') {
                return Err(Error::retry(format!("results[{index}] of {} is no object", client::place(url))));
            }
            // A user whose fields are of unexpected kinds is carried as it stands; the stages judge it.
            let looked = serde_json::from_str::<Looked<'_>>(text).ok();
            let (gender, id) = looked.map_or((None, None), |looked| (looked.gender, looked.login.and_then(|login| login.uuid)));
            if let Some(id) = id {
                repeated += usize::from(!ids.insert(id));
            }
            if self.plan.gender.is_some() && gender.as_deref() != self.plan.gender.as_deref() {
                continue;
            }
            messages.push(Message { key: None, value: Some(text.as_bytes().to_vec()), timestamp, headers: Vec::new() });
        }
        if repeated > 0 {
            notes.push(format!("{repeated} users of one page have the login.uuid of another"));
        }
        if let Some(gender) = &self.plan.gender {
            notes.push(format!("the service ignores gender when a seed is given: {gender} users are picked from each page here"));
        }
        Ok(messages)
    }
}

fn users<'a>(answer: &Answer<'a>, seed: &str, page: u64, url: &Url) -> Result<Vec<&'a RawValue>, Error> {
    let from = client::place(url);
    if let Some(error) = &answer.error {
        return Err(Error::retry(format!("{from} says: {}", error.chars().take(200).collect::<String>())));
    }
    let Some(users) = &answer.results else {
        return Err(Error::retry(format!("the answer of {from} has no `results`")));
    };
    if let Some(info) = &answer.info {
        // With one nationality the service appends two digits to the seed.
        if info.page != page || !info.seed.starts_with(seed) {
            return Err(Error::retry(format!(
                "{from} answered with seed {}, page {} instead of seed {seed}, page {page}",
                info.seed, info.page
            )));
        }
        if info.results != users.len() as u64 {
            return Err(Error::retry(format!("the answer of {from} announces {} users and holds {}", info.results, users.len())));
        }
    }
    Ok(users.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn past_page_10000_a_derived_seed_goes_on() {
        assert_eq!(seed_and_page("tidemill", 0), ("tidemill".into(), 1));
        assert_eq!(seed_and_page("tidemill", 9_999), ("tidemill".into(), 10_000));
        assert_eq!(seed_and_page("tidemill", 10_000), ("tidemill-a".into(), 1));
        assert_eq!(seed_and_page("tidemill", 27 * 10_000 + 4), ("tidemill-aa".into(), 5));
    }

    #[test]
    fn derived_seeds_differ_end_in_a_letter_and_are_never_18_long() {
        for seed in ["", "a1", "fourteen-chars", "sixteen-chars-xy", "tidemill"] {
            let mut seen = HashSet::new();
            for nth in 1..20_000 {
                let (derived, page) = seed_and_page(seed, nth * PAGES_PER_SEED);
                assert_eq!(page, 1);
                assert!(derived.ends_with(|last: char| last.is_ascii_lowercase()), "{derived}");
                assert_ne!(derived.chars().count(), TRAP_LENGTH, "{derived}");
                assert!(seen.insert(derived));
            }
        }
    }
}
