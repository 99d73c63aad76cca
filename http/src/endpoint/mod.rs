//! Exchanges folded into rows by endpoint.
