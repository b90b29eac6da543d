//! Turns tokens into trees: blocks here, the expressions within actions in `expression`.
//!
//! A function or variable that nobody knows does not end the parsing, so that a check of the
//! configuration can name all of them; anything else does.
//!
//! Invariant: whatever the text, depth and length are bounded, and trees come out only if nothing
//! was wrong.

mod expression;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Dialect;
use super::error::{Fault, TemplateError, place_of, shortened};
use super::lex::{Kind, Token, lex};
use super::print::quoted;
use super::syntax::{Call, Node, Source, Tree};

/// The longest text that is parsed.
const LONGEST: usize = 1 << 20;
/// The most blocks or parentheses within each other.
const DEEPEST: usize = 100;
/// After that many faults a text is not read on.
const MOST_FAULTS: usize = 100;

/// What a text defines.
#[derive(Debug)]
pub(super) struct Parsed {
    /// The text itself, without its definitions.
    pub(super) body: Arc<Tree>,
    /// Its `define`s and `block`s.
    pub(super) defines: BTreeMap<Arc<str>, Arc<Tree>>,
}

/// Parses `text`.
///
/// # Errors
///
/// Everything that is wrong with it, in the order of the text; at least one.
pub(super) fn parse(
    dialect: Dialect,
    name: &str,
    text: &str,
) -> Result<Parsed, Vec<TemplateError>> {
    let source = Arc::new(Source { name: name.into(), text: text.into() });
    let lexed = lex(if text.len() > LONGEST { "" } else { text });
    let mut parser = Parser {
        dialect,
        source: Arc::clone(&source),
        tokens: &lexed.tokens,
        fault: &lexed.fault,
        next: 0,
        depth: 0,
        ranges: 0,
        ender: 0,
        variables: vec!["$".into()],
        defines: BTreeMap::new(),
        faults: Vec::new(),
    };
    parser.variables.extend(dialect.variables().iter().map(|(name, _)| (*name).into()));
    let body = if text.len() > LONGEST {
        Err(parser.fault_at(0, format!("template limit: more than {LONGEST} bytes of text")))
    } else {
        parser.whole()
    };
    match body {
        Ok(body) if parser.faults.is_empty() => {
            let body = Arc::new(Tree { name: name.into(), source, body });
            Ok(Parsed { body, defines: parser.defines })
        }
        Ok(_) => Err(parser.faults),
        Err(fault) => {
            parser.faults.push(fault);
            Err(parser.faults)
        }
    }
}

/// Whether a body holds nothing but spaces and definitions.
pub(super) fn is_empty(tree: &Tree) -> bool {
    tree.body.iter().all(|node| match node {
        Node::Text { from, to } => tree.source.text[*from..*to].trim().is_empty(),
        _ => false,
    })
}

type Parse<T> = Result<T, TemplateError>;

struct Parser<'s> {
    dialect: Dialect,
    source: Arc<Source>,
    tokens: &'s [Token<'s>],
    /// What the lexer says of its last token.
    fault: &'s str,
    next: usize,
    depth: usize,
    /// How many loops are open, for `break` and `continue`.
    ranges: usize,
    /// Where the last keyword is, which may have ended a list of nodes.
    ender: usize,
    /// The variables that are declared here, innermost last.
    variables: Vec<Arc<str>>,
    defines: BTreeMap<Arc<str>, Arc<Tree>>,
    faults: Vec<TemplateError>,
}

/// What ended a list of nodes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ender {
    End,
    /// `{{else`, with the rest of the action still to come.
    Else,
    /// The end of the text.
    Text,
}

impl<'s> Parser<'s> {
    fn whole(&mut self) -> Parse<Vec<Node>> {
        let (nodes, ender) = self.nodes()?;
        match ender {
            Ender::Text => Ok(nodes),
            Ender::End => Err(self.fault_at(self.ender, "unexpected {{end}}")),
            Ender::Else => Err(self.fault_at(self.ender, "unexpected {{else}}")),
        }
    }

