//! Outgoing HTTP of a stage that is granted it: to the origins that are named, bounded in time, size and number.
//!
//! What is dialled is what was checked: names are resolved once, by us, and addresses that a name must not lead to are taken out before the connection
//! is made, so a name that changes its address in between gains nothing. A redirect is the guest's to follow, as a new request that is
//! checked like any other. Secrets are put in here, behind the sandbox.

use std::error::Error as _;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Frame, SizeHint};
use hyper::http;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue};
use secrecy::ExposeSecret;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use url::Url;
use wasmtime::StoreContextMut;
use wasmtime::component::Linker;
use wasmtime_wasi_http::p2::bindings::http::outgoing_handler::{ErrorCode, Host as _};
use wasmtime_wasi_http::p2::{HttpError, add_only_http_to_linker_sync};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks, WasiHttpView};

use super::sandbox::Ctx;
use crate::config::plan::HttpGrant;

/// Requests of a stage that are under way or whose response is still held.
const REQUESTS_MAX: usize = 32;
const REQUEST_BYTES_MAX: usize = 4 << 20;

/// What the requests of a stage share.
pub(super) struct Outbound {
    client: reqwest::Client,
    grants: Vec<HttpGrant>,
    room: Arc<Semaphore>,
}

impl Outbound {
    pub(super) fn new(grants: Vec<HttpGrant>) -> Outbound {
        Outbound::resolving(grants, Arc::new(System))
    }

    fn resolving(grants: Vec<HttpGrant>, names: Arc<dyn Resolve>) -> Outbound {
        // A second one is refused, which is what is wanted: an embedding program's own choice counts.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .dns_resolver(Arc::new(Guarded(names)))
            .build()
            .expect("the options contradict nothing");
        Outbound { client, grants, room: Arc::new(Semaphore::new(REQUESTS_MAX)) }
    }

    async fn send(self: Arc<Self>, request: http::Request<WasiBody>) -> Result<http::Response<WasiBody>, Error> {
        let (parts, body) = request.into_parts();
        let url = Url::parse(&parts.uri.to_string()).map_err(|_| Error::HttpRequestUriInvalid)?;
        let grant = self.grant(&url).ok_or(Error::HttpRequestDenied)?;
        if parts.method == http::Method::CONNECT {
            return Err(Error::HttpRequestMethodInvalid);
        }
        let permit = self.room.clone().try_acquire_owned().map_err(|_| Error::ConnectionLimitReached)?;
        let exchange = async {
            let body = Limited::new(body, REQUEST_BYTES_MAX).collect().await;
            let body = body.map_err(|_| Error::HttpRequestBodySize(Some(REQUEST_BYTES_MAX as u64)))?.to_bytes();
            let headers = headers(parts.headers, grant)?;
            let asked = self.client.request(parts.method, url).headers(headers).body(body).send();
            let mut response = asked.await.map_err(|error| refused(&error))?;
            let mut received = Vec::new();
            while let Some(piece) = response.chunk().await.map_err(|error| refused(&error))? {
                if (received.len() + piece.len()) as u64 > grant.response_bytes_max {
                    return Err(Error::HttpResponseBodySize(Some(grant.response_bytes_max)));
                }
                received.extend_from_slice(&piece);
            }
            Ok((response, received))
        };
        let (response, received) =
            tokio::time::timeout(grant.timeout, exchange).await.map_err(|_| Error::HttpResponseTimeout)??;
        let body = Held { body: Full::new(received.into()), _permit: permit };
        let mut answer = http::Response::new(body.map_err(|never| match never {}).boxed_unsync());
        *answer.status_mut() = response.status();
        *answer.headers_mut() = response.headers().clone();
        Ok(answer)
    }

    /// The grant of a URL's origin: scheme, host as every parser would write it, and port.
    fn grant(&self, url: &Url) -> Option<&HttpGrant> {
        let plain = url.username().is_empty() && url.password().is_none();
        self.grants.iter().find(|grant| plain && grant.origin.origin() == url.origin())
    }
}

