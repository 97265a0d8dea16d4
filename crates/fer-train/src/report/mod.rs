//! Results as files: charts, contact sheets, HTML pages, JSON.

pub mod alignment;
pub mod audit;
pub mod charts;
pub mod compare;
pub mod evaluation;
pub mod exploration;
pub mod folder;
pub mod lines;
pub mod sheet;
pub mod summary;
