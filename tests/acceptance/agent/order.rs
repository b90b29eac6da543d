//! What is often run stands together in the agent's program, by the names in `agent/often.ld`, and what
//! is seldom run apart, by those in `agent/seldom.ld`.
//!
//! Invariant: the names are those of code that the program has; the linker says nothing of others.

use std::path::Path;
use std::process::Command;

use tests::program::path_of;

/// The patterns for sections in a linker script, each with the one for the files they are in.
fn patterns(script: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    for part in script.split("*/").filter_map(|part| part.split("/*").next()) {
        for (before, rest) in part.match_indices('(').map(|(at, _)| part.split_at(at)) {
            let file = before.split_whitespace().next_back().unwrap();
            let sections = rest[1..].split(')').next().unwrap();
            found.extend(sections.split_whitespace().map(|section| (file, section)));
        }
    }
    found
}

/// Whether `text` is as `pattern` says, in which `*` is anything.
fn matches(pattern: &str, text: &str) -> bool {
    let (first, rest) = pattern.split_once('*').unwrap();
    let (between, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    let Some(text) = text.strip_prefix(first).and_then(|text| text.strip_suffix(last)) else {
        return false;
    };
    let mut text = Some(text);
    for part in between.split('*') {
        text = text.and_then(|text| text.split_once(part)).map(|(_, after)| after);
    }
    text.is_some()
}

/// Those of the patterns by which no function of `symbols` is found.
fn unknown<'s>(script: &'s str, symbols: &[String]) -> Vec<&'s str> {
    let by_name = patterns(script).into_iter().filter(|(file, section)| {
        // The compiler's own names for sections are none of functions.
        *file == "*" && *section != ".text.unlikely.*"
    });
    let is_unknown = |section: &&str| !symbols.iter().any(|symbol| matches(section, symbol));
    by_name.map(|(_, section)| section).filter(is_unknown).collect()
}

/// The sections of the functions of `program`.
fn sections(program: &Path) -> Vec<String> {
    let told = Command::new("nm").arg(program).output().unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let told = String::from_utf8_lossy(&told.stdout);
    // 00000000001c3d40 t _RNvNtCs1234_5agent3cli
    let functions = told.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        words.next().filter(|kind| matches!(*kind, "t" | "T" | "w" | "W"))?;
        words.next()
    });
    let sections: Vec<String> = functions.map(|name| format!(".text.{name}")).collect();
    assert!(sections.len() > 1000, "{} has no names of functions", program.display());
    sections
}

fn script(name: &str) -> String {
    let path = format!("{}/../agent/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

/// They are of a program that was made otherwise and are not all of this one, nor does one that is gone
/// do harm; but when many are, the list is of no use.
#[test]
fn most_names_of_what_is_often_run_are_those_of_code_that_there_is() {
    let (script, symbols) = (script("often.ld"), sections(&path_of("veilleur-agent")));
    let (all, gone) = (patterns(&script).len(), unknown(&script, &symbols));
    assert!(all > 500, "only {all} patterns are read");
    assert!(
        gone.len() * 5 < all,
        "write agent/often.ld again, by `tests/bench/run.sh order`: of {all} names {} are gone: {gone:?}",
        gone.len()
    );
}

#[test]
fn every_name_of_what_is_seldom_run_is_that_of_code_that_there_is() {
    let program = path_of("veilleur-agent");
    let (script, symbols) = (script("seldom.ld"), sections(&program));
    let (all, gone) = (patterns(&script).len(), unknown(&script, &symbols));
    assert!(all > 50, "only {all} patterns are read");
    assert!(gone.is_empty(), "agent/seldom.ld names what the program does not have: {gone:?}");
    let invented = script.replace("*3aes*", "*3aes* .text.*5agent*no_such_module*");
    assert_eq!(unknown(&invented, &symbols), [".text.*5agent*no_such_module*"]);

    // Others are found by the file that they come in: a library, or behind the name of ours where the
    // whole program was optimized at once.
    let parts: Vec<_> =
        std::fs::read_dir(program.parent().unwrap().join("deps")).unwrap().collect();
    let files = patterns(&script).into_iter().map(|(file, _)| file).filter(|file| *file != "*");
    for file in files {
        let is_there = parts.iter().flatten().any(|part| {
            let name = part.file_name().into_string().unwrap();
            let within = format!("agent.{}", name.trim_start_matches("lib"));
            Path::new(&name).extension().is_some_and(|end| end == "rlib")
                && (matches(file, &name) || matches(file, &within))
        });
        assert!(is_there, "agent/seldom.ld names `{file}`, which no part of the program is");
    }
}

#[test]
fn patterns_are_read_as_the_linker_does() {
    let script = "SECTIONS { .text.a : { /* (none) */ *(.text.*b* .text.c.*)\n *lib-*(.text) } }";
    let expected = [("*", ".text.*b*"), ("*", ".text.c.*"), ("*lib-*", ".text")];
    assert_eq!(patterns(script), expected);
    let check = |pattern, text, expected| assert_eq!(matches(pattern, text), expected, "{text}");
    check(".text.*ab*cd*", ".text.xabycdz", true);
    check(".text.*ab*cd*", ".text.xcdyabz", false);
    check(".text.c.*", ".text.c.d", true);
    check(".text.c.*", ".text.d.c", false);
    check("*lib-*", "/target/lib-1.rlib", true);
}
