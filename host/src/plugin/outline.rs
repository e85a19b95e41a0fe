//! What a component says of itself at its top level. Nothing of it is compiled or believed: it tells early what a compiler would find
//! late, and what a plugin wishes for.

use wasmparser::{Chunk, Parser, Payload};

use super::load::LoadError;

/// Names that a component imports and exports, in its own order.
#[derive(Debug, Default)]
pub(super) struct Outline {
    pub imports: Vec<String>,
    pub exports: Vec<String>,
}

impl Outline {
    /// # Errors
    /// A section that is not all there, or one that cannot be read.
    pub(super) fn read(component: &[u8]) -> Result<Outline, LoadError> {
        let invalid = |error: wasmparser::BinaryReaderError| LoadError::Invalid(error.to_string());
        let mut outline = Outline::default();
        let mut parser = Parser::new(0);
        let mut at = 0;
        while let Some(rest) = component.get(at..) {
            check_length(rest, at)?;
            let Chunk::Parsed { consumed, payload } = parser.parse(rest, true).map_err(invalid)? else { break };
            at += consumed;
            match payload {
                // What is inside is stepped over.
                Payload::ModuleSection { unchecked_range, .. } | Payload::ComponentSection { unchecked_range, .. } => {
                    at = unchecked_range.end;
                }
                Payload::ComponentImportSection(section) => {
                    for import in section {
                        outline.imports.push(import.map_err(invalid)?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(section) => {
                    for export in section {
                        outline.exports.push(export.map_err(invalid)?.name.name.to_owned());
                    }
                }
                Payload::End(_) => break,
                _ => {}
            }
        }
        Ok(outline)
    }
}

/// Whether the section that begins here is all there: its number, its length in LEB128, its bytes. What is no section is left to the parser.
fn check_length(rest: &[u8], at: usize) -> Result<(), LoadError> {
    const HEADER_BYTES: usize = 8;
    if at < HEADER_BYTES {
        return Ok(());
    }
    let mut wanted: u64 = 0;
    for (index, byte) in rest.iter().skip(1).take(5).enumerate() {
        wanted |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let there = (rest.len() - index - 2) as u64;
            return match wanted > there {
                true => Err(LoadError::CutShort { at: at as u64, wanted, there }),
                false => Ok(()),
            };
        }
    }
    Ok(())
}
