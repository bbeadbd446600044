//! The kinds of values that settings have: each file knows one, its bounds, and what is said of a bad one.

pub(crate) mod number;
pub(crate) mod fraction;
pub(crate) mod duration;
pub(crate) mod text;
pub(crate) mod file;
pub(crate) mod host;
pub(crate) mod listen;
pub(crate) mod path;
pub(crate) mod http_url;
