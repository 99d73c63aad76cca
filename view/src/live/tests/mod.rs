//! Tests of the screen: snapshots of its text, its behaviour, and properties of every screen.

mod behaviour;
mod properties;
mod screens;
