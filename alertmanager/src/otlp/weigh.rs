//! How many messages a body holds, before any of them is in memory: an empty point is two bytes on the
//! wire and hundreds when decoded (X22).
//!
//! Invariant: nothing is allocated here; what is no protobuf is left to the decoder to refuse.

/// What lies below a level: for each, the fields that hold messages, and of what level they are.
const BELOW: [&[(u64, usize)]; 11] = [
    // 0: request
    &[(1, 1)],
    // 1: of a resource
    &[(1, 10), (2, 2)],
    // 2: of a scope
    &[(1, 10), (2, 3)],
    // 3: metric
    &[(5, 4), (7, 4), (9, 5), (10, 6), (11, 7)],
    // 4: gauge or sum
    &[(1, 8)],
    // 5: histogram
    &[(1, 8)],
    // 6: exponential histogram
    &[(1, 8)],
    // 7: summary
    &[(1, 8)],
    // 8: a point: attributes, exemplars, quantiles, buckets
    &[(1, 9), (5, 9), (6, 9), (7, 9), (8, 9), (9, 9), (11, 9)],
    // 9: an attribute, or an exemplar with some
    &[(2, 9), (5, 9), (6, 9), (7, 9), (1, 9)],
    // 10: a resource or a scope
    &[(1, 9), (3, 9)],
];

/// The deepest that is looked: attributes may hold lists of lists.
const DEEPEST: usize = 24;

/// How many messages `body` holds, counted up to `most`.
pub(super) fn messages(body: &[u8], most: usize) -> usize {
    let mut count = 0;
    walk(body, 0, DEEPEST, most, &mut count);
    count
}

fn walk(mut bytes: &[u8], level: usize, depth: usize, most: usize, count: &mut usize) {
    while !bytes.is_empty() && *count <= most {
        let Some((field, content)) = next(&mut bytes) else { return };
        let Some(content) = content else { continue };
        if let Some((_, below)) = BELOW[level].iter().find(|(known, _)| *known == field) {
            *count += 1;
            if depth > 0 {
                walk(content, *below, depth - 1, most, count);
            }
        }
    }
}

/// The number of the next field, and its bytes where it is not a number; nothing at what is no field.
fn next<'a>(bytes: &mut &'a [u8]) -> Option<(u64, Option<&'a [u8]>)> {
    let key = varint(bytes)?;
    let length = match key & 7 {
        0 => {
            varint(bytes)?;
            return Some((key >> 3, None));
        }
        1 => 8,
        2 => usize::try_from(varint(bytes)?).ok()?,
        5 => 4,
        _ => return None,
    };
    let (content, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some((key >> 3, (key & 7 == 2).then_some(content)))
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_wherever_they_are() {
        // A field that holds bytes.
        fn within(field: u8, content: &[u8]) -> Vec<u8> {
            let mut out = vec![field << 3 | 2];
            let mut length = content.len();
            while length > 0x7f {
                out.push(length as u8 | 0x80);
                length >>= 7;
            }
            out.push(length as u8);
            out.extend(content);
            out
        }
        let points: Vec<u8> = std::iter::repeat_n(within(1, &[]), 1000).flatten().collect();
        let metric = |points: &[u8]| within(2, &within(2, &within(5, points)));
        let body = within(1, &metric(&points));
        assert_eq!(messages(&body, 1_000_000), 1004);
        assert_eq!(messages(&body, 50), 51);
        let attributes: Vec<u8> = std::iter::repeat_n(within(7, &[]), 100).flatten().collect();
        let body = within(1, &metric(&within(1, &attributes)));
        assert_eq!(messages(&body, 1_000_000), 105);
        assert_eq!(messages(&[], 10), 0);
        for garbage in [&[0xff; 40][..], &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x7f], &[0x0b]] {
            assert_eq!(messages(garbage, 10), 0);
        }
    }
}
