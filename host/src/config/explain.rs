//! What each code means, from `codes.md`.

const CODES: &str = include_str!("codes.md");

/// A section of `codes.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explanation {
    pub code: &'static str,
    pub title: &'static str,
    pub text: &'static str,
}

/// All of them, by code.
pub fn all() -> impl Iterator<Item = Explanation> {
    CODES.split("\n## ").skip(1).filter_map(|section| {
        let (head, text) = section.split_once('\n')?;
        let (code, title) = head.split_once(' ')?;
        Some(Explanation { code, title, text: text.trim() })
    })
}

/// The explanation of a code, which may be written in lower case.
pub fn explain(code: &str) -> Option<Explanation> {
    all().find(|explanation| explanation.code.eq_ignore_ascii_case(code))
}
