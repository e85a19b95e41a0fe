//! What ingest relies on in every source. Each check has a double that fails it.

use async_trait::async_trait;
use serde_json::json;
use tidemill::config::plan::{FilePlan, GeneratorPlan, HttpPlan, NextPage, SourceKind, SourcePlan};
use tidemill::record::Message;
use tidemill::source::{self, Error, Page, Source};
use tidemill::stand_in::Options;
use tidemill::topic::Cursor;

use crate::canned::Canned;
use crate::world::{plan, randomuser, stand_in};

/// Records of one fetch.
const ASK: u32 = 4;
/// So many pages are looked at; endless sources have more.
const PAGES: usize = 5;

type Make<'a> = &'a (dyn Fn() -> Box<dyn Source> + Sync);
type Check = for<'a> fn(Make<'a>) -> std::pin::Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>>;

macro_rules! check {
    ($name:ident, $make:ident, $body:block) => {
        fn $name<'a>($make: Make<'a>) -> std::pin::Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>> {
            Box::pin(async move { $body })
        }
    };
}

const CHECKS: [(&str, Check, Flaw); 9] = [
    ("a cursor asked twice gives the same page", repeats, Flaw::Changes),
    ("the next cursor gives other records", advances, Flaw::StandsStill),
    ("no more records come than were asked for", bounded, Flaw::Greedy),
    ("records have values and no keys yet", keyless, Flaw::Keyed),
    ("all that counts is in the cursor, as text", resumes, Flaw::Remembers),
    ("a cursor of something else starts at the start", foreign, Flaw::Refuses),
    ("a fetch that is dropped changes nothing", interrupted, Flaw::MovesEarly),
    ("past the end nothing comes again", ends, Flaw::StartsOver),
    ("a page says what it is and how large", tells, Flaw::Silent),
];

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

fn values(page: &Page) -> Vec<&[u8]> {
    page.messages.iter().map(|message| message.value.as_deref().unwrap_or_default()).collect()
}

async fn fetch(source: &mut Box<dyn Source>, cursor: Option<&Cursor>) -> Result<Page, String> {
    source.fetch(cursor, ASK).await.map_err(|error| format!("a fetch failed: {error}"))
}

/// Pages from the start, up to the end or [`PAGES`].
async fn walk(source: &mut Box<dyn Source>) -> Result<Vec<Page>, String> {
    let mut pages: Vec<Page> = Vec::new();
    while pages.len() < PAGES && !pages.last().is_some_and(|page| page.exhausted) {
        let page = fetch(source, pages.last().map(|page| &page.next)).await?;
        pages.push(page);
    }
    Ok(pages)
}

check!(repeats, make, {
    let mut source = make();
    for page in walk(&mut source).await? {
        let (once, twice) = (fetch(&mut source, Some(&page.next)).await?, fetch(&mut source, Some(&page.next)).await?);
        ensure(values(&once) == values(&twice) && once.next == twice.next, || format!("after {}", page.what))?;
    }
    Ok(())
});

check!(advances, make, {
    let pages = walk(&mut make()).await?;
    let mut seen = std::collections::HashSet::new();
    for page in &pages {
        for value in values(page) {
            ensure(seen.insert(value.to_vec()), || format!("{} came again with {}", String::from_utf8_lossy(value), page.what))?;
        }
    }
    ensure(seen.len() > ASK as usize, || format!("only {} records came", seen.len()))
});

check!(bounded, make, {
    let pages = walk(&mut make()).await?;
    let largest = pages.iter().map(|page| page.messages.len()).max().unwrap_or(0);
    ensure(largest <= ASK as usize, || format!("{largest} came"))
});

check!(keyless, make, {
    let pages = walk(&mut make()).await?;
    let mut messages = pages.iter().flat_map(|page| &page.messages);
    ensure(messages.all(|message| message.key.is_none() && message.value.is_some() && message.timestamp > 0), || {
        "a record without a value or time, or with a key".to_owned()
    })
});

check!(resumes, make, {
    for page in walk(&mut make()).await? {
        let text = serde_json::to_string(&page.next).map_err(|error| error.to_string())?;
        let cursor: Cursor = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let mut fresh = make();
        let mut used = make();
        walk(&mut used).await?;
        let (fresh, used) = (fetch(&mut fresh, Some(&cursor)).await?, fetch(&mut used, Some(&page.next)).await?);
        ensure(values(&fresh) == values(&used) && fresh.next == used.next, || format!("after {}", page.what))?;
    }
    Ok(())
});

check!(foreign, make, {
    let start = fetch(&mut make(), None).await?;
    for cursor in [json!(null), json!(7), json!("x"), json!({}), json!({ "some": ["thing"] })] {
        let page = fetch(&mut make(), Some(&Cursor(cursor.clone()))).await?;
        ensure(values(&page) == values(&start), || format!("{cursor}"))?;
    }
    Ok(())
});

check!(interrupted, make, {
    let mut source = make();
    let first = fetch(&mut source, None).await?;
    let mut dropped = source.fetch(Some(&first.next), ASK);
    // Polled once, so that it has begun.
    std::future::poll_fn(|context| std::task::Poll::Ready(dropped.as_mut().poll(context).is_ready())).await;
    drop(dropped);
    let (after, expected) = (fetch(&mut source, Some(&first.next)).await?, fetch(&mut make(), Some(&first.next)).await?);
    ensure(values(&after) == values(&expected) && after.next == expected.next, || "another page came".to_owned())
});

