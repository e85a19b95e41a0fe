//! `fields` plugins: from the host's batches to a function over rows or columns, and back.

use std::cell::RefCell;
use std::fmt;

use serde::de::DeserializeOwned;

use crate::settings;
use crate::wit;

/// A plugin of typed fields. [`fields!`](crate::fields) gives it its [`Shape`] and exports it.
pub trait Fields: Shape + Sized {
    /// From `settings` in the pipeline file; [`NoSettings`](crate::NoSettings) refuses any.
    type Settings: DeserializeOwned;

    /// Called once for a new instance, before any batch. An error refuses the settings.
    fn start(settings: Self::Settings) -> Result<Self, String>;

    /// Changes the contract to what the settings say. Names may change and optional may; order and kinds may not.
    fn adjust(&self, _contract: &mut wit::Contract) {}

    /// Called before the rows of a batch: what passes unchanged is copied here, whole columns at once, by [`Writer::copy`](crate::Writer::copy).
    fn columns(&mut self, _input: &Self::Reads<'_>, _output: &mut Self::Writes) {}

    /// Decides one row. What it does not push is left empty.
    fn row(&mut self, input: Self::Row<'_>, output: &mut Self::Writes) -> Decision;

    /// Decides a whole batch. By default row by row; whoever overrides it calls [`Decisions::end_row`] for each row, in order.
    ///
    /// # Errors
    /// `retry`: something outside is not ready. `failed`: as a trap would, the host finds the record to blame.
    fn batch(
        &mut self,
        rows: usize,
        input: &Self::Reads<'_>,
        output: &mut Self::Writes,
        decisions: &mut Decisions,
    ) -> Result<(), wit::Failure> {
        for row in 0..rows {
            let decision = self.row(input.row(row), output);
            decisions.end_row(row, decision, output);
        }
        Ok(())
    }
}

/// What a plugin reads and writes.
pub trait Shape {
    type Row<'a>;
    type Reads<'a>: Reads<'a, Row = Self::Row<'a>>;
    type Writes: Writes;
}

/// The columns of a batch, and a row of them.
pub trait Reads<'a> {
    type Row;
    fn fields() -> Vec<wit::Field>;
    fn new(columns: &'a [wit::Column]) -> Self;
    fn row(&self, row: usize) -> Self::Row;
}

/// The columns that are being written.
pub trait Writes {
    fn fields() -> Vec<wit::Field>;
    /// `bytes` of each column, as [`Writes::bytes`] gave them before.
    fn with_capacity(rows: usize, bytes: &[usize]) -> Self;
    fn end_row(&mut self, row: usize);
    fn bytes(&self) -> Vec<usize>;
    fn finish(self) -> Vec<wit::Column>;
}

/// What becomes of a row that can be processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    /// It goes on, with what was written.
    Emit,
    /// It is left out, by intent.
    Drop,
    /// Its row is removed from the table; the columns of the table's key are written.
    Delete,
}

/// What becomes of a row. An error rejects it: it becomes a dead letter with that reason.
pub type Decision = Result<Row, Rejection>;

/// Why a row cannot be processed. Made of anything that can be shown, so that `?` works.
#[derive(Debug)]
pub struct Rejection(String);

impl<T: fmt::Display> From<T> for Rejection {
    fn from(reason: T) -> Rejection {
        Rejection(reason.to_string())
    }
}

/// What became of the rows of a batch.
#[derive(Default)]
pub struct Decisions {
    dropped: Vec<u32>,
    deleted: Vec<u32>,
    rejected: Vec<wit::Rejection>,
}

impl Decisions {
    /// Ends a row: columns that have no value for it are given none.
    #[inline]
    pub fn end_row(&mut self, row: usize, decision: Decision, output: &mut impl Writes) {
        match decision {
            Ok(Row::Emit) => {}
            Ok(Row::Drop) => self.dropped.push(row as u32),
            Ok(Row::Delete) => self.deleted.push(row as u32),
            Err(Rejection(reason)) => self.rejected.push(wit::Rejection { row: row as u32, reason }),
        }
        output.end_row(row);
    }
}

/// Holds the one plugin of a component.
pub struct Slot<P>(RefCell<Option<Running<P>>>);

struct Running<P> {
    plugin: P,
    /// What the columns took last time, per row: what to reserve next time.
    bytes: Vec<usize>,
    rows: usize,
}

// SAFETY: a component is entered by one thread at a time.
unsafe impl<P> Sync for Slot<P> {}

impl<P: Fields> Slot<P> {
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Slot<P> {
        Slot(RefCell::new(None))
    }

    pub fn start(&self) -> Result<wit::Contract, String> {
        let plugin = P::start(settings::read()?)?;
        let mut contract = wit::Contract { reads: P::Reads::fields(), writes: P::Writes::fields() };
        plugin.adjust(&mut contract);
        *self.0.borrow_mut() = Some(Running { plugin, bytes: vec![0; contract.writes.len()], rows: 1 });
        Ok(contract)
    }

