//! The crate as its users see it.

mod export;
mod settings;
mod support;