    /// Nodes up to what ends them.
    fn nodes(&mut self) -> Parse<(Vec<Node>, Ender)> {
        let mut nodes = Vec::new();
        loop {
            let token = self.advance();
            match token.kind {
                Kind::Text => {
                    let to = token.at + token.text.len();
                    nodes.push(Node::Text { from: token.at, to });
                }
                Kind::Open => {
                    let word = self.peek_word();
                    if word.kind != Kind::Keyword {
                        let pipe = self.pipe("command", Kind::Close)?;
                        nodes.push(Node::Action(pipe));
                        continue;
                    }
                    self.advance_word();
                    self.ender = word.at;
                    match word.text {
                        "end" => {
                            self.close("end")?;
                            return Ok((nodes, Ender::End));
                        }
                        "else" => return Ok((nodes, Ender::Else)),
                        "define" if self.depth == 0 => self.define()?,
                        "define" => return Err(self.unexpected(word, "command")),
                        keyword => nodes.push(self.keyword(keyword)?),
                    }
                }
                Kind::End => return Ok((nodes, Ender::Text)),
                _ => return Err(self.unexpected(token, "input")),
            }
        }
    }

    fn keyword(&mut self, keyword: &str) -> Parse<Node> {
        match keyword {
            "if" => self.deeper(|parser| parser.branches(false)),
            "with" => self.deeper(|parser| parser.branches(true)),
            "range" => self.deeper(Self::range),
            "template" => self.template(),
            "block" => self.deeper(Self::block),
            "break" | "continue" if self.ranges == 0 => {
                Err(self.error(format!("{{{{{keyword}}}}} outside {{{{range}}}}")))
            }
            "break" => self.close("break").map(|()| Node::Break),
            _ => self.close("continue").map(|()| Node::Continue),
        }
    }

    /// `if` or `with`, from behind the keyword to its end.
    fn branches(&mut self, with: bool) -> Parse<Node> {
        let keyword = if with { "with" } else { "if" };
        let outside = self.variables.len();
        let mut branches = Vec::new();
        let mut otherwise = Vec::new();
        loop {
            let pipe = self.pipe(keyword, Kind::Close)?;
            let before = self.variables.len();
            let (body, ender) = self.inner_nodes()?;
            self.variables.truncate(before);
            branches.push((pipe, body));
            if ender == Ender::End {
                break;
            }
            let next = self.peek_word();
            if next.kind == Kind::Keyword && next.text == keyword {
                self.advance_word();
                continue;
            }
            otherwise = self.otherwise()?;
            break;
        }
        self.variables.truncate(outside);
        Ok(Node::If { with, branches, otherwise })
    }

    fn range(&mut self) -> Parse<Node> {
        let outside = self.variables.len();
        let pipe = self.pipe("range", Kind::Close)?;
        self.ranges += 1;
        let (body, ender) = self.inner_nodes()?;
        self.ranges -= 1;
        self.variables.truncate(outside);
        let otherwise = if ender == Ender::Else { self.otherwise()? } else { Vec::new() };
        Ok(Node::Range { pipe, body, otherwise })
    }

    /// The last branch, from behind `{{else` to the end of the block.
    fn otherwise(&mut self) -> Parse<Vec<Node>> {
        self.close("else")?;
        let before = self.variables.len();
        let (nodes, ender) = self.inner_nodes()?;
        self.variables.truncate(before);
        match ender {
            Ender::End => Ok(nodes),
            _ => Err(self.fault_at(self.ender, "expected end; found {{else}}")),
        }
    }

    /// Nodes up to an `end` or `else`.
    fn inner_nodes(&mut self) -> Parse<(Vec<Node>, Ender)> {
        match self.nodes()? {
            (_, Ender::Text) => Err(self.error("unexpected EOF")),
            found => Ok(found),
        }
    }

    fn template(&mut self) -> Parse<Node> {
        let at = self.peek_word().at;
        let name = self.template_name("template clause")?;
        let ends = self.peek_word().kind == Kind::Close;
        let pipe = if ends {
            self.close("template clause")?;
            None
        } else {
            Some(self.pipe("template clause", Kind::Close)?)
        };
        Ok(Node::Template(Call { at, name, pipe }))
    }

    /// `define` and its body, from behind the keyword.
    fn define(&mut self) -> Parse<()> {
        let name = self.template_name("define clause")?;
        self.close("define clause")?;
        let body = self.deeper(Self::definition)?;
        self.add(name, body)
    }

