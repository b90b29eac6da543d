//! What a probe found.
//!
//! Invariant: every outcome that is not [`Status::Ok`] has a reason other than [`Reason::None`].

mod component;

use std::fmt;

use base::family::MetricFamily;

pub use component::{Component, Tree};

/// How it is, in the order in which a person wants to know: the numbers are a plugin's exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// As it should be.
    Ok = 0,
    /// Works, but needs a look.
    Warning = 1,
    /// Does not work.
    Critical = 2,
    /// The probe cannot tell.
    Unknown = 3,
}

impl Status {
    /// Every status, by its number.
    pub const ALL: [Self; 4] = [Self::Ok, Self::Warning, Self::Critical, Self::Unknown];

    /// The number that plugins exit with.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The word in lower case: `ok`, `warning`, `critical`, `unknown`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Critical => "critical",
            Self::Unknown => "unknown",
        }
    }

    /// The worse of both: critical, then unknown, then warning.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        let rank = |status| match status {
            Self::Ok => 0,
            Self::Warning => 1,
            Self::Unknown => 2,
            Self::Critical => 3,
        };
        if rank(other) > rank(self) { other } else { self }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal,)*) => {
        /// Why it is not as it should be: a closed set, so that it can be a label.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $($(#[doc = $doc])+ $name,)*
        }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The reason as a label value.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What it means, for people.
            pub fn meaning(self) -> String {
                match self { $(Self::$name => concat!($($doc),+).trim().to_owned(),)* }
            }

            /// The reason that has `text` as its label value.
            pub fn from_label(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|reason| reason.as_str() == text)
            }
        }
    };
}

reasons! {
    /// Nothing is wrong.
    None = "none",
    /// What was measured is over a limit, or a plugin says so by its exit code.
    Threshold = "threshold",
    /// The time was up.
    Timeout = "timeout",
    /// The program does not exist.
    ProgramMissing = "program-missing",
    /// The program may not be executed, or its interpreter is missing.
    NotExecutable = "not-executable",
    /// Somebody else could change the program.
    InsecureProgram = "insecure-program",
    /// The system could not start the program.
    StartFailed = "start-failed",
    /// A signal ended the program.
    Killed = "killed",
    /// The program was stopped because it started too many others.
    TooManyProcesses = "too-many-processes",
    /// The program ended with a code that means nothing.
    ExitCode = "exit-code",
    /// The output is not in the form that was declared.
    OutputInvalid = "output-invalid",
    /// There was more output than is read.
    OutputTooLong = "output-too-long",
    /// The name does not exist.
    NoSuchName = "no-such-name",
    /// The name could not be resolved.
    ResolveFailed = "resolve-failed",
    /// Nothing listens there.
    ConnectionRefused = "connection-refused",
    /// There is no way there.
    Unreachable = "unreachable",
    /// The peer hung up.
    ConnectionReset = "connection-reset",
    /// The certificate is past its time, or before it.
    CertificateExpired = "certificate-expired",
    /// The certificate is for another name.
    CertificateName = "certificate-name",
    /// The certificate is from nobody that we trust.
    CertificateUntrusted = "certificate-untrusted",
    /// Nobody but its owner vouches for the certificate.
    CertificateSelfSigned = "certificate-self-signed",
    /// The peer does not show that its certificate is not revoked.
    StapleMissing = "staple-missing",
    /// The server shows that its certificate was revoked.
    CertificateRevoked = "certificate-revoked",
    /// The peer does not offer to encrypt the connection.
    StarttlsMissing = "starttls-missing",
    /// The TLS handshake failed otherwise.
    TlsFailed = "tls-failed",
    /// What came back is not the protocol.
    ProtocolError = "protocol-error",
    /// The answer is larger than is read.
    AnswerTooLarge = "answer-too-large",
    /// The answer has not what it should, or has what it should not.
    AnswerMismatch = "answer-mismatch",
    /// The peer answers that it failed.
    ErrorAnswer = "error-answer",
    /// The peer says that it is not ready to serve.
    NotServing = "not-serving",
    /// The peer does not take who we say we are.
    AuthenticationFailed = "authentication-failed",
    /// The peer did not do what was asked in a query.
    QueryFailed = "query-failed",
    /// The answer is not vouched for by DNSSEC.
    DnssecMissing = "dnssec-missing",
    /// No packet came back.
    NoReply = "no-reply",
    /// The host shows another key than it should.
    HostKeyMismatch = "host-key-mismatch",
    /// The system does not let us.
    PermissionDenied = "permission-denied",
    /// The HTTP status is not one of those wanted.
    HttpStatus = "http-status",
    /// The body has not what it should, or has what it should not.
    BodyMismatch = "body-mismatch",
    /// A header is missing, or has not the value it should.
    HeaderMismatch = "header-mismatch",
    /// The body is larger than is read.
    BodyTooLarge = "body-too-large",
    /// The configuration does not allow to look there.
    TargetNotAllowed = "target-not-allowed",
    /// A redirect leads nowhere, in a circle, or where it may not.
    BadRedirect = "bad-redirect",
    /// The proxy does not let us through, or not there.
    ProxyFailed = "proxy-failed",
    /// Who should give us a token does not.
    TokenFailed = "token-failed",
    /// The connection is not encrypted and should be, or the other way round.
    TlsPolicy = "tls-policy",
    /// A file that should be there is not.
    FileMissing = "file-missing",
    /// A file or a list of the kernel could not be read.
    CannotRead = "cannot-read",
    /// A file has not the content that it should.
    ChecksumMismatch = "checksum-mismatch",
    /// Lines were found as often as they should not be.
    PatternFound = "pattern-found",
    /// A unit is not in the state that it should be.
    UnitState = "unit-state",
    /// Nobody listens where somebody should.
    PortClosed = "port-closed",
    /// Somebody listens where nobody should.
    PortUnexpected = "port-unexpected",
    /// A program of the system that was asked has failed.
    ToolFailed = "tool-failed",
    /// A part of the host could not be read.
    CollectorFailed = "collector-failed",
    /// A part of the application does not work, by its own word.
    ComponentFailed = "component-failed",
    /// What was asked leads back to ourselves.
    LeadsBack = "leads-back",
    /// A series that should be there is missing.
    SeriesMissing = "series-missing",
    /// Whoever should have reported has not, or not in time.
    NotReported = "not-reported",
    /// The job itself says that it failed.
    JobFailed = "job-failed",
    /// It has not run yet.
    NeverRun = "never-run",
    /// A fault of our own.
    Internal = "internal",
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A number that a probe measured, with the limits that it has for it: Nagios performance data.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measurement {
    /// What was measured.
    pub label: String,
    /// The value, as written by the plugin.
    pub value: f64,
    /// The unit as written: empty, `s`, `ms`, `us`, `%`, `B`, `KB`, `MB`, `GB`, `TB`, `c`, or any.
    pub unit: String,
    /// The warning range as written.
    pub warn: Option<String>,
    /// The critical range as written.
    pub crit: Option<String>,
    /// The smallest value there can be.
    pub min: Option<f64>,
    /// The largest value there can be.
    pub max: Option<f64>,
}

/// What a probe found.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// How it is.
    pub status: Status,
    /// Why it is so.
    pub reason: Reason,
    /// One line for a person.
    pub summary: String,
    /// Further lines for a person; may be empty.
    pub details: String,
    /// Numbers.
    pub measurements: Vec<Measurement>,
    /// Metrics.
    pub families: Vec<MetricFamily>,
    /// What a program ended with, where it came to its own end.
    pub exit_code: Option<i32>,
    /// What the application says of its parts; boxed, as it is large and rare.
    pub tree: Box<Tree>,
}