    pub fn process(&self, batch: wit::Batch) -> Result<wit::FieldsOutcome, wit::Failure> {
        let mut running = self.0.borrow_mut();
        let running = running.as_mut().expect("the host calls `start` first");
        let rows = batch.rows as usize;
        let reserve: Vec<usize> = running.bytes.iter().map(|bytes| bytes * rows / running.rows + 64).collect();
        let input = P::Reads::new(&batch.columns);
        let mut output = P::Writes::with_capacity(rows, &reserve);
        let mut decisions = Decisions::default();
        running.plugin.columns(&input, &mut output);
        running.plugin.batch(rows, &input, &mut output, &mut decisions)?;
        if rows > 0 {
            running.bytes = output.bytes();
            running.rows = rows;
        }
        let Decisions { dropped, deleted, rejected } = decisions;
        Ok(wit::FieldsOutcome { columns: output.finish(), dropped, deleted, rejected })
    }
}

/// Names what a plugin reads and writes, and exports it. `name: Kind = "path"`, the path being left out where it is the name;
/// `Option<Kind>` where a row may be without it.
///
/// ```ignore
/// fields! {
///     Extract
///     reads User in Users { uuid: Text = "login.uuid", postcode: Option<Text> = "location.postcode" }
///     writes Row { id: Text, post_code: Option<Text> }
/// }
/// ```
#[macro_export]
macro_rules! fields {
    (@path $name:ident) => { stringify!($name) };
    (@path $name:ident $path:literal) => { $path };
    (
        $plugin:ident
        reads $row:ident in $columns:ident { $($read:ident: $read_kind:ty $(= $read_path:literal)?),* $(,)? }
        writes $writes:ident { $($write:ident: $write_kind:ty $(= $write_path:literal)?),* $(,)? }
    ) => {
        /// One row of what is read.
        #[allow(dead_code)]
        pub struct $row<'a> {
            $(pub $read: <$read_kind as $crate::Kind>::Value<'a>,)*
            lifetime: ::std::marker::PhantomData<&'a ()>,
        }

        /// The columns that are read.
        #[allow(dead_code)]
        pub struct $columns<'a> {
            $(pub $read: $crate::Column<'a, $read_kind>,)*
            lifetime: ::std::marker::PhantomData<&'a ()>,
        }

        impl<'a> $crate::Reads<'a> for $columns<'a> {
            type Row = $row<'a>;

            fn fields() -> Vec<$crate::wit::Field> {
                vec![$($crate::wit::Field {
                    name: $crate::fields!(@path $read $($read_path)?).into(),
                    kind: <$read_kind as $crate::Kind>::KIND,
                    optional: <$read_kind as $crate::Kind>::OPTIONAL,
                }),*]
            }

            #[allow(unused_mut, unused_variables)]
            fn new(columns: &'a [$crate::wit::Column]) -> Self {
                let mut columns = columns.iter();
                $columns {
                    $($read: $crate::Column::new(columns.next().expect("one column for each field that is read")),)*
                    lifetime: ::std::marker::PhantomData,
                }
            }

            #[inline]
            #[allow(unused_variables)]
            fn row(&self, row: usize) -> $row<'a> {
                $row { $($read: self.$read.get(row),)* lifetime: ::std::marker::PhantomData }
            }
        }

        /// The columns that are written.
        pub struct $writes {
            $(pub $write: $crate::Writer<$write_kind>,)*
        }

        impl $crate::Writes for $writes {
            fn fields() -> Vec<$crate::wit::Field> {
                vec![$($crate::wit::Field {
                    name: $crate::fields!(@path $write $($write_path)?).into(),
                    kind: <$write_kind as $crate::Kind>::KIND,
                    optional: <$write_kind as $crate::Kind>::OPTIONAL,
                }),*]
            }

            #[allow(unused_mut, unused_variables)]
            fn with_capacity(rows: usize, bytes: &[usize]) -> Self {
                let mut bytes = bytes.iter().copied();
                $writes { $($write: $crate::Writer::with_capacity(rows, bytes.next().unwrap_or(0)),)* }
            }

            #[inline]
            #[allow(unused_variables)]
            fn end_row(&mut self, row: usize) {
                $(self.$write.end_row(stringify!($write), row);)*
            }

            fn bytes(&self) -> Vec<usize> {
                vec![$(self.$write.bytes()),*]
            }

            fn finish(self) -> Vec<$crate::wit::Column> {
                vec![$(self.$write.finish()),*]
            }
        }

        impl $crate::Shape for $plugin {
            type Row<'a> = $row<'a>;
            type Reads<'a> = $columns<'a>;
            type Writes = $writes;
        }

        const _: () = {
            static SLOT: $crate::Slot<$plugin> = $crate::Slot::new();
            struct Exported;
            impl $crate::wit::FieldsGuest for Exported {
                fn start() -> Result<$crate::wit::Contract, String> {
                    SLOT.start()
                }
                fn process(batch: $crate::wit::Batch) -> Result<$crate::wit::FieldsOutcome, $crate::wit::Failure> {
                    SLOT.process(batch)
                }
            }
            $crate::fields_world::export_fields!(Exported with_types_in $crate::fields_world);
        };
    };
}
