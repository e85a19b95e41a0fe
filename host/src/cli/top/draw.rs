//! What `top` shows, from a snapshot and the rates of the last minutes.

use ratatui::Frame;
use ratatui::backend::TestBackend;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Sparkline, Table, Wrap};

use super::Seen;
use crate::record::escape;
use crate::status::Snapshot;

/// What there is to see, as text: for a pipe, a file or a person who wants it once.
pub fn plain(seen: &Seen) -> String {
    let height = 17 + rows(&seen.snapshot) as u16;
    let mut terminal = ratatui::Terminal::new(TestBackend::new(100, height)).expect("a buffer takes whatever is drawn");
    let _ = terminal.draw(|frame| draw(frame, seen, ""));
    let buffer = terminal.backend().buffer();
    let width = usize::from(buffer.area.width);
    let lines = buffer.content().chunks(width).map(|cells| cells.iter().map(|cell| cell.symbol()).collect::<String>());
    lines.map(|line| line.trim_end().to_owned() + "\n").filter(|line| line.len() > 1).collect()
}

fn rows(snapshot: &Snapshot) -> usize {
    snapshot.stages.len() + snapshot.partitions.len() + snapshot.sinks.len() + snapshot.alarms.len()
}

/// `hint`: what a person may press.
pub fn draw(frame: &mut Frame<'_>, seen: &Seen, hint: &str) {
    let snapshot = &seen.snapshot;
    let table = |rows: usize| Constraint::Length(rows as u16 + 2);
    let [head, totals, line, stages, partitions, sinks, alarms] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(2),
        Constraint::Length(5),
        table(snapshot.stages.len()),
        // Whoever has a thousand partitions sees the first of them.
        table(snapshot.partitions.len().min(12)),
        table(snapshot.sinks.len()),
        Constraint::Min(0),
    ])
    .areas(frame.area());
    draw_head(frame, head, seen);
    draw_totals(frame, totals, snapshot);
    draw_rates(frame, line, seen);
    draw_stages(frame, stages, snapshot);
    draw_partitions(frame, partitions, snapshot);
    draw_sinks(frame, sinks, snapshot);
    draw_alarms(frame, alarms, snapshot, hint);
}

fn tone(word: &str) -> Style {
    match word {
        "ok" | "running" | "idle" | "delivering" | "writing" | "polling" | "waiting" => Style::new().fg(Color::Green),
        "in trouble" | "failed" | "stopped" => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
        _ => Style::new().fg(Color::Yellow),
    }
}

