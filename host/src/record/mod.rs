//! What flows: records in batches, and their fields as typed columns.
//!
//! The field types are those of the plugin contract (`wit/v0.1`), so that columns cross the boundary to a guest
//! without being converted.

mod batch;
mod column;
mod field;
mod outcome;
mod sample;
mod splice;
mod text;

pub use batch::{Batch, Header, Message, Place, RecordRef};
pub use column::{Buffer, Column, Columns, Values};
pub use field::{Contract, Field, GENERATION, Kind, OwnField};
pub use outcome::{Rejection, RowOutcome};
pub use sample::{Sample, Step};
pub use text::{QUOTED_CHARACTERS, escape, quote};
