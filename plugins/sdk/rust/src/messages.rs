//! `messages` plugins: whole records as bytes, one to many.

use std::cell::RefCell;

use serde::de::DeserializeOwned;

use crate::settings;
use crate::wit::Failure;
use crate::wit::messages::{Incoming, Outcome};

/// A plugin of whole records. [`messages!`](crate::messages) exports it.
pub trait Messages: Sized {
    /// From `settings` in the pipeline file; [`NoSettings`](crate::NoSettings) refuses any.
    type Settings: DeserializeOwned;

    /// Called once for a new instance, before any batch. An error refuses the settings.
    fn start(settings: Self::Settings) -> Result<Self, String>;

    /// Decides one record.
    fn message(&mut self, incoming: Incoming) -> Outcome;

    /// Decides a whole batch, by default record by record.
    ///
    /// # Errors
    /// `retry`: something outside is not ready. `failed`: as a trap would, the host finds the record to blame.
    fn batch(&mut self, batch: Vec<Incoming>) -> Result<Vec<Outcome>, Failure> {
        Ok(batch.into_iter().map(|incoming| self.message(incoming)).collect())
    }
}

/// Holds the one plugin of a component.
pub struct MessagesSlot<P>(RefCell<Option<P>>);

// SAFETY: a component is entered by one thread at a time.
unsafe impl<P> Sync for MessagesSlot<P> {}

impl<P: Messages> MessagesSlot<P> {
    #[allow(clippy::new_without_default)]
    pub const fn new() -> MessagesSlot<P> {
        MessagesSlot(RefCell::new(None))
    }

    pub fn start(&self) -> Result<(), String> {
        *self.0.borrow_mut() = Some(P::start(settings::read()?)?);
        Ok(())
    }

    pub fn process(&self, batch: Vec<Incoming>) -> Result<Vec<Outcome>, Failure> {
        self.0.borrow_mut().as_mut().expect("the host calls `start` first").batch(batch)
    }
}

/// Exports a [`Messages`] plugin: `messages!(Split);`.
#[macro_export]
macro_rules! messages {
    ($plugin:ident) => {
        const _: () = {
            static SLOT: $crate::MessagesSlot<$plugin> = $crate::MessagesSlot::new();
            struct Exported;
            impl $crate::wit::messages::MessagesGuest for Exported {
                fn start() -> Result<(), String> {
                    SLOT.start()
                }
                fn process(
                    batch: Vec<$crate::wit::messages::Incoming>,
                ) -> Result<Vec<$crate::wit::messages::Outcome>, $crate::wit::Failure> {
                    SLOT.process(batch)
                }
            }
    $crate::messages_world::export_messages!(Exported with_types_in $crate::messages_world);
        };
    };
}
