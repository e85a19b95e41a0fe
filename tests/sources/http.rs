//! Any JSON API: where its records are, how it pages, and what of it is refused.

use tidemill::config::plan::{HttpPlan, NextPage, Secret, SourceKind, SourcePlan};
use tidemill::pipeline::ingest::Ended;
use tidemill::record::Message;
use tidemill::source::{self, Error};

use crate::canned::Canned;
use crate::world::{World, plan};

fn http(url: &str, records_at: &str, next: NextPage) -> SourcePlan {
    let kind = HttpPlan {
        url: url.parse().unwrap(),
        method: "GET".to_owned(),
        headers: Vec::new(),
        query: Vec::new(),
        body: None,
        records_at: records_at.to_owned(),
        next,
    };
    plan(SourceKind::Http(kind), 10)
}

fn changed(mut plan: SourcePlan, change: impl FnOnce(&mut HttpPlan)) -> SourcePlan {
    if let SourceKind::Http(kind) = &mut plan.kind {
        change(kind);
    }
    plan
}

fn texts(messages: &[Message]) -> Vec<String> {
    messages.iter().map(|message| String::from_utf8(message.value.clone().unwrap()).unwrap()).collect()
}

/// All pages until the source is exhausted.
async fn all(plan: &SourcePlan) -> Vec<String> {
    let mut cursor = None;
    let mut found = Vec::new();
    loop {
        // Opened anew for each page: all that counts is in the cursor.
        let page = source::open(plan).unwrap().fetch(cursor.as_ref(), 10).await.unwrap();
        found.extend(texts(&page.messages));
        if page.exhausted {
            return found;
        }
        cursor = Some(page.next);
    }
}

fn parameter(target: &str, name: &str) -> Option<String> {
    let url = url::Url::parse("http://x").unwrap().join(target).unwrap();
    url.query_pairs().find(|(other, _)| other == name).map(|(_, value)| value.into_owned())
}

