//! Columns of text for people. What stands in the cells may come out of records: it is escaped here.

use super::{Output, Tone};
use crate::record::escape;

/// A cell longer than this is cut.
const CELL_CHARS_MAX: usize = 100;
/// The last one, which makes no other wider.
const LAST_CHARS_MAX: usize = 600;

/// Prints rows under their headings, each column as wide as its widest cell; the last one is not padded.
pub fn print(out: &Output, headings: &[&str], rows: &[Vec<String>]) {
    let chars_max = |at: usize| if at + 1 == headings.len() { LAST_CHARS_MAX } else { CELL_CHARS_MAX };
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().enumerate().map(|(at, cell)| fit(cell, chars_max(at))).collect()).collect();
    let width = |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = headings.iter().enumerate().map(|(at, heading)| width(at).max(heading.chars().count())).collect();
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    out.line(out.paint(Tone::Faint, line(headings.to_vec())));
    for row in &rows {
        out.line(line(row.iter().map(String::as_str).collect()));
    }
}

fn fit(cell: &str, chars_max: usize) -> String {
    let cell = escape(cell);
    match cell.char_indices().nth(chars_max) {
        None => cell.into_owned(),
        Some((at, _)) => format!("{}…", &cell[..at]),
    }
}

/// `2026-01-31 08:15:30`, UTC.
pub fn time(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map(|at| at.strftime("%F %T").to_string()).unwrap_or_else(|_| ms.to_string())
}
