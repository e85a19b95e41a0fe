//! What a person may ask of the ingest leg while it runs.

use tokio::sync::mpsc;

/// Commands that wait; a sender waits when there are more.
const COMMANDS_MAX: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Pause,
    Resume,
    PollNow,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Handle(mpsc::Sender<Command>);

/// The other end of a [`Handle`]. It holds a sender itself, so that it never closes.
pub struct Commands {
    received: mpsc::Receiver<Command>,
    _open: Handle,
}

pub fn control() -> (Handle, Commands) {
    let (sender, receiver) = mpsc::channel(COMMANDS_MAX);
    let handle = Handle(sender);
    (handle.clone(), Commands { received: receiver, _open: handle })
}

impl Handle {
    /// No poll until [`Handle::resume`]; one that is under way ends first, unless it is backing off.
    pub async fn pause(&self) -> anyhow::Result<()> {
        self.send(Command::Pause).await
    }

    pub async fn resume(&self) -> anyhow::Result<()> {
        self.send(Command::Resume).await
    }

    /// One poll at once, also while paused or backing off.
    pub async fn poll_now(&self) -> anyhow::Result<()> {
        self.send(Command::PollNow).await
    }

    async fn send(&self, command: Command) -> anyhow::Result<()> {
        self.0.send(command).await.map_err(|_| anyhow::anyhow!("the source has ended"))
    }
}

impl Commands {
    pub(super) async fn next(&mut self) -> Command {
        self.received.recv().await.expect("a sender lives as long as this receiver")
    }

    /// The next command if one waits.
    pub(super) fn try_next(&mut self) -> Option<Command> {
        self.received.try_recv().ok()
    }
}
