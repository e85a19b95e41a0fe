//! Reaches out of the sandbox as each record's `do` says, to `what`, and writes what came back: `get` and `post` over HTTP, `read` a file, `list` a
//! directory, `write` a file, `env` of a variable, `sleep` so many milliseconds. What does not work rejects the record with the error.

use std::fmt::Debug;

use tidemill_plugin::prelude::*;
use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{Fields as Headers, IncomingBody, Method, OutgoingBody, OutgoingRequest, Scheme};

fields! {
    Outward
    reads Errand in Errands { what: Text, how: Text = "do" }
    writes Back { back: Text }
}

struct Outward;

impl Fields for Outward {
    type Settings = NoSettings;

    fn start(_: NoSettings) -> Result<Outward, String> {
        Ok(Outward)
    }

    fn row(&mut self, errand: Errand<'_>, back: &mut Back) -> Decision {
        let what = errand.what;
        let brought = match errand.how {
            "get" => ask(Method::Get, what),
            "post" => ask(Method::Post, what),
            "read" => std::fs::read_to_string(what).map_err(told),
            "list" => std::fs::read_dir(what).map_err(told).map(|entries| {
                let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
                names.sort();
                names.join(" ")
            }),
            "write" => std::fs::write(what, "written by a guest").map(|()| "written".to_owned()).map_err(told),
            "env" => std::env::var(what).map_err(told),
            "sleep" => {
                std::thread::sleep(std::time::Duration::from_millis(what.parse().map_err(told)?));
                Ok("slept".to_owned())
            }
            other => Err(format!("`{other}` is unknown")),
        };
        back.back.push(&brought?);
        Ok(Emit)
    }
}

fn told(error: impl Debug) -> String {
    format!("{error:?}")
}

/// Status, the location it points to, and the body.
fn ask(method: Method, url: &str) -> Result<String, String> {
    let (scheme, rest) = url.split_once("://").ok_or("no scheme")?;
    let (authority, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
    let headers = Headers::from_list(&[("authorization".to_owned(), b"the guest's own".to_vec())]).map_err(told)?;
    let request = OutgoingRequest::new(headers);
    let post = matches!(method, Method::Post);
    request.set_method(&method).map_err(told)?;
    let scheme = if scheme == "http" { Scheme::Http } else { Scheme::Https };
    request.set_scheme(Some(&scheme)).map_err(told)?;
    request.set_authority(Some(authority)).map_err(told)?;
    request.set_path_with_query(Some(path)).map_err(told)?;
    let body = request.body().map_err(told)?;
    let answer = handle(request, None).map_err(told)?;
    if post {
        let out = body.write().map_err(told)?;
        out.blocking_write_and_flush(b"posted by a guest").map_err(told)?;
        drop(out);
    }
    OutgoingBody::finish(body, None).map_err(told)?;
    answer.subscribe().block();
    let response = answer.get().ok_or("no answer")?.map_err(told)?.map_err(told)?;
    let location = response.headers().get("location").into_iter().next().unwrap_or_default();
    let body = response.consume().map_err(told)?;
    let stream = body.stream().map_err(told)?;
    let mut received = Vec::new();
    while let Ok(piece) = stream.blocking_read(64 << 10) {
        received.extend(piece);
    }
    drop(stream);
    drop(IncomingBody::finish(body));
    let text = String::from_utf8_lossy(&received);
    Ok(format!("{} {}{text}", response.status(), String::from_utf8_lossy(&location)))
}
