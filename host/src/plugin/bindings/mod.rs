//! One file per released folder of `wit/`. An older one is converted to the newest here, and nowhere else.

pub mod v0_1;
