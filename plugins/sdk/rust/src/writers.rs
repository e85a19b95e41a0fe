//! Columns as they are made: one value per row, in the buffers that cross the boundary.

use std::fmt;

use crate::append::append;
use crate::columns::{Boolean, Bytes, Column, Float, Int, Json, Kind, Text, Timestamp, other_kind};
use crate::wit;

/// A kind of field, and what gathers its values.
pub trait FieldKind: Kind {
    type Values: Gather;
}

#[doc(hidden)]
pub trait Gather {
    fn with_capacity(rows: usize, bytes: usize) -> Self;
    /// `None` when they are of another kind.
    fn copy_of(values: &wit::Values) -> Option<Self>
    where
        Self: Sized;
    fn rows(&self) -> usize;
    fn push_null(&mut self);
    /// Bytes beyond one fixed-size value per row: what to reserve next time.
    fn bytes(&self) -> usize;
    fn finish(self) -> wit::Values;
}

/// Gathers one field, row by row. A row that pushes nothing has no value.
pub struct Writer<K: FieldKind> {
    values: K::Values,
    nulls: Vec<u32>,
    /// It was copied: it has all its rows.
    whole: bool,
}

impl<K: FieldKind> Writer<K> {
    #[doc(hidden)]
    pub fn with_capacity(rows: usize, bytes: usize) -> Self {
        Writer { values: K::Values::with_capacity(rows, bytes), nulls: Vec::new(), whole: false }
    }

    /// Takes all rows of a column as they are, see [`Fields::columns`](crate::Fields::columns). It costs a tenth of pushing each.
    pub fn copy(&mut self, column: &Column<'_, K>) {
        let Some(values) = K::Values::copy_of(column.values()) else { other_kind(column.values()) };
        *self = Writer { values, nulls: column.nulls().to_vec(), whole: true };
    }

    #[doc(hidden)]
    #[inline]
    pub fn end_row(&mut self, name: &str, row: usize) {
        let rows = self.values.rows();
        if rows != row + 1 && !self.whole {
            self.repair(name, row, rows);
        }
    }

    #[cold]
    fn repair(&mut self, name: &str, row: usize, rows: usize) {
        assert!(rows == row, "field `{name}` was pushed twice in one row");
        self.nulls.push(row as u32);
        self.values.push_null();
    }

    #[doc(hidden)]
    pub fn bytes(&self) -> usize {
        if self.whole { 0 } else { self.values.bytes() }
    }

    #[doc(hidden)]
    pub fn finish(self) -> wit::Column {
        wit::Column { values: self.values.finish(), nulls: self.nulls }
    }
}

macro_rules! plain {
    ($($marker:ident $value:ty, $variant:ident, $zero:expr;)*) => {$(
        impl FieldKind for $marker {
            type Values = Plain<$value, $marker>;
        }

        impl Gather for Plain<$value, $marker> {
            fn with_capacity(rows: usize, _bytes: usize) -> Self {
                Plain(Vec::with_capacity(rows), std::marker::PhantomData)
            }
            fn copy_of(values: &wit::Values) -> Option<Self> {
                match values {
                    wit::Values::$variant(values) => Some(Plain(values.clone(), std::marker::PhantomData)),
                    _ => None,
                }
            }
            #[inline]
            fn rows(&self) -> usize {
                self.0.len()
            }
            fn push_null(&mut self) {
                self.0.push($zero);
            }
            fn bytes(&self) -> usize {
                0
            }
            fn finish(self) -> wit::Values {
                wit::Values::$variant(self.0)
            }
        }

        impl Writer<$marker> {
            #[inline]
            pub fn push(&mut self, value: $value) {
                self.values.0.push(value);
            }
        }

        impl Writer<Option<$marker>> {
            /// `None` leaves the row without a value.
            #[inline]
            pub fn push(&mut self, value: Option<$value>) {
                if let Some(value) = value {
                    self.values.0.push(value);
                }
            }
        }
    )*};
}

#[doc(hidden)]
pub struct Plain<T, K>(Vec<T>, std::marker::PhantomData<K>);

plain! {
    Boolean bool, Booleans, false;
    Int i64, Ints, 0;
    Float f64, Floats, 0.0;
    Timestamp i64, Timestamps, 0;
}

#[doc(hidden)]
pub struct Buffered<K> {
    data: Vec<u8>,
    ends: Vec<u32>,
    kind: std::marker::PhantomData<K>,
}

impl<K> Buffered<K> {
    #[inline]
    fn end_row(&mut self) {
        self.ends.push(self.data.len() as u32);
    }
}

/// Writes one row piece by piece; the row ends when this is dropped.
pub struct RowText<'a, K>(&'a mut Buffered<K>);

impl<K> RowText<'_, K> {
    #[inline]
    pub fn add(&mut self, piece: &str) -> &mut Self {
        append(&mut self.0.data, piece.as_bytes());
        self
    }
}

impl<K> fmt::Write for RowText<'_, K> {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        self.add(piece);
        Ok(())
    }
}

impl<K> Drop for RowText<'_, K> {
    #[inline]
    fn drop(&mut self) {
        self.0.end_row();
    }
}

macro_rules! buffered {
    ($($marker:ident $value:ty, |$row:ident| $bytes:expr;)*) => {$(
        impl FieldKind for $marker {
            type Values = Buffered<$marker>;
        }

        impl Gather for Buffered<$marker> {
            fn with_capacity(rows: usize, bytes: usize) -> Self {
                Buffered { data: Vec::with_capacity(bytes), ends: Vec::with_capacity(rows), kind: std::marker::PhantomData }
            }
            fn copy_of(values: &wit::Values) -> Option<Self> {
                match values {
                    wit::Values::$marker(wit::Buffer { data, ends }) => {
                        Some(Buffered { data: data.clone(), ends: ends.clone(), kind: std::marker::PhantomData })
                    }
                    _ => None,
                }
            }
            #[inline]
            fn rows(&self) -> usize {
                self.ends.len()
            }
            fn push_null(&mut self) {
                self.end_row();
            }
            fn bytes(&self) -> usize {
                self.data.len()
            }
            fn finish(self) -> wit::Values {
                wit::Values::$marker(wit::Buffer { data: self.data, ends: self.ends })
            }
        }

        impl Writer<$marker> {
            #[inline]
            pub fn push(&mut self, $row: &$value) {
                append(&mut self.values.data, $bytes);
                self.values.end_row();
            }
        }

        impl Writer<Option<$marker>> {
            /// `None` leaves the row without a value.
            #[inline]
            pub fn push(&mut self, value: Option<&$value>) {
                if let Some($row) = value {
                    append(&mut self.values.data, $bytes);
                    self.values.end_row();
                }
            }
        }
    )*};
}

buffered! {
    Text str, |row| row.as_bytes();
    Json str, |row| row.as_bytes();
    Bytes [u8], |row| row;
}

impl<K: FieldKind<Values = Buffered<T>>, T> Writer<K> {
    /// Starts a row that is written piece by piece, without making a `String` first. It also takes `write!`.
    #[inline]
    pub fn start(&mut self) -> RowText<'_, T> {
        RowText(&mut self.values)
    }
}

impl<K: FieldKind> FieldKind for Option<K> {
    type Values = K::Values;
}
