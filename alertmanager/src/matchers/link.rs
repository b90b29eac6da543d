//! Where an alert can be silenced, and its group be acknowledged: the path of the page, with what is
//! meant in its query.
//!
//! Invariant: the page reads back the very labels that the link was made of; where that cannot be,
//! there is no link.

use base::http::percent_encoded;
use base::matcher::Matcher;

/// The longest path: what chats and browsers still take as one address.
const LONGEST: usize = 1800;

/// The path below our own address at which alerts with exactly these labels can be silenced, without
/// a slash before it. Nothing where there is no label, where a text is one that was cut short, or
/// where it would be too long.
pub fn silence_path<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> Option<String> {
    let mut matchers = Vec::new();
    let mut size = 0;
    for (name, value) in labels.filter(|(_, value)| !value.is_empty()) {
        size += name.len() + value.len();
        // A silence for a part of a value would hold nothing.
        if size > LONGEST || value.ends_with('…') {
            return None;
        }
        matchers.push(Matcher::equal(name, value));
    }
    if matchers.is_empty() {
        return None;
    }
    path("silences/new?filter=", &super::print_all(&matchers))
}

/// The path below our own address at which the group with this key can be acknowledged, without a
/// slash before it. Nothing where it would be too long.
pub fn acknowledge_path(group_key: &str) -> Option<String> {
    path("acknowledge?group=", group_key)
}

fn path(page: &str, text: &str) -> Option<String> {
    // Marks that chats take for emphasis are encoded, too.
    let text = percent_encoded(text).replace('_', "%5F").replace('~', "%7E");
    let path = format!("{page}{text}");
    (path.len() <= LONGEST).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_reads_what_the_link_says() {
        let check = |labels: &[(&str, &str)], expected: Option<&str>| {
            let path = silence_path(labels.iter().copied());
            assert_eq!(path.as_deref(), expected, "{labels:?}");
        };
        check(
            &[("alertname", "Disk_Full"), ("host", "a b&\"<é")],
            Some(
                "silences/new?filter=%7Balertname%3D%22Disk%5FFull%22%2Chost%3D%22a%20b%26%5C%22%3C%C3%A9%22%7D",
            ),
        );
        check(&[("a", "1"), ("empty", "")], Some("silences/new?filter=%7Ba%3D%221%22%7D"));
        check(&[], None);
        check(&[("a", "")], None);
        check(&[("a", "cut sho…")], None);
        check(&[("a", &"x".repeat(5000))], None);
        check(&[("a", &"é".repeat(500))], None);
    }
}
