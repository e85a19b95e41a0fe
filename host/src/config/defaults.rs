//! The default of every key, once: the schema shows them and the plan is made with them.

pub const EVERY: &str = "10s";
pub const EVERY_GENERATOR: &str = "1s";
pub const EVERY_FILE: &str = "0s";
pub const JITTER: &str = "0s";
pub const RECORDS_PER_POLL: u32 = 10;
pub const RECORDS_PER_POLL_FILE: u32 = 1_000;
pub const RANDOMUSER_URL: &str = "https://randomuser.me/api/";
pub const SEED: &str = "tidemill";
pub const METHOD: &str = "GET";
pub const TIMEOUT: &str = "30s";
pub const RESPONSE_LIMIT: &str = "64 MiB";
pub const AT: &str = "embedded";
pub const PARTITIONS: u32 = 1;
pub const RETENTION: &str = "7d or 1 GiB";
pub const NULL_VALUE: &str = "reject";
pub const MEMORY: &str = "256 MiB";
pub const BATCH_TIME: &str = "2s";
pub const CREATE: bool = true;
pub const COLUMN_TYPE: &str = "text";
pub const DEAD_LETTERS_TO: &str = "topic";
pub const STOP_WHEN: &str = "5% of 200";
pub const FIRST_PAGE: u64 = 1;
