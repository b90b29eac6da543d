//! A line for a shell, taken apart where no shell is needed for it.
//!
//! Invariant: whatever a shell would do more than take off quotes is a reason not to convert.

/// Why a line needs a shell.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NeedsShell {
    #[error("a quote has no end")]
    Quote,
    #[error("`{0}` means something to a shell only; put the line into a script of its own")]
    Character(char),
}

/// The words of `line`, without their quotes.
pub(super) fn words(line: &str) -> Result<Vec<String>, NeedsShell> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('\'') => break,
                        Some(c) => word.push(c),
                        None => return Err(NeedsShell::Quote),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('"') => break,
                        Some('\\') => match chars.next() {
                            Some(c @ ('"' | '\\' | '$' | '`')) => word.push(c),
                            Some(c) => word.extend(['\\', c]),
                            None => return Err(NeedsShell::Quote),
                        },
                        Some(c @ ('$' | '`')) => return Err(NeedsShell::Character(c)),
                        Some(c) => word.push(c),
                        None => return Err(NeedsShell::Quote),
                    }
                }
            }
            '\\' => word.get_or_insert_default().extend(chars.next()),
            '|' | '&' | ';' | '<' | '>' | '(' | ')' | '$' | '`' | '*' | '?' | '[' | '{' => {
                return Err(NeedsShell::Character(c));
            }
            '#' | '~' if word.is_none() => return Err(NeedsShell::Character(c)),
            '=' if words.is_empty() => return Err(NeedsShell::Character(c)),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_off_quotes_and_nothing_else() {
        let check = |line: &str, expected: &[&str]| {
            assert_eq!(words(line).unwrap(), expected, "{line}");
        };
        check("", &[]);
        check("/a/b  -w 5\t-c 10 ", &["/a/b", "-w", "5", "-c", "10"]);
        check("/a 'b c' \"d e\" f\\ g ''", &["/a", "b c", "d e", "f g", ""]);
        check("/a --x='b'c \"\\\"\\\\\\$\\n\" '$(x)|'", &["/a", "--x=bc", "\"\\$\\n", "$(x)|"]);
        check("/a -c 20%,@10:~ x#y", &["/a", "-c", "20%,@10:~", "x#y"]);
        let fails = |line: &str, expected| assert_eq!(words(line), Err(expected), "{line}");
        for (line, c) in [
            ("/a | b", '|'),
            ("/a; b", ';'),
            ("/a $HOME", '$'),
            ("/a \"$HOME\"", '$'),
            ("/a `id`", '`'),
            ("/a *.log", '*'),
            ("/a 2>&1", '>'),
            ("A=b /a", '='),
            ("/a ~/x", '~'),
            ("/a # x", '#'),
        ] {
            fails(line, NeedsShell::Character(c));
        }
        fails("/a 'b", NeedsShell::Quote);
        fails("/a \"b\\", NeedsShell::Quote);
    }
}
