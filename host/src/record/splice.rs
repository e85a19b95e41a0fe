//! Cutting columns and putting them together: for calls over a part of a batch, and where rows come or go.

use std::ops::Range;

use super::{Buffer, Column, Values};

impl Buffer {
    fn slice(&self, rows: Range<usize>) -> Buffer {
        if rows.is_empty() {
            return Buffer::default();
        }
        let start = if rows.start == 0 { 0 } else { self.ends[rows.start - 1] };
        let end = self.ends[rows.end - 1];
        Buffer {
            data: self.data[start as usize..end as usize].to_vec(),
            ends: self.ends[rows].iter().map(|end| end - start).collect(),
        }
    }

    fn append(&mut self, other: &Buffer) {
        let base = u32::try_from(self.data.len()).expect("a batch is bounded far below 4 GiB");
        self.data.extend_from_slice(&other.data);
        self.ends.extend(other.ends.iter().map(|end| base + end));
    }

    fn truncate(&mut self, rows: usize) {
        self.ends.truncate(rows);
        self.data.truncate(self.ends.last().map_or(0, |end| *end as usize));
    }
}

impl Values {
    fn slice(&self, rows: Range<usize>) -> Values {
        match self {
            Values::Text(buffer) => Values::Text(buffer.slice(rows)),
            Values::Bytes(buffer) => Values::Bytes(buffer.slice(rows)),
            Values::Json(buffer) => Values::Json(buffer.slice(rows)),
            Values::Booleans(values) => Values::Booleans(values[rows].to_vec()),
            Values::Ints(values) => Values::Ints(values[rows].to_vec()),
            Values::Floats(values) => Values::Floats(values[rows].to_vec()),
            Values::Timestamps(values) => Values::Timestamps(values[rows].to_vec()),
        }
    }
}

impl Column {
    /// A column of `rows` rows that are all null.
    pub fn nulls(kind: super::Kind, rows: usize) -> Column {
        let mut column = Column::empty(kind);
        for _ in 0..rows {
            column.push_null();
        }
        column
    }

    pub fn slice(&self, rows: Range<usize>) -> Column {
        let (start, end) = (rows.start as u32, rows.end as u32);
        let nulls = self.nulls.iter().filter(|row| (start..end).contains(row)).map(|row| row - start).collect();
        Column { values: self.values.slice(rows), nulls }
    }

    /// Puts the rows of `other` behind; `false`, and nothing done, when it is of another kind.
    pub fn append(&mut self, other: &Column) -> bool {
        let base = self.rows() as u32;
        match (&mut self.values, &other.values) {
            (Values::Text(mine), Values::Text(more))
            | (Values::Bytes(mine), Values::Bytes(more))
            | (Values::Json(mine), Values::Json(more)) => mine.append(more),
            (Values::Booleans(mine), Values::Booleans(more)) => mine.extend_from_slice(more),
            (Values::Ints(mine), Values::Ints(more)) | (Values::Timestamps(mine), Values::Timestamps(more)) => {
                mine.extend_from_slice(more)
            }
            (Values::Floats(mine), Values::Floats(more)) => mine.extend_from_slice(more),
            _ => return false,
        }
        self.nulls.extend(other.nulls.iter().map(|row| base + row));
        true
    }

    /// Keeps the first `rows` rows.
    pub fn truncate(&mut self, rows: usize) {
        match &mut self.values {
            Values::Text(buffer) | Values::Bytes(buffer) | Values::Json(buffer) => buffer.truncate(rows),
            Values::Booleans(values) => values.truncate(rows),
            Values::Ints(values) | Values::Timestamps(values) => values.truncate(rows),
            Values::Floats(values) => values.truncate(rows),
        }
        while self.nulls.last().is_some_and(|last| *last as usize >= rows) {
            self.nulls.pop();
        }
    }
}