#[tokio::test]
async fn a_page_number_counts_until_a_page_is_empty() {
    let server = Canned::json(|target| match parameter(target, "p").unwrap().as_str() {
        "1" => r#"{"data": {"items": [{"a": 1}, {"a":  2}]}}"#.to_owned(),
        "2" => r#"{"data": {"items": [{"a": 3}]}}"#.to_owned(),
        _ => r#"{"data": {"items": []}}"#.to_owned(),
    })
    .await;
    let plan = http(&server.url("/v1?x=y"), "data.items", NextPage::Page { parameter: "p".to_owned(), first: 1 });
    assert_eq!(all(&plan).await, [r#"{"a": 1}"#, r#"{"a":  2}"#, r#"{"a": 3}"#], "as they stood");
    assert_eq!(server.targets(), ["/v1?x=y&p=1", "/v1?x=y&p=2", "/v1?x=y&p=3"]);
}

#[tokio::test]
async fn an_offset_counts_records() {
    let server = Canned::json(|target| match parameter(target, "skip").unwrap().as_str() {
        "0" => "[1, 2, 3]".to_owned(),
        "3" => "[4]".to_owned(),
        _ => "[]".to_owned(),
    })
    .await;
    let plan = http(&server.url("/"), "", NextPage::Offset { parameter: "skip".to_owned() });
    assert_eq!(all(&plan).await, ["1", "2", "3", "4"]);
}

#[tokio::test]
async fn a_token_leads_to_the_next_page_and_its_absence_ends() {
    let server = Canned::json(|target| match parameter(target, "after").as_deref() {
        None => r#"{"list": [1], "page": {"next": "b&c"}}"#.to_owned(),
        Some("b&c") => r#"{"list": [2], "page": {"next": 7}}"#.to_owned(),
        Some("7") => r#"{"list": [3], "page": {"next": null}}"#.to_owned(),
        other => panic!("{other:?}"),
    })
    .await;
    let next = NextPage::Token { parameter: "after".to_owned(), at: "page.next".to_owned() };
    let plan = http(&server.url("/"), "list", next);
    assert_eq!(all(&plan).await, ["1", "2", "3"]);
}

#[tokio::test]
async fn past_the_last_page_nothing_is_asked_again() {
    let server = Canned::json(|_| r#"{"list": [1]}"#.to_owned()).await;
    let next = NextPage::Token { parameter: "after".to_owned(), at: "next".to_owned() };
    let mut source = source::open(&http(&server.url("/"), "list", next)).unwrap();
    let last = source.fetch(None, 10).await.unwrap();
    assert!(last.exhausted);
    let past = source.fetch(Some(&last.next), 10).await.unwrap();
    assert!(past.exhausted && past.messages.is_empty());
    assert_eq!(past.next, last.next);
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_link_is_followed_on_its_own_host_only() {
    let server = Canned::json(|target| match target {
        "/first?k=v" => r#"{"list": [1], "links": [{"next": "/second?page=2"}]}"#.to_owned(),
        "/second?page=2&k=v" => r#"{"list": [2], "links": [{"next": "http://elsewhere.invalid/third"}]}"#.to_owned(),
        other => panic!("{other}"),
    })
    .await;
    let plan = http(&server.url("/first"), "list", NextPage::Link { at: "links.0.next".to_owned() });
    let plan = changed(plan, |kind| kind.query = vec![("k".to_owned(), Secret::from("v"))]);
    let mut source = source::open(&plan).unwrap();
    let first = source.fetch(None, 10).await.unwrap();
    let second = source.fetch(Some(&first.next), 10).await.unwrap();
    assert_eq!(texts(&second.messages), ["2"]);
    let error = source.fetch(Some(&second.next), 10).await.unwrap_err();
    assert_eq!(error.to_string(), "the next page's link leads to another host, http://elsewhere.invalid/third");
}

#[tokio::test]
async fn a_page_that_names_itself_as_the_next_one_is_refused() {
    let server = Canned::json(|_| r#"{"list": [1], "next": "x"}"#.to_owned()).await;
    let next = NextPage::Token { parameter: "after".to_owned(), at: "next".to_owned() };
    let mut source = source::open(&http(&server.url("/"), "list", next)).unwrap();
    let first = source.fetch(None, 10).await.unwrap();
    let error = source.fetch(Some(&first.next), 10).await.unwrap_err();
    assert!(error.to_string().contains("names the same page as the next one"), "{error}");
}

#[tokio::test]
async fn the_same_request_is_made_again_and_again() {
    let server = Canned::json(|_| r#"{"one": "record"}"#.to_owned()).await;
    let world = World::new().await;
    let mut plan = http(&server.url("/?secret=s"), "", NextPage::Same);
    plan.records = Some(3);
    assert_eq!(world.run(&plan).await, Ended::Reached);
    assert_eq!(world.values().await, vec![br#"{"one": "record"}"#.to_vec(); 3]);
}

#[tokio::test]
async fn method_headers_query_and_body_are_sent_and_secrets_not_shown() {
    let server = Canned::serve(|_| (403, String::new(), String::new())).await;
    let plan = changed(http(&server.url("/q"), "", NextPage::Same), |kind| {
        kind.method = "POST".to_owned();
        kind.headers = vec![("authorization".to_owned(), Secret::from("Bearer hush"))];
        kind.query = vec![("key".to_owned(), Secret::from("hush hush"))];
        kind.body = Some(r#"{"want": "users"}"#.to_owned());
    });
    let error = source::open(&plan).unwrap().fetch(None, 10).await.unwrap_err();
    assert!(error.to_string().contains("403 Forbidden: look at the secrets"), "{error}");
    assert!(!error.to_string().contains("hush"), "{error}");
    let request = server.requests().remove(0);
    assert!(request.starts_with("POST /q?key=hush+hush HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("authorization: Bearer hush\r\n"), "{request}");
    assert!(request.contains("accept-encoding: identity\r\n"), "{request}");
    assert!(request.ends_with("\r\n\r\n{\"want\": \"users\"}"), "{request}");
}

#[tokio::test]
async fn a_redirect_on_the_same_host_is_followed_with_its_headers() {
    let server = Canned::serve(|target| match target {
        "/old" => (301, "location: /new\r\n".to_owned(), String::new()),
        _ => (200, String::new(), "[1]".to_owned()),
    })
    .await;
    let plan = changed(http(&server.url("/old"), "", NextPage::Same), |kind| {
        kind.headers = vec![("x-key".to_owned(), Secret::from("k"))];
    });
    assert_eq!(texts(&source::open(&plan).unwrap().fetch(None, 10).await.unwrap().messages), ["1"]);
    assert!(server.requests()[1].contains("x-key: k\r\n"));
}

#[tokio::test]
async fn endless_redirects_to_ever_new_places_end() {
    let server = Canned::serve(|target| (302, format!("location: {target}x\r\n"), String::new())).await;
    let error = source::open(&http(&server.url("/"), "", NextPage::Same)).unwrap().fetch(None, 10).await.unwrap_err();
    assert!(error.to_string().ends_with("redirects more than 5 times"), "{error}");
}

#[tokio::test]
async fn answers_without_records_are_tried_again() {
    for (body, reason) in [
        (r#"{"other": []}"#, "has no `list`"),
        (r#"{"list": 7}"#, "is neither a list nor an object"),
        (r#"{"list": null}"#, "is neither a list nor an object"),
        (r#"{"error": "quota"}"#, "says: quota"),
        (r#"[{"list": []}]"#, "has no `list`"),
        ("", "is cut short after 0 bytes"),
        (r#"{"list": [1, 2"#, "is cut short after 14 bytes"),
        ("nothing here", "is not the JSON it should be"),
    ] {
        let server = Canned::json(move |_| body.to_owned()).await;
        let error = source::open(&http(&server.url("/"), "list", NextPage::Same)).unwrap().fetch(None, 10).await.unwrap_err();
        assert!(matches!(error, Error::Retry { .. }));
        assert!(error.to_string().contains(reason), "{body}: {error}");
    }
}

#[tokio::test]
async fn an_answer_that_is_an_error_alone_is_no_record() {
    let server = Canned::json(|_| r#"{"error": "quota"}"#.to_owned()).await;
    let error = source::open(&http(&server.url("/"), "", NextPage::Same)).unwrap().fetch(None, 10).await.unwrap_err();
    assert!(error.to_string().ends_with("says: quota"), "{error}");
}

#[tokio::test]
async fn another_way_to_page_is_another_stream() {
    let server = Canned::json(|_| "[1]".to_owned()).await;
    let by_page = http(&server.url("/"), "", NextPage::Page { parameter: "p".to_owned(), first: 1 });
    let by_offset = http(&server.url("/"), "", NextPage::Offset { parameter: "o".to_owned() });
    let first = source::open(&by_page).unwrap().fetch(None, 10).await.unwrap();
    let page = source::open(&by_offset).unwrap().fetch(Some(&first.next), 10).await.unwrap();
    assert!(page.notes[0].contains("another stream"));
    assert_eq!(server.targets(), ["/?p=1", "/?o=0"]);
}
