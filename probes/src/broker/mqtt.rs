//! MQTT 3.1.1: CONNECT, a ping.
//!
//! Invariant: no session stays behind: it is a clean one, with a name that nobody else has.

use ring::rand::{SecureRandom, SystemRandom};

use super::Login;
use crate::Reason;
use crate::wire::{Failed, Wire};

pub(super) async fn login(wire: &mut Wire, login: &Login) -> Result<(), Failed> {
    let mut random = [0; 8];
    let filled = SystemRandom::new().fill(&mut random);
    filled.map_err(|_| Failed::new(Reason::Internal, "the system has no random numbers"))?;
    let name: String = random.iter().map(|byte| format!("{byte:02x}")).collect();

    // A clean session; whether there is a user name and a password.
    let mut flags = 0x02;
    let mut texts = vec![format!("veilleur{name}")];
    if let Some(username) = &login.username {
        flags |= 0x80;
        texts.push(username.clone());
        if let Some(password) = login.password() {
            flags |= 0x40;
            texts.push(password.to_owned());
        }
    }
    let mut body = b"\0\x04MQTT\x04".to_vec();
    body.push(flags);
    body.extend_from_slice(&60_u16.to_be_bytes());
    for text in texts {
        body.extend_from_slice(&u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
        body.extend_from_slice(text.as_bytes());
    }
    let mut packet = vec![0x10];
    let mut length = body.len();
    loop {
        let more = if length > 0x7f { 0x80 } else { 0 };
        packet.push((length & 0x7f) as u8 | more);
        length >>= 7;
        if length == 0 {
            break;
        }
    }
    packet.extend_from_slice(&body);
    wire.send(&packet).await?;

    if wire.peek(2).await? != [0x20, 2] {
        let said = wire.unread().to_vec();
        return Err(Failed::protocol("MQTT", &said));
    }
    let code = wire.exact(4).await?[3];
    let (reason, what) = match code {
        0 => return Ok(()),
        1 => (Reason::ErrorAnswer, "does not speak MQTT 3.1.1"),
        2 => (Reason::ErrorAnswer, "does not take our name"),
        3 => (Reason::NotServing, "is not available"),
        4 => (Reason::AuthenticationFailed, "does not take the user name or the password"),
        5 => (Reason::AuthenticationFailed, "does not let us in"),
        _ => return Err(Failed::protocol("MQTT", &[code])),
    };
    Err(Failed::new(reason, format!("the broker {what}")))
}

pub(super) async fn ping(wire: &mut Wire) -> Result<(), Failed> {
    wire.send(&[0xc0, 0]).await?;
    let answer = wire.exact(2).await?;
    if answer != [0xd0, 0] {
        return Err(Failed::protocol("MQTT", &answer));
    }
    // A farewell; that it does not arrive changes nothing.
    let _ = wire.send(&[0xe0, 0]).await;
    Ok(())
}
