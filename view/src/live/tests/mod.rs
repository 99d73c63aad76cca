//! Tests of the screen: its pictures, and its behaviour.

mod screens;
