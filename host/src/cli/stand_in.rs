//! `tidemill stand-in`: the API of randomuser.me on this machine, with faults on demand.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

use super::{Done, Exit, Failure, OrExit, Output};
use crate::stand_in::{self, Fault, Options, Switch};

#[derive(clap::Args)]
#[command(after_help = after_help())]
pub struct Args {
    /// Port to listen at; 0 chooses a free one
    #[arg(long, default_value_t = 8017)]
    port: u16,
    /// Address to listen at
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    listen: IpAddr,
    /// A fault for so many requests, then the next one; without a number for ever
    #[arg(long = "fault", value_name = "NAME[:TIMES]")]
    faults: Vec<Switch>,
    /// Users that one client may ask for within a window
    #[arg(long, value_name = "USERS", default_value_t = Options::default().users_max)]
    users_max: u64,
    /// Seconds after which a client's window ends
    #[arg(long, value_name = "SECONDS", default_value_t = Options::default().window.as_secs())]
    window: u64,
}

fn after_help() -> String {
    let names: Vec<&str> = Fault::ALL.iter().map(|(_, name)| *name).collect();
    format!(
        "Faults: {}\n\n\
         Example:\n  tidemill stand-in --port 8017 --fault 503:3 --fault cut\n  \
         curl 'http://127.0.0.1:8017/api/?results=2&seed=tidemill'\n  \
         curl 'http://127.0.0.1:8017/api/?results=2&fault=html'          one request only\n  \
         curl -X POST 'http://127.0.0.1:8017/stand-in/faults?set=429:5'  from now on; without `set`, none",
        names.join(" ")
    )
}

pub fn run(args: Args, out: &Output) -> Result<Done, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Environment, format!("start the runtime: {error}")))?;
    runtime.block_on(serve(args, out))
}

async fn serve(args: Args, out: &Output) -> Result<Done, Failure> {
    let listener = TcpListener::bind((args.listen, args.port)).await.map_err(|error| {
        let way = "choose another with --port, or 0 for a free one";
        Failure::new(Exit::Environment, format!("listen at {}:{}: {error}: {way}", args.listen, args.port))
    })?;
    let mut terminated = signal(SignalKind::terminate()).or_exit(Exit::Environment)?;
    let options = Options { faults: args.faults, users_max: args.users_max, window: Duration::from_secs(args.window) };
    let server = stand_in::serve(listener, options).or_exit(Exit::Environment)?;
    let url = server.url();
    if out.json() {
        info!(%url, "stand-in listens");
    }
    out.line(format!("users as randomuser.me gives them: {url}"));
    out.line(format!("in a pipeline: [source] kind = \"randomuser\", url = \"{url}\""));
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated.recv() => {}
    }
    let asked = server.asked();
    Ok(Done::new(format!("{} requests", asked.len()), json!({ "url": url, "requests": asked.len() })))
}
