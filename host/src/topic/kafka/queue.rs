//! The records of one partition as librdkafka has them: a queue that is served many at a time, without a lock and an event for each.
//!
//! The safe wrapper takes one record at a time, and tells of the end of a partition without its offset. `rd_kafka_consume_batch_queue`
//! counts the end of a partition as a consumed record (librdkafka 2.12), so that a pause of the partition, which every rebalance makes,
//! would skip the next one; serving by callback does not.

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr;
use std::sync::Arc;

use rdkafka::bindings as native;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;

use crate::record::Header;
use crate::store::Signal;

/// A partition's own queue; it exists no longer than its consumer.
pub(super) struct Queue<C: ConsumerContext> {
    queue: *mut native::rd_kafka_queue_t,
    /// The callback's argument.
    _signal: Arc<Signal>,
    consumer: Arc<BaseConsumer<C>>,
}

// SAFETY: librdkafka's queues may be used from any thread.
unsafe impl<C: ConsumerContext> Send for Queue<C> {}

unsafe extern "C" fn raise(_: *mut native::rd_kafka_t, signal: *mut c_void) {
    // SAFETY: the signal outlives the callback, which is removed before it is dropped.
    unsafe { (*signal.cast::<Signal>()).raise() }
}

impl<C: ConsumerContext> Queue<C> {
    /// Splits the partition's queue off the consumer's; the signal is raised when it becomes non-empty. Call it before the partition is
    /// assigned.
    pub(super) fn split(consumer: &Arc<BaseConsumer<C>>, topic: &str, partition: u32, signal: Arc<Signal>) -> Option<Queue<C>> {
        let topic = CString::new(topic).ok()?;
        // SAFETY: the client is alive, and the queue is checked; the signal is kept beside it.
        unsafe {
            let client = consumer.client().native_ptr();
            let queue = native::rd_kafka_queue_get_partition(client, topic.as_ptr(), partition as i32);
            if queue.is_null() {
                return None;
            }
            native::rd_kafka_queue_forward(queue, ptr::null_mut());
            native::rd_kafka_queue_cb_event_enable(queue, Some(raise), Arc::as_ptr(&signal).cast_mut().cast());
            Some(Queue { queue, _signal: signal, consumer: consumer.clone() })
        }
    }

    /// Hands what is there to `each`, in order, until that answers that it has enough.
    pub(super) fn serve<F: FnMut(&Fetched) -> Enough>(&mut self, each: F) {
        let mut serving = Serving { each, client: self.consumer.client().native_ptr() };
        // SAFETY: the callback runs on this thread within the call, while `serving` is alive.
        unsafe {
            let opaque = ptr::from_mut(&mut serving).cast();
            native::rd_kafka_consume_callback_queue(self.queue, 0, Some(served::<F>), opaque);
        }
    }
}

/// Whether a queue is to be served no further.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Enough {
    Yes,
    No,
}

struct Serving<F> {
    each: F,
    client: *mut native::rd_kafka_t,
}

unsafe extern "C" fn served<F: FnMut(&Fetched) -> Enough>(message: *mut native::rd_kafka_message_t, opaque: *mut c_void) {
    // SAFETY: given by `serve`, which waits; the message is alive within this call.
    let (serving, fetched) = unsafe { (&mut *opaque.cast::<Serving<F>>(), &*message.cast::<Fetched>()) };
    if (serving.each)(fetched) == Enough::Yes {
        // SAFETY: asks the dispatcher of this thread to stop; the rest stays in the queue.
        unsafe { native::rd_kafka_yield(serving.client) }
    }
}

impl<C: ConsumerContext> Drop for Queue<C> {
    fn drop(&mut self) {
        // SAFETY: the consumer is alive; the callback goes before its argument.
        unsafe {
            native::rd_kafka_queue_cb_event_enable(self.queue, None, ptr::null_mut());
            native::rd_kafka_queue_destroy(self.queue);
        }
    }
}

/// A record, or what there is instead of one, in the client's memory.
#[repr(transparent)]
pub(super) struct Fetched(native::rd_kafka_message_t);

/// What was fetched.
pub(super) enum What {
    Record,
    /// The end of the partition; the offset is the next one, behind transaction markers.
    End,
    Failed(RDKafkaErrorCode),
}

impl Fetched {
    pub(super) fn what(&self) -> What {
        match RDKafkaErrorCode::from(self.0.err) {
            RDKafkaErrorCode::NoError => What::Record,
            RDKafkaErrorCode::PartitionEOF => What::End,
            error => What::Failed(error),
        }
    }

    pub(super) fn offset(&self) -> i64 {
        self.0.offset
    }

    /// ms since 1970.
    pub(super) fn timestamp(&self) -> i64 {
        // SAFETY: the message is alive, and the kind of timestamp is not asked for.
        unsafe { native::rd_kafka_message_timestamp(&self.0, ptr::null_mut()) }
    }

    pub(super) fn key(&self) -> Option<&[u8]> {
        // SAFETY: key and length belong together.
        (!self.0.key.is_null()).then(|| unsafe { std::slice::from_raw_parts(self.0.key.cast(), self.0.key_len) })
    }

    pub(super) fn value(&self) -> Option<&[u8]> {
        // SAFETY: payload and length belong together.
        (!self.0.payload.is_null()).then(|| unsafe { std::slice::from_raw_parts(self.0.payload.cast(), self.0.len) })
    }

    pub(super) fn headers(&self) -> Vec<Header> {
        let mut headers = Vec::new();
        // SAFETY: names and values live as long as the message; all of them are copied.
        unsafe {
            let mut list = ptr::null_mut();
            if RDKafkaErrorCode::from(native::rd_kafka_message_headers(&self.0, &mut list)) != RDKafkaErrorCode::NoError {
                return headers;
            }
            let (mut name, mut value, mut len): (*const c_char, *const c_void, usize) = (ptr::null(), ptr::null(), 0);
            loop {
                let got = native::rd_kafka_header_get_all(list, headers.len(), &mut name, &mut value, &mut len);
                if RDKafkaErrorCode::from(got) != RDKafkaErrorCode::NoError {
                    return headers;
                }
                let bytes = (!value.is_null()).then(|| std::slice::from_raw_parts(value.cast::<u8>(), len).to_vec());
                headers.push((CStr::from_ptr(name).to_string_lossy().into_owned(), bytes));
            }
        }
    }
}
