//! What a plugin reaches is what its stage grants: origins over HTTP, directories to read, variables; nothing else, by no way around.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;
use tidemill::config::plan::{Grants, HttpGrant, Limits, ReadGrant, Secret};
use tidemill::plugin::grants::{Wish, imports, missing};
use tidemill::plugin::{CallError, Granted, InstanceConfig};
use tidemill::record::Values;

use super::rows;
use crate::support::guests;

const OUTWARD: &str = "tests/guests/outward";
const PROBER: &str = "tests/guests/prober";

/// What the guest brought back, or why it did not.
fn errand(grants: Grants, how: &str, what: &str) -> Result<String, String> {
    errand_of(OUTWARD, grants, how, what)
}

fn errand_of(guest: &str, grants: Grants, how: &str, what: &str) -> Result<String, String> {
    let limits = Limits { batch_time: Duration::from_secs(5), ..Limits::default() };
    let config =
        InstanceConfig { stage: "outward".to_owned(), limits, grants: Granted::new(grants), ..InstanceConfig::default() };
    let mut instance = guests::plugin(guest).instantiate(&config).expect("the guest starts");
    let outcome = match instance.process_fields(1, &[&rows::text(&[what]), &rows::text(&[how])]) {
        Ok(outcome) => outcome,
        Err(CallError::Trap(reason)) => return Err(format!("trap: {reason}")),
        Err(other) => panic!("{other}"),
    };
    if let Some(rejection) = outcome.rejected.first() {
        return Err(rejection.reason.clone());
    }
    let Values::Text(back) = &outcome.columns[0].values else { panic!("`back` is text") };
    Ok(String::from_utf8(back.get(0).to_vec()).expect("text"))
}

#[track_caller]
fn refused(grants: Grants, how: &str, what: &str, why: &str) {
    let error = errand(grants, how, what).expect_err("it is not granted");
    assert!(error.contains(why), "{how} {what}: {error}");
}

/// A server that gives one answer to everybody, and passes on what it was asked.
struct Server {
    address: SocketAddr,
    asked: Receiver<String>,
}

impl Server {
    fn new(answer: impl Fn(&mut TcpStream) + Send + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (sender, asked) = mpsc::channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let mut request = Vec::new();
                let mut piece = [0; 4096];
                while !complete(&request) {
                    match stream.read(&mut piece) {
                        Ok(bytes) if bytes > 0 => request.extend_from_slice(&piece[..bytes]),
                        _ => break,
                    }
                }
                // Nobody looks any more once the test is over.
                let _ = sender.send(String::from_utf8_lossy(&request).into_owned());
                answer(&mut stream);
            }
        });
        Server { address, asked }
    }

    fn saying(answer: String) -> Server {
        Server::new(move |stream| drop(stream.write_all(answer.as_bytes())))
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn grant(&self) -> HttpGrant {
        http(&self.url("/"))
    }
}

/// Head, and as much body as it announces.
fn complete(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    body.len() >= length
}

fn http(origin: &str) -> HttpGrant {
    let origin = origin.parse().expect("an origin");
    HttpGrant { origin, headers: Vec::new(), timeout: Duration::from_secs(20), response_bytes_max: 64 << 10 }
}

