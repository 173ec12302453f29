//! The dashboard, as a browser without script sees it.

mod browser;
mod finding;
mod live;
mod overview;
mod reconciliations;
mod reveal;
mod sign_in;
mod suppressions;
mod targets;
mod trouble;

use super::*;
use browser::Browser;
