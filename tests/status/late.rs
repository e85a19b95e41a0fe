//! A host that waits for its topic's cluster.

use crate::http::{get, post};
use crate::running::Pipeline;

#[test]
fn one_that_waits_for_its_broker_ends_when_it_is_drained() {
    // Nobody listens at a port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
    let pipeline = Pipeline::that_waits().and(&format!("[topic]\nat = \"kafka://{free}\"\n"));
    let host = pipeline.run();
    let at = host.address;
    let status = get(at, "/api/status").json();
    assert_eq!(
        (&status["state"], &status["reason"]),
        (&"starting".into(), &"opening its topic and its sinks".into()),
        "{status}"
    );
    let token = std::fs::read_to_string(pipeline.dir.path().join(".tidemill/plain/token")).expect("read the token");
    let headers = [format!("Authorization: Bearer {}", token.trim()), "Content-Type: application/json".to_owned()];
    assert_eq!(post(at, "/api/source/pause", &headers, "{}").status, 503, "nothing runs that could be paused");
    assert_eq!(post(at, "/api/drain", &headers, "{}").status, 200);
    let status = host.ended();
    assert!(status.success(), "{status}");
}
