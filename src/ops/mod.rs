//! What operators and systemd meet: the admin door, health, and systemd's own protocols.

pub(crate) mod admin;
pub(crate) mod gauges;
pub(crate) mod health;
pub(crate) mod systemd;
