//! Why a service will never take a message, and whether the message is to blame.
//!
//! Invariant: it reads as its text, so that whoever only shows it need not know the difference.

use std::fmt;
use std::ops::Deref;

/// Why a message was refused for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    text: String,
    blames_message: bool,
}

impl Refusal {
    /// The address, the credentials or the service is at fault: it would refuse any message.
    pub fn of_the_receiver(text: impl Into<String>) -> Self {
        Self { text: text.into(), blames_message: false }
    }

    /// The message may be at fault: its size, its form or its content.
    pub fn of_the_message(text: impl Into<String>) -> Self {
        Self { text: text.into(), blames_message: true }
    }

    /// Whether another message may be taken.
    pub fn blames_message(&self) -> bool {
        self.blames_message
    }
}

impl Deref for Refusal {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
