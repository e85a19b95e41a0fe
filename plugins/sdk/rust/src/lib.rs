//! Write Tidemill plugins in Rust.
//!
//! A `fields` plugin names what it reads and writes, and is a function from a row to a row:
//!
//! ```ignore
//! use tidemill_plugin::prelude::*;
//!
//! fields! {
//!     Shout
//!     reads Input in Inputs { name: Text = "name.first" }
//!     writes Output { loud: Text = "loud" }
//! }
//!
//! struct Shout;
//!
//! impl Fields for Shout {
//!     type Settings = NoSettings;
//!
//!     fn start(_: NoSettings) -> Result<Shout, String> {
//!         Ok(Shout)
//!     }
//!
//!     fn row(&mut self, input: Input<'_>, output: &mut Output) -> Decision {
//!         output.loud.push(&input.name.to_uppercase());
//!         Ok(Emit)
//!     }
//! }
//! ```
//!
//! Where speed matters, override [`Fields::batch`] and go over columns. For records that are not JSON, or become several, see [`Messages`].

extern crate self as tidemill_plugin;

mod append;
mod columns;
mod date;
mod fields;
mod log;
mod messages;
mod settings;
pub mod state;
mod writers;

pub use columns::{Boolean, Bytes, Column, Float, Int, Json, Kind, Text, Timestamp};
pub use date::Date;
pub use fields::{Decision, Decisions, Fields, Reads, Rejection, Row, Shape, Slot, Writes};
pub use log::{Level, log};
pub use messages::{Messages, MessagesSlot};
pub use settings::NoSettings;
pub use writers::{FieldKind, Writer};

/// What most plugins use.
pub mod prelude {
    pub use crate::fields::Row::{Delete, Drop, Emit};
    pub use crate::wit::Failure;
    pub use crate::wit::messages::{Header, Incoming, Message, Outcome};
    pub use crate::{Boolean, Bytes, Date, Float, Int, Json, Text, Timestamp};
    pub use crate::{Decision, Decisions, Fields, Messages, NoSettings, Rejection, state};
    pub use crate::{debug, error, fields, info, messages, warn};
}

/// The types of `wit/v0.1`, as they cross the boundary.
pub mod wit {
    pub use super::fields_world::exports::tidemill::plugin::fields::{Batch, Guest as FieldsGuest, Outcome as FieldsOutcome};
    pub use super::fields_world::tidemill::plugin::types::{Buffer, Column, Contract, Failure, Field, Kind, Rejection, Values};

    pub mod messages {
        pub use crate::messages_world::exports::tidemill::plugin::messages::{
            Guest as MessagesGuest, Header, Incoming, Message, Outcome,
        };
    }
}

#[doc(hidden)]
pub mod fields_world {
    wit_bindgen::generate!({
        path: "../../../wit/v0.1",
        world: "fields-plugin",
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_fields",
        default_bindings_module: "tidemill_plugin::fields_world",
        runtime_path: "::tidemill_plugin::wit_bindgen_rt",
    });
}

#[doc(hidden)]
pub mod messages_world {
    wit_bindgen::generate!({
        path: "../../../wit/v0.1",
        world: "messages-plugin",
        with: {
            "tidemill:plugin/types@0.1.0": crate::fields_world::tidemill::plugin::types,
            "tidemill:plugin/state@0.1.0": crate::fields_world::tidemill::plugin::state,
            "tidemill:plugin/lookup@0.1.0": crate::fields_world::tidemill::plugin::lookup,
            "wasi:config/store@0.2.0-rc.1": crate::fields_world::wasi::config::store,
            "wasi:logging/logging@0.1.0-draft": crate::fields_world::wasi::logging::logging,
        },
        pub_export_macro: true,
        export_macro_name: "export_messages",
        default_bindings_module: "tidemill_plugin::messages_world",
        runtime_path: "::tidemill_plugin::wit_bindgen_rt",
    });
}

#[doc(hidden)]
pub use wit_bindgen::rt as wit_bindgen_rt;
