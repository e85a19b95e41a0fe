//! Appends short pieces. A copy of any length is a call out of WebAssembly, ten times the price of moving a name or an address word by word.

/// Longer pieces are worth the call.
const SHORT: usize = 96;

#[inline]
pub(crate) fn append(buffer: &mut Vec<u8>, piece: &[u8]) {
    let length = piece.len();
    if length > SHORT || buffer.capacity() - buffer.len() < length {
        return append_by_call(buffer, piece);
    }
    // SAFETY: there is room for the piece; each word lies within both, the last one ending where the piece ends.
    unsafe {
        let from = piece.as_ptr();
        let to = buffer.as_mut_ptr().add(buffer.len());
        let word = |at: usize| to.add(at).cast::<u64>().write_unaligned(from.add(at).cast::<u64>().read_unaligned());
        let half = |at: usize| to.add(at).cast::<u32>().write_unaligned(from.add(at).cast::<u32>().read_unaligned());
        if length >= 8 {
            let mut at = 0;
            while at + 8 < length {
                word(at);
                at += 8;
            }
            word(length - 8);
        } else if length >= 4 {
            half(0);
            half(length - 4);
        } else {
            for at in 0..length {
                *to.add(at) = *from.add(at);
            }
        }
        buffer.set_len(buffer.len() + length);
    }
}

#[cold]
#[inline(never)]
fn append_by_call(buffer: &mut Vec<u8>, piece: &[u8]) {
    buffer.extend_from_slice(piece);
}

#[cfg(test)]
mod tests {
    #[test]
    fn pieces_of_every_length_arrive_whole() {
        let text: Vec<u8> = (0..=255).collect();
        for room in [0, 4096] {
            let mut buffer = Vec::with_capacity(room);
            let mut expected = Vec::new();
            for length in (0..=200).chain([3, 0, 97]) {
                super::append(&mut buffer, &text[..length]);
                expected.extend_from_slice(&text[..length]);
                assert_eq!(buffer, expected, "{length} bytes");
            }
        }
    }
}
