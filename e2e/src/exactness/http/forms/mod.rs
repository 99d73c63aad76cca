//! The forms of HTTP, each as a script.

mod bodies;
mod ends;
mod heads;
mod http2;
mod switching;

use super::dialogue::Dialogue;

/// Returns all scripts.
pub(super) fn all() -> Vec<Dialogue> {
    [heads::all(), bodies::all(), ends::all(), switching::all(), http2::all()].into_iter().flatten().collect()
}

/// Makes a script, whose turns `write` adds.
fn script(name: &'static str, write: impl FnOnce(&mut Dialogue)) -> Dialogue {
    let mut dialogue = Dialogue::new(name);
    write(&mut dialogue);
    dialogue
}
