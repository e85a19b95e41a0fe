//! What every request passes before it reaches a route, and what every response carries.
//!
//! A page anywhere on the web can make a browser send requests to this address. `Host` is checked so that a name that was
//! made to point here (DNS rebinding) is of no use; a change asks for a token that no page can know and for a content type
//! that no form can send.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::token::Token;

pub struct Guard {
    /// Lowercase `host:port` pairs that may stand in `Host`.
    hosts: Vec<String>,
    port: u16,
    token: Token,
    /// Nothing can be changed.
    public: bool,
}

impl Guard {
    /// `names` may stand in `Host` besides those that mean this machine.
    pub fn new(address: SocketAddr, names: &[String], token: Token, public: bool) -> Guard {
        let own = match address.ip() {
            ip if ip.is_unspecified() => None,
            IpAddr::V4(ip) => Some(ip.to_string()),
            IpAddr::V6(ip) => Some(format!("[{ip}]")),
        };
        let hosts = ["localhost", "127.0.0.1", "[::1]"].into_iter().map(str::to_owned).chain(own).chain(names.iter().cloned());
        let hosts = hosts.map(|host| format!("{}:{}", host.to_ascii_lowercase(), address.port())).collect();
        Guard { hosts, port: address.port(), token, public }
    }

    fn knows_host(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        // Port 80 is left out by clients.
        self.hosts.contains(&host) || (self.port == 80 && self.hosts.contains(&format!("{host}:80")))
    }

    fn refusal(&self, request: &Request) -> Option<Response> {
        let mut hosts = request.headers().get_all(header::HOST).iter();
        let (host, more) = (hosts.next().and_then(|host| host.to_str().ok()), hosts.next());
        // The authority in the request line would override the header.
        let authority = request.uri().authority().is_none_or(|authority| self.knows_host(authority.as_str()));
        if more.is_some() || !authority || !host.is_some_and(|host| self.knows_host(host)) {
            return Some(problem(StatusCode::MISDIRECTED_REQUEST, "this host does not serve that name"));
        }
        match *request.method() {
            Method::GET | Method::HEAD => None,
            Method::POST if self.public => Some(problem(StatusCode::FORBIDDEN, "a public page shows and cannot change")),
            Method::POST => self.refusal_of_change(request.headers()),
            _ => Some(problem(StatusCode::METHOD_NOT_ALLOWED, "only GET, HEAD and POST are known here")),
        }
    }

    /// Whether the request carries the token.
    pub fn is_authorised(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = given.and_then(|value| value.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        given.is_some_and(|(_, token)| self.token.matches(token.trim()))
    }

    fn refusal_of_change(&self, headers: &HeaderMap) -> Option<Response> {
        if !self.is_authorised(headers) {
            return Some(unauthorised("a change needs the token that is kept beside the store"));
        }
        let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/json") {
            return Some(problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "a change is sent as application/json"));
        }
        None
    }
}

/// The token is missing, or another.
pub fn unauthorised(message: &str) -> Response {
    let mut response = problem(StatusCode::UNAUTHORIZED, message);
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

/// A refusal or failure, as JSON.
pub fn problem(status: StatusCode, message: &str) -> Response {
    (status, axum::Json(serde_json::json!({ "error": message }))).into_response()
}

const ALWAYS: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' https://randomuser.me; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Stands before every route, the fallback included.
pub async fn stand(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let mut response = match guard.refusal(&request) {
        Some(refusal) => refusal,
        None => next.run(request).await,
    };
    // axum answers an unknown method with an empty body; so does HEAD, and that is right for it.
    if response.status() == StatusCode::METHOD_NOT_ALLOWED && response.headers().get(header::CONTENT_TYPE).is_none() {
        let allow = response.headers().get(header::ALLOW).cloned();
        response = problem(StatusCode::METHOD_NOT_ALLOWED, "this route does not know that method");
        if let Some(allow) = allow {
            response.headers_mut().insert(header::ALLOW, allow);
        }
    }
    for (name, value) in ALWAYS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// The body of a change: JSON of a bounded size, `{}` when empty.
pub async fn body_of(body: Body) -> Result<serde_json::Value, Response> {
    /// What is sent is a flag or two.
    const BODY_BYTES_MAX: usize = 64 << 10;
    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);
    let read = tokio::time::timeout(PATIENCE, axum::body::to_bytes(body, BODY_BYTES_MAX)).await;
    let bytes = match read {
        Err(_) => return Err(problem(StatusCode::REQUEST_TIMEOUT, "the body did not come within 10 s")),
        Ok(Err(_)) => return Err(problem(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than 64 KiB")),
        Ok(Ok(bytes)) => bytes,
    };
    if bytes.is_empty() {
        return Ok(serde_json::json!({}));
    }
    serde_json::from_slice(&bytes).map_err(|error| problem(StatusCode::BAD_REQUEST, &format!("the body is no JSON: {error}")))
}
