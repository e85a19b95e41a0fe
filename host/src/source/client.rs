//! The HTTP client of all sources: bounded in time, bytes and redirects. Whatever goes wrong on the other side is an
//! [`Error::Retry`] with a reason that a person can act on: a server that answers 404 or 401 in the middle of its deployment
//! must not end a stream.

use std::collections::HashSet;
use std::error::Error as _;
use std::io::Read;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Once};
use std::time::{Duration, SystemTime};

use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER,
};
use reqwest::{Method, StatusCode};
use secrecy::ExposeSecret;
use serde::Deserialize;
use url::Url;

use super::Error;
use crate::config::plan::{Secret, SourcePlan};

const REDIRECTS_MAX: usize = 5;
/// A server may ask for more patience than anybody wants.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);
/// Of an error's body, this much is read for its message.
const ERROR_BODY_BYTES_MAX: u64 = 16 << 10;
const REACHABLE_WITHIN: Duration = Duration::from_secs(3);

#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    timeout: Duration,
    bytes_max: u64,
    /// Status of the last answer; 0: none came.
    answered: Arc<AtomicU16>,
}

/// One request, repeatable.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
    pub body: Option<String>,
}

#[derive(Debug)]
pub struct Response {
    /// Inflated where it came compressed.
    pub body: Vec<u8>,
    /// Bytes of the body as they came over the wire.
    pub bytes: u64,
}

impl Client {
    pub fn new(plan: &SourcePlan) -> Result<Client, Error> {
        install_tls_provider();
        let http = reqwest::Client::builder()
            .user_agent(concat!("tidemill/", env!("CARGO_PKG_VERSION")))
            // Followed here: a loop, another host and the number of hops are told apart.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(plan.timeout)
            .pool_max_idle_per_host(1)
            .build()
            .map_err(|error| Error::Fatal(format!("set up the HTTP client: {}", cause(&error))))?;
        Ok(Client { http, timeout: plan.timeout, bytes_max: plan.response_bytes_max, answered: Arc::default() })
    }

    /// The whole answer to a request, redirects followed, within the time and byte limits of the plan.
    pub async fn send(&self, request: &Request) -> Result<Response, Error> {
        let received = AtomicU64::new(0);
        self.answered.store(0, Ordering::Relaxed);
        tokio::time::timeout(self.timeout, self.follow(request, &received)).await.unwrap_or_else(|_| {
            let limit = self.timeout;
            let received = received.load(Ordering::Relaxed);
            Err(Error::retry(match received {
                0 => format!("no answer from {} within {limit:?}", place(&request.url)),
                bytes => format!("the answer of {} was not complete within {limit:?} ({bytes} bytes came)", place(&request.url)),
            }))
        })
    }

    /// HTTP status of the last answer, told once; none if the last request had none.
    pub fn answered(&self) -> Option<u16> {
        Some(self.answered.swap(0, Ordering::Relaxed)).filter(|status| *status > 0)
    }

    /// Whether anything answers there at all, whatever it says.
    pub async fn reachable(&self, url: &Url) -> Result<(), Error> {
        let asked = self.http.head(url.clone()).send();
        match tokio::time::timeout(REACHABLE_WITHIN.min(self.timeout), asked).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(Error::retry(format!("reach {}: {}", place(url), cause(&error)))),
            Err(_) => {
                Err(Error::retry(format!("reach {}: no answer within {:?}", place(url), REACHABLE_WITHIN.min(self.timeout))))
            }
        }
    }

    async fn follow(&self, request: &Request, received: &AtomicU64) -> Result<Response, Error> {
        let mut url = request.url.clone();
        let mut seen = HashSet::from([url.clone()]);
        loop {
            let mut builder = self.http.request(request.method.clone(), url.clone()).headers(request.headers.clone());
            if let Some(body) = &request.body {
                builder = builder.body(body.clone());
            }
            let response =
                builder.send().await.map_err(|error| Error::retry(format!("ask {}: {}", place(&url), cause(&error))))?;
            let Some(target) = redirect_target(&response, &url)? else {
                return self.receive(response, &url, received).await;
            };
            // Headers and query may hold secrets that are meant for this host only.
            if target.host_str() != url.host_str() {
                return Err(Error::retry(format!(
                    "{} redirects to another host, {}: name that one in [source] url if it is right",
                    place(&url),
                    place(&target)
                )));
            }
            if !seen.insert(target.clone()) {
                return Err(Error::retry(format!("{} redirects in a loop", place(&request.url))));
            }
            if seen.len() > REDIRECTS_MAX + 1 {
                return Err(Error::retry(format!("{} redirects more than {REDIRECTS_MAX} times", place(&request.url))));
            }
            url = target;
        }
    }

    async fn receive(&self, response: reqwest::Response, url: &Url, received: &AtomicU64) -> Result<Response, Error> {
        let status = response.status();
        self.answered.store(status.as_u16(), Ordering::Relaxed);
        let headers = response.headers().clone();
        let bytes_max = if status.is_success() { self.bytes_max } else { ERROR_BODY_BYTES_MAX };
        let body = read(response, bytes_max, url, received).await;
        if !status.is_success() {
            let said = body.ok().and_then(|body| error_text(&body));
            return Err(refusal(status, &headers, url, said));
        }
        let body = body?;
        let bytes = body.len() as u64;
        let body = match headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes) {
            None | Some(b"identity") => body,
            Some(b"gzip" | b"x-gzip") => inflate(&body, self.bytes_max, url)?,
            Some(other) => {
                let encoding = String::from_utf8_lossy(other).into_owned();
                return Err(Error::retry(format!("{} answered in `{encoding}`, which was not asked for", place(url))));
            }
        };
        let html = headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
        if html || body.trim_ascii_start().first() == Some(&b'<') {
            return Err(Error::retry(format!("{} answered with a page for browsers instead of JSON", place(url))));
        }
        Ok(Response { body, bytes })
    }
}

