//! A server for one test: the test says what comes back for each target.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub struct Canned {
    pub address: std::net::SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    serving: JoinHandle<()>,
}

impl Canned {
    /// `answer` maps a target to status, further head lines and body.
    pub async fn serve(answer: impl Fn(&str) -> (u16, String, String) + Send + Sync + 'static) -> Canned {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let requests = asked.clone();
        let serving = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = String::new();
                // The tests' requests are small: the head says how much follows.
                loop {
                    let mut chunk = [0; 4096];
                    let read = stream.read(&mut chunk).await.unwrap_or(0);
                    request.push_str(&String::from_utf8_lossy(&chunk[..read]));
                    let Some((head, body)) = request.split_once("\r\n\r\n") else {
                        if read == 0 {
                            break;
                        }
                        continue;
                    };
                    let length =
                        head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
                    if read == 0 || body.len() >= length.unwrap_or(0) {
                        break;
                    }
                }
                let target = request.split(' ').nth(1).unwrap_or_default().to_owned();
                let (status, head, body) = answer(&target);
                requests.lock().unwrap().push(request);
                let length = body.len();
                let text = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n{head}\r\n{body}");
                let _ = stream.write_all(text.as_bytes()).await;
            }
        });
        Canned { address, asked, serving }
    }

    pub async fn json(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Canned {
        Canned::serve(move |target| (200, String::new(), answer(target))).await
    }

    pub fn url(&self, target: &str) -> String {
        format!("http://{}{target}", self.address)
    }

    /// Whole requests, in order.
    pub fn requests(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    pub fn targets(&self) -> Vec<String> {
        self.requests().iter().map(|request| request.split(' ').nth(1).unwrap_or_default().to_owned()).collect()
    }
}

impl Drop for Canned {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
