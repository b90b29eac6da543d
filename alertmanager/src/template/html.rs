//! Writes output: as it is, or as HTML with every value escaped for the place where it stands.
//!
//! The literal text of templates is followed as a browser would read it, so that at each value it
//! is known whether it stands between tags, in an attribute, or in an address:
//!
//! ```text
//! <a href="https://wiki/{{ .Labels.job }}?q={{ . }}" title="{{ . }}">{{ . }}</a>
//!                       ^ address          ^ query          ^ attribute  ^ text
//! ```
//!
//! Within scripts, styles and tags themselves there is no escaping that one could trust: a value
//! there is an error (S5, X13). Comments are left out, as Go does it.
//!
//! Invariant: no value begins or ends an element or attribute, and none gives an address a scheme
//! but `http`, `https` and `mailto`.

pub(super) mod context;
mod escape;

use super::Escape;
use super::error::Failure;
use super::limits::Bounded;
use super::print;
use super::value::{Safe, Value};
use context::{Context, Tracker};

/// The output of a rendering.
#[derive(Debug)]
pub(super) struct Output {
    text: Bounded,
    escape: Escape,
    /// Where in the document we are.
    tracker: Tracker,
}

impl Output {
    /// An empty output that grows to at most `limit` bytes.
    pub(super) fn new(limit: usize, escape: Escape) -> Self {
        Self { text: Bounded::new(limit), escape, tracker: Tracker::default() }
    }

    /// How values are escaped.
    pub(super) fn escape(&self) -> Escape {
        self.escape
    }

    /// Appends text of a template.
    pub(super) fn literal(&mut self, text: &str) -> Result<(), Failure> {
        match self.escape {
            Escape::Html => self.tracker.feed(text, &mut |piece| self.text.push_str(piece)),
            Escape::Text | Escape::Entities | Escape::Markup(_) => self.text.push_str(text),
        }
    }

    /// Appends what an action gave.
    pub(super) fn value(&mut self, value: &Value) -> Result<(), Failure> {
        if self.escape == Escape::Text {
            return print::display(&mut self.text, value);
        }
        let shown;
        let text = match value {
            Value::Text(text) | Value::Safe(_, text) => &**text,
            Value::Nil => "",
            _ => {
                let mut out = Bounded::new(self.text.limit());
                print::display(&mut out, value)?;
                shown = out.into_string();
                &shown
            }
        };
        let safe = match value {
            Value::Safe(safe, _) => Some(*safe),
            _ => None,
        };
        match (self.escape, safe) {
            (Escape::Entities | Escape::Markup(_), Some(Safe::Html)) => {
                return self.text.push_str(text);
            }
            (Escape::Entities, _) => return escape::push_entities(&mut self.text, text),
            (Escape::Markup(markup), _) => return self.text.push_str(&markup.escaped(text)),
            (Escape::Text | Escape::Html, _) => {}
        }
        let tracker = &mut self.tracker;
        let context = tracker.context().map_err(|refused| Failure::from(refused.message()))?;
        match (context, safe) {
            (Context::Comment, _) => return Ok(()),
            // The author vouches for markup, which is followed like the template's own.
            (Context::Text, Some(Safe::Html)) => {
                return tracker.feed(text, &mut |piece| self.text.push_str(piece));
            }
            (Context::Text | Context::Title, _) => {
                escape::push_text(&mut self.text, text, safe == Some(Safe::Html))?;
            }
            (Context::Attribute { quoted }, _) => {
                escape::push_attribute(&mut self.text, text, quoted, safe == Some(Safe::Html))?;
            }
            (Context::Address { quoted, part }, _) => {
                let address = escape::address(text, part, safe);
                escape::push_attribute(&mut self.text, &address, quoted, false)?;
            }
        }
        tracker.value(text);
        Ok(())
    }

