//! Exports: a bundle in other forms.

pub mod bundle;
pub mod keras;
