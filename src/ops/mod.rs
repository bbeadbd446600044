//! What operators and systemd meet: the admin door, health, and systemd's own protocols.

pub mod admin;
pub mod health;
pub mod systemd;
