//! Tests of the screen: its pictures, its behaviour, and what holds for all of them.

mod behaviour;
mod properties;
mod screens;
