//! The two legs, which meet at the topic and know nothing of each other: ingest and deliver.
