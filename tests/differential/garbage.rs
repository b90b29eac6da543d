//! Texts that are nearly expressions: sound ones with pieces put in, taken out or changed, and
//! pieces in a row.

use crate::expression;
use crate::random::Random;

#[rustfmt::skip]
const PIECES: [&str; 72] = [
    "(", ")", "[", "]", "{", "}", ",", ":", "@", "=", "==", "!=", "=~", "!~", "+", "-", "*", "/",
    "%", "^", "<", ">", "<=", ">=", "and", "or", "unless", "by", "without", "on", "ignoring",
    "group_left", "group_right", "bool", "offset", "sum", "topk", "count_values", "rate", "abs",
    "x", "a:b", "5m", "1", "1h30m", "NaN", "inf", "\"s\"", "'t'", "`r`", "#c", "\n", " ",
    "!", "~", "$", ".5", "1.", "5mm", "start()", "end()", "time()", "atan2", "{a=\"b\"}", "[5m]",
    "[5m:]", "[5m:1m]", "@ 5", "offset -5m", "\"\\q\"", "limitk", "info",
];

/// A text.
pub(crate) fn any(random: &mut Random) -> String {
    if random.chance(0.25) {
        let count = 1 + random.below(8);
        return (0..count).map(|_| random.pick(&PIECES)).collect::<Vec<_>>().join(" ");
    }
    let mut text = expression::any(random);
    for _ in 0..random.pick(&[0, 1, 1, 2, 3]) {
        let at = place(&text, random);
        match random.below(3) {
            0 => text.insert_str(at, random.pick(&PIECES)),
            1 => {
                let end = text[at..].char_indices().nth(1 + random.below(4));
                let end = end.map_or(text.len(), |(n, _)| at + n);
                text.replace_range(at..end, "");
            }
            _ => {
                let ends = |c: char| !(c.is_alphanumeric() || c == '_');
                let end = text[at..].find(ends).map_or(text.len(), |n| at + n.max(1));
                if text.is_char_boundary(end) {
                    text.replace_range(at..end, random.pick(&PIECES));
                }
            }
        }
    }
    text
}

fn place(text: &str, random: &mut Random) -> usize {
    let places: Vec<_> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    random.pick(&places)
}
