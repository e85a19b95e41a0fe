//! What can go wrong on the way to a service, each under the name by which it is switched on.

use std::fmt;
use std::io::Write;
use std::str::FromStr;

use flate2::Compression;
use flate2::write::GzEncoder;
use url::Url;

use super::api::Request;
use super::{Answer, Way};

/// Where faults are switched at run time.
pub(super) const PATH: &str = "/stand-in/faults";
/// Whoever was sent here is sent here again.
pub(super) const LOOP_PATH: &str = "/stand-in/loop";
const RETRY_AFTER_SECONDS: u64 = 1;
const BOMB_MEBIBYTES: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 429 as the service gives it, without `Retry-After`.
    TooMany,
    TooManyRetryAfter,
    /// `Retry-After` as a date.
    TooManyRetryDate,
    Broken,
    Unavailable,
    Unauthorized,
    NotFound,
    /// The connection ends before an answer.
    Refuse,
    /// No answer ever.
    Timeout,
    Drip,
    Cut,
    Html,
    /// A small answer that inflates to 256 MiB.
    GzipBomb,
    /// Compressed though nobody asked for it; all else is well.
    Gzip,
    /// `{"error": …}` with status 200.
    Error200,
    Fewer,
    Empty,
    RedirectLoop,
    RedirectAway,
    Duplicates,
    BadJson,
    NotUtf8,
    /// `info` tells another page than was asked for.
    WrongPage,
    /// A list that holds more than objects.
    NotObjects,
}

impl Fault {
    pub const ALL: [(Fault, &str); 24] = [
        (Fault::TooMany, "429"),
        (Fault::TooManyRetryAfter, "429-retry-after"),
        (Fault::TooManyRetryDate, "429-retry-date"),
        (Fault::Broken, "500"),
        (Fault::Unavailable, "503"),
        (Fault::Unauthorized, "401"),
        (Fault::NotFound, "404"),
        (Fault::Refuse, "refuse"),
        (Fault::Timeout, "timeout"),
        (Fault::Drip, "drip"),
        (Fault::Cut, "cut"),
        (Fault::Html, "html"),
        (Fault::GzipBomb, "gzip-bomb"),
        (Fault::Gzip, "gzip"),
        (Fault::Error200, "error-200"),
        (Fault::Fewer, "fewer"),
        (Fault::Empty, "empty"),
        (Fault::RedirectLoop, "redirect-loop"),
        (Fault::RedirectAway, "redirect-away"),
        (Fault::Duplicates, "duplicates"),
        (Fault::BadJson, "bad-json"),
        (Fault::NotUtf8, "not-utf-8"),
        (Fault::WrongPage, "wrong-page"),
        (Fault::NotObjects, "not-objects"),
    ];

    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(fault, _)| *fault == self).map_or("", |(_, name)| name)
    }

    /// The answer, where no users are made for it.
    pub(super) fn instead(self, url: &Url) -> Option<Answer> {
        let error = |status| Answer::json(status, br#"{"error": "the stand-in was told to fail"}"#.to_vec());
        let with = |mut answer: Answer, name, value: String| {
            answer.headers.push((name, value));
            answer
        };
        Some(match self {
            Fault::TooMany => error(429),
            Fault::TooManyRetryAfter => with(error(429), "retry-after", RETRY_AFTER_SECONDS.to_string()),
            Fault::TooManyRetryDate => with(error(429), "retry-after", http_date(RETRY_AFTER_SECONDS)),
            Fault::Broken => Answer::bare(500),
            Fault::Unavailable => error(503),
            Fault::Unauthorized => error(401),
            Fault::NotFound => Answer::bare(404),
            Fault::Refuse => Answer { way: Way::Dropped, ..Answer::bare(200) },
            Fault::Timeout => Answer { way: Way::Silence, ..Answer::bare(200) },
            Fault::Html => Answer {
                headers: vec![("content-type", "text/html".to_owned())],
                body: b"<!doctype html><title>Down for maintenance</title>".to_vec(),
                ..Answer::bare(200)
            },
            Fault::GzipBomb => with(Answer::json(200, bomb()), "content-encoding", "gzip".to_owned()),
            Fault::Error200 => error(200),
            Fault::RedirectLoop => redirect(&format!("{LOOP_PATH}?{}", url.query().unwrap_or_default())),
            Fault::RedirectAway => redirect("http://elsewhere.invalid/api/"),
            _ => return None,
        })
    }

    /// The answer to a request that would have gone well.
    pub(super) fn spoil(self, request: Request) -> Answer {
        let mut users = request.users();
        let half = users.len() / 2;
        match self {
            Fault::Fewer => users.truncate(half),
            Fault::Empty => users.clear(),
            Fault::Duplicates => {
                let first = users[0].clone();
                users[half..].fill(first);
            }
            Fault::NotObjects => users[half] = b"\"no user\"".to_vec(),
            _ => {}
        }
        let page = if self == Fault::WrongPage { request.page + 1 } else { request.page };
        let mut body = request.body_of(&users, page);
        let mut answer = Answer::json(200, Vec::new());
        match self {
            Fault::Drip => answer.way = Way::Dripped,
            Fault::Cut => answer.way = Way::Cut,
            Fault::BadJson => body[12] = b'}',
            Fault::NotUtf8 => body[14] = 0xff,
            Fault::Gzip => {
                body = gzip(&body);
                answer.headers.push(("content-encoding", "gzip".to_owned()));
            }
            _ => {}
        }
        Answer { body, ..answer }
    }
}

pub(super) fn redirect(to: &str) -> Answer {
    Answer { headers: vec![("location", to.to_owned())], ..Answer::bare(302) }
}

fn http_date(seconds: u64) -> String {
    // A date has whole seconds: one more, or it might have passed when it arrives.
    let at = jiff::Timestamp::now().checked_add(std::time::Duration::from_secs(seconds + 1)).unwrap_or(jiff::Timestamp::MAX);
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).and_then(|()| encoder.finish()).expect("a buffer takes all that is written")
}

/// Members of a gzip file may follow each other, so that one is compressed and repeated.
fn bomb() -> Vec<u8> {
    gzip(&vec![b' '; 1 << 20]).repeat(BOMB_MEBIBYTES)
}

/// A fault that is on, for so many requests or until it is switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switch {
    pub fault: Fault,
    pub times: Option<u32>,
}

impl Fault {
    pub fn times(self, times: u32) -> Switch {
        Switch { fault: self, times: Some(times) }
    }

    pub fn always(self) -> Switch {
        Switch { fault: self, times: None }
    }
}

impl FromStr for Switch {
    type Err = String;

    /// `NAME` or `NAME:times`.
    fn from_str(text: &str) -> Result<Switch, String> {
        let (name, times) = match text.split_once(':') {
            None => (text, None),
            Some((name, times)) => match times.parse() {
                Ok(times) if times > 0 => (name, Some(times)),
                _ => return Err(format!("`{times}` is no number of times, as in {name}:3")),
            },
        };
        let Some((fault, _)) = Fault::ALL.iter().find(|(_, known)| *known == name) else {
            let names: Vec<&str> = Fault::ALL.iter().map(|(_, name)| *name).collect();
            return Err(format!("there is no fault `{name}`; there are {}", names.join(", ")));
        };
        Ok(Switch { fault: *fault, times })
    }
}

impl fmt::Display for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.times {
            None => f.write_str(self.fault.name()),
            Some(times) => write!(f, "{}:{times}", self.fault.name()),
        }
    }
}
