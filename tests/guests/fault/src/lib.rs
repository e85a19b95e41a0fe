//! Does what each record's field `do` says. Without the field, or with `ok`, the record goes on.
//!
//! `ok`, `drop`, `delete`, `reject`, `retry`, `fail` are outcomes; `trap`, `spin`, `fill`, `wait`, `alloc`, `exit` end the guest; `malformed` breaks
//! the contract; `deep` calls itself 4,000 times; `log` says a line; `null` leaves the required field `did` empty. The setting `once = "true"` makes each instance misbehave for its
//! first call only, as a plugin with a corrupted state would; `start` may be `refuse`, `trap`, `spin`, or `wait`; `names = "old=new, …"` renames fields of
//! the contract.

use serde::Deserialize;
use tidemill_plugin::prelude::*;

fields! {
    Fault
    reads Input in Inputs { what: Option<Text> = "do", key: Option<Bytes> = "@key", payload: Option<Text> = "payload" }
    writes Output { did: Text, payload_length: Int, key_seen: Option<Bytes> }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[derive(Default)]
struct Settings {
    once: bool,
    start: String,
    names: Vec<String>,
}

struct Fault {
    once: bool,
    names: Vec<String>,
    calls: u64,
    hoard: Vec<Vec<u8>>,
}

impl Fields for Fault {
    type Settings = Settings;

    fn start(settings: Settings) -> Result<Fault, String> {
        match settings.start.as_str() {
            "" => {}
            "trap" => panic!("told to trap in start"),
            "spin" => spin(),
            "wait" => std::thread::sleep(std::time::Duration::from_secs(3600)),
            "refuse" => return Err("told to refuse".into()),
            other => return Err(format!("setting `start`: `{other}` is unknown")),
        }
        Ok(Fault { once: settings.once, names: settings.names, calls: 0, hoard: Vec::new() })
    }

    fn adjust(&self, contract: &mut tidemill_plugin::wit::Contract) {
        for (old, new) in self.names.iter().filter_map(|pair| pair.split_once('=')) {
            for field in contract.reads.iter_mut().chain(&mut contract.writes).filter(|field| field.name == old) {
                field.name = new.into();
            }
        }
    }

    fn row(&mut self, input: Input<'_>, output: &mut Output) -> Decision {
        let what = input.what.unwrap_or("ok");
        match what {
            "ok" | "malformed" => {}
            "drop" => return Ok(Drop),
            "reject" => return Err("told to reject".into()),
            "trap" => panic!("told to trap"),
            "spin" => spin(),
            "wait" => std::thread::sleep(std::time::Duration::from_secs(3600)),
            "exit" => std::process::exit(3),
            "alloc" => loop {
                self.hoard.push(vec![1; 1 << 20]);
            },
            // One instruction over much memory, again and again.
            "fill" => {
                let mut room = vec![1_u8; 200 << 20];
                loop {
                    room.fill(std::hint::black_box(2));
                }
            }
            "deep" => drop(deep(std::hint::black_box(4_000))),
            "leak" => self.hoard.push(vec![1; 1 << 20]),
            "log" => info!("told to log\u{1b}[31m\nsecond line"),
            "print" => println!("told to print"),
            "null" => return Ok(Emit),
            "delete" | "retry" | "fail" => {}
            other => return Err(format!("`{other}` is unknown").into()),
        }
        output.did.push(what);
        output.payload_length.push(input.payload.map_or(0, |payload| payload.len() as i64));
        output.key_seen.push(input.key);
        Ok(if what == "delete" { Delete } else { Emit })
    }

    fn batch(&mut self, rows: usize, input: &Inputs<'_>, output: &mut Output, decisions: &mut Decisions) -> Result<(), Failure> {
        self.calls += 1;
        let tame = self.once && self.calls > 1;
        for row in 0..rows {
            let mut one = tidemill_plugin::Reads::row(input, row);
            if tame {
                one.what = None;
            }
            match one.what {
                Some("retry") => return Err(Failure::Retry("told to retry".into())),
                Some("fail") => return Err(Failure::Failed("told to fail".into())),
                // A second value for one row: the column is longer than the batch.
                Some("malformed") => {
                    let decision = self.row(one, output);
                    decisions.end_row(row, decision, output);
                    output.payload_length.push(0);
                    output.payload_length.push(0);
                    return Ok(());
                }
                _ => {}
            }
            let decision = self.row(one, output);
            decisions.end_row(row, decision, output);
        }
        Ok(())
    }
}

/// More than 64 KiB of stack and less than 1 MiB.
fn deep(calls: u64) -> u64 {
    if calls == 0 { 0 } else { std::hint::black_box(deep(calls - 1)) + 1 }
}

fn spin() -> ! {
    loop {
        std::hint::black_box(());
    }
}