fn granting(grant: HttpGrant) -> Grants {
    Grants { http: vec![grant], ..Grants::default() }
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn a_granted_origin_is_asked_and_the_host_puts_the_secret_in() {
    let server = Server::saying(ok("hello"));
    let secret = ("Authorization".to_owned(), Secret::from("Bearer hush".to_owned()));
    let grant = HttpGrant { headers: vec![secret], ..server.grant() };
    assert!(!format!("{grant:?}").contains("hush"));
    assert_eq!(errand(granting(grant.clone()), "get", &server.url("/users?page=2")), Ok("200 hello".to_owned()));
    let asked = server.asked.recv().expect("it was asked").to_lowercase();
    assert!(
        asked.starts_with("get /users?page=2 http/1.1\r\n") && asked.contains(&format!("host: {}\r\n", server.address)),
        "{asked}"
    );
    assert!(asked.contains("authorization: bearer hush\r\n") && !asked.contains("the guest's own"), "{asked}");
    assert_eq!(errand(granting(grant), "post", &server.url("/")), Ok("200 hello".to_owned()));
    let asked = server.asked.recv().expect("it was asked");
    assert!(asked.starts_with("POST / ") && asked.ends_with("posted by a guest"), "{asked}");
}

#[test]
fn other_origins_are_not_asked() {
    let server = Server::saying(ok("hello"));
    let port = server.address.port();
    let other = || granting(http("https://api.example.com"));
    refused(Grants::default(), "get", &server.url("/"), "HttpRequestDenied");
    refused(other(), "get", &server.url("/"), "HttpRequestDenied");
    // Another scheme, another port, another name of the same machine, a user in front of it.
    refused(granting(server.grant()), "get", &format!("https://127.0.0.1:{port}/"), "HttpRequestDenied");
    refused(granting(http("http://127.0.0.1:1")), "get", &server.url("/"), "HttpRequestDenied");
    refused(granting(server.grant()), "get", &format!("http://localhost:{port}/"), "HttpRequestDenied");
    refused(other(), "get", &format!("https://api.example.com@127.0.0.1:{port}/"), "Http");
    assert!(server.asked.try_recv().is_err(), "nobody was asked");
}

#[test]
fn a_toolchain_that_imports_sockets_opens_none() {
    let plugin = guests::plugin(PROBER);
    assert_eq!((plugin.language.as_str(), &plugin.wishes[..]), ("Python", &[][..]), "its sockets are taken for a habit");
    assert!(plugin.imports.iter().any(|import| import.starts_with("wasi:sockets/tcp@")), "{:?}", plugin.imports);
    let (listener, datagrams) =
        (TcpListener::bind("127.0.0.1:0").expect("a port"), UdpSocket::bind("127.0.0.1:0").expect("a port"));
    listener.set_nonblocking(true).expect("nobody waits");
    datagrams.set_nonblocking(true).expect("nobody waits");
    let (tcp, udp) = (listener.local_addr().expect("an address"), datagrams.local_addr().expect("an address"));
    // Nor with what else may be granted.
    for grants in [Grants::default(), granting(http(&format!("http://{tcp}")))] {
        for (how, what) in [
            ("dial", tcp.to_string()),
            ("datagram", udp.to_string()),
            ("name", "localhost:80".to_owned()),
            ("listen", "127.0.0.1:0".to_owned()),
        ] {
            let told = errand_of(PROBER, grants.clone(), how, &what).expect_err("it is not granted");
            assert!(told.contains("PermissionDenied") || told.contains("failed to lookup address"), "{how}: {told}");
        }
    }
    let nobody = |error: std::io::Error| assert_eq!(error.kind(), ErrorKind::WouldBlock, "nobody came");
    listener.accept().map(drop).map_err(nobody).expect_err("nobody came");
    datagrams.recv(&mut [0; 8]).map(drop).map_err(nobody).expect_err("nobody came");
}

#[test]
fn clocks_are_told_in_whole_milliseconds() {
    let plugin = guests::plugin(PROBER);
    let mut instance = plugin.instantiate(&InstanceConfig::default()).expect("the guest starts");
    let mut told = BTreeSet::new();
    // As long as it takes the clock to go on.
    while told.len() < 3 {
        let outcome = instance.process_fields(1, &[&rows::text(&[""]), &rows::text(&["clocks"])]).expect("an outcome");
        let Values::Text(back) = &outcome.columns[0].values else { panic!("`back` is text") };
        let text = String::from_utf8(back.get(0).to_vec()).expect("text");
        let clocks: Vec<u128> = text.split(' ').map(|nanos| nanos.parse().expect("a number")).collect();
        assert!(clocks.iter().all(|nanos| nanos.is_multiple_of(1_000_000)), "{text}");
        told.insert(clocks[1]);
    }
}

#[test]
fn a_name_does_not_lead_to_this_machine() {
    let server = Server::saying(ok("hello"));
    let url = format!("http://localhost:{}/", server.address.port());
    refused(granting(http(&url)), "get", &url, "DestinationIpProhibited");
    assert!(server.asked.try_recv().is_err(), "nobody was asked");
}

#[test]
fn a_redirect_leads_nowhere_by_itself() {
    let elsewhere = Server::saying(ok("gold"));
    let redirect = format!("HTTP/1.1 302 Found\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n", elsewhere.url("/"));
    let server = Server::saying(redirect);
    let told = errand(granting(server.grant()), "get", &server.url("/")).expect("an answer");
    assert_eq!(told, format!("302 {}", elsewhere.url("/")));
    assert!(elsewhere.asked.try_recv().is_err(), "nobody was asked");
}

#[test]
fn an_answer_is_bounded_in_size_and_time() {
    let large = Server::saying(ok(&"x".repeat(100 << 10)));
    refused(granting(large.grant()), "get", &large.url("/"), "HttpResponseBodySize");
    let endless = Server::new(|stream| {
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n"));
        while stream.write_all(&[b'x'; 4096]).is_ok() {}
    });
    refused(granting(endless.grant()), "get", &endless.url("/"), "HttpResponseBodySize");
    // Answers when the other side has gone.
    let silent = Server::new(|stream| drop(stream.read(&mut [0])));
    let brief = HttpGrant { timeout: Duration::from_millis(100), ..silent.grant() };
    refused(granting(brief), "get", &silent.url("/"), "HttpResponseTimeout");
    let nobody = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let url = format!("http://{nobody}/");
    refused(granting(http(&url)), "get", &url, "ConnectionRefused");
}

#[test]
fn a_stage_that_is_granted_nothing_does_not_wait() {
    refused(Grants::default(), "sleep", "3600000", "waits for something");
    let server = Server::saying(ok(""));
    assert_eq!(errand(granting(server.grant()), "sleep", "1"), Ok("slept".to_owned()));
}

fn reading(path: &Path) -> Grants {
    Grants { read: vec![ReadGrant { path: path.to_owned(), name: "lookup".to_owned() }], ..Grants::default() }
}

#[test]
fn a_granted_directory_is_read_and_nothing_beside_it() {
    let dir = TempDir::new().expect("a folder");
    let granted = dir.path().join("granted");
    std::fs::create_dir_all(granted.join("below")).expect("make a folder");
    std::fs::write(granted.join("below/file"), "in it").expect("write a file");
    let outside = dir.path().join("outside");
    std::fs::write(&outside, "out of it").expect("write a file");
    symlink(&outside, granted.join("absolute")).expect("make a link");
    symlink("../outside", granted.join("relative")).expect("make a link");
    symlink("below/file", granted.join("inside")).expect("make a link");
    symlink(dir.path(), granted.join("folder")).expect("make a link");

    let read = |what: &str| errand(reading(&granted), "read", what);
    assert_eq!(read("lookup/below/file"), Ok("in it".to_owned()));
    assert_eq!(read("/lookup/inside"), Ok("in it".to_owned()));
    assert_eq!(errand(reading(&granted), "list", "lookup"), Ok("absolute below folder inside relative".to_owned()));
    for escape in [
        "lookup/absolute",
        "lookup/relative",
        "lookup/folder/outside",
        "lookup/../outside",
        "lookup/below/../../outside",
        "/etc/passwd",
        "../outside",
        &outside.display().to_string(),
    ] {
        assert!(read(escape).is_err(), "{escape}: {:?}", read(escape));
    }
    for write in ["lookup/new", "lookup/below/file", "lookup/absolute"] {
        assert!(errand(reading(&granted), "write", write).is_err(), "{write}");
    }
    assert_eq!(std::fs::read_to_string(granted.join("below/file")).expect("read"), "in it");
    assert!(!granted.join("new").exists() && std::fs::read_to_string(&outside).expect("read") == "out of it");
    refused(Grants::default(), "read", &outside.display().to_string(), "");
}

#[test]
fn only_granted_variables_are_seen() {
    let env = vec![("ZONE".to_owned(), Secret::from("Europe/Vienna".to_owned()))];
    let grants = || Grants { env: env.clone(), ..Grants::default() };
    assert_eq!(errand(grants(), "env", "ZONE"), Ok("Europe/Vienna".to_owned()));
    refused(grants(), "env", "PATH", "NotPresent");
    refused(Grants::default(), "env", "ZONE", "NotPresent");
}

#[test]
fn wishes_are_told_from_what_toolchains_import() {
    let read = |dir: &str| std::fs::read(guests::component(dir)).expect("read the component");
    let outward = read(OUTWARD);
    assert_eq!(imports(&outward), Ok(vec![Wish::Http]));
    assert_eq!(guests::plugin(OUTWARD).wishes, [Wish::Http]);
    assert_eq!(imports(&read("tests/guests/fault")), Ok(Vec::new()));
    assert_eq!(missing(&[Wish::Http], &granting(http("https://api.example.com"))), []);
    assert_eq!(missing(&[Wish::Http], &Grants::default()), [Wish::Http]);
}
