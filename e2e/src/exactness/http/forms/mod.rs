//! The forms of HTTP, each a script.

mod bodies;
mod ends;
mod heads;
mod http2;
mod switching;

use super::dialogue::Dialogue;

/// Every script.
pub(super) fn all() -> Vec<Dialogue> {
    [heads::all(), bodies::all(), ends::all(), switching::all(), http2::all()].into_iter().flatten().collect()
}

/// A script, written by a function.
fn script(name: &'static str, write: impl FnOnce(&mut Dialogue)) -> Dialogue {
    let mut dialogue = Dialogue::new(name);
    write(&mut dialogue);
    dialogue
}