/// A guest's headers, with what is ours to say in their place.
fn headers(mut headers: HeaderMap, grant: &HttpGrant) -> Result<HeaderMap, Error> {
    headers.remove(HOST);
    headers.remove(CONTENT_LENGTH);
    for (name, value) in &grant.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Error::ConfigurationError)?;
        let mut value = HeaderValue::from_str(value.expose_secret()).map_err(|_| Error::ConfigurationError)?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

fn refused(error: &reqwest::Error) -> Error {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if inner.is::<Prohibited>() {
            return Error::DestinationIpProhibited;
        }
        cause = inner.source();
    }
    match () {
        () if error.is_timeout() => Error::ConnectionTimeout,
        () if error.is_connect() => Error::ConnectionRefused,
        () if error.is_body() || error.is_decode() => Error::HttpResponseIncomplete,
        () => Error::HttpProtocolError,
    }
}

/// A response's body; while the guest holds it, it counts as one of its requests.
struct Held {
    body: Full<Bytes>,
    _permit: OwnedSemaphorePermit,
}

impl Body for Held {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        std::pin::Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What an instance may send now.
pub(super) struct Hooks {
    pub outbound: Option<Arc<Outbound>>,
    /// Closed during `start`: a contract does not depend on who answers.
    pub open: bool,
}

impl Hooks {
    fn may_send(&self) -> bool {
        self.open && self.outbound.is_some()
    }
}

type Sent = Result<(http::Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>), Error>;

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        _options: Option<RequestOptions>,
        _sent: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let outbound = self.outbound.clone();
        Box::new(async move {
            let answer = outbound.ok_or(Error::HttpRequestDenied)?.send(request).await?;
            Ok((answer, Box::new(async { Ok(()) }) as _))
        })
    }
}

const HANDLER: &str = "wasi:http/outgoing-handler@0.2.12";

pub(super) fn add_to_linker(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    add_only_http_to_linker_sync(linker)?;
    linker.allow_shadowing(true);
    linker.instance(HANDLER)?.func_wrap("handle", |mut store: StoreContextMut<'_, Ctx>, (request, options)| {
        // Denied at once, not by a task later: a guest that may wait for nothing would race with it.
        let handled = match store.data().hooks.may_send() {
            true => store.data_mut().http().handle(request, options).map_err(HttpError::downcast),
            false => Err(Ok(ErrorCode::HttpRequestDenied)),
        };
        Ok((handled.map_or_else(|error| error.map(Err), |response| Ok(Ok(response)))?,))
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

struct System;

impl Resolve for System {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Leaves out addresses that a name must not lead to. It stands between the look-up and the connection: nobody looks up again.
struct Guarded(Arc<dyn Resolve>);

#[derive(Debug)]
struct Prohibited;

impl fmt::Display for Prohibited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name leads to private addresses only; an address that is meant is granted by itself")
    }
}

impl std::error::Error for Prohibited {}

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let found = self.0.resolve(name);
        Box::pin(async move {
            let public: Vec<SocketAddr> = found.await?.filter(|address| is_public(address.ip())).collect();
            match public.is_empty() {
                true => Err(Box::new(Prohibited) as _),
                false => Ok(Box::new(public.into_iter()) as Addrs),
            }
        })
    }
}

/// Whether an address is anybody's on the internet: not this machine, not its network, nothing reserved
/// (the registries of RFC 6890, and IPv4 addresses inside IPv6 ones).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match inner_v4(address) {
            Some(inner) => is_public_v4(inner),
            None => {
                let head = address.segments()[0];
                // Only 2000::/3 is given out; in it are documentation, benchmarks, Teredo (2001::/23) and 3fff::/20.
                head & 0xe000 == 0x2000
                    && !(head == 0x2001 && address.segments()[1] < 0x0200)
                    && !(head == 0x2001 && address.segments()[1] == 0x0db8)
                    && !(head == 0x3fff && address.segments()[1] < 0x1000)
            }
        },
    }
}

