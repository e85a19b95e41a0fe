//! Columns: one field over a batch, in Arrow's layout for text and bytes.

use wasmtime::component::{ComponentType, Lift, Lower};

use super::Kind;

/// Rows end to end in one buffer: row `i` is `data[ends[i-1]..ends[i]]`, and row 0 starts at 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(record)]
pub struct Buffer {
    #[component(name = "data")]
    pub data: Vec<u8>,
    #[component(name = "ends")]
    pub ends: Vec<u32>,
}

impl Buffer {
    pub fn with_capacity(rows: usize, bytes: usize) -> Buffer {
        Buffer { data: Vec::with_capacity(bytes), ends: Vec::with_capacity(rows) }
    }

    pub fn push(&mut self, row: &[u8]) {
        self.data.extend_from_slice(row);
        self.end_row();
    }

    /// Ends a row whose bytes were written to `data` directly.
    pub fn end_row(&mut self) {
        self.ends.push(u32::try_from(self.data.len()).expect("a batch is bounded far below 4 GiB"));
    }

    pub fn rows(&self) -> usize {
        self.ends.len()
    }

    pub fn get(&self, row: usize) -> &[u8] {
        let start = if row == 0 { 0 } else { self.ends[row - 1] as usize };
        &self.data[start..self.ends[row] as usize]
    }

    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.rows()).map(|row| self.get(row))
    }

    /// The named rows, in that order.
    pub fn select(&self, rows: &[u32]) -> Buffer {
        let mut selected = Buffer::with_capacity(rows.len(), 0);
        for row in rows {
            selected.push(self.get(*row as usize));
        }
        selected
    }
}

/// The values of a column, one per row, also for rows that are null (any value there).
#[derive(Clone, Debug, PartialEq, ComponentType, Lift, Lower)]
#[component(variant)]
pub enum Values {
    #[component(name = "text")]
    Text(Buffer),
    #[component(name = "bytes")]
    Bytes(Buffer),
    #[component(name = "booleans")]
    Booleans(Vec<bool>),
    #[component(name = "ints")]
    Ints(Vec<i64>),
    #[component(name = "floats")]
    Floats(Vec<f64>),
    #[component(name = "timestamps")]
    Timestamps(Vec<i64>),
    #[component(name = "json")]
    Json(Buffer),
}

impl Values {
    pub fn empty(kind: Kind) -> Values {
        match kind {
            Kind::Text => Values::Text(Buffer::default()),
            Kind::Bytes => Values::Bytes(Buffer::default()),
            Kind::Boolean => Values::Booleans(Vec::new()),
            Kind::Int => Values::Ints(Vec::new()),
            Kind::Float => Values::Floats(Vec::new()),
            Kind::Timestamp => Values::Timestamps(Vec::new()),
            Kind::Json => Values::Json(Buffer::default()),
        }
    }

    pub fn kind(&self) -> Kind {
        match self {
            Values::Text(_) => Kind::Text,
            Values::Bytes(_) => Kind::Bytes,
            Values::Booleans(_) => Kind::Boolean,
            Values::Ints(_) => Kind::Int,
            Values::Floats(_) => Kind::Float,
            Values::Timestamps(_) => Kind::Timestamp,
            Values::Json(_) => Kind::Json,
        }
    }

    pub fn rows(&self) -> usize {
        match self {
            Values::Text(buffer) | Values::Bytes(buffer) | Values::Json(buffer) => buffer.rows(),
            Values::Booleans(values) => values.len(),
            Values::Ints(values) | Values::Timestamps(values) => values.len(),
            Values::Floats(values) => values.len(),
        }
    }

    /// The named rows, in that order.
    pub fn select(&self, rows: &[u32]) -> Values {
        fn pick<T: Copy>(values: &[T], rows: &[u32]) -> Vec<T> {
            rows.iter().map(|row| values[*row as usize]).collect()
        }
        match self {
            Values::Text(buffer) => Values::Text(buffer.select(rows)),
            Values::Bytes(buffer) => Values::Bytes(buffer.select(rows)),
            Values::Json(buffer) => Values::Json(buffer.select(rows)),
            Values::Booleans(values) => Values::Booleans(pick(values, rows)),
            Values::Ints(values) => Values::Ints(pick(values, rows)),
            Values::Timestamps(values) => Values::Timestamps(pick(values, rows)),
            Values::Floats(values) => Values::Floats(pick(values, rows)),
        }
    }

    /// Adds a row that has no value; the caller lists it in [`Column::nulls`].
    pub fn push_null(&mut self) {
        match self {
            Values::Text(buffer) | Values::Bytes(buffer) | Values::Json(buffer) => buffer.end_row(),
            Values::Booleans(values) => values.push(false),
            Values::Ints(values) | Values::Timestamps(values) => values.push(0),
            Values::Floats(values) => values.push(0.0),
        }
    }
}

/// One field over a batch.
#[derive(Clone, Debug, PartialEq, ComponentType, Lift, Lower)]
#[component(record)]
pub struct Column {
    #[component(name = "values")]
    pub values: Values,
    /// Rows without a value, ascending. Usually empty.
    #[component(name = "nulls")]
    pub nulls: Vec<u32>,
}

impl Column {
    pub fn empty(kind: Kind) -> Column {
        Column { values: Values::empty(kind), nulls: Vec::new() }
    }

    pub fn kind(&self) -> Kind {
        self.values.kind()
    }

    pub fn rows(&self) -> usize {
        self.values.rows()
    }

    pub fn push_null(&mut self) {
        self.nulls.push(u32::try_from(self.rows()).expect("a batch has far fewer rows than 2^32"));
        self.values.push_null();
    }

    pub fn is_null(&self, row: usize) -> bool {
        !self.nulls.is_empty() && u32::try_from(row).is_ok_and(|row| self.nulls.binary_search(&row).is_ok())
    }

    /// The named rows, ascending.
    pub fn select(&self, rows: &[u32]) -> Column {
        let nulls = match self.nulls.is_empty() {
            true => Vec::new(),
            false => (0u32..).zip(rows).filter(|(_, row)| self.is_null(**row as usize)).map(|(at, _)| at).collect(),
        };
        Column { values: self.values.select(rows), nulls }
    }
}

/// Columns by field name, all with the same number of rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Columns(Vec<(String, Column)>);

impl Columns {
    /// Sets a field; a written field shadows one of the same name.
    pub fn set(&mut self, name: &str, column: Column) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, slot)) => *slot = column,
            None => self.0.push((name.to_owned(), column)),
        }
    }

    pub fn get(&self, name: &str) -> Option<&Column> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, column)| column)
    }

    /// Lets go of the fields that are not wanted any more.
    pub fn retain(&mut self, wanted: impl Fn(&str) -> bool) {
        self.0.retain(|(name, _)| wanted(name));
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Column)> {
        self.0.iter().map(|(name, column)| (name.as_str(), column))
    }

    /// The named rows, ascending.
    pub fn select(&self, rows: &[u32]) -> Columns {
        Columns(self.0.iter().map(|(name, column)| (name.clone(), column.select(rows))).collect())
    }
}
