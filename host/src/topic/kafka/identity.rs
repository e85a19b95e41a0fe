//! The id of a topic: one that was deleted and made again has another, though name and offsets look the same (Kafka's KIP-516).
//!
//! Neither the safe wrapper nor librdkafka's metadata tells it; and a consumer whose topic is made anew goes on at its old offset as soon
//! as the new topic reaches it (librdkafka 2.12, `rd_kafka_topic_metadata_update`).

use std::ffi::{CStr, CString};
use std::ptr;
use std::time::Duration;

use rdkafka::bindings as native;
use rdkafka::client::ClientContext;
use rdkafka::consumer::ConsumerContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// What brokers answer that give topics no ids.
const NONE: &str = "AAAAAAAAAAAAAAAAAAAAAA";

/// Asks the cluster, whatever the client remembers. `None`: its topics have no ids.
pub(super) fn topic_id<C: ClientContext + ConsumerContext>(
    client: &BaseConsumer<C>,
    topic: &str,
    within: Duration,
) -> Result<Option<String>, KafkaError> {
    let topic = CString::new(topic)?;
    let client = client.client().native_ptr();
    // SAFETY: the client is alive; what is made here is destroyed here, and the answer is read before it is.
    unsafe {
        let kind = native::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
        let options = native::rd_kafka_AdminOptions_new(client, kind);
        native::rd_kafka_AdminOptions_set_request_timeout(options, within.as_millis() as i32, ptr::null_mut(), 0);
        let queue = native::rd_kafka_queue_new(client);
        let asked = native::rd_kafka_TopicCollection_of_topic_names([topic.as_ptr()].as_mut_ptr(), 1);
        native::rd_kafka_DescribeTopics(client, asked, options, queue);
        // It answers within the options' time, also where no broker does.
        let event = native::rd_kafka_queue_poll(queue, -1);
        let found = read(event);
        native::rd_kafka_event_destroy(event);
        native::rd_kafka_TopicCollection_destroy(asked);
        native::rd_kafka_queue_destroy(queue);
        native::rd_kafka_AdminOptions_destroy(options);
        found
    }
}

/// # Safety
/// The event is alive.
unsafe fn read(event: *mut native::rd_kafka_event_t) -> Result<Option<String>, KafkaError> {
    let check = |code: native::rd_kafka_resp_err_t| match RDKafkaErrorCode::from(code) {
        RDKafkaErrorCode::NoError => Ok(()),
        code => Err(KafkaError::AdminOp(code)),
    };
    // SAFETY: what is read belongs to the event; there are as many topics as were asked for.
    unsafe {
        check(native::rd_kafka_event_error(event))?;
        let result = native::rd_kafka_event_DescribeTopics_result(event);
        let mut count = 0;
        let topics = native::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        if count == 0 {
            return Err(KafkaError::AdminOp(RDKafkaErrorCode::UnknownTopicOrPartition));
        }
        let topic = *topics;
        check(native::rd_kafka_error_code(native::rd_kafka_TopicDescription_error(topic)))?;
        let id = native::rd_kafka_Uuid_base64str(native::rd_kafka_TopicDescription_topic_id(topic));
        let id = CStr::from_ptr(id).to_string_lossy().into_owned();
        Ok((id != NONE).then_some(id))
    }
}
