//! Any JSON API: where its records are and how its next page is asked for comes from the pipeline file.

use async_trait::async_trait;
use reqwest::Method;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use url::Url;

use super::client::{self, Client, Request};
use super::{Error, Page, Source, now_ms, read_cursor, write_cursor};
use crate::config::plan::{HttpPlan, NextPage, SourcePlan};
use crate::record::Message;
use crate::topic::Cursor;

pub struct Http {
    client: Client,
    plan: HttpPlan,
    method: Method,
    headers: reqwest::header::HeaderMap,
    stream: String,
}

/// What was read, in the words of the plan's [`NextPage`].
#[derive(Debug, Serialize, Deserialize)]
struct Place {
    /// Path and way of paging; another one is another stream. The host may move.
    stream: String,
    next: Next,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Next {
    /// The plain request; `n` have been made.
    Plain {
        n: u64,
    },
    Page(u64),
    Offset(u64),
    Token(String),
    Link(String),
    /// The last page has been read; a token or link past it does not exist.
    End,
}

impl Http {
    pub fn new(plan: &SourcePlan, kind: &HttpPlan) -> Result<Http, Error> {
        let method = Method::from_bytes(kind.method.to_ascii_uppercase().as_bytes())
            .map_err(|_| Error::Fatal(format!("`{}` is no HTTP method", kind.method)))?;
        let stream = format!("{method} {} {} {:?}", kind.url.path(), kind.records_at, kind.next);
        Ok(Http { client: Client::new(plan)?, plan: kind.clone(), method, headers: client::headers(&kind.headers)?, stream })
    }

    fn start(&self) -> Next {
        match &self.plan.next {
            NextPage::Page { first, .. } => Next::Page(*first),
            NextPage::Offset { .. } => Next::Offset(0),
            NextPage::Same | NextPage::Token { .. } | NextPage::Link { .. } => Next::Plain { n: 0 },
        }
    }

    /// The URL of a page. A link is taken as it stands, if it leads to the same host: secrets in headers are meant for that one.
    fn url(&self, next: &Next) -> Result<Url, Error> {
        let mut url = self.plan.url.clone();
        let mut parameter = None;
        match (next, &self.plan.next) {
            (Next::Link(link), _) => {
                let target = url.join(link).map_err(|_| Error::retry(format!("the next page's link `{link}` is no URL")))?;
                let elsewhere = target.host_str() != url.host_str() || !matches!(target.scheme(), "http" | "https");
                if elsewhere {
                    return Err(Error::retry(format!("the next page's link leads to another host, {}", client::place(&target))));
                }
                url = target;
            }
            (Next::Page(page), NextPage::Page { parameter: name, .. }) => parameter = Some((name, page.to_string())),
            (Next::Offset(offset), NextPage::Offset { parameter: name }) => parameter = Some((name, offset.to_string())),
            (Next::Token(token), NextPage::Token { parameter: name, .. }) => parameter = Some((name, token.clone())),
            _ => {}
        }
        for (name, value) in &self.plan.query {
            set_parameter(&mut url, name, value.expose_secret());
        }
        if let Some((name, value)) = parameter {
            set_parameter(&mut url, name, &value);
        }
        Ok(url)
    }

    fn after(&self, next: &Next, records: u64, body: &[u8], url: &Url) -> Result<Next, Error> {
        let found = |at: &str| -> Result<Option<String>, Error> { Ok(find(body, at, url)?.and_then(text_of)) };
        Ok(match (next, &self.plan.next) {
            // An empty page may fill up later.
            (Next::Page(_) | Next::Offset(_), _) if records == 0 => next.clone(),
            (Next::Page(page), _) => Next::Page(page + 1),
            (Next::Offset(offset), _) => Next::Offset(offset + records),
            (_, NextPage::Token { at, .. }) => found(at)?.map_or(Next::End, Next::Token),
            (_, NextPage::Link { at }) => found(at)?.map_or(Next::End, Next::Link),
            (Next::Plain { n }, _) => Next::Plain { n: n + 1 },
            _ => self.start(),
        })
    }
}

#[async_trait]
impl Source for Http {
    async fn fetch(&mut self, cursor: Option<&Cursor>, _records: u32) -> Result<Page, Error> {
        let at: Option<Place> = read_cursor(cursor);
        let mut notes = Vec::new();
        if cursor.is_some() && at.as_ref().is_none_or(|at| at.stream != self.stream) {
            notes.push("the way to page has changed: this is another stream, read from its start".to_owned());
        }
        let next = at.filter(|at| at.stream == self.stream).map_or_else(|| self.start(), |at| at.next);
        if next == Next::End {
            let next = write_cursor(&Place { stream: self.stream.clone(), next });
            return Ok(Page {
                messages: Vec::new(),
                next,
                bytes: 0,
                what: "past the last page".to_owned(),
                notes,
                exhausted: true,
            });
        }
        let url = self.url(&next)?;
        let request = Request {
            method: self.method.clone(),
            url: url.clone(),
            headers: self.headers.clone(),
            body: self.plan.body.clone(),
        };
        let response = self.client.send(&request).await?;

        let messages = records(&response.body, &self.plan.records_at, &url)?;
        let after = self.after(&next, messages.len() as u64, &response.body, &url)?;
        // Whoever answers with the page it was asked for as the next one would be asked for ever.
        if after == next && matches!(next, Next::Token(_) | Next::Link(_)) {
            return Err(Error::retry(format!("{} names the same page as the next one", client::place(&url))));
        }
        let exhausted = after == Next::End || after == next;
        Ok(Page {
            messages,
            what: what(&next, &url),
            next: write_cursor(&Place { stream: self.stream.clone(), next: after }),
            bytes: response.bytes,
            notes,
            exhausted,
        })
    }

