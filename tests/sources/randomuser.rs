//! The cursor of randomuser: which page comes next, and when it is another stream.

use serde_json::Value;
use tidemill::config::plan::{SourceKind, SourcePlan};
use tidemill::record::Message;
use tidemill::source::{self, Page};
use tidemill::stand_in::Options;
use tidemill::topic::Cursor;

use crate::world::{get, parsed, randomuser, stand_in, users};

fn changed(plan: &SourcePlan, change: impl FnOnce(&mut tidemill::config::plan::RandomUserPlan)) -> SourcePlan {
    let mut plan = plan.clone();
    if let SourceKind::RandomUser(kind) = &mut plan.kind {
        change(kind);
    }
    plan
}

async fn fetch(plan: &SourcePlan, cursor: Option<&Cursor>) -> Page {
    source::open(plan).unwrap().fetch(cursor, plan.records_per_poll).await.unwrap()
}

fn values(messages: Vec<Message>) -> Vec<Value> {
    parsed(&messages.into_iter().map(|message| message.value.unwrap()).collect::<Vec<_>>())
}

#[tokio::test]
async fn a_value_is_the_users_text_as_it_stood() {
    let server = stand_in(Options::default()).await;
    let page = fetch(&randomuser(&server.url(), 3), None).await;
    let body = get(&server, "/api/?results=3&seed=tidemill&page=1").await;
    let text = page.messages.iter().map(|message| String::from_utf8(message.value.clone().unwrap()).unwrap());
    let joined = text.collect::<Vec<_>>().join(",");
    assert!(String::from_utf8(body).unwrap().starts_with(&format!(r#"{{"results":[{joined}]"#)));
    assert!(page.messages.iter().all(|message| message.key.is_none()));
    assert_eq!(page.what, "seed tidemill, page 1");
}

#[tokio::test]
async fn past_page_10000_it_asks_for_a_derived_seed() {
    let server = stand_in(Options::default()).await;
    let plan = randomuser(&server.url(), 2);
    let mut cursor = fetch(&plan, None).await.next;
    cursor.0["page"] = 9_999.into();
    let last = fetch(&plan, Some(&cursor)).await;
    let first = fetch(&plan, Some(&last.next)).await;
    assert_eq!((last.what.as_str(), first.what.as_str()), ("seed tidemill, page 10000", "seed tidemill-a, page 1"));
    let asked = server.asked();
    assert_eq!(asked[1..], ["/api/?results=2&seed=tidemill&page=10000", "/api/?results=2&seed=tidemill-a&page=1"]);
    assert_ne!(values(last.messages), values(first.messages));
}

#[tokio::test]
async fn another_seed_size_nat_or_gender_is_another_stream() {
    let server = stand_in(Options::default()).await;
    let plan = randomuser(&server.url(), 2);
    let first = fetch(&plan, None).await;
    assert!(first.notes.is_empty());
    assert_eq!(fetch(&plan, Some(&first.next)).await.what, "seed tidemill, page 2");

    let mut larger = plan.clone();
    larger.records_per_poll = 3;
    let others = [
        changed(&plan, |kind| kind.seed = "other".to_owned()),
        changed(&plan, |kind| kind.nat = vec!["FR".to_owned()]),
        changed(&plan, |kind| kind.gender = Some("female".to_owned())),
        larger,
    ];
    for other in others {
        let page = fetch(&other, Some(&first.next)).await;
        assert!(page.what.ends_with("page 1"), "{}", page.what);
        assert!(page.notes.iter().any(|note| note.contains("another stream")), "{:?}", page.notes);
    }
    // What `inc` leaves has the same values, and the server may have moved.
    let fewer = changed(&plan, |kind| kind.inc = vec!["login".to_owned()]);
    assert_eq!(fetch(&fewer, Some(&first.next)).await.what, "seed tidemill, page 2");
}

#[tokio::test]
async fn gender_is_filtered_after_the_fetch_and_told() {
    let server = stand_in(Options::default()).await;
    let plan = changed(&randomuser(&server.url(), 20), |kind| kind.gender = Some("female".to_owned()));
    let page = fetch(&plan, None).await;
    let mut women = users(&server, 1..=1, 20).await;
    women.retain(|user| user["gender"] == "female");
    assert!(women.len() < 20);
    assert_eq!(values(page.messages), women);
    assert!(page.notes[0].contains("ignores gender when a seed is given"), "{:?}", page.notes);
    assert!(!server.asked()[0].contains("gender"));
}

#[tokio::test]
async fn nat_inc_and_exc_go_to_the_service() {
    let server = stand_in(Options::default()).await;
    let plan = changed(&randomuser(&server.url(), 5), |kind| {
        kind.nat = vec!["GB".to_owned()];
        kind.inc = vec!["login".to_owned(), "nat".to_owned()];
        kind.exc = vec!["id".to_owned()];
    });
    let page = fetch(&plan, None).await;
    assert_eq!(server.asked(), ["/api/?results=5&seed=tidemill&page=1&nat=GB&inc=login%2Cnat&exc=id"]);
    for user in values(page.messages) {
        assert_eq!(user["nat"], "GB");
        assert_eq!(user.as_object().unwrap().len(), 2);
    }
}