fn draw_head(frame: &mut Frame<'_>, area: Rect, seen: &Seen) {
    let snapshot = &seen.snapshot;
    let seconds = (snapshot.at_ms - snapshot.started_ms).max(0) / 1_000;
    let up = format!("{}h {:02}m {:02}s", seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let health = &snapshot.health.word;
    let word = if health.is_empty() { &snapshot.state } else { health };
    let first = Line::from(vec![
        Span::from(escape(&snapshot.pipeline).into_owned()).bold(),
        Span::raw("  "),
        Span::styled(word.clone(), tone(word)),
        Span::raw(format!("  up {up}  memory {}", bytes(snapshot.rss_bytes))).dim(),
    ]);
    let second = match (&seen.lost, &snapshot.source) {
        (Some(lost), _) => Line::from(format!("no answer any more: {}", escape(lost))).red(),
        (None, None) => Line::from("source: fed by others").dim(),
        (None, Some(source)) => {
            let error = source.last_error.as_deref().map(|error| format!(": {}", escape(error))).unwrap_or_default();
            Line::from(vec![
                Span::raw(format!("source: {} ", source.kind)).dim(),
                Span::styled(source.state.clone(), tone(&source.state)),
                Span::raw(format!("  {} records in {} polls{error}", count(source.records), count(source.polls))).dim(),
            ])
        }
    };
    frame.render_widget(Paragraph::new(vec![first, second]), area);
}

fn draw_totals(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot) {
    let totals = &snapshot.totals;
    let lag: i64 = snapshot.partitions.values().map(|partition| partition.lag.max(0)).sum();
    let line = format!(
        "{} delivered  {} dropped  {} deleted  {} rejected  {} dead letters  lag {lag}",
        count(totals.emitted),
        count(totals.dropped),
        count(totals.deleted),
        count(totals.rejected),
        count(snapshot.dead_letters),
    );
    let rate = format!("{:.1} records/s over the last 10 s", snapshot.records_per_second);
    frame.render_widget(Paragraph::new(vec![Line::from(line), Line::from(rate).bold()]), area);
}

fn draw_rates(frame: &mut Frame<'_>, area: Rect, seen: &Seen) {
    let width = usize::from(area.width);
    let delivered = &seen.rates.delivered;
    let last: Vec<u64> = delivered[delivered.len().saturating_sub(width)..].iter().map(|rate| rate.round() as u64).collect();
    let most = last.iter().max().copied().unwrap_or(0);
    let title = format!(" records/s, the last {} s, at most {} ", last.len(), count(most));
    let block = Block::new().borders(Borders::TOP).title(title).dim();
    frame.render_widget(Sparkline::default().block(block).data(&last).style(Style::new().fg(Color::Cyan)), area);
}

fn draw_table(frame: &mut Frame<'_>, area: Rect, head: &[&str], rows: Vec<Vec<Cell<'static>>>, widths: &[Constraint]) {
    let head =
        Row::new(head.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).style(Style::new().add_modifier(Modifier::DIM));
    let table = Table::new(rows.into_iter().map(Row::new), widths.to_vec());
    frame.render_widget(table.header(head).block(Block::new().borders(Borders::TOP).dim()), area);
}

fn text(value: impl Into<String>) -> Cell<'static> {
    Cell::from(escape(&value.into()).into_owned())
}

fn draw_stages(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot) {
    let rows = snapshot.stages.iter().map(|stage| {
        vec![
            text(&stage.name).style(Style::new().add_modifier(Modifier::BOLD)),
            text(stage.generation.to_string()),
            text(count(stage.rows)),
            text(format!("{:.1}", stage.records_per_second)),
            text(if stage.micros_per_record > 0.0 { format!("{:.2}", stage.micros_per_record) } else { "-".to_owned() }),
            text(count(stage.rejected)),
            text(bytes(stage.memory_bytes)),
            text(stage.last_error.clone().unwrap_or_default()).style(Style::new().fg(Color::Red)),
        ]
    });
    let widths = [16, 5, 12, 10, 8, 9, 10].map(Constraint::Length).into_iter().chain([Constraint::Min(0)]).collect::<Vec<_>>();
    let head = ["stage", "gen", "rows", "rows/s", "µs/row", "rejected", "memory", "last error"];
    draw_table(frame, area, &head, rows.collect(), &widths);
}

fn draw_partitions(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot) {
    let rows = snapshot.partitions.iter().map(|(number, partition)| {
        vec![
            text(number.to_string()),
            text(partition.next.to_string()),
            text(partition.end.to_string()),
            text(partition.lag.to_string()),
            text(partition.generation.to_string()),
            text(&partition.state).style(tone(&partition.state)),
            text(partition.last_error.clone().unwrap_or_default()),
        ]
    });
    let widths = [10, 14, 14, 10, 5, 12].map(Constraint::Length).into_iter().chain([Constraint::Min(0)]).collect::<Vec<_>>();
    draw_table(frame, area, &["partition", "next", "end", "lag", "gen", "state", "last error"], rows.collect(), &widths);
}

