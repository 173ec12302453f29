//! The door from outside: real requests over real sockets, and a queue that the test holds in its hand.
//!
//! The modules are `cfg(test)` so that clippy takes their `unwrap` for what it is.

#[cfg(test)]
mod answers;
#[cfg(test)]
mod binary;
#[cfg(test)]
mod credentials;
#[cfg(test)]
mod envelopes;
#[cfg(test)]
mod gathering;
#[cfg(test)]
mod handshakes;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod queue;
#[cfg(test)]
mod shutdown;
#[cfg(test)]
mod spool;
#[cfg(test)]
mod unsubscribe;
