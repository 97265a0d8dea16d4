//! Figures as pictures and pages: charts, contact sheets, HTML.

pub mod charts;
pub mod compare;
pub mod page;
pub mod sheet;
pub mod summary;
