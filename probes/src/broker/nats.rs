//! NATS: INFO, CONNECT, a ping.
//!
//! Invariant: who we are is said after the TLS handshake, where there is one.

use serde_json::{Value, json};

use super::Login;
use crate::Reason;
use crate::text::shown_line;
use crate::wire::{Failed, Wire};

/// Waits for the server's greeting; returns its version.
pub(super) async fn greeting(wire: &mut Wire) -> Result<String, Failed> {
    let line = wire.line().await?;
    let info = line.strip_prefix(b"INFO ").and_then(|json| serde_json::from_slice(json).ok());
    let info: Value = info.ok_or_else(|| Failed::protocol("NATS", &line))?;
    Ok(shown_line(info["version"].as_str().unwrap_or("server").as_bytes(), 50))
}

pub(super) async fn ping(wire: &mut Wire, login: &Login) -> Result<(), Failed> {
    let mut connect = json!({
        "verbose": false, "pedantic": false, "tls_required": false, "name": "veilleur",
        "lang": "rust", "version": env!("CARGO_PKG_VERSION"), "protocol": 0,
    });
    match (&login.username, login.password()) {
        (Some(username), Some(password)) => {
            connect["user"] = json!(username);
            connect["pass"] = json!(password);
        }
        (None, Some(token)) => connect["auth_token"] = json!(token),
        _ => {}
    }
    wire.send(format!("CONNECT {connect}\r\nPING\r\n").as_bytes()).await?;
    for _ in 0..20 {
        let line = wire.line().await?;
        if line == b"PONG" {
            return Ok(());
        }
        if let Some(error) = line.strip_prefix(b"-ERR") {
            let said = shown_line(error, 200);
            let refused = said.to_ascii_lowercase().contains("auth");
            let reason = if refused { Reason::AuthenticationFailed } else { Reason::ErrorAnswer };
            return Err(Failed::new(reason, format!("the server answers {said}")));
        }
        if line != b"+OK" && line != b"PING" && !line.starts_with(b"INFO ") {
            return Err(Failed::protocol("NATS", &line));
        }
    }
    Err(Failed::new(Reason::ProtocolError, "20 lines came, and none answers the ping"))
}