fn draw_sinks(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot) {
    let rows = snapshot.sinks.iter().map(|sink| {
        let write = match sink.write_ms {
            Some(times) => format!("{} · {} ms", millis(times.p50), millis(times.p99)),
            None if sink.last_write_ms > 0.0 => format!("last {} ms", millis(sink.last_write_ms)),
            None => "-".to_owned(),
        };
        vec![
            text(&sink.name).style(Style::new().add_modifier(Modifier::BOLD)),
            text(count(sink.rows)),
            text(count(sink.in_flight)),
            text(write),
            text(count(sink.retries)),
            text(&sink.state).style(tone(&sink.state)),
            text(sink.last_error.clone().unwrap_or_else(|| sink.at.clone())),
        ]
    });
    let widths = [16, 11, 9, 16, 7, 11].map(Constraint::Length).into_iter().chain([Constraint::Min(0)]).collect::<Vec<_>>();
    draw_table(frame, area, &["sink", "rows", "in flight", "write p50 · p99", "retries", "state", ""], rows.collect(), &widths);
}

fn draw_alarms(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot, hint: &str) {
    let alarms = snapshot.alarms.iter().map(|alarm| Line::from(format!("✗ {}", escape(alarm))).red());
    let block = Block::new().borders(Borders::TOP).title_bottom(Line::from(hint).right_aligned()).dim();
    frame.render_widget(Paragraph::new(alarms.collect::<Vec<_>>()).wrap(Wrap { trim: false }).block(block), area);
}

/// `1,234,567`.
fn count(number: u64) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let mut grouped = digits[..first].to_owned();
    for at in (first..digits.len()).step_by(3) {
        if !grouped.is_empty() {
            grouped.push(',');
        }
        grouped.push_str(&digits[at..at + 3]);
    }
    grouped
}

fn millis(ms: f64) -> String {
    if ms < 100.0 { format!("{ms:.1}") } else { format!("{ms:.0}") }
}

fn bytes(bytes: u64) -> String {
    match bytes {
        0..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::rates::Rates;
    use crate::status::{PartitionStatus, SinkStatus, StageStatus, WriteTimes};

    fn seen() -> Seen {
        let mut snapshot = Snapshot { pipeline: "users".to_owned(), state: "running".to_owned(), ..Snapshot::default() };
        snapshot.totals.emitted = 1_234_567;
        snapshot.stages = vec![StageStatus { name: "en\u{1b}[31mrich".to_owned(), rows: 12, ..StageStatus::default() }];
        snapshot.partitions.insert(3, PartitionStatus { next: 77, state: "idle".to_owned(), ..PartitionStatus::default() });
        let write_ms = Some(WriteTimes { p50: 1.46, p95: 40.0, p99: 330.2, max: 900.0, of: 7 });
        let sink = |name: &str, at: &str| SinkStatus { name: name.to_owned(), at: at.to_owned(), ..SinkStatus::default() };
        snapshot.sinks = vec![
            SinkStatus { write_ms, ..sink("users", "embedded table u") },
            SinkStatus { last_write_ms: 2.51, ..sink("lines", "file l") },
            sink("nothing", "null"),
        ];
        snapshot.alarms = vec!["the disk is full".to_owned()];
        let rates = Rates { delivered: vec![0.0, 5.0, 120.0], ..Rates::default() };
        Seen { snapshot, rates, lost: None }
    }

    #[test]
    fn the_essence_is_there_and_drives_no_terminal() {
        let text = plain(&seen());
        for shown in [
            "users  running",
            "1,234,567 delivered",
            "at most 120",
            "en\\u{1b}[31mrich",
            "77",
            "embedded table u",
            "1.5 · 330 ms",
            "last 2.5 ms",
            "✗ the disk is full",
        ] {
            assert!(text.contains(shown), "{shown}:\n{text}");
        }
    }

    #[test]
    fn any_size_of_a_terminal_will_do() {
        for (width, height) in [(1, 1), (10, 3), (40, 12), (250, 80)] {
            let mut terminal = ratatui::Terminal::new(TestBackend::new(width, height)).unwrap();
            terminal.draw(|frame| draw(frame, &seen(), " q quits ")).unwrap();
        }
    }
}
