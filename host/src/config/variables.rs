//! `${NAME}`, `${NAME:-default}` and `${NAME:?message}` inside strings of the file, never as text over the file.

/// How a variable is looked up; a parameter so that reading a file is a pure function of what it is given.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

#[derive(Debug, PartialEq, Eq)]
pub enum Error {
    /// It is not set, and there is no default.
    Unset { name: String, message: Option<String> },
    /// The text is not of the form that was meant.
    Malformed(String),
}

/// Puts the values in. `$${` stands for `${` itself. Values are not looked at again, so a value cannot name another variable.
pub fn expand(text: &str, lookup: Lookup<'_>) -> Result<String, Error> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            out += &rest[..at];
            out.push('{');
            rest = &rest[at + 2..];
            continue;
        }
        out += &rest[..at];
        let inner = &rest[at + 2..];
        let end = inner.find('}').ok_or_else(|| Error::Malformed("`${` without `}`".to_owned()))?;
        let (name, otherwise) = match inner[..end].find(':') {
            Some(colon) => (&inner[..colon], Some(&inner[colon + 1..end])),
            None => (&inner[..end], None),
        };
        let valid =
            name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !name.starts_with(|c: char| c.is_ascii_digit());
        if name.is_empty() || !valid {
            return Err(Error::Malformed(format!("`{name}` is no name of a variable")));
        }
        let (default, message) = match otherwise.map(|otherwise| otherwise.split_at_checked(1)) {
            None => (None, None),
            Some(Some(("-", default))) => (Some(default), None),
            Some(Some(("?", message))) => (None, Some(message.to_owned())),
            Some(_) => {
                return Err(Error::Malformed(format!(
                    "`{}` is neither `:-default` nor `:?message` behind a name",
                    &inner[..end]
                )));
            }
        };
        // As in a shell with a colon: an empty value counts as none.
        match lookup(name).filter(|value| !(value.is_empty() && otherwise.is_some())) {
            Some(value) => out += &value,
            None => out += default.ok_or_else(|| Error::Unset { name: name.to_owned(), message })?,
        }
        rest = &inner[end + 1..];
    }
    out += rest;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "HOST" => Some("broker".to_owned()),
            "EMPTY" => Some(String::new()),
            "NESTED" => Some("${HOST}".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn expands_names_defaults_and_escapes() {
        for (text, expected) in [
            ("kafka://${HOST}:9092", "kafka://broker:9092"),
            ("${PORT:-9092}", "9092"),
            ("${EMPTY:-full}", "full"),
            ("[${EMPTY}]", "[]"),
            ("${NESTED}", "${HOST}"),
            ("$${HOST} costs $5", "${HOST} costs $5"),
        ] {
            assert_eq!(expand(text, &lookup).as_deref(), Ok(expected), "{text}");
        }
        assert_eq!(expand("${NO}", &lookup), Err(Error::Unset { name: "NO".to_owned(), message: None }));
        assert_eq!(
            expand("${NO:?set it}", &lookup),
            Err(Error::Unset { name: "NO".to_owned(), message: Some("set it".to_owned()) })
        );
        for wrong in ["${HOST", "${}", "${1A}", "${HOST:+x}", "${HO ST}"] {
            assert!(matches!(expand(wrong, &lookup), Err(Error::Malformed(_))), "{wrong}");
        }
    }
}