impl Outcome {
    /// All is well; `summary` says what was seen.
    pub fn ok(summary: impl Into<String>) -> Self {
        Self::new(Status::Ok, Reason::None, summary)
    }

    /// Something does not work.
    pub fn critical(reason: Reason, summary: impl Into<String>) -> Self {
        Self::new(Status::Critical, reason, summary)
    }

    /// The probe cannot tell.
    pub fn unknown(reason: Reason, summary: impl Into<String>) -> Self {
        Self::new(Status::Unknown, reason, summary)
    }

    /// An outcome without numbers.
    pub fn new(status: Status, reason: Reason, summary: impl Into<String>) -> Self {
        Self {
            status,
            reason,
            summary: summary.into(),
            details: String::new(),
            measurements: Vec::new(),
            families: Vec::new(),
            exit_code: None,
            tree: Box::default(),
        }
    }

    /// Makes it at least as bad as `status`, which then says why.
    pub(crate) fn worsen(&mut self, status: Status, reason: Reason, why: &str) {
        if self.status.worse(status) == self.status {
            if status != Status::Ok {
                self.summary = format!("{}; {why}", self.summary);
            }
            return;
        }
        self.summary = format!("{why}; {}", self.summary);
        (self.status, self.reason) = (status, reason);
    }

    /// The outcome with one more family.
    #[must_use]
    pub fn with_family(mut self, family: MetricFamily) -> Self {
        self.families.push(family);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_is_what_a_person_must_know_first() {
        use Status::{Critical, Ok, Unknown, Warning};
        let worst = |all: &[Status]| all.iter().fold(Ok, |a, b| a.worse(*b));
        assert_eq!(worst(&[Ok, Warning, Ok]), Warning);
        assert_eq!(worst(&[Critical, Unknown]), Critical);
        assert_eq!(worst(&[Unknown, Warning]), Unknown);
    }

    #[test]
    fn reasons_are_label_values_of_their_own() {
        let mut texts: Vec<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert!(texts.iter().all(|t| t.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')));
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), Reason::ALL.len());
    }
}
