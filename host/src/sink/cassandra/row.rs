//! A row as the values of a prepared statement, straight out of the column buffers.

use scylla::serialize::SerializationError;
use scylla::serialize::row::{RowSerializationContext, SerializeRow};
use scylla::serialize::writers::{CellOverflowError, CellWriter, RowWriter};

use crate::config::plan::{CqlType, SinkColumn};
use crate::sink::{BoundColumn, BoundValues, Rows};

/// The values of an insert: all columns, the write time and, where rows end, how many seconds are left.
pub(super) struct Insert<'a> {
    pub rows: &'a Rows,
    pub row: usize,
    pub seconds_left: Option<i32>,
}

/// The values of a delete: the write time and the key.
pub(super) struct Delete<'a> {
    pub rows: &'a Rows,
    pub row: usize,
    pub columns: &'a [SinkColumn],
}

impl SerializeRow for Insert<'_> {
    fn serialize(&self, _: &RowSerializationContext<'_>, writer: &mut RowWriter<'_>) -> Result<(), SerializationError> {
        for column in &self.rows.columns {
            write(column, self.row, writer.make_cell_writer()).map_err(SerializationError::new)?;
        }
        fixed(&self.rows.write_times[self.row].to_be_bytes(), writer)?;
        self.seconds_left.map_or(Ok(()), |seconds| fixed(&seconds.to_be_bytes(), writer))
    }

    fn is_empty(&self) -> bool {
        false
    }
}

impl SerializeRow for Delete<'_> {
    fn serialize(&self, _: &RowSerializationContext<'_>, writer: &mut RowWriter<'_>) -> Result<(), SerializationError> {
        fixed(&self.rows.write_times[self.row].to_be_bytes(), writer)?;
        for (_, column) in self.columns.iter().zip(&self.rows.columns).filter(|(column, _)| column.key.is_some()) {
            write(column, self.row, writer.make_cell_writer()).map_err(SerializationError::new)?;
        }
        Ok(())
    }

    fn is_empty(&self) -> bool {
        false
    }
}

fn fixed(bytes: &[u8], writer: &mut RowWriter<'_>) -> Result<(), SerializationError> {
    writer.make_cell_writer().set_value(bytes).map(drop).map_err(SerializationError::new)
}

/// A cell as CQL's native protocol has it; that the column's type is the table's was seen when the statement was prepared.
fn write(column: &BoundColumn, row: usize, cell: CellWriter<'_>) -> Result<(), CellOverflowError> {
    if column.is_null(row) {
        cell.set_null();
        return Ok(());
    }
    let written = match (&column.values, column.cql) {
        (BoundValues::Buffer(buffer), _) => cell.set_value(buffer.get(row)),
        (BoundValues::Uuids(values), _) => cell.set_value(&values[row]),
        (BoundValues::Integers(values), CqlType::Int) => cell.set_value(&(values[row] as i32).to_be_bytes()),
        (BoundValues::Integers(values), CqlType::SmallInt) => cell.set_value(&(values[row] as i16).to_be_bytes()),
        (BoundValues::Integers(values), CqlType::TinyInt) => cell.set_value(&(values[row] as i8).to_be_bytes()),
        // A date is counted from the middle of its range.
        (BoundValues::Integers(values), CqlType::Date) => cell.set_value(&((values[row] + (1 << 31)) as u32).to_be_bytes()),
        (BoundValues::Integers(values), _) => cell.set_value(&values[row].to_be_bytes()),
        (BoundValues::Floats(values), CqlType::Float) => cell.set_value(&(values[row] as f32).to_be_bytes()),
        (BoundValues::Floats(values), _) => cell.set_value(&values[row].to_be_bytes()),
        (BoundValues::Booleans(values), _) => cell.set_value(&[u8::from(values[row])]),
    };
    written.map(drop)
}
