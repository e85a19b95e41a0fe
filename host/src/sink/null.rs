//! Takes everything and keeps nothing: to measure what stands before it.

use async_trait::async_trait;

use super::{BindRejection, Bound, Emitted, Error, Sink};
use crate::record::Place;
use crate::store::{Store, Write};

pub(super) struct Null {
    pub(super) name: String,
}

#[async_trait]
impl Sink for Null {
    fn name(&self) -> &str {
        &self.name
    }

    fn bind(&self, emitted: &Emitted<'_>) -> Result<Bound, Vec<BindRejection>> {
        Ok(Bound::Nothing { rows: emitted.origins.len() })
    }

    fn join(&self, _: &Store, _: Bound) -> Result<Write, Bound> {
        Ok(std::sync::Arc::new(|_| Ok(())))
    }

    fn takes_any_order(&self) -> bool {
        true
    }

    async fn write(&self, _: &Bound) -> Result<Vec<(Place, String)>, Error> {
        Ok(Vec::new())
    }
}
