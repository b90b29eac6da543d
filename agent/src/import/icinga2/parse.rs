//! Icinga's language as far as configurations use it: objects, templates, rules, constants.
//!
//! Invariant: what is not understood is passed over with its brackets, and is told.

use super::lex::Token;

/// How deep expressions may be.
const MAX_DEPTH: usize = 64;

/// An expression.
#[derive(Clone, Debug)]
pub(super) enum Expr {
    Text(String),
    Number(f64),
    Truth(bool),
    Null,
    Name(String),
    List(Vec<Expr>),
    Dictionary(Vec<Setting>),
    Member(Box<Expr>, Box<Expr>),
    Call(Box<Expr>, Vec<Expr>),
    Not(Box<Expr>),
    Two(Box<Expr>, &'static str, Box<Expr>),
    /// One of two, by a condition.
    Choice(Box<Expr>, Box<Expr>, Box<Expr>),
    /// What runs when a check does.
    Code(String),
}

/// A step of code.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Var(String, Expr),
    If(Expr, Vec<Step>, Vec<Step>),
    Return(Expr),
    Value(Expr),
}

/// What stands in a body.
#[derive(Clone, Debug)]
pub(super) enum Setting {
    Import(Expr),
    Set { path: Vec<Expr>, sign: &'static str, value: Expr },
    Assign(Expr),
    Ignore(Expr),
    Odd(String),
}

/// How a rule repeats.
#[derive(Clone, Debug)]
pub(super) struct For {
    pub(super) key: String,
    pub(super) value: Option<String>,
    pub(super) over: Expr,
}

/// What a file says at its top.
#[derive(Clone, Debug)]
pub(super) enum Statement {
    Include { path: String, is_recursive: bool, is_library: bool },
    Constant { name: String, value: Expr },
    Object { kind: String, name: Expr, is_template: bool, body: Vec<Setting> },
    Apply { kind: String, name: Option<Expr>, repeat: Option<For>, body: Vec<Setting> },
    Odd(String),
}

/// The statements with their lines.
pub(super) fn parse(tokens: &[(Token, usize)]) -> Vec<(Statement, usize)> {
    let mut parser = Parser { tokens, at: 0, depth: 0 };
    let mut found = Vec::new();
    loop {
        parser.skip_lines();
        let (begin, line) = (parser.at, parser.line());
        if parser.peek().is_none() {
            return found;
        }
        let statement = parser.statement().unwrap_or_else(|| {
            parser.at = begin;
            Statement::Odd(parser.pass_over())
        });
        found.push((statement, line));
    }
}

/// The steps of a piece of code; `None` where it is more than that.
pub(super) fn steps(tokens: &[(Token, usize)]) -> Option<Vec<Step>> {
    let mut parser = Parser { tokens, at: 0, depth: 0 };
    let found = parser.steps()?;
    parser.peek().is_none().then_some(found)
}

struct Parser<'t> {
    tokens: &'t [(Token, usize)],
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(token, _)| token)
    }

    fn line(&self) -> usize {
        self.tokens.get(self.at).map_or(0, |(_, line)| *line)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.peek().cloned();
        self.at += 1;
        token
    }

    fn is(&self, sign: &str) -> bool {
        matches!(self.peek(), Some(Token::Sign(own)) if *own == sign)
    }

    fn eat(&mut self, sign: &str) -> bool {
        let is = self.is(sign);
        self.at += usize::from(is);
        is
    }

    fn word(&mut self, word: &str) -> bool {
        let is = matches!(self.peek(), Some(Token::Name(own)) if own == word);
        self.at += usize::from(is);
        is
    }

    fn skip_lines(&mut self) {
        while matches!(self.peek(), Some(Token::NewLine | Token::Sign(";" | ","))) {
            self.at += 1;
        }
    }

    /// Goes to the end of what stands here, with the brackets in it; returns how it begins.
    fn pass_over(&mut self) -> String {
        let (mut open, mut begins) = (0_usize, String::new());
        let first = self.at;
        while let Some(token) = self.peek() {
            match token {
                Token::Sign("{" | "(" | "[") => open += 1,
                Token::Sign("}" | ")" | "]") if open == 0 && self.at > first => break,
                Token::Sign("}" | ")" | "]") => open = open.saturating_sub(1),
                Token::NewLine | Token::Sign(";") if open == 0 => break,
                Token::Name(name) if begins.len() < 40 => {
                    begins.push_str(if begins.is_empty() { "" } else { " " });
                    begins.push_str(name);
                }
                _ => {}
            }
            self.at += 1;
        }
        begins
    }

    fn statement(&mut self) -> Option<Statement> {
        let Token::Name(word) = self.next()? else { return None };
        match word.as_str() {
            "include" | "include_recursive" => {
                let is_recursive = word == "include_recursive";
                let (path, is_library) = match self.next()? {
                    Token::Text(path) => (path, false),
                    Token::Library(path) => (path, true),
                    _ => return None,
                };
                if self.eat(",") {
                    self.pass_over();
                }
                Some(Statement::Include { path, is_recursive, is_library })
            }
            "const" | "var" => {
                let Token::Name(name) = self.next()? else { return None };
                if !self.eat("=") {
                    return None;
                }
                Some(Statement::Constant { name, value: self.expr()? })
            }
            "object" | "template" => {
                let Token::Name(kind) = self.next()? else { return None };
                let name = self.expr()?;
                // `ignore_on_error`, `default` and their like.
                while matches!(self.peek()?, Token::Name(_)) {
                    self.at += 1;
                }
                let is_template = word == "template";
                Some(Statement::Object { kind, name, is_template, body: self.body()? })
            }
            "apply" => {
                let Token::Name(kind) = self.next()? else { return None };
                let is_for = matches!(self.peek(), Some(Token::Name(word)) if word == "for");
                let name = if self.is("{") || is_for { None } else { Some(self.expr()?) };
                let repeat = if self.word("for") { Some(self.repeat()?) } else { None };
                if self.word("to") {
                    self.next();
                }
                self.word("use").then(|| self.pass_over());
                Some(Statement::Apply { kind, name, repeat, body: self.body()? })
            }
            _ => None,
        }
    }

    fn repeat(&mut self) -> Option<For> {
        self.eat("(").then_some(())?;
        let Token::Name(key) = self.next()? else { return None };
        let mut value = None;
        if self.eat("=>") {
            let Token::Name(name) = self.next()? else { return None };
            value = Some(name);
        }
        self.word("in").then_some(())?;
        let over = self.expr()?;
        self.eat(")").then_some(For { key, value, over })
    }

    fn body(&mut self) -> Option<Vec<Setting>> {
        self.eat("{").then_some(())?;
        let mut found = Vec::new();
        loop {
            self.skip_lines();
            if self.eat("}") {
                return Some(found);
            }
            self.peek()?;
            let begin = self.at;
            let setting = self.setting().unwrap_or_else(|| {
                self.at = begin;
                Setting::Odd(self.pass_over())
            });
            found.push(setting);
        }
    }

    fn setting(&mut self) -> Option<Setting> {
        if self.word("import") {
            return Some(Setting::Import(self.expr()?));
        }
        if self.word("assign") {
            return self.word("where").then(|| self.expr()).flatten().map(Setting::Assign);
        }
        if self.word("ignore") {
            return self.word("where").then(|| self.expr()).flatten().map(Setting::Ignore);
        }
        let mut path = match self.next()? {
            Token::Name(name) | Token::Text(name) => vec![Expr::Text(name)],
            _ => return None,
        };
        loop {
            if self.eat(".") {
                let Token::Name(name) = self.next()? else { return None };
                path.push(Expr::Text(name));
            } else if self.eat("[") {
                path.push(self.expr()?);
                self.eat("]").then_some(())?;
            } else {
                break;
            }
        }
        let sign = ["=", "+=", "-="].into_iter().find(|sign| self.eat(sign))?;
        while matches!(self.peek(), Some(Token::NewLine)) {
            self.at += 1;
        }
        let value = self.expr()?;
        // What goes on behind an expression is no setting that we know.
        let ends =
            matches!(self.peek(), None | Some(Token::NewLine | Token::Sign("}" | ";" | ",")));
        ends.then_some(Setting::Set { path, sign, value })
    }

    fn expr(&mut self) -> Option<Expr> {
        self.depth += 1;
        let found = if self.depth > MAX_DEPTH { None } else { self.choice() };
        self.depth -= 1;
        found
    }

    fn choice(&mut self) -> Option<Expr> {
        let condition = self.level(0)?;
        if !self.eat("?") {
            return Some(condition);
        }
        let then = self.expr()?;
        self.eat(":").then_some(())?;
        Some(Expr::Choice(Box::new(condition), Box::new(then), Box::new(self.expr()?)))
    }

    /// The steps up to a bracket that closes, or the end.
    fn steps(&mut self) -> Option<Vec<Step>> {
        let mut found = Vec::new();
        loop {
            self.skip_lines();
            if self.peek().is_none() || self.is("}") {
                return Some(found);
            }
            found.push(self.step()?);
        }
    }

    fn step(&mut self) -> Option<Step> {
        if self.word("var") {
            let Token::Name(name) = self.next()? else { return None };
            self.eat("=").then_some(())?;
            return Some(Step::Var(name, self.expr()?));
        }
        if self.word("return") {
            return Some(Step::Return(self.expr()?));
        }
        if self.word("if") {
            self.eat("(").then_some(())?;
            let condition = self.expr()?;
            self.eat(")").then_some(())?;
            let then = self.block()?;
            let otherwise = if !self.word("else") {
                Vec::new()
            } else if self.is("{") {
                self.block()?
            } else {
                self.depth += 1;
                let nested = if self.depth > MAX_DEPTH { None } else { self.step() };
                self.depth -= 1;
                vec![nested?]
            };
            return Some(Step::If(condition, then, otherwise));
        }
        Some(Step::Value(self.expr()?))
    }

    fn block(&mut self) -> Option<Vec<Step>> {
        self.eat("{").then_some(())?;
        self.depth += 1;
        let found = if self.depth > MAX_DEPTH { None } else { self.steps() };
        self.depth -= 1;
        self.eat("}").then_some(found?)
    }

    fn level(&mut self, level: usize) -> Option<Expr> {
        const LEVELS: [&[&str]; 5] = [
            &["||"],
            &["&&"],
            &["==", "!=", "<=", ">=", "<", ">", "!in", "in"],
            &["+", "-"],
            &["*", "/"],
        ];
        let Some(signs) = LEVELS.get(level) else { return self.unary() };
        let mut left = self.level(level + 1)?;
        loop {
            let found = signs.iter().find(|sign| {
                self.is(sign)
                    || (**sign == "in" && matches!(self.peek(), Some(Token::Name(n)) if n == "in"))
            });
            let Some(sign) = found else { return Some(left) };
            self.at += 1;
            while matches!(self.peek(), Some(Token::NewLine)) {
                self.at += 1;
            }
            left = Expr::Two(Box::new(left), sign, Box::new(self.level(level + 1)?));
        }
    }

    fn unary(&mut self) -> Option<Expr> {
        let mut nots = 0;
        while self.eat("!") {
            nots += 1;
        }
        let minus = self.eat("-");
        let mut found = self.primary()?;
        loop {
            if self.eat(".") {
                let Token::Name(name) = self.next()? else { return None };
                found = Expr::Member(Box::new(found), Box::new(Expr::Text(name)));
            } else if self.eat("[") {
                found = Expr::Member(Box::new(found), Box::new(self.expr()?));
                self.eat("]").then_some(())?;
            } else if self.eat("(") {
                found = Expr::Call(Box::new(found), self.items(")")?);
            } else {
                break;
            }
        }
        if minus {
            found = Expr::Two(Box::new(Expr::Number(0.0)), "-", Box::new(found));
        }
        match nots {
            0 => Some(found),
            even if even % 2 == 0 => Some(Expr::Not(Box::new(Expr::Not(Box::new(found))))),
            _ => Some(Expr::Not(Box::new(found))),
        }
    }

    fn items(&mut self, end: &str) -> Option<Vec<Expr>> {
        let mut found = Vec::new();
        loop {
            self.skip_lines();
            if self.eat(end) {
                return Some(found);
            }
            found.push(self.expr()?);
        }
    }

    fn primary(&mut self) -> Option<Expr> {
        if self.is("{") {
            self.depth += 1;
            let body = if self.depth > MAX_DEPTH { None } else { self.body() };
            self.depth -= 1;
            return body.map(Expr::Dictionary);
        }
        match self.next()? {
            Token::Text(text) => Some(Expr::Text(text)),
            Token::Number(number) => Some(Expr::Number(number)),
            Token::Code(text) => Some(Expr::Code(text)),
            Token::Name(name) => Some(match name.as_str() {
                "true" => Expr::Truth(true),
                "false" => Expr::Truth(false),
                "null" => Expr::Null,
                "function" | "if" | "for" | "while" => return None,
                _ => Expr::Name(name),
            }),
            Token::Sign("[") => self.items("]").map(Expr::List),
            Token::Sign("(") => {
                let found = self.expr()?;
                self.eat(")").then_some(found)
            }
            _ => None,
        }
    }
}