    fn answered(&self) -> Option<u16> {
        self.client.answered()
    }

    async fn reachable(&mut self) -> Result<(), Error> {
        self.client.reachable(&self.plan.url).await
    }
}

fn what(next: &Next, url: &Url) -> String {
    match next {
        Next::Page(page) => format!("page {page}"),
        Next::Offset(offset) => format!("records from {offset}"),
        Next::Plain { n } => format!("request {}", n + 1),
        // Tokens may be secrets, and links may hold some in their query.
        Next::Token(_) => "the page of a token".to_owned(),
        Next::Link(_) | Next::End => client::place(url),
    }
}

/// Replaces a query parameter, all of it where it is repeated.
fn set_parameter(url: &mut Url, name: &str, value: &str) {
    let others: Vec<(String, String)> = url
        .query_pairs()
        .filter(|(other, _)| other != name)
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    url.query_pairs_mut().clear().extend_pairs(others).append_pair(name, value);
}

/// The value at a dotted path, as it stands. Numbers index lists. An empty path is the whole.
fn find<'a>(body: &'a [u8], path: &str, url: &Url) -> Result<Option<&'a RawValue>, Error> {
    let mut value: &RawValue = client::parse(body, url)?;
    for step in path.split('.').filter(|step| !step.is_empty()) {
        let inner = match value.get().as_bytes().first() {
            Some(b'{') => {
                client::parse::<std::collections::BTreeMap<std::borrow::Cow<'a, str>, &'a RawValue>>(value.get().as_bytes(), url)?
                    .remove(step)
            }
            Some(b'[') => {
                let list: Vec<&'a RawValue> = client::parse(value.get().as_bytes(), url)?;
                step.parse().ok().and_then(|index: usize| list.get(index).copied())
            }
            _ => None,
        };
        let Some(inner) = inner else { return Ok(None) };
        value = inner;
    }
    Ok(Some(value))
}

/// A text, or a number's digits; nothing for null, an empty text and all else.
fn text_of(value: &RawValue) -> Option<String> {
    match serde_json::from_str(value.get()).ok()? {
        serde_json::Value::String(text) if !text.is_empty() => Some(text),
        serde_json::Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn says_only_error(value: &RawValue) -> bool {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Only {
        #[serde(rename = "error")]
        _error: serde::de::IgnoredAny,
    }
    // A list would pass for the struct's fields in their order.
    value.get().starts_with('{') && serde_json::from_str::<Only>(value.get()).is_ok()
}

fn records(body: &[u8], at: &str, url: &Url) -> Result<Vec<Message>, Error> {
    let from = client::place(url);
    // Where the whole answer is the record, an object that says nothing but `error` is none.
    let value = find(body, at, url)?.filter(|value| !(at.is_empty() && says_only_error(value)));
    let Some(value) = value else {
        let said = find(body, "error", url)?.and_then(text_of);
        return Err(Error::retry(match said {
            Some(said) => format!("{from} says: {}", said.chars().take(200).collect::<String>()),
            None => format!("the answer of {from} has no `{at}`"),
        }));
    };
    let timestamp = now_ms();
    let message = |text: &str| Message { key: None, value: Some(text.as_bytes().to_vec()), timestamp, headers: Vec::new() };
    match value.get().as_bytes().first() {
        Some(b'[') => {
            let list: Vec<&RawValue> = client::parse(value.get().as_bytes(), url)?;
            Ok(list.into_iter().map(|value| message(value.get())).collect())
        }
        Some(b'{') => Ok(vec![message(value.get())]),
        _ => Err(Error::retry(format!("`{at}` in the answer of {from} is neither a list nor an object"))),
    }
}