check!(ends, make, {
    let mut source = make();
    let pages = walk(&mut source).await?;
    let Some(last) = pages.last().filter(|page| page.exhausted) else { return Ok(()) };
    let past = fetch(&mut source, Some(&last.next)).await?;
    ensure(past.messages.is_empty() && past.exhausted && past.next == last.next, || format!("{} records", past.messages.len()))
});

check!(tells, make, {
    for page in walk(&mut make()).await? {
        let bytes: usize = values(&page).iter().map(|value| value.len()).sum();
        ensure(!page.what.is_empty() && page.bytes >= bytes as u64, || format!("`{}`, {} bytes", page.what, page.bytes))?;
    }
    Ok(())
});

async fn conforms(make: Make<'_>) {
    make().reachable().await.expect("it can be reached");
    for (name, check, _) in CHECKS {
        if let Err(why) = check(make).await {
            panic!("{name}: {why}");
        }
    }
}

fn opened(plan: SourcePlan) -> impl Fn() -> Box<dyn Source> + Sync {
    move || source::open(&plan).expect("open the source")
}

#[tokio::test]
async fn randomuser_conforms() {
    let server = stand_in(Options::default()).await;
    conforms(&opened(randomuser(&server.url(), ASK))).await;
}

#[tokio::test]
async fn generator_conforms() {
    conforms(&opened(plan(SourceKind::Generator(GeneratorPlan { seed: "tidemill".to_owned() }), ASK))).await;
}

#[tokio::test]
async fn file_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lines");
    std::fs::write(&path, (0..17).map(|n| format!("{{\"n\":{n}}}\n")).collect::<String>()).unwrap();
    conforms(&opened(plan(SourceKind::File(FilePlan { path }), ASK))).await;
}

#[tokio::test]
async fn http_conforms() {
    let server = Canned::json(|target| {
        let page: u64 = target.strip_prefix("/?page=").map_or(0, |page| page.parse().unwrap());
        if page > 3 { "[]".to_owned() } else { format!("[{}, {}, {}]", page * 3, page * 3 + 1, page * 3 + 2) }
    })
    .await;
    let kind = HttpPlan {
        url: server.url("/").parse().unwrap(),
        method: "GET".to_owned(),
        headers: Vec::new(),
        query: Vec::new(),
        body: None,
        records_at: String::new(),
        next: NextPage::Page { parameter: "page".to_owned(), first: 0 },
    };
    conforms(&opened(plan(SourceKind::Http(kind), ASK))).await;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    Changes,
    StandsStill,
    Greedy,
    Keyed,
    Remembers,
    Refuses,
    MovesEarly,
    StartsOver,
    Silent,
}

/// A list of records, and one thing wrong with it.
struct Listed {
    flaw: Flaw,
    fetches: u64,
    /// What a source should not have.
    memory: Option<u64>,
}

const LISTED: u64 = 18;

#[async_trait]
impl Source for Listed {
    async fn fetch(&mut self, cursor: Option<&Cursor>, records: u32) -> Result<Page, Error> {
        self.fetches += 1;
        let told = cursor.and_then(|cursor| cursor.0["next"].as_u64());
        if self.flaw == Flaw::Refuses && cursor.is_some() && told.is_none() {
            return Err(Error::Fatal("what is this".to_owned()));
        }
        let mut start = told.unwrap_or(0);
        match self.flaw {
            Flaw::Remembers => start = self.memory.unwrap_or(start),
            Flaw::MovesEarly => {
                let before = self.memory.replace(start + u64::from(records));
                tokio::task::yield_now().await;
                start = before.filter(|before| *before > start + 1).unwrap_or(start);
                self.memory = None;
            }
            Flaw::StartsOver if start >= LISTED => start = 0,
            _ => tokio::task::yield_now().await,
        }
        let take = u64::from(records) + u64::from(self.flaw == Flaw::Greedy);
        let end = (start + take).min(LISTED);
        if self.flaw == Flaw::Remembers {
            self.memory = Some(end);
        }
        let messages: Vec<Message> = (start..end)
            .map(|n| Message {
                key: (self.flaw == Flaw::Keyed).then(|| b"k".to_vec()),
                value: Some(match self.flaw {
                    Flaw::Changes => format!("{n} {}", self.fetches).into_bytes(),
                    _ => n.to_string().into_bytes(),
                }),
                timestamp: 1,
                headers: Vec::new(),
            })
            .collect();
        let next = if self.flaw == Flaw::StandsStill { start } else { end };
        Ok(Page {
            messages,
            next: Cursor(json!({ "next": next })),
            bytes: if self.flaw == Flaw::Silent { 0 } else { 100 },
            what: format!("from {start}"),
            notes: Vec::new(),
            exhausted: end >= LISTED,
        })
    }

    async fn reachable(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

fn listed(flaw: Flaw) -> impl Fn() -> Box<dyn Source> + Sync {
    move || Box::new(Listed { flaw, fetches: 0, memory: None })
}

#[tokio::test]
async fn each_check_has_a_double_that_fails_it() {
    conforms(&listed(Flaw::None)).await;
    for (name, check, flaw) in CHECKS {
        assert!(check(&listed(flaw)).await.is_err(), "{name}: {flaw:?} passes");
    }
}
