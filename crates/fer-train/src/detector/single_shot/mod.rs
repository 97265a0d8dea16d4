//! Training a single-shot detector.
//!
//! Annotations that a [`teacher`] completes become the [`corpus`]. A crop is drawn as a [`layout`] of patches and becomes
//! pixels and targets ([`view`]). The network's outputs are compared with them cell by cell ([`batch`]): [`assign`] says which
//! cell learns which face, [`loss`] how far it is off. [`train`] is the loop, [`run_folder`] its files. [`refinement`] then trains
//! the network that judges each box.

pub mod assign;
pub mod batch;
pub mod config;
pub mod corpus;
pub mod dual;
mod grow;
pub mod layout;
pub mod loss;
pub mod refinement;
pub mod run_folder;
pub mod state;
pub mod teacher;
pub mod train;
pub mod view;
