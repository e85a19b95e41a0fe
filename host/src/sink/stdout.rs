//! Lines on standard output, flushed before the position is saved: at least once.

use std::io::Write as _;

use async_trait::async_trait;

use super::{BindRejection, Bound, Emitted, Error, Sink, lines};
use crate::config::plan::SinkColumn;
use crate::record::Place;

pub(super) struct Stdout {
    pub(super) name: String,
    pub(super) columns: Vec<SinkColumn>,
}

#[async_trait]
impl Sink for Stdout {
    fn name(&self) -> &str {
        &self.name
    }

    fn wants_messages(&self) -> bool {
        self.columns.is_empty()
    }

    fn bind(&self, emitted: &Emitted<'_>) -> Result<Bound, Vec<BindRejection>> {
        lines::bind(&self.columns, emitted)
    }

    async fn write(&self, bound: &Bound) -> Result<Vec<(Place, String)>, Error> {
        let text = lines::of(&self.columns, bound);
        // A reader that does not read may hold it for as long as it likes.
        let write = move || {
            let mut out = std::io::stdout().lock();
            out.write_all(&text).and_then(|()| out.flush())
        };
        match tokio::task::spawn_blocking(write).await {
            Ok(Ok(())) => Ok(Vec::new()),
            Ok(Err(error)) => Err(Error::Systemic(format!("write to standard output: {error}"))),
            Err(error) => Err(Error::Systemic(format!("write to standard output: {error}"))),
        }
    }
}
