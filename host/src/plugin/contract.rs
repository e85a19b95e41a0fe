//! Whether what a plugin says it reads and writes can be kept.

use std::collections::BTreeSet;

use crate::record::{Contract, Field, OwnField};

/// Fields of one list, and bytes of one name: far above any use, and a bound on what a guest makes us keep.
const FIELDS_MAX: usize = 1024;
const NAME_BYTES_MAX: usize = 1024;

/// Checks names, own fields' kinds, and that no two writes touch one place.
pub(super) fn check(contract: &Contract) -> Result<(), String> {
    for (list, fields) in [("reads", &contract.reads), ("writes", &contract.writes)] {
        if fields.len() > FIELDS_MAX {
            return Err(format!("{list} {} fields, at most {FIELDS_MAX} are possible", fields.len()));
        }
        let mut names = BTreeSet::new();
        for field in fields {
            check_name(field).map_err(|reason| format!("{list} {reason}"))?;
            if !names.insert(field.name.as_str()) {
                return Err(format!("{list} `{}` twice", field.name));
            }
        }
    }
    for field in &contract.writes {
        if OwnField::parse(&field.name).is_some_and(|own| !own.may_be_written()) {
            return Err(format!("writes `{}`, which belongs to the topic", field.name));
        }
    }
    check_overlaps(&contract.writes)
}

fn check_name(field: &Field) -> Result<(), String> {
    let name = field.name.as_str();
    if name.len() > NAME_BYTES_MAX {
        return Err(format!("a field whose name has {} bytes, at most {NAME_BYTES_MAX} are possible", name.len()));
    }
    if name.starts_with('@') {
        let own = OwnField::parse(name).ok_or_else(|| {
            format!(
                "`{}`, but a record's own fields are `@key`, `@header.<name>`, `@timestamp`, `@partition`, `@offset`",
                name.escape_debug()
            )
        })?;
        if own.kind() != field.kind {
            return Err(format!("`{name}` as {}, but it is {}", field.kind, own.kind()));
        }
        return Ok(());
    }
    if name.split('.').any(str::is_empty) || name.chars().any(char::is_control) {
        return Err(format!("`{}`, which is not a dotted path such as `name.first`", name.escape_debug()));
    }
    Ok(())
}

/// `a` and `a.b` cannot both be written: one is inside the other. Headers' names are not paths.
fn check_overlaps(writes: &[Field]) -> Result<(), String> {
    let names: BTreeSet<&str> = writes.iter().map(|field| field.name.as_str()).filter(|name| !name.starts_with('@')).collect();
    for name in &names {
        for (dot, _) in name.match_indices('.') {
            if names.contains(&name[..dot]) {
                return Err(format!("writes `{}` and, inside it, `{name}`", &name[..dot]));
            }
        }
    }
    Ok(())
}
