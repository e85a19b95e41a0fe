//! The stand-in answers as the service does, with what it replaces and ignores silently.

use std::time::Duration;

use serde_json::Value;
use tidemill::stand_in::{Fault, Handle, Options, Switch};

use crate::world::{get, stand_in};

async fn json(server: &Handle, target: &str) -> Value {
    serde_json::from_slice(&get(server, target).await).unwrap_or_else(|error| panic!("{target}: {error}"))
}

async fn results(server: &Handle, query: &str) -> Value {
    json(server, &format!("/api/?{query}")).await["results"].take()
}

#[tokio::test]
async fn the_same_seed_page_and_size_are_the_same_bytes() {
    let server = stand_in(Options::default()).await;
    let target = "/api/?results=7&seed=s&page=3";
    assert_eq!(get(&server, target).await, get(&server, target).await);
    let other = results(&server, "results=7&seed=s&page=4").await;
    assert_ne!(json(&server, target).await["results"], other);
    assert_eq!(json(&server, target).await["info"], serde_json::json!({"seed": "s", "results": 7, "page": 3, "version": "1.4"}));
    assert!(json(&server, "/api/1.4/?results=1&seed=s&noinfo").await.get("info").is_none());
}

#[tokio::test]
async fn seed_and_page_are_joined() {
    let server = stand_in(Options::default()).await;
    assert_eq!(results(&server, "results=3&seed=a&page=11").await, results(&server, "results=3&seed=a1&page=1").await);
    assert_eq!(results(&server, "results=3&seed=a").await, results(&server, "results=3&seed=a&page=1").await);
}

#[tokio::test]
async fn a_page_is_no_slice_of_a_larger_one() {
    let server = stand_in(Options::default()).await;
    let twenty = results(&server, "results=20&seed=a&page=1").await;
    let second = results(&server, "results=10&seed=a&page=2").await;
    assert_ne!(twenty.as_array().unwrap()[10..], second.as_array().unwrap()[..]);
}

#[tokio::test]
async fn what_it_does_not_like_it_replaces_silently() {
    let server = stand_in(Options::default()).await;
    for results in ["0", "5001", "-1", "2.5", "many", ""] {
        assert_eq!(json(&server, &format!("/api/?seed=s&results={results}")).await["info"]["results"], 1, "{results}");
    }
    assert_eq!(json(&server, "/api/?seed=s&results=5000&inc=nat").await["results"].as_array().unwrap().len(), 5_000);
    for page in ["10001", "-1", "x"] {
        assert_eq!(json(&server, &format!("/api/?seed=s&page={page}")).await["info"]["page"], 1, "{page}");
    }
    assert_eq!(json(&server, "/api/?results=2&results=4&seed=s").await["info"]["results"], 4, "the last of a repeated one");
}

#[tokio::test]
async fn gender_counts_without_a_seed_only() {
    let server = stand_in(Options::default()).await;
    let women = results(&server, "results=40&gender=female").await;
    assert!(women.as_array().unwrap().iter().all(|user| user["gender"] == "female"));
    assert_eq!(results(&server, "results=40&seed=s&gender=female").await, results(&server, "results=40&seed=s").await);
}

#[tokio::test]
async fn nationalities_mark_the_seed_and_unknown_ones_let_all_come() {
    let server = stand_in(Options::default()).await;
    let french = json(&server, "/api/?results=20&seed=sixteen-chars-xy&nat=fr").await;
    assert!(french["results"].as_array().unwrap().iter().all(|user| user["nat"] == "FR"));
    let told = french["info"]["seed"].as_str().unwrap();
    assert_eq!(told.len(), 18);
    assert!(told.starts_with("sixteen-chars-xy"));
    assert_eq!(
        results(&server, &format!("results=20&seed={told}")).await,
        french["results"],
        "18 characters fix the nationality"
    );
    let all = results(&server, "results=40&seed=s").await;
    assert_eq!(results(&server, "results=40&seed=s&nat=fr,xx").await, all);
}

#[tokio::test]
async fn inc_and_exc_choose_fields_and_leave_their_values() {
    let server = stand_in(Options::default()).await;
    let whole = results(&server, "results=2&seed=s").await;
    let chosen = results(&server, "results=2&seed=s&inc=login,location,nonsense").await;
    for (whole, chosen) in whole.as_array().unwrap().iter().zip(chosen.as_array().unwrap()) {
        assert_eq!(chosen, &serde_json::json!({ "location": whole["location"], "login": whole["login"] }));
    }
    let without = results(&server, "results=2&seed=s&exc=login").await;
    assert!(without[0].get("login").is_none());
    assert_eq!(without[0]["name"], whole[0]["name"]);
}

#[tokio::test]
async fn the_request_that_crosses_the_limit_still_succeeds() {
    let options = Options { users_max: 100, window: Duration::from_secs(3_600), ..Options::default() };
    let server = stand_in(options).await;
    for _ in 0..2 {
        assert!(json(&server, "/api/?results=90&seed=s&inc=nat").await.get("results").is_some());
    }
    let refused = json(&server, "/api/?results=1&seed=s").await;
    assert!(refused.get("results").is_none() && refused["error"].is_string());
}

#[tokio::test]
async fn an_unknown_version_is_not_found() {
    let server = stand_in(Options::default()).await;
    assert!(get(&server, "/api/9.9/?results=1").await.is_empty());
    assert!(get(&server, "/").await.is_empty());
}

#[tokio::test]
async fn faults_are_switched_by_request_and_at_run_time() {
    let server = stand_in(Options::default()).await;
    assert!(get(&server, "/api/?results=1&fault=html").await.starts_with(b"<!doctype"));
    assert!(json(&server, "/api/?results=1").await.get("results").is_some());
    let client = reqwest_post(&server, "/stand-in/faults?set=error-200:1&set=503").await;
    assert_eq!(client, serde_json::json!({ "faults": ["error-200:1", "503"] }));
    assert!(json(&server, "/api/?results=1").await["error"].is_string());
    assert_eq!(json(&server, "/stand-in/faults").await, serde_json::json!({ "faults": ["503"] }));
    let refused = reqwest_post(&server, "/stand-in/faults?set=nonsense").await;
    assert!(refused["error"].as_str().unwrap().starts_with("there is no fault `nonsense`; there are 429,"));
    reqwest_post(&server, "/stand-in/faults").await;
    assert!(json(&server, "/api/?results=1").await.get("results").is_some());
}

async fn reqwest_post(server: &Handle, target: &str) -> Value {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(format!("POST {target} HTTP/1.1\r\ncontent-length: 0\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[test]
fn faults_are_named() {
    for (fault, name) in Fault::ALL {
        assert_eq!(name.parse::<Switch>().unwrap(), fault.always());
        assert_eq!(format!("{name}:3").parse::<Switch>().unwrap(), fault.times(3));
        assert_eq!(fault.times(3).to_string(), format!("{name}:3"));
    }
    assert!("503:0".parse::<Switch>().is_err());
    assert!("503:x".parse::<Switch>().is_err());
}
