//! One page of an API, `{"results": […]}`, becomes its results, each as it stood.

use serde::Deserialize;
use serde_json::value::RawValue;
use tidemill_plugin::prelude::*;

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    results: Vec<&'a RawValue>,
}

struct SplitResults;

impl Messages for SplitResults {
    type Settings = NoSettings;

    fn start(_: NoSettings) -> Result<SplitResults, String> {
        Ok(SplitResults)
    }

    fn message(&mut self, incoming: Incoming) -> Outcome {
        let page = incoming.message;
        let Some(value) = &page.value else { return Outcome::Unchanged };
        match serde_json::from_slice::<Page>(value) {
            Ok(Page { results }) => Outcome::EmitMany(results.iter().map(|result| one(&page, result)).collect()),
            Err(error) => Outcome::Reject(format!("not a page with `results`: {error}")),
        }
    }
}

fn one(page: &Message, result: &RawValue) -> Message {
    let value = Some(result.get().as_bytes().to_vec());
    Message { key: page.key.clone(), value, timestamp: page.timestamp, headers: page.headers.clone() }
}

messages!(SplitResults);