    fn block(&mut self) -> Parse<Node> {
        let at = self.peek_word().at;
        let name = self.template_name("block clause")?;
        let pipe = self.pipe("block clause", Kind::Close)?;
        let body = self.definition()?;
        self.add(Arc::clone(&name), body)?;
        Ok(Node::Template(Call { at, name, pipe: Some(pipe) }))
    }

    /// The body of a template of its own: nothing that was declared outside is known in it.
    fn definition(&mut self) -> Parse<Vec<Node>> {
        let outside = std::mem::replace(&mut self.variables, vec!["$".into()]);
        let ranges = std::mem::take(&mut self.ranges);
        let (body, ender) = self.inner_nodes()?;
        self.variables = outside;
        self.ranges = ranges;
        match ender {
            Ender::End => Ok(body),
            _ => Err(self.fault_at(self.ender, "unexpected {{else}} in define clause")),
        }
    }

    fn add(&mut self, name: Arc<str>, body: Vec<Node>) -> Parse<()> {
        let tree = Tree { name: Arc::clone(&name), source: Arc::clone(&self.source), body };
        let filled = !is_empty(&tree);
        match self.defines.get(&name) {
            Some(before) if !is_empty(before) && filled => {
                Err(self
                    .error(format!("template: multiple definition of template {}", quoted(&name))))
            }
            Some(before) if !is_empty(before) => Ok(()),
            _ => {
                self.defines.insert(name, Arc::new(tree));
                Ok(())
            }
        }
    }

    fn template_name(&mut self, context: &str) -> Parse<Arc<str>> {
        let token = self.advance_word();
        match token.kind {
            Kind::Quoted | Kind::Raw => self.text_literal(token).map(Arc::from),
            _ => Err(self.unexpected(token, context)),
        }
    }

    /// The end of an action.
    fn close(&mut self, context: &str) -> Parse<()> {
        let token = self.advance_word();
        match token.kind {
            Kind::Close => Ok(()),
            _ => Err(self.unexpected(token, context)),
        }
    }

    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parse<T>) -> Parse<T> {
        if self.depth >= DEEPEST {
            return Err(self.error("max expression depth exceeded"));
        }
        self.depth += 1;
        let result = parse(self);
        self.depth -= 1;
        result
    }

    fn peek(&self) -> Token<'s> {
        // The last token is the end or a fault; nobody gets past it.
        self.tokens[self.next.min(self.tokens.len() - 1)]
    }

    fn advance(&mut self) -> Token<'s> {
        let token = self.peek();
        self.next = (self.next + 1).min(self.tokens.len());
        token
    }

    fn peek_word(&mut self) -> Token<'s> {
        while self.peek().kind == Kind::Space {
            self.next += 1;
        }
        self.peek()
    }

    fn advance_word(&mut self) -> Token<'s> {
        self.peek_word();
        self.advance()
    }

    fn unexpected(&self, token: Token<'s>, context: &str) -> TemplateError {
        let shown = match token.kind {
            Kind::Fault => return self.fault_at(token.at, self.fault),
            Kind::End => "EOF".to_owned(),
            Kind::Keyword => format!("<{}>", token.text),
            _ if token.text.chars().count() > 10 => {
                let short: String = token.text.chars().take(10).collect();
                format!("{}...", quoted(&short))
            }
            _ => quoted(token.text),
        };
        self.fault_at(token.at, format!("unexpected {shown} in {context}"))
    }

    /// An error at the token that was taken last.
    fn error(&self, message: impl Into<String>) -> TemplateError {
        let last = self.tokens[self.next.saturating_sub(1).min(self.tokens.len() - 1)];
        self.fault_at(last.at, message)
    }

    fn fault_at(&self, at: usize, message: impl Into<String>) -> TemplateError {
        let (place, _) = place_of(&self.source.text, at);
        TemplateError::Syntax(Fault {
            template: self.source.name.to_string(),
            place,
            message: shortened(message.into()),
            executing: None,
        })
    }

    /// Notes a fault after which the rest can still be read.
    fn report(&mut self, fault: TemplateError) -> Parse<()> {
        if self.faults.len() + 1 >= MOST_FAULTS {
            return Err(fault);
        }
        self.faults.push(fault);
        Ok(())
    }
}
