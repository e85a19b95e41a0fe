//! What the charts show is what was delivered: counted once per offset, over partitions and restarts.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tidemill::source::generator::Seed;

use crate::http;
use crate::running::{Pipeline, Running};
use crate::support::wait_for;

const CHARTS: &str = r#"
[topic]
partitions = 2
key = "login.uuid"
[[dashboard.chart]]
field = "gender"
kind = "share"
[[dashboard.chart]]
field = "location.country"
kind = "top"
limit = 3
[[dashboard.chart]]
field = "registered.date"
kind = "timeline"
by = "year"
[[dashboard.chart]]
field = "registered.age"
kind = "number"
[[dashboard.chart]]
field = "dob.age"
kind = "histogram"
title = "Ages"
"#;

fn users(count: u64) -> Vec<Value> {
    let seed = Seed::new("tidemill");
    let user = |number| {
        let mut payload = Vec::new();
        seed.write_user(number, &mut payload);
        serde_json::from_slice(&payload).expect("a user is JSON")
    };
    (0..count).map(user).collect()
}

fn counted<K: Ord>(users: &[Value], key: impl Fn(&Value) -> K) -> BTreeMap<K, u64> {
    let mut counts = BTreeMap::new();
    users.iter().for_each(|user| *counts.entry(key(user)).or_default() += 1);
    counts
}

fn pairs(chart: &Value) -> Vec<(String, u64)> {
    let pair = |value: &Value| Some((value["name"].as_str()?.to_owned(), value["count"].as_u64()?));
    chart["values"].as_array().expect("values").iter().map(|value| pair(value).expect("a named count")).collect()
}

fn text(user: &Value, path: &str) -> String {
    user.pointer(path).and_then(Value::as_str).expect("a text").to_owned()
}

#[test]
fn charts_are_the_users_counted_one_by_one_also_after_a_restart() {
    let pipeline = Pipeline::of_users(120).and(CHARTS);
    for total in [120u64, 400] {
        let host = Running::start(&pipeline.file(), &["--port", "0", "--set", &format!("source.records={total}")]);
        let status = wait_for("all users in the charts", || {
            let status = http::get(host.address, "/api/status").json();
            (status["charts"][0]["counted"] == total).then_some(status)
        });
        let users = users(total);
        let [gender, country, registered, number, ages] = status["charts"].as_array().expect("charts").as_slice() else {
            panic!("{status}")
        };
        let by_count = |counts: BTreeMap<String, u64>| {
            let mut pairs: Vec<_> = counts.into_iter().collect();
            pairs.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
            pairs
        };
        assert_eq!(pairs(gender), by_count(counted(&users, |user| text(user, "/gender"))));
        let countries = by_count(counted(&users, |user| text(user, "/location/country")));
        assert_eq!(pairs(country), countries[..3]);
        assert_eq!(country["others"], countries[3..].iter().map(|(_, count)| count).sum::<u64>());
        let years: Vec<_> = counted(&users, |user| text(user, "/registered/date")[..4].to_owned()).into_iter().collect();
        assert_eq!(pairs(registered), years);
        let age = |user: &Value, of: &str| user[of]["age"].as_u64().expect("an age");
        let sum: u64 = users.iter().map(|user| age(user, "registered")).sum();
        assert_eq!(number["number"]["sum"], json!(sum as f64));
        assert_eq!(number["number"]["max"], json!(users.iter().map(|user| age(user, "registered")).max().unwrap() as f64));
        assert_eq!(ages["title"], "Ages");
        for bin in ages["bins"].as_array().expect("bins") {
            let (from, to) = (bin["from"].as_f64().unwrap(), bin["to"].as_f64().unwrap());
            let within = users.iter().filter(|user| (from..to).contains(&(age(user, "dob") as f64))).count();
            assert_eq!(bin["count"], within, "{bin}");
        }
        assert_eq!((&gender["missing"], &gender["overflowed"]), (&json!(0), &json!(false)));
        assert!(status["figures-at-ms"].as_i64() > status["started-ms"].as_i64(), "{status}");
        assert_eq!(status["totals"]["emitted"], total);
        assert!(host.terminate().success());
    }
}

#[test]
fn without_charts_in_the_file_the_columns_choose() {
    let pipeline = Pipeline::of_users(10).and("gender = \"gender\"\nage = { field = \"dob.age\", type = \"int\" }\n");
    let host = pipeline.run();
    let status = wait_for("the charts", || {
        Some(http::get(host.address, "/api/status").json()).filter(|status| status["charts"][0]["counted"] == 10)
    });
    let charts: Vec<_> = status["charts"].as_array().unwrap().iter().map(|chart| (&chart["title"], &chart["kind"])).collect();
    assert_eq!(charts, [(&json!("Gender"), &json!("share")), (&json!("Age"), &json!("histogram"))]);
}

#[test]
fn the_last_minutes_are_kept_second_by_second() {
    let pipeline = Pipeline::of_users(50);
    let host = pipeline.run();
    let rates = wait_for("the second in which users came", || {
        let rates = http::get(host.address, "/api/rates?seconds=600").json();
        rates["ingested"].as_array().unwrap().iter().any(|rate| rate.as_f64() > Some(0.0)).then_some(rates)
    });
    let lengths = ["at-ms", "delivered", "ingested", "rejected", "lag"].map(|of| rates[of].as_array().map(Vec::len));
    assert!(lengths.iter().all(|length| *length == lengths[0]), "{rates}");
    assert_eq!(rates["every-ms"], 1_000);
}
