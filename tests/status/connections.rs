//! Clients that say nothing, read nothing, or are many: others are answered all the same.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::cpu::Cpu;
use crate::http::get;
use crate::running::{Pipeline, Running};
use crate::support::{wait_for, wait_within};
use crate::{Host, watch};

/// Far below any patience of the host's: whoever waited for that would be found out.
const SOON: Duration = Duration::from_secs(3);
/// In which a host on a machine that others use gets the CPU time that is waited for.
const LONG: Duration = Duration::from_secs(600);

#[test]
fn connections_that_say_nothing_do_not_delay_those_that_ask() {
    let host = Host::start();
    let mut silent = Vec::new();
    for number in 0..200 {
        let mut stream = TcpStream::connect(host.at()).expect("connect");
        if number % 2 == 0 {
            write!(stream, "GET /livez HTTP/1.1\r\nHost: {}\r\nX: ", host.at()).expect("send half a head");
        }
        silent.push(stream);
        if number % 50 == 49 {
            let began = Instant::now();
            assert_eq!(get(host.at(), "/livez").status, 200);
            assert!(began.elapsed() < SOON, "waited {:?} behind {number} silent clients", began.elapsed());
        }
    }
    // The oldest had to go.
    let oldest = &mut silent[0];
    oldest.set_read_timeout(Some(SOON)).expect("set a time-out");
    assert!(matches!(oldest.read(&mut [0; 64]), Ok(0) | Err(_)), "the oldest idle client is still there");
}

#[test]
fn two_thousand_idle_sockets_are_bounded() {
    let host = Host::start();
    let mut idle = Vec::new();
    for _ in 0..2_000 {
        match TcpStream::connect(host.at()) {
            Ok(stream) => idle.push(stream),
            // This process has no more file descriptors: that is enough of them.
            Err(_) => break,
        }
    }
    idle.truncate(idle.len().saturating_sub(20));
    assert!(idle.len() > 400, "only {} connections could be made", idle.len());
    let began = Instant::now();
    assert_eq!(get(host.at(), "/livez").status, 200);
    assert!(began.elapsed() < SOON, "waited {:?}", began.elapsed());
}

/// Sockets that a process has open.
fn sockets(pid: u32) -> usize {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("list the descriptors");
    open.filter(|one| std::fs::read_link(one.as_ref().unwrap().path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket")))
        .count()
}

/// 100 that ask for the stream and never read it, and 2,000 that say nothing, or as many as this process may have.
fn crowd(at: SocketAddr) -> Vec<TcpStream> {
    let mut all: Vec<TcpStream> = (0..100).filter_map(|_| TcpStream::connect(at).ok()).collect();
    for stream in &mut all {
        // One that was refused, or had to go, may have been closed already.
        let _ = write!(stream, "GET /api/events HTTP/1.1\r\nHost: {at}\r\n\r\n");
    }
    all.extend((0..2_000).map_while(|_| TcpStream::connect(at).ok()));
    assert!(all.len() > 500, "only {} connections could be made", all.len());
    all
}

#[test]
fn a_crowd_that_neither_speaks_nor_reads_costs_a_running_host_no_more_than_its_bounds() {
    let pipeline = Pipeline::of_users(10_000_000);
    // At a pace: a stream at full speed fills its own queues and caches meanwhile.
    let host = Running::start(&pipeline.file(), &["--set", "source.every=10ms"]);
    let (at, pid) = (host.address, host.pid());
    let status = || get(at, "/api/status").json();
    let emitted = |status: &serde_json::Value| status["totals"]["emitted"].as_u64().unwrap();
    wait_for("the first users", || (emitted(&status()) > 500).then_some(()));
    let rss = status()["rss-bytes"].as_u64().unwrap();
    let _crowd = crowd(at);
    let before = emitted(&status());
    // 64 connections, the listener, what is just being accepted, and what the runtimes use themselves.
    wait_for("the bound on sockets", || (sockets(pid) <= 64 + 16).then_some(()));
    wait_for("more users meanwhile", || (emitted(&status()) > before + 500).then_some(()));
    // Whoever takes nothing for long is dropped, and leaves a place.
    wait_for("room for a page", || (watch(at).0 == 200).then_some(()));
    let grown = status()["rss-bytes"].as_u64().unwrap().saturating_sub(rss);
    assert!(grown < 64 << 20, "{grown} bytes more");
}

/// What of the machine a crowd takes from the stream, by CPU time: a throughput would tell of whoever else uses the machine.
#[test]
fn a_crowd_costs_less_than_a_twentieth_of_what_the_stream_uses() {
    let pipeline = Pipeline::of_users(4_000_000_000);
    let host = Running::start(&pipeline.file(), &["--port", "0", "--set", "source.records-per-poll=1000"]);
    let (at, pid) = (host.address, host.pid());
    let used = |seconds: f64| {
        let before = Cpu::of(pid);
        move || Some(Cpu::of(pid).since(before)).filter(|used| used.all - used.api > seconds)
    };
    wait_within(LONG, "the stream to work", used(0.5));
    let enough = used(15.0);
    let crowd = crowd(at);
    let Cpu { all, api } = wait_within(LONG, "the stream to work beside a crowd", enough);
    println!("beside {} sockets the API took {api:.3} CPU-s, the stream {:.1}", crowd.len(), all - api);
    assert!(api > 0.0 && api < (all - api) / 20.0, "the API took {api:.3} CPU-s of {all:.1}");
}

#[test]
fn a_hundred_streams_that_are_never_read_leave_room() {
    let host = Host::start();
    let streams: Vec<_> = (0..100).map(|_| watch(host.at())).collect();
    let let_in = streams.iter().filter(|(status, _)| *status == 200).count();
    assert_eq!((let_in, streams.iter().filter(|(status, _)| *status == 503).count()), (16, 84));
    assert_eq!(get(host.at(), "/api/status").status, 200);
    drop(streams);
    wait_for("room for a page", || (watch(host.at()).0 == 200).then_some(()));
}