    pub(super) fn into_string(self) -> String {
        self.text.into_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes `template`, in which each `@` stands for `value`.
    fn written(template: &str, value: &Value) -> Result<String, String> {
        let mut out = Output::new(10_000, Escape::Html);
        for (n, piece) in template.split('@').enumerate() {
            let written = if n > 0 { out.value(value) } else { Ok(()) };
            written.and_then(|()| out.literal(piece)).map_err(|failure| format!("{failure:?}"))?;
        }
        Ok(out.into_string())
    }

    #[track_caller]
    fn check(template: &str, value: impl Into<Value>, expected: &str) {
        assert_eq!(written(template, &value.into()).as_deref(), Ok(expected), "{template}");
    }

    #[track_caller]
    fn refuse(template: &str) {
        let error = written(template, &"x".into()).unwrap_err();
        assert!(error.contains("a value cannot"), "{template}: {error}");
    }

    const EVIL: &str = "\"'><script>alert(1)</script>&`=";

    #[test]
    fn text_and_attributes_stay_what_they_are() {
        let text = "&#34;&#39;&gt;&lt;script&gt;alert(1)&lt;/script&gt;&amp;`=";
        check("@", EVIL, text);
        check("<p>@</p>", EVIL, &format!("<p>{text}</p>"));
        check("<title>@</title>@", EVIL, &format!("<title>{text}</title>{text}"));
        check(
            "<p title=\"@\">",
            EVIL,
            "<p title=\"&#34;&#39;&gt;&lt;script&gt;alert(1)&lt;/script&gt;&amp;`=\">",
        );
        check(
            "<p title='@'>",
            EVIL,
            "<p title='&#34;&#39;&gt;&lt;script&gt;alert(1)&lt;/script&gt;&amp;`='>",
        );
        check("<p title=@ id=a>", "a b=c`\t>", "<p title=a&#32;b&#61;c&#96;&#9;&gt; id=a>");
        check("<p title=@ id=a>", "", "<p title=&#65533; id=a>");
        check("a < b @", "<", "a < b &lt;");
        check("1 + @", "1+1", "1 + 1&#43;1");
        check("@", Value::Nil, "");
        check("@", "\0", "\u{fffd}");
        check("<p>@", Value::list([1.into(), "<".into()]), "<p>[1 &lt;]");
    }

    #[test]
    fn addresses_are_encoded_and_keep_their_scheme() {
        check(
            "<a href=\"@\">",
            "https://a/b?c=d&e=é \"x",
            "<a href=\"https://a/b?c=d&amp;e=%c3%a9%20%22x\">",
        );
        check("<a href=\"@\">", "javascript:alert(1)", "<a href=\"#unsafe-url\">");
        check("<a href='@'>", " javascript:alert(1)", "<a href='#unsafe-url'>");
        check("<a href='@'>", "java\nscript:alert(1)", "<a href='#unsafe-url'>");
        check("<a href=@>", "DATA:text/html,x", "<a href=#unsafe-url>");
        check("<img src=\"@\">", "vbscript:x", "<img src=\"#unsafe-url\">");
        check("<a href=\"@\">", "mailto:a@b", "<a href=\"mailto:a@b\">");
        check("<a href=\"@\">", "HTTPS://a", "<a href=\"HTTPS://a\">");
        check("<a href=\"@\">", "/a:b", "<a href=\"/a:b\">");
        check("<a href=\"@\">", "?a=b:c", "<a href=\"?a=b:c\">");
        check(
            "<a href=\"/search?@\"></a>",
            "q=test%20foo",
            "<a href=\"/search?q%3dtest%2520foo\"></a>",
        );
        check("<a href=\"/a/@#@\">", "b/c?d", "<a href=\"/a/b/c?d#b%2fc%3fd\">");
        check("<a href=\"/%zz@\">", "%41%zz%4", "<a href=\"/%zz%41%25zz%254\">");
        check(
            "<a data-url=\"@\" xlink:href='@'>",
            "x:y",
            "<a data-url=\"#unsafe-url\" xlink:href='#unsafe-url'>",
        );
        // Two values that only together have a scheme.
        check("<a href=\"@@\">", "javascript", "<a href=\"javascriptjavascript\">");
        check("<a href=\"javascript@\">", ":alert(1)", "<a href=\"javascript#unsafe-url\">");
        check("<a href=\"mailto:@\">", "a@b?cc=c:d", "<a href=\"mailto:a@b?cc=c:d\">");
    }

    #[test]
    fn an_address_in_pieces_gets_no_scheme_either() {
        let mut out = Output::new(1000, Escape::Html);
        out.literal("<a href=\"").unwrap();
        out.value(&"javascript".into()).unwrap();
        out.value(&":alert(1)".into()).unwrap();
        out.literal("\">").unwrap();
        assert_eq!(out.into_string(), "<a href=\"javascript#unsafe-url\">");
    }

    #[test]
    fn values_are_refused_where_nothing_can_be_trusted() {
        for template in [
            "<script>@</script>",
            "<SCRIPT type='x'>var a = \"@\";</script>",
            "<style>@</style>",
            "<p style=\"@\">",
            "<p style='color: @'>",
            "<p onclick=\"f('@')\">",
            "<p ONLOAD=@>",
            "<@>",
            "<p@>",
            "<p @>",
            "<p a@=b>",
            "<p a @>",
            "</@>",
            "<!DOCTYPE @>",
            "<iframe srcdoc=\"@\">",
            "<img srcset=\"@\">",
            "<script src=\"@\"></script>",
            "<iframe src='/@'>",
            "<object data=\"@\">",
            "<base href=\"@\">",
            "<animate attributeName=href to=\"@\">",
            "<meta http-equiv=\"refresh\" content=\"@\">",
        ] {
            refuse(template);
        }
    }

    #[test]
    fn comments_are_left_out() {
        check("a<!-- x @ <script> -->b@", "<", "ab&lt;");
        check("<!--[if mso]>@<![endif]-->c", "<", "c");
        check("<!-- ", "x", "");
    }

    #[test]
    fn what_the_author_vouches_for_is_not_escaped_where_it_fits() {
        let html = |text: &str| Value::Safe(Safe::Html, text.into());
        check("<p>@</p>@", html("<b>&amp;</b>"), "<p><b>&amp;</b></p><b>&amp;</b>");
        check("<p title=\"@\">", html("a\">&amp;"), "<p title=\"a&#34;&gt;&amp;\">");
        check("<title>@</title>", html("<b>&amp;"), "<title>&lt;b&gt;&amp;</title>");
        let url = |text: &str| Value::Safe(Safe::Url, text.into());
        check("<a href=\"/?a=@\">", url("b%20c&d"), "<a href=\"/?a=b%20c&amp;d\">");
        check("<a href=\"@\">", url("slack://channel?id=1"), "<a href=\"slack://channel?id=1\">");
        check("<a href=\"@\">", url("javascript:alert(1)"), "<a href=\"#unsafe-url\">");
        let query = Value::Safe(Safe::Query, "a+b%26".into());
        check("<a href=\"/?a=@\">", query.clone(), "<a href=\"/?a=a&#43;b%26\">");
        check("@", query, "a&#43;b%26");
    }

    #[test]
    fn entities_escape_only_what_begins_markup() {
        let mut out = Output::new(1000, Escape::Entities);
        out.literal("<https://x|link> ").unwrap();
        out.value(&"<!channel> \"a\" & b".into()).unwrap();
        out.value(&Value::Safe(Safe::Html, "<b>".into())).unwrap();
        assert_eq!(out.into_string(), "<https://x|link> &lt;!channel&gt; \"a\" &amp; b<b>");
    }

    #[test]
    fn markup_that_the_author_vouches_for_is_followed() {
        let mut out = Output::new(1000, Escape::Html);
        out.value(&Value::Safe(Safe::Html, "<script>".into())).unwrap();
        assert!(out.value(&"x".into()).is_err());
    }
}
