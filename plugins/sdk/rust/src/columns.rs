//! Columns as they come in: borrowed, typed, one value per row.

use std::marker::PhantomData;

use crate::wit;

/// UTF-8 text; a row is a `&str`.
pub enum Text {}
/// Bytes; a row is a `&[u8]`.
pub enum Bytes {}
/// True or false.
pub enum Boolean {}
/// 64-bit signed integers.
pub enum Int {}
/// 64-bit floats.
pub enum Float {}
/// Milliseconds since 1970-01-01T00:00:00Z, as `i64`.
pub enum Timestamp {}
/// JSON text of any value; a row is a `&str`.
pub enum Json {}

/// A kind of field, `Option<…>` of one where a row may be without it.
pub trait Kind {
    const KIND: wit::Kind;
    const OPTIONAL: bool;
    /// What one row holds.
    type Value<'a>;

    /// Of a column that has this kind, which the host promises.
    fn get<'a>(column: &Column<'a, Self>, row: usize) -> Self::Value<'a>
    where
        Self: Sized;
}

/// One field over a batch.
pub struct Column<'a, K> {
    values: &'a wit::Values,
    nulls: &'a [u32],
    kind: PhantomData<K>,
}

impl<K> Clone for Column<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for Column<'_, K> {}

impl<'a, K: Kind> Column<'a, K> {
    #[doc(hidden)]
    pub fn new(column: &'a wit::Column) -> Self {
        Column { values: &column.values, nulls: &column.nulls, kind: PhantomData }
    }

    /// The value of a row.
    #[inline]
    pub fn get(&self, row: usize) -> K::Value<'a> {
        K::get(self, row)
    }

    #[inline]
    pub fn is_null(&self, row: usize) -> bool {
        !self.nulls.is_empty() && self.nulls.binary_search(&(row as u32)).is_ok()
    }

    /// The column as it crossed the boundary: for work on whole buffers.
    pub fn values(&self) -> &'a wit::Values {
        self.values
    }

    pub(crate) fn nulls(&self) -> &'a [u32] {
        self.nulls
    }

    fn recast<T>(&self) -> Column<'a, T> {
        Column { values: self.values, nulls: self.nulls, kind: PhantomData }
    }
}

/// The host promises ends that fit. Without a panic here, the optimiser leaves out fields that a plugin's `row` does not look at.
#[inline]
fn slice(buffer: &wit::Buffer, row: usize) -> &[u8] {
    let end_of = |row: usize| buffer.ends.get(row).map_or(0, |end| *end as usize);
    let start = if row == 0 { 0 } else { end_of(row - 1) };
    buffer.data.get(start..end_of(row)).unwrap_or_default()
}

#[cold]
pub(crate) fn other_kind(column: &wit::Values) -> ! {
    panic!("the host sent a column of another kind than the contract says: {column:?}")
}

macro_rules! kinds {
    ($($marker:ident $value:ty { $variant:ident($values:ident, $row:ident) => $get:expr })*) => {$(
        impl Kind for $marker {
            const KIND: wit::Kind = wit::Kind::$marker;
            const OPTIONAL: bool = false;
            type Value<'a> = $value;

            #[inline]
            fn get<'a>(column: &Column<'a, Self>, $row: usize) -> $value {
                match column.values {
                    wit::Values::$variant($values) => $get,
                    other => other_kind(other),
                }
            }
        }
    )*};
}

kinds! {
    // SAFETY (Text, Json): the host promises UTF-8 in each row.
    Text &'a str { Text(buffer, row) => unsafe { std::str::from_utf8_unchecked(slice(buffer, row)) } }
    Json &'a str { Json(buffer, row) => unsafe { std::str::from_utf8_unchecked(slice(buffer, row)) } }
    Bytes &'a [u8] { Bytes(buffer, row) => slice(buffer, row) }
    Boolean bool { Booleans(values, row) => values[row] }
    Int i64 { Ints(values, row) => values[row] }
    Float f64 { Floats(values, row) => values[row] }
    Timestamp i64 { Timestamps(values, row) => values[row] }
}

impl<K: Kind> Kind for Option<K> {
    const KIND: wit::Kind = K::KIND;
    const OPTIONAL: bool = true;
    type Value<'a> = Option<K::Value<'a>>;

    #[inline]
    fn get<'a>(column: &Column<'a, Self>, row: usize) -> Option<K::Value<'a>> {
        if column.is_null(row) { None } else { Some(K::get(&column.recast(), row)) }
    }
}
