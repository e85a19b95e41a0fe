//! Passes for a plugin in Python, whose interpreter imports sockets whatever the plugin does, and uses them: `dial` connects to the address in
//! `what`, `datagram` sends there, `name` looks a name up, `listen` waits for others. `clocks` tells both clocks, in nanoseconds.

use std::fmt::Debug;
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::{Instant, SystemTime};

use tidemill_plugin::prelude::*;

fields! {
    Prober
    reads Errand in Errands { what: Text, how: Text = "do" }
    writes Back { back: Text }
}

/// By this an interpreter is known.
#[used]
static LANGUAGE: [u8; 23] = *b"componentize_py_runtime";

struct Prober {
    began: Instant,
}

impl Fields for Prober {
    type Settings = NoSettings;

    fn start(_: NoSettings) -> Result<Prober, String> {
        std::hint::black_box(&LANGUAGE);
        Ok(Prober { began: Instant::now() })
    }

    fn row(&mut self, errand: Errand<'_>, back: &mut Back) -> Decision {
        let what = errand.what;
        let brought = match errand.how {
            "dial" => TcpStream::connect(what).map(|_| "connected".to_owned()).map_err(told),
            "datagram" => UdpSocket::bind("0.0.0.0:0")
                .and_then(|socket| socket.send_to(b"x", what))
                .map(|_| "sent".to_owned())
                .map_err(told),
            "name" => what.to_socket_addrs().map(|mut all| format!("{:?}", all.next())).map_err(told),
            "listen" => TcpListener::bind(what).map(|_| "listening".to_owned()).map_err(told),
            "clocks" => {
                let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_err(told)?;
                Ok(format!("{} {}", wall.as_nanos(), self.began.elapsed().as_nanos()))
            }
            other => Err(format!("`{other}` is unknown")),
        };
        back.back.push(&brought?);
        Ok(Emit)
    }
}

fn told(error: impl Debug) -> String {
    format!("{error:?}")
}
