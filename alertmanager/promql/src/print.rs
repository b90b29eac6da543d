//! Prints an expression in its canonical form.
//!
//! Invariant: what is printed reads back as an expression that means the same and prints the same.

use std::fmt::{self, Display, Formatter, Write as _};

use base::labels::{METRIC_NAME, is_legacy_label_name, is_legacy_metric_name};
use base::matcher::Matcher;
use base::number;
use base::period::Period;

use crate::ast::{
    Aggregate, At, Binary, Edges, Expr, ExprKind, Length, LengthExpr, LengthKind, Matching, Number,
    Side, Subquery, VectorSelector, When,
};
use crate::token::TokenKind;

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Number(literal) => literal.fmt(f),
            ExprKind::String(text) => Quoted(text).fmt(f),
            ExprKind::Vector(selector) => {
                selector.fmt(f)?;
                write_edges(f, selector.edges)?;
                write_when(f, &selector.when)
            }
            ExprKind::Matrix(matrix) => {
                write!(f, "{}[{}]", matrix.selector, matrix.range)?;
                write_edges(f, matrix.selector.edges)?;
                write_when(f, &matrix.selector.when)
            }
            ExprKind::Subquery(subquery) => {
                subquery.expr.fmt(f)?;
                write_subquery_suffix(f, subquery)
            }
            ExprKind::Call(call) => {
                write!(f, "{}(", call.name)?;
                write_list(f, &call.args)?;
                f.write_str(")")
            }
            ExprKind::Aggregate(aggregate) => aggregate.fmt(f),
            ExprKind::Binary(binary) => write_chain(f, binary),
            ExprKind::Unary(unary) => {
                write!(f, "{}{}", if unary.negative { "-" } else { "+" }, unary.expr)
            }
            ExprKind::Paren(inner) => write!(f, "({inner})"),
        }
    }
}

/// What stands behind an operator, with a blank before it.
pub(crate) fn matching_text(matching: Option<&Matching>) -> String {
    struct Text<'a>(&'a Matching);
    impl Display for Text<'_> {
        fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
            write_matching(f, self.0)
        }
    }
    matching.map_or_else(String::new, |matching| Text(matching).to_string())
}

/// What stands behind the expression of a subquery.
pub(crate) fn subquery_suffix(subquery: &Subquery) -> String {
    struct Suffix<'a>(&'a Subquery);
    impl Display for Suffix<'_> {
        fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
            write_subquery_suffix(f, self.0)
        }
    }
    Suffix(subquery).to_string()
}

fn write_subquery_suffix(f: &mut Formatter<'_>, subquery: &Subquery) -> fmt::Result {
    write!(f, "[{}:", subquery.range)?;
    if let Some(step) = &subquery.step {
        step.fmt(f)?;
    }
    f.write_str("]")?;
    write_when(f, &subquery.when)
}

/// Prints a chain of operators in a loop, since it may be long.
fn write_chain(f: &mut Formatter<'_>, last: &Binary) -> fmt::Result {
    let mut chain = vec![last];
    let mut first = &last.left;
    while let ExprKind::Binary(binary) = &first.kind {
        chain.push(binary);
        first = &binary.left;
    }
    first.fmt(f)?;
    for binary in chain.into_iter().rev() {
        write!(f, " {}", binary.op.as_str())?;
        if binary.returns_bool {
            f.write_str(" bool")?;
        }
        if let Some(matching) = &binary.matching {
            write_matching(f, matching)?;
        }
        write!(f, " {}", binary.right)?;
    }
    Ok(())
}

fn write_matching(f: &mut Formatter<'_>, matching: &Matching) -> fmt::Result {
    if matching.on || !matching.labels.is_empty() || matching.group.is_some() {
        f.write_str(if matching.on { " on (" } else { " ignoring (" })?;
        write_names(f, &matching.labels)?;
        f.write_str(")")?;
    }
    if let Some(group) = &matching.group {
        f.write_str(match group.many {
            Side::Left => " group_left (",
            Side::Right => " group_right (",
        })?;
        write_names(f, &group.labels)?;
        f.write_str(")")?;
    }
    match (matching.fill_left, matching.fill_right) {
        (Some(left), Some(right)) if left.to_bits() == right.to_bits() => {
            write!(f, " fill ({})", number::plain(left))
        }
        (left, right) => {
            if let Some(value) = left {
                write!(f, " fill_left ({})", number::plain(value))?;
            }
            if let Some(value) = right {
                write!(f, " fill_right ({})", number::plain(value))?;
            }
            Ok(())
        }
    }
}

impl Aggregate {
    /// What stands before the parentheses of its arguments.
    pub(crate) fn head(&self) -> String {
        struct Head<'a>(&'a Aggregate);
        impl Display for Head<'_> {
            fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
                self.0.write_head(f)
            }
        }
        Head(self).to_string()
    }

    fn write_head(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.op.as_str())?;
        match &self.grouping {
            Some(grouping) if grouping.without || !grouping.labels.is_empty() => {
                f.write_str(if grouping.without { " without (" } else { " by (" })?;
                write_names(f, &grouping.labels)?;
                f.write_str(") ")
            }
            _ => Ok(()),
        }
    }
}

impl Display for Aggregate {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.write_head(f)?;
        f.write_str("(")?;
        if let Some(param) = &self.param {
            write!(f, "{param}, ")?;
        }
        write!(f, "{})", self.expr)
    }
}