/// Headers from plan values; secrets are marked so that nothing prints them.
pub fn headers(pairs: &[(String, Secret)]) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    // A server that compresses all the same is inflated under the byte limit.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    for (name, value) in pairs {
        let header = HeaderName::try_from(name.as_str()).map_err(|_| Error::Fatal(format!("`{name}` is no header name")))?;
        let mut value = HeaderValue::try_from(value.expose_secret())
            .map_err(|_| Error::Fatal(format!("the value of header `{name}` has characters that a header cannot carry")))?;
        value.set_sensitive(true);
        headers.append(header, value);
    }
    Ok(headers)
}

/// Scheme, host and path. The query may hold secrets.
pub fn place(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
}

/// Parses JSON that a server sent; what is wrong with it is worth another try.
pub fn parse<'a, T: Deserialize<'a>>(body: &'a [u8], from: &Url) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|error| {
        let from = place(from);
        Error::retry(match error.classify() {
            serde_json::error::Category::Eof => format!("the answer of {from} is cut short after {} bytes", body.len()),
            _ => format!("the answer of {from} is not the JSON it should be: {error}"),
        })
    })
}

/// reqwest leaves the choice of the provider to the program, once.
fn install_tls_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // It fails where another one is installed already, and that one does.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// The innermost cause: the outer ones repeat the URL, and the query may hold secrets.
fn cause(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    if error.source().is_none() { "the request failed".to_owned() } else { innermost.to_string() }
}

fn redirect_target(response: &reqwest::Response, from: &Url) -> Result<Option<Url>, Error> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let target = location.and_then(|location| from.join(location).ok());
    match target {
        Some(target) if matches!(target.scheme(), "http" | "https") => Ok(Some(target)),
        _ => Err(Error::retry(format!("{} redirects to nowhere", place(from)))),
    }
}

async fn read(mut response: reqwest::Response, bytes_max: u64, url: &Url, received: &AtomicU64) -> Result<Vec<u8>, Error> {
    let too_large = || Error::retry(format!("the answer of {} is larger than {bytes_max} bytes", place(url)));
    let announced = response.content_length();
    if announced.is_some_and(|announced| announced > bytes_max) {
        return Err(too_large());
    }
    let mut body = Vec::with_capacity(announced.unwrap_or(0) as usize);
    loop {
        let chunk = response.chunk().await.map_err(|error| {
            Error::retry(format!("the answer of {} is cut short after {} bytes: {}", place(url), body.len(), cause(&error)))
        })?;
        let Some(chunk) = chunk else { return Ok(body) };
        if body.len() as u64 + chunk.len() as u64 > bytes_max {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
        received.store(body.len() as u64, Ordering::Relaxed);
    }
}

fn inflate(compressed: &[u8], bytes_max: u64, url: &Url) -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    flate2::read::MultiGzDecoder::new(compressed)
        .take(bytes_max + 1)
        .read_to_end(&mut body)
        .map_err(|error| Error::retry(format!("inflate the answer of {}: {error}", place(url))))?;
    if body.len() as u64 > bytes_max {
        return Err(Error::retry(format!("the answer of {} inflates to more than {bytes_max} bytes", place(url))));
    }
    Ok(body)
}

/// `{"error": "…"}`, or a short plain text.
fn error_text(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Said {
        error: String,
    }
    let text = match serde_json::from_slice::<Said>(body) {
        Ok(said) => said.error,
        Err(_) => std::str::from_utf8(body).ok().filter(|text| !text.trim_start().starts_with(['<', '{', '[']))?.to_owned(),
    };
    let line = text.lines().next()?.trim();
    (!line.is_empty()).then(|| line.chars().take(200).collect())
}

fn refusal(status: StatusCode, headers: &HeaderMap, url: &Url, said: Option<String>) -> Error {
    let after = headers.get(RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?));
    let hint = match status.as_u16() {
        401 | 403 => ": look at the secrets in [source] headers and query",
        404 | 410 => ": look at [source] url",
        _ => "",
    };
    let said = said.map(|said| format!(" ({said})")).unwrap_or_default();
    Error::Retry { reason: format!("{} answered {status}{said}{hint}", place(url)), after }
}

/// Seconds or a date (RFC 9110 §10.2.3).
fn retry_after(value: &str) -> Option<Duration> {
    let value = value.trim();
    let wait = match value.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at: SystemTime = jiff::fmt::rfc2822::parse(value).ok()?.timestamp().into();
            at.duration_since(SystemTime::now()).unwrap_or_default()
        }
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_and_never_more_than_an_hour() {
        assert_eq!(retry_after(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("31536000"), Some(RETRY_AFTER_MAX));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        assert_eq!(retry_after("Fri, 31 Dec 2100 23:59:59 GMT"), Some(RETRY_AFTER_MAX));
        assert_eq!(retry_after("soon"), None);
    }

    #[test]
    fn an_error_never_shows_the_query() {
        let url = Url::parse("https://user:secret@api.example:8443/v1/users?key=secret").unwrap();
        assert_eq!(place(&url), "https://api.example:8443/v1/users");
    }
}
