//! The codes of diagnostics. A code never changes its meaning and is never used again; `codes.md` explains each.

pub const UNREADABLE_FILE: &str = "TM001";
pub const SYNTAX: &str = "TM002";
pub const UNKNOWN_KEY: &str = "TM003";
pub const WRONG_TYPE: &str = "TM004";
pub const MISSING_KEY: &str = "TM005";
pub const UNKNOWN_VALUE: &str = "TM006";
pub const OUT_OF_RANGE: &str = "TM007";
pub const BAD_FORMAT: &str = "TM008";
pub const UNRESOLVED_VARIABLE: &str = "TM009";
pub const BAD_VARIABLE: &str = "TM010";
pub const UNKNOWN_PROFILE: &str = "TM011";
pub const UNKNOWN_NAME_IN_PROFILE: &str = "TM012";
pub const BAD_SET: &str = "TM013";
pub const BAD_NAME: &str = "TM014";
pub const DUPLICATE_NAME: &str = "TM015";
pub const BAD_ADDRESS: &str = "TM016";
pub const BAD_SECRET: &str = "TM017";
pub const KEYS_CONFLICT: &str = "TM018";
pub const KEY_NOT_USED: &str = "TM019";
pub const UNREADABLE_SAMPLE: &str = "TM020";
pub const NOT_YET: &str = "TM021";

pub const BAD_URL: &str = "TM030";
pub const BAD_CRON: &str = "TM031";
pub const RESULTS_TOO_MANY: &str = "TM032";
pub const UNKNOWN_NATIONALITY: &str = "TM033";
pub const GENDER_BESIDE_SEED: &str = "TM034";
pub const SEED_TRAP: &str = "TM035";
pub const UNKNOWN_USER_FIELD: &str = "TM036";
pub const BAD_HEADER: &str = "TM037";
pub const BAD_NEXT: &str = "TM038";

pub const BAD_PLUGIN_PATH: &str = "TM040";
pub const BAD_FIELD_NAME: &str = "TM041";
pub const BAD_TABLE: &str = "TM042";
pub const BAD_COLUMN_NAME: &str = "TM043";
pub const NO_PARTITION_KEY: &str = "TM044";
pub const NO_COLUMNS: &str = "TM045";
pub const BAD_TEST: &str = "TM046";
pub const BAD_KEY_TYPE: &str = "TM047";
pub const BAD_GRANT: &str = "TM048";
pub const SECRET_IN_THE_CLEAR: &str = "TM049";

pub const FIELD_NOT_THERE: &str = "TM050";
pub const FIELD_OF_OTHER_KIND: &str = "TM051";
pub const FIELD_SOMETIMES_ABSENT: &str = "TM052";
pub const FIELD_INSIDE_WRITTEN: &str = "TM053";
pub const BAD_WRITE: &str = "TM054";
pub const WRITTEN_UNREAD: &str = "TM055";
pub const WRITTEN_TWICE: &str = "TM056";
pub const COLUMN_OF_OTHER_TYPE: &str = "TM057";
pub const FIELD_IN_TWO_KINDS: &str = "TM058";
pub const KEY_NOT_IN_PAYLOAD: &str = "TM059";
pub const KEYS_DISAGREE: &str = "TM060";
pub const DELETE_WITHOUT_KEY: &str = "TM061";
pub const SAMPLE_NOT_USED: &str = "TM062";
pub const BAD_CHART: &str = "TM063";

pub const PROPERTY_OF_THE_HOST: &str = "TM090";
pub const BAD_PROPERTY: &str = "TM091";
pub const BROKER_UNREACHABLE: &str = "TM092";
pub const BROKER_REFUSES: &str = "TM093";
pub const TOPIC_MISSING: &str = "TM094";
pub const TOPIC_DIFFERS: &str = "TM095";

pub const PLUGIN_MISSING: &str = "TM070";
pub const PLUGIN_INVALID: &str = "TM071";
pub const PLUGIN_START: &str = "TM072";
pub const PLUGIN_NOT_GRANTED: &str = "TM073";

pub const CLUSTER_UNREACHABLE: &str = "TM080";
pub const CLUSTER_REFUSES: &str = "TM081";
pub const KEYSPACE_MISSING: &str = "TM082";
pub const TABLE_MISSING: &str = "TM083";
pub const COLUMN_MISSING: &str = "TM084";
pub const COLUMN_DIFFERS: &str = "TM085";
pub const KEY_DIFFERS: &str = "TM086";
pub const DATACENTER_MISSING: &str = "TM087";

/// What is wrong with these is not in the file.
pub const OF_THE_ENVIRONMENT: &[&str] = &[CLUSTER_UNREACHABLE, CLUSTER_REFUSES, BROKER_UNREACHABLE, BROKER_REFUSES];
