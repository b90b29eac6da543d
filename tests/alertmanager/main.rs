//! The same things said to a real Alertmanager and to us, and what both make of them.
//!
//! ```text
//!            ┌─▶ Alertmanager ─▶ webhooks ─┐
//! the test ──┤                             ├─▶ compare
//!            └─▶ veilleur     ─▶ webhooks ─┘
//! ```
//!
//! `DIFFERENTIAL_SEED` asks for other random streams, `DIFFERENTIAL_ROUNDS` for longer ones. The
//! Alertmanager is looked for among the peers that `tests/peers/fetch.sh` unpacks. Without it the
//! tests say so and prove nothing; under `CI` they fail then.
//!
//! Invariant: where we differ on purpose, `docs/compatibility.md` says so, and the test names it.

mod random;
mod plan;
mod sides;
mod document;
mod requests;
mod amtool;
mod configurations;
mod clients;
mod stream;
