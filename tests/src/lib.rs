//! What the acceptance tests, stories and conformance runners share.