/// Prints the name and the braces, without modifiers.
impl Display for VectorSelector {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let name = self.name.as_deref();
        f.write_str(name.unwrap_or_default())?;
        let own = |m: &&Matcher| m.name() == METRIC_NAME && Some(m.value()) == name;
        let text =
            |m: &Matcher| format!("{}{}{}", Name(m.name()), m.op().as_str(), Quoted(m.value()));
        let mut rest: Vec<_> = self.matchers.iter().filter(|m| !own(m)).map(text).collect();
        if name.is_some() && rest.is_empty() {
            return Ok(());
        }
        rest.sort_unstable();
        write!(f, "{{{}}}", rest.join(","))
    }
}

fn write_edges(f: &mut Formatter<'_>, edges: Edges) -> fmt::Result {
    f.write_str(match edges {
        Edges::Plain => "",
        Edges::Anchored => " anchored",
        Edges::Smoothed => " smoothed",
    })
}

fn write_when(f: &mut Formatter<'_>, when: &When) -> fmt::Result {
    match when.at {
        None => {}
        Some(At::Start) => f.write_str(" @ start()")?,
        Some(At::End) => f.write_str(" @ end()")?,
        Some(At::Time(millis)) => {
            let (seconds, rest) = (millis.unsigned_abs() / 1000, millis.unsigned_abs() % 1000);
            let sign = if millis < 0 { "-" } else { "" };
            write!(f, " @ {sign}{seconds}.{rest:03}")?;
        }
    }
    match &when.offset {
        None | Some(Length::Fixed(0)) => Ok(()),
        Some(offset) => write!(f, " offset {offset}"),
    }
}

fn write_list<T: Display>(f: &mut Formatter<'_>, list: &[T]) -> fmt::Result {
    for (n, item) in list.iter().enumerate() {
        if n > 0 {
            f.write_str(", ")?;
        }
        item.fmt(f)?;
    }
    Ok(())
}

fn write_names(f: &mut Formatter<'_>, names: &[String]) -> fmt::Result {
    for (n, name) in names.iter().enumerate() {
        let separator = if n > 0 { ", " } else { "" };
        // A colon needs no quotes here; what would be read as a number does.
        let is_plain = is_legacy_metric_name(name) && TokenKind::of_word(name) != TokenKind::Number;
        match is_plain {
            true => write!(f, "{separator}{name}")?,
            false => write!(f, "{separator}{}", Quoted(name))?,
        }
    }
    Ok(())
}

impl Display for Number {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if !self.is_duration {
            return f.write_str(&number::plain(self.value));
        }
        let sign = if self.value < 0.0 { "-" } else { "" };
        let millis = (self.value.abs() * 1000.0).round() as u64;
        write!(f, "{sign}{}", Period::from_millis(millis))
    }
}

impl Display for Length {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(millis) => {
                let sign = if *millis < 0 { "-" } else { "" };
                write!(f, "{sign}{}", Period::from_millis(millis.unsigned_abs()))
            }
            Self::Computed(expr) => expr.fmt(f),
        }
    }
}

impl Display for LengthExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            LengthKind::Number(literal) => literal.fmt(f),
            LengthKind::Step => f.write_str("step()"),
            LengthKind::Range => f.write_str("range()"),
            LengthKind::MinOf(a, b) => write!(f, "min_of({a}, {b})"),
            LengthKind::MaxOf(a, b) => write!(f, "max_of({a}, {b})"),
            LengthKind::Negative(inner) => write!(f, "-{inner}"),
            LengthKind::Binary(op, a, b) => write!(f, "{a} {} {b}", op.as_str()),
            LengthKind::Paren(inner) => write!(f, "({inner})"),
        }
    }
}

/// A label name, in quotes where it needs them.
pub(crate) struct Name<'a>(pub(crate) &'a str);

impl Display for Name<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if is_legacy_label_name(self.0) { f.write_str(self.0) } else { Quoted(self.0).fmt(f) }
    }
}

/// A string in double quotes, with escapes for what cannot be printed.
pub(crate) struct Quoted<'a>(pub(crate) &'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for c in self.0.chars() {
            match c {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '\t' => f.write_str("\\t")?,
                '\r' => f.write_str("\\r")?,
                '\u{7}' => f.write_str("\\a")?,
                '\u{8}' => f.write_str("\\b")?,
                '\u{b}' => f.write_str("\\v")?,
                '\u{c}' => f.write_str("\\f")?,
                c if c.is_ascii_control() => write!(f, "\\x{:02x}", u32::from(c))?,
                c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        f.write_str("\"")
    }
}

#[cfg(test)]
mod tests {
    use crate::parse;

    #[track_caller]
    fn check(text: &str, printed: &str) {
        let expr = parse(text).unwrap();
        assert_eq!(expr.to_string(), printed);
        assert_eq!(parse(printed).unwrap().to_string(), printed);
    }

    #[test]
    fn prints_the_canonical_form() {
        check("1+2*3", "1 + 2 * 3");
        check("- 1", "-1");
        check("-(1)", "-(1)");
        check("-1h30m", "-1h30m");
        check("5 -- 3", "5 - -3");
        check("SUM(x)BY(a)", "sum by (a) (x)");
        check("sum by ('NaN', inf1) (x)", "sum by (\"NaN\", inf1) (x)");
        check("x OFFSET 3600 @ 1.5", "x @ 1.500 offset 1h");
        check("x @ -0.25", "x @ -0.250");
        check("x[5m:]offset -5m", "x[5m:] offset -5m");
        check("{\"a b\",'c d'='e\\t\u{1}'}", "{\"c d\"=\"e\\t\\x01\",__name__=\"a b\"}");
        check("a==bool on(x)group_right(y)b", "a == bool on (x) group_right (y) b");
        check("rate(x[1.5])", "rate(x[1s500ms])");
        check("+x^-2", "+x ^ -2");
        check("hour()", "hour()");
    }
}