/// The IPv4 address that an IPv6 address leads to: mapped, NAT64, 6to4.
fn inner_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let joined = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] => Some(joined(high, low)),
        [0x0064, 0xff9b, 0, 0, 0, 0, high, low] => Some(joined(high, low)),
        [0x2002, high, low, ..] => Some(joined(high, low)),
        _ => None,
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let reserved = match address.octets() {
        [0 | 10 | 127, ..] | [240..=255, ..] => true,
        [100, second, ..] => second & 0xc0 == 64,
        [198, 18 | 19, ..] | [192, 0, 0, _] | [192, 88, 99, _] => true,
        _ => false,
    };
    let named = address.is_private() || address.is_link_local() || address.is_documentation() || address.is_multicast();
    !reserved && !named
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn private_addresses_are_known_in_every_dress() {
        let private = "0.0.0.0 10.1.2.3 127.0.0.1 127.8.8.8 169.254.169.254 172.16.0.1 192.168.0.1 100.64.0.1 192.0.0.8 198.18.0.1 \
                       224.0.0.1 240.0.0.1 255.255.255.255 :: ::1 ::ffff:127.0.0.1 ::127.0.0.1 fe80::1 fc00::1 fd12::1 ff02::1 fec0::1 \
                       64:ff9b::7f00:1 2002:7f00:1:: 2001::1 2001:db8::1 3fff::1";
        for address in private.split_whitespace() {
            assert!(!is_public(address.parse().expect(address)), "{address}");
        }
        for address in ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8", "2002:808:808::"] {
            assert!(is_public(address.parse().expect(address)), "{address}");
        }
    }

    fn grant(origin: &str) -> HttpGrant {
        let origin = Url::parse(origin).expect("an origin");
        HttpGrant { origin, headers: Vec::new(), timeout: Duration::from_secs(5), response_bytes_max: 1 << 10 }
    }

    #[test]
    fn an_origin_is_granted_as_a_whole_and_however_it_is_spelt() {
        let outbound = Outbound::new(vec![grant("https://api.example.com"), grant("http://127.0.0.1:8080")]);
        let granted = |url: &str| outbound.grant(&Url::parse(url).expect(url)).is_some();
        assert!(granted("https://API.example.com:443/a?b") && granted("http://2130706433:8080/"));
        for url in [
            "http://api.example.com/",
            "https://api.example.com:444/",
            "https://api.example.com.evil.test/",
            "https://api.example.com@evil.test/",
            "https://user:secret@api.example.com/",
            "http://127.0.0.1/",
            "http://localhost:8080/",
        ] {
            assert!(!granted(url), "{url}");
        }
    }

    /// Public when it is asked first, as a check beforehand would; then this machine.
    struct Rebinding(AtomicUsize);

    impl Resolve for Rebinding {
        fn resolve(&self, _: Name) -> Resolving {
            let address = if self.0.fetch_add(1, Ordering::SeqCst) == 0 { [192, 0, 2, 1] } else { [127, 0, 0, 1] };
            let address = SocketAddr::from((address, 0));
            Box::pin(async move { Ok(Box::new(std::iter::once(address)) as Addrs) })
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_home_is_not_dialled_whenever_it_begins_to() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let origin = format!("http://rebinding.test:{}", listener.local_addr().expect("an address").port());
        let names = Arc::new(Rebinding(AtomicUsize::new(0)));
        let outbound = Arc::new(Outbound::resolving(vec![grant(&origin)], names.clone()));
        for requests in 1..=3 {
            let body = Full::new(Bytes::new()).map_err(|never| match never {}).boxed_unsync();
            let request = http::Request::get(format!("{origin}/")).body(body).expect("a request");
            let error = outbound.clone().send(request).await.map(drop).expect_err("it is refused");
            assert!(matches!(error, Error::DestinationIpProhibited), "{error}");
            assert_eq!(names.0.load(Ordering::SeqCst), requests, "what is checked is what would be dialled: nobody asks twice");
        }
        let knocked = tokio::time::timeout(Duration::ZERO, listener.accept()).await;
        assert!(knocked.is_err(), "nobody has called");
    }
}
