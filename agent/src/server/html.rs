//! Writing HTML.
//!
//! Invariant: every text goes through [`escape`] on its way into a page (X13).

use std::fmt::{self, Display, Write};

/// How the pages look: readable on a phone, in the dark too, and without colour alone to tell
/// states apart.
pub(super) const STYLE: &str = include_str!("style.css");

/// A text that is shown as it is, whatever is in it.
pub(super) struct Escaped<T>(pub(super) T);

impl<T: Display> Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);

        impl Write for Escaping<'_, '_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                for piece in text.split_inclusive(['&', '<', '>', '"', '\'']) {
                    let (plain, special) = match piece.char_indices().next_back() {
                        Some((at, c)) if "&<>\"'".contains(c) => (&piece[..at], Some(c)),
                        _ => (piece, None),
                    };
                    self.0.write_str(plain)?;
                    self.0.write_str(match special {
                        Some('&') => "&amp;",
                        Some('<') => "&lt;",
                        Some('>') => "&gt;",
                        Some('"') => "&quot;",
                        Some(_) => "&#39;",
                        None => "",
                    })?;
                }
                Ok(())
            }
        }

        write!(Escaping(f), "{}", self.0)
    }
}

/// A page with `body` in it. With `refresh` it is loaded again every so many seconds.
pub(super) fn frame(title: &str, refresh: Option<u32>, body: &str) -> String {
    let title = Escaped(title);
    let refresh = refresh.map_or(String::new(), |seconds| {
        format!("<meta http-equiv=\"refresh\" content=\"{seconds}\">\n")
    });
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n{refresh}<title>{title}</title>\n\
         <link rel=\"stylesheet\" href=\"/style.css\">\n</head>\n<body>\n<main>\n{body}</main>\n\
         <footer>veilleur-agent {version} · <a href=\"/\">where is what</a></footer>\n</body>\n</html>\n",
        version = env!("CARGO_PKG_VERSION"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_inert_x13() {
        let hostile = "<script>alert('x')</script> \"><img onerror=a> &amp; ü";
        assert_eq!(
            Escaped(hostile).to_string(),
            "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &quot;&gt;&lt;img onerror=a&gt; &amp;amp; ü"
        );
        assert!(frame("<b>", None, "").contains("<title>&lt;b&gt;</title>"));
    }
}
