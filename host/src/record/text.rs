//! Text out of records, plugins and servers, made safe to show.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The most characters of a value that a reason quotes.
pub const QUOTED_CHARACTERS: usize = 60;

/// Control characters and those that turn the direction of writing stand as `\u{…}`, line ends and tabs as `\n`, `\r`, `\t`:
/// what a record holds must not drive a terminal.
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            c if is_unsafe(c) => {
                let _ = write!(escaped, "\\u{{{:x}}}", c as u32);
            }
            c => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

/// A value for a person to read: shortened, with control characters escaped.
pub fn quote(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(&value[..value.len().min(QUOTED_CHARACTERS * 4)]);
    match text.char_indices().nth(QUOTED_CHARACTERS) {
        Some((end, _)) => format!("{}…", escape(&text[..end])),
        None => escape(&text).into_owned(),
    }
}

fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_what_could_drive_a_terminal_and_nothing_else() {
        assert_eq!(escape("Grüße, 東京 🙂"), "Grüße, 東京 🙂");
        assert!(matches!(escape("plain"), Cow::Borrowed(_)));
        assert_eq!(escape("\u{1b}[31mred\u{7}\n\u{202e}x\u{9b}"), "\\u{1b}[31mred\\u{7}\\n\\u{202e}x\\u{9b}");
    }
}
