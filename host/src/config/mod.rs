//! The pipeline file: as written (`file`), as planned (`plan`), and what can be wrong with it (`diagnostic`, `check`).

pub mod plan;
