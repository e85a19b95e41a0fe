//! Whole pipelines through the real binary: every column of every row, every dead letter and every position is compared with what an
//! independent native computation makes of the same records.

mod support;

#[path = "pipelines/changes.rs"]
mod changes;
#[path = "pipelines/dead_letters.rs"]
mod dead_letters;
#[path = "pipelines/disk.rs"]
mod disk;
#[path = "pipelines/hostile.rs"]
mod hostile;
#[path = "pipelines/mixed.rs"]
mod mixed;
#[path = "pipelines/unsynced.rs"]
mod unsynced;
#[path = "pipelines/users.rs"]
mod users;
