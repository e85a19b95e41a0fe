//! The arguments of every verb that serves the page and the API.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use super::{Exit, Failure, OrExit};
use crate::config::plan::DashboardPlan;
use crate::status::api::{self, Listen, Server};
use crate::status::logs::Logs;
use crate::status::mask::Mask;
use crate::status::token::Token;
use crate::status::view::Showing;
use crate::status::{Control, Reporter};

/// Tried first when no port is asked for.
pub(super) const PORT: u16 = 7171;

/// What the API may show, as the pipeline file has it.
pub fn showing(plan: &DashboardPlan) -> Showing {
    let public = plan.public.then(|| plan.fields.clone());
    Showing { mask: Mask::new(plan.mask.clone()), logs: plan.logs.clone(), public }
}

/// An address that a browser on this machine can open, for one that is listened at.
pub fn to_open(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[derive(clap::Args, Clone, Debug)]
pub struct ListenArgs {
    /// Port of the page and the API; 0 chooses a free one [default: 7171, or a free one when it is taken]
    #[arg(long)]
    pub port: Option<u16>,
    /// Address to listen at; one beyond this machine needs a token of your choice in TIDEMILL_TOKEN
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub listen: IpAddr,
    /// A name that clients may use for this host, besides localhost
    #[arg(long, value_name = "NAME")]
    pub allow_host: Vec<String>,
}

impl ListenArgs {
    /// Serves the page and the API; `store_dir` holds the token.
    pub fn serve(
        &self,
        store_dir: &Path,
        showing: Showing,
        reporter: Reporter,
        control: Arc<dyn Control>,
        logs: Logs,
    ) -> Result<Server, Failure> {
        let token = match std::env::var("TIDEMILL_TOKEN") {
            Ok(text) => Some(Token::new(&text).or_exit(Exit::Wrong)?),
            Err(_) => None,
        };
        if !self.listen.is_loopback() && token.is_none() && !showing.is_public() {
            let why = format!(
                "listen at {}: an address beyond this machine needs a token of your choice in TIDEMILL_TOKEN, or `public` in [dashboard]",
                self.listen
            );
            return Err(Failure::new(Exit::Wrong, why));
        }
        let listen = |port| Listen {
            address: SocketAddr::new(self.listen, port),
            names: self.allow_host.clone(),
            token: token.clone(),
            showing: showing.clone(),
        };
        let start = |port| api::start(listen(port), store_dir, reporter.clone(), control.clone(), logs.clone());
        match self.port {
            Some(port) => start(port).map_err(|error| match error.downcast_ref().map(io::Error::kind) {
                Some(io::ErrorKind::AddrInUse) => anyhow::anyhow!("{error:#}: choose another with --port, or 0 for a free one"),
                _ => error,
            }),
            None => start(PORT).or_else(|_| start(0)),
        }
        .or_exit(Exit::Environment)
    }
}
