//! A bundle in other forms.

pub mod bundle;
pub mod keras;
