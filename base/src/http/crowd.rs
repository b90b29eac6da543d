//! Who is connected: how many, from where, and who gives way when there is no room.
//!
//! ```text
//! accept ─▶ enter(address) ─▶ Seat ─▶ connection ... dropped: the seat is free
//!                │ no room: whoever has waited longest for its own next request is asked to leave
//!                └ all are being answered: refused
//! ```
//!
//! Invariant: at most so many have a seat, and of one address at most so many; nobody whose request is
//! being answered is asked to leave, and one address can only push out its own before all is full.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

pub use super::io::Phase;

/// Those who are connected. Clones share the room.
#[derive(Clone, Debug)]
pub struct Crowd {
    seats: usize,
    seats_of_address: usize,
    there: Arc<Mutex<There>>,
}

#[derive(Debug, Default)]
struct There {
    /// How many have ever come.
    came: u64,
    /// The one who came first is first.
    present: Vec<Present>,
}

#[derive(Debug)]
struct Present {
    number: u64,
    address: IpAddr,
    phase: Phase,
    leave: CancellationToken,
}

/// A seat; free again when it is dropped.
#[derive(Debug)]
pub struct Seat {
    number: u64,
    crowd: Crowd,
}

impl Crowd {
    /// Room for `seats` in all, and for `seats_of_address` of one address.
    pub fn new(seats: usize, seats_of_address: usize) -> Self {
        Self { seats, seats_of_address, there: Arc::default() }
    }

    /// A seat for a connection from `address`, that knows by `phase` whether it is being answered and
    /// leaves when `leave` is cancelled; none where nobody can give way.
    pub fn enter(&self, address: IpAddr, phase: Phase, leave: CancellationToken) -> Option<Seat> {
        let address = network_of(address);
        let mut there = self.lock();
        let There { came, present } = &mut *there;
        let of_address = present.iter().filter(|other| other.address == address).count();
        if of_address >= self.seats_of_address {
            make_way(present, |other| other.address == address)?;
        } else if present.len() >= self.seats {
            make_way(present, |_| true)?;
        }
        *came += 1;
        present.push(Present { number: *came, address, phase, leave });
        Some(Seat { number: *came, crowd: self.clone() })
    }

    /// Asks those few who have waited longest to leave: something else than seats has run out.
    pub fn relieve(&self) {
        let present = &mut self.lock().present;
        for _ in 0..8 {
            make_way(present, |_| true);
        }
    }

    fn lock(&self) -> MutexGuard<'_, There> {
        self.there.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks the first of those who `may` leave and are not being answered.
fn make_way(present: &mut Vec<Present>, may: impl Fn(&Present) -> bool) -> Option<()> {
    let place = present.iter().position(|other| may(other) && !other.phase.is_busy())?;
    present.remove(place).leave.cancel();
    Some(())
}

impl Drop for Seat {
    fn drop(&mut self) {
        let present = &mut self.crowd.lock().present;
        if let Ok(place) = present.binary_search_by_key(&self.number, |other| other.number) {
            present.remove(place);
        }
    }
}

/// What one peer can choose its address from: of IPv6 it has a whole network.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => Ipv6Addr::from_bits(six.to_bits() & !0 << 64).into(),
        four @ IpAddr::V4(_) => four,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who comes, one character each, of the address by its letter; a capital is being answered.
    /// Returns who is there in the end, and `!` for each who was refused.
    #[track_caller]
    fn check(comers: &str, expected: &str) {
        let crowd = Crowd::new(5, 3);
        let (mut seats, mut refused, mut all) = (Vec::new(), String::new(), Vec::new());
        for letter in comers.chars() {
            let (phase, leave) = (Phase::default(), CancellationToken::new());
            if letter.is_uppercase() {
                phase.busy();
            }
            let address = IpAddr::from([10, 0, 0, letter.to_ascii_lowercase() as u8]);
            match crowd.enter(address, phase, leave.clone()) {
                Some(seat) => {
                    seats.push(seat);
                    all.push((letter, leave));
                }
                None => refused.push('!'),
            }
        }
        let there =
            all.iter().filter(|(_, leave)| !leave.is_cancelled()).map(|(letter, _)| *letter);
        assert_eq!(there.chain(refused.chars()).collect::<String>(), expected, "{comers}");
        drop(seats);
        assert!(crowd.lock().present.is_empty());
    }

    #[test]
    fn whoever_waits_longest_gives_way_f52() {
        check("abcde", "abcde");
        check("abcdef", "bcdef");
        check("Abcdef", "Acdef");
        check("ABCDEf", "ABCDE!");
    }

    #[test]
    fn one_address_pushes_out_its_own_f52() {
        check("baaaaaa", "baaa");
        check("bAaaaa", "bAaa");
        check("bAAAa", "bAAA!");
        check("bAAAac", "bAAAc!");
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let of = |text: &str| network_of(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1:2:3"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    }
}
