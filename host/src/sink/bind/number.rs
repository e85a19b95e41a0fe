//! decimal and varint as CQL's native protocol writes them: a varint is its two's complement, big end first, in as few bytes as hold
//! it; a decimal is its scale in four bytes and then the digits as a varint.

use num_bigint::BigInt;

/// Turning digits into bytes takes time with the square of their number.
const DIGITS_MAX: usize = 10_000;

/// `-12`, `+12`; `None`: not an integer.
pub(super) fn varint(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let digits = text.strip_prefix(b"-").or(text.strip_prefix(b"+")).unwrap_or(text);
    unscaled(text.starts_with(b"-"), digits, out)
}

/// `-12.50`, `1e-7`; `None`: not a decimal number. The scale is kept: 12.50 is not 12.5.
pub(super) fn decimal(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let unsigned = text.strip_prefix(b"-").or(text.strip_prefix(b"+")).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.iter().position(|byte| matches!(byte, b'e' | b'E')) {
        Some(at) => (&unsigned[..at], std::str::from_utf8(&unsigned[at + 1..]).ok()?.parse::<i32>().ok()?),
        None => (unsigned, 0),
    };
    let point = mantissa.iter().position(|byte| *byte == b'.');
    let (whole, fraction) = point.map_or((mantissa, &[][..]), |at| (&mantissa[..at], &mantissa[at + 1..]));
    if point.is_some() && fraction.is_empty() || whole.is_empty() {
        return None;
    }
    let scale = i32::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
    out.extend_from_slice(&scale.to_be_bytes());
    unscaled(text.starts_with(b"-"), &[whole, fraction].concat(), out)
}

fn unscaled(negative: bool, digits: &[u8], out: &mut Vec<u8>) -> Option<()> {
    if digits.is_empty() || digits.len() > DIGITS_MAX || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = BigInt::parse_bytes(digits, 10)?;
    out.extend_from_slice(&(if negative { -value } else { value }).to_signed_bytes_be());
    Some(())
}

pub(in crate::sink) fn varint_text(bytes: &[u8]) -> String {
    BigInt::from_signed_bytes_be(bytes).to_string()
}

/// The digits with their point; far from it with an exponent, as `1.5E-40`.
pub(in crate::sink) fn decimal_text(bytes: &[u8]) -> String {
    let Some((scale, unscaled)) = bytes.split_first_chunk::<4>() else { return String::new() };
    let (scale, unscaled) = (i64::from(i32::from_be_bytes(*scale)), varint_text(unscaled));
    let (sign, digits) = unscaled.strip_prefix('-').map_or(("", unscaled.as_str()), |digits| ("-", digits));
    let exponent = digits.len() as i64 - 1 - scale;
    if scale < 0 || exponent < -6 {
        let (first, rest) = digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        return format!("{sign}{first}{point}{rest}E{exponent:+}");
    }
    match scale as usize {
        0 => unscaled,
        scale if digits.len() > scale => format!("{sign}{}.{}", &digits[..digits.len() - scale], &digits[digits.len() - scale..]),
        scale => format!("{sign}0.{digits:0>scale$}"),
    }
}
