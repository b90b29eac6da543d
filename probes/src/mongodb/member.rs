//! What a server is among others, and how the others are.
//!
//! Invariant: how far a member is behind is told only where there is a primary to be behind of.

use super::bson::{Bson, Document};
use crate::Reason;
use crate::wire::Failed;

/// The roles as they are written in a configuration.
pub(super) const ROLES: [&str; 5] = ["primary", "secondary", "arbiter", "standalone", "router"];

/// What a server says that it is, by its answer to `hello`; nothing while it is none of these.
pub(super) fn role(hello: &Document) -> Option<&'static str> {
    let writes = hello.is("isWritablePrimary") || hello.is("ismaster");
    if hello.text("msg") == Some("isdbgrid") {
        Some("router")
    } else if hello.text("setName").is_none() {
        writes.then_some("standalone")
    } else if writes {
        Some("primary")
    } else if hello.is("secondary") {
        Some("secondary")
    } else if hello.is("arbiterOnly") {
        Some("arbiter")
    } else {
        None
    }
}

/// How a replica set is.
#[derive(Debug, PartialEq)]
pub(super) struct Set {
    /// How many members there are.
    pub(super) members: usize,
    /// How many of them do not answer, or are in a state in which they do not serve.
    pub(super) down: usize,
    /// How many seconds the slowest secondary is behind the primary.
    pub(super) lag: f64,
}

/// What `replSetGetStatus` says.
pub(super) fn set(status: &Document) -> Result<Set, Failed> {
    let Some(Bson::Array(members)) = status.get("members") else {
        return Err(Failed::new(Reason::ProtocolError, "the status of the replica set is empty"));
    };
    let members: Vec<&Document> = members
        .iter()
        .filter_map(|member| match member {
            Bson::Document(member) => Some(member),
            _ => None,
        })
        .collect();
    let state = |member: &Document| member.number("state").unwrap_or(f64::NAN);
    let at = |member: &&Document| match member.get("optimeDate") {
        Some(Bson::Date(at)) => Some(*at),
        _ => None,
    };
    // 1 is a primary, 2 a secondary, 7 an arbiter.
    let primary = members.iter().copied().find(|member| state(member) == 1.0);
    let Some(newest) = primary.as_ref().and_then(at) else {
        let summary = "the replica set has no primary";
        return Err(Failed::new(Reason::NotServing, summary));
    };
    let secondaries = members.iter().copied().filter(|member| state(member) == 2.0);
    let oldest = secondaries.filter_map(|member| at(&member)).min().unwrap_or(newest);
    let serves = |member: &Document| {
        // A member does not tell of its own health.
        member.number("health").unwrap_or(1.0) != 0.0 && [1.0, 2.0, 7.0].contains(&state(member))
    };
    Ok(Set {
        members: members.len(),
        down: members.iter().filter(|member| !serves(member)).count(),
        lag: (newest.saturating_sub(oldest).max(0)) as f64 / 1000.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(set: bool, flags: &[&str]) -> Document {
        let begin = Document::of("ok", Bson::Double(1.0));
        let begin = if set { begin.with("setName", Bson::Text("rs".to_owned())) } else { begin };
        flags.iter().fold(begin, |hello, flag| hello.with(flag, Bson::Bool(true)))
    }

    #[test]
    fn a_server_is_what_it_says() {
        for (set, flags, expected) in [
            (false, &["isWritablePrimary"][..], Some("standalone")),
            (false, &["ismaster"], Some("standalone")),
            (true, &["isWritablePrimary"], Some("primary")),
            (true, &["ismaster"], Some("primary")),
            (true, &["secondary"], Some("secondary")),
            (true, &["arbiterOnly"], Some("arbiter")),
            (true, &[], None),
            (false, &[], None),
        ] {
            assert_eq!(role(&hello(set, flags)), expected, "{set} {flags:?}");
        }
        let router = hello(false, &["ismaster"]).with("msg", Bson::Text("isdbgrid".to_owned()));
        assert_eq!(role(&router), Some("router"));
    }

    /// Members by state, seconds of their last operation, and health.
    fn status(members: &[(i32, i64, f64)]) -> Document {
        let member = |(state, at, health): &(i32, i64, f64)| {
            let member = Document::of("state", Bson::Int(*state));
            let member = member.with("optimeDate", Bson::Date(1000 * at));
            Bson::Document(member.with("health", Bson::Double(*health)))
        };
        Document::of("members", Bson::Array(members.iter().map(member).collect()))
    }

    #[test]
    fn the_slowest_secondary_is_what_counts() {
        let check = |members: &[_], expected: (usize, usize, f64)| {
            let Set { members, down, lag } = set(&status(members)).unwrap();
            assert_eq!((members, down, lag), expected);
        };
        check(&[(1, 100, 1.0)], (1, 0, 0.0));
        check(&[(1, 100, 1.0), (2, 90, 1.0), (2, 40, 1.0)], (3, 0, 60.0));
        check(&[(1, 100, 1.0), (2, 101, 1.0), (7, 0, 1.0)], (3, 0, 0.0));
        check(&[(1, 100, 1.0), (8, 0, 0.0), (3, 0, 1.0)], (3, 2, 0.0));
    }

    #[test]
    fn without_a_primary_nobody_is_behind() {
        assert_eq!(set(&status(&[(2, 100, 1.0)])).unwrap_err().reason, Reason::NotServing);
        assert_eq!(set(&Document::default()).unwrap_err().reason, Reason::ProtocolError);
    }
}
