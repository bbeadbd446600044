//! `[redis]`: its settings (`keys.rs`), and what those about servers, logins and TLS come to, taken together.

pub(crate) mod keys;
mod login;
mod modes;
pub(crate) mod servers;
mod url;

use std::path::Path;

use crate::config::environment::Secrets;
use crate::config::report::Report;
use crate::config::section::Section;
use crate::config::sections::redis::keys::{Redis, ServerKeys};

/// Reads `[redis]`; relative paths are taken from `folder`. A `pool_size` of 0 is left as it is: the
/// number of workers is not known here.
pub(crate) fn read(
    section: &mut Section,
    secrets: &Secrets,
    folder: &Path,
    report: &mut Report,
) -> Option<Redis> {
    let keys = ServerKeys::read(section, report)?.in_folder(folder);
    let (servers, login, tls) = modes::settle(keys, secrets, report);
    Redis::read(section, report, servers, login, tls)
}
